"""JSON lines, and arrays of JSON objects, as rows."""

from pathlib import Path

from multidelete.data.tables.strict_json import Json, JsonError, decode_json

Objects = list[tuple[int, dict[str, Json]]]
"""Objects with the line, or the position in the array, that each has."""
Broken = list[tuple[int, str]]
"""Lines, or positions, that are no objects, with the reason."""


def read_lines(text: str) -> tuple[list[tuple[int, Json]], Broken]:
    """What stands on each line that is not blank, with its number; and the lines that are not JSON, with the reason.

    A line ends where a line feed is. Other ends of lines that Unicode knows are part of the text.
    """
    entries: list[tuple[int, Json]] = []
    broken: Broken = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entries.append((number, decode_json(line.strip())))
        except JsonError as error:
            broken.append((number, str(error)))
    return entries, broken


def read_objects(path: Path, text: str) -> tuple[Objects, Broken]:
    """The objects of a file, and what in it is none; blank strings in them become None.

    A ``.json`` file holds one array, or one object on each line; a ``.jsonl`` file one object on each line.
    """
    entries, broken = read_lines(text)
    if path.suffix.lower() == ".json" and text.lstrip().startswith("["):
        try:
            array = decode_json(text)
        except JsonError as error:
            return [], [(1, str(error))]
        entries, broken = list(enumerate(array if isinstance(array, list) else [array], start=1)), []
    objects: Objects = []
    for number, entry in entries:
        if isinstance(entry, dict):
            objects.append((number, as_row(entry)))
        else:
            broken.append((number, "not an object"))
    return objects, sorted(broken)


def as_row(entry: dict[str, Json]) -> dict[str, Json]:
    """An object with None in the place of blank strings."""
    return {key: None if _is_blank(value) else value for key, value in entry.items()}


def _is_blank(value: Json) -> bool:
    return isinstance(value, str) and (not value or value.isspace())
