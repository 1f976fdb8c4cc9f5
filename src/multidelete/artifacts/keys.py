"""Keys of deletions: without the key of a request nobody can tell which pairs its record is about.

A key is 32 random bytes, made with the request. It never lies in a result folder: key files are kept apart.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from multidelete.artifacts.overlap import refuse_inside_result
from multidelete.artifacts.room import make_whole
from multidelete.core.errors import CheckpointError
from multidelete.core.runtime import is_main_process, wait_for_everyone

KEY_BYTES = 32
Matter = Literal["id", "content", "request", "data", "name"]
_ABOUT = "Keys of deletions made by multidelete. Whoever has them can confirm who was deleted. Keep them to yourself."


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def key_id(key: bytes) -> str:
    """What a key is called in records; of random bytes, so that it tells nothing."""
    return hashlib.sha256(b"multidelete key\0" + key).hexdigest()[:16]


def keyed_digest(key: bytes, matter: Matter, text: str) -> str:
    """HMAC-SHA-256 of a text, cut to 128 bits, in hexadecimal; the same text of another matter has another one."""
    return hmac.digest(key, f"{matter}\0{text}".encode("utf-8", "surrogatepass"), "sha256")[:16].hex()


def pair_alias(key: bytes, pair_id: str) -> str:
    """A name for reports: the same for one pair of one request, and without meaning elsewhere (``pair 3f9a2c``)."""
    return f"pair {keyed_digest(key, 'name', pair_id)[:6]}"


def key_file(model: Path) -> Path:
    """Where the keys of a model folder lie unless the user says otherwise: beside it, as ``MODEL.key``."""
    here = Path(os.path.abspath(model))
    return here.with_name(f"{here.name}.key")


def read_keys(path: Path) -> dict[str, bytes]:
    """The keys of a file, by id.

    Raises:
        CheckpointError: There is no such file, or it is no key file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keys = {str(name): bytes.fromhex(key) for name, key in content["keys"].items()}
        damaged = [name for name, key in keys.items() if len(key) != KEY_BYTES or key_id(key) != name]
    except OSError as error:
        raise CheckpointError(
            f"key file {path} cannot be read: {error.strerror}. Name the file that was written with the deletion."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        damaged = ["all of it"]
    if damaged:
        raise CheckpointError(
            f"{path} is no key file of multidelete, or is damaged: {', '.join(damaged)}. "
            "Name the file that was written with the deletion (MODEL.key unless --key said otherwise)."
        )
    return keys


def write_keys(path: Path, keys: Mapping[str, bytes]) -> None:
    """Write a key file that only its owner can read; it is whole or not there at all, and its folder is made.

    Raises:
        CheckpointError: It cannot be written.
    """
    content = {"about": _ABOUT, "keys": {name: key.hex() for name, key in keys.items()}}

    def write(unfinished: Path) -> None:
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(json.dumps(content, indent=1) + "\n")

    make_whole(path, write)


def key_of_run(path: Path) -> bytes:
    """The key of the deletion that a run makes: a resumed run has that of the run it goes on with."""
    if is_main_process() and not path.is_file():
        key = new_key()
        write_keys(path, {key_id(key): key})
    wait_for_everyone()
    return next(iter(read_keys(path).values()))


def place_of_keys(out: Path, key: str | Path | None) -> Path:
    """Where the keys of a result lie: the file that was named, or the one beside it."""
    return key_file(out) if key is None else Path(key)


def key_target(out: Path, key: str | Path | None) -> Path:
    """Where the keys of a result go.

    Raises:
        CheckpointError: That is inside the result or another one, or is no key file; or it was named, in a folder that
            is not there.
    """
    target = place_of_keys(out, key)
    refuse_inside_result(target)
    if key is not None and Path(os.path.abspath(target)).is_relative_to(os.path.abspath(out)):
        raise CheckpointError(f"key file {target} lies inside output {out}, which it must be kept apart from.")
    if key is not None:
        refuse_missing_folder(target, out)
    if target.exists():
        read_keys(target)
    there = next(parent for parent in Path(os.path.abspath(target)).parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise CheckpointError(f"key file {target} cannot be written to {there}. Name another place with --key.")
    return target


def refuse_missing_folder(key: Path, out: Path | None = None) -> None:
    """Refuse a key file that was named in a folder that is not there: a key that went astray is lost.

    Raises:
        CheckpointError: There is no such folder, and the result ``out`` does not make it.
    """
    folder = Path(os.path.abspath(key)).parent
    if not folder.exists() and not (out is not None and Path(os.path.abspath(out)).is_relative_to(folder)):
        raise CheckpointError(f"key file {key} cannot be written: there is no folder {folder}. Make it first.")


def keep_keys(target: Path, keys: Mapping[str, bytes], out: Path | None = None) -> None:
    """Write the keys of a result just before it appears; what the file already holds stays in it.

    Args:
        target: The key file.
        keys: The keys by id.
        out: The result's folder. If it is not there yet, what lies beside it is of a run that was killed.
    """
    if is_main_process() and keys:
        is_stale = out is not None and target == key_file(out) and not out.exists()
        write_keys(target, {**(read_keys(target) if target.exists() and not is_stale else {}), **keys})
