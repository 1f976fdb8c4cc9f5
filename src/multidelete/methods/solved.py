"""Legs that are solved instead of descended: the least change of the weights that moves forget pairs to their targets.

s_i is a forget pair's association score, t_i its target, g_i the gradient of s_i by the weights, f the part of the way
that a leg goes. The change D of the weights is the smallest one, in the metric of what kept pairs' scores depend on,
with

    <g_i, D> = f (t_i - s_i)   for the forget pairs,
    <g_r, D> = -drift_r        for kept pairs, drawn afresh in each leg,

where the drift is how far a kept pair's score (of dual encoders: its embedding, in the direction in which it moved)
lies from the original's. See `multidelete.curvature`. A leg takes the deleted pairs in blocks, one after the other, so
that its memory does not grow with the request, and its time no faster.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.core.runtime import from_main_process
from multidelete.core.streams import Stream, stream
from multidelete.curvature.metric import CHUNK_BYTES, Metric, bytes_of_metric, metric_of
from multidelete.curvature.rows import PairGradients, Rows, Scalars
from multidelete.curvature.solve import damping, solve
from multidelete.data.pairs import Batch, Pair
from multidelete.methods.base import Job
from multidelete.methods.judge import BATCH, Judge
from multidelete.methods.kept_metric import keep_metric, measured_for, read_metric, usable_metric
from multidelete.methods.reference import length_of_text, outputs_of
from multidelete.methods.standing import Standing
from multidelete.methods.weights import Weights, with_weights
from multidelete.models.base import PairOutputs

METRIC_PAIRS = 400  # kept pairs whose scores make the metric
BLOCK = 64  # deleted pairs in one solve: its time grows with the square of the rows
KEPT = 2.0  # kept pairs beside them, for each
LEAST_KEPT = 32  # in all blocks together
ENOUGH_KEPT = 96  # as many where their gradients fit into memory: what small requests cost adds up
REPAIRS = 4  # times that a leg solves for each block when the deleted pairs are level, with other kept pairs each time
DAMPING = 0.03  # of the mean moment, for equal relative changes of all layers
RIDGE = 1e-3
KEPT_RIDGE = 0.1  # their drift is partly noise
FIRST_PART = 1 / 3
SHORTEST = 1 / 100
GRADIENT_BATCH = 32
GLANCED = 8  # kept pairs that tell which encoders have moved
STILL = 1e-6  # distance by which embeddings of one that is frozen differ at most
AGREES = (0.4, 2.0)  # what moved, as a multiple of what was predicted
FAINT = 0.1  # of the first gap: noise decides whether so little agrees


class SolvedLegs:
    """Legs for models whose association is one signal: dual encoders and classifiers.

    Attributes:
        metric: What kept pairs' scores depend on; None until the first leg.
        fitting: Gradients of pairs that may be held at a time, once the metric is measured.
        has_measured: Whether the run measured its metric, before it was killed perhaps.
        has_reused: Whether it took an earlier request's.
    """

    name = "solved"

    def __init__(self, job: Job, judge: Judge, most: int, original: Weights) -> None:
        self.most = most
        self.length = FIRST_PART
        self.brings_back = True
        self._taken_back = 1.0  # of the drift: a leg that is to be shorter is shorter in all that it does
        self.pairs = self.asked = 0.0
        self.scales: Mapping[str, float] = {}
        self._job = job
        self._retain = judge.steps_on
        self._gradients = PairGradients(job.adapter)
        self.metric: Metric | None = None
        self._dampings: Mapping[str, float] = {}
        self.fitting = 0
        self.has_measured = self.has_reused = False
        self._original = original
        self._predicted = torch.zeros(0)
        self._scale = 0.0

    def take(self, number: int, now: Standing, start: Standing) -> None:
        job = self._job
        job.adapter.eval()
        if self.metric is None:
            with with_weights(job.adapter, self._original):  # a resumed run begins here with others
                self._know_metric()
        if not self.metric:
            raise DivergedError(
                "no score of a kept pair depends on a layer whose gradients of single pairs are known: no leg can be "
                "solved."
            )
        goals = now.signals[:, 0] - self.length * now.gaps[:, 0]
        self._predicted = torch.zeros(len(goals))
        self._scale = max(self._scale, now.gaps[:, 0].abs().mean().item())
        order = torch.from_numpy(stream(job.seed, Stream.LEGS, number + 1).permutation(len(goals)))
        blocks = order.tensor_split(blocks_of(job, self.fitting))
        times = REPAIRS if now.is_level and not now.has_kept(start) else 1
        for place, at in enumerate(blocks * times, start=1):
            self._solve(at, goals[at], now.signals[at, 0], (number, place))

    def _solve(self, at: Tensor, goals: Tensor, was: Tensor, place: tuple[int, int]) -> None:
        """Move some of the deleted pairs to their goals, from where earlier blocks of the leg have left them."""
        job = self._job
        pairs = [job.forget.pairs[position] for position in at.tolist()]
        beside = kept_beside(job, self.fitting) * len(pairs) // len(job.forget)
        rows, here = self._rows_of(pairs)
        kept_rows, drifts = self._kept_rows(self._draw(max(1, beside), *place))
        amounts = torch.cat([goals - here, -self._taken_back * drifts])
        ridges = torch.cat([torch.full((len(pairs),), RIDGE), torch.full((len(drifts),), RIDGE + KEPT_RIDGE)])
        both = {
            name: one.followed_by([other[name] for other in kept_rows])
            for name, one in rows.items()
            if all(name in other for other in kept_rows)
        }
        if both.keys().isdisjoint(self.metric or {}):
            raise DivergedError("no layer that kept pairs' scores depend on has gradients of these pairs.")
        solution = solve(both, self.metric or {}, self._dampings, amounts, ridges)
        self._predicted[at] = here - was + solution.predicted[: len(pairs)]
        parameters = dict(job.adapter.named_parameters())
        with torch.no_grad():
            for name, change in solution.change.items():
                parameters[name].add_(change.to(parameters[name]))

    def told(self) -> list[float]:
        whether = [float(one) for one in (self.brings_back, self.has_measured, self.has_reused)]
        return [self.length, self.pairs, self.asked, self._scale, self._taken_back, *whether]

    def recall(self, told: Sequence[float]) -> None:
        self.length, self.pairs, self.asked, self._scale, self._taken_back, *whether = told
        self.brings_back, self.has_measured, self.has_reused = map(bool, whether)

    def adapt(self, before: Standing, after: Standing | None) -> bool:
        if after is not None:
            self._taken_back = 1.0
            self.length = min(1.0, self.length / max(1 - self.length, 1e-9))  # as far again
            if before.is_level:
                self.brings_back = after.kept.mean().item() > before.kept.mean().item()
            return True
        self.length, self._taken_back = self.length / 2, self._taken_back / 2
        self.brings_back = self.brings_back and not before.is_level
        return self.length >= SHORTEST

    def is_as_predicted(self, before: Standing, after: Standing) -> bool:
        """Whether the forget pairs moved about as the solution said; of a leg that hardly moves them all is right."""
        if self._predicted.abs().mean() < FAINT * self._scale:
            return True
        moved = after.signals[:, 0] - before.signals[:, 0]
        ratio = (moved @ self._predicted / self._predicted.square().sum()).item()
        return AGREES[0] <= ratio <= AGREES[1]

    def _know_metric(self) -> None:
        """Take the metric of an earlier request, or measure one and keep it for the next."""
        folder, job = self._job.metric, self._job
        if folder is None:
            self.measure_metric()
            return
        kept = usable_metric(folder, job)
        serves = from_main_process(kept is not None)
        self.has_reused = self.has_reused or (serves and not self.has_measured)
        if kept is None or not serves:
            pairs = self.measure_metric()
            kept = measured_for(job, self.metric or {}, self.fitting, pairs)
        keep_metric(folder, kept.serving(job.key))
        # what a resumed run would read: the same numbers in another layout are rounded differently
        self.fitting, self.metric = kept.fitting, (read_metric(folder) or kept).metric
        self._damp()

    def measure_metric(self, most_rows: int | None = None) -> list[Pair]:
        """Measure what kept pairs' scores depend on, and how large a pair's gradients are.

        Args:
            most_rows: Gradients that may be held at a time; None: as many as the settings' ``memory`` holds.

        Returns:
            The kept pairs.
        """
        self.has_measured = True
        pairs = self._draw(METRIC_PAIRS, -1)
        metric = metric_of(self._pieces(pairs, most_rows))
        # what no score depends on yet (what LoRA reads, as long as it writes nothing) has no metric, and stays
        unknown = set(self._gradients.left)  # a later batch may have shown that a layer is used otherwise
        self.metric = {name: one for name, one in metric.items() if name not in unknown and one.moments.any()}
        self._damp()
        return pairs

    def _damp(self) -> None:
        parameters = {name: p.detach() for name, p in self._job.adapter.named_parameters()}
        self._dampings = damping(self.metric, parameters, DAMPING) if self.metric else {}

    def _pieces(self, pairs: Sequence[Pair], most_rows: int | None) -> Iterator[Mapping[str, Rows]]:
        """Rows of the pairs' scores, of as many at a time as may be held."""
        longest = pairs[-GRADIENT_BATCH:]
        most_bytes = self._job.settings.memory_bytes
        self.fitting = most_rows or self._gradients.fitting(longest, [_score], GRADIENT_BATCH, most_bytes)
        self.pairs += len(longest) + len(pairs)
        yield from self._gradients.pieces(pairs, [_score], GRADIENT_BATCH, self.fitting)

    def _rows_of(self, pairs: Sequence[Pair]) -> tuple[dict[str, Rows], Tensor]:
        """Rows of the pairs' scores, and the scores."""
        self.pairs += len(pairs)
        noted = _Noted(_score)
        rows = self._gradients.of(pairs, [noted], min(GRADIENT_BATCH, self.fitting))[0]
        return rows, noted.of(pairs)

    def _draw(self, wanted: int, number: int, place: int = 0) -> list[Pair]:
        """Kept pairs, those with short texts first."""
        rng, pairs = stream(self._job.seed, Stream.LEGS, number + 1, place), self._retain.pairs
        drawn = sorted(rng.choice(len(pairs), min(wanted, len(pairs)), replace=False).tolist())
        return sorted((pairs[at] for at in drawn), key=length_of_text)

    def _kept_rows(self, kept: Sequence[Pair]) -> tuple[list[dict[str, Rows]], Tensor]:
        """Rows of kept pairs, and how far each has drifted from what the original said."""
        adapter = self._job.adapter
        with with_weights(adapter, self._original):
            there = outputs_of(adapter, kept, BATCH, "original on kept pairs")
        self.asked += len(kept)
        along: list[_Noted] = []
        if there.embeddings is not None and there.logits is None:
            some = outputs_of(adapter, kept[:GLANCED], BATCH, "kept pairs").embeddings or {}
            self.asked += len(kept[:GLANCED])
            along = [
                _Noted(_drift(modality, kept, was_ND))
                for modality, was_ND in there.embeddings.items()
                if (some[modality] - was_ND[:GLANCED]).norm(dim=1).mean() > STILL
            ]
        if not along:
            rows, here = self._rows_of(kept)
            return [rows], here - there.score
        self.pairs += len(kept)
        every = self._gradients.of(kept, along, min(GRADIENT_BATCH, self.fitting))
        return every, torch.cat([drift.of(kept) for drift in along])


