"""What a deletion would do, without doing it: what goes, what stays, the settings, and what it would cost."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from multidelete.artifacts.keys import key_target
from multidelete.artifacts.overlap import refuse_overlap, refuse_pictures
from multidelete.artifacts.result_file import refuse_existing_model
from multidelete.core.arguments import check_arguments, flag, place
from multidelete.core.foreign import own_code
from multidelete.core.json_files import JsonObject
from multidelete.core.settings import LoopSettings
from multidelete.core.words import counted
from multidelete.data.pairs import PairDataset
from multidelete.data.request import Request, unit_keys
from multidelete.deletion.arguments import DeletionArguments
from multidelete.deletion.job import features_of, parts_to_check, prepare
from multidelete.methods import GradientMethod, Job, Method
from multidelete.methods.auto import finds_its_way, planned_run
from multidelete.methods.base import Planned, sample_retain
from multidelete.methods.reference import ReferenceSettings, outputs_of
from multidelete.methods.unseen import validation_pairs
from multidelete.models.converters.forms import form_of
from multidelete.models.preflight import check_pairs
from multidelete.training.loop import LoopResult, Run, run_loop
from multidelete.training.step import Step

STEPS = 3  # timed, after one that is not
ASKED = 64  # pairs asked about, to time asking


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What `unlearn` would do with the same arguments.

    Attributes:
        request: Pairs that go, of how many, and the unit.
        kinds: Pairs of each kind that go, and how many of it there are.
        members: For each modality, and for subjects, how many distinct ones the pairs that go have, and how many of
            them stay in the data, since kept pairs have them too.
        kept_repeats: Ids of kept pairs that are the same as one that goes, and would go on teaching it.
        method: Its name and hyperparameters.
        loop: How the loop would run.
        trainable: Which part of the model would be trained, and of how many parameters it is; LoRA's sizes, where it
            is trained in that place.
        steps: Optimizer steps.
        pairs_backward: Pairs trained on; None where the method does not say.
        pairs_forward: Pairs that are only forwarded. These three are the most of a run that finds its own end.
        wall_s: Estimated seconds, without loading the model and writing the result; None where it cannot be told.
        estimated: How.
        peak_bytes: Most memory that a few steps took, and what solved legs may need beside; None where none were timed.
        no_validation: Why a run that finds its own end would have no validation pairs to compare the deleted ones with;
            None where it has.
        forget: Ids of the pairs that go.
    """

    request: JsonObject
    kinds: Mapping[str, tuple[int, int]]
    members: Mapping[str, tuple[int, int]]
    kept_repeats: tuple[str, ...]
    method: JsonObject
    loop: JsonObject
    trainable: JsonObject
    steps: int | None
    pairs_backward: int | None
    pairs_forward: int | None
    wall_s: float | None
    estimated: str
    peak_bytes: int | None
    no_validation: str | None
    forget: tuple[str, ...]


def rehearse(arguments: DeletionArguments, out: str | Path | None = None, *, overwrite: bool = False) -> Rehearsal:
    """Find out what `unlearn` would do, by the same checks; nothing is written, and the model is not changed.

    A few steps on the pairs of the run, which are thrown away, tell how long one takes.

    Args:
        arguments: What `unlearn` would be given.
        out: Folder that a run would write; what stands in its way is said here too.
        overwrite: Whether a run would replace ``out``.

    Raises:
        UserError: What `unlearn` would refuse too.
    """
    check_arguments({"out": place(out, optional=True), "overwrite": flag(overwrite)})
    if out is not None:
        is_file = form_of(arguments.original, Path(out)).is_file
        refuse_existing_model(Path(out), is_file=is_file, overwrite=overwrite)
    deletion = arguments.resolved()
    if out is not None:
        key_target(Path(out), arguments.key)
        refuse_overlap(Path(out), [*deletion.model_paths, *arguments.files])
        refuse_pictures(Path(out), deletion.data)
        deletion.lora_base()
    prepared = prepare(deletion)
    job, method, request = prepared.job, deletion.method, deletion.request
    with own_code(method, job.adapter), features_of(prepared) as kept:
        check_pairs(job.adapter, parts_to_check(prepared))
        plan = planned_run(method, job)
        wall_s, estimated, peak_bytes = _estimate(method, job, plan)
        if kept is not None and wall_s is not None:
            wall_s += kept.seconds
    lora: JsonObject = {} if deletion.lora is None else {"lora": asdict(deletion.lora)}
    return Rehearsal(
        request={"pairs": len(job.forget), "of": len(job.train), "unit": request.unit, "units": _units(job, request)},
        kinds=_kinds(job),
        members=_members(job),
        kept_repeats=tuple(deletion.repeats),
        method={"name": method.name, **asdict(method)},
        loop=deletion.loop.told(trains=method.trains),
        trainable={"chosen": prepared.part, "parameters": prepared.parameters, **lora},
        steps=None if plan is None else plan.steps,
        pairs_backward=None if plan is None else plan.pairs_backward,
        pairs_forward=None if plan is None else plan.pairs_forward,
        wall_s=wall_s,
        estimated=estimated,
        peak_bytes=peak_bytes,
        no_validation=_why_no_validation(job) if finds_its_way(method, job) else None,
        forget=tuple(request.ids),
    )


