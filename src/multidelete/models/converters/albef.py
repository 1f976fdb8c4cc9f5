"""Checkpoints of ALBEF (``.pth`` of github.com/salesforce/ALBEF and of LAVIS), and ours.

Names are the official ones, but for the prefix of the text encoder: ``text_encoder.bert.`` in
pre-trained checkpoints, ``text_encoder.`` in fine-tuned ones.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BlipImageProcessorPil,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    VisionTextDualEncoderProcessor,
    ViTConfig,
)

from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError, first_few
from multidelete.core.words import counted
from multidelete.models.albef import AlbefConfig
from multidelete.models.converters.layout import Described, Layout, Stored, Untold
from multidelete.models.converters.open_clip import depth
from multidelete.models.converters.origin import Origin
from multidelete.models.converters.vision_bert import (
    CLASSES,
    QUEUES,
    class_names_of,
    dropped_kind,
    heads_by_width,
    shapes_of,
    side_of,
)

_WHAT = "ALBEF checkpoint for retrieval (itm_head) or classification (cls_head)"
_IDS = "embeddings.position_ids"  # 0, 1, 2, ...: kept in official checkpoints, made anew here
_TYPES, _PLACES = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"
_OURS = "text_encoder."


def fits(tensors: Mapping[str, Tensor]) -> bool:
    """Whether there are a vision transformer and a BERT by ALBEF's names; BLIP's are told before."""
    return any(name.startswith("visual_encoder.") for name in tensors) and any(
        name.startswith(_OURS) for name in tensors
    )


def describe(stored: Stored, untold: Untold) -> Described:
    """ALBEF for retrieval, or a classifier of one picture or two.

    Raises:
        UnsupportedError: It writes answers.
        CheckpointError: It lacks what tells its sizes.
    """
    tensors, path = stored.tensors, stored.path
    prefix = f"{_OURS}bert." if any(name.startswith(f"{_OURS}bert.") for name in tensors) else _OURS
    layer, is_classifier = f"{prefix}encoder.layer.", "cls_head.2.weight" in tensors
    if not is_classifier and "itm_head.weight" not in tensors and any(n.startswith("text_decoder.") for n in tensors):
        raise UnsupportedError(f"{path} writes answers (text_decoder), which no family here does.")
    heads = ("cls_head.2.weight",) if is_classifier else ("vision_proj.weight", "itm_head.weight")
    patch, mlp, words, places, text_mlp, *_ = shapes_of(
        stored,
        ("visual_encoder.patch_embed.proj.weight", "visual_encoder.blocks.0.mlp.fc1.weight",
         f"{prefix}embeddings.word_embeddings.weight", f"{prefix}{_PLACES}", f"{layer}0.intermediate.dense.weight",
         *heads),
        _WHAT,
    )  # fmt: skip
    looking = {int(name.removeprefix(layer).split(".")[0]) for name in tensors
               if name.startswith(layer) and ".crossattention." in name}  # fmt: skip
    if not looking:
        raise CheckpointError(f"{path} is no {_WHAT}: it lacks text layers with crossattention. Give a whole one.")
    width, types = heads_by_width(stored, untold, (patch[0], words[1])), tensors.get(prefix + _TYPES)
    config = AlbefConfig(
        vision_config=ViTConfig(
            hidden_size=patch[0], num_hidden_layers=depth(tensors, "visual_encoder.blocks."),
            num_attention_heads=patch[0] // width, intermediate_size=mlp[0],
            image_size=side_of(tensors["visual_encoder.pos_embed"], patch[-1]), patch_size=patch[-1],
            layer_norm_eps=1e-6,
        ),
        text_config=BertConfig(
            vocab_size=words[0], hidden_size=words[1], num_hidden_layers=depth(tensors, layer),
            num_attention_heads=words[1] // width, intermediate_size=text_mlp[0], max_position_embeddings=places[0],
            type_vocab_size=1 if types is None else len(types),
        ),
        fusion_layer=min(looking),
        projection_dim=256 if is_classifier else len(tensors["vision_proj.weight"]),
        images=2 if is_classifier and _is_of_two(tensors, layer, min(looking)) else 1,
        token_types=types is not None,
        text_prefix=prefix,
    )  # fmt: skip
    if is_classifier:
        class_names_of(stored, untold, config, CLASSES)
    elif untold.classes and not stored.config:
        raise ConfigError(
            f"{path} is for retrieval, and {counted(len(untold.classes), 'names of classes were')} given "
            f"({first_few(list(untold.classes))}). Leave them out."
        )
    return Described(
        "AlbefForClassification" if is_classifier else "AlbefForRetrieval",
        config,
        [prefix + _IDS] if prefix + _IDS in tensors else [],
        {name: kind for name in tensors if (kind := dropped_kind(name, QUEUES)) is not None},
        part=prefix,
    )


def _is_of_two(tensors: Mapping[str, Tensor], layer: str, first: int) -> bool:
    """Whether pairs of upper layers share their keys, as they do for NLVR2; of shapes alone one cannot tell."""
    keys = [tensors.get(f"{layer}{first + at}.crossattention.self.key.weight") for at in (0, 1)]
    if keys[0] is None or keys[1] is None or keys[0].is_meta:
        return False
    return torch.equal(keys[0], keys[1])


def to_ours(tensors: Mapping[str, Tensor], config: PreTrainedConfig, origin: Origin) -> dict[str, Tensor]:
    """A text encoder without token types (LAVIS) gets one of zeros, which changes nothing."""
    made = _renamed(tensors, origin.part or _OURS, _OURS)
    if not config.token_types:
        places = made[_OURS + _PLACES]
        made[_OURS + _TYPES] = places.new_zeros(1, places.shape[1])
    return made


def to_theirs(weights: Mapping[str, Tensor], config: PreTrainedConfig, origin: Origin) -> dict[str, Tensor]:
    """The way back; what a token type has learned that is not theirs is part of every position."""
    prefix = origin.part or _OURS
    made = _renamed(weights, _OURS, prefix)
    if not config.token_types:
        shift, places = made.pop(prefix + _TYPES)[0], made[prefix + _PLACES]
        made[prefix + _PLACES] = (places.float() + shift.float()).to(places.dtype)
    return made


def _renamed(tensors: Mapping[str, Tensor], before: str, after: str) -> dict[str, Tensor]:
    """The tensors, with another beginning of the text encoder's names."""
    return {
        after + name.removeprefix(before) if name.startswith(before) else name: tensor
        for name, tensor in tensors.items()
    }


def processor(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, origin: Origin) -> ProcessorMixin:
    """Pictures as the published code prepares them."""
    side = config.vision_config.image_size
    return VisionTextDualEncoderProcessor(BlipImageProcessorPil(size={"height": side, "width": side}), tokenizer)


def usual(config: PreTrainedConfig) -> Origin:
    """A file as the official scripts write it."""
    positions = {"dtype": "int64", "shape": [1, config.text_config.max_position_embeddings], "rule": "count"}
    prefix = config.text_prefix
    return Origin(layout="ALBEF", inside="model", part=prefix, constants={prefix + _IDS: positions})


LAYOUT = Layout(
    name="ALBEF",
    called="a checkpoint of ALBEF",
    fits=fits,
    describe=describe,
    to_ours=to_ours,
    to_theirs=to_theirs,
    processor=processor,
    heads=("AlbefForRetrieval", "AlbefForClassification"),
    usual=usual,
    positions="visual_encoder.pos_embed",
)
