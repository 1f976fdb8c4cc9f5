"""ViLT: one transformer reads patches and words together.

Kim, Son, Kim: "ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision", ICML 2021,
arXiv:2102.03334; the networks are those of `transformers`.

Shape suffixes: B pairs of this process, G pairs of all processes, P patches and the image's [CLS], L tokens, D width,
C classes.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    ProcessorMixin,
    ViltConfig,
    ViltForImageAndTextRetrieval,
    ViltForImagesAndTextClassification,
    ViltForQuestionAnswering,
    ViltProcessor,
)

from multidelete.core.errors import DataError, UnsupportedError, first_few
from multidelete.core.runtime import gather_with_grad
from multidelete.core.words import counted
from multidelete.data.collate import image_text_batch
from multidelete.data.pairs import Batch, Pair, members
from multidelete.models.base import PairOutputs, Task
from multidelete.models.candidates import candidates, gumbel
from multidelete.models.classes import name_classes
from multidelete.models.fresh import PAD, NewModel
from multidelete.models.prepared import PreparedAdapter, class_log_odds, class_loss

PATCH = 8


class ViltAdapter(PreparedAdapter):
    """`ViltForImageAndTextRetrieval`, `ViltForQuestionAnswering`, `ViltForImagesAndTextClassification`.

    h(a, b) is the pooled [CLS] state that the head reads; of two pictures both, concatenated, as the
    published head for two pictures reads them. There are no encoders before the fusion: u_image is the
    mean of the patch embeddings and u_text the mean of the token embeddings, with their positions, before the
    transformer (*ours*).

    Differs from the `transformers` networks: every patch of a picture is read, in its order. There a
    random choice of them is (``max_image_length``), or all in random order, so that two calls differ.
    """

    family = "vilt"
    description = "ViLT (transformers): retrieval; two-image reasoning, question answering"
    model_type = "vilt"
    heads: ClassVar[Mapping[str, Task]] = {
        "ViltForImageAndTextRetrieval": "retrieval",
        "ViltForImagesAndTextClassification": "classification",
        "ViltForQuestionAnswering": "classification",
    }
    classifiers = (ViltForImagesAndTextClassification, ViltForQuestionAnswering)

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        """The one transformer has as many layers as the vision encoders of other families.

        Raises:
            UnsupportedError: Retrieval with two pictures in a pair.
        """
        if wanted.task == "retrieval" and wanted.images != 1:
            raise UnsupportedError(
                "ViLT has no retrieval of pairs with two pictures; its task for these is classification."
            )
        size = wanted.size
        config = ViltConfig(
            vocab_size=len(wanted.tokenizer),
            modality_type_vocab_size=wanted.images + 1,
            max_position_embeddings=size.context,
            hidden_size=size.width,
            num_hidden_layers=2 * size.layers,
            num_attention_heads=size.width // 32,
            intermediate_size=4 * size.width,
            image_size=wanted.image_size,
            patch_size=PATCH,
            num_images=wanted.images,
            pad_token_id=PAD,
        )
        name_classes(config, wanted.classes if wanted.task == "classification" else ())
        if wanted.task == "retrieval":
            model: PreTrainedModel = ViltForImageAndTextRetrieval(config)
        else:
            model = (ViltForQuestionAnswering if wanted.images == 1 else ViltForImagesAndTextClassification)(config)
        for parameter in (model.vilt.embeddings.cls_token, model.vilt.embeddings.position_embeddings):
            nn.init.trunc_normal_(
                parameter, std=config.initializer_range
            )  # as published; the class leaves them at zero
        return model, ViltProcessor(wanted.pictures, wanted.tokenizer)

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        super().__init__(model, processor)
        self.pictures = int(model.config.num_images) if isinstance(model, ViltForImagesAndTextClassification) else 1

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        """Stack pairs.

        Raises:
            DataError: They have another number of pictures than the model reads.
        """
        wrong = [pair.id for pair in pairs if len(members(pair, "image")) != self.pictures]
        if wrong:
            raise DataError(
                f"{counted(len(wrong), 'pairs do')} not have the {counted(self.pictures, 'pictures')} that this "
                f"{type(self.model).__name__} reads: {first_few(wrong)}. Give a model and data that belong together."
            )
        return image_text_batch(pairs, self.images, self.texts)

    def forward(self, batch: Batch) -> PairOutputs:
        image, text = batch.inputs["image"], batch.inputs["text"]
        sides = (
            [image] if self.pictures == 1 else [{k: t[:, n] for k, t in image.items()} for n in range(self.pictures)]
        )
        embedded = [self._embed_picture(side) for side in sides]
        joint = self._fuse(embedded, text)
        words_BLD = self.model.vilt.embeddings.text_embeddings(text["input_ids"], text.get("token_type_ids"))
        unimodal = {
            "image": torch.cat([_mean(states_BPD[:, 1:], mask_BP[:, 1:]) for states_BPD, mask_BP in embedded], dim=-1),
            "text": _mean(words_BLD, text["attention_mask"]).float(),
        }
        if self.task == "retrieval":
            return PairOutputs(unimodal=unimodal, joint=joint.float(), score=self._matching(joint))
        logits_BC = self.model.classifier(joint).float()
        score_B = class_log_odds(logits_BC, batch.labels)
        return PairOutputs(unimodal=unimodal, joint=joint.float(), score=score_B, logits=logits_BC)

    def _embed_picture(self, image: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Patch embeddings with positions, behind [CLS], (B, P, D), and which of them are picture, int64 (B, P)."""
        embeddings = self.model.vilt.embeddings
        patches = embeddings.patch_embeddings(image["pixel_values"])
        number, width, rows, columns = patches.shape
        mask = patches.new_ones(number, rows, columns, dtype=torch.int64)
        sizes = [(rows, columns)] * number
        if "pixel_mask" in image:
            high, wide = embeddings.patch_embeddings.projection.kernel_size
            heights = image["pixel_mask"].amax(dim=2).sum(dim=1) // high
            widths = image["pixel_mask"].amax(dim=1).sum(dim=1) // wide
            sizes = list(zip(heights.tolist(), widths.tolist(), strict=True))
            inside = [torch.arange(n, device=mask.device) < s[:, None] for n, s in ((rows, heights), (columns, widths))]
            mask = (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).long()
        side = self.model.config.image_size // self.model.config.patch_size
        learned = embeddings.position_embeddings
        grid = learned[:, 1:].transpose(1, 2).reshape(1, width, side, side)
        placed = {}
        for h, w in set(sizes):
            fitted = grid
            if (h, w) != (side, side):  # interpolation has no repeatable gradient on GPUs
                fitted = F.interpolate(grid, size=(h, w), mode="bilinear", align_corners=True)
            placed[h, w] = F.pad(fitted, (0, columns - w, 0, rows - h))
        states_BPD = (patches + torch.cat([placed[size] for size in sizes])).flatten(2).transpose(1, 2)
        first = (embeddings.cls_token + learned[:, :1]).expand(number, -1, -1)
        states_BPD = embeddings.dropout(torch.cat([first, states_BPD], dim=1))
        return states_BPD, F.pad(mask.flatten(1), (1, 0), value=1)

    def _fuse(self, embedded: Sequence[tuple[Tensor, Tensor]], text: Mapping[str, Tensor]) -> Tensor:
        """The pooled [CLS] state of each picture with the text, concatenated, (B, pictures x D)."""
        pooled = [
            self.model.vilt(**text, image_embeds=states, pixel_mask=mask, image_token_type_idx=number).pooler_output
            for number, (states, mask) in enumerate(embedded, start=1)
        ]
        return torch.cat(pooled, dim=-1)

    def _matching(self, joint: Tensor) -> Tensor:
        """Log-odds that picture and text belong together, (B,)."""
        logits: Tensor = self.model.rank_output(joint)[:, 0]
        return logits.float()

    def task_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        """Cross-entropy of each pair, (B,), in nats.

        Of the classes, for classification. For retrieval, the mean of up to three binary
        ones: the pair is a match; its picture with another text is none; its text with another picture is none. The
        others come from the batches of all processes, each as likely as another, and none whose pairing occurs there.
        They are drawn by a hash of the sources in the batch, so that resumed runs and any number
        of processes draw the same. Where there is no other, the term is left out.

        Differs from the papers: question answering is trained on one answer for each question, not on
        the shares of ten annotators; retrieval on one wrong text and one wrong picture for each
        pair, not on fifteen wrong texts.

        Raises:
            DataError: A classifier was given pairs without labels.
        """
        if self.task == "classification":
            return class_loss(outputs, batch)
        source_G = {m: gather_with_grad(batch.sources[m]) for m in self.modalities}
        own_B, _ = candidates(batch)
        text_B, has_text_B = _draw(source_G["image"], source_G["text"], own_B)
        image_B, has_image_B = _draw(source_G["text"], source_G["image"], own_B)
        all_inputs = {m: {k: _gather_padded(t) for k, t in batch.inputs[m].items()} for m in self.modalities}
        image_rows = torch.cat([own_B[has_text_B], image_B[has_image_B]])
        text_rows = torch.cat([text_B[has_text_B], own_B[has_image_B]])
        loss_B = F.softplus(-outputs.score)
        if len(image_rows) == 0:
            return loss_B
        wrong = self._embed_picture({k: t[image_rows] for k, t in all_inputs["image"].items()})
        score = self._matching(self._fuse([wrong], {k: t[text_rows] for k, t in all_inputs["text"].items()}))
        pair = torch.cat([has_text_B.nonzero()[:, 0], has_image_B.nonzero()[:, 0]])
        return loss_B.index_add(0, pair, F.softplus(score)) / (1 + has_text_B.int() + has_image_B.int())

    def joint_parameters(self) -> list[str]:
        """The pooler and the head."""
        return [name for name, _ in self.named_parameters() if not name.startswith("model.vilt.") or ".pooler." in name]


