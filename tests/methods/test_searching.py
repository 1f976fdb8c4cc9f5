"""What a search finds: ranks and leads by hand, and pairs that share a member."""

import math

import torch
from torch import Tensor

from multidelete.data.pairs import Pair
from multidelete.methods.searching import Search, margins, searches
from multidelete.models.base import PairOutputs

NONE = float("-inf")


def test_ranks_count_what_lies_above_and_half_of_what_lies_beside() -> None:
    search = Search(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([[1.0, 0.0], [1.0, 3.0], [NONE, 0.0]]))
    assert search.ranks().tolist() == [1.0, 2.5, 1.5]


def test_leads_are_in_standard_deviations_of_the_rivals() -> None:
    search = Search(torch.tensor([5.0, 1.0]), torch.tensor([[1.0, 3.0, NONE], [0.0, 2.0, 4.0]]))
    torch.testing.assert_close(search.leads(), torch.tensor([2.0, -3 / math.sqrt(8 / 3)]))


def test_a_pair_without_rivals_is_found_for_certain() -> None:
    search = Search(torch.tensor([0.3, 0.3]), torch.tensor([[NONE, NONE], [0.1, NONE]]))
    assert search.ranks().tolist() == [1.0, 1.0]
    assert search.leads()[0] == torch.inf
    assert search.leads().sigmoid().isfinite().all()


def test_partners_are_looked_for_both_ways_and_pairs_that_share_a_member_are_no_rivals() -> None:
    pairs = [pair("a", "x", "1"), pair("b", "x", "2"), pair("c", "y", "3")]
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    outputs = outputs_of((first * second).sum(dim=1), embeddings={"image": first, "text": second})
    forth, back = searches((pairs[:2], outputs[:2]), (pairs[2:], outputs[2:]))
    torch.testing.assert_close(forth.own, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(forth.rivals, torch.tensor([[NONE, NONE, 0.0], [NONE, NONE, 0.0]]))
    torch.testing.assert_close(back.rivals, torch.tensor([[NONE, NONE, 0.8], [NONE, NONE, 0.6]]))
    assert back.ranks().tolist() == [2.0, 1.0]


def test_a_kind_is_searched_among_its_own_so_that_no_other_kind_hides_what_it_loses() -> None:
    pairs = [pair("a", "x", "1", kind="description"), pair("b", "y", "2", kind="description"), pair("c", "z", "3")]
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    second = torch.tensor([[0.8, 0.6], [0.9, 0.1], [1.0, 0.0]])
    outputs = outputs_of((first * second).sum(dim=1), embeddings={"image": first, "text": second})
    forth, _ = searches((pairs[:2], outputs[:2]), (pairs[2:], outputs[2:]))
    torch.testing.assert_close(forth.rivals, torch.tensor([[NONE, 0.9, NONE], [0.6, NONE, NONE]]))
    (alone, _) = searches((pairs[2:], outputs[2:]), (pairs[:2], outputs[:2]))
    torch.testing.assert_close(alone.rivals, torch.tensor([[NONE, 0.8, 0.9]]))  # it has none of its own


def test_margins_stand_out_from_members_of_the_same_kind() -> None:
    pairs = [pair("a", "x", "1", kind="description"), pair("b", "y", "2", kind="description"), pair("c", "z", "3")]
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    second = torch.tensor([[0.8, 0.6], [0.6, 0.8], [1.0, 0.0]])
    outputs = outputs_of((first * second).sum(dim=1), embeddings={"image": first, "text": second})
    found = margins((pairs[:1], outputs[:1]), (pairs[1:], outputs[1:]), 1.0)
    torch.testing.assert_close(found, torch.tensor([[0.8 - 0.6, 0.8 - 0.6]]))


def test_rivals_of_a_label_are_the_other_classes() -> None:
    one = pair("a", "x", "1", label=1)
    outputs = outputs_of(torch.zeros(1), logits=torch.tensor([[0.0, 3.0, 1.0]]))
    (search,) = searches(([one], outputs), ([], outputs[:0]))
    assert search.ranks().tolist() == [1.0]
    torch.testing.assert_close(search.leads(), torch.tensor([2.0 / 0.5]))


def outputs_of(score: Tensor, **others: object) -> PairOutputs:
    return PairOutputs(score=score, unimodal={}, joint=score[:, None], **others)  # type: ignore[arg-type]


def pair(name: str, image: str, text: str, label: int | None = None, kind: str | None = None) -> Pair:
    members = {"image": image, "text": text}
    return Pair(id=name, inputs=members, sources=members, label=label, kind=kind)
