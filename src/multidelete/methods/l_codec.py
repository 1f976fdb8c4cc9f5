"""L-CODEC unlearning: a Newton-type step on the units that the loss of the forget pairs depends on."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from multidelete.core.config import check_settings
from multidelete.core.errors import UnsupportedError
from multidelete.core.runtime import alone, in_float64, make_accelerator, peak_bytes, sum_over_processes
from multidelete.core.settings import LoopSettings
from multidelete.core.words import counted
from multidelete.data.pairs import Batch, Pair
from multidelete.methods.base import Job, Method, Outcome, Planned, sample_retain
from multidelete.methods.conditional_dependence import foci
from multidelete.methods.importance import draw_gallery, each_gradient
from multidelete.methods.search import Factor, Search
from multidelete.models.base import Adapter

Unit = tuple[str, int]  # a linear or convolutional layer, and one of its outputs
Layer = nn.Linear | nn.Conv2d
NOISE = 0.1  # deviation of what is added to prepared pictures, as in the official code


@dataclass(frozen=True, kw_only=True)
class LCODEC(Method):
    """Select units by conditional dependence of the loss on their activations; remove the forget pairs from them alone.

    Mehta, Pal, Singh and Ravi: "Deep Unlearning via Randomized Conditionally Independent Hessians",
    CVPR 2022, arXiv:2204.07655. The inputs of what is to be forgotten are perturbed, activations and
    losses recorded, units selected by `foci`, and the weights w of those alone become

        w + |F| / |R| (H_R + damping I)^-1 g_F,

    with g_F the mean gradient of the forget pairs' loss and H_R the Hessian of the retain pairs'.

    As in the official code (the paper's text was not at hand): inputs with Gaussian noise of deviation 0.1, units
    that are rows of linear and convolutional layers, forward selection by CODEC until the coefficient is
    not above 0, the form of the step, the damping.

    Differs from it, and is ours: one step for the whole request, not one for each sample; candidates are the units
    with the largest gradient, not all; noise is on pictures only, words are not replaced, and the forget pairs'
    own differences tell the rest; H_R is the mean outer product of single retain pairs' gradients (an option of the
    code, for one sample; its finite difference subtracts a gradient from itself). No noise is added, nothing certified.

    Attributes:
        candidates: Units to select from, >= 1.
        units: Most units to select, >= 1.
        observations: Perturbed forget pairs to observe, >= 8.
        damping: Added to the Hessian's diagonal, > 0: the smaller, the longer the step.
    """

    name: ClassVar[str] = "l_codec"
    trains: ClassVar[bool] = False
    search: ClassVar[Search] = {
        "damping": Factor(0.01, 10),
        "units": Factor(0.5, 4),
    }
    candidates: int = 128
    units: int = 32
    observations: int = 96
    damping: float = 0.45

    def __post_init__(self) -> None:
        rules = {name: (getattr(self, name) >= 1, "1 or more") for name in ("candidates", "units")}
        rules["damping"] = (self.damping > 0, "greater than 0")
        check_settings(self, rules | {"observations": (self.observations >= 8, "8 or more, to tell dependence at all")})

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(retain_sample=0)  # each sampled pair is a backward pass of its own

    def planned(self, job: Job) -> Planned:
        sampled = sample_retain(job)
        each = 1 + len(draw_gallery(job.adapter, sampled, job.seed))
        return Planned(0, (2 * len(job.forget) + len(sampled)) * each, self.observations * each)

    def run(self, job: Job) -> Outcome:
        """Select, then step.

        Raises:
            UnsupportedError: No linear or convolutional layer is trainable, or no unit tells anything of the loss.
        """
        started, adapter, sampled = time.perf_counter(), job.adapter, sample_retain(job)
        adapter.to(make_accelerator(device=job.settings.device).device)
        gallery = draw_gallery(adapter, sampled, job.seed)
        layers = {
            name: m for name, m in adapter.named_modules()
            if isinstance(m, Layer) and m.weight.requires_grad
        }  # fmt: skip
        if not layers:
            raise UnsupportedError(
                "l_codec changes units of linear and convolutional layers; none of these is trained."
            )
        every = [(name, row) for name, layer in layers.items() for row in range(len(layer.weight))]
        slope_P = _mean_slopes(adapter, job.forget.pairs, gallery, layers)
        top = [every[at] for at in slope_P.argsort(descending=True, stable=True)[: self.candidates].tolist()]
        activations_NP, loss_N = self.observe(adapter, job.forget.pairs, gallery, top, layers, job.seed)
        chosen = [top[at] for at in foci(activations_NP, loss_N, self.units)]
        if not chosen:
            raise UnsupportedError(
                f"the loss of the forget pairs depends on none of the {counted(len(top), 'units')} with the largest "
                "gradient. Raise observations or candidates, or use another method."
            )
        forget_W = _mean_gradient(adapter, job.forget.pairs, gallery, chosen, layers)
        retain_SW = _gradients(adapter, sampled.pairs, gallery, chosen, layers)
        step_W = len(job.forget) / len(job.retain) * damped_newton(retain_SW, forget_W, self.damping)
        _add(step_W, chosen, layers)
        backward = 2 * len(job.forget) + len(sampled)
        return Outcome(
            adapter=adapter,
            history=[{"units": float(len(chosen)), "step": float(step_W.norm())}],
            pairs_forward=self.observations * (1 + len(gallery)),
            pairs_backward=backward * (1 + len(gallery)),
            reference_s=0.0,
            wall_s=time.perf_counter() - started,
            peak_bytes=peak_bytes(adapter.device),
        )

    @torch.no_grad()
    def observe(
        self,
        adapter: Adapter,
        pairs: Sequence[Pair],
        gallery: Sequence[Pair],
        units: Sequence[Unit],
        layers: Mapping[str, Layer],
        seed: int,
    ) -> tuple[Tensor, Tensor]:
        """Activations (N, P) of the units and losses (N,) of pairs in turn, pictures perturbed."""
        generator, rows, losses = torch.Generator().manual_seed(seed), [], []
        adapter.eval()
        for number in range(self.observations):
            batch = adapter.collate([pairs[number % len(pairs)], *gallery])
            noisy = _perturbed(batch, generator).to(adapter.device)
            with _recorded({name: layers[name] for name, _ in units}) as seen, alone():
                losses.append(adapter.task_loss(adapter(noisy), noisy)[0])
            rows.append(torch.stack([seen[name][row] if name in seen else losses[-1] * 0 for name, row in units]))
        return torch.stack(rows).float(), torch.stack(losses).float()


def damped_newton(rows_SW: Tensor, gradient_W: Tensor, damping: float) -> Tensor:
    """(H + damping I)^-1 g with H the mean outer product of the rows.

    Solved among the fewer of the S rows, by the Woodbury identity, and the W weights.

    >>> damped_newton(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([3.0, 1.0]), 1.0)
    tensor([1., 1.])
    """
    rows, gradient = in_float64(rows_SW) / len(rows_SW) ** 0.5, in_float64(gradient_W)
    if rows.shape[1] <= len(rows):
        whole = rows.T @ rows + damping * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        solved: Tensor = torch.linalg.solve(whole, gradient)
        return solved.to(gradient_W)
    inner = rows @ rows.T + damping * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    step: Tensor = (gradient - rows.T @ torch.linalg.solve(inner, rows @ gradient)) / damping
    return step.to(gradient_W)


def _gradients(
    adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], units: Sequence[Unit], layers: Mapping[str, Layer]
) -> Tensor:
    """Each pair's gradient by the weights and biases of the units, (N, W)."""
    rows_NW = torch.zeros(len(pairs), sum(_entries(layers[name]) for name, _ in units), device=adapter.device)
    for position, of_layer in _each_of_layers(adapter, pairs, gallery, units, layers):
        rows_NW[position] = torch.cat([of_layer[name][row] for name, row in units])
    return sum_over_processes(rows_NW)


