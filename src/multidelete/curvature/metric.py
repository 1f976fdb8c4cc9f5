"""What kept pairs' scores depend on: the second moment of their gradients, layer by layer.

George, Laurent, Bouthillier, Ballas, Vincent: "Fast Approximate Natural Gradient Descent in a Kronecker-factored
Eigenbasis", NeurIPS 2018, arXiv:1806.03884 (EK-FAC).

Differs from the paper: the gradients are those of pairs' association scores, not of a loss.

Shape suffixes: N pairs, I inputs, O outputs, P entries of a parameter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.core.runtime import in_float64
from multidelete.curvature.rows import MatrixRows, Rows, TableRows, VectorRows

CHUNK_BYTES = 16 << 20  # of rotated gradients that are held at a time: more leave the cache of a processor


@dataclass(frozen=True)
class ParameterMetric:
    """The metric of one parameter: in a rotated basis for matrices, entry by entry for others.

    Attributes:
        moments: Mean squared gradient, of the parameter's shape as a matrix (O, I), in the rotated basis.
        left: Eigenvectors of the output gradients' second moment, in columns (O, O); None without rotation.
        right: Of the inputs' (I, I).
    """

    moments: Tensor
    left: Tensor | None = None
    right: Tensor | None = None


Metric = Mapping[str, ParameterMetric]


def metric_of(pieces: Iterable[Mapping[str, Rows]]) -> dict[str, ParameterMetric]:
    """The metric from gradients of kept pairs' scores, by parameter name.

    Args:
        pieces: Rows by parameter name, of some pairs at a time. Those of the first piece choose the bases, which any
            may be; the moments are exact in them, and are those of all pairs.

    Raises:
        DivergedError: Gradients are not finite.
    """
    bases: dict[str, tuple[Tensor, Tensor] | None] = {}
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for piece in pieces:
        for name in piece:
            if name not in bases:
                bases[name] = _bases(piece[name])
            squares = _sum_of_squares(piece[name], bases[name])
            sums[name] = sums[name] + squares if name in sums else squares
            counts[name] = counts.get(name, 0) + len(piece[name])
        del piece  # before the next one is made: each is as large as may be
    return {name: ParameterMetric(total / counts[name], *(bases[name] or ())) for name, total in sums.items()}


def bytes_of_metric(rows: Rows) -> int:
    """What the metric of a parameter takes, where it has such rows."""
    bases = [one[0].shape[-1] for one in (rows.inputs, rows.output_gradients)] if isinstance(rows, MatrixRows) else []
    return 4 * (rows.shape.numel() + sum(width**2 for width in bases))


def _bases(rows: Rows) -> tuple[Tensor, Tensor] | None:
    """Of output gradients and of inputs, of a matrix."""
    if not isinstance(rows, MatrixRows):
        return None
    left = _eigenvectors([gradients.flatten(0, 1) for gradients in rows.output_gradients])
    return left, _eigenvectors([inputs.flatten(0, 1) for inputs in rows.inputs])


def _sum_of_squares(rows: Rows, bases: tuple[Tensor, Tensor] | None) -> Tensor:
    match rows:
        case MatrixRows() if bases is not None:
            return _matrix_squares(rows, *bases)
        case TableRows():
            return _table_moments(rows)
        case VectorRows():
            return torch.cat(rows.gradients).square().sum(dim=0).cpu().view(rows.shape)
    raise TypeError(f"{type(rows).__name__} has no metric")


def _eigenvectors(pieces: list[Tensor]) -> Tensor:
    width = pieces[0].shape[-1]
    moment = torch.zeros(width, width, device=pieces[0].device)
    for piece in pieces:
        moment += piece.T @ piece
    if not torch.isfinite(moment).all():
        raise DivergedError("the gradients of kept pairs' scores are not finite.")
    vectors: Tensor = torch.linalg.eigh(in_float64(moment)).eigenvectors
    return vectors.float().to(moment.device)


def _matrix_squares(rows: MatrixRows, left: Tensor, right: Tensor) -> Tensor:
    """Sum of squared gradients in the bases, (O, I), of some outputs and one batch at a time."""
    outputs, width = left.shape[0], right.shape[0]
    total_OI = torch.zeros(outputs, width)
    for inputs_NTI, gradients_NTO in rows.pieces():
        turned_NTI, turned_NTO = inputs_NTI @ right, gradients_NTO @ left
        wide = min(outputs, max(1, CHUNK_BYTES // (4 * len(inputs_NTI) * width)))
        held_NOI = turned_NTI.new_empty(len(inputs_NTI), wide, width)
        for start in range(0, outputs, wide):
            here = slice(start, min(start + wide, outputs))
            rotated_NOI = held_NOI[:, : here.stop - start]
            torch.bmm(turned_NTO[:, :, here].mT, turned_NTI, out=rotated_NOI)
            total_OI[here] += rotated_NOI.square_().sum(dim=0).cpu()
    return total_OI


def _table_moments(rows: TableRows) -> Tensor:
    """Sum of squared gradients: entries that a pair looks up twice are added before they are squared."""
    moments = rows.turned(torch.zeros(rows.shape))
    for entries_NT, gradients_NTO in zip(rows.entries, rows.output_gradients, strict=True):
        for entries_T, gradients_TO in zip(entries_NT, gradients_NTO, strict=True):
            unique, inverse = entries_T.unique(return_inverse=True)
            summed = torch.zeros(len(unique), gradients_TO.shape[-1], device=gradients_TO.device)
            summed.index_add_(0, inverse, gradients_TO)
            moments[unique.cpu()] += summed.square().cpu()
    return rows.turned(moments)
