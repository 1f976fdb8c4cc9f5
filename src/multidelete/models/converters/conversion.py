"""Checkpoint files of others to model folders, and back, without any training."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.keys import keep_keys, key_target
from multidelete.artifacts.manifest import read_record, write_record
from multidelete.artifacts.overlap import paths_of_model, refuse_overlap
from multidelete.artifacts.result_file import refuse_existing_model, whole_file
from multidelete.core.errors import CheckpointError
from multidelete.core.foreign import explained
from multidelete.models.base import Task
from multidelete.models.checkpoint import load_model, lora_base, refuse_not_finite
from multidelete.models.converters.known import checkpoint_of, layout_back, read, write_back
from multidelete.models.converters.layout import said_paths
from multidelete.models.converters.sentence_transformers import model_folder
from multidelete.models.converters.vision_bert import resize
from multidelete.models.families import recognise
from multidelete.models.lineage import lineage_of
from multidelete.models.processors import load_processor, refuse_processor


@dataclass(frozen=True)
class Conversion:
    """What `convert` found.

    Attributes:
        layout: Whose checkpoint it is.
        network: The network's class.
        task: What the model's head does.
        images: Images of a pair.
        classes: Names of the classes; empty for retrieval.
        image_size: Height and width of the pictures, in pixels, of the checkpoint and of the folder.
        dropped: How many things of the file are not in the folder, by what they are.
    """

    layout: str
    network: str
    task: Task
    images: int
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    dropped: Mapping[str, int]


def convert(source: Path, out: Path, *, image_size: int | None = None, overwrite: bool = False) -> Conversion:
    """Write a checkpoint of others as a model folder; `reading` says what it does not tell.

    Args:
        source: The checkpoint: a file, or a folder of open_clip's. Only plain tensors, numbers, strings and containers
            are read (``weights_only=True``).
        out: Folder to make.
        image_size: Height and width of the pictures, in pixels, a multiple of the patch size; positions are
            interpolated to it (bicubic). The checkpoint's own where it is None.
        overwrite: Replace an existing folder.

    Raises:
        UserError: It cannot be read, has no counterpart or lacks its tokenizer, or the folder cannot be written.
    """
    refuse_overlap(out, [*paths_of_model(source), *said_paths()])
    refuse_existing_model(out, is_file=False, overwrite=overwrite)
    if checkpoint_of(source) is None:
        what = "is a folder" if source.is_dir() else "is no checkpoint file" if source.exists() else "does not exist"
        raise CheckpointError(f"{source} {what}. Give a checkpoint file, or --to-official with a model folder.")
    known = recognise(source)
    theirs = read(source, known.kind, known.head)
    refuse_not_finite(source, theirs.model)
    own_size = theirs.model.config.vision_config.image_size
    if image_size is not None:
        resize(theirs.model, theirs.processor, theirs.layout, image_size)
    refuse_processor(theirs.model, theirs.processor, known.kind, str(source), CheckpointError)
    adapter = known.kind(theirs.model, theirs.processor)
    keys = lineage_of(source).own_keys
    target = key_target(out, None) if keys else None
    with whole_or_nothing(out, overwrite=overwrite) as folder:
        adapter.save(folder)
        _keep_record(source, folder)
        if target is not None:
            keep_keys(target, keys, out)
    return Conversion(
        theirs.layout.name, known.head, known.task, getattr(theirs.model.config, "images", 1), tuple(adapter.classes),
        (own_size, theirs.model.config.vision_config.image_size), theirs.left_out,
    )  # fmt: skip


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
        config = known.kind.model_class(known.head).config_class.from_pretrained(
            str(model_folder(source)), trust_remote_code=False
        )
    layout_back(config, source)
    if lora_base(source) is not None:
        raise CheckpointError(f"{source} is an adapter. Make it a model with 'multidelete merge' first.")
    model = load_model(source, known.kind.model_class(known.head))
    keys = lineage_of(source).own_keys
    target = key_target(out, None) if keys else None
    with whole_file(out, overwrite=overwrite) as folder:
        tensors = write_back(model, folder, out.name, name=source)
        with suppress(CheckpointError):  # there may be none, and the file needs none
            load_processor(source, known.kind).save_pretrained(folder)
        model.config.save_pretrained(folder)
        _keep_record(source, folder)
        if target is not None:
            keep_keys(target, keys, out)
    return tensors


def _keep_record(source: Path, folder: Path) -> None:
    record = read_record(source)
    if record is not None:
        write_record(folder, record)
