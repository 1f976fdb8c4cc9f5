"""Every example as a user runs it: a process of its own, in an empty folder, without network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
OUTCOMES = "forgotten|unfinished|over-forgotten|damaged|unjudged"
FIGURE = re.compile(r"^(.+): original (\d\.\d\d), unlearned (\d\.\d\d); .+$", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_runs_and_forgets(script: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    environment["TMPDIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.match(rf"({OUTCOMES}): ", done.stdout), done.stdout
    rows = FIGURE.findall(done.stdout)
    forgetting, membership, retain = (
        [(float(before), float(after)) for name, before, after in rows if name.startswith(beginning)]
        for beginning in ("Deleted pairs are found", "An attacker cannot tell", "Other training pairs are found")
    )  # of each kind that was deleted
    assert forgetting
    assert membership
    for before, after in forgetting:
        assert before >= 0.5, "the original never learned what is to be forgotten"
        assert after < before, "nothing was forgotten"
    assert all(after < before for before, after in membership)
    assert min(after for _, after in retain) > max(after for _, after in forgetting), "the rest is gone as well"
    left = [path.name for path in tmp_path.iterdir() if not path.name.startswith("torch")]  # code that torch makes
    assert left == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_imports_the_package_by_its_front_door(script: Path) -> None:
    imported = re.findall(r"^\s*(?:from|import) (multidelete\S*)", script.read_text(), re.MULTILINE)
    assert imported == ["multidelete"]


def test_examples_are_short_and_listed() -> None:
    assert SCRIPTS
    assert [script.name for script in SCRIPTS if len(script.read_text().splitlines()) >= 60] == []
    linked = re.findall(r"^\| \[(\w+\.py)\]\(\1\)", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(linked) == [script.name for script in SCRIPTS]
