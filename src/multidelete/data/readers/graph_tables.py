"""Any graph with texts: a table of edges, perhaps one of nodes, and tables of pairs that name nodes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from multidelete.core.errors import DataError, first_few, rule_lines
from multidelete.core.words import counted
from multidelete.data.graph import Graph, graph_source, nodes_of
from multidelete.data.pairs import Pair, PairData, PairDataset, text_source
from multidelete.data.readers.cells import CellReader
from multidelete.data.readers.folder import _check_keys, _without_repeats, rename_splits
from multidelete.data.readers.graph_names import check_header, features_of, odd_nodes, rows_of_names
from multidelete.data.readers.labels import Labelled, names_of_pairs, number_labels
from multidelete.data.tables import TextTable, read_text_table
from multidelete.data.tables.columns import find_columns, read_as
from multidelete.data.tables.strict_json import Literal
from multidelete.data.tables.suspicion import looks_like_list, spells_missing, two_spellings
from multidelete.data.tables.table import Row

COLUMNS = ("nodes", "text", "id", "subject", "label", "kind", "split")
_ENDINGS = (".csv", ".tsv", ".jsonl")


def looks_like_graph_tables(path: Path) -> bool:
    """Whether a folder has a table of edges."""
    return path.is_dir() and any((path / f"edges{ending}").is_file() for ending in _ENDINGS)


def read_graph_tables(
    path: Path, *, columns: Mapping[str, str] | None = None, splits: Mapping[str, str] | None = None
) -> PairData:
    """Read a graph and the pairs that name its nodes, each table as CSV, TSV or JSONL.

    - ``edges``: the first two columns name the ends of each edge; others are not read.
    - ``nodes``, optional: the first column names the nodes, and each further one is a feature of theirs, such as
      the element of an atom. Without it the nodes are those that edges and pairs name.
    - ``pairs``, with a column ``split``; or one table for each split, called as the split.

    A pair's ``nodes`` are names joined by ``|``, a list (JSONL), or a column for each
    (``--columns nodes=gene+disease``). Labels are names, or numbers; see `number_labels`. Without
    an id column, ids are made from the content, and exact repeats are dropped and counted.

    The edges are taken as they are: leave out those that are known from held-out pairs only. Held-out
    pairs whose two nodes are joined are counted in the notes.

    Args:
        path: The folder.
        columns: Our name to the data's name, for the names in `COLUMNS`.
        splits: Our name (train, val, test) to the data's name; splits not named are left out.

    Raises:
        ConfigError: ``columns`` or ``splits`` has an unknown key.
        DataError: Tables, columns, nodes or texts are missing or contradict each other.
    """
    columns, splits = columns or {}, splits or {}
    _check_keys("columns", columns, COLUMNS)
    _check_keys("splits", splits, ("train", "val", "test"))
    files = sorted(file for file in path.glob("*.*") if file.suffix.lower() in _ENDINGS)
    tables = {file.stem: file for file in files}
    twice = [file.name for file in files if file not in tables.values() or sum(f.stem == file.stem for f in files) > 1]
    if twice:
        raise DataError(f"{path} holds several tables of one name: {first_few(twice)}. Keep one of each.")
    if "edges" not in tables:
        raise DataError(f"{path} has no table of edges ({', '.join(f'edges{e}' for e in _ENDINGS)}); write one.")
    problems: list[str] = []
    notes: list[str] = []
    read = _read_all(tables, problems)
    edges = rows_of_names(read["edges"], 2, tables["edges"], problems) if "edges" in read else []
    named = [row[0] for row in rows_of_names(read["nodes"], 1, tables["nodes"], problems)] if "nodes" in read else None
    features = features_of(read["nodes"], tables["nodes"], problems, notes) if "nodes" in read else {}
    asked = {name: table for name, table in read.items() if name not in ("edges", "nodes")}
    if not set(tables) - {"edges", "nodes"}:
        problems.append(f"{path} has no table of pairs; write pairs.csv with the columns nodes and text, or train.csv.")
    at = _columns_of(asked, tables, columns, problems, notes)
    cells = CellReader()
    by_split = _read_pairs({name: table for name, table in asked.items() if name in at}, at, cells)
    problems += rule_lines(path.name, cells.problems)
    notes += [*(note for table in read.values() for note in table.notes), *cells.note_lines()]
    every = [pair for pairs in by_split.values() for pair, _ in pairs]
    known = {*(node for edge in edges for node in edge), *(named or ()), *(node for p in every for node in nodes_of(p))}
    for name, width in (("edges", 2), ("nodes", 1)):
        if name in read and tables[name].suffix.lower() != ".jsonl":
            check_header(read[name], width, tables[name], known, problems, notes)
    problems += two_spellings(path.name, {"nodes": sorted(known), **names_of_pairs(every)})
    notes += odd_nodes(edges, named, every)
    odd = list(filter(spells_missing, sorted(known)))
    notes += [f"nodes are called {first_few(odd)}, as some programs write what is missing"] if odd else []
    if problems:
        raise DataError(problems)
    left_out, by_split = rename_splits(path.name, by_split, splits)
    notes += [f"splits left out: {first_few(left_out)}"] if left_out else []
    _refuse_unlabelled(path.name, by_split)
    classes, pairs = number_labels(path.name, by_split, (), notes)
    if not any("id" in columns_at for columns_at in at.values()):
        pairs = {split: _without_repeats(split, every, notes) for split, every in pairs.items()}
    graph = _graph(path.name, named, features, edges, [pair for every in pairs.values() for pair in every])
    for split in ("val", "test"):
        known = {edge for pair in pairs.get(split, ()) if (edge := frozenset(nodes_of(pair))) and len(edge) == 2}
        joined = known & {frozenset(edge) for edge in edges}
        if joined:
            notes.append(
                f"the graph joins {counted(len(joined), 'pairs of nodes')} that {split} asks for; "
                "leave out edges that training pairs do not tell"
            )
    meant = {
        column: names
        for name, columns_at in at.items()
        for column, names in read_as(asked[name].columns, columns_at, columns).items()
    }
    order: list[str] = [split for split in ("train", "val", "test") if split in pairs]
    datasets = {split: PairDataset(pairs[split], f"{path.name} {split}") for split in order}
    return PairData(path.name, datasets, tuple(notes), classes, graph, columns=meant)


def _read_all(tables: Mapping[str, Path], problems: list[str]) -> dict[str, TextTable]:
    """The tables that can be read; what is wrong with others goes to ``problems``."""
    read = {}
    for name, file in tables.items():
        try:
            read[name] = read_text_table(file)
        except DataError as error:
            problems += error.problems
    return read


def _columns_of(
    asked: Mapping[str, TextTable],
    tables: Mapping[str, Path],
    columns: Mapping[str, str],
    problems: list[str],
    notes: list[str],
) -> dict[str, dict[str, str]]:
    """Our names to the data's, for each table of pairs that has the columns it needs."""
    places = {}
    for name, table in asked.items():
        rows = ((f"line {line}", row) for line, row in zip(table.lines, table.rows, strict=True))
        twice: list[str] = []
        at = find_columns(COLUMNS, table.columns, columns, rows, notes, twice)
        problems += [f"{tables[name]}: {one}. Say which is meant, as in --columns text=NAME." for one in twice]
        needed = (*at.get("nodes", "nodes").split("+"), at.get("text", "text"), *columns.values())
        missing = [column for column in dict.fromkeys(needed) if column not in table.columns and "+" not in column]
        if missing:
            problems.append(
                f"{tables[name]} has no columns {first_few(missing)}; it has {first_few(table.columns) or 'none'}. "
                "Map them with --columns nodes=...,text=... (several columns of nodes: nodes=gene+disease)."
            )
        else:
            places[name] = at
    if len({"id" in at for at in places.values()}) > 1:
        without = [tables[name].name for name, at in places.items() if "id" not in at]
        problems.append(f"Some tables of pairs have an id column and {', '.join(without)} has none. Give it to all.")
    return places


