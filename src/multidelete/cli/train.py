"""The command ``train``."""

from dataclasses import asdict, dataclass

from multidelete.artifacts.record import Holdout, RunRecord
from multidelete.cli import show
from multidelete.cli.flags import Call, flag
from multidelete.cli.inputs import given_keys, given_loop, read_telling, set_aside
from multidelete.cli.options import SEED_RULE, DataOptions, OutOptions, RunOptions, is_seed
from multidelete.core.config import check_settings, resolve
from multidelete.core.errors import ConfigError
from multidelete.core.settings import LoopSettings, TrainSettings


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """Run.

    Attributes:
        holdout: Where the data has neither val nor test: share of the pairs to set aside for each, in whole groups,
            above 0 and below 0.5. Recorded, so that `unlearn` and `audit` set the same pairs aside.
    """

    holdout: float | None = None

    def __post_init__(self) -> None:
        is_share = self.holdout is None or 0 < self.holdout < 0.5
        check_settings(
            self,
            {"seed": (is_seed(self.seed), SEED_RULE), "holdout": (is_share, "above 0 and below 0.5, or left out")},
        )


def train(call: Call) -> None:
    """Train a model on the training pairs, and record how, so that it can be retrained without some of them.

    Loop settings that are not given are those of `train` in `multidelete methods`.
    """
    data, out, run = call.of(DataOptions), call.of(OutOptions), call.of(TrainOptions)
    start = call.of(TrainSettings)
    own = {"start", "family"} if ":" in start.family else {"start"}
    unused = [name for name in call.names(TrainSettings) if name not in own]
    if start.start and unused:
        flags = ", ".join(map(flag, unused))
        raise ConfigError(f"--start {start.start} goes on from that model as it is. Leave {flags} out, or --start.")
    from multidelete.artifacts.manifest import read_record
    from multidelete.methods import Training
    from multidelete.models.sources import refuse_missing
    from multidelete.unlearning import train as run_train

    refuse_missing({"start": start.start})

    settings = resolve(LoopSettings, None, {**asdict(Training().loop_settings()), **given_loop(call)})
    holdout = None if run.holdout is None else Holdout(fraction=run.holdout, seed=run.seed)
    pairs = read_telling(data)
    if holdout and {"val", "test"} & set(pairs.splits):
        show.say(f"note: {pairs.name} has held-out pairs of its own; --holdout changes nothing.")
        holdout = None
    folder = run_train(
        set_aside(pairs, holdout),
        out.out,
        start=start,
        settings=settings,
        seed=run.seed,
        overwrite=out.overwrite,
        resume=run.resume,
        **asdict(given_keys(call)),
        notes=None if holdout is None else {"holdout": holdout.as_json()},
    )
    if show.is_printing():
        show.show_run(folder, read_record(folder) or RunRecord(), "trained", as_json=call.json)
