"""Searches among the pairs that a run looks at: where a pair's own partner stands, and how far it stands out.

Shape suffixes: N pairs, M other pairs, C candidates, D embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from multidelete.core.errors import UnsupportedError
from multidelete.data.pairs import Pair
from multidelete.models.base import PairOutputs

Asked = tuple[Sequence[Pair], PairOutputs]
CLOSE_TO_NOTHING = 1e-6


def sharing(pairs: Sequence[Pair], others: Sequence[Pair]) -> Tensor:
    """Which pairs share a member with which others, (N, M)."""
    shared = torch.zeros(len(pairs), len(others), dtype=torch.bool)
    for modality in pairs[0].inputs:
        numbers: dict[object, int] = {}
        at = torch.tensor([numbers.setdefault(pair.sources[modality], len(numbers)) for pair in [*pairs, *others]])
        shared |= at[: len(pairs), None] == at[None, len(pairs) :]
    return shared


def own_ranks(judged: Asked, beside: Asked) -> Tensor:
    """Rank of what belongs to each pair, from 1, (N, directions): its label, or its members' partners.

    Partners are looked for among those of the judged pairs and of the pairs beside them.
    """
    pairs, outputs = judged
    if outputs.logits is not None:
        labels = torch.tensor([pair.label for pair in pairs])
        return own_rank(outputs.logits, outputs.logits.gather(1, labels[:, None]))[:, None]
    if outputs.embeddings is None:
        raise UnsupportedError("a run cannot judge a matching head without embeddings. Give a rate or passes.")
    return partner_ranks(judged, beside)


def partner_ranks(judged: Asked, beside: Asked) -> Tensor:
    """Rank of each pair's own partner among those of the judged pairs and of those beside them, both ways, (N, 2).

    Pairs that share a member are no rivals.
    """
    pairs = [*judged[0], *beside[0]]
    first_ND, second_ND = (torch.cat(two) for two in zip(_embeddings(judged), _embeddings(beside), strict=True))
    rivals_NN = (first_ND @ second_ND.T).masked_fill(sharing(pairs, pairs).fill_diagonal_(False), -2.0)
    own_N1 = rivals_NN.diagonal()[:, None]
    return torch.stack([own_rank(one, own_N1)[: len(judged[0])] for one in (rivals_NN, rivals_NN.T)], dim=1)


def own_rank(scores_NC: Tensor, own_N1: Tensor) -> Tensor:
    """Rank of one's own score, from 1, (N,): half of those equal to it lie above: a flat model finds nothing."""
    others_N = (scores_NC == own_N1).sum(dim=1).float() - 1
    return 1 + (scores_NC > own_N1).sum(dim=1).float() + others_N / 2


def margins(judged: Asked, reference: Asked, scale: float | None) -> Tensor:
    """How far pairs' own similarity stands out from those to the members of reference pairs, both ways, (N, 2).

    As the audit of membership has it. Of members of which all reference pairs hold some it is 0.
    """
    shared_NM = sharing(judged[0], reference[0])
    first_ND, second_ND = _embeddings(judged)
    first_MD, second_MD = _embeddings(reference)
    own_N = (first_ND * second_ND).sum(dim=1)
    columns = []
    for asked_ND, candidates_MD in ((first_ND, second_MD), (second_ND, first_MD)):
        similar_NM = asked_ND @ candidates_MD.T
        s = scale or 1 / max(similar_NM.std().item(), CLOSE_TO_NOTHING)
        lse_N = (s * similar_NM).masked_fill(shared_NM, float("-inf")).logsumexp(dim=1)
        columns.append(torch.where(lse_N.isfinite(), s * own_N - lse_N, 0.0))
    return torch.stack(columns, dim=1)


def confidence(logits_NC: Tensor) -> Tensor:
    """Log-odds of the most likely class, right or wrong, (N, 1)."""
    likely_N1, at_N1 = logits_NC.log_softmax(dim=1).max(dim=1, keepdim=True)
    others_NC = logits_NC.log_softmax(dim=1).scatter(1, at_N1, float("-inf"))
    return likely_N1 - others_NC.logsumexp(dim=1, keepdim=True)


def _embeddings(asked: Asked) -> tuple[Tensor, Tensor]:
    if asked[1].embeddings is None:
        raise ValueError("a search needs embeddings")
    first_ND, second_ND = asked[1].embeddings.values()
    return first_ND, second_ND
