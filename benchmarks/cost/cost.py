"""What deletions without a setting cost on three other pages, beside what is aimed at: writes the page beside this.

Run from the repository, once the other pages are written::

    python benchmarks/cost/cost.py

Aimed at are 2 E visits for each deleted pair, where E is the number of epochs of the original's training: then a run
takes a tenth of the time of retraining where a twentieth of the pairs goes. A visit is a forward and backward pass over
one pair, as training made it; what a run does with a pair counts as the share of that which it takes (`shares.py`).
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "foreign"))
from foreign import KINDS, PEOPLE  # the benchmark of models from elsewhere
from made import DELETED

HERE = Path(__file__).parent
FOLDER = HERE.parent
UNSEEN = 256  # validation pairs at which a run looks, each with a picture at most
FOREIGN_ROW = re.compile(
    r"\| (?P<model>[\w-]+) \| [\d.]+ \| (?P<epochs>\d+) \|.*\| (?P<back>\d+) \+ (?P<forth>\d+) \| (?P<time>[\d.]+) \|"
)


class Shares(NamedTuple):
    """Of a visit: a pair forwarded and backpropagated, one only forwarded, a picture encoded once (`shares.py`)."""

    backward: float
    forward: float
    picture: float


@dataclass(frozen=True)
class Run:
    """A deletion.

    Attributes:
        page: Where it stands.
        model: Which model it was.
        shares: What its pairs cost.
        share: Of the training pairs that went.
        deleted: Pairs.
        epochs: Of the original's training.
        backward: Pairs forwarded and backpropagated, for each deleted pair.
        forward: Pairs only forwarded.
        time: Its share of the time of retraining.
    """

    page: str
    model: str
    shares: Shares
    share: float
    deleted: float
    epochs: float
    backward: float
    forward: float
    time: float

    @property
    def visits(self) -> float:
        """For each deleted pair; each training pair counts as if it had a picture of its own."""
        pictures = 1 / self.share + UNSEEN / self.deleted
        numbers = self.backward, self.forward, pictures
        return sum(share * number for share, number in zip(self.shares, numbers, strict=True))

    @property
    def of_aim(self) -> float:
        """Its visits, as a multiple of those that are aimed at."""
        return self.visits / (2 * self.epochs)

    @property
    def time_of_aim(self) -> float:
        """Its time, as a multiple of what is aimed at."""
        return self.time / (2 * self.share)


def main() -> None:
    told = json.loads((HERE / "shares.json").read_text(encoding="utf-8"))
    shares = {name: Shares(**one) for name, one in told.items()}
    runs = [*of_foreign(shares), *of_pretrained(shares), *of_paper(shares)]
    (HERE / "README.md").write_text(page(runs), encoding="utf-8")


def of_foreign(shares: Mapping[str, Shares]) -> Iterator[Run]:
    for found in FOREIGN_ROW.finditer((FOLDER / "foreign" / "README.md").read_text(encoding="utf-8")):
        model = found["model"]
        deleted = DELETED * PEOPLE[KINDS[model].data][0]
        counts = [float(found[name]) for name in ("epochs", "back", "forth", "time")]
        if counts[1] > 0:  # a run that saw nothing to forget
            yield Run("foreign", model, shares[f"foreign/{model}"], DELETED, deleted, *counts)


def of_pretrained(shares: Mapping[str, Shares]) -> Iterator[Run]:
    for path in sorted((FOLDER / "pretrained" / "results").glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        back, forth = (told["cost"][f"pairs_{way}"] / told["deleted"] for way in ("backward", "forward"))
        share, seconds = told["deleted"] / told["pairs"], told["seconds"] / told["training_s"]
        own = shares[f"pretrained/{told['kind'].removesuffix(', LoRA')}"]
        yield Run("pretrained", told["kind"], own, share, told["deleted"], told["epochs"], back, forth, seconds)


def of_paper(shares: Mapping[str, Shares]) -> Iterator[Run]:
    for told in json.loads((FOLDER / "paper" / "groups.json").read_text(encoding="utf-8")):
        own, figures = shares[f"paper/{told['setting']}"], (told["passes"], *told["visits"], told["time"])
        yield Run("paper", told["setting"], own, told["fraction"], told["pairs"], *figures)


def page(runs: Sequence[Run]) -> str:
    groups: dict[tuple[str, str, float], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.page, run.model, round(run.share, 3)), []).append(run)
    names = ["page", "model", "share", "runs", "a pair", "visits", "aimed at", "of the aim", "time", "of the aim"]
    lines = [HEAD, f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for (place, model, share), own in sorted(groups.items()):
        aims = sorted({2 * run.epochs for run in own})
        cells = [
            f"[{place}](../{place}/)",
            model,
            f"{share:.1%}",
            str(len(own)),
            " ".join(f"{one:.2f}" for one in own[0].shares),
            f"{median(run.visits for run in own):.0f}",
            " to ".join(f"{aim:.0f}" for aim in dict.fromkeys([aims[0], aims[-1]])),
            f"{median(run.of_aim for run in own):.1f}",
            f"{median(run.time for run in own):.2f}",
            f"{median(run.time_of_aim for run in own):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    every = [run.of_aim for run in runs], [run.time_of_aim for run in runs]
    lines += ["", f"Median of all {len(runs)} runs: {median(every[0]):.1f} of the visits that are aimed at, "
              f"{median(every[1]):.1f} of the time; {sum(one <= 1 for one in every[0])} and "
              f"{sum(one <= 1 for one in every[1])} of them stay within it.", ""]  # fmt: skip
    return "\n".join([*lines, WHY])


HEAD = """# What deletions cost

