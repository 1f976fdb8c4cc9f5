"""Single layer unlearning gradient: one gradient, one layer, and a search for how far to go."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from multidelete.core.config import check_settings
from multidelete.core.errors import DivergedError, UnsupportedError
from multidelete.core.runtime import make_accelerator, peak_bytes
from multidelete.core.settings import LoopSettings
from multidelete.core.streams import Stream
from multidelete.methods.base import Job, Method, Outcome, Planned, sample_pairs, sample_retain
from multidelete.methods.batch_loss import loss_gradient, mean_loss, pairs_asked
from multidelete.methods.importance import draw_gallery
from multidelete.methods.judge import Judge
from multidelete.methods.standing import CLOSE
from multidelete.models.base import Adapter

COMPARED = 128  # forget pairs, and as many unseen ones, that tell how far a step has moved
LEVEL = 0.05  # gap, in standard deviations of unseen pairs, at which a search ends


@dataclass(frozen=True, kw_only=True)
class SLUG(Method):
    """Take one step uphill on the forget pairs' loss in a single layer, as far as to where unseen pairs are.

    Cai, Tan and Asif: "Targeted Unlearning with Single Layer Unlearning Gradient", ICML 2025, arXiv:2407.11867.
    With g_F and g_R the gradients of the forget pairs' and the retain pairs' mean loss, a layer with the weight w has
    the importance ||g_F|| / ||w|| and the alignment |cos(g_F, g_R)|. A layer is on the Pareto front if no other one is
    both more important and less aligned. The weight of one of these becomes

        w + length ||w|| / ||g_F|| g_F.

    As in the released code (github.com/CSIPlab/SLUG): importance, alignment and front; each layer on the front is
    searched, in ten trials, from a length of 0.1, which doubles until it is too long; then its interval is halved.

    Differs from the paper, whose text could not be checked beyond its abstract, and from the code: the search aims at
    unseen pairs, from both sides, and not at forget pairs that are never recognised. It closes the gap between the
    forget pairs' association signals and those of unseen pairs at their ranks, as the changed model says both; where
    forget pairs lie below unseen ones to begin with, the step goes downhill. Of the layers whose gap closes, the one is
    taken that leaves the sampled retain pairs the lowest loss: the code searches all and leaves the choice open. The
    loss is minus the log-likelihood of a pair (`multidelete.methods.batch_loss`), in evaluation mode; in the code it is
    one minus the cosine of a forget pair. There is one front for the whole model, in the code one for each encoder, and
    it holds matrices alone: gains of norms are left out, as biases, embedding tables and positions are.

    Attributes:
        layers: Most layers to search, the most important ones on the front, >= 1.
        trials: Most lengths to try in each, >= 1.
        first_length: The first of them, relative to the norm of the layer's weight, > 0.
    """

    name: ClassVar[str] = "slug"
    trains: ClassVar[bool] = False
    no_search: ClassVar[str | None] = "a run searches for its layer and its length by itself"
    layers: int = 6
    trials: int = 10
    first_length: float = 0.1

    def __post_init__(self) -> None:
        rules = {name: (getattr(self, name) >= 1, "1 or more") for name in ("layers", "trials")}
        check_settings(self, rules | {"first_length": (self.first_length > 0, "greater than 0")})

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(retain_sample=0)  # a gradient needs no more than eight for each forget pair

    def planned(self, job: Job) -> Planned:
        """The most that a run asks: it ends its searches earlier where it can."""
        sampled, compared = sample_retain(job), _compared(job)
        gallery = len(draw_gallery(job.adapter, sampled, job.seed))
        judge, kept = Judge(compared), pairs_asked(len(sampled), gallery)
        look = len(compared.forget) + len(judge.unseen)
        layers = min(self.layers, len(layer_weights(job.adapter)))
        forward = judge.pairs + look + layers * (self.trials * look + kept)
        return Planned(0, pairs_asked(len(job.forget), gallery) + kept, forward)

    def run(self, job: Job) -> Outcome:
        """Find the layers, search each, and change one.

        Raises:
            UnsupportedError: No layer is trained, or none has a gradient.
            DivergedError: A loss or what the model says of the pairs is not finite.
        """
        started, adapter, sampled = time.perf_counter(), job.adapter, sample_retain(job)
        adapter.to(make_accelerator(device=job.settings.device).device)
        gallery = draw_gallery(adapter, sampled, job.seed)
        _, forget = loss_gradient(adapter, job.forget.pairs, gallery, "gradient of forget pairs")
        _, retain = loss_gradient(adapter, sampled.pairs, gallery, "gradient of retain pairs")
        weights = {n: w for n, w in layer_weights(adapter).items() if forget[n].any() and w.any()}
        if not weights:
            raise UnsupportedError(
                "slug changes the weight of one layer, and the loss of the forget pairs has a gradient in no layer "
                "that is trained. Train others (--trainable), or use another method."
            )
        names = list(weights)
        rated = [rate(weights[name], forget[name], retain[name]) for name in names]
        front = sorted(pareto_front(rated), key=lambda at: rated[at][0], reverse=True)[: self.layers]
        judge = Judge(_compared(job))
        before = _finite(judge.signed_gap())
        sign = math.copysign(1.0, before)
        steps: list[_Step] = []
        for name in (names[at] for at in front):
            direction = sign * weights[name].norm() / forget[name].norm() * forget[name]
            length, gap = self._searched(weights[name], direction, judge, sign)
            with _changed(weights[name], length * direction):
                loss = mean_loss(adapter, sampled.pairs, gallery, "loss of retain pairs")
            steps.append(_Step(name, length * direction, sign * length, sign * gap, loss))
        step = min(steps, key=lambda one: preference(one.gap, one.retain_loss))
        weights[step.name].add_(step.change)
        kept = pairs_asked(len(sampled), len(gallery))
        return Outcome(
            adapter=adapter,
            history=[{"length": one.length, "gap": one.gap, "retain_loss": one.retain_loss} for one in steps],
            pairs_forward=judge.pairs + len(steps) * kept,
            pairs_backward=pairs_asked(len(job.forget), len(gallery)) + kept,
            reference_s=0.0,
            wall_s=time.perf_counter() - started,
            peak_bytes=peak_bytes(adapter.device),
            decisions={f"length in {step.name}": step.length, "gap": _finite(step.gap), "gap_before": before},
        )

    def _searched(self, weight: Tensor, direction: Tensor, judge: Judge, sign: float) -> tuple[float, float]:
        """Length of a step in one weight, and the gap that it leaves: above 0 where it is too short."""

        def gap_at(length: float) -> float:
            with _changed(weight, length * direction):
                return sign * judge.signed_gap()

        tried = search_length(gap_at, self.first_length, self.trials)
        return min(tried, key=lambda one: abs(one[1]) if math.isfinite(one[1]) else math.inf)


@dataclass(frozen=True)
class _Step:
    """Where the search of a layer ended: the change of its weight, and what the model says with it."""

    name: str
    change: Tensor
    length: float
    gap: float
    retain_loss: float


def preference(gap: float, retain_loss: float) -> tuple[bool, float]:
    """What to take the least of: steps that close the gap by the loss of retain pairs, the others by the gap.

    >>> sorted([(0.1, 2.0), (-0.2, 1.0), (0.5, 0.1)], key=lambda step: preference(*step))
    [(-0.2, 1.0), (0.1, 2.0), (0.5, 0.1)]
    """
    is_open = not abs(gap) <= CLOSE
    told = abs(gap) if is_open else retain_loss
    return is_open, told if math.isfinite(told) else math.inf


def layer_weights(adapter: Adapter) -> dict[str, Tensor]:
    """Weight matrices and kernels that are trained, by name, without gradient; no embedding tables nor positions."""
    tables = {id(layer.weight) for layer in adapter.modules() if isinstance(layer, nn.Embedding)}
    return {
        name: parameter.detach()
        for name, parameter in adapter.named_parameters()
        if parameter.requires_grad and parameter.ndim > 1 and name.endswith("weight") and id(parameter) not in tables
    }


def rate(weight: Tensor, forget: Tensor, retain: Tensor) -> tuple[float, float]:
    """Importance, >= 0, and alignment, in [0, 1], of a layer with these gradients; one that is zero lies along none."""
    alignment = F.cosine_similarity(forget.flatten(), retain.flatten(), dim=0).abs()
    return (forget.norm() / weight.norm()).item(), alignment.item()


def pareto_front(rated: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of those that no other one beats in both importance (more) and alignment (less).

    >>> pareto_front([(3.0, 0.5), (1.0, 0.1), (2.0, 0.6), (1.0, 0.2)])
    [0, 1, 3]
    """
    return [at for at, (more, less) in enumerate(rated) if not any(a > more and b < less for a, b in rated)]


