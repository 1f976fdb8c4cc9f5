"""Columns of parquet and arrow become the text that stands for them, or are refused."""

import math
from datetime import date, datetime
from pathlib import Path

import pytest
from datasets import Dataset, Features, Value
from PIL import Image

from multidelete.core.errors import DataError
from multidelete.data.readers import load_data


def write(folder: Path, ids: list[object], kind: str, name: str = "id") -> Path:
    Image.new("RGB", (4, 4)).save(folder / "p.png")
    columns: dict[str, list[object]] = {
        "image": ["p.png"] * len(ids),
        "text": [f"caption {n}" for n in range(len(ids))],
        name: ids,
    }
    features = Features({"image": Value("string"), "text": Value("string"), name: Value(kind)})
    Dataset.from_dict(columns, features=features).to_parquet(folder / "x.parquet")
    return folder / "x.parquet"


@pytest.mark.parametrize(
    ("kind", "ids", "right", "note"),
    [
        ("int64", [7, 9007199254740993, 0], ["7", "9007199254740993", "0"], ""),
        ("uint64", [2**63 - 1, 1, 2], [str(2**63 - 1), "1", "2"], ""),
        ("float64", [7.0, 8.0, 0.0], ["7", "8", "0"], "column id holds decimal numbers .float64. that are whole"),
        ("float32", [7.5, 8.0, 0.0], ["7.5", "8.0", "0.0"], "whole number with a point"),
        ("string", ["007", "null", "NaN"], ["007", "null", "NaN"], "id 'NaN', as some programs write what is missing"),
        ("large_string", ["a", "b", "c"], ["a", "b", "c"], ""),
        ("date32", [date(2014, 1, 1), date(2014, 1, 2), date(2015, 1, 1)], ["2014-01-01", "2014-01-02", "2015-01-01"],
         "column id holds dates"),
        ("timestamp[s]", [datetime(2014, 1, n) for n in (1, 2, 3)],
         ["2014-01-01T00:00:00", "2014-01-02T00:00:00", "2014-01-03T00:00:00"], "column id holds dates"),
    ],
)  # fmt: skip
def test_typed_ids_are_text(tmp_path: Path, kind: str, ids: list[object], right: list[str], note: str) -> None:
    data = load_data(str(write(tmp_path, ids, kind)))
    assert data.train.ids == right
    assert note.split(" .")[0] in "\n".join(data.notes)


def test_missing_values_are_missing_and_never_words(tmp_path: Path) -> None:
    data = load_data(str(write(tmp_path, [1.0, math.nan, None], "float64", "subject")))
    assert [pair.subject for pair in data.train] == ["1", None, None]
    with pytest.raises(DataError, match=r"2 rows have no id.*row 2, train row 3"):
        load_data(str(write(tmp_path, [1.0, math.nan, None], "float64")))


def test_numbers_that_decimals_have_merged_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds numbers of over 15 digits as decimals"):
        load_data(str(write(tmp_path, [12345678901234567890.0, 1.0, 2.0], "float64")))
    with pytest.raises(DataError, match="holds numbers of over 7 digits as decimals"):
        load_data(str(write(tmp_path, [16777217.0, 1.0, 2.0], "float32")))


def test_columns_that_are_not_used_may_hold_anything(tmp_path: Path) -> None:
    assert load_data(str(write(tmp_path, [1e300, 1.0, 2.0], "float64", "weight"))).notes == ()
