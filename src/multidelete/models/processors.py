"""The image processor and tokenizer beside a network: read from a folder, and compared with the network."""

from pathlib import Path

from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.image_processing_base import ImageProcessingMixin

from multidelete.core.errors import CheckpointError, UserError, first_few
from multidelete.core.foreign import LIBRARY_ERRORS, sentence
from multidelete.core.words import counted, indefinite
from multidelete.models.converters.sentence_transformers import model_folder
from multidelete.models.family import FamilyAdapter

_PACKAGES = ("sentencepiece", "protobuf", "tiktoken", "torchvision")  # what slow tokenizers and processors need
_LARGEST_SIDE = 2**14
_PADDING = 1024  # rows that an embedding may have beyond its tokenizer's entries: they are rounded up


def load_processor(source: str | Path, kind: type[FamilyAdapter]) -> ProcessorMixin:
    """The image processor and tokenizer of a model folder or hub id; code that stands beside them is never run.

    Raises:
        CheckpointError: One of them is missing or broken, or needs code or a package that is not here.
    """
    try:
        return kind.read_processor(model_folder(source))
    except ImportError as error:
        package = next((name for name in _PACKAGES if name in str(error).lower()), "the package that it names")
        raise CheckpointError(
            f"{source} has no readable processor: {sentence(error)} Install {package}, or save the processor with a "
            "fast tokenizer (tokenizer.json), which needs nothing more."
        ) from error
    except LIBRARY_ERRORS as error:
        told = "there is none." if "huggingface.co" in str(error) and Path(source).is_dir() else sentence(error)
        raise CheckpointError(
            f"{source} has no readable processor: {told} "
            "Save the processor (image processor and tokenizer) into the model folder."
        ) from error


def refuse_processor(
    model: PreTrainedModel, processor: object, kind: type[FamilyAdapter], source: str, error: type[UserError]
) -> None:
    """Raise where a processor is no such thing, or its tokenizer is not the network's.

    Args:
        model: The network.
        processor: What is to prepare its pairs.
        kind: The network's family.
        source: How to call the two in an error.
        error: Which error to raise.
    """
    types = {"tokenizer": PreTrainedTokenizerBase, "image_processor": ImageProcessingMixin}
    parts = {name: types.get(name, object) for name in kind.processor_parts}
    lacking = [name for name, of in parts.items() if not isinstance(getattr(processor, name, None), of)]
    if lacking:
        raise error(
            f"{source}: the processor is {indefinite(type(processor).__name__)} without {' and '.join(lacking)}. For a "
            f"model of family {kind.family} it needs the whole processor that was saved with it, as "
            f"AutoProcessor.from_pretrained gives it: {' and '.join(kind.processor_parts)} in one."
        )
    tokenizer: PreTrainedTokenizerBase = getattr(processor, "tokenizer")  # noqa: B009 - of no declared type
    problems = []
    if tokenizer.pad_token_id is None:
        problems.append(
            f"{source}: its tokenizer has no padding token, and texts of one batch are padded to one length. Set "
            "pad_token to the one that the model was trained with, and save the tokenizer anew."
        )
    rows = getattr(getattr(model.config, "text_config", model.config), "vocab_size", None)
    if isinstance(rows, int):
        entries = tokenizer.get_vocab()
        beyond = sorted((name for name, number in entries.items() if number >= rows), key=lambda name: entries[name])
        if beyond:
            problems.append(
                f"{source}: its tokenizer has {counted(len(beyond), 'tokens')} that the network has no embedding for: "
                f"{first_few(beyond)}. Its vocabulary has {rows:,} entries: give the tokenizer that it was trained "
                "with."
            )
        elif len(entries) < rows / 2 or rows - len(entries) > max(_PADDING, rows / 10):
            problems.append(
                f"{source}: its tokenizer has {counted(len(entries), 'tokens')}, and the network's "
                f"vocabulary {rows:,}. The "
                "tokenizer is missing or another model's: save the one that it was trained with into the folder."
            )
    sides = _sides(getattr(processor, "image_processor", None))
    if sides and max(sides) > _LARGEST_SIDE:
        problems.append(
            f"{source}: its image processor makes pictures of {max(sides)} pixels; at most {_LARGEST_SIDE} are made. "
            "Give the image processor that the model was trained with."
        )
    if problems:
        raise error(problems)


def _sides(image_processor: object) -> list[int]:
    """Every height, width or edge that an image processor scales, crops or pads to."""
    sizes = [getattr(image_processor, name, None) for name in ("size", "crop_size", "pad_size")]
    known = [size if isinstance(size, dict) else getattr(size, "__dict__", {}) for size in sizes]
    entries = [entry for size in known for entry in size.items()]
    return [side for name, side in entries if isinstance(side, int) and not name.endswith("pixels")]
