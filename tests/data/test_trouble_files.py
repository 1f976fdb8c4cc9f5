"""Trouble of whole files, for every reader that can meet it: read right, refused with the line, or noted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from multidelete.core.errors import DataError
from multidelete.data.readers import load_data
from tests.data.trouble import READERS, Kind, Reader, expected, rows_with

PLAIN = Kind("plain", {})


def file_of(folder: Path) -> Path:
    """The file that holds the rows."""
    names = ("*pairs.*", "metadata.*", "train*.*", "snli_ve_train.jsonl", "dataset_x.json", "v2_Open*.json")
    return next(file for name in names for file in sorted(folder.rglob(name)) if file.suffix != ".png")


def lines_of(content: bytes) -> list[bytes]:
    return content.split(b"\n")


def on_line(number: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        lines = lines_of(content)
        lines[number - 1] = change(lines[number - 1])
        return b"\n".join(lines)

    return changed


def second_twice(content: bytes) -> bytes:
    """The second row twice."""
    lines = lines_of(content)
    return b"\n".join([*lines[:3], lines[2], *lines[3:]])


def index_column(content: bytes) -> bytes:
    rows = [line for line in lines_of(content) if line]
    return b"\n".join([b"," + rows[0], *(str(n).encode() + b"," + row for n, row in enumerate(rows[1:]))]) + b"\n"


def other_case(content: bytes) -> bytes:
    head, _, rest = content.partition(b"\n")
    return head.replace(b"id", b"ID").replace(b"text", b"Text").replace(b"subject", b"SUBJECT") + b"\n" + rest


Change = Callable[[bytes], bytes]
# What is done to the file; what an error must say, or nothing where it must be read; the sorts of files that it fits.
DELIMITED: dict[str, tuple[Change, str]] = {
    "byte order mark": (lambda c: b"\xef\xbb\xbf" + c, ""),
    "ends of lines of Windows": (lambda c: c.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), ""),
    "no end of the last line": (lambda c: c.rstrip(b"\r\n"), ""),
    "blank lines": (lambda c: c.replace(b"\n", b"\n\n"), ""),
    "other letter case": (other_case, ""),
    "UTF-16": (lambda c: c.decode().encode("utf-16"), "UTF-16"),
    "UTF-16 without mark": (lambda c: c.decode().encode("utf-16-le"), "zero bytes"),
    "Latin-1": (on_line(3, lambda line: line.replace(b"caption", b"l\xe9gende")), "line 3"),
    "a zero byte": (on_line(3, lambda line: line.replace(b"caption", b"cap\0tion")), "lines 3"),
    "a workbook": (lambda _: b"PK\x03\x04" + b"\0" * 50, "workbook"),
    "a column twice": (lambda c: c.replace(b"text", b"id", 1), "twice"),
    "a row twice": (second_twice, "a1"),
    "nothing": (lambda _: b"", "no column|no columns|no training|no train"),
    "a header alone": (lambda c: lines_of(c)[0] + b"\n", "no train|no training"),
}
CSV: dict[str, tuple[Change, str]] = {
    "a cell more": (on_line(3, lambda line: line.rstrip(b"\r") + b",x"), "line 3"),
    "a cell less": (on_line(3, lambda line: line.rpartition(b",")[0]), "line 3"),
    "a mark within a cell": (on_line(3, lambda line: line.replace(b"caption", b'cap"tion', 1)), ""),
    "an open cell": (on_line(3, lambda line: line.replace(b",caption", b',"caption', 1)), "line 3"),
    "a closed quotation mark": (on_line(3, lambda line: line.replace(b"caption", b'"cap"tion', 1)), "line 3"),
    "semicolons": (lambda c: c.replace(b",", b";"), "semicolons"),
    "an index column": (index_column, ""),
}
TSV: dict[str, tuple[Change, str]] = {
    "a cell more": (on_line(3, lambda line: line.rstrip(b"\r") + b"\tx"), "line 3"),
    "a cell less": (on_line(3, lambda line: line.rpartition(b"\t")[0]), "line 3"),
    "commas": (lambda c: c.replace(b"\t", b","), "commas|no columns"),
}
LINES: dict[str, tuple[Change, str]] = {
    "byte order mark": (lambda c: b"\xef\xbb\xbf" + c, ""),
    "ends of lines of Windows": (lambda c: c.replace(b"\n", b"\r\n"), ""),
    "blank lines": (lambda c: c.replace(b"\n", b"\n\n"), ""),
    "UTF-16": (lambda c: c.decode().encode("utf-16"), "UTF-16"),
    "a broken line": (on_line(2, lambda line: line[:-4]), "line 2|lines 2"),
    "a key twice": (on_line(2, lambda line: line.replace(b"{", b'{"id": "x", "pairID": "x", "identifier": "x", ', 1)),
                    "stands twice|line 2"),
    "no object": (on_line(2, lambda _: b"[1, 2]"), "line 2|lines 2"),
    "nested without end": (on_line(2, lambda _: b"[" * 50_000), "nested too deeply"),
    "NaN for a text": (on_line(2, lambda line: line.replace(b'"caption 1"', b"NaN")), "row 2|line 2"),
    "two objects on a line": (on_line(2, lambda line: line + line), "line 2|lines 2"),
    "a row twice": (lambda c: second_twice(b"\n" + c).lstrip(b"\n"), "a1"),
}  # fmt: skip
WHOLE: dict[str, tuple[Change, str]] = {
    "cut off": (lambda c: c[: len(c) // 2], "not JSON|not JSON objects"),
    "nested without end": (lambda _: b'{"a": ' * 50_000, "nested too deeply"),
    "an entry that is a number": (lambda c: json.dumps(
        {key: [entry if n != 1 else 7 for n, entry in enumerate(every)] for key, every in json.loads(c).items()}
    ).encode(), r"numbers 1|question 1"),
    "a key twice": (lambda c: c.replace(b"{", b'{"info": 1, "info": 2, ', 1), "'info' stands twice"),
    "byte order mark": (lambda c: b"\xef\xbb\xbf" + c, ""),
}  # fmt: skip
LINES_READERS = ("JSON lines by name", "JSON lines in a folder", "metadata.jsonl", "JSON lines as .json",
                 "graph in JSON lines", "SNLI-VE", "NLVR2")  # fmt: skip


def _changes(reader: Reader) -> dict[str, tuple[Change, str]]:
    if reader.name in ("VQA", "Karpathy"):
        return WHOLE
    if reader.name in LINES_READERS:
        return LINES
    if reader.name.startswith("TSV") or reader.family == "tsv":
        return DELIMITED | TSV
    return DELIMITED | CSV if reader.family == "csv" else {}


CELLS = [
    pytest.param(reader, change, message, id=f"{reader.name}: {name}")
    for reader in READERS
    for name, (change, message) in _changes(reader).items()
    if (reader.name, name) not in {("PGR", "other letter case"), ("PGR", "a row twice"), ("PGR", "a column twice")}
]


@pytest.mark.parametrize(("reader", "change", "message"), CELLS)
def test_files_are_read_right_or_refused_with_the_line(
    reader: Reader, change: Change, message: str, tmp_path: Path
) -> None:
    spec = reader.write(tmp_path, rows_with(PLAIN))
    file = file_of(tmp_path)
    file.write_bytes(change(file.read_bytes()))
    if not message:
        found = reader.found(load_data(str(spec), columns=reader.columns))
        assert [tuple(str(cell).replace('"', "") for cell in row) for row in found] == expected(PLAIN, reader.fields)
        return
    with pytest.raises(DataError, match=message) as refused:
        load_data(f"graph:{spec}" if reader.name.startswith("graph") else str(spec), columns=reader.columns)
    assert all(len(line) < 2000 for line in refused.value.problems)


def test_most_readers_meet_more_than_a_dozen_kinds() -> None:
    assert len(CELLS) > 200
