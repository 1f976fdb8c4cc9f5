"""Folders that appear whole or not at all, replace their like only, and have one writer at a time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from multidelete.artifacts.folders import partial_folder, whole_or_nothing
from multidelete.artifacts.marks import MARK, mark
from multidelete.core.errors import CheckpointError, DivergedError


def made(target: Path, text: str = "new", *, marked: bool = True) -> Path:
    target.mkdir(parents=True)
    (target / "model").write_text(text)
    if marked:
        mark(target)
    return target


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MARK)


def test_target_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "out"
    with whole_or_nothing(target) as folder:
        (folder / "model").write_text("new")
        assert folder == partial_folder(target)
        assert folder.parent == target.parent
        assert not target.exists()
    assert held(target.parent) == ["out"]
    assert held(target) == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), whole_or_nothing(tmp_path / "new" / "out") as folder:
        (folder / "model").write_text("half")
        raise error
    assert not held(tmp_path)


def test_existing_target_is_refused_before_any_work(tmp_path: Path) -> None:
    target = made(tmp_path / "out", "old")
    worked = False
    with pytest.raises(CheckpointError, match=r"out already exists\. Give another .* --overwrite"):
        with whole_or_nothing(target):
            worked = True
    assert not worked
    assert held(tmp_path) == ["out"]


def test_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="already exists"), whole_or_nothing(tmp_path / "out"):
        pass


def test_overwrite_replaces_at_the_end_and_keeps_the_old_on_failure(tmp_path: Path) -> None:
    target = made(tmp_path / "out", "old")
    with pytest.raises(ValueError, match="broke"), whole_or_nothing(target, overwrite=True) as folder:
        (folder / "model").write_text("half")
        raise ValueError("broke")
    assert (target / "model").read_text() == "old"
    with whole_or_nothing(target, overwrite=True) as folder:
        (folder / "other").write_text("new")
        assert (target / "model").read_text() == "old"
    assert held(target) == ["other"]
    assert held(tmp_path) == ["out"]


def test_overwrite_of_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    precious = made(tmp_path / "precious", "old")
    (tmp_path / "out").symlink_to(precious)
    with whole_or_nothing(tmp_path / "out", overwrite=True) as folder:
        (folder / "model").write_text("new")
    assert (precious / "model").read_text() == "old"
    assert (tmp_path / "out" / "model").read_text() == "new"
    assert held(tmp_path) == ["out", "precious"]


def test_working_folder_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = made(tmp_path / "here" / "deep")
    monkeypatch.chdir(here)
    for target in (Path(), Path(".."), tmp_path, Path("/")):
        with pytest.raises(CheckpointError, match="holds the working folder"):
            with whole_or_nothing(target, overwrite=True):
                pass
    assert held(here) == ["model"]


def test_target_made_meanwhile_is_not_replaced_and_the_result_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(CheckpointError, match="made by something else meanwhile") as caught:
        with whole_or_nothing(target) as folder:
            (folder / "model").write_text("new")
            made(target, "somebody else's")
    assert (target / "model").read_text() == "somebody else's"
    assert (partial_folder(target) / "model").read_text() == "new"
    assert str(partial_folder(target)) in str(caught.value)


def test_target_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="out cannot be written: Not a directory"):
        with whole_or_nothing(tmp_path / "file" / "out"):
            pass


def test_kept_partial_is_resumed_or_refused_or_started_afresh(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(DivergedError), whole_or_nothing(target, keep_partial=True) as folder:
        (folder / "step_1").write_text("")
        raise DivergedError("loss is nan")
    with pytest.raises(CheckpointError, match=r"did not end; .*--resume to go on .* --overwrite to start afresh"):
        with whole_or_nothing(target, keep_partial=True):
            pass
    with pytest.raises(KeyboardInterrupt), whole_or_nothing(target, keep_partial=True, resume=True) as folder:
        assert held(folder) == ["step_1"]
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), whole_or_nothing(target, keep_partial=True, overwrite=True) as folder:
        assert not held(folder)
        (folder / "step_1").write_text("")
        raise KeyboardInterrupt
    with whole_or_nothing(target, keep_partial=True, resume=True) as folder:
        assert held(folder) == ["step_1"]
    assert held(tmp_path) == ["out"]


def test_kept_partial_without_content_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_or_nothing(tmp_path / "new" / "out", keep_partial=True):
        raise KeyboardInterrupt
    assert not held(tmp_path)


def test_other_processes_only_get_the_path(tmp_path: Path) -> None:
    with whole_or_nothing(tmp_path / "out", main=False) as folder:
        assert folder == partial_folder(tmp_path / "out")
    assert not held(tmp_path)


def test_killed_replacement_is_mended(tmp_path: Path) -> None:
    """Killed between its two renames: the old folder is aside, nothing at the target."""
    made(tmp_path / ".out.old", "old")
    with pytest.raises(CheckpointError, match="already exists"), whole_or_nothing(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "model").read_text() == "old"
    made(tmp_path / ".out.old", "older")  # killed after both, before the old one was removed
    with whole_or_nothing(tmp_path / "out", overwrite=True) as folder:
        (folder / "model").write_text("new")
    assert held(tmp_path) == ["out"]
    assert (tmp_path / "out" / "model").read_text() == "new"


def in_process(script: str, *prefix: str, **settings: object) -> "subprocess.CompletedProcess[str]":
    """Run a script with `whole_or_nothing` imported, in a process of its own."""
    head = "from pathlib import Path\nfrom multidelete.artifacts.folders import whole_or_nothing\n"
    command = [*prefix, sys.executable, "-c", head + script]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120, **settings)  # type: ignore[call-overload,no-any-return]


def test_killed_process_leaves_no_target_and_the_next_run_starts_afresh(tmp_path: Path) -> None:
    target = tmp_path / "out"
    script = f"""
