import csv
import json
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from multidelete.core.errors import ConfigError, DataError
from multidelete.data.pairs import open_image
from multidelete.data.readers import load_data

Row = Mapping[str, object]


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write_images(folder: Path, count: int) -> list[str]:
    (folder / "pics").mkdir(parents=True, exist_ok=True)
    names = [f"pics/{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(png((number * 20, 10, 200)))
    return names


def write_jsonl(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_folder(folder: Path, rows: Sequence[Row]) -> Path:
    write_images(folder, 6)
    write_jsonl(folder / "metadata.jsonl", rows)
    return folder


def simple_rows(**more: object) -> list[dict[str, object]]:
    return [{"file_name": f"pics/{n}.png", "text": f"caption {n}", **more} for n in range(4)]


def test_folder_with_split_column_keeps_ids_subjects_and_kinds(tmp_path: Path) -> None:
    rows = [
        {"file_name": "pics/0.png", "text": "a", "split": "train", "id": 7, "subject": "s", "kind": "k"},
        {"file_name": "pics/1.png", "text": "b", "split": "validation", "id": 8, "subject": None, "kind": ""},
        {"file_name": "pics/2.png", "text": "c", "split": "test", "id": 9},
    ]
    data = load_data(str(write_folder(tmp_path / "mine", rows)))
    assert data.name == "mine"
    assert {name: split.ids for name, split in data.splits.items()} == {"train": ["7"], "val": ["8"], "test": ["9"]}
    pair = data.train[0]
    assert (pair.subject, pair.kind, pair.label) == ("s", "k", None)
    assert pair.sources == {"image": "pics/0.png", "text": "a"}
    assert open_image(pair.inputs["image"]).getpixel((0, 0)) == (0, 10, 200)
    assert (data.splits["val"][0].subject, data.splits["val"][0].kind) == (None, None)


def test_folder_without_split_column_is_all_training_pairs(tmp_path: Path) -> None:
    data = load_data(str(write_folder(tmp_path / "mine", simple_rows())))
    assert list(data.splits) == ["train"]
    assert sorted(pair.sources["image"] for pair in data.train) == [f"pics/{n}.png" for n in range(4)]


def test_folder_with_datasets_own_splits(tmp_path: Path) -> None:
    for part in ("train", "validation", "test"):
        write_folder(tmp_path / part, simple_rows())
    data = load_data(str(tmp_path))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "val": 4, "test": 4}
    assert Path(str(data.splits["test"][0].inputs["image"])).parts[-3:-1] == ("test", "pics")
    assert data.splits["test"][0].sources["image"] == "train/pics/0.png"  # the same picture


def test_folder_names_make_the_splits_of_metadata_without_a_split_column(tmp_path: Path) -> None:
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "test", 3)
    names = ["train/pics/0.png", "train/pics/1.png", "test/pics/2.png"]
    write_jsonl(tmp_path / "metadata.jsonl", [{"file_name": name, "text": name} for name in names])
    data = load_data(str(tmp_path))
    assert {split: [p.sources["image"] for p in pairs] for split, pairs in data.splits.items()} == {
        "train": names[:2],
        "test": names[2:],
    }


def test_metadata_in_each_split_folder_is_not_hidden_by_metadata_above(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_folder(tmp_path / part, simple_rows())
    write_jsonl(tmp_path / "metadata.jsonl", [{"file_name": "train/pics/0.png", "text": "a stray caption"}])
    data = load_data(str(tmp_path))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "test": 4}


def test_columns_are_mapped_by_name(tmp_path: Path) -> None:
    names = write_images(tmp_path, 2)
    file = write_jsonl(tmp_path / "x.jsonl", [{"pic": n, "cap": f"c {n}", "nr": n, "who": "w"} for n in names])
    data = load_data(str(file), columns={"image": "pic", "text": "cap", "id": "nr", "subject": "who"})
    assert data.train.ids == names
    assert data.train[1].subject == "w"


