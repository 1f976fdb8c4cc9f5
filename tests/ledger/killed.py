"""Steps of a lineage that are killed, or meet a full disk: the chain holds, nothing is half-said, they can be done.

    python -m tests.ledger.killed --kills 200 --full 50 --seed 0

Each step runs in a child that is forked from a process which has imported everything. It is killed before a random
one of the file operations that the interpreter reports, or after a random time. Then the chain must hold, and the
same step, taken again, must end with exactly one event of its kind. A disk is full when a file system in memory, of
which a random part of what the step needs is left, takes no more: the step ends in an error of this package's.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from multidelete.core.errors import LedgerError
from multidelete.core.settings import TrainSettings
from multidelete.data.pairs import PairData
from multidelete.ledger.chain import Ledger
from multidelete.ledger.releasing import release
from multidelete.ledger.requests import pairs_of
from multidelete.ledger.running import run
from multidelete.unlearning import train
from tests.ledger.operated import QUICK, ask, lineage
from tests.tiny import people, quick

WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "sqlite3.connect"}
BEGINS = {"receive": "init", "run": "received", "release": "judged"}
"""Each step, and the lineage that it begins with."""


def receive_step(folder: Path, data: PairData) -> None:
    ledger = Ledger.open(folder)
    if "T-1" not in ledger.requests():
        ask(ledger, data, "T-1", "person-0001")


def run_step(folder: Path, data: PairData) -> None:
    ledger = Ledger.open(folder)
    if ledger.requests()["T-1"].state != "audited":
        run(ledger, data, QUICK)


def release_step(folder: Path, data: PairData) -> None:
    try:
        release(Ledger.open(folder), "T-1", data, by="officer", despite="a model of a test")
    except LedgerError as error:
        if "released already" not in str(error):
            raise


STEPS: Mapping[str, Callable[[Path, PairData], None]] = {
    "receive": receive_step, "run": run_step, "release": release_step,
}  # fmt: skip
DONE = {"receive": ("received",), "run": ("started", "unlearned", "audited"), "release": ("released",)}


def prepared(root: Path, data: PairData) -> None:
    """A lineage as each step begins with it."""
    train(data, root / "original", start=TrainSettings(family="clip", image_size=32), settings=quick(passes=1))
    lineage(root / "init", root / "original", data)
    copied(root, "init", root / "received")
    receive_step(root / "received", data)
    copied(root, "received", root / "judged")
    run_step(root / "judged", data)


def copied(root: Path, name: str, to: Path) -> None:
    """A copy to work on, as it stood on disk."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(root / name, to)


def child(step: str, folder: Path, data: PairData, after: int | None, log: Path) -> int:
    """Start a step in a child of its own, which ends itself before so many file operations; gives its process id."""
    process = os.fork()
    if process:
        return process
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    left = [after if after is not None else -1]

    def watch(event: str, _: object) -> None:
        if event in WATCHED and left[0] >= 0:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    code = 1
    try:
        STEPS[step](folder, data)
        code = 0
    finally:  # whatever it is, the parent reads it in the log
        traceback.print_exc()
        os._exit(code)


def killed_once(root: Path, step: str, data: PairData, rng: random.Random) -> list[str]:
    """Kill a step, look at what is left, take it again, and look again; gives what was wrong."""
    folder, log = root / "at-work", root / "log"
    copied(root, BEGINS[step], folder)
    by_time = rng.random() < 0.5
    process = child(step, folder, data, None if by_time else rng.randrange({"receive": 12}.get(step, 400)), log)
    if by_time:
        time.sleep(rng.uniform(0, {"receive": 0.05}.get(step, 4.0)))
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return [*chain_problems(folder, f"{step} after a kill (status {status})"), *taken_again(folder, step, data, log)]


def filled_once(root: Path, step: str, data: PairData, rng: random.Random) -> list[str]:
    """Let the disk of a step be full at a random point, make room, take it again; gives what was wrong."""
    disk, log = root / "disk", root / "log"
    disk.mkdir(exist_ok=True)
    needs = sum(path.stat().st_size + 4096 for path in (root / BEGINS[step]).rglob("*"))
    size = int(needs + (4 << 10) + rng.random() * {"receive": 64 << 10, "release": 512 << 10}.get(step, 3 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        folder = disk / "at-work"
        copied(root, BEGINS[step], folder)
        process = child(step, folder, data, None, log)
        _, status = os.waitpid(process, 0)
        last = next((line for line in reversed(log.read_text().splitlines()) if line.strip()), "")
        is_told = not status or last.startswith("multidelete.core.errors.")
        problems = [] if is_told else [f"{step} on a full disk ends in {last[:300]!r}"]
        subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
        problems += chain_problems(folder, f"{step} on a full disk (status {status})")
        return problems + taken_again(folder, step, data, log)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def taken_again(folder: Path, step: str, data: PairData, log: Path) -> list[str]:
    """Take a step that was disturbed once more, and look at what there is; gives what was wrong."""
    process = child(step, folder, data, None, log)
    _, status = os.waitpid(process, 0)
    if status:
        return [f"{step} cannot be taken again: {log.read_text()[-1500:]}"]
    problems = chain_problems(folder, f"{step}, taken again")
    ledger = Ledger.open(folder)
    kinds = Counter(one.kind for one in ledger.events())
    problems += [f"{step}: {kinds[kind]} events of the kind {kind}" for kind in DONE[step] if kinds[kind] != 1]
    if len(pairs_of(ledger, "T-1", data).ids) != 4:
        problems.append(f"{step}: the pairs are not found again")
    if step == "release" and not (folder / "certificates" / "T-1" / "certificate.json").is_file():
        problems.append("release: there is no certificate")
    unfinished = [path.name for path in folder.rglob(".*.partial")] + [path.name for path in folder.rglob("*.new")]
    return problems + ([f"{step} left {unfinished}"] if unfinished else [])


def chain_problems(folder: Path, when: str) -> list[str]:
    try:
        Ledger.open(folder).verify()
    except LedgerError as error:
        return [f"{when}: {error}"]
    return []


def disturb(kills: int, full: int, seed: int, steps: Sequence[str]) -> dict[str, object]:
    """So many kills of steps, and then full disks, in turn; gives how many of each, and what was wrong."""
    rng, data, problems = random.Random(seed), people(12, unseen=6), []
    runs: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        prepared(root, data)
        for at in range(kills + full):
            step, disturbed = steps[at % len(steps)], killed_once if at < kills else filled_once
            problems += disturbed(root, step, data, rng)
            runs[f"{step} {'killed' if at < kills else 'on a full disk'}"] += 1
    return {"runs": dict(runs), "problems": problems}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--full", type=int, default=0, help="needs the right to mount")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", default=",".join(STEPS))
    given = parser.parse_args()
    told = disturb(given.kills, given.full, given.seed, given.steps.split(","))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    sys.exit(bool(told["problems"]))


if __name__ == "__main__":
    main()
