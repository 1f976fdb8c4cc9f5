"""A split of an index as a data set: asked about without passing over its pairs."""

import os
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, overload

import numpy as np

from multidelete.core.errors import DataError
from multidelete.core.paths import user_path
from multidelete.data.hub import is_on_hub
from multidelete.data.index.file import FILE, SPLIT_BITS, SplitMeta, Value, open_index
from multidelete.data.index.pairs import IndexedPairs
from multidelete.data.index.rows import PARTS, digest_of_pair
from multidelete.data.index.shards import beside
from multidelete.data.index.stamps import shard_problems
from multidelete.data.location import location_of
from multidelete.data.lookalikes import loose_form
from multidelete.data.pairs import INDEX_DIGEST, Pair, PairData, PairDataset, names_of, source_key
from multidelete.data.tables.source import is_file

_MATCHES = {
    "image": "image IN (SELECT key FROM pictures WHERE source = ?)",
    "text": "text_key = ?",
}
_QUESTIONS = {
    "id": "SELECT at FROM pairs WHERE id IN (*)",
    "subject": "SELECT at FROM pairs WHERE subject IN (*)",
    "image": "SELECT at FROM pairs WHERE image IN (SELECT key FROM pictures WHERE source IN (*))",
    "text": "SELECT at FROM pairs WHERE text_key IN (*)",
}
_AT_ONCE = 2000  # pairs that are held while many are gone through
_MOST_NAMES, _FEW_NAMES = 100_000, 1000  # that unknown ones are compared with


