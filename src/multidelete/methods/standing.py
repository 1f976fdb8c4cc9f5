"""Where a run stands: how far deleted pairs still are from unseen ones, and how kept pairs fare.

A run that finds its own way looks at these figures, and at nothing else (see `multidelete.methods.judge`).

Shape suffixes: F forget pairs, M unseen pairs, N pairs, S signals.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

NEAR = 0.08  # how far deleted pairs' mean rank among unseen ones may lie from one half, however many they are
DOUBT = 1.64  # standard deviations of that mean that chance explains: beyond them lies one of ten
CLOSE = 0.3  # mean gap, in standard deviations, that counts as none: where unseen pairs are few, ranks cannot tell
LEFT = 0.2  # of the way at the end: what tells only some of the deleted pairs hardly moves the mean rank of all
FOUND = 0.05  # least that counts as found before, where losses are shares


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


def _beyond_chance(differences_N: Tensor) -> float:
    chance = differences_N.std(correction=0) / math.sqrt(len(differences_N))
    return (differences_N.mean() - chance).item()
