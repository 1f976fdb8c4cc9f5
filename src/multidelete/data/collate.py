"""From raw inputs to stacked tensors: pictures through an image processor, texts through a tokenizer.

Shape suffixes: B pairs in the batch, L tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from multidelete.data.pairs import Batch, ImageInput, Pair, open_image, source_key

CACHE_BYTES = 1 << 30


class ImageProcessor(Protocol):
    """The part of a `transformers` image processor that is used."""

    def __call__(self, images: list[Image.Image], *, return_tensors: str) -> Mapping[str, Tensor]: ...


class Tokenizer(Protocol):
    """The part of a `transformers` tokenizer that is used."""

    def __call__(
        self, text: list[str], *, padding: bool | str, truncation: bool, max_length: int | None = None
    ) -> Mapping[str, list[list[int]]]: ...


class ImagePreparer:
    """Decodes and preprocesses pictures, keeping up to ``cache_bytes`` of results in memory.

    A picture is identified by its source, so that five captions decode it once.
    """

    def __init__(self, processor: ImageProcessor, cache_bytes: int = CACHE_BYTES) -> None:
        self.processor = processor
        self.free_bytes = cache_bytes
        self.cache: dict[str, Tensor] = {}

    def __call__(self, pairs: Sequence[Pair], modality: str = "image") -> dict[str, Tensor]:
        """``pixel_values`` (B, channels, height, width), float32."""
        missing = {p.sources[modality]: p.inputs[modality] for p in pairs if p.sources[modality] not in self.cache}
        made: dict[str, Tensor] = {}
        if missing:
            images = [open_image(cast(ImageInput, image)) for image in missing.values()]
            pixels = torch.as_tensor(np.asarray(self.processor(images, return_tensors="pt")["pixel_values"]))
            made = dict(zip(missing, pixels.float(), strict=True))
            for source, one in made.items():
                size = one.numel() * one.element_size()
                if size <= self.free_bytes:
                    self.cache[source] = one.clone()
                    self.free_bytes -= size
        rows = [made[s] if (s := pair.sources[modality]) in made else self.cache[s] for pair in pairs]
        return {"pixel_values": torch.stack(rows)}


class TextPreparer:
    """Tokenizes texts, cut at the model's context of ``max_length`` tokens.

    With ``fixed_length`` every text is padded to ``max_length`` and no attention mask is given
    (SigLIP is trained so); otherwise texts are padded to the longest of the batch.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, *, fixed_length: bool = False) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.fixed_length = fixed_length

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` and what else the tokenizer gives, int64 (B, L)."""
        padding = "max_length" if self.fixed_length else True
        encoded = self.tokenizer(list(texts), padding=padding, truncation=True, max_length=self.max_length)
        names = ["input_ids"] if self.fixed_length else list(encoded)
        return {name: torch.tensor(encoded[name], dtype=torch.int64) for name in names}

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Which texts have more tokens than the model's context."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), padding=False, truncation=False)
        return [len(ids) > self.max_length for ids in encoded["input_ids"]]


def image_text_batch(pairs: Sequence[Pair], images: ImagePreparer, texts: TextPreparer) -> Batch:
    """Stack pairs of an image and a text."""
    return Batch(
        ids=[pair.id for pair in pairs],
        inputs={"image": images(pairs), "text": texts([cast(str, pair.inputs["text"]) for pair in pairs])},
        sources=stacked_sources(pairs),
        labels=stacked_labels(pairs),
    )


def stacked_sources(pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """`source_key` of each pair's members, int64 (B,) for each modality."""
    modalities = pairs[0].sources
    return {m: torch.tensor([source_key(pair.sources[m]) for pair in pairs]) for m in modalities}


def stacked_labels(pairs: Sequence[Pair]) -> Tensor | None:
    """Labels as int64 (B,), or None where a pair has none."""
    labels = [pair.label for pair in pairs]
    return None if None in labels else torch.tensor(labels)
