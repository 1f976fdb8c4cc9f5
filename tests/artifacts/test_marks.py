"""What ``--overwrite`` replaces: folders that this tool wrote, with nothing in them but what it wrote."""

from pathlib import Path

import pytest

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.manifest import digest_folder
from multidelete.artifacts.marks import MARK
from multidelete.core.errors import CheckpointError


def write(target: Path, *, overwrite: bool = False, text: str = "one") -> None:
    with whole_or_nothing(target, overwrite=overwrite) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "model").write_text(text)


def test_a_folder_of_this_tool_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out")
    write(tmp_path / "out", overwrite=True, text="two")
    assert (tmp_path / "out" / "deep" / "model").read_text() == "two"


@pytest.mark.parametrize("name", ["multidelete.json", "model.safetensors", "audit.json", "photo.png"])
def test_any_other_folder_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(CheckpointError, match=rf"was not written by multidelete .* It holds {name}\. Give another"):
        write(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / name).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"written_by": "me", "files": []}', "[" * 100_000])
def test_a_mark_of_somebody_else_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MARK).write_text(text)
    with pytest.raises(CheckpointError, match="was not written by multidelete"):
        write(tmp_path / "out", overwrite=True)


def test_what_was_added_to_a_folder_is_named_and_stays(tmp_path: Path) -> None:
    write(tmp_path / "out")
    (tmp_path / "out" / "deep" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "photos").symlink_to(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds 2 files that .* did not write.*: deep/notes.txt, photos"):
        write(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "deep" / "notes.txt").read_text() == "mine"


def test_an_empty_folder_may_be_replaced_and_a_file_may_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file, and --overwrite replaces folders only"):
        write(tmp_path / "file", overwrite=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "folder").mkdir()
    with pytest.raises(CheckpointError, match="was not written by multidelete"):
        write(tmp_path / "empty", overwrite=True)


def test_the_mark_is_no_part_of_a_model(tmp_path: Path) -> None:
    write(tmp_path / "out")
    before = digest_folder(tmp_path / "out")
    (tmp_path / "out" / MARK).unlink()
    assert digest_folder(tmp_path / "out") == before