def _read_pairs(
    asked: Mapping[str, TextTable], at: Mapping[str, Mapping[str, str]], cells: CellReader
) -> dict[str, list[Labelled]]:
    """Pairs with their raw labels, by split as the data names it."""
    by_split: dict[str, list[Labelled]] = {}
    for name, table in asked.items():
        for number, row in enumerate(table.rows, start=1):
            where = f"{name} row {number}"
            read = _pair(row, at[name], cells, where)
            split = "train" if name == "pairs" else name
            if "split" in at[name]:
                split = cells.optional(row, at[name]["split"], "split", where) or "(empty)"
            if read is not None:
                by_split.setdefault(split, []).append(read)
    return by_split


def _pair(row: Row, at: Mapping[str, str], cells: CellReader, where: str) -> Labelled | None:
    """The pair of one row with its label; None where something is missing."""
    names = _nodes(row, at["nodes"].split("+"))
    text = cells.optional(row, at["text"], "text", where)
    label, subject, kind, stem = (cells.optional(row, at.get(n), n, where) for n in ("label", "subject", "kind", "id"))
    if not names or not all(names) or text is None or isinstance(text, Literal) or ("id" in at and stem is None):
        cells.problem("rows lack nodes, text or id", where)
        return None
    also = {name: value for name, value in (("subject", subject), ("kind", kind)) if value is not None}
    content = json.dumps([names, text, label, *([also] if also else [])], ensure_ascii=False)
    pair = Pair(
        id=stem or hashlib.sha256(content.encode()).hexdigest()[:20],
        inputs={"graph": tuple(names), "text": text.strip()},
        sources={"graph": graph_source(names), "text": text_source(text)},
        subject=subject,
        kind=kind,
    )
    return pair, label


