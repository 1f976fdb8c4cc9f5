import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from multidelete.core.errors import RequestError
from multidelete.data.index.build import IndexOptions, build_index
from multidelete.data.index.dataset import indexed_data
from multidelete.data.index.file import FILE
from multidelete.data.pairs import PairData
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request

SIZE = 6


def read(folder: Path, columns: dict[str, str], *, as_index: bool = False) -> PairData:
    """Pairs with the columns id (0 1 2 ...), key (1 2 3 ...), serial (2 3 4 ...), subject (3 4 5 ...) and why."""
    folder.mkdir()
    rows = []
    for at in range(SIZE):
        Image.new("RGB", (2, 2), (at, 0, 0)).save(folder / f"{at}.png")
        numbers = {"id": at, "key": (at + 1) % SIZE, "serial": (at + 2) % SIZE, "subject": (at + 3) % SIZE}
        rows.append({"image": f"{at}.png", "text": f"text {at}", "why": "w", **numbers})
    with (folder / "train.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    if not as_index:
        return load_data(str(folder / "train.csv"), columns=columns)
    build_index(str(folder), folder / FILE, IndexOptions(columns=columns))
    return indexed_data(folder / FILE)


def asked(data: PairData, folder: Path, content: str, name: str = "r.csv", unit: str | None = None) -> set[str]:
    """Texts of the pairs that a request is for."""
    (folder / name).write_text(content)
    request = resolve_request(data, file=folder / name, unit=unit)  # type: ignore[arg-type]
    return {data.train[data.train.index[one]].text for one in request.ids}


def refusal(data: PairData, folder: Path, content: str, name: str = "r.csv") -> str:
    with pytest.raises(RequestError) as error:
        asked(data, folder, content, name)
    return str(error.value)


@pytest.mark.parametrize("as_index", [False, True])
def test_a_header_that_is_another_column_of_the_data_is_refused(tmp_path: Path, as_index: bool) -> None:
    data = read(tmp_path / "data", {"id": "serial"}, as_index=as_index)
    for name, content in {"r.csv": "id\n1\n", "s.csv": "ID,why\n1,x\n", "r.jsonl": '{"id": 1}\n'}.items():
        told = refusal(data, tmp_path, content, name)
        assert "may mean the id, which was taken from the data's column 'serial'" in told
        assert "or the data's own column 'id', which was not read" in told
        assert "for the id call the column 'serial'" in told


@pytest.mark.parametrize("as_index", [False, True])
@pytest.mark.parametrize(
    ("name", "content"), [("r.csv", "serial\n2\n"), ("r.csv", "Serial,why\n2,\n"), ("r.jsonl", '{"serial": 2}')]
)
def test_columns_of_names_are_known_by_what_the_data_calls_them(
    tmp_path: Path, as_index: bool, name: str, content: str
) -> None:
    data = read(tmp_path / "data", {"id": "serial"}, as_index=as_index)
    assert asked(data, tmp_path, content, name) == {"text 0"}


def test_key_is_understood_where_ids_are_taken_from_it(tmp_path: Path) -> None:
    data = read(tmp_path / "data", {"id": "key"})
    assert asked(data, tmp_path, "key\n1\n") == {"text 0"}
    assert "call the column 'key'" in refusal(data, tmp_path, "id\n1\n")
    assert "call the column 'key'" in refusal(data, tmp_path, "id,key\n0,1\n")


@pytest.mark.parametrize("as_index", [False, True])
def test_swapped_columns_are_refused_with_another_way_to_say_it(tmp_path: Path, as_index: bool) -> None:
    data = read(tmp_path / "data", {"id": "subject", "subject": "id"}, as_index=as_index)
    told = refusal(data, tmp_path, "id\n1\n")
    assert "the id, which was taken from the data's column 'subject', or the data's own column 'id'" in told
    assert "for the id write ids into a .txt file, one on each line; for the subject name subjects by --for" in told
    assert "may mean the subject, which was taken from the data's column 'id'" in refusal(
        data, tmp_path, "subject\n1\n"
    )
    assert asked(data, tmp_path, "1\n", "r.txt") == {"text 4"}


def test_one_column_of_the_data_may_be_two_things(tmp_path: Path) -> None:
    data = read(tmp_path / "data", {"subject": "id", "id": "id"})
    assert asked(data, tmp_path, "id\n1\n") == {"text 1"}
    assert "was taken from the data's column 'id'" in refusal(data, tmp_path, "subject\n1\n")


def test_our_names_hold_where_the_data_has_no_such_column(tmp_path: Path) -> None:
    rows = [{"image": Image.new("RGB", (2, 2), (n, 0, 0)), "text": f"text {n}", "__key__": str(n)} for n in range(4)]
    data = PairData.from_rows(rows, columns={"id": "__key__"})
    assert asked(data, tmp_path, "id\n1\n") == asked(data, tmp_path, "__key__\n1\n") == {"text 1"}
    assert asked(data, tmp_path, json.dumps({"id": "1", "text": "text 1"}), "r.jsonl") == {"text 1"}
    assert "no pair of rows has together" in refusal(data, tmp_path, json.dumps({"id": 1, "text": "no"}), "r.jsonl")


def test_columns_that_hold_the_same_mean_the_same(tmp_path: Path) -> None:
    rows = [
        {"image": Image.new("RGB", (2, 2), (n, 0, 0)), "text": f"text {n}", "id": str(n), "key": str(n)}
        for n in range(4)
    ]
    data = PairData.from_rows(rows)
    assert asked(data, tmp_path, "id\n1\n") == asked(data, tmp_path, "key\n1\n") == {"text 1"}


@pytest.mark.parametrize("header", ["ids", "name", "key", "Names", "pair_id", "person", "why", "Subjects"])
def test_a_first_row_that_seems_a_header_is_no_id(tmp_path: Path, header: str) -> None:
    data = read(tmp_path / "data", {"id": "id"})
    told = refusal(data, tmp_path, f"{header}\n1\n")
    assert f"its first row is {header!r}, which seems to be the name of a column" in told
    assert "call it id, subject, image or node" in told
    assert "not among the training pairs" in refusal(data, tmp_path, f"{header}\n1\n", "r.txt")
