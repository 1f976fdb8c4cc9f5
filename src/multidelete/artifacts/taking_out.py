"""Shards that are rewritten: by one process at a time, from lists that are a record then and no filter."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from multidelete.artifacts.folders import refuse_existing
from multidelete.artifacts.locks import lock_file, sole_writer
from multidelete.artifacts.room import write_whole
from multidelete.core.errors import CheckpointError, DataError, first_few
from multidelete.core.json_files import read_json_object
from multidelete.core.words import counted
from multidelete.data.hub import is_on_hub
from multidelete.data.index.dataset import index_of
from multidelete.data.index.file import FILE, FOLDER, open_index
from multidelete.data.index.places import ShardRows
from multidelete.data.index.shards import find_shards
from multidelete.data.location import only_here

RECORD, ALL, FILTER, PICTURES = "exclude.json", "all.txt", "FILTER.md", "pictures.txt"
_BEGUN_HERE = (
    ".multidelete-exclude"  # beside shards that are rewritten in place, until that has ended: from which lists
)
_BEGUN = (
    "# No filter\n\nThese rows are being taken out of the shards, and the lists are a record of that. Where the "
    "command did not end, run it again with --resume.\n"
)
_DONE = (
    "# No filter is needed\n\nThe rows are gone from the shards {where}. The lists are a record: numbers of rows on "
    "them are those of the shards as they were, and would take kept rows out of the new ones.\n"
)


def begin(lists: Path, folder: Path | None, shards: Sequence[ShardRows], *, by_number: bool) -> None:
    """Note in a folder of lists that its rows are being taken out, and take its filter away.

    Args:
        lists: The folder of lists.
        folder: Where the new shards go; None puts each in the place of the old one.
        shards: All shards that the lists are of.
        by_number: Whether `ALL` holds the numbers of rows; then it goes, since loops may read it already.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    _note(lists, {"folder": None if folder is None else str(folder), "ended": False})
    write_whole(lists / FILTER, _BEGUN)
    root = root_of_rows(shards)
    if folder is None and root is not None:
        write_whole(root / _BEGUN_HERE, str(lists.absolute()))
    if by_number:
        (lists / ALL).unlink(missing_ok=True)


