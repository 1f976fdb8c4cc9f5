import json
from pathlib import Path

import pytest

from multidelete.core.errors import ConfigError, DataError
from multidelete.data.readers import load_data
from multidelete.data.readers.graph_tables import read_graph_tables

FILES = {
    "nodes.csv": "name,colour\na,red\nb,blue\nc,green\nd,grey\n",
    "edges.tsv": "from\tto\tsince\na\tb\t1\nb\tc\t2\n",
    "pairs.csv": (
        "nodes,text,label,split,subject,id\n"
        "a|b, A binds B. ,binds,train,s,1\na|c,A ignores C.,nothing,train,t,2\n"
        "b|c,B binds C.,binds,validation,s,3\nd|a,D ignores A.,nothing,test,,4\n"
    ),
}


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_tables_make_a_graph_and_pairs_that_name_its_nodes(tmp_path: Path) -> None:
    data = load_data(str(write(tmp_path / "binding", FILES)))
    assert data.name == "binding"
    assert {split: pairs.ids for split, pairs in data.splits.items()} == {
        "train": ["1", "2"],
        "val": ["3"],
        "test": ["4"],
    }
    assert data.classes == ("binds", "nothing")
    pair = data.train[0]
    assert pair.inputs == {"graph": ("a", "b"), "text": "A binds B."}
    assert pair.sources == {"graph": "a|b", "text": "a binds b."}
    assert (pair.label, pair.subject, data.splits["test"][0].subject) == (0, "s", None)
    assert data.graph is not None
    assert list(data.graph.nodes) == ["a", "b", "c", "d"]
    assert data.graph.edges.tolist() == [[0, 1], [1, 2]]
    assert data.graph.features == {"colour": ("red", "blue", "green", "grey")}
    assert data.notes == (
        "1 row has a cell that begins with a blank, as what follows a comma in a text does: lines 2",
        "the graph joins 1 pair of nodes that val asks for; leave out edges that training pairs do not tell",
        "label classes: 0 binds, 1 nothing",
    )


def test_columns_of_the_nodes_are_features_and_missing_ones_stay_missing(tmp_path: Path) -> None:
    nodes = "atom,element,charge,weight\na,C,+,12.0\nb,N,,14\nc,C,-,12.0\nd,,+,\n"
    graph = load_data(str(write(tmp_path / "molecule", FILES | {"nodes.csv": nodes}))).graph
    assert graph is not None
    assert graph.features == {
        "element": ("C", "N", "C", ""),
        "charge": ("+", "", "-", "+"),
        "weight": ("12.0", "14", "12.0", ""),
    }
    assert graph.feature_sizes == {"element": 3, "charge": 3, "weight": 3}
    assert graph.feature_values.tolist() == [[1, 1, 1], [2, 0, 2], [1, 2, 1], [0, 1, 0]]


def test_feature_that_is_a_list_is_refused_and_one_that_only_numbers_nodes_is_noted(tmp_path: Path) -> None:
    listed = "".join(json.dumps({"node": name, "bonds": [1]}) + "\n" for name in "abcd")
    files = {name: text for name, text in FILES.items() if name != "nodes.csv"} | {"nodes.jsonl": listed}
    with pytest.raises(DataError, match="4 rows have a list or an object for the feature 'bonds'"):
        load_data(str(write(tmp_path / "lists", files)))
    many = "node,link\n" + "".join(f"{name},u{name}\n" for name in ["a", "b", "c", "d", *map(str, range(10, 120))])
    data = load_data(str(write(tmp_path / "many", FILES | {"nodes.csv": many})))
    assert data.graph is not None
    assert data.graph.features == {}
    assert "nodes.csv: the column 'link' has another value for each node, and is not read as a feature" in data.notes


