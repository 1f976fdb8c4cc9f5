"""CLIP, SigLIP and any vision backbone with any text encoder (`VisionTextDualEncoderModel`).

Two encoders and no fusion: h(a, b) is the elementwise product of the two L2-normalised
embeddings, and its sum is the cosine similarity, which is the association score. This h is this
project's own definition: the paper's models fuse.

Shape suffixes: B pairs of this process, G pairs of all processes, D embedding.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BertConfig,
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    ConvNextConfig,
    PreTrainedModel,
    ProcessorMixin,
    SiglipConfig,
    SiglipModel,
    SiglipProcessor,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from multidelete.core.errors import ConfigError, UnsupportedError
from multidelete.core.runtime import gather_with_grad
from multidelete.data.collate import image_text_batch
from multidelete.data.pairs import Batch, Pair
from multidelete.models.base import PairOutputs, PicturePart, Task
from multidelete.models.candidates import candidates
from multidelete.models.fresh import LOGIT_SCALE, NewModel
from multidelete.models.prepared import PreparedAdapter


class DualEncoderAdapter(PreparedAdapter):
    """CLIP-like models with a projection after each encoder: `CLIPModel`, `VisionTextDualEncoderModel`.

    u_image and u_text are the encoders' pooled outputs before the projections.
    """

    family = "clip"
    description = "CLIP (transformers CLIPModel): image-text retrieval"
    model_type = "clip"
    heads: ClassVar[Mapping[str, Task]] = {"CLIPModel": "retrieval"}

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        config = CLIPConfig(
            text_config=wanted.text_settings | {"projection_dim": wanted.size.projection},
            vision_config=wanted.vision_settings | {"projection_dim": wanted.size.projection},
            projection_dim=wanted.size.projection,
            logit_scale_init_value=LOGIT_SCALE,
        )
        return CLIPModel(config), CLIPProcessor(wanted.pictures, wanted.tokenizer)

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        return image_text_batch(pairs, self.images, self.texts)

    def forward(self, batch: Batch) -> PairOutputs:
        image, text = self.encode_image(batch), self.encode_text(batch)
        embeddings = {"image": F.normalize(image[1].float(), dim=-1), "text": F.normalize(text[1].float(), dim=-1)}
        joint_BD = embeddings["image"] * embeddings["text"]
        return PairOutputs(
            unimodal={"image": image[0].float(), "text": text[0].float()},
            joint=joint_BD,
            score=joint_BD.sum(dim=-1),
            embeddings=embeddings,
        )

    def picture_part(self) -> PicturePart:
        names = [name for name in self.state_dict() if name.startswith("model.vision_model.")]
        return PicturePart(frozenset(names), self.image_features)

    def image_features(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the image encoder gives of pixels, (N, ...) by name; of what it gave before, the same again."""
        if "pooled" in inputs:
            return {**inputs}
        return {"pooled": self._pooled(self.model.vision_model, inputs)}

    def encode_image(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """u_image (B, D_image) and the projected, unnormalised embedding (B, D)."""
        pooled = self.image_features(batch.inputs["image"])["pooled"]
        return pooled, self.model.visual_projection(pooled)

    def encode_text(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """u_text (B, D_text) and the projected, unnormalised embedding (B, D)."""
        pooled = self._pooled(self.model.text_model, batch.inputs["text"])
        return pooled, self.model.text_projection(pooled)

    def _pooled(self, encoder: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """The pooled output of an encoder.

        Raises:
            UnsupportedError: It has none.
        """
        pooled = getattr(encoder(**inputs), "pooler_output", None)
        if pooled is None:
            refuse_unpooled(encoder)
        out: Tensor = pooled
        return out

    def task_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        """Symmetric contrastive cross-entropy of each pair, (B,), in nats (Radford et al. 2021).

        Negatives come from all processes. Candidates that share a member with the pair are no
        negatives: a batch may hold several captions of one image. The published loss has one
        caption for each image and no such case.
        """
        image_BG, text_BG, own_B, shared_BG = self._similarities(outputs, batch)
        scale = self.model.logit_scale.exp().clamp(max=100.0)
        losses = [
            F.cross_entropy((scale * s).masked_fill(shared_BG, float("-inf")), own_B, reduction="none")
            for s in (image_BG, text_BG)
        ]
        return (losses[0] + losses[1]) / 2

    def _similarities(self, outputs: PairOutputs, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images to all texts, texts to all images, each pair's own column, and what is no negative."""
        embeddings = outputs.embeddings
        if embeddings is None:
            raise ValueError("a contrastive loss needs the embeddings of a dual encoder")
        all_image_GD, all_text_GD = (gather_with_grad(embeddings[m]) for m in self.modalities)
        own_B, shared_BG = candidates(batch)
        return embeddings["image"] @ all_text_GD.T, embeddings["text"] @ all_image_GD.T, own_B, shared_BG

    def joint_parameters(self) -> list[str]:
        return [name for name, _ in self.named_parameters() if "_projection." in name]

    def encoder_parameters(self, modality: str) -> list[str]:
        begins = {"image": ("model.vision_model.", "model.visual_projection."), "text": ("model.text_",)}
        return self.own_parameters(begins.get(modality, ()))

    @property
    def logit_scale(self) -> float:
        return float(self.model.logit_scale.detach().exp())


class SiglipAdapter(DualEncoderAdapter):
    """`SiglipModel`: pooling heads instead of projections, and a sigmoid loss.

    The heads' outputs are the joint space, so u_image is the mean of the last layer's patch
    states and u_text the last layer's final token, before the heads.
    """

    family = "siglip"
    description = "SigLIP (transformers SiglipModel): image-text retrieval"
    model_type = "siglip"
    heads: ClassVar[Mapping[str, Task]] = {"SiglipModel": "retrieval"}
    without: ClassVar[Mapping[str, str]] = {
        "Siglip2Model": "it is a SigLIP 2 for pictures of any shape (NaFlex), whose patches come with a mask and a "
        "shape of their own. SigLIP 2 of a fixed resolution is a SiglipModel, and is read",
    }
    fixed_length = True

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        config = SiglipConfig(
            text_config=wanted.text_settings | {"projection_size": wanted.size.width},
            vision_config=wanted.vision_settings,
        )
        model = SiglipModel(config)
        with torch.no_grad():  # the published initial values; the class draws them at random
            model.logit_scale.fill_(2.3026)
            model.logit_bias.fill_(-10.0)
        return model, SiglipProcessor(wanted.pictures, wanted.tokenizer)

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        super().__init__(model, processor)
        if getattr(model.vision_model, "head", None) is None:
            refuse_unpooled(model.vision_model)

    def image_features(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if "pooled" in inputs:
            return {**inputs}
        out = self.model.vision_model(**inputs)
        return {"mean": out.last_hidden_state.mean(dim=1), "pooled": out.pooler_output}

    def encode_image(self, batch: Batch) -> tuple[Tensor, Tensor]:
        features = self.image_features(batch.inputs["image"])
        return features["mean"], features["pooled"]

    def encode_text(self, batch: Batch) -> tuple[Tensor, Tensor]:
        out = self.model.text_model(**batch.inputs["text"])
        return out.last_hidden_state[:, -1], out.pooler_output

    def task_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        """Sigmoid loss of each image against all texts, (B,), in nats (Zhai et al. 2023).

        Candidates that share a member with the pair are no negatives.
        """
        image_BG, _, own_B, shared_BG = self._similarities(outputs, batch)
        logits_BG = image_BG * self.model.logit_scale.exp() + self.model.logit_bias
        sign_BG = -torch.ones_like(logits_BG)
        sign_BG[torch.arange(len(batch)), own_B] = 1.0
        return -F.logsigmoid(sign_BG * logits_BG).masked_fill(shared_BG, 0.0).sum(dim=1)

    def joint_parameters(self) -> list[str]:
        return [name for name, _ in self.named_parameters() if "_model.head." in name]


class VisionTextAdapter(DualEncoderAdapter):
    """`VisionTextDualEncoderModel`: any vision backbone with any text encoder."""

    family = "vision-text"
    description = (
        "any vision backbone with any text encoder (transformers VisionTextDualEncoderModel): image-text retrieval"
    )
    model_type = "vision-text-dual-encoder"
    heads: ClassVar[Mapping[str, Task]] = {"VisionTextDualEncoderModel": "retrieval"}

    @classmethod
    def read_processor(cls, source: str | Path) -> ProcessorMixin:
        return read_two_part_processor(source)

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        size = wanted.size
        if not size.stages or len(size.stages) != len(size.depths):
            raise ConfigError(
                f"stages is {list(size.stages)} and depths is {list(size.depths)}; family {cls.family} needs one entry "
                "or more in stages, and as many in depths. The named size tiny has [48, 96, 192] and [1, 2, 2]."
            )
        vision = ConvNextConfig(
            image_size=wanted.image_size,
            num_stages=len(size.stages),
            hidden_sizes=list(size.stages),
            depths=list(size.depths),
            layer_scale_init_value=0.1,  # the published 1e-6 is for very deep networks and long schedules
            hidden_size=size.stages[-1],  # read by VisionTextDualEncoderModel
        )
        text = BertConfig(**wanted.text_settings, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        config = VisionTextDualEncoderConfig.from_vision_text_configs(
            vision, text, projection_dim=size.projection, logit_scale_init_value=LOGIT_SCALE
        )
        return VisionTextDualEncoderModel(config), VisionTextDualEncoderProcessor(wanted.pictures, wanted.tokenizer)

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        super().__init__(model, processor)
        convolutions = [m for m in model.vision_model.modules() if isinstance(m, nn.Conv2d)]
        if len(convolutions) > 1:  # convolutional backbones run about twice as fast on CPUs in this layout
            model.vision_model.to(memory_format=torch.channels_last)

    def image_features(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As for CLIP; some backbones (ResNet) leave the pooled output as a 1 x 1 map, (N, D_image, 1, 1)."""
        return {"pooled": super().image_features(inputs)["pooled"].flatten(1)}

    def encode_text(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As for CLIP; what the tokenizer gives and the encoder does not take, such as token types, is left out."""
        taken = inspect.signature(self.model.text_model.forward).parameters
        pooled = self._pooled(self.model.text_model, {k: t for k, t in batch.inputs["text"].items() if k in taken})
        return pooled, self.model.text_projection(pooled)


def read_two_part_processor(source: str | Path) -> ProcessorMixin:
    """The image processor and the tokenizer of a folder, each by itself, in one processor."""
    return VisionTextDualEncoderProcessor(
        AutoImageProcessor.from_pretrained(str(source), trust_remote_code=False),
        AutoTokenizer.from_pretrained(str(source), trust_remote_code=False),
    )


def refuse_unpooled(encoder: nn.Module) -> NoReturn:
    """Raise for an encoder without a pooled output, which the joint space starts from."""
    raise UnsupportedError(
        f"the encoder {type(encoder).__name__} gives no pooled output, and the joint space of the two encoders starts "
        "from it. Give a model whose encoders have a pooler (BERT, RoBERTa, MPNet; CLIP, ViT with its pooling layer), "
        "or write an adapter (docs/models.md)."
    )
