"""The two encoders of ALBEF: a pre-norm vision transformer, and a BERT whose upper layers look at the image.

Li et al., "Align before Fuse: Vision and Language Representation Learning with Momentum
Distillation", NeurIPS 2021, arXiv:2107.07651, section 3.1. Modules are named as in the official
code, so that weights go back and forth by name.

Shape suffixes: N images, B pairs, I images of a pair, P image tokens, L text tokens, D width,
H heads, K width of a head.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, ViTConfig
from transformers.models.bert.modeling_bert import BertEmbeddings, BertIntermediate, BertOutput, BertSelfOutput


def attend(
    query_BLD: Tensor,
    key_BMD: Tensor,
    value_BMD: Tensor,
    heads: int,
    mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Multi-head attention of already projected states, (B, L, D); ``mask`` is True where a key is seen."""
    query, key, value = (s.view(*s.shape[:2], heads, -1).transpose(1, 2) for s in (query_BLD, key_BMD, value_BMD))
    attended_BHLK = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return attended_BHLK.transpose(1, 2).flatten(2)


class VisionAttention(nn.Module):
    """Self-attention with one projection for queries, keys and values."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states_NPD: Tensor) -> Tensor:
        query, key, value = self.qkv(states_NPD).chunk(3, dim=-1)
        out: Tensor = self.proj(attend(query, key, value, self.heads))
        return out


class VisionBlock(nn.Module):
    """One layer: each of attention and MLP after a norm, added to what came in."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = VisionAttention(config)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(config.hidden_size, config.intermediate_size),
                act=nn.GELU(),
                fc2=nn.Linear(config.intermediate_size, config.hidden_size),
            )
        )

    def forward(self, states_NPD: Tensor) -> Tensor:
        states_NPD = states_NPD + self.attn(self.norm1(states_NPD))
        out: Tensor = states_NPD + self.mlp(self.norm2(states_NPD))
        return out


class VisionTransformer(nn.Module):
    """Square images to token states, the first of which is the [CLS] token's."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        side, patch = config.image_size, config.patch_size
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, config.hidden_size, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.pos_embed = nn.Parameter(torch.zeros(1, (side // patch) ** 2 + 1, config.hidden_size))
        self.blocks = nn.Sequential(*(VisionBlock(config) for _ in range(config.num_hidden_layers)))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels (N, 3, side, side) to states (N, P, D)."""
        patches_NPD = self.patch_embed["proj"](pixel_values).flatten(2).transpose(1, 2)
        tokens_NPD = torch.cat([self.cls_token.expand(len(patches_NPD), -1, -1), patches_NPD], dim=1)
        out: Tensor = self.norm(self.blocks(tokens_NPD + self.pos_embed))
        return out


class TextHeads(nn.Module):
    """Queries from the text; keys and values from the text itself, or from the image."""

    def __init__(self, config: BertConfig, source_width: int) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(source_width, config.hidden_size)
        self.value = nn.Linear(source_width, config.hidden_size)
        self.dropout = config.attention_probs_dropout_prob

    def forward(self, states_BLD: Tensor, source_BMD: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = self.query(states_BLD), self.key(source_BMD), self.value(source_BMD)
        return attend(query, key, value, self.heads, mask, self.dropout if self.training else 0.0)


class TextAttention(nn.Module):
    """Attention, then what came in is added, then a norm."""

    def __init__(self, config: BertConfig, source_width: int) -> None:
        super().__init__()
        self.self = TextHeads(config, source_width)
        self.output = BertSelfOutput(config)

    def forward(self, states_BLD: Tensor, source_BMD: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.output(self.self(states_BLD, source_BMD, mask), states_BLD)
        return out


class TextLayer(nn.Module):
    """Self-attention, in the upper layers attention to the image, and an MLP."""

    def __init__(self, config: BertConfig, image_width: int | None) -> None:
        super().__init__()
        self.attention = TextAttention(config, config.hidden_size)
        if image_width is not None:
            self.crossattention = TextAttention(config, image_width)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config)

    def forward(self, states_BLD: Tensor, mask: Tensor, image_BPD: Tensor | None = None) -> Tensor:
        states_BLD = self.attention(states_BLD, states_BLD, mask)
        if image_BPD is not None:
            states_BLD = self.crossattention(states_BLD, image_BPD)
        out: Tensor = self.output(self.intermediate(states_BLD), states_BLD)
        return out


class TextEncoder(nn.Module):
    """BERT in two halves: the lower layers read the text alone, the upper ones fuse it with the image.

    Args:
        config: Of all layers.
        fusion_layer: The first layer that looks at the image.
        image_width: Width of the image's token states.
    """

    def __init__(self, config: BertConfig, fusion_layer: int, image_width: int) -> None:
        super().__init__()
        self.fusion_layer = fusion_layer
        self.embeddings = BertEmbeddings(config)
        layers = [
            TextLayer(config, image_width if i >= fusion_layer else None) for i in range(config.num_hidden_layers)
        ]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    @property
    def layers(self) -> list[TextLayer]:
        return list(cast(Iterable[TextLayer], self.encoder["layer"]))

    def read(self, input_ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """States (B, L, D) of the text alone: mode "text" of the official code."""
        states_BLD: Tensor = self.embeddings(input_ids=input_ids_BL)
        for layer in self.layers[: self.fusion_layer]:
            states_BLD = layer(states_BLD, mask_BL[:, None, None].bool())
        return states_BLD

    def fuse(self, states_BLD: Tensor, mask_BL: Tensor, image_BIPD: Tensor) -> Tensor:
        """Fused states (B, L, D): mode "fusion". Of several images, the layers look at one after the other in turn."""
        for number, layer in enumerate(self.layers[self.fusion_layer :]):
            image_BPD = image_BIPD[:, number % image_BIPD.shape[1]]
            states_BLD = layer(states_BLD, mask_BL[:, None, None].bool(), image_BPD)
        return states_BLD
