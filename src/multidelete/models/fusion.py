"""What models with one encoder for each modality and a fusion of both share: ALBEF and BLIP.

A pair is judged by the fused [CLS] state: h(a, b). For retrieval a matching head tells whether
image and text belong together, beside a contrastive loss of the encoders' own outputs; for
classification (entailment, reasoning over two images) a classifier reads the same state.

Shape suffixes: B pairs of this process, G pairs of all processes, I images of a pair, P image
tokens, L text tokens, D width, C classes.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from multidelete.core.errors import DataError, first_few
from multidelete.core.runtime import gather_with_grad
from multidelete.core.words import counted
from multidelete.data.collate import image_text_batch
from multidelete.data.pairs import Batch, Pair
from multidelete.models.base import PairOutputs, PicturePart
from multidelete.models.candidates import candidates, draw, gumbel
from multidelete.models.prepared import PreparedAdapter, class_log_odds, class_loss


class FusionAdapter(PreparedAdapter):
    """Two encoders and a fusion; a family says how each of its parts is called.

    The wrapped model has ``vision_proj``, ``text_proj`` and ``itm_head`` for retrieval, ``cls_head``
    for classification. u_image and u_text are the encoders' [CLS] states before the fusion; of two
    images both, side by side.

    Attributes:
        image_encoder: How the names of its weights begin.
        images_per_pair: 1 or 2.
    """

    image_encoder: ClassVar[str]

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        super().__init__(model, processor)
        self.images_per_pair: int = getattr(model.config, "images", 1)

    @abstractmethod
    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Token states (N, P, D) of N images (N, channels, height, width); the first is the [CLS] state."""

    @abstractmethod
    def encode_texts(self, input_ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The [CLS] state (B, D) before the fusion, and what the fusion starts from: states (B, L, D) or ids (B, L)."""

    @abstractmethod
    def fuse(self, text: Tensor, mask_BL: Tensor, image_BIPD: Tensor) -> Tensor:
        """The fused [CLS] state (B, D); ``text`` is the second output of `encode_texts`."""

    @abstractmethod
    def similarity_scale(self) -> Tensor:
        """Factor of the cosine similarities in the contrastive loss."""

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        counts = {pair.id: len(image) if isinstance(image := pair.inputs["image"], tuple) else 1 for pair in pairs}
        wrong = [pair_id for pair_id, count in counts.items() if count != self.images_per_pair]
        if wrong:
            raise DataError(
                f"{counted(len(wrong), 'pairs do')} not have the "
                f"{counted(self.images_per_pair, 'images')} that this model takes for each "
                f"pair: {first_few(wrong)}. Use data with as many images a pair, or a model made for these."
            )
        return image_text_batch(pairs, self.images, self.texts)

    def encoder_parameters(self, modality: str) -> list[str]:
        """Of images; the text encoder attends to them."""
        return self.own_parameters((self.image_encoder, "model.vision_proj.") if modality == "image" else ())

    def picture_part(self) -> PicturePart:
        """The token states, (N, P, D)."""
        names = [name for name in self.state_dict() if name.startswith(self.image_encoder)]
        return PicturePart(frozenset(names), lambda inputs: {"tokens": self.encode_images(inputs["pixel_values"])})

    def image_tokens(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Token states (B, I, P, D) of pixels (B, 3, ...) or (B, I, 3, ...), or as they were kept."""
        if "tokens" in inputs:
            kept = inputs["tokens"]
            return kept if kept.ndim == 4 else kept.unsqueeze(1)
        pixels = inputs["pixel_values"]
        pixels = pixels if pixels.ndim == 5 else pixels.unsqueeze(1)
        image_NPD = self.encode_images(pixels.flatten(0, 1))
        return image_NPD.view(*pixels.shape[:2], *image_NPD.shape[1:])

    def forward(self, batch: Batch) -> PairOutputs:
        image_BIPD = self.image_tokens(batch.inputs["image"])
        mask_BL = batch.inputs["text"]["attention_mask"]
        text_BD, text = self.encode_texts(batch.inputs["text"]["input_ids"], mask_BL)
        joint_BD = self.fuse(text, mask_BL, image_BIPD)
        unimodal = {"image": image_BIPD[:, :, 0].flatten(1).float(), "text": text_BD.float()}
        if self.task == "classification":
            logits_BC = self.model.cls_head(joint_BD).float()
            score_B = class_log_odds(logits_BC, batch.labels)
            return PairOutputs(unimodal=unimodal, joint=joint_BD.float(), score=score_B, logits=logits_BC)
        return PairOutputs(
            unimodal=unimodal,
            joint=joint_BD.float(),
            score=self.match_log_odds(joint_BD),
            embeddings={
                "image": F.normalize(self.model.vision_proj(image_BIPD[:, 0, 0]).float(), dim=-1),
                "text": F.normalize(self.model.text_proj(text_BD).float(), dim=-1),
            },
            states={"image": image_BIPD, "text": text, "mask": mask_BL},
        )

    def match_log_odds(self, joint_BD: Tensor) -> Tensor:
        """Logit of a match (index 1 of the matching head) minus that of none, (B,)."""
        logits_B2: Tensor = self.model.itm_head(joint_BD).float()
        return logits_B2[:, 1] - logits_B2[:, 0]

    def task_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        """Loss of each pair, (B,), in nats.

        Classification: cross-entropy of the label. Retrieval: contrastive plus matching loss (Li et al.
        2021, arXiv:2107.07651, section 3.2), as `contrastive_and_matching_loss` says.

        Raises:
            DataError: A pair has no label, and the model is a classifier.
        """
        if self.task == "retrieval":
            return self.contrastive_and_matching_loss(outputs, batch)
        return class_loss(outputs, batch)

    def contrastive_and_matching_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        """Contrastive loss of the two embeddings, plus the matching loss of own pair and two hard negatives, (B,).

        Each text gets one wrong image and each image one wrong text, drawn among the pairs of all
        processes in proportion to exp(similarity), none that shares a member with the pair. Own pair
        and negatives weigh the same; where all others share a member, the own pair is all there is.

        Differs from the paper: no momentum encoders, hence neither queues nor soft targets, and no
        masked language modelling. Members shared within the batch are no negatives of the
        contrastive loss (in the paper they are further positives). The draw is repeatable: its noise is a hash
        of the two members' sources and of those of the whole batch, so that resumed runs and several processes
        draw the same, and another batch draws anew.
        """
        embeddings, states = outputs.embeddings, outputs.states
        if embeddings is None or states is None:
            raise ValueError("the retrieval loss needs embeddings and states, which cached outputs do not have")
        own_B, shared_BG = candidates(batch)
        scale = self.similarity_scale()
        to_image_BG = scale * embeddings["text"] @ gather_with_grad(embeddings["image"]).T
        to_text_BG = scale * embeddings["image"] @ gather_with_grad(embeddings["text"]).T
        contrastive = [
            F.cross_entropy(to_BG.masked_fill(shared_BG, float("-inf")), own_B, reduction="none")
            for to_BG in (to_image_BG, to_text_BG)
        ]

        barred_BG = shared_BG.scatter(1, own_B.unsqueeze(1), True)
        image_B, text_B = batch.sources["image"], batch.sources["text"]
        image_G, text_G = gather_with_grad(image_B), gather_with_grad(text_B)
        salt = (image_G + text_G).sum()  # wraps around; the same in any order
        wrong_image_B = draw(to_image_BG, gumbel(text_B + salt, image_G), barred_BG)
        wrong_text_B = draw(to_text_BG, gumbel(image_B + salt, text_G), barred_BG)

        longest = int(gather_with_grad(torch.tensor([states["mask"].shape[1]], device=self.device)).max())
        text, mask_BL = pad_tokens(states["text"], longest), pad_tokens(states["mask"], longest)
        fused = self.fuse(
            torch.cat([text, gather_with_grad(text)[wrong_text_B]]),
            torch.cat([mask_BL, gather_with_grad(mask_BL)[wrong_text_B]]),
            torch.cat([gather_with_grad(states["image"])[wrong_image_B], states["image"]]),
        )
        negatives_B = F.softplus(self.match_log_odds(fused)).view(2, -1).sum(dim=0)
        has_negative_B = ~barred_BG.all(dim=1)
        positives_B = F.softplus(-outputs.score)  # cross-entropy of "match"
        matching_B = torch.where(has_negative_B, (positives_B + negatives_B) / 3, positives_B)
        return (contrastive[0] + contrastive[1]) / 2 + matching_B

    @property
    def logit_scale(self) -> float | None:
        return float(self.similarity_scale().detach()) if self.task == "retrieval" else None


def initial_spread(width: int) -> float:
    """Standard deviation of new weights: the published 0.02 at the published width of 768, more in narrow layers.

    A layer's outputs spread with the square root of its width. At 0.02 narrow models attend to all tokens alike,
    and the matching head learns nothing for hundreds of steps.
    """
    return 0.02 * math.sqrt(768 / width)


def pad_tokens(tokens: Tensor, length: int) -> Tensor:
    """Zeros up to ``length`` in the second dimension."""
    return F.pad(tokens, (0, 0) * (tokens.ndim - 2) + (0, length - tokens.shape[1]))