def _mean_gradient(
    adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], units: Sequence[Unit], layers: Mapping[str, Layer]
) -> Tensor:
    """Their mean over the pairs, (W,)."""
    total_W = torch.zeros(sum(_entries(layers[name]) for name, _ in units), device=adapter.device)
    for _, of_layer in _each_of_layers(adapter, pairs, gallery, units, layers):
        total_W += torch.cat([of_layer[name][row] for name, row in units])
    return sum_over_processes(total_W) / len(pairs)


def _mean_slopes(
    adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], layers: Mapping[str, Layer]
) -> Tensor:
    """The mean over the pairs of the norm of the gradient by each unit, one layer after the other, (P,)."""
    every = [(name, 0) for name in layers]
    total_P = torch.zeros(sum(len(layer.weight) for layer in layers.values()), device=adapter.device)
    for _, of_layer in _each_of_layers(adapter, pairs, gallery, every, layers):
        total_P += torch.cat([of_layer[name].norm(dim=1) for name in layers])
    return sum_over_processes(total_P) / len(pairs)


def _each_of_layers(
    adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], units: Sequence[Unit], layers: Mapping[str, Layer]
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Position of each pair that is this process's share, and its gradient by the layers, a row for each unit."""
    names = list(dict.fromkeys(name for name, _ in units))
    parameters = [p for name in names for p in _own(layers[name])]
    for position, gradients in each_gradient(adapter, pairs, gallery, parameters, "gradients of units"):
        filled = iter(torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True))
        yield (
            position,
            {
                name: torch.cat([next(filled).reshape(len(layers[name].weight), -1) for _ in _own(layers[name])], dim=1)
                for name in names
            },
        )


def _entries(layer: Layer) -> int:
    """Weights and biases of one unit."""
    return sum(p[0].numel() for p in _own(layer))


@torch.no_grad()
def _add(step_W: Tensor, units: Sequence[Unit], layers: Mapping[str, Layer]) -> None:
    """Add the step to the units' weights and biases, in the order of `_gradients`."""
    at = 0
    for name, row in units:
        for parameter in _own(layers[name]):
            size = parameter[row].numel()
            parameter[row] += step_W[at : at + size].view_as(parameter[row])
            at += size


def _own(layer: Layer) -> list[Tensor]:
    """The layer's weight, and its bias where it has one that is trained."""
    return [layer.weight] + ([layer.bias] if layer.bias is not None and layer.bias.requires_grad else [])


def _perturbed(batch: Batch, generator: torch.Generator) -> Batch:
    """The batch with noise on the first pair's floating-point inputs: its pictures."""
    inputs = {m: dict(tensors) for m, tensors in batch.inputs.items()}
    for tensors in inputs.values():
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                noise = NOISE * torch.randn(tensor[:1].shape, generator=generator)
                tensors[name] = torch.cat([tensor[:1] + noise, tensor[1:]])
    return replace(batch, inputs=inputs)


@contextmanager
def _recorded(layers: Mapping[str, Layer]) -> Iterator[dict[str, Tensor]]:
    """What the layers put out for the first row of their first call: a mean over tokens or positions, (outputs,)."""
    seen: dict[str, Tensor] = {}

    def record(name: str, layer: Layer, output: Tensor) -> None:
        first = output[0].flatten(1).mean(dim=1) if isinstance(layer, nn.Conv2d) else output[0]
        seen.setdefault(name, first if first.ndim == 1 else first.flatten(0, -2).mean(dim=0))

    handles = [
        layer.register_forward_hook(lambda one, _, output, name=name: record(name, one, output))
        for name, layer in layers.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
