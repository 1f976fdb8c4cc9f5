"""Which rows of which shards hold pairs."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multidelete.core.errors import RequestError, first_few
from multidelete.core.words import counted
from multidelete.data.hub import is_on_hub
from multidelete.data.index.dataset import IndexedDataset
from multidelete.data.index.file import IndexFile, Value
from multidelete.data.index.shards import Shard
from multidelete.data.location import Location, location_of, only_here


@dataclass(frozen=True)
class ShardRows:
    """Some rows of a shard.

    Attributes:
        name: What the shard is called: its path below the folder of all shards.
        path: Where it lies.
        split: The split that its name or folder tells, or None.
        size: Its size in bytes.
        changed: When its content changed, in ns.
        rows: How many rows it has.
        at: The numbers of the rows, from 0, ascending.
        keys: Of a WebDataset, their keys; of other tables with ids, the ids that they have.
    """

    name: str
    path: Location
    split: str | None
    size: int
    changed: int
    rows: int
    at: Sequence[int] = field(default_factory=tuple)
    keys: Sequence[str] = field(default_factory=tuple)

    @property
    def here(self) -> Path:
        """Its path on this machine; raises `DataError` where it lies on the hub."""
        return only_here(str(self.path))


def rows_of_pairs(train: IndexedDataset, ids: Collection[str]) -> list[ShardRows]:
    """All shards, each with the rows that hold the pairs, and exact repeats of these.

    Raises:
        RequestError: Some rows hold other pairs too.
    """
    index, (first, end) = train.pairs.file, train.pairs.span
    question = "SELECT at, shard, row, COALESCE(row_key, id), id FROM pairs WHERE id IN (*)"
    found: dict[int, tuple[int, int, str, str]] = {}
    for place, shard, row, key, pair_id in index.rows_of(question, ids):
        if isinstance(place, int) and first <= place < end:
            found[place] = (int(shard or 0), int(row or 0), str(key), str(pair_id))
    _refuse_parts(index, found)
    by_shard: dict[int, dict[int, list[tuple[str, str]]]] = {}
    for place in sorted(found):
        shard, row, key, pair_id = found[place]
        by_shard.setdefault(shard, {}).setdefault(row, []).append((key, pair_id))
    shards = []
    for number, name, path, split, size, changed in index.rows(
        "SELECT number, name, path, split, size, changed FROM shards ORDER BY number"
    ):
        rows = by_shard.get(int(number or 0), {})
        location = location_of(str(path))
        is_archive = Shard(location, str(name), None).kind == ".tar"
        keys = [_key(rows[row], is_archive=is_archive) for row in sorted(rows)]
        shards.append(
            ShardRows(str(name), location, None if split is None else str(split), int(size or 0),
                      int(changed or 0), _rows_of_shard(index, int(number or 0)), sorted(rows), keys)
        )  # fmt: skip
    return shards


def _key(pairs: Sequence[tuple[str, str]], *, is_archive: bool) -> str:
    key, pair_id = pairs[0]
    if is_archive:
        return key
    return pair_id if len(pairs) == 1 else pair_id.rpartition("#")[0]


def _refuse_parts(index: IndexFile, found: dict[int, tuple[int, int, str, str]]) -> None:
    """Refuse rows of which some pairs go and some stay. The pairs of a row stand together."""
    beside = {place + step: place for place in found for step in (-1, 1) if place + step not in found}
    parts = {
        found[beside[int(place or 0)]][3]
        for place, shard, row in index.rows_of("SELECT at, shard, row FROM pairs WHERE at IN (*)", beside)
        if (shard, row) == found[beside[int(place or 0)]][:2]
    }
    if parts:
        raise RequestError(
            f"{counted(len(parts), 'pairs stand')} in a row with others that are to stay, as of a list of texts: "
            f"{first_few(sorted(parts))}. A row goes as a whole: name all of its pairs, or write a row for each text."
        )


def _rows_of_shard(index: IndexFile, number: int) -> int:
    """How many rows a shard has: each gives a pair at least."""
    question = "SELECT MAX(p.row) FROM runs r JOIN pairs p ON p.at = r.first + r.pairs - 1 WHERE r.shard = ?"
    (last,) = next(index.rows(question, (number,)))
    return 0 if last is None else int(last) + 1


def ids_elsewhere(train: IndexedDataset, ids: Collection[str]) -> bool:
    """Whether pairs of other splits have some of the ids."""
    first, end = train.pairs.span
    rows = train.pairs.file.rows_of("SELECT at FROM pairs WHERE id IN (*)", ids)
    return any(isinstance(place, int) and not first <= place < end for (place,) in rows)


def files_of_alone(train: IndexedDataset, ids: Collection[str]) -> list[Location]:
    """Files of pictures that these training pairs have, and no other pair of any split."""
    index, (first, end) = train.pairs.file, train.pairs.span
    gone = set(ids)

    def goes(place: Value, pair_id: Value) -> bool:
        """Ids are unique in their split only: a held-out pair may have the id of one that goes."""
        return isinstance(place, int) and first <= place < end and pair_id in gone

    question = (
        "SELECT p.at, p.id, q.source, q.file FROM pairs p JOIN pictures q ON q.key = p.image "
        "WHERE p.id IN (*) AND q.file IS NOT NULL"
    )
    pictures = {
        str(file): source for place, pair_id, source, file in index.rows_of(question, ids) if goes(place, pair_id)
    }
    holders = (
        "SELECT p.at, p.id, q.file FROM pictures q JOIN pairs p ON p.image = q.key "
        "WHERE q.source = ? AND q.file IS NOT NULL"
    )
    alone = [
        file
        for file, source in pictures.items()
        if all(
            goes(place, pair_id) or not _is_one_file(file, str(other))
            for place, pair_id, other in index.rows(holders, (source,))
        )
    ]
    return sorted(map(location_of, alone), key=str)


def _is_one_file(one: str, other: str) -> bool:
    """Whether two names, as rows write them, lead to one file."""
    return one == other or (not is_on_hub(one) and os.path.realpath(one) == os.path.realpath(other))
