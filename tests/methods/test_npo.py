"""NPO: its value by hand, ascent at the start, and a gradient that fades."""

from dataclasses import replace
from math import log

import pytest
import torch

from multidelete.core.errors import ConfigError
from multidelete.methods import NPO, NegGrad
from tests.methods.steps import CROSSED, EYE, dual_encoder, matched, part, similar, step, values


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 2 * log(4 / 3)), (2.0, log(10 / 9)), (0.5, 4 * log(1 + 3**-0.5))])
def test_terms_have_the_values_derived_by_hand(beta: float, expected: float) -> None:
    """Now p = 1/4, before 3/4: the log ratio is -ln 3, and -2/beta log sigmoid(beta ln 3) is
    -2/beta ln(3^beta / (3^beta + 1)): 2 ln(4/3), ln(10/9), 4 ln(1 + 1/sqrt 3). Task loss of right pairs: ln(4/3)."""
    adapter = dual_encoder()
    given = step(part(adapter, similar(CROSSED), similar(EYE)), part(adapter, similar(EYE)))
    found = values(NPO(beta=beta, forget=3, retain=2).losses(given))
    assert found == pytest.approx({"preference": 3 * expected, "task": 2 * log(4 / 3)}, rel=1e-5)


def test_a_matching_head_has_the_same_preference() -> None:
    adapter = dual_encoder()
    given = step(part(adapter, matched(-log(3)), matched(log(3))), part(adapter, similar(EYE)))
    assert values(NPO().losses(given))["preference"] == pytest.approx(2 * log(4 / 3), rel=1e-5)


@pytest.mark.parametrize(("before", "expected"), [(1 / 4, 1.0), (3 / 4, 1 / 2), (0.97, 2 / (1 + 0.97 * 4))])
def test_the_gradient_is_that_of_ascent_and_fades(before: float, expected: float) -> None:
    """Now p = 1/4. The gradient is that of ascent on -log p times 2 sigmoid(ln(p / p_0)) = 2 p / (p + p_0):
    1 at the start, 1/2 where p_0 is three times p, and ever less."""
    adapter = dual_encoder()
    score = torch.full((2,), -log(3), requires_grad=True)
    now, known = replace(matched(0.0), score=score), matched(log(before / (1 - before)))
    given = step(part(adapter, now, known), part(adapter, similar(EYE)))
    (found,) = torch.autograd.grad(NPO().losses(given)["preference"], score)
    (ascent,) = torch.autograd.grad(torch.nn.functional.logsigmoid(score).mean(), score)
    assert ascent.min() > 0
    torch.testing.assert_close(found, expected * ascent)


def test_at_the_start_it_is_gradient_ascent() -> None:
    """Through the task loss of a dual encoder too, whose temperature the original's likelihood must not move."""
    adapter = dual_encoder()
    text = torch.tensor([[0.8, 0.6], [0.6, 0.8]], requires_grad=True)
    given = step(part(adapter, similar(text), similar(text.detach())), part(adapter, similar(EYE)))
    wanted = [text, adapter.model.logit_scale]
    found = torch.autograd.grad(NPO().losses(given)["preference"], wanted)
    ascent = torch.autograd.grad(NegGrad().losses(given)["ascent"], wanted)
    assert ascent[0].abs().max() > 0.01
    torch.testing.assert_close(found, ascent)


@pytest.mark.parametrize(("name", "value"), [("beta", 0.0), ("forget", -1.0), ("retain", -1.0)])
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is "):
        NPO(**{name: value})
