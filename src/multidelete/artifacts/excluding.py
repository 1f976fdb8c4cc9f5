"""Lists of rows for training loops that stay outside, shard by shard, and the two lines that read them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.overlap import refuse_overlap
from multidelete.artifacts.rewriting import is_rewritten, rewrite
from multidelete.artifacts.taking_out import ALL, FILTER, PICTURES, RECORD, begin, end
from multidelete.core.errors import CheckpointError, DataError, RequestError, first_few
from multidelete.core.json_files import read_json_object
from multidelete.core.progress import progress_bar
from multidelete.core.words import counted
from multidelete.data.index.dataset import IndexedDataset
from multidelete.data.index.places import ShardRows, files_of_alone, ids_elsewhere, rows_of_pairs
from multidelete.data.location import Location, location_of
from multidelete.data.readers.delimited_file import ENDINGS as DELIMITED
from multidelete.data.readers.parquet import is_read_as_written
from multidelete.data.request import Request

IMPORT = "from pathlib import Path"
"""What the lines for a training loop need."""
_PLAIN = re.compile(r"(?=.*[A-Za-z_])(?!\d{4}-\d\d)(?![-+.\deE]+$).*|0|[1-9]\d{0,17}", re.DOTALL)
"""Ids that the datasets library reads as they are written: no dates, and numbers only where they are plain."""


@dataclass(frozen=True)
class Excluded:
    """What was written.

    Attributes:
        folder: The folder of the lists.
        pairs: How many pairs are on them.
        shards: All shards, with the rows that go.
        filters: By library, the two lines for a training loop.
        pictures: Files of pictures that no other pair has.
        asked: Digest of the request as it was given; empty where it is not known.
    """

    folder: Path
    pairs: int
    shards: Sequence[ShardRows]
    filters: Mapping[str, str]
    pictures: Sequence[Location] = ()
    asked: str = ""

    @property
    def touched(self) -> list[ShardRows]:
        """The shards that hold rows that go."""
        return [shard for shard in self.shards if shard.at]


def exclude(
    train: IndexedDataset,
    request: Request,
    out: Path,
    *,
    id_column: str | None,
    overwrite: bool = False,
) -> Excluded:
    """Write which rows of which shards hold the pairs of a request: `found` and `write_lists` together.

    Args:
        train: The training pairs.
        request: What goes.
        out: The folder; it appears when it is whole.
        id_column: The column of ids as the data calls it, if there is one.
        overwrite: Replace the folder if it exists.

    Raises:
        RequestError: A row holds pairs that stay, too.
        CheckpointError: The folder cannot be written.
    """
    done = found(train, request, out, id_column=id_column)
    write_lists(done, overwrite=overwrite)
    return done


def found(train: IndexedDataset, request: Request, out: Path, *, id_column: str | None) -> Excluded:
    """Which rows of which shards hold the pairs of a request; nothing is written yet.

    Args:
        train: The training pairs.
        request: What goes.
        out: The folder that the lists are for.
        id_column: The column of ids as the data calls it, if there is one.

    Raises:
        RequestError: A row holds pairs that stay, too.
    """
    shards = rows_of_pairs(train, request.ids)
    is_archive = any(shard.path.suffix.lower() == ".tar" for shard in shards)
    keys = [key for shard in shards for key in shard.keys]
    if is_archive and (broken := [key for key in keys if "\n" in key]):
        raise RequestError(f"{counted(len(broken), 'keys hold')} a line break, and lists have one key a line.")
    by_id = (
        id_column is not None
        and not any(shard.path.suffix.lower() in DELIMITED for shard in shards)  # whose types are guessed
        and all(map(_PLAIN.fullmatch, keys))
        and all(is_read_as_written(shard.path, id_column) for shard in shards if shard.path.suffix == ".parquet")
        and not ids_elsewhere(train, keys)
    )
    if not is_archive and not by_id:
        shards = [ShardRows(**(vars(shard) | {"keys": ()})) for shard in shards]
    column = id_column if by_id and not is_archive else None
    return Excluded(
        out, len(request.ids), shards, _filters(out, shards, is_archive=is_archive, id_column=column),
        files_of_alone(train, request.ids),
    )  # fmt: skip


def write_lists(lists: Excluded, *, overwrite: bool = False) -> None:
    """Write the folder of lists, whole or not at all.

    It has a list for each shard that holds some of the rows (keys of a WebDataset; ids of other tables, or the numbers
    of their rows), the two lines that make a training loop leave them out, and the files of pictures that only they
    have.

    Args:
        lists: What goes.
        overwrite: Replace the folder if it exists.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    with whole_or_nothing(lists.folder, overwrite=overwrite) as folder:
        for shard in lists.touched:
            _write(folder / f"{shard.name}.txt", shard.keys or shard.at)
        has_names = any(shard.keys for shard in lists.touched)
        _write(folder / ALL, _all(lists.touched) if has_names else _over_all(lists.shards))
        if lists.pictures:
            _write(folder / PICTURES, lists.pictures)
        lines = [f"# {name}\n\n```python\n{IMPORT}\n\n{code}\n```\n" for name, code in lists.filters.items()]
        (folder / FILTER).write_text("\n".join(lines), encoding="utf-8")
        shards = [asdict(shard) | {"path": str(shard.path)} for shard in lists.shards]
        told = {"pairs": lists.pairs, "asked": lists.asked, "shards": shards, "filters": dict(lists.filters)}
        (folder / RECORD).write_text(json.dumps(told), encoding="utf-8")


