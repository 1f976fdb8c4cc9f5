"""What the families of this package share: texts and pictures made ready by the processor, classes, the folder.

Shape suffixes: B pairs in the batch, C classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from multidelete.core.errors import CheckpointError, DataError, first_few
from multidelete.data.collate import ImagePreparer, TextPreparer
from multidelete.data.pairs import Batch, Pair
from multidelete.models.base import PairOutputs
from multidelete.models.checkpoint import save_weights_as_stored
from multidelete.models.classes import read_classes
from multidelete.models.family import FamilyAdapter

_LONGEST = 1 << 20  # tokens; of models without a limit, whose tokenizers say 10**30

_AT_ONCE = 4096  # texts that are counted together


class PreparedAdapter(FamilyAdapter):
    """A network of `transformers` with a tokenizer, and with an image processor where pairs have pictures.

    Class attributes:
        classifiers: The networks that classify; all others are for retrieval.
        fixed_length: Whether every text is padded to the model's context.
    """

    classifiers: ClassVar[tuple[type[PreTrainedModel], ...]] = ()
    fixed_length: ClassVar[bool] = False

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        super().__init__(model, processor)
        self.model = model
        self.processor = processor
        if "image" in self.modalities:
            self.images = ImagePreparer(processor.image_processor)
        self.texts = TextPreparer(processor.tokenizer, context_length(model, processor), fixed_length=self.fixed_length)
        if isinstance(model, self.classifiers):
            self.task = "classification"
            self.classes = read_classes(model.config)

    def check_picture(self, picture: Image.Image) -> None:
        self.images.one(picture)

    def truncated(self, pairs: Sequence[Pair]) -> list[str]:
        ids: list[str] = []
        for start in range(0, len(pairs), _AT_ONCE):
            some = pairs[start : start + _AT_ONCE]
            long = self.texts.too_long([pair.text for pair in some])
            ids += [pair.id for pair, too_long in zip(some, long, strict=True) if too_long]
        return ids

    def save(self, folder: Path) -> None:
        save_weights_as_stored(self.model, folder)
        self.processor.save_pretrained(folder)


def class_loss(outputs: PairOutputs, batch: Batch) -> Tensor:
    """Cross-entropy of each pair's label, (B,), in nats.

    Raises:
        DataError: A pair has no label.
    """
    if outputs.logits is None or batch.labels is None:
        raise DataError(
            f"A classifier learns from labels, but some of these pairs have no labels: {first_few(batch.ids)}. "
            "Name the column of the label."
        )
    return F.cross_entropy(outputs.logits, batch.labels, reduction="none")


def class_log_odds(logits_BC: Tensor, labels_B: Tensor | None) -> Tensor:
    """log p(label) - log(1 - p(label)) of each pair, (B,); without labels that of the predicted class.

    >>> import torch
    >>> class_log_odds(torch.tensor([[0.0, 3.0]]), torch.tensor([0]))
    tensor([-3.])
    """
    chosen_B1 = (logits_BC.argmax(dim=1) if labels_B is None else labels_B).unsqueeze(1)
    others_BC = logits_BC.scatter(1, chosen_B1, float("-inf"))
    return logits_BC.gather(1, chosen_B1).squeeze(1) - others_BC.logsumexp(dim=1)


def context_length(model: PreTrainedModel, processor: ProcessorMixin) -> int:
    """Most tokens a text may have, special tokens included.

    Raises:
        CheckpointError: Model and tokenizer leave no room for any word.
    """
    tokenizer = processor.tokenizer
    limits = [int(tokenizer.model_max_length)]
    positions = getattr(getattr(model.config, "text_config", model.config), "max_position_embeddings", None)
    if positions is not None:
        limits.append(int(positions) - _positions_behind_padding(model))
    context = min(*limits, _LONGEST) if len(limits) > 1 else min(limits[0], _LONGEST)
    if context <= tokenizer.num_special_tokens_to_add():
        raise CheckpointError(
            f"texts may have {context} tokens (model_max_length {limits[0]}, positions "
            f"{first_few(limits[1:]) or 'any'}), "
            "which leaves no room for a word. Give the tokenizer that the model was trained with."
        )
    return context


def _positions_behind_padding(model: PreTrainedModel) -> int:
    """How many positions are never used: RoBERTa and its relatives count from behind the padding index."""
    text = getattr(model, "text_model", None) or getattr(model, "text_encoder", None)
    for name, module in [] if text is None else text.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0