def search_length(gap_at: Callable[[float], float], first: float, trials: int) -> list[tuple[float, float]]:
    """Lengths on the way to the one at which a gap closes that is above 0 at length 0, and the gaps there.

    The length doubles while the gap stays above 0, and then halves the interval in which it closes. A gap that is no
    number counts as too far.

    >>> search_length(lambda length: 3 - length, first=1.0, trials=10)
    [(1.0, 2.0), (2.0, 1.0), (4.0, -1.0), (3.0, 0.0)]
    """
    low, high, length = 0.0, math.inf, first
    tried: list[tuple[float, float]] = []
    while len(tried) < trials:
        gap = gap_at(length)
        tried.append((length, gap))
        if abs(gap) <= LEVEL:
            break
        low, high = (length, high) if gap > 0 else (low, length)
        length = 2 * length if high == math.inf else (low + high) / 2
    return tried


def _compared(job: Job) -> Job:
    """The job with as few forget and held-out pairs as tell a mean."""
    forget = sample_pairs(job.forget, COMPARED, job.seed, Stream.COMPARED_FORGET, "sampled forget pairs")
    if job.holdout is None:
        return replace(job, forget=forget)
    holdout = sample_pairs(job.holdout, COMPARED, job.seed, Stream.REFRESH_SAMPLE, "sampled held-out pairs")
    return replace(job, forget=forget, holdout=holdout)


@contextmanager
def _changed(weight: Tensor, change: Tensor) -> Iterator[None]:
    """The model with a step in one weight, and afterwards as it was, bit for bit."""
    before = weight.clone()
    weight.add_(change)
    try:
        yield
    finally:
        weight.copy_(before)


def _finite(gap: float) -> float:
    if not math.isfinite(gap):
        raise DivergedError(
            f"forget pairs lie {gap} from unseen ones: what the model says of them is not finite. "
            "Give a model whose scores are finite."
        )
    return gap
