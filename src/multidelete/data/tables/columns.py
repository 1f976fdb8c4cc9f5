"""Which column of a table holds what."""

import re
from collections.abc import Iterable, Mapping, Sequence

from multidelete.core.errors import first_few, short
from multidelete.data.tables.suspicion import visible

Located = tuple[str, Mapping[str, object]]
"""A row, and where it stands (``val row 3``)."""

MEANINGS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "file_name", "image_path", "image_file"),
    "text": ("text", "caption", "captions", "sentence"),
    "id": ("id", "key", "pair_id"),
    "subject": ("subject", "subject_id", "person"),
    "label": ("label", "labels", "class", "cls", "target"),
    "kind": ("kind",),
    "unit": ("unit",),
    "split": ("split", "partition"),
    "node": ("node", "nodes"),
    "nodes": ("nodes", "node"),
}
"""What columns are called that hold one thing; ours first."""
READ = {**{name: (name,) for name in MEANINGS}, "image": ("image", "file_name")}
"""By which of these names a column is read without being mapped, in any letter case."""


def bare(column: str) -> str:
    """A name in small letters, without blanks around it and signs that are not seen."""
    return visible(column).strip().lower()


def columns_of(name: str, columns: Iterable[str]) -> list[str]:
    """The columns that mean one thing, those that are called exactly as is read first.

    >>> columns_of("image", ["File Name", "id", "image"])
    ['image', 'File Name']
    """
    meant = set(map(joined, MEANINGS[name]))
    matching = [column for column in columns if joined(column) in meant]
    return sorted(matching, key=lambda column: READ[name].index(column) if column in READ[name] else len(matching))


def find_columns(
    names: Sequence[str],
    has: Sequence[str],
    mapped: Mapping[str, str],
    rows: Iterable[Located],
    notes: list[str],
    problems: list[str],
) -> dict[str, str]:
    """Our names to the data's, for the columns that are there, exactly so or else in other letter case.

    Args:
        names: Our names.
        has: The columns that there are.
        mapped: Our name to the data's, as the user says.
        rows: The rows; they are read where two columns mean one thing.
        notes: Gets a line for each column that is taken though its name is not exactly ours, and for columns that
            hold what another does.
        problems: Gets a line for each two columns that mean one thing and do not hold the same.

    >>> notes, problems, columns = [], [], ["file_name", "ID", "key"]
    >>> rows = [("row 1", {"file_name": "a.png", "ID": "7", "key": "8"})]
    >>> find_columns(("image", "id"), columns, {}, rows, notes, problems)
    {'image': 'file_name', 'id': 'ID'}
    >>> notes, problems
    (["column 'ID' is read as the id"], ["columns 'ID' and 'key' both mean the id, and differ (row 1: '7' and '8')"])
    """
    at: dict[str, str] = {}
    twice: dict[str, tuple[str, str]] = {}
    for name in names:
        every = columns_of(name, has)
        read = [column for column in every if bare(column) in READ[name]]
        alike = [column for column in every if column in read or column not in mapped.values()]
        if name in mapped or not read:
            if alike and name not in mapped:
                notes.append(
                    f"column {alike[0]!r} is not read; if it is the {name}, say so with --columns {name}={alike[0]}"
                )
            continue
        at[name] = read[0]
        if at[name] not in READ[name]:
            notes.append(f"column {at[name]!r} is read as the {name}")
        twice |= {other: (name, at[name]) for other in alike if other != at[name]}
    differ = _where_they_differ(rows, {other: taken for other, (_, taken) in twice.items()}) if twice else {}
    for other, (name, taken) in twice.items():
        if other in differ:
            problems.append(f"columns {taken!r} and {other!r} both mean the {name}, and differ ({differ[other]})")
        else:
            notes.append(f"columns {first_few([taken, other])} hold the same: the {name} is taken from {taken!r}")
    return at | dict(mapped)


def read_as(has: Iterable[str], at: Mapping[str, str], mapped: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """For each column that there is, our names for what it holds; none where it is not read.

    Args:
        has: The columns that there are.
        at: Our names to the data's.
        mapped: Those of them that the user says. Of others, all columns that are called so hold the same.

    >>> read_as(["id", "key", "why"], {"id": "key"}, {"id": "key"})
    {'id': (), 'key': ('id',), 'why': ()}
    """
    every = list(has)
    same = {
        name: {taken, *taken.split("+"), *(() if name in mapped else columns_of(name, every))}
        for name, taken in at.items()
    }
    return {column: tuple(name for name in at if column in same[name]) for column in every}


def joined(column: str) -> str:
    """A name in small letters and without what stands between its words."""
    return re.sub(r"(?<=\w)[\s_-]+(?=[^\W_])", "", bare(column).strip("_")) if column[:1] != "_" else column


def _where_they_differ(rows: Iterable[Located], columns: Mapping[str, str]) -> dict[str, str]:
    """For each column that differs from the other one, the first row where it does."""
    differ: dict[str, str] = {}
    for where, row in rows:
        for column, other in columns.items():
            if column not in differ and row.get(column) != row.get(other):
                told = [short(repr(row.get(name)), limit=60) for name in (other, column)]
                differ[column] = f"{where}: {' and '.join(told)}"
    return differ
