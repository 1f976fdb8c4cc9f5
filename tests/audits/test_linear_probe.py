"""Linear probes: what is planted in a representation is read, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AuditInput, ModelSignals, unimodal
from multidelete.audits.linear_probe import probe_hits
from tests.audits.world import model, models_of, pick, run, with_

SIZES = {"people": 220, "forgotten": 20}
IMAGE, TEXT = "image linear probe accuracy", "text linear probe accuracy"


def labelled(audit: AuditInput, planted: Mapping[str, tuple[str, ...]]) -> AuditInput:
    """Three classes at random, written into one direction of the images of these splits of each model."""
    models = {}
    for name, m in audit.models.items():
        parts = {}
        for number, part in enumerate(("forget", "retain", "test")):
            signals = getattr(m, part)
            labels = np.random.default_rng(number).integers(3, size=len(signals))
            image = signals.unimodal["image"].copy()
            if part in planted[name]:
                image[:, :3] += 9 * np.eye(3, dtype=np.float32)[labels]
            parts[part] = with_(signals, unimodal={**signals.unimodal, "image": image}, labels=labels)
        models[name] = replace(m, **parts)
    return replace(audit, models=models)


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    return run(models_of(model(forget=0.0, model_seed=4, **SIZES), **SIZES))


def test_probe_reads_what_is_planted_and_no_more(audit: AuditInput) -> None:
    """The unlearned model still tells the classes of forgotten pairs from their images; the retrained one does not."""
    everywhere, kept = ("forget", "retain", "test"), ("retain", "test")
    rows = unimodal.figures(labelled(audit, {"original": everywhere, "unlearned": everywhere, "retrained": kept}))
    assert (pick(rows, IMAGE, "unlearned", "forget").value or 0) > 0.95
    assert (pick(rows, IMAGE, "retrained", "forget").value or 1) < 0.6
    assert (pick(rows, f"{IMAGE}, difference to retrained", "unlearned", "forget").low or 0) > 0.3
    assert (pick(rows, IMAGE, "retrained", "test").value or 0) > 0.95
    assert pick(rows, f"{IMAGE}, difference to original", "unlearned", "test").value == 0.0
    blind = pick(rows, TEXT, "unlearned", "test")  # labels are in no text
    assert (blind.value or 1) < 0.6
    assert "3 labels; fitted on 800 retain pairs" in (blind.note or "")


def test_random_representations_are_read_as_the_most_frequent_class_would_be(audit: AuditInput) -> None:
    rows = unimodal.figures(labelled(audit, {"original": (), "unlearned": (), "retrained": ()}))
    row = pick(rows, IMAGE, "unlearned", "test")
    assert row.value == pytest.approx(1 / 3, abs=0.1)


def test_kinds_take_the_place_of_labels_where_a_member_has_one(audit: AuditInput) -> None:
    models = {}
    for name, m in audit.models.items():
        parts = {}
        for part in ("forget", "retain", "test"):
            signals = getattr(m, part)
            shift = np.array([[9.0 * (kind == "sensitive")] for kind in signals.kinds], dtype=np.float32)
            parts[part] = with_(signals, unimodal={**signals.unimodal, "text": signals.unimodal["text"] + shift})
        models[name] = replace(m, **parts)
    rows = unimodal.figures(replace(audit, models=models))
    assert pick(rows, TEXT, "unlearned", "test").value == 1.0
    assert "2 kinds" in (pick(rows, TEXT, "unlearned", "test").note or "")
    assert pick(rows, IMAGE, "unlearned", "test").absent == (
        "the pairs have no labels, and images are in pairs of several kinds"
    )


def test_without_classes_or_held_out_pairs_it_is_absent_with_the_reason(audit: AuditInput) -> None:
    def without(m: ModelSignals) -> ModelSignals:
        return replace(m, test=None)

    alone = replace(audit, models={name: without(m) for name, m in audit.models.items()})
    assert pick(unimodal.figures(alone), TEXT, "unlearned", "val").absent == "there are no held-out pairs"
    sizes = {"kinds": (None,), "people": 40, "forgotten": 10}
    plain = run({"original": model(forget=1.0, **sizes), "unlearned": model(forget=0.0, **sizes)})  # type: ignore[arg-type]
    row = pick(unimodal.figures(plain), TEXT, "unlearned", "forget")
    assert row.absent == "the retain pairs have no labels, and fewer than two kinds"


def test_probe_is_logistic_regression_by_gradient_descent() -> None:
    """Against the penalised likelihood, minimised step by step; a class that was never fitted is never right."""
    rng = np.random.default_rng(0)
    x, asked = rng.normal(size=(60, 3)), rng.normal(size=(40, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.normal(size=60) > 0).astype(int)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    weight, bias = np.zeros(3), 0.0
    for _ in range(20_000):
        error = 1 / (1 + np.exp(-(z @ weight + bias))) - y
        weight, bias = weight - 0.01 * (z.T @ error + weight), bias - 0.01 * error.sum()
    said = ((asked - x.mean(axis=0)) / x.std(axis=0)) @ weight + bias > 0
    assert probe_hits(x, y.tolist(), asked, [1] * 40).tolist() == said.astype(float).tolist()
    assert probe_hits(x, y.tolist(), asked, [2] * 40).tolist() == [0.0] * 40
