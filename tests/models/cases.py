"""Every family with every head as a tiny model, and pairs that it reads; grows with the registry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from multidelete.data.graph import Graph, graph_source
from multidelete.data.pairs import Batch, Pair, PairData, PairDataset
from multidelete.models import FAMILIES, Adapter, NewModel, Task, new_adapter
from multidelete.models.fresh import train_tokenizer
from tests.tiny import SIDE, SIZE, captions, people

CLASSES = ("entailed", "neutral", "contradicted")
NODES = tuple(f"node-{number}" for number in range(40))


@dataclass(frozen=True)
class Case:
    """A family with one of its heads."""

    family: str
    task: Task
    pictures: int

    def __str__(self) -> str:
        return f"{self.family} {self.task}" + (" of two pictures" if self.pictures == 2 else "")


_RELATIVES = ("altclip", "chinese-clip", "clipseg")  # code of CLIP's: the contract is tested on them, and no more
EVERY = [
    Case(name, task, pictures)
    for name, family in FAMILIES.items()
    for task in family.tasks()
    for pictures in ((0,) if "image" not in family.modalities else (1, 2) if task == "classification" else (1,))
]
CASES = [case for case in EVERY if case.family not in _RELATIVES]


def case_data(case: Case, *, number: int = 6, unseen: int = 2, views: int = 2) -> PairData:
    """Generated people as this head reads them: with classes, two pictures or nodes instead of a picture."""
    data = people(number, unseen=unseen, views=views)
    splits: dict[str, PairDataset] = {}
    for name, pairs in data.splits.items():
        splits[name] = PairDataset(_pairs(case, pairs.pairs, sum(map(len, splits.values()))), name)
    classes = CLASSES if case.task == "classification" else ()
    return replace(data, splits=splits, classes=classes, graph=None if case.pictures else tiny_graph())


def _pairs(case: Case, pairs: Sequence[Pair], before: int) -> list[Pair]:
    """The pairs of one split; those of the splits before it have other nodes, as far as there are enough."""
    made = []
    for number, pair in enumerate(pairs):
        label = number % 3 if case.task == "classification" else None
        inputs, sources = dict(pair.inputs), dict(pair.sources)
        if case.pictures == 2:
            other = pairs[(number + 5) % len(pairs)]
            inputs["image"] = (pair.inputs["image"], other.inputs["image"])
            sources["image"] = f"{pair.sources['image']}|{other.sources['image']}"
        if case.pictures == 0:
            nodes = tuple(NODES[at] for at in own_edge(before + number))
            inputs, sources = {"graph": nodes, "text": inputs["text"]}, {
                "graph": graph_source(nodes), "text": sources["text"],
            }  # fmt: skip
        made.append(replace(pair, inputs=inputs, sources=sources, label=label))
    return made


def own_edge(number: int) -> tuple[int, int]:
    """The two nodes of the pair at a position."""
    return number % 40, (number * 7 + 3) % 40


def tiny_graph() -> Graph:
    """A ring, and the edges of every other pair."""
    ring = [(number, (number + 1) % 40) for number in range(40)]
    return Graph(NODES, np.array([*ring, *(own_edge(number) for number in range(0, 32, 2))], dtype=np.int64), "ring")


def case_adapter(case: Case, data: PairData, *, seed: int = 0, scale: float = 5.0) -> Adapter:
    """Random weights, in evaluation mode; larger than drawn, so that scores differ and mistakes show."""
    wanted = NewModel(
        size=SIZE, image_size=SIDE, tokenizer=train_tokenizer(captions(data), SIZE),
        task=case.task, classes=data.classes, images=case.pictures, graph=data.graph,
    )  # fmt: skip
    adapter = new_adapter(case.family, wanted, seed=seed)
    with torch.no_grad():
        for parameter in adapter.model.parameters():
            parameter.mul_(scale if parameter.ndim > 1 else 1.0)
    return adapter.eval()


def own_scores(case: Case, adapter: Adapter, batch: Batch) -> Tensor:
    """Each pair's score from what the network itself returns, (B,)."""
    first, second = batch.inputs.values()
    model = adapter.model
    if case.task == "classification":
        probability_BC = model(**first, **second).logits.double().softmax(dim=1)
        assert batch.labels is not None
        return probability_BC[torch.arange(len(batch)), batch.labels].logit().float()
    if case.family == "albef":
        match_B2 = model(**first, **second).logits
        return match_B2[:, 1] - match_B2[:, 0]
    if case.family == "blip":
        match_B2 = model(**first, **second, use_itm_head=True).itm_score
        return match_B2[:, 1] - match_B2[:, 0]
    if case.family == "vilt":
        return model(**first, **second).logits[:, 0]
    if case.family == "graph-text":
        out = model(**first, **second)
        return (out.graph_embeds * out.text_embeds).sum(dim=-1)
    own_BB = model(**first, **second).logits_per_image - getattr(model, "logit_bias", 0.0)
    return own_BB.diagonal() / model.logit_scale.exp()
