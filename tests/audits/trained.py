"""Real models in a second: two linear maps, trained by a contrastive loss on pairs of random vectors."""

from collections.abc import Collection

import numpy as np
import torch

from multidelete.audits import ModelSignals, Signals

PEOPLE, D = 120, 96
SPLITS = {"forget": range(24), "retain": range(24, 72), "test": range(72, 120)}
IDS = [f"pair-{i:03d}" for i in range(PEOPLE)]


def trained(members: Collection[str], seed: int, steps: int = 60) -> ModelSignals:
    """A model of the pairs named, and what it says of all: too many weights for so few pairs, so it memorises."""
    rng = torch.Generator().manual_seed(7)  # the same pairs for all models
    image, text = torch.randn(PEOPLE, D, generator=rng), torch.randn(PEOPLE, D, generator=rng)
    torch.manual_seed(seed)
    maps = [torch.nn.Linear(D, 16), torch.nn.Linear(D, 16)]
    optimizer = torch.optim.Adam([p for m in maps for p in m.parameters()], lr=5e-3)
    rows = torch.tensor([i for i, pair in enumerate(IDS) if pair in members])
    embed = torch.nn.functional.normalize
    for _ in range(steps):
        ours, theirs = embed(maps[0](image[rows])), embed(maps[1](text[rows]))
        logits = 10 * ours @ theirs.T
        own = torch.arange(len(rows))
        loss = torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = {"image": embed(maps[0](image)).numpy(), "text": embed(maps[1](text)).numpy()}

    def signals(of: range) -> Signals:
        at = np.array(of)
        embeddings = {m: array[at] for m, array in found.items()}
        return Signals(
            ids=[IDS[i] for i in of], kinds=[None] * len(of), subjects=[None] * len(of),
            sources={m: [f"{m}-{i}" for i in of] for m in ("image", "text")},
            score=(embeddings["image"] * embeddings["text"]).sum(axis=1), unimodal=embeddings, embeddings=embeddings,
        )  # fmt: skip

    return ModelSignals(**{split: signals(of) for split, of in SPLITS.items()}, logit_scale=10.0)


def ids(*splits: str) -> list[str]:
    return [IDS[i] for split in splits for i in SPLITS[split]]
