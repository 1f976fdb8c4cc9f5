from pathlib import Path

import numpy as np
import pytest

from multidelete.core.errors import CheckpointError, DataError
from multidelete.data.graph import EDGES_FILE, Graph, graph_source
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.split import with_holdout

#   a - b - c - d - e,  and  a - d
NAMES = ["a", "b", "c", "d", "e", "alone"]
EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 4), (0, 3)], dtype=np.int64)


def path_graph(**changes: object) -> Graph:
    return Graph(**({"nodes": NAMES, "edges": EDGES, "name": "letters"} | changes))  # type: ignore[arg-type]


def pair(*names: str, label: int | None = None, name: str = "p") -> Pair:
    return Pair(id=name, inputs={"graph": names, "text": "t"}, sources={"graph": graph_source(names)}, label=label)


def joined(graph: Graph) -> set[frozenset[str]]:
    return {frozenset((graph.nodes[a], graph.nodes[b])) for a, b in graph.edges.tolist()}


def reached(graph: Graph, *names: str, **settings: object) -> tuple[set[str], set[tuple[str, str]]]:
    found = graph.neighbourhood(names, **settings)  # type: ignore[arg-type]
    called = [graph.nodes[node] for node in found.nodes]
    assert len(set(called)) == len(called)
    assert [called[root] for root in found.roots] == list(names)
    assert len(set(found.edges)) == len(found.edges)
    return set(called), {(called[a], called[b]) for a, b in found.edges}


def test_neighbourhood_holds_what_reaches_the_named_nodes() -> None:
    assert reached(path_graph(), "b", hops=0) == ({"b"}, set())
    assert reached(path_graph(), "b", hops=1) == ({"a", "b", "c"}, {("a", "b"), ("c", "b")})
    nodes, edges = reached(path_graph(), "b", hops=2)
    assert nodes == {"a", "b", "c", "d"}
    assert edges == {("a", "b"), ("c", "b"), ("b", "a"), ("d", "a"), ("b", "c"), ("d", "c")}
    assert reached(path_graph(), "alone", hops=3) == ({"alone"}, set())
    assert reached(path_graph(), "e", "e", hops=1) == ({"e", "d"}, {("d", "e")})


def test_own_edge_is_hidden_in_both_directions_and_only_between_two_named_nodes() -> None:
    nodes, edges = reached(path_graph(), "a", "d", hops=2, hide_own_edge=True)
    assert nodes == set("abcde")
    assert not edges & {("a", "d"), ("d", "a")}
    assert edges == reached(path_graph(), "a", "d", hops=2)[1] - {("a", "d"), ("d", "a")}
    for names in (("a",), ("a", "d", "e")):
        assert reached(path_graph(), *names, hops=1, hide_own_edge=True) == reached(path_graph(), *names, hops=1)


def star(leaves: int) -> Graph:
    edges = np.array([(0, leaf + 1) for leaf in range(leaves)], dtype=np.int64)
    return Graph(["hub", *(f"leaf {leaf}" for leaf in range(leaves))], edges, "star")


def test_sampled_neighbours_depend_on_names_alone() -> None:
    """The same whatever the order of nodes and edges; another node's lost edge changes nothing."""
    graph = star(50)
    nodes, _ = reached(graph, "hub", hops=1, fanout=7)
    assert len(nodes) == 8
    order = np.random.default_rng(0).permutation(51)
    shuffled = Graph(
        [graph.nodes[i] for i in order], np.argsort(order)[graph.edges[::-1, ::-1]].astype(np.int64), "shuffled"
    )
    assert reached(shuffled, "hub", hops=1, fanout=7)[0] == nodes
    gone, other = sorted(nodes - {"hub"})[0], sorted(set(graph.nodes) - nodes)[0]
    assert reached(graph.without_edges_of([pair("hub", other)], []), "hub", hops=1, fanout=7)[0] == nodes
    after, _ = reached(graph.without_edges_of([pair("hub", gone)], []), "hub", hops=1, fanout=7)
    assert nodes - {gone} < after
    assert len(after) == 8


