"""Print a row for each group of ``auto.toml`` that was run, beside both retrained models.

Run from the repository, with the folders of audits of its shards::

    multidelete compare benchmarks/paper/auto.toml --shard 8/21 --store runs/models --out runs/paper_auto_8
    python benchmarks/paper/groups.py runs/paper_auto_*/audits
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multidelete import Figure, read_audit

MODELS = ("original", "retrained", "retrained again", "multidelete_auto")
COLUMNS = ("forget", "retain", "test", "membership")


def main() -> None:
    audits = [read_audit(path) for folder in sys.argv[1:] for path in Path(folder).glob("*.json")]
    audits.sort(key=lambda audit: (audit[0]["setting"], audit[0]["fraction"], audit[0]["draw"]))
    names = "group | deleted pairs | deleted | kept pairs | test | membership | verdict | visits | of retraining's time"
    print(f"| {names} |\n|{'---|' * (names.count('|') + 1)}")
    for run, figures in audits:
        print(f"| {' | '.join(cells(run, figures))} |")


def cells(run: dict[str, Any], figures: Sequence[Figure]) -> list[str]:
    """Of one group; the figures of each model are those of the comparison's own columns."""
    found = {(one.audit, one.figure, one.split, one.model): one for one in figures}
    told = []
    for column in COLUMNS:
        each = [found.get((*run["columns"][column], model)) for model in MODELS]
        values = [None if one is None or one.void else one.value for one in each]
        told.append("void" if None in values else r" \| ".join(f"{value:.3f}" for value in values))
    own, twin = run["models"]["multidelete_auto"], run["models"]["retrained"]
    pairs = run["request"]["pairs"]
    visits = " + ".join(f"{own['cost'][f'pairs_{way}'] / pairs:.0f}" for way in ("backward", "forward"))
    verdict = f"{own['verdict']['outcome']} ({run['models']['retrained again']['verdict']['outcome']})"
    share = own["cost"]["wall_s"] / twin["cost"]["wall_s"]
    return [f"{run['setting']} {run['draw']}", str(pairs), *told, verdict, visits, f"{share:.2f}"]


if __name__ == "__main__":
    main()