def test_missing_columns_name_the_found_ones_and_the_option(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    file = write_jsonl(tmp_path / "x.jsonl", [{"pic": "pics/0.png", "cap": "c"}])
    with pytest.raises(
        DataError, match=r"(?s)no column 'image'.*no column 'text'.*pic, cap.*--columns image="
    ) as error:
        load_data(str(file))
    assert len(error.value.problems) == 2
    with pytest.raises(DataError, match="no column 'who' for the subject"):
        load_data(str(file), columns={"image": "pic", "text": "cap", "subject": "who"})


def test_unknown_column_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Unknown columns: caption\. Known are image, text, id"):
        load_data(str(write_folder(tmp_path, simple_rows())), columns={"caption": "text"})


def test_made_ids_do_not_depend_on_order_or_place_and_repeats_are_dropped(tmp_path: Path) -> None:
    rows = [*simple_rows(split="train"), *simple_rows(split="train")[:1]]
    first = load_data(str(write_folder(tmp_path / "a", rows)))
    second = load_data(str(write_folder(tmp_path / "b", rows[::-1])))
    assert len(first.train) == 4
    assert first.notes == ("1 exact repeat dropped from train",)
    assert sorted(first.train.ids) == sorted(second.train.ids)
    by_text = {pair.inputs["text"]: pair.id for pair in second.train}
    assert all(by_text[pair.inputs["text"]] == pair.id for pair in first.train)


def test_made_ids_never_change_since_requests_hold_them(tmp_path: Path) -> None:
    """An id is sha256(hex sha256 of the image file, NUL, text, NUL, label), cut to 20 digits."""
    folder = write_folder(tmp_path, simple_rows(split="train"))
    (folder / "pics/0.png").write_bytes(b"same bytes everywhere")
    assert load_data(str(folder)).train.ids[0] == "72140d0c55f9498b7441"


def test_repeated_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 id occurs more than once.*same"):
        load_data(str(write_folder(tmp_path, simple_rows(id="same", split="train"))))


def test_csv_and_image_root(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", 3)
    file = tmp_path / "table.csv"
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerows([["image", "text", "split"], ["pics/0.png", "one,\ntwo", "train"], ["pics/1.png", "b", "dev"]])
    with pytest.raises(DataError, match=r"2 image files are missing .*--image-root.*pics/0.png.*pics/1.png"):
        load_data(str(file))
    data = load_data(str(file), image_root=tmp_path / "elsewhere")
    assert data.train[0].inputs["text"] == "one,\ntwo"
    assert data.train[0].sources["image"] == "pics/0.png"
    assert list(data.splits) == ["train", "val"]


def test_more_than_ten_missing_images_are_counted(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "x.jsonl", [{"image": f"{n}.png", "text": "t"} for n in range(15)])
    with pytest.raises(DataError, match=r"15 image files are missing.*9\.png, and 5 more"):
        load_data(str(file))


def test_rows_without_text_image_or_id_are_reported_together(tmp_path: Path) -> None:
    write_images(tmp_path, 3)
    rows = [
        {"image": "pics/0.png", "text": "", "id": "a"},
        {"image": None, "text": "t", "id": "b"},
        {"image": "pics/1.png", "text": "t", "id": None},
        {"image": "pics/2.png", "text": 5, "id": "d"},
    ]
    with pytest.raises(DataError) as error:
        load_data(str(write_jsonl(tmp_path / "x.jsonl", rows)))
    assert len(error.value.problems) == 3
    assert "2 rows have no text, or one that is not a text: row 1, row 4" in str(error.value)
    assert "1 row has no image: row 2" in str(error.value)
    assert "1 row has no id; leave the column out to have ids made: row 3" in str(error.value)


def test_broken_json_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"image": "a", "text": "b"}\n{"image": \n[1]\n')
    with pytest.raises(DataError, match="2 lines are not JSON objects: lines 2, 3"):
        load_data(str(tmp_path / "x.jsonl"))


def test_a_list_of_texts_becomes_one_pair_each(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    file = write_jsonl(tmp_path / "x.jsonl", [{"image": "pics/0.png", "text": ["one", "two"], "id": "p"}])
    assert [(p.id, p.inputs["text"]) for p in load_data(str(file)).train] == [("p#0", "one"), ("p#1", "two")]


def test_splits_option_maps_and_leaves_out(tmp_path: Path) -> None:
    rows = [{**row, "split": split} for row, split in zip(simple_rows(), "xxyz", strict=True)]
    folder = write_folder(tmp_path, rows)
    with pytest.raises(DataError, match=r"has a split 'x' \(found: x, y, z\)"):
        load_data(str(folder))
    data = load_data(str(folder), splits={"train": "x", "test": "y"})
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2, "test": 1}
    assert data.notes == ("splits left out: z",)
    with pytest.raises(DataError, match="no split w; it has x, y, z"):
        load_data(str(folder), splits={"train": "w"})
    with pytest.raises(ConfigError, match="Unknown splits: holdout"):
        load_data(str(folder), splits={"holdout": "x"})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "val", "dev", "test"), "two splits that mean val .found: train, val, dev, test"),
        (("val", "val", "test", "test"), "no train split .found: val, test"),
        (("train", "train", "", "test"), "has a split '.empty.'"),
    ],
)
def test_mixed_up_split_names_are_named(tmp_path: Path, names: Sequence[str], message: str) -> None:
    rows = [{**row, "split": split} for row, split in zip(simple_rows(), names, strict=True)]
    with pytest.raises(DataError, match=message):
        load_data(str(write_folder(tmp_path, rows)))


