"""What the association scores of forget pairs should become.

Shape suffixes: N, M pairs, F forget pairs, S signals, D embedding.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multidelete.data.pairs import PairDataset, members
from multidelete.models.base import Adapter, PairOutputs

ScoreSource = Literal["holdout", "partner"]
SIGNALS = ("score", "similarity")
ENOUGH = 10  # held-out pairs whose scores make a distribution


def association_signals(outputs: PairOutputs, number: int) -> Tensor:
    """What tells that the members of a pair belong together, (N, S), the first ``number`` of `SIGNALS`.

    The score, and the cosine similarity of the embeddings, which is another thing where a matching
    head gives the score.
    """
    signals = [outputs.score]
    if number > 1:
        signals.append(_similarity(outputs))
    return torch.stack(signals, dim=1)


def _similarity(outputs: PairOutputs) -> Tensor:
    if outputs.embeddings is None:
        raise ValueError("a similarity needs embeddings")
    first_ND, second_ND = outputs.embeddings.values()
    return (first_ND * second_ND).sum(dim=-1)


def number_of_signals(outputs: PairOutputs) -> int:
    """2 where there are embeddings and the score is not itself their similarity, else 1."""
    if outputs.embeddings is None:
        return 1
    return 1 if torch.allclose(outputs.score, _similarity(outputs), rtol=0, atol=1e-4) else 2


@dataclass(frozen=True)
class Stratum:
    """What pairs must have in common for their scores to be comparable.

    Attributes:
        kind: `Pair.kind`, and with classes the label.
        unknown: For each modality, how many of the pair's members a model has not seen.
    """

    kind: Hashable
    unknown: tuple[int, ...] = ()

    def distance(self, other: "Stratum") -> int:
        """How many members more or fewer are unknown."""
        return sum(abs(one - another) for one, another in zip(self.unknown, other.unknown, strict=True))


@dataclass(frozen=True)
class Compared:
    """The forget pairs of a stratum, and the held-out pairs that they are compared with.

    Attributes:
        mine: Positions of the forget pairs, (N,).
        theirs: Positions of the held-out pairs, (M,), M >= 1.
    """

    mine: Tensor
    theirs: Tensor


def compared(strata: Sequence[Stratum], holdout_strata: Sequence[Stratum]) -> dict[Stratum, Compared]:
    """What the forget pairs of each stratum are compared with.

    Those held-out pairs are of the same stratum. Where there are fewer than `ENOUGH`, those of the nearest strata of
    the same kind count too; pairs of a kind that the held-out pairs do not have are compared with all of them.

    Args:
        strata: Of the forget pairs.
        holdout_strata: Of the held-out pairs, at least one.
    """
    mine, theirs = _positions(strata), _positions(holdout_strata)
    return {one: Compared(torch.tensor(at), torch.tensor(_comparable(one, theirs))) for one, at in mine.items()}


def _positions(strata: Sequence[Stratum]) -> dict[Stratum, list[int]]:
    positions: dict[Stratum, list[int]] = {}
    for at, stratum in enumerate(strata):
        positions.setdefault(stratum, []).append(at)
    return positions


def _comparable(stratum: Stratum, theirs: Mapping[Stratum, Sequence[int]]) -> list[int]:
    same = [other for other in theirs if other.kind == stratum.kind] or list(theirs)
    away = {other: stratum.distance(other) for other in same}
    near = sorted(distance for other, distance in away.items() for _ in theirs[other])[:ENOUGH][-1]  # the tenth nearest
    return sorted(at for other, distance in away.items() if distance <= near for at in theirs[other])


def matched_scores(scores: Tensor, holdout_scores: Tensor, strata: Mapping[Stratum, Compared]) -> Tensor:
    """Give each score the value that stands at its rank among the held-out scores of its stratum.

    The most associated forget pair gets the highest held-out score, the median the median, and so
    on: of all ways to give the forget pairs the held-out distribution, the one that moves them
    least.

    Args:
        scores: (N,) of the forget pairs.
        holdout_scores: (M,), M >= 1.
        strata: What those of each stratum are compared with (`compared`).

    Returns:
        (N,) targets, within the range of the held-out scores.

    >>> any_kind = [Stratum(None)] * 2
    >>> matched_scores(torch.tensor([0.9, 0.7]), torch.tensor([0.1, 0.3]), compared(any_kind, any_kind)).tolist()
    [0.25, 0.15000000596046448]
    """
    targets = torch.empty_like(scores)
    for of_stratum in strata.values():
        mine, theirs = of_stratum.mine, holdout_scores[of_stratum.theirs]
        ranks = (torch.arange(len(mine), dtype=scores.dtype) + 0.5) / len(mine)
        targets[mine[scores[mine].argsort(stable=True)]] = torch.quantile(theirs, ranks)
    return targets


def strata_of(pairs: PairDataset, seen: PairDataset, *, labelled: bool) -> list[Stratum]:
    """The stratum of each pair: its kind, its label, and how much of it a model that saw ``seen`` does not know."""
    known = {modality: seen.knows(modality) for modality in pairs[0].inputs}
    return [
        Stratum(
            (pair.kind, pair.label if labelled else None),
            tuple(sum(source not in known[m] for source, _ in members(pair, m)) for m in pair.inputs),
        )
        for pair in pairs
    ]


def score_targets(
    adapter: Adapter,
    parts: Mapping[str, PairDataset],
    train: PairDataset,
    asked: Mapping[str, PairOutputs],
    partners: Sequence[PairOutputs],
    source: ScoreSource,
) -> Tensor:
    """What each of the forget pairs' signals should be, (|F|, S).

    Held-out pairs are matched within `Stratum`: to what the original says of pairs of which it knows as little as a
    model without the forget pairs would know of these. Partners are matched within label.
    """
    number, labelled = number_of_signals(asked["forget"]), adapter.task == "classification"
    if source == "holdout":
        retain = train.without(parts["forget"].ids, "retain")
        mine = strata_of(parts["forget"], retain, labelled=labelled)
        theirs = strata_of(parts["holdout"], train, labelled=labelled)
        others_MS = association_signals(asked["holdout"], number)
    else:
        mine = [Stratum(pair.label if labelled else None) for pair in parts["forget"]]
        theirs = mine * len(partners)  # each has the label of the pair it stands for
        others_MS = torch.cat([association_signals(p, number) for p in partners])
    own_FS = association_signals(asked["forget"], number)
    columns = zip(own_FS.unbind(dim=1), others_MS.unbind(dim=1), strict=True)
    strata = compared(mine, theirs)
    return torch.stack([matched_scores(own_F, other_M, strata) for own_F, other_M in columns], dim=1)
