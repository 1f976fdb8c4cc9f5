"""What a command writes must not be, hold or lie inside anything that it reads."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from multidelete.artifacts.marks import beside, is_result
from multidelete.core.errors import CheckpointError

if TYPE_CHECKING:
    from multidelete.data.pairs import PairData


def place_of(path: Path) -> Path:
    """The absolute path, with links in its parents followed; a last part that is a link stays one.

    Raises:
        CheckpointError: No file can have such a name.
    """
    if "\0" in str(path):
        raise CheckpointError(f"{str(path)!r} holds a NUL character, which no path can. Give another place.")
    if path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def paths_of_model(source: str | Path) -> list[Path]:
    """What is read for a model: its folder, or its file with what lies beside it, those of its base model, and those of
    what its training began with."""
    folders: dict[Path, None] = {}
    left = [Path(source)]
    while left:
        folder = left.pop()
        if folder in folders:
            continue
        folders[folder] = None
        base = _told(folder / "adapter_config.json").get("base_model_name_or_path")
        told = folder
        if folder.is_file():
            told = beside(folder)
            folders[told] = None
        recipe = _told(told / "multidelete.json").get("model")
        start = recipe.get("start") if isinstance(recipe, dict) else None
        left += [Path(one) for one in (base, start) if isinstance(one, str) and one and "\0" not in one]
    return list(folders)


def _told(file: Path) -> dict[str, object]:
    """What a JSON file says; nothing where it cannot be read, which is told where it is needed."""
    try:
        if not file.is_file():  # a pipe would be waited for
            return {}
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def refuse_overlap(output: Path, inputs: Iterable[Path], *, may_hold: bool = False) -> None:
    """Refuse an output that would change an input, or the result of another run. Links and ``..`` are followed.

    Args:
        output: Where to write.
        inputs: Files and folders that are read; those that do not exist (hub ids) are passed over.
        may_hold: Files are added to the output, and nothing in it is replaced: it may hold inputs.

    Raises:
        CheckpointError: ``output`` is an input, lies inside one, or holds one, or lies inside a result; one line for
            each.
    """
    around = _identities(output)
    itself = {_identity(output)} - {None}
    problems = []
    for source in dict.fromkeys(inputs):
        read = _identity(source)
        if read is None:
            continue
        if read in itself:
            relation = "is"
        elif read in around:
            relation = "lies inside"
        elif not may_hold and itself & _identities(source):
            relation = "holds"
        else:
            continue
        problems.append(
            f"output {output} {relation} input {source}; inputs are never changed. Give another place to write to."
        )
    if problems := problems or _inside_result(output):
        raise CheckpointError(problems)


def refuse_inside_result(output: Path) -> None:
    """Refuse an output inside the finished result of another run, which is never added to.

    Raises:
        CheckpointError: It lies there.
    """
    if problems := _inside_result(output):
        raise CheckpointError(problems)


def _inside_result(output: Path) -> list[str]:
    itself = (place_of(output), Path(os.path.realpath(output)))
    results = [folder for folder in dict.fromkeys(_around(output)) if folder not in itself and is_result(folder)]
    return [
        f"output {output} lies inside {folder}, a finished result of multidelete; results are never changed. "
        "Give another place to write to."
        for folder in results[:1]
    ]


def refuse_pictures(output: Path, data: "PairData") -> None:
    """Refuse an output that is, holds or lies inside a folder of the data's pictures.

    Where the data writes paths with folders (``images/train/a.png``), the first of these is such a folder; else that
    in which the picture lies.

    Raises:
        CheckpointError: It is or does; one line for each such folder.
    """
    refuse_overlap(output, _folders_of_pictures(data))


def _folders_of_pictures(data: "PairData") -> list[Path]:
    """Each once."""
    folders: dict[str, None] = {}
    for pairs in data.splits.values():
        for _, source, picture in pairs.pictures():
            if isinstance(picture, str | Path):
                folders.setdefault(_folder_of_picture(source, str(picture)))
    return [Path(folder) for folder in folders]


def _folder_of_picture(source: str, file: str) -> str:
    first, slash, _ = source.partition("/")  # one of dots alone, as in ../images/a.png, is no folder of pictures
    if first.strip(".") and slash and file.endswith(f"/{source}"):
        return f"{file[: -len(source)]}{first}"
    return os.path.dirname(file) or "."


def _around(path: Path) -> list[Path]:
    """A path and all folders around it, as written and where links lead."""
    ways = (place_of(path), Path(os.path.realpath(path)))
    return [place for way in ways for place in (way, *way.parents)]


def _identities(path: Path) -> set[tuple[int, int] | None]:
    """What the file system calls a path and all folders around it."""
    return {_identity(place) for place in _around(path)} - {None}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
