"""What the probing audits find on the demo's people, beside models of known answers, and how long they take.

Run from the repository, with multidelete installed: ``OMP_NUM_THREADS=1 python benchmarks/probes/probes.py``. Makes
the demo at its default size, and two models more, in ``runs/probes``; what is there already is not made again. Writes
``results.json`` beside this file, and prints it as tables.
"""

import json
import platform
import time
from pathlib import Path

import torch

from multidelete import Figure, audit, personas, resolve_request, unlearn
from multidelete.audits import compression, leakage, relearning
from multidelete.demonstration import SIDE_PX, demo
from multidelete.models import load_adapter

RUNS, SEED = Path("runs/probes"), 1
KEPT = {compression.AUDIT, leakage.AUDIT, "collateral", relearning.AUDIT}
MODELS = ("original", "unlearned", "retrained", "retrained again", "hidden")


def main() -> None:
    if not (RUNS / "original").exists():
        demo(RUNS, seed=SEED)
    data = personas(people=400, unseen=200, views=2, size=SIDE_PX, seed=SEED)
    request = resolve_request(data, file=RUNS / "request.txt", unit="subject")
    models = {name: RUNS / name for name in ("unlearned", "original")}
    if not (RUNS / "retrained-again").exists():
        unlearn(RUNS / "original", data, request, method="retrain", out=RUNS / "retrained-again", seed=SEED + 1)
    others = {"retrained again": RUNS / "retrained-again", "hidden": hidden(RUNS / "original")}
    seconds: dict[str, dict[str, float]] = {}
    for name, asked in {"signals alone": {}, "--compress": {"compress": True}, "--relearn": {"relearn": True}}.items():
        wall, processor = time.perf_counter(), time.process_time()
        audit(
            *models.values(), data, request, retrained=RUNS / "retrained", out=RUNS / "timed", overwrite=True,
            seed=SEED, **asked,
        )  # fmt: skip
        seconds[name] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - processor}
    done = audit(
        *models.values(), data, request, retrained=RUNS / "retrained", others=others, compress=True, relearn=True,
        out=RUNS / "probed", overwrite=True, seed=SEED, show_forgotten=True, noun="people",
    )  # fmt: skip
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}",
        "seconds": seconds,
        "figures": [
            {"audit": f.audit, "figure": f.figure, "split": f.split, "model": f.model, "value": f.value, "low": f.low,
             "high": f.high, "absent": f.absent}
            for f in done.figures if f.audit in KEPT
        ],
    }  # fmt: skip
    Path(__file__).with_name("results.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(seconds, indent=1))
    show(done.figures)


def hidden(folder: Path) -> torch.nn.Module:
    """The original behind noise on its two projections: it finds nobody, and has forgotten nothing."""
    adapter = load_adapter(folder)
    torch.manual_seed(SEED)
    with torch.no_grad():
        for name, weight in adapter.named_parameters():
            if name in adapter.joint_parameters():
                weight += 8 * weight.std() * torch.randn_like(weight)
    return adapter


def show(figures: list[Figure]) -> None:
    """One line for each figure of the sensitive pairs, the models side by side; differences are left out."""
    rows: dict[tuple[str, str | None], dict[str, str]] = {}
    for f in figures:
        is_change = ", difference to " in f.figure and "uncompressed" not in f.figure
        if f.audit in KEPT and not is_change and "sensitive" in f.figure:
            text = "absent" if f.value is None else f"{f.value:.3f}"
            rows.setdefault((f"{f.audit}: {f.figure}", f.split), {})[f.model] = text
    print("| figure | split |", " | ".join(MODELS), "|")
    print("|---|---|" + "---|" * len(MODELS))
    for (figure, split), values in rows.items():
        print(f"| {figure} | {split} |", " | ".join(values.get(model, "-") for model in MODELS), "|")


if __name__ == "__main__":
    main()
