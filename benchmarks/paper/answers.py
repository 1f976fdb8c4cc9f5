"""Write ``answers.md``: how far the models lie from the retrained one, averaged over the rows, and the best baseline.

Run from the repository, after the comparisons:
``python benchmarks/paper/answers.py runs/paper/audits runs/paper_sizes/audits``.

Draws of one row share their original, so each row counts once, with the mean of its draws, and intervals are Student's
t over the rows.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.experiments.comparison.records import read_group
from multidelete.experiments.comparison.summary import Block, Mean, Row, summarise

HERE = Path(__file__).parent
OURS = ("multidelete", "multidelete_12_passes", "multidelete_24_passes", "multidelete_paper")
CONTROLS = ("untouched", "retrained", RETRAINED_AGAIN, "random weights")
WITHIN = 0.02  # a baseline whose test figure is further from the retrained model's than this is not the best
FLAT = 0.10  # confidence this far below the retrained model's gives deleted pairs away: the audit's own tolerance
GAPS = ("test", "retain", "forget", "separation", "membership", "confidence")
FRACTION = 0.05

Blocks = Mapping[str, Mapping[int, Block]]  # of each row, by draw


def main() -> None:
    found: dict[float, dict[str, dict[int, Block]]] = {}
    for path in sorted(file for folder in sys.argv[1:] for file in Path(folder).glob("*.json")):
        head, figures = read_group(path)
        block = summarise({path.stem: (head, figures)}, list(head.models))
        found.setdefault(head.fraction, {}).setdefault(head.setting, {})[head.draw] = block
    blocks = found.pop(FRACTION)
    unseen = "Without baselines whose confidence in deleted pairs lies more than 0.10 below the retrained model's:"
    lines = [
        "# Gaps to the retrained model, 5 % deleted",
        "",
        *gaps(blocks),
        "",
        "# The best baseline",
        "",
        *best(blocks),
    ]
    lines += ["", unseen, "", *best(blocks, flat_too=False)]
    for fraction, others in sorted(found.items()):
        lines += ["", f"# Gaps to the retrained model, {100 * fraction:g} % deleted", "", *gaps(others)]
    text = "\n".join(lines) + "\n"
    (HERE / "answers.md").write_text(text, encoding="utf-8")
    print(text)


def gaps(blocks: Blocks) -> list[str]:
    """Mean signed gap of every model to the retrained one, and what it took."""
    names = list(dict.fromkeys(name for draws in blocks.values() for block in draws.values() for name in block.rows))
    first = (*CONTROLS, *OURS)
    names = sorted(names, key=lambda name: first.index(name) if name in first else len(first))
    names = [name for name in names if name not in ("original", "retrained")]
    lines = ["| model | " + " | ".join(GAPS) + " | forget, whatever the sign | time | rows |"]
    lines.append("|---" * (len(GAPS) + 4) + "|")
    for name in names:
        cells = [
            over_rows([gap_of(block.rows[name], key) for block in draws.values()] for draws in blocks.values())
            for key in GAPS
        ]
        sizes = over_rows([size_of(block.rows[name]) for block in draws.values()] for draws in blocks.values())
        times = over_rows([share_of(block.rows[name]) for block in draws.values()] for draws in blocks.values())
        there = sum(any(block.rows[name].values for block in draws.values()) for draws in blocks.values())
        signed = " | ".join(told(cell, signed=True) for cell in cells)
        lines.append(f"| {name} | {signed} | {told(sizes)} | {told(times)} | {there} |")
    return lines


def best(blocks: Blocks, *, flat_too: bool = True) -> list[str]:
    """In each draw the baseline of highest separation among those that keep test, and what multidelete has above it."""
    lines = ["| row | draw | retrained | best baseline | its separation | " + " | ".join(OURS) + " |"]
    lines.append("|---" * (5 + len(OURS)) + "|")
    apart: dict[str, list[list[float | None]]] = {name: [[] for _ in blocks] for name in OURS}
    for at, (setting, draws) in enumerate(blocks.items()):
        for number, block in draws.items():
            known, own = separations(block, flat_too), [block.rows[name].values["separation"].value for name in OURS]
            name = max(known, key=lambda one: known[one], default=None)
            for one, value in zip(OURS, own, strict=True):
                apart[one][at].append(None if name is None else value - known[name])
            theirs = "none | -" if name is None else f"{name} | {known[name]:.3f}"
            yardstick = block.rows["retrained"].values["separation"].value
            shown = " | ".join(f"{value:.3f}" for value in own)
            lines.append(f"| {setting} | {number} | {yardstick:.3f} | {theirs} | {shown} |")
    for one in OURS:
        found = told(over_rows(apart[one]), times=100, digits=1, signed=True)
        lines += ["", f"`{one}` above the best baseline, in points of AUC: {found}."]
    return lines


def separations(block: Block, flat_too: bool) -> dict[str, float]:
    """Of the baselines whose test figure is as near as `WITHIN`, with or without those that are unsure by `FLAT`."""
    return {
        name: row.values["separation"].value
        for name, row in block.rows.items()
        if name not in (*OURS, *CONTROLS) and "separation" in row.values and abs(row.gaps["test"].value) <= WITHIN
        if flat_too or "confidence" not in row.gaps or row.gaps["confidence"].value >= -FLAT
    }


def gap_of(row: Row, key: str) -> float | None:
    return row.gaps[key].value if key in row.gaps else None


def size_of(row: Row) -> float | None:
    return abs(row.gaps["forget"].value) if "forget" in row.gaps else None


def share_of(row: Row) -> float | None:
    return None if row.share is None else row.share.value


def over_rows(draws_by_row: Iterable[Sequence[float | None]]) -> Mean | None:
    """Mean over the rows that have the figure, each the mean of its draws."""
    known = [[value for value in draws if value is not None] for draws in draws_by_row]
    rows = [mean(draws) for draws in known if draws]
    return Mean.of(rows) if rows else None


def told(found: Mean | None, *, times: float = 1, digits: int = 3, signed: bool = False) -> str:
    """Value and half the width of its interval."""
    if found is None:
        return "-"
    sign = "+" if signed else ""
    half = "" if found.half is None else f" ± {times * found.half:.{digits}f}"
    return f"{times * found.value:{sign}.{digits}f}{half}"


if __name__ == "__main__":
    main()
