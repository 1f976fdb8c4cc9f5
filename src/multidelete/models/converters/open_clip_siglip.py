"""open_clip's checkpoints of SigLIP, and `SiglipModel`.

The vision tower is one of github.com/huggingface/pytorch-image-models (timm) with its attention pooling; the text
tower is open_clip's own, without a causal mask, and its last token's state goes through a linear head.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import (
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipProcessor,
)

from multidelete.models.converters.layout import Described, Layout, Stored, Untold
from multidelete.models.converters.open_clip import (
    depth,
    head_count,
    is_siglip,
    numbers,
    refuse_without_counterpart,
    resample,
    resblocks,
    sizes,
)
from multidelete.models.converters.open_clip_names import (
    CONFIG,
    EXACT,
    TANH,
    preprocess_of,
    refuse_other_widths,
    told_of,
)
from multidelete.models.converters.origin import Origin
from multidelete.models.converters.rules import Rule, ours_by, same, theirs_by

_TRUNK, _TEXT = "visual.trunk.", "text."
_MULTILINGUAL = 256_000  # SigLIP 2's vocabulary; its text tower was the first with tanh's GELU
_HALF = [0.5, 0.5, 0.5]
_WITHOUT_COUNTERPART = {
    "visual.trunk.cls_token": "its vision tower has a class token",
    "visual.trunk.attn_pool.pos_embed": "its pooling head has positions",
    "visual.trunk.blocks.0.ls1.gamma": "its layers are scaled (ls1)",
    "visual.head.proj.weight": "its vision tower has a projection behind the pooling head",
    "text.cls_emb": "its text tower has a class token of its own (cls_emb)",
    "text.proj.weight": "its text tower is one of the hub",
}


def describe(stored: Stored, untold: Untold) -> Described:
    """The `SiglipModel` of a checkpoint.

    Raises:
        UnsupportedError: It has no counterpart.
        CheckpointError: It lacks what tells its sizes.
    """
    tensors, path = stored.tensors, stored.path
    refuse_without_counterpart(stored, _WITHOUT_COUNTERPART)
    tell = (f"{_TRUNK}patch_embed.proj.weight", f"{_TRUNK}pos_embed", f"{_TRUNK}blocks.0.mlp.fc1.weight",
            f"{_TEXT}token_embedding.weight", f"{_TEXT}positional_embedding",
            f"{_TEXT}transformer.resblocks.0.mlp.c_fc.weight", f"{_TEXT}text_projection.weight")  # fmt: skip
    patch, places, mlp, words, text_places, text_mlp, projection = sizes(stored, tell)
    told = told_of(stored, untold.architecture, siglip=True)
    refuse_other_widths(stored, told, (patch[0], words[1]))
    layers = depth(tensors, f"{_TRUNK}blocks."), depth(tensors, f"{_TEXT}transformer.resblocks.")
    heads = [head_count(path, width, vision=vision, siglip=True, untold=untold)
             for width, vision in ((patch[0], True), (words[1], False))]  # fmt: skip
    is_late = patch[-1] == 32 or patch[0] == 1536 or (patch[0] == 1152 and patch[-1] == 16)
    config = SiglipConfig(
        vision_config={
            "hidden_size": patch[0], "num_hidden_layers": layers[0],
            "num_attention_heads": told.vision_heads or heads[0],
            "intermediate_size": mlp[0], "image_size": math.isqrt(places[1]) * patch[-1], "patch_size": patch[-1],
            "hidden_act": told.vision_act or (TANH if is_late else EXACT), "num_channels": patch[1],
        },
        text_config={
            "hidden_size": words[1], "num_hidden_layers": layers[1],
            "num_attention_heads": told.text_heads or heads[1],
            "intermediate_size": text_mlp[0], "vocab_size": words[0], "max_position_embeddings": text_places[0],
            "hidden_act": told.text_act or (TANH if words[0] == _MULTILINGUAL else EXACT),
            "projection_size": projection[0], "bos_token_id": None, "eos_token_id": None,
        },
    )  # fmt: skip
    return Described(
        "SiglipModel", config, part=_TEXT, nonscalar=tensors["logit_scale"].ndim > 0,
        files={CONFIG: told.text} if told.text else {},
    )  # fmt: skip


def rules(config: PreTrainedConfig, origin: Origin) -> list[Rule]:
    """All tensors of a `SiglipModel`."""
    see, say, pool, head = "vision_model.", "text_model.", f"{_TRUNK}attn_pool.", "vision_model.head."
    both = (".weight", ".bias")
    made = [
        Rule(f"{_TRUNK}pos_embed", (f"{see}embeddings.position_embedding.weight",),
             (_patches(config), config.vision_config.hidden_size),
             (1, _patches(config), config.vision_config.hidden_size)),
        *same({f"{pool}latent": f"{head}probe",
               f"{_TEXT}token_embedding.weight": f"{say}embeddings.token_embedding.weight",
               f"{_TEXT}positional_embedding": f"{say}embeddings.position_embedding.weight"}),
        *same({f"{_TRUNK}patch_embed.proj": f"{see}embeddings.patch_embedding", f"{_TRUNK}norm": f"{see}post_layernorm",
               f"{pool}proj": f"{head}attention.out_proj", f"{pool}norm": f"{head}layernorm",
               f"{pool}mlp.fc1": f"{head}mlp.fc1", f"{pool}mlp.fc2": f"{head}mlp.fc2",
               f"{_TEXT}ln_final": f"{say}final_layer_norm", f"{_TEXT}text_projection": f"{say}head"}, *both),
        *resblocks(f"{_TEXT}transformer.resblocks.", f"{say}encoder.layers.", config.text_config.num_hidden_layers),
        *(Rule(name, (name,), (1,), (1,) if origin.nonscalar else ()) for name in ("logit_scale", "logit_bias")),
    ]  # fmt: skip
    for number in range(config.vision_config.num_hidden_layers):
        one, other = f"{_TRUNK}blocks.{number}.", f"{see}encoder.layers.{number}."
        made += same({f"{one}norm1": f"{other}layer_norm1", f"{one}attn.proj": f"{other}self_attn.out_proj",
                      f"{one}norm2": f"{other}layer_norm2", f"{one}mlp.fc1": f"{other}mlp.fc1",
                      f"{one}mlp.fc2": f"{other}mlp.fc2"}, *both)  # fmt: skip
        made += [Rule(f"{one}attn.qkv{end}", tuple(f"{other}self_attn.{letter}_proj{end}" for letter in "qkv"))
                 for end in both]  # fmt: skip
    return made


def _patches(config: PreTrainedConfig) -> int:
    return int((config.vision_config.image_size // config.vision_config.patch_size) ** 2)


def to_ours(tensors: Mapping[str, Tensor], config: PreTrainedConfig, origin: Origin) -> dict[str, Tensor]:
    """The pooling head's queries, which are a tensor of their own, go before its keys and values."""
    made = ours_by(rules(config, origin), tensors)
    for end in ("weight", "bias"):
        parts = [tensors[f"{_TRUNK}attn_pool.{name}.{end}"] for name in ("q", "kv")]
        made[f"vision_model.head.attention.in_proj_{end}"] = torch.cat(parts)
    return made


