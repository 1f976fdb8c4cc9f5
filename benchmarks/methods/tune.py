"""Search for the settings of every method of ``experiment.toml``, with the same number of trials for each.

    python benchmarks/methods/tune.py [--settings personas,emoji,pgr] [--methods npo,...] [--trials 5]

The request is draw 11, which is not among those that are compared; `multidelete.tune` says what judges. Settings go to
``tuned/SETTING/METHOD.toml`` beside this file, with a row for each trial, and ``tuned/cost.md`` and ``tuned.toml``, the
experiment with the settings found, are made of them. A trial has the same settings on all data: ``tuned/means.md`` has
each trial's mean, by which the library's defaults were chosen. What is there already is not searched again, and a
search that was cut off goes on. The originals are those of the comparison, in ``runs/models``; real data lies in the
folder that MULTIDELETE_DATA names, else in ``../shared/data``.
"""

import argparse
import json
import os
import re
import tomllib
from pathlib import Path

import multidelete
from multidelete import METHODS, PairData, Request, UnsupportedError
from multidelete.experiments.comparison.experiment import Group, MethodRow
from multidelete.experiments.comparison.material import load, model_of, request_of
from multidelete.experiments.comparison.reading import read_experiment
from multidelete.experiments.store import ModelStore

HERE = Path(__file__).parent
EXPERIMENT = HERE / "experiment.toml"
DRAW = 11


def main() -> None:
    experiment = read_experiment(EXPERIMENT)
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", default=",".join(setting.name for setting in experiment.settings))
    parser.add_argument("--methods", default=",".join(row.name for row in experiment.settings[0].methods))
    parser.add_argument("--trials", type=int, default=5)
    given = parser.parse_args()
    store = ModelStore("runs/models")
    root, grid = Path(os.environ.get("MULTIDELETE_DATA", "../shared/data")), experiment.grid
    for setting in experiment.settings:
        if setting.name not in given.settings.split(","):
            continue
        data, seed = load(setting, root), grid.seeds[0]
        model = model_of(setting, data, seed, store)
        original = store.original(data, start=model, settings=setting.train, seed=seed)
        request = request_of(Group(setting, grid.fractions[0], DRAW, seed), data)
        for row in setting.methods:
            if row.name in given.methods.split(","):
                search(data, original, request, row, HERE / "tuned" / setting.name / f"{row.name}.toml", given.trials)
    (HERE / "tuned" / "cost.md").write_text(table(), encoding="utf-8")
    (HERE / "tuned" / "means.md").write_text(means(), encoding="utf-8")
    (HERE / "tuned.toml").write_text(tuned_experiment(), encoding="utf-8")
    print(table())


def search(data: PairData, original: Path, request: Request, row: MethodRow, out: Path, trials: int) -> None:
    """One search, unless it is done or the method does not work on such a model."""
    if out.exists():
        return
    try:
        tuned = multidelete.tune(
            original, data, request, method=row.method, settings=row.loop, trainable=row.trainable,
            trials=trials, out=out, resume=True,
        )  # fmt: skip
    except UnsupportedError as error:
        print(f"{out.parent.name}, {row.name}: {error}", flush=True)
        return
    before = tuned.cost.default_objective
    found = f"{'none' if before is None else f'{before:.3f}'} at first, {tuned.cost.objective:.3f} found"
    print(f"{out.parent.name}, {row.name}: objective {found}, {tuned.cost.wall_s:,.0f} s", flush=True)


def tuned_experiment() -> str:
    """The experiment with what was found, without settings for which nothing was searched."""
    searched = {path.name for path in (HERE / "tuned").iterdir() if path.is_dir()}
    tables = re.split(r"(?m)^(?=\[)", EXPERIMENT.read_text(encoding="utf-8"))
    names = {table: re.match(r"\[settings\.(\w+)", table) for table in tables}
    text = "".join(table for table, name in names.items() if name is None or name[1] in searched)
    rows = {row.name: row for row in read_experiment(EXPERIMENT).settings[0].methods}
    for path in sorted((HERE / "tuned").glob("*/*.toml")):
        found = _toml(path)
        names = METHODS[path.stem].search
        settings = {**found, **found.get("method", {})}
        lines = [f"{name} = {settings[name]}" for name in names if name in settings]
        if lines and path.stem in rows:
            text += f"\n[settings.{path.parent.name}.methods.{path.stem}]\n" + "\n".join(lines) + "\n"
    return text


def table() -> str:
    """What each search found and took."""
    names = ("trials", "failed", "default_objective", "objective", "wall_s", "pairs_backward", "pairs_forward")
    lines = ["| data | method | " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|---|---|" + "--:|" * len(names))
    for path in sorted((HERE / "tuned").glob("*/*.toml")):
        cost = _toml(path)["search"]
        cells = [f"{cost[name]:.3f}" if isinstance(cost[name], float) else f"{cost[name]}" for name in names]
        lines.append(f"| {path.parent.name} | {path.stem} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def means() -> str:
    """Each trial's objective, as a mean over the data on which the method works, and its settings."""
    lines = ["| method | trial | mean objective | of | settings |", "|---|--:|--:|---|---|"]
    for name in METHODS:
        trials: dict[int, dict[str, dict]] = {}
        for path in sorted((HERE / "tuned").glob(f"*/{name}.jsonl")):
            for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                if "number" in row:
                    trials.setdefault(row["number"], {})[path.parent.name] = row
        for number, by_data in sorted(trials.items()):
            found = [row["objective"] for row in by_data.values()]
            mean = "failed" if None in found else f"{sum(found) / len(found):.3f}"
            drawn = ", ".join(f"{key} {value}" for key, value in next(iter(by_data.values()))["drawn"].items())
            lines.append(f"| {name} | {number} | {mean} | {', '.join(by_data)} | {drawn} |")
    return "\n".join(lines) + "\n"


def _toml(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
