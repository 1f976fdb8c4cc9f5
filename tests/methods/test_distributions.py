"""What distilling methods compare: the same divergence from every head that says the same, and masks that hold."""

from math import log

import pytest
import torch

from multidelete.methods.distributions import (
    choice_logits,
    divergence_B,
    divergences,
    has_matching_head,
    log_likelihood_B,
    own_options,
)
from multidelete.models import PairOutputs
from tests.methods.steps import ALIKE, CROSSED, EYE, LN3, classified, classifier, dual_encoder, matched, part, similar
from tests.models.cases import CASES, Case, case_adapter, case_data

SURE, EVEN = torch.tensor([[LN3, 0.0]] * 2), torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("found", "known", "choices"),
    [
        (classified(SURE), classified(EVEN), 1),
        (similar(EYE), similar(ALIKE, ALIKE), 2),
        (matched(LN3), matched(0.0), 1),
        (similar(EYE, score=torch.full((2,), LN3)), similar(ALIKE, ALIKE, score=torch.zeros(2)), 3),
    ],
    ids=["classes", "similarities", "match", "similarities and match"],
)
def test_every_head_has_the_divergence_derived_by_hand(found: PairOutputs, known: PairOutputs, choices: int) -> None:
    """Known 1/2, 1/2; found 3/4, 1/4: KL = ln(2/3) / 2 + ln(2) / 2 = ln(4/3) / 2."""
    given = part(dual_encoder(), found, known)
    assert len(choice_logits(given, known)) == len(own_options(given)) == choices
    assert divergence_B(given, known).tolist() == pytest.approx([log(4 / 3) / 2] * 2)


def test_the_divergence_is_that_of_the_known_from_the_found() -> None:
    """Known 3/4, 1/4; found 1/2, 1/2: 3/4 ln(3/2) + 1/4 ln(1/2), and not the other way round."""
    found = divergences([EVEN], [SURE])
    assert found.shape == (1, 2)
    assert found[0, 0].item() == pytest.approx(0.75 * log(1.5) + 0.25 * log(0.5))
    assert found[0, 0].item() != pytest.approx(log(4 / 3) / 2, abs=1e-3)


def test_masked_options_have_no_probability_and_nothing_left_is_no_divergence() -> None:
    known = torch.tensor([[float("-inf"), 0.0], [float("-inf"), float("-inf")]])
    logits = SURE.clone().requires_grad_()
    found = divergences([logits], [known])[0]
    assert found.tolist() == pytest.approx([log(4), 0.0])
    found.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1].abs().sum() == 0


def test_likelihoods_are_those_of_the_heads() -> None:
    """3/4 for each choice: a classifier and a dual encoder have one likelihood, a matching head's multiplies."""
    dual = dual_encoder()
    for adapter, outputs, expected in (
        (classifier(), classified(SURE), log(3 / 4)),
        (dual, similar(EYE), log(3 / 4)),
        (dual, similar(CROSSED), log(1 / 4)),
        (dual, matched(LN3), log(3 / 4)),
        (dual, similar(EYE, score=torch.full((2,), LN3)), 2 * log(3 / 4)),
    ):
        found = log_likelihood_B(part(adapter, outputs), outputs)
        assert found.tolist() == pytest.approx([expected] * 2)


def test_candidates_that_share_a_member_are_no_negatives_of_a_likelihood() -> None:
    """Two pairs with one text: nothing is left to choose from, and the match alone counts, with 3/4."""
    outputs = similar(EYE, score=torch.full((2,), LN3))
    given = part(dual_encoder(), outputs)
    given.batch.sources["text"][1] = given.batch.sources["text"][0]
    assert log_likelihood_B(given, outputs).tolist() == pytest.approx([log(3 / 4)] * 2)


def test_candidates_that_share_a_member_are_right_too() -> None:
    given = part(dual_encoder(), similar(EYE))
    given.batch.sources["text"][1] = given.batch.sources["text"][0]
    assert all(options.all() for options in own_options(given))
    apart = part(dual_encoder(), similar(EYE))
    assert [options.tolist() for options in own_options(apart)] == [torch.eye(2).bool().tolist()] * 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_family_has_choices_and_a_likelihood_that_cached_outputs_suffice_for(case: Case) -> None:
    """The head is recognised; what is cached has no states, and gives the very likelihoods of what is not."""
    data = case_data(case)
    adapter, pairs = case_adapter(case, data), case_data(case).train.pairs[:5]
    batch = adapter.collate(pairs)
    with torch.no_grad():
        outputs = adapter(batch)
        cached = PairOutputs(outputs.unimodal, outputs.joint, outputs.score, outputs.embeddings, outputs.logits)
        given = part(adapter, outputs)
        given = type(given)(batch, outputs, adapter, 1.0)
        likelihood_B = log_likelihood_B(given, cached)
        torch.testing.assert_close(log_likelihood_B(given, outputs), likelihood_B)
        if not has_matching_head(outputs):
            torch.testing.assert_close(-likelihood_B, adapter.task_loss(outputs, batch))
    assert has_matching_head(outputs) == (case.task == "retrieval" and case.family in ("albef", "blip", "vilt"))
    assert torch.isfinite(likelihood_B).all()
    assert (likelihood_B < 0).all()
    for logits_BC, own_BC in zip(choice_logits(given, cached), own_options(given), strict=True):
        assert logits_BC.shape == own_BC.shape
        assert own_BC.any(dim=1).all()
