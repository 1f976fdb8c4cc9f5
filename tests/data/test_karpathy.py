import json
from pathlib import Path

import pytest
from PIL import Image

from multidelete.core.errors import ConfigError, DataError
from multidelete.data.readers import load_data
from multidelete.data.readers.karpathy import read_karpathy


def entry(name: str, split: str, captions: int = 2, **more: str) -> dict[str, object]:
    sentences = [{"raw": f" {name} caption {k} . ", "tokens": [name, str(k)]} for k in range(captions)]
    return {"filename": name, "split": split, "sentences": sentences, **more}


def write(folder: Path, images: list[dict[str, object]], name: str = "dataset_tiny.json") -> Path:
    for image in images:
        file = folder / "images" / str(image.get("filepath", "")) / str(image["filename"])
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(file)
    (folder / name).write_text(json.dumps({"dataset": "tiny", "images": images}))
    return folder / name


ALL = [entry("a.png", "train"), entry("b.png", "restval"), entry("c.png", "val"), entry("d.png", "test", 5)]


def test_karpathy_makes_one_pair_per_caption(tmp_path: Path) -> None:
    data = read_karpathy(write(tmp_path, ALL))
    assert data.name == "tiny"
    assert data.train.ids == ["a.png#0", "a.png#1", "b.png#0", "b.png#1"]
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "val": 2, "test": 5}
    pair = data.train[1]
    assert pair.inputs == {"image": tmp_path / "images/a.png", "text": "a.png caption 1 ."}
    assert pair.sources == {"image": "a.png", "text": "a.png caption 1 ."}
    assert pair.subject is None


def test_karpathy_is_recognised_as_file_and_as_folder(tmp_path: Path) -> None:
    file = write(tmp_path, ALL)
    for spec in (str(file), str(tmp_path), f"karpathy:{file}", f"karpathy:{tmp_path}"):
        assert load_data(spec).train.ids[0] == "a.png#0"


def test_karpathy_coco_subfolders_and_image_root(tmp_path: Path) -> None:
    file = write(tmp_path, [entry("a.png", "train", filepath="val2014")])
    assert read_karpathy(file).train[0].inputs["image"] == tmp_path / "images/val2014/a.png"
    (tmp_path / "images").rename(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"1 of 1 image.*missing.*images/val2014/a.png.*--image-root"):
        read_karpathy(file)
    assert len(load_data(str(file), image_root=tmp_path / "pictures").train) == 2


def test_karpathy_names_ten_missing_images_and_counts_all(tmp_path: Path) -> None:
    file = write(tmp_path, [entry(f"{n:02}.png", "train") for n in range(13)])
    for image in (tmp_path / "images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"13 of 13 images.*00\.png.*09\.png, and 3 more"):
        read_karpathy(file)


def test_karpathy_unknown_splits_and_missing_train(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 image has unknown splits: holdout\. Known are train, restval, val, test"):
        read_karpathy(write(tmp_path, [entry("a.png", "train"), entry("b.png", "holdout")]))
    with pytest.raises(DataError, match="has no train split; it has test, val"):
        read_karpathy(write(tmp_path, [entry("a.png", "val"), entry("b.png", "test")]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("[]", "is not Karpathy JSON"),
        ('{"pictures": []}', 'is not Karpathy JSON; it has a list "images"'),
        ('{"images": [{"filename": "a"}]}', "1 image lacks filename, split or sentences: numbers 0"),
    ],
)
def test_karpathy_broken_files_are_explained(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(f"karpathy:{tmp_path}")


def test_several_karpathy_files_must_be_named(tmp_path: Path) -> None:
    write(tmp_path, ALL, "dataset_one.json")
    file = write(tmp_path, ALL, "dataset_two.json")
    with pytest.raises(DataError, match=r"2 Karpathy files: dataset_one\.json, dataset_two\.json\. Name one"):
        load_data(str(tmp_path))
    assert load_data(str(file)).name == "two"


def test_karpathy_refuses_options_it_cannot_honour(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="karpathy reader has no use for columns"):
        load_data(str(write(tmp_path, ALL)), columns={"text": "raw"})


def test_karpathy_files_of_one_name_in_several_folders_are_different_pictures(tmp_path: Path) -> None:
    images = [entry("a.png", "train", 1, filepath=folder) for folder in ("x", "y")]
    file = write(tmp_path, [*images, entry("b.png", "train", 1, filepath="x")])
    Image.new("RGB", (4, 4), "red").save(tmp_path / "images" / "y" / "a.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "images" / "x" / "b.png")
    data = load_data(str(file))
    assert data.train.ids == ["x/a.png#0", "y/a.png#0", "b.png#0"]
    assert [pair.sources["image"] for pair in data.train] == ["x/a.png", "y/a.png", "b.png"]
