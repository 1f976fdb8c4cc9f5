"""Model families: loading, making and saving them behind one `Adapter`."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedModel, ProcessorMixin

from multidelete.artifacts.manifest import read_record
from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError, UserError
from multidelete.core.foreign import explained
from multidelete.core.words import indefinite
from multidelete.models.base import Adapter, PairOutputs, Task
from multidelete.models.checkpoint import (
    LORA_CONFIG,
    choose_trainable,
    hold_in_float32,
    load_model,
    lora_base,
    refuse_not_finite,
    weights_digest,
)
from multidelete.models.classes import name_classes
from multidelete.models.converters.known import checkpoint_of
from multidelete.models.converters.known import read as read_theirs
from multidelete.models.converters.layout import reading
from multidelete.models.converters.sentence_transformers import is_sentence_folder, model_folder
from multidelete.models.families import (
    FAMILIES,
    add_family,
    get_family,
    recognise,
    recognise_model,
    with_task,
)
from multidelete.models.family import FamilyAdapter
from multidelete.models.fresh import SIZES, NewModel, Size, get_size, train_tokenizer
from multidelete.models.lineage import lineage_of, remember
from multidelete.models.processors import load_processor, refuse_processor

__all__ = [
    "FAMILIES",
    "SIZES",
    "Adapter",
    "FamilyAdapter",
    "NewModel",
    "PairOutputs",
    "Size",
    "Task",
    "adapter_for",
    "add_family",
    "choose_trainable",
    "get_family",
    "get_size",
    "hold_in_float32",
    "load_adapter",
    "new_adapter",
    "reading",
    "recognise",
    "train_tokenizer",
    "with_new_head",
    "with_task",
]


def load_adapter(source: str | Path, *, family: str | None = None, allow_pickle: bool = False) -> Adapter:
    """Load a model folder or hub id of any known family.

    Args:
        source: Folder as ``save_pretrained`` writes it, processor included, or a hub id. Its
            config.json tells family and head. Or a LoRA folder: its base model, with LoRA merged in. Or a checkpoint
            file in a layout of others (docs/models.md); what it does not tell, `reading` says.
        family: Expected family, or one of your own (``package.module:Class``, which is imported); any where it is None.
        allow_pickle: Also read ``.bin`` weights, as plain tensors.

    Raises:
        CheckpointError: Not a model, of another family than expected, or with a head that is not known.
    """
    expected = None if family is None else add_family(family)
    stored = recognise(source)
    kind = stored.kind
    if expected not in (None, kind):
        raise CheckpointError(
            f"{source} is of family {kind.family!r}, not {family!r}. Leave --family out, or give "
            f"{indefinite(f'{family} model')}."
        )
    if checkpoint_of(source) is not None:
        theirs = read_theirs(source, kind, stored.head)
        refuse_not_finite(source, theirs.model)
        adapter = _adapter(kind, theirs.model, theirs.processor, str(source))
        remember(adapter, lineage_of(source))
        return adapter
    base = lora_base(source)
    model = load_model(base or source, kind.model_class(stored.head), allow_pickle=allow_pickle)
    adapter = _adapter(kind, model, load_processor(base or source, kind), str(base or source))
    if is_sentence_folder(source):
        remember(adapter, lineage_of(source))  # the network itself was loaded from a folder in it
    if base is not None:
        _add_stored_lora(adapter, Path(source), base)
        remember(adapter, lineage_of(source))  # the network itself was loaded from the base model
    return adapter


def _adapter(
    kind: type[FamilyAdapter],
    model: PreTrainedModel,
    processor: ProcessorMixin,
    source: str,
    error: type[UserError] = CheckpointError,
) -> FamilyAdapter:
    """Network and processor behind their family's adapter, once they fit each other."""
    refuse_processor(model, processor, kind, source, error)
    with explained(f"{source} cannot be used", "Give a model whose parts belong together.", error):
        return kind(model, processor)


def _add_stored_lora(adapter: FamilyAdapter, folder: Path, base: str) -> None:
    """Merge a LoRA folder into its base model; refuses another base than the one that it was trained on."""
    from multidelete.models.lora import load_lora  # peft takes a second to import

    record = read_record(folder)
    if record is not None and record.original is not None and weights_digest(adapter) != record.original.weights:
        raise CheckpointError(
            f"{folder} was trained on other weights than those that are in {base} now, so it does not fit them. "
            f"Restore that model, or set base_model_name_or_path in {folder / LORA_CONFIG} to where it is."
        )
    load_lora(adapter, folder)
    if adapter.holds_data:
        adapter.processor = load_processor(folder, type(adapter))


def with_new_head(source: str | Path, *, task: Task, classes: Sequence[str], seed: int) -> Adapter:
    """A model for another task: a folder's encoders under a head with random weights from ``seed``.

    For pairs of one picture, or of nodes.

    Raises:
        CheckpointError: Not a model, or its encoders are incomplete.
        UnsupportedError: The family has no such task.
    """
    kind = recognise(source).kind
    refuse_task(kind, task)
    heads = [head for head, of in kind.heads.items() if of == task and "Images" not in head]
    model_class = kind.model_class(heads[0])
    with explained(f"{source}: its config.json cannot be used", "Give a folder as save_pretrained wrote it."):
        config = model_class.config_class.from_pretrained(str(model_folder(source)), trust_remote_code=False)
    name_classes(config, classes)
    torch.manual_seed(seed)
    model = load_model(source, model_class, config=config, new_head=True)
    return _adapter(kind, model, load_processor(source, kind), str(source))


def adapter_for(model: object, processor: ProcessorMixin | None = None) -> Adapter:
    """Wrap a loaded network of a known family; an `Adapter` is returned as it is."""
    if isinstance(model, Adapter):
        return model
    kind = recognise_model(model).kind
    if processor is None:
        raise ConfigError(f"{indefinite(type(model).__name__)} needs its processor too: pass processor=...")
    return _adapter(kind, cast(PreTrainedModel, model), processor, type(model).__name__, ConfigError)


def new_adapter(family: str, wanted: NewModel, *, seed: int) -> FamilyAdapter:
    """A model with random weights from ``seed``.

    Raises:
        ConfigError: The family is unknown.
        UnsupportedError: The family has no such task, or needs a package that is not installed.
    """
    kind = get_family(family)
    refuse_task(kind, wanted.task)
    torch.manual_seed(seed)
    return kind(*kind.new(wanted))


def refuse_task(kind: type[FamilyAdapter], task: Task) -> None:
    """Raise where a family has no head for a task."""
    if task not in kind.tasks():
        others = with_task(task, kind.modalities)
        raise UnsupportedError(
            f"Family {kind.family!r} has no {task}; it has {' and '.join(kind.tasks())}. "
            f"Families with {task} for pairs of {' and '.join(kind.modalities)}: {', '.join(others) or 'none'}. "
            "Choose one of these with --family, or another --task."
        )
