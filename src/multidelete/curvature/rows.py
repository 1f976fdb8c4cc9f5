"""Gradients of single pairs by the weights of each layer, from one backward pass for the whole batch.

A pair's outputs do not depend on the other pairs of its batch, so the gradient of a sum over the batch at a layer's
output is, row by row, each pair's own. With the layer's inputs that is all its weights' gradients are made of; they are
kept in that form, and no gradient of a pair is ever formed for more than one layer and block.

Shape suffixes: N rows (pairs), T places in a layer at which a pair is seen (tokens, patches), I inputs, O outputs,
V entries of a table, P entries of a parameter.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidelete.data.pairs import Batch, Pair
from multidelete.models.base import Adapter, PairOutputs

Scalars = Callable[[PairOutputs, Batch], Tensor]  # one number for each pair, (B,)


class Rows(ABC):
    """Gradients of N numbers by one parameter."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def dense(self) -> Tensor:
        """All of them, (N, *shape of the parameter): for tests and small parameters."""

    def followed_by(self, others: Sequence["Rows"]) -> "Rows":
        """These rows and then the others, which are of the same parameter."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]  # a dataclass
        for name, value in told.items():
            if isinstance(value, list):
                told[name] = [piece for rows in (self, *others) for piece in getattr(rows, name)]
        return type(self)(**told)

    @property
    def nbytes(self) -> int:
        """What they take in memory."""
        lists = (getattr(self, one.name) for one in fields(self))  # type: ignore[arg-type]  # a dataclass
        return sum(piece.nbytes for value in lists if isinstance(value, list) for piece in value)

    @abstractmethod
    def weighted_sum(self, weights_N: Tensor) -> Tensor:
        """Their sum with these weights, of the parameter's shape."""


