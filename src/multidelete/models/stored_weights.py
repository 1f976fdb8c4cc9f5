"""What the weight files of a model folder hold, told from their headers before anything is loaded."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedModel

from multidelete.core.errors import CheckpointError, first_few
from multidelete.core.foreign import explained
from multidelete.core.words import counted

WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pth", "*.pt")
_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
_MANY = 2**26  # weights, 256 MB; up to here a wrong configuration costs little
_DAMAGED = "The file is damaged or no such file at all: save the model anew."

# Tensors that older versions of transformers stored, and that networks now make by themselves.
_HARMLESS = re.compile(
    r"(^|\.)(position_ids|token_type_ids|masked_bias|attn\.bias|inv_freq|relative_position_index|num_batches_tracked)$"
)


@dataclass(frozen=True)
class StoredTensor:
    """Shape and dtype of a tensor in a file; the dtype is None where it is no floating-point one of 16 bits or more."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None


def weight_files(folder: Path, *, allow_pickle: bool) -> list[Path]:
    """The files that `from_pretrained` reads of a folder, in its order of preference; variants beside them are not.

    Raises:
        CheckpointError: There are none, or the index is damaged or names files that are not in the folder.
    """
    for single in ("model.safetensors", "pytorch_model.bin"):
        if single.endswith(".bin") and not allow_pickle:
            break
        if (folder / single).is_file():
            return [folder / single]
        if (folder / f"{single}.index.json").is_file():
            return _shards(folder, folder / f"{single}.index.json")
    others = sorted(p.name for pattern in WEIGHT_FILES for p in folder.glob(pattern))
    named = first_few(others) or "no weights"
    if any(name.endswith(".safetensors") for name in others):
        raise CheckpointError(
            f"{folder} has no model.safetensors (found: {named}). Rename the file that holds the weights to it."
        )
    raise CheckpointError(
        f"{folder} has no .safetensors file (found: {named}). Pickled weights can run "
        "code when they are read: convert them, or pass --allow-pickle for plain tensors (weights_only=True)."
    )


def _shards(folder: Path, index: Path) -> list[Path]:
    with explained(f"{index} cannot be read", _DAMAGED):
        content = json.loads(index.read_text(encoding="utf-8"))
    named = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise CheckpointError(f"{index} names no files: it has no weight_map of tensors to file names. {_DAMAGED}")
    names = sorted(set(named.values()))
    outside = [name for name in names if name != Path(name).name or "\\" in name]
    if outside:
        raise CheckpointError(
            f"{index} names files outside its folder: {first_few(outside)}. Weights lie beside their index."
        )
    ending = index.name.removesuffix(".index.json").rpartition(".")[2]
    lacking = [name for name in names if not (folder / name).is_file() or not name.endswith(f".{ending}")]
    if lacking:
        raise CheckpointError(
            f"{index} names {counted(len(lacking), f'.{ending} files')} that cannot be found there: "
            f"{first_few(lacking)}. Give the whole folder."
        )
    return [folder / name for name in names]


def stored_tensors(files: list[Path]) -> dict[str, StoredTensor]:
    """Every tensor of weight files, by name.

    Raises:
        CheckpointError: A file cannot be read; a pickled one holds more than plain tensors.
    """
    stored: dict[str, StoredTensor] = {}
    for path in files:
        if path.suffix == ".safetensors":
            with explained(f"{path.parent}: its weights cannot be read: {path.name}", _DAMAGED):
                stored |= _header(path)
            continue
        remedy = "A pickled file that holds more than plain tensors could run code: convert it to safetensors."
        with explained(f"{path.parent}: its weights cannot be read: {path.name}", remedy):
            tensors = torch.load(path, map_location="meta", weights_only=True)
            stored |= {
                str(name): StoredTensor(tuple(t.shape), t.dtype if t.dtype in _FLOATS.values() else None)
                for name, t in tensors.items()
                if isinstance(t, torch.Tensor)
            }
    return stored


def _header(path: Path) -> dict[str, StoredTensor]:
    with safe_open(path, framework="pt") as file:
        pieces = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        return {
            name: StoredTensor(tuple(piece.get_shape()), _FLOATS.get(piece.get_dtype()))
            for name, piece in pieces.items()
        }


def stored_dtypes(folder: Path) -> dict[str, torch.dtype]:
    """Floating-point dtypes of a folder's weights other than float32, by name."""
    stored = stored_tensors(weight_files(folder, allow_pickle=True))
    return {name: t.dtype for name, t in stored.items() if t.dtype is not None and t.dtype != torch.float32}


def refuse_unfit(
    source: str | Path, model_class: type[PreTrainedModel], config: PreTrainedConfig, stored: Mapping[str, StoredTensor]
) -> None:
    """Raise where configuration and weights plainly do not belong together, before memory is taken for the network.

    Raises:
        CheckpointError: Layers, sizes or types of the two differ.
    """
    deepest = max(len(stored), 100)
    deep = [
        f"{name} {number}" for name, number in _whole_numbers(config.to_dict()) if _is_depth(name) and number > deepest
    ]
    if deep:
        raise CheckpointError(
            f"{source}: config.json says {first_few(deep)}, and there are {counted(len(stored), 'tensors')}. "
            "Give a folder whose configuration and weights belong together."
        )
    with explained(f"{source}: its config.json describes no network", "Give a folder as save_pretrained wrote it."):
        with torch.device("meta"):
            network = model_class(config)
        wanted = network.state_dict()
    numbers = [sum(t.numel() for t in wanted.values()), sum(torch.Size(t.shape).numel() for t in stored.values())]
    problems = []
    wrong = [
        f"{name} is {list(stored[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in sorted(wanted.items())
        if name in stored and stored[name].shape != tuple(tensor.shape)
    ]
    if wrong:
        problems.append(
            f"{source}: {counted(len(wrong), 'weights have')} another shape than config.json says: {first_few(wrong)}. "
            "Give a folder whose configuration and weights belong together."
        )
    elif numbers[0] - numbers[1] > max(_MANY, numbers[1]):
        problems.append(
            f"{source}: config.json describes {numbers[0]:,} weights, and the files hold {numbers[1]:,}. "
            "Give a folder whose configuration and weights belong together."
        )
    coded = [n for n, t in wanted.items() if t.is_floating_point() and n in stored and stored[n].dtype is None]
    if coded:
        problems.append(
            f"{source}: {counted(len(coded), 'weights are')} stored as whole numbers or in 8 bits: {first_few(coded)}. "
            "Quantised weights cannot be trained; give the model in float32, float16 or bfloat16."
        )
    if problems:
        raise CheckpointError(problems)


def unexpected(names: list[str]) -> list[str]:
    """Tensors that a network has no place for, but for those that older versions stored and nobody needs."""
    return sorted(name for name in names if not _HARMLESS.search(name))


def _is_depth(name: str) -> bool:
    return any(part in name for part in ("layer", "depth", "block", "stage", "group"))


def _whole_numbers(content: object, name: str = "") -> list[tuple[str, int]]:
    """Every whole number in nested dictionaries and lists, with the name of its entry."""
    if isinstance(content, dict):
        return [number for key, value in content.items() for number in _whole_numbers(value, str(key))]
    if isinstance(content, list | tuple):
        return [number for value in content for number in _whole_numbers(value, name)]
    return [(name, content)] if isinstance(content, int) and not isinstance(content, bool) else []
