"""The kernel, the metric and the step, against dense computations in float64."""

import weakref
from collections.abc import Iterator, Mapping
from functools import partial
from weakref import ReferenceType

import pytest
import torch
from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.curvature.metric import ParameterMetric, metric_of
from multidelete.curvature.rows import MatrixRows, PairGradients, Rows
from multidelete.curvature.solve import PAGE, add_products, damping, kernel, preconditioned, rows_apart, solve
from multidelete.data.pairs import Batch
from multidelete.models import PairOutputs
from tests.curvature.singly import score
from tests.models.cases import CASES, Case, case_adapter, case_data

QUICK = ("clip retrieval", "albef retrieval", "graph-text classification")  # of each sort of network one
every_case = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if str(case) in QUICK else [pytest.mark.slow], id=str(case)) for case in CASES]
)


def rows_of(case: Case) -> tuple[dict[str, Rows], dict[str, Tensor], object]:
    data = case_data(case)
    adapter = case_adapter(case, data).eval()
    rows = PairGradients(adapter).of(data.train.pairs[:6], [score], batch_size=4)[0]
    return rows, {name: p.detach() for name, p in adapter.named_parameters()}, (adapter, data)


def dense_metric(rows: dict[str, Rows]) -> dict[str, Tensor]:
    """The metric as an explicit symmetric matrix for each parameter, in float64."""
    made = {}
    for name, one in metric_of([rows]).items():
        if one.left is None or one.right is None:
            made[name] = one.moments.double().flatten().diag()
        else:
            basis = torch.kron(one.left.double(), one.right.double())
            made[name] = basis @ one.moments.double().flatten().diag() @ basis.T
    return made


@every_case
def test_one_step_equals_a_dense_constrained_solve(case: Case) -> None:
    """D = H^-1 G' (G H^-1 G')^-1 r, with H and G as explicit matrices, on small parameters of each family."""
    rows, parameters, _ = rows_of(case)
    first = {parameters[name].shape: name for name in reversed(rows) if parameters[name].numel() <= 1100}
    small = {name: rows[name] for name in first.values()}  # of each shape one: they are inverted whole
    metric = metric_of([small])
    dampings = damping(metric, parameters, 0.3)
    amounts = torch.linspace(-0.2, 0.3, 6)
    solution = solve(small, metric, dampings, amounts, torch.full((6,), 1e-2))
    dense = dense_metric(small)
    total, steps = torch.zeros(6, 6, dtype=torch.float64), {}
    for name, one in small.items():
        gradients = one.dense().double().flatten(1)
        inverse = torch.linalg.inv(dense[name] + dampings[name] * torch.eye(gradients.shape[1]))
        steps[name] = inverse @ gradients.T
        total += gradients @ steps[name]
    torch.testing.assert_close(kernel(small, metric, dampings), total, rtol=1e-3, atol=1e-4 * total.abs().max().item())
    ridge = 1e-2 * total.diagonal().mean() * torch.eye(6)
    coefficients = torch.linalg.solve(total + ridge, amounts.double())
    for name in small:
        expected = (steps[name] @ coefficients).view(parameters[name].shape)
        scale = max(solution.change[name].abs().max().item(), 1e-12)
        torch.testing.assert_close(solution.change[name].double(), expected, rtol=2e-2, atol=2e-3 * scale)


def test_metric_equals_an_explicit_second_moment_where_it_is_diagonal() -> None:
    """In its own basis: mean over pairs of (left' dW right)^2, and of the squared gradient where there is no basis."""
    rows, _, _ = rows_of(CASES[0])
    for name, one in metric_of([rows]).items():
        gradients = rows[name].dense()
        if one.left is None or one.right is None:
            torch.testing.assert_close(one.moments, gradients.square().mean(dim=0))
        else:
            turned = one.left.T @ gradients.flatten(2).view(len(gradients), *one.moments.shape) @ one.right
            explicit = turned.square().mean(dim=0)
            torch.testing.assert_close(one.moments, explicit, rtol=1e-3, atol=1e-5 * explicit.max().item())


def test_metric_of_pieces_is_that_of_all_pairs_in_the_bases_of_the_first() -> None:
    data = case_data(CASES[0])
    gradients = PairGradients(case_adapter(CASES[0], data).eval())
    first, second = (gradients.of(pairs, [score], 4)[0] for pairs in (data.train.pairs[:5], data.train.pairs[5:12]))
    whole = {name: one.followed_by([second[name]]) for name, one in first.items()}
    for name, one in metric_of([first, second]).items():
        assert one.moments.shape == metric_of([whole])[name].moments.shape
        gradient = whole[name].dense()
        if one.left is not None and one.right is not None:
            gradient = one.left.T @ gradient.view(len(gradient), *one.moments.shape) @ one.right
            torch.testing.assert_close(one.left, metric_of([first])[name].left)
        explicit = gradient.square().mean(dim=0).view(one.moments.shape)
        torch.testing.assert_close(one.moments, explicit, rtol=1e-3, atol=1e-5 * explicit.max().item())


