"""Tables whose first columns name nodes: edges and nodes of a graph."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from multidelete.core.errors import first_few
from multidelete.core.words import counted
from multidelete.data.graph import nodes_of
from multidelete.data.pairs import Pair
from multidelete.data.tables.suspicion import looks_like_list
from multidelete.data.tables.table import TextTable, is_index, named

_ENDS = (
    "from to source target src dst src_id dst_id head tail u v a b start end subject object parent child node1 node2 "
    "node_1 node_2 node_a node_b source_id target_id from_id to_id left right x y"
)
NAMES_OF_ENDS = frozenset(_ENDS.split())
NAMES_OF_NODES = frozenset("node nodes name id node_id nodeid node_name label entity term key uri".split())
_COUNTS = frozenset("id edge_id edgeid edge idx nr no row number key".split())
FEW = 100  # values that may all be different
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def rows_of_names(table: TextTable, width: int, where: Path, problems: list[str]) -> list[tuple[str, ...]]:
    """The first ``width`` columns of a table as names; what is wrong goes to ``problems``."""
    columns = table.columns[:width]
    if len(columns) < width:
        problems.append(
            f"{where}: the table has {counted(len(columns), 'columns')}; its first {width} must name nodes."
        )
        return []
    if is_index(columns[0]) or (len(table.columns) > width > 1 and columns[0].lower() in _COUNTS):
        called = named(columns[0]) if is_index(columns[0]) else f"is called {columns[0]!r}"
        problems.append(
            f"{where}: its first column {called} and would name nodes. Remove it, or give it the name of an end."
        )
        return []
    cells = [[row.get(column) for column in columns] for row in table.rows]
    lists = [line for line, row in zip(table.lines, cells, strict=True) if any(_is_nested(cell) for cell in row)]
    if lists:
        problems.append(
            f"{where}: {counted(len(lists), 'rows have')} a list or an object for a name: lines {first_few(lists)}."
        )
        return []
    rows = [tuple(cell.strip() if isinstance(cell, str) else "" for cell in row) for row in cells]
    empty = [number for number, row in enumerate(rows, start=1) if not all(row)]
    if empty:
        problems.append(
            f"{where}: {counted(len(empty), 'rows lack')} a name: rows {first_few(empty)}. Complete or remove them."
        )
    joined = [line for line, row in zip(table.lines, rows, strict=True) if any("|" in name for name in row)]
    if joined:
        problems.append(
            f"{where}: {counted(len(joined), 'names hold')} |, which joins names: lines {first_few(joined)}."
        )
    counting = [str(number) for number in range(len(rows))], [str(number + 1) for number in range(len(rows))]
    if (
        len(table.columns) > width > 1
        and len(rows) > 2
        and columns[0].lower() not in NAMES_OF_ENDS
        and [row[0] for row in rows] in counting
    ):
        problems.append(
            f"{where}: its first column {columns[0]!r} counts the rows and would name nodes. Remove it, or call it "
            "source where it does name them."
        )
        return rows
    ends = [column for column in table.columns if column.lower() in NAMES_OF_ENDS]
    if width > 1 < len(ends) and not set(columns) <= set(ends):
        problems.append(
            f"{where}: its first two columns, {first_few(columns)}, would name nodes, and {first_few(ends)} are called "
            "as ends of edges are. Put the two columns that name nodes first."
        )
    return rows


def features_of(table: TextTable, where: Path, problems: list[str], notes: list[str]) -> dict[str, tuple[str, ...]]:
    """The columns of a table of nodes after the first, as features of the nodes: a text for each, empty where missing.

    A column of more than `FEW` values of which no two are the same tells no nodes alike, as names do not, and is left
    out with a note.
    """
    features = {}
    for column in table.columns[1:]:
        cells = [row.get(column) for row in table.rows]
        lists = [line for line, cell in zip(table.lines, cells, strict=True) if _is_nested(cell)]
        if lists:
            problems.append(
                f"{where}: {counted(len(lists), 'rows have')} a list or an object for the feature {column!r}: lines "
                f"{first_few(lists)}. A node has one value of each feature: write a column for each part, or remove it."
            )
            continue
        values = tuple("" if cell is None else str(cell).strip() for cell in cells)
        known = [value for value in values if value]
        if len(known) > FEW and len(set(known)) == len(known):
            notes.append(
                f"{where.name}: the column {column!r} has another value for each node, and is not read as a feature"
            )
            continue
        features[column] = values
    return features


def _is_nested(cell: object) -> bool:
    return isinstance(cell, list | dict) or (isinstance(cell, str) and looks_like_list(cell))


def check_header(
    table: TextTable, width: int, where: Path, known: Collection[str], problems: list[str], notes: list[str]
) -> None:
    """Refuse a first row that is no header but names nodes, and note headers that cannot be told from names.

    Args:
        table: The table, of a file that has a header.
        width: How many columns name nodes.
        where: The file.
        known: Names of nodes, from this and other tables.
        problems: Gets what is wrong.
        notes: Gets what is odd.
    """
    columns = table.columns[:width]
    nodes = [column for column in columns if column in known or _NUMBER.fullmatch(column)]
    if nodes:
        problems.append(
            f"{where}: its first row ({first_few(columns)}) looks like data and not like a header: {first_few(nodes)}. "
            "Write a header above it."
        )
    elif not {column.lower() for column in columns} <= (NAMES_OF_ENDS if width > 1 else NAMES_OF_NODES):
        notes.append(f"{where.name}: its first row ({first_few(columns)}) is read as the header, not as data")


def odd_nodes(edges: Sequence[tuple[str, ...]], named: Sequence[str] | None, pairs: Sequence[Pair]) -> list[str]:
    """Notes on nodes of pairs that stand in no table, and on pairs of a node with itself."""
    known = {*(node for edge in edges for node in edge), *(named or ())}
    asked = dict.fromkeys(node for pair in pairs for node in nodes_of(pair))
    alone = [node for node in asked if node not in known]
    itself = [pair.id for pair in pairs if len(set(nodes_of(pair))) < len(nodes_of(pair))]
    notes = (
        [f"{counted(len(alone), 'nodes stand')} in no table, and pairs name them: {first_few(alone)}"] if alone else []
    )
    return notes + ([f"{counted(len(itself), 'pairs name')} a node twice: {first_few(itself)}"] if itself else [])
