"""The change of the weights that moves given numbers by given amounts and disturbs kept pairs least.

With g_n the gradient of the n-th number, r_n the amount, and H the metric (damped):

    minimise <D, H D>   subject to   <g_n, D> = r_n,

which is D = H^-1 G' c with (G H^-1 G' + ridge) c = r. The kernel G H^-1 G' has a row for each number, whatever the size
of the model, and is a sum over layers.

Shape suffixes: N rows, O outputs, I inputs, P entries of a parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.curvature.metric import CHUNK_BYTES, Metric, ParameterMetric
from multidelete.curvature.rows import MatrixRows, Rows, TableRows, VectorRows

PARTS = 4  # in which the products of rows are computed
PAGE = 4096  # bytes: rows that lie a multiple of it apart meet in the same few lines of a processor's first cache


def damping(metric: Metric, parameters: Mapping[str, Tensor], strength: float) -> dict[str, float]:
    """What is added to every moment of each parameter, such that equal *relative* changes cost the same everywhere.

    In units of a parameter's root mean square the mean moment over all entries is m; the damping there is
    ``strength * m``. Parameters that are zero throughout count as if their mean square were the mean of all; where all
    are (what LoRA writes, before it is trained), equal changes cost the same.
    """
    squares = {name: parameters[name].square().mean().item() for name in metric}
    sizes = {name: metric[name].moments.numel() for name in metric}
    typical = sum(squares[name] * sizes[name] for name in metric) / sum(sizes.values())
    squares = {name: square if square > 0 else typical or 1.0 for name, square in squares.items()}
    relative = sum(metric[name].moments.double().sum().item() * squares[name] for name in metric) / sum(sizes.values())
    return {name: strength * relative / squares[name] for name in metric}


def kernel(rows: Mapping[str, Rows], metric: Metric, dampings: Mapping[str, float]) -> Tensor:
    """G H^-1 G', (N, N), float64."""
    known = {name: one for name, one in rows.items() if name in metric}
    if not known:
        raise ValueError("no parameter has both rows and a metric")
    number = len(next(iter(known.values())))
    total = torch.zeros(number, number, dtype=torch.float64)
    for name, one in known.items():
        felt, at = one.felt()
        if len(at):
            total[at[:, None], at] += _part(felt, metric[name], dampings[name])
    return total


def _part(rows: Rows, metric: ParameterMetric, damping: float) -> Tensor:
    match rows:
        case MatrixRows():
            return _matrix_part(rows, metric, damping)
        case TableRows():
            return _table_part(rows, metric, damping)
        case VectorRows():
            every_NP = torch.cat(rows.gradients)
            scaled_NP = every_NP / (metric.moments.flatten().to(every_NP) + damping).sqrt()
            return (scaled_NP @ scaled_NP.T).cpu().double()
    raise TypeError(f"{type(rows).__name__} has no kernel")


