"""Where a network came from: how its checkpoint was laid out, which its configuration keeps to write it back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from multidelete.core.errors import CheckpointError
from multidelete.core.json_files import Json, JsonObject
from multidelete.core.records import read_object

ORIGIN = "checkpoint_layout"
"""Attribute of a network's configuration, and entry of its config.json: the `Origin`."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How a network's checkpoint was laid out: what is needed to write it back, besides the weights themselves.

    Attributes:
        layout: The layout's name.
        container: How tensors lie in the file.
        inside: The entry that holds them; empty where they are the whole file.
        prefix: What stands before every name, such as ``module.``.
        part: What stands before the names of a part, where layouts differ in it (``text.``).
        nonscalar: Whether temperature and bias are lists of one number.
        file: In a folder: the name of the file.
        constants: Tensors that are no weights: a number, or the rule that they follow, with dtype and shape.
        entries: JSON of what stands beside the tensors: the epoch, the name of the run.
        files: In a folder: the text of small files that are written back as they are, by path.
    """

    layout: str
    container: str = "torch"
    inside: str = ""
    prefix: str = ""
    part: str = ""
    nonscalar: bool = False
    file: str = ""
    constants: Mapping[str, Json] = field(default_factory=dict)
    entries: str = "{}"
    files: Mapping[str, str] = field(default_factory=dict)


def note_origin(config: PreTrainedConfig, origin: Origin) -> None:
    """Let a network's configuration know where it came from."""
    setattr(config, ORIGIN, asdict(origin))


def origin_of(config: PreTrainedConfig, name: str | Path) -> Origin | None:
    """Where a network came from; None where from no checkpoint of others.

    Raises:
        CheckpointError: What its config.json says of it is damaged.
    """
    told = getattr(config, ORIGIN, None)
    if told is None:
        return None
    what = f"{name}: {ORIGIN} in its config.json"
    if not isinstance(told, dict):
        raise CheckpointError(f"{what} is {told!r}; it must be an object. Convert the checkpoint anew.")
    return read_object(Origin, told, what, "Convert the checkpoint anew.")


def constant_of(path: Path, name: str, tensor: Tensor) -> Json:
    """What tells a tensor that is no weight.

    Raises:
        CheckpointError: It follows no rule, so that it would be lost.
    """
    told: JsonObject = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
    if tensor.numel() == 1:
        return {**told, "value": tensor.item()}
    for rule in ("causal", "count"):
        if _same(tensor, _following(rule, tuple(tensor.shape), tensor.dtype)):
            return {**told, "rule": rule}
    raise CheckpointError(
        f"{path}: {name} is not what it always is (positions in their order, or a mask of what comes later). "
        "The network would be another one; give an ordinary checkpoint."
    )


def constant_from(name: str, told: Json) -> Tensor:
    """The tensor that `constant_of` told of.

    Raises:
        CheckpointError: What is told is damaged.
    """
    try:
        if not isinstance(told, dict):
            raise TypeError(told)
        dtype, shape = getattr(torch, str(told["dtype"])), tuple(int(str(side)) for side in _list(told["shape"]))
        if torch.Size(shape).numel() > 2**24 or not isinstance(dtype, torch.dtype):
            raise ValueError(told)
        if "value" in told:
            return torch.full(shape, told["value"], dtype=dtype)
        tensor = _following(str(told["rule"]), shape, dtype)
        if tensor is None:
            raise ValueError(told)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{ORIGIN} says {told!r} of {name}, which is no tensor. Convert anew.") from error
    return tensor


def _list(value: Json) -> Sequence[Json]:
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    return value


def _following(rule: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
    """Positions in their order, or a mask that bars what comes later; None where none has such a shape."""
    if rule == "count" and len(shape) in (1, 2) and shape[:-1] in ((), (1,)):
        return torch.arange(shape[-1], dtype=dtype).expand(shape).contiguous()
    if rule == "causal" and len(shape) == 2 and shape[0] == shape[1] and dtype.is_floating_point:
        return torch.full(shape, float("-inf"), dtype=dtype).triu(1)
    return None


def _same(tensor: Tensor, other: Tensor | None) -> bool:
    return other is not None and torch.equal(tensor, other)


def plain_entries(content: Mapping[str, object]) -> tuple[str, list[str]]:
    """JSON of what is plain and small of a checkpoint's other entries, and the names of the rest."""
    kept: dict[str, object] = {}
    rest = []
    for name, value in content.items():
        try:
            text = json.dumps(value, allow_nan=False)
            is_same = json.loads(text) == value and len(text) <= 10_000
        except (TypeError, ValueError, RecursionError):
            is_same = False
        if is_same and isinstance(name, str):
            kept[name] = value
        else:
            rest.append(str(name))
    return json.dumps(kept), rest
