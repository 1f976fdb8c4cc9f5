"""The mean loss of given pairs, and its gradient, in batches.

The loss of a pair is minus its log-likelihood (`multidelete.methods.distributions`): the family's own, of which only
the wrong pairs of a matching head are left out, since it would also rise where these came to match. Where no single
pair's gradient is asked for, a batch needs one backward pass. A pair's negatives are the gallery, as in
`multidelete.methods.importance`, and the other pairs of its batch. Processes take whole batches in turn, so that any
number of them computes the same.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.core.progress import progress_bar
from multidelete.core.runtime import alone, process_index, sum_over_processes, world_size
from multidelete.core.words import counted
from multidelete.data.pairs import Pair
from multidelete.methods.distributions import log_likelihood_B
from multidelete.methods.importance import trainable
from multidelete.models.base import Adapter, evaluating
from multidelete.training.step import Part

BATCH = 32  # pairs beside the gallery


def pairs_asked(pairs: int, gallery: int) -> int:
    """How many pairs the model is asked about, by either function, for so many pairs."""
    return pairs + -(-pairs // BATCH) * gallery


def loss_gradient(
    adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], title: str
) -> tuple[float, dict[str, Tensor]]:
    """The pairs' mean loss, in nats, and its gradient.

    Args:
        adapter: The model; it is unchanged, and asked in evaluation mode.
        pairs: At least one.
        gallery: Of `draw_gallery`.
        title: Shown beside the progress bar.

    Returns:
        The loss, and for each trainable parameter, by name, a tensor of its shape; 0 where no loss depends on it.

    Raises:
        DivergedError: A loss or its gradient is not finite.
    """
    names, parameters = trainable(adapter)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    total = torch.zeros((), device=adapter.device)
    with evaluating(adapter), torch.enable_grad():
        for loss in _losses(adapter, pairs, gallery, title):
            total += loss.detach()
            if not loss.requires_grad:  # nothing that it depends on is trained
                continue
            for one, gradient in zip(sums, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
                if gradient is not None:
                    one += gradient
    sums, total = [sum_over_processes(one) for one in sums], sum_over_processes(total)
    if not all(torch.isfinite(one).all() for one in [total, *sums]):
        raise DivergedError(
            f"the loss of {counted(len(pairs), 'pairs')} is {total.item() / len(pairs)}, and it or its gradient is not "
            "finite. Give a model whose losses are finite."
        )
    return total.item() / len(pairs), {name: one / len(pairs) for name, one in zip(names, sums, strict=True)}


def mean_loss(adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], title: str) -> float:
    """The pairs' mean loss alone, finite or not; arguments as of `loss_gradient`."""
    total = torch.zeros((), device=adapter.device)
    with evaluating(adapter):
        for loss in _losses(adapter, pairs, gallery, title):
            total += loss
    return sum_over_processes(total).item() / len(pairs)


def _losses(adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair], title: str) -> Iterator[Tensor]:
    """The sum of the losses of each batch that is this process's share."""
    mine = range(process_index() * BATCH, len(pairs), world_size() * BATCH)
    with progress_bar(title, len(pairs)) as bar:
        for start in mine:
            with alone():
                loss = _losses_among(adapter, pairs[start : start + BATCH], gallery).sum()
            yield loss
            bar.to(min(start + BATCH, len(pairs)))


def _losses_among(adapter: Adapter, pairs: Sequence[Pair], gallery: Sequence[Pair]) -> Tensor:
    """The loss of each pair among the others and the gallery, (B,)."""
    batch = adapter.collate([*pairs, *gallery]).to(adapter.device)
    outputs = adapter(batch)
    return -log_likelihood_B(Part(batch, outputs, adapter, 1.0), outputs)[: len(pairs)]
