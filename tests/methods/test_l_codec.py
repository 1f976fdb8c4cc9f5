"""L-CODEC: the coefficient and the selection by hand, the step against a dense solution, and what stays."""

import copy
from functools import partial

import pytest
import torch

from multidelete.core.errors import ConfigError, UnsupportedError
from multidelete.data.pairs import PairData
from multidelete.methods import LCODEC, Job
from multidelete.methods.base import sample_retain
from multidelete.methods.conditional_dependence import codec, foci
from multidelete.methods.importance import draw_gallery, pair_loss
from multidelete.methods.l_codec import damped_newton
from multidelete.models import Adapter
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import differing, own_clip, parted, people, quick, trained, weights

FEW = partial(LCODEC, candidates=32, observations=24)


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def original(data: PairData) -> Adapter:
    return trained(own_clip(data), data.train, passes=10)


def job_of(adapter: Adapter, data: PairData, *, seed: int = 0) -> Job:
    return Job(copy.deepcopy(adapter), data.train, *parted(data, 2), quick(), seed=seed)


def apart(*columns: torch.Tensor) -> torch.Tensor:
    """Squared distances of observations in some variables, by a loop."""
    points = torch.stack(columns, dim=1)
    return torch.tensor([[((a - b) ** 2).sum().item() for b in points] for a in points])


def uniform(number: int, columns: int) -> torch.Tensor:
    return torch.rand(number, columns, generator=torch.Generator().manual_seed(5))


def test_dependence_given_nothing_has_the_value_derived_by_hand() -> None:
    """Y = 3, 1, 2, 4 at Z = 0, 1, 3, 7: neighbours are 2, 1, 2, 3, counted from 1.

    R = 3, 1, 2, 4 and L = 2, 4, 3, 1. min(R_i, R_M(i)) = 1, 1, 1, 2, sum 5; sum L^2 = 30, and
    sum L (4 - L) = 4 + 0 + 3 + 3 = 10. So (4 x 5 - 30) / 10 = -1.
    """
    assert codec(torch.tensor([3.0, 1.0, 2.0, 4.0]), apart(torch.tensor([0.0, 1.0, 3.0, 7.0]))) == -1


def test_dependence_given_a_variable_has_the_value_derived_by_hand() -> None:
    """Y = 1, 2, 3, 4; X = 0, 10, 1, 12 has the neighbours 3, 4, 1, 2; Z = 0, 0, 9, 30 with X changes the first two.

    Squared distances by (X, Z): 1-2 100, 1-3 82, 1-4 1044, 2-3 162, 2-4 904, 3-4 562: neighbours 3, 1, 1, 3.
    min(R_i, R_M(i)) = 1, 1, 1, 3, sum 6; min(R_i, R_N(i)) = 1, 2, 1, 2, sum 6; sum R = 10: (6 - 6) / (10 - 6) = 0.
    With Z = 0, 30, 9, 30 neighbours by both are 3, 4, 1, 2 as by X. With Z = Y in the place of X: 2, 1, 2, 3,
    and min = 1, 1, 2, 3, sum 7: (7 - 6) / 4.
    """
    y, x = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0, 10.0, 1.0, 12.0])
    assert codec(y, apart(x, torch.tensor([0.0, 0.0, 9.0, 30.0])), apart(x)) == 0
    assert codec(y, apart(y), apart(x)) == 0.25


def test_dependence_is_near_0_and_near_1_where_it_should_be() -> None:
    """The example of the authors' package: y = x1 + x2 mod 1 depends on neither alone, and on one given the other."""
    first, second = uniform(800, 2).T
    y = (first + second) % 1
    assert abs(codec(y, apart_fast(first))) < 0.15
    assert codec(y, apart_fast(first, second), apart_fast(second)) > 0.7
    assert codec(y, apart_fast(y)) > 0.95
    assert codec(torch.ones(9), apart(torch.arange(9.0))) == 0


def apart_fast(*columns: torch.Tensor) -> torch.Tensor:
    points = torch.stack(columns, dim=1).double()
    return ((points[:, None] - points) ** 2).sum(dim=-1)


