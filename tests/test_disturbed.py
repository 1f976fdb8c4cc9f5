"""Commands that are killed, or meet a full disk, end as if nothing had happened; see `tests.disturbed`."""

import json
import os
import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.slow
def test_commands_that_are_disturbed_end_as_if_nothing_had_happened() -> None:
    """In a process of its own, since it forks; the whole is run by hand."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.disturbed", "--kills", "3", "--full", "3", "--seed", "3",
         "--commands", "unlearn,convert"],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    told = json.loads(done.stdout)
    assert told["problems"] == 0
    assert sum(number for name, number in told["runs"].items() if name.endswith("disturbed")) >= 3, told
