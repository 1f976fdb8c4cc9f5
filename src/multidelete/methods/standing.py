"""Where a run stands: how far deleted pairs still are from unseen ones, and how kept pairs fare.

A run that finds its own way looks at these figures, and at nothing else: the request's pairs, sampled kept
pairs, and validation pairs. It never sees a test pair or an audit.

Shape suffixes: F forget pairs, M unseen pairs, N pairs, S signals, C candidates, D embedding.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multidelete.core.errors import UnsupportedError
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairDataset
from multidelete.methods.base import Job, sample_pairs, sample_retain
from multidelete.methods.partners import Associations, unassociated_pairs
from multidelete.methods.reference import outputs_of
from multidelete.methods.targets import (
    Stratum,
    association_signals,
    comparable,
    matched_scores,
    number_of_signals,
    strata_of,
)
from multidelete.models.base import PairOutputs

JUDGED = 256  # kept pairs, and unseen pairs, that are looked at
NEAR = 0.05  # mean rank of deleted pairs among unseen ones that counts as one half, however many they are
DOUBT = 1.28  # standard deviations of that mean that chance explains: beyond them lies one of five
BATCH = 128


@dataclass(frozen=True)
class Kinds:
    """Positions of the pairs of each kind, since what one kind keeps must not hide what another loses.

    Attributes:
        forget: Of the forget pairs, by kind.
        kept: Of the judged kept pairs.
        unseen: Of the unseen pairs.
        doubts: By kind of forget pairs, how far their mean rank lies from one half by chance, one standard deviation.
    """

    forget: Mapping[str | None, Tensor]
    kept: Mapping[str | None, Tensor]
    unseen: Mapping[str | None, Tensor]
    doubts: Mapping[str | None, float]


@dataclass(frozen=True)
class Standing:
    """How a model stands.

    Attributes:
        kinds: Which pairs are of which kind.
        ranks: Rank of each forget pair's signals among comparable unseen pairs, in [0, 1], (F, S): one half on average
            where they cannot be told apart, 1 where all lie above.
        gaps: How far each forget pair's signals lie above those of the unseen pair of its rank, (F, S).
        signals: Of the forget pairs, (F, S).
        kept: Whether each judged kept pair is found first or its class is right, in [0, 1], (N,): the mean over both
            directions.
        unseen: Reciprocal rank of each unseen pair, (M,); None where there are no validation pairs.
    """

    kinds: Kinds
    ranks: Tensor
    gaps: Tensor
    signals: Tensor
    kept: Tensor
    unseen: Tensor | None

    def distances(self) -> dict[str | None, float]:
        """By kind, how far the forget pairs' mean rank is from one half, by the signal that tells most, in [0, 0.5]."""
        of_kinds = self.kinds.forget.items()
        return {kind: (self.ranks[at].mean(dim=0) - 0.5).abs().max().item() for kind, at in of_kinds}

    @property
    def distance(self) -> float:
        """Of the kind that is farthest."""
        return max(self.distances().values())

    @property
    def gap(self) -> float:
        """Mean distance of the forget pairs' signals from their targets, in units of the signals."""
        return self.gaps.abs().mean().item()

    @property
    def is_forgotten(self) -> bool:
        """Whether no signal tells the forget pairs of any kind from unseen ones, from either side."""
        doubts = self.kinds.doubts
        return all(distance <= max(NEAR, DOUBT * doubts[kind]) for kind, distance in self.distances().items())

    def lost_since(self, before: "Standing") -> float:
        """How much less kept pairs, or unseen ones, are found than before, as a fraction: the kind that lost most.

        Kept pairs were all known before, so any loss counts. Of unseen pairs, which come and go, one standard error of
        the paired differences is taken off. Never below 0.
        """
        lost = [(before.kept - self.kept)[at].mean().item() for at in self.kinds.kept.values()]
        if self.unseen is not None and before.unseen is not None:
            lost += [_beyond_chance((before.unseen - self.unseen)[at]) for at in self.kinds.unseen.values()]
        return max(0.0, *lost)


def _beyond_chance(differences_N: Tensor) -> float:
    chance = differences_N.std(correction=0) / math.sqrt(len(differences_N))
    return (differences_N.mean() - chance).item()


def _of_kinds(pairs: Sequence[Pair]) -> dict[str | None, Tensor]:
    kinds = dict.fromkeys(pair.kind for pair in pairs)
    return {kind: torch.tensor([at for at, pair in enumerate(pairs) if pair.kind == kind]) for kind in kinds}


