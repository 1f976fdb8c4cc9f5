"""The weights that a run changes: noted, put back, and lent for a question to the original."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from multidelete.core.runtime import world_size
from multidelete.models.base import Adapter

Weights = Mapping[str, Tensor]


def weights_of(adapter: Adapter) -> Weights:
    """A copy of all that training may change, on the CPU: trained parameters, and the buffers that are stored."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in _changing(adapter).items()}


@torch.no_grad()
def put_back(adapter: Adapter, weights: Weights) -> None:
    """Give parameters and buffers the values noted."""
    for name, tensor in _changing(adapter).items():
        if name in weights:
            tensor.copy_(weights[name])


@torch.no_grad()
def take_those_of_main_process(adapter: Adapter) -> None:
    """Let every process go on from the same weights: sums that are rounded differently would part them slowly."""
    if world_size() > 1:
        for tensor in _changing(adapter).values():
            dist.broadcast(tensor.data, src=0)


@contextmanager
def with_weights(adapter: Adapter, weights: Weights) -> Iterator[None]:
    """The model with these weights, and afterwards with its own again."""
    own = weights_of(adapter)
    put_back(adapter, weights)
    try:
        yield
    finally:
        put_back(adapter, own)


def _changing(adapter: Adapter) -> dict[str, Tensor]:
    stored = adapter.state_dict().keys()
    parameters = {name: p for name, p in adapter.named_parameters() if p.requires_grad}
    return parameters | {name: buffer for name, buffer in adapter.named_buffers() if name in stored}
