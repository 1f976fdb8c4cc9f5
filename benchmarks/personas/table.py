"""Print the table of this folder's README.md from the seeds' ``audit.json`` files."""

from pathlib import Path

from multidelete import Figure, read_audit

HERE = Path(__file__).parent
ROWS = [
    ("sensitive recall@1, forget", "forgetting", "sensitive recall@1 image to text among all training texts", "forget"),
    ("sensitive recall@1, retain", "forgetting", "sensitive recall@1 image to text among all training texts", "retain"),
    ("descriptive recall@10, test", "utility", "descriptive recall@10 image to text", "test"),
    ("membership AUC, sensitive", "membership", "sensitive auc", "forget and held-out"),
    ("membership AUC, descriptive", "membership", "descriptive auc", "forget and held-out"),
    ("separation AUC, sensitive", "separation", "sensitive auc", "forget and retain"),
    ("wall time over retraining", "cost", "fraction of retraining", None),
]
MODELS = ("original", "unlearned", "retrained")


def find(figures: list[Figure], audit: str, figure: str | None, split: str | None, model: str) -> str:
    """The value of one cell, or a dash where it is absent."""
    for row in figures:
        named = figure is None or row.figure == figure
        placed = split is None or row.split == split
        if row.audit == audit and row.model == model and named and placed and row.value is not None:
            return f"{row.value:.3f}"
    return "-"


def main() -> None:
    seeds = sorted(HERE.glob("seed-*.json"))
    audits = {path.stem.removeprefix("seed-"): read_audit(path)[1] for path in seeds}
    print("| figure | seed | " + " | ".join(MODELS) + " |")
    print("|---|---|" + "---|" * len(MODELS))
    for name, audit, figure, split in ROWS:
        for seed, figures in audits.items():
            cells = [find(figures, audit, figure, split, model) for model in MODELS]
            print(f"| {name} | {seed} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
