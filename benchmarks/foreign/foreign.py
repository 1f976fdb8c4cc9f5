"""``multidelete unlearn`` without any setting on models that this package did not train.

Run from the repository: ``OMP_NUM_THREADS=1 python benchmarks/foreign/foreign.py --out runs/foreign``, then
``python benchmarks/foreign/page.py runs/foreign``. Each cell of the matrix is an original, made by the plain loop below
at a rate and for a number of epochs that nothing records, its twin without the deleted pairs, the deletion without any
setting and the one at fixed settings, and the audits. A cell's result is a file in the folder; cells that have one are
skipped, so a run that was stopped goes on, and models that lie there are not made again.

``--minutes 30`` begins no cell after that time, ``--only clip`` runs the cells whose name holds the word, ``--small``
also deletes 1, 3, 10 and 30 of the pairs, and all by LoRA, ``--models`` only makes the models, ``--tiny`` shows on a
handful of people whether all of it runs.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import subprocess
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from made import SIDE, written
from torch import Tensor

from multidelete.cli import run
from multidelete.data.pairs import Batch, Pair, PairData
from multidelete.data.readers import load_data
from multidelete.models import Adapter, load_adapter, new_adapter
from multidelete.models.fresh import NewModel, Size, train_tokenizer

SIZE = Size(width=64, layers=1, stages=(32, 64), depths=(1, 1), projection=64, context=40, vocabulary=1500)
BATCH = 32
PACES = ("auto", "given")
PEOPLE = {"portraits": (1280, 500), "questions": (1600, 500), "relations": (1600, 500)}
SMALL = (1, 3, 10, 30)
STRANGERS = 10  # epochs on other people, from which the tuned models start


@dataclass(frozen=True)
class Kind:
    """A row of the matrix: what is trained, on which data, at which rates and for how many epochs.

    Attributes:
        tuned: Start at a model of other people, and train its text encoder and projections alone.
    """

    data: str
    family: str
    epochs: tuple[int, int] = (8, 16)
    rates: tuple[float, float, float] = (3e-4, 1e-3, 3e-3)
    classes: bool = False
    tuned: bool = False


KINDS = {
    "clip": Kind("portraits", "clip"),
    "tuned": Kind("portraits", "clip", tuned=True),
    "albef-classifier": Kind("questions", "albef", (6, 15), classes=True),
    "vilt-classifier": Kind("questions", "vilt", (6, 15), classes=True),
    "graph-text-classifier": Kind("relations", "graph-text", (6, 15), classes=True),
    "albef-retrieval": Kind("portraits", "albef", (16, 40)),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--only", default="")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--models", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    began = time.monotonic()
    for own in cells(tiny=given.tiny):
        if given.only not in own.name:
            continue
        if time.monotonic() - began > 60 * given.minutes:
            break
        people, unseen = (40, 24) if given.tiny else PEOPLE[own.kind.data]
        data = written(given.out / "data" / own.kind.data, own.kind.data, people, unseen)
        place = Place(given.out / "models" / own.name, data, own)
        place.make_models()
        if given.models:
            continue
        done = given.out / "results" / f"{own.name}.json"
        result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8")) if done.exists() else {"name": own.name}
        for pace in PACES:
            if pace not in result:
                result[pace] = deletion(place, pace) | place.facts()
                print(own.name, pace, result[pace]["outcome"], flush=True)
        if given.small and "small" not in result:
            result["small"] = small_requests(place)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Cell:
    """A model of the matrix."""

    name: str
    kind: Kind
    rate: float
    epochs: int


def cells(*, tiny: bool) -> list[Cell]:
    """All of them, the middle rate of every kind first; those of the costliest kind come last."""
    if tiny:
        return [Cell(name, KINDS[name], KINDS[name].rates[1], 1) for name in ("clip", "graph-text-classifier")]
    order = [("many", 1), ("few", 1), ("many", 0), ("many", 2), ("few", 2), ("few", 0)]
    *cheap, costly = KINDS.items()
    return [
        Cell(f"{name}-{kind.rates[at]:g}-{word}", kind, kind.rates[at], kind.epochs[word == "many"])
        for kinds in (cheap, [costly])
        for word, at in order
        for name, kind in kinds
    ]


@dataclass(frozen=True)
class Place:
    """Where a cell's models lie, and what they are made of."""

    folder: Path
    data_folder: Path
    cell: Cell

    @property
    def data(self) -> str:
        return f"graph:{self.data_folder}" if self.cell.kind.family == "graph-text" else str(self.data_folder)

    @property
    def request(self) -> Path:
        return self.data_folder / "request.txt"

    @property
    def seconds(self) -> Path:
        return self.folder / "seconds.json"

    def make_models(self) -> None:
        """The original, and its twin without the deleted pairs, unless they lie there."""
        if self.seconds.exists():
            return
        deleted = self.request.read_text().split()
        seconds = {"original": self.train("original"), "retrained": self.train("retrained", deleted=deleted)}
        self.seconds.write_text(json.dumps(seconds))

    def train(self, model: str, *, deleted: Collection[str] = ()) -> float:
        """Make a model without the deleted pairs; returns the seconds."""
        data = load_data(self.data)
        kind = self.cell.kind
        began = time.perf_counter()
        adapter = started(kind, data)
        if kind.tuned:
            strangers = written(self.data_folder.with_name("strangers"), "strangers", *PEOPLE["portraits"])
            adapter = acquainted(adapter, load_data(str(strangers)), self.folder.parent / "strangers")
        kept = [pair for pair in data.train if pair.id not in deleted]
        train(adapter, kept, self.cell.rate, self.cell.epochs, seed=2)
        seconds = time.perf_counter() - began
        (self.folder / model).mkdir(parents=True, exist_ok=True)
        adapter.save(self.folder / model)
        return seconds

    def unlearn(self, out: Path, *settings: str, request: Path | None = None) -> dict[str, Any]:
        """What the run says of itself, and its seconds."""
        began = time.perf_counter()
        given = ["--data", self.data, "--forget", str(request or self.request), "--out", str(out), "--overwrite"]
        called(["unlearn", str(self.folder / "original"), *given, *settings])
        manifest = json.loads((out / "multidelete.json").read_text())
        told = {name: manifest[name] for name in ("cost", "decisions", "history")}
        return told | {"seconds": time.perf_counter() - began}

    def judged(self, model: Path, *beside: str, request: Path | None = None) -> dict[str, Any]:
        """The audit of a model."""
        models = [f"--{one}={self.folder / one}" for one in beside]
        given = ["--data", self.data, "--forget", str(request or self.request), "--overwrite"]
        said = called(["audit", str(model), *models, *given, "--out", str(self.folder / f"report of {model.name}")])
        criteria = {row["criterion"]: row for row in said["scorecard"]}
        return {"outcome": said["outcome"], "headline": said["headline"], "criteria": criteria}

    def facts(self) -> dict[str, Any]:
        """What is known of the cell and of the machine."""
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return {
            "rate": self.cell.rate, "epochs": self.cell.epochs, "deleted": len(self.request.read_text().split()),
            "pairs": len(load_data(self.data).train), "training": json.loads(self.seconds.read_text()),
            "commit": commit.stdout.strip(), "load": os.getloadavg()[1],
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
            f"torch {torch.__version__}",
        }  # fmt: skip


