"""What a pair and a data set of pairs are."""

import hashlib
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, overload

from multidelete.core.errors import DataError
from multidelete.core.words import counted
from multidelete.data.batch import Batch as Batch
from multidelete.data.batch import source_key as source_key
from multidelete.data.decode import ImageInput as ImageInput
from multidelete.data.decode import open_image as open_image
from multidelete.data.member_sources import content_source
from multidelete.data.member_sources import text_source as text_source
from multidelete.data.picture_digests import input_digest

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from multidelete.data.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One associated pair of a training or held-out set.

    Attributes:
        id: Stable name, unique within its data set.
        inputs: Raw input of each modality, in order: an image is a path, encoded bytes, a PIL
            image or a function that returns one (an `ImageInput`); a text is a string. Two pictures of
            one pair are a tuple of two; a graph's input is a tuple of node names.
        sources: For each modality, what the input came from (image file, node id, normalised
            text); of a tuple, those of its members joined by ``|``. Pairs with equal sources share that member.
            Those that are not given are made from the content: see `content_source`.
        label: Class of the pair, for classification heads: a position in `PairData.classes`.
        subject: Whom or what the pair is about; a request may name it.
        kind: Which sort of pair it is, where a data set has several (``"sensitive"``).
            Audits compare pairs of the same kind only.

    Raises:
        DataError: A source is not given, and the content does not tell it.
    """

    id: str
    inputs: Mapping[str, object]
    sources: Mapping[str, str] = field(default_factory=dict)
    label: int | None = None
    subject: str | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        missing = [modality for modality in self.inputs if modality not in self.sources]
        if missing:
            told = {modality: content_source(self.id, modality, self.inputs[modality]) for modality in missing}
            object.__setattr__(self, "sources", {**self.sources, **told})

    def __repr__(self) -> str:
        return f"Pair({' and '.join(self.inputs)})"

    @property
    def text(self) -> str:
        """Its text."""
        return str(self.inputs["text"])


def members(pair: Pair, modality: str) -> tuple[tuple[str, object], ...]:
    """Source and input of each single member: of a pair of two pictures both, of a graph each node.

    >>> pair = Pair(
    ...     id="1", inputs={"image": ("a.png", "b.png"), "text": "x | y"}, sources={"image": "a|b", "text": "x | y"}
    ... )
    >>> members(pair, "image"), members(pair, "text")
    ((('a', 'a.png'), ('b', 'b.png')), (('x | y', 'x | y'),))
    """
    source, value = pair.sources[modality], pair.inputs[modality]
    if isinstance(value, tuple):
        return tuple(zip(source.split("|"), value, strict=True))
    return ((source, value),)


INDEX_DIGEST = "index:"
"""What digests of indexed pairs begin with, which are others than those of the same pairs in memory."""


def names_of(pair: Pair, what: str) -> tuple[str, ...]:
    """By which names a pair can be meant: of two pictures both together and each alone."""
    if what in ("id", "subject", "kind"):
        name = {"id": pair.id, "subject": pair.subject, "kind": pair.kind}[what]
        return () if name is None else (name,)
    modality = "graph" if what == "node" else what
    if modality not in pair.inputs:
        return ()
    each = tuple(source for source, _ in members(pair, modality))
    return each if what == "node" else tuple(dict.fromkeys((pair.sources[modality], *each)))


@dataclass(frozen=True)
class PairDataset:
    """An ordered set of pairs; raises `DataError` where two have the same id.

    Where work must not grow with the number of pairs, they are asked about by `meant`, `alike`, `names`, `knows`,
    `joined`, `pictures`, `labels` and `kinds`: those of an index (`IndexedDataset`) answer without passing over all.
    """

    pairs: Sequence[Pair]
    name: str
    is_indexed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if len(self.index) != len(self.pairs):
            twice = sorted(name for name, times in Counter(self.ids).items() if times > 1)
            raise DataError(
                f"{counted(len(twice), 'ids occur')} more than once in {self.name}: {', '.join(twice[:10])}. "
                "Ids must be unique; drop the id column to have them made from the content."
            )

    def __repr__(self) -> str:
        return f"PairDataset({counted(len(self.pairs), 'pairs')})"

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Position of each id."""
        return {pair.id: position for position, pair in enumerate(self.pairs)}

    @property
    def ids(self) -> list[str]:
        return [pair.id for pair in self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, position: int) -> Pair: ...
    @overload
    def __getitem__(self, position: Sequence[int]) -> list[Pair]: ...
    def __getitem__(self, position: int | Sequence[int]) -> Pair | list[Pair]:
        if isinstance(position, int):
            return self.pairs[position]
        return [self.pairs[i] for i in position]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def only(self, ids: Iterable[str], name: str) -> "PairDataset":
        """The pairs with these ids, in this data set's order."""
        wanted = set(ids)
        return PairDataset([pair for pair in self.pairs if pair.id in wanted], name)

    def without(self, ids: Iterable[str], name: str) -> "PairDataset":
        """The pairs without these ids, in this data set's order."""
        unwanted = set(ids)
        return PairDataset([pair for pair in self.pairs if pair.id not in unwanted], name)

    def meant(self, names: Mapping[str, Collection[str]]) -> Iterable[Pair]:
        """Pairs, among them all that one of the names means, by sort (see `names_of`)."""
        return self.pairs

    def alike(self, what: str, forms: Collection[str]) -> Iterable[Pair]:
        """Pairs, among them all whose id or subject has one of these loose forms, or joins such names."""
        return self.pairs

    def repeats_of(self, pairs: Sequence[Pair]) -> Iterable[Pair]:
        """Pairs, among them all that have the text and the picture of one of these."""
        return self.pairs

    def names(self, what: str, like: Sequence[str] = ()) -> list[str]:
        """Names that pairs can be meant by, each once; of very many, some that are like those given."""
        return list(dict.fromkeys(name for pair in self.pairs for name in names_of(pair, what)))

    def distinct(self, what: str) -> int:
        """How many subjects there are, or members of a modality."""
        return len(set(self.names("subject"))) if what == "subject" else len(self.sources(what))

    def knows(self, modality: str) -> Container[object]:
        """What holds the sources of the single members of a modality."""
        return self.sources(modality)

    def joined(self, first: str, second: str) -> Container[object]:
        """What holds the sources of two members, one of each modality, where a pair joins them."""
        return {
            (one, other) for pair in self.pairs for one, _ in members(pair, first) for other, _ in members(pair, second)
        }

    def pictures(self, like: Collection[str] | None = None) -> Iterable[tuple[str, str, object]]:
        """For pictures the whole source, the source and the picture itself.

        Among them are those that may be called as is given, or hold a named file's bytes; or one of each folder.
        """
        return (
            (pair.sources["image"], source, picture)
            for pair in self.pairs
            if "image" in pair.inputs
            for source, picture in members(pair, "image")
        )

    @cached_property
    def labels(self) -> Counter[int | None]:
        """How many pairs have each label."""
        return Counter(pair.label for pair in self.pairs)

    @cached_property
    def kinds(self) -> Counter[str | None]:
        """How many pairs are of each kind, in the order in which these come."""
        return Counter(pair.kind for pair in self.pairs)

    def relabelled(self, position: Mapping[int, int]) -> "PairDataset":
        """The pairs with every label at its new position."""
        labels = [None if pair.label is None else position[pair.label] for pair in self.pairs]
        pairs = [replace(pair, label=label) for pair, label in zip(self.pairs, labels, strict=True)]
        return PairDataset(pairs, self.name)

    def sources(self, modality: str) -> set[str]:
        """Sources of the distinct single members of a modality; none where the pairs do not have it."""
        return {source for pair in self.pairs if modality in pair.inputs for source, _ in members(pair, modality)}

    @cached_property
    def digest(self) -> str:
        """Hash of what pairs are called and say: ids, sources, texts, labels, subjects and kinds. Opens no picture."""
        return self.digest_by(())

    def digest_by(self, classes: Sequence[str]) -> str:
        """The same with labels by the names of their classes: in whatever order those are counted."""
        sha = hashlib.sha256()
        for pair in self.pairs:
            texts = sorted((m, value) for m, value in pair.inputs.items() if isinstance(value, str) and m != "image")
            label = classes[pair.label] if pair.label is not None and pair.label < len(classes) else pair.label
            named = (pair.id, sorted(pair.sources.items()), texts, label, pair.subject, pair.kind)
            sha.update(repr(named).encode(errors="surrogatepass"))
        return sha.hexdigest()

    @cached_property
    def content(self) -> str:
        """Hash of the same and of the pictures' bytes: what models, references and signals are kept by."""
        return self.content_by(())

    def content_by(self, classes: Sequence[str]) -> str:
        """The same with labels by the names of their classes."""
        sha = hashlib.sha256((self.digest_by(classes) if classes else self.digest).encode())
        for pair in self.pairs:
            for modality, value in pair.inputs.items():
                is_stored = pair.sources[modality].startswith("sha256:") and callable(value)
                known = pair.sources[modality] if is_stored else input_digest(value, modality)
                sha.update(known.encode(errors="surrogatepass"))
        return sha.hexdigest()


