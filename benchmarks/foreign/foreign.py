"""``multidelete unlearn --pace auto`` on models that this package did not train.

Run from the repository: ``OMP_NUM_THREADS=1 python benchmarks/foreign/foreign.py --out runs/foreign``, then
``python benchmarks/foreign/page.py runs/foreign``. Each cell of the matrix is an original, made by the plain loop below
at a rate and for a number of epochs that nothing records, its twin without the deleted pairs, the deletion without any
setting, and the audit. A cell's result is a file in the folder; cells that have one are skipped, so a run that was
stopped goes on. ``--minutes 30`` begins no cell after that time, ``--only clip`` runs the cells whose name holds the
word, ``--again`` also judges a second twin, ``--tiny`` shows on a handful of people whether all of it runs.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
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

SIZE = Size(width=64, layers=2, stages=(32, 64), depths=(1, 1), projection=64, context=40, vocabulary=1500)
BATCH = 32
EPOCHS = {"few": 12, "many": 40}
PEOPLE, UNSEEN = 800, 400


@dataclass(frozen=True)
class Kind:
    """A row of the matrix: what is trained, on which data, at which rates."""

    data: str
    family: str
    rates: tuple[float, float, float]
    classes: bool = False
    start: bool = False


KINDS = {
    "clip": Kind("portraits", "clip", (1e-4, 1e-3, 1e-2)),
    "vision-text": Kind("portraits", "vision-text", (1e-4, 1e-3, 1e-2)),
    "albef-retrieval": Kind("portraits", "albef", (1e-4, 1e-3, 1e-2)),
    "albef-classifier": Kind("questions", "albef", (1e-4, 1e-3, 1e-2), classes=True),
    "vilt-classifier": Kind("questions", "vilt", (1e-4, 1e-3, 1e-2), classes=True),
    "graph-text-classifier": Kind("relations", "graph-text", (1e-4, 1e-3, 1e-2), classes=True),
    "pre-trained": Kind("portraits", "vision-text", (3e-5, 3e-4, 3e-3), start=True),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pretrained", type=Path, help="folder of a pre-trained dual encoder; its cells need it")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--only", default="")
    parser.add_argument("--again", action="store_true", help="also judge a second twin by the same audit")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    began = time.monotonic()
    people, unseen = (40, 24) if given.tiny else (PEOPLE, UNSEEN)
    for own in cells(tiny=given.tiny):
        done = given.out / "results" / f"{own.name}.json"
        if given.only not in own.name or (own.kind.start and given.pretrained is None):
            continue
        if time.monotonic() - began > 60 * given.minutes:
            break
        data = written(given.out / "data" / own.kind.data, own.kind.data, people, unseen)
        place = Place(given.out / "models" / own.name, data, own, given.pretrained)
        result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8")) if done.exists() else {}
        if not result:
            result = deletion(place)
        if given.again and "again" not in result:
            result["again"] = second_twin(place)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(json.dumps({"name": own.name, **result}, indent=1) + "\n", encoding="utf-8")
        print(own.name, result["outcome"], flush=True)


@dataclass(frozen=True)
class Cell:
    """A model of the matrix."""

    name: str
    kind: Kind
    rate: float
    epochs: int


def cells(*, tiny: bool) -> list[Cell]:
    """All of them, the middle rate of every kind first."""
    if tiny:
        return [Cell(name, KINDS[name], KINDS[name].rates[1], 1) for name in ("clip", "graph-text-classifier")]
    order = [("many", 1), ("few", 1), ("many", 0), ("many", 2), ("few", 2), ("few", 0)]
    return [
        Cell(f"{name}-{kind.rates[at]:g}-{epochs}", kind, kind.rates[at], EPOCHS[epochs])
        for epochs, at in order
        for name, kind in KINDS.items()
    ]


@dataclass(frozen=True)
class Place:
    """Where a cell's models lie, and what they are made of."""

    folder: Path
    data_folder: Path
    cell: Cell
    pretrained: Path | None

    @property
    def data(self) -> str:
        return f"graph:{self.data_folder}" if self.cell.kind.family == "graph-text" else str(self.data_folder)

    @property
    def request(self) -> Path:
        return self.data_folder / "request.txt"

    def train(self, model: str, *, seed: int, deleted: Collection[str] = ()) -> float:
        """Make a model without the deleted pairs; returns the seconds."""
        data = load_data(self.data)
        began = time.perf_counter()
        adapter = started(self.cell.kind, data, self.pretrained)
        train(adapter, [pair for pair in data.train if pair.id not in deleted], self.cell.rate, self.cell.epochs, seed)
        seconds = time.perf_counter() - began
        (self.folder / model).mkdir(parents=True, exist_ok=True)
        adapter.save(self.folder / model)
        return seconds

    def judged(self, model: str) -> dict[str, Any]:
        """The audit of a model beside the original and the twin."""
        beside = [f"--{one}={self.folder / one}" for one in ("original", "retrained")]
        report = self.folder / f"report of {model}"
        given = ["--data", self.data, "--forget", str(self.request), "--out", str(report), "--overwrite"]
        said = called(["audit", str(self.folder / model), *beside, *given])
        criteria = {row["criterion"]: row for row in said["scorecard"]}
        return {"outcome": said["outcome"], "headline": said["headline"], "criteria": criteria}


