"""Checkpoints of others as the models that they are, and back: the one place that knows all layouts."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from multidelete.artifacts.manifest import told_in
from multidelete.core.errors import CheckpointError, SettingProblem, UnsupportedError, first_few
from multidelete.core.foreign import explained
from multidelete.core.json_files import read_json_object
from multidelete.models.converters import albef, blip, open_clip, open_clip_siglip
from multidelete.models.converters.containers import is_checkpoint, read_checkpoint, write_checkpoint
from multidelete.models.converters.layout import Described, Layout, Stored, saying, untold
from multidelete.models.converters.open_clip_names import CONFIG
from multidelete.models.converters.origin import Origin, constant_from, constant_of, note_origin, origin_of
from multidelete.models.converters.rules import refuse_unlike
from multidelete.models.family import FamilyAdapter

logger = logging.getLogger(__name__)

LAYOUTS: tuple[Layout, ...] = (open_clip.LAYOUT, open_clip_siglip.LAYOUT, blip.LAYOUT, albef.LAYOUT)
_ODD = "Give an ordinary checkpoint, and the architecture and head width that it has."
_IN_FOLDERS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # what open_clip calls them


@dataclass(frozen=True)
class Read:
    """A checkpoint as a model: its network in float32, and what prepares its pairs.

    Attributes:
        layout: Whose it is.
        model: The network; its configuration knows where it came from.
        processor: Image processor and tokenizer.
        left_out: How many things of the file are not written back, by what they are.
    """

    layout: Layout
    model: PreTrainedModel
    processor: ProcessorMixin
    left_out: Mapping[str, int]


def checkpoint_of(source: str | Path) -> Path | None:
    """The checkpoint of others that a source is, or that a folder of open_clip's holds; None where it is none."""
    if is_checkpoint(source):
        return Path(source)
    try:
        if not Path(source).is_dir() or (Path(source) / "config.json").is_file():
            return None
        return next((Path(source) / name for name in _IN_FOLDERS if (Path(source) / name).is_file()), None)
    except (OSError, ValueError):
        return None


def head_of(source: str | Path) -> str | None:
    """The class of a checkpoint's network, told from names and shapes alone; None where it is no checkpoint of others.

    Raises:
        UserError: It cannot be read, or has no counterpart.
    """
    file = checkpoint_of(source)
    if file is None:
        return None
    status = file.stat()
    return _head(file.absolute(), status.st_mtime_ns, status.st_size, untold())


@lru_cache(maxsize=32)
def _head(file: Path, changed: int, size: int, said: object) -> str:
    stored = _with_config(read_checkpoint(file, names_only=True))
    return _described(layout_of(stored), stored).head


def _described(layout: Layout, stored: Stored) -> Described:
    with explained(f"{stored.path}: its sizes describe no network", _ODD):
        return layout.describe(stored, untold())


def layout_of(stored: Stored) -> Layout:
    """Whose checkpoint it is.

    Raises:
        UnsupportedError: Nobody's that is known.
    """
    for layout in LAYOUTS:
        if layout.fits(stored.tensors):
            return layout
    names = first_few(sorted(stored.tensors), limit=5)
    if any(name.startswith(("vision_model.", "text_model.")) for name in stored.tensors):
        raise UnsupportedError(f"{stored.path} holds tensors as transformers names them ({names}). Give the folder "
                               "that they were saved in, with its config.json.")  # fmt: skip
    raise UnsupportedError(
        f"{stored.path} is of no known layout: it holds {names}. Known are "
        f"{', '.join(layout.called.removeprefix('an ').removeprefix('a ') for layout in LAYOUTS)} (docs/models.md)."
    )


def read(source: str | Path, kind: type[FamilyAdapter], head: str) -> Read:
    """Read a checkpoint; the head is that of `head_of`, and the family the one that has it.

    Raises:
        UserError: It cannot be read, has no counterpart, or lacks its tokenizer; missing and unknown tensors are named.
    """
    file = checkpoint_of(source)
    if file is None:
        raise CheckpointError(f"{source} is no checkpoint file.")
    network = kind.model_class(head)
    stored = _with_config(read_checkpoint(file))
    layout = layout_of(stored)
    described = _described(layout, stored)
    for warning in described.warnings:
        _say(warning, logging.WARNING)
    config, origin = described.config, _noted(stored, layout, described, file.name if Path(source).is_dir() else "")
    with explained(f"{source}: its sizes describe no network", _ODD), torch.device("meta"):
        wanted = layout.to_theirs(network(config).state_dict(), config, origin)
    refuse_unlike(stored, wanted, described, layout.called[0].upper() + layout.called[1:])
    note_origin(config, origin)
    config.architectures = [head]
    processor = _processor(Path(source), kind, layout, config, origin)
    ours = layout.to_ours({name: stored.tensors[name] for name in wanted}, config, origin)
    with explained(f"{source}: its network cannot be made", _ODD):
        model = network.from_pretrained(
            None, config=config, state_dict={name: tensor.float() for name, tensor in ours.items()}, dtype=torch.float32
        )
    model.stored_dtypes = {name: t.dtype for name, t in ours.items() if t.dtype != torch.float32}
    left_out = Counter(stored.left_out) + Counter(described.left_out.values())
    if left_out:
        named = ", ".join(f"{what} ({count:,})" for what, count in left_out.items())
        _say(f"{source}: what only training needs is read past, and not written again: {named}", logging.INFO)
    return Read(layout, model.eval(), processor, left_out)


