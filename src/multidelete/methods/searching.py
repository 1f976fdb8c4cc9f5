"""Searches among the pairs that a run looks at: where a pair's own partner stands, and how far it stands out.

Shape suffixes: N pairs, M other pairs, C candidates, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidelete.data.pairs import Pair
from multidelete.models.base import Adapter, PairOutputs
from multidelete.models.gallery import score_galleries

Asked = tuple[Sequence[Pair], PairOutputs]
CLOSE_TO_NOTHING = 1e-6
TOGETHER = 16  # pairs of which a head without embeddings scores each first member with each second one


def sharing(pairs: Sequence[Pair], others: Sequence[Pair]) -> Tensor:
    """Which pairs share a member with which others, (N, M)."""
    shared = torch.zeros(len(pairs), len(others), dtype=torch.bool)
    for modality in pairs[0].inputs:
        numbers: dict[object, int] = {}
        at = torch.tensor([numbers.setdefault(pair.sources[modality], len(numbers)) for pair in [*pairs, *others]])
        shared |= at[: len(pairs), None] == at[None, len(pairs) :]
    return shared


def out_of_question(pairs: Sequence[Pair], others: Sequence[Pair]) -> Tensor:
    """Which others are no rivals of which pairs, (N, M): those that share a member, and those of another kind.

    As the audits have it: among names, a description that got worse would still be found. Where no other pair is of a
    pair's kind, those of all kinds are its rivals.
    """
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(pair.kind for pair in [*pairs, *others]))}
    mine_N, theirs_M = (torch.tensor([numbers[pair.kind] for pair in some]) for some in (pairs, others))
    shared_NM = sharing(pairs, others)
    own_NM = (mine_N[:, None] == theirs_M[None, :]) & ~shared_NM
    return torch.where(own_NM.any(dim=1, keepdim=True), ~own_NM, shared_NM)


@dataclass(frozen=True)
class Search:
    """What a search in one direction finds for each pair.

    Attributes:
        own: Score of what belongs to the pair: its label, or its member's partner, (N,).
        rivals: Scores of all else, (N, C); minus infinity where a candidate is no rival.
    """

    own: Tensor
    rivals: Tensor

    def ranks(self) -> Tensor:
        """Of one's own, from 1, (N,): half of those equal to it lie above: a flat model finds nothing.

        Nor does a model that gives no numbers (NaN): they count as above.
        """
        below_NC, beside_NC = self.rivals < self.own[:, None], self.rivals == self.own[:, None]
        return 1 + (~below_NC & ~beside_NC).sum(dim=1).float() + beside_NC.sum(dim=1).float() / 2

    def leads(self) -> Tensor:
        """How far one's own lies above the best rival, in standard deviations of the rivals, (N,).

        Infinite where there is no rival, as its rank is the first.
        """
        count_N = self.rivals.isfinite().sum(dim=1).clamp(min=1)
        known_NC = torch.where(self.rivals.isfinite(), self.rivals, 0.0)
        mean_N = known_NC.sum(dim=1) / count_N
        variance_N = (known_NC.square().sum(dim=1) / count_N - mean_N.square()).clamp(min=CLOSE_TO_NOTHING**2)
        return (self.own - self.rivals.max(dim=1).values) / variance_N.sqrt()


def searches(judged: Asked, beside: Asked) -> list[Search]:
    """One for the label, or one in each direction for the partner.

    Partners are looked for among those of the judged pairs and of the pairs beside them, of one kind; pairs that share
    a member are no rivals.
    """
    pairs, outputs = judged
    if outputs.logits is not None:
        labels_N1 = torch.tensor([pair.label for pair in pairs])[:, None]
        own_N1 = outputs.logits.gather(1, labels_N1)
        return [Search(own_N1[:, 0], outputs.logits.scatter(1, labels_N1, float("-inf")))]
    everyone = [*pairs, *beside[0]]
    first_MD, second_MD = (torch.cat(two) for two in zip(_embeddings(judged), _embeddings(beside), strict=True))
    similar_MM, without_MM = first_MD @ second_MD.T, out_of_question(everyone, everyone)
    both = ((one, one.masked_fill(without_MM, float("-inf"))) for one in (similar_MM, similar_MM.T))
    return [Search(one.diagonal()[: len(pairs)], rivals[: len(pairs)]) for one, rivals in both]


def drawn_searches(adapter: Adapter, pairs: Sequence[Pair], batch_size: int) -> list[Search]:
    """One in each direction, of a head without embeddings, among the members of `TOGETHER` pairs of one kind each.

    Costs `TOGETHER` forwards of each pair.
    """
    first, second = adapter.modalities
    by_kind = [[pair for pair in pairs if pair.kind == kind] for kind in dict.fromkeys(pair.kind for pair in pairs)]
    sets = [some[at : at + TOGETHER] for some in by_kind for at in range(0, len(some), TOGETHER)]
    gallery = score_galleries(adapter, sets, batch_size=batch_size)
    sources = ([pair.sources[modality] for pair in pairs] for modality in (first, second))
    score_NN = torch.from_numpy(gallery.scores(first, *sources)).float()
    rivals_NN = score_NN.masked_fill(out_of_question(pairs, pairs), float("-inf"))
    return [Search(score_NN.diagonal(), rivals_NN), Search(score_NN.diagonal(), rivals_NN.T)]


def margins(judged: Asked, reference: Asked, scale: float | None) -> Tensor:
    """How far pairs' own similarity stands out from those to the members of reference pairs, both ways, (N, 2).

    As the audit of membership has it, among pairs of one kind. Of members of which all reference pairs hold some it is
    0.
    """
    without_NM = out_of_question(judged[0], reference[0])
    first_ND, second_ND = _embeddings(judged)
    first_MD, second_MD = _embeddings(reference)
    own_N = (first_ND * second_ND).sum(dim=1)
    columns = []
    for asked_ND, candidates_MD in ((first_ND, second_MD), (second_ND, first_MD)):
        similar_NM = asked_ND @ candidates_MD.T
        s = scale or 1 / max(similar_NM.std().item(), CLOSE_TO_NOTHING)
        lse_N = (s * similar_NM).masked_fill(without_NM, float("-inf")).logsumexp(dim=1)
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