@dataclass(frozen=True)
class PairData:
    """One source of pairs.

    Attributes:
        name: What it is called in results.
        splits: ``train``, and ``val`` and ``test`` where it has them.
        notes: What was counted, left out or changed in reading.
        classes: Names of the classes that labels are positions in; empty where pairs have no labels, or numbers
            whose meaning is not told.
        classes_in_order: Whether the user said that a model's outputs stand in the order of ``classes``.
        graph: The graph whose nodes the pairs name, where they name any.
        sources_are_true: Whether equal sources of pictures are known to stand for equal bytes and unequal for unequal.
        cached: Folders in the cache of `datasets` that hold the same rows, deleted ones included.
        columns: For each column of the data what it was read as, where it has columns.
        reading_s: Seconds that reading took, part of what a deletion costs.
    """

    name: str
    splits: Mapping[str, PairDataset]
    notes: Sequence[str] = field(default_factory=tuple)
    classes: Sequence[str] = ()
    graph: "Graph | None" = None
    classes_in_order: bool = False
    sources_are_true: bool = False
    cached: Sequence[Path] = ()
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict, compare=False)
    reading_s: float = field(default=0.0, compare=False)

    def __repr__(self) -> str:
        splits = [f"{name}: {counted(len(pairs), 'pairs')}" for name, pairs in self.splits.items()]
        return f"PairData({', '.join(splits)})"

    @property
    def train(self) -> PairDataset:
        return self.splits["train"]

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, object]],
        *,
        columns: Mapping[str, str] | None = None,
        splits: Mapping[str, str] | None = None,
        image_root: Path | None = None,
        classes: Sequence[str] = (),
        name: str = "rows",
    ) -> "PairData":
        """The pairs of rows in memory, by the rules and the names of tables; see `read_rows`."""
        from multidelete.data.readers.memory import read_rows

        return read_rows(rows, columns=columns, splits=splits, image_root=image_root, classes=classes, name=name)

    @classmethod
    def from_dataset(
        cls,
        dataset: "Dataset | DatasetDict",
        *,
        columns: Mapping[str, str] | None = None,
        splits: Mapping[str, str] | None = None,
        image_root: Path | None = None,
        classes: Sequence[str] = (),
        name: str = "dataset",
    ) -> "PairData":
        """The pairs of a data set of `datasets`, by the rules of the hub's; see `read_dataset`."""
        from multidelete.data.readers.memory import read_dataset

        return read_dataset(dataset, columns=columns, splits=splits, image_root=image_root, classes=classes, name=name)
