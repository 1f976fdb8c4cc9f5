"""The command ``tune``: a search for a method's settings."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from multidelete.cli import show
from multidelete.cli.flags import Given, take
from multidelete.cli.inputs import chosen_method, given_keys, given_loop, given_lora, read_for, read_forget
from multidelete.cli.options import DataOptions, ForgetOptions, TuneOptions
from multidelete.core.words import counted

if TYPE_CHECKING:
    from multidelete.experiments.tuning import Tuned


def tune(given: Given) -> None:
    """Search for a method's settings by random trials, judged on validation pairs and the request alone.

    What is searched is the method's own choice (`multidelete methods --json`). Loop settings and hyperparameters that
    are given are where the search begins.
    """
    made = given.settings()
    run = take(made, TuneOptions)
    from multidelete import tune as run_tune
    from multidelete.models.sources import refuse_missing

    refuse_missing({"original": run.original})
    method, loop, lora = chosen_method(given), given_loop(given, made), given_lora(run.lora)
    keys = given_keys(made)
    pairs, _ = read_for(take(made, DataOptions), run.original, keys)
    tuned = run_tune(
        run.original,
        pairs,
        read_forget(pairs, take(made, ForgetOptions)),
        method=method,
        settings=loop,
        trainable=run.trainable,
        lora=lora,
        trials=run.trials,
        out=run.out,
        seed=run.seed,
        overwrite=run.overwrite,
        resume=run.resume,
        allow_pickle=run.allow_pickle,
        **asdict(keys),
    )
    (_show_json if given.json else _show)(tuned)


def _show(tuned: "Tuned") -> None:
    """All trials, the best one marked, what they cost, and where the settings are."""
    searched = list(tuned.method.search)
    rows = []
    for trial in tuned.trials:
        drawn = [f"{trial.drawn[name]:.4g}" if name in trial.drawn else "" for name in searched]
        found = "" if trial.objective is None else f"{trial.objective:.4f}"
        remark = trial.failed or ("best" if trial is tuned.best else "")
        rows.append([trial.number, *drawn, found, f"{trial.wall_s:,.1f}", remark])
    numbers = ["trial", *searched, "objective", "seconds"]
    show.show_table([*numbers, ""], rows, numbers=numbers)
    cost = tuned.cost
    pairs = f"{counted(cost.pairs_backward, 'pairs')} trained on, {cost.pairs_forward:,} asked about"
    show.show_table(["", ""], [["settings", tuned.file], ["cost", f"{cost.wall_s:,.1f} s; {pairs}"]])


def _show_json(tuned: "Tuned") -> None:
    show.show_json(
        {
            "file": str(tuned.file),
            "method": {"name": tuned.method.name, **asdict(tuned.method)},
            "loop": dict(tuned.settings),
            "best": tuned.best.number,
            "search": asdict(tuned.cost),
            "trials": [asdict(trial) for trial in tuned.trials],
        }
    )
