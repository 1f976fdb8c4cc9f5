"""What a lineage of models has forgotten: one record for each deletion, by keyed references to its pairs.

A record names nothing. With the key of its request (`multidelete.artifacts.keys`) it tells whether a pair is one of
those deleted, also where the data has been read again under other ids.
"""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from multidelete.artifacts.keys import key_id, keyed_digest, pair_alias
from multidelete.artifacts.record import DeletionRecord
from multidelete.core.errors import CheckpointError, DataError, RequestError, first_few
from multidelete.core.words import counted, share
from multidelete.data.pairs import INDEX_DIGEST, Pair, PairData, PairDataset, members
from multidelete.data.picture_digests import input_digest
from multidelete.data.request import Request, what_is_missing_afterwards

logger = logging.getLogger(__name__)


def record_of(key: bytes, pairs: Sequence[Pair], unit: str) -> DeletionRecord:
    """The record of a deletion of these pairs."""
    return DeletionRecord(
        key=key_id(key),
        unit=unit,
        pairs=len(pairs),
        request=request_digest(key, [pair.id for pair in pairs]),
        ids=tuple(sorted({id_reference(key, pair) for pair in pairs})),
        contents=tuple(sorted({content_reference(key, pair) for pair in pairs})),
    )


def request_digest(key: bytes, ids: Iterable[str]) -> str:
    """Keyed digest of a request: the same for the same pairs, however they were named."""
    return keyed_digest(key, "request", json.dumps(sorted(ids)))


def id_reference(key: bytes, pair: Pair) -> str:
    """What a record holds of a pair's id."""
    return keyed_digest(key, "id", pair.id)


def content_reference(key: bytes, pair: Pair) -> str:
    """What a record holds of a pair's members."""
    return keyed_digest(key, "content", json.dumps(sorted((m, _known_by(pair, m)) for m in pair.sources)))


def _known_by(pair: Pair, modality: str) -> list[str]:
    """What tells a member wherever it lies: of picture files what they hold, of all others their sources."""
    if modality != "image":
        return [pair.sources[modality]]
    return [_picture(source, picture) for source, picture in members(pair, modality)]


def _picture(source: str, picture: object) -> str:
    if not isinstance(picture, str | Path | bytes):
        return source
    digest = input_digest(picture, "image")
    return source if digest == "missing" else f"sha256:{digest[:32]}"  # as sources of stored pictures are


@dataclass(frozen=True)
class Lineage:
    """The deletions behind a model, oldest first, and those of their keys that are known.

    Attributes:
        deletions: One record for each.
        keys: Keys by id.
    """

    deletions: tuple[DeletionRecord, ...] = ()
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.deletions)

    @property
    def pairs(self) -> int:
        return sum(deletion.pairs for deletion in self.deletions)

    @property
    def described(self) -> str:
        """``2 requests, 12 pairs``."""
        return f"{counted(len(self.deletions), 'requests')}, {counted(self.pairs, 'pairs')}"

    @property
    def without_key(self) -> tuple[DeletionRecord, ...]:
        """Deletions whose pairs cannot be told from others."""
        return tuple(deletion for deletion in self.deletions if deletion.key not in self.keys)

    @property
    def own_keys(self) -> dict[str, bytes]:
        """The keys of these deletions alone."""
        return {deletion.key: self.keys[deletion.key] for deletion in self.deletions if deletion.key in self.keys}

    @property
    def newest_key(self) -> bytes:
        """The key of the last deletion, which is known."""
        return self.keys[self.deletions[-1].key]

    def with_keys(self, keys: Mapping[str, bytes]) -> "Lineage":
        return replace(self, keys={**self.keys, **keys})

    def then(self, deletion: DeletionRecord, key: bytes) -> "Lineage":
        """The lineage after one more deletion."""
        return Lineage((*self.deletions, deletion), {**self.keys, deletion.key: key})

    def found(self, pairs: Iterable[Pair], *, by_id: bool = True) -> list[set[str]]:
        """For each deletion, ids of the pairs that are among those deleted, by content or, with ``by_id``, by id."""
        ids: list[set[str]] = [set() for _ in self.deletions]
        references = [frozenset((*one.contents, *(one.ids if by_id else ()))) for one in self.deletions]
        for pair in pairs:
            for deletion, known, found in zip(self.deletions, references, ids, strict=True):
                if self._holds(deletion, known, pair):
                    found.add(pair.id)
        return ids

    def _holds(self, deletion: DeletionRecord, references: frozenset[str], pair: Pair) -> bool:
        key = self.keys.get(deletion.key)
        return key is not None and (id_reference(key, pair) in references or content_reference(key, pair) in references)

    def renumbered(self, pairs: Iterable[Pair]) -> list[str]:
        """Ids of those of the pairs that hold something else than the deleted pairs whose ids they have."""
        keyed = [(self.keys[one.key], frozenset(one.contents)) for one in self.deletions if one.key in self.keys]
        return [pair.id for pair in pairs if not any(content_reference(key, pair) in known for key, known in keyed)]

    def earlier(self, pairs: Iterable[Pair], *, by_id: bool = True) -> set[str]:
        """Ids of the pairs that are among those deleted; see `found`."""
        return set().union(*self.found(pairs, by_id=by_id))

    def earlier_in(self, data: PairData) -> dict[str, set[str]]:
        """For each split, ids of the pairs that are among those deleted.

        Only training pairs are ever deleted, and ids are unique in their split only. So outside ``train`` the content
        alone tells: a held-out pair may have the id of a deleted one and be another.
        """
        return {split: self.earlier(pairs, by_id=split == "train") for split, pairs in data.splits.items()}

    def whole(self, pairs: Sequence[Pair]) -> list[DeletionRecord]:
        """The deletions all of whose pairs are among these."""
        keyed = [(deletion, self.keys[deletion.key]) for deletion in self.deletions if deletion.key in self.keys]
        return [
            deletion
            for deletion, key in keyed
            if set(deletion.ids) <= {id_reference(key, pair) for pair in pairs}
            or set(deletion.contents) <= {content_reference(key, pair) for pair in pairs}
        ]

    def aliases(self, pairs: Sequence[Pair]) -> dict[str, str]:
        """By id, `pair_alias` of each pair under the key of the newest deletion that it belongs to."""
        named: dict[str, str] = {}
        for deletion, ids in zip(self.deletions, self.found(pairs), strict=True):
            named |= {pair_id: pair_alias(self.keys[deletion.key], pair_id) for pair_id in ids}
        return named