def test_json_lines_without_ids_and_without_a_table_of_nodes(tmp_path: Path) -> None:
    rows = [{"nodes": ["x", "y", "z"], "text": "t"}, {"nodes": "x", "text": "u"}, {"nodes": ["x"], "text": "u"}]
    files = {
        "edges.jsonl": json.dumps({"u": "x", "v": "y"}) + "\n",
        "train.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "test.jsonl": json.dumps({"nodes": ["w"], "text": "v"}) + "\n",
    }
    data = read_graph_tables(write(tmp_path, files))
    assert [pair.inputs["graph"] for pair in data.train] == [("x", "y", "z"), ("x",)]
    assert data.notes == (
        "2 nodes stand in no table, and pairs name them: w, z",
        "1 exact repeat dropped from train",
    )
    assert set(data.graph.nodes) == {"x", "y", "z", "w"}
    assert data.classes == ()
    assert len({pair.id for split in data.splits.values() for pair in split}) == 3
    assert read_graph_tables(tmp_path).train.digest == data.train.digest


def test_columns_and_splits_can_be_mapped(tmp_path: Path) -> None:
    table = "gene,disease,sentence,class\na,b,one,1\nb,c,two,0\n"
    folder = write(
        tmp_path, {"edges.csv": FILES["edges.tsv"].replace("\t", ","), "part_a.csv": table, "rest.csv": table}
    )
    columns = {"nodes": "gene+disease", "text": "sentence", "label": "class"}
    data = load_data(f"graph:{folder}", columns=columns, splits={"train": "part_a"})
    assert [(pair.inputs["graph"], pair.label) for pair in data.train] == [(("a", "b"), 1), (("b", "c"), 0)]
    assert (data.classes, data.notes) == ((), ("splits left out: rest",))
    with pytest.raises(ConfigError, match="Unknown columns: image"):
        read_graph_tables(folder, columns={"image": "x"})


def test_what_is_wrong_with_the_tables_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no table of edges \(edges.csv, edges.tsv, edges.jsonl\)"):
        read_graph_tables(write(tmp_path / "0", {"pairs.csv": "nodes,text\n"}))
    with pytest.raises(DataError) as caught:
        read_graph_tables(write(tmp_path / "1", {"edges.csv": "a,b\nx,\n", "train.csv": "node,text\nx,t\n"}))
    assert len(caught.value.problems) == 2
    with pytest.raises(DataError, match=r"edges.csv: 1 row lacks a name: rows 1.*\n.*no columns nodes; it has node"):
        read_graph_tables(tmp_path / "1")
    wrong = FILES | {"pairs.csv": "nodes,text\na|,t\na|b,\na,t\n"}
    with pytest.raises(DataError, match=r"2 rows lack nodes, text or id: pairs row 1, pairs row 2"):
        read_graph_tables(write(tmp_path / "2", wrong))
    unknown = FILES | {"pairs.csv": "nodes,text\na|e,t\n"}
    with pytest.raises(DataError, match=r"1 node is named by edges or pairs and not in the table of nodes: e"):
        read_graph_tables(write(tmp_path / "3", unknown))
    half = FILES | {"pairs.csv": "nodes,text,label\na|b,t,1\na|c,t,\n"}
    with pytest.raises(DataError, match=r"1 pair has no label, and others do"):
        read_graph_tables(write(tmp_path / "4", half))
    with pytest.raises(DataError, match="has no table of pairs"):
        read_graph_tables(write(tmp_path / "5", {"edges.csv": "a,b\nx,y\n"}))


# Tables that are not what they seem


