"""The controls: an audit must earn trust on known answers before its figures count."""

import re
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from multidelete.audits import AUDITS, AuditInput, Figure, ModelSignals, Verdict, relearning, unit_counts, verdict
from multidelete.audits.forgetting import UnitCounts
from multidelete.audits.judgement import ScoreRow, state_of
from multidelete.audits.measure import Measure
from multidelete.audits.sentences import ASKED, Outcome, Pace, ReasonKind, next_steps, row_sentence
from tests.audits.world import model, models_of, run

BAD = {"unfinished", "over-forgotten", "damaged"}


def judge(audit: AuditInput) -> Verdict:
    figures = [row for name in ("utility", "forgetting", "membership", "cost") for row in AUDITS[name](audit)]
    return verdict(figures, unit_counts(audit))


def criterion(found: Verdict, name: str) -> ScoreRow:
    """The criterion of the headline's kind, which comes first."""
    return next(row for row in found.rows if row.criterion == name)


def judged(unlearned: ModelSignals, *, with_retrained: bool = True, **sizes: Any) -> Verdict:
    return judge(run(models_of(unlearned, with_retrained=with_retrained, **sizes)))


@pytest.mark.parametrize("with_retrained", [True, False])
@pytest.mark.parametrize(("people", "forgotten"), [(120, 12), (40, 3), (30, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_untouched_model_is_unfinished(with_retrained: bool, people: int, forgotten: int, seed: int) -> None:
    sizes = {"people": people, "forgotten": forgotten, "seed": seed}
    found = judged(model(forget=1.0, model_seed=1, **sizes), with_retrained=with_retrained, **sizes)
    assert found.outcome == "unfinished"
    assert found.headline == "Unfinished: traces of the deleted people remain"
    who = "1 person" if forgotten == 1 else f"{forgotten} people"
    told = (
        f"Of {who} to be forgotten (by sensitive pairs) the original finds {forgotten}, the unlearned model {forgotten}"
    )
    assert found.sentences[0].startswith(told)
    assert criterion(found, "forgetting").state == "missed"


@pytest.mark.parametrize("memory", [0.0, 0.25, *(pytest.param(less, marks=pytest.mark.slow) for less in (0.15, 0.3))])
@pytest.mark.parametrize("forgotten", [2, 20])
@pytest.mark.parametrize("with_retrained", [True, False])
def test_untouched_model_is_never_good_however_little_was_memorised(
    memory: float, forgotten: int, with_retrained: bool
) -> None:
    original = model(forget=memory, retain=memory, model_seed=1, forgotten=forgotten)
    models = {"original": original, "unlearned": original}
    if with_retrained:
        models["retrained"] = model(forget=0.0, retain=memory, model_seed=2, forgotten=forgotten)
    assert judge(run(models)).outcome in {"unfinished", "unjudged"}


@pytest.mark.parametrize("seed", range(2))
def test_retrained_model_itself_is_forgotten(seed: int) -> None:
    found = judged(model(forget=0.0, model_seed=2, seed=seed), seed=seed)
    assert found.outcome == "forgotten"
    assert found.headline == "Forgotten: deleted people are treated as if never seen, and what was to stay has stayed"
    assert re.match(
        r"Of 12 people .* finds 12, the unlearned model (\d+), a model .* without them \1\.", found.sentences[0]
    )
    assert {row.gap for row in found.rows} == {0.0}


@pytest.mark.parametrize("with_retrained", [True, False])
@pytest.mark.parametrize("forgotten", [1, 3, 5])
def test_so_few_people_as_cannot_be_missed_cannot_be_met(forgotten: int, with_retrained: bool) -> None:
    """Not even the retrained model itself, with or without itself as the yardstick."""
    found = judged(
        model(forget=0.0, model_seed=2, forgotten=forgotten), forgotten=forgotten, with_retrained=with_retrained
    )
    assert found.outcome == "unjudged"
    assert found.headline == "Not judged: too few deleted people to tell"
    (advice,) = (step for step in found.steps if step.startswith("Audit "))
    assert advice.startswith("Audit together with further requests: "), "held-out pairs would not help"
    assert criterion(found, "membership").state == "unclear"
    assert criterion(found, "forgetting").state == "met", "that a search finds none of them is a fact"


@pytest.mark.parametrize("with_retrained", [True, False])
def test_interval_wider_than_the_tolerance_is_no_success(with_retrained: bool) -> None:
    """Ten pairs: the gap itself is small, and so it would be by chance."""
    sizes = {"people": 80, "forgotten": 10}
    for seed in range(5):
        unlearned = model(forget=0.0, model_seed=seed + 3, seed=seed, kinds=(None,), **sizes)
        found = judged(unlearned, with_retrained=with_retrained, seed=seed, kinds=(None,), **sizes)
        row = criterion(found, "membership")
        assert row.gap is not None
        assert row.low is not None
        assert row.high is not None
        assert row.high - row.low > 0.2
        assert (row.state, found.outcome) == ("unclear", "unjudged")


@pytest.mark.parametrize(("people", "forgotten"), [(120, 1), (120, 2), (120, 12), (200, 48)])
def test_retrained_model_of_another_seed_is_never_bad(people: int, forgotten: int) -> None:
    for seed in range(3):
        sizes = {"people": people, "forgotten": forgotten, "seed": seed}
        assert judged(model(forget=0.0, model_seed=seed + 3, **sizes), **sizes).outcome not in BAD


def test_of_many_people_a_retrained_model_is_told_to_have_forgotten() -> None:
    """Its noise is its own: so many people it takes until an attack's success is known to within 0.10."""
    sizes = {"people": 300, "forgotten": 150}
    found = judged(model(forget=0.0, model_seed=5, **sizes), **sizes)
    assert found.outcome == "forgotten"


@cache
def good(deleted: int) -> tuple[list[Figure], UnitCounts, Verdict]:
    """Figures and counts of a good model, and what is said of them; nobody changes them."""
    audit = run(models_of(model(forget=0.0, model_seed=2, forgotten=deleted), forgotten=deleted))
    figures = [row for name in ("utility", "forgetting", "membership", "cost") for row in AUDITS[name](audit)]
    counts = unit_counts(audit)
    assert counts is not None
    return figures, counts, verdict(figures, counts)


def with_gap(
    name: str, gap: float, low: float | None, high: float | None, deleted: int = 12, **counted: object
) -> Verdict:
    """The verdict on a good model, one of whose differences to its yardsticks is another."""
    found, counts, told = good(deleted)
    figure = criterion(told, name).unlearned
    assert figure is not None
    changed = {(figure.measure.against(name), figure.split, "unlearned") for name in ("original", "retrained")}
    return verdict(
        [
            replace(row, value=gap, low=low, high=high) if (row.measure, row.split, row.model) in changed else row
            for row in found
        ],
        replace(counts, **counted),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "gap", "bad"),
    [
        ("forgetting", -0.4, "over-forgotten"),
        ("forgetting", 0.4, "unfinished"),
        ("membership", -0.4, "over-forgotten"),
        ("membership", 0.4, "unfinished"),
        ("retain", -0.4, "damaged"),
        ("test", -0.4, "damaged"),
    ],
)
def test_large_gap_is_missed_if_its_interval_says_so_and_else_unclear(name: str, gap: float, bad: str) -> None:
    certain = with_gap(name, gap, gap - 0.2, gap + 0.2)
    assert (criterion(certain, name).state, certain.outcome) == ("missed", bad)
    for low, high in ((gap - 0.5, gap + 0.5), (gap - 0.39, gap + 0.39)):  # holds 0; only the tolerance
        noisy = with_gap(name, gap, low, high)
        assert (criterion(noisy, name).state, noisy.outcome) == ("unclear", "unjudged")
        (told,) = [sentence for sentence in noisy.sentences if sentence.startswith("It cannot be told")]
        assert ASKED[name] in told
        assert told.endswith(", which is partly within the target and partly not.")


@pytest.mark.parametrize(
    ("split", "gap", "outcome"),
    [("forget", 0.2, "unfinished"), ("forget and held-out", 0.2, "unfinished"), ("retain", -0.2, "damaged")],
)
def test_every_deleted_kind_counts(split: str, gap: float, outcome: str) -> None:
    """The names are gone, and an attack still knows the descriptions: a headline about names alone would be green."""
    found, counts, told = good(12)
    assert told.outcome == "forgotten"
    far = [
        replace(row, value=gap, low=gap - 0.09, high=gap + 0.09)
        if (row.model, row.split) == ("unlearned", split)
        and row.figure.startswith(("descriptive auc of score", "descriptive recall@1 image to text among all"))
        and row.measure.to is not None
        else row
        for row in found
    ]
    judged = verdict(far, counts)
    assert judged.outcome == outcome
    (missed,) = [row for row in judged.rows if row.state == "missed"]
    assert missed.kind == "descriptive"
    assert missed.name.endswith(" (descriptive)")
    assert any("(descriptive pairs)" in sentence for sentence in judged.sentences)


@pytest.mark.parametrize("name", ["membership", "retain", "test"])
def test_gap_within_its_tolerance_is_met_only_if_it_would_have_been_missed(name: str) -> None:
    for reach, state in ((0.6, "unclear"), (0.11, "unclear"), (0.1, "met"), (0.02, "met")):
        found = with_gap(name, -0.01, -0.01 - reach, -0.01 + reach)
        assert criterion(found, name).state == state
        assert found.outcome == ("forgotten" if state == "met" else "unjudged")
    wide = with_gap(name, -0.01, -0.61, 0.59)
    (told,) = [sentence for sentence in wide.sentences if sentence.startswith("It cannot be told")]
    assert told.endswith(
        "may in truth be anything from -0.610 to +0.590, and a judgement takes it more exactly, to within 0.10."
    )


def test_search_that_finds_no_deleted_pair_is_met_however_few_there_are() -> None:
    found = with_gap("forgetting", -0.01, -0.6, 0.6, deleted=3)
    assert criterion(found, "forgetting").state == "met"
    guessed = with_gap("forgetting", -0.01, -0.6, 0.6, deleted=12, chance=0.5)
    assert criterion(guessed, "forgetting").state == "unclear", "one of two classes is right by chance"


@pytest.mark.parametrize("name", ["forgetting", "membership", "retain", "test"])
def test_less_evidence_never_makes_a_stronger_claim(name: str) -> None:
    """The same gap, with a wider interval or none and of fewer groups, is judged the same or not at all."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(3000):
        gap, value = rng.uniform(-0.5, 0.5), rng.uniform(0, 1) * rng.choice([1.0, 0.05])
        narrow, groups = rng.uniform(0, 0.3), int(rng.integers(1, 20))
        wide, fewer = rng.choice([narrow, narrow + rng.uniform(0, 0.3), np.nan]), int(rng.integers(1, groups + 1))
        unseen, chance = rng.choice([None, 0.0, 0.3]), float(rng.choice([0.0, 0.1, 0.5]))
        counts = UnitCounts(
            noun="people", kind=None, measure=Measure(""), total=groups, found={}, memorised=groups, groups=groups,
            forgotten={"unlearned": int(rng.choice([0, groups]))}, chance=float(rng.choice([0.001, 0.5])),
        )  # fmt: skip

        def state(reach: float, of: int) -> str:
            low, high = (None, None) if np.isnan(reach) else (gap - reach, gap + reach)  # noqa: B023
            base = max(value - gap, 0.0)  # noqa: B023
            least = None if np.isnan(reach) else base - reach
            row = ScoreRow(
                criterion=name, note="", gap=gap, low=low, high=high, yardstick=value - gap, groups=of,  # noqa: B023
                original=Figure(audit="", measure=Measure(""), model="original", value=base, low=least, chance=chance),  # noqa: B023
                unlearned=Figure(audit="", measure=Measure(""), model="unlearned", value=value),  # noqa: B023
            )  # fmt: skip
            about = replace(counts, groups=of) if name in ("forgetting", "membership") else None  # noqa: B023
            return state_of(row, about, unseen)  # noqa: B023

        more, less = state(narrow, groups), state(wide, fewer)
        assert less in (more, "unclear"), (gap, value, narrow, wide, groups, fewer)
        seen.add((more, less))
    assert seen >= {("met", "unclear"), ("missed", "unclear"), ("met", "met"), ("missed", "missed")}


@pytest.mark.parametrize("memory", [0.3, pytest.param(1.0, marks=pytest.mark.slow)])  # the less, the harder to tell
def test_model_that_has_not_forgotten_is_not_called_so_for_lack_of_evidence(memory: float) -> None:
    """Fewer people, no retrained model, no held-out pairs: each takes evidence away, none of it is a success."""
    for forgotten in (1, 3, 12, 40):
        sizes = {"people": 100, "forgotten": forgotten, "kinds": (None,)}
        for with_retrained in (True, False):
            models = models_of(model(forget=memory, model_seed=4, **sizes), with_retrained=with_retrained, **sizes)
            for with_test in (True, False):
                given = models if with_test else {name: replace(m, test=None) for name, m in models.items()}
                assert judge(run(given)).outcome in ("unfinished", "unjudged")


def test_few_deleted_people_are_no_proof_of_a_gap_unless_they_are_still_found() -> None:
    """Two people's interval holds nothing but what lies between the two."""
    assert criterion(with_gap("membership", 0.4, 0.3, 0.5, deleted=5), "membership").state == "unclear"
    assert criterion(with_gap("membership", 0.4, 0.3, 0.5, deleted=6), "membership").state == "missed"
    assert criterion(with_gap("forgetting", -0.4, -0.5, -0.3, deleted=5), "forgetting").state == "unclear"
    assert with_gap("forgetting", 0.4, 0.3, 0.5, deleted=5).outcome == "unfinished"
    still = {"unlearned": 0}
    assert with_gap("forgetting", 1.0, None, None, deleted=1, forgotten=still).outcome == "unfinished"
    assert with_gap("forgetting", 1.0, None, None, deleted=1).outcome == "unjudged", "all are forgotten by the count"
    for name in ("membership", "retain", "test"):
        assert with_gap(name, -0.4, None, None, deleted=1).outcome == "unjudged"


def test_one_of_two_classes_is_guessed_right_too_often_to_prove_anything() -> None:
    assert with_gap("forgetting", 0.4, 0.3, 0.5, deleted=5, chance=0.5).outcome == "unjudged"
    none_gone = {"unlearned": 0}
    assert with_gap("forgetting", 0.4, -0.1, 0.5, forgotten=none_gone).outcome == "unfinished"
    assert with_gap("forgetting", 0.4, -0.1, 0.5, forgotten=none_gone, chance=0.5).outcome == "unjudged"


def test_retrained_models_that_keep_less_than_the_original_do_not_condemn_themselves() -> None:
    """Retraining on less data costs a little: the lower of original and retrained is the yardstick."""
    models = {"original": model(forget=1.0, model_seed=1, looks=0.5)}
    models["retrained"] = models["unlearned"] = model(forget=0.0, retain=0.33, looks=0.25, model_seed=2)
    found = judge(run(models))
    retain = criterion(found, "retain")
    assert retain.original is not None
    assert retain.retrained is not None
    assert (retain.original.value or 0) - (retain.retrained.value or 0) > 0.05
    assert found.outcome not in BAD


@pytest.mark.parametrize("with_retrained", [True, False])
def test_random_weights_are_damaged_and_not_forgotten(with_retrained: bool) -> None:
    found = judged(model(forget=0.0, retain=0.0, looks=0.0, model_seed=9), with_retrained=with_retrained)
    assert found.outcome == "damaged"
    assert criterion(found, "retain").state == "missed"
    assert criterion(found, "test").state == "missed"


def test_collapsed_model_is_damaged() -> None:
    m = model(forget=0.0, model_seed=4)
    flat = np.full(96, 1 / np.sqrt(96), dtype=np.float32)
    parts = {}
    for split in ("forget", "retain", "test"):
        signals = getattr(m, split)
        same = {"image": np.tile(flat, (len(signals), 1)), "text": np.tile(flat, (len(signals), 1))}
        parts[split] = type(signals)(**{**vars(signals), "embeddings": same, "score": np.ones_like(signals.score)})
    assert judged(replace(m, **parts)).outcome == "damaged"


def test_forget_pairs_pushed_below_chance_are_over_forgotten() -> None:
    found = judged(model(forget=0.0, opposed=True, model_seed=4))
    assert found.outcome == "over-forgotten"
    assert criterion(found, "membership").gap == pytest.approx(-0.5, abs=0.2)
    assert any(
        "the AUC of the attack by the " in sentence and " below (95 % " in sentence for sentence in found.sentences
    )


def partly(remembered: int, **settings: int) -> ModelSignals:
    """A model that has memorised the first so many of 12 forget people, and none of the others."""
    bad, good = model(forget=1.0, **settings), model(forget=0.0, **settings)
    first = np.array([int((subject or "").split("-")[1]) < remembered for subject in good.forget.subjects])
    mixed = bad.forget.select(first).join(good.forget.select(~first))
    return replace(good, forget=mixed.select(np.array([list(mixed.ids).index(pair) for pair in good.forget.ids])))


def test_half_forgotten_people_are_counted() -> None:
    found = judged(partly(6, model_seed=4))
    assert found.outcome == "unfinished"
    assert found.sentences[0] == (
        "Of 12 people to be forgotten (by sensitive pairs) the original finds 12, the unlearned model 6, a model "
        "retrained without them 0. "
        "Found means: an own text ranks first among all training texts."
    )


def test_two_of_twelve_people_still_found_is_not_forgotten_within_noise() -> None:
    """The gap's interval holds 0, but people who are found are no evidence that all are gone."""
    found = judged(partly(2, model_seed=4))
    row = criterion(found, "forgetting")
    assert row.gap == pytest.approx(2 / 12)
    assert row.low is not None
    assert row.low <= 0
    assert row.state in ("unclear", "absent")
    assert found.outcome == "unjudged"
    assert any(sentence.startswith(f"It cannot be told whether {ASKED['forgetting']}") for sentence in found.sentences)


def test_untouched_model_of_which_little_was_memorised_is_unfinished_despite_the_noise() -> None:
    original = partly(2, model_seed=4)
    models = models_of(original) | {"original": original}
    found = judge(run(models))
    assert criterion(found, "forgetting").state == "missed", "not one that was memorised is forgotten"
    assert found.outcome == "unfinished"


def test_lost_retain_pairs_are_damage() -> None:
    found = judged(model(forget=0.0, retain=0.25, model_seed=4))
    assert found.outcome == "damaged"
    assert any("Pairs that were to stay are known less than before" in sentence for sentence in found.sentences)


def test_model_given_as_its_own_yardstick_is_unjudged() -> None:
    original = model(forget=1.0, model_seed=1)
    found = judge(run({"original": original, "unlearned": original, "retrained": original}))
    assert found.outcome == "unjudged"
    assert any("Too little was memorised" in sentence for sentence in found.sentences)
    assert any(sentence.endswith("Or had the retrained model seen them too?") for sentence in found.sentences)


def test_broken_retrained_model_is_a_doubtful_yardstick() -> None:
    models = models_of(model(forget=0.0, retain=0.0, looks=0.0, model_seed=9))
    models["retrained"] = model(forget=0.0, retain=0.0, looks=0.0, model_seed=10)
    found = judge(run(models))
    assert found.outcome != "forgotten"
    assert any("doubtful yardstick" in sentence for sentence in found.sentences)


def test_without_a_retrained_model_the_targets_are_named() -> None:
    sizes = {"people": 300, "forgotten": 150}
    found = judged(model(forget=0.0, model_seed=5, **sizes), with_retrained=False, **sizes)
    assert found.outcome == "forgotten"
    assert found.headline == (
        "Forgotten: as far as can be told without a retrained model to compare the deleted people with"
    )
    assert any("--method retrain" in step for step in found.steps)
    words = " ".join([found.headline, *found.sentences])
    assert "how one would behave is not known" in words
    assert "indistinguishable" not in words
    assert "held-out pairs in the original" in criterion(found, "forgetting").target


def test_without_held_out_pairs_membership_cannot_be_judged() -> None:
    models = {name: replace(m, test=None) for name, m in models_of(model(forget=0.0, model_seed=4)).items()}
    found = judge(run(models))
    assert found.outcome == "unjudged"
    assert criterion(found, "membership").state in ("unclear", "absent")
    assert "retain pairs are members" in criterion(found, "membership").note


def test_family_that_cannot_be_searched_is_unjudged() -> None:
    models = {}
    for name, m in models_of(model(forget=0.0, model_seed=4)).items():
        parts = {s: type(m.forget)(**{**vars(getattr(m, s)), "embeddings": None}) for s in ("forget", "retain", "test")}
        models[name] = replace(m, **parts)
    found = judge(run(models))
    assert found.outcome == "unjudged"
    assert "could not be counted" in found.sentences[0]


def test_labels_are_told_as_totals_beside_the_retrained_model() -> None:
    """Single labels come and go by chance, so that none is called forgotten."""
    counts = UnitCounts(
        noun="pairs", total=175, measure=Measure("accuracy"), kind=None, memorised=70, requested=None, chance=0.5,
        groups=175, found={"original": 175, "unlearned": 112, "retrained": 105},
        forgotten={"unlearned": 31, "retrained": 70},
    )  # fmt: skip
    told = verdict([], counts).sentences[0]
    assert told.startswith(
        "The unlearned model knows the labels of 112 of 175 deleted pairs, the original of 175, "
        "a model retrained without them of 105. "
    )
    assert "forgotten" not in told


def test_sentences_tell_what_it_cost() -> None:
    found = judged(model(forget=0.0, model_seed=4))
    assert found.sentences[-1] == (
        "What it cost: 12.0 s, 0.12 of the time of retraining; "
        "sensitive recall@1 on retain pairs 1.000 before, 1.000 after; "
        "descriptive recall@1 on retain pairs 1.000 before, 1.000 after; "
        "descriptive recall@10 on held-out pairs 1.000 before, 1.000 after."
    )


@pytest.mark.parametrize(("low", "is_said"), [(0.05, True), (-0.01, False)])
def test_what_comes_back_by_relearning_is_said_and_changes_no_outcome(low: float, is_said: bool) -> None:
    unlearned = model(forget=0.0, model_seed=3)
    audit = run(models_of(unlearned))
    counts = unit_counts(audit)
    assert counts is not None
    figures = [row for name in ("utility", "forgetting", "membership", "cost") for row in AUDITS[name](audit)]
    area = Figure(
        audit=relearning.AUDIT, measure=replace(counts.measure, state=relearning.MEAN, to="retrained"),
        split=relearning.SPLIT, model="unlearned", value=0.2, low=low, high=0.34, n=30, better="target",
    )  # fmt: skip
    found = verdict([*figures, area], counts)
    assert any("comes back" in sentence and "0.200" in sentence for sentence in found.sentences) == is_said
    assert found.outcome == verdict(figures, counts).outcome


def test_nothing_is_forgotten_while_the_same_pairs_are_kept_under_other_ids() -> None:
    figures, counts, told = good(12)
    assert told.outcome == "forgotten"
    found = verdict(figures, counts, kept_repeats=1)
    assert found.outcome == "unjudged"
    assert found.headline == "Not judged: pairs that were kept are the same as deleted ones"
    assert any(text.startswith("1 kept pair is the same pair as a deleted one") for text in found.sentences)
    assert any("Name the kept pairs that are the same" in step for step in found.steps)


@pytest.mark.parametrize(
    ("outcome", "pace", "told"),
    [
        ("unfinished", "auto", "or more of the model to change (--trainable all) or by another --method"),
        ("over-forgotten", "auto", "with validation pairs that are like the deleted ones or by another"),
        ("damaged", "auto", "with more kept pairs to hold (--retain-sample) or by another"),
        ("unfinished", "given", "with more --passes or by another --method"),
        ("over-forgotten", "given", "with fewer --passes or a lower --lr or by another"),
        ("damaged", "given", "with a lower --lr or more --retain-per-forget or by another"),
        ("unfinished", "none", "with other hyperparameters (--set) or by another"),
        ("damaged", "retrained", "with another --seed or by another"),
        ("damaged", None, "with other settings or by another"),
    ],
)
def test_advice_fits_the_run_that_made_the_model(outcome: Outcome, pace: Pace | None, told: str) -> None:
    (step,) = next_steps(outcome, [], has_retrained=True, is_hidden=False, pace=pace)
    assert told in step
    assert step.endswith("and audit again; where nothing helps, retrain.")
    assert pace == "given" or "--retain-per-forget" not in step
    *_, without = next_steps(outcome, [], has_retrained=False, is_hidden=False, pace=pace)
    assert without.startswith("This model was itself made" if pace == "retrained" else "Make a model without")


@pytest.mark.parametrize(
    ("reasons", "begin"),
    [
        (["few deleted"], ["Audit together with further requests: "]),
        (["too few"], ["Audit with more held-out pairs, or together with further requests: "]),
        (["few deleted", "too few"], ["Audit together with further requests, and with more held-out pairs: "]),
        (["near chance"], ["Audit with more held-out pairs. The larger"]),
        (["few deleted", "near chance"], ["Audit together with", "Audit with more held-out pairs. The larger"]),
        (["too few", "near chance"], ["Audit with more held-out pairs, or", "The larger the gallery"]),
    ],
)
def test_no_advice_is_given_twice(reasons: list[ReasonKind], begin: list[str]) -> None:
    _, *steps = next_steps("unjudged", reasons, has_retrained=True, is_hidden=False)
    assert len(steps) == len(begin)
    assert all(step.startswith(first) for step, first in zip(steps, begin, strict=True))
    assert sum("with more held-out pairs" in step for step in steps) <= 1


@pytest.mark.parametrize(("groups", "said"), [(1, "one subject or picture"), (3, "3 subjects or pictures")])
def test_pairs_of_few_subjects_are_told_as_such(groups: int, said: str) -> None:
    _, counts, told = good(12)
    assert counts is not None
    few = replace(counts, groups=groups)
    row = replace(criterion(told, "membership"), state="unclear")
    assert f"the deleted pairs are of {said} alone, and it takes at least 6" in row_sentence(row, few)
