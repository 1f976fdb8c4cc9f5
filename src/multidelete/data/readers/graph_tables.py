"""Any graph with texts: a table of edges, perhaps one of nodes, and tables of pairs that name nodes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from multidelete.data.graph import Graph, graph_source, nodes_of
from multidelete.data.pairs import Pair, PairData, PairDataset, text_source
from multidelete.data.readers.folder import _check_keys, _rename_splits, _without_repeats
from multidelete.data.readers.labels import Labelled, number_labels
from multidelete.data.readers.tables import Table, read_text_table
from multidelete.errors import DataError, first_few

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
    - ``nodes``, optional: the first column names the nodes. Without it the nodes are those that edges
      and pairs name.
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
    tables = {file.stem: file for file in sorted(path.glob("*.*")) if file.suffix in _ENDINGS}
    if "edges" not in tables:
        raise DataError(f"{path} has no table of edges ({', '.join(f'edges{e}' for e in _ENDINGS)}); write one.")
    problems: list[str] = []
    edges = _rows_of_names(read_text_table(tables.pop("edges")), 2, path / "edges", problems)
    named = None
    if "nodes" in tables:
        named = [row[0] for row in _rows_of_names(read_text_table(tables.pop("nodes")), 1, path / "nodes", problems)]
    by_split = _read_pairs(path, tables, columns, problems)
    if problems:
        raise DataError(problems)
    left_out, by_split = _rename_splits(path.name, by_split, splits)
    notes = [f"splits left out: {', '.join(left_out)}"] if left_out else []
    _refuse_unlabelled(path.name, by_split)
    classes, pairs = number_labels(path.name, by_split, ())
    if "id" not in columns and not any("id" in row.columns for row in map(read_text_table, tables.values())):
        pairs = {split: _without_repeats(split, every, notes) for split, every in pairs.items()}
    graph = _graph(path.name, named, edges, [pair for every in pairs.values() for pair in every])
    for split in ("val", "test"):
        known = {edge for pair in pairs.get(split, ()) if (edge := frozenset(nodes_of(pair))) and len(edge) == 2}
        joined = known & {frozenset(edge) for edge in edges}
        if joined:
            notes.append(
                f"{len(joined)} pairs of nodes that {split} asks for are joined in the graph; "
                "leave out edges that training pairs do not tell"
            )
    order: list[str] = [split for split in ("train", "val", "test") if split in pairs]
    made = {split: PairDataset(pairs[split], f"{path.name} {split}") for split in order}
    return PairData(path.name, made, tuple(notes), classes, graph)


def _rows_of_names(table: Table, width: int, where: Path, problems: list[str]) -> list[tuple[str, ...]]:
    """The first ``width`` columns of a table as names."""
    if len(table.columns) < width:
        problems.append(f"{where}: the table has {len(table.columns)} columns; its first {width} must name nodes.")
        return []
    rows = [tuple(str(row.get(column) or "").strip() for column in table.columns[:width]) for row in table.rows]
    empty = [number for number, row in enumerate(rows, start=1) if not all(row)]
    if empty:
        problems.append(f"{where}: {len(empty)} rows lack a name: rows {first_few(empty)}. Complete or remove them.")
    return rows


def _read_pairs(
    path: Path, tables: Mapping[str, Path], columns: Mapping[str, str], problems: list[str]
) -> dict[str, list[Labelled]]:
    """Pairs with their raw labels, by split as the data names it."""
    by_split: dict[str, list[Labelled]] = {}
    if not tables:
        problems.append(f"{path} has no table of pairs; write pairs.csv with the columns nodes and text, or train.csv.")
    for name, file in tables.items():
        table = read_text_table(file)
        at = {ours: columns.get(ours, ours) for ours in COLUMNS}
        nodes = at["nodes"].split("+")
        missing = [column for column in (*nodes, at["text"], *columns.values()) if column not in table.columns]
        missing = [column for column in dict.fromkeys(missing) if "+" not in column]
        if missing:
            problems.append(
                f"{file} has no columns {', '.join(missing)}; it has {', '.join(table.columns) or 'none'}. "
                "Map them with --columns nodes=...,text=... (several columns of nodes: nodes=gene+disease)."
            )
            continue
        broken = []
        for number, row in enumerate(table.rows, start=1):
            pair = _pair(row, at, nodes)
            if pair is None:
                broken.append(number)
                continue
            split = "train" if name == "pairs" else name
            if at["split"] in table.columns:
                split = str(row.get(at["split"]) or "(empty)")
            label = row.get(at["label"])
            by_split.setdefault(split, []).append((pair, None if label in (None, "") else label))
        if broken:
            problems.append(
                f"{file}: {len(broken)} rows lack nodes, text or id: rows {first_few(broken)}. Complete them."
            )
    return by_split


def _pair(row: Mapping[str, object], at: Mapping[str, str], columns: Sequence[str]) -> Pair | None:
    """The pair of one row; None where something is missing."""
    if len(columns) > 1:
        names = [str(row.get(column) or "").strip() for column in columns]
    else:
        given = row.get(columns[0])
        names = [str(name).strip() for name in (given if isinstance(given, list) else str(given or "").split("|"))]
    text = row.get(at["text"])
    if not names or not all(names) or not isinstance(text, str) or not text.strip():
        return None
    content = json.dumps([names, text, row.get(at["label"])], ensure_ascii=False)
    pair_id = row[at["id"]] if at["id"] in row else hashlib.sha256(content.encode()).hexdigest()[:20]
    if pair_id in (None, ""):
        return None
    subject, kind = (None if row.get(at[name]) in (None, "") else str(row[at[name]]) for name in ("subject", "kind"))
    return Pair(
        id=str(pair_id),
        inputs={"graph": tuple(names), "text": text.strip()},
        sources={"graph": graph_source(names), "text": text_source(text)},
        subject=subject,
        kind=kind,
    )


def _refuse_unlabelled(name: str, by_split: Mapping[str, list[Labelled]]) -> None:
    labelled = [label is not None for pairs in by_split.values() for _, label in pairs]
    unlabelled = [pair.id for pairs in by_split.values() for pair, label in pairs if label is None]
    if any(labelled) and unlabelled:
        raise DataError(f"{name}: {len(unlabelled)} pairs have no label, and others do: {first_few(unlabelled)}.")


def _graph(name: str, named: Sequence[str] | None, edges: Sequence[tuple[str, ...]], pairs: Sequence[Pair]) -> Graph:
    asked = [node for pair in pairs for node in nodes_of(pair)]
    if named is None:
        named = list(dict.fromkeys([node for edge in edges for node in edge] + asked))
    at = {node: position for position, node in enumerate(named)}
    unknown = list(dict.fromkeys(node for node in [*asked, *(end for edge in edges for end in edge)] if node not in at))
    if unknown:
        raise DataError(
            f"{name}: {len(unknown)} nodes are named by edges or pairs and are not in the table of nodes: "
            f"{first_few(unknown)}. Add them, or leave the table of nodes out."
        )
    return Graph(named, np.array([[at[a], at[b]] for a, b in edges], dtype=np.int64).reshape(-1, 2), name)
