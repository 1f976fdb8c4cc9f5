"""The weights that a run changes: noted, put back, and lent for a question to the original."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from multidelete.models.base import Adapter

Weights = Mapping[str, Tensor]


def weights_of(adapter: Adapter) -> Weights:
    """A copy of the parameters that may change, on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in adapter.named_parameters() if p.requires_grad}


@torch.no_grad()
def put_back(adapter: Adapter, weights: Weights) -> None:
    """Give parameters the values noted."""
    for name, parameter in adapter.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])


@contextmanager
def with_weights(adapter: Adapter, weights: Weights) -> Iterator[None]:
    """The model with these weights, and afterwards with its own again."""
    own = weights_of(adapter)
    put_back(adapter, weights)
    try:
        yield
    finally:
        put_back(adapter, own)