def test_selection_finds_what_the_response_is_made_of_and_stops() -> None:
    variables = uniform(200, 8)
    variables[:, 4] = 3.0  # does not vary
    response = 2 * variables[:, 2] + variables[:, 6]
    assert foci(variables, response, limit=8)[:2] == [2, 6]
    assert len(foci(variables, response, limit=8)) < 6
    assert foci(variables, response, limit=1) == [2]
    assert foci(variables * torch.logspace(-6, 6, 8), response, limit=2) == [2, 6]  # units of measurement do not matter
    assert foci(torch.ones(20, 3), torch.arange(20.0), limit=3) == []


@pytest.mark.parametrize("number", [5, 12, 20])  # fewer rows than weights, as many, and more
def test_the_step_solves_the_dense_system(number: int) -> None:
    rows, gradient = uniform(number, 12), uniform(12, 1)[:, 0]
    dense = torch.linalg.solve(rows.T @ rows / number + 0.3 * torch.eye(12), gradient)
    torch.testing.assert_close(damped_newton(rows, gradient, 0.3), dense, rtol=1e-4, atol=1e-5)


def test_only_whole_units_change_and_few_of_them(original: Adapter, data: PairData) -> None:
    outcome = FEW(units=5).run(job_of(original, data))
    before, after = dict(original.named_parameters()), dict(outcome.adapter.named_parameters())
    changed = {
        (name.rpartition(".")[0], row)
        for name, tensor in before.items()
        for row in range(len(tensor) if tensor.ndim else 0)
        if not torch.equal(tensor[row], after[name][row])
    }
    assert 1 <= len(changed) == outcome.history[0]["units"] <= 5
    for layer, row in changed:
        assert (before[f"{layer}.weight"][row] != after[f"{layer}.weight"][row]).float().mean() > 0.5
    assert differing(dict(original.named_buffers()), dict(outcome.adapter.named_buffers())) == []


def test_the_step_raises_the_loss_of_forget_pairs(original: Adapter, data: PairData) -> None:
    """A small step, so that the gradient decides: with the other sign the loss would fall."""
    job = job_of(original, data)
    gallery = draw_gallery(original, sample_retain(job), 0)

    def loss(adapter: Adapter) -> float:
        with torch.no_grad():
            return sum(pair_loss(adapter.eval(), pair, gallery).item() for pair in job.forget) / len(job.forget)

    after = FEW(damping=10.0).run(job)
    assert after.history[0]["step"] > 0
    assert loss(after.adapter) > loss(original) + 1e-6


def test_same_seed_same_weights_other_seed_other_units(original: Adapter, data: PairData) -> None:
    one, again, other = (weights(FEW().run(job_of(original, data, seed=seed)).adapter) for seed in (0, 0, 1))
    assert differing(one, again) == []
    assert differing(one, other)


def test_only_trainable_layers_have_units(original: Adapter, data: PairData) -> None:
    job = job_of(original, data)
    for name, parameter in job.adapter.named_parameters():
        parameter.requires_grad_("vision_model" in name)
    changed = differing(weights(original), weights(FEW().run(job).adapter))
    assert changed
    assert all("vision_model" in name for name in changed)


@pytest.mark.parametrize(
    "case",
    [Case("albef", "classification", 2), Case("blip", "retrieval", 1), Case("graph-text", "classification", 0)],
    ids=str,
)
def test_fusion_and_graph_models_have_units_too(case: Case) -> None:
    data = case_data(case)
    adapter = case_adapter(case, data)
    outcome = FEW().run(job_of(adapter, data))
    assert differing(weights(adapter), weights(outcome.adapter))
    assert all(torch.isfinite(p).all() for p in outcome.adapter.parameters())


def test_a_model_without_trainable_layers_is_refused(original: Adapter, data: PairData) -> None:
    job = job_of(original, data)
    for name, parameter in job.adapter.named_parameters():
        parameter.requires_grad_(name == "model.logit_scale")
    with pytest.raises(UnsupportedError, match="none of these is trained"):
        FEW().run(job)


@pytest.mark.parametrize(("setting", "value"), [("candidates", 0), ("units", 0), ("observations", 7), ("damping", 0.0)])
def test_settings_are_checked(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{setting} is {value}; it must be"):
        LCODEC(**{setting: value})