class Judge:
    """Measures the standing of the model of a job, always on the same pairs.

    Attributes:
        kept: Kept pairs that are judged.
        steps_on: Kept pairs that steps may hold: those that are judged are not among them, unless all kept pairs are
            stepped on anyway, so that those judged stand for all.
        unseen: What deleted pairs are compared with.
        has_holdout: Whether these are validation pairs; otherwise they are unassociated pairs of retain members.
        pairs: Pairs forwarded so far.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        everywhere = len(sample_retain(job)) == len(job.retain)
        judged = min(JUDGED, len(job.retain) if everywhere else len(job.retain) // 4)
        self.kept = sample_pairs(job.retain, judged, job.seed, Stream.JUDGED, "kept pairs that are judged")
        self.steps_on = job.retain if everywhere else job.retain.without(self.kept.ids, "retain")
        self.has_holdout = job.holdout is not None
        self.unseen = self._unseen(job)
        self.pairs = 0
        labelled = job.adapter.task == "classification"
        seen = job.retain if self.has_holdout else None
        self._mine = strata_of(job.forget, job.retain, labelled=labelled) if seen else _labels(job.forget, labelled)
        self._theirs = strata_of(self.unseen, job.train, labelled=labelled) if seen else _labels(self.unseen, labelled)
        going = _of_kinds(job.forget.pairs)
        doubts = {kind: self._doubt(at) for kind, at in going.items()}
        self._kinds = Kinds(going, _of_kinds(self.kept.pairs), _of_kinds(self.unseen.pairs), doubts)

    def _doubt(self, at: Tensor) -> float:
        fewest = min(len(self._comparable(self._mine[position])) for position in at.tolist())
        return math.sqrt((1 / len(at) + 1 / fewest) / 12)

    def _unseen(self, job: Job) -> PairDataset:
        if job.holdout is not None:
            return sample_pairs(job.holdout, JUDGED, job.seed, Stream.REFRESH_SAMPLE, "sampled held-out pairs")
        associations = Associations(job.train, job.adapter.modalities)
        stand_for = [job.forget[at % len(job.forget)] for at in range(max(64, min(JUDGED, len(job.forget))))]
        drawn = unassociated_pairs(job.retain.pairs, stand_for, associations, stream(job.seed, Stream.PARTNERS))
        return PairDataset([replace(pair, id=f"{at}:{pair.id}") for at, pair in enumerate(drawn)], "unassociated pairs")

    def measure(self) -> Standing:
        """Ask the model as it is now."""
        forget = self._ask(self._job.forget.pairs, "deleted pairs")
        unseen = self._ask(self.unseen.pairs, "unseen pairs")
        kept = self._ask(self.kept.pairs, "kept pairs")
        number = number_of_signals(forget)
        own_FS, others_MS = association_signals(forget, number), association_signals(unseen, number)
        columns = list(zip(own_FS.unbind(dim=1), others_MS.unbind(dim=1), strict=True))
        targets = [matched_scores(own_F, self._mine, other_M, self._theirs) for own_F, other_M in columns]
        return Standing(
            kinds=self._kinds,
            ranks=torch.stack([self._ranks_among_unseen(own_F, other_M) for own_F, other_M in columns], dim=1),
            gaps=own_FS - torch.stack(targets, dim=1),
            signals=own_FS,
            kept=(self._own_ranks((self.kept.pairs, kept), (self.unseen.pairs, unseen)) == 1).float().mean(dim=1),
            unseen=self._own_ranks((self.unseen.pairs, unseen), (self.kept.pairs, kept)).reciprocal().mean(dim=1)
            if self.has_holdout
            else None,
        )

    def _ask(self, pairs: Sequence[Pair], title: str) -> PairOutputs:
        self.pairs += len(pairs)
        return outputs_of(self._job.adapter, pairs, BATCH, title)

    def _comparable(self, stratum: Stratum) -> list[int]:
        return comparable(stratum, self._theirs)

    def _ranks_among_unseen(self, own_F: Tensor, other_M: Tensor) -> Tensor:
        ranks = torch.empty_like(own_F)
        for stratum in set(self._mine):
            mine = torch.tensor([at for at, one in enumerate(self._mine) if one == stratum])
            theirs = other_M[torch.tensor(self._comparable(stratum))]
            below = (own_F[mine, None] > theirs).float() + 0.5 * (own_F[mine, None] == theirs).float()
            ranks[mine] = below.mean(dim=1)
        return ranks

    def _own_ranks(
        self, judged: tuple[Sequence[Pair], PairOutputs], beside: tuple[Sequence[Pair], PairOutputs]
    ) -> Tensor:
        """Rank of what belongs to each pair, from 1, (N, directions): its label, or its members' partners.

        Partners are looked for among those of the judged pairs and of the pairs beside them.
        """
        pairs, outputs = judged
        if outputs.logits is not None:
            labels = torch.tensor([pair.label for pair in pairs])
            own_N1 = outputs.logits.gather(1, labels[:, None])
            return _rank(outputs.logits, own_N1)[:, None]
        if outputs.embeddings is None or beside[1].embeddings is None:
            raise UnsupportedError("a run cannot judge a matching head. Give a rate or passes.")
        both = zip(outputs.embeddings.values(), beside[1].embeddings.values(), strict=True)
        return _partner_ranks([*pairs, *beside[0]], len(pairs), *(torch.cat(two) for two in both))


def _labels(pairs: PairDataset, labelled: bool) -> list[Stratum]:
    return [Stratum(pair.label if labelled else None) for pair in pairs]


def _sharing(pairs: Sequence[Pair]) -> Tensor:
    """Which other pairs share a member with each, (N, N)."""
    shared = torch.zeros(len(pairs), len(pairs), dtype=torch.bool)
    for modality in pairs[0].inputs:
        numbers: dict[object, int] = {}
        at = torch.tensor([numbers.setdefault(pair.sources[modality], len(numbers)) for pair in pairs])
        shared |= at[:, None] == at[None]
    return shared.fill_diagonal_(False)


def _partner_ranks(pairs: Sequence[Pair], judged: int, first_ND: Tensor, second_ND: Tensor) -> Tensor:
    """Of the own partner of each member of the first pairs among those of all, both ways, (judged, 2).

    Pairs that share a member are no rivals.
    """
    similar_NN = (first_ND @ second_ND.T).masked_fill(_sharing(pairs), -2.0)
    own_N1 = similar_NN.diagonal()[:, None]
    return torch.stack([_rank(one, own_N1)[:judged] for one in (similar_NN, similar_NN.T)], dim=1)


def _rank(scores_NC: Tensor, own_N1: Tensor) -> Tensor:
    """Rank of one's own score, from 1, (N,): half of those equal to it lie above: a flat model finds nothing."""
    others_N = (scores_NC == own_N1).sum(dim=1).float() - 1
    return 1 + (scores_NC > own_N1).sum(dim=1).float() + others_N / 2
