"""ALBEF: vision transformer, text encoder and multimodal encoder, with heads for retrieval and classification.

Li et al., "Align before Fuse: Vision and Language Representation Learning with Momentum
Distillation", NeurIPS 2021, arXiv:2107.07651. Numerically the published network; official weights
are read by `multidelete.models.converters`.

Differs from the paper: the momentum copies and their queues serve the official training only and
are no part of this network, so unlearning cannot change them; hence no momentum distillation.

Differs from the released code in what the text encoder reads: there ``pre_caption`` lowers the case of a caption, takes
out ``, . ' ! ? " ( ) * # : ; ~``, turns hyphens and slashes into blanks, and cuts it at 30 words for retrieval.
Here captions go to the tokenizer as they are: the published tokenizer lowers the case too, and keeps the punctuation.

Shape suffixes: B pairs, N images, I images of a pair, P image tokens, L text tokens, D width, C classes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    BertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
    VisionTextDualEncoderProcessor,
    ViTConfig,
)
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.bert.modeling_bert import BertEmbeddings

from multidelete.core.json_files import JsonObject
from multidelete.models.albef_layers import TextEncoder, VisionTransformer
from multidelete.models.base import Task
from multidelete.models.classes import name_classes
from multidelete.models.dual_encoder import read_two_part_processor
from multidelete.models.fresh import LOGIT_SCALE, NewModel
from multidelete.models.fusion import FusionAdapter, initial_spread


class AlbefConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """Sizes of an ALBEF model; the defaults are the published ones.

    Args:
        vision_config: Of the vision transformer.
        text_config: Of all text layers, lower and upper. For two images the upper layers are twice as many.
        fusion_layer: How many lower layers read the text alone.
        projection_dim: Dimension of the joint space of the contrastive loss.
        initial_temperature: What the contrastive temperature starts from.
        images: Images of a pair, 1 or 2 (classification only).
        initializer_range: Standard deviation of new weights.
        token_types: Whether the checkpoint that the weights came from has embeddings of token types; LAVIS' have none.
        text_prefix: How the official checkpoint that the weights came from begins the text encoder's names.
        settings: What every `transformers` configuration has, such as ``id2label``.
    """

    model_type = "albef"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"vision_config": ViTConfig, "text_config": BertConfig}

    def __init__(
        self,
        *,
        vision_config: PreTrainedConfig | JsonObject | None = None,
        text_config: PreTrainedConfig | JsonObject | None = None,
        fusion_layer: int = 6,
        projection_dim: int = 256,
        initial_temperature: float = 0.07,
        images: int = 1,
        initializer_range: float = 0.02,
        token_types: bool = True,
        text_prefix: str = "text_encoder.",
        **settings: object,
    ) -> None:
        published = {"image_size": 384, "layer_norm_eps": 1e-6}
        self.vision_config = _sub_config(ViTConfig, vision_config, published)
        self.text_config = _sub_config(BertConfig, text_config, {})
        self.fusion_layer = fusion_layer
        self.projection_dim = projection_dim
        self.initial_temperature = initial_temperature
        self.images = images
        self.token_types = token_types
        self.text_prefix = text_prefix
        self.initializer_range = initializer_range
        super().__init__(**{"tie_word_embeddings": True} | settings)  # without it transformers ties no weights


def _sub_config(
    kind: type[PreTrainedConfig], config: PreTrainedConfig | JsonObject | None, defaults: JsonObject
) -> PreTrainedConfig:
    return config if isinstance(config, PreTrainedConfig) else kind(**{**defaults, **(config or {})})


class AlbefPreTrainedModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """Both encoders; the subclasses add the heads."""

    config_class = AlbefConfig
    config: AlbefConfig
    base_model_prefix = "albef"
    main_input_name = "pixel_values"

    def __init__(self, config: AlbefConfig) -> None:
        super().__init__(config)
        vision, text = config.vision_config, config.text_config
        self.visual_encoder = VisionTransformer(vision)
        self.text_encoder = TextEncoder(text, config.fusion_layer, vision.hidden_size)
        self._tied_weights_keys = self._shared_between_images()

    def _shared_between_images(self) -> dict[str, str]:
        """Of two images, each two upper layers have the same keys and values: the second's name to the first's."""
        if self.config.images == 1:
            return {}
        layers = range(self.config.fusion_layer, self.config.text_config.num_hidden_layers, 2)
        name = "text_encoder.encoder.layer.{}.crossattention.self.{}.{}"
        parts = [(projection, kind) for projection in ("key", "value") for kind in ("weight", "bias")]
        return {name.format(i + 1, *part): name.format(i, *part) for i in layers for part in parts}

    def get_input_embeddings(self) -> nn.Module:
        """The words', which peft asks for."""
        module: nn.Module = self.text_encoder.embeddings.word_embeddings
        return module

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Token states (N, P, D) of images (N, 3, height, width)."""
        out: Tensor = self.visual_encoder(pixel_values)
        return out

    def fused(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The fused [CLS] state (B, D); pixels are (B, 3, ...) or, of two images, (B, 2, 3, ...)."""
        pixels = pixel_values if pixel_values.ndim == 5 else pixel_values.unsqueeze(1)
        image_NPD = self.encode_images(pixels.flatten(0, 1))
        image_BIPD = image_NPD.view(*pixels.shape[:2], *image_NPD.shape[1:])
        read_BLD = self.text_encoder.read(input_ids, attention_mask)
        return self.text_encoder.fuse(read_BLD, attention_mask, image_BIPD)[:, 0]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, VisionTransformer):
            for tokens in (module.cls_token, module.pos_embed):
                init.trunc_normal_(tokens, std=self.config.initializer_range)
        if isinstance(module, BertEmbeddings):  # buffers that are not saved: from_pretrained leaves them empty
            init.copy_(module.position_ids, torch.arange(module.position_ids.shape[-1]).unsqueeze(0))
            init.zeros_(module.token_type_ids)
        if isinstance(module, AlbefForRetrieval):
            init.constant_(module.temp, self.config.initial_temperature)


