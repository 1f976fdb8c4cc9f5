"""Keep a row for each group of ``auto.toml`` and ``auto_sizes.toml`` that was run, and write the page of all rows.

Run from the repository, with the commit whose runs they are and the folders of audits of the shards::

    multidelete compare benchmarks/paper/auto.toml --shard 8/21 --store runs/models --out runs/paper_auto_8
    python benchmarks/paper/groups.py --commit d8b2da8 runs/paper_auto_*/audits

Rows lie in ``groups.json`` beside this file; a group that was run again takes the place of its row.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from multidelete import Figure, read_audit
from multidelete.core.words import counted

HERE = Path(__file__).parent
ROWS, PAGE = HERE / "groups.json", HERE / "groups.md"
MODELS = ("original", "retrained", "retrained again", "multidelete_auto")
COLUMNS = {"forget": "deleted", "retain": "kept pairs", "test": "test", "membership": "membership"}
CONFIDENCE = ("membership", "auc of confidence", "forget and held-out")
TOGETHER = {
    "Retrieval": ("flickr8k_albef", "flickr8k_blip"),
    "Entailment and relations": ("flickr8k_ve_albef", "flickr8k_ve_blip", "pgr"),
    "NLVR": ("nlvr_albef", "nlvr_blip"),  # whose test figures are at chance
}
USUAL = 0.05

Row = Mapping[str, Any]

HEAD = """# Runs that find their own way, group by group

What came of each group of [`auto.toml`](auto.toml) and [`auto_sizes.toml`](auto_sizes.toml) that was run; the
[comparison's page](README.md#runs-that-find-their-own-way) says what to make of it.

Figures are original \\| retrained \\| second retrained \\| unlearned: recall@1 or accuracy, and the AUC of attacks by
the score (membership) and by the confidence of classifiers, where it was noted. *void*: the original is at chance
there. The second retrained model's verdict stands in brackets. *Visits* are pairs forwarded and backpropagated for each
deleted pair, and those only forwarded; *time* is the run's share of retraining, on x86_64, one CPU thread beside other
work, so it is rough.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audits", type=Path, nargs="*", help="folders of audits")
    parser.add_argument("--commit", help="of these runs")
    given = parser.parse_args()
    if given.audits and not given.commit:
        parser.error("--commit is missing: say at which commit the groups were run")
    known: list[Row] = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else []
    found = {place(one): one for one in known}
    for path in sorted(path for folder in given.audits for path in folder.glob("*.json")):
        one = row(*read_audit(path), given.commit)
        found[place(one)] = one
    rows = [found[at] for at in sorted(found)]
    lines = ",\n".join(json.dumps(one) for one in rows)
    ROWS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")


def row(run: dict[str, Any], figures: Sequence[Figure], commit: str) -> Row:
    """Of one group; the figures of each model are those of the comparison's own columns."""
    found = {(one.audit, one.figure, one.split, one.model): one for one in figures}
    told: dict[str, list[float] | None] = {}
    for column, place_of in {**{name: run["columns"][name] for name in COLUMNS}, "confidence": CONFIDENCE}.items():
        each = [found.get((*place_of, model)) for model in MODELS]
        values = [one.value for one in each if one is not None and not one.void]
        told[column] = [round(value, 4) for value in values] if len(values) == len(MODELS) else None
    own, twin = run["models"]["multidelete_auto"], run["models"]["retrained"]
    pairs = run["request"]["pairs"]
    return {
        "setting": run["setting"],
        "fraction": run["fraction"],
        "draw": run["draw"],
        "pairs": pairs,
        "figures": told,
        "verdicts": [run["models"][name]["verdict"]["outcome"] for name in ("multidelete_auto", "retrained again")],
        "visits": [round(own["cost"][f"pairs_{way}"] / pairs, 1) for way in ("backward", "forward")],
        "time": round(own["cost"]["wall_s"] / twin["cost"]["wall_s"], 3),
        "passes": run["models"]["original"]["loop"]["passes"],
        "commit": commit,
    }


def place(one: Row) -> tuple[float, str, int]:
    return one["fraction"], one["setting"], one["draw"]


def page(rows: Sequence[Row]) -> str:
    """All rows, and what those of like models say together."""
    names = ["group", "share", "pairs", *COLUMNS.values(), "confidence", "verdict", "visits", "time", "commit"]
    lines = [HEAD, f"| {' | '.join(names)} |", f"|{'---|' * len(names)}", *map(line, rows)]
    for name, settings in TOGETHER.items():
        of_these = [one for one in rows if one["setting"] in settings]
        sizes = sorted({one["fraction"] for one in of_these})
        chosen = {f"{size:.1%}": {size} for size in sizes} | {f"all sizes but {USUAL:.1%}": set(sizes) - {USUAL}}
        for title, of_sizes in chosen.items():
            if some := [one for one in of_these if one["fraction"] in of_sizes]:
                lines += ["", means(some, f"{name} at {title}")]
    return "\n".join([*lines, ""])


def line(one: Row) -> str:
    figures = [shown(one["figures"][column], "void") for column in COLUMNS]
    figures.append(shown(one["figures"].get("confidence"), ""))
    own, second = one["verdicts"]
    visits = " + ".join(f"{count:.0f}" for count in one["visits"])
    cells = [f"{one['setting']} {one['draw']}", f"{one['fraction']:.1%}", str(one["pairs"]), *figures]
    cells += [f"{own} ({second})", visits, f"{one['time']:.2f}", one["commit"]]
    return f"| {' | '.join(cells)} |"


def shown(values: Sequence[float] | None, otherwise: str) -> str:
    return otherwise if values is None else r" \| ".join(f"{value:.3f}" for value in values)


def means(rows: Sequence[Row], name: str) -> str:
    """Mean gaps to the retrained model, of the unlearned one and of the second retrained one, where they were noted."""
    gaps = []
    for column in ("forget", "membership", "confidence", "test"):
        every = [values for one in rows if (values := one["figures"].get(column)) is not None]
        if every:
            own, floor = (mean(values[at] - values[1] for values in every) for at in (3, 2))
            of = "" if len(every) == len(rows) else f" of {counted(len(every), 'groups')}"
            gaps.append(f"{COLUMNS.get(column, column)}{of} {own:+.3f} ({floor:+.3f})")
    kept = mean(values[3] - values[0] for values in (one["figures"]["retain"] for one in rows) if values is not None)
    return (
        f"{name}, {counted(len(rows), 'groups')}: mean gaps to the retrained model, the second retrained model's in "
        f"brackets: {', '.join(gaps)}; kept pairs {kept:+.3f} to the original."
    )


if __name__ == "__main__":
    main()
