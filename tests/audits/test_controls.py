"""Models of known answers: right ones change nothing, a wrong one makes its audit's figures void."""

from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import (
    AUDITS,
    AuditInput,
    check_controls,
    compression,
    mark_void,
    run_audits,
    unit_counts,
    verdict,
)
from multidelete.audits.result import Figure
from tests.audits.world import every, model, models_of, pick, run, with_


def with_controls(**sizes: int) -> AuditInput:
    models = models_of(model(forget=0.0, model_seed=4, **sizes), **sizes)
    models |= {
        "untouched": models["original"],
        "retrained again": model(forget=0.0, model_seed=5, **sizes),
        "random weights": random_weights(**sizes),
    }
    return run(models)


def random_weights(**sizes: int):  # type: ignore[no-untyped-def]
    """Not even the encoders' inputs are told apart as the original does."""
    m = model(forget=0.0, retain=0.0, looks=0.0, model_seed=9, **sizes)
    rng = np.random.default_rng(0)
    parts = {}
    for split in ("forget", "retain", "test"):
        s = getattr(m, split)
        parts[split] = with_(
            s, unimodal={k: rng.normal(size=a.shape).astype(np.float32) for k, a in s.unimodal.items()}
        )
    return replace(m, **parts)


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    return with_controls()


@pytest.fixture(scope="module")
def figures(audit: AuditInput) -> list[Figure]:
    return run_audits(audit)


def test_right_controls_are_told_for_every_audit_but_cost(figures: list[Figure]) -> None:
    assert check_controls(figures) == {name: None for name in AUDITS if name != "cost"}
    assert all(row.void is None for row in figures)


@pytest.mark.parametrize(("seed", "forgotten"), [(0, 3), pytest.param(1, 12, marks=pytest.mark.slow), (2, 24)])
def test_right_controls_come_out_right_whatever_the_draw(seed: int, forgotten: int) -> None:
    found = check_controls(run_audits(with_controls(seed=seed, forgotten=forgotten)))
    assert set(found.values()) == {None}


def test_without_controls_nothing_is_told() -> None:
    assert check_controls(run_audits(run(models_of(model(forget=0.0, model_seed=4))))) == {}


def changed(figures: list[Figure], model_name: str, figure: str, split: str, **values: float) -> list[Figure]:
    pick(figures, figure, model_name, split)  # there is such a row
    return [
        replace(row, **values) if (row.model, row.figure, row.split) == (model_name, figure, split) else row  # type: ignore[arg-type]
        for row in figures
    ]


SEARCH = "sensitive recall@1 image to text among all training texts"
HELD = "forget and held-out"


@pytest.mark.parametrize(
    ("name", "audit_name", "figure", "split", "values"),
    [
        ("untouched", "membership", "sensitive auc of score", HELD, {"value": 0.5}),
        ("untouched", "unimodal", "image linear CKA", "forget", {"value": 0.9}),
        ("untouched", "forgetting", SEARCH + ", difference to original", "forget", {"value": -0.2}),
        ("retrained again", "forgetting", SEARCH + ", difference to retrained", "forget",
         {"value": 0.5, "low": 0.3, "high": 0.7}),
        ("retrained again", "separation", "sensitive auc, difference to retrained", "forget and retain",
         {"value": -0.4, "low": -0.5, "high": -0.3}),
        ("random weights", "membership", "sensitive auc of score", HELD, {"value": 0.9, "low": 0.8, "high": 0.95}),
        ("random weights", "per-pair membership", "sensitive auc of RMIA", HELD,
         {"value": 0.1, "low": 0.05, "high": 0.2}),
        ("retrained again", "per-pair membership", "sensitive auc of RMIA", HELD,
         {"value": 0.9, "low": 0.8, "high": 0.95}),
    ],
)  # fmt: skip
def test_wrong_control_makes_its_audit_void_and_no_other(
    figures: list[Figure], name: str, audit_name: str, figure: str, split: str, values: dict[str, float]
) -> None:
    rows = mark_void(changed(figures, name, figure, split, **values))
    assert {row.audit for row in rows if row.void} == {audit_name}
    assert all(row.void for row in rows if row.audit == audit_name)
    reason = next(row.void for row in rows if row.void)
    assert reason is not None
    assert reason.startswith(f"{name}: {figure.partition(',')[0]}")


def test_noisy_control_proves_nothing(figures: list[Figure]) -> None:
    noisy = {"value": 0.5, "low": 0.0, "high": 1.0}
    rows = changed(figures, "retrained again", SEARCH + ", difference to retrained", "forget", **noisy)
    assert check_controls(rows)["forgetting"] is None


def test_useful_random_weights_make_utility_void(audit: AuditInput) -> None:
    """Figures that cannot tell a random model from the original measure nothing."""
    models = audit.models | {"random weights": audit.models["original"]}
    found = check_controls(run_audits(replace(audit, models=models)))
    wrong = {name for name, reason in found.items() if reason}
    assert {"utility", "forgetting", "unimodal"} <= wrong
    assert "nothing is certainly worse" in (found["utility"] or "")


def test_random_weights_no_farther_than_the_floor_make_distance_void(audit: AuditInput) -> None:
    models = audit.models | {"random weights": audit.models["retrained"]}
    found = check_controls(run_audits(replace(audit, models=models)))
    assert "nowhere farther" in (found["distance"] or "")


def test_confounded_membership_is_void_and_not_judged(audit: AuditInput) -> None:
    """Forget pairs that score higher than held-out ones in every model: an attack on the data, not on the models."""
    bare = every(audit, {"embeddings": None})
    models = {name: replace(m, forget=with_(m.forget, score=m.forget.score + 10)) for name, m in bare.models.items()}
    rows = run_audits(replace(audit, models=models))
    assert "random weights: sensitive auc of score is 1.000" in (check_controls(rows)["membership"] or "")
    given = replace(audit, models=models)
    found = verdict(rows, unit_counts(given))
    row = next(row for row in found.rows if row.criterion == "membership")
    assert row.state == "absent"
    assert row.note.startswith("void: ")
    assert found.outcome == "unjudged"


def test_controls_of_weights_in_few_bits(audit: AuditInput) -> None:
    """Right as they are; void where rounding makes a retrained model find what it never saw."""
    right = compression.figures(audit, {4: audit.models})
    assert check_controls(right) == {"compression": None}
    wrong = compression.figures(audit, {4: {**audit.models, "retrained again": audit.models["original"]}})
    assert "retrained again: sensitive recall@1" in (check_controls(wrong)["compression"] or "")


def test_leaking_second_retrained_model_makes_leakage_void(audit: AuditInput) -> None:
    models = audit.models | {"retrained again": audit.models["original"]}
    found = check_controls(run_audits(replace(audit, models=models)))
    assert "by a fitted map" in (found["leakage"] or "")
