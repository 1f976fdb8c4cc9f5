"""Paths of users are literal, whatever characters they hold; pictures that lie elsewhere are counted."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from multidelete.core.errors import RequestError
from multidelete.core.paths import user_path
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request
from tests.data.test_identity import picture, write

NAMES = [
    "a[b]c", "[1]", "a*b", "**", "a?b", "a::b", "zip::x", "a#b", "a%20b", "a b ", "-lead", "~tilde", "~", "file:x",
    "{a,b}", "é", "a\\b", "a,answers=3", "folder:x", "hf:x", "$HOME", "a|b",
]  # fmt: skip
ROWS = [{"image": f"p/{n}[1].png", "text": f"text {n}", "id": f"i{n}", "split": "train"} for n in range(4)]


def table() -> Dataset:
    return Dataset.from_dict({key: [row[key] for row in ROWS] for key in ("image", "text", "id")})


def as_json_lines(folder: Path) -> str:
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return "x.jsonl"


def as_parquet(folder: Path) -> str:
    table().to_parquet(folder / "x[1].parquet")
    return "x[1].parquet"


def as_saved(folder: Path) -> str:
    DatasetDict({"train": table()}).save_to_disk(folder / "saved")
    (folder / "p").rename(folder / "saved" / "p")
    return "saved"


def as_arrow(folder: Path) -> str:
    table().save_to_disk(folder / "saved")
    next((folder / "saved").glob("*.arrow")).rename(folder / "x.arrow")
    return "x.arrow"


def as_folder(folder: Path) -> str:
    (folder / "sub").mkdir()
    (folder / "p").rename(folder / "sub" / "p")
    (folder / "sub" / "metadata.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return "sub"


@pytest.mark.parametrize("writer", [as_json_lines, as_parquet, as_saved, as_arrow, as_folder])
def test_paths_are_literal(writer: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name by its whole path and from its own folder; no other file is read instead."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    plain = tmp_path / "plain"
    for row in ROWS:
        picture(plain / row["image"], int(row["id"][1:]))
    inside = writer(plain)
    monkeypatch.chdir(tmp_path)
    place = plain
    for name in NAMES:
        place = place.rename(tmp_path / name)
        for spec in (str(place / inside), os.path.join(name, inside), f"folder:{place / inside}"):
            data = load_data(spec)
            assert data.train.ids == ["i0", "i1", "i2", "i3"], spec
            assert all(Path(str(pair.inputs["image"])).is_file() for pair in data.train), spec


def test_a_tilde_is_the_home_folder_only_where_nothing_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert user_path("~/x") == tmp_path / "home" / "x"
    assert user_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "x").touch()
    assert user_path("~/x") == Path("~/x")


# Names of images in requests


@pytest.mark.parametrize("name", ["one/x.png", "two/x.png", "two/copy.png", "copy.png"])
def test_every_name_of_a_picture_means_it(name: str, tmp_path: Path) -> None:
    for file, seed in (("one/x.png", 0), ("two/copy.png", 0), ("two/x.png", 1), ("y.png", 2), ("z.png", 3)):
        picture(tmp_path / file, seed)
    files = ["one/x.png", "two/copy.png", "two/x.png", "y.png", "z.png"]
    data = load_data(write(tmp_path, [{"file_name": file, "text": file, "id": file} for file in files]))
    expected = {"two/x.png": ("two/x.png",)}.get(name, ("one/x.png", "two/copy.png"))
    assert resolve_request(data, images=[name]).ids == expected
    assert resolve_request(data, images=[str(tmp_path / name)] if "/" in name else [name]).ids == expected


def test_two_names_of_one_picture_are_no_repeat_and_one_name_twice_is(tmp_path: Path) -> None:
    for file, seed in (("x.png", 0), ("copy.png", 0), ("y.png", 1), ("z.png", 2)):
        picture(tmp_path / file, seed)
    files = ["x.png", "copy.png", "y.png", "z.png"]
    data = load_data(write(tmp_path, [{"file_name": file, "text": file, "id": file} for file in files]))
    assert resolve_request(data, images=["x.png", "copy.png"]).ids == ("x.png", "copy.png")
    with pytest.raises(RequestError, match="occurs more than once"):
        resolve_request(data, images=["copy.png", "copy.png"])


def test_a_name_with_a_backslash_is_taken_as_it_is_first(tmp_path: Path) -> None:
    for file, seed in (("a\\b.png", 0), ("a/b.png", 1), ("c.png", 2), ("d.png", 3)):
        picture(tmp_path / file, seed)
    files = ["a\\b.png", "a/b.png", "c.png", "d.png"]
    data = load_data(write(tmp_path, [{"file_name": file, "text": file, "id": file} for file in files]))
    assert resolve_request(data, images=["a\\b.png"]).ids == ("a\\b.png",)


# Elsewhere


def test_pictures_outside_the_folder_are_counted_unless_their_folder_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "data" / "in.png", 0)
    picture(tmp_path / "other" / "out.png", 1)
    picture(tmp_path / "other" / "linked.png", 2)
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "other" / "linked.png")
    files = ["in.png", "../other/out.png", str(tmp_path / "other" / "out.png"), "link.png"]
    rows = [{"file_name": file, "text": f"t{n}", "id": str(n)} for n, file in enumerate(files)]
    spec = write(tmp_path / "data", rows)
    (note,) = load_data(spec).notes
    assert note.startswith("2 pictures lie outside the folder of the data")
    assert "--image-root" in note
    inside = write(tmp_path / "data", rows[:1])
    assert load_data(inside).notes == ()
    moved = [{**row, "file_name": Path(str(row["file_name"])).name} for row in rows[1:3]]
    assert load_data(write(tmp_path / "data", moved), image_root=tmp_path / "other").notes == ()
