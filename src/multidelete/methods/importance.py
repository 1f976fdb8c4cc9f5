"""How much each parameter matters to given pairs: diagonal Fisher information and gradient saliency.

Both are means over single pairs: of squared gradients, and of gradients. Squaring a gradient that has
been averaged, over a batch or over processes, would shrink it, so there is one backward pass for each
pair and no batch; processes take pairs in turn, square by themselves, and add up afterwards.

**Whose negatives.** A contrastive or matching loss of one pair needs other pairs. They are a fixed
gallery: the loss of pair i is that of the first row of the batch (i, gallery), and its gradient
flows through all of it. Members that the pair shares with the gallery are no negatives, as in
training. A classifier's loss needs no others, and its gallery is empty.

Values depend on the gallery, so those that are compared with each other must have the same one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.core.progress import progress_bar
from multidelete.core.runtime import alone, process_index, sum_over_processes, world_size
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairDataset
from multidelete.models.base import Adapter

GALLERY = 15  # with the pair itself 16: as many as a small training step holds


def draw_gallery(adapter: Adapter, pool: PairDataset, seed: int, size: int = GALLERY) -> list[Pair]:
    """The pairs that every single pair's loss is computed among; none for classifiers.

    Args:
        adapter: The model.
        pool: Where they are drawn from: retain pairs, which may stay what they are.
        seed: Of the draw.
        size: How many, >= 0; a smaller pool is taken whole.
    """
    if adapter.task == "classification":
        return []
    rng = stream(seed, Stream.GALLERY)
    chosen = rng.choice(len(pool), min(size, len(pool)), replace=False)
    return pool[sorted(chosen.tolist())]


def pair_loss(adapter: Adapter, pair: Pair, gallery: Sequence[Pair]) -> Tensor:
    """The task loss of one pair among the gallery, a scalar, in nats."""
    batch = adapter.collate([pair, *gallery]).to(adapter.device)
    return adapter.task_loss(adapter(batch), batch)[0]


def importance(
    adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], title: str = "importance"
) -> dict[str, Tensor]:
    """Diagonal of the empirical Fisher information: the mean over pairs of the squared gradient of their loss.

    Args:
        adapter: The model; it is unchanged, and asked in evaluation mode.
        pairs: At least one.
        gallery: Of `draw_gallery`.
        title: Shown beside the progress bar.

    Returns:
        For each trainable parameter, by name, a tensor of its shape, >= 0; 0 where no loss depends on it.

    Raises:
        DivergedError: A pair's loss is not finite.
    """
    return _mean(adapter, pairs, gallery, torch.square, title)


def mean_gradient(
    adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], title: str = "gradients"
) -> dict[str, Tensor]:
    """The mean over pairs of the gradient of their loss; arguments and form as of `importance`."""
    return _mean(adapter, pairs, gallery, lambda gradient: gradient, title)


def _mean(
    adapter: Adapter,
    pairs: Sequence[Pair],
    gallery: Sequence[Pair],
    what: Callable[[Tensor], Tensor],
    title: str,
) -> dict[str, Tensor]:
    """Mean over single pairs of a function of their gradients."""
    if not pairs:
        raise ValueError("a mean over pairs needs at least one")
    names, parameters = trainable(adapter)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for _, gradients in each_gradient(adapter, pairs, gallery, parameters, title):
        for total, gradient in zip(sums, gradients, strict=True):
            if gradient is not None:
                total += what(gradient)
    return {name: sum_over_processes(total) / len(pairs) for name, total in zip(names, sums, strict=True)}


def each_gradient(
    adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], parameters: Sequence[Tensor], title: str
) -> Iterator[tuple[int, Sequence[Tensor | None]]]:
    """Position and gradients of one pair after the other, of those that are this process's share.

    Args:
        adapter: The model, asked in evaluation mode.
        pairs: The pairs of all processes.
        gallery: Of `draw_gallery`.
        parameters: What to differentiate by; None stands for those that a pair's loss does not depend on.
        title: Shown beside the progress bar.

    Raises:
        DivergedError: A pair's loss or gradient is not finite.
    """
    was_training = adapter.training
    adapter.eval()
    mine = range(process_index(), len(pairs), world_size())
    with progress_bar(title, len(mine)) as bar:
        for done, position in enumerate(mine, start=1):
            with alone():
                loss = pair_loss(adapter, pairs[position], gallery)
            if not torch.isfinite(loss):
                raise DivergedError(
                    f"the loss of pair {pairs[position].id} is {loss.item()}: no gradient can be computed. "
                    "Give a model whose losses are finite."
                )
            gradients: Sequence[Tensor | None] = torch.autograd.grad(loss, list(parameters), allow_unused=True)
            if not all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients):
                raise DivergedError(
                    f"the loss of pair {pairs[position].id} is finite, and its gradient is not. "
                    "Give a model that is not about to diverge."
                )
            yield position, gradients
            bar.to(done)
    adapter.train(was_training)


def trainable(adapter: Adapter) -> tuple[list[str], list[Tensor]]:
    """Names and tensors of the parameters that may change."""
    chosen = [(name, parameter) for name, parameter in adapter.named_parameters() if parameter.requires_grad]
    return [name for name, _ in chosen], [parameter for _, parameter in chosen]


def saliency_mask(gradients: Mapping[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """Which entries have the largest absolute gradients, over all parameters together.

    Args:
        gradients: Of `mean_gradient`.
        fraction: Share of the entries to choose, in (0, 1]; of equal ones at the border all, unless
            they are 0: entries without any gradient are never chosen.

    Returns:
        For each parameter a bool tensor of its shape.

    >>> saliency_mask({"w": torch.tensor([[0.5, -3.0], [0.0, 1.0]])}, 0.5)
    {'w': tensor([[False,  True],
            [False,  True]])}
    """
    sizes = torch.cat([gradient.detach().abs().flatten() for gradient in gradients.values()])
    chosen = max(1, round(fraction * len(sizes)))
    border = sizes.kthvalue(len(sizes) - chosen + 1).values
    return {name: (gradient.abs() >= border) & (gradient != 0) for name, gradient in gradients.items()}