class AlbefForRetrieval(AlbefPreTrainedModel):
    """With projections into the joint space, and the matching head."""

    def __init__(self, config: AlbefConfig) -> None:
        super().__init__(config)
        vision, text = config.vision_config, config.text_config
        self.vision_proj = nn.Linear(vision.hidden_size, config.projection_dim)
        self.text_proj = nn.Linear(text.hidden_size, config.projection_dim)
        self.temp = nn.Parameter(torch.tensor(config.initial_temperature))
        self.itm_head = nn.Linear(text.hidden_size, 2)
        self.post_init()

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Logits (B, 2) of the matching head: 0 no match, 1 match."""
        return SequenceClassifierOutput(logits=self.itm_head(self.fused(pixel_values, input_ids, attention_mask)))


class AlbefForClassification(AlbefPreTrainedModel):
    """With a classifier of two layers; of two images in the published way of NLVR2.

    The upper layers are doubled; each pair of them looks at the first image, then at the second,
    with the same keys and values.
    """

    def __init__(self, config: AlbefConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.cls_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.num_labels))
        self.post_init()

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Class logits (B, C)."""
        return SequenceClassifierOutput(logits=self.cls_head(self.fused(pixel_values, input_ids, attention_mask)))


class AlbefAdapter(FusionAdapter):
    """`AlbefForRetrieval` and `AlbefForClassification`."""

    family = "albef"
    image_encoder = "model.visual_encoder."
    description = "ALBEF (our network, the published architecture): retrieval; entailment, two-image reasoning"
    model_type = "albef"
    heads: ClassVar[Mapping[str, Task]] = {
        "AlbefForRetrieval": "retrieval",
        "AlbefForClassification": "classification",
    }
    classifiers = (AlbefForClassification,)

    @classmethod
    def read_processor(cls, source: str | Path) -> ProcessorMixin:
        return read_two_part_processor(source)

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        """As many lower as upper text layers, twice as many upper ones for two images."""
        text = wanted.text_settings | {"num_hidden_layers": (1 + wanted.images) * wanted.size.layers}
        config = AlbefConfig(
            vision_config=ViTConfig(**wanted.vision_settings, layer_norm_eps=1e-6),
            text_config=BertConfig(**text, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
            fusion_layer=wanted.size.layers,
            projection_dim=wanted.size.projection,
            initial_temperature=float(torch.tensor(-LOGIT_SCALE).exp()),
            images=wanted.images,
            initializer_range=initial_spread(wanted.size.width),
        )
        name_classes(config, wanted.classes)
        network = AlbefForClassification if wanted.task == "classification" else AlbefForRetrieval
        return network(config), VisionTextDualEncoderProcessor(wanted.pictures, wanted.tokenizer)

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        return cast(AlbefPreTrainedModel, self.model).encode_images(pixel_values)

    def encode_texts(self, input_ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        states_BLD: Tensor = self.model.text_encoder.read(input_ids_BL, mask_BL)
        return states_BLD[:, 0], states_BLD

    def fuse(self, text: Tensor, mask_BL: Tensor, image_BIPD: Tensor) -> Tensor:
        fused_BLD: Tensor = self.model.text_encoder.fuse(text, mask_BL, image_BIPD)
        return fused_BLD[:, 0]

    def similarity_scale(self) -> Tensor:
        """1 / temperature; the temperature is kept in [0.001, 0.5], as in the official pre-training."""
        temperature: Tensor = self.model.temp
        return 1 / temperature.clamp(0.001, 0.5)

    def joint_parameters(self) -> list[str]:
        """The upper text layers, projections and heads: all that comes after the unimodal outputs."""
        first = self.model.config.fusion_layer
        lower = (f"text_encoder.encoder.layer.{i}." for i in range(first))
        before = ("visual_encoder.", "text_encoder.embeddings.", *lower, "temp")
        return [f"model.{name}" for name, _ in self.model.named_parameters() if not name.startswith(before)]


AutoConfig.register("albef", AlbefConfig)