def read_excluded(folder: Path) -> Excluded:
    """What a folder of lists says.

    Raises:
        CheckpointError: It is none.
    """
    if not (folder / RECORD).is_file():
        raise CheckpointError(
            f"There is nothing to resume: {folder} holds no lists. Write them first: the same command without --resume."
        )
    told = read_json_object(folder / RECORD, "Write the lists again.")
    pairs, shards, filters = told.get("pairs"), told.get("shards"), told.get("filters")
    if not (isinstance(pairs, int) and isinstance(shards, list) and isinstance(filters, dict)):
        raise CheckpointError(f"{folder / RECORD} is not what this command writes. Write the lists again.")
    rows = [_shard(shard) for shard in shards if isinstance(shard, dict)]
    codes = {name: str(code) for name, code in filters.items()}
    file = folder / PICTURES
    pictures = [location_of(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    return Excluded(folder, pairs, rows, codes, pictures, asked=str(told.get("asked", "")))


def _shard(told: Mapping[str, object]) -> ShardRows:
    at, keys, split = told["at"], told["keys"], told["split"]
    numbers = {name: value for name, value in told.items() if isinstance(value, int)}
    return ShardRows(
        str(told["name"]), location_of(str(told["path"])), None if split is None else str(split),
        numbers["size"], numbers["changed"], numbers["rows"],
        [row for row in at if isinstance(row, int)] if isinstance(at, list) else [],
        [str(key) for key in keys] if isinstance(keys, list) else [],
    )  # fmt: skip


def rewritten(lists: Excluded, folder: Path | None) -> list[Path]:
    """Write the shards that hold rows of the lists without these, each whole or not at all.

    The lists are a record from then on: a filter by the numbers of rows would take others out of the new shards.

    Args:
        lists: What goes.
        folder: Where the new shards go; None puts each in the place of the old one.

    Returns:
        The new shards. In place, one that was written before a run was killed is not written again.

    Raises:
        DataError: A shard has changed since the lists were written.
        CheckpointError: The folder holds a shard, or a shard cannot be written.
    """
    if folder is not None:
        refuse_overlap(folder, [shard.here for shard in lists.shards])
    begin(lists.folder, folder, lists.shards, by_number=not any(shard.keys for shard in lists.touched))
    written = []
    with progress_bar("rewriting shards", len(lists.touched)) as bar:
        for number, shard in enumerate(lists.touched, start=1):
            target = shard.here if folder is None else folder / shard.name
            if folder is not None and is_rewritten(shard):
                raise DataError(f"{shard.path} has changed since the lists were written. Make them again.")
            if folder is not None or not is_rewritten(shard):
                rewrite(shard, target)
            written.append(target)
            bar.to(number)
    end(lists.folder, lists.shards)
    return written


def _write(path: Path, lines: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _all(shards: Sequence[ShardRows]) -> list[str]:
    """Of archives the shard and the key of each row, of other tables its id."""
    return [
        f"{shard.name}/{key}" if shard.path.suffix.lower() == ".tar" else key for shard in shards for key in shard.keys
    ]


def _over_all(shards: Sequence[ShardRows]) -> list[int]:
    """The numbers of the rows over all training shards together, in the order of their names."""
    rows, before = [], 0
    for shard in sorted((one for one in shards if one.split in (None, "train")), key=lambda one: one.name):
        rows += [before + row for row in shard.at]
        before += shard.rows
    return rows


def _filters(out: Path, shards: Sequence[ShardRows], *, is_archive: bool, id_column: str | None) -> dict[str, str]:
    """The lines that make a training loop leave the rows out, by library."""
    file = f"Path({(out / ALL).absolute().as_posix()!r})"
    names = f'gone = set({file}.read_text("utf-8").split("\\n"))'
    if is_archive:
        depths = {len(Path(shard.name).parts) for shard in shards}
        if len(depths) > 1:
            some = first_few([shard.name for shard in shards], 3)
            raise RequestError(
                f"The shards lie at several depths, and a training loop knows them by the end of their paths: {some}. "
                "Name those of one depth."
            )
        test = f'"/".join([*row["__url__"].split("/")[-{depths.pop()}:], row["__key__"]]) not in gone'
        return {
            "webdataset": f"{names}\ndataset = dataset.select(lambda row: {test})",
            "datasets": f"{names}\ndataset = dataset.filter(lambda row: {test})",
        }
    if id_column is not None:
        return {"datasets": f"{names}\ndataset = dataset.filter(lambda row: str(row[{id_column!r}]) not in gone)"}
    return {
        "datasets": f"gone = set(map(int, {file}.read_text().split()))\n"
        "dataset = dataset.filter(lambda row, at: at not in gone, with_indices=True)"
    }
