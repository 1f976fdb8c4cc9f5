"""A new image-text model for training from scratch on small pictures: a ResNet and a BERT, 2.2 M weights.

Built with `transformers` alone and saved as a folder that `multidelete train --start` goes on from. Convolutions with
batch normalisation learn small pictures from scratch faster than the library's own named sizes do.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    CLIPImageProcessorPil,
    ResNetConfig,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from multidelete.models.fresh import LOGIT_SCALE, SIZES, train_tokenizer

WIDTH = 128


def make_start(folder: Path, captions: Iterable[str], *, image_size: int, context: int, seed: int) -> None:
    """Write the untrained model; its tokenizer is trained on ``captions``."""
    tokenizer = train_tokenizer(captions, replace(SIZES["small"], context=context))
    side = {"height": image_size, "width": image_size}
    processor = VisionTextDualEncoderProcessor(CLIPImageProcessorPil(size=side, crop_size=side), tokenizer)
    vision = ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128, 256], depths=[1, 1, 1, 1], layer_type="basic", hidden_size=256
    )
    text = BertConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=context, pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.02 * (768 / WIDTH) ** 0.5,  # the published 0.02 is for width 768
    )  # fmt: skip
    torch.manual_seed(seed)
    model = VisionTextDualEncoderModel(
        VisionTextDualEncoderConfig.from_vision_text_configs(
            vision, text, projection_dim=WIDTH, logit_scale_init_value=LOGIT_SCALE
        )
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
