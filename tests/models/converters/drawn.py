"""Random tensors by the names of a published layout."""

import torch
from torch import Tensor


class Drawn:
    """Tensors by name, drawn one after the other.

    Attributes:
        tensors: Those so far.
        around: What the weights of norms lie around.
    """

    def __init__(self, *, seed: int = 0, scale: float = 0.2, around: float = 1.0) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.around = around
        self._scale = scale
        self._generator = torch.Generator().manual_seed(seed)

    def add(self, name: str, *shape: int) -> None:
        self.tensors[name] = torch.randn(*shape, generator=self._generator) * self._scale

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.add(f"{name}.weight", outputs, inputs)
        self.add(f"{name}.bias", outputs)

    def norm(self, name: str, width: int) -> None:
        self.add(f"{name}.weight", width)
        self.tensors[f"{name}.weight"] += self.around
        self.add(f"{name}.bias", width)

    def patches(self, name: str, width: int, patch: int, *, places: int) -> None:
        """A transformer's entrance: positions, and the convolution of patches."""
        self.add(f"{name}.pos_embed", 1, places, width)
        self.add(f"{name}.patch_embed.proj.weight", width, 3, patch, patch)
        self.add(f"{name}.patch_embed.proj.bias", width)

    def blocks(self, name: str, width: int, inner: int, layers: int) -> None:
        """The layers of a vision transformer as timm names them, and the norm behind them."""
        for number in range(layers):
            block = f"{name}.blocks.{number}"
            self.norm(f"{block}.norm1", width)
            self.linear(f"{block}.attn.qkv", 3 * width, width)
            self.linear(f"{block}.attn.proj", width, width)
            self.norm(f"{block}.norm2", width)
            self.linear(f"{block}.mlp.fc1", inner, width)
            self.linear(f"{block}.mlp.fc2", width, inner)
        self.norm(f"{name}.norm", width)
