"""Checkpoint files of others to model folders, and back, without any training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from transformers import PreTrainedModel, ProcessorMixin

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.keys import keep_keys, key_target
from multidelete.artifacts.manifest import read_record, write_record
from multidelete.artifacts.overlap import paths_of_model, refuse_overlap
from multidelete.artifacts.result_file import refuse_existing_model, whole_file
from multidelete.core.errors import CheckpointError
from multidelete.core.foreign import explained
from multidelete.models import load_adapter
from multidelete.models.base import Adapter, Task
from multidelete.models.converters.known import checkpoint_of, layout_back, read, write_back
from multidelete.models.converters.origin import origin_of
from multidelete.models.families import recognise
from multidelete.models.lineage import lineage_of


@dataclass(frozen=True)
class Conversion:
    """What `convert` found.

    Attributes:
        layout: Whose checkpoint it is.
        network: The network's class.
        task: What the model's head does.
        classes: Names of the classes; empty for retrieval.
        left_out: How many things of the file are not in the folder, by what they are.
    """

    layout: str
    network: str
    task: Task
    classes: Sequence[str]
    left_out: Mapping[str, int]


def convert(source: Path, out: Path, *, overwrite: bool = False) -> Conversion:
    """Write a checkpoint of others as a model folder; `reading` says what it does not tell.

    Raises:
        UserError: It cannot be read, has no counterpart or lacks its tokenizer, or the folder cannot be written.
    """
    refuse_overlap(out, paths_of_model(source))
    refuse_existing_model(out, is_file=False, overwrite=overwrite)
    if checkpoint_of(source) is None:
        what = "is a folder" if source.is_dir() else "is no checkpoint file" if source.exists() else "does not exist"
        raise CheckpointError(f"{source} {what}. Give a checkpoint file, or --to-official with a model folder.")
    known = recognise(source)
    theirs = read(source, known.kind, known.head)
    adapter = known.kind(theirs.model, theirs.processor)
    keys = lineage_of(source).own_keys
    target = key_target(out, None) if keys else None
    with whole_or_nothing(out, overwrite=overwrite) as folder:
        adapter.save(folder)
        _keep_record(source, folder)
        if target is not None:
            keep_keys(target, keys, out)
    origin = origin_of(theirs.model.config, source)
    return Conversion("" if origin is None else origin.layout, known.head, known.task, adapter.classes, theirs.left_out)


def export(source: Path, out: Path, *, overwrite: bool = False) -> int:
    """Write a model folder as the checkpoint file that it came from: names, shapes, dtypes and what stood around them.

    Returns:
        The number of tensors.

    Raises:
        UserError: It came from no checkpoint of others, or the file exists or cannot be written.
    """
    refuse_overlap(out, paths_of_model(source))
    refuse_existing_model(out, is_file=True, overwrite=overwrite)
    known = recognise(source)
    with explained(f"{source}: its config.json cannot be used", "Give a folder that 'multidelete convert' wrote."):
        config = known.kind.model_class(known.head).config_class.from_pretrained(str(source), trust_remote_code=False)
    layout_back(config, source)
    adapter: Adapter = load_adapter(source)
    model = cast(PreTrainedModel, adapter.model)
    keys = lineage_of(source).own_keys
    target = key_target(out, None) if keys else None
    with whole_file(out, overwrite=overwrite) as folder:
        tensors = write_back(model, folder, out.name, name=source)
        cast(ProcessorMixin, adapter.processor).save_pretrained(folder)
        model.config.save_pretrained(folder)
        _keep_record(source, folder)
        if target is not None:
            keep_keys(target, keys, out)
    return tensors


def _keep_record(source: Path, folder: Path) -> None:
    record = read_record(source)
    if record is not None:
        write_record(folder, record)
