"""Folders: which tables are read, each as if it were named; damaged ones; nothing from the network."""

import io
import json
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, load_dataset
from PIL import Image

from multidelete.core.errors import DataError
from multidelete.data.pairs import PairData, open_image
from multidelete.data.readers import load_data

TABLE = "id,file_name,text,subject\n007,a.png,one,null\n12345678901234567890,a.png,two,\n2014-01-01,a.png,three,NaN\n"
IDS = ["007", "12345678901234567890", "2014-01-01"]
SUBJECTS = ["null", None, "NaN"]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 8, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def put(folder: Path, **files: str | bytes) -> Path:
    """Write files, ``__`` in a name for a folder and the last ``_`` for the point; a picture beside each."""
    for name, content in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        file = folder / f"{stem}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        (file.parent / "a.png").write_bytes(png())
        (folder / "a.png").write_bytes(png())
    return folder


def rows_of(data: PairData) -> dict[str, list[tuple[str, str | None]]]:
    return {name: [(pair.id, pair.subject) for pair in split] for name, split in data.splits.items()}


EVERY = list(zip(IDS, SUBJECTS, strict=True))


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("metadata_csv", {"train"}),
        ("pairs_csv", {"train"}),
        ("train__metadata_csv", {"train"}),
        ("data__train-00000-of-00001_csv", {"train"}),
        ("train__pairs_csv", {"train"}),
        ("my-train-set_csv", {"train"}),
    ],
)
def test_a_table_in_a_folder_is_read_as_the_same_table_by_name(tmp_path: Path, name: str, splits: set[str]) -> None:
    folder = put(tmp_path / "mine", **{name: TABLE})
    data = load_data(str(folder))
    assert set(data.splits) == splits
    assert rows_of(data)["train"] == EVERY
    assert any("subject 'null'" in note for note in data.notes)


