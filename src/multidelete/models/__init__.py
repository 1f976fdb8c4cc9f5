"""Model families: loading, making and saving them behind one `Adapter`."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    ProcessorMixin,
    VisionTextDualEncoderProcessor,
)

from multidelete.errors import CheckpointError, ConfigError
from multidelete.models.base import Adapter, PairOutputs
from multidelete.models.checkpoint import choose_trainable, hold_in_float32, load_model, read_config
from multidelete.models.dual_encoder import MODEL_CLASSES, DualEncoderAdapter, SiglipAdapter, VisionTextAdapter
from multidelete.models.fresh import SIZES, new_model, train_tokenizer

__all__ = [
    "FAMILIES",
    "SIZES",
    "Adapter",
    "Family",
    "PairOutputs",
    "adapter_for",
    "choose_trainable",
    "get_family",
    "hold_in_float32",
    "load_adapter",
    "new_adapter",
]


@dataclass(frozen=True)
class Family:
    """A model family: one line about it, its adapter, and its ``model_type`` in config.json."""

    description: str
    adapter: type[DualEncoderAdapter]
    model_type: str


FAMILIES: dict[str, Family] = {
    "clip": Family("CLIP (transformers CLIPModel): image-text retrieval", DualEncoderAdapter, "clip"),
    "siglip": Family("SigLIP (transformers SiglipModel): image-text retrieval", SiglipAdapter, "siglip"),
    "vision-text": Family(
        "any vision backbone with any text encoder (transformers VisionTextDualEncoderModel): image-text retrieval",
        VisionTextAdapter,
        "vision-text-dual-encoder",
    ),
}


def get_family(name: str) -> Family:
    """Look up a family by name."""
    if name not in FAMILIES:
        close = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"Unknown family {name!r}.{hint} Known families: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def load_adapter(source: str | Path, *, family: str | None = None, allow_pickle: bool = False) -> Adapter:
    """Load a model folder or hub id of any known family.

    Args:
        source: Folder as ``save_pretrained`` writes it, processor included, or a hub id.
        family: Expected family; found from the folder where it is None.
        allow_pickle: Also read ``.bin`` weights, as plain tensors.

    Raises:
        CheckpointError: Not a model, or of another family than expected.
    """
    model_type = read_config(source).model_type
    found = next((name for name, known in FAMILIES.items() if known.model_type == model_type), None)
    if found is None:
        raise CheckpointError(
            f"{source} is a {model_type!r} model. Known families: "
            + ", ".join(f"{name} ({known.model_type})" for name, known in FAMILIES.items())
            + ". For another model, write an adapter (docs/models.md)."
        )
    if family is not None and get_family(family) is not FAMILIES[found]:
        raise CheckpointError(
            f"{source} is of family {found!r}, not {family!r}. Leave --family out, or give a {family} model."
        )
    model = load_model(source, MODEL_CLASSES[found], allow_pickle=allow_pickle)
    return FAMILIES[found].adapter(model, load_processor(source, found))


def load_processor(source: str | Path, family: str) -> ProcessorMixin:
    """The image processor and tokenizer of a model folder or hub id."""
    try:
        if family == "vision-text":
            return VisionTextDualEncoderProcessor(
                AutoImageProcessor.from_pretrained(str(source)), AutoTokenizer.from_pretrained(str(source))
            )
        return AutoProcessor.from_pretrained(str(source))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{source} has no readable processor: {str(error).splitlines()[0]} "
            "Save the processor (image processor and tokenizer) into the model folder."
        ) from error


def adapter_for(model: object, processor: ProcessorMixin | None = None) -> Adapter:
    """Wrap a loaded `transformers` model; an `Adapter` is returned as it is."""
    if isinstance(model, Adapter):
        return model
    for name, model_class in MODEL_CLASSES.items():
        if isinstance(model, model_class):
            if processor is None:
                raise ConfigError(f"a {type(model).__name__} needs its processor too: pass processor=...")
            return FAMILIES[name].adapter(model, processor)
    known_classes = ", ".join(model_class.__name__ for model_class in MODEL_CLASSES.values())
    raise ConfigError(
        f"{type(model).__name__} is of no known family; known: {known_classes}. "
        "Pass an Adapter for another model (docs/models.md)."
    )


def new_adapter(family: str, *, size: str, image_size: int, captions: Iterable[str], seed: int) -> Adapter:
    """A model with random weights and a tokenizer trained on ``captions``."""
    known = get_family(family)
    if size not in SIZES:
        raise ConfigError(f"Unknown size {size!r}. Known sizes: {', '.join(SIZES)}.")
    tokenizer = train_tokenizer(captions, SIZES[size])
    return known.adapter(*new_model(family, SIZES[size], image_size=image_size, tokenizer=tokenizer, seed=seed))
