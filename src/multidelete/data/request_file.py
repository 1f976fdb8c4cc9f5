"""Files that name what is to be forgotten."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from multidelete.errors import RequestError

_COLUMNS = ("id", "subject", "image", "node")
_ANY = "id, subject, image or node"


@dataclass(frozen=True)
class Named:
    """What a request names, as written: ids of pairs, subjects, image files, nodes of a graph."""

    ids: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


def read_request(path: Path) -> Named:
    """Read a request file.

    - ``.csv``, ``.tsv``: columns ``id``, ``subject``, ``image`` or ``node`` (others are ignored), or a
      single column of ids without a header.
    - ``.jsonl``: on each line a string (an id) or an object with ``id``, ``subject``, ``image`` or ``node``.
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
            "id, subject, image or node, or a single column of ids."
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
            problems.append(f"{path}, line {number}: {line.strip()[:60]} has no key {_ANY}.")
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
