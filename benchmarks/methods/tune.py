"""Search for the settings of every method on three data sets, with the same number of trials for each.

    python benchmarks/methods/tune.py [--settings personas,emoji,pgr] [--methods npo,...] [--trials 8]

The request is draw 11, which is not among those that are reported; `multidelete.tune` says what judges. Settings go to
``tuned/SETTING/METHOD.toml`` beside this file, with a row for each trial, and ``tuned/cost.md`` is made of them. What
is there already is not searched again, and a search that was cut off goes on. Models are those of the other
benchmarks, in ``runs``; real data lies in the folder that MULTIDELETE_DATA names, else in ``../shared/data``.
"""

import argparse
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

import multidelete
from multidelete import METHODS, PairData, Request, TrainSettings, UnsupportedError
from multidelete.data.split import draw_request

HERE = Path(__file__).parent
sys.path += [str(HERE.parent), str(HERE.parent / "paper_rows")]

import draws  # noqa: E402
import rows  # noqa: E402

DRAW = 11
Setting = tuple[PairData, Path, Callable[[int], Request]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--methods", default=",".join(name for name, method in METHODS.items() if method.search))
    parser.add_argument("--trials", type=int, default=8)
    given = parser.parse_args()
    torch.backends.cuda.enable_flash_sdp(False)  # on CPUs too: its backward pass is slow for short sequences
    for setting in given.settings.split(","):
        data, original, request = SETTINGS[setting]()
        for method in given.methods.split(","):
            search(data, original, request(DRAW), method, HERE / "tuned" / setting / f"{method}.toml", given.trials)
    (HERE / "tuned" / "cost.md").write_text(table(), encoding="utf-8")
    print(table())


def search(data: PairData, original: Path, request: Request, method: str, out: Path, trials: int) -> None:
    """One search, unless it is done or the method does not work on such a model."""
    if out.exists():
        return
    try:
        tuned = multidelete.tune(original, data, request, method=method, trials=trials, out=out, resume=True)
    except UnsupportedError as error:
        print(f"{out.parent.name}, {method}: {error}", flush=True)
        return
    found = f"{tuned.cost.default_objective} with the defaults, {tuned.cost.objective:.3f} found"
    print(f"{out.parent.name}, {method}: objective {found}, {tuned.cost.wall_s:,.0f} s", flush=True)


def personas() -> Setting:
    """The demo's people, half as many, with the demo's model."""
    data = multidelete.personas(people=200, unseen=100, views=2, size=48, seed=1)
    original = Path("runs/methods/personas/original")
    if not original.exists():
        multidelete.train(data, original, model=TrainSettings(image_size=48), seed=1, resume=True)
    return data, original, lambda draw: _drawn(data, "subject", 0.1, draw)


def emoji() -> Setting:
    """The drawings and the model of ``benchmarks/emoji``."""
    experiment = _toml(HERE.parent / "emoji" / "experiment.toml")
    data, original = draws.trained(experiment, Path("runs/emoji"))
    asked = experiment["request"]
    return data, original, lambda draw: _drawn(data, asked["unit"], asked["fraction"], draw)


def pgr() -> Setting:
    """The graph, sentences and model of ``benchmarks/paper_rows``."""
    row = _toml(HERE.parent / "paper_rows" / "pgr_graph_text.toml")
    data = rows.load(row)
    return data, rows.train(row, data, rows.RUNS / "pgr_graph_text"), lambda draw: rows.request(row, data, draw)


SETTINGS: Mapping[str, Callable[[], Setting]] = {"personas": personas, "emoji": emoji, "pgr": pgr}


def _drawn(data: PairData, unit: str, fraction: float, draw: int) -> Request:
    ids = draw_request(data.train, fraction=fraction, unit=unit, seed=draw)
    return multidelete.resolve_request(data, ids=ids, unit=unit)


def _toml(path: Path) -> dict[str, dict]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


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


if __name__ == "__main__":
    main()