class _Positions(Mapping[str, int]):
    """Position of each id, asked of the index."""

    def __init__(self, pairs: IndexedPairs) -> None:
        self._pairs = pairs

    def __getitem__(self, pair_id: str) -> int:
        for (place,) in self._pairs.file.rows("SELECT at FROM pairs WHERE id = ? ORDER BY at", (pair_id,)):
            if self._pairs.is_here(place) and isinstance(place, int):
                return self._pairs.position(place)
        raise KeyError(pair_id)

    def __iter__(self) -> Iterator[str]:
        return (pair.id for pair in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


class _Asked(Container[object]):
    """Holds what a question to the index finds among pairs that are not left out."""

    def __init__(self, pairs: IndexedPairs, *modalities: str) -> None:
        self._pairs, self._modalities = pairs, modalities
        self._question = f"SELECT at FROM pairs WHERE {' AND '.join(_MATCHES[one] for one in modalities)}"

    def __contains__(self, sources: object) -> bool:
        told = sources if isinstance(sources, tuple) else (sources,)
        values = [
            source_key(str(source)) if modality == "text" else str(source)
            for source, modality in zip(told, self._modalities, strict=True)
        ]
        return any(self._pairs.is_here(place) for (place,) in self._pairs.file.rows(self._question, values))


@dataclass(frozen=True)
class IndexedDataset(PairDataset):
    """The pairs of a split of an index."""

    pairs: IndexedPairs
    is_indexed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Ids are unique: the index was made so."""

    @cached_property
    def index(self) -> Mapping[str, int]:
        return _Positions(self.pairs)

    @overload
    def __getitem__(self, position: int) -> Pair: ...
    @overload
    def __getitem__(self, position: Sequence[int]) -> list[Pair]: ...
    def __getitem__(self, position: int | Sequence[int]) -> Pair | list[Pair]:
        return self.pairs[position] if isinstance(position, int) else self.pairs.many(position)

    def only(self, ids: Iterable[str], name: str) -> PairDataset:
        return PairDataset(list(self.meant({"id": list(ids)})), name)

    def without(self, ids: Iterable[str], name: str) -> PairDataset:
        return IndexedDataset(self.pairs.without(self._places({"id": list(ids)})), name)

    def digest_by(self, classes: Sequence[str]) -> str:
        """Hash of what pairs are called and say, of each alone, so that it is known without those that are left out."""
        total = int(self._told.total, 16) - sum(digest_of_pair(*pair) for pair in self.pairs.left_out())
        return f"{INDEX_DIGEST}{total % PARTS:064x}"

    @cached_property
    def labels(self) -> Counter[int | None]:
        every: Counter[int | None] = Counter()
        for label, times in self._counts(self._told.labels, 3).items():
            every[None if label is None else self.pairs.labels[label]] += times
        return every

    @cached_property
    def kinds(self) -> Counter[str | None]:
        return self._counts(self._told.kinds, 5)

    def _counts(self, counts: Iterable[tuple[str | None, int]], column: int) -> Counter[str | None]:
        """The counts of all pairs without those that are left out."""
        every = Counter(dict(counts))
        every.subtract(pair[column] for pair in self.pairs.left_out())
        return Counter({name: times for name, times in every.items() if times})

    @property
    def _told(self) -> SplitMeta:
        return next(told for told in self.pairs.file.meta.splits.values() if told.code == self.pairs.code)

    def _places(self, names: Mapping[str, Collection[str]]) -> list[int]:
        """Where pairs stand that names mean, in order."""
        places: set[Value] = set()
        for what, some in names.items():
            if what in _QUESTIONS:
                values = map(source_key, some) if what == "text" else some
                places.update(place for (place,) in self.pairs.file.rows_of(_QUESTIONS[what], values))
        return sorted(place for place in places if isinstance(place, int) and self.pairs.is_here(place))

    def meant(self, names: Mapping[str, Collection[str]]) -> Iterable[Pair]:
        places = self._places(names)
        for start in range(0, len(places), _AT_ONCE):
            some = dict(self.pairs.at(places[start : start + _AT_ONCE]))
            yield from (some[place] for place in places[start : start + _AT_ONCE])

    def alike(self, what: str, forms: Collection[str]) -> Iterable[Pair]:
        sorts = {"id": ("id",), "subject": ("subject", "part of a subject")}.get(what, ())
        question = "SELECT what, name FROM names WHERE form IN (*)"
        names = {str(name) for sort, name in self.pairs.file.rows_of(question, forms) if sort in sorts}
        return self.meant({what: names | set(forms)})

    def repeats_of(self, pairs: Sequence[Pair]) -> Iterable[Pair]:
        question = f"SELECT at FROM pairs WHERE {_MATCHES['image']} AND {_MATCHES['text']}"
        places = {
            place
            for pair in pairs
            for (place,) in self.pairs.file.rows(question, (pair.sources["image"], source_key(pair.sources["text"])))
        }
        here = sorted(place for place in places if isinstance(place, int) and self.pairs.is_here(place))
        return [pair for _, pair in sorted(self.pairs.at(here), key=lambda one: one[0])]

    def names(self, what: str, like: Sequence[str] = ()) -> list[str]:
        """Subjects; of ids and pictures those that look like the ones given, and the first few."""
        if what == "subject":
            question = f"SELECT DISTINCT subject FROM pairs WHERE subject IS NOT NULL LIMIT {_MOST_NAMES}"
            return [str(name) for (name,) in self.pairs.file.rows(question)]
        near = self.alike(what, set(map(loose_form, like))) if what == "id" else ()
        some = [*near, *self.pairs[:_FEW_NAMES]]
        return list(dict.fromkeys(name for pair in some for name in names_of(pair, what)))

    def distinct(self, what: str) -> int:
        column = {"subject": "subject", "text": "text_key"}.get(what, "q.source")
        joined = " JOIN pictures q ON q.key = p.image" if column == "q.source" else ""
        question = f"SELECT COUNT(DISTINCT {column}) FROM pairs p{joined} WHERE at >= ? AND at < ?"
        return self.pairs.file.number(question, self.pairs.span)

    def knows(self, modality: str) -> Container[object]:
        return _Asked(self.pairs, modality)

    def joined(self, first: str, second: str) -> Container[object]:
        return _Asked(self.pairs, first, second)

    def pictures(self, like: Collection[str] | None = None) -> Iterable[tuple[str, str, object]]:
        if like is None:
            return [(source, source, location_of(file)) for source, file in self.pairs.file.meta.places]
        lasts = [spelt.rsplit("/", 1)[-1] for one in like for spelt in (one, one.replace("\\", "/"))]
        sizes = [os.path.getsize(one) for one in like if is_file(Path(one))]
        asked: Sequence[tuple[str, Iterable[Value]]] = [("last", lasts), ("source", like), ("size", sizes)]
        question = "SELECT source, file FROM pictures WHERE {} IN (*)"
        rows = {row for by, values in asked for row in self.pairs.file.rows_of(question.format(by), values)}
        return [
            (str(source), str(source), None if file is None else location_of(str(file)))
            for source, file in sorted(rows, key=str)
        ]

    def relabelled(self, position: Mapping[int, int]) -> PairDataset:
        labels = {text: None if at is None else position[at] for text, at in self.pairs.labels.items()}
        return IndexedDataset(replace(self.pairs, labels=labels), self.name)

    def sources(self, modality: str) -> set[str]:
        """All of them, which takes a pass over the index and as much memory."""
        return {pair.sources[modality] for pair in self.pairs if modality in pair.sources}


def index_of(spec: str) -> Path:
    """The file of an index: of the folder that holds it, or beside the data that a text names.

    Raises:
        DataError: There is none.
    """
    if is_on_hub(spec):
        raise DataError(f"Name the folder of the index of {spec}, which lies here: index:FOLDER.")
    path = user_path(spec)
    for folder in (path, beside(spec)):
        if (folder / FILE).is_file():
            return folder / FILE
    raise DataError(f"There is no index in {path} or {beside(spec)}. Make one: multidelete data {spec} --index.")


def indexed_data(path: Path) -> PairData:
    """The pairs of an index, which are read when they are used.

    Raises:
        DataError: There is none, or its shards are gone, cut or changed.
    """
    index = open_index(path)
    problems = shard_problems(index)
    if problems:
        raise DataError([f"{path}: {problem}" for problem in problems])
    meta = index.meta
    splits: dict[str, PairDataset] = {}
    for split, told in meta.splits.items():
        first = told.code << SPLIT_BITS
        question = "SELECT at - ? FROM repeats WHERE at >= ? AND at < ? ORDER BY at"
        repeats = np.array([row[0] for row in index.rows(question, (first, first, first + told.rows))], np.int64)
        pairs = IndexedPairs(index, told.code, told.rows, repeats, repeats, meta.labels, meta.columns["image"])
        splits[split] = IndexedDataset(pairs, f"{meta.name} {split}")
    return PairData(meta.name, splits, meta.notes, meta.classes, sources_are_true=True, columns=meta.read_as)
