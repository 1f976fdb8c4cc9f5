"""Write ``README.md`` from the results of ``foreign.py``: ``python benchmarks/foreign/page.py runs/foreign``.

What causes a miss is known to whoever looked into it: ``causes.json`` holds a sentence for each cell.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from foreign import BATCH, KINDS, PACES, PEOPLE, cells
from made import NOISE

from multidelete.audits.judgement import TOLERANCES

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
rates, the highest ten times the lowest, and for few or many epochs. Nothing describes it: its folder is what
`save_pretrained` writes. *tuned* ones start at a model of other people, and their text encoder and projections alone
are trained. A twin is trained by the same loop without the request's pairs, a twentieth of all. Then
`multidelete unlearn MODEL --data ... --forget ... --out ...`, once as it is (`--pace auto`, the default), and once
with fixed settings (`--pace given`), no other setting; and `multidelete audit --retrained`.

All data is generated: one portrait and one sentence for each of {portraits} people; the question of which guild they
are, of {questions}; {relations} sentences on a gene and a trait, which are related in one of four ways. Of
{noise:.0%} of the questions and relations the answer is drawn, so that only memory tells it.

{where}

Figures are original \\| retrained \\| unlearned: of retrieval recall@1 among all training texts (deleted, retain) and
recall@10 (test), of classifiers accuracy; the AUC of the attack with the largest gap (membership). *Legs* are solved
and descending ones, those undone in brackets. *Visits* are pairs forwarded and backpropagated for each deleted pair,
and those only forwarded. *Time* is the run's share of the twin's training.
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
    ordered = sorted(found, key=place)
    counted = [cell for cell in ordered if has_memorised(cell)]
    empty = [cell for cell in ordered if not has_memorised(cell)]
    not_run = [own.name for own in cells(tiny=False) if own.name not in {cell["name"] for cell in found}]
    causes = json.loads((HERE / "causes.json").read_text(encoding="utf-8"))
    sizes = {name: people for name, (people, _) in PEOPLE.items()}
    parts = [
        ABOUT.format(batch=BATCH, noise=NOISE, where=where(found), **sizes),
        f"Of {len(counted)} models that had memorised something: {told(counted, 'auto')}; with fixed settings "
        f"{told(counted, 'given')}.\n",
        f"Medians of all {len(found)} runs: {medians(found)}.\n",
        "\n".join([*HEAD, *map(row, counted)]) + "\n",
        "## Misses and open ones\n",
        "\n".join(miss(cell, causes) for cell in counted if cell["auto"]["outcome"] != "forgotten") + "\n",
        "## Originals that had memorised hardly anything\n",
        "The original finds the deleted pairs hardly more than its twin, so there is nothing to be seen to go, and no "
        f"verdict but *unjudged* is a good one: {told(empty, 'auto')}; with fixed settings {told(empty, 'given')}.\n",
        "\n".join([*HEAD, *map(row, empty)]) + "\n",
        small([cell for cell in ordered if "small" in cell], causes),
        f"## Not run\n\n{', '.join(not_run) or 'Nothing'}.\n",
    ]
    return "\n".join(parts)


def told(found: Sequence[Cell], pace: str) -> str:
    counted = Counter(cell[pace]["outcome"] for cell in found).most_common()
    return ", ".join(f"{word} {number}" for word, number in counted) or "none"


def medians(found: Sequence[Cell]) -> str:
    runs = [cell["auto"] for cell in found]
    back, forth = (
        median(run["cost"][f"pairs_{way}"] / run["deleted"] for run in runs) for way in ("backward", "forward")
    )
    share = median(run["cost"]["wall_s"] / run["training"]["retrained"] for run in runs)
    return (
        f"{back:.0f} pairs forwarded and backpropagated for each deleted pair and {forth:.0f} only forwarded, "
        f"{median(run['cost']['wall_s'] for run in runs):.0f} seconds, {share:.2f} of the time of the twin's training"
    )


def where(found: Sequence[Cell]) -> str:
    runs = [cell["auto"] for cell in found]
    machines = sorted({run["machine"] for run in runs})
    loads = [run["load"] for run in runs]
    commits, fixed = (sorted({f"commit {cell[pace]['commit']}" for cell in found}) for pace in PACES)
    return (
        f"Figures of {', '.join(commits)}, on {'; '.join(machines)},\nwhich others used at the same time "
        f"(load {min(loads):.0f} to {max(loads):.0f}): seconds are rough. Runs at fixed settings: {', '.join(fixed)}."
    )


def has_memorised(cell: Cell) -> bool:
    of = cell["auto"]["criteria"]["forgetting"]
    return bool(of["original"] - of["retrained"] > SOMETHING)


def place(cell: Cell) -> tuple[int, int, float]:
    kind = next(at for at, name in enumerate(KINDS) if cell["name"].startswith(name))
    return kind, cell["auto"]["epochs"], cell["auto"]["rate"]


HEAD = (
    "| model | rate | epochs | deleted | retain | test | membership | verdict | fixed | legs | visits | time |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def row(cell: Cell) -> str:
    run = cell["auto"]
    figures = [three(run, name) for name in ("forgetting", "retain", "test", "membership")]
    cost, deleted = run["cost"], run["deleted"]
    name = next(name for name in KINDS if cell["name"].startswith(name))
    visits = f"{cost['pairs_backward'] / deleted:.0f} + {cost['pairs_forward'] / deleted:.0f}"
    share = cost["wall_s"] / run["training"]["retrained"]
    verdicts = [marked(cell[pace]["outcome"]) for pace in ("auto", "given")]
    cells_of_row = [name, f"{run['rate']:g}", run["epochs"], *figures, *verdicts, legs(run), visits, f"{share:.2f}"]
    return "| " + " | ".join(map(str, cells_of_row)) + " |"


def marked(outcome: str) -> str:
    return f"**{outcome}**" if outcome in BAD else outcome


def three(run: Cell, criterion: str) -> str:
    of = run["criteria"][criterion]
    return " \\| ".join("-" if of[m] is None else short(of[m]) for m in MODELS)


def short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def legs(run: Cell) -> str:
    ways = [[leg for leg in run["history"] if leg.get("solved") == way] for way in (1.0, 0.0)]
    return " + ".join(f"{len(own)} ({sum(1 for leg in own if not leg['accepted'])})" for own in ways)


def miss(cell: Cell, causes: Mapping[str, str]) -> str:
    """What was missed, beside what the run itself saw at its end."""
    run = cell["auto"]
    missed = [
        f"{name} {of['gap']:+.3f} ({of['low']:+.3f} to {of['high']:+.3f}), {within(name, of['gap'])}"
        for name, of in run["criteria"].items()
        if of["state"] != "met" and of["gap"] is not None
    ]
    saw = run["decisions"]
    ended = ""
    if "forgotten" in saw:
        ended = (
            f" The run {'ended as forgotten' if saw['forgotten'] else 'stopped short'}: deleted pairs "
            f"{saw['distance']:.2f} from unseen ones,\n  kept pairs found {saw['kept_before']:.3f} before and "
            f"{saw['kept']:.3f} after."
        )
    found = "; ".join(missed) or run["headline"]
    return f"- **{cell['name']}**, {run['outcome']}: {found}.{ended} {causes.get(cell['name'], '')}".rstrip()


def within(criterion: str, gap: float) -> str:
    above, below = TOLERANCES[criterion]
    return "within its tolerance, known too roughly" if -below <= gap <= above else "beyond its tolerance"


def small(found: Sequence[Cell], causes: Mapping[str, str]) -> str:
    """What is kept after requests of a few pairs, and after one by LoRA."""
    if not found:
        return "## Small requests and LoRA\n\nNot run.\n"
    names = list(found[0]["small"])
    rows = [
        f"| {cell['name']} | "
        + " | ".join(
            " \\| ".join(short(cell["small"][name]["criteria"]["retain"][model]) for model in ("original", "unlearned"))
            for name in names
        )
        + f" | {marked(cell['small']['lora']['outcome'])}"
        + " |"
        for cell in found
    ]
    heads = [f"pairs: {name}" if name.isdigit() else "all, by LoRA" for name in names] + ["verdict on LoRA"]
    return "\n".join([
        "## Small requests and LoRA\n",
        f"Retain of the original \\| after the request. {causes.get('LoRA', '')}\n",
        "| model | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
        *rows,
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
