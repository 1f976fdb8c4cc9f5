"""How long the attacks that take further models, or change models, last on the demo's people, all training included.

Run from the repository, with multidelete installed: ``OMP_NUM_THREADS=1 python benchmarks/attacks/attacks.py``. Makes
the demo at its default size in ``runs/attacks``, which is not timed, unless it is there; then four shadow models from
scratch, and an audit with relearning, weights in few bits and attacks on single pairs. Writes ``results.json``, and
what the two commands said, with the second at which they said it, in ``progress.txt``. ``--tiny`` shows in
a minute whether it runs, and writes neither.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from multidelete import Figure, read_audit

HERE, RUNS = Path(__file__).parent, Path("runs/attacks")
SHADOWS, MODELS = 4, ("original", "unlearned", "retrained")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    tiny = parser.parse_args().tiny
    people = 20 if tiny else 400
    demo, store = RUNS / "demo", RUNS / "store"
    if not demo.exists():
        subprocess.run(command("demo", "--people", people, "--seed", "1", "--out", demo), check=True)
    shutil.rmtree(store, ignore_errors=True)
    data = f"personas:people={people},unseen={people // 2},views=2,size=48,seed=1"
    given = ["--data", data, "--forget", demo / "request.txt", "--unit", "subject"]
    said: list[str] = []
    trained = timed(
        command(
            "references", demo / "original", *given, "--store", store, "--retrained", 0, "--shadows", SHADOWS, "--json"
        ), said,
    )  # fmt: skip
    shadows = [part for row in trained["result"]["models"] for part in ("--shadows", row["folder"])]
    audited = timed(
        command(
            "audit", demo / "unlearned", "--original", demo / "original", "--retrained", demo / "retrained", *given,
            *shadows, "--relearn", "--compress", "--seed", "1", "--out", RUNS / "report", "--overwrite", "--json",
        ), said,
    )  # fmt: skip
    figures = read_audit(RUNS / "report" / "audit.json")[1]
    parts = {"shadows": trained["seconds"], "audit": audited["seconds"]}
    parts["together"] = {clock: sum(part[clock] for part in parts.values()) for clock in ("wall", "processor")}
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "threads": torch.get_num_threads(),
        "others": "the machine's load over the last 15 minutes was " + format(os.getloadavg()[2], ".1f"),
        "shadows": SHADOWS,
        "seconds": {name: {clock: round(s, 1) for clock, s in part.items()} for name, part in parts.items()},
        "figures": {row: {model: value(figures, row, model) for model in MODELS} for row in ROWS},
    }
    if not tiny:
        (HERE / "results.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (HERE / "progress.txt").write_text("\n".join(said) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


ROWS = {
    "relearning, mean over the steps": (
        "relearning",
        "recall@1 image to text among all training texts, mean over the steps",
    ),
    "8-bit weights": ("compression", "recall@1 image to text among all training texts, 8-bit weights"),
    "4-bit weights": ("compression", "recall@1 image to text among all training texts, 4-bit weights"),
    "LiRA, AUC": ("per-pair membership", "auc of LiRA"),
    "RMIA, AUC": ("per-pair membership", "auc of RMIA"),
}


def command(*parts: object) -> list[str]:
    return [sys.executable, "-m", "multidelete.cli", *map(str, parts)]


def timed(words: list[str], said: list[str]) -> dict:
    """Run a command as in the background: standard error is no terminal. Its lines are kept with their second."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    said.append(f"$ multidelete {words[3]}")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            said.append(f"{time.monotonic() - started:5.0f} s  {line.rstrip()}")
            print(said[-1], flush=True)
        result = process.stdout.read()
    if process.returncode:
        raise SystemExit(process.returncode)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = {"wall": time.monotonic() - started, "processor": processor}
    return {"seconds": seconds, "result": json.loads(result)}


def value(figures: list[Figure], row: str, model: str) -> list[float | None]:
    """Value and interval of a figure of the sensitive captions."""
    audit, figure = ROWS[row]
    of = [f for f in figures if (f.audit, f.figure, f.model) == (audit, f"sensitive {figure}", model)]
    of = [f for f in of if f.value is not None and (f.split or "").startswith("forget")]
    return [None if end is None else round(end, 3) for end in (of[0].value, of[0].low, of[0].high)] if of else []


if __name__ == "__main__":
    main()