def _mean(states_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Mean of the states that are not padding, float32 (B, D)."""
    weight_BL1 = mask_BL.unsqueeze(-1).float()
    return (states_BLD.float() * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1)


def _gather_padded(rows: Tensor) -> Tensor:
    """Rows of all processes, padded at the end of each dimension to the longest: zeros, as in a batch of its own."""
    shape = torch.tensor([rows.shape[1:]], device=rows.device)
    longest = gather_with_grad(shape).amax(dim=0).tolist()
    missing = [(0, most - own) for own, most in zip(rows.shape[1:], longest, strict=True)]
    return gather_with_grad(F.pad(rows, [end for ends in reversed(missing) for end in ends]))


def _draw(own_G: Tensor, other_G: Tensor, rows_B: Tensor) -> tuple[Tensor, Tensor]:
    """For each pair at ``rows_B`` another pair whose second member goes with no pair that has its first member.

    By the sources of first and second members; positions of the other pairs, and whether there is one, both (B,).
    """
    same_own_BG = own_G[rows_B].unsqueeze(1) == own_G.unsqueeze(0)
    same_other_GG = other_G.unsqueeze(1) == other_G.unsqueeze(0)
    free_BG = same_own_BG.float() @ same_other_GG.float() == 0
    batch = own_G.sum() + other_G.sum()  # in whatever order; a new batch draws anew
    drawn_BG = gumbel(own_G[rows_B] + batch, other_G).masked_fill(~free_BG, float("-inf"))
    return drawn_BG.argmax(dim=1), free_BG.any(dim=1)
