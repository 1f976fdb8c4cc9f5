import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from multidelete.core.errors import ConfigError, DataError
from multidelete.data.images import check_images
from multidelete.data.readers import load_data
from multidelete.data.readers.snli_ve import read_snli_ve
from multidelete.data.request import resolve_request

LABELS = ("entailment", "neutral", "contradiction", "-")


def row(image: str, number: int, label: str = "neutral", **more: object) -> dict[str, object]:
    return {"Flickr30K_ID": image, "pairID": f"{image}.jpg#{number}", "sentence1": "A premise.",
            "sentence2": f" {image} Hypothesis {number} ", "gold_label": label, **more}  # fmt: skip


ROWS = {
    "train": [row("11", n, label) for n, label in enumerate(LABELS)] + [row("22", 0, "-")],
    "dev": [row("33", 0)],
    "test": [row("44", 0, "entailment")],
}


def write(folder: Path, rows: dict[str, list[dict[str, object]]], images: str = "images") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, lines in rows.items():
        text = "\n".join(json.dumps(line) for line in lines)
        (folder / f"snli_ve_{split}.jsonl").write_text(text + "\n", encoding="utf-8")
        for line in lines:
            if "Flickr30K_ID" in line:
                file = folder / images / f"{line['Flickr30K_ID']}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4)).save(file)
    return folder


def test_rows_become_labelled_pairs_and_undecided_ones_are_counted(tmp_path: Path) -> None:
    data = read_snli_ve(write(tmp_path, ROWS))
    assert data.name == "snli-ve"
    assert data.classes == ("contradiction", "neutral", "entailment")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 3, "val": 1, "test": 1}
    assert data.train.ids == ["11.jpg#0", "11.jpg#1", "11.jpg#2"]
    assert [pair.label for pair in data.train] == [2, 1, 0]
    assert data.train[0].inputs == {"image": tmp_path / "images" / "11.jpg", "text": "11 Hypothesis 0"}
    assert data.train[0].sources == {"image": "11.jpg", "text": "11 hypothesis 0"}
    assert data.notes == ("2 of 5 rows of train have no agreed label ('-'): dropped",)


def test_a_request_by_image_takes_every_sentence_about_it(tmp_path: Path) -> None:
    others = [row("22", n, label) for n, label in enumerate(LABELS)]
    data = read_snli_ve(write(tmp_path, {"train": [*ROWS["train"][:4], *others]}))
    assert resolve_request(data, images=["22.jpg"]).ids == ("22.jpg#0", "22.jpg#1", "22.jpg#2")


def test_the_layout_is_recognised_as_folder_as_file_and_by_name(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    for spec in (tmp_path, tmp_path / "snli_ve_train.jsonl", f"snli-ve:{tmp_path}"):
        assert len(load_data(str(spec)).splits["val"]) == 1
    with pytest.raises(ConfigError, match="snli-ve reader has no use for columns"):
        load_data(str(tmp_path), columns={"text": "sentence1"})
    with pytest.raises(DataError, match="no file or folder /nowhere"):
        load_data("snli-ve:/nowhere")


@pytest.mark.parametrize(
    "images", ["images", "flickr30k_images", "flickr30k-images", "../flickr30k-images", "../flickr30k/images"]
)
def test_pictures_are_found_where_they_usually_lie(tmp_path: Path, images: str) -> None:
    data = read_snli_ve(write(tmp_path / "ve", ROWS, images))
    check_images(data.train)


def test_image_root_is_the_only_place_then(tmp_path: Path) -> None:
    write(tmp_path / "ve", ROWS)
    (tmp_path / "photos").mkdir()
    with pytest.raises(
        DataError, match=r"3 of 3 images of .*ve are missing: 11\.jpg.*Looked in .*photos\. .*--image-r"
    ):
        load_data(str(tmp_path / "ve"), image_root=tmp_path / "photos")
    write(tmp_path / "ve", ROWS, "../photos")
    assert load_data(str(tmp_path / "ve"), image_root=tmp_path / "photos").train[0].inputs["image"] == (
        tmp_path / "photos" / "11.jpg"
    )


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    rows = {
        "train": [row("11", 0), row("11", 0), row("11", 1, "maybe"), {"pairID": "x", "gold_label": "neutral"}],
        "dev": [row("55", n) for n in range(13)],
    }
    write(tmp_path, rows)
    with (tmp_path / "snli_ve_train.jsonl").open("a") as file:
        file.write("{broken\n[1, 2]\n")
    (tmp_path / "images" / "55.jpg").unlink()
    with pytest.raises(DataError) as error:
        read_snli_ve(tmp_path)
    found = "\n".join(error.value.problems)
    for text in (
        "2 lines are not JSON objects: line 5 (", "line 6 (not an object)",
        "1 row has no 'Flickr30K_ID': line 4", "1 row has no 'sentence2': line 4",
        "1 row has an unknown gold_label: maybe. Known are contradiction, neutral, entailment",
        "1 id occurs more than once in train: 11.jpg#0", "1 of 2 images", "missing: 55.jpg",
    ):  # fmt: skip
        assert text in found
    assert len(error.value.problems) == 6


def test_training_rows_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no training pairs \(found: val\); they are read from snli_ve_train.jsonl"):
        read_snli_ve(write(tmp_path, {"dev": ROWS["dev"]}))
    (tmp_path / "snli_ve_train.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"train\.jsonl is empty; it needs one JSON object on each line"):
        read_snli_ve(tmp_path)
    (tmp_path / "snli_ve_train.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match="cannot be read as UTF-8 text"):
        read_snli_ve(tmp_path)


def test_real_photographs(real_data: Path) -> None:
    if not (real_data / "flickr8k_ve").is_dir() or not (real_data / "flickr8k").is_dir():
        pytest.skip(f"no flickr8k_ve and flickr8k in {real_data}")
    data = load_data(str(real_data / "flickr8k_ve"))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4344, "val": 588, "test": 523}
    assert Counter(pair.label for pair in data.train) == {2: 1464, 1: 1443, 0: 1437}
    images = {name: {pair.sources["image"] for pair in split} for name, split in data.splits.items()}
    assert len(set().union(*images.values())) == sum(map(len, images.values())) == 1586
    check_images(data.splits["test"])
