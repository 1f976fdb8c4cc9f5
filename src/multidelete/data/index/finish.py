"""What an index says of all of its pairs together, once every row is in it."""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from multidelete.core.errors import DataError, first_few
from multidelete.core.words import counted
from multidelete.data.hub import is_on_hub
from multidelete.data.identity import true_names
from multidelete.data.index.file import SPLIT_BITS
from multidelete.data.index.rows import PARTS, digest_of_pair
from multidelete.data.location import digest_at, location_of, size_at
from multidelete.data.lookalikes import repeat_note
from multidelete.data.member_sources import stored_source
from multidelete.data.outside import outside_of
from multidelete.data.pairs import Pair
from multidelete.data.readers.folder import rename_splits
from multidelete.data.readers.labels import Labelled, number_labels
from multidelete.data.tables.strict_json import Literal

Counts = Counter[str | None]


def finish(
    connection: sqlite3.Connection, meta: Mapping[str, object], notes: list[str], splits: Mapping[str, str], *,
    has_ids: bool,
) -> None:  # fmt: skip
    """Name splits and classes, tell repeats and pictures of the same bytes, and write the table ``meta``.

    Args:
        connection: An index with all rows.
        meta: What is known already.
        notes: What is odd about the rows; more is added.
        splits: Our name of a split to the data's, where the user maps them.
        has_ids: Whether ids are the data's own, and not made from the content.

    Raises:
        DataError: Splits or labels are not told, ids occur twice, or pictures are missing.
    """
    name = str(meta["name"])
    codes = _splits(connection, name, splits, notes)
    _true_pictures(connection, name)
    counts = {ours: _Counts(connection, code) for ours, code in codes.items()}
    problems = [p for what in ("id", "subject") for p in _with_point(connection, name, what)]
    for ours, code in codes.items():
        problems += _repeats(connection, f"{name} {ours}", code, counts[ours], notes, has_ids=has_ids)
    if problems:
        raise DataError(problems)
    classes, labels = _classes(connection, name, counts, notes)
    _notes_on_repeats(connection, codes, notes)
    told = {ours: counted_in.meta(codes[ours]) for ours, counted_in in counts.items()}
    files = (file for some in _files_of_pictures(connection) for _, file in some if not is_on_hub(file))
    places = [str(place) for place in (meta["root"], meta["image_root"]) if place]
    notes += outside_of(files, [Path(place) for place in places if not is_on_hub(place)])
    rest = {"splits": told, "classes": list(classes), "labels": labels, "notes": notes,
            "places": _places(connection)}  # fmt: skip
    rows = [(key, json.dumps(value)) for key, value in {**meta, **rest}.items()]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)


def span_of(code: int) -> tuple[int, int]:
    """Between which places the pairs of a split stand."""
    return code << SPLIT_BITS, (code + 1) << SPLIT_BITS


def _splits(
    connection: sqlite3.Connection, name: str, splits: Mapping[str, str], notes: list[str]
) -> dict[str, int]:  # fmt: skip
    """Our names of the splits, in our order, with their numbers."""
    theirs = {str(named): int(code) for code, named, _ in connection.execute("SELECT * FROM splits")}
    left_out, renamed = rename_splits(name, theirs, splits)
    notes += [f"splits left out: {first_few(left_out)}"] if left_out else []
    connection.executemany("UPDATE splits SET ours = ? WHERE code = ?", list(renamed.items()))
    return {ours: renamed[ours] for ours in ("train", "val", "test") if ours in renamed}


