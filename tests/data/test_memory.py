"""Pairs from what Python holds: rows and data sets, by the same rules as files."""

import json
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

import multidelete
from multidelete.core.errors import ConfigError, DataError
from multidelete.data.pairs import Pair, PairData, open_image

Row = dict[str, object]


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (shade, 10, 200))


def png(shade: int) -> bytes:
    buffer = BytesIO()
    picture(shade).save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path, count: int = 4) -> list[str]:
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(number))
    return [f"{number}.png" for number in range(count)]


def table(folder: Path) -> list[Row]:
    """Rows with everything that a table may have."""
    names = write_pictures(folder)
    splits, labels = ("train", "train", "validation", "test"), ("no", "yes", "no", "yes")
    return [
        {
            "image": name,
            "text": f"Caption  {n}",
            "id": n,
            "subject": f"s{n % 2}",
            "kind": "k",
            "label": label,
            "split": s,
        }
        for n, (name, label, s) in enumerate(zip(names, labels, splits, strict=True))
    ]


def told(data: PairData) -> Mapping[str, object]:
    return {name: [(p.id, p.inputs, p.sources, p.label, p.subject, p.kind) for p in pairs]
            for name, pairs in data.splits.items()}  # fmt: skip


@pytest.mark.parametrize("without", [(), ("id",), ("split", "subject", "kind", "label")])
def test_rows_give_the_pairs_that_their_file_gives(tmp_path: Path, without: tuple[str, ...]) -> None:
    rows = [{column: value for column, value in row.items() if column not in without} for row in table(tmp_path)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    of_file = multidelete.load_data(str(file))
    of_rows = PairData.from_rows((row for row in rows), image_root=tmp_path)
    assert told(of_rows) == told(of_file)
    assert of_rows.classes == of_file.classes
    assert of_rows.notes == of_file.notes
    assert of_rows.sources_are_true


def test_paths_start_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = write_pictures(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    for image in (name, Path(name), tmp_path / name):
        (pair,) = PairData.from_rows([{"image": image, "text": "a", "id": "1"}]).train
        assert pair.sources["image"] == "0.png"
        assert open_image(pair.inputs["image"]).getpixel((0, 0)) == (0, 10, 200)


def test_pictures_in_memory_are_told_apart_by_what_they_show(tmp_path: Path) -> None:
    (name,) = write_pictures(tmp_path, 1)
    images = [picture(0), picture(0).copy(), picture(1), png(0), png(2), tmp_path / name]
    data = PairData.from_rows([{"image": image, "text": f"t{n}"} for n, image in enumerate(images)])
    sources = [pair.sources["image"] for pair in data.train]
    assert [sources.index(source) for source in sources] == [0, 0, 2, 3, 4, 3]  # the file holds the bytes of png(0)
    assert [open_image(pair.inputs["image"]).getpixel((0, 0))[0] for pair in data.train] == [0, 0, 1, 0, 2, 0]
    assert PairData.from_rows([{"image": picture(0), "text": "t0"}]).train.ids == [data.train.ids[0]]


def test_palettes_and_turned_pictures_are_different_pictures() -> None:
    red, blue, turned = Image.new("P", (4, 8)), Image.new("P", (4, 8)), Image.new("P", (4, 8))
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    turned.putpalette([255, 0, 0])
    turned.getexif()[0x0112] = 6
    data = PairData.from_rows([{"image": image, "text": "a"} for image in (red, blue, turned)])
    assert len({pair.sources["image"] for pair in data.train}) == 3


def test_values_of_numpy_and_missing_ones_are_read_as_in_tables() -> None:
    rows: list[Row] = [
        {"image": png(0), "text": ("a", "b"), "id": np.int64(7), "label": np.float64(1.0), "subject": float("nan")},
        {"image": png(1), "text": np.str_("c"), "id": 8, "label": 0.0, "subject": " "},
        {"image": png(2), "text": ["d"], "id": 9, "label": None, "subject": datetime(2014, 1, 2)},
    ]
    data = PairData.from_rows(rows)
    assert [(p.id, p.label, p.subject) for p in data.train] == [
        ("7#0", 1, None), ("7#1", 1, None), ("8", 0, None), ("9", None, "2014-01-02T00:00:00"),
    ]  # fmt: skip
    assert "labels are written with a point" in data.notes[0]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"image": b"x", "text": 3}, "1 row.* no text, or one that is not a text: row 2"),
        ({"image": b"x", "text": "a", "id": ["x"]}, "id that is a list; it must be one text or number: row 2"),
        ({"image": b"x", "text": "a"}, "1 row has no id; leave the column out"),
        ({"image": None, "text": "a", "id": "2"}, "1 row has no image: row 2"),
        ({"image": "none.png", "text": "a", "id": "2"}, r"1 image file is missing.*none\.png"),
        ({"image": picture(1), "text": "a", "id": "1"}, "id.* more than once in rows train: 1"),
        ({"image": Image.new("F", (2, 2), 300.5), "text": "a", "id": "2"}, "cannot be read .float pixels.*row 2"),
        ({"image": b"x", "text": "half \ud800", "id": "2"}, "half of a character, a lone surrogate: row 2"),
        ({"image": b"x", "text": "a", 3: "2"}, "columns whose names are not texts: row 2"),
        (["image", "text"], "1 row is no mapping of columns to values: row 2"),
        ({"image": b"x", "text": "a", "id": "2", "split": "other"}, r"has a split .*\(found: \(empty\), other\)"),
    ],
)
def test_what_tables_refuse_rows_are_refused_for(row: Row, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        PairData.from_rows([{"image": png(0), "text": "a", "id": "1"}, row])


@pytest.mark.parametrize("rows", ["pairs.jsonl", {"image": ["a.png"], "text": ["a"]}, 3])
def test_what_is_no_list_of_rows_is_refused(rows: object) -> None:
    with pytest.raises(DataError, match=r"rows are an? \w+; they must be a list of rows"):
        PairData.from_rows(rows)  # type: ignore[arg-type]


def test_no_rows_and_wrong_arguments_are_refused() -> None:
    with pytest.raises(DataError, match="rows has no column 'image'"):
        PairData.from_rows([])
    with pytest.raises(ConfigError, match="columns is 3"):
        PairData.from_rows([], columns=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Unknown columns: caption"):
        PairData.from_rows([], columns={"caption": "text"})
    with pytest.raises(DataError, match="dataset is a dict; pairs are read from finished data sets"):
        PairData.from_dataset({"train": []})  # type: ignore[arg-type]


def stored(shades: list[int]) -> Dataset:
    features = Features({"photo": ImageFeature(), "caption": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = {
        "photo": [picture(s) for s in shades],
        "caption": [f"c{s}" for s in shades],
        "label": [s % 2 for s in shades],
    }
    return Dataset.from_dict(rows, features=features)


def test_dataset_gives_the_pairs_that_it_gives_when_saved(tmp_path: Path) -> None:
    both = DatasetDict({"train": stored([0, 1, 2]), "test": stored([5])})
    both.save_to_disk(tmp_path / "saved")
    columns = {"image": "photo", "text": "caption"}
    saved, data = (
        multidelete.load_data(str(tmp_path / "saved"), columns=columns),
        PairData.from_dataset(both, columns=columns),
    )
    assert [(p.id, p.sources, p.label) for p in data.train] == [(p.id, p.sources, p.label) for p in saved.train]
    assert data.splits["test"].ids == saved.splits["test"].ids
    assert data.classes == ("no", "yes")
    assert open_image(data.splits["test"][0].inputs["image"]).getpixel((0, 0)) == (5, 10, 200)


def test_rows_of_a_selection_with_a_format_keep_their_own_pictures() -> None:
    chosen = stored([0, 1, 2, 3]).shuffle(seed=1).select([1, 3]).with_format("numpy")
    data = PairData.from_dataset(chosen, columns={"image": "photo", "text": "caption"}, name="mine")
    for pair in data.train:
        assert f"c{open_image(pair.inputs['image']).getpixel((0, 0))[0]}" == pair.inputs["text"]
    assert (data.name, len(data.train)) == ("mine", 2)


def test_dataset_is_the_split_that_it_was_loaded_as() -> None:
    held_out = Dataset.from_dict({"image": [png(0)], "text": ["a"]}, split="test")
    with pytest.raises(DataError, match=r"no train split \(found: test\)"):
        PairData.from_dataset(held_out)
    assert len(PairData.from_dataset(held_out, splits={"train": "test"}).train) == 1


def test_streams_are_refused() -> None:
    with pytest.raises(DataError, match="IterableDataset; pairs are read from finished data sets"):
        PairData.from_dataset(stored([1]).to_iterable_dataset())  # type: ignore[arg-type]


def test_sources_of_a_pair_are_made_from_its_content() -> None:
    pair = Pair(id="1", inputs={"image": Path("a/b.png"), "text": " A  dog"})
    assert pair.sources == {"image": "a/b.png", "text": "a dog"}
    two = Pair(id="2", inputs={"image": ("a.png", "b.png"), "text": "x"}, sources={"text": "mine"})
    assert two.sources == {"text": "mine", "image": "a.png|b.png"}
    assert Pair(id="3", inputs={"graph": ("n", "m"), "text": "x"}).sources == {"graph": "n|m", "text": "x"}
    in_rows = PairData.from_rows([{"image": image, "text": "a"} for image in (png(1), picture(1))]).train
    for image, read in zip((png(1), picture(1)), in_rows, strict=True):
        assert Pair(id="4", inputs={"image": image, "text": "a"}).sources == read.sources


@pytest.mark.parametrize("image", [lambda: picture(1), 3, None, ()])
def test_a_source_that_the_content_does_not_tell_must_be_given(image: object) -> None:
    with pytest.raises(DataError, match=r"The image of pair 'x' is an? .*tells no source. Give sources="):
        Pair(id="x", inputs={"image": image, "text": "a"})
    assert Pair(id="x", inputs={"image": image, "text": "a"}, sources={"image": "i"}).sources["image"] == "i"
