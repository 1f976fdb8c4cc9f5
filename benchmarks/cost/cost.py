"""What deletions without a setting cost on three other pages, beside what is aimed at: writes the page beside this.

Run from the repository, once the other pages are written::

    OMP_NUM_THREADS=1 python benchmarks/cost/cost.py

Aimed at are 2 E visits for each deleted pair, where E is the number of epochs of the original's training: then a run
takes a tenth of the time of retraining where a twentieth of the pairs goes. A visit is a forward and backward pass over
one pair, as training makes it; a pair that is only forwarded counts as the share of that which this takes, and that is
measured here, on the models of ``foreign/``.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from multidelete.data.readers import load_data
from multidelete.models import Adapter

sys.path.insert(0, str(Path(__file__).parent.parent / "foreign"))
from foreign import BATCH, KINDS, started  # the benchmark of models from elsewhere
from made import DELETED, written

HERE = Path(__file__).parent
FOLDER = HERE.parent
ROUNDS = 12
FOREIGN_ROW = re.compile(
    r"\| (?P<model>[\w-]+) \| [\d.]+ \| (?P<epochs>\d+) \|.*\| (?P<back>\d+) \+ (?P<forth>\d+) \| (?P<time>[\d.]+) \|"
)


@dataclass(frozen=True)
class Run:
    """A deletion.

    Attributes:
        page: Where it stands.
        model: Which model it was.
        share: Of the training pairs that went.
        epochs: Of the original's training.
        backward: Pairs forwarded and backpropagated, for each deleted pair.
        forward: Pairs only forwarded.
        time: Its share of the time of retraining.
    """

    page: str
    model: str
    share: float
    epochs: float
    backward: float
    forward: float
    time: float

    def of_aim(self, forward: float) -> float:
        """Its visits, as a multiple of those that are aimed at."""
        return (self.backward + forward * self.forward) / (2 * self.epochs)

    @property
    def time_of_aim(self) -> float:
        """Its time, as a multiple of what is aimed at."""
        return self.time / (2 * self.share)


def main() -> None:
    shares = forward_shares()
    runs = [*of_foreign(), *of_pretrained(), *of_paper()]
    (HERE / "README.md").write_text(page(runs, shares), encoding="utf-8")


def of_foreign() -> Iterator[Run]:
    for found in FOREIGN_ROW.finditer((FOLDER / "foreign" / "README.md").read_text(encoding="utf-8")):
        counts = [float(found[name]) for name in ("epochs", "back", "forth", "time")]
        if counts[1] > 0:  # a run that saw nothing to forget
            yield Run("foreign", found["model"], DELETED, *counts)


def of_pretrained() -> Iterator[Run]:
    for path in sorted((FOLDER / "pretrained" / "results").glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        back, forth = (told["cost"][f"pairs_{way}"] / told["deleted"] for way in ("backward", "forward"))
        share, seconds = told["deleted"] / told["pairs"], told["seconds"] / told["training_s"]
        yield Run("pretrained", told["kind"], share, told["epochs"], back, forth, seconds)


def of_paper() -> Iterator[Run]:
    for told in json.loads((FOLDER / "paper" / "groups.json").read_text(encoding="utf-8")):
        yield Run("paper", told["setting"], told["fraction"], told["passes"], *told["visits"], told["time"])


def forward_shares() -> dict[str, float]:
    """For each kind of model, the time of a forward pass beside that of one with its backward pass."""
    with TemporaryDirectory() as folder:
        return {name: forward_share(name, Path(folder)) for name in KINDS if name != "tuned"}


def forward_share(name: str, folder: Path) -> float:
    kind = KINDS[name]
    place = written(folder / kind.data, kind.data, 16 * BATCH, BATCH)
    data = load_data(f"graph:{place}" if kind.family == "graph-text" else str(place))
    adapter = started(kind, data)
    batch = adapter.collate(data.train.pairs[:BATCH])
    both, alone = (timed(one) for one in (lambda: adapter.task_loss(adapter(batch), batch).mean().backward(),
                                          lambda: asked(adapter, batch)))  # fmt: skip
    return alone / both


@torch.no_grad()
def asked(adapter: Adapter, batch: object) -> None:
    adapter(batch)


def timed(step: Callable[[], None]) -> float:
    """Median seconds of the processor."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        step()
        seconds.append(time.process_time() - began)
    return median(seconds)


def page(runs: Sequence[Run], shares: dict[str, float]) -> str:
    forward = median(shares.values())
    groups: dict[tuple[str, str, float], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.page, run.model, round(run.share, 3)), []).append(run)
    names = ["page", "model", "share", "runs", "visits", "aimed at", "of the aim", "time", "of the aim"]
    lines = [HEAD.format(forward=forward, shares=", ".join(f"{name} {share:.2f}" for name, share in shares.items()))]
    lines += [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for (place, model, share), own in sorted(groups.items()):
        visits = median(run.backward + forward * run.forward for run in own)
        aims = sorted({2 * run.epochs for run in own})
        cells = [
            f"[{place}](../{place}/)",
            model,
            f"{share:.1%}",
            str(len(own)),
            f"{visits:.0f}",
            " to ".join(f"{aim:.0f}" for aim in dict.fromkeys([aims[0], aims[-1]])),
            f"{median(run.of_aim(forward) for run in own):.1f}",
            f"{median(run.time for run in own):.2f}",
            f"{median(run.time_of_aim for run in own):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    every = [run.of_aim(forward) for run in runs], [run.time_of_aim for run in runs]
    lines += ["", f"Median of all {len(runs)} runs: {median(every[0]):.1f} of the visits that are aimed at, "
              f"{median(every[1]):.1f} of the time; {sum(one <= 1 for one in every[0])} and "
              f"{sum(one <= 1 for one in every[1])} of them stay within it.", ""]  # fmt: skip
    return "\n".join([*lines, WHY])


HEAD = """# What deletions cost

```sh
OMP_NUM_THREADS=1 python benchmarks/cost/cost.py
```

The deletions without a setting that have a row on the pages of [foreign](../foreign/) and [pretrained](../pretrained/)
models and of the [paper](../paper/groups.md), but for those that saw nothing to forget. Aimed at are 2 E visits for
each deleted pair, where E is the number of epochs of the original's training, and so twice the share that goes of the
time of retraining: a tenth where a twentieth goes. A visit is a forward and a backward pass over one pair; a pair that
is only forwarded counts {forward:.2f}, the median of what was measured here, on one thread of an x86_64 CPU ({shares}).
Where several runs stand in a row, figures are medians; commits are those that the other pages name. Times are of busy
machines, and rough.
"""

WHY = """Why it is more:

- **Looks.** After each leg the deleted pairs, 256 unseen and up to 1,024 kept ones are forwarded, so that a loss of
  0.01 of what is kept can be seen. With 50 deleted pairs a look is 27 pairs for each, with ten 130.
- **Kept pairs beside the deleted ones**: two for each, 96 beside a small request, and four solves where a leg brings
  kept pairs back.
- **The metric**: 432 pairs once, 9 visits for each of 50 deleted pairs, 43 for each of ten.
- **Algebra that no visit shows.** The kernel of a solve takes the square of its rows for each weight, and the metric
  the eigenvectors of each layer. On entailment with MiniLM in ALBEF, 50 deleted pairs, both together took three
  quarters of a run's time (by hand, with `cProfile`, commit 2c7b832); in smaller pieces it takes a fifth less.
- **Matching heads descend**, many steps with wrong pairs.
- **Small models retrain fast.** What a run costs does not grow with the kept pairs; retraining does.
"""


if __name__ == "__main__":
    main()