class _Counts:
    """How many pairs of a split there are, of which labels and kinds, and the sum of their digests."""

    def __init__(self, connection: sqlite3.Connection, code: int) -> None:
        self.rows, self.repeats, self.total = 0, 0, 0
        self.labels, self.kinds = Counts(), Counts()
        question = "SELECT pairs, total, labels, kinds FROM runs WHERE split = ? ORDER BY first"
        for pairs, total, labels, kinds in connection.execute(question, (code,)):
            self.rows += pairs
            self.total = (self.total + int(total, 16)) % PARTS
            for counter, told in ((self.labels, labels), (self.kinds, kinds)):
                for name, times in json.loads(told):
                    counter[name] += times

    def leave_out(self, rows: Iterator[tuple[str, str, str, str | None, str | None, str | None]]) -> None:
        """Take repeats off."""
        for pair in rows:
            self.repeats += 1
            self.total = (self.total - digest_of_pair(*pair)) % PARTS
            self.labels[pair[3]] -= 1
            self.kinds[pair[5]] -= 1

    def meta(self, code: int) -> dict[str, object]:
        return {"code": code, "rows": self.rows, "total": f"{self.total:064x}",
                "labels": [*self.labels.items()], "kinds": [*self.kinds.items()]}  # fmt: skip


def _true_pictures(connection: sqlite3.Connection, name: str) -> None:
    """Find the size of every picture file, and give files of the same bytes one source: see `with_true_sources`."""
    missing: list[str] = []
    for some in _files_of_pictures(connection):
        sizes: list[tuple[int, int]] = []
        for key, file in some:
            try:
                sizes.append((size_at(location_of(file)), key))
            except OSError:
                missing.append(file)
        connection.executemany("UPDATE pictures SET size = ? WHERE key = ?", sizes)
    if missing:
        raise DataError(
            f"{name}: {counted(len(missing), 'image files are')} missing (relative paths start from --image-root): "
            f"{first_few(missing)}."
        )
    connection.execute("UPDATE pictures SET source = written")
    stored = {row[0] for row in connection.execute("SELECT written FROM pictures WHERE shard IS NOT NULL LIMIT 1")}
    many = "SELECT size FROM pictures WHERE file IS NOT NULL GROUP BY size HAVING COUNT(*) > 1"
    trained = connection.execute("SELECT code FROM splits WHERE ours = 'train'").fetchone()[0]
    for (size,) in connection.execute(many).fetchall():
        question = "SELECT key, written, file FROM pictures WHERE file IS NOT NULL AND size = ?"
        rows = connection.execute(question, (size,)).fetchall()
        seen = "SELECT 1 FROM pairs WHERE image = ? AND at >= ? AND at < ? LIMIT 1"
        is_trained_on = {
            (written, file): connection.execute(seen, (key, *span_of(trained))).fetchone() is not None
            for key, written, file in rows
        }
        changed = true_names(is_trained_on)
        connection.executemany(
            "UPDATE pictures SET source = ? WHERE key = ?",
            [(changed[written, file], key) for key, written, file in rows if changed[written, file] != written],
        )
    if stored:
        for key, file in (one for some in _files_of_pictures(connection) for one in some):
            source = stored_source(digest_at(location_of(file)))
            same = "UPDATE pictures SET source = ? WHERE key = ? AND EXISTS (SELECT 1 FROM pictures WHERE written = ?)"
            connection.execute(same, (source, key, source))


def _files_of_pictures(connection: sqlite3.Connection) -> Iterator[list[tuple[int, str]]]:
    """Key and file of pictures that are files, some at a time, so that they may be changed meanwhile."""
    question = "SELECT key, file FROM pictures WHERE key > ? AND file IS NOT NULL ORDER BY key LIMIT 10000"
    last = -(2**63)
    while some := connection.execute(question, (last,)).fetchall():
        yield some
        last = some[-1][0]


def _with_point(connection: sqlite3.Connection, name: str, what: str) -> list[str]:
    """A problem where a whole number stands among ids or subjects with and without a point."""
    question = f"SELECT form, name FROM names WHERE what = ? AND EXISTS (SELECT 1 FROM pairs WHERE {what} = form)"
    twice = [f"{form} and {named}" for form, named in connection.execute(question, (f"{what} with a point",))]
    if not twice:
        return []
    what_stand = f"{what}s stand"
    return [f"{name}: {counted(len(twice), what_stand)} there with and without a point: {first_few(twice)}. Write "
            "each in one way."]  # fmt: skip


