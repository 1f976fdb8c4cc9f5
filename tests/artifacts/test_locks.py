"""One writer at a time: a running job is told from a dead one, and no lock is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from multidelete.artifacts.folders import refuse_existing, whole_or_nothing
from multidelete.artifacts.locks import in_turn, sole_writer
from multidelete.core.errors import CheckpointError

HOLD = """
import sys, time
from pathlib import Path
from multidelete.artifacts.folders import refuse_existing, whole_or_nothing
with whole_or_nothing(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("")
    time.sleep(60)
"""


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def other(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A process that is writing ``out``."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], env=env)
    end = time.monotonic() + 60
    while not (tmp_path / ".out.partial" / "half").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


def test_a_running_job_is_named_and_its_folder_is_left_alone(tmp_path: Path, other: "subprocess.Popen[bytes]") -> None:
    for overwrite in (False, True):
        with pytest.raises(CheckpointError, match=rf"being written by process {other.pid} on .*still running"):
            with whole_or_nothing(tmp_path / "out", overwrite=overwrite, resume=True):
                pass
    assert (tmp_path / ".out.partial" / "half").exists()
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert held(tmp_path) == [".out.lock", ".out.partial"]
    with whole_or_nothing(tmp_path / "out") as folder:
        assert held(folder) == []
    assert held(tmp_path) == ["out"]


def test_a_killed_process_whose_children_live_on_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    """They hold what their parent held, until they notice that it is gone."""
    script = f"""
import os, signal, time
from pathlib import Path
from multidelete.artifacts.locks import sole_writer
with sole_writer(Path({str(tmp_path / "out")!r})):
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", script], env=env, check=False)
    with sole_writer(tmp_path / "out"):
        pass
    assert held(tmp_path) == []


def test_turns_are_taken_one_after_the_other_and_leave_nothing(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with in_turn(tmp_path / ".turn"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
    assert held(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_that_takes_no_new_files_is_not_taken_for_a_busy_one() -> None:
    """/proc says of new files that they are not there, which locks read as another process that removes its own."""
    with (
        pytest.raises(CheckpointError, match=r"/proc/out cannot be written: its folder takes no new files .* another"),
        whole_or_nothing(Path("/proc/out")),
    ):
        pass
    with pytest.raises(OSError, match="takes no new files"), in_turn(Path("/proc/.turn")):
        pass


def test_a_refused_run_leaves_neither_lock_nor_parents(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="already exists"), whole_or_nothing(tmp_path / "out"):
        pass
    assert held(tmp_path) == ["out"]


def test_the_lock_of_a_process_that_was_killed_when_all_was_done_is_removed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.lock").write_text("1 elsewhere")
    with pytest.raises(CheckpointError, match="already exists"):
        refuse_existing(tmp_path / "out", overwrite=False)
    assert held(tmp_path) == ["out"]
