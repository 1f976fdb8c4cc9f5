"""What is to be forgotten: a deletion request, checked against the training pairs."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from multidelete.core.errors import RequestError, first_few
from multidelete.core.units import UNITS, Unit
from multidelete.core.words import counted, share
from multidelete.data.classes import class_name
from multidelete.data.lookalikes import overlooked
from multidelete.data.pairs import Pair, PairData, PairDataset, names_of
from multidelete.data.request_file import Named, read_request
from multidelete.data.request_images import each_once, image_sources
from multidelete.data.request_rows import check_texts, means_one, refuse_contradictions, skipped_ids
from multidelete.data.request_unknown import unknown_names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A deletion request that fits its training pairs.

    Attributes:
        ids: The pairs to forget, in the order of the training pairs.
        unit: What was deleted as a whole: single pairs, images (or pairs of images) with everything
            attached to them, all pairs of a subject, or all pairs of a node.
        description: One line for reports; names nobody.
    """

    ids: tuple[str, ...]
    unit: Unit
    description: str

    def __repr__(self) -> str:
        return f"Request({counted(len(self.ids), 'pairs')}, by {self.unit})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the sorted ids: the same for the same pairs, however they were named."""
        return hashlib.sha256("\n".join(sorted(self.ids)).encode()).hexdigest()


def resolve_request(
    data: PairData,
    *,
    ids: Sequence[str] = (),
    subjects: Sequence[str] = (),
    images: Sequence[str] = (),
    nodes: Sequence[str] = (),
    file: Path | None = None,
    unit: Unit | None = None,
) -> Request:
    """Turn what was named into the training pairs to forget, or say everything that is wrong with it.

    Args:
        data: The pairs; only those of ``train`` can be forgotten.
        ids: Ids of pairs.
        subjects: Subjects, each with all of its pairs.
        images: Image files, each with all of its pairs, as the data set writes them or from the
            end (``"cat.png"`` for ``"pets/cat.png"``) where that is unambiguous. Where pairs have
            two pictures: one picture, with all pairs it is in, or both as the data set joins them.
        nodes: Nodes of the graph, each with all pairs that name it.
        file: A request file, added to the above; see `read_request`.
        unit: ``"image"`` adds everything attached to the images of the named pairs (of pairs of two
            pictures: to the same two), ``"subject"`` all pairs of the named pairs' subjects, ``"node"``
            all pairs of their nodes; ``"pair"``, which it is where none is given, nothing. Rows of a file that
            carry an id *and* a subject, an image or a node need a unit: it says which of the two is meant.

    Raises:
        RequestError: With all problems at once: nothing named, unknown or repeated names, names
            of held-out pairs, rows that carry several names and no unit, rows that say what no pair has together, a
            request for everything, or one that leaves a class without training pairs or a kind of pairs with
            fewer than two.
    """
    if unit is not None and unit not in UNITS:
        raise RequestError(f"Unknown unit {unit!r}; it must be one of {', '.join(UNITS)}.")
    read = Named() if file is None else read_request(file, data.columns)
    check_texts({"ids": ids, "subjects": subjects, "images": images, "nodes": nodes})
    problems: list[str] = []
    pictures = [*images, *read.images, *(row["image"] for _, row in read.rows if "image" in row)]
    meant = image_sources(data, list(dict.fromkeys(pictures)), problems)
    refuse_contradictions(data, read, meant, file)
    read = means_one(read, unit, file)
    unit = unit or "pair"
    named = Named((*ids, *read.ids), (*subjects, *read.subjects), (*images, *read.images), (*nodes, *read.nodes))
    by_column = {"id": named.ids, "subject": named.subjects, "image": named.images, "node": named.nodes}
    wanted = {**by_column, "image": each_once(named.images, meant)}
    chosen = {pair_id for what, names in wanted.items() for pair_id in _match(data, what, names, problems)}
    problems += skipped_ids(data, read, file)
    if not any(by_column.values()):
        needs = "a deletion request needs at least one pair id, subject, image or node."
        problems.append(
            f"Nothing is named; {needs} Give a request file (--forget), or --forget-subject, --forget-image or "
            "--forget-node."
            if file is None
            else f"{file} names nothing; {needs} Write an id in each line, or a column id, subject, image or node."
        )
    chosen = _whole_units(data.train, chosen, unit, problems)
    if chosen:
        problems += what_is_missing_afterwards(data.train, chosen, data.classes)
    if problems:
        raise RequestError(problems)
    for note in (*(f"{file}: {note}" for note in read.notes), *overlooked(data.train, chosen, named)):
        logger.warning("%s", note)
    forget = tuple(data.train.only(chosen, "forget").ids)
    parts = [counted(len(names), f"{what}s") for what, names in by_column.items() if names]
    rule = {
        "pair": "",
        "image": ", with everything attached to their images",
        "subject": ", with all pairs of their subjects",
        "node": ", with all pairs of their nodes",
    }
    description = (
        f"{len(forget)} of {counted(len(data.train), 'training pairs')}, named by {' and '.join(parts)}{rule[unit]}"
    )
    return Request(forget, unit, description)


