"""What is to be forgotten: reading a deletion request, and checking it against the training pairs."""

import csv
import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.errors import RequestError, first_few

Unit = Literal["pair", "image", "subject"]
UNITS: tuple[Unit, ...] = get_args(Unit)
_COLUMNS = ("id", "subject", "image")


@dataclass(frozen=True)
class Named:
    """What a request names, as written: ids of pairs, subjects, image files."""

    ids: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """A deletion request that fits its training pairs.

    Attributes:
        ids: The pairs to forget, in the order of the training pairs.
        unit: What was deleted as a whole: single pairs, images with everything attached to them,
            or all pairs of a subject.
        description: One line for reports; names nobody.
    """

    ids: tuple[str, ...]
    unit: Unit
    description: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the sorted ids: the same for the same pairs, however they were named."""
        return hashlib.sha256("\n".join(sorted(self.ids)).encode()).hexdigest()


def read_request(path: Path) -> Named:
    """Read a request file.

    - ``.csv``, ``.tsv``: columns ``id``, ``subject`` or ``image`` (others are ignored), or a single
      column of ids without a header.
    - ``.jsonl``: on each line a string (an id) or an object with ``id``, ``subject`` or ``image``.
    - anything else: text, one id per line; lines that start with ``#`` are comments.

    Raises:
        RequestError: The file is missing, or has lines that are none of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise RequestError(f"There is no request file {path}. Name a text, CSV or JSONL file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The request file {path} cannot be read as UTF-8 text: {error}.") from error
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _read_table(path, text)
        case ".jsonl":
            return _read_json_lines(path, text)
    lines = (line.strip() for line in text.splitlines())
    return Named(ids=tuple(line for line in lines if line and not line.startswith("#")))


def _read_table(path: Path, text: str) -> Named:
    rows = [row for row in csv.reader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ",") if any(row)]
    header = [cell.strip() for cell in rows[0]] if rows else []
    if not set(header) & set(_COLUMNS):
        if all(len(row) == 1 for row in rows):
            return Named(ids=tuple(row[0].strip() for row in rows))
        raise RequestError(
            f"{path} has the columns {', '.join(header)}; a request table has a column "
            "id, subject or image, or a single column of ids."
        )
    entries = [dict(zip(header, row, strict=False)) for row in rows[1:]]
    return _named([{name: entry.get(name) for name in _COLUMNS} for entry in entries])


def _read_json_lines(path: Path, text: str) -> Named:
    entries, problems = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(f"{path}, line {number}: not JSON ({error.msg}); write a string or an object with an id.")
            continue
        entry = {"id": entry} if isinstance(entry, str | int) else entry
        if not isinstance(entry, dict) or not set(entry) & set(_COLUMNS):
            problems.append(f"{path}, line {number}: {line.strip()[:60]} has no key id, subject or image.")
            continue
        entries.append(entry)
    if problems:
        raise RequestError([*problems[:10], *([f"... and {len(problems) - 10} more lines."] if problems[10:] else [])])
    return _named(entries)


def _named(entries: Iterable[dict[str, object]]) -> Named:
    found: dict[str, list[str]] = {name: [] for name in _COLUMNS}
    for entry in entries:
        for name, values in found.items():
            value = entry.get(name)
            if value is not None and str(value).strip():
                values.append(str(value).strip())
    return Named(*(tuple(found[name]) for name in _COLUMNS))


def resolve_request(
    data: PairData,
    *,
    ids: Sequence[str] = (),
    subjects: Sequence[str] = (),
    images: Sequence[str] = (),
    file: Path | None = None,
    unit: Unit = "pair",
) -> Request:
    """Turn what was named into the training pairs to forget, or say everything that is wrong with it.

    Args:
        data: The pairs; only those of ``train`` can be forgotten.
        ids: Ids of pairs.
        subjects: Subjects, each with all of its pairs.
        images: Image files, each with all of its pairs, as the data set writes them or from the
            end (``"cat.png"`` for ``"pets/cat.png"``) where that is unambiguous.
        file: A request file, added to the above; see `read_request`.
        unit: ``"image"`` adds everything attached to the images of the named pairs,
            ``"subject"`` all pairs of the named pairs' subjects.

    Raises:
        RequestError: With all problems at once: nothing named, unknown or repeated names, names
            of held-out pairs, a request for everything, or one that leaves a class without
            training pairs or a kind of pairs with fewer than two.
    """
    if unit not in UNITS:
        raise RequestError(f"Unknown unit {unit!r}; it must be one of {', '.join(UNITS)}.")
    read = Named() if file is None else read_request(file)
    named = Named((*ids, *read.ids), (*subjects, *read.subjects), (*images, *read.images))
    problems: list[str] = []
    chosen = {
        *_match(data, "id", named.ids, problems),
        *_match(data, "subject", named.subjects, problems),
        *_match(data, "image", _full_names(data, named.images, problems), problems),
    }
    if not (named.ids or named.subjects or named.images):
        where = f"{file} names nothing" if file is not None else "Nothing is named"
        problems.append(f"{where}; a deletion request needs at least one pair id, subject or image.")
    chosen = _whole_units(data.train, chosen, unit, problems)
    if chosen:
        problems += _what_is_missing_afterwards(data.train, chosen)
    if problems:
        raise RequestError(problems)
    forget = tuple(pair.id for pair in data.train if pair.id in chosen)
    parts = [
        f"{len(n)} {what}"
        for n, what in ((named.ids, "ids"), (named.subjects, "subjects"), (named.images, "images"))
        if n
    ]
    rule = {
        "pair": "",
        "image": ", with everything attached to their images",
        "subject": ", with all pairs of their subjects",
    }
    description = f"{len(forget)} of {len(data.train)} training pairs, named by {' and '.join(parts)}{rule[unit]}"
    return Request(forget, unit, description)