def bytes_of_legs(job: Job) -> int:
    """Most memory that legs take for the gradients of single pairs, for the metric and for its products."""
    longest = sorted(job.forget.pairs, key=length_of_text)[-2:]
    rows = PairGradients(job.adapter).of(longest, [_score], len(longest))[0]
    each = sum(one.nbytes for one in rows.values()) / len(longest)
    held = max(2 * each, min(job.settings.memory_bytes, METRIC_PAIRS * each))
    return round(held) + sum(map(bytes_of_metric, rows.values())) + 2 * CHUNK_BYTES


def blocks_of(job: Job, fitting: int) -> int:
    """In how many blocks the deleted pairs are taken, where the gradients of so many pairs fit into memory."""
    rows = len(job.forget) + _drifting(job) * kept_beside(job, fitting)
    return min(len(job.forget), max(1, round(len(job.forget) / BLOCK), math.ceil(rows / fitting)))


def kept_beside(job: Job, fitting: int) -> int:
    """Kept pairs in a leg, where the gradients of so many pairs fit into memory."""
    forget, each = len(job.forget), _drifting(job)
    wanted = max(LEAST_KEPT, round(KEPT * forget), min(ENOUGH_KEPT, (fitting - forget) // each))
    return min(wanted, forget * max(1, (fitting - 1) // each))  # beside one deleted pair in each block


def _drifting(job: Job) -> int:
    """Rows that a kept pair has: one for each encoder that moves."""
    trained = {name for name, parameter in job.adapter.named_parameters() if parameter.requires_grad}
    encoders = [job.adapter.encoder_parameters(modality) for modality in job.adapter.modalities]
    return max(1, sum(not trained.isdisjoint(names) for names in encoders))


def _score(outputs: PairOutputs, batch: Batch) -> Tensor:
    return outputs.score


def _drift(modality: str, pairs: Sequence[Pair], was_ND: Tensor) -> Scalars:
    """How far each pair's embedding lies from where it was; its gradient is by the embedding alone."""
    before = {pair.id: was_D for pair, was_D in zip(pairs, was_ND, strict=True)}

    def drift(outputs: PairOutputs, batch: Batch) -> Tensor:
        if outputs.embeddings is None:
            raise ValueError("there are no embeddings")
        embedding_BD = outputs.embeddings[modality]
        away_BD = embedding_BD - torch.stack([before[i] for i in batch.ids]).to(embedding_BD)
        return (away_BD * F.normalize(away_BD.detach(), dim=1)).sum(dim=1)

    return drift


class _Noted:
    """A number for each pair, which is remembered."""

    def __init__(self, scalar: Scalars) -> None:
        self._scalar = scalar
        self._values: dict[str, Tensor] = {}

    def __call__(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        values_B = self._scalar(outputs, batch)
        self._values |= dict(zip(batch.ids, values_B.detach().cpu(), strict=True))
        return values_B

    def of(self, pairs: Sequence[Pair]) -> Tensor:
        """Of each of these pairs, (N,)."""
        return torch.stack([self._values[pair.id] for pair in pairs])
