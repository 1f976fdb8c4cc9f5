"""What the columns of a request mean, by our names and by those of the data that it is about."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from multidelete.core.errors import RequestError, first_few
from multidelete.data.tables.columns import READ, bare, columns_of, joined

COLUMNS = ("id", "subject", "image", "node")
CHECKED = ("text", "kind", "label")
"""What a row may say besides of the pairs that it names."""

DataColumns = Mapping[str, Sequence[str]]
"""For each column of the data what it was read as; nothing where it was not read."""

_OTHERWISE = {
    "id": "write ids into a .txt file, one on each line",
    "subject": "name subjects by --forget-subject",
    "image": "name images by --forget-image",
    "node": "name nodes by --forget-node",
}


def is_header(cells: Iterable[str], data: DataColumns) -> bool:
    """Whether names of columns are among these: ours of what a row is about, or the data's own of them."""
    ours = {way for name in COLUMNS for way in READ[name]}
    return any(bare(cell) in ours or set(COLUMNS) & _own(cell, data)[1] for cell in cells)


def named_columns(data: DataColumns) -> list[str]:
    """Columns of the data that can stand in the header of a request and name what it is for."""
    return [one for one in data if len(names := _readings(one, data)) == 1 and names[0] in COLUMNS and data[one]]


def seems_header(cell: str, data: DataColumns) -> bool:
    """Whether the first cell of a list of ids is rather the name of a column: of the data's, or like one of ours."""
    one = cell.removesuffix("s")
    return cell in data or one.lower() == "name" or any(columns_of(name, [cell, one]) for name in COLUMNS)


def meanings(path: Path, columns: Iterable[str], data: DataColumns) -> dict[str, str]:
    """What the columns of a request mean, for those that say what a row is about.

    Raises:
        RequestError: A column is called as one of the data's that means something else there.
    """
    every = list(columns)
    unclear = [column for column in every if len(_readings(column, data)) > 1]
    if unclear:
        raise RequestError([f"{path}: {_both_readings(column, data)}" for column in unclear])
    means = {column: name for column in every for name in _readings(column, data)}
    order = (*COLUMNS, *CHECKED, "unit")
    return dict(sorted(means.items(), key=lambda one: (order.index(one[1]), one[0] not in READ[one[1]])))


def _readings(column: str, data: DataColumns) -> list[str]:
    """Our names for what a column may mean; ``""`` stands for a column of the data that is not read."""
    named = [name for name in (*COLUMNS, *CHECKED, "unit") if columns_of(name, [column])]
    own, means = _own(column, data)
    if not own or means.intersection(named):
        return named
    if not means and not any(_taken(name, data) for name in named):
        return named
    return [*named, *(sorted(means) or ([""] if named else []))]


def _own(column: str, data: DataColumns) -> tuple[list[str], set[str]]:
    """Columns of the data that are called so, exactly or else nearly, and what they were read as."""
    called = [column] if column in data else [one for one in data if joined(one) == joined(column)]
    means = {"node" if name == "nodes" else name for one in called for name in data[one]}
    return called, means.intersection((*COLUMNS, *CHECKED))


def _taken(name: str, data: DataColumns) -> list[str]:
    """Columns of the data that one of our names was taken from."""
    return [column for column in data if name in _own(column, data)[1]]


def _both_readings(column: str, data: DataColumns) -> str:
    own, means = _own(column, data)
    ours = [name for name in _readings(column, data) if name and name not in means]
    read_as = f"was read as the {' and the '.join(sorted(means))}" if means else "was not read"
    told = [f"the data's own column {own[0]!r}, which {read_as}"]
    remedies = []
    for name in ours:
        taken = _taken(name, data)
        clear = [one for one in taken if _readings(one, data) == [name]]
        source = f", which was taken from the data's column {first_few(list(map(repr, taken)))}" if taken else ""
        told.insert(0, f"the {name}{source}")
        if name in COLUMNS:
            remedies.append(f"for the {name} " + (f"call the column {clear[0]!r}" if clear else _OTHERWISE[name]))
    remedies += [f"for the {name} {_OTHERWISE[name]}" for name in sorted(means) if name in COLUMNS]
    remedies += ["leave the column out if it names nobody"]
    return f"its column {column!r} may mean {', or '.join(told)}. Say which: {'; '.join(remedies)}."
