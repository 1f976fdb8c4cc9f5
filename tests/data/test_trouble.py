"""Every reader meets every kind of trouble that it can hold: each cell is read right, or refused with its row."""

import re
from pathlib import Path

import pytest

from multidelete.core.errors import DataError
from multidelete.data.readers import load_data
from tests.data.trouble import KINDS, READERS, Kind, Reader, expected, rows_with

CELLS = [
    pytest.param(reader, kind, id=f"{reader.name}: {kind.name}")
    for reader in READERS
    for kind in KINDS
    if reader.family in kind.families and set(kind.row) <= set(reader.fields)
]
# The row, by its number, its line, its position, or what it holds.
_ROW = re.compile(
    r"(?:rows?|lines?|numbers?|question|annotation|position) (?:row )?(?:[123]\b|\d+, [23]\b)"
    r"|\ba1|1 and 1\.|9{20}|0002\.json|caption 0|identifiers? do(?:es)? not end in .*: (?:0|12345)|images/(?:0|12345)"
)


@pytest.mark.parametrize(("reader", "kind"), CELLS)
def test_every_cell_is_read_right_or_refused_with_its_row(reader: Reader, kind: Kind, tmp_path: Path) -> None:
    right = expected(kind, reader.fields)
    spec = reader.write(tmp_path, rows_with(kind))
    refused: DataError | None = None
    try:
        data = load_data(str(spec), columns=reader.columns)
        found = reader.found(data)
        assert not kind.told or any(kind.told in note for note in data.notes)
    except DataError as error:
        refused = error
    if refused is None:
        assert found == (right or KEEP.get((reader.name, kind.name)))
        return
    assert right is None or kind.may_refuse or reader.name in REFUSE.get(kind.name, ()), refused
    assert _ROW.search(str(refused)), refused
    assert all(len(line) < 2000 for line in refused.problems)


# What these readers may refuse although others read it.
REFUSE = {
    "5,000 digits": ("NLVR2", "Karpathy"),  # part of a file name there
    "long number without quotes": ("NLVR2", "Karpathy"),
    "zero": ("NLVR2", "Karpathy"),
}
# What this reader may read although others refuse it: names of files are no numbers.
KEEP = {
    ("Karpathy", "1 and 1.0"): [("1", "caption 1"), ("1.0", "caption 2"), ("a0", "caption 0"), ("a3", "caption 3")],
}


def test_there_are_enough_of_both() -> None:
    assert len(KINDS) >= 12
    assert len(READERS) >= 20
    assert len(CELLS) > 400
