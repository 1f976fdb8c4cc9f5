"""From raw inputs to stacked tensors: pictures through an image processor, texts through a tokenizer.

Shape suffixes: B pairs in the batch, L tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from multidelete.core.errors import DataError, UnsupportedError, first_few
from multidelete.core.foreign import LIBRARY_ERRORS, explained
from multidelete.core.words import counted
from multidelete.data.decode import ImageInput, open_image
from multidelete.data.pairs import Batch, Pair, members, source_key

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

    A picture is identified by its source, so that five captions decode it once. What becomes of a
    picture does not depend on the others: where a processor pads pictures of different sizes and
    says so (``pixel_mask``), they are kept without the padding, and padded again on stacking.
    """

    def __init__(self, processor: ImageProcessor, cache_bytes: int = CACHE_BYTES) -> None:
        self.processor = processor
        self.free_bytes = cache_bytes
        self.cache: dict[str, Tensor] = {}
        self.masked = False
        self.shape: tuple[int, ...] = ()

    def __call__(self, pairs: Sequence[Pair], modality: str = "image") -> dict[str, Tensor]:
        """``pixel_values`` (B, channels, height, width), float32; (B, 2, ...) of pairs of two pictures.

        Where the processor gives masks, also ``pixel_mask`` (B, height, width) or (B, 2, height,
        width), int64: 1 where the picture is, 0 at the bottom and on the right where it is padded.

        Raises:
            UnsupportedError: Some pairs have one picture and some have two.
            DataError: A picture cannot be read or prepared, or they come out in several sizes.
        """
        every = [members(pair, modality) for pair in pairs]
        numbers = {len(pictures) for pictures in every}
        if len(numbers) > 1:
            raise UnsupportedError(
                f"Some pairs have {counted(min(numbers), 'pictures')} and some have {max(numbers)}; all "
                f"pairs need as many."
            )
        prepared = self._made({source: image for pictures in every for source, image in pictures})
        rows = [prepared[s] if s in prepared else self.cache[s] for pictures in every for s, _ in pictures]
        if not self.masked:
            _refuse_several_shapes(dict(zip((s for p in every for s, _ in p), rows, strict=True)))
        stacked = _padded(rows) if self.masked else {"pixel_values": torch.stack(rows)}
        shape = (len(pairs),) if numbers == {1} else (len(pairs), *numbers)
        return {name: tensor.view(*shape, *tensor.shape[1:]) for name, tensor in stacked.items()}

    def one(self, picture: Image.Image) -> Tensor:
        """A decoded picture, prepared and not kept; (channels, height, width).

        Raises:
            DataError: It cannot be prepared, or comes out in another shape than those before it.
        """
        with explained("the processor says", "", DataError):
            row = self._processed([picture])[0]
        if self.masked:
            return row
        self.shape = self.shape or tuple(row.shape)
        if tuple(row.shape) != self.shape:
            raise DataError(f"it becomes {_measures(tuple(row.shape))} pixels, and others {_measures(self.shape)}")
        return row

    def _made(self, pictures: Mapping[str, object]) -> dict[str, Tensor]:
        """The pictures that are not in the cache, preprocessed, by source."""
        missing = {source: image for source, image in pictures.items() if source not in self.cache}
        if not missing:
            return {}
        try:
            rows = self._processed([open_image(cast(ImageInput, image)) for image in missing.values()])
        except LIBRARY_ERRORS:  # some processors take no pictures of several shapes at once
            rows = [self.of(source, image) for source, image in missing.items()]
        prepared = dict(zip(missing, rows, strict=True))
        for source, one in prepared.items():
            size = one.numel() * one.element_size()
            if size <= self.free_bytes:
                self.cache[source] = one.clone()
                self.free_bytes -= size
        return prepared

    def of(self, source: str, image: object) -> Tensor:
        """A picture, opened, prepared and not kept; (channels, height, width).

        Raises:
            DataError: It cannot be prepared.
        """
        name = str(image) if isinstance(image, str | Path) else source
        remedy = "Replace it, or leave its pairs out."
        with explained(f"the picture {name} cannot be prepared for this model", remedy, DataError):
            return self._processed([open_image(cast(ImageInput, image))])[0]

    def _processed(self, images: list[Image.Image]) -> list[Tensor]:
        """Each picture as the processor gives it, without padding."""
        output = self.processor(images, return_tensors="pt")
        pixels = torch.as_tensor(np.asarray(output["pixel_values"])).float()
        if len(pixels) != len(images):
            raise ValueError(f"{len(images)} pictures became {len(pixels)}")
        if "pixel_mask" not in output:
            return list(pixels)
        self.masked = True
        masks = torch.as_tensor(np.asarray(output["pixel_mask"]))
        heights, widths = masks.amax(dim=2).sum(dim=1).tolist(), masks.amax(dim=1).sum(dim=1).tolist()
        return [one[:, :h, :w] for one, h, w in zip(pixels, heights, widths, strict=True)]