@lru_cache(maxsize=64)
def _say(text: str, level: int) -> None:
    """Once: a model is read several times in a run."""
    logger.log(level, "%s", text)


def _with_config(stored: Stored) -> Stored:
    """With the configuration that lies beside a file which this tool wrote, or one of the same architecture."""
    said, beside = untold(), told_in(stored.path) / "config.json"
    is_open = said.architecture is None and not (stored.path.parent / CONFIG).is_file()
    if not beside.is_file() and said.like is not None and is_open:
        beside = said.like / "config.json"
    if not beside.is_file():
        return stored
    return replace(stored, config=read_json_object(beside, f"Restore it, or delete the folder {beside.parent}."))


def _noted(stored: Stored, layout: Layout, described: Described, file: str) -> Origin:
    constants = {name: constant_of(stored.path, name, stored.tensors[name]) for name in described.constants}
    return replace(
        stored.origin, layout=layout.name, part=described.part, nonscalar=described.nonscalar, constants=constants,
        files=described.files, file=file,
    )  # fmt: skip


def _processor(
    source: Path, kind: type[FamilyAdapter], layout: Layout, config: PreTrainedConfig, origin: Origin
) -> ProcessorMixin:
    """The one beside a file of this tool's; else the layout's own, around the tokenizer that the user names."""
    tokenizer, beside = untold().tokenizer, told_in(source)
    if not (beside / "tokenizer_config.json").is_file():
        beside = untold().like or beside
    if tokenizer is None and (beside / "processor_config.json").is_file():
        with explained(f"{beside} has no readable processor", "Restore it, or name the tokenizer."):
            return kind.read_processor(beside)
    if tokenizer is None and not (beside / "tokenizer_config.json").is_file():
        raise CheckpointError(
            SettingProblem(
                "tokenizer",
                f"is not given, and {source} holds none. Give the folder or hub id of the one that the model was "
                "trained with.",
            )
        )
    return layout.processor(config, read_tokenizer(beside if tokenizer is None else tokenizer), origin)


def read_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub id.

    Raises:
        CheckpointError: There is none.
    """
    absent = "" if Path(source).exists() else f"there is no folder {source} here, and as an id on the hub "
    remedy = "Give the folder or hub id of the one that the model was trained with."
    with explained(f"{absent}{source} has no readable tokenizer", remedy):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
    return tokenizer


@contextmanager
def reading_as(models: Sequence[str | Path]) -> Iterator[None]:
    """Within it, checkpoints that lack something are read with what lies beside the first of these that has it."""
    places = [told_in(file) for model in models if (file := checkpoint_of(model)) is not None]
    beside = next((place for place in places if (place / "config.json").is_file()), None)
    with saying(replace(untold(), like=beside)):
        yield


def layout_back(config: PreTrainedConfig, name: str | Path) -> tuple[Layout, Origin]:
    """The layout that a network's checkpoint had, or that such networks usually have, and how it lies there.

    Raises:
        UserError: There is none, or what is known of it is damaged.
    """
    origin, heads = origin_of(config, name), tuple(config.architectures or ())
    for layout in LAYOUTS:
        if origin is not None and origin.layout == layout.name:
            return layout, origin
        if origin is None and set(heads) & set(layout.heads):
            return layout, layout.usual(config)
    raise CheckpointError(
        f"{name} holds {' and '.join(heads) or 'an unknown network'}, and no known layout has such a network. Known "
        f"are {', '.join(layout.name for layout in LAYOUTS)}."
    )


def tensors_of(model: PreTrainedModel, name: str | Path) -> tuple[dict[str, Tensor], Origin]:
    """A network's tensors as those of the checkpoint that it came from: names, shapes, dtypes, constants.

    Raises:
        CheckpointError: It came from none, or what is known of it is damaged.
    """
    layout, origin = layout_back(model.config, name)
    dtypes: Mapping[str, torch.dtype] = getattr(model, "stored_dtypes", {})
    shared: Mapping[str, str] = getattr(model, "all_tied_weights_keys", {})
    weights = {
        key: tensor.detach().cpu().to(dtypes.get(key, dtypes.get(shared.get(key, key), tensor.dtype)))
        for key, tensor in model.state_dict().items()
    }
    made = layout.to_theirs(weights, model.config, origin)
    return made | {key: constant_from(key, told) for key, told in origin.constants.items()}, origin


def write_back(model: PreTrainedModel, folder: Path, file: str | None, *, name: str | Path) -> int:
    """Write a network as the checkpoint that it came from.

    Args:
        model: The network.
        folder: Where to write.
        file: The file's name; None where it came from a folder, which also holds the small files that lay in it.
        name: What errors call it.

    Returns:
        How many tensors were written.
    """
    tensors, origin = tensors_of(model, name)
    write_checkpoint(tensors, origin, folder / (file or origin.file))
    for path, text in {} if file else origin.files.items():
        (folder / Path(path).name).write_text(text, encoding="utf-8")
    return len(tensors)
