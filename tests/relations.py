"""Small graphs with texts that tests share: relations of genes and traits, and entities with their articles."""

import numpy as np
import torch

from multidelete.data.graph import Graph, graph_source
from multidelete.data.pairs import Pair, PairData, PairDataset, text_source
from multidelete.models import Adapter
from multidelete.models.fresh import NewModel, Size, train_tokenizer
from multidelete.models.graph_text import GraphTextAdapter

SIZE = Size(width=32, layers=1, stages=(16, 32), depths=(1, 1), projection=24, context=24, vocabulary=300)
WORDS = ("causes", "has nothing to do with", "was found along with", "was never seen with")


def relations(genes: int = 8, traits: int = 7) -> PairData:
    """Sentences on genes and traits; a trait is a kind of the one before; positive pairs are edges too.

    Every gene is named with every third trait, in two sentences with the same label.
    """
    pairs = []
    for gene in range(genes):
        for trait in range(gene % 3, traits, 3):
            label = (gene * 5 + trait * 3) % 2
            nodes = (f"gene:{gene}", f"trait:{trait}")
            for version in range(2):
                text = (
                    f"gene {gene} {WORDS[2 * version + 1 - label]} trait {trait}" + version * " in a long study of mice"
                )
                pairs.append(
                    Pair(
                        id=f"{gene}-{trait}-{version}",
                        inputs={"graph": nodes, "text": text},
                        sources={"graph": graph_source(nodes), "text": text_source(text)},
                        label=label,
                        subject=f"study {gene}",
                    )
                )
    nodes_ = [f"trait:{n}" for n in range(traits)] + [f"gene:{n}" for n in range(genes)]
    at = {node: position for position, node in enumerate(nodes_)}
    stated = dict.fromkeys(tuple(pair.sources["graph"].split("|")) for pair in pairs if pair.label == 1)
    edges = [(n, n - 1) for n in range(1, traits)] + [(at[gene], at[trait]) for gene, trait in stated]
    graph = Graph(nodes_, np.array(edges, dtype=np.int64), "relations", stated_by=(1,))
    splits = {"train": PairDataset(pairs, "relations train")}
    return PairData("relations", splits, (), ("no relation", "relation"), graph)


def articles(entities: int = 9) -> PairData:
    """Articles on one to three neighbouring entities of a ring; the last two are on the same entity."""
    pairs = []
    for number in range(entities + 1):
        first = min(number, entities - 1)
        nodes = tuple(f"entity:{(first + step) % entities}" for step in range(1 + first % 3))
        text = f"article {number} tells of {' and of '.join(nodes)}" + " at some length" * (number % 2)
        pairs.append(
            Pair(
                id=f"article-{number}",
                inputs={"graph": nodes, "text": text},
                sources={"graph": graph_source(nodes), "text": text_source(text)},
            )
        )
    ring = np.array([(n, (n + 1) % entities) for n in range(entities)], dtype=np.int64)
    graph = Graph([f"entity:{n}" for n in range(entities)], ring, "ring")
    return PairData("articles", {"train": PairDataset(pairs, "articles train")}, (), (), graph)


def graph_text(data: PairData, graph_encoder: str = "sage", seed: int = 0) -> Adapter:
    """A tiny model for the data's task."""
    assert data.graph is not None
    tokenizer = train_tokenizer((str(pair.inputs["text"]) for pair in data.train), SIZE)
    torch.manual_seed(seed)
    wanted = NewModel(
        size=SIZE, image_size=32, tokenizer=tokenizer, task="classification" if data.classes else "retrieval",
        classes=data.classes, graph=data.graph,
    )  # fmt: skip
    return GraphTextAdapter(*GraphTextAdapter.new(wanted, graph_encoder=graph_encoder))
