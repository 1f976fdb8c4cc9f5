"""An attack that asks for no label: classifiers that were made unsure of deleted pairs give them away."""

from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AuditInput, Signals, membership, run_audits, unit_counts, verdict
from tests.audits.world import model, models_of, pick, run, split_of, with_

SHARE_RIGHT = {
    "original": {"forget": 0.95, "retain": 0.95, "test": 0.55},
    "unlearned": {"forget": 0.55, "retain": 0.95, "test": 0.55},
    "retrained": {"forget": 0.55, "retain": 0.95, "test": 0.55},
}
SURE, FLAT = 4.0, 0.01  # logit of the predicted class; the others have 0


def classified(signals: Signals, share_right: float, sure: float, seed: int) -> Signals:
    """Three classes, so many right, each prediction about as sure."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=len(signals))
    right = rng.permutation(len(signals)) < share_right * len(signals)
    predicted = np.where(right, labels, (labels + 1) % 3)
    logits = np.eye(3)[predicted] * (sure * rng.uniform(0.8, 1.2, size=len(signals)))[:, None]
    return with_(signals, embeddings=None, logits=logits.astype(np.float32), labels=labels)


def classifiers(unlearned_is_sure: float) -> AuditInput:
    """Classifiers that differ in how much is right, and the unlearned one in how sure it is of deleted pairs."""
    kinds: tuple[None] = (None,)
    bases = models_of(model(forget=0.0, model_seed=4, people=480, forgotten=160, kinds=kinds),
                      people=480, forgotten=160, kinds=kinds)  # fmt: skip
    models = {}
    for at, (name, base) in enumerate(bases.items()):
        parts = {}
        for split, share in SHARE_RIGHT[name].items():
            sure = unlearned_is_sure if (name, split) == ("unlearned", "forget") else SURE
            parts[split] = classified(getattr(base, split), share, sure, 1000 * at + sum(split.encode()))
        models[name] = replace(base, **parts)
    return run(models)


def test_flat_outputs_on_deleted_pairs_are_over_forgotten() -> None:
    """As many labels are right as in the retrained model; only the confidence tells."""
    audit = classifiers(FLAT)
    rows = run_audits(audit)
    assert pick(rows, "auc of confidence", "unlearned").value == 0.0
    assert pick(rows, "auc of confidence", "retrained").value == pytest.approx(0.5, abs=0.08)
    assert (pick(rows, "auc", "unlearned", membership.SPLIT).note or "").startswith("strongest signal: confidence;")
    found = verdict(rows, unit_counts(audit))
    assert found.outcome == "over-forgotten"
    assert any("the AUC of the attack by the pairs' confidence is 0.000" in sentence for sentence in found.sentences)


def test_the_same_model_as_sure_as_of_unseen_pairs_is_forgotten() -> None:
    audit = classifiers(SURE)
    rows = run_audits(audit)
    assert pick(rows, "auc of confidence", "unlearned").value == pytest.approx(0.5, abs=0.08)
    assert verdict(rows, unit_counts(audit)).outcome == "forgotten"


def test_confidence_is_the_log_odds_of_the_most_likely_class_whatever_the_label() -> None:
    """Against probabilities, one pair at a time."""
    signals = split_of(0, split="test", people=8, memorised=1.0, kinds=(None,), views=1)
    logits = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    found = [with_(signals, logits=logits, labels=np.full(8, label)).confidence for label in range(3)]
    for pair, own in enumerate(logits.astype(float)):
        best = max(np.exp(own) / np.exp(own).sum())
        assert [one[pair] for one in found if one is not None] == pytest.approx(
            [np.log(best / (1 - best))] * 3, abs=1e-5
        )


def test_families_without_classes_have_no_such_signal() -> None:
    audit = run(models_of(model(forget=0.0, model_seed=4)))
    assert audit.original.forget.confidence is None
    assert membership.CONFIDENCE not in membership.attack_scores(audit, "sensitive")
