"""Legs that are solved instead of descended: the least change of the weights that moves forget pairs to their targets.

s_i is a forget pair's association score, t_i its target, g_i the gradient of s_i by the weights, f the part of the way
that a leg goes. The change D of the weights is the smallest one, in the metric of what kept pairs' scores depend on,
with

    <g_i, D> = f (t_i - s_i)   for the forget pairs,
    <g_r, D> = -drift_r        for kept pairs, drawn afresh in each leg,

where the drift is how far a kept pair's score (of dual encoders: its embedding, in the direction in which it moved)
lies from the original's. See `multidelete.curvature`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from multidelete.core.streams import Stream, stream
from multidelete.curvature.metric import Metric, metric_of
from multidelete.curvature.rows import PairGradients, Rows, Scalars
from multidelete.curvature.solve import damping, solve
from multidelete.data.pairs import Batch, Pair
from multidelete.methods.base import Job
from multidelete.methods.reference import outputs_of
from multidelete.methods.standing import BATCH, Judge, Standing
from multidelete.methods.weights import weights_of, with_weights
from multidelete.models.base import PairOutputs

METRIC_PAIRS = 400  # kept pairs whose scores make the metric
KEPT = 4.0  # kept pairs in a leg, for each forget pair: with one, legs on small models are undone
LEAST_KEPT = 32
DAMPING = 0.3  # of the mean moment, for equal relative changes of all layers
RIDGE = 1e-3
KEPT_RIDGE = 0.1  # their drift is partly noise
FIRST_PART = 1 / 3
SHORTEST = 1 / 20
GRADIENT_BATCH = 32
AGREES = (0.4, 2.0)  # what moved, as a multiple of what was predicted
FAINT = 0.1  # of the first gap: noise decides whether so little agrees


class SolvedLegs:
    """Legs for models whose association is one signal: dual encoders and classifiers."""

    name = "solved"

    def __init__(self, job: Job, judge: Judge, most: int) -> None:
        self.most = most
        self.length = FIRST_PART
        self.pairs = self.asked = 0.0
        self._job = job
        self._retain = judge.steps_on
        self._gradients = PairGradients(job.adapter)
        self._metric: Metric | None = None
        self._dampings: Mapping[str, float] = {}
        self._original = weights_of(job.adapter)
        self._predicted = torch.zeros(0)
        self._scale = 0.0

    def take(self, number: int, now: Standing) -> None:
        job = self._job
        job.adapter.eval()
        if self._metric is None:
            with with_weights(job.adapter, self._original):  # a resumed run begins here with others
                self._measure_metric()
        kept = self._draw(self._retain.pairs, kept_of_leg(job), number)
        rows = self._gradients.of(job.forget.pairs, [_score], GRADIENT_BATCH)[0]
        kept_rows, drifts = self._kept_rows(kept, number)
        self.pairs += len(job.forget) + len(kept)
        amounts = torch.cat([-self.length * now.gaps[:, 0], -drifts])
        ridges = torch.cat([torch.full((len(job.forget),), RIDGE), torch.full((len(drifts),), RIDGE + KEPT_RIDGE)])
        both = {name: one.followed_by([other[name] for other in kept_rows]) for name, one in rows.items()}
        solution = solve(both, self._metric or {}, self._dampings, amounts, ridges)
        self._predicted = solution.predicted[: len(job.forget)]
        self._scale = max(self._scale, now.gaps[:, 0].abs().mean().item())
        parameters = dict(job.adapter.named_parameters())
        with torch.no_grad():
            for name, change in solution.change.items():
                parameters[name].add_(change.to(parameters[name]))

    def told(self) -> list[float]:
        return [self.length, self.pairs, self.asked, self._scale]

    def recall(self, told: Sequence[float]) -> None:
        self.length, self.pairs, self.asked, self._scale = told

    def adapt(self, before: Standing, after: Standing | None) -> bool:
        if after is not None:
            self.length = min(1.0, self.length * 1.5)
            is_repairing = not before.is_level or after.kept.mean().item() > before.kept.mean().item()
            return not after.is_level or is_repairing
        self.length /= 2
        return self.length >= SHORTEST

    def is_as_predicted(self, before: Standing, after: Standing) -> bool:
        """Whether the forget pairs moved about as the solution said; of a leg that hardly moves them all is right."""
        if self._predicted.abs().mean() < FAINT * self._scale:
            return True
        moved = after.signals[:, 0] - before.signals[:, 0]
        ratio = (moved @ self._predicted / self._predicted.square().sum()).item()
        return AGREES[0] <= ratio <= AGREES[1]

    def _measure_metric(self) -> None:
        pairs = self._draw(self._retain.pairs, METRIC_PAIRS, -1)
        self.pairs += len(pairs)
        rows = self._gradients.of(pairs, [_score], GRADIENT_BATCH)[0]
        self._metric = metric_of(rows)
        parameters = {name: p.detach() for name, p in self._job.adapter.named_parameters()}
        self._dampings = damping(self._metric, parameters, DAMPING)

    def _draw(self, pairs: Sequence[Pair], wanted: int, number: int) -> list[Pair]:
        rng = stream(self._job.seed, Stream.LEGS, number + 1)
        return [pairs[at] for at in sorted(rng.choice(len(pairs), min(wanted, len(pairs)), replace=False).tolist())]

    def _kept_rows(self, kept: Sequence[Pair], number: int) -> tuple[list[dict[str, Rows]], Tensor]:
        """Rows of kept pairs, and how far each has drifted from what the original said."""
        here = outputs_of(self._job.adapter, kept, BATCH, "kept pairs")
        there = here
        self.asked += len(kept) * (2 if number else 1)
        if number:
            with with_weights(self._job.adapter, self._original):
                there = outputs_of(self._job.adapter, kept, BATCH, "original on kept pairs")
        if here.embeddings is None or here.logits is not None or not number:
            return self._gradients.of(kept, [_score], GRADIENT_BATCH), here.score - there.score
        scalars: list[Scalars] = []
        drifts: list[Tensor] = []
        for modality, now_ND in here.embeddings.items():
            away_ND = now_ND - (there.embeddings or {})[modality]
            if away_ND.norm(dim=1).mean() > 1e-6:  # an encoder that is frozen does not drift
                directions = dict(zip([pair.id for pair in kept], F.normalize(away_ND, dim=1), strict=True))
                scalars.append(_along(modality, directions))
                drifts.append(away_ND.norm(dim=1))
        if not scalars:
            return self._gradients.of(kept, [_score], GRADIENT_BATCH), here.score - there.score
        return self._gradients.of(kept, scalars, GRADIENT_BATCH), torch.cat(drifts)


def kept_of_leg(job: Job) -> int:
    """Kept pairs whose gradients a leg takes."""
    return max(LEAST_KEPT, round(KEPT * len(job.forget)))


def _score(outputs: PairOutputs, batch: Batch) -> Tensor:
    return outputs.score


def _along(modality: str, directions: Mapping[str, Tensor]) -> Callable[[PairOutputs, Batch], Tensor]:
    """Each pair's embedding along a direction of its own."""

    def along(outputs: PairOutputs, batch: Batch) -> Tensor:
        if outputs.embeddings is None:
            raise ValueError("there are no embeddings")
        embedding_BD = outputs.embeddings[modality]
        return (embedding_BD * torch.stack([directions[i] for i in batch.ids]).to(embedding_BD)).sum(dim=1)

    return along
