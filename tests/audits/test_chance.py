"""What few items, or a figure near its chance, cannot miss they cannot meet."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AUDITS, ModelSignals, Signals, Verdict, unit_counts, utility, verdict
from multidelete.audits.judgement import ScoreRow, has_room
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure
from tests.audits.world import model, models_of, run, with_

KEPT = ("retain", "test")


def judge(models: Mapping[str, ModelSignals]) -> Verdict:
    audit = run(models)
    figures = [row for name in ("utility", "forgetting", "membership") for row in AUDITS[name](audit)]
    return verdict(figures, unit_counts(audit))


def kept(found: Verdict, criterion: str) -> list[ScoreRow]:
    return [row for row in found.rows if row.criterion == criterion]


def told_of(found: Verdict, beginning: str) -> str:
    (sentence,) = [told for told in found.sentences if told.startswith(beginning)]
    return sentence


def nothing_known(**sizes: int) -> ModelSignals:
    return model(forget=0.0, retain=0.0, looks=0.0, **sizes)


def test_recall_at_ten_among_ten_texts_is_no_success_of_any_model() -> None:
    sizes = {"people": 20, "forgotten": 2}  # and ten held-out people, with a description each
    for unlearned in (model(forget=0.0, model_seed=2, **sizes), nothing_known(model_seed=9, **sizes)):
        found = judge(models_of(unlearned, **sizes))
        (row,) = kept(found, "test")
        assert row.unlearned is not None
        assert (row.unlearned.value, row.unlearned.chance) == (1.0, 1.0)
        assert (row.gap, row.state) == (0.0, "unclear")
        told = told_of(found, "It cannot be told whether unseen pairs are found as before")
        assert told.endswith(
            "; chance alone gives 1.000, so near that a loss of all of it could not be told from chance."
        )


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 6), marks=pytest.mark.slow)])
@pytest.mark.parametrize("with_retrained", [True, False])
@pytest.mark.parametrize(
    "people", [6, 14, 40, *(pytest.param(number, marks=pytest.mark.slow) for number in (10, 20, 24, 120))]
)
def test_random_weights_never_meet_what_is_to_stay(people: int, with_retrained: bool, seeds: range) -> None:
    for seed in seeds:
        sizes = {"people": people, "forgotten": 2, "seed": seed}
        unlearned = nothing_known(model_seed=seed + 9, **sizes)
        for known in (models_of(unlearned, with_retrained=with_retrained, **sizes), {"original": unlearned}):
            found = judge({**known, "unlearned": nothing_known(model_seed=seed + 40, **sizes)})
            assert not [row for name in KEPT for row in kept(found, name) if row.state == "met"]
            assert found.outcome != "forgotten"


@pytest.mark.parametrize("people", [20, 120])
def test_an_original_at_chance_has_nothing_to_lose(people: int) -> None:
    sizes = {"people": people, "forgotten": 8}
    for seed in range(4):
        original, other = (nothing_known(model_seed=at, seed=seed, **sizes) for at in (1, 2))
        found = judge({"original": original, "unlearned": other})
        for criterion in KEPT:
            assert {row.state for row in kept(found, criterion)} == {"unclear"}
        assert found.outcome == "unjudged"
        assert "chance alone gives" in told_of(found, "It cannot be told whether unseen pairs are found as before")
        assert any("finds no more than chance does" in step for step in found.steps)


@pytest.mark.parametrize("unlearned", ["good", "random"])
def test_few_groups_neither_meet_nor_miss_what_is_to_stay(unlearned: str) -> None:
    """Five held-out people, many pictures of each: an interval over five is too narrow."""
    sizes = {"people": 100, "forgotten": 12}
    models = models_of(model(forget=0.0, model_seed=2, **sizes), **sizes)
    if unlearned == "random":
        models["unlearned"] = nothing_known(model_seed=9, **sizes)
    fives = {name: replace(m, test=with_(m.test, subjects=[f"p{int(s.split('-')[1]) % 5}" for s in m.test.subjects]))
             for name, m in models.items() if m.test is not None}  # fmt: skip
    found = judge(fives)
    (row,) = kept(found, "test")
    assert (row.groups, row.state) == (5, "unclear")
    assert told_of(found, "It cannot be told whether unseen").endswith(
        "; it rests on 5 subjects or pictures, and it takes at least 6."
    )
    (membership, _) = kept(found, "membership")
    assert (membership.groups, membership.state) == (5, "unclear"), (
        "five people are too few on either side of an attack"
    )
    assert {row.state for row in kept(judge(models), "test")} == {"met" if unlearned == "good" else "missed"}


def labelled(predicted: int | None, seed: int) -> Signals:
    """200 pictures, nine of ten of class 0; a model that knows the class, or says the same of all."""
    labels = (np.arange(200) % 10 == 0).astype(np.int64)
    says = labels if predicted is None else np.full(200, predicted)
    logits = np.eye(2, dtype=np.float32)[says] + np.random.default_rng(seed).uniform(0, 0.1, (200, 2)).astype(
        np.float32
    )
    names = [f"t-{at}" for at in range(200)]
    return Signals(
        ids=names, kinds=[None] * 200, subjects=[None] * 200, sources={"image": names, "text": names},
        score=logits[:, 0], unimodal={}, labels=labels, logits=logits,
    )  # fmt: skip


def test_the_most_frequent_label_for_all_is_chance() -> None:
    rows = utility.accuracy_figures(
        {"original": labelled(0, 1), "unlearned": labelled(0, 2), "retrained": labelled(None, 3)},
        audit="utility", kind=None, split="test", seed=0,
    )  # fmt: skip
    by_model = {row.model: row for row in rows if ", difference" not in row.figure}
    assert by_model["original"].value == by_model["original"].chance == 0.9
    row = ScoreRow(
        criterion="test", note="", gap=0.0, low=0.0, high=0.0, groups=200,
        original=by_model["original"], unlearned=by_model["unlearned"],
    )  # fmt: skip
    assert not has_room(row)
    assert has_room(replace(row, original=by_model["retrained"]))


@pytest.mark.parametrize(("groups", "value", "chance", "has"), [
    (6, 1.0, 0.1, True), (6, 1.0, 10 / 12, False), (200, 1.0, 10 / 12, True),
    (200, 0.07, 0.05, False), (200, 0.635, 0.05, True), (50, 0.52, 0.2, True), (10, 0.4, 0.2, False),
])  # fmt: skip
def test_room_above_chance_grows_with_the_groups(groups: int, value: float, chance: float, has: bool) -> None:
    figure = Figure(audit="", measure=Measure(""), model="original", value=value, chance=chance)
    assert has_room(ScoreRow(criterion="test", note="", groups=groups, original=figure)) == has


@pytest.mark.parametrize("groups", [6, 10, 20, 50])
def test_a_model_at_chance_comes_within_the_tolerance_less_than_once_in_a_thousand(groups: int) -> None:
    """The bound against many draws: wherever there is room, hardly any of them reaches the tolerance."""
    rng = np.random.default_rng(0)
    for chance in (0.05, 0.2, 0.5, 0.8):
        drawn = rng.binomial(groups, chance, size=200_000) / groups
        for value in np.linspace(chance, 1, 12):
            figure = Figure(audit="", measure=Measure(""), model="original", value=float(value), chance=chance)
            if has_room(ScoreRow(criterion="test", note="", groups=groups, original=figure)):
                assert (drawn >= value - 0.02).mean() <= 0.0012