def _nodes(row: Row, columns: Sequence[str]) -> list[str]:
    """Names of the nodes of a row, an empty one where one is missing or is no name."""
    value = row.get(columns[0])
    if len(columns) > 1:
        cells = [row.get(column) for column in columns]
    elif isinstance(value, list):
        cells = value
    else:
        cells = list(value.split("|")) if isinstance(value, str) else [value]
    names = [cell.strip() if isinstance(cell, str) else "" for cell in cells]
    joined = len(columns) > 1 or isinstance(value, list)
    return ["" if looks_like_list(name) or (joined and "|" in name) else name for name in names]


def _refuse_unlabelled(name: str, by_split: Mapping[str, list[Labelled]]) -> None:
    labelled = [label is not None for pairs in by_split.values() for _, label in pairs]
    unlabelled = [pair.id for pairs in by_split.values() for pair, label in pairs if label is None]
    if any(labelled) and unlabelled:
        raise DataError(
            f"{name}: {counted(len(unlabelled), 'pairs have')} no label, and others do: {first_few(unlabelled)}."
        )


def _graph(
    name: str,
    named: Sequence[str] | None,
    features: Mapping[str, Sequence[str]],
    edges: Sequence[tuple[str, ...]],
    pairs: Sequence[Pair],
) -> Graph:
    asked = [node for pair in pairs for node in nodes_of(pair)]
    if named is None:
        named = list(dict.fromkeys([node for edge in edges for node in edge] + asked))
    at = {node: position for position, node in enumerate(named)}
    unknown = list(dict.fromkeys(node for node in [*asked, *(end for edge in edges for end in edge)] if node not in at))
    if unknown:
        raise DataError(
            f"{name}: {counted(len(unknown), 'nodes are')} named by edges or pairs and not in the table of nodes: "
            f"{first_few(unknown)}. Add them, or leave the table of nodes out."
        )
    ends = np.array([[at[a], at[b]] for a, b in edges], dtype=np.int64).reshape(-1, 2)
    return Graph(named, ends, name, features=features)
