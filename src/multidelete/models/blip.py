"""BLIP of `transformers`: retrieval with `BlipForImageTextRetrieval`, and a classifier on its fused state.

Li et al., "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language
Understanding and Generation", ICML 2022, arXiv:2201.12086. The text encoder reads the text alone,
and, with the attention to the image in every layer switched on, fuses the two.

Differs from the paper: as in `transformers`, the fusion starts from the tokenizer's own first
token, not from an extra [Encode] token; converted official checkpoints have that. `transformers`
leaves the contrastive temperature out; it is fixed at what the configuration's
``logit_scale_init_value`` says.

Shape suffixes: B pairs, I images of a pair, P image tokens, L text tokens, D width, C classes.
"""

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import (
    BlipConfig,
    BlipForImageTextRetrieval,
    BlipImageProcessorPil,
    BlipPreTrainedModel,
    BlipProcessor,
    BlipTextModel,
    BlipVisionModel,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from multidelete.models.base import Task
from multidelete.models.classes import name_classes
from multidelete.models.fresh import LOGIT_SCALE, NewModel
from multidelete.models.fusion import FusionAdapter, initial_spread


class BlipForClassification(BlipPreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """BLIP's encoders, named as in `BlipForImageTextRetrieval`, and a classifier of two layers.

    Of two images (``config.images``) the text looks at the tokens of both at once; what is added to
    the tokens of each, ``image_embedding``, tells them apart. Differs from the paper, which doubles the
    layers' attention to the image for NLVR2: so the encoders stay those of `transformers`.
    """

    def __init__(self, config: BlipConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.vision_model = BlipVisionModel(config.vision_config)
        self.text_encoder = BlipTextModel(config.text_config, add_pooling_layer=False)
        if getattr(config, "images", 1) > 1:
            self.image_embedding = nn.Parameter(torch.zeros(config.images, config.vision_config.hidden_size))
        self.cls_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.num_labels))
        self.post_init()

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Class logits (B, C); pixels are (B, 3, height, width) or, of two images, (B, 2, 3, height, width)."""
        pixels = pixel_values if pixel_values.ndim == 5 else pixel_values.unsqueeze(1)
        image_NPD = self.vision_model(pixel_values=pixels.flatten(0, 1)).last_hidden_state
        image_BIPD = image_NPD.view(*pixels.shape[:2], *image_NPD.shape[1:])
        return SequenceClassifierOutput(logits=self.cls_head(fused(self, input_ids, attention_mask, image_BIPD)))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BlipForClassification) and hasattr(module, "image_embedding"):
            init.normal_(module.image_embedding, std=self.config.initializer_range)


def fused(model: PreTrainedModel, input_ids_BL: Tensor, mask_BL: Tensor, image_BIPD: Tensor) -> Tensor:
    """The [CLS] state (B, D) of the text that looks at all images of its pair.

    Where the configuration has a ``fusion_token_id``, as of official checkpoints, it stands in the first token's place.
    """
    token = getattr(model.config, "fusion_token_id", None)
    if token is not None:
        input_ids_BL = torch.cat([torch.full_like(input_ids_BL[:, :1], token), input_ids_BL[:, 1:]], dim=1)
    if hasattr(model, "image_embedding"):
        image_BIPD = image_BIPD + model.image_embedding.unsqueeze(1)
    states = model.text_encoder(
        input_ids=input_ids_BL, attention_mask=mask_BL, encoder_hidden_states=image_BIPD.flatten(1, 2)
    )
    out: Tensor = states.last_hidden_state[:, 0]
    return out


class BlipAdapter(FusionAdapter):
    """`BlipForImageTextRetrieval` and `BlipForClassification`."""

    family = "blip"
    image_encoder = "model.vision_model."
    description = "BLIP (transformers' encoders): retrieval; entailment, two-image reasoning"
    model_type = "blip"
    heads: ClassVar[Mapping[str, Task]] = {
        "BlipForImageTextRetrieval": "retrieval",
        "BlipForClassification": "classification",
    }
    classifiers = (BlipForClassification,)

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        """As many text layers as the size says, and twice as many for the image."""
        spread = {"initializer_range": initial_spread(wanted.size.width)}  # positions' default, 1e-10, means none
        config = BlipConfig(
            text_config={**wanted.text_settings, **spread},
            vision_config={
                **wanted.vision_settings,
                **spread,
                "layer_norm_eps": 1e-6,  # the published one
            },
            image_text_hidden_size=wanted.size.projection,
            logit_scale_init_value=LOGIT_SCALE,
            images=wanted.images,
            **spread,
        )
        name_classes(config, wanted.classes)
        network = BlipForClassification if wanted.task == "classification" else BlipForImageTextRetrieval
        return network(config), BlipProcessor(BlipImageProcessorPil(size=wanted.side), wanted.tokenizer)

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = self.model.vision_model(pixel_values=pixel_values).last_hidden_state
        return out

    def encode_texts(self, input_ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        states = self.model.text_encoder(input_ids=input_ids_BL, attention_mask=mask_BL)
        return cast(Tensor, states.last_hidden_state[:, 0]), input_ids_BL

    def fuse(self, text: Tensor, mask_BL: Tensor, image_BIPD: Tensor) -> Tensor:
        return fused(self.model, text, mask_BL, image_BIPD)

    def similarity_scale(self) -> Tensor:
        """exp(``logit_scale_init_value``), which is not trained."""
        return torch.tensor(self.model.config.logit_scale_init_value, device=self.device).exp()

    def joint_parameters(self) -> list[str]:
        """The attention to the image, projections and heads: all that comes after the unimodal outputs."""
        after = ("crossattention", "vision_proj", "text_proj", "itm_head", "cls_head", "image_embedding")
        return [f"model.{name}" for name, _ in self.model.named_parameters() if any(part in name for part in after)]