def _refuse_several_shapes(pictures: Mapping[str, Tensor]) -> None:
    """Raise where pictures of one batch cannot be stacked."""
    examples: dict[tuple[int, ...], str] = {}
    for source, one in pictures.items():
        examples.setdefault(tuple(one.shape), source)
    if len(examples) > 1:
        shown = first_few([f"{_measures(shape)} ({source})" for shape, source in examples.items()], limit=4)
        raise DataError(
            f"the image processor gives pictures of {counted(len(examples), 'sizes')}: {shown}. A network takes one: "
            "set a fixed size or a centre crop in the processor that lies in the model's folder."
        )


def _measures(shape: tuple[int, ...]) -> str:
    """Width and height of (channels, height, width)."""
    return "x".join(map(str, reversed(shape[1:])))


def _padded(pictures: Sequence[Tensor]) -> dict[str, Tensor]:
    """Pictures of several sizes, padded with zeros at the bottom and on the right, and where they are."""
    height, width = (max(picture.shape[side] for picture in pictures) for side in (1, 2))
    pixels = pictures[0].new_zeros(len(pictures), pictures[0].shape[0], height, width)
    mask = torch.zeros(len(pictures), height, width, dtype=torch.int64)
    for number, picture in enumerate(pictures):
        pixels[number, :, : picture.shape[1], : picture.shape[2]] = picture
        mask[number, : picture.shape[1], : picture.shape[2]] = 1
    return {"pixel_values": pixels, "pixel_mask": mask}


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
        with unchanged(self.tokenizer):
            encoded = self.tokenizer(list(texts), padding=padding, truncation=True, max_length=self.max_length)
        names = ["input_ids"] if self.fixed_length else list(encoded)
        return {name: torch.tensor(encoded[name], dtype=torch.int64) for name in names}

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Which texts have more tokens than the model's context."""
        if not texts:
            return []
        one_more = self.max_length + 1  # enough to tell, and no tokenizer warns of it
        with unchanged(self.tokenizer):
            encoded = self.tokenizer(list(texts), padding=False, truncation=True, max_length=one_more)
        return [len(ids) > self.max_length for ids in encoded["input_ids"]]


@contextmanager
def unchanged(tokenizer: Tokenizer) -> Iterator[None]:
    """Afterwards a tokenizer cuts and pads as before.

    It remembers how it did last, and writes that to its file, which would then tell whether texts were read in this
    process or in others.
    """
    backend = tokenizer.backend_tokenizer if isinstance(tokenizer, PreTrainedTokenizerFast) else None
    before = None if backend is None else (backend.truncation, backend.padding)
    try:
        yield
    finally:
        if backend is not None and before is not None:
            truncation, padding = before
            backend.no_truncation() if truncation is None else backend.enable_truncation(**truncation)
            backend.no_padding() if padding is None else backend.enable_padding(**padding)


class Pictures(Protocol):
    """What makes the first member of a batch: pixels (`ImagePreparer`), or what stands for them."""

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]: ...

    def one(self, picture: Image.Image) -> Tensor: ...


def image_text_batch(pairs: Sequence[Pair], images: Pictures, texts: TextPreparer) -> Batch:
    """Stack pairs of an image, or two, and a text."""
    return Batch(
        ids=[pair.id for pair in pairs],
        inputs={"image": images(pairs), "text": texts([pair.text for pair in pairs])},
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