PAIRS = {"train.csv": "nodes,text\na|b,one\nb|c,two\n"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"edges.csv": "a,b\nb,c\nc,a\n"}, r"first row \(a, b\) looks like data and not like a header"),
        ({"edges.tsv": "0\t1\n1\t2\n"}, "looks like data and not like a header: 0, 1"),
        ({"edges.csv": "a,x\nq,r\n"}, "looks like data and not like a header: a"),  # a pair names it
        ({"edges.csv": ",from,to\n0,a,b\n1,b,c\n"}, "first column has no name"),
        ({"edges.csv": "Unnamed: 0,from,to\n0,a,b\n"}, "'Unnamed: 0', as data frames call"),
        ({"edges.csv": "edge_id,from,to\ne0,a,b\n"}, "first column is called 'edge_id'"),
        ({"edges.csv": "n,from,to\n0,a,b\n1,b,c\n2,c,a\n"}, "first column 'n' counts the rows"),
        ({"edges.csv": "from,to\na,b,c\n"}, r"line 2 \(3\)"),
        ({"edges.csv": "from,to\na,\n"}, "1 row lacks a name: rows 1"),
        ({"edges.jsonl": '{"from": ["a", "b"], "to": "c"}\n'}, "1 row has a list or an object for a name: lines 1"),
        ({"edges.csv": "from,to\na|b,c\n"}, r"1 name holds \|, which joins names: lines 2"),
        ({"edges.csv": "from,to\n1,2\n", "train.csv": "nodes,text\n1.0|2,one\n"}, "1 node stands there .*1 and 1.0"),
        ({"edges.csv": "from,to\na,b\n", "nodes.csv": ",name\n0,a\n1,b\n"}, r"nodes.csv: its first column has no name"),
        ({"edges.csv": "from,to\nb,c\n", "nodes.csv": "a\nb\nc\n"}, r"nodes.csv: its first row \(a\) looks like data"),
        ({"edges.csv": "from,to\na,b\n", "test.csv": "id,nodes,text\n1,a|b,x\n"}, "train.csv has none. Give it to all"),
    ],
)  # fmt: skip
def test_graphs_whose_tables_mislead_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = write(tmp_path, PAIRS | files)
    with pytest.raises(DataError, match=message):
        read_graph_tables(folder)


def test_node_0_is_a_node_and_odd_headers_are_noted(tmp_path: Path) -> None:
    edges = '{"source": 0, "target": 1}\n{"source": 1, "target": 2}\n'
    folder = write(tmp_path, {"edges.jsonl": edges, "train.jsonl": '{"nodes": [0, 1], "text": "t", "id": 0}\n'})
    data = read_graph_tables(folder)
    assert data.graph is not None
    assert data.graph.nodes == ["0", "1", "2"]
    assert (data.train.ids, data.train[0].inputs["graph"]) == (["0"], ("0", "1"))
    (folder / "edges.jsonl").unlink()
    write(folder, {"edges.csv": "gene,disease,weight\n0,1,nan\n1,nan,2\n"})
    notes = "\n".join(read_graph_tables(folder).notes)
    assert "edges.csv: its first row (gene, disease) is read as the header, not as data" in notes
    assert "nodes are called nan, as some programs write what is missing" in notes


@pytest.mark.parametrize(
    "header", ["weight,from,to", "head,relation,tail", "subject,predicate,object", "edge,source,target"]
)
def test_edges_whose_ends_stand_elsewhere_are_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "edges.csv").write_text(f"{header}\n0.5,a,b\n0.7,b,c\n")
    (tmp_path / "pairs.csv").write_text("nodes,text\na|b,x\n")
    with pytest.raises(DataError, match=r"edges\.csv: its first (two columns|column)"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("name", ["edges.tsv", "pairs.jsonl", "pairs.TSV"])
def test_two_tables_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "edges.csv").write_text("from,to\na,b\n")
    (tmp_path / "pairs.csv").write_text("nodes,text\na|b,x\n")
    (tmp_path / name).write_text("from\tto\na\tb\n")
    with pytest.raises(DataError, match=rf"several tables of one name: .*{name}"):
        load_data(str(tmp_path))


def test_odd_nodes_of_pairs_are_remarked_on(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("from,to\nA,b\nb,c\n")
    (tmp_path / "pairs.csv").write_text('nodes,text,id\na|b,x,1\nc|c,y,2\n"b,c",z,3\n')
    notes = load_data(str(tmp_path)).notes
    assert "2 nodes stand in no table, and pairs name them: a, b,c" in notes
    assert "1 pair names a node twice: 2" in notes
    assert any("'a' (train row 1) and 'A' (the graph)" in note for note in notes)
