"""PGR, phenotype-gene relations: ``*_corpus/{train,test}.tsv`` and the phenotype ontology ``hp.obo``.

Sousa, Lamurias and Couto, "A Silver Standard Corpus of Human Phenotype-Gene Relations", NAACL 2019,
arXiv:1903.10728.
"""

import hashlib
import html
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from multidelete.core.errors import DataError, first_few
from multidelete.core.words import counted
from multidelete.data.graph import Graph, graph_source
from multidelete.data.pairs import Pair, PairData, PairDataset, text_source
from multidelete.data.tables.delimited import read_unquoted
from multidelete.data.tables.source import read_text
from multidelete.data.tables.suspicion import is_text, two_spellings
from multidelete.data.tables.table import with_header

CLASSES = ("no relation", "relation")
_COLUMNS = ("FILE_ID", "SENTENCE", "GENE_ID", "PHENOTYPE_ID", "RELATION")
_VAL_OF = 10  # one article in so many is set aside


def looks_like_pgr(path: Path) -> bool:
    """Whether a folder is one release of PGR, or holds releases."""
    return path.is_dir() and any(_has_columns(file) for file in (*path.glob("train.tsv"), *path.glob("*/train.tsv")))


def read_pgr(path: Path) -> PairData:
    """Read one pair for each gene, phenotype and sentence, and the graph of genes and phenotypes.

    - Training pairs are those of all releases in the folder. Left out, counted and reported in the
      notes: every sentence that is in a test file; repeats of sentence, gene, phenotype
      and label; and rows whose sentence, gene and phenotype stand there with both labels.
    - PGR has no validation split: one article in ten is set aside as ``val``, by a hash of its
      PubMed id. A sentence counts to the article in which it stands first, so none is parted.
    - Sentences are compared, and given, without HTML escapes (``&lt;`` is ``<``).
    - Nodes are the ontology's terms (``HP:0002664``) and the genes (``gene:6445``); phenotypes newer
      than the ontology are nodes without edges. Edges are the ontology's ``is_a`` and those of the
      positive *training* pairs, never of held-out ones.
    - Labels are the releases' distant supervision, in test as well; its curators'
      CONFIRMATION is not read. The subject of a pair is the article's PubMed id.

    Args:
        path: Folder of the releases, or of one; ``hp.obo`` lies in it or beside it. A release
            without ``test.tsv`` takes those of the releases beside it.

    Raises:
        DataError: Files or columns are missing, or labels are neither True nor False.
    """
    releases = [path] if (path / "train.tsv").is_file() else sorted(file.parent for file in path.glob("*/train.tsv"))
    tests = sorted(path.glob("test.tsv")) or sorted(path.glob("*/test.tsv")) or sorted(path.parent.glob("*/test.tsv"))
    ontology = next((file for file in (path / "hp.obo", path.parent / "hp.obo") if file.is_file()), None)
    problems = (
        [] if releases else [f"{path} has no train.tsv, nor has a folder in it. Name the folder of PGR's corpora."]
    )
    if ontology is None:
        problems.append(
            f"There is no hp.obo in {path} or beside it. It is the graph; put the Human Phenotype Ontology there."
        )
    train, test = _read(releases, "train.tsv", problems), _read([file.parent for file in tests], "test.tsv", problems)
    problems += two_spellings(path, {"articles": [row.article for row in (*train, *test)]})
    if problems or ontology is None:
        raise DataError(problems)
    terms = read_obo(ontology)
    train, test = [row.renamed(terms.alternatives) for row in train], [row.renamed(terms.alternatives) for row in test]
    notes: list[str] = []
    test = _without_repeats(test, "test", notes)
    tested = {row.source for row in test}
    fresh = [row for row in train if row.source not in tested]
    if len(fresh) < len(train):
        notes.append(
            f"{counted(len(train) - len(fresh), 'training rows')} left out: their sentence is in the test file"
        )
    fresh = _without_repeats(fresh, "train", notes)
    first = {row.source: row.article for row in reversed(train)}
    pairs = [row.pair(first[row.source]) for row in fresh]
    held = [pair for pair in pairs if _is_val(pair.subject or "")]
    kept = [pair for pair in pairs if not _is_val(pair.subject or "")]
    notes.append(
        f"{counted(len(held), 'training pairs')} set aside as val: one article in {_VAL_OF}, by a hash of its PubMed id"
    )
    if not kept:
        raise DataError(f"{path} has no training pairs left. {'. '.join(notes)}.")
    splits = {"train": kept, "val": held, "test": [row.pair(row.article) for row in test]}
    graph = _graph(terms, splits, notes)
    datasets = {split: PairDataset(rows, f"pgr {split}") for split, rows in splits.items() if rows}
    return PairData("pgr", datasets, tuple(notes), CLASSES, graph)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a release."""

    article: str
    text: str
    gene: str
    phenotype: str
    label: int

    @property
    def source(self) -> str:
        return text_source(self.text)

    def renamed(self, alternatives: dict[str, str]) -> "_Row":
        """The row with the ontology's present name of its phenotype."""
        return _Row(self.article, self.text, self.gene, alternatives.get(self.phenotype, self.phenotype), self.label)

    def pair(self, article: str) -> Pair:
        nodes = (self.gene, self.phenotype)
        content = hashlib.sha256(self.source.encode()).hexdigest()[:8]
        return Pair(
            id=f"{article}/{self.gene.removeprefix('gene:')}/{self.phenotype}/{content}",
            inputs={"graph": nodes, "text": self.text},
            sources={"graph": graph_source(nodes), "text": self.source},
            label=self.label,
            subject=article,
        )


def _has_columns(file: Path) -> bool:
    with file.open("rb") as opened:
        return set(_COLUMNS) <= set(opened.readline(4096).decode("utf-8-sig", "replace").rstrip().split("\t"))