import os, signal
with whole_or_nothing(Path({str(target)!r})) as folder:
    (folder / "model").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert in_process(script).returncode == -signal.SIGKILL
    assert not target.exists()
    with whole_or_nothing(target) as folder:
        assert not held(folder)
    assert held(tmp_path) == ["out"]


WRITERS = {
    "text": '(folder / "model").write_text("x" * 1_000_000)',
    "safetensors": 'save_file({"weight": torch.zeros(250_000)}, folder / "model.safetensors")',
    "torch": 'torch.save({"weight": torch.zeros(250_000)}, folder / "optimizer.pt")',
}

# A disk of 64 KiB, or where none can be mounted, files of at most 64 KiB.
TINY_DISK = ["unshare", "--mount", "--map-root-user", "sh", "-c", 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"']
WRITE = """
import json, sys, torch
from safetensors.torch import save_file
from multidelete.core.errors import CheckpointError
base = Path({base!r})
told = {{}}
for name, writer in {writers!r}.items():
    try:
        with whole_or_nothing(base / "new" / "out") as folder:
            exec(writer)
    except CheckpointError as error:
        told[name] = [str(error), sorted(path.name for path in base.iterdir())]
print(json.dumps(told))
"""
Told = dict[str, tuple[str, list[str]]]  # by writer, the message and what is left


def told_in_process(base: str, *prefix: str, writers: Sequence[str]) -> Told:
    """What is said of each writer, by one process for all."""
    done = in_process(WRITE.format(base=base, writers={name: WRITERS[name] for name in writers}), *prefix)
    assert done.returncode == 0, done.stderr
    told: Told = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Told]:
    """A process that sees a tiny disk; the mount is its own and goes with it."""
    folder = tmp_path_factory.mktemp("disk")
    try:
        subprocess.run([*TINY_DISK, folder, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    return str(folder), told_in_process(str(folder), *TINY_DISK, str(folder), writers=list(WRITERS))


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk_names_path_and_free_bytes_and_leaves_nothing(full_disk: tuple[str, Told], writer: str) -> None:
    disk, told = full_disk
    message, left = told[writer]
    assert message.startswith(f"{disk}/new/out cannot be written: the disk is full (")
    assert " bytes free at " in message
    assert message.endswith("or give an output folder on another disk.")
    free_bytes = int(message.partition("full (")[2].partition(" ")[0].replace(",", ""))
    assert free_bytes <= 64 * 1024
    assert left == []


LIMITED = ("text", "safetensors")


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Told:
    limit = ["sh", "-c", 'ulimit -f 64 && exec "$@"', "sh"]
    return told_in_process(str(tmp_path_factory.mktemp("limited")), *limit, writers=LIMITED)


@pytest.mark.parametrize("writer", LIMITED)
def test_file_over_the_limit_is_told_and_leaves_nothing(limited: Told, writer: str) -> None:
    message, left = limited[writer]
    assert "out cannot be written: a file would be larger than allowed here (" in message
    assert left == []


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="not yours"), whole_or_nothing(tmp_path / "out"):
        raise PermissionError(13, "not yours")
