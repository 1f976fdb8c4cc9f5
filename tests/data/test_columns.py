"""Two columns for one meaning: refused in every reader where they differ, told where they hold the same."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from multidelete.core.errors import DataError
from multidelete.data.readers import load_data
from multidelete.data.readers.memory import read_rows
from multidelete.data.request_file import read_request
from multidelete.data.tables.columns import columns_of
from tests.data.trouble import FIELDS, READERS, Kind, Reader, picture, rows_with

TWICE = {
    "caption": ("text", {"caption": "other"}),
    "key": ("id", {"key": "other"}),
    "ID": ("id", {"ID": "other"}),
    "person": ("subject", {"person": "other"}),
    "subject_id": ("subject", {"subject_id": None}),
    "class": ("label", {"label": "yes", "class": "no"}),
    "image_path": ("image", {"image_path": "q.png"}),
    "File Name": ("image", {"File Name": "q.png"}),
}
CELLS = [
    pytest.param(reader, name, row, id=f"{reader.name}: {other}")
    for reader in READERS
    for other, (name, row) in TWICE.items()
    if reader.fields == FIELDS and (name != "image" or not (reader.columns or reader.name.startswith("graph")))
]


def mentioned(name: str) -> str:
    return rf"columns '[\w ]+' and '[\w ]+' both mean the {name}, and differ \((?:[\w./]+ )*(?:row|line) [234]:"


@pytest.mark.parametrize(("reader", "name", "row"), CELLS)
def test_two_columns_for_one_meaning_are_refused_with_the_row(
    reader: Reader, name: str, row: Mapping[str, object], tmp_path: Path
) -> None:
    plain = rows_with(Kind("plain", {}))
    taken = {"image": "p.png", "label": "yes"}
    same = {other: taken.get(name) for other in row}
    rows = [{**one, **{other: one.get(name, value) for other, value in same.items()}} for one in plain]
    (tmp_path / "same").mkdir()
    spec = reader.write(tmp_path / "same", rows)
    data = load_data(f"graph:{spec}" if reader.name.startswith("graph") else str(spec), columns=reader.columns)
    assert any(f"hold the same: the {name} is taken from" in note for note in data.notes)
    rows[2] |= row
    (tmp_path / "other").mkdir()
    spec = reader.write(tmp_path / "other", rows)
    with pytest.raises(DataError, match=mentioned(name)):
        load_data(f"graph:{spec}" if reader.name.startswith("graph") else str(spec), columns=reader.columns)


def test_a_mapped_column_is_the_one_that_is_meant(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = [{"file_name": "a.png", "image": "missing.png", "text": "t", "caption": "c", "id": "1", "key": "2"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mapped = {"image": "file_name", "text": "caption", "id": "id", "subject": "key"}
    (pair,) = load_data(str(tmp_path / "t.jsonl"), columns=mapped).train
    assert (pair.sources["image"], pair.inputs["text"], pair.id, pair.subject) == ("a.png", "c", "1", "2")


def test_rows_in_memory_have_one_column_for_each_meaning(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = [{"image": "a.png", "text": "t", "caption": "c"}]
    with pytest.raises(DataError, match=r"'text' and 'caption' both mean the text, and differ \(row 1: 't' and 'c'\)"):
        read_rows(rows, image_root=tmp_path)


@pytest.mark.parametrize("column", ["image", "file_name", "Image"])
def test_folders_tell_splits_by_whatever_column_holds_the_image(tmp_path: Path, column: str) -> None:
    for split in ("train", "test"):
        picture(tmp_path / split / "a.png")
    rows = [{column: f"{split}/a.png", "text": split} for split in ("train", "test")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert set(load_data(str(tmp_path)).splits) == {"train", "test"}


def test_metadata_below_a_folder_names_images_in_either_column(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a.png")
    row = {"image": "a.png", "file_name": "a.png", "text": "t"}
    (tmp_path / "train" / "metadata.jsonl").write_text(json.dumps(row))
    assert load_data(str(tmp_path)).train[0].sources["image"] == "train/a.png"


def test_names_of_columns_are_the_same_however_their_words_are_joined() -> None:
    assert columns_of("image", ["File-Name", "filename", "image", "files"]) == ["image", "File-Name", "filename"]
    assert columns_of("id", ["__key__", "_id", " ID "]) == [" ID "]


@pytest.mark.parametrize("column", ["\u200bid", "\u200b ID", "id\u200b", "\ufeffid"])
def test_signs_that_are_not_seen_are_no_part_of_the_name_of_a_column(tmp_path: Path, column: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(f"file_name,text,{column}\na.png,t,p1\n", encoding="utf-8")
    data = load_data(str(tmp_path / "t.csv"))
    assert [pair.id for pair in data.train] == ["p1"]
    assert f"column {column!r} is read as the id" in "\n".join(data.notes)
    for name, content in (("r.csv", f"{column},why\np1,x\n"), ("r.jsonl", json.dumps({column: "p1"}))):
        (tmp_path / name).write_text(f"{content}\n", encoding="utf-8")
        assert read_request(tmp_path / name).ids == ("p1",)


@pytest.mark.parametrize(
    ("column", "name"), [("key", "id"), ("person", "subject"), ("cls", "label"), ("partition", "split")]
)
def test_columns_that_may_be_meant_and_are_not_read_are_named(tmp_path: Path, column: str, name: str) -> None:
    picture(tmp_path / "a.png")
    data = read_rows([{"image": "a.png", "text": "t", column: "train"}], image_root=tmp_path)
    assert f"column {column!r} is not read; if it is the {name}, say so with --columns {name}={column}" in data.notes


def test_pictures_in_folders_of_splits_without_a_split_are_remarked_on(tmp_path: Path) -> None:
    rows = []
    for part in ("train", "test", "other"):
        picture(tmp_path / part / "a.png")
        rows.append({"file_name": f"{part}/a.png", "text": part})
    for name in ("metadata.jsonl", "pairs.jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        notes = load_data(str(tmp_path)).notes
        assert any("folders called test and train, and all pairs are read as train" in note for note in notes)
        (tmp_path / name).unlink()


def test_several_tables_for_one_split_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for name in ("train.csv", "train_old.csv"):
        (tmp_path / name).write_text(f"image,text\na.png,{name}\n")
    data = load_data(str(tmp_path))
    assert (len(data.train), data.notes) == (
        2,
        ("train is read from several tables together: train.csv, train_old.csv",),
    )
