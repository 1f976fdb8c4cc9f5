"""Relatives of CLIP that keep its contract: two encoders, two projections, one temperature.

AltCLIP reads texts with an XLM-RoBERTa (Chen et al. 2022, arXiv:2211.06679), Chinese CLIP with a BERT whose [CLS] state
is projected (Yang et al. 2022, arXiv:2211.01335), and `CLIPSegModel` is the CLIP that CLIPSeg's decoder stands on.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    AltCLIPProcessor,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    ChineseCLIPProcessor,
    CLIPSegConfig,
    CLIPSegModel,
    CLIPSegProcessor,
    PreTrainedModel,
    ProcessorMixin,
)

from multidelete.data.pairs import Batch
from multidelete.models.base import Task
from multidelete.models.dual_encoder import DualEncoderAdapter
from multidelete.models.fresh import LOGIT_SCALE, PAD, NewModel

_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class AltClipAdapter(DualEncoderAdapter):
    """`AltCLIPModel`: u_text is the [CLS] state after the network's own transformation, before the projection."""

    family = "altclip"
    description = "AltCLIP (transformers AltCLIPModel): image-text retrieval"
    model_type = "altclip"
    heads: ClassVar[Mapping[str, Task]] = {"AltCLIPModel": "retrieval"}

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        own = {"max_position_embeddings": wanted.size.context + PAD + 1, "project_dim": wanted.size.width}
        config = AltCLIPConfig(
            text_config={**wanted.text_settings, **_NO_DROPOUT, **own},
            vision_config=wanted.vision_settings | {"projection_dim": wanted.size.projection},
            projection_dim=wanted.size.projection,
            logit_scale_init_value=LOGIT_SCALE,
        )
        return AltCLIPModel(config), AltCLIPProcessor(wanted.pictures, wanted.tokenizer)


class ChineseClipAdapter(DualEncoderAdapter):
    """`ChineseCLIPModel`: u_text is BERT's [CLS] state."""

    family = "chinese-clip"
    description = "Chinese CLIP (transformers ChineseCLIPModel): image-text retrieval"
    model_type = "chinese_clip"
    heads: ClassVar[Mapping[str, Task]] = {"ChineseCLIPModel": "retrieval"}

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        config = ChineseCLIPConfig(
            text_config={**wanted.text_settings, **_NO_DROPOUT},
            vision_config=wanted.vision_settings | {"projection_dim": wanted.size.projection},
            projection_dim=wanted.size.projection,
            logit_scale_init_value=LOGIT_SCALE,
        )
        return ChineseCLIPModel(config), ChineseCLIPProcessor(wanted.pictures, wanted.tokenizer)

    def encode_text(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As for CLIP, with the [CLS] state: the network has no pooling layer."""
        pooled: Tensor = self.model.text_model(**batch.inputs["text"]).last_hidden_state[:, 0]
        return pooled, self.model.text_projection(pooled)


class ClipSegAdapter(DualEncoderAdapter):
    """`CLIPSegModel`: a CLIP under another name."""

    family = "clipseg"
    description = "the CLIP of CLIPSeg (transformers CLIPSegModel): image-text retrieval"
    model_type = "clipseg"
    heads: ClassVar[Mapping[str, Task]] = {"CLIPSegModel": "retrieval"}
    without: ClassVar[Mapping[str, str]] = {
        "CLIPSegForImageSegmentation": "it draws masks: what its decoder says of a deleted pair could be neither "
        "changed nor judged here. Its base is read where it is saved by itself (CLIPSegModel)",
    }

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        config = CLIPSegConfig(
            text_config=wanted.text_settings,
            vision_config=wanted.vision_settings,
            projection_dim=wanted.size.projection,
            logit_scale_init_value=LOGIT_SCALE,
        )
        return CLIPSegModel(config), CLIPSegProcessor(wanted.pictures, wanted.tokenizer)
