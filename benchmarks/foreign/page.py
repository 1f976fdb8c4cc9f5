"""Write ``README.md`` from the results of ``foreign.py``: ``python benchmarks/foreign/page.py runs/foreign``.

What causes a miss is known to whoever looked into it: ``causes.json`` holds a sentence for each cell.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foreign import BATCH, EPOCHS, KINDS, cells
from made import NOISE

HERE = Path(__file__).parent
MODELS = ("original", "retrained", "unlearned")
SOMETHING = 0.10  # how much more the original must find of the deleted pairs than its twin
BAD = ("damaged", "unfinished", "over-forgotten")

Cell = Mapping[str, Any]

ABOUT = """# Models from elsewhere

```sh
OMP_NUM_THREADS=1 python benchmarks/foreign/foreign.py --out runs/foreign
python benchmarks/foreign/page.py runs/foreign
```

Each original is made by a plain PyTorch loop (Adam, batches of {batch}, one cycle of the rate), at one of three
rates a factor of 10 apart and for {few} or {many} epochs. Nothing describes it: its folder is what `save_pretrained`
writes. Its twin is trained by the same loop without the request's pairs, a twentieth of all. Then
`multidelete unlearn MODEL --data ... --forget ... --pace auto --out ...`, with no other setting, and
`multidelete audit --retrained`.

All data is generated: one portrait and one sentence for each of {people} people; the same with the question of which
guild they are; sentences on a gene and a trait, which are related or not. Of {noise:.0%} of the questions and
relations the answer is drawn, so that only memory tells it.

{where}

Figures are original \\| retrained \\| unlearned: of retrieval recall@1 among all training texts (deleted, retain) and
recall@10 (test), of classifiers accuracy; the AUC of the attack with the largest gap (membership). *Legs* are solved
and descending ones, those undone in brackets. *Pairs* are forwarded and backpropagated ones for each deleted pair,
and those only forwarded. *Time* is the run's share of the twin's training. *Twin* is the verdict on a second twin,
with other batches.
"""


def main() -> None:
    folder = Path(sys.argv[1])
    found = {one["name"]: one for one in map(read, folder.glob("results/*.json"))}
    ordered = [found[own.name] for own in [*cells(tiny=False), *cells(tiny=True)] if own.name in found]
    (HERE / "README.md").write_text(page(ordered), encoding="utf-8")


def read(path: Path) -> Cell:
    cell: Cell = json.loads(path.read_text(encoding="utf-8"))
    return cell


def page(found: Sequence[Cell]) -> str:
    """The whole page."""
    counted = sorted(filter(has_memorised, found), key=place)
    empty = [cell["name"] for cell in found if not has_memorised(cell)]
    verdicts = Counter(cell["outcome"] for cell in counted).most_common()
    not_run = [own.name for own in cells(tiny=False) if own.name not in {cell["name"] for cell in found}]
    people = max(cell["pairs"] for cell in found)
    causes = json.loads((HERE / "causes.json").read_text(encoding="utf-8"))
    told = [f"{word} {number}" for word, number in verdicts]
    parts = [
        ABOUT.format(batch=BATCH, noise=NOISE, people=people, where=where(found), **EPOCHS),
        f"Of {len(counted)} models that had memorised something: {', '.join(told) or 'no verdict'}.\n",
        "\n".join([*HEAD, *map(row, counted)]) + "\n",
        "## Misses and open ones\n",
        "\n".join(miss(cell, causes) for cell in counted if cell["outcome"] != "forgotten") + "\n",
        "## Not counted\n",
        "The original finds the deleted pairs hardly more than its twin, so there was nothing to be seen to go: "
        f"{', '.join(empty) or 'none'}.\n",
        f"## Not run\n\n{', '.join(not_run) or 'Nothing'}.\n",
    ]
    return "\n".join(parts)


def where(found: Sequence[Cell]) -> str:
    machines = sorted({cell["machine"].partition(", load")[0] for cell in found})
    loads = [float(cell["machine"].rpartition("load ")[2]) for cell in found]
    commits = sorted({f"commit {cell['commit']}" for cell in found})
    return (
        f"Figures of {', '.join(commits)}, on {'; '.join(machines)},\nwhich others used at the same time "
        f"(load {min(loads):.0f} to {max(loads):.0f}): seconds are rough."
    )


def has_memorised(cell: Cell) -> bool:
    of = cell["criteria"]["forgetting"]
    return bool(of["original"] - of["retrained"] > SOMETHING)


def place(cell: Cell) -> tuple[int, int, float]:
    kind = next(at for at, name in enumerate(KINDS) if cell["name"].startswith(name))
    return kind, cell["epochs"], cell["rate"]


HEAD = (
    "| model | rate | epochs | deleted | retain | test | membership | verdict | twin | legs | pairs | time |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def row(cell: Cell) -> str:
    figures = [three(cell, name) for name in ("forgetting", "retain", "test", "membership")]
    cost, deleted = cell["cost"], cell["deleted"]
    name = next(name for name in KINDS if cell["name"].startswith(name))
    pairs = f"{cost['pairs_backward'] / deleted:.0f} + {cost['pairs_forward'] / deleted:.0f}"
    share = cost["wall_s"] / cell["seconds"]["retrained"]
    outcome = f"**{cell['outcome']}**" if cell["outcome"] in BAD else cell["outcome"]
    twin = cell.get("again", {}).get("outcome", "")
    told = [name, f"{cell['rate']:g}", cell["epochs"], *figures, outcome, twin, legs(cell), pairs, f"{share:.2f}"]
    return "| " + " | ".join(map(str, told)) + " |"


def three(cell: Cell, criterion: str) -> str:
    of = cell["criteria"][criterion]
    return " \\| ".join("-" if of[m] is None else f"{of[m]:.3f}".replace("0.", ".", 1) for m in MODELS)


def legs(cell: Cell) -> str:
    ways = [[leg for leg in cell["history"] if leg["solved"] == way] for way in (1.0, 0.0)]
    return " + ".join(f"{len(own)} ({sum(1 for leg in own if not leg['accepted'])})" for own in ways)


def miss(cell: Cell, causes: Mapping[str, str]) -> str:
    """What was missed, beside what the run itself saw at its end."""
    missed = [
        f"{name} {of['gap']:+.3f} ({of['low']:+.3f} to {of['high']:+.3f})"
        for name, of in cell["criteria"].items()
        if of["state"] != "met" and of["gap"] is not None
    ]
    saw = cell["decisions"]
    ended = "ended as forgotten" if saw["forgotten"] else "stopped short"
    return (
        f"- **{cell['name']}**, {cell['outcome']}: {'; '.join(missed) or cell['headline']}. The run {ended}:\n"
        f"  deleted pairs {saw['distance']:.2f} from unseen ones, kept pairs found {saw['kept_before']:.3f} before and "
        f"{saw['kept']:.3f} after. {causes.get(cell['name'], '')}".rstrip()
    )


if __name__ == "__main__":
    main()
