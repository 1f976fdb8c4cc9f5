"""Text tables are read in one way, as text, or refused with the line."""

import csv
import json
from pathlib import Path

import pytest

from multidelete.core.errors import DataError
from multidelete.data.readers.delimited_file import ENDINGS, delimited_file
from multidelete.data.tables import read_text_table
from multidelete.data.tables.strict_json import JsonError, decode_json


def table(folder: Path, name: str, content: str | bytes) -> list[list[object]]:
    """The cells of a file, read whole; and by rows, where it may be larger than memory: both ways are one."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    cells = read_text_table(folder / name)
    if name.endswith(ENDINGS):
        by_rows = delimited_file(folder / name)
        assert (by_rows.columns, by_rows.notes) == (cells.columns, cells.notes)
        assert list(by_rows.rows()) == cells.rows
    return [list(row.values()) for row in cells.rows]


@pytest.mark.parametrize(
    ("name", "content", "cells"),
    [
        ("x.csv", "id,n\n007,12345678901234567890\nnull,NaN\n", [["007", "12345678901234567890"], ["null", "NaN"]]),
        ("x.csv", "id,n\r\na,\r\n b , \r\n", [["a", None], [" b ", None]]),
        ("x.csv", 'id,n\na,"one, ""two"",\nthree"\n', [["a", 'one, "two",\nthree']]),
        ("x.csv", 'n,id\n"one, two\nthree",a1\nx,a2\n', [["one, two\nthree", "a1"], ["x", "a2"]]),
        ("x.csv", 'id,n\na1,"It runs\nand barks, loudly"\na2,x\n', [["a1", "It runs\nand barks, loudly"], ["a2", "x"]]),
        ("x.csv", 'id,n\na1,"a\nIt barks,\nit naps"\na2,x\n', [["a1", "a\nIt barks,\nit naps"], ["a2", "x"]]),
        ("x.csv", 'n,id\n"one, two\nit is, oh",a1\nx,a2\n', [["one, two\nit is, oh", "a1"], ["x", "a2"]]),
        ("x.csv", 'id,n,m\na1,"b\nc,1,000, or so",m\na2,,\n', [["a1", "b\nc,1,000, or so", "m"], ["a2", None, None]]),
        ("x.csv", "id, n\na, b\n", [["a", "b"]]),  # a blank after every comma, as a style
        ("x.csv", "id,n\na,b\u2028c\u0085d\n", [["a", "b\u2028c\u0085d"]]),
        ("x.csv", "\ufeffid,n\na,b", [["a", "b"]]),
        ("x.csv", "id,n\ra,b\rc,d", [["a", "b"], ["c", "d"]]),
        ("x.csv", 'id,n\r\n"a",b\r\n\r\n"c\r\ne",d\r\n', [["a", "b"], ["c\r\ne", "d"]]),
        ("x.tsv", 'id\tn\na\t"b" c\nd\t"e\n', [["a", '"b" c'], ["d", '"e']]),
        ("x.tsv", 'id\tn\na\t12" disc\nd\t"e"\n', [["a", '12" disc'], ["d", '"e"']]),
        ("x.tsv", 'id\tn\na\t"12"" disc"\nd\te\n', [["a", '12" disc'], ["d", "e"]]),  # as csv modules write it
        ("x.tsv", '"id"\t"n"\n"a"\t"b"\n', [["a", "b"]]),
        ("x.tsv", 'id\tn\na\t"two\nlines"\nd\te\n', [["a", "two\nlines"], ["d", "e"]]),
        ("x.jsonl", '{"id": 7}\n', [["7"]]),
        ("x.jsonl", '{"id": 1.0, "n": null}\n\n{"id": true, "n": NaN}\n', [["1.0", None], ["True", None]]),
        ("x.jsonl", '{"id": "a\u2028b\u0085c"}\n', [["a\u2028b\u0085c"]]),
        ("x.jsonl", '{"id": ' + "9" * 5000 + "}", [["9" * 5000]]),
        ("x.json", '[{"id": "2014-01-01"},\n {"id": 2}]', [["2014-01-01"], ["2"]]),
        ("x.json", '{"id": "a"}\n{"id": "b"}\n', [["a"], ["b"]]),
    ],
)  # fmt: skip
def test_cells_are_the_text_that_is_written(tmp_path: Path, name: str, content: str, cells: list[object]) -> None:
    assert table(tmp_path, name, content) == cells


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "id,n\na,b\nc,d,e\nf\n", r"2 rows have more or fewer cells.*has 2: line 3 \(3\), line 4 \(1\)"),
        ("x.csv", 'id,n\na,"he said \\"hi\\", then"\n', "line 2 has quotation marks that do not fit"),
        ("x.csv", 'id,n\na,"b" c\n', "line 2 has .*a cell goes on"),
        ("x.csv", 'id,n\na,b\nc,"d\ne,f\n', "line 3 has .*one opens a cell and none closes it"),
        ("x.csv", 'id,n\na1,"b\na2,c"\na3,d\n', "1 cell holds lines that look like rows of their own: rows on lines 2"),
        ("x.csv", 'text,id\n"one says hi,a1\nthe disc is 12",a2\nb,a3\n', "lines 2"),  # the text stands first
        ("x.csv", 'id,n,m\na1,"b,c\na2,d",e\na3,d,e\n', "1 cell holds lines that look like rows"),
        ("x.csv", 'id,n\na1,"b\na2,c\na3,d"\n', "1 cell holds lines that look like rows of their own: rows on lines 2"),
        ("x.csv", 'id,n\rp1,"b\rX-7,c"\rp5,d\r', "rows of their own: rows on lines 2"),  # another shape
        ("x.csv", 'id,n\np1,"b\nDr. Cy O\'Neil,c"\np5,d\n', "rows of their own: rows on lines 2"),
        ("x.csv", 'id,n\np1,"b\nX-7,\np2,c"\np5,\n', "rows of their own: rows on lines 2"),  # a cell may be empty
        ("x.csv", 'id,n,s\np1,b,"c\nX-7,d,"\np5,d,e\n', "rows of their own: rows on lines 2"),
        ("x.csv", 'id,n,m\np1,"b,c\nX-7,d",e\np5,d,e\n', "rows of their own: rows on lines 2"),
        ("x.csv", 'id, n\np1, b\np2,"c\nX-7, d"\n', "rows of their own: rows on lines 3"),  # blanks are style
        ("x.csv", 'n,id\n"said,p1\nfine!,X-7\nno",p3\nyes,p4\n', "rows of their own: rows on lines 2"),
        ("x.csv", 'id,"n\np1,b"\np3,d\n', "rows of their own: rows on lines 1"),  # the header
        ("x.tsv", 'id\tn\np1\t"b\nX-7\tc\n"\np5\td\n', "rows of their own: rows on lines 2"),
        ("x.csv", "id,n,id\na,b,c\n", "1 column stands twice in its header: id"),
        ("x.csv", ",n,\na,b,c\n", "2 columns have no name"),
        ("x.csv", "id;n\na;b\n", "separated by semicolons"),
        ("x.csv", "id;n\na;b, c\n", "separated by semicolons"),
        ("x.csv", "sep=;\nid;n\n", "a sign for Excel"),
        ("x.tsv", "id,n\na,b\n", "separated by commas"),
        ("x.tsv", "id\tn\na\tb\tc\n", r"line 2 \(3\)"),
        ("x.csv", "id,n\na,b\n".encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        ("x.csv", "id,n\na,b\n".encode("utf-16-le"), r"zero bytes \(lines 1"),
        ("x.csv", "id,n\na,é\n".encode("latin-1"), "line 2 holds the byte 0xe9"),
        ("x.csv", b"PK\x03\x04...", "it is a workbook"),
        ("x.csv", b"PAR1...", r"it is a parquet file\. Only pairs .* ends in \.parquet; write a request"),
        ("x.jsonl", '{"id": 1, "id": 2}\n', r"lines 1\. The first: the key 'id' stands twice"),
        ("x.jsonl", "[" * 100000, "nested too deeply"),
        ("x.jsonl", '{"id": 1}{"id": 2}\n', "lines 1"),
        ("x.jsonl", '{"id": "\\ud800"}\n', "lone surrogate"),
        ("x.jsonl", '{"id": Infinity}\n', "Infinity is not a number"),
        ("x.json", '{"id": ["a", "b"]\n}', "not JSON objects: lines 1"),
        ("x.json", '[{"id": 1}, 2]', r"lines 2\. The first: not an object"),
    ],
)  # fmt: skip
def test_what_has_two_readings_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path, name, content)
    if name.endswith(ENDINGS):
        with pytest.raises(DataError, match=message):
            delimited_file(tmp_path / name)


def test_what_the_csv_module_writes_is_read_back(tmp_path: Path) -> None:
    cells = [["id", "text"], ["1", 'a "b", c'], ["2", " d\te "], ["3", "x" * 200_000], ["4", "é\u2028\\"]]
    limit = csv.field_size_limit()
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(cells)
    assert [list(row.values()) for row in read_text_table(tmp_path / "x.csv").rows] == cells[1:]
    assert csv.field_size_limit() == limit


def test_odd_headers_and_escapes_are_noted(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(',id,n\n0,a,"b\nc"\n1,d,e\\"f\n')
    notes = "\n".join(read_text_table(tmp_path / "x.csv").notes)
    for part in ("first column of x.csv has no name", "cells of several lines: lines 2", '\\" and keep'):
        assert part in notes


def test_json_nested_too_deeply_or_not_at_all() -> None:
    with pytest.raises(JsonError, match="nested too deeply"):
        decode_json('{"a": ' * 50_000)
    assert decode_json(json.dumps({"a": [1, {"b": False}]})) == {"a": ["1", {"b": "False"}]}


def test_a_last_column_without_a_name_that_holds_something_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("file_name,text,\na.png,a cat,\nb.png,Doe,Jane of Rome\n")
    with pytest.raises(DataError, match=r"1 row has a cell in column 3, which has no name: lines 3"):
        read_text_table(table)
