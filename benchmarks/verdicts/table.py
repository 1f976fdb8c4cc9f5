"""Write each draw's verdicts on the models of known answers, why one was not judged, and means of the figures.

Run from the repository, after a comparison: ``python benchmarks/verdicts/table.py runs/verdicts/audits verdicts.md``,
with the name of a page beside this file.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from multidelete import Figure, read_audit

HERE = Path(__file__).parent
MODELS = ("untouched", "retrained again", "random weights", "finetune", "multidelete", "multidelete_fixed")
MEANS = ("original", "multidelete", "multidelete_fixed", "retrained", "retrained again")
FOUND = "recall@1 image to text among all training texts"
SEEN = "forget and held-out"
FRACTION = "fraction of retraining"
ROWS = {  # of the table of means: audit, figure and pairs
    "recall@1 of deleted people, names": ("forgetting", f"sensitive {FOUND}", "forget"),
    "recall@1 of deleted people, descriptions": ("forgetting", f"descriptive {FOUND}", "forget"),
    "recall@1 of kept people, names": ("forgetting", f"sensitive {FOUND}", "retain"),
    "recall@1 of kept people, descriptions": ("forgetting", f"descriptive {FOUND}", "retain"),
    "recall@10 of unseen people, descriptions": ("utility", "descriptive recall@10 image to text", "test"),
    "membership AUC of the score, names": ("membership", "sensitive auc of score", SEEN),
    "membership AUC of the margin, names": ("membership", "sensitive auc of margin image to text", SEEN),
    "membership AUC of the margin, descriptions": (
        "membership", "descriptive auc of margin image to text", SEEN
    ),
}  # fmt: skip


def main() -> None:
    audits = [read_audit(path) for path in Path(sys.argv[1]).glob("*.json")]
    audits.sort(key=lambda audit: (audit[0]["seed"], audit[0]["draw"]))
    runs = [run for run, _ in audits]
    models = [model for model in MODELS if model in runs[0]["models"]]
    counts = {model: Counter(run["models"][model]["verdict"]["outcome"] for run in runs) for model in models}
    lines = ["| model | verdicts |", "|---|---|"]
    lines += [f"| {m} | {', '.join(f'{word} {n}' for word, n in counts[m].most_common())} |" for m in models]
    lines += ["", "| seed | draw | " + " | ".join(models) + " |", "|---|---|" + "---|" * len(models)]
    for run in runs:
        cells = [told(run["models"][model]["verdict"]) for model in models]
        lines.append(f"| {run['seed']} | {run['draw']} | " + " | ".join(cells) + " |")
    lines += ["", *means([figures for _, figures in audits]), "", *spans(audits)]
    (HERE / sys.argv[2]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def told(verdict: dict) -> str:
    """The outcome, and the criteria that left it open with their gaps to the yardstick."""
    if verdict["outcome"] != "unjudged":
        return verdict["outcome"]
    unclear = {name: row["gap"] for name, row in verdict["criteria"].items() if row["state"] == "unclear"}
    return "unjudged: " + ", ".join(f"{name} {gap:+.3f}" for name, gap in unclear.items())


def means(audits: Sequence[Sequence[Figure]]) -> list[str]:
    """Over the draws, of the figures that are there."""
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for figures in audits:
        for one in figures:
            if one.value is not None:
                values.setdefault((one.audit, one.figure, one.split, one.model), []).append(one.value)
    models = [model for model in MEANS if any(key[3] == model for key in values)]
    lines = ["| mean | " + " | ".join(models) + " |", "|---|" + "---|" * len(models)]
    for title, row in ROWS.items():
        found = [values.get((*row, model)) for model in models]
        if any(found):
            lines.append(
                f"| {title} | " + " | ".join("" if one is None else f"{fmean(one):.2f}" for one in found) + " |"
            )
    return lines


def spans(audits: Sequence[tuple[dict, Sequence[Figure]]]) -> list[str]:
    """Of `multidelete`'s runs, what they took of the time of retraining, and the legs of those that find their way."""
    lines = ["| run | of the time of retraining | legs |", "|---|---|---|"]
    for model in MODELS:
        runs = [(run["models"][model], figures) for run, figures in audits if model in run["models"]]
        times = [
            one.value
            for _, figures in runs
            for one in figures
            if (one.audit, one.figure, one.model) == ("cost", FRACTION, model) and one.value is not None
        ]
        legs = [run["decisions"]["legs"] for run, _ in runs if "legs" in run.get("decisions", {})]
        if model.startswith("multidelete") and times:
            reached = f"{min(legs):.0f} to {max(legs):.0f}" if legs else ""
            lines.append(f"| {model} | {min(times):.2f} to {max(times):.2f} | {reached} |")
    return lines


if __name__ == "__main__":
    main()
