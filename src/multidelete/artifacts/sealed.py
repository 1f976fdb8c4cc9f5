"""What a run needs to go on: tensors and JSON in one file, sealed so that a run knows its own.

Reading runs no code, whoever wrote the file. The seal is a digest under a key that only this user's runs know: a file
that was damaged, planted or made by another run is told from a run's own.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from multidelete.artifacts.locks import in_turn
from multidelete.artifacts.room import make_whole
from multidelete.core.errors import CheckpointError
from multidelete.core.runtime import State

logger = logging.getLogger(__name__)

NOTE = "run"  # in a work folder: which run it belongs to

_WORDS, _SEAL = "words", "seal"
_TENSOR, _NUMBERED = "tensor", "numbered"
_KEY_BYTES = 32


class SealError(CheckpointError):
    """A file is damaged, or no run of this user wrote it for this purpose."""


def write_sealed(path: Path, state: Mapping[str, State], *, of: str) -> None:
    """Write a state; the file is whole or not there at all.

    Args:
        path: A ``.safetensors`` file.
        state: Tensors, numbers, texts, lists and mappings of these; keys are texts or whole numbers.
        of: What the state belongs to, such as the run; it is only read back for the same.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    words = json.dumps(_taken_apart(state, tensors))
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    tensors[_WORDS] = torch.frombuffer(bytearray(words.encode()), dtype=torch.uint8)
    told = {_SEAL: _seal(path, tensors, of)}
    make_whole(path, lambda unfinished: save_file(tensors, unfinished, metadata=told))


def read_sealed(path: Path, *, of: str) -> dict[str, State]:
    """Read a state back.

    Raises:
        SealError: The file is damaged, was written by another user or on another machine, or belongs to something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise SealError(f"{path} cannot be read: {str(error).splitlines()[0]}. It is damaged.") from error
    if _WORDS not in tensors or not hmac.compare_digest(told.get(_SEAL, ""), _seal(path, tensors, of)):
        raise SealError(
            f"{path} is damaged, or was not written by this run: its seal does not fit the key in {key_file()}."
        )
    state = _put_together(json.loads(tensors[_WORDS].numpy().tobytes()), tensors)
    if not isinstance(state, dict):
        raise SealError(f"{path} holds no state.")
    return {str(name): part for name, part in state.items()}


def run_of(work: Path) -> str:
    """Which run a work folder belongs to: what its note says, nothing where there is none."""
    note = work / NOTE
    return note.read_text(encoding="utf-8", errors="replace") if note.is_file() else ""


def sealed_digest(text: str) -> str:
    """A digest that only this user can compute: of what an output may say of itself, and nobody may guess at."""
    return hmac.new(_key(key_file()), b"digest\0" + text.encode(), hashlib.sha256).hexdigest()


def key_file() -> Path:
    """Where the key of this user's seals lies: outside of every output, so that nobody who writes there knows it."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "multidelete" / "seal.key"


@cache
def _key(file: Path) -> bytes:
    """The key; made when it is first asked for, and readable by its user alone."""
    with suppress(OSError):
        key = file.read_bytes()
        if len(key) == _KEY_BYTES:
            return key
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with in_turn(file.with_name(f".{file.name}.turn")):
            if not file.is_file() or file.stat().st_size != _KEY_BYTES:
                make_whole(file, _write_key)
            return file.read_bytes()
    except (OSError, CheckpointError) as error:
        logger.warning(
            "the key that seals checkpoints cannot be kept in %s (%s), so this run cannot be resumed. Set "
            "XDG_STATE_HOME to a folder that can be written and that stays.", file, error,
        )  # fmt: skip
        return secrets.token_bytes(_KEY_BYTES)


def _write_key(file: Path) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(secrets.token_bytes(_KEY_BYTES))


def _seal(path: Path, tensors: Mapping[str, Tensor], of: str) -> str:
    """A keyed digest of everything in the file, of its name and of what it belongs to."""
    mac = hmac.new(_key(key_file()), repr((path.name, of)).encode(), hashlib.sha256)
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        mac.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        if tensor.numel():
            mac.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return mac.hexdigest()


def _taken_apart(state: State, tensors: dict[str, Tensor]) -> object:
    """JSON in which each tensor is its name in ``tensors``."""
    if isinstance(state, Tensor):
        name = f"{len(tensors):06d}"
        tensors[name] = state
        return {_TENSOR: name}
    if isinstance(state, Mapping):
        pairs = [[key, _taken_apart(part, tensors)] for key, part in state.items()]
        return {_NUMBERED: pairs}
    if isinstance(state, Sequence) and not isinstance(state, str):
        return [_taken_apart(part, tensors) for part in state]
    return state


def _put_together(words: object, tensors: Mapping[str, Tensor]) -> State:
    if isinstance(words, dict):
        if _TENSOR in words:
            return tensors[words[_TENSOR]]
        return {key: _put_together(part, tensors) for key, part in words[_NUMBERED]}
    if isinstance(words, list):
        return [_put_together(part, tensors) for part in words]
    if words is None or isinstance(words, bool | int | float | str):
        return words
    raise TypeError(f"no state: {type(words).__name__}")