def test_sampling_is_spread_over_all_neighbours() -> None:
    """1,000 hubs with the same 20 leaves take each leaf about equally often: 250 times, deviation 14."""
    hubs = [f"hub {h}" for h in range(1000)]
    leaves = [f"leaf {leaf}" for leaf in range(20)]
    edges = np.array([(h, 1000 + leaf) for h in range(1000) for leaf in range(20)], dtype=np.int64)
    graph = Graph([*hubs, *leaves], edges, "many")
    taken = np.zeros(1020)
    for hub in hubs:
        taken[graph.neighbourhood([hub], hops=1, fanout=5).nodes[1:]] += 1
    assert taken.sum() == 5000
    assert 180 < taken[1000:].min() <= taken[1000:].max() < 320


def test_edges_leave_with_the_pairs_that_state_them() -> None:
    graph = path_graph()
    assert joined(graph.without_edges_of([pair("d", "a")], [])) == joined(graph) - {frozenset("ad")}
    assert joined(graph.without_edges_of([pair("a", "d")], [pair("d", "a")])) == joined(graph)
    assert graph.without_edges_of([pair("a"), pair("a", "b", "c"), pair("a", "e")], []).digest == graph.digest
    assert graph.without_edges_of([], []) is graph
    assert joined(graph) == joined(path_graph()), "the graph given was changed"


def test_only_labels_that_state_a_relation_take_or_keep_an_edge() -> None:
    graph = path_graph(stated_by=(1,))
    assert joined(graph.without_edges_of([pair("a", "d", label=0)], [])) == joined(graph)
    without = joined(graph) - {frozenset("ad")}
    assert joined(graph.without_edges_of([pair("a", "d", label=1)], [pair("a", "d", label=0)])) == without
    assert joined(graph.without_edges_of([pair("a", "d", label=1)], [pair("a", "d", label=1)])) == joined(graph)


def test_saved_graphs_come_back_equal(tmp_path: Path) -> None:
    graph = path_graph(stated_by=(1, 2), nodes=[*NAMES[:-1], "ä ☃"])
    graph.save(tmp_path)
    again = Graph.load(tmp_path)
    assert (list(again.nodes), again.name, again.stated_by) == (list(graph.nodes), "letters", (1, 2))
    assert np.array_equal(again.edges, graph.edges)
    assert again.digest == graph.digest != path_graph().digest
    (tmp_path / EDGES_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"has no readable graph \(graph.json, graph.safetensors\)"):
        Graph.load(tmp_path)


def test_graphs_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        path_graph(nodes=["a", "a", "x|y", " "], edges=EDGES)
    assert len(caught.value.problems) == 3
    with pytest.raises(DataError, match=r"2 nodes have an empty name, or one with a '\|': x\|y"):
        path_graph(nodes=["a", "b", "x|y", " ", "e"])
    with pytest.raises(DataError, match=r"edges are float64 \(5, 2\)"):
        path_graph(edges=EDGES.astype(np.float64))
    with pytest.raises(DataError, match=r"letters has no nodes z; pairs name nodes of the graph"):
        path_graph().neighbourhood(["a", "z"], hops=1)
    assert path_graph().unknown([pair("a", "z"), pair("z", "y")]) == ["z", "y"]


def test_a_graph_without_edges_is_a_graph() -> None:
    graph = Graph(["a", "b"], np.empty((0, 2), dtype=np.int64), "empty")
    assert reached(graph, "a", "b", hops=2, hide_own_edge=True) == ({"a", "b"}, set())


def test_edges_of_pairs_that_are_set_aside_leave_the_graph() -> None:
    """Twenty pairs of two nodes of their own, each joined: only the training pairs' edges remain."""
    nodes = [f"{side}{number}" for number in range(20) for side in "lr"]
    graph = Graph(nodes, np.arange(40, dtype=np.int64).reshape(-1, 2), "twenty")
    pairs = [
        Pair(
            id=str(n),
            inputs={"graph": (f"l{n}", f"r{n}"), "text": str(n)},
            sources={"graph": f"l{n}|r{n}", "text": str(n)},
        )
        for n in range(20)
    ]
    data = with_holdout(PairData("twenty", {"train": PairDataset(pairs, "train")}, graph=graph), fraction=0.2)
    assert data.graph is not None
    assert len(data.splits["val"]) == len(data.splits["test"]) == 4
    assert joined(data.graph) == {frozenset(p.inputs["graph"]) for p in data.train}