def deletion(place: Place) -> dict[str, Any]:
    """Make the original and its twin, delete by the bare command, audit."""
    shutil.rmtree(place.folder, ignore_errors=True)
    deleted = place.request.read_text().split()
    seconds = {"original": place.train("original", seed=2)}
    seconds["retrained"] = place.train("retrained", seed=2, deleted=deleted)
    began = time.perf_counter()
    original, out = place.folder / "original", place.folder / "unlearned"
    called(
        [
            "unlearn",
            str(original),
            "--data",
            place.data,
            "--forget",
            str(place.request),
            "--pace",
            "auto",
            "--out",
            str(out),
        ]
    )
    seconds["unlearned"] = time.perf_counter() - began
    manifest = json.loads((out / "multidelete.json").read_text())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return place.judged("unlearned") | {
        "rate": place.cell.rate, "epochs": place.cell.epochs, "deleted": len(deleted),
        "pairs": len(load_data(place.data).train), "seconds": seconds, "cost": manifest["cost"],
        "decisions": manifest["decisions"], "history": manifest["history"], "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, load {os.getloadavg()[1]:.1f}",
    }  # fmt: skip


def second_twin(place: Place) -> dict[str, Any]:
    """The verdict on a model that was never shown the deleted pairs, trained with other batches."""
    place.train("retrained again", seed=7, deleted=place.request.read_text().split())
    return place.judged("retrained again")


def called(words: Sequence[str]) -> dict[str, Any]:
    """Run a command of the package, and return what it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = run([*words, "--json"])
    if code:
        raise SystemExit(f"multidelete {' '.join(words)} failed")
    result: dict[str, Any] = json.loads(said.getvalue())
    return result


def started(kind: Kind, data: PairData, pretrained: Path | None) -> Adapter:
    """An untrained model, or the pre-trained one with its text encoder and projections to be tuned."""
    if kind.start:
        adapter = load_adapter(str(pretrained))
        for name, parameter in adapter.named_parameters():
            parameter.requires_grad_("text" in name or "projection" in name)
        return adapter
    captions = [str(pair.inputs["text"]) for pair in data.train]
    wanted = NewModel(
        size=SIZE, image_size=SIDE, tokenizer=train_tokenizer(captions, SIZE), graph=data.graph,
        task="classification" if kind.classes else "retrieval", classes=data.classes if kind.classes else (),
    )  # fmt: skip
    return new_adapter(kind.family, wanted, seed=1)


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
            loss = adapter.task_loss(adapter(batch), batch).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
    adapter.eval()


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