def end(lists: Path, shards: Sequence[ShardRows]) -> None:
    """Note in a folder of lists that its rows are gone from the shards.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    told = _rewriting(lists)
    folder = told["folder"]
    write_whole(lists / FILTER, _DONE.format(where="in their place" if folder is None else f"in {folder}"))
    _note(lists, told | {"ended": True})
    root = root_of_rows(shards)
    if folder is None and root is not None:
        (root / _BEGUN_HERE).unlink(missing_ok=True)


def _note(lists: Path, rewriting: dict[str, object]) -> None:
    told = read_json_object(lists / RECORD, "Write the lists again.")
    write_whole(lists / RECORD, json.dumps(told | {"filters": {}, "rewriting": rewriting}))


def _rewriting(lists: Path) -> dict[str, object]:
    told = read_json_object(lists / RECORD, "Write the lists again.").get("rewriting")
    return dict(told) if isinstance(told, dict) else {}


def refuse_begun(lists: Path, root: Path | None, *, overwrite: bool) -> None:
    """Refuse to write lists where others lie whose rows are being taken out, or are gone.

    Args:
        lists: The folder of lists.
        root: The folder that holds the shards; None on the hub. Lists elsewhere may say that it is half rewritten.
        overwrite: Lists may be replaced.

    Raises:
        CheckpointError: They do, or something else is there that must stay.
    """
    told = _rewriting(lists) if (lists / RECORD).is_file() else {}
    if told.get("ended") is False and (told["folder"] is None or not overwrite):
        raise CheckpointError(
            f"the rows on the lists in {lists} are being taken out of the shards, and that did not end. Give --resume "
            "to go on with it, or another output folder for another request."
        )
    if told.get("ended") and told["folder"] is None and not overwrite:
        raise CheckpointError(
            f"the rows on the lists in {lists} are gone from the shards. Give another output folder for another "
            "request, or --overwrite to replace the lists."
        )
    _refuse_others(lists, root)
    refuse_existing(lists, overwrite=overwrite)


def _refuse_others(lists: Path, root: Path | None) -> None:
    """Refuse shards that are being rewritten in place from other lists."""
    if root is not None and (root / _BEGUN_HERE).is_file():
        other = Path((root / _BEGUN_HERE).read_text(encoding="utf-8"))
        if other == lists.absolute():
            return
        if (other / RECORD).is_file() and _rewriting(other).get("ended") is False:
            raise CheckpointError(
                f"the shards in {root} are being rewritten in place from the lists in {other}, and that did not end. "
                f"Go on with it first: the same command with --out {other} --resume. To give it up, remove {other}."
            )


def resumed(lists: Path, folder: Path | None, shards: Sequence[ShardRows]) -> bool:
    """Whether anything is left to go on with: False where the rows are gone from these shards already.

    Args:
        lists: The folder of lists.
        folder: Where the new shards go; None puts each in the place of the old one.
        shards: All shards that the lists are of.

    Raises:
        CheckpointError: The rows are being taken out, or were, in another way, or by other lists.
    """
    _refuse_others(lists, root_of_rows(shards))
    told = _rewriting(lists)
    if not told:
        return True
    before = told["folder"]
    is_same = _place(before) == _place(folder)
    if not is_same and (before is None or not told["ended"]):
        said = "--in-place" if before is None else f"--rewrite {before}"
        what = "are gone from the shards" if told["ended"] else "are being taken out of the shards, which did not end,"
        raise CheckpointError(
            f"the rows on the lists in {lists} {what} by {said}, and --resume goes on with that alone. Say {said}."
        )
    return not (is_same and told["ended"])


def _place(folder: object) -> str | None:
    """Where new shards go, or None for the place of the old ones."""
    return None if folder is None else os.path.abspath(str(folder))


def refuse_other_data(lists: Path, shards: Sequence[ShardRows], spec: str) -> None:
    """Refuse to go on with lists of other shards than those that a text names.

    Args:
        lists: The folder of lists.
        shards: All shards that the lists are of.
        spec: How the data is named.

    Raises:
        CheckpointError: Some shards are of the one and not of the other.
        DataError: There are no shards.
    """
    name, colon, rest = spec.partition(":")
    if name == "index" and colon:
        paths = [str(path) for (path,) in open_index(index_of(rest)).rows("SELECT path FROM shards")]
    else:
        paths = [str(shard.path) for shard in find_shards(str(only_here(spec))).files]
    given, listed = ({os.path.realpath(path) for path in some} for some in (paths, [str(s.path) for s in shards]))
    if other := sorted(given ^ listed):
        raise CheckpointError(
            f"the lists in {lists} are of {counted(len(listed), 'shards')}, and {spec} names other ones: "
            f"{first_few(other)} {'is' if len(other) == 1 else 'are'} of one of the two alone. --resume goes on with "
            "the data that the lists were written for: name it as it was then. For other data give another output "
            "folder, without --resume."
        )


def root_of_shards(spec: str) -> Path | None:
    """The folder that holds the shards that a text names; None on the hub.

    Raises:
        DataError: There are none.
    """
    name, colon, rest = spec.partition(":")
    is_index = bool(name == "index" and colon)
    if is_on_hub(spec):
        return None
    root = open_index(index_of(rest)).meta.root if is_index else str(find_shards(spec).root)
    return None if is_on_hub(root) else Path(root)


def root_of_rows(shards: Sequence[ShardRows]) -> Path | None:
    """The same of shards on lists."""
    shard = next((one for one in shards if isinstance(one.path, Path)), None)
    return None if shard is None else shard.here.parents[len(Path(shard.name).parts) - 1]


@contextmanager
def sole_rewriter(root: Path | None, *, in_place: bool) -> Iterator[None]:
    """Be alone with shards that are rewritten in place; others only look whether somebody is.

    Raises:
        CheckpointError: A process that runs now rewrites them, or nothing can be written beside them.
    """
    if root is None or not (in_place or lock_file(root / "exclude").exists()):
        yield
        return
    try:
        with sole_writer(root / "exclude", called=f"the data in {root}"):
            yield
    except PermissionError as error:
        raise CheckpointError(f"{root} cannot be written: {error.strerror}.") from error


def stale_indices(shards: Sequence[ShardRows], spec: str) -> list[tuple[Path, str]]:
    """Indices that were made before rows were taken out of shards, and hold them still, with the data that they are of.

    Args:
        shards: Shards as they were.
        spec: How the data is named: an index that it names is looked at, and those beside the shards.
    """
    files = {parent / FOLDER / FILE for shard in shards for parent in shard.here.parents}
    if spec.startswith("index:"):
        files.add(index_of(spec.removeprefix("index:")).absolute())
    stale = []
    for file in sorted(one for one in files if one.is_file()):
        try:
            index = open_index(file)
            held = set(index.rows("SELECT path, size, changed FROM shards"))
            if any((str(shard.path), shard.size, shard.changed) in held for shard in shards):
                stale.append((file.parent, index.meta.spec))
        except DataError:  # a damaged one may hold them
            stale.append((file.parent, "DATA"))
    return stale