@dataclass
class MatrixRows(Rows):
    """Of a weight matrix: the sum over places of output gradient times input.

    Attributes:
        inputs: For each batch (N, T, I).
        output_gradients: For each batch (N, T, O).
        shape: Of the parameter; of convolutions (O, channels, height, width).
    """

    shape: torch.Size
    inputs: list[Tensor] = field(default_factory=list)
    output_gradients: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(one) for one in self.inputs)

    def pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and output gradients, batch by batch."""
        return zip(self.inputs, self.output_gradients, strict=True)

    def dense(self) -> Tensor:
        every = [torch.einsum("nto,nti->noi", gradients, inputs) for inputs, gradients in self.pieces()]
        return torch.cat(every).view(-1, *self.shape)

    def weighted_sum(self, weights_N: Tensor) -> Tensor:
        total, start = torch.zeros(self.shape[0], self.inputs[0].shape[-1]), 0
        for inputs_NTI, gradients_NTO in self.pieces():
            weights = weights_N[start : start + len(inputs_NTI)].to(gradients_NTO)
            start += len(inputs_NTI)
            total = total + ((gradients_NTO * weights[:, None, None]).flatten(0, 1).T @ inputs_NTI.flatten(0, 1)).cpu()
        return total.view(self.shape)


@dataclass
class TableRows(Rows):
    """Of an embedding table: the entries that a pair looks up, and the gradients there.

    Attributes:
        entries: For each batch (N, T), the positions looked up.
        output_gradients: For each batch (N, T, O).
        shape: Of the table, (V, O).
    """

    shape: torch.Size
    entries: list[Tensor] = field(default_factory=list)
    output_gradients: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(one) for one in self.entries)

    def dense(self) -> Tensor:
        total = torch.zeros(len(self), *self.shape)
        start = 0
        for entries_NT, gradients_NTO in zip(self.entries, self.output_gradients, strict=True):
            for row, (entries_T, gradients_TO) in enumerate(zip(entries_NT, gradients_NTO, strict=True), start=start):
                total[row].index_add_(0, entries_T.cpu(), gradients_TO.cpu())
            start += len(entries_NT)
        return total

    def weighted_sum(self, weights_N: Tensor) -> Tensor:
        total, start = torch.zeros(self.shape), 0
        for entries_NT, gradients_NTO in zip(self.entries, self.output_gradients, strict=True):
            weights = weights_N[start : start + len(entries_NT)].to(gradients_NTO)
            start += len(entries_NT)
            weighted = (gradients_NTO * weights[:, None, None]).flatten(0, 1)
            total.index_add_(0, entries_NT.flatten().cpu(), weighted.cpu())
        return total


@dataclass
class VectorRows(Rows):
    """Of a small parameter (biases, norms, depthwise convolutions): the gradients themselves.

    Attributes:
        gradients: For each batch (N, P).
        shape: Of the parameter.
    """

    shape: torch.Size
    gradients: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(one) for one in self.gradients)

    def dense(self) -> Tensor:
        return torch.cat(self.gradients).view(-1, *self.shape)

    def weighted_sum(self, weights_N: Tensor) -> Tensor:
        every_NP = torch.cat(self.gradients)
        return (weights_N.to(every_NP) @ every_NP).cpu().view(self.shape)


@dataclass
class _Call:
    """One use of a layer in a forward pass."""

    layer: nn.Module
    inputs: Tensor
    output: Tensor


class PairGradients:
    """Collects, for an adapter's trainable weights, the gradients of single pairs.

    Attributes:
        layers: The layers that are understood, by name.
        left: Names of the trainable parameters that belong to none of these: they stay as they are.
    """

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.layers: dict[str, nn.Module] = {}
        understood: set[int] = set()
        for name, layer in adapter.named_modules():
            own = [p for p in layer.parameters(recurse=False) if p.requires_grad]
            if own and _understood(layer):
                self.layers[name] = layer
                understood.update(id(p) for p in own)
        self.names = {id(p): name for name, p in adapter.named_parameters() if p.requires_grad}
        self.left = [name for key, name in self.names.items() if key not in understood]

    def of(self, pairs: Sequence[Pair], scalars: Sequence[Scalars], batch_size: int) -> list[dict[str, Rows]]:
        """Gradients of each of ``scalars`` for each pair.

        Args:
            pairs: At least one.
            scalars: Functions of the model's outputs; each gives one number for each pair.
            batch_size: Pairs in one forward and backward pass.

        Returns:
            For each of ``scalars``, rows by parameter name; none where no layer that is understood is used.
        """
        collected: list[dict[str, Rows]] = [{} for _ in scalars]
        for start in range(0, len(pairs), batch_size):
            batch = self.adapter.collate(pairs[start : start + batch_size]).to(self.adapter.device)
            with self._recording(len(batch)) as calls:
                outputs = self.adapter(batch)
            for number, scalar in enumerate(scalars if calls else []):
                values_B = scalar(outputs, batch)
                gradients: Sequence[Tensor | None] = [None] * len(calls)
                if values_B.requires_grad:  # a head may be trained that one of the numbers does not pass through
                    gradients = torch.autograd.grad(
                        values_B.sum(),
                        [call.output for call in calls],
                        retain_graph=number + 1 < len(scalars),
                        allow_unused=True,
                    )
                self._add(collected[number], calls, gradients, len(batch))
        return collected

    def fitting(self, longest: Sequence[Pair], scalars: Sequence[Scalars], batch_size: int, most_bytes: int) -> int:
        """How many pairs' gradients fit into ``most_bytes``, as those of ``longest`` tell; at least a batch."""
        every = [rows for of_scalar in self.of(longest, scalars, batch_size) for rows in of_scalar.values()]
        each = sum(rows.nbytes for rows in every) / len(longest)
        return max(batch_size, int(most_bytes / max(each, 1.0)))

    def pieces(
        self, pairs: Sequence[Pair], scalars: Sequence[Scalars], batch_size: int, fitting: int
    ) -> Iterator[Mapping[str, Rows]]:
        """Rows of at most ``fitting`` pairs at a time, those of the numbers one after the other."""
        pieces = math.ceil(len(pairs) / fitting)
        for piece in range(pieces):
            first, *others = self.of(pairs[piece::pieces], scalars, batch_size)
            if not others:  # what is not copied is not held twice
                yield first
                continue
            yield {name: one.followed_by([other[name] for other in others]) for name, one in first.items()}

    @contextmanager
    def _recording(self, size: int) -> Iterator[list[_Call]]:
        calls: list[_Call] = []

        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            first = inputs[0].detach()
            if size > 1 and len(output) == 1:  # one lookup for the whole batch, as of positions
                output = output.expand(size, *output.shape[1:])
                first = first.expand(size, *first.shape[1:])
            calls.append(_Call(layer, first, output))
            return output

        handles = [layer.register_forward_hook(hook) for layer in self.layers.values()]
        try:
            with torch.enable_grad():
                yield calls
        finally:
            for handle in handles:
                handle.remove()

    def _add(
        self, rows: dict[str, Rows], calls: Sequence[_Call], gradients: Sequence[Tensor | None], size: int
    ) -> None:
        """Add one batch; several uses of a layer are several places."""
        pieces: dict[str, list[tuple[Rows, Tensor, Tensor]]] = {}
        for call, gradient in zip(calls, gradients, strict=True):
            gradient = torch.zeros_like(call.output) if gradient is None else gradient
            for parameter, empty, first, second in _parts(call.layer, call.inputs, gradient, size):
                if parameter.requires_grad:
                    pieces.setdefault(self.names[id(parameter)], []).append((empty, first, second))
        for name, every in pieces.items():
            kept = rows.setdefault(name, every[0][0])
            firsts, seconds = [first for _, first, _ in every], [second for *_, second in every]
            match kept:
                case MatrixRows():
                    inputs, output_gradients = _seen_places(torch.cat(firsts, dim=1), torch.cat(seconds, dim=1))
                    kept.inputs.append(inputs)
                    kept.output_gradients.append(output_gradients)
                case TableRows():
                    entries, output_gradients = _seen_places(torch.cat(firsts, dim=1), torch.cat(seconds, dim=1))
                    kept.entries.append(entries)
                    kept.output_gradients.append(output_gradients)
                case VectorRows():
                    kept.gradients.append(torch.stack(seconds).sum(dim=0))


