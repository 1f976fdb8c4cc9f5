"""The command ``tune``: a search for a method's settings."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.inputs import deletion_arguments
from multidelete.cli.options import DeletionOptions
from multidelete.core.words import counted

if TYPE_CHECKING:
    from multidelete.experiments.tuning import Tuned


@dataclass(frozen=True, kw_only=True)
class TuneOptions(DeletionOptions):
    """Run.

    Attributes:
        trials: Settings to try, 1 or more; the first are those given, or else the method's own, with a fixed
            budget where it trains.
        out: Settings file to write, for `unlearn --config`; ends in .toml. Beside it, in a .jsonl file, a row for
            each trial.
        overwrite: Replace the file if it exists.
    """

    trials: int = 12
    out: str
    overwrite: bool = False


def tune(call: Call) -> None:
    """Search for a method's settings by random trials, judged on validation pairs and the request alone.

    What is searched is the method's own choice (`multidelete methods --json`). Loop settings and hyperparameters that
    are given are where the search begins.
    """
    run = call.of(TuneOptions)
    from multidelete.experiments.tuning import searched
    from multidelete.models.sources import refuse_missing

    refuse_missing({"original": run.original})
    arguments, _ = deletion_arguments(call, run)
    tuned = searched(arguments, run.out, trials=run.trials, overwrite=run.overwrite, resume=run.resume)
    (_show_json if call.json else _show)(tuned)


def _show(tuned: "Tuned") -> None:
    """All trials, the best one marked, what they cost, and where the settings are."""
    searched = list(tuned.method.search)
    rows = []
    for trial in tuned.trials:
        drawn = [f"{trial.drawn[name]:.4g}" if name in trial.drawn else "" for name in searched]
        objective = "" if trial.objective is None else f"{trial.objective:.4f}"
        remark = trial.failed or ("best" if trial is tuned.best else "")
        rows.append([trial.number, *drawn, objective, f"{trial.wall_s:,.1f}", remark])
    numbers = ["trial", *searched, "objective", "seconds"]
    show.show_table([*numbers, ""], rows, numbers=numbers)
    cost = tuned.cost
    pairs = f"{counted(cost.pairs_backward, 'pairs')} trained on, {cost.pairs_forward:,} asked about"
    show.show_table(["", ""], [["settings", tuned.file], ["cost", f"{cost.wall_s:,.1f} s; {pairs}"]])
    from multidelete.experiments.trials import NO_WAY_OF_ITS_OWN

    if tuned.method.is_solvable:
        show.say(f"note: {NO_WAY_OF_ITS_OWN}")


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
