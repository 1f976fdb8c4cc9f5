"""The released code's separation beside ours: other scores, other figures."""

from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AuditInput, ModelSignals, Signals, separation
from multidelete.audits.separation import AS_RELEASED, released_scores
from tests.audits.world import model, models_of, pick, run, with_


def labelled(signals: Signals, right: float, seed: int, classes: int = 3) -> Signals:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=len(signals))
    logits = rng.normal(size=(len(signals), classes)) + right * np.eye(classes)[labels]
    return with_(signals, embeddings=None, logits=logits.astype(np.float32), labels=labels)


def classifiers(classes: int = 3) -> AuditInput:
    models = models_of(model(forget=0.0, model_seed=4, kinds=(None,), people=32, forgotten=8), kinds=(None,), people=32,
                       forgotten=8)  # fmt: skip
    right = {"original": (4.0, 4.0), "unlearned": (0.0, 4.0), "retrained": (1.0, 4.0)}

    def of(name: str, m: ModelSignals) -> ModelSignals:
        forget, retain = right[name]
        return replace(m, forget=labelled(m.forget, forget, 1, classes), retain=labelled(m.retain, retain, 2, classes))

    return run({name: of(name, m) for name, m in models.items()})


def slow_auc(retain: list[float], forget: list[float]) -> float:
    """One pair of pairs at a time; ties count half."""
    wins = [1.0 if r > f else 0.5 if r == f else 0.0 for r in retain for f in forget]
    return sum(wins) / len(wins)


def test_released_separation_is_the_mean_auc_of_class_probabilities_blind_to_labels() -> None:
    audit = classifiers()
    rows = separation.figures(audit)
    for name, m in audit.models.items():
        probability = [np.exp(s.logits.astype(float)) / np.exp(s.logits.astype(float)).sum(1, keepdims=True)
                       for s in (m.retain, m.forget) if s.logits is not None]  # fmt: skip
        expected = np.mean([slow_auc(list(probability[0][:, c]), list(probability[1][:, c])) for c in range(3)])
        row = pick(rows, AS_RELEASED, name)
        assert row.value == pytest.approx(expected, abs=1e-9)
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high
    assert (pick(rows, "auc", "unlearned").value or 0) > 0.95, "ours looks at the pair's own label"
    assert (pick(rows, AS_RELEASED, "unlearned").value or 1) < 0.4, "theirs does not: 0.95 here is 0.35 there"
    gap = pick(rows, f"{AS_RELEASED}, difference to retrained", "unlearned")
    assert gap.value == pytest.approx(
        (pick(rows, AS_RELEASED, "unlearned").value or 0) - (pick(rows, AS_RELEASED, "retrained").value or 0)
    )


def test_released_separation_of_two_classes_says_nothing() -> None:
    rows = separation.figures(classifiers(classes=2))
    for name in ("original", "unlearned", "retrained"):
        row = pick(rows, AS_RELEASED, name)
        assert row.value == pytest.approx(0.5, abs=1e-9)
        assert "of two classes it is 0.5 in any model" in (row.note or "")


def test_released_separation_of_retrieval_is_that_of_the_cosine() -> None:
    """Whatever the association score is: a matching head's logit, or a cosine times a scale."""
    audit = run(models_of(model(forget=0.0, model_seed=4)))
    head = {name: replace(m, forget=with_(m.forget, score=-m.forget.score)) for name, m in audit.models.items()}
    audit = replace(audit, models=head)
    rows = separation.figures(audit)
    m = audit.models["unlearned"]
    for kind in ("sensitive", "descriptive"):
        retain, forget = (
            [float((e["image"][i] * e["text"][i]).sum().round(6)) for i, k in enumerate(s.kinds) if k == kind]
            for s in (m.retain, m.forget) if (e := s.embeddings)
        )  # fmt: skip
        expected = slow_auc(retain, forget)
        assert pick(rows, f"{kind} {AS_RELEASED}", "unlearned").value == pytest.approx(expected, abs=1e-6)
    assert pick(rows, "sensitive auc", "unlearned").value != pytest.approx(expected, abs=0.05)


def test_family_without_classes_or_cosines_has_no_released_figure() -> None:
    audit = run(models_of(model(forget=0.0, model_seed=4)))
    bare = {name: replace(m, **{s: with_(getattr(m, s), embeddings=None) for s in ("forget", "retain")})
            for name, m in audit.models.items()}  # fmt: skip
    rows = separation.figures(replace(audit, models=bare))
    assert "has neither" in (pick(rows, f"sensitive {AS_RELEASED}", "unlearned").absent or "")
    assert released_scores(bare["original"].forget) is None
    assert pick(rows, "sensitive auc", "unlearned").value is not None