def test_split_column_that_contradicts_its_folder_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", simple_rows(split="train"))
    write_folder(tmp_path / "test", simple_rows(split="train"))
    with pytest.raises(DataError, match="has a split 'train inside test'"):
        load_data(str(tmp_path))


def stored(labels: Sequence[object] | None = None) -> Dataset:
    content: dict[str, list[object]] = {
        "image": [{"bytes": png((n, n, n)), "path": None} for n in range(3)],
        "text": ["a", "b", "c"],
    }
    features = Features({"image": ImageFeature(), "text": Value("string")})
    if labels is not None:
        content["label"], features["label"] = list(labels), ClassLabel(names=["cat", "dog"])
    return Dataset.from_dict(content, features=features)


def test_parquet_images_are_fetched_when_needed(tmp_path: Path) -> None:
    stored([1, 0, -1]).to_parquet(tmp_path / "x.parquet")
    data = load_data(str(tmp_path / "x.parquet"))
    assert [open_image(pair.inputs["image"]).getpixel((0, 0))[0] for pair in data.train] == [0, 1, 2]
    assert all(pair.sources["image"].startswith("sha256:") for pair in data.train)
    assert len({pair.sources["image"] for pair in data.train}) == 3
    assert [pair.label for pair in data.train] == [1, 0, None]
    assert data.notes == ("label classes: 0 cat, 1 dog",)
    assert {p.name for p in tmp_path.iterdir()} == {"x.parquet"}


def test_folder_of_save_to_disk(tmp_path: Path) -> None:
    DatasetDict({"train": stored(), "test": stored()}).save_to_disk(tmp_path / "saved")
    assert list(load_data(str(tmp_path / "saved")).splits) == ["train", "test"]


def test_webdataset_with_mapped_columns(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, content in (("a.png", png((1, 2, 3))), ("a.txt", b"hello")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
    data = load_data(str(tmp_path / "x.tar"), columns={"image": "png", "text": "txt", "id": "__key__"})
    assert (data.train[0].id, data.train[0].inputs["text"]) == ("a", "hello")
    assert open_image(data.train[0].inputs["image"]).getpixel((0, 0)) == (1, 2, 3)


def test_label_names_are_numbered_in_alphabetical_order(tmp_path: Path) -> None:
    rows = [{**row, "label": name} for row, name in zip(simple_rows(), ["yes", "no", "maybe", "no"], strict=True)]
    data = load_data(str(write_folder(tmp_path, rows)))
    by_text = {pair.inputs["text"]: pair.label for pair in data.train}
    assert [by_text[f"caption {n}"] for n in range(4)] == [2, 1, 0, 1]
    assert data.notes == ("label classes: 0 maybe, 1 no, 2 yes",)


def test_labels_of_several_kinds_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    rows = [{"image": "pics/0.png", "text": "a", "label": 1}, {"image": "pics/1.png", "text": "b", "label": "cat"}]
    with pytest.raises(DataError, match=r"labels of several kinds .numbers, texts."):
        load_data(str(write_jsonl(tmp_path / "x.jsonl", rows)))


def test_same_picture_and_text_with_two_labels_are_two_pairs(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    rows = [{"image": "pics/0.png", "text": "a", "label": label} for label in (0, 1)]
    assert [pair.label for pair in load_data(str(write_jsonl(tmp_path / "x.jsonl", rows))).train] == [0, 1]


def test_folder_without_pairs_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing here")
    with pytest.raises(DataError, match="cannot be loaded as a data set"):
        load_data(str(tmp_path))


def test_a_picture_name_that_is_too_long_is_a_missing_picture(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a" * 300 + ".png", "text": "t"}))
    with pytest.raises(DataError, match="1 image file is missing"):
        load_data(str(tmp_path))
