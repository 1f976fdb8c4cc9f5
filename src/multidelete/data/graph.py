"""A graph whose nodes pairs name: its edges, the edges that pairs themselves state, and neighbourhoods.

Shape suffixes: N nodes, E edges.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from multidelete.core.errors import CheckpointError, DataError, first_few
from multidelete.core.words import counted, indefinite
from multidelete.data.pairs import Pair, source_key

NAMES_FILE, EDGES_FILE = "graph.json", "graph.safetensors"

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Neighbourhood:
    """Part of a graph around some nodes.

    Attributes:
        nodes: Positions in the graph, each once; (N,).
        edges: Positions in ``nodes``, from and to; (E, 2).
        roots: Positions in ``nodes`` of the nodes that were named, in their order.
    """

    nodes: list[int]
    edges: list[tuple[int, int]]
    roots: list[int]


@dataclass(frozen=True, eq=False)
class Graph:
    """Named nodes and the edges between them. Edges have no direction: messages pass both ways.

    A pair that names exactly two nodes is about the relation of these two. The edge between
    them, where there is one, is the pair's own edge: it leaves with the pair (`without_edges_of`), and a
    model need not see it when it judges the pair (`neighbourhood`).

    Attributes:
        nodes: Unique names, without ``|``, which joins names in sources.
        edges: Positions of the two ends of each edge, int64 (E, 2).
        name: What the graph is called.
        stated_by: Labels of the pairs that state the edge between their two nodes: of relations the
            positive classes. Empty: every pair states its edge.
        features: What is known of the nodes besides their names, such as the element of an atom: by the
            feature's name a value for each node, empty where it is not known.

    Raises:
        DataError: Names are empty, repeated or hold a ``|``, an edge names a position that is not there, or a feature
            has not one value for each node.
    """

    nodes: Sequence[str]
    edges: Int64
    name: str
    stated_by: tuple[int, ...] = ()
    features: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Graph({counted(len(self.nodes), 'nodes')}, {counted(len(self.edges), 'edges')})"

    def __post_init__(self) -> None:
        problems = [
            f"{self.name}: the feature {name!r} has {counted(len(values), 'values')}, and there are "
            f"{counted(len(self.nodes), 'nodes')}."
            for name, values in self.features.items()
            if len(values) != len(self.nodes)
        ]
        if len(self.index) != len(self.nodes):
            twice = sorted(name for name, times in Counter(self.nodes).items() if times > 1)
            problems.append(
                f"{self.name}: {counted(len(twice), 'nodes occur')} more than once: {first_few(twice)}. Name each once."
            )
        wrong = [name for name in self.nodes if not name.strip() or "|" in name]
        if wrong:
            problems.append(
                f"{self.name}: {counted(len(wrong), 'nodes have')} an empty name, or one with a '|': "
                f"{first_few(wrong)}. '|' separates the nodes of a pair; write another character."
            )
        if self.edges.ndim != 2 or self.edges.shape[1] != 2 or self.edges.dtype != np.int64:
            problems.append(f"{self.name}: edges are {self.edges.dtype} {self.edges.shape}; they must be int64 (E, 2).")
        elif self.edges.size and not 0 <= self.edges.min() <= self.edges.max() < len(self.nodes):
            problems.append(f"{self.name}: edges name positions outside the {counted(len(self.nodes), 'nodes')}.")
        if problems:
            raise DataError(problems)

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each node."""
        return {name: position for position, name in enumerate(self.nodes)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, edges and features."""
        sha = hashlib.sha256("\0".join(self.nodes).encode())
        sha.update(np.ascontiguousarray(self.edges).tobytes())
        for name, values in self.features.items():
            sha.update("\0".join(["", name, *values]).encode())
        return sha.hexdigest()

    @cached_property
    def feature_sizes(self) -> dict[str, int]:
        """How many values each feature can have: those that occur, and one for what is not known."""
        return {name: 1 + len(set(values) - {""}) for name, values in self.features.items()}

    @cached_property
    def feature_values(self) -> Int64:
        """Each node's values by number, (N, features): 0 where it is not known, others as they first occur."""
        columns = []
        for values in self.features.values():
            numbers = {value: number for number, value in enumerate(dict.fromkeys(v for v in values if v), start=1)}
            columns.append([numbers.get(value, 0) for value in values])
        return np.array(columns, dtype=np.int64).reshape(len(self.features), len(self.nodes)).T

    def unknown(self, pairs: Iterable[Pair]) -> list[str]:
        """Nodes that pairs name and the graph does not have."""
        named = (name for pair in pairs for name in nodes_of(pair))
        return list(dict.fromkeys(name for name in named if name not in self.index))

    def without_edges_of(self, pairs: Iterable[Pair], retained: Iterable[Pair]) -> "Graph":
        """The graph without the edges that ``pairs`` state and no retained pair states too."""
        going = {edge for pair in pairs if (edge := self._stated(pair)) is not None}
        going -= {edge for pair in retained if (edge := self._stated(pair)) is not None} if going else set()
        if not going:
            return self
        kept = [(a, b) not in going for a, b in np.sort(self.edges, axis=1).tolist()]
        return replace(self, edges=self.edges[np.array(kept, dtype=bool)])

    def _stated(self, pair: Pair) -> tuple[int, int] | None:
        """Positions, in ascending order, of the two nodes whose edge a pair states."""
        names = nodes_of(pair)
        if len(names) != 2 or (self.stated_by and pair.label not in self.stated_by):
            return None
        first, second = self.index.get(names[0]), self.index.get(names[1])
        return None if first is None or second is None else (min(first, second), max(first, second))

    def neighbourhood(
        self, names: Sequence[str], *, hops: int, fanout: int | None = None, hide_own_edge: bool = False
    ) -> Neighbourhood:
        """Everything that reaches the named nodes in at most ``hops`` steps, each node and edge once.

        Args:
            names: Nodes of the graph.
            hops: Steps to go, at least 0.
            fanout: Most neighbours to take of each node; None takes all. Which ones is decided by a
                hash of the two names, so it is the same in every batch, process and run, and for a
                node whose other edges change.
            hide_own_edge: Leave out the edge between the nodes, where exactly two are named.

        Raises:
            DataError: A name is no node of the graph.
        """
        missing = [name for name in names if name not in self.index]
        if missing:
            raise DataError(f"{self.name} has no nodes {first_few(missing)}; pairs name nodes of the graph.")
        named = [self.index[name] for name in names]
        hidden = set(named) if hide_own_edge and len(named) == 2 else set()
        local: dict[int, int] = {}
        for node in named:
            local.setdefault(node, len(local))
        edges: list[tuple[int, int]] = []
        frontier = list(local)
        for _ in range(hops):
            reached = []
            for node in frontier:
                neighbours = self._neighbours(node)
                if node in hidden:
                    neighbours = [other for other in neighbours if other not in hidden]
                for other in neighbours[:fanout]:
                    if other not in local:
                        local[other] = len(local)
                        reached.append(other)
                    edges.append((local[other], local[node]))
            frontier = reached
        return Neighbourhood(list(local), edges, [local[node] for node in named])

    def _neighbours(self, node: int) -> list[int]:
        starts, others = self._ranked
        neighbours: list[int] = others[starts[node] : starts[node + 1]].tolist()
        return neighbours

    @cached_property
    def _ranked(self) -> tuple[Int64, Int64]:
        """Neighbours of all nodes, one node after the other, each node's in the order of their hashes."""
        ends = np.concatenate([self.edges, self.edges[:, ::-1]])
        ends = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0)
        keys = np.array([source_key(name) for name in self.nodes], dtype=np.int64).view(np.uint64)
        rank = _mix(keys[ends[:, 0]] ^ _mix(keys[ends[:, 1]]))
        ends = ends[np.lexsort((rank, ends[:, 0]))]
        starts = np.searchsorted(ends[:, 0], np.arange(len(self.nodes) + 1))
        return starts.astype(np.int64), ends[:, 1]

    def save(self, folder: Path) -> None:
        """Write `NAMES_FILE` and `EDGES_FILE`."""
        content: dict[str, object] = {"name": self.name, "stated_by": list(self.stated_by), "nodes": list(self.nodes)}
        if self.features:
            content["features"] = {name: list(values) for name, values in self.features.items()}
        (folder / NAMES_FILE).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file({"edges": np.ascontiguousarray(self.edges)}, folder / EDGES_FILE)

    @staticmethod
    def load(folder: Path) -> "Graph":
        """Read what `save` wrote.

        Raises:
            CheckpointError: A file is missing or is not what `save` writes.
        """
        try:
            content = json.loads((folder / NAMES_FILE).read_text(encoding="utf-8"))
            nodes = [str(name) for name in content["nodes"]]
            stated_by = tuple(int(label) for label in content["stated_by"])
            features = {
                str(name): [str(value) for value in values] for name, values in content.get("features", {}).items()
            }
            return Graph(nodes, load_file(folder / EDGES_FILE)["edges"], str(content["name"]), stated_by, features)
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError, DataError
        ) as error:  # fmt: skip
            raise CheckpointError(
                f"{folder} has no readable graph ({NAMES_FILE}, {EDGES_FILE}): {type(error).__name__}: {error}. "
                "A graph-text model holds its graph in its folder; give the folder as it was saved."
            ) from error


def nodes_of(pair: Pair) -> tuple[str, ...]:
    """The nodes that a pair names; none where it has no graph."""
    names = pair.inputs.get("graph", ())
    if not isinstance(names, tuple):
        raise TypeError(
            f"the graph input of pair {pair.id} is {indefinite(type(names).__name__)}; it must be a tuple of names"
        )
    return tuple(str(name) for name in names)


def graph_source(names: Sequence[str]) -> str:
    """Source key of the nodes of a pair."""
    return "|".join(names)


def _mix(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64-bit keys: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
