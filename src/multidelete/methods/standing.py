"""Where a run stands: how far deleted pairs still are from unseen ones, and how kept pairs fare.

A run that finds its own way looks at these figures, and at nothing else: the request's pairs, sampled kept
pairs, and validation pairs. It never sees a test pair or an audit.

Shape suffixes: F forget pairs, M unseen pairs, N pairs, S signals, C candidates, D embedding.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multidelete.core.config import shown
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairDataset
from multidelete.methods.base import Job, sample_pairs, sample_retain
from multidelete.methods.distributions import has_matching_head
from multidelete.methods.likeness import told_apart
from multidelete.methods.partners import Associations, unassociated_pairs
from multidelete.methods.reference import outputs_of
from multidelete.methods.searching import (
    CLOSE_TO_NOTHING,
    TOGETHER,
    Asked,
    Search,
    confidence,
    drawn_searches,
    margins,
    searches,
)
from multidelete.methods.targets import (
    Stratum,
    association_signals,
    comparable,
    matched_scores,
    number_of_signals,
    strata_of,
)

JUDGED = 256  # unseen pairs that are looked at
ENOUGH_UNSEEN = 10  # subjects, or pictures, of validation pairs below which ranks among them tell nothing
OF_A_KIND = 10  # kept or unseen pairs of a kind below which it counts with the commonest: one that turns is not a loss
KEPT = 1024  # kept pairs that are looked at: among fewer too much is found
KEPT_DRAWN = 128  # and of a head without embeddings, which scores members one by one
NEAR = 0.08  # how far deleted pairs' mean rank among unseen ones may lie from one half, however many they are
DOUBT = 1.64  # standard deviations of that mean that chance explains: beyond them lies one of ten
CLOSE = 0.3  # mean gap, in standard deviations, that counts as none: where unseen pairs are few, ranks cannot tell
LEAN = 0.15  # of a standard deviation, at most, by which a signal goes beyond its goal for the sake of the others
NARROW = 0.1  # lead over the best rival, in standard deviations of the rivals, that chance may turn around
FOUND = 0.05  # least that counts as found before, where losses are shares
NOTHING = 0.004  # loss at which nothing is left to bring back; after requests smaller than `REGULAR` in proportion less
REGULAR = 0.05  # share of all pairs: the losses of many small requests add up
TEN = 10  # ranks down to which an unseen pair counts as found
LEFT = 0.2  # of the way at the end: what tells only some of the deleted pairs hardly moves the mean rank of all
WAY = 0.1  # standard deviations that are way enough for a share of them to say anything
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
        further: The same of what else tells that a pair was trained on: margins of embeddings, the confidence of a
            classifier, (F, any).
        gaps: How far each forget pair's signals lie above where they are to go, (F, S): to those of the unseen pair of
            its rank, and a little (`LEAN`) beyond where the further signals lie farther off.
        signals: Of the forget pairs, (F, S).
        lean: What of the gaps is there for the sake of the further signals, (S,).
        left: Of the kind that is farthest, how much of the mean gap is left that there was when the run began; 0 where
            nothing had to go.
        spread: Standard deviation of the unseen pairs' signals when the run began, (S,).
        kept: Whether each judged kept pair is found first or its class is right, in [0, 1], (N,): the mean over both
            directions.
        sure: The same, in (0, 1), (N,): one that leads narrowly (`NARROW`) counts half, so that a short leg, that turns
            a few of these around, changes it little. Of two classes it is 0 or 1.
        by_rank: Whether `far` goes by ranks.
        nothing: Loss of kept pairs, as a fraction of them, at which nothing is left to bring back.
        unseen: How well each unseen pair is found among the others, in [0, 1], (M,): 1 down to the tenth rank, then
            ten over the rank; of classes one over the rank. None where there are no validation pairs, and of a head
            without embeddings.
    """

    kinds: Kinds
    ranks: Tensor
    further: Tensor
    gaps: Tensor
    signals: Tensor
    lean: Tensor
    left: float
    spread: Tensor
    kept: Tensor
    sure: Tensor
    by_rank: bool
    nothing: float
    unseen: Tensor | None

    def _distances(self, ranks: Tensor) -> dict[str | None, float]:
        """By kind, how far the forget pairs' mean rank is from one half, by the signal that tells most, in [0, 0.5]."""
        of_kinds = self.kinds.forget.items()
        return {kind: (ranks[at].mean(dim=0) - 0.5).abs().max().item() for kind, at in of_kinds}

    @property
    def distance(self) -> float:
        """Of the kind that is farthest, how far its mean rank is from one half, in [0, 0.5]."""
        return max(self._distances(self.ranks).values())

    @property
    def further_distance(self) -> float:
        """The same of the signals that no leg aims at."""
        return max(self._distances(self.further).values())

    @property
    def gap(self) -> float:
        """Mean distance of the forget pairs' signals from where they go, in standard deviations of unseen pairs."""
        return (self.gaps / self.spread).abs().mean().item()

    @property
    def far(self) -> float:
        """How far the forget pairs are from where they go, the measure of a leg.

        It is the gap; of a matching head how far ranks are from one half, as such a head comes to give nearly all
        unseen pairs one score, to which a gap is nothing.
        """
        return max(self.distance, self.further_distance) if self.by_rank else self.gap

    @property
    def is_level(self) -> bool:
        """Whether the signals that legs aim at tell the forget pairs of no kind from unseen ones, from either side."""
        return self._are_near(self.ranks) and self.beside <= CLOSE and self.left <= LEFT

    @property
    def beside(self) -> float:
        """How far the mean signal lies from where it goes, in standard deviations: of the kind that is farthest."""
        gaps_FS = self.gaps / self.spread
        return max(gaps_FS[at].mean(dim=0).abs().max().item() for at in self.kinds.forget.values())

    @property
    def is_forgotten(self) -> bool:
        """Whether no signal at all tells them."""
        return self.is_level and self._are_near(self.further)

    @property
    def is_near(self) -> bool:
        """Whether ranks alone tell the forget pairs of no kind from unseen ones, by any signal."""
        return self._are_near(self.ranks) and self._are_near(self.further)

    def _are_near(self, ranks: Tensor) -> bool:
        doubts = self.kinds.doubts
        return all(far <= max(NEAR, DOUBT * doubts[kind]) for kind, far in self._distances(ranks).items())

    def lost_since(self, before: "Standing") -> float:
        """How much less kept pairs, or unseen ones, are found than before, as a fraction: the kind that lost most.

        One standard error of the paired differences is taken off: some pairs come and others go. Never below 0.
        """
        both = self._beside(before, before.kept, self.kept)
        return max(0.0, *(_beyond_chance(had_N - has_N) for had_N, has_N in both))

    def mean_lost_since(self, before: "Standing") -> float:
        """The same with nothing taken off."""
        both = self._beside(before, before.kept, self.kept)
        return max(0.0, *((had_N - has_N).mean().item() for had_N, has_N in both))

    def mean_share_lost_since(self, before: "Standing") -> float:
        """The same as a share of what was found before."""
        both = self._beside(before, before.kept, self.kept)
        return max(0.0, *((had_N - has_N).mean().item() / max(had_N.mean().item(), FOUND) for had_N, has_N in both))

    def has_kept(self, before: "Standing") -> bool:
        """Whether nothing is left to bring back; unseen pairs, which are few, may lose a little more by chance."""
        kept = max((before.kept[at] - self.kept[at]).mean().item() for at in self.kinds.kept.values())
        if self.unseen is None or before.unseen is None:
            return kept <= self.nothing
        unseen = max(_beyond_chance(before.unseen[at] - self.unseen[at]) for at in self.kinds.unseen.values())
        return kept <= self.nothing and unseen <= 2 * self.nothing

    def share_lost_since(self, before: "Standing") -> float:
        """How much less surely, as a share of what was found before."""
        both = self._beside(before, before.sure, self.sure)
        return max(0.0, *(_beyond_chance(had - has) / max(had.mean().item(), FOUND) for had, has in both))

    def _beside(self, before: "Standing", had_N: Tensor, has_N: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What was found before and is now, for each kind of kept and of unseen pairs."""
        both = [(had_N[at], has_N[at]) for at in self.kinds.kept.values()]
        if self.unseen is not None and before.unseen is not None:
            both += [(before.unseen[at], self.unseen[at]) for at in self.kinds.unseen.values()]
        return both


def validation_pairs(job: Job) -> PairDataset | str:
    """Validation pairs that the deleted ones can be compared with, or in words why there are none."""
    if job.holdout is None:
        return "there are no validation pairs that could serve"
    held = _of_every_kind(job, job.holdout)
    missing = {pair.kind for pair in job.forget} - {pair.kind for pair in held}
    if missing:
        return f"no validation pair is of the kind {shown(min(missing, key=str))}, as deleted ones are"
    if _together(held.pairs) < ENOUGH_UNSEEN:
        return f"the validation pairs are of fewer than {ENOUGH_UNSEEN} subjects or pictures"
    return held


def _unassociated(job: Job) -> PairDataset:
    """Pairs of retain members that do not belong together."""
    associations = Associations(job.train, job.adapter.modalities)
    stand_for = [job.forget[at % len(job.forget)] for at in range(max(64, min(JUDGED, len(job.forget))))]
    drawn = unassociated_pairs(job.retain.pairs, stand_for, associations, stream(job.seed, Stream.PARTNERS))
    return PairDataset([replace(pair, id=f"{at}:{pair.id}") for at, pair in enumerate(drawn)], "unassociated pairs")


def _of_every_kind(job: Job, holdout: PairDataset) -> PairDataset:
    """Sampled validation pairs, with more of each kind that goes and of which the sample has few."""
    held = sample_pairs(holdout, JUDGED, job.seed, Stream.REFRESH_SAMPLE, "sampled held-out pairs")
    drawn, more = Counter(pair.kind for pair in held), set(held.ids)
    for kind in dict.fromkeys(pair.kind for pair in job.forget):
        if drawn[kind] < (enough := JUDGED // 4) and len(held) < len(holdout):
            of_kind = PairDataset([pair for pair in holdout if pair.kind == kind], "held-out pairs of a kind")
            more.update(sample_pairs(of_kind, enough, job.seed, Stream.REFRESH_SAMPLE, of_kind.name).ids)
    return held if len(more) == len(held) else holdout.only(more, held.name)


def _beyond_chance(differences_N: Tensor) -> float:
    chance = differences_N.std(correction=0) / math.sqrt(len(differences_N))
    return (differences_N.mean() - chance).item()


def _together(pairs: Sequence[Pair]) -> int:
    """Number of subjects, or else of first members, that pairs are about."""
    return len({pair.subject or next(iter(pair.sources.values())) for pair in pairs})


def _of_kinds(pairs: Sequence[Pair]) -> dict[str | None, Tensor]:
    kinds = dict.fromkeys(pair.kind for pair in pairs)
    return {kind: torch.tensor([at for at, pair in enumerate(pairs) if pair.kind == kind]) for kind in kinds}


def _of_common_kinds(pairs: Sequence[Pair]) -> dict[str | None, Tensor]:
    """Where kinds of which there are few count with the commonest."""
    kinds = _of_kinds(pairs)
    commonest = max(kinds, key=lambda kind: len(kinds[kind]))
    few = [kind for kind, at in kinds.items() if len(at) < OF_A_KIND and kind != commonest]
    if few:
        kinds[commonest] = torch.cat([kinds[commonest], *(kinds.pop(kind) for kind in few)])
    return kinds


class Judge:
    """Measures the standing of the model of a job, always on the same pairs.

    Attributes:
        kept: Kept pairs that are judged.
        steps_on: Kept pairs that steps may hold: those that are judged are not among them, unless all kept pairs are
            stepped on anyway, so that those judged stand for all.
        unseen: What deleted pairs are compared with.
        is_matching: Whether the score comes from a matching head.
        why_no_holdout: In words, why these are unassociated pairs of retain members; None where they are validation
            pairs.
        apart: By modality, how well its members alone tell the deleted pairs from comparable validation pairs (see
            `told_apart`), by the first model that was measured. Of encoders that are not trained alone: others may know
            words that deleted pairs taught them from words that they never met.
        pairs: Pairs forwarded so far.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        everywhere = len(sample_retain(job)) == len(job.retain)
        outputs = outputs_of(job.adapter, job.forget.pairs[:1], BATCH, "one pair")
        self.is_matching = has_matching_head(outputs)
        self._is_drawn = outputs.logits is None and outputs.embeddings is None
        judged = min(KEPT_DRAWN if self._is_drawn else KEPT, len(job.retain) if everywhere else len(job.retain) // 4)
        self.kept = sample_pairs(job.retain, judged, job.seed, Stream.JUDGED, "kept pairs that are judged")
        self.steps_on = job.retain if everywhere else job.retain.without(self.kept.ids, "retain")
        found = validation_pairs(job)
        self.why_no_holdout = found if isinstance(found, str) else None
        self.unseen = _unassociated(job) if isinstance(found, str) else found
        self.pairs = 1  # asked above
        self.apart: dict[str, float] = {}
        self._spread: Tensor | None = None
        self._ways: dict[str | None, float] | None = None
        labelled = job.adapter.task == "classification"
        seen = job.retain if self.has_holdout else None
        self._mine = strata_of(job.forget, job.retain, labelled=labelled) if seen else _labels(job.forget, labelled)
        self._theirs = strata_of(self.unseen, job.train, labelled=labelled) if seen else _labels(self.unseen, labelled)
        going = _of_kinds(job.forget.pairs)
        doubts = {kind: self._doubt(at) for kind, at in going.items()}
        self._kinds = Kinds(going, _of_common_kinds(self.kept.pairs), _of_common_kinds(self.unseen.pairs), doubts)

    @property
    def has_holdout(self) -> bool:
        """Whether the deleted pairs are compared with validation pairs."""
        return self.why_no_holdout is None

    @property
    def asks_of_kept(self) -> int:
        """Pairs of kept members that are forwarded in one look."""
        return (1 + TOGETHER * self._is_drawn) * len(self.kept)

    def _doubt(self, at: Tensor) -> float:
        """By what hangs together: pairs of one subject, or else of one picture, lie high or low together.

        Each pair is ranked among unseen ones of its stratum, which counts as its share of the pairs.
        """
        positions = at.tolist()
        beside: set[int] = set()
        of_strata = 0.0
        for stratum, number in Counter(self._mine[position] for position in positions).items():
            theirs = self._comparable(stratum)
            beside.update(theirs)
            of_strata += (number / len(positions)) ** 2 / _together([self.unseen[position] for position in theirs])
        of_unseen = max(of_strata, 1 / _together([self.unseen[position] for position in beside]))
        return math.sqrt((1 / _together([self._job.forget[position] for position in positions]) + of_unseen) / 12)

    def measure(self) -> Standing:
        """Ask the model as it is now."""
        forget = self._ask(self._job.forget.pairs, "deleted pairs")
        unseen = self._ask(self.unseen.pairs, "unseen pairs")
        kept = self._ask(self.kept.pairs, "kept pairs")
        kept_searches = self._search(kept, unseen)
        own_FS, others_MS = _signals(forget, unseen)
        if self._spread is None:
            self._spread = _spread(others_MS)
            self.apart = self._apart(forget, unseen) if self.has_holdout else {}
        further_FT, others_MT = self._further(forget, kept), self._further(unseen, kept)
        gaps_FS, further_gaps_FT = self._gaps(own_FS, others_MS), self._gaps(further_FT, others_MT)
        lean_S = self._spread * _lean(gaps_FS / self._spread, further_gaps_FT / _spread(others_MT))
        standing = Standing(
            kinds=self._kinds,
            ranks=self._ranks_among_unseen(own_FS, others_MS),
            further=self._ranks_among_unseen(further_FT, others_MT),
            gaps=gaps_FS + lean_S,
            lean=lean_S,
            left=0.0,
            signals=own_FS,
            spread=self._spread,
            kept=_mean([(search.ranks() == 1).float() for search in kept_searches]),
            sure=_mean([(search.leads() / NARROW).sigmoid() for search in kept_searches]),
            by_rank=self.is_matching,
            nothing=NOTHING * min(1.0, len(self._job.forget) / (REGULAR * len(self._job.train))),
            unseen=self._how_found(unseen) if self.has_holdout and not self._is_drawn else None,
        )
        far = {kind: abs(standing.gaps[at].mean().item()) for kind, at in self._kinds.forget.items()}
        if self._ways is None:
            least = WAY * self._spread.mean().item()
            self._ways = {kind: math.inf if standing.is_forgotten else max(way, least) for kind, way in far.items()}
        return replace(standing, left=max(far[kind] / way for kind, way in self._ways.items()))

    def signed_gap(self) -> float:
        """Mean distance by which the forget pairs' signals lie above where they go, in standard deviations.

        No kept pair is asked. Below 0 where they lie below.
        """
        forget = self._ask(self._job.forget.pairs, "deleted pairs")
        unseen = self._ask(self.unseen.pairs, "unseen pairs")
        own_FS, others_MS = _signals(forget, unseen)
        return (self._gaps(own_FS, others_MS) / _spread(others_MS)).mean().item()

    def _ask(self, pairs: Sequence[Pair], title: str) -> Asked:
        self.pairs += len(pairs)
        return pairs, outputs_of(self._job.adapter, pairs, BATCH, title)

    def _search(self, kept: Asked, unseen: Asked) -> list[Search]:
        if not self._is_drawn:
            return searches(kept, unseen)
        self.pairs += TOGETHER * len(kept[0])
        return drawn_searches(self._job.adapter, kept[0], BATCH)

    def _how_found(self, unseen: Asked) -> Tensor:
        first = TEN if unseen[1].logits is None else 1
        unseen_searches = searches(unseen, ([], unseen[1][:0]))
        return _mean([(first / search.ranks()).clamp(max=1.0) for search in unseen_searches])

    def _further(self, asked: Asked, kept: Asked) -> Tensor:
        """What else tells that a pair was trained on, (N, any)."""
        outputs = asked[1]
        if outputs.logits is not None:
            return confidence(outputs.logits)
        if self._is_drawn:
            return association_signals(outputs, number_of_signals(outputs))
        return margins(asked, kept, self._job.adapter.logit_scale)

    def _apart(self, forget: Asked, unseen: Asked) -> dict[str, float]:
        pairs, outputs = unseen
        at = sorted({position for stratum in set(self._mine) for position in self._comparable(stratum)})
        comparable_ones = [pairs[position] for position in at], outputs[torch.tensor(at)]
        adapter = self._job.adapter
        trained = {name for name, parameter in adapter.named_parameters() if parameter.requires_grad}
        own = {modality: adapter.encoder_parameters(modality) for modality in adapter.modalities}
        frozen = [modality for modality, names in own.items() if names and trained.isdisjoint(names)]
        told = {modality: told_apart(forget, comparable_ones, modality) for modality in frozen}
        return {modality: auc for modality, auc in told.items() if auc is not None}

    @property
    def doubt(self) -> float:
        """How far the mean rank of all deleted pairs lies from one half by chance, one standard deviation."""
        return self._doubt(torch.arange(len(self._job.forget)))

    def _comparable(self, stratum: Stratum) -> list[int]:
        return comparable(stratum, self._theirs)

    def _gaps(self, own_FS: Tensor, others_MS: Tensor) -> Tensor:
        """How far each signal of each forget pair lies above that of the unseen pair of its rank."""
        columns = zip(own_FS.unbind(dim=1), others_MS.unbind(dim=1), strict=True)
        targets = [matched_scores(own_F, self._mine, other_M, self._theirs) for own_F, other_M in columns]
        return own_FS - torch.stack(targets, dim=1)

    def _ranks_among_unseen(self, own_FS: Tensor, others_MS: Tensor) -> Tensor:
        ranks_FS = torch.empty_like(own_FS)
        for stratum in set(self._mine):
            mine = torch.tensor([at for at, one in enumerate(self._mine) if one == stratum])
            theirs_MS = others_MS[torch.tensor(self._comparable(stratum))]
            below = (own_FS[mine, None] > theirs_MS).float() + 0.5 * (own_FS[mine, None] == theirs_MS).float()
            ranks_FS[mine] = below.mean(dim=1)
        return ranks_FS


def _signals(forget: Asked, unseen: Asked) -> tuple[Tensor, Tensor]:
    """Of both, (F, S) and (M, S): as many as the forget pairs have."""
    number = number_of_signals(forget[1])
    return association_signals(forget[1], number), association_signals(unseen[1], number)


def _mean(columns: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(columns)).mean(dim=0)


def _spread(signals_MS: Tensor) -> Tensor:
    return signals_MS.std(dim=0, correction=0).clamp(min=CLOSE_TO_NOTHING)


def _lean(gaps_FS: Tensor, further_FT: Tensor) -> Tensor:
    """How far beyond its goal each signal is to go so that the farthest signals lie on both sides of theirs, (S,)."""
    means_S, further_T = gaps_FS.mean(dim=0), further_FT.mean(dim=0)
    both = torch.cat([means_S, further_T])
    return ((both.max() + both.min()) / 2 - means_S).clamp(-LEAN, LEAN)


def _labels(pairs: PairDataset, labelled: bool) -> list[Stratum]:
    return [Stratum(pair.label if labelled else None) for pair in pairs]