def _seen_places(firsts: Tensor, gradients_NTO: Tensor) -> tuple[Tensor, Tensor]:
    """Those at which any gradient is not zero: at padding all are."""
    seen_T = gradients_NTO.ne(0).any(dim=2).any(dim=0)
    if seen_T.all() or not seen_T.any():
        return firsts, gradients_NTO
    return firsts[:, seen_T], gradients_NTO[:, seen_T]


def _understood(layer: nn.Module) -> bool:
    if type(layer) is not nn.Linear and isinstance(layer, nn.Linear):  # torch's attention reads its weight itself
        return False
    match layer:
        case nn.Linear() | nn.Conv2d() | nn.Embedding() | nn.LayerNorm() | nn.GroupNorm():
            return True
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return not layer.training and layer.track_running_stats
    return False


def _parts(
    layer: nn.Module, inputs: Tensor, gradient: Tensor, size: int
) -> Iterator[tuple[nn.Parameter, Rows, Tensor, Tensor]]:
    """Each parameter of a layer, with empty rows of its kind and what is to be added to them."""
    own = dict(layer.named_parameters(recurse=False))
    weight, bias = own["weight"], own.get("bias")
    match layer:
        case nn.Embedding():
            entries_NT = inputs.reshape(size, -1)
            gradient_NTO = gradient.reshape(size, -1, gradient.shape[-1])
            if layer.padding_idx is not None:
                gradient_NTO = gradient_NTO * (entries_NT != layer.padding_idx)[..., None]
            yield weight, TableRows(weight.shape), entries_NT, gradient_NTO
            return
        case nn.Linear():
            inputs_NTI = inputs.reshape(size, -1, inputs.shape[-1])
            gradient_NTO = gradient.reshape(size, -1, gradient.shape[-1])
            yield weight, MatrixRows(weight.shape), inputs_NTI, gradient_NTO
        case nn.Conv2d():
            columns = _columns(layer, inputs)  # (images, I of all groups, places)
            gradient_NTO = gradient.flatten(2).transpose(1, 2).reshape(size, -1, gradient.shape[1])
            if layer.groups == 1:
                inputs_NTI = columns.transpose(1, 2).reshape(size, -1, columns.shape[1])
                yield weight, MatrixRows(weight.shape), inputs_NTI, gradient_NTO
            else:
                grouped = columns.reshape(len(columns), layer.groups, -1, columns.shape[-1])
                of_groups = gradient.reshape(len(gradient), layer.groups, -1, columns.shape[-1])
                per_image = torch.einsum("bgot,bgit->bgoi", of_groups, grouped)
                yield weight, VectorRows(weight.shape), per_image, per_image.reshape(size, -1, weight.numel()).sum(1)
        case _:
            second = inputs.ndim == 4 and (not isinstance(layer, nn.LayerNorm) or _channels_second(layer))
            if second and isinstance(layer, nn.LayerNorm):
                normal = _normalised(layer, inputs.movedim(1, -1)).movedim(-1, 1)
            else:
                normal = _normalised(layer, inputs)
            if second:
                normal, gradient = normal.flatten(2).transpose(1, 2), gradient.flatten(2).transpose(1, 2)
            normal_NTO = normal.reshape(size, -1, normal.shape[-1])
            gradient_NTO = gradient.reshape(size, -1, gradient.shape[-1])
            yield weight, VectorRows(weight.shape), normal_NTO, (gradient_NTO * normal_NTO).sum(dim=1)
    if bias is not None:
        yield bias, VectorRows(bias.shape), gradient_NTO, gradient_NTO.sum(dim=1)


def _columns(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    if layer.padding == "same":
        inputs = F.pad(inputs, layer._reversed_padding_repeated_twice)
    padding = (0, 0) if isinstance(layer.padding, str) else layer.padding
    return F.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)


def _channels_second(layer: nn.LayerNorm) -> bool:
    """Whether a subclass, as ConvNeXt's, normalises (B, channels, height, width) over the channels."""
    return getattr(layer, "data_format", "channels_last") == "channels_first"


def _normalised(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What a norm multiplies by its weight."""
    match layer:
        case nn.LayerNorm():
            return F.layer_norm(inputs, layer.normalized_shape, None, None, layer.eps)
        case nn.GroupNorm():
            return F.group_norm(inputs, layer.num_groups, None, None, layer.eps)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return F.batch_norm(inputs, layer.running_mean, layer.running_var, None, None, False, 0.0, layer.eps)
    raise TypeError(f"{type(layer).__name__} is no norm")
