"""What kept pairs' scores depend on: the second moment of their gradients, layer by layer.

George, Laurent, Bouthillier, Ballas, Vincent: "Fast Approximate Natural Gradient Descent in a Kronecker-factored
Eigenbasis", NeurIPS 2018, arXiv:1806.03884 (EK-FAC).

Differs from the paper: the gradients are those of pairs' association scores, not of a loss.

Shape suffixes: N pairs, I inputs, O outputs, P entries of a parameter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from multidelete.curvature.rows import MatrixRows, Rows, TableRows, VectorRows

CHUNK_BYTES = 128 << 20  # of rotated gradients that are held at a time


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


def metric_of(rows: Mapping[str, Rows]) -> dict[str, ParameterMetric]:
    """The metric from gradients of kept pairs' scores, by parameter name."""
    return {name: _parameter_metric(one) for name, one in rows.items()}


def _parameter_metric(rows: Rows) -> ParameterMetric:
    match rows:
        case MatrixRows():
            right = _eigenvectors([inputs.flatten(0, 1) for inputs in rows.inputs])
            left = _eigenvectors([gradients.flatten(0, 1) for gradients in rows.output_gradients])
            moments = torch.zeros(left.shape[0], right.shape[0])
            for start, stop, rotated_NOI in rotated_chunks(rows, left, right):
                moments[start:stop] += rotated_NOI.square().sum(dim=0).cpu()
            return ParameterMetric(moments / len(rows), left, right)
        case TableRows():
            return ParameterMetric(_table_moments(rows) / len(rows))
        case VectorRows():
            every_NP = torch.cat(rows.gradients)
            return ParameterMetric(every_NP.square().mean(dim=0).cpu().view(rows.shape))
    raise TypeError(f"{type(rows).__name__} has no metric")


def _eigenvectors(pieces: list[Tensor]) -> Tensor:
    width = pieces[0].shape[-1]
    moment = torch.zeros(width, width, device=pieces[0].device)
    for piece in pieces:
        moment += piece.T @ piece
    vectors: Tensor = torch.linalg.eigh(moment.double()).eigenvectors
    return vectors.float()


def rotated_chunks(rows: MatrixRows, left: Tensor, right: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Rotated gradients (N, O chunk, I), some outputs and one batch at a time, with the outputs' range."""
    for inputs_NTI, gradients_NTO in rows.pieces():
        turned_NTI, turned_NTO = inputs_NTI @ right, gradients_NTO @ left
        wide = max(1, CHUNK_BYTES // (4 * len(inputs_NTI) * right.shape[0]))
        for start in range(0, left.shape[0], wide):
            stop = min(start + wide, left.shape[0])
            yield start, stop, torch.einsum("nto,nti->noi", turned_NTO[:, :, start:stop], turned_NTI)


def _table_moments(rows: TableRows) -> Tensor:
    """Sum of squared gradients: entries that a pair looks up twice are added before they are squared."""
    moments = torch.zeros(rows.shape)
    for entries_NT, gradients_NTO in zip(rows.entries, rows.output_gradients, strict=True):
        for entries_T, gradients_TO in zip(entries_NT, gradients_NTO, strict=True):
            unique, inverse = entries_T.unique(return_inverse=True)
            summed = torch.zeros(len(unique), gradients_TO.shape[-1], device=gradients_TO.device)
            summed.index_add_(0, inverse, gradients_TO)
            moments[unique.cpu()] += summed.square().cpu()
    return moments
