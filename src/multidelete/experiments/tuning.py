"""Search for a method's settings: by validation pairs and the request alone, with the same budget for every method."""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import ProcessorMixin

from multidelete.artifacts.folders import writing
from multidelete.artifacts.overlap import refuse_overlap, refuse_pictures
from multidelete.artifacts.search_cost import SearchCost
from multidelete.core.arguments import check_arguments, flag, place, whole
from multidelete.core.errors import CheckpointError, ConfigError, DivergedError, SettingProblem
from multidelete.core.json_files import JsonObject
from multidelete.core.progress import progress_bar
from multidelete.core.runtime import as_found, check_device, start_processes, world_size
from multidelete.core.settings import LoopSettings, LoraSettings
from multidelete.core.words import counted
from multidelete.data.pairs import PairData
from multidelete.data.repeats import repeats_note
from multidelete.data.request import Request
from multidelete.deletion.arguments import DeletionArguments
from multidelete.deletion.resolved import Deletion
from multidelete.experiments.judge import Judge
from multidelete.experiments.trials import Trial, TrialFile, best_of, search_cost, settings_file
from multidelete.methods import Method
from multidelete.methods.search import check_search, drawn_settings, with_settings
from multidelete.unlearning import forgotten

logger = logging.getLogger(__name__)

OF_THE_MACHINE = {"device", "workers", "trackers", "checkpoint_steps"}  # loop settings that a result does not rest on


@dataclass(frozen=True)
class Tuned:
    """The result of `tune`: arguments for `multidelete.unlearn`, and how they were found.

    Attributes:
        method: With the hyperparameters found.
        settings: Loop settings that were found or given; the rest is the method's own.
        trials: All settings tried, the first with the defaults.
        cost: What the search took; ``notes={"search": asdict(cost)}`` puts it into a result's ``multidelete.json``.
        file: The settings file, or None.
    """

    method: Method
    settings: JsonObject
    trials: Sequence[Trial]
    cost: SearchCost
    file: Path | None = None

    @property
    def best(self) -> Trial:
        """The trial whose settings these are."""
        best = best_of(self.trials)
        if best is None:
            raise ValueError("all trials failed")
        return best


@as_found()
def tune(
    original: object,
    data: PairData,
    forget: Request | Sequence[str] | str | Path,
    *,
    processor: ProcessorMixin | None = None,
    method: Method | str = "multidelete",
    settings: LoopSettings | JsonObject | None = None,
    trainable: str = "auto",
    lora: LoraSettings | None = None,
    trials: int = 12,
    out: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    allow_pickle: bool = False,
    key: str | Path | None = None,
    earlier_pairs_removed: bool = False,
) -> Tuned:
    """Search for settings of a method by seeded random trials; the first has the defaults.

    Every trial unlearns in memory, with the same seed, and is judged by `multidelete.audits.objective` on the forget
    pairs, as many retain pairs (at least 1,000, where there are so many), and the ``val`` split. The ``test`` split is
    never read. A trial whose loss or scores are not finite, or whose settings do not go together, counts as failed.

    Args:
        original: Folder, hub id, a loaded `transformers` model of a known family, or an `Adapter`; it stays as it is.
        data: The pairs it was trained on, with validation pairs.
        forget: Ids, a request file, or a request with its unit. To compare methods, tune on another draw than is
            reported.
        processor: Of a loaded model.
        method: Name, or an instance with the hyperparameters to begin with; its ``search`` says what is varied.
        settings: Loop settings to begin with: all of them, or only what differs from the method's own.
        trainable: As for `multidelete.unlearn`.
        lora: As for `multidelete.unlearn`.
        trials: Settings to try, >= 1.
        out: Settings file to write for ``multidelete unlearn --config``, with a row for each trial beside it; None
            writes nothing.
        seed: Of what is drawn, and of every trial's run.
        overwrite: Replace ``out`` if it exists.
        resume: Go on where a killed run of the same search stopped; needs ``out``.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        key: Key file of the model's earlier deletions; without it ``MODEL.key`` beside it. Their pairs take no part.
        earlier_pairs_removed: Say that the data holds no pairs of them, where there is no key.

    Raises:
        UserError: The model, data, request or settings are wrong, or there are no validation pairs.
        DivergedError: Every trial failed.
    """
    check_arguments({"out": place(out, optional=True), "trials": whole(trials), "overwrite": flag(overwrite),
                     "resume": flag(resume)})  # fmt: skip
    arguments = DeletionArguments(
        original=original, data=data, forget=forget, processor=processor, method=method, settings=settings,
        trainable=trainable, lora=lora, seed=seed, allow_pickle=allow_pickle, key=key,
        earlier_pairs_removed=earlier_pairs_removed,
    )  # fmt: skip
    return searched(arguments, out, trials=trials, overwrite=overwrite, resume=resume)


