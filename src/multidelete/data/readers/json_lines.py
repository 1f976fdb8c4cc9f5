"""The objects of a JSONL file one after the other, for files that are larger than memory."""

from collections.abc import Iterator, Mapping

from multidelete.core.errors import DataError
from multidelete.data.location import THROUGH, Location, open_shard
from multidelete.data.tables.json_rows import as_row
from multidelete.data.tables.strict_json import JsonError, decode_json

_MARK = b"\xef\xbb\xbf"  # of UTF-8, which some programs begin files with


def json_line_rows(
    path: Location, problems: dict[str, list[str]], ahead: int = THROUGH
) -> Iterator[Mapping[str, object]]:
    """The objects of a JSONL file, blank strings in them as None; lines that are none go to ``problems``.

    Args:
        path: The file.
        problems: For each rule that is broken, where.
        ahead: As in `open_shard`.

    Raises:
        DataError: The file cannot be read, or ends in the middle of a line.
    """
    try:
        with open_shard(path, ahead) as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(_MARK).strip() if number == 1 else line.strip()
                if not text:
                    continue
                try:
                    value = decode_json(text.decode())
                except (JsonError, UnicodeDecodeError) as error:
                    if not line.endswith(b"\n"):
                        raise DataError(f"{path} ends in the middle of line {number}: it is cut.") from error
                    problems.setdefault(f"lines are no JSON in UTF-8 ({error})", []).append(f"line {number}")
                    continue
                if isinstance(value, dict):
                    yield as_row(value)
                else:
                    problems.setdefault("lines are not an object", []).append(f"line {number}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