def _matrix_part(rows: MatrixRows, metric: ParameterMetric, damping: float) -> Tensor:
    left, right = metric.left, metric.right
    if left is None or right is None:
        raise ValueError("the metric of a matrix needs its bases")
    device = rows.inputs[0].device
    left, right, moments = left.to(device), right.to(device), metric.moments.to(device)
    turned = [(inputs @ right, gradients @ left) for inputs, gradients in rows.pieces()]
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    wide = max(1, CHUNK_BYTES // (4 * len(rows) * right.shape[0]))
    held_NP = rows_apart(len(rows), min(wide, left.shape[0]) * right.shape[0], device)
    for start in range(0, left.shape[0], wide):
        here = slice(start, start + wide)
        scaled_NOI = held_NP[:, : moments[here].numel()].view(len(rows), -1, right.shape[0])
        row = 0
        for inputs_BTI, gradients_BTO in turned:
            of_batch = scaled_NOI[row : row + len(inputs_BTI)]
            torch.bmm(gradients_BTO[:, :, here].mT, inputs_BTI, out=of_batch)
            row += len(inputs_BTI)
        add_products(total, scaled_NOI.mul_((moments[here] + damping).rsqrt()).flatten(1))
    return total


def rows_apart(number: int, width: int, device: torch.device) -> Tensor:
    """An empty (number, width), in float32, whose rows do not lie a multiple of a `PAGE` apart.

    Where they do, their products with each other take longer.
    """
    between = 0 if 4 * width % PAGE else 16
    return torch.empty(number, width + between, device=device)[:, :width]


def add_products(total_NN: Tensor, every_NP: Tensor) -> None:
    """Add the products of all rows with each other: half of them, since the others are the same."""
    edges = torch.linspace(0, len(every_NP), PARTS + 1).int().tolist()
    for start, stop in pairwise(edges):
        block = (every_NP[start:stop] @ every_NP[:stop].T).cpu().double()
        total_NN[start:stop, :stop] += block
        total_NN[:start, start:stop] += block[:, :start].T


def _table_part(rows: TableRows, metric: ParameterMetric, damping: float) -> Tensor:
    touched = torch.unique(torch.cat([entries.flatten() for entries in rows.entries]))
    entries, outputs = rows.turned(metric.moments).shape
    at = torch.full((entries,), -1, device=touched.device)
    at[touched] = torch.arange(len(touched), device=touched.device)
    moments = rows.turned(metric.moments)[touched.cpu()].to(touched.device)
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    wide = max(1, CHUNK_BYTES // (4 * len(rows) * len(touched)))
    for start in range(0, outputs, wide):
        here = slice(start, start + wide)
        width = len(range(outputs)[here])
        every_NP = rows_apart(len(rows), len(touched) * width, touched.device).zero_()
        dense = every_NP.view(len(rows), len(touched), width)
        row = 0
        for entries_NT, gradients_NTO in zip(rows.entries, rows.output_gradients, strict=True):
            for entries_T, gradients_TO in zip(entries_NT, gradients_NTO, strict=True):
                dense[row].index_add_(0, at[entries_T], gradients_TO[:, here])
                row += 1
        add_products(total, dense.mul_((moments[:, here] + damping).rsqrt()).flatten(1))
    return total


@dataclass(frozen=True)
class Solution:
    """A step of the weights.

    Attributes:
        change: Of each parameter, by name, on the CPU.
        predicted: How far each number moves by it to first order, (N,).
    """

    change: Mapping[str, Tensor]
    predicted: Tensor


def solve(
    rows: Mapping[str, Rows], metric: Metric, dampings: Mapping[str, float], amounts_N: Tensor, ridges_N: Tensor
) -> Solution:
    """The least change, in the damped metric, that moves the numbers by ``amounts_N``.

    Args:
        rows: Gradients of the numbers, by parameter name.
        metric: By parameter name; parameters without one stay as they are.
        dampings: Added to the moments, by parameter name, > 0.
        amounts_N: How far each number is to move.
        ridges_N: How much each amount may be missed: relative to the mean of the kernel's diagonal, >= 0.

    Raises:
        DivergedError: No change moves the numbers.
    """
    kernel_NN = kernel(rows, metric, dampings)
    ridge_N = ridges_N.double() * kernel_NN.diagonal().mean()
    try:
        coefficients_N = torch.linalg.solve(kernel_NN + ridge_N.diag(), amounts_N.double())
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # torch names it without exporting it
        raise DivergedError("no change of the weights moves the numbers: their gradients are all zero.") from error
    change = {
        name: preconditioned(one.weighted_sum(coefficients_N.float()), metric[name], dampings[name])
        for name, one in rows.items()
        if name in metric
    }
    return Solution(change, (kernel_NN @ coefficients_N).float())


def preconditioned(gradient: Tensor, metric: ParameterMetric, damping: float) -> Tensor:
    """H^-1 times a gradient of the parameter's shape, on the device of the gradient."""
    left, right = metric.left, metric.right
    if left is None or right is None:
        return gradient / (metric.moments + damping)
    turned_OI = left.T @ gradient.to(left.device).reshape(metric.moments.shape) @ right
    scaled_OI = turned_OI / (metric.moments.to(left.device) + damping)
    return (left @ scaled_OI @ right.T).view(gradient.shape).to(gradient.device)
