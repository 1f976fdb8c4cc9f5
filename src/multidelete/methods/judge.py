"""Measures where a run stands, always by the same pairs.

These are the request's pairs, sampled kept pairs, and validation pairs: never a test pair or an audit.

Shape suffixes: F forget pairs, M unseen pairs, N pairs, S signals, T further signals.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from multidelete.core.streams import Stream
from multidelete.data.pairs import Pair, PairDataset
from multidelete.methods.base import Job, sample_pairs, sample_retain
from multidelete.methods.distributions import has_matching_head
from multidelete.methods.likeness import told_apart
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
from multidelete.methods.standing import Kinds, Standing
from multidelete.methods.targets import (
    Stratum,
    association_signals,
    compared,
    matched_scores,
    number_of_signals,
    strata_of,
)
from multidelete.methods.unseen import number_of_subjects, unassociated, validation_pairs

OF_A_KIND = 10  # kept or unseen pairs of a kind below which it counts with the commonest: one that turns is not a loss
KEPT = 1024  # kept pairs that are looked at: among fewer too much is found
KEPT_DRAWN = 128  # and of a head without embeddings, which scores members one by one
LEAN = 0.15  # of a standard deviation, at most, by which a signal goes beyond its goal for the sake of the others
NARROW = 0.1  # lead over the best rival, in standard deviations of the rivals, that chance may turn around
NOTHING = 0.004  # loss at which nothing is left to bring back; after requests smaller than `REGULAR` in proportion less
REGULAR = 0.05  # share of all pairs: the losses of many small requests add up
TEN = 10  # ranks down to which an unseen pair counts as found
WAY = 0.1  # standard deviations that are way enough for a share of them to say anything
BATCH = 128


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
        self.unseen = unassociated(job) if isinstance(found, str) else found
        self.pairs = 1  # asked above
        self.apart: dict[str, float] = {}
        self._spread: Tensor | None = None
        self._ways: dict[str | None, float] | None = None
        labelled = job.adapter.task == "classification"
        seen = job.retain if self.has_holdout else None
        self._mine = strata_of(job.forget, job.retain, labelled=labelled) if seen else _labels(job.forget, labelled)
        theirs = strata_of(self.unseen, job.train, labelled=labelled) if seen else _labels(self.unseen, labelled)
        self._strata = compared(self._mine, theirs)
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
        mine = at.tolist()
        beside: set[int] = set()
        of_strata = 0.0
        for stratum, number in Counter(self._mine[position] for position in mine).items():
            theirs = self._strata[stratum].theirs.tolist()
            beside.update(theirs)
            of_strata += (number / len(mine)) ** 2 / number_of_subjects([self.unseen[place] for place in theirs])
        of_unseen = max(of_strata, 1 / number_of_subjects([self.unseen[place] for place in beside]))
        of_forget = 1 / number_of_subjects([self._job.forget[place] for place in mine])
        return math.sqrt((of_forget + of_unseen) / 12)

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
        at = sorted({position for one in self._strata.values() for position in one.theirs.tolist()})
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

    def _gaps(self, own_FS: Tensor, others_MS: Tensor) -> Tensor:
        """How far each signal of each forget pair lies above that of the unseen pair of its rank."""
        columns = zip(own_FS.unbind(dim=1), others_MS.unbind(dim=1), strict=True)
        targets = [matched_scores(own_F, other_M, self._strata) for own_F, other_M in columns]
        return own_FS - torch.stack(targets, dim=1)

    def _ranks_among_unseen(self, own_FS: Tensor, others_MS: Tensor) -> Tensor:
        ranks_FS = torch.empty_like(own_FS)
        for one in self._strata.values():
            mine_FS, theirs_MS = own_FS[one.mine, None], others_MS[one.theirs]
            ranks_FS[one.mine] = ((mine_FS > theirs_MS).float() + 0.5 * (mine_FS == theirs_MS).float()).mean(dim=1)
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
