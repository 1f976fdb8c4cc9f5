"""A deletion of 1,000 pairs from a CLIP of ViT-B/16's size on a GPU: time, memory, and what comes of it.

Run from the repository: ``python benchmarks/step_cost/gpu.py --out runs/gpu``. The network has the size of CLIP's
ViT-B/16 and random weights at first. It is trained on generated people at 224 pixels; then 1,000 pairs are deleted by a
run that finds its own way, in float32 and with bf16 autocasting, and the model is trained again without them. Writes
``gpu.json`` beside this file. ``--tiny`` shows in seconds whether it runs, and writes nothing here.
"""

import argparse
import json
import platform
import random
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from frozen import TINY as TINY_NETWORK
from frozen import Scale, network

from multidelete import LoopSettings, PairData, TrainSettings, audit, personas, train, unlearn
from multidelete.core.runtime import forget_peak, peak_bytes

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Size:
    """Of the network, the data, the request and the training.

    Attributes:
        people: With four pairs each.
        unseen: People that nobody trains on.
        forget: People to delete.
    """

    network: Scale
    people: int
    unseen: int
    forget: int
    loop: LoopSettings


FULL = Size(
    Scale(widths=(768, 512), vocabulary=49_408), people=2000, unseen=500, forget=250,
    loop=LoopSettings(passes=20, batch_size=256, lr=2e-4, weight_decay=0.1, precision="bf16", workers=12,
                      checkpoint_steps=0),
)  # fmt: skip
TINY = Size(
    TINY_NETWORK, people=24, unseen=24, forget=3,
    loop=LoopSettings(passes=30, batch_size=24, lr=3e-3, checkpoint_steps=0),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--passes", type=float)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    size = TINY if given.tiny else FULL
    changed = {name: value for name in ("passes", "lr", "workers") if (value := getattr(given, name)) is not None}
    size = replace(size, loop=replace(size.loop, **changed))
    results = Results(given.out / "results.json")
    data = personas(people=size.people, unseen=size.unseen, seed=0)
    subjects = list(dict.fromkeys(pair.subject for pair in data.train))
    chosen = set(random.Random(1).sample(subjects, size.forget))
    deleted = [pair.id for pair in data.train if pair.subject in chosen]
    with results.measured("training"):
        train(data, given.out / "original", start=started(size, data, given.out / "start"), settings=size.loop)
    for precision in ("no", "bf16"):
        out = given.out / f"unlearned-{precision}"
        with results.measured(f"deletion, {precision}"):
            unlearn(given.out / "original", data, deleted, settings={"pace": "auto", "precision": precision}, out=out)
        record = json.loads((out / "multidelete.json").read_text())
        results.note(f"deletion, {precision}", cost=record["cost"], decisions=record["decisions"])
    with results.measured("retraining"):
        unlearn(given.out / "original", data, deleted, method="retrain", out=given.out / "retrained")
    for precision in ("no", "bf16"):
        with results.measured(f"audit, {precision}"):
            found = audit(
                given.out / f"unlearned-{precision}", given.out / "original", data, deleted,
                retrained=given.out / "retrained", out=given.out / f"report-{precision}",
            )  # fmt: skip
        rows = {}
        for row in found.verdict.rows:
            models = {"original": row.original, "retrained": row.retrained, "unlearned": row.unlearned}
            rows[row.criterion] = {name: None if one is None else one.value for name, one in models.items()}
        results.note(f"audit, {precision}", outcome=found.verdict.outcome, rows=rows)
    results.note("of", commit=commit(), machine=machine(), pairs=len(data.train), deleted=len(deleted),
                 passes=size.loop.passes)  # fmt: skip
    if not given.tiny:
        (HERE / "gpu.json").write_text(json.dumps(results.content, indent=1) + "\n", encoding="utf-8")


class Results:
    """What was measured, kept in a file after each part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, dict[str, Any]] = {}
        self._began = 0.0
        self._name = ""

    def measured(self, name: str) -> "Results":
        self._name = name
        return self

    def __enter__(self) -> None:
        forget_peak()
        self._began = time.perf_counter()

    def __exit__(self, *raised: object) -> None:
        if raised[0] is None:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self.note(self._name, wall_s=time.perf_counter() - self._began, peak_bytes=peak_bytes(device))

    def note(self, name: str, **values: object) -> None:
        self.content.setdefault(name, {}).update(values)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        print(name, values, flush=True)


def started(size: Size, data: PairData, folder: Path) -> TrainSettings:
    """The new network, as a folder, so that retraining begins with it too."""
    if not folder.is_dir():
        network(data, size.network).save(folder)
    return TrainSettings(start=str(folder))


def machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{gpu}, {platform.machine()}, torch {torch.__version__}"


def commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=HERE
    )
    return told.stdout.strip()


if __name__ == "__main__":
    main()
