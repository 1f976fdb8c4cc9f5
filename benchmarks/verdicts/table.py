"""Write ``verdicts.md``: each draw's verdicts on the models of known answers, and why one was not judged.

Run from the repository, after the comparison: ``python benchmarks/verdicts/table.py runs/verdicts/audits``.
"""

import sys
from collections import Counter
from pathlib import Path

from multidelete import read_audit

HERE = Path(__file__).parent
MODELS = ("untouched", "retrained again", "random weights", "finetune", "multidelete")


def main() -> None:
    runs = [read_audit(path)[0] for path in Path(sys.argv[1]).glob("*.json")]
    runs.sort(key=lambda run: (run["seed"], run["draw"]))
    counts = {model: Counter(run["models"][model]["verdict"]["outcome"] for run in runs) for model in MODELS}
    lines = ["| model | verdicts |", "|---|---|"]
    lines += [f"| {m} | {', '.join(f'{word} {n}' for word, n in counts[m].most_common())} |" for m in MODELS]
    lines += ["", "| seed | draw | " + " | ".join(MODELS) + " |", "|---|---|" + "---|" * len(MODELS)]
    for run in runs:
        cells = [told(run["models"][model]["verdict"]) for model in MODELS]
        lines.append(f"| {run['seed']} | {run['draw']} | " + " | ".join(cells) + " |")
    (HERE / "verdicts.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def told(verdict: dict) -> str:
    """The outcome, and the criteria that left it open with their gaps to the yardstick."""
    if verdict["outcome"] != "unjudged":
        return verdict["outcome"]
    unclear = {name: row["gap"] for name, row in verdict["criteria"].items() if row["state"] == "unclear"}
    return "unjudged: " + ", ".join(f"{name} {gap:+.3f}" for name, gap in unclear.items())


if __name__ == "__main__":
    main()
