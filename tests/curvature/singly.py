"""What autograd says of each pair by itself, against which rows are held."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from multidelete.curvature.rows import PairGradients, Rows
from multidelete.data.pairs import Batch, Pair
from multidelete.models import Adapter, PairOutputs


def score(outputs: PairOutputs, batch: Batch) -> Tensor:
    return outputs.score


def wrong_rows(gradients: PairGradients, pairs: Sequence[Pair], rows: Mapping[str, Rows]) -> dict[str, float]:
    """Parameters that are not named as left and whose rows are not the pairs' gradients, and the largest error."""
    adapter = gradients.adapter
    parameters = {n: p for n, p in adapter.named_parameters() if p.requires_grad and n not in gradients.left}
    dense = {name: one.dense() for name, one in rows.items()}
    worst = dict.fromkeys(parameters, 0.0)
    for number, pair in enumerate(pairs):
        value = adapter(adapter.collate([pair])).score[0]
        single: Sequence[Tensor] = [torch.zeros_like(parameter) for parameter in parameters.values()]
        if parameters and value.requires_grad:
            single = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
        whole = torch.cat([torch.zeros(1), *(gradient.flatten() for gradient in single)]).norm()
        for name, expected in zip(parameters, single, strict=True):
            got = dense[name][number] if name in dense else torch.zeros_like(expected)
            error = (got - expected).norm() / (expected.norm() + 1e-2 * whole).clamp(min=1e-12)
            worst[name] = max(worst[name], error.item())
    unequal = {name: len(one) for name, one in rows.items() if len(one) != len(pairs)}
    assert unequal == {}
    return {name: round(error, 4) for name, error in worst.items() if not error <= 1e-3}


class Net(Adapter):
    """A network as an adapter, whose pairs are tensors and whose score bends."""

    family = "net"

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.sizes: list[int] = []  # of the batches that were asked

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        self.sizes.append(len(pairs))
        stacked = torch.stack([pair.inputs["image"] for pair in pairs])  # type: ignore[misc]
        return Batch([pair.id for pair in pairs], {"image": {"x": stacked}}, {})

    def forward(self, batch: Batch) -> PairOutputs:
        state_BD = self.net(batch.inputs["image"]["x"]).flatten(1)
        return PairOutputs(unimodal={}, joint=state_BD, score=state_BD.sin().sum(dim=1))

    def truncated(self, pairs: Sequence[Pair]) -> list[str]:
        return []

    def task_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        raise NotImplementedError

    def save(self, folder: object) -> None:
        raise NotImplementedError

    def joint_parameters(self) -> Sequence[str]:
        return ()


class Around(nn.Module):
    """A layer, and what is made of it and of the inputs."""

    def __init__(self, layer: nn.Module, use: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.use = layer, use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self.layer, x)


def packed(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer reads the tokens of all pairs one after the other, without padding."""
    out = torch.zeros_like(x)
    seen = x.ne(0).any(dim=2)
    out[seen] = layer(x[seen])
    return out


def net_of(net: nn.Module) -> Net:
    """In evaluation mode, with weights and statistics that are drawn: none is where a mistake would not show."""
    generator = torch.Generator().manual_seed(1)
    for tensor in chain(net.parameters(), (b for b in net.buffers() if b.is_floating_point())):
        drawn = torch.randn(tensor.shape, generator=generator)
        tensor.data = drawn / 2 if isinstance(tensor, nn.Parameter) else drawn.abs() + 0.5
    return Net(net).eval()


def pairs_of(inputs: Sequence[Tensor]) -> list[Pair]:
    return [
        Pair(id=str(number), inputs={"image": one, "text": ""}, sources={"image": str(number), "text": ""})
        for number, one in enumerate(inputs)
    ]


def drawn_pairs(number: int, *shape: int) -> list[Pair]:
    generator = torch.Generator().manual_seed(2)
    return pairs_of(list(torch.randn(number, *shape, generator=generator)))
