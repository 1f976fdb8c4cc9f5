"""Per-pair importance against a plain loop, and saliency masks."""

import math

import pytest
import torch
from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.data.pairs import Batch, PairDataset
from multidelete.methods.importance import draw_gallery, importance, mean_gradient, saliency_mask
from multidelete.models import Adapter, PairOutputs
from tests.models.cases import CASES, Case, case_adapter, case_data
from tests.tiny import differing, own_clip, people, weights


def by_hand(adapter: Adapter, pairs: list, gallery: list) -> tuple[dict, dict]:
    """A model at a time, a pair at a time, with ``backward``: mean squared gradients and mean gradients."""
    squares = {name: torch.zeros_like(p) for name, p in adapter.named_parameters()}
    sums = {name: torch.zeros_like(p) for name, p in adapter.named_parameters()}
    for pair in pairs:
        adapter.zero_grad(set_to_none=True)
        batch = adapter.collate([pair, *gallery])
        adapter.task_loss(adapter(batch), batch)[0].backward()
        for name, parameter in adapter.named_parameters():
            if parameter.grad is not None:
                squares[name] += parameter.grad**2 / len(pairs)
                sums[name] += parameter.grad / len(pairs)
    adapter.zero_grad(set_to_none=True)
    return squares, sums


@pytest.mark.parametrize("case", CASES, ids=str)
def test_importance_is_that_of_a_loop_over_single_pairs(case: Case) -> None:
    data = case_data(case)
    adapter = case_adapter(case, data)
    pairs, before = data.train.pairs[:3], weights(adapter)
    gallery = draw_gallery(adapter, PairDataset(data.train.pairs[8:], "others"), seed=0, size=4)
    assert len(gallery) == (0 if case.task == "classification" else 4)
    squares, sums = by_hand(adapter, pairs, gallery)
    found, gradients = importance(adapter, pairs, gallery), mean_gradient(adapter, pairs, gallery)
    assert list(found) == list(squares)
    for name in found:
        torch.testing.assert_close(found[name], squares[name], rtol=1e-4, atol=1e-7 * squares[name].max().item())
        torch.testing.assert_close(gradients[name], sums[name], rtol=1e-4, atol=1e-6 * sums[name].abs().max().item())
    assert sum(t.sum() for t in found.values()) > 0
    assert differing(before, weights(adapter)) == []
    assert all(parameter.grad is None for parameter in adapter.parameters())


def test_importance_of_pairs_is_the_mean_of_their_importances() -> None:
    """Batch statistics of gradients would not add up; neither would negatives among the pairs asked about."""
    data = people(6)
    adapter = own_clip(data)
    gallery = draw_gallery(adapter, data.train, seed=0, size=5)
    together = importance(adapter, data.train.pairs[:4], gallery)
    parts = [importance(adapter, data.train.pairs[at : at + 1], gallery) for at in range(4)]
    for name, found in together.items():
        torch.testing.assert_close(found, torch.stack([part[name] for part in parts]).mean(dim=0))


def test_members_of_the_gallery_are_no_negatives_of_themselves() -> None:
    """A gallery of the pair alone leaves no negatives, a contrastive loss of 0, and no importance."""
    data = people(6)
    adapter = own_clip(data)
    found = importance(adapter, [data.train[0]], [data.train[0]])
    assert all(float(t.abs().max()) == 0 for t in found.values())


def test_frozen_parameters_have_no_importance() -> None:
    data = people(6)
    adapter = own_clip(data)
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_("text" in name)
    found = importance(adapter, data.train.pairs[:2], data.train.pairs[8:12])
    assert found
    assert all("text" in name for name in found)


def test_galleries_are_drawn_from_the_seed() -> None:
    data = people(6)
    adapter = own_clip(data)
    drawn = [[pair.id for pair in draw_gallery(adapter, data.train, seed)] for seed in (0, 0, 1)]
    assert len(set(drawn[0])) == 15
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(draw_gallery(adapter, data.train, 0, size=99)) == len(data.train)


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    data = people(6)
    adapter = own_clip(data)
    with torch.no_grad():
        adapter.model.text_projection.weight[0, 0] = math.nan
    with pytest.raises(DivergedError, match=rf"the loss of pair {data.train[0].id} is nan"):
        importance(adapter, data.train.pairs[:2], data.train.pairs[8:12])


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    """The length of a zero vector has a value, and no derivative: 0 / 0."""
    data = people(6)
    adapter = own_clip(data)
    real = adapter.task_loss

    def with_length_of_nothing(outputs: PairOutputs, batch: Batch) -> Tensor:
        nothing_B = (outputs.joint - outputs.joint).pow(2).sum(dim=-1).sqrt()
        return real(outputs, batch) + nothing_B

    adapter.task_loss = with_length_of_nothing  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match=rf"the loss of pair {data.train[0].id} is finite, and its gradient is not"):
        importance(adapter, data.train.pairs[:2], data.train.pairs[8:12])


def test_importance_of_nothing_is_the_programmers_error() -> None:
    data = people(6)
    with pytest.raises(ValueError, match="at least one"):
        importance(own_clip(data), [], [])


@pytest.mark.parametrize(
    ("fraction", "chosen"),
    [(1.0, [1, 1, 1, 0, 1]), (0.6, [1, 0, 1, 0, 1]), (0.2, [0, 0, 1, 0, 0]), (0.01, [0, 0, 1, 0, 0])],
)
def test_masks_hold_the_largest_gradients_of_all_parameters_together(fraction: float, chosen: list[int]) -> None:
    """Sizes are 2, 1, 9 and 0, 5. Of five entries 0.6 are the three largest; what has no gradient is never chosen."""
    gradients = {"a": torch.tensor([-2.0, 1.0, 9.0]), "b": torch.tensor([[0.0, -5.0]])}
    mask = saliency_mask(gradients, fraction)
    assert torch.cat([mask["a"], mask["b"].flatten()]).tolist() == [bool(one) for one in chosen]
    assert mask["b"].shape == (1, 2)


def test_equal_gradients_at_the_border_are_all_chosen() -> None:
    mask = saliency_mask({"a": torch.tensor([1.0, -1.0, 1.0, 0.5])}, 0.25)
    assert mask["a"].tolist() == [True, True, True, False]
