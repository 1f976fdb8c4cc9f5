"""Progress where nobody looks on: processes whose standard error is a file, and one whose is a terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest

RUN = """
import logging, sys, time
from multidelete.core.progress import progress_bar
logging.basicConfig(level=logging.INFO, format="%(message)s")
for every_s, first, pause_s in {runs}:
    with progress_bar("asking", 1_000, every_s=every_s) as bar:
        bar.to(first)
        for done in range(first + 100, 1_001, 100):
            time.sleep(pause_s)
            bar.to(done, "asking again")
            with progress_bar("within", 10, every_s=0) as inner:
                inner.to(5)
                inner.to(6)
    print("end of a run", file=sys.stderr)
"""
SHORT = """
for number in range(5):
    with progress_bar(f"asking {number}", 10, every_s=0.3) as bar:
        bar.to(1)
        time.sleep(0.1)
        bar.to(5)
"""


@pytest.fixture(scope="module")
def said() -> list[list[str]]:
    """Lines on standard error without a terminal, of runs of a process: soon done, with notes, resumed, and short."""
    code = RUN.format(runs=[(30, 0, 0.02), (0, 0, 0.02), (0, 500, 0.4)]) + SHORT
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    return [lines.splitlines() for lines in told.split("end of a run\n")]


def test_without_terminal_lines_tell_how_far_and_time_left(said: list[list[str]]) -> None:
    lines = said[1]
    assert len(lines) == 9  # none at the end, and none of the bar within
    assert re.fullmatch(r"asking again: 100 of 1,000, about \d+ s left", lines[0])
    assert all(f"{done}00 of 1,000" in line for done, line in enumerate(lines, 1))


def test_what_is_soon_done_says_nothing(said: list[list[str]]) -> None:
    assert said[0] == []


def test_many_short_bars_say_something_together(said: list[list[str]]) -> None:
    """Five of 0.1 s each, a note every 0.3 s: each alone would say nothing."""
    assert 1 <= len(said[3]) <= 4


def test_resumed_run_counts_its_own_speed_alone(said: list[list[str]]) -> None:
    """After 500 that were there, 100 take 0.4 s: 1.6 s for the rest, and 0.3 s were the first 500 this run's work."""
    first = said[2][0]
    assert re.fullmatch(r"asking again: 600 of 1,000, about [2-9] s left", first)


def test_terminal_has_a_bar_and_no_lines() -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    code = RUN.format(runs=[(0, 0, 0.02)])
    subprocess.run([sys.executable, "-c", code], stderr=child, env=environment, check=True)
    os.close(child)
    shown = os.read(parent, 100_000).decode()
    os.close(parent)
    assert "/1000" in shown
    assert "of 1,000" not in shown
