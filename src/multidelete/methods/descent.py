"""Legs of gradient descent: some steps of the loop each, the rate falling to zero so that a leg ends calmly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.data.pairs import PairDataset
from multidelete.methods.base import GradientMethod, Job
from multidelete.methods.judge import Judge
from multidelete.methods.reference import Reference
from multidelete.methods.standing import Standing
from multidelete.methods.weights import Weights, with_weights
from multidelete.training.loop import Run, run_loop

FAIR = 0.4  # part of the way that is left in one leg
SHORTEST = 0.02  # of the first leg's rate


@dataclass(frozen=True)
class Stride:
    """How far descending legs go.

    Attributes:
        steps: Of a leg, at least; it is a pass at least.
        first: The first leg's rate, relative to the root mean square of the weights: a step changes a weight so much.
        grows: Factor by which the rate grows after a leg that went slowly, as long as none was too long.
        most: Legs.
    """

    steps: int
    first: float
    grows: float
    most: int


SHORT = Stride(8, 3e-3, 3.0, 32)
# A matching head that forgets comes to match more, or less, of everything: it takes many steps with wrong pairs to set
# that right, and after few of them most kept pairs look lost.
LONG = Stride(64, 1e-2, 2.0, 10)


class DescentLegs:
    """Legs of a method's own loop, at rates that the run finds."""

    name = "descent"
    brings_back = False  # not more than on the way

    def __init__(self, method: GradientMethod, job: Job, judge: Judge, stride: Stride, original: Weights) -> None:
        """Wait to ask the original until the first leg begins.

        Args:
            method: Gives the losses.
            job: With the original.
            judge: Says which kept pairs steps may hold.
            stride: How far legs go.
            original: Its weights.
        """
        self.most = stride.most
        self._grows = stride.grows
        self._passes = passes_of_leg(job, stride)
        self._method = method
        self._job = replace(job, retain=judge.steps_on)
        weights = [p.detach() for p in job.adapter.parameters() if p.requires_grad]
        self._first = self.length = stride.first * _root_mean_square(weights)
        self.pairs = self.asked = 0.0
        self.scales: Mapping[str, float] = {}
        self._was_shortened = False
        self._reference: Reference | None = None
        self._goals: Tensor | None = None
        self._original = original
        self._datasets: Mapping[str, PairDataset] | None = None

    def take(self, number: int, now: Standing, start: Standing) -> None:
        job, own = self._job, self._job.settings
        if self._datasets is None:
            self._datasets = self._method.datasets(job)
            with with_weights(job.adapter, self._original):
                self._reference = self._method.reference(job, self._datasets)
            if self._reference is not None:
                self.scales = self._reference.variances
                if not self.asked:  # a run that was killed had asked before
                    self.asked = self._reference.pairs
        if self._reference is not None and number:
            before = self._reference.pairs
            self._match_targets(self._reference, now)
            self.asked += self._reference.pairs - before
        settings = replace(
            own, pace="given", lr=self.length, passes=self._passes, schedule="linear", checkpoint_steps=0,
            trackers=(),
        )  # fmt: skip
        try:
            result = run_loop(
                job.adapter, self._method, self._datasets, settings=settings, seed=job.seed + number,
                reference=self._reference, run=Run(masks=job.masks, title=f"leg {number + 1}"),
            )  # fmt: skip
        except DivergedError:
            planned = self._method.planned(replace(job, settings=settings))
            self.pairs += planned.pairs_backward  # at most: it does not say at which step it stopped
            raise
        self.pairs += result.pairs

    def _match_targets(self, reference: Reference, now: Standing) -> None:
        """Match the targets again, and lean where further signals lie farther off."""
        if self._goals is None and reference.score_targets is not None:
            self._goals = reference.score_targets.clone()
        if reference.score_targets is not None and self._goals is not None:
            reference.score_targets.copy_(self._goals)
        self._method.refresh_reference(reference, self._job)
        if reference.score_targets is not None:
            reference.score_targets.sub_(now.lean)

    def is_as_predicted(self, before: Standing, after: Standing) -> bool:
        """Nothing was predicted."""
        return True

    def told(self) -> list[float]:
        return [self.length, self.pairs, self.asked, float(self._was_shortened)]

    def recall(self, told: Sequence[float]) -> None:
        self.length, self.pairs, self.asked, shortened = told
        self._was_shortened = bool(shortened)

    def adapt(self, before: Standing, after: Standing | None) -> bool:
        if after is None:
            self._shorten(2.0)
        else:
            went = 1 - after.far / max(before.far, 1e-9)
            if after.share_lost_since(before) > max(0.0, went):  # it cost more than it brought
                self._shorten(1.5)
            elif went < FAIR and not after.is_level:  # what is left then is to bring kept pairs back, in small steps
                self.length *= 1.5 if self._was_shortened else self._grows
        return self.length > SHORTEST * self._first

    def _shorten(self, by: float) -> None:
        self.length /= by
        self._was_shortened = True


def passes_of_leg(job: Job, stride: Stride) -> float:
    """One, or as many as the stride's steps take."""
    return max(1.0, stride.steps / max(1, round(len(job.forget) / job.settings.batch_size)))


def _root_mean_square(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(one.square().sum().item() for one in tensors) / sum(one.numel() for one in tensors))