def test_one_piece_of_gradients_is_held_at_a_time() -> None:
    data = case_data(CASES[0])
    source = PairGradients(case_adapter(CASES[0], data).eval()).pieces(data.train.pairs[:6], [score], 4, 2)
    held: list[ReferenceType[Rows]] = []

    def watched() -> Iterator[Mapping[str, Rows]]:
        for _ in range(3):
            assert not any(reference() for reference in held)
            unnamed = [next(source)]
            held.extend(map(weakref.ref, unnamed[0].values()))
            yield unnamed.pop()

    assert 3 * len(metric_of(watched())) == len(held) > 0


def test_numbers_that_hang_on_one_encoder_take_no_part_in_the_other_s_kernel() -> None:
    case = next(one for one in CASES if str(one) == "clip retrieval")
    data = case_data(case)
    adapter = case_adapter(case, data).eval()
    numbers = [score, *(partial(first_entry, modality=modality) for modality in adapter.modalities)]
    of_score, of_image, of_text = PairGradients(adapter).of(data.train.pairs[:6], numbers, batch_size=4)
    rows = {name: one.followed_by([of_image[name], of_text[name]]) for name, one in of_score.items()}
    parts = {"image": list(range(12)), "text": [*range(6), *range(12, 18)]}
    told = {name: one.felt() for name, one in rows.items()}
    for modality, at in parts.items():
        own = [name for name in adapter.encoder_parameters(modality) if name in rows]
        assert own
        assert all(told[name][1].tolist() == at and len(told[name][0]) == 12 for name in own)
    assert all(
        piece.shape[1] == 1 for piece in of_image["model.text_model.encoder.layers.0.mlp.fc1.weight"].inputs
    )  # no place is felt, and one is held
    metric = metric_of([of_score])
    dampings = damping(metric, {name: p.detach() for name, p in adapter.named_parameters()}, 0.3)
    expected = torch.zeros(18, 18, dtype=torch.float64)
    for name, one in rows.items():
        every = [preconditioned(gradient, metric[name], dampings[name]) for gradient in one.dense()]
        expected += one.dense().double().flatten(1) @ torch.stack(every).double().flatten(1).T
    allowed = 1e-4 * expected.abs().max().item()
    torch.testing.assert_close(kernel(rows, metric, dampings), expected, rtol=1e-3, atol=allowed)


def first_entry(outputs: PairOutputs, batch: Batch, *, modality: str) -> Tensor:
    assert outputs.embeddings is not None
    return outputs.embeddings[modality][:, 0]


def test_products_of_rows_are_the_whole_matrix() -> None:
    every = torch.randn(13, 40)
    total = torch.ones(13, 13, dtype=torch.float64)
    add_products(total, every)
    torch.testing.assert_close(total, 1 + (every @ every.T).double(), rtol=1e-4, atol=1e-4)


@every_case
def test_small_steps_move_scores_as_predicted(case: Case) -> None:
    rows, parameters, (adapter, data) = rows_of(case)
    metric = metric_of([rows])
    amounts = torch.linspace(-1e-2, 1e-2, 6)  # below, what is moved drowns in rounding
    solution = solve(rows, metric, damping(metric, parameters, 0.3), amounts, torch.full((6,), 1e-3))
    batch = adapter.collate(data.train.pairs[:6])
    with torch.no_grad():
        before = adapter(batch).score
        for name, change in solution.change.items():
            adapter.get_parameter(name).add_(change)
        moved = adapter(batch).score - before
    scale = solution.predicted.abs().max().item()
    torch.testing.assert_close(moved, solution.predicted, rtol=0.1, atol=0.1 * scale)


@pytest.mark.parametrize("width", [1000, 1024, 27648])
def test_rows_lie_apart(width: int) -> None:
    rows = rows_apart(5, width, torch.device("cpu"))
    assert rows.shape == (5, width)
    assert rows.element_size() * rows.stride(0) % PAGE


def test_gradients_that_are_not_finite_and_numbers_that_nothing_moves_are_told() -> None:
    rows = MatrixRows(torch.Size((2, 3)), [torch.ones(4, 1, 3)], [torch.full((4, 1, 2), torch.nan)])
    with pytest.raises(DivergedError, match="not finite"):
        metric_of([{"weight": rows}])
    still = MatrixRows(torch.Size((2, 3)), [torch.ones(4, 1, 3)], [torch.zeros(4, 1, 2)])
    metric = {"weight": ParameterMetric(torch.ones(2, 3), torch.eye(2), torch.eye(3))}
    with pytest.raises(DivergedError, match="all zero"):
        solve({"weight": still}, metric, {"weight": 1.0}, torch.ones(4), torch.zeros(4))
