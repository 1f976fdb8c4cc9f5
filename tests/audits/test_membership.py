"""The membership attack on known answers."""

from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AuditInput, membership, stats
from multidelete.audits.result import Figure
from tests.audits.world import every, model, models_of, pick, run, split_of, with_


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    return run(models_of(model(forget=0.0, model_seed=4)))


@pytest.fixture(scope="module")
def figures(audit: AuditInput) -> list[Figure]:
    return membership.figures(audit)


def planted(audit: AuditInput, members: np.ndarray, nonmembers: np.ndarray) -> AuditInput:
    """The unlearned model's scores replaced, in the order of the pairs."""
    m = audit.models["unlearned"]
    assert m.test is not None
    changed = replace(
        m,
        forget=with_(m.forget, score=members.astype(np.float32), embeddings=None),
        retain=with_(m.retain, embeddings=None),
        test=with_(m.test, score=nonmembers.astype(np.float32), embeddings=None),
    )
    return replace(audit, models={**audit.models, "unlearned": changed})


def test_planted_membership_bit_gives_auc_one(audit: AuditInput) -> None:
    rows = membership.figures(planted(audit, np.ones(48), np.zeros(240)))
    assert pick(rows, "sensitive auc", "unlearned").value == 1.0
    assert pick(rows, "sensitive tpr at fpr 0.01", "unlearned").value == 1.0


def test_reversed_membership_bit_is_not_turned_round(audit: AuditInput) -> None:
    rows = membership.figures(planted(audit, np.zeros(48), np.ones(240)))
    assert pick(rows, "sensitive auc", "unlearned").value == 0.0
    assert pick(rows, "sensitive tpr at fpr 0.01", "unlearned").value == 0.0


def test_scores_independent_of_membership_give_half_within_the_interval() -> None:
    models = models_of(model(forget=0.0, model_seed=4, people=240, forgotten=60), people=240, forgotten=60)
    audit = every(run(models), {"embeddings": None})
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(20):
        rows = membership.figures(planted(audit, rng.normal(size=240), rng.normal(size=480)))
        row = pick(rows, "sensitive auc", "unlearned")
        assert row.low is not None
        assert row.high is not None
        inside += row.low <= 0.5 <= row.high
    assert inside >= 17


def test_membership_of_a_collapsed_encoder_is_half(audit: AuditInput) -> None:
    flat = np.full(2 * 48, 1 / np.sqrt(96), dtype=np.float32)
    models = {}
    for name, m in audit.models.items():
        parts = {}
        for split in ("forget", "retain", "test"):
            signals = getattr(m, split)
            same = {"image": np.tile(flat, (len(signals), 1)), "text": np.tile(flat, (len(signals), 1))}
            parts[split] = with_(signals, embeddings=same, score=np.ones(len(signals), dtype=np.float32))
        models[name] = replace(m, **parts)
    rows = membership.figures(replace(audit, models=models))
    assert {r.value for r in rows if r.model == "unlearned" and "auc" in r.figure and "," not in r.figure} == {0.5}


def test_membership_headline_is_the_signal_farthest_from_half(figures: list[Figure]) -> None:
    for name in ("original", "unlearned", "retrained"):
        per_signal = {
            f.figure: f.value or 0.0
            for f in figures
            if f.audit == "membership" and f.model == name and f.figure.startswith("sensitive auc of ")
            if "difference" not in f.figure
        }
        assert len(per_signal) == 3
        headline = pick(figures, "sensitive auc", name, "forget and held-out")
        strongest = max(per_signal, key=lambda figure: abs(per_signal[figure] - 0.5))
        assert headline.value == per_signal[strongest]
        assert (headline.note or "").startswith(f"strongest signal: {strongest.removeprefix('sensitive auc of ')};")


def test_rates_that_few_nonmembers_cannot_resolve_are_absent(figures: list[Figure]) -> None:
    """120 nonmembers of the kind: one in a hundred can be told, one in a thousand cannot."""
    assert pick(figures, "sensitive tpr at fpr 0.01", "unlearned").value is not None
    absent = pick(figures, "sensitive tpr at fpr 0.001", "unlearned").absent
    assert absent == "120 nonmembers cannot resolve a rate of 0.001; it takes 1,000"


def test_kind_without_held_out_pairs_is_absent_and_retain_does_not_stand_in(audit: AuditInput) -> None:
    models = {n: replace(m, test=m.test.of_kind("descriptive")) for n, m in audit.models.items() if m.test is not None}
    rows = membership.figures(replace(audit, models=models))
    assert pick(rows, "sensitive auc", "unlearned").absent == (
        "there are no sensitive held-out pairs, and retain pairs are members"
    )
    assert pick(rows, "descriptive auc", "unlearned").value is not None


def test_mi_ratio_is_the_success_before_over_after(audit: AuditInput) -> None:
    rows = membership.figures(audit)
    assert pick(rows, "sensitive MI ratio", "original").value == 1.0
    attacks = membership.attack_scores(audit, "sensitive")
    signal = (pick(rows, "sensitive auc", "original").note or "").removeprefix("strongest signal: ").split(";")[0]
    before, after = (stats.tpr_at_fpr(*attacks[signal][name], 0.1) for name in ("original", "unlearned"))
    row = pick(rows, "sensitive MI ratio", "unlearned")
    if after:
        assert row.value == pytest.approx(before / after)
    else:
        assert "no bound" in (row.absent or "")


def test_margins_equal_the_definition(audit: AuditInput) -> None:
    members, retain = audit.original.forget.of_kind("sensitive"), audit.original.retain.of_kind("sensitive")
    found = membership.margins(members, retain, query="text", candidate="image", scale=7.0)
    assert members.embeddings is not None
    assert retain.embeddings is not None
    candidates = dict(zip(retain.sources["image"], retain.embeddings["image"].astype(float), strict=True))
    expected = []
    for i in range(len(members)):
        text, image = (members.embeddings[m][i].astype(float) for m in ("text", "image"))
        expected.append(7 * (text @ image) - np.log(sum(np.exp(7 * (text @ c)) for c in candidates.values())))
    assert found == pytest.approx(expected, abs=1e-4)


def test_margins_leave_out_associated_candidates() -> None:
    """Held-out pairs whose caption is also a training caption: it is no rival to itself."""
    pairs = split_of(0, split="test", people=4, memorised=1.0, kinds=("sensitive",), views=1)
    others = split_of(0, split="retain", people=4, memorised=1.0, kinds=("sensitive",), views=1)
    shared = with_(others, sources={**others.sources, "text": [pairs.sources["text"][0], *others.sources["text"][1:]]})
    shared.embeddings["text"][0] = pairs.embeddings["text"][0]  # type: ignore[index]
    with_rival = membership.margins(pairs, others.select(np.arange(1, 4)), query="image", candidate="text", scale=5.0)
    without = membership.margins(pairs, shared, query="image", candidate="text", scale=5.0)
    assert with_rival is not None
    assert without is not None
    assert without[0] == pytest.approx(with_rival[0], abs=1e-5)
    assert without[1] < with_rival[1] + 1e-9
    only_own = membership.margins(
        pairs.select(np.arange(1)), shared.select(np.arange(1)), query="image", candidate="text"
    )
    assert only_own is None
