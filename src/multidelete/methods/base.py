"""What a method is: hyperparameters plus either its losses or its own way of running."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from multidelete.core.errors import UnsupportedError
from multidelete.core.runtime import is_main_process, make_accelerator
from multidelete.core.settings import LoopSettings
from multidelete.core.streams import Stream, stream
from multidelete.core.words import counted
from multidelete.data.pairs import Pair, PairDataset
from multidelete.methods.partners import Associations, unassociated_pairs
from multidelete.methods.reference import HOLDOUT_LIMIT, Reference, ReferenceSettings, build_reference
from multidelete.methods.search import Search
from multidelete.models.base import Adapter, evaluating
from multidelete.training.loop import Run, run_loop
from multidelete.training.plan import PlannedStep, check_shares, plan_steps
from multidelete.training.step import Part, Step

FEW_PAIRS = 64  # requests below this are small


@dataclass(frozen=True)
class Job:
    """One deletion, as a method gets it.

    Attributes:
        adapter: The original; gradient methods change it in place.
        train: All pairs that the original was trained on.
        forget: The pairs to forget.
        retain: ``train`` without them.
        settings: How the loop runs.
        seed: Of everything that is drawn.
        key: Digest of the original's weights, for caches.
        work: Folder for caches and checkpoints, or None.
        resume: Go on from what ``work`` holds.
        holdout: Pairs that were never trained on and are not used for judging (validation pairs), or None.
        start: Makes the model that the original's training began with, where that is known; with a tokenizer of the
            retain pairs' captions alone if it is given True.
        masks: Which entries of parameters a gradient method may change, by name; all of those not named.
        metric: Folder in which solved legs keep their metric, and look for that of an earlier request; or None.
        before: Digest of the weights that the original itself was made from by a deletion; empty where it was not.
    """

    adapter: Adapter
    train: PairDataset
    forget: PairDataset
    retain: PairDataset
    settings: LoopSettings
    seed: int
    key: str = ""
    work: Path | None = None
    resume: bool = False
    holdout: PairDataset | None = None
    start: Callable[[bool], Adapter] | None = None
    masks: Mapping[str, Tensor] | None = None
    metric: Path | None = None
    before: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a method made.

    Attributes:
        adapter: The unlearned model.
        history: One row of loss terms for each step.
        pairs_forward: Pairs forwarded without gradients (caches).
        pairs_backward: Pairs forwarded and backpropagated.
        reference_s: Seconds spent on caches.
        scales: What the losses were divided by, by name (`Reference.variances`).
        decisions: What the method chose by itself while it ran, by name.
        wall_s: Seconds in all, from the loaded model to the unlearned one.
        peak_bytes: Most memory used.
    """

    adapter: Adapter
    history: list[dict[str, float]]
    pairs_forward: int
    pairs_backward: int
    reference_s: float
    wall_s: float
    peak_bytes: int
    scales: dict[str, float] = field(default_factory=dict)
    decisions: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """What a run will ask of the model, in pairs; known before it begins.

    Attributes:
        steps: Optimizer steps.
        pairs_backward: As in `Outcome`.
        pairs_forward: As in `Outcome`, but for what depends on how the run goes (`SCRUB` rewinding).
        extra_bytes: Memory that it needs beside that of ordinary steps, at most.
    """

    steps: int
    pairs_backward: int
    pairs_forward: int
    extra_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """Base of all methods: a frozen dataclass whose fields are the hyperparameters.

    Class attributes:
        takes_lora: Whether it can train LoRA in the place of the weights.
        takes_part: Whether a part of the model can be trained alone.
        parts: Which pairs it reads: ``forget``, ``retain`` or both; of a gradient method also what a step holds.
        finds_its_way: Whether it can run in short legs, at rates that the run finds (`run_method`).
        is_solvable: Whether its objective is that of the solver (`SolvedLegs`). Its runs find their way unless a rate
            or passes are given. A class says it for itself: those made of it may have another objective.
        trains: Whether it runs the loop, so that the loop's settings mean something.
        search: What `multidelete.tune` varies: hyperparameters and loop settings by name.
        no_search: Why there is nothing to vary.
    """

    name: ClassVar[str]
    takes_lora: ClassVar[bool] = False
    takes_part: ClassVar[bool] = True
    parts: ClassVar[tuple[str, ...]] = ("forget", "retain")
    trains: ClassVar[bool] = True
    finds_its_way: ClassVar[bool] = False
    is_solvable: ClassVar[bool] = False
    search: ClassVar[Search] = {}
    no_search: ClassVar[str | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "is_solvable" not in vars(cls):
            cls.is_solvable = False

    @property
    def at_work(self) -> "Method":
        """The method whose steps are taken: of one that wraps another, that one."""
        return self

    @abstractmethod
    def run(self, job: Job) -> Outcome:
        """Make the unlearned model."""

    def planned(self, job: Job) -> Planned | None:
        """What `run` will cost; None where the method does not say."""
        return None

    def loop_settings(self) -> LoopSettings:
        """Settings of the loop that suit the method."""
        return LoopSettings()

    def loop_settings_for(self, forget: int) -> LoopSettings:
        """`loop_settings` for a request of so many pairs."""
        return self.loop_settings()

    def trainable(self, adapter: Adapter) -> str:
        """Which part of the model to train where the user did not say (`choose_trainable`)."""
        return "all"


@dataclass(frozen=True, kw_only=True)
class GradientMethod(Method):
    """A method that is a sum of named losses; the loop does the rest.

    Class attributes:
        training_mode: Whether dropout and batch statistics are on. Unlearning compares with
            what the original said, so they are off unless a method is ordinary training.
    """

    takes_lora: ClassVar[bool] = True
    training_mode: ClassVar[bool] = False
    finds_its_way: ClassVar[bool] = True

    def loop_settings_for(self, forget: int) -> LoopSettings:
        """Small requests take as many steps as `FEW_PAIRS` pairs do, at a lower rate.

        A handful of steps at the full rate damages what should stay.
        """
        own = self.loop_settings()
        if forget >= FEW_PAIRS:
            return own
        steps_a_pass = max(1, round(forget / own.batch_size))
        return replace(
            own,
            passes=FEW_PAIRS / own.batch_size * own.passes / steps_a_pass,
            lr=own.lr * max(0.25, math.sqrt(forget / FEW_PAIRS)),
        )

    def fitting(self, job: Job) -> "GradientMethod":
        """The form of the method that suits a job's model, where there are several."""
        return self

    @abstractmethod
    def losses(self, step: Step) -> dict[str, Tensor]:
        """Named scalar terms, each already weighted; the loop adds and logs them."""

    def reference_settings(self, job: Job) -> ReferenceSettings | None:
        """What to ask the original before training; None where the method asks nothing."""
        return None

    def planned(self, job: Job) -> Planned:
        own, sizes = self.fitting(job), {"forget": len(job.forget), "retain": len(sample_retain(job))}
        plan = plan_steps(own.parts, sizes, job.settings, job.seed)
        rows = [
            len(rows) for step in plan for rows in step.only(own.parts_of_pass(step.number_of_pass)).positions.values()
        ]
        return Planned(len(plan), sum(rows), own.asked(job, sizes))

    def asked(self, job: Job, sizes: Mapping[str, int]) -> int:
        """Pairs that frozen models are asked about, given how many there are of each part."""
        asks = self.reference_settings(job)
        if asks is None:
            return 0
        held = (
            min(len(job.holdout), HOLDOUT_LIMIT) if asks.score_targets == "holdout" and job.holdout is not None else 0
        )
        return sum(sizes.values()) + held + (asks.draws * sizes["forget"] if asks.partners else 0)

    def check(self, job: Job) -> None:
        """Refuse what a run would refuse at its first step, before anything is done.

        Raises:
            UserError: The settings do not fit the data, or no pair is unrelated to others.
        """
        asked, sizes = self.reference_settings(job), {"forget": len(job.forget), "retain": len(sample_retain(job))}
        plan = plan_steps(self.parts, sizes, job.settings, job.seed)
        check_shares(plan, job.settings.accumulation)
        if type(self).moves is not GradientMethod.moves and not self._moves_any(job, plan):
            raise UnsupportedError(
                f"{self.name} compares deleted pairs with the other deleted pairs of their step, and here none has "
                f"another that shares no member with it, among {counted(len(job.forget), 'pairs')}: nothing would be "
                "forgotten. Use multidelete, which needs none, or delete more pairs together."
            )
        if asked is not None and asked.partners is not None:
            pool = job.forget if asked.partners == "forget" else sample_retain(job)
            associations = Associations(job.train, job.adapter.modalities)
            unassociated_pairs(pool.pairs, job.forget.pairs, associations, stream(job.seed, Stream.PARTNERS))

    def moves(self, part: Part) -> bool:
        """Whether the loss of the forget pairs of a step depends on the model, in methods whose loss may be constant.

        A softmax over the step's own pairs is, where there is but one, or all share a member.
        """
        return True

    def _moves_any(self, job: Job, plan: Sequence[PlannedStep]) -> bool:
        """Whether that holds of any step of the first pass; in others other pairs meet, but no more of them.

        The model is asked only about pairs that all share a member.
        """
        forget, adapter = self.datasets(job)["forget"], job.adapter
        places = [step.positions["forget"] for step in plan if step.number_of_pass == 0 and "forget" in step.positions]
        with evaluating(adapter):
            for at in places:
                for share in np.array_split(np.array(at), job.settings.accumulation):
                    pairs = [forget[int(position)] for position in share]
                    if any(_are_apart(one, other) for one, other in combinations(pairs, 2)):
                        return True
                    batch = adapter.collate(pairs).to(adapter.device)
                    if self.moves(Part(batch, adapter(batch), adapter, 1.0)):
                        return True
        return False

    def asked_again(self, job: Job) -> int:
        """Pairs that `refresh_reference` asks about."""
        return 0

    def datasets(self, job: Job) -> dict[str, PairDataset]:
        """The pairs to draw steps from: as asked to forget, and the sampled retain pairs."""
        return {"forget": job.forget, "retain": sample_retain(job)}

    def parts_of_pass(self, number: int) -> tuple[str, ...]:
        """Those of ``parts`` that the steps of a pass hold, passes counted from 0."""
        return self.parts

    def reference(self, job: Job, datasets: Mapping[str, PairDataset]) -> Reference | None:
        """What the frozen models say of the pairs, asked before training."""
        asked = self.reference_settings(job)
        if asked is None:
            return None
        job.adapter.to(make_accelerator(device=job.settings.device).device)
        parts = dict(datasets)
        if asked.score_targets == "holdout" and job.holdout is not None:
            parts["holdout"] = sample_pairs(
                job.holdout, HOLDOUT_LIMIT, job.seed, Stream.HELD_OUT_SAMPLE, "sampled held-out pairs"
            )
        return build_reference(
            job.adapter, parts, job.train, asked, seed=job.seed, key=job.key,
            folder=job.work if is_main_process() else None,  # two processes cannot write one file
        )  # fmt: skip

    def update_reference(self, reference: Reference, job: Job, number: int) -> None:
        """Change what ``reference`` holds after a pass, counted from 0: called in every process."""

    def refresh_reference(self, reference: Reference, job: Job) -> None:
        """Bring what ``reference`` holds up to date with the model as it is now: before each leg of a guided run."""

    def run(self, job: Job, after_pass: Callable[[int], None] | None = None) -> Outcome:
        """Sample retain pairs, ask the original, train; ``after_pass`` is called with each pass that is done."""
        started, own = time.perf_counter(), self.fitting(job)
        own.check(job)
        datasets = own.datasets(job)
        reference = own.reference(job, datasets)
        reference_s = time.perf_counter() - started

        def after(number: int) -> None:
            if reference is not None:
                own.update_reference(reference, job, number)
            if after_pass is not None:
                after_pass(number)

        result = run_loop(
            job.adapter,
            own,
            datasets,
            settings=job.settings,
            seed=job.seed,
            reference=reference,
            run=Run(work=job.work, resume=job.resume, title=self.name, masks=job.masks, after_pass=after),
        )
        return Outcome(
            adapter=job.adapter,
            history=result.history,
            pairs_forward=0 if reference is None else reference.pairs,
            pairs_backward=result.pairs,
            reference_s=reference_s,
            wall_s=reference_s + result.wall_s,
            scales=reference.variances if reference is not None else {},
            peak_bytes=result.peak_bytes,
        )


def _are_apart(one: Pair, other: Pair) -> bool:
    return all(source != other.sources[modality] for modality, source in one.sources.items())


RETAIN_POOL_PER_FORGET = 8


def sample_retain(job: Job) -> PairDataset:
    """Retain pairs for the whole run, eight for each forget pair or ``retain_sample``: cost grows with F alone."""
    wanted = max(RETAIN_POOL_PER_FORGET * len(job.forget), job.settings.retain_sample)
    return sample_pairs(job.retain, wanted, job.seed, Stream.RETAIN_SAMPLE, "sampled retain pairs")


def sample_pairs(pairs: PairDataset, wanted: int, seed: int, of: Stream, name: str) -> PairDataset:
    """At most ``wanted`` pairs, in the data set's order."""
    if wanted >= len(pairs):
        return PairDataset(pairs.pairs[:], pairs.name) if pairs.is_indexed else pairs
    chosen = stream(seed, of).choice(len(pairs), wanted, replace=False)
    return PairDataset(pairs[sorted(chosen.tolist())], name)