```sh
OMP_NUM_THREADS=1 python benchmarks/cost/shares.py --data DATA   # with the packages of benchmarks/pretrained
python benchmarks/cost/cost.py
```

The deletions without a setting that have a row on the pages of [foreign](../foreign/) and [pretrained](../pretrained/)
models and of the [paper](../paper/groups.md), but for those that saw nothing to forget. Aimed at are 2 E visits for
each deleted pair, where E is the number of epochs of the original's training, and so twice the share that goes of the
time of retraining: a tenth where a twentieth goes.

A visit is a forward and a backward pass over one pair, as the original's training made it. *A pair* says what a run's
own pairs cost in visits: one that is forwarded and backpropagated, one that is only forwarded, and a picture that is
encoded once, where the image encoder stays frozen and what it gives is kept. They were measured by `shares.py` with
the package of commit db653d0, in seconds of the processor, one thread of an x86_64 CPU beside other work. Each training
pair counts as if it had a picture of its own. What training kept of a frozen encoder is not part of a visit there
(photographs, emoji). Where several runs stand in a row, figures are medians; commits are those that the other pages
name. Times are of busy machines, and rough.
"""

WHY = """Why it is more:

- **Looks.** After each leg the deleted pairs, 256 unseen and up to 1,024 kept ones are forwarded, so that a loss of
  0.01 of what is kept can be seen. With 50 deleted pairs a look is 27 pairs for each, with ten 130.
  With 20 of 2,000 photographs one look costs 455 visits, and 320 are aimed at: to see so small a loss costs more than
  that whole deletion may.
- **Kept pairs beside the deleted ones**: two for each, 96 beside a small request, and four solves where a leg brings
  kept pairs back.
- **The metric**: 432 pairs once, 9 visits for each of 50 deleted pairs, 43 for each of ten.
- **Algebra that no visit shows.** The kernel of a solve takes the square of its rows for each weight, and the metric
  the eigenvectors of each layer. On entailment with MiniLM in ALBEF, 50 deleted pairs, both together took three
  quarters of a run's time (by hand, with `cProfile`, commit 2c7b832); in smaller pieces it takes a fifth less.
- **Matching heads descend**, many steps with wrong pairs.
- **LoRA is solved for twice**: five legs of the whole weights say along which directions it goes.
- **Small models retrain fast.** What a run costs does not grow with the kept pairs; retraining does.
"""


if __name__ == "__main__":
    main()
