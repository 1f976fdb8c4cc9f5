"""What the association scores of forget pairs should become.

Shape suffixes: N, M pairs, F forget pairs, S signals, D embedding.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from multidelete.data.pairs import PairDataset
from multidelete.models.base import Adapter, PairOutputs

ScoreSource = Literal["holdout", "partner"]
SIGNALS = ("score", "similarity")


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


def matched_scores(
    scores: Tensor, kinds: Sequence[Hashable], holdout_scores: Tensor, holdout_kinds: Sequence[Hashable]
) -> Tensor:
    """Give each score the value that stands at its rank among the held-out scores of its kind.

    The most associated forget pair gets the highest held-out score, the median the median, and so
    on: of all ways to give the forget pairs the held-out distribution, the one that moves them
    least. Pairs of a kind that the held-out pairs do not have are matched to all held-out pairs.

    Args:
        scores: (N,) of the forget pairs.
        kinds: Their kinds, N; with classes, kind and label.
        holdout_scores: (M,), M >= 1.
        holdout_kinds: Their kinds, M.

    Returns:
        (N,) targets, within the range of the held-out scores.

    >>> matched_scores(torch.tensor([0.9, 0.7]), [None, None], torch.tensor([0.1, 0.3]), [None, None]).tolist()
    [0.25, 0.15000000596046448]
    """
    targets = torch.empty_like(scores)
    for kind in sorted(set(kinds), key=str):
        mine = torch.tensor([i for i, k in enumerate(kinds) if k == kind])
        same = [i for i, k in enumerate(holdout_kinds) if k == kind]
        theirs = holdout_scores[torch.tensor(same)] if same else holdout_scores
        ranks = (torch.arange(len(mine), dtype=scores.dtype) + 0.5) / len(mine)
        targets[mine[scores[mine].argsort(stable=True)]] = torch.quantile(theirs, ranks)
    return targets


def score_targets(
    adapter: Adapter,
    parts: Mapping[str, PairDataset],
    asked: Mapping[str, PairOutputs],
    partners: Sequence[PairOutputs],
    source: ScoreSource | None,
) -> Tensor | None:
    """What each of the forget pairs' signals should be, (|F|, S): matched within kind, and of classifiers label."""

    def groups(pairs: PairDataset, *, with_kind: bool = True) -> list[Hashable]:
        labelled = adapter.task == "classification"
        return [(p.kind if with_kind else None, p.label if labelled else None) for p in pairs]

    if source is None:
        return None
    number = number_of_signals(asked["forget"])
    if source == "holdout":
        mine, theirs = groups(parts["forget"]), groups(parts["holdout"])
        others_MS = association_signals(asked["holdout"], number)
    else:
        mine = groups(parts["forget"], with_kind=False)
        theirs = mine * len(partners)  # each has the label of the pair it stands for
        others_MS = torch.cat([association_signals(p, number) for p in partners])
    own_FS = association_signals(asked["forget"], number)
    columns = zip(own_FS.unbind(dim=1), others_MS.unbind(dim=1), strict=True)
    return torch.stack([matched_scores(own_F, mine, other_M, theirs) for own_F, other_M in columns], dim=1)