def deletion(place: Place, pace: str) -> dict[str, Any]:
    """Delete, and audit beside the original and the twin."""
    out = place.folder / pace
    return place.unlearn(out, "--pace", pace) | place.judged(out, "original", "retrained")


def small_requests(place: Place) -> dict[str, Any]:
    """Delete the first few pairs of the request, and all of them by LoRA; what is kept is seen beside the original."""
    rows: dict[str, Any] = {}
    deleted = place.request.read_text().split()
    for number in SMALL:
        request = place.folder / f"first {number}.txt"
        request.write_text("\n".join(deleted[:number]) + "\n")
        out = place.folder / f"first {number}"
        rows[str(number)] = place.unlearn(out, "--pace", "auto", request=request)
        rows[str(number)] |= place.judged(out, "original", request=request)
    out = place.folder / "lora"
    rows["lora"] = place.unlearn(out, "--pace", "auto", "--lora", "r=8,alpha=16")
    rows["lora"] |= place.judged(out, "original", "retrained")
    return rows


def called(words: Sequence[str]) -> dict[str, Any]:
    """Run a command of the package, and return what it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = run([*words, "--json"])
    if code:
        raise SystemExit(f"multidelete {' '.join(words)} failed")
    result: dict[str, Any] = json.loads(said.getvalue())
    return result


def started(kind: Kind, data: PairData) -> Adapter:
    """An untrained model."""
    captions = [str(pair.inputs["text"]) for pair in data.train]
    wanted = NewModel(
        size=SIZE, image_size=SIDE, tokenizer=train_tokenizer(captions, SIZE), graph=data.graph,
        task="classification" if kind.classes else "retrieval", classes=data.classes if kind.classes else (),
    )  # fmt: skip
    return new_adapter(kind.family, wanted, seed=1)


def acquainted(adapter: Adapter, strangers: PairData, folder: Path) -> Adapter:
    """A model that has learned from other people, of which the picture's encoder is then left as it is."""
    if not folder.exists():
        train(adapter, list(strangers.train), 1e-3, STRANGERS, seed=2)
        adapter.save(folder)
    adapter = load_adapter(str(folder))
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_("text" in name or "projection" in name)
    return adapter


def train(adapter: Adapter, pairs: Sequence[Pair], rate: float, epochs: int, seed: int) -> None:
    """A loop as anybody writes it: Adam, shuffled batches, a rate that warms up and falls to zero."""
    torch.manual_seed(seed)
    everything = adapter.collate(pairs)
    trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=rate)
    steps = epochs * max(1, len(pairs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.1)
    adapter.train()
    for _ in range(epochs):
        order = torch.randperm(len(pairs))
        for at in range(max(1, len(pairs) // BATCH)):
            batch = chosen(everything, order[at * BATCH : (at + 1) * BATCH])
            descend(adapter, batch, trained, optimizer)
            schedule.step()
    adapter.eval()


def descend(adapter: Adapter, batch: Batch, trained: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> float:
    """One step, with gradients clipped; returns the loss."""
    loss = adapter.task_loss(adapter(batch), batch).mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    return loss.item()


def chosen(batch: Batch, rows: Tensor) -> Batch:
    return replace(
        batch,
        ids=[batch.ids[row] for row in rows.tolist()],
        inputs={m: {name: tensor[rows] for name, tensor in own.items()} for m, own in batch.inputs.items()},
        sources={m: keys[rows] for m, keys in batch.sources.items()},
        labels=None if batch.labels is None else batch.labels[rows],
    )


if __name__ == "__main__":
    main()
