"""K-FADE: Gauss-Newton steps uphill on the forget pairs' loss, in the curvature of what stays."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from multidelete.core.config import check_settings
from multidelete.core.errors import DivergedError, UnsupportedError
from multidelete.core.runtime import make_accelerator, peak_bytes
from multidelete.core.settings import GIB
from multidelete.core.streams import Stream
from multidelete.curvature.metric import Metric, metric_of
from multidelete.curvature.rows import PairGradients
from multidelete.curvature.solve import damping, preconditioned
from multidelete.data.pairs import Batch, Pair, PairDataset
from multidelete.methods.base import Job, Method, Outcome, Planned, sample_pairs
from multidelete.methods.batch_loss import loss_gradient, pairs_asked
from multidelete.methods.importance import draw_gallery
from multidelete.methods.judge import BATCH
from multidelete.methods.random_labels import wrong_pairs
from multidelete.methods.reference import length_of_text, outputs_of
from multidelete.methods.search import Factor, Search
from multidelete.methods.searching import CLOSE_TO_NOTHING
from multidelete.methods.solved import GRADIENT_BATCH
from multidelete.methods.targets import association_signals, number_of_signals
from multidelete.methods.weights import put_back, weights_of
from multidelete.models.base import Adapter, PairOutputs

MEASURED = 128  # kept pairs that tell how far a step moves scores in truth
TRIES = 8  # lengths of a step, each shorter than the one before
SHORTEST, LONGEST = 1 / 16, 1 / 3  # of the length before


@dataclass(frozen=True, kw_only=True)
class KFADE(Method):
    """Take a few Gauss-Newton steps uphill on the forget pairs' loss, of which each hardly moves other pairs' scores.

    McKinney, Thudi, Bae, Rezaei, Papernot, McIlraith and Grosse: "Gauss-Newton Unlearning for the LLM Era", 2026,
    arXiv:2602.10568 (K-FADE: K-FAC for distribution erasure). With g the gradient of the forget pairs' mean loss and H
    the Gauss-Newton matrix of what the model says of retain pairs, a step D of the weights is the solution of

        maximise <g, D>   subject to   <D, H D> <= radius^2:   D = radius H^-1 g / sqrt(<g, H^-1 g>).

    It has no target: each step raises the loss, wherever it is.

    Differs from the paper, whose text could not be checked beyond its abstract: what the model says of a pair is its
    association score (where a matching head gives it, the similarity of the embeddings too), not a distribution over
    tokens. H is the second moment of the gradients of these scores, as EK-FAC (`multidelete.curvature`), at the
    original's weights; of sampled retain pairs, and of the same with a wrong caption or label each, which must not come
    to match. Scores are in standard deviations over these pairs, and so is the radius: the root mean square by which
    they move. A step that moves them farther in truth is shortened until it does not. The damping is such that equal
    relative changes cost the same in all layers. The loss is minus the log-likelihood of a pair
    (`multidelete.methods.batch_loss`). Parameters of layers that no hook understands stay as they are.

    Attributes:
        steps: Gauss-Newton steps, >= 1.
        radius: How far a step may move the scores that are to stay, in standard deviations, > 0.
        damping: Added to the curvature, as a multiple of its mean over all entries, > 0.
        curvature_pairs: Most pairs that tell the curvature, half of them wrong ones, >= 4.
    """

    name: ClassVar[str] = "kfade"
    trains: ClassVar[bool] = False
    search: ClassVar[Search] = {
        "radius": Factor(0.2, 5),
        "steps": Factor(0.3, 3),
        "damping": Factor(0.1, 10),
    }
    steps: int = 3
    radius: float = 0.1
    damping: float = 0.3
    curvature_pairs: int = 400

    def __post_init__(self) -> None:
        rules = {name: (getattr(self, name) > 0, "greater than 0") for name in ("radius", "damping")}
        rules["steps"] = (self.steps >= 1, "1 or more")
        check_settings(self, rules | {"curvature_pairs": (self.curvature_pairs >= 4, "4 or more, to have a spread")})

    def planned(self, job: Job) -> Planned:
        """The most that a run asks: most steps need fewer tries."""
        retain, kept = self._kept(job)
        forget = pairs_asked(len(job.forget), len(draw_gallery(job.adapter, retain, job.seed)))
        measured = self.steps * (1 + TRIES) * len(_measured(kept))
        return Planned(self.steps, _rows_asked(kept) + self.steps * forget, measured)

    def run(self, job: Job) -> Outcome:
        """Measure the curvature, then step.

        Raises:
            UnsupportedError: No layer is trained whose curvature is known, or the loss has no gradient in one.
            DivergedError: A loss or a score is not finite.
        """
        started, adapter = time.perf_counter(), job.adapter
        adapter.to(make_accelerator(device=job.settings.device).device)
        retain, kept = self._kept(job)
        gallery, measured = draw_gallery(adapter, retain, job.seed), _measured(kept)
        curvature: Curvature | None = None
        history: list[dict[str, float]] = []
        part, asked = 1.0, 0
        for _ in range(self.steps):
            loss, gradient = loss_gradient(adapter, job.forget.pairs, gallery, "gradient of forget pairs")
            signals_NS = _signals(adapter, measured)
            curvature = curvature or curvature_of(adapter, kept, signals_NS, self.damping, job.settings.memory_bytes)
            change = curvature.steepest(gradient, self.radius)
            moved = partial(curvature.moved, adapter, measured, signals_NS)
            part, distance, tries = step_within(adapter, change, moved, self.radius, min(1.0, 2 * part))
            history.append({"loss": loss, "part": part, "moved": distance})
            asked += 1 + tries
        return Outcome(
            adapter=adapter,
            history=history,
            pairs_forward=asked * len(measured),
            pairs_backward=_rows_asked(kept) + self.steps * pairs_asked(len(job.forget), len(gallery)),
            reference_s=0.0,
            wall_s=time.perf_counter() - started,
            peak_bytes=peak_bytes(adapter.device),
        )

    def _kept(self, job: Job) -> tuple[PairDataset, list[Pair]]:
        """Sampled retain pairs, and all pairs whose scores are to stay, those with short texts first."""
        wanted = self.curvature_pairs // 2
        retain = sample_pairs(job.retain, wanted, job.seed, Stream.RETAIN_SAMPLE, "sampled retain pairs")
        both = {"forget": retain, "retain": retain}
        wrong = wrong_pairs(job.adapter, both, job.train, pool="retain", seed=job.seed)
        kept = [*retain, *wrong]
        return retain, sorted(kept, key=length_of_text)


@dataclass(frozen=True)
class Curvature:
    """The damped Gauss-Newton matrix of pairs' association signals, in units of their standard deviations.

    Attributes:
        metric: By parameter name.
        dampings: Added to its moments, by parameter name.
        spread: Standard deviation of each signal, (S,).
    """

    metric: Metric
    dampings: Mapping[str, float]
    spread: Tensor

    def steepest(self, gradient: Mapping[str, Tensor], radius: float) -> dict[str, Tensor]:
        """Of all changes of the weights as long as ``radius``, that which goes uphill most, on the CPU.

        Raises:
            UnsupportedError: There is no gradient where the curvature is known.
        """
        known = {name: gradient[name].float().cpu() for name in self.metric}
        change = {n: preconditioned(one, self.metric[n], self.dampings[n]) for n, one in known.items()}
        squared = sum((known[name] * one).sum(dtype=torch.float64).item() for name, one in change.items())
        if squared <= 0:
            raise UnsupportedError(
                "the loss of the forget pairs has no gradient in the layers that kfade changes: no way leads uphill. "
                "Train other layers (--trainable), or use another method."
            )
        return {name: radius / math.sqrt(squared) * one for name, one in change.items()}

    def moved(self, adapter: Adapter, pairs: Sequence[Pair], before_NS: Tensor) -> float:
        """Root mean square by which the signals of pairs have moved since, in standard deviations."""
        return ((_signals(adapter, pairs) - before_NS) / self.spread).square().mean().sqrt().item()


def curvature_of(
    adapter: Adapter, pairs: Sequence[Pair], signals_NS: Tensor, strength: float, most_bytes: int = GIB
) -> Curvature:
    """The curvature of what the model says of pairs.

    Args:
        adapter: The model.
        pairs: Those with long texts last.
        signals_NS: What it says of some of them: their standard deviations are the units.
        strength: Of the damping.
        most_bytes: That gradients may take at a time.

    Raises:
        UnsupportedError: No signal depends on a layer whose gradients of single pairs are known.
        DivergedError: A signal is not finite.
    """
    if not torch.isfinite(signals_NS).all():
        raise DivergedError("what the model says of retain pairs is not finite. Give a model whose scores are finite.")
    spread = signals_NS.std(dim=0).clamp(min=CLOSE_TO_NOTHING)
    scalars = [partial(_signal, unit_S=spread, at=at) for at in range(len(spread))]
    adapter.eval()
    gradients = PairGradients(adapter)
    fitting = gradients.fitting(pairs[-GRADIENT_BATCH:], scalars, GRADIENT_BATCH, most_bytes)
    measured = metric_of(gradients.pieces(pairs, scalars, GRADIENT_BATCH, fitting))
    unknown = set(gradients.left)  # a later piece may have shown that a layer is used otherwise
    metric = {name: one for name, one in measured.items() if name not in unknown and one.moments.any()}
    if not metric:
        raise UnsupportedError(
            "kfade changes layers whose gradients of single pairs are known (linear layers, convolutions, tables and "
            "norms), and no score depends on such a layer that is trained. Train others (--trainable)."
        )
    parameters = {name: parameter.detach() for name, parameter in adapter.named_parameters()}
    return Curvature(metric, damping(metric, parameters, strength), spread)


def step_within(
    adapter: Adapter, change: Mapping[str, Tensor], moved: Callable[[], float], radius: float, part: float
) -> tuple[float, float, int]:
    """Take as much of a change, and no more than ``part`` of it, as moves the scores that are to stay by the radius.

    Returns:
        The part that was taken, how far the scores moved, and how many parts were tried.

    Raises:
        DivergedError: All were too long.
    """
    before = weights_of(adapter)
    for tried in range(1, TRIES + 1):
        _add(adapter, change, part)
        distance = moved()
        if distance <= radius:
            return part, distance, tried
        put_back(adapter, before)
        part *= min(LONGEST, max(SHORTEST, radius / distance))  # with a distance that is no number the shortest
    raise DivergedError(
        f"each of {TRIES} ever shorter steps moved the scores of retain pairs by more than {radius} standard "
        f"deviations, the last one by {distance}. Give a larger damping."
    )


def _measured(kept: Sequence[Pair]) -> Sequence[Pair]:
    return kept[:: math.ceil(len(kept) / MEASURED)]


def _rows_asked(kept: Sequence[Pair]) -> int:
    """Pairs that `curvature_of` forwards and backpropagates."""
    return len(kept) + min(len(kept), GRADIENT_BATCH)


def _signals(adapter: Adapter, pairs: Sequence[Pair]) -> Tensor:
    """Association signals of pairs as the model is now, (N, S)."""
    outputs = outputs_of(adapter, pairs, BATCH, "retain pairs")
    return association_signals(outputs, number_of_signals(outputs))


def _signal(outputs: PairOutputs, batch: Batch, *, unit_S: Tensor, at: int) -> Tensor:
    return association_signals(outputs, len(unit_S))[:, at] / unit_S[at].item()


@torch.no_grad()
def _add(adapter: Adapter, change: Mapping[str, Tensor], part: float) -> None:
    """Add a part of a change to the weights."""
    parameters = dict(adapter.named_parameters())
    for name, one in change.items():
        parameters[name].add_((part * one).to(parameters[name]))
