"""Entries of trainable parameters that a run must leave as they are, to the bit."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class FrozenEntries:
    """Keeps single entries of parameters fixed through any optimizer's steps.

    Their gradients are zeroed before clipping, so that they take no part in the norm, and their values
    put back after each step, since weight decay moves entries without any gradient.
    """

    def __init__(self, module: nn.Module, masks: Mapping[str, Tensor] | None) -> None:
        """Note the values that are to stay.

        Args:
            module: Holds the parameters, with the values to keep, on their device.
            masks: For parameters by name, which entries may change (bool, of their shape). Parameters that
                are not named may change as a whole.

        Raises:
            ValueError: A mask is for no parameter, or of another shape.
        """
        parameters = dict(module.named_parameters())
        self._entries: list[tuple[Tensor, Tensor, Tensor]] = []
        for name, mask in (masks or {}).items():
            if name not in parameters or parameters[name].shape != mask.shape:
                raise ValueError(f"the mask {name!r} of shape {list(mask.shape)} fits no parameter")
            parameter = parameters[name]
            stays = ~mask.to(parameter.device)
            self._entries.append((parameter, stays, parameter.detach()[stays].clone()))

    def zero_gradients(self) -> None:
        """Before clipping and the optimizer's step."""
        for parameter, stays, _ in self._entries:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(stays, 0)

    @torch.no_grad()
    def restore(self) -> None:
        """After the optimizer's step."""
        for parameter, stays, values in self._entries:
            parameter[stays] = values
