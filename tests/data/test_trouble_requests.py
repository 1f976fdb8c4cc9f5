"""Every format of requests meets every kind of trouble: each row is read as it is written, or refused with its line."""

import csv
import json
import re
from pathlib import Path

import pytest

from multidelete.core.errors import RequestError
from multidelete.data.request_file import Named, read_request

FORMATS = ("csv of ids", "csv", "csv with others", "tsv", "jsonl", "jsonl of strings", "txt")
# A name, and whether it must be refused: always, or in formats that cannot hold it.
NAMES: dict[str, tuple[object, str]] = {
    "zeros": ("007", ""),
    "long number": ("12345678901234567890", ""),
    "long number without quotes": (12345678901234567890, ""),
    "5,000 digits": (int("9" * 4000), ""),
    "zero": (0, ""),
    "date": ("2014-01-01", ""),
    "comma": ("Doe, Jane", ""),
    "quotation marks": ('"Stop" 12"', ""),
    "ends of lines of Unicode": ("a\u2028b\u0085c", ""),
    "long": ("x" * 140_000, ""),
    "inner blanks": ("a  b", ""),
    "no-break blank": ("a\u00a0b", ""),
    "bracket": ("[a]", ""),
    "nothing": (None, "1 row names nothing"),
    "blank": ("  ", "1 row names nothing"),
    "nan": ("nan", "1 row names 'nan'"),
    "None": ("None", "1 row names 'None'"),
    "list": (["a", "b"], "list or an object|looks like|key"),
    "list as text": ("['a', 'b']", "list or an object"),
    "object": ({"a": 1}, "list or an object|key"),
}


def write(folder: Path, form: str, name: object) -> Path:
    """A request of three names, of which the second is the one given."""
    names = ["first", name, "third"]
    file = folder / f"r.{form.split()[0]}"
    if form.startswith("jsonl"):
        rows = names if form == "jsonl of strings" else [{"id": one, "why": "asked"} for one in names]
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return file
    cells = ["" if one is None else str(one) for one in names]
    if form == "txt":
        file.write_text("\n".join(cells) + "\n", encoding="utf-8")
        return file
    head = {"csv of ids": [], "csv": [["id"]], "csv with others": [["why", "id"]], "tsv": [["id", "why"]]}[form]
    body = {"csv with others": [["asked", cell] for cell in cells], "tsv": [[cell, "asked"] for cell in cells]}
    with file.open("w", newline="", encoding="utf-8") as opened:
        quoting = csv.QUOTE_ALL if form == "csv of ids" and not cells[1].strip() else csv.QUOTE_MINIMAL
        writer = csv.writer(opened, delimiter="\t" if form == "tsv" else ",", quoting=quoting)
        writer.writerows([*head, *body.get(form, [[cell] for cell in cells])])
    return file


CELLS = [
    pytest.param(form, *given, id=f"{form}: {what}")
    for form in FORMATS
    for what, given in NAMES.items()
    if form.startswith("jsonl") or not isinstance(given[0], list | dict)
    if not (form == "txt" and given[1])  # lines of text have no cells: blank ones are none, and words are ids
]


@pytest.mark.parametrize(("form", "name", "message"), CELLS)
def test_every_row_is_read_as_written_or_refused_with_its_line(
    form: str, name: object, message: str, tmp_path: Path
) -> None:
    file = write(tmp_path, form, name)
    if not message:
        assert read_request(file) == Named(ids=("first", str(name), "third"))
        return
    line = 3 if form in ("csv", "csv with others", "tsv") else 2
    with pytest.raises(RequestError, match=message) as refused:
        read_request(file)
    assert re.search(rf"line {line}\b", str(refused.value))
    assert all(len(problem) < 1000 for problem in refused.value.problems)


def test_there_are_more_than_a_dozen_kinds() -> None:
    assert len(NAMES) >= 12
    assert len(CELLS) > 100
