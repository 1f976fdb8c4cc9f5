"""A graph with texts, relations: what studies found on seven of 40 genes is deleted, their edges included."""

import random
import tempfile
from pathlib import Path

import numpy as np

import multidelete as md

GENES, TRAITS = 60, 12
rng = random.Random(0)
pairs, edges = [], [(GENES + trait, GENES + trait // 2) for trait in range(1, TRAITS)]  # a tree of traits
for gene in range(GENES):
    for trait in rng.sample(range(TRAITS), 3):
        nodes, label = (f"gene-{gene}", f"trait-{trait}"), rng.randrange(2)
        text = f"study {gene}{trait} looked at gene {gene} in families with trait {trait}"  # does not tell the result
        pairs.append(
            md.Pair(
                id=f"{gene}-{trait}",
                inputs={"graph": nodes, "text": text},
                label=label,
                subject=nodes[0],
            )
        )
        edges += [(gene, GENES + trait)] if label else []
names = [f"gene-{gene}" for gene in range(GENES)] + [f"trait-{trait}" for trait in range(TRAITS)]
graph = md.Graph(names, np.array(edges), "genes and traits", stated_by=(1,))  # pairs with label 1 state an edge
genes_of = {"train": range(40), "val": range(40, 50), "test": range(50, 60)}
splits = {
    split: md.PairDataset([pair for pair in pairs if int(pair.subject[5:]) in genes], split)
    for split, genes in genes_of.items()
}
data = md.PairData("relations", splits, classes=("no relation", "relation"), graph=graph)
forget = md.resolve_request(data, subjects=[f"gene-{gene}" for gene in range(3, 40, 6)], unit="subject")

with tempfile.TemporaryDirectory() as name:
    original, unlearned, report = (Path(name) / part for part in ("original", "unlearned", "report"))
    model = md.TrainSettings(family="graph-text")
    md.train(data, original, start=model, settings=md.LoopSettings(passes=40, batch_size=30, lr=1e-3))
    md.unlearn(original, data, forget, out=unlearned)
    done = md.audit(unlearned, original, data, forget, out=report, noun="genes")
    print(f"{done.verdict.outcome}: {done.verdict.headline}")
    for row in done.verdict.rows:
        print(f"{row.name}: original {row.original.value:.2f}, unlearned {row.unlearned.value:.2f}; {row.target}")
