"""Files that name what is to be forgotten."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from multidelete.core.errors import DataError, RequestError, first_few, short
from multidelete.core.paths import lies_there
from multidelete.core.words import counted
from multidelete.data.request_columns import COLUMNS, DataColumns, is_header, meanings, named_columns, seems_header
from multidelete.data.tables.delimited import Rows, other_separator, read_rows
from multidelete.data.tables.json_rows import read_lines
from multidelete.data.tables.source import read_text
from multidelete.data.tables.strict_json import Json, is_truth
from multidelete.data.tables.suspicion import begins_with_blank, looks_like_list, spells_missing
from multidelete.data.tables.table import with_header

_ANY = "id, subject, image or node"

NO_COLUMNS: DataColumns = {}

Row = Mapping[str, str]
"""What one row says of the pairs that it is about, by column."""


@dataclass(frozen=True)
class Named:
    """What a request names, as written: ids of pairs, subjects, image files, nodes of a graph.

    Attributes:
        ids: Ids of pairs.
        subjects: Subjects.
        images: Image files.
        nodes: Nodes of a graph.
        rows: Rows that say more than one thing of what they are about, with their lines.
        comments: Lines that were skipped as comments.
        notes: What is odd about the file.
    """

    ids: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    rows: tuple[tuple[int, Row], ...] = ()
    comments: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def several(self) -> list[tuple[int, Row]]:
        """Rows that name in more than one column: each means one thing, and the file does not say which.

        What they name is in none of the attributes above.
        """
        named = [(line, {name: row[name] for name in COLUMNS if name in row}) for line, row in self.rows]
        return [(line, row) for line, row in named if len(row) > 1]

    def __repr__(self) -> str:
        return f"Named({counted(sum(map(len, (self.ids, self.subjects, self.images, self.nodes))), 'names')})"


def read_request(path: Path, data: DataColumns = NO_COLUMNS) -> Named:
    """Read a request file. Every row of it names something, or is refused.

    - ``.csv``, ``.tsv``: columns ``id``, ``subject``, ``image`` (or ``file_name``) or ``node``, or a single column of
      ids without a header.
    - ``.jsonl``: on each line a string (an id) or an object with ``id``, ``subject``, ``image`` or ``node``.
    - anything else: text, one id per line; lines that start with ``#`` are comments.

    Of what else a row holds, text, kind and label are compared with those of the pair, and other columns are ignored.
    What the data calls a column of names itself is understood too.

    Args:
        path: The file.
        data: What the columns of the data that it is about were read as.

    Raises:
        RequestError: The file is missing, or has rows that are none of these: rows that name nothing, have more or
            fewer cells than the header, hold lists, or a word such as ``nan`` that stands for a missing value.
    """
    if not lies_there(path):
        raise RequestError(f"There is no request file {path}. Name a text, CSV or JSONL file.")
    try:
        text = read_text(path)
        match path.suffix.lower():
            case ".csv" | ".tsv":
                return _read_table(path, *read_rows(path, text, prose=False), data)
            case ".jsonl":
                return _read_json_lines(path, text, data)
            case ".json":
                raise RequestError(f"{path}: a request in JSON has one entry on each line; name the file .jsonl.")
    except DataError as error:
        raise RequestError([f"The request file {problem}" for problem in error.problems]) from error
    lines = [line.strip() for line in text.split("\n")]
    return Named(
        ids=tuple(line for line in lines if line and not line.startswith("#")),
        comments=tuple(line for line in lines if line.startswith("#")),
    )


def _read_table(path: Path, rows: Rows, notes: Sequence[str], data: DataColumns) -> Named:
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if not is_header(header, data):
        separator = other_separator(header, "\t" if path.suffix.lower() == ".tsv" else ",")
        if len(header) > 1 or (separator and any(name in header[0].lower() for name in COLUMNS)):
            seems = f" Its cells seem to be separated by {separator}." if separator else ""
            raise RequestError(
                f"{path} has the columns {first_few(header)}; a request table has a column {_ANY}, or a single column "
                f"of ids.{seems}"
            )
        if header and seems_header(header[0], data):
            own = f" (or as the data does: {first_few(known)})" if (known := named_columns(data)) else ""
            raise RequestError(
                f"{path}: its first row is {header[0]!r}, which seems to be the name of a column. If it is, call it "
                f"{_ANY}{own}, by what the rows below it name; if it is an id, write the ids into a .txt file, one on "
                "each line."
            )
        return replace(_named(path, [(line, {"id": cells[0]}) for line, cells in rows]), notes=tuple(notes))
    table = with_header(path, rows, notes)
    ours = meanings(path, table.columns, data)
    after_comma = [line for line, cells in rows[1:] for cell in cells[1:] if begins_with_blank(cell)]
    if after_comma:
        raise RequestError(
            f"{path}: {counted(len(after_comma), 'cells begin')} with a blank, as what follows a comma "
            "in a name does: lines "
            f"{first_few(after_comma)}. Put names that hold commas in double quotation marks; write no blank elsewhere."
        )
    if len(set(ours.values())) < len(ours):
        raise RequestError(f"{path} has the columns {first_few(list(ours))}; give each of {_ANY} once.")
    entries = [{name: row[column] for column, name in ours.items()} for row in table.rows]
    return replace(_named(path, list(zip(table.lines, entries, strict=True))), notes=tuple(table.notes))


def _read_json_lines(path: Path, text: str, data: DataColumns) -> Named:
    parsed, broken = read_lines(text)
    problems = [
        f"{path}, line {line}: not JSON ({why}); write a string or an object with an id." for line, why in broken
    ]
    entries: list[tuple[int, Mapping[str, Json]]] = []
    for line, entry in parsed:
        ours = meanings(path, entry, data) if isinstance(entry, dict) else {}
        is_named = is_header(ours, data)
        if isinstance(entry, dict) and is_named and len(set(ours.values())) == len(ours):
            entries.append((line, {name: entry[key] for key, name in ours.items()}))
        elif isinstance(entry, dict | list):
            problems.append(f"{path}, line {line}: {short(str(entry), limit=60)} has no key {_ANY}, or has one twice.")
        else:
            entries.append((line, {"id": entry}))
    if problems:
        raise RequestError(
            [*problems[:10], *([f"... and {counted(len(problems) - 10, 'more lines')}."] if problems[10:] else [])]
        )
    return _named(path, entries)


def _named(path: Path, entries: Iterable[tuple[int, Mapping[str, Json]]]) -> Named:
    """What the rows name, each in one column; those that name in several apart."""
    named: dict[str, list[str]] = {name: [] for name in COLUMNS}
    rows: list[tuple[int, Row]] = []
    wrong: dict[str, list[str]] = {}
    for line, entry in entries:
        cells = {name: cell for name, cell in entry.items() if cell is not None}
        row = {name: cell.strip() for name, cell in cells.items() if isinstance(cell, str) and cell.strip()}
        rule = _what_is_wrong(cells, row)
        if rule is not None:
            wrong.setdefault(rule, []).append(f"line {line}")
            continue
        names = [name for name in COLUMNS if name in row]
        if len(names) == 1:
            named[names[0]].append(row[names[0]])
        if len(row) > 1:
            rows.append((line, row))
    if wrong:
        raise RequestError(
            [f"{path}: {counted(len(where), f'rows {rule}')}: {first_few(where)}." for rule, where in wrong.items()]
        )
    ids, subjects, images, nodes = (tuple(named[name]) for name in COLUMNS)
    return Named(ids, subjects, images, nodes, tuple(rows))


def _what_is_wrong(cells: Mapping[str, Json], row: Row) -> str | None:
    """Which rule a row breaks."""
    if "unit" in row:
        return "carry a unit, which is one for the whole request: say it with --unit, and leave the column out"
    if any(not isinstance(cell, str) for cell in cells.values()) or any(map(looks_like_list, row.values())):
        return "hold a list or an object; write a row for each name"
    names = [row[name] for name in COLUMNS if name in row]
    if any(is_truth(cells[name]) for name in COLUMNS if name in cells):
        return "name true or false, which are no names in JSON. Put a name in quotation marks, as the data writes it"
    if not names:
        return f"name nothing: their {_ANY} is empty. Complete or remove them"
    words = [name for name in names if spells_missing(name)]
    if words:
        return (
            f"name {words[0]!r}, as programs write what is missing. Where somebody is called so, name them by "
            "--forget-subject, or by ids in a .txt file"
        )
    return None
