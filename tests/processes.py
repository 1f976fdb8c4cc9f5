"""The command line in a process of its own, and signals sent to it; and one that is interrupted in this process."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from multidelete.cli import run

ROOT = Path(__file__).parents[1]


def command(*arguments: object) -> "subprocess.Popen[str]":
    """``multidelete`` with these arguments, as from a shell: without what the tests set for transformers."""
    not_set = ("TRANSFORMERS_", "TOKENIZERS_", "HF_HUB_D")
    env = {name: value for name, value in os.environ.items() if not name.startswith(not_set)}
    return subprocess.Popen(
        [sys.executable, "-m", "multidelete.cli", *map(str, arguments)],
        env={**env, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )


def own_environment() -> dict[str, str]:
    """For a process that runs the tests' own modules, with one thread."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


def launch_two(module: str, *arguments: object) -> None:
    """Run a module as two processes, started as users start them, to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2",
         "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
         "-m", module, *map(str, arguments)],
        capture_output=True, text=True, env=own_environment(), cwd=ROOT, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


def interrupted(process: "subprocess.Popen[str]", folder: Path, pattern: str) -> str:
    """What a process says on stderr that is interrupted as soon as ``folder`` holds ``pattern``."""
    wait_for(process, folder, pattern)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    return err


def interrupted_here(arguments: Sequence[str], has_begun: Callable[[], bool]) -> int:
    """The exit code of a command in this process that is interrupted as soon as it has begun what is asked for."""

    def look(number: int, frame: FrameType | None) -> None:
        if has_begun():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        return run(arguments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def without_progress(err: str) -> str:
    """What a process says, without the notes on how far it has come: a slow machine makes it say that now and then."""
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if not re.fullmatch(r"note: .+: [\d,]+ of [\d,]+.*\n?", line))


def wait_for(process: "subprocess.Popen[str]", folder: Path, pattern: str) -> None:
    """Until ``folder`` holds ``pattern``; the process must not end before."""
    deadline = time.monotonic() + 300
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