def refuse_without_keys(lineages: Mapping[str, Lineage], *, removed: bool) -> None:
    """Refuse models whose earlier deletions cannot be told, unless the data is said to hold none of their pairs.

    Raises:
        CheckpointError: One line for each model.
    """
    problems = []
    for name, lineage in {} if removed else lineages.items():
        blind = lineage.without_key
        old = [deletion for deletion in blind if not deletion.key]
        why = f"no key file was found that holds key {', '.join(d.key for d in blind if d.key)}"
        if old:
            why = "its multidelete.json is of a version that kept no references to them"
        if blind:
            problems.append(
                f"{name} has forgotten pairs before ({lineage.described}), and which ones cannot be told: {why}. They "
                "would be used again. Name the key file with --key (it was written beside the model as MODEL.key); or, "
                "where the data does not hold those pairs any more, say so with --earlier-pairs-removed."
            )
    if problems:
        raise CheckpointError(problems)


def without_earlier(data: PairData, lineage: Lineage, *, but: Collection[str] = ()) -> PairData:
    """The data without the pairs that the lineage has forgotten, in any split; a graph loses what only they state.

    Outside ``train`` pairs are told by their content alone: see `Lineage.earlier_in`.

    Raises:
        DataError: No training pair is left.
    """
    if not lineage:
        return data
    gone = lineage.earlier_in(data)
    gone["train"] -= set(but)
    number = sum(map(len, gone.values()))
    if not number:
        return data
    splits = {split: pairs.without(gone[split], pairs.name) for split, pairs in data.splits.items()}
    if not len(splits["train"]):
        raise DataError(f"all training pairs of {data.name} were deleted by earlier requests; there is nothing left.")
    left_out = [pair for split, pairs in data.splits.items() for pair in pairs.only(gone[split], "left out")]
    graph = None if data.graph is None else data.graph.without_edges_of(left_out, splits["train"])
    every = sum(map(len, data.splits.values()))
    note = f"{share(number, every, 'pairs were')} deleted by earlier requests, and left out here"
    logger.info("%s: %s", data.name, note)
    return replace(data, splits=splits, notes=(*data.notes, note), graph=graph)


def not_yet_deleted(request: Request, all_data: PairData, left: PairData, lineage: Lineage) -> Request:
    """The request without pairs that earlier requests deleted, which is said.

    Args:
        request: As it fits all of the data.
        all_data: The data as it was read.
        left: The data without earlier pairs.
        lineage: What was deleted before.

    Raises:
        RequestError: An id is that of a deleted pair and stands for another pair now, nothing is left of the request,
            or not enough of the data.
    """
    earlier = [pair_id for pair_id in request.ids if pair_id not in left.train.index]
    if left is all_data or not earlier:
        return request
    others = lineage.renumbered(all_data.train[all_data.train.index[pair_id]] for pair_id in earlier)
    if others:
        raise RequestError(
            f"{counted(len(others), 'pairs')} of the request have ids of pairs that earlier requests deleted, and "
            f"another picture or text than those had: {first_few(others)}. One id must mean one pair: give the data "
            "the ids that it had, or these pairs ids of their own."
        )
    kept = tuple(pair_id for pair_id in request.ids if pair_id in left.train.index)
    if not kept:
        raise RequestError(
            f"all {counted(len(request.ids), 'pairs')} of the request were deleted from this model by earlier "
            "requests. There is nothing left to do for it. Where an audit still finds them, delete them from the model "
            "that came before those requests."
        )
    told = share(len(earlier), len(request.ids), "pairs of the request were")
    logger.warning("%s deleted by earlier requests, and left out of this one.", told)
    problems = what_is_missing_afterwards(left.train, set(kept), left.classes)
    if problems:
        raise RequestError(problems)
    named = f"{len(kept)} of {counted(len(left.train), 'training pairs')}; {len(earlier)} more were deleted earlier"
    return Request(kept, request.unit, named)


def data_digest(key: bytes, pairs: PairDataset, classes: Sequence[str]) -> str:
    """Keyed digest of a data set, which would tell who was deleted from it if it had no key."""
    digest = pairs.digest_by(classes)
    return f"{INDEX_DIGEST if digest.startswith(INDEX_DIGEST) else ''}{keyed_digest(key, 'data', digest)}"
