"""Steps that are killed at random moments; see `tests.ledger.killed`."""

import json
import os
import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.slow
def test_killed_steps_leave_a_chain_that_holds_and_can_be_taken_again() -> None:
    """In a process of its own, since it forks; 200 kills are run by hand."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.ledger.killed", "--kills", "12", "--seed", "1"],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    assert json.loads(done.stdout)["runs"] == {f"{step} killed": 4 for step in ("receive", "run", "release")}
