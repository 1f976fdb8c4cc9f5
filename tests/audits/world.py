"""People made of numbers: models with known answers, for the audits to find.

An image embedding holds who it is (the first half) and what it looks like (the second half). A
descriptive caption points at the looks, which every model understands; a sensitive caption points at
the person if the model has memorised it, and elsewhere if not.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multidelete.audits import AuditInput, ModelSignals, Signals
from multidelete.audits.result import Figure

D = 48
COST = {"wall_s": 12.0, "reference_s": 2.0, "retrained_wall_s": 100.0, "pairs_forward": 480.0, "pairs_backward": 240.0}
COST |= {"peak_bytes": 1e9}


def unit(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def split_of(
    seed: int,
    *,
    split: str,
    people: int,
    memorised: float,
    kinds: tuple[str | None, ...] = ("sensitive", "descriptive"),
    views: int = 2,
    looks: float = 1.0,
    model_seed: int = 0,
    opposed: bool = False,
) -> Signals:
    """Signals of one split.

    Args:
        seed: Of the people: same seed and split, same pictures.
        split: Name, part of the ids.
        people: How many.
        memorised: How much of a sensitive caption points at its person, 0 ... 1.
        kinds: Kinds of pairs each view has.
        views: Pictures per person.
        looks: How well the model understands looks, 0 ... 1.
        model_seed: Of the model's own noise.
        opposed: Sensitive captions point away from their person: over-forgetting.
    """
    who_rng = np.random.default_rng([seed, sum(split.encode())])
    noise = np.random.default_rng([model_seed, sum(split.encode()), 7])
    who, look = unit(who_rng.normal(size=(people, D))), unit(who_rng.normal(size=(people, D)))
    images = np.concatenate([np.repeat(who, views, axis=0), np.repeat(look, views, axis=0)], axis=1)
    images = unit(images + 0.05 * who_rng.normal(size=images.shape) + 0.02 * noise.normal(size=images.shape))
    stray = unit(noise.normal(size=(people, D)))
    named = unit(memorised * who + (1 - memorised) * stray)
    if opposed:
        named = unit(-0.5 * who + 0.5 * stray)
    seen = unit(looks * look + (1 - looks) * unit(noise.normal(size=(people, D))) + 0.1 * noise.normal(size=look.shape))
    nothing = np.zeros((people, D))
    captions = {"sensitive": np.concatenate([named, nothing], 1), "descriptive": np.concatenate([nothing, seen], 1)}
    captions[None] = captions["sensitive"]  # type: ignore[index]
    rows = [(p, v, kind) for p in range(people) for v in range(views) for kind in kinds]
    image = np.array([images[p * views + v] for p, v, _ in rows])
    text = np.array([captions[kind][p] for p, _, kind in rows])  # type: ignore[index]
    return Signals(
        ids=[f"{split}-{p}-{v}-{kind}" for p, v, kind in rows],
        kinds=[kind for _, _, kind in rows],
        subjects=[f"{split}-{p}" for p, _, _ in rows],
        sources={
            "image": [f"{split}-{p}-{v}.png" for p, v, _ in rows],
            "text": [f"{kind} {split}-{p}" for p, _, kind in rows],
        },
        score=(image * text).sum(axis=1).astype(np.float32),
        unimodal={"image": (2 * image).astype(np.float32), "text": (3 * text).astype(np.float32)},
        embeddings={"image": image.astype(np.float32), "text": text.astype(np.float32)},
    )


def model(
    *,
    forget: float,
    retain: float = 1.0,
    looks: float = 1.0,
    model_seed: int = 0,
    seed: int = 0,
    people: int = 120,
    forgotten: int = 12,
    opposed: bool = False,
    kinds: tuple[str | None, ...] = ("sensitive", "descriptive"),
) -> ModelSignals:
    """A model that has memorised forget and retain people this well; held-out people it never saw."""
    same = {"kinds": kinds, "looks": looks, "model_seed": model_seed}
    return ModelSignals(
        forget=split_of(seed, split="forget", people=forgotten, memorised=forget, opposed=opposed, **same),
        retain=split_of(seed, split="retain", people=people - forgotten, memorised=retain, **same),
        test=split_of(seed, split="test", people=people // 2, memorised=0.0, **same),
    )


def run(models: Mapping[str, ModelSignals], **settings: object) -> AuditInput:
    """An audit of these models, by person."""
    return AuditInput(models=models, cost=COST, unit="subject", noun="people", **settings)  # type: ignore[arg-type]


def models_of(unlearned: ModelSignals, *, with_retrained: bool = True, **sizes: Any) -> dict[str, ModelSignals]:
    """Original and, if wanted, retrained of the same people, beside the model under test."""
    found = {"original": model(forget=1.0, model_seed=1, **sizes), "unlearned": unlearned}
    if with_retrained:
        found["retrained"] = model(forget=0.0, model_seed=2, **sizes)
    return found


def pick(figures: list[Figure], figure: str, model_name: str, split: str | None = None) -> Figure:
    (row,) = [f for f in figures if f.figure == figure and f.model == model_name and split in (None, f.split)]
    return row


def with_(signals: Signals, **changes: object) -> Signals:
    return Signals(**{**vars(signals), **changes})


def every(
    audit: AuditInput, change: dict[str, object], splits: tuple[str, ...] = ("forget", "retain", "test")
) -> AuditInput:
    """The same change of signals in all models."""
    models = {
        name: replace(m, **{s: with_(getattr(m, s), **change) for s in splits}) for name, m in audit.models.items()
    }
    return replace(audit, models=models)
