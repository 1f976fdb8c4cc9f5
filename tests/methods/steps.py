"""Steps by hand that tests of losses share: two pairs each, in two dimensions, at a scale of ln 3.

A pair whose embeddings match its own and not the other's has the logits ln 3 and 0, and so the
probabilities 3/4 and 1/4; crossed it has 1/4 and 3/4. Heads that choose among two have the same ones.
"""

from math import log

import torch
from torch import Tensor

from multidelete.data.pairs import Batch
from multidelete.models import Adapter, PairOutputs
from multidelete.training.step import Part, Step
from tests.relations import graph_text, relations
from tests.tiny import own_clip, people

EYE = torch.eye(2)
CROSSED = EYE.flip(0)
ALIKE = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
LN3 = log(3)


def similar(text: Tensor, image: Tensor = EYE, score: Tensor | None = None) -> PairOutputs:
    """Outputs of a dual encoder; with another score those of a model with a matching head too."""
    members, joint = {"image": image, "text": text}, image * text
    return PairOutputs(members, joint, joint.sum(dim=-1) if score is None else score, members)


def matched(score: float) -> PairOutputs:
    """Outputs of a model that has nothing but a matching head."""
    return PairOutputs({"image": EYE, "text": EYE}, EYE, torch.full((2,), score))


def classified(logits: Tensor) -> PairOutputs:
    return PairOutputs({"image": EYE, "text": EYE}, EYE, logits[:, 0], logits=logits)


def dual_encoder() -> Adapter:
    adapter = own_clip(people(2))
    with torch.no_grad():
        adapter.model.logit_scale.fill_(log(LN3))
    return adapter


def classifier() -> Adapter:
    return graph_text(relations())


def part(
    adapter: Adapter, found: PairOutputs, known: PairOutputs | None = None, *, keys: int = 0, share: float = 1.0
) -> Part:
    """Two pairs of class 0 that share no member; with other ``keys`` they share none with another part either."""
    sources = {m: torch.tensor([keys + 10 * at, keys + 10 * at + 1]) for at, m in enumerate(("image", "text"))}
    batch = Batch(["a", "b"], {"image": {}, "text": {}}, sources, torch.zeros(2, dtype=torch.int64))
    return Part(batch, found, adapter, share, known)


def step(forget: Part | None = None, retain: Part | None = None) -> Step:
    given = {"forget": forget, "retain": retain}
    return Step({name: one for name, one in given.items() if one is not None}, None, 0.0)


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}
