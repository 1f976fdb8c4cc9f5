"""What is written must not be, hold or lie inside anything that is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from multidelete.artifacts.folders import make_folder, whole_or_nothing
from multidelete.artifacts.keys import key_target
from multidelete.artifacts.overlap import refuse_overlap, refuse_pictures
from multidelete.core.errors import CheckpointError
from multidelete.data.pairs import Pair, PairData, PairDataset


def made(target: Path) -> Path:
    target.mkdir(parents=True)
    (target / "model").write_text("new")
    return target


def test_target_in_or_around_an_input_is_refused(tmp_path: Path) -> None:
    model, data, request = made(tmp_path / "model"), made(tmp_path / "data"), tmp_path / "request.txt"
    request.write_text("a\n")
    inputs = [model, data, request, Path("openai/some-model")]
    refuse_overlap(tmp_path / "out", inputs)
    refuse_overlap(tmp_path / "model2", inputs)
    (tmp_path / "link").symlink_to(model)
    for target, problem in [
        (model, "is input"),
        (model / "out", "lies inside input"),
        (tmp_path / "link" / "out", "lies inside input"),
        (data / "deep" / ".." / "out", "lies inside input"),
        (request, "is input"),
    ]:
        with pytest.raises(CheckpointError, match=problem):
            refuse_overlap(target, inputs)
    with pytest.raises(CheckpointError) as caught:
        refuse_overlap(tmp_path, inputs)
    assert [problem.split(";")[0] for problem in caught.value.problems] == [
        f"output {tmp_path} holds input {path}" for path in (model, data, request)
    ]


def test_links_and_dots_are_followed_from_both_ends(tmp_path: Path) -> None:
    photos, elsewhere = made(tmp_path / "disk" / "photos"), made(tmp_path / "elsewhere" / "deep")
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "link").symlink_to(photos)
    (photos / "away").symlink_to(elsewhere)
    for out, read in [
        (tmp_path / "album", tmp_path / "album" / "link"),  # would delete the link
        (tmp_path / "disk", tmp_path / "album" / "link"),  # or what it leads to
        (tmp_path / "album" / "link" / "out", photos),
        (photos, tmp_path / "album" / "link"),
        (photos / "away" / ".." / "out", tmp_path / "elsewhere"),  # where the system goes, and not the text
        (tmp_path / "new" / ".." / "disk" / "photos", photos),
    ]:
        with pytest.raises(CheckpointError):
            refuse_overlap(out, [read])
    refuse_overlap(photos / "away" / ".." / "out", [photos])


def test_a_place_that_files_are_added_to_may_hold_inputs(tmp_path: Path) -> None:
    model = made(tmp_path / "store" / "original")
    refuse_overlap(tmp_path / "store", [model], may_hold=True)
    for out in (model, model / "store"):
        with pytest.raises(CheckpointError):
            refuse_overlap(out, [model], may_hold=True)


def test_folders_of_pictures_count_where_they_would_be_replaced(tmp_path: Path) -> None:
    for name in ("a/one.png", "b/two.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(b"")
    pictures = [str(tmp_path / "photos" / "a" / "one.png"), tmp_path / "photos" / "b" / "two.png"]
    pairs = [
        Pair(id=str(n), inputs={"image": one, "text": "t"}, sources={"image": str(one), "text": "t"})
        for n, one in enumerate(pictures)
    ]
    data = PairData("photos", {"train": PairDataset(pairs, "photos")})
    for out in (tmp_path / "photos", tmp_path / "photos" / "a", tmp_path):
        with pytest.raises(CheckpointError, match=r"output .* (is|holds) input .*photos/a"):
            refuse_pictures(out, data)
    refuse_pictures(tmp_path / "photos" / "new", data)  # no path of theirs says that these belong together


def test_nothing_is_written_into_a_finished_result(tmp_path: Path) -> None:
    """Beside ``inner`` its key would lie in the result, whose content would be another."""
    with whole_or_nothing(tmp_path / "result") as folder:
        (folder / "model").write_text("weights")
    (tmp_path / "link").symlink_to(tmp_path / "result")
    before = sorted(tmp_path.rglob("*"))
    inside = [
        Path("result", "inner"),
        Path("result", "deep", "inner"),
        Path("link", "inner"),
        Path("x", "..", "result", "a"),
    ]
    writers: list[Callable[[Path], object]] = [
        lambda out: refuse_overlap(out, []),
        lambda out: whole_or_nothing(out).__enter__(),
        make_folder,
        lambda out: key_target(tmp_path / "new", out),
    ]
    for out in (tmp_path / place for place in inside):
        for write in writers:
            with pytest.raises(CheckpointError, match=r"lies inside .*result, a finished result of multidelete"):
                write(out)
    for key in (tmp_path / "typo" / "k.key", tmp_path / "typo" / "deep" / "k.key"):
        with pytest.raises(CheckpointError, match=r"k\.key cannot be written: there is no folder .*\. Make it first"):
            key_target(tmp_path / "new", key)
    assert key_target(tmp_path / "typo" / "new", tmp_path / "typo" / "k.key"), "the result makes the folder"
    for folder in (tmp_path / "result", tmp_path / "link"):
        with pytest.raises(CheckpointError, match="finished result"):
            make_folder(folder)
    assert sorted(tmp_path.rglob("*")) == before
    with whole_or_nothing(tmp_path / "result", overwrite=True) as folder:
        (folder / "model").write_text("others")


def test_outputs_among_folders_of_pictures_are_refused(tmp_path: Path) -> None:
    """Where the data's root is far above, and where none is known."""
    deep = tmp_path / "images" / "train" / "a" / "one.png"
    deep.parent.mkdir(parents=True)
    for source, root in (
        ("images/train/a/one.png", tmp_path),
        (str(deep), None),
        ("train/a/one.png", tmp_path / "images"),
        ("../images/train/a/one.png", None),
    ):
        pair = Pair(id="1", inputs={"image": deep, "text": "t"}, sources={"image": source, "text": "t"})
        data = PairData("photos", {"train": PairDataset([pair], "photos")})
        top = deep.parent if root is None else root / source.partition("/")[0]
        for out in (top, top / "new", deep.parent / "new", deep.parent / "much" / "deeper"):
            with pytest.raises(CheckpointError, match=r"output .* (is|lies inside) input"):
                refuse_pictures(out, data)
        refuse_pictures(tmp_path / "new", data)
        refuse_pictures(top.parent / "beside", data)