def searched(
    arguments: DeletionArguments,
    out: str | Path | None = None,
    *,
    trials: int = 12,
    overwrite: bool = False,
    resume: bool = False,
) -> Tuned:
    """`tune` with its first arguments in one."""
    start_processes()
    if world_size() > 1:
        raise ConfigError(f"tune runs in one process, and there are {world_size()}. Start it without a launcher.")
    if trials < 1:
        raise ConfigError(SettingProblem("trials", f"is {trials}; it must be 1 or more."))
    deletion = _at_given_rates(arguments).resolved()
    if deletion.loop.pace == "auto":
        rule = "it must be 'given', since a search tries rates and passes. Leave it out."
        raise ConfigError(SettingProblem("pace", f"is 'auto'; {rule}"))
    if deletion.repeats:
        logger.warning("%s", repeats_note(deletion.repeats))
    chosen, loop, request = deletion.method, deletion.loop, deletion.request
    check_search(chosen)
    check_device(loop.device)
    with nullcontext() if out is None else writing(Path(out)):
        file = None if out is None else TrialFile(Path(out), overwrite=overwrite, resume=resume)
        if file is not None:
            inputs = [*deletion.model_paths, *arguments.files]
            refuse_overlap(file.out, inputs)
            refuse_overlap(file.rows_path, inputs)
            refuse_pictures(file.out, deletion.data)
        judge = Judge(deletion.data, request, seed=deletion.seed, device=loop.device)
        identity: list[object] = [deletion.digest, judge.seen.splits["val"].digest]
        identity += [{name: asdict(factor) for name, factor in chosen.search.items()}]
        done = [] if file is None else file.read(identity)[:trials]
        _refuse_strangers(done, deletion)
        loaded = deletion.original()
        started = time.perf_counter()
        judge.hear(loaded)
        asked_s, asked_pairs = time.perf_counter() - started, judge.pairs
        del loaded  # every trial loads its own
        seen = replace(deletion, data=judge.seen)
        with progress_bar("trials", trials) as bar:
            while len(done) < trials:
                best = best_of(done)
                bar.to(len(done), None if best is None else f"trials (best objective {best.objective:.3f})")
                done.append(_trial(len(done), seen, judge))
                if file is not None:
                    file.write(done)
        best = best_of(done)
        if best is None:
            raise DivergedError(f"all {counted(trials, 'trials')} failed; the first: {done[0].failed}")
        cost = search_cost(
            done, asked_s=asked_s, asked_pairs=asked_pairs, request_pairs=len(request.ids), seed=deletion.seed
        )
        best_method, best_loop = with_settings(chosen, loop, best.drawn)
        settings = arguments.settings
        own = asdict(settings) if isinstance(settings, LoopSettings) else settings or {}
        names = [name for name in asdict(loop) if name in {*best.drawn, *own} - OF_THE_MACHINE]
        if file is not None:
            file.end(
                settings_file(best_method, best_loop, names, cost, trainable=deletion.trainable, lora=deletion.lora)
            )
        return Tuned(
            method=best_method,
            settings={name: getattr(best_loop, name) for name in names},  # names of fields
            trials=done,
            cost=cost,
            file=None if file is None else file.out,
        )


def _at_given_rates(arguments: DeletionArguments) -> DeletionArguments:
    """A search tries rates and passes, so that none of its runs finds its own."""
    if isinstance(arguments.settings, LoopSettings):
        return arguments
    return replace(arguments, settings={"pace": "given", **(arguments.settings or {})})


def _refuse_strangers(done: Sequence[Trial], deletion: Deletion) -> None:
    """Refuse trials of an unfinished search with other numbers or settings than this search draws.

    Raises:
        CheckpointError: The file of trials was changed.
    """
    for number, trial in enumerate(done):
        try:
            drawn = drawn_settings(deletion.method, deletion.loop, trial=number, seed=deletion.seed)[2]
        except ConfigError:
            drawn = {}
        if trial.number != number or (dict(trial.drawn) != drawn and not (trial.failed and not trial.drawn)):
            raise CheckpointError(
                f"trial {number} of the unfinished search is not one that this search draws: its file was changed. "
                "Give --overwrite to start afresh."
            )


def _trial(number: int, deletion: Deletion, judge: Judge) -> Trial:
    """One setting, run and judged; the first has the user's own, so that what is wrong with those is raised."""
    started, asked = time.perf_counter(), judge.pairs
    trial = Trial(number=number, drawn={})
    try:
        method, loop, drawn = drawn_settings(deletion.method, deletion.loop, trial=number, seed=deletion.seed)
        trial = replace(trial, drawn=drawn)
        result = forgotten(replace(deletion, method=method, loop=loop))
        worth = judge.judged(result.adapter)
        trial = replace(
            trial,
            objective=worth.value,
            terms=asdict(worth),
            pairs_forward=result.outcome.pairs_forward + judge.pairs - asked,
            pairs_backward=result.outcome.pairs_backward,
        )
    except (DivergedError, ConfigError) as error:
        if number == 0 and isinstance(error, ConfigError):
            raise
        trial = replace(trial, failed=str(error))
    return replace(trial, wall_s=time.perf_counter() - started)