def forget_retain(train: PairDataset, request: Request) -> tuple[PairDataset, PairDataset]:
    """Part the training pairs into those to forget and those to keep."""
    return train.only(request.ids, "forget"), train.without(request.ids, "retain")


def unit_keys(pair: Pair, unit: Unit) -> tuple[str, ...]:
    """What must be deleted with the pair as a whole: of two pictures both together, of nodes each.

    Empty where the pair has no such unit.
    """
    if unit == "image":
        return (pair.sources["image"],) if "image" in pair.inputs else ()
    return names_of(pair, "id" if unit == "pair" else unit)


def _match(data: PairData, what: str, names: Sequence[str], problems: list[str]) -> set[str]:
    """Ids of the training pairs that ``names`` mean; what does not fit goes to ``problems``."""
    if not names:
        return set()
    wanted = set(names)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        problems.append(
            f"{share(len(repeated), len(wanted), f'{what}s occur')} more than once in the request: "
            f"{first_few(repeated)}. Name each once, so that the request says what was meant."
        )
    trained: dict[str, list[str]] = {}
    for pair in data.train.meant({what: wanted}):
        for key in names_of(pair, what):
            if key in wanted:
                trained.setdefault(key, []).append(pair.id)
    missing = [name for name in dict.fromkeys(names) if name not in trained]
    if missing:
        held_out = {
            name: split
            for split, pairs in data.splits.items()
            if split != "train"
            for pair in pairs.meant({what: missing})
            for name in names_of(pair, what)
        }
        elsewhere = [f"{name} ({held_out[name]})" for name in missing if name in held_out]
        if elsewhere:
            problems.append(
                f"{share(len(elsewhere), len(wanted), f'{what}s are')} of held-out pairs, which the model was never "
                f"trained on: {first_few(elsewhere)}. Only training pairs can be forgotten."
            )
        unknown = [name for name in missing if name not in held_out]
        if unknown:
            problems.append(unknown_names(data, what, unknown, len(wanted)))
    return {pair_id for name in wanted for pair_id in trained.get(name, ())}


def _whole_units(train: PairDataset, chosen: set[str], unit: Unit, problems: list[str]) -> set[str]:
    if unit == "pair" or not chosen:
        return chosen
    named = [train[train.index[pair_id]] for pair_id in chosen]
    keys = {key for pair in named for key in unit_keys(pair, unit)}
    without = [pair.id for pair in named if not unit_keys(pair, unit)]
    if without:
        problems.append(
            f"{counted(len(without), 'pairs have')} no {unit}: {first_few(sorted(without))}. Use --unit pair for them."
        )
    return chosen | {pair.id for pair in train.meant({unit: keys}) if keys.intersection(unit_keys(pair, unit))}


def what_is_missing_afterwards(train: PairDataset, chosen: set[str], classes: Sequence[str]) -> list[str]:
    """Problems of a request: what the pairs that it leaves are too few for."""
    gone = train.only(chosen, "forget")
    if len(gone) == len(train):
        return [
            f"The request names all {counted(len(train), 'training pairs')}. At least two must be kept; "
            "to forget everything, discard the model."
        ]
    problems = []
    labels = {label for label, times in train.labels.items() if label is not None and gone.labels[label] == times}
    if labels:
        called = [class_name(classes, label) for label in sorted(labels)]
        problems.append(
            f"The request leaves {counted(len(labels), 'classes')} without any training pair: {first_few(called)}. "
            "Every class must keep at least one; remove the class from the model instead."
        )
    for kind, times in train.kinds.items():
        left = times - gone.kinds[kind]
        if left < 2:
            of_kind = "" if kind is None else f" of kind {kind!r}"
            problems.append(
                f"The request leaves {counted(left, 'training pairs')}{of_kind}. At least two must be kept: "
                "there is nothing to retain and no gallery to search otherwise."
            )
    return problems