def _repeats(
    connection: sqlite3.Connection, name: str, code: int, counts: _Counts, notes: list[str], *, has_ids: bool
) -> list[str]:
    """Problems with ids that occur twice; exact repeats of pairs without ids are left out."""
    question = "SELECT id FROM pairs WHERE at >= ? AND at < ? GROUP BY id HAVING COUNT(*) > 1"
    if has_ids:
        twice = sorted(row[0] for row in connection.execute(question, span_of(code)))
        return [f"{counted(len(twice), 'ids occur')} more than once in {name}: {first_few(twice)}. Ids must be unique; "
                "drop the id column to have them made from the content."] if twice else []  # fmt: skip
    connection.execute(
        "INSERT INTO repeats SELECT at FROM (SELECT at, ROW_NUMBER() OVER (PARTITION BY id ORDER BY at) AS time FROM "
        f"pairs WHERE at >= ? AND at < ? AND id IN ({question})) WHERE time > 1", (*span_of(code), *span_of(code))
    )  # fmt: skip
    left_out = (
        "SELECT p.id, q.written, p.text, p.label, p.subject, p.kind FROM repeats r JOIN pairs p ON p.at = r.at "
        "JOIN pictures q ON q.key = p.image WHERE r.at >= ? AND r.at < ?"
    )
    counts.leave_out(connection.execute(left_out, span_of(code)))
    if counts.repeats:
        notes.append(f"{counted(counts.repeats, 'exact repeats')} dropped from {name.rsplit(' ', 1)[-1]}")
    return []


def _classes(
    connection: sqlite3.Connection, name: str, counts: Mapping[str, _Counts], notes: list[str]
) -> tuple[tuple[str, ...], dict[str, int | None]]:
    """Names of the classes, and the position of each label as it is written."""
    marked = {split: [label for label in one.labels if label is not None] for split, one in counts.items()}
    by_split: dict[str, list[Labelled]] = {
        f"the labels of {split},": [(_blank(label), _as_read(label)) for label in labels]
        for split, labels in marked.items()
    }
    classes, numbered = number_labels(name, by_split, (), notes)
    return classes, {pair.id: pair.label for pairs in numbered.values() for pair in pairs}


def _as_read(marked: str) -> str:
    return Literal(marked[1:]) if marked[0] == "n" else marked[1:]


def _blank(label: str) -> Pair:
    """A pair that stands for all of one label."""
    return Pair(id=label, inputs={})


def _notes_on_repeats(connection: sqlite3.Connection, codes: Mapping[str, int], notes: list[str]) -> None:
    """How many held-out pairs are training pairs too, or have a picture of theirs."""
    shown = (
        "SELECT COUNT(*) FROM pairs p WHERE p.at >= ? AND p.at < ? AND EXISTS (SELECT 1 FROM pairs t WHERE t.image = "
        "p.image AND t.at >= ? AND t.at < ?"
    )
    for split in codes.keys() - {"train"}:
        spans = (*span_of(codes[split]), *span_of(codes["train"]))
        same = connection.execute(f"{shown} AND t.text_key = p.text_key)", spans).fetchone()[0]
        seen = connection.execute(f"{shown})", spans).fetchone()[0]
        pairs = connection.execute("SELECT COUNT(*) FROM pairs WHERE at >= ? AND at < ?", spans[:2]).fetchone()[0]
        notes += repeat_note(split, pairs, same, seen)


def _places(connection: sqlite3.Connection) -> Sequence[tuple[str, str]]:
    """Source and file of one picture of each folder."""
    places: dict[tuple[str, str], tuple[str, str]] = {}
    for source, file in connection.execute("SELECT written, file FROM pictures WHERE file IS NOT NULL"):
        places.setdefault((source.partition("/")[0] if "/" in source else "", os.path.dirname(file)), (source, file))
    return list(places.values())
