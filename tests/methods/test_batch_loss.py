"""The loss of pairs in batches, and its gradient, against one backward pass at a time."""

import pytest
import torch

from multidelete.core.errors import DivergedError
from multidelete.data.pairs import Pair
from multidelete.methods import batch_loss
from multidelete.methods.batch_loss import loss_gradient, mean_loss, pairs_asked
from multidelete.methods.distributions import log_likelihood_B
from multidelete.models import Adapter
from multidelete.training.step import Part
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import differing, record_collated, weights

CASES = [Case("clip", "retrieval", 1), Case("albef", "retrieval", 1), Case("blip", "classification", 1)]


def by_hand(adapter: Adapter, pairs: list[Pair], gallery: list[Pair], size: int) -> torch.Tensor:
    """The sum over batches of what each pair loses beside the gallery, over the number of pairs."""
    total = torch.zeros(())
    for start in range(0, len(pairs), size):
        own = pairs[start : start + size]
        batch = adapter.collate([*own, *gallery])
        outputs = adapter(batch)
        total = total - log_likelihood_B(Part(batch, outputs, adapter, 1.0), outputs)[: len(own)].sum()
    return total / len(pairs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_gradient_are_those_of_the_batches_one_by_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_loss, "BATCH", 3)
    data = case_data(case)
    adapter = case_adapter(case, data).train()
    pairs, gallery = data.train.pairs[:7], [] if case.task == "classification" else data.train.pairs[12:16]
    before = weights(adapter)
    seen = record_collated(adapter)
    loss, gradient = loss_gradient(adapter, pairs, gallery, "")
    assert len(seen) == pairs_asked(7, len(gallery)) == 7 + 3 * len(gallery)
    assert differing(before, weights(adapter)) == []
    assert adapter.training

    expected = by_hand(adapter.eval(), pairs, gallery, 3)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert mean_loss(adapter, pairs, gallery, "") == pytest.approx(loss, rel=1e-5)
    largest = max(one.abs().max().item() for one in gradient.values())
    assert largest > 0
    for name, parameter in adapter.named_parameters():
        own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient[name], own, rtol=1e-3, atol=1e-5 * largest)


def test_parameters_that_no_loss_depends_on_have_no_gradient() -> None:
    case = Case("albef", "retrieval", 1)
    data = case_data(case)
    adapter = case_adapter(case, data)
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_(name == "model.temp")  # its scale is a constant of the likelihood
    _, gradient = loss_gradient(adapter, data.train.pairs[:3], data.train.pairs[8:12], "")
    assert {name: one.any().item() for name, one in gradient.items()} == {"model.temp": False}


def test_loss_that_is_not_finite_is_refused() -> None:
    data = case_data(CASES[0])
    adapter = case_adapter(CASES[0], data)
    with torch.no_grad():
        next(adapter.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(DivergedError, match=r"the loss of 3 pairs is nan, .* not finite"):
        loss_gradient(adapter, data.train.pairs[:3], data.train.pairs[8:12], "")
