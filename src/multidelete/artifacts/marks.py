"""The mark that tells a folder of this tool's from any other: only these are ever replaced."""

import json
import os
import zipfile
from pathlib import Path

from multidelete.core.errors import CheckpointError, first_few
from multidelete.core.words import counted

MARK = ".multidelete"
ARCHIVE_MARK = "written by multidelete convert"  # in checkpoints of tensors, which are files
_WRITER = "multidelete"


def beside(file: Path) -> Path:
    """Where what is told of a model that is a file lies: ``FILE.multidelete``."""
    return file.with_name(f"{file.name}{MARK}")


def mark(folder: Path) -> None:
    """Note in a finished folder who wrote it, and which files."""
    content = {"written_by": _WRITER, "files": _files(folder)}
    (folder / MARK).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def refuse_foreign(folder: Path) -> None:
    """Refuse to replace what this tool did not write; a folder that holds nothing may be replaced.

    Raises:
        CheckpointError: It is a file, or a folder without the mark, or files were added to it.
    """
    if not os.path.exists(folder):  # a link that points nowhere
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file, and --overwrite replaces folders only. Give another output folder.")
    files = _files(folder)
    noted = _noted(folder)
    if noted is None and (files or any(folder.iterdir())):
        raise CheckpointError(
            f"{folder} was not written by multidelete (it has no mark, {MARK}), and --overwrite replaces only folders "
            f"that were. It holds {first_few(sorted(path.name for path in folder.iterdir()), limit=5)}. "
            "Give another output folder, or delete it yourself."
        )
    if noted is not None and (added := sorted(set(files) - noted)):
        raise CheckpointError(
            f"{folder} holds {counted(len(added), 'files')} that multidelete did not write, and "
            f"--overwrite would delete them: {first_few(added, limit=5)}. Move them away, or give another folder."
        )


def is_result(folder: Path) -> bool:
    """Whether a folder is a finished result of this tool's."""
    return _noted(folder) is not None


def is_marked_file(file: Path) -> bool:
    """Whether a checkpoint was written by this tool, in whatever container; nothing in it is unpickled."""
    return _is_marked_safetensors(file) if file.suffix.lower() == ".safetensors" else is_marked_archive(file)


def _is_marked_safetensors(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if 0 < length < 2**27 else {}
        return bool(header["__metadata__"]["written_by"] == ARCHIVE_MARK)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def is_marked_archive(file: Path) -> bool:
    """Whether a checkpoint of ``torch.save`` holds `ARCHIVE_MARK`; nothing in it is unpickled."""
    try:
        with zipfile.ZipFile(file) as archive:
            pickled = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return any(ARCHIVE_MARK.encode() in archive.read(name) for name in pickled)
    except (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        return False


def _files(folder: Path) -> list[str]:
    """Everything below a folder but marks and plain folders; links are not followed."""
    files = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        links = [name for name in folders if (here / name).is_symlink()]
        files += [(here / name).relative_to(folder).as_posix() for name in (*names, *links) if name != MARK]
    return sorted(files)


def _noted(folder: Path) -> set[str] | None:
    """The files that a folder's mark names; None where there is no mark of this tool's."""
    try:
        content = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("written_by") != _WRITER:
        return None
    files = content.get("files")
    return {str(name) for name in files} if isinstance(files, list) else None
