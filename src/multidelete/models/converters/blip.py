"""Checkpoints of BLIP (``.pth`` of github.com/salesforce/BLIP and of LAVIS), and BLIP's networks of `transformers`.

The text encoder's names are the same. The official code fuses from a first token of its own, ``[ENC]``, which the
configuration keeps as ``fusion_token_id``: BLIP's adapter puts it in the place of the tokenizer's first token.
"""

import logging
import math
from collections.abc import Iterable, Mapping

from torch import Tensor
from transformers import (
    BlipConfig,
    BlipImageProcessorPil,
    BlipProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from multidelete.core.errors import CheckpointError, UnsupportedError
from multidelete.core.json_files import JsonObject
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

logger = logging.getLogger(__name__)

_IDS = "text_encoder.embeddings.position_ids"
_LAYER = "text_encoder.encoder.layer."
_ENC = "[ENC]"
# Theirs and ours, in this order: what stands for a part of a name.
_NAMES = (
    ("visual_encoder.cls_token", "vision_model.embeddings.class_embedding"),
    ("visual_encoder.pos_embed", "vision_model.embeddings.position_embedding"),
    ("visual_encoder.patch_embed.proj.", "vision_model.embeddings.patch_embedding."),
    ("visual_encoder.norm.", "vision_model.post_layernorm."),
)
_BLOCKS = ("visual_encoder.blocks.", "vision_model.encoder.layers.")
_IN_BLOCKS = (("norm1.", "layer_norm1."), ("norm2.", "layer_norm2."), ("attn.qkv.", "self_attn.qkv."),
              ("attn.proj.", "self_attn.projection."), ("mlp.", "mlp."))  # fmt: skip


def fits(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the text looks at the picture in its first layer too, unlike ALBEF's, or is written instead of read."""
    is_fused = any(name.startswith(f"{_LAYER}0.crossattention.") for name in tensors)
    is_decoded = any(name.startswith("text_decoder.") for name in tensors)
    is_read = any(name.startswith("text_encoder.") for name in tensors)
    return "visual_encoder.pos_embed" in tensors and (is_fused or (is_decoded and not is_read))


def describe(stored: Stored, untold: Untold) -> Described:
    """BLIP for retrieval, or LAVIS' classifier.

    Raises:
        UnsupportedError: It writes captions or answers, or reads two pictures in the published way.
        CheckpointError: It lacks what tells its sizes.
    """
    tensors, path = stored.tensors, stored.path
    if any(name.startswith("text_decoder.") for name in tensors):
        raise UnsupportedError(
            f"{path} writes captions or answers (text_decoder), which no family here does. Give a checkpoint for "
            "retrieval (itm_head)."
        )
    if f"{_LAYER}0.crossattention.self0.query.weight" in tensors:
        raise UnsupportedError(
            f"{path} is a BLIP for NLVR2, whose attention to two pictures (crossattention.self0, self1) no network "
            "here has. ALBEF's for NLVR2 is read."
        )
    is_classifier = "cls_head.2.weight" in tensors
    heads = ("cls_head.2.weight",) if is_classifier else ("vision_proj.weight", "text_proj.weight", "itm_head.weight")
    patch, mlp, words, places, text_mlp, *_ = shapes_of(
        stored,
        ("visual_encoder.patch_embed.proj.weight", "visual_encoder.blocks.0.mlp.fc1.weight",
         "text_encoder.embeddings.word_embeddings.weight", "text_encoder.embeddings.position_embeddings.weight",
         f"{_LAYER}0.intermediate.dense.weight", *heads),
        "BLIP checkpoint for retrieval (itm_head) or classification (cls_head)",
    )  # fmt: skip
    width = heads_by_width(stored, untold, (patch[0], words[1]))
    config = BlipConfig(
        vision_config={
            "hidden_size": patch[0], "num_hidden_layers": depth(tensors, "visual_encoder.blocks."),
            "num_attention_heads": patch[0] // width, "intermediate_size": mlp[0], "patch_size": patch[-1],
            "image_size": side_of(tensors["visual_encoder.pos_embed"], patch[-1]), "layer_norm_eps": 1e-6,
        },
        text_config={
            "hidden_size": words[1], "num_hidden_layers": depth(tensors, _LAYER),
            "num_attention_heads": words[1] // width, "intermediate_size": text_mlp[0], "vocab_size": words[0],
            "max_position_embeddings": places[0], "encoder_hidden_size": patch[0], "bos_token_id": None,
            "eos_token_id": None, "sep_token_id": None, "pad_token_id": 0,
        },
        image_text_hidden_size=256 if is_classifier else len(tensors["vision_proj.weight"]),
    )  # fmt: skip
    if is_classifier:
        class_names_of(stored, untold, config, CLASSES)
    elif "temp" in tensors and not tensors["temp"].is_meta:
        temperature = float(tensors["temp"])
        if not temperature > 0:
            raise CheckpointError(f"{path}: temp is {temperature}; a temperature must be greater than 0.")
        config.logit_scale_init_value = -math.log(temperature)
    config.fusion_token_id = None if is_classifier else stored.setting("fusion_token_id") or words[0] - 1
    return Described(
        "BlipForClassification" if is_classifier else "BlipForImageTextRetrieval",
        config,
        [name for name in ("temp", _IDS) if name in tensors],
        {name: kind for name in tensors if (kind := dropped_kind(name, QUEUES)) is not None},
    )


def our_name(theirs: str) -> str:
    """What our network calls one of their tensors.

    >>> our_name("visual_encoder.blocks.3.attn.proj.bias")
    'vision_model.encoder.layers.3.self_attn.projection.bias'
    """
    return _renamed(theirs, _BLOCKS, _NAMES, _IN_BLOCKS)


def their_name(ours: str) -> str:
    """The way back.

    >>> their_name("vision_model.encoder.layers.3.self_attn.projection.bias")
    'visual_encoder.blocks.3.attn.proj.bias'
    """
    back = [[(other, one) for one, other in names] for names in (_NAMES, _IN_BLOCKS)]
    return _renamed(ours, (_BLOCKS[1], _BLOCKS[0]), *back)


def _renamed(
    name: str, blocks: tuple[str, str], names: Iterable[tuple[str, str]], in_blocks: Iterable[tuple[str, str]]
) -> str:
    """A name whose beginning, or whose part behind a block's number, has another name on the other side."""
    for one, other in names:
        if name.startswith(one):
            return other + name.removeprefix(one)
    number, _, inside = name.removeprefix(blocks[0]).partition(".")
    if name.startswith(blocks[0]) and number.isdecimal():
        for one, other in in_blocks:
            if inside.startswith(one):
                return f"{blocks[1]}{number}.{other}{inside.removeprefix(one)}"
    return name


def processor(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, origin: Origin) -> ProcessorMixin:
    """Pictures as the published code prepares them; the tokenizer's own [ENC] is the fusion's first token."""
    if config.fusion_token_id is not None:
        entries = tokenizer.get_vocab()
        if _ENC in entries:
            config.fusion_token_id = entries[_ENC]
        elif len(entries) >= config.text_config.vocab_size:
            logger.warning(
                "the tokenizer has no %s and leaves no room for it: texts are fused from their own first token, which "
                "is not what the official code does.", _ENC,
            )  # fmt: skip
            config.fusion_token_id = None
    side = config.vision_config.image_size
    return BlipProcessor(BlipImageProcessorPil(size={"height": side, "width": side}), tokenizer)


def usual(config: PreTrainedConfig) -> Origin:
    """A file as the official scripts write it; the temperature, which is not trained, is the configuration's."""
    places = config.text_config.max_position_embeddings
    positions: JsonObject = {"dtype": "int64", "shape": [1, places], "rule": "count"}
    temperature: JsonObject = {"dtype": "float32", "shape": [], "value": math.exp(-config.logit_scale_init_value)}
    if getattr(config, "images", 1) > 1:
        raise UnsupportedError("BLIP's published network for two images is another one; such a folder has no file.")
    is_classifier = "BlipForClassification" in (config.architectures or ())
    constants = {_IDS: positions} if is_classifier else {_IDS: positions, "temp": temperature}
    return Origin(layout="BLIP", inside="model", constants=constants)


LAYOUT = Layout(
    name="BLIP",
    called="a checkpoint of BLIP",
    fits=fits,
    describe=describe,
    to_ours=lambda tensors, config, origin: {our_name(name): tensor for name, tensor in tensors.items()},
    to_theirs=lambda weights, config, origin: {their_name(name): tensor for name, tensor in weights.items()},
    processor=processor,
    heads=("BlipForImageTextRetrieval", "BlipForClassification"),
    usual=usual,
    positions="vision_model.embeddings.position_embedding",
)  # fmt: skip
