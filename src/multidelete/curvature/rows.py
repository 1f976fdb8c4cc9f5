"""Gradients of single pairs by the weights of each layer, from one backward pass for the whole batch.

A pair's outputs do not depend on the other pairs of its batch, so the gradient of a sum over the batch at a layer's
output is, row by row, each pair's own. With the layer's inputs that is all its weights' gradients are made of; they are
kept in that form, and no gradient of a pair is ever formed for more than one layer and block.

Code around a layer may do what makes this wrong: read its weight itself, or give it something else than pairs first. So
rows are compared with what autograd says of a sum of all pairs with random weights, which tell the pairs apart.

Shape suffixes: N rows (pairs), T places in a layer at which a pair is seen (tokens, patches), I inputs, O outputs,
V entries of a table, P entries of a parameter.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import compress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from multidelete.data.pairs import Batch, Pair
from multidelete.models.base import Adapter, PairOutputs

Scalars = Callable[[PairOutputs, Batch], Tensor]  # one number for each pair, (B,)

MEASURED = 2  # pairs whose gradients are held while it is not known how large they are
DIFFERS = 0.01  # from autograd's gradient, relative to it; in float32 rounding stays below 0.0003
OF_LORA = "default"  # what peft calls the only LoRA beside a layer
CANCELS = 16  # of the whole gradient, in units of the precision: where terms cancel, rounding leaves less than 1


class Rows(ABC):
    """Gradients of N numbers by one parameter.

    Attributes:
        shape: Of the parameter.
    """

    shape: torch.Size

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def dense(self) -> Tensor:
        """All of them, (N, *shape of the parameter): for tests and small parameters."""

    def followed_by(self, others: Sequence["Rows"]) -> "Rows":
        """These rows and then the others, which are of the same parameter."""
        every = [rows._lists for rows in (self, *others)]
        return self._with({name: [piece for lists in every for piece in lists[name]] for name in self._lists})

    def felt(self) -> tuple["Rows", Tensor]:
        """Those of the batches in which the numbers depend on the parameter at all, and their positions, (M,).

        How far one encoder's embeddings have drifted does not depend on the other encoder.
        """
        *_, gradients = self._lists.values()
        is_felt = [bool(one.any()) for one in gradients]
        sizes = torch.tensor([len(one) for one in gradients])
        some = self._with({name: list(compress(value, is_felt)) for name, value in self._lists.items()})
        return some, torch.tensor(is_felt).repeat_interleave(sizes).nonzero().flatten()

    @property
    def nbytes(self) -> int:
        """What they take in memory."""
        return sum(piece.nbytes for value in self._lists.values() for piece in value)

    @property
    def _lists(self) -> dict[str, list[Tensor]]:
        """What is held of each batch, by field; the last are the gradients."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]  # a dataclass
        return {name: value for name, value in held.items() if isinstance(value, list)}

    def _with(self, lists: Mapping[str, list[Tensor]]) -> "Rows":
        return replace(self, **lists)  # type: ignore[type-var]  # a dataclass

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
        shape: Of the parameter: the table's, (V, O), or (O, V).
        in_columns: Whether the entries are the parameter's columns, as LoRA has them.
    """

    shape: torch.Size
    entries: list[Tensor] = field(default_factory=list)
    output_gradients: list[Tensor] = field(default_factory=list)
    in_columns: bool = False

    def __len__(self) -> int:
        return sum(len(one) for one in self.entries)

    def turned(self, one: Tensor) -> Tensor:
        """A table (V, O) in the parameter's shape, or what has the parameter's shape as a table."""
        return one.mT if self.in_columns else one

    def dense(self) -> Tensor:
        total = self.turned(torch.zeros(len(self), *self.shape))
        start = 0
        for entries_NT, gradients_NTO in zip(self.entries, self.output_gradients, strict=True):
            for row, (entries_T, gradients_TO) in enumerate(zip(entries_NT, gradients_NTO, strict=True), start=start):
                total[row].index_add_(0, entries_T.cpu(), gradients_TO.cpu())
            start += len(entries_NT)
        return self.turned(total)

    def weighted_sum(self, weights_N: Tensor) -> Tensor:
        total, start = self.turned(torch.zeros(self.shape)), 0
        for entries_NT, gradients_NTO in zip(self.entries, self.output_gradients, strict=True):
            weights = weights_N[start : start + len(entries_NT)].to(gradients_NTO)
            start += len(entries_NT)
            weighted = (gradients_NTO * weights[:, None, None]).flatten(0, 1)
            total.index_add_(0, entries_NT.flatten().cpu(), weighted.cpu())
        return self.turned(total)


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


# a layer, how many entries of its output's first dimension a pair has, and whether there are several pairs
_Use = tuple[nn.Module, int, bool]


@dataclass(frozen=True, eq=False)
class _Call:
    """One use of a layer in a forward pass.

    Attributes:
        layer: The layer.
        inputs: What it read.
        shape: Of its output.
        edge: Where autograd knows its output, whatever is done to it in place afterwards.
        use: In which way it is used.
    """

    layer: nn.Module
    inputs: Tensor
    shape: torch.Size
    edge: GradientEdge
    use: _Use


class PairGradients:
    """Collects, for an adapter's trainable weights, the gradients of single pairs, in evaluation mode.

    A parameter whose rows turn out to be unknown has none from then on.
    """

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.names = {id(p): name for name, p in adapter.named_parameters() if p.requires_grad}
        self._unknown: set[str] = set()  # parameters of layers that seem to be understood, and are used otherwise
        self._first: set[str] | None = None  # those that the first batch gave rows of
        self._compared: set[_Use] = set()  # uses of layers that were right

    @property
    def left(self) -> list[str]:
        """Names of the trainable parameters that no hook understands: they stay as they are."""
        understood = {name for layer in self._layers() for name in self._own(layer)}
        return [name for name in self.names.values() if name not in understood]

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
            for rows, added in zip(collected, self._of_batch(batch, scalars), strict=True):
                for name, one in added.items():
                    rows[name] = rows[name].followed_by([one]) if name in rows else one
        return [{name: one for name, one in rows.items() if name not in self._unknown} for rows in collected]

    def fitting(self, longest: Sequence[Pair], scalars: Sequence[Scalars], batch_size: int, most_bytes: int) -> int:
        """How many pairs' gradients fit into ``most_bytes``, as the largest of ``longest`` tell; at least one."""
        each, start, size = 1.0, 0, min(MEASURED, batch_size)
        while start < len(longest):
            some = longest[start : start + size]
            every = [rows for of_scalar in self.of(some, scalars, batch_size) for rows in of_scalar.values()]
            each = max(each, sum(rows.nbytes for rows in every) / len(some))
            start, size = start + size, max(1, min(batch_size, int(most_bytes / each)))
        return max(1, int(most_bytes / each))

    def pieces(
        self, pairs: Sequence[Pair], scalars: Sequence[Scalars], batch_size: int, fitting: int
    ) -> Iterator[Mapping[str, Rows]]:
        """Rows of at most ``fitting`` pairs at a time, those of the numbers one after the other."""
        pieces = math.ceil(len(pairs) / fitting)
        for piece in range(pieces):  # no name for what is yielded: it would be held while the next is made
            yield _one_after_the_other(self.of(pairs[piece::pieces], scalars, batch_size))

    def _layers(self) -> list[nn.Module]:
        """Those that are understood as they are now: norms of batches are in evaluation mode alone."""
        return [layer for layer in self.adapter.modules() if self._own(layer) and _is_understood(layer)]

    def _own(self, layer: nn.Module) -> set[str]:
        """Names of a layer's own parameters that are trained and not unknown."""
        own = (self.names.get(id(p), "") for p in _parameters(layer).values() if p.requires_grad)
        return set(own) - self._unknown - {""}

    def _of_batch(self, batch: Batch, scalars: Sequence[Scalars]) -> list[dict[str, Rows]]:
        """Rows of one batch, compared with autograd's gradients as long as these have not told that they are right."""
        every: list[dict[str, Rows]] = []
        unsure: set[_Use] = set()
        with self._recording(len(batch)) as calls:
            outputs = self.adapter(batch)
        for number, scalar in enumerate(scalars):
            values_B = scalar(outputs, batch)
            gradients: Sequence[Tensor | None] = [None] * len(calls)
            if calls and values_B.requires_grad:  # a head may be trained that one number does not pass through
                gradients = torch.autograd.grad(
                    values_B.sum(),
                    [call.edge for call in calls],
                    retain_graph=number + 1 < len(scalars),
                    allow_unused=True,
                )
            every.append(self._rows(calls, gradients, len(batch)))
            for call, gradient in zip(calls, gradients, strict=True):
                if call.use not in self._compared and gradient is not None and gradient.any():
                    unsure.add(call.use)
        if unsure or self._first is None:
            self._compare(batch, scalars, every, unsure)
        if self._first is None:
            self._first = set(every[0])
        self._unknown |= self._first ^ set(every[0])  # of the pairs of other batches there are none
        return every

    def _compare(
        self,
        batch: Batch,
        scalars: Sequence[Scalars],
        every: Sequence[Mapping[str, Rows]],
        unsure: Set[_Use],
    ) -> None:
        """Find parameters of which rows do not sum up, with random weights, to what autograd says of such a sum.

        At first they are those of all layers: code may read a weight and never call its layer.
        """
        layers = self._layers() if self._first is None else {layer for layer, *_ in unsure}
        asked = {name for layer in layers for name in self._own(layer)}
        parameters = {name: p for name, p in self.adapter.named_parameters() if name in asked}
        with torch.enable_grad():
            outputs = self.adapter(batch)
            values_SB = torch.stack([scalar(outputs, batch) for scalar in scalars])
        if not parameters or not values_SB.requires_grad:
            return
        weights_SB = torch.randn(values_SB.shape, generator=torch.Generator().manual_seed(0))
        total = (weights_SB.to(values_SB) * values_SB).sum()
        expected = torch.autograd.grad(total, list(parameters.values()), materialize_grads=True)
        whole = math.hypot(*(gradient.norm().item() for gradient in expected))
        if not math.isfinite(whole):
            return
        self._compared |= unsure
        for (name, parameter), gradient in zip(parameters.items(), expected, strict=True):
            both = zip(every, weights_SB, strict=True)
            told = sum(rows[name].weighted_sum(weights_B) for rows, weights_B in both if name in rows)
            allowed = DIFFERS * gradient.norm().item() + CANCELS * torch.finfo(parameter.dtype).eps * whole
            if (gradient.cpu() - told).norm().item() > allowed:
                self._unknown.add(name)

    @contextmanager
    def _recording(self, size: int) -> Iterator[list[_Call]]:
        calls: list[_Call] = []

        def hook(layer: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, Tensor], output: Tensor) -> Tensor:
            inputs = (given[0] if given else named["input"]).detach()
            if not output.requires_grad or not output.numel():  # no number depends on it
                return output
            if isinstance(layer, nn.Embedding) and size > 1 and inputs.numel() > 1 and len(inputs) == 1:
                # one lookup for the whole batch, as of positions; copied, since the model may change it in place
                output = output.expand(size, *output.shape[1:]).clone()
                inputs = inputs.expand(size, *inputs.shape[1:])
            if len(output) % size or output.ndim < _least_dimensions(layer):
                self._unknown |= self._own(layer)
                return output
            use = (layer, len(output) // size, size > 1)
            calls.append(_Call(layer, inputs, output.shape, get_gradient_edge(output), use))
            return output

        handles = [layer.register_forward_hook(hook, with_kwargs=True) for layer in self._layers()]
        try:
            with torch.enable_grad():
                yield calls
        finally:
            for handle in handles:
                handle.remove()

    def _rows(self, calls: Sequence[_Call], gradients: Sequence[Tensor | None], size: int) -> dict[str, Rows]:
        """Rows of one batch; several uses of a layer are several places."""
        pieces: dict[str, list[tuple[Rows, Tensor, Tensor]]] = {}
        for call, gradient in zip(calls, gradients, strict=True):
            known = self._own(call.layer)
            if not known:
                continue
            if gradient is None:
                gradient = next(call.layer.parameters()).new_zeros(call.shape)
            for parameter, empty, first, second in _parts(call.layer, call.inputs, gradient, size):
                if self.names.get(id(parameter)) in known:
                    pieces.setdefault(self.names[id(parameter)], []).append((empty, first, second))
        rows: dict[str, Rows] = {}
        for name, every in pieces.items():
            if len({type(empty) for empty, *_ in every}) > 1:  # a table that a linear layer reads too
                self._unknown.add(name)
                continue
            rows[name] = kept = every[0][0]
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
        return rows


def _one_after_the_other(every: Sequence[Mapping[str, Rows]]) -> Mapping[str, Rows]:
    first, *others = every
    if not others:  # what is not copied is not held twice
        return first
    return {name: one.followed_by([other[name] for other in others]) for name, one in first.items()}


def _seen_places(firsts: Tensor, gradients_NTO: Tensor) -> tuple[Tensor, Tensor]:
    """Those at which any gradient is not zero: at padding all are. Where all are everywhere, one of them."""
    seen_T = gradients_NTO.ne(0).any(dim=2).any(dim=0)
    if seen_T.all():
        return firsts, gradients_NTO
    if not seen_T.any():
        return firsts[:, :1], gradients_NTO[:, :1]
    return firsts[:, seen_T], gradients_NTO[:, seen_T]


def _is_understood(layer: nn.Module) -> bool:
    """Whether a layer is of a kind that is known, and computes what its kind does."""
    if _is_beside_table(layer):
        return True
    own = set(_parameters(layer))
    if "weight" not in own or own - {"weight", "bias"}:  # it may be computed from others, as by weight norm
        return False
    match layer:
        case nn.Linear():  # torch's attention has one of a class of its own, and reads its weight itself
            return type(layer) is nn.Linear
        case nn.Conv2d():
            return type(layer).forward is nn.Conv2d.forward and layer.padding_mode == "zeros"
        case nn.Embedding():
            return type(layer).forward is nn.Embedding.forward and not layer.sparse
        case nn.LayerNorm():
            return type(layer).forward is nn.LayerNorm.forward or _data_format(layer) is not None
        case nn.GroupNorm():
            return type(layer).forward is nn.GroupNorm.forward
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            is_fixed = not layer.training and layer.track_running_stats
            return type(layer).forward is nn.BatchNorm2d.forward and is_fixed
    return False


def _parameters(layer: nn.Module) -> dict[str, nn.Parameter]:
    """A layer's own, by name; of LoRA beside a table those that it looks up and multiplies by itself."""
    if _is_beside_table(layer):
        return {name: getattr(layer, name)[OF_LORA] for name in ("lora_embedding_A", "lora_embedding_B")}
    return dict(layer.named_parameters(recurse=False))


def _is_beside_table(layer: nn.Module) -> bool:
    """Whether a layer is LoRA of peft's beside a table: no part of it is a layer by itself."""
    return OF_LORA in getattr(layer, "lora_embedding_A", ())


def _least_dimensions(layer: nn.Module) -> int:
    """Of an output that holds more than one pair."""
    match layer:
        case nn.Conv2d():
            return 4
        case nn.LayerNorm():
            return 1 + len(layer.normalized_shape)
    return 2


def _parts(
    layer: nn.Module, inputs: Tensor, gradient: Tensor, size: int
) -> Iterator[tuple[nn.Parameter, Rows, Tensor, Tensor]]:
    """Each parameter of a layer, with empty rows of its kind and what is to be added to them."""
    own = _parameters(layer)
    if _is_beside_table(layer):
        yield from _parts_of_lora(layer, inputs.reshape(size, -1), gradient.reshape(size, -1, gradient.shape[-1]))
        return
    weight, bias = own["weight"], own.get("bias")
    match layer:
        case nn.Embedding():
            entries_NT = inputs.reshape(size, -1)
            gradient_NTO = gradient.reshape(size, -1, gradient.shape[-1])
            yield weight, TableRows(weight.shape), entries_NT, _without_padding(layer, entries_NT, gradient_NTO)
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
            if isinstance(layer, nn.LayerNorm):
                if _data_format(layer) == "channels_first":  # (B, channels, height, width)
                    inputs, gradient = inputs.movedim(1, -1), gradient.movedim(1, -1)
                normal = _normalised(layer, inputs)
            else:
                normal, gradient = _normalised(layer, inputs).movedim(1, -1), gradient.movedim(1, -1)
            normal_NTO = normal.reshape(size, -1, weight.numel())
            gradient_NTO = gradient.reshape(size, -1, weight.numel())
            yield weight, VectorRows(weight.shape), normal_NTO, (gradient_NTO * normal_NTO).sum(dim=1)
    if bias is not None:
        yield bias, VectorRows(bias.shape), gradient_NTO, gradient_NTO.sum(dim=1)


def _parts_of_lora(
    layer: Any, entries_NT: Tensor, gradient_NTO: Tensor
) -> Iterator[tuple[nn.Parameter, Rows, Tensor, Tensor]]:
    """Of LoRA beside a table: an entry v becomes v + scale a B', with its own column a of A."""
    a_RV, b_OR = layer.lora_embedding_A[OF_LORA], layer.lora_embedding_B[OF_LORA]
    scaled_NTO = gradient_NTO * layer.scaling[OF_LORA]
    within_NTR = _without_padding(layer.base_layer, entries_NT, scaled_NTO @ b_OR.detach())
    yield a_RV, TableRows(a_RV.shape, in_columns=True), entries_NT, within_NTR
    yield b_OR, MatrixRows(b_OR.shape), F.embedding(entries_NT, a_RV.detach().T), scaled_NTO


def _without_padding(table: nn.Embedding, entries_NT: Tensor, gradient_NTO: Tensor) -> Tensor:
    if table.padding_idx is None:
        return gradient_NTO
    return gradient_NTO * (entries_NT != table.padding_idx)[..., None]


def _columns(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    if layer.padding == "same":
        inputs = F.pad(inputs, layer._reversed_padding_repeated_twice)
    padding = (0, 0) if isinstance(layer.padding, str) else layer.padding
    return F.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)


def _data_format(layer: nn.LayerNorm) -> str | None:
    """Where a subclass, as ConvNeXt's, has the channels over which it normalises."""
    told = getattr(layer, "data_format", None)
    return told if told in ("channels_first", "channels_last") else None


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
