"""Train a model, forget at several random draws with several methods, retrain, and audit all of them together.

    python benchmarks/draws.py benchmarks/emoji

Reads the folder's ``experiment.toml``; the data lies in the folder that MULTIDELETE_DATA names, else in
``../shared/data``. Models and reports go to ``runs/<name>``, and what is there already is not made again. Each
draw's audit is kept beside the experiment as ``draw-N.json``, and ``results.md`` and ``results.svg`` are made of those.
"""

import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import matplotlib as mpl
from matplotlib.figure import Figure as Plot
from start import make_start

import multidelete
from multidelete import Figure, LoopSettings, PairData, TrainSettings
from multidelete.data.split import draw_request

mpl.rcParams["svg.hashsalt"] = "multidelete"
SEARCH = "recall@1 image to text among"
COLUMNS = {  # audit, beginning of the figure's name, split
    "test recall@1": ("utility", "recall@1 image to text", "test"),
    "test recall@10": ("utility", "recall@10 image to text", "test"),
    "retain recall@1": ("forgetting", SEARCH, "retain"),
    "forget recall@1": ("forgetting", SEARCH, "forget"),
    "separation AUC": ("separation", "auc", None),
    "membership AUC": ("membership", "auc of", None),
}


def main() -> None:
    here = Path(sys.argv[1])
    experiment = tomllib.loads((here / "experiment.toml").read_text(encoding="utf-8"))
    run(here, experiment, Path("runs") / here.name)
    audits = {path.stem: multidelete.read_audit(path) for path in sorted(here.glob("draw-*.json"))}
    (here / "results.md").write_text(table(audits), encoding="utf-8")
    plot(audits).savefig(here / "results.svg", metadata={"Date": None})
    print(table(audits))


def run(here: Path, experiment: Mapping[str, object], runs: Path) -> None:
    """All models and audits that are not there yet."""
    data, original = trained(experiment, runs)
    seed = experiment["seed"]
    request = experiment["request"]
    for draw in request["draws"]:
        folder = runs / f"draw-{draw}"
        ids = draw_request(data.train, fraction=request["fraction"], unit=request["unit"], seed=draw)
        forget = multidelete.resolve_request(data, ids=ids, unit=request["unit"])
        for method in ("retrain", *experiment["methods"]):
            if not (folder / method).exists():
                multidelete.unlearn(original, data, forget, method=method, out=folder / method, seed=seed, resume=True)
        if (kept := here / f"draw-{draw}.json").exists():
            continue
        first, *others = experiment["methods"]
        multidelete.audit(
            folder / first, original, data, forget, retrained=folder / "retrain", out=folder / "report",
            others={name: folder / name for name in others}, seed=seed, overwrite=True,
        )  # fmt: skip
        shutil.copy(folder / "report" / "audit.json", kept)


def trained(experiment: Mapping[str, object], runs: Path) -> tuple[PairData, Path]:
    """The experiment's data, and the folder of the model trained on it."""
    source = dict(experiment["data"])
    root = Path(os.environ.get("MULTIDELETE_DATA", "../shared/data"))
    data = multidelete.load_data(str(root / source.pop("folder")), **source)
    recipe, seed = LoopSettings(**experiment["train"]), experiment["seed"]
    start, original = runs / "start", runs / "original"
    if not start.exists():
        make_start(start, [pair.inputs["text"] for pair in data.train], seed=seed, **experiment["model"])
    if not original.exists():
        model = TrainSettings(family="vision-text", start=str(start))
        multidelete.train(data, original, model=model, settings=recipe, seed=seed, resume=True)
    return data, original


Audits = Mapping[str, tuple[Mapping[str, object], list[Figure]]]


def values(audits: Audits, model: str, column: str) -> list[float]:
    """One value for each draw; of several membership signals the one that tells most."""
    audit, name, split = COLUMNS[column]
    found = []
    for _, figures in audits.values():
        rows = [
            row for row in figures
            if row.audit == audit and row.model == model and row.value is not None and ", difference" not in row.figure
            and row.figure.startswith(name) and "split's own" not in row.figure
        ]  # fmt: skip
        here = [row.value for row in rows if split in (None, row.split)]
        if not here and split == "retain":  # too many to search them all
            here = [row.value for row in rows if row.split == "retain sample"]
        if here:
            found.append(max(here))
    return found


def models(audits: Audits) -> dict[str, str]:
    """Name in the audits of each method and yardstick, by the name to show."""
    run, figures = next(iter(audits.values()))
    others = sorted({row.model for row in figures} - {"original", "unlearned", "retrained"})
    return {"original": "original", str(run["method"]): "unlearned", **{o: o for o in others}, "retrained": "retrained"}


def seconds(audits: Audits, model: str) -> list[float]:
    return [run[model]["cost"]["wall_s"] for run, _ in audits.values()]


def table(audits: Audits) -> str:
    """Means over the draws, with the smallest and the largest where there are several."""
    lines = ["| | " + " | ".join(COLUMNS) + " | seconds |", "|---|" + "---|" * (len(COLUMNS) + 1)]
    for shown, model in models(audits).items():
        cells = [_cell(values(audits, model, column), 3) for column in COLUMNS]
        lines.append(f"| {shown} | " + " | ".join([*cells, _cell(seconds(audits, model), 0)]) + " |")
    return "\n".join(lines) + "\n"


def _cell(found: list[float], digits: int) -> str:
    if not found:
        return "-"
    middle, low, high = (f"{value:.{digits}f}" for value in (mean(found), min(found), max(found)))
    return middle if low == high else f"{middle} ({low} to {high})"


def plot(audits: Audits) -> Plot:
    """Gap to the retrained model in what should stay against the gap in membership, one point for each draw."""
    figure = Plot(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (shown, model) in enumerate(models(audits).items()):
        if model == "retrained":
            continue
        kept, told = (
            [
                mine - theirs
                for mine, theirs in zip(values(audits, model, c), values(audits, "retrained", c), strict=True)
            ]
            for c in ("test recall@10", "membership AUC")
        )
        axes.scatter(told, kept, label=shown, color=f"C{number}", s=40)
    axes.axhline(0, color="0.6", linewidth=1)
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set_xlabel("membership AUC, minus that of the retrained model")
    axes.set_ylabel("test recall@10, minus that of the retrained model")
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