def _why_no_validation(job: Job) -> str | None:
    found = validation_pairs(job)
    return found if isinstance(found, str) else None


def _units(job: Job, request: Request) -> int:
    return len({key for pair in job.forget for key in unit_keys(pair, request.unit)})


def _kinds(job: Job) -> dict[str, tuple[int, int]]:
    """How many pairs of each kind go, of how many; empty where pairs have none."""
    going, every = job.forget.kinds, job.train.kinds
    return {kind: (going[kind], every[kind]) for kind in every if kind is not None}


def _members(job: Job) -> dict[str, tuple[int, int]]:
    """Distinct members and subjects of the pairs that go, and how many of each kept pairs have too."""
    shared = {}
    for modality in job.adapter.modalities:
        going, kept = job.forget.sources(modality), job.retain.knows(modality)
        shared[modality] = (len(going), sum(source in kept for source in going))
    gone = {pair.subject for pair in job.forget if pair.subject is not None}
    left = {pair.subject for pair in job.retain.meant({"subject": gone})}
    return shared | ({"subject": (len(gone), len(gone & left))} if gone else {})


@dataclass(frozen=True, kw_only=True)
class _TaskLoss(GradientMethod):
    """The family's own loss on whatever a step holds: what a step of any method is little more than."""

    name: ClassVar[str] = "rehearsal"

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {name: part.mean(part.task_loss_B) for name, part in step.parts.items()}


def _estimate(method: Method, job: Job, plan: Planned | None) -> tuple[float | None, str, int | None]:
    """Seconds that a run would take, how they were found, and the memory."""
    if plan is None:
        return None, f"not estimated: {method.name} does not say what it will cost", None
    parts = {"forget": job.forget, "retain": sample_retain(job)}
    a_pass = max(1, round(len(job.forget) / job.settings.batch_size))
    few = replace(job.settings, trackers=(), checkpoint_steps=0, workers=0, passes=1 / a_pass)
    _steps(job, parts, few)  # the first step makes room, and says nothing of the others
    done = _steps(job, parts, replace(few, passes=STEPS / a_pass))
    seconds = plan.pairs_backward * done.wall_s / done.pairs
    how = f"{STEPS} steps of {done.pairs // STEPS:,} pairs with the family's own loss took {done.wall_s:,.2f} s"
    if plan.pairs_forward:
        asked = [*job.forget.pairs, *parts["retain"].pairs][:ASKED]
        started = time.perf_counter()
        outputs_of(job.adapter, asked, ReferenceSettings().batch_size, "rehearsal")
        asking_s = time.perf_counter() - started
        seconds += plan.pairs_forward * asking_s / len(asked)
        how += f", asking about {counted(len(asked), 'pairs')} {asking_s:,.2f} s"
    if finds_its_way(method, job):
        return (
            seconds,
            f"at most: the run ends as soon as the deleted pairs look like unseen ones; {how}",
            done.peak_bytes + plan.extra_bytes,
        )
    return seconds, f"{how}; times the pairs of the whole run", done.peak_bytes


def _steps(job: Job, parts: Mapping[str, PairDataset], settings: LoopSettings) -> LoopResult:
    """A few steps, which are thrown away."""
    return run_loop(job.adapter, _TaskLoss(), parts, settings=settings, seed=job.seed, run=Run(title="rehearsal"))