def _read(folders: Sequence[Path], name: str, problems: list[str]) -> list[_Row]:
    rows: list[_Row] = []
    for file in (folder / name for folder in folders):
        try:
            table = with_header(file, read_unquoted(file, read_text(file)))
        except DataError as error:
            problems += error.problems
            continue
        missing = [column for column in _COLUMNS if column not in table.columns]
        if missing:
            problems.append(f"{file} has no columns {', '.join(missing)}; PGR's files have {', '.join(_COLUMNS)}.")
            continue
        incomplete, unlabelled, lists = [], [], []
        for number, row in zip(table.lines, table.rows, strict=True):
            cells = [cell.strip() for column in _COLUMNS if isinstance(cell := row[column], str)]
            if len(cells) < len(_COLUMNS):
                incomplete.append(number)
            elif not is_text(cells[1]):
                lists.append(number)
            elif cells[-1].lower() not in ("true", "false"):
                unlabelled.append(f"{number} ({cells[-1]})")
            else:
                article, text, gene, phenotype, relation = cells
                label = int(relation.lower() == "true")
                rows.append(_Row(article, html.unescape(text), f"gene:{gene}", phenotype.replace("_", ":"), label))
        if incomplete:
            problems.append(
                f"{file}: {counted(len(incomplete), 'lines lack')} cells: lines {first_few(incomplete)}. Complete them."
            )
        if lists:
            problems.append(
                f"{file}: {counted(len(lists), 'sentences look')} like lists: lines {first_few(lists)}. Write one text."
            )
        if unlabelled:
            problems.append(
                f"{file}: RELATION must be True or False; {counted(len(unlabelled), 'lines differ')}: "
                f"{first_few(unlabelled)}."
            )
    return rows


def _without_repeats(rows: Iterable[_Row], split: str, notes: list[str]) -> list[_Row]:
    """Each sentence, gene and phenotype once, the first time; none where the labels contradict each other."""
    rows = list(rows)
    unique: dict[tuple[str, str, str, int], _Row] = {}
    for row in rows:
        unique.setdefault((row.source, row.gene, row.phenotype, row.label), row)
    labels = Counter(key[:3] for key in unique)
    kept = [row for key, row in unique.items() if labels[key[:3]] == 1]
    if len(unique) < len(rows):
        notes.append(f"{counted(len(rows) - len(unique), 'exact repeats')} dropped from {split}")
    if len(kept) < len(unique):
        notes.append(
            f"{counted(len(unique) - len(kept), 'rows')} dropped from {split}: they stand there with both labels"
        )
    return kept


def _is_val(article: str) -> bool:
    return hashlib.sha256(article.encode()).digest()[0] % _VAL_OF == 0


@dataclass(frozen=True)
class Ontology:
    """Terms of an OBO file that are not obsolete, other names of terms, and ``is_a`` from term to parent."""

    terms: list[str] = field(default_factory=list)
    alternatives: dict[str, str] = field(default_factory=dict)
    is_a: list[tuple[str, str]] = field(default_factory=list)


def read_obo(path: Path) -> Ontology:
    """Read the terms of an OBO 1.2 or 1.4 file: ``id``, ``alt_id``, ``is_a`` and ``is_obsolete``.

    Raises:
        DataError: The file cannot be read, or has no terms.
    """
    text = read_text(path)
    ontology = Ontology()
    obsolete = set()
    term, inside = "", False
    for line in text.split("\n"):
        tag, _, value = line.partition(": ")
        value = value.partition(" ")[0].strip()
        if line.startswith("["):
            inside = line.strip() == "[Term]"
        elif inside and tag == "id":
            term = value
            ontology.terms.append(term)
        elif inside and tag == "alt_id":
            ontology.alternatives[value] = term
        elif inside and tag == "is_a":
            ontology.is_a.append((term, value))
        elif inside and tag == "is_obsolete" and value == "true":
            obsolete.add(term)
    if not ontology.terms:
        raise DataError(f"{path} has no [Term]; it must be an ontology in OBO format, such as hp.obo.")
    kept = [term for term in ontology.terms if term not in obsolete]
    alternatives = {other: term for other, term in ontology.alternatives.items() if other not in set(kept)}
    return Ontology(kept, alternatives, ontology.is_a)


def _graph(terms: Ontology, splits: dict[str, list[Pair]], notes: list[str]) -> Graph:
    """The ontology and the genes, joined by ``is_a`` and by what positive training pairs state."""
    named = {node for pairs in splits.values() for pair in pairs for node in pair.sources["graph"].split("|")}
    newer = sorted(named - set(terms.terms) - {node for node in named if node.startswith("gene:")})
    genes = sorted((node for node in named if node.startswith("gene:")), key=lambda node: (len(node), node))
    nodes = [*terms.terms, *newer, *genes]
    at = {node: position for position, node in enumerate(nodes)}
    is_a = [(at[child], at[parent]) for child, parent in terms.is_a if child in at and parent in at]
    stated = list(dict.fromkeys(pair.sources["graph"] for pair in splits["train"] if pair.label == 1))
    relations = [(at[gene], at[phenotype]) for gene, phenotype in (source.split("|") for source in stated)]
    notes.append(
        f"graph: {counted(len(terms.terms), 'ontology terms')}, {counted(len(newer), 'phenotypes')} "
        f"that it does not have, {counted(len(genes), 'genes')}; "
        f"{counted(len(is_a), 'is_a edges')}, {counted(len(relations), 'edges')} of positive training pairs"
    )
    edges = np.array([*is_a, *relations], dtype=np.int64).reshape(-1, 2)
    return Graph(nodes, edges, "pgr", stated_by=(1,))
