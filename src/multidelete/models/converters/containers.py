"""The files of checkpoints: tensors by name, in ``torch.save``'s form or as safetensors, and what stands around them.

Reading runs no code: of pickled files only plain tensors, numbers, texts and containers are read.
"""

import json
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from multidelete.artifacts.marks import ARCHIVE_MARK
from multidelete.core.errors import CheckpointError
from multidelete.core.foreign import explained
from multidelete.models.converters.layout import Stored
from multidelete.models.converters.origin import Origin, plain_entries

Container = Literal["torch", "safetensors"]
SUFFIXES: Mapping[str, Container] = {
    ".pt": "torch", ".pth": "torch", ".bin": "torch", ".ckpt": "torch", ".th": "torch", ".safetensors": "safetensors",
}  # fmt: skip
_INSIDE = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_MARKED = "written_by"
_MOST_TIMES = 4  # layers that share their weights are stored once
_TRAINING = {"optimizer": "states of an optimizer", "scaler": "states of a scaler",
             "lr_scheduler": "states of a schedule"}  # fmt: skip
_REMEDY = "Give a file of plain tensors, as torch.save writes a state_dict; nothing else is unpickled."


def is_checkpoint(source: str | Path) -> bool:
    """Whether a path is a file whose name ends as those of checkpoints do."""
    try:
        return Path(source).suffix.lower() in SUFFIXES and Path(source).is_file()
    except (OSError, ValueError):
        return False


def read_checkpoint(path: Path, *, names_only: bool = False) -> Stored:
    """The tensors of a checkpoint; with ``names_only`` they have shapes and types, and no content.

    Raises:
        CheckpointError: It cannot be read, holds more than plain tensors, or no tensors by name.
    """
    container: Container = SUFFIXES.get(path.suffix.lower(), "torch")
    if container == "safetensors":
        content, inside = _safetensors(path, names_only=names_only), ""
        entries, rest = "{}", list[str]()
    else:
        loaded = _unpickled(path, names_only=names_only)
        inside = next((name for name in _INSIDE if isinstance(loaded.get(name), Mapping)), "")
        content = dict(loaded[inside]) if inside else loaded  # type: ignore[call-overload]
        others = {name: value for name, value in loaded.items() if name not in (inside, _MARKED, *_TRAINING)}
        entries, rest = plain_entries(others) if inside else ("{}", [])
        rest += [name for name in _TRAINING if inside and name in loaded]
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(content):
        wrong = next((f"{name} is {type(value).__name__}" for name, value in content.items()
                      if not isinstance(value, Tensor)), "it is empty")  # fmt: skip
        raise CheckpointError(
            f"{path} holds no tensors by name, neither at the top nor as {', '.join(_INSIDE)}: {wrong}. {_REMEDY}"
        )
    refuse_out_of_proportion(path, tensors)
    prefix = ""
    while before := next((one for one in _PREFIXES if all(name.startswith(prefix + one) for name in tensors)), ""):
        prefix += before
    origin = Origin(layout="", container=container, inside=inside, prefix=prefix, entries=entries)
    left_out = Counter(_TRAINING.get(name, f"other entries ({name})") for name in rest)
    return Stored(path, {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, origin, left_out)


def refuse_out_of_proportion(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that would take far more memory than their file has bytes: repeated ones, made to fill it.

    Raises:
        CheckpointError: They would.
    """
    wanted = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if wanted > _MOST_TIMES * path.stat().st_size:
        raise CheckpointError(
            f"{path} has {path.stat().st_size:,} bytes, and its tensors would take {wanted:,} in memory. Give a file "
            "that holds its tensors."
        )


def _safetensors(path: Path, *, names_only: bool) -> dict[str, object]:
    with (
        explained(f"{path} cannot be read", "The file is damaged or no such file at all."),
        safe_open(path, framework="pt") as file,
    ):
        names = list(file.keys())
        if not names_only:
            return {name: file.get_tensor(name) for name in names}
        slices = {name: file.get_slice(name) for name in names}
        kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
        return {
            name: torch.empty(one.get_shape(), dtype=kinds.get(one.get_dtype(), torch.int64), device="meta")
            for name, one in slices.items()
        }


def _unpickled(path: Path, *, names_only: bool) -> dict[str, object]:
    with explained(f"{path} cannot be read", _REMEDY):
        is_archive = zipfile.is_zipfile(path)
        if is_archive:
            with zipfile.ZipFile(path) as archive:
                if any("/code/" in name for name in archive.namelist()):
                    raise CheckpointError(
                        f"{path} is a TorchScript archive, which holds code and is never run. Save the weights alone: "
                        "torch.save(torch.jit.load(...).state_dict(), FILE), in a place where you trust it."
                    )
        where = "meta" if names_only else "cpu"
        content = torch.load(path, map_location=where, weights_only=True, mmap=is_archive or None)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {type(content).__name__}, no tensors by name. {_REMEDY}")
    return content


def write_checkpoint(tensors: Mapping[str, Tensor], origin: Origin, path: Path) -> None:
    """Write tensors as those of the origin lay in their file.

    The mark of who wrote it goes where no reader of weights looks: ``--overwrite`` replaces only files that have it.
    """
    named = OrderedDict((origin.prefix + name, tensor.contiguous()) for name, tensor in tensors.items())
    if origin.container == "safetensors":
        alone = {name: tensor.clone() for name, tensor in named.items()}  # it takes no views of one storage
        save_file(alone, path, metadata={"format": "pt", _MARKED: ARCHIVE_MARK})
    elif origin.inside:
        torch.save({**json.loads(origin.entries), origin.inside: named, _MARKED: ARCHIVE_MARK}, path)
    else:
        named.written_by = ARCHIVE_MARK  # type: ignore[attr-defined]  # pickled with it, and no entry
        torch.save(named, path)
