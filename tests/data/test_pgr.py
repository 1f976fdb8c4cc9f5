from collections import Counter
from pathlib import Path

import pytest

from multidelete.core.errors import ConfigError, DataError
from multidelete.data.readers import load_data
from multidelete.data.readers.pgr import read_obo, read_pgr

COLUMNS = "FILE_ID SENTENCE GENE PHENOTYPE GENE_ID PHENOTYPE_ID GENE_START_POSITION RELATION".split()
OBO = """format-version: 1.2

[Term]
id: HP:0000001
name: All

[Term]
id: HP:0000002
name: Tall
alt_id: HP:0000022
is_a: HP:0000001 ! All

[Term]
id: HP:0000003
name: obsolete Short
is_a: HP:0000001 {source="x"} ! All
is_obsolete: true

[Term]
id: HP:0000004
is_a: HP:0000002 ! Tall

[Typedef]
id: part_of
is_a: HP:0000001
"""
VAL = "15"  # articles whose PubMed id is set aside
Row = tuple[str, str, str, str, str]


def write(folder: Path, name: str, rows: list[Row], columns: list[str] = COLUMNS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(columns)]
    for article, sentence, gene, phenotype, relation in rows:
        lines.append("\t".join([article, sentence, "G", "p", gene, phenotype, "0", relation]))
    (folder / name).write_text("\n".join(lines) + "\n")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two releases that overlap, and a test file that overlaps with both."""
    (tmp_path / "hp.obo").write_text(OBO)
    first = [
        ("1", 'A "quoted" sentence, p &lt; 0.01.', "10", "HP_0000002", "True"),
        ("1", "One sentence, two genes.", "10", "HP_0000004", "False"),
        ("1", "One sentence, two genes.", "11", "HP_0000004", "True"),
        ("2", "In the test file  too.", "12", "HP_0000004", "True"),
        ("3", "Contradicted.", "10", "HP_0000001", "True"),
        (VAL, "Set aside.", "13", "HP_0000002", "True"),
    ]
    second = [
        ("1", "One Sentence, two genes.", "11", "HP_0000004", "True"),
        ("3", "Contradicted.", "10", "HP_0000001", "False"),
        (VAL, "One sentence, two genes.", "12", "HP_0000022", "TRUE"),
        ("4", "Newer phenotype.", "11", "HP_9999999", "true"),
    ]
    test = [
        ("2", "In the test file too.", "14", "HP_0000001", "TRUE"),
        ("2", "In the test file too.", "14", "HP_0000001", "TRUE"),
        ("5", "New.", "10", "HP_0000002", "FALSE"),
    ]
    write(tmp_path / "10_12_2018_corpus", "train.tsv", first)
    write(tmp_path / "10_12_2018_corpus", "test.tsv", test, [*COLUMNS[:-1], "RELATION"])
    write(tmp_path / "11_03_2019_corpus", "train.tsv", second)
    return tmp_path


def joined(data) -> set[frozenset[str]]:  # type: ignore[no-untyped-def]
    return {frozenset((data.graph.nodes[a], data.graph.nodes[b])) for a, b in data.graph.edges.tolist()}


def test_what_overlaps_is_dropped_and_counted(corpus: Path) -> None:
    data = load_data(str(corpus))
    assert data.name == "pgr"
    assert data.classes == ("no relation", "relation")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 5, "val": 1, "test": 2}
    assert data.notes[:5] == (
        "1 exact repeat dropped from test",
        "1 training row left out: their sentence is in the test file",
        "1 exact repeat dropped from train",
        "2 rows dropped from train: they stand there with both labels",
        "1 training pair set aside as val: one article in 10, by a hash of its PubMed id",
    )
    assert all("contradicted" not in pair.sources["text"] for pair in data.train)


def test_pairs_name_gene_and_phenotype(corpus: Path) -> None:
    pair = read_pgr(corpus).train[0]
    assert pair.inputs == {"graph": ("gene:10", "HP:0000002"), "text": 'A "quoted" sentence, p < 0.01.'}
    assert pair.sources == {"graph": "gene:10|HP:0000002", "text": 'a "quoted" sentence, p < 0.01.'}
    assert (pair.label, pair.subject, pair.kind) == (1, "1", None)
    assert pair.id.startswith("1/10/HP:0000002/")


def test_a_sentence_stays_whole_in_the_article_where_it_stands_first(corpus: Path) -> None:
    """One sentence stands in an article of train and in one that is set aside: it is all in train."""
    data = read_pgr(corpus)
    two = [pair for pair in data.train if pair.sources["text"] == "one sentence, two genes."]
    assert [(pair.inputs["graph"], pair.subject) for pair in two] == [
        (("gene:10", "HP:0000004"), "1"),
        (("gene:11", "HP:0000004"), "1"),
        (("gene:12", "HP:0000002"), "1"),
    ]
    assert [pair.subject for pair in data.splits["val"]] == [VAL]


def test_the_graph_has_is_a_and_positive_training_pairs_alone(corpus: Path) -> None:
    data = read_pgr(corpus)
    assert list(data.graph.nodes) == [
        "HP:0000001", "HP:0000002", "HP:0000004", "HP:9999999", "gene:10", "gene:11", "gene:12", "gene:13", "gene:14",
    ]  # fmt: skip
    assert joined(data) == {
        frozenset(edge)
        for edge in [
            ("HP:0000001", "HP:0000002"),
            ("HP:0000002", "HP:0000004"),
            ("gene:10", "HP:0000002"),
            ("gene:11", "HP:0000004"),
            ("gene:12", "HP:0000002"),
            ("gene:11", "HP:9999999"),
        ]
    }
    assert data.graph.stated_by == (1,)
    assert data.notes[-1] == (
        "graph: 3 ontology terms, 1 phenotype that it does not have, 5 genes; 2 is_a edges, 4 edges of positive "
        "training pairs"
    )


def test_one_release_takes_the_test_file_beside_it(corpus: Path) -> None:
    data = load_data(str(corpus / "11_03_2019_corpus"))
    assert len(data.splits["test"]) == 2
    assert {pair.subject for pair in data.train} == {"1", "3", "4"}


def test_terms_of_an_ontology(corpus: Path) -> None:
    terms = read_obo(corpus / "hp.obo")
    assert terms.terms == ["HP:0000001", "HP:0000002", "HP:0000004"]
    assert terms.alternatives == {"HP:0000022": "HP:0000002"}
    assert ("HP:0000004", "HP:0000002") in terms.is_a
    (corpus / "hp.obo").write_text("nothing")
    with pytest.raises(DataError, match=r"hp.obo has no \[Term\]"):
        read_obo(corpus / "hp.obo")


def test_what_is_missing_or_wrong_is_named(corpus: Path, tmp_path: Path) -> None:
    write(
        corpus / "11_03_2019_corpus",
        "train.tsv",
        [("4", "x", "1", "HP_0000001", "Maybe"), ("4", "", "1", "HP_1", "True")],
    )
    (corpus / "hp.obo").unlink()
    with pytest.raises(DataError) as caught:
        read_pgr(corpus)
    assert [problem.partition(": ")[2] or problem for problem in caught.value.problems] == [
        f"There is no hp.obo in {corpus} or beside it. It is the graph; put the Human Phenotype Ontology there.",
        "1 line lacks cells: lines 3. Complete them.",
        "RELATION must be True or False; 1 line differs: 2 (Maybe).",
    ]
    with pytest.raises(DataError, match=r"has no train\.tsv, nor has a folder in it"):
        load_data(f"pgr:{write_nothing(tmp_path / 'empty')}")
    with pytest.raises(ConfigError, match="pgr reader has no use for columns"):
        load_data(str(corpus), columns={"text": "SENTENCE"})


def write_nothing(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_published_corpus(real_data: Path) -> None:
    if not (real_data / "pgr").is_dir():
        pytest.skip(f"no pgr in {real_data}")
    data = load_data(str(real_data / "pgr"))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 9006, "val": 1091, "test": 215}
    assert data.notes[:4] == (
        "4 exact repeats dropped from test",
        "729 training rows left out: their sentence is in the test file",
        "1,194 exact repeats dropped from train",
        "26 rows dropped from train: they stand there with both labels",
    )
    assert Counter(pair.label for pair in data.splits["test"]) == {0: 139, 1: 76}
    sentences = {name: {pair.sources["text"] for pair in split} for name, split in data.splits.items()}
    assert not sentences["train"] & (sentences["val"] | sentences["test"])
    assert not sentences["val"] & sentences["test"]
    assert not {pair.subject for pair in data.train} & {pair.subject for pair in data.splits["val"]}
    stated = {frozenset(pair.inputs["graph"]) for pair in data.train if pair.label == 1}
    assert {edge for edge in joined(data) if any(node.startswith("gene:") for node in edge)} == stated
    assert len(data.graph.nodes) == 10972 + 27 + 2941