def test_a_table_for_each_split(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", train_csv=TABLE, dev_csv=TABLE, test_csv=TABLE)
    assert rows_of(load_data(str(folder))) == {"train": EVERY, "val": EVERY, "test": EVERY}


def test_metadata_below_names_pictures_from_its_own_folder(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", train__cats__metadata_csv=TABLE, test__cats__metadata_csv=TABLE)
    data = load_data(str(folder))
    assert data.train[0].inputs["image"] == folder / "train/cats/a.png"
    assert rows_of(data) == {"train": EVERY, "test": EVERY}


def test_problems_name_the_file_where_there_are_several(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", a_csv=TABLE, b_csv="id,file_name,text,subject\nx,a.png,,\n")
    with pytest.raises(DataError, match=r"1 row has no text.*: b\.csv row 1"):
        load_data(str(folder))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a_csv": TABLE, "b_jsonl": "{}"}, "tables of several kinds: a.csv, b.jsonl"),
        ({"a_csv": TABLE, "b_csv": "id,file_name,text\nx,a.png,t\n"}, r"b\.csv has no column 'subject', and others"),
        ({"metadata_csv": TABLE, "metadata_jsonl": "{}"}, "holds several metadata files"),
        ({"book_xlsx": b"PK"}, "book.xlsx: save the sheet as CSV"),
        ({"metadata_csv": b"PK\x03\x04"}, "it is a workbook"),
    ],
)
def test_folders_whose_tables_are_not_clear_are_refused(
    tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_data(str(put(tmp_path / "mine", **files)))


def test_a_shard_of_which_every_row_was_taken_out_names_no_column(tmp_path: Path) -> None:
    row = {"id": "x", "file_name": "a.png", "text": "t"}
    data = load_data(str(put(tmp_path / "mine", train_0_jsonl="", train_1_jsonl=json.dumps(row) + "\n")))
    assert data.train.ids == ["x"]


def test_tables_that_are_left_out_are_named(tmp_path: Path) -> None:
    data = load_data(str(put(tmp_path / "mine", train_csv=TABLE, extra_csv=TABLE)))
    assert "not read, as other tables are named after splits: extra.csv" in data.notes
    assert rows_of(data) == {"train": EVERY}


def test_addresses_in_a_readme_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("local data asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    readme = "---\nconfigs:\n- config_name: default\n  data_files: http://localhost:1/pairs.csv\n---\n"
    data = load_data(str(put(tmp_path / "mine", pairs_csv=TABLE, README_md=readme)))
    assert rows_of(data) == {"train": EVERY}
    assert any("README.md names data files" in note for note in data.notes)
    several = readme.replace("\n---\n", "\n- config_name: other\n  data_files: b.csv\n---\n")
    with pytest.raises(DataError, match="several configurations: default, other"):
        load_data(str(put(tmp_path / "mine", README_md=several)))


@pytest.mark.parametrize("strange", ["[x]", "a*b", "a?", "{a,b}", "x#y", "%20"])
def test_paths_are_literal(tmp_path: Path, strange: str) -> None:
    folder = put(tmp_path / strange, pairs_csv=TABLE)
    assert rows_of(load_data(str(folder))) == {"train": EVERY}
    Dataset.from_dict({"id": IDS, "file_name": ["a.png"] * 3, "text": ["t"] * 3}).to_parquet(folder / "p.parquet")
    assert load_data(str(folder / "p.parquet")).train.ids == IDS


# Archives


def tar(path: Path, *members: tuple[str, bytes | str]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_archives_hold_text_pictures_and_fields_of_json(tmp_path: Path) -> None:
    fields = {"id": "2014-01-01", "subject": 7, "text": "a dog"}
    path = tar(tmp_path / "x.tar", ("0001.png", png()), ("0001.json", json.dumps(fields)), ("0002.png", png()),
               ("0002.json", json.dumps({**fields, "id": "2014-01-02", "subject": None})))  # fmt: skip
    data = load_data(str(path), columns={"image": "png"})
    assert rows_of(data) == {"train": [("2014-01-01", "7"), ("2014-01-02", None)]}
    assert open_image(data.train[0].inputs["image"]).getpixel((0, 0)) == (9, 8, 7)
    assert data.train[0].sources["image"].startswith("sha256:")


def test_endings_in_archives_are_found_in_any_letter_case(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", ("1.png", png()), ("1.txt", "a"), ("Y2.PNG", png()), ("Y2.Txt", "b"))
    data = load_data(str(path), columns={"image": "png", "text": "txt", "id": "__key__"})
    assert [(pair.id, pair.inputs["text"]) for pair in data.train] == [("1", "a"), ("Y2", "b")]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("1.png", png()), ("1.txt", b"\xff")], r"1 file is no UTF-8 text: 1\.txt"),
        ([("1.png", png()), ("1.json", '{"a": 1, "a": 2}')], r"1 file is no JSON: 1\.json .the key 'a' stands twice"),
        ([("1.png", png()), ("2.png", png()), ("1.txt", "a")], "1 key comes again after others: 1"),
        ([("1.png", png()), ("1.txt", "a"), ("1.txt", "b")], r"1 name occurs twice: 1\.txt"),
        ([("1.png", png()), ("1.txt", "a"), ("1.TXT", "b")], r"1 name occurs twice: 1\.TXT"),
        ([("1.png", png()), ("1.txt", "a"), ("2.png", png())], "1 row has no text.*row 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_archive_is_named(
    tmp_path: Path, members: list[tuple[str, bytes | str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_data(str(tar(tmp_path / "x.tar", *members)), columns={"image": "png", "text": "txt"})


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", ("1.txt", "a" * 2000), ("1.png", png() * 20))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="no whole tar archive"):
        load_data(str(path), columns={"image": "png", "text": "txt"})


# What datasets saved


def test_what_datasets_typed_is_noted(tmp_path: Path) -> None:
    put(tmp_path / "mine", pairs_csv="id,image,text\n007,a.png,one\n008,a.png,two\n")
    typed = load_dataset("csv", data_files=str(tmp_path / "mine" / "pairs.csv"), cache_dir=str(tmp_path / "cache"))
    typed.save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "a.png").write_bytes(png())
    data = load_data(str(tmp_path / "saved"))
    assert data.train.ids == ["7", "8"]
    assert any("train was a csv file that the datasets library typed" in note for note in data.notes)


def drop(folder: Path) -> None:
    next(folder.glob("train/*.arrow")).unlink()


def cut(folder: Path) -> None:
    file = next(folder.glob("train/*.arrow"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scramble(folder: Path) -> None:
    file = next(folder.glob("train/*.arrow"))
    content = bytearray(file.read_bytes())
    content[-400:-200] = b"\xff" * 200
    file.write_bytes(content)


OVER = [
    ("train/state.json", "{"),
    ("train/state.json", "{}"),
    ("train/state.json", "[]"),
    ("train/state.json", '{"_data_files": [{"filename": 5}]}'),
    ("train/dataset_info.json", "[1]"),
    ("train/dataset_info.json", '{"features": {"id": {"_type": "Nothing"}}}'),
    ("dataset_dict.json", "{}"),
    ("dataset_dict.json", '{"splits": ["train", "gone"]}'),
    ("dataset_dict.json", "[" * 100_000),
]


@pytest.mark.parametrize("damage", [drop, cut, scramble, *range(len(OVER))])
def test_damaged_folders_of_save_to_disk_are_refused(tmp_path: Path, damage: Callable[[Path], None] | int) -> None:
    rows = {"id": IDS, "image": ["a.png"] * 3, "text": ["one", "two", "three" * 100]}
    folder = tmp_path / "saved"
    DatasetDict({"train": Dataset.from_dict(rows)}).save_to_disk(folder)
    (folder / "a.png").write_bytes(png())
    assert load_data(str(folder)).train.ids == IDS
    if isinstance(damage, int):
        name, content = OVER[damage]
        (folder / name).write_text(content)
    else:
        damage(folder)
    with pytest.raises(DataError, match=r"damaged|cannot be loaded"):
        load_data(str(folder))
