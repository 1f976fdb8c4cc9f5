"""What a pair costs a run, beside a pair of training, for each model whose deletions `cost.py` counts.

Run from the repository, with the two packages that ``benchmarks/pretrained`` names::

    OMP_NUM_THREADS=1 python benchmarks/cost/shares.py --data DATA

Training makes a forward and a backward pass over each pair. A run that leaves the image encoder frozen keeps what it
gives of each picture: a pair then costs the passes of the rest, and each picture is encoded once. Shares are of seconds
of the processor; they lie in ``shares.json`` beside this file.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from multidelete import load_data
from multidelete.data.pairs import Batch, Pair
from multidelete.experiments.comparison import read_experiment
from multidelete.experiments.comparison.material import load
from multidelete.methods.multidelete import MultiDelete
from multidelete.models import Adapter, choose_trainable, load_adapter, new_adapter
from multidelete.models.features import kept_features
from multidelete.models.initial import fitting

sys.path.insert(0, str(Path(__file__).parent.parent / "foreign"))
sys.path.insert(0, str(Path(__file__).parent.parent / "pretrained"))
import foreign  # the benchmark of models from elsewhere
import pretrained  # that of models of pre-trained encoders
from made import written

HERE = Path(__file__).parent
SHARES = HERE / "shares.json"
ROUNDS, PAIRS = 12, 32


@dataclass(frozen=True)
class Shares:
    """Of the time of a forward and a backward pass over one pair, as the original's training made them.

    Attributes:
        backward: Of a pair that a run forwards and backpropagates.
        forward: Of one that it only forwards.
        picture: Of a picture whose features it keeps, once; 0 where it keeps none.
    """

    backward: float
    forward: float
    picture: float


@dataclass(frozen=True)
class Model:
    """An untrained model, a batch of its pairs, and how it was trained.

    Attributes:
        trains: Whether training trained a parameter, by its name.
        kept: Whether training kept what a frozen image encoder gives.
    """

    adapter: Adapter
    pairs: Sequence[Pair]
    trains: Callable[[str], bool] = lambda name: True
    kept: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data")
    given = parser.parse_args()
    shares = {}
    with TemporaryDirectory() as folder:
        for name, model in [*of_foreign(Path(folder)), *of_paper(given.data), *of_pretrained(given.data, Path(folder))]:
            shares[name] = shares_of(model)
            print(name, shares[name], flush=True)
    SHARES.write_text(json.dumps({name: asdict(one) for name, one in shares.items()}, indent=1) + "\n", "utf-8")


def of_foreign(folder: Path) -> Iterator[tuple[str, Model]]:
    for name, kind in foreign.KINDS.items():
        place = written(folder / kind.data, kind.data, 16 * PAIRS, PAIRS)
        data = load_data(f"graph:{place}" if kind.family == "graph-text" else str(place))
        model = Model(foreign.started(kind, data), data.train.pairs[:PAIRS])
        if kind.tuned:
            model = replace(model, trains=lambda parameter: "text" in parameter or "projection" in parameter)
        yield f"foreign/{name}", model


def of_paper(root: Path) -> Iterator[tuple[str, Model]]:
    for setting in read_experiment(HERE.parent / "paper" / "auto.toml").settings:
        data = load(setting, root)
        adapter = new_adapter(setting.model.family, fitting(setting.model, data, size=setting.size), seed=1)
        yield f"paper/{setting.name}", Model(adapter, data.train.pairs[:PAIRS])


def of_pretrained(root: Path, folder: Path) -> Iterator[tuple[str, Model]]:
    for name, kind in pretrained.KINDS.items():
        data = pretrained.chosen(load_data(str(root / kind.data)), kind)
        pretrained.begin(folder / name, data, kind.context)
        model = Model(load_adapter(folder / name), data.train.pairs[:PAIRS], kept=True)
        if kind.frozen is not None:
            model = replace(model, trains=lambda parameter: "vision_model" not in parameter)
        yield f"pretrained/{name}", model


def shares_of(model: Model) -> Shares:
    """Measure a model's passes, in turn."""
    adapter = model.adapter
    adapter.eval()  # no dropout: it would make the passes of training alone longer
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_(model.trains(name))
    as_trained = [parameter.requires_grad for parameter in adapter.parameters()]
    with kept_features(adapter, 1.0 if model.kept else 0.0):
        in_training_batch = adapter.collate(model.pairs)
    choose_trainable(adapter, MultiDelete().trainable(adapter))
    as_unlearned = [parameter.requires_grad for parameter in adapter.parameters()]
    with kept_features(adapter, 1.0) as in_run:
        batch = adapter.collate(model.pairs)
    pixels = adapter.collate(model.pairs)

    def trained() -> None:
        _let(adapter, as_trained)
        adapter.task_loss(adapter(in_training_batch), in_training_batch).mean().backward()

    def backward() -> None:
        _let(adapter, as_unlearned)
        adapter.task_loss(adapter(batch), batch).mean().backward()

    seconds = _timed([trained, backward, lambda: _asked(adapter, batch), lambda: _asked(adapter, pixels)])
    of_training, of_backward, of_forward, of_pixels = seconds
    picture = 0.0 if in_run is None else max(0.0, of_pixels - of_forward)
    return Shares(of_backward / of_training, of_forward / of_training, picture / of_training)


def _let(adapter: Adapter, trained: Sequence[bool]) -> None:
    for parameter, is_trained in zip(adapter.parameters(), trained, strict=True):
        parameter.grad = None
        parameter.requires_grad_(is_trained)


@torch.no_grad()
def _asked(adapter: Adapter, batch: Batch) -> Tensor:
    return adapter(batch).score


def _timed(steps: Sequence[Callable[[], object]]) -> list[float]:
    """Median seconds of the processor of each, taken in turn."""
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(ROUNDS):
        for step, own in zip(steps, seconds, strict=True):
            began = time.process_time()
            step()
            own.append(time.process_time() - began)
    return [median(own) for own in seconds]


if __name__ == "__main__":
    main()
