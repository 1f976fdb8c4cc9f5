"""The verdict speaks of both directions, beside what a second retrained model gives."""

import re
from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AUDITS, ModelSignals, Verdict, unit_counts, verdict
from tests.audits.world import model, models_of, run

NAMES = ("utility", "forgetting", "membership", "distance", "cost")


def judged(unlearned: ModelSignals, *, again: int | None = 7, **sizes: int) -> Verdict:
    models = models_of(unlearned, **sizes)
    if again is not None:
        models["retrained again"] = model(forget=0.0, model_seed=again, **sizes)
    audit = run(models)
    return verdict([row for name in NAMES for row in AUDITS[name](audit)], unit_counts(audit))


def collapsed() -> ModelSignals:
    m = model(forget=0.0, model_seed=4)
    flat = np.full(96, 1 / np.sqrt(96), dtype=np.float32)
    parts = {}
    for split in ("forget", "retain", "test"):
        signals = getattr(m, split)
        same = {"image": np.tile(flat, (len(signals), 1)), "text": np.tile(flat, (len(signals), 1))}
        parts[split] = type(signals)(**{**vars(signals), "embeddings": same, "score": np.ones_like(signals.score)})
    return replace(m, **parts)


def test_retrained_model_itself_is_indistinguishable() -> None:
    found = judged(model(forget=0.0, model_seed=2))
    assert (found.outcome, found.floor.state) == ("forgotten", "within")
    assert found.is_indistinguishable
    assert found.headline == "Forgotten: no farther from a retrained model than a second retrained model is"
    assert found.floor.sentence in found.sentences
    assert found.floor.sentence.startswith("On the deleted pairs no farther from the retrained model than a second")
    assert "margins +0.000 (a second retrained model up to " in found.floor.sentence


def test_retrained_models_of_other_seeds_are_never_bad_and_often_indistinguishable() -> None:
    found = [judged(model(forget=0.0, model_seed=seed + 20, seed=seed, people=200, forgotten=48),
                    people=200, forgotten=48, seed=seed) for seed in range(5)]  # fmt: skip
    assert {v.outcome for v in found} <= {"forgotten", "unjudged"}
    assert sum(v.floor.state == "within" for v in found) >= 3


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_untouched_model_lies_above_the_floor(seed: int) -> None:
    found = judged(model(forget=1.0, model_seed=1, seed=seed), seed=seed)
    assert (found.outcome, found.floor.state) == ("unfinished", "above")
    assert "something is left" in found.floor.sentence


def test_half_forgotten_margins_are_told_where_the_search_finds_nothing() -> None:
    """Recall is 0 and the tolerances are met or unclear, but the margins still point the old way."""
    found = judged(model(forget=0.25, model_seed=2))
    assert found.floor.state == "above"
    assert not found.is_indistinguishable


def test_pairs_pushed_below_are_below_the_floor() -> None:
    found = judged(model(forget=0.0, opposed=True, model_seed=2))
    assert (found.outcome, found.floor.state) == ("over-forgotten", "below")
    assert "stand out by their absence" in found.floor.sentence


@pytest.mark.parametrize("broken", [model(forget=0.0, retain=0.0, looks=0.0, model_seed=9), collapsed()])
def test_broken_models_are_damaged_whatever_their_floor(broken: ModelSignals) -> None:
    found = judged(broken)
    assert found.outcome == "damaged"
    assert not found.is_indistinguishable


def test_without_a_second_retrained_model_the_floor_is_not_known() -> None:
    found = judged(model(forget=0.0, model_seed=2), again=None)
    assert (found.outcome, found.floor.state) == ("forgotten", "unknown")
    assert not found.is_indistinguishable
    assert any("is not known: there is no second" in sentence for sentence in found.sentences)
    few = judged(model(forget=0.0, model_seed=2, forgotten=5), forgotten=5)
    assert few.floor.state == "unknown"
    assert "5 deleted people are fewer than 6" in few.floor.sentence


def test_farthest_pairs_are_told_as_numbers() -> None:
    (sentence,) = [s for s in judged(model(forget=0.3, model_seed=4)).sentences if "margin" in s and "Single" in s]
    assert re.search(r"differs from retrained by [-+]\d+\.\d to \+\d+\.\d", sentence)
    assert re.search(r"\(a second retrained model: [-+]\d+\.\d+ to \+", sentence)
