"""CODEC, a coefficient of conditional dependence, and FOCI, which selects variables by it.

Shape suffixes: N observations, P variables, S selected variables.
"""

import torch
from torch import Tensor

from multidelete.core.runtime import in_float64


def codec(response_N: Tensor, distance_NN: Tensor, given_NN: Tensor | None = None) -> float:
    """How much a response depends on variables Z, given variables X: 0 not at all, 1 it is a function of them.

    Azadkia and Chatterjee: "A Simple Measure of Conditional Dependence", Annals of Statistics 49(6),
    2021, arXiv:1910.12327. With R_i the number of responses <= the i-th, L_i that of responses >= it, M(i)
    the nearest neighbour of i by (X, Z), and N(i) that by X:

        without X:  sum_i (n min(R_i, R_M(i)) - L_i^2) / sum_i L_i (n - L_i)
        given X:    sum_i (min(R_i, R_M(i)) - min(R_i, R_N(i))) / sum_i (R_i - min(R_i, R_N(i)))

    It is an estimate, and may be somewhat below 0 or above 1. Of equally near neighbours the first is taken.

    Args:
        response_N: The response.
        distance_NN: Distances between the observations in (X, Z); those to themselves are ignored.
        given_NN: Distances in X, or None where nothing is given.

    Returns:
        The coefficient; 0 where the response does not vary, or X determines all of it.

    >>> z = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    >>> round(codec(z**2, (z[:, None] - z).abs()), 4)  # (6 x 16 - 91) / 35
    0.1429
    """
    rank_N = in_float64((response_N[:, None] >= response_N).sum(dim=1))
    near_N = torch.minimum(rank_N, rank_N[_nearest(distance_NN)])
    if given_NN is None:
        number, above_N = len(rank_N), in_float64((response_N[:, None] <= response_N).sum(dim=1))
        over, under = (number * near_N - above_N**2).sum(), (above_N * (number - above_N)).sum()
    else:
        before_N = torch.minimum(rank_N, rank_N[_nearest(given_NN)])
        over, under = (near_N - before_N).sum(), (rank_N - before_N).sum()
    return float(over / under) if under > 0 else 0.0


def foci(variables_NP: Tensor, response_N: Tensor, limit: int) -> list[int]:
    """Variables that together carry what there is to know of a response: an estimate of its Markov blanket.

    Algorithm FOCI of the same paper: the variable with the largest coefficient, then again and again the
    one with the largest coefficient given those before, until none is above 0. Variables are standardised;
    those that do not vary are never selected.

    Args:
        variables_NP: The variables.
        response_N: The response.
        limit: Most variables to select, >= 1.

    Returns:
        Positions of the selected variables, in their order; none where the first one's coefficient is not above 0.
    """
    spread_P = variables_NP.std(dim=0, correction=0)
    standard_NP = in_float64(variables_NP / spread_P.clamp(min=torch.finfo(spread_P.dtype).tiny))
    left = spread_P.nonzero()[:, 0].tolist()
    selected: list[int] = []
    given_NN: Tensor | None = None
    while left and len(selected) < limit:
        best, value = -1, 0.0
        for position in left:
            squared_NN = (standard_NP[:, None, position] - standard_NP[:, position]) ** 2
            dependence = codec(response_N, squared_NN if given_NN is None else given_NN + squared_NN, given_NN)
            if dependence > value:
                best, value = position, dependence
        if best < 0:
            break
        squared_NN = (standard_NP[:, None, best] - standard_NP[:, best]) ** 2
        given_NN = squared_NN if given_NN is None else given_NN + squared_NN
        selected.append(best)
        left.remove(best)
    return selected


def _nearest(distance_NN: Tensor) -> Tensor:
    """Position of the nearest other observation, (N,)."""
    alone_NN = torch.eye(len(distance_NN), dtype=torch.bool, device=distance_NN.device)
    return distance_NN.masked_fill(alone_NN, torch.inf).argmin(dim=1)
