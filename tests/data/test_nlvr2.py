import json
from pathlib import Path

import pytest
from PIL import Image

from multidelete.core.errors import DataError
from multidelete.data.images import check_images
from multidelete.data.readers import load_data
from multidelete.data.readers.nlvr2 import looks_like_nlvr2, read_nlvr2
from multidelete.data.request import resolve_request
from multidelete.data.split import draw_request

Row = dict[str, object]


def row(identifier: str, label: str = "True", **more: object) -> Row:
    return {"identifier": identifier, "sentence": f"There is {identifier} .", "left_url": "", "label": label, **more}


ROWS = {
    "train": [row("train-1-0-0"), row("train-1-0-1", "False"), row("train-1-2-0", "False"), row("train-7-0-0")],
    "dev": [row("dev-3-1-0")],
    "test1": [row("test1-4-1-0")],
}


def write(folder: Path, rows: dict[str, list[Row]], images: str = "images") -> Path:
    """``images`` may name the file stem and the row's directory: ``images/{stem}/{directory}``."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, lines in rows.items():
        (folder / f"{stem}.json").write_text("\n".join(json.dumps(line) for line in lines))
        for line in lines:
            place = folder / images.format(stem=stem, directory=line.get("directory", ""))
            place.mkdir(parents=True, exist_ok=True)
            for side in (0, 1):
                Image.new("RGB", (4, 4)).save(place / f"{str(line['identifier']).rpartition('-')[0]}-img{side}.png")
    return folder


def test_rows_become_pairs_of_two_pictures(tmp_path: Path) -> None:
    data = read_nlvr2(write(tmp_path, ROWS))
    assert data.classes == ("False", "True")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "val": 1, "test": 1}
    assert data.train.ids == ["train-1-0-0", "train-1-0-1", "train-1-2-0", "train-7-0-0"]
    assert [pair.label for pair in data.train] == [1, 0, 0, 1]
    assert [pair.subject for pair in data.train] == ["train-1", "train-1", "train-1", "train-7"]
    left, right = tmp_path / "images/train-1-0-img0.png", tmp_path / "images/train-1-0-img1.png"
    assert data.train[1].inputs == {"image": (left, right), "text": "There is train-1-0-1 ."}
    assert data.train[1].sources["image"] == "train-1-0-img0.png|train-1-0-img1.png"


def test_requests_by_image_pair_and_by_drawing(tmp_path: Path) -> None:
    data = read_nlvr2(write(tmp_path, {"train": [*ROWS["train"], row("train-7-0-1", "False"), row("train-8-0-0")]}))
    assert resolve_request(data, ids=["train-1-0-1"], unit="image").ids == ("train-1-0-0", "train-1-0-1")
    assert resolve_request(data, subjects=["train-1"]).ids == ("train-1-0-0", "train-1-0-1", "train-1-2-0")
    assert len(draw_request(data.train, fraction=0.2, unit="image", seed=0)) in (1, 2)


def test_the_layout_is_recognised_as_folder_as_file_and_by_name(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    for spec in (tmp_path, tmp_path / "train.json", f"nlvr2:{tmp_path}"):
        assert load_data(str(spec)).name == "nlvr2"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.json").write_text('[{"image": "a.png"}]')
    assert not looks_like_nlvr2(tmp_path / "other")
    assert not looks_like_nlvr2(tmp_path / "images")


@pytest.mark.parametrize(
    "images",
    ["images", ".", "../images", "images/{stem}", "images/train/{directory}", "../{stem}/{directory}", "{directory}"],
)
def test_pictures_are_found_where_they_usually_lie(tmp_path: Path, images: str) -> None:
    data = read_nlvr2(write(tmp_path / "data", {"train": [row("train-1-0-0", directory=12)]}, images))
    check_images(data.train)


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, {**ROWS, "test": [row("test-9-9-9", "maybe"), row("nine"), row("test-1-1-1"), row("test-1-1-1")]})
    (tmp_path / "images" / "train-7-0-img1.png").unlink()
    with pytest.raises(DataError) as error:
        read_nlvr2(tmp_path)
    found = "\n".join(error.value.problems)
    for text in (
        "holds test.json and test1.json, which would both be test", "some labels are not True or False: maybe",
        "1 identifier does not end in two numbers, such as dev-850-0-1: nine",
        "1 id occurs more than once in test: test-1-1-1", "1 of 10 images", "missing: train-7-0-img1.png",
    ):  # fmt: skip
        assert text in found
    assert len(error.value.problems) == 5


def test_real_drawings(real_data: Path) -> None:
    if not (real_data / "nlvr").is_dir():
        pytest.skip(f"no nlvr in {real_data}")
    data = load_data(str(real_data / "nlvr"))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2979, "val": 554, "test": 431}
    assert sum(pair.label == 1 for pair in data.train) == 1690
    assert len({pair.sources["text"] for split in data.splits.values() for pair in split}) <= 1333
    subjects = {name: {pair.subject for pair in split} for name, split in data.splits.items()}
    assert len(set().union(*subjects.values())) == sum(map(len, subjects.values())), "a drawing lies in two splits"
    check_images(data.splits["test"])