def forget_retain(train: PairDataset, request: Request) -> tuple[PairDataset, PairDataset]:
    """Part the training pairs into those to forget and those to keep."""
    return train.only(request.ids, "forget"), train.without(request.ids, "retain")


def _key(pair: Pair, what: str) -> str | None:
    return {"id": pair.id, "subject": pair.subject, "image": pair.sources.get("image")}[what]


def _match(data: PairData, what: str, names: Sequence[str], problems: list[str]) -> set[str]:
    """Ids of the training pairs that ``names`` mean; what does not fit goes to ``problems``."""
    if not names:
        return set()
    wanted = set(names)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        problems.append(
            f"{len(repeated)} of {len(wanted)} {what}s occur more than once in the request: {first_few(repeated)}. "
            "Name each once, so that the request says what was meant."
        )
    trained: dict[str, list[str]] = {}
    for pair in data.train:
        key = _key(pair, what)
        if key is not None and (key in wanted or what != "id"):
            trained.setdefault(key, []).append(pair.id)
    missing = [name for name in dict.fromkeys(names) if name not in trained]
    if missing:
        held_out = {
            _key(pair, what): split for split, pairs in data.splits.items() if split != "train" for pair in pairs
        }
        elsewhere = [f"{name} ({held_out[name]})" for name in missing if name in held_out]
        if elsewhere:
            problems.append(
                f"{len(elsewhere)} of {len(wanted)} {what}s are of held-out pairs, which the model was never trained "
                f"on: {first_few(elsewhere)}. Only training pairs can be forgotten."
            )
        unknown = [name for name in missing if name not in held_out]
        if unknown:
            problems.append(_unknown(data, what, unknown, len(wanted)))
    return {pair_id for name in wanted for pair_id in trained.get(name, ())}


def _unknown(data: PairData, what: str, unknown: Sequence[str], named: int) -> str:
    known = list(dict.fromkeys(key for pair in data.train if (key := _key(pair, what)) is not None))
    if not known:
        return f"The training pairs of {data.name} have no {what}s; name pairs by id, or map a column to {what}."
    close = [match for name in unknown[:3] for match in difflib.get_close_matches(name, known, n=1, cutoff=0.8)]
    hint = f" Did you mean {first_few(list(dict.fromkeys(close)))}?" if close else f" They look like {known[0]}."
    missing = f"{len(unknown)} of {named} {what}s are not among the training pairs of {data.name}"
    return f"{missing}: {first_few(unknown)}.{hint}"


def _full_names(data: PairData, images: Sequence[str], problems: list[str]) -> list[str]:
    """Image files as the data set writes them; what cannot be found is returned as it came."""
    if not images:
        return []
    sources = {pair.sources.get("image", "") for pairs in data.splits.values() for pair in pairs}
    by_name: dict[str, list[str]] = {}
    for source in sorted(sources):
        by_name.setdefault(source.rsplit("/", 1)[-1], []).append(source)
    full = []
    for image in (name.replace("\\", "/") for name in images):
        alike = [
            source
            for source in by_name.get(image.rsplit("/", 1)[-1], ())
            if f"/{image}".endswith(f"/{source}") or f"/{source}".endswith(f"/{image}")
        ]
        if image not in sources and len(alike) > 1:
            problems.append(f"The image name {image} is ambiguous: {first_few(alike)}. Write the whole path.")
        elif image not in sources and alike:
            full.append(alike[0])
        else:
            full.append(image)
    return full


def _whole_units(train: PairDataset, chosen: set[str], unit: Unit, problems: list[str]) -> set[str]:
    if unit == "pair" or not chosen:
        return chosen
    keys = {_key(train[train.index[pair_id]], unit) for pair_id in chosen}
    if None in keys:
        without = [pair_id for pair_id in chosen if _key(train[train.index[pair_id]], unit) is None]
        problems.append(f"{len(without)} pairs have no {unit}: {first_few(sorted(without))}. Use --unit pair for them.")
    return chosen | {pair.id for pair in train if (key := _key(pair, unit)) is not None and key in keys}


def _what_is_missing_afterwards(train: PairDataset, chosen: set[str]) -> list[str]:
    retain = [pair for pair in train if pair.id not in chosen]
    if not retain:
        return [
            f"The request names all {len(train)} training pairs. At least two must be kept; "
            "to forget everything, discard the model."
        ]
    problems = []
    labels = {pair.label for pair in train if pair.label is not None} - {pair.label for pair in retain}
    if labels:
        problems.append(
            f"The request leaves {len(labels)} classes without any training pair: {first_few(sorted(labels))}. "
            "Every class must keep at least one; remove the class from the model instead."
        )
    left = Counter(pair.kind for pair in retain)
    for kind in dict.fromkeys(pair.kind for pair in train):
        if left[kind] < 2:
            sort = "training pairs" if kind is None else f"training pairs of kind {kind!r}"
            problems.append(
                f"The request leaves {left[kind]} {sort}. At least two must be kept: "
                "there is nothing to retain and no gallery to search otherwise."
            )
    return problems
