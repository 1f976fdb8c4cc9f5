"""What the machine refuses is told in a line: full disks, too few open files, outputs that nobody reads."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from multidelete.cli import run
from multidelete.core.runtime import FILES_OF_A_WORKER, FILES_OPEN, possible_workers


@pytest.fixture
def few_files():  # type: ignore[no-untyped-def]
    """The limit of open files as it is afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
def test_a_soft_limit_is_raised_for_the_workers_that_were_asked_for() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    assert possible_workers(2) == 2
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= FILES_OPEN + 2 * FILES_OF_A_WORKER


@pytest.mark.slow
def test_where_too_few_files_can_be_open_a_run_prepares_its_batches_itself(tmp_path: Path) -> None:
    """With two workers and 24 files it would wait for ever."""
    script = """
import resource, sys
from multidelete.methods import Training
from multidelete.training.loop import run_loop
from multidelete.core.settings import LoopSettings
from tests.tiny import own_clip, people
data = people(2)
adapter = own_clip(data)
settings = LoopSettings(passes=1, batch_size=4, workers=2, device="cpu")
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
run_loop(adapter, Training(), {"train": data.train}, settings=settings, seed=0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "only 24 files can be open here, and to prepare batches in 2 processes takes" in done.stderr


@pytest.mark.parametrize("out", ["/dev/full", "|"])
def test_an_output_that_cannot_be_written_is_no_traceback(out: str) -> None:
    command = f"{sys.executable} -m multidelete.cli methods --json " + ("| true" if out == "|" else f"> {out}")
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if out == "/dev/full":
        assert done.returncode == 1
        assert done.stderr == "error: the system refused: No space left on device.\n"


def test_a_system_error_within_a_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    (tmp_path / "sub").rmdir()  # the working folder is gone
    code = run(["train", "--data", "personas:people=2", "--out", "out"])
    err = capsys.readouterr().err
    assert code in (1, 2)
    assert err.startswith("error: ")
