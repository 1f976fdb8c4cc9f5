"""What a result folder says of itself (``multidelete.json``), and what tells its content from any other."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from multidelete.artifacts.marks import MARK, beside
from multidelete.artifacts.record import RunRecord
from multidelete.core.errors import CheckpointError
from multidelete.core.json_files import read_json_object
from multidelete.core.records import read_object

MANIFEST = "multidelete.json"


def told_in(model: str | Path) -> Path:
    """Where it stands what is told of a model: in its folder; of one that is a file, in ``FILE.multidelete`` beside it.

    Raises:
        CheckpointError: A run to the file was cut off in the moment when it put it in place.
    """
    path = Path(model)
    if not path.is_file():
        return path
    folder = beside(path)
    if (folder / path.name).exists():
        raise CheckpointError(
            f"{path} is not what {folder} tells of: a run was cut off before it put the new file in place. "
            f"Move {folder / path.name} to {path} yourself."
        )
    return folder


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``multidelete.json``; no number in it may be NaN."""
    (folder / MANIFEST).write_text(json.dumps(record.as_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_record(folder: str | Path) -> RunRecord | None:
    """Read ``multidelete.json``, or None where the folder has none; of a model that is a file, see `told_in`.

    Raises:
        CheckpointError: The file is there, but is no JSON object, or what it holds is of another type than is written.
    """
    path = told_in(folder) / MANIFEST
    if not path.is_file():
        return None
    remedy = "Restore it as it was written: it says what the model has forgotten; or write the folder anew."
    return read_object(RunRecord, read_json_object(path, remedy), str(path), remedy)


def versions() -> dict[str, str]:
    """What a result was made with: Python, platform, this package and the libraries that decide the numbers."""
    numbers = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("multidelete", "torch", "transformers", "accelerate"):
        try:
            numbers[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            numbers[name] = "run without installation"
    return numbers


@cache
def code_digest() -> str:
    """SHA-256 of the names and contents of this package's own files: which code ran, whatever its version says."""
    package = Path(__file__).parents[1]
    sources = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".html", ".json"))
    return digest_of([(path.relative_to(package).as_posix(), digest_file(path)) for path in sources])


def digest_of(told: Sequence[object]) -> str:
    """SHA-256 of what JSON can hold, in hexadecimal."""
    return hashlib.sha256(json.dumps(list(told), sort_keys=True).encode()).hexdigest()


def digest_text(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; read in pieces.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def digest_model(model: Path) -> str:
    """SHA-256 of a model that is a file or a folder (`digest_folder`)."""
    return digest_file(model) if model.is_file() else digest_folder(model)


def digest_folder(folder: Path) -> str:
    """SHA-256 of the names and contents of all files below a folder, whatever their order on disk.

    ``multidelete.json`` and the mark of who wrote the folder do not count: they tell of a model, and are not part of
    it.

    Raises:
        CheckpointError: It is no folder, or a file cannot be read.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder.")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sha = hashlib.sha256()
    for name in names:
        if name != MANIFEST and Path(name).name != MARK:
            sha.update(repr((name, digest_file(folder / name))).encode())
    return sha.hexdigest()
