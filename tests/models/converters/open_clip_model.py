"""open_clip's CLIP and SigLIP as plain arithmetic on a file's tensors, written from the published layout."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.converters.drawn import Drawn

SIDE, PATCH, CONTEXT, WORDS, EMBED = 32, 8, 24, 400, 20
VISION, TEXT, LAYERS = 64, 128, 2


def random_tensors(siglip: bool = False, *, part: str = "", seed: int = 0) -> dict[str, Tensor]:
    """Tensors of a tiny model by open_clip's names."""
    drawn = Drawn(seed=seed, scale=0.15)
    made, add, linear, norm = drawn.tensors, drawn.add, drawn.linear, drawn.norm

    def resblocks(name: str, width: int) -> None:
        for number in range(LAYERS):
            block = f"{name}.resblocks.{number}"
            norm(f"{block}.ln_1", width)
            add(f"{block}.attn.in_proj_weight", 3 * width, width)
            add(f"{block}.attn.in_proj_bias", 3 * width)
            linear(f"{block}.attn.out_proj", width, width)
            norm(f"{block}.ln_2", width)
            linear(f"{block}.mlp.c_fc", 2 * width, width)
            linear(f"{block}.mlp.c_proj", width, 2 * width)

    part = "text." if siglip else part
    add(f"{part}positional_embedding", CONTEXT, TEXT)
    add(f"{part}token_embedding.weight", WORDS, TEXT)
    resblocks(f"{part}transformer", TEXT)
    norm(f"{part}ln_final", TEXT)
    made["logit_scale"] = torch.tensor(2.5)
    if not siglip:
        add(f"{part}text_projection", TEXT, EMBED)
        add("visual.class_embedding", VISION)
        add("visual.positional_embedding", (SIDE // PATCH) ** 2 + 1, VISION)
        add("visual.proj", VISION, EMBED)
        add("visual.conv1.weight", VISION, 3, PATCH, PATCH)
        norm("visual.ln_pre", VISION)
        resblocks("visual.transformer", VISION)
        norm("visual.ln_post", VISION)
        return made
    linear(f"{part}text_projection", VISION, TEXT)
    made["logit_bias"] = torch.tensor(-9.0)
    trunk = "visual.trunk"
    drawn.patches(trunk, VISION, PATCH, places=(SIDE // PATCH) ** 2)
    drawn.blocks(trunk, VISION, 2 * VISION, LAYERS)
    add(f"{trunk}.attn_pool.latent", 1, 1, VISION)
    linear(f"{trunk}.attn_pool.q", VISION, VISION)
    linear(f"{trunk}.attn_pool.kv", 2 * VISION, VISION)
    linear(f"{trunk}.attn_pool.proj", VISION, VISION)
    norm(f"{trunk}.attn_pool.norm", VISION)
    linear(f"{trunk}.attn_pool.mlp.fc1", 2 * VISION, VISION)
    linear(f"{trunk}.attn_pool.mlp.fc2", VISION, 2 * VISION)
    return made


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


class Plain:
    """The forward passes."""

    def __init__(self, tensors: Mapping[str, Tensor], *, act: str = "gelu", siglip: bool = False) -> None:
        self.t = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        self.act, self.siglip = ACTIVATIONS[act], siglip
        self.part = "text." if "text.ln_final.weight" in tensors else ""

    def norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.t[f"{name}.weight"], self.t[f"{name}.bias"], eps)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    @staticmethod
    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
        split = [one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in (q, k, v)]
        scores = split[0] @ split[1].transpose(-1, -2) / math.sqrt(split[0].shape[-1])
        weights = (scores if mask is None else scores + mask).softmax(-1)
        return (weights @ split[2]).transpose(1, 2).flatten(2)

    def block(self, x: Tensor, name: str, heads: int, mask: Tensor | None, eps: float) -> Tensor:
        y = self.norm(x, f"{name}.ln_1", eps) @ self.t[f"{name}.attn.in_proj_weight"].T
        q, k, v = (y + self.t[f"{name}.attn.in_proj_bias"]).chunk(3, dim=-1)
        x = x + self.linear(self.attend(q, k, v, heads, mask), f"{name}.attn.out_proj")
        y = self.act(self.linear(self.norm(x, f"{name}.ln_2", eps), f"{name}.mlp.c_fc"))
        return x + self.linear(y, f"{name}.mlp.c_proj")

    def patches(self, pixels: Tensor, name: str) -> Tensor:
        bias = self.t.get(f"{name}.bias")
        return F.conv2d(pixels.double(), self.t[f"{name}.weight"], bias, stride=PATCH).flatten(2).transpose(1, 2)

    def image(self, pixels: Tensor) -> Tensor:
        if self.siglip:
            return self._trunk(pixels)
        x = self.patches(pixels, "visual.conv1")
        x = torch.cat([self.t["visual.class_embedding"].expand(len(x), 1, -1), x], dim=1)
        x = self.norm(x + self.t["visual.positional_embedding"], "visual.ln_pre", 1e-5)
        for number in range(LAYERS):
            x = self.block(x, f"visual.transformer.resblocks.{number}", VISION // 64, None, 1e-5)
        return self.norm(x, "visual.ln_post", 1e-5)[:, 0] @ self.t["visual.proj"]

    def _trunk(self, pixels: Tensor) -> Tensor:
        trunk, heads = "visual.trunk", VISION // 64
        x = self.patches(pixels, f"{trunk}.patch_embed.proj") + self.t[f"{trunk}.pos_embed"]
        for number in range(LAYERS):
            name = f"{trunk}.blocks.{number}"
            q, k, v = self.linear(self.norm(x, f"{name}.norm1", 1e-6), f"{name}.attn.qkv").chunk(3, dim=-1)
            x = x + self.linear(self.attend(q, k, v, heads), f"{name}.attn.proj")
            y = self.act(self.linear(self.norm(x, f"{name}.norm2", 1e-6), f"{name}.mlp.fc1"))
            x = x + self.linear(y, f"{name}.mlp.fc2")
        x, pool = self.norm(x, f"{trunk}.norm", 1e-6), f"{trunk}.attn_pool"
        q = self.linear(self.t[f"{pool}.latent"].expand(len(x), -1, -1), f"{pool}.q")
        k, v = self.linear(x, f"{pool}.kv").chunk(2, dim=-1)
        x = self.linear(self.attend(q, k, v, heads), f"{pool}.proj")
        y = self.act(self.linear(self.norm(x, f"{pool}.norm", 1e-6), f"{pool}.mlp.fc1"))
        return (x + self.linear(y, f"{pool}.mlp.fc2"))[:, 0]

    def text(self, ids: Tensor) -> Tensor:
        length, eps = ids.shape[1], 1e-6 if self.siglip else 1e-5
        x = self.t[f"{self.part}token_embedding.weight"][ids] + self.t[f"{self.part}positional_embedding"][:length]
        mask = None if self.siglip else torch.full((length, length), float("-inf"), dtype=torch.double).triu(1)
        for number in range(LAYERS):
            x = self.block(x, f"{self.part}transformer.resblocks.{number}", TEXT // 64, mask, eps)
        x = self.norm(x, f"{self.part}ln_final", eps)
        if self.siglip:
            return self.linear(x[:, -1], f"{self.part}text_projection")
        return x[torch.arange(len(x)), ids.argmax(dim=1)] @ self.t[f"{self.part}text_projection"]
