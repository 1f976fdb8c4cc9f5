"""Model families: loading, making and saving them behind one `Adapter`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from multidelete.artifacts.manifest import read_record
from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError, UserError
from multidelete.core.foreign import explained
from multidelete.models.base import Adapter, PairOutputs, Task
from multidelete.models.checkpoint import (
    LORA_CONFIG,
    choose_trainable,
    hold_in_float32,
    load_model,
    lora_base,
    weights_digest,
)
from multidelete.models.classes import name_classes
from multidelete.models.families import FAMILIES, Family, get_family, recognise, recognise_model, with_task
from multidelete.models.fresh import SIZES, get_size, new_model, train_tokenizer
from multidelete.models.lineage import lineage_of, remember
from multidelete.models.processors import load_processor, refuse_processor

if TYPE_CHECKING:
    from multidelete.data.graph import Graph

__all__ = [
    "FAMILIES",
    "SIZES",
    "Adapter",
    "Family",
    "PairOutputs",
    "Task",
    "adapter_for",
    "choose_trainable",
    "get_family",
    "hold_in_float32",
    "load_adapter",
    "new_adapter",
    "recognise",
    "with_new_head",
    "with_task",
]


def load_adapter(source: str | Path, *, family: str | None = None, allow_pickle: bool = False) -> Adapter:
    """Load a model folder or hub id of any known family.

    Args:
        source: Folder as ``save_pretrained`` writes it, processor included, or a hub id. Its
            config.json tells family and head. Or a LoRA folder: its base model, with LoRA merged in.
        family: Expected family; any where it is None.
        allow_pickle: Also read ``.bin`` weights, as plain tensors.

    Raises:
        CheckpointError: Not a model, of another family than expected, or with a head that is not known.
    """
    found = recognise(source)
    if family is not None and get_family(family) is not FAMILIES[found.family]:
        raise CheckpointError(
            f"{source} is of family {found.family!r}, not {family!r}. Leave --family out, or give a {family} model."
        )
    known = FAMILIES[found.family]
    base = lora_base(source)
    model = load_model(base or source, known.model_class(found.head), allow_pickle=allow_pickle)
    adapter = _adapter(found.family, model, load_processor(base or source, found.family), str(base or source))
    if base is not None:
        _add_stored_lora(adapter, Path(source), base)
        remember(adapter, lineage_of(source))  # the network itself was loaded from the base model
    return adapter


def _adapter(
    family: str, model: PreTrainedModel, processor: ProcessorMixin, source: str, kind: type[UserError] = CheckpointError
) -> Adapter:
    """Network and processor behind their family's adapter, once they fit each other."""
    refuse_processor(model, processor, family, source, kind)
    with explained(f"{source} cannot be used", "Give a model whose parts belong together.", kind):
        return FAMILIES[family].adapter(model, processor)


def _add_stored_lora(adapter: Adapter, folder: Path, base: str) -> None:
    """Merge a LoRA folder into its base model; refuses another base than the one that it was trained on."""
    from multidelete.models.lora import load_lora  # peft takes a second to import

    record = read_record(folder)
    if record is not None and record.original is not None and weights_digest(adapter) != record.original.weights:
        raise CheckpointError(
            f"{folder} was trained on other weights than those that are in {base} now, so it does not fit them. "
            f"Restore that model, or set base_model_name_or_path in {folder / LORA_CONFIG} to where it is."
        )
    load_lora(adapter, folder)
    if type(adapter).remove is not Adapter.remove:
        adapter.processor = load_processor(folder, adapter.family)


def with_new_head(source: str | Path, *, task: Task, classes: Sequence[str], seed: int) -> Adapter:
    """A model for another task: a folder's encoders under a head with random weights from ``seed``.

    For pairs of one picture, or of nodes.

    Raises:
        CheckpointError: Not a model, or its encoders are incomplete.
        UnsupportedError: The family has no such task.
    """
    found = recognise(source)
    refuse_task(found.family, task)
    known = FAMILIES[found.family]
    heads = [head for head, of in known.heads.items() if of == task and "Images" not in head]
    model_class = known.model_class(heads[0])
    with explained(f"{source}: its config.json cannot be used", "Give a folder as save_pretrained wrote it."):
        config = model_class.config_class.from_pretrained(str(source), trust_remote_code=False)
    name_classes(config, classes)
    torch.manual_seed(seed)
    model = load_model(source, model_class, config=config, new_head=True)
    return _adapter(found.family, model, load_processor(source, found.family), str(source))


def adapter_for(model: object, processor: ProcessorMixin | None = None) -> Adapter:
    """Wrap a loaded network of a known family; an `Adapter` is returned as it is."""
    if isinstance(model, Adapter):
        return model
    found = recognise_model(model)
    if processor is None:
        raise ConfigError(f"a {type(model).__name__} needs its processor too: pass processor=...")
    return _adapter(found.family, cast(PreTrainedModel, model), processor, type(model).__name__, ConfigError)


def new_adapter(
    family: str,
    *,
    size: str,
    image_size: int,
    captions: Iterable[str],
    seed: int,
    task: Task = "retrieval",
    classes: Sequence[str] = (),
    images: int = 1,
    graph: "Graph | None" = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> Adapter:
    """A model with random weights and a tokenizer trained on ``captions``.

    Args:
        family: Name of the family.
        size: Name of one of `SIZES`.
        image_size: Height and width of its pictures, in pixels.
        captions: The texts of the training pairs.
        seed: Of the weights.
        task: What its head does.
        classes: Names of the classes, for classification.
        images: Pictures of one pair, 1 or 2.
        graph: The graph that the pairs' nodes are in, for families that read one.
        tokenizer: One to take in the place of a new one; ``captions`` are not read then.

    Raises:
        ConfigError: Family or size is unknown.
        UnsupportedError: The family has no such task, or needs a package that is not installed.
    """
    known = get_family(family)
    measures = get_size(size)
    refuse_task(family, task)
    tokenizer = tokenizer or train_tokenizer(captions, measures)
    model, processor = new_model(
        family,
        measures,
        image_size=image_size,
        tokenizer=tokenizer,
        seed=seed,
        task=task,
        classes=classes,
        images=images,
        graph=graph,
    )
    return known.adapter(model, processor)


def refuse_task(family: str, task: Task) -> None:
    """Raise where a family has no head for a task."""
    known = get_family(family)
    if task not in known.tasks:
        others = with_task(task, known.modalities)
        raise UnsupportedError(
            f"Family {family!r} has no {task}; it has {' and '.join(known.tasks)}. "
            f"Families with {task} for pairs of {' and '.join(known.modalities)}: {', '.join(others) or 'none'}. "
            "Choose one of these with --family, or another --task."
        )