def to_theirs(weights: Mapping[str, Tensor], config: PreTrainedConfig, origin: Origin) -> dict[str, Tensor]:
    """The way back."""
    made = theirs_by(rules(config, origin), weights)
    width = config.vision_config.hidden_size
    for end in ("weight", "bias"):
        whole = weights[f"vision_model.head.attention.in_proj_{end}"]
        made |= {f"{_TRUNK}attn_pool.q.{end}": whole[:width], f"{_TRUNK}attn_pool.kv.{end}": whole[width:]}
    return made


def processor(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, origin: Origin) -> ProcessorMixin:
    """Pictures scaled to a square, and to numbers from -1 to 1, unless the configuration file says otherwise."""
    told = preprocess_of(origin.files.get(CONFIG, ""))
    side = config.vision_config.image_size
    pictures = SiglipImageProcessorPil(
        size={"height": side, "width": side}, image_mean=numbers(told.get("mean"), _HALF),
        image_std=numbers(told.get("std"), _HALF), resample=resample(told.get("interpolation")),
    )  # fmt: skip
    return SiglipProcessor(pictures, tokenizer)


LAYOUT = Layout(
    name="open_clip SigLIP",
    called="an open_clip checkpoint of SigLIP",
    fits=is_siglip,
    describe=describe,
    to_ours=to_ours,
    to_theirs=to_theirs,
    processor=processor,
    heads=("SiglipModel",),
    usual=lambda config: Origin(layout="open_clip SigLIP", inside="state_dict", part=_TEXT),
)
