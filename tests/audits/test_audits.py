"""Each audit on known answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multidelete.audits import (
    AUDITS,
    AuditInput,
    ModelSignals,
    forgetting,
    run_audits,
    separation,
    stats,
    unimodal,
    unit_counts,
    utility,
)
from multidelete.audits.result import Figure, read_audit, write_audit
from multidelete.audits.retrieval import search
from tests.audits.world import every, model, models_of, pick, run, with_

HEADLINE = "sensitive recall@1 image to text among all training texts"


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    return run(models_of(model(forget=0.0, model_seed=4)))


@pytest.fixture(scope="module")
def figures(audit: AuditInput) -> list[Figure]:
    return run_audits(audit)


def test_every_audit_writes_rows_that_can_be_read_back(figures: list[Figure], tmp_path: Path) -> None:
    assert {f.audit for f in figures} == set(AUDITS)
    keys = [(f.audit, f.figure, f.model, f.split) for f in figures]
    assert len(keys) == len(set(keys))
    write_audit(tmp_path / "audit.json", {"seed": 0}, figures)
    assert read_audit(tmp_path / "audit.json") == ({"seed": 0}, figures)


def test_audits_are_pure(audit: AuditInput, figures: list[Figure]) -> None:
    assert run_audits(audit) == figures


def test_targets_are_the_retrained_models_values(figures: list[Figure]) -> None:
    retrained = pick(figures, HEADLINE, "retrained", "forget")
    assert pick(figures, HEADLINE, "unlearned", "forget").target == retrained.value
    assert retrained.target is None
    assert pick(figures, "wall seconds", "unlearned").target is None


def test_utility_equals_a_search_within_the_kind(audit: AuditInput, figures: list[Figure]) -> None:
    for name, signals in audit.models.items():
        assert signals.test is not None
        of_kind = signals.test.of_kind("descriptive")
        everything = np.ones(len(of_kind), dtype=bool)
        result = search(of_kind, everything, everything, query="text", candidate="image", ks=(5,))
        row = pick(figures, "descriptive recall@5 text to image", name, "test")
        assert row.value == pytest.approx(result.recall[5].mean())
        assert row.note == "gallery: 120 distinct descriptive test images"
        assert row.n == 60


def test_differences_are_paired(audit: AuditInput) -> None:
    """A model equal to the retrained one differs by 0 with no spread, however wide either interval is."""
    weak = {"forget": 0.0, "looks": 0.2}
    models = {"original": model(**weak, model_seed=1), "unlearned": model(**weak, model_seed=2)}
    rows = utility.figures(run(models | {"retrained": models["unlearned"]}))
    value = pick(rows, "descriptive recall@10 image to text", "unlearned")
    apart = pick(rows, "descriptive recall@10 image to text, difference to retrained", "unlearned")
    assert value.low is not None
    assert value.high is not None
    assert value.high - value.low > 0.1
    assert (apart.value, apart.low, apart.high, apart.better) == (0.0, 0.0, 0.0, "target")
    before = pick(rows, "descriptive recall@10 image to text, difference to original", "unlearned")
    original = pick(rows, "descriptive recall@10 image to text", "original")
    assert before.value == pytest.approx((value.value or 0) - (original.value or 0))


def test_utility_without_held_out_pairs_is_absent(audit: AuditInput) -> None:
    models = {name: replace(m, test=None) for name, m in audit.models.items()}
    rows = utility.figures(replace(audit, models=models))
    assert [row.absent for row in rows] == ["there are no held-out pairs"] * 3


def test_validation_pairs_stand_in_for_test_pairs(audit: AuditInput) -> None:
    models = {name: replace(m, test=None, val=m.test) for name, m in audit.models.items()}
    rows = utility.figures(replace(audit, models=models))
    assert {row.split for row in rows} == {"val"}


def test_forgetting_tells_forget_from_retain(figures: list[Figure]) -> None:
    assert pick(figures, HEADLINE, "original", "forget").value == 1.0
    assert pick(figures, HEADLINE, "retrained", "forget").value == pytest.approx(0.0, abs=0.1)
    for name in ("original", "unlearned", "retrained"):
        assert pick(figures, HEADLINE, name, "retain sample").value == 1.0
        assert pick(figures, HEADLINE, name, "retain").value == 1.0
        assert pick(figures, HEADLINE, name, "test").value == pytest.approx(0.0, abs=0.1)
    assert pick(figures, HEADLINE, "unlearned", "forget").note == (
        "gallery: 120 distinct sensitive texts of the training pairs"
    )
    alone = pick(figures, "sensitive recall@1 image to text among the split's own texts", "unlearned", "forget")
    assert alone.note == "gallery: 12 distinct sensitive texts of the forget pairs alone"


@pytest.mark.parametrize(("unit", "pairs"), [("subject", 48), ("image", 48), ("pair", 48)])
def test_retain_sample_has_as_many_units_as_are_forgotten(audit: AuditInput, unit: str, pairs: int) -> None:
    chosen = replace(audit, unit=unit).retain_sample
    retain = audit.original.retain
    assert chosen.sum() == pairs
    drawn = retain.select(chosen)
    if unit == "subject":
        assert len(set(drawn.subjects)) == 12
        assert sum(s in set(drawn.subjects) for s in retain.subjects) == pairs
    if unit == "image":
        assert len(set(drawn.sources["image"])) == 24
    assert replace(audit, unit=unit, seed=1).retain_sample.tolist() != chosen.tolist()


def test_sampled_retain_pairs_are_called_a_sample(audit: AuditInput) -> None:
    rows = forgetting.figures(replace(audit, retain_pairs=10_000))
    row = pick(rows, HEADLINE.replace(" all ", " sampled "), "unlearned", "forget")
    assert row.note is not None
    assert row.note.endswith("(a sample of the retain pairs)")


def test_search_over_all_retain_pairs_is_left_out_where_it_is_large(
    audit: AuditInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "SEARCH_LIMIT", 10)
    rows = forgetting.figures(audit)
    assert "comparisons are more than 10" in (pick(rows, HEADLINE, "unlearned", "retain").absent or "")
    assert pick(rows, HEADLINE, "unlearned", "retain sample").value == 1.0


def test_unit_counts_of_untouched_and_retrained_are_none_and_all(audit: AuditInput) -> None:
    counts = unit_counts(replace(audit, models=audit.models | {"control": audit.models["original"]}))
    assert counts is not None
    assert (counts.total, counts.memorised) == (12, 12)
    assert counts.forgotten["control"] == 0
    assert counts.forgotten["retrained"] == counts.forgotten["unlearned"] == 12
    assert counts.found["original"] == 12
    assert counts.chance == pytest.approx(1 / 120)


def test_units_found_by_the_retrained_model_are_not_counted_as_memorised() -> None:
    original = model(forget=1.0, model_seed=1)
    counts = unit_counts(run({"original": original, "unlearned": original, "retrained": original}))
    assert counts is not None
    assert (counts.memorised, counts.forgotten["unlearned"]) == (0, 0)


def test_separation_is_half_for_equal_scores_and_one_for_planted_ones(audit: AuditInput) -> None:
    rng = np.random.default_rng(0)

    def scored(m: ModelSignals, lift: float) -> ModelSignals:
        parts = {s: with_(getattr(m, s), score=rng.normal(size=len(getattr(m, s)))) for s in ("forget", "retain")}
        return replace(m, **(parts | {"retain": with_(parts["retain"], score=parts["retain"].score + lift)}))

    models = {n: scored(m, 100.0 if n == "unlearned" else 0.0) for n, m in audit.models.items()}
    rows = separation.figures(replace(audit, models=models))
    assert pick(rows, "sensitive auc", "unlearned").value == 1.0
    equal = pick(rows, "sensitive auc", "original")
    assert equal.low is not None
    assert equal.high is not None
    assert equal.low < 0.5 < equal.high
    assert "9 disjoint retain samples of 24 pairs" in (equal.note or "")


def test_separation_is_the_mean_over_the_disjoint_samples() -> None:
    rng = np.random.default_rng(1)
    positives, negatives = rng.integers(9, size=60).astype(float), rng.integers(9, size=12).astype(float)
    blocks = [stats.auc(positives[i : i + 12], negatives) for i in range(0, 60, 12)]
    assert stats.auc(positives, negatives) == pytest.approx(np.mean(blocks))


def test_separation_with_few_retain_pairs_says_so() -> None:
    rows = separation.figures(run(models_of(model(forget=0.0, people=20, forgotten=12), people=20, forgotten=12)))
    assert "only 16 retain pairs for 24 forget pairs" in (pick(rows, "sensitive auc", "unlearned").note or "")


def test_separation_uses_the_label_where_there_is_one(audit: AuditInput) -> None:
    """Logits that are sure of a wrong label are low, however high the largest of them is."""
    models = {}
    for name, m in audit.models.items():
        forget = with_(m.forget, nll_nats=np.full(len(m.forget), 9.0, dtype=np.float32))
        retain = with_(m.retain, nll_nats=np.full(len(m.retain), 0.1, dtype=np.float32))
        models[name] = replace(m, forget=forget, retain=retain)
    assert pick(separation.figures(replace(audit, models=models)), "sensitive auc", "unlearned").value == 1.0


def test_unimodal_of_an_untouched_model_is_one_and_of_an_unrelated_one_is_low(audit: AuditInput) -> None:
    rng = np.random.default_rng(0)
    original, broken = audit.original, audit.models["unlearned"]
    noise = {
        split: with_(s, unimodal={m: rng.normal(size=a.shape).astype(np.float32) for m, a in s.unimodal.items()})
        for split, s in (("forget", broken.forget), ("retain", broken.retain))
    }
    models = {"original": original, "unlearned": replace(broken, **noise), "control": original}
    rows = unimodal.figures(replace(audit, models=models))
    for modality in ("image", "text"):
        for split in ("forget", "retain sample"):
            assert pick(rows, f"{modality} linear CKA", "control", split).value == pytest.approx(1)
            assert pick(rows, f"{modality} 10-nearest-neighbour overlap", "control", split).value == 1.0
            lost = pick(rows, f"{modality} 10-nearest-neighbour overlap", "unlearned", split)
            assert (lost.value or 0) < 0.6  # 10 of at most 23 others are shared by chance
    assert "24 distinct images" in (pick(rows, "image linear CKA", "control", "forget").note or "")


def test_unimodal_of_a_collapsed_encoder_is_absent(audit: AuditInput) -> None:
    m = audit.models["unlearned"]
    flat = with_(m.forget, unimodal={k: np.ones_like(a) for k, a in m.forget.unimodal.items()})
    models = {**audit.models, "unlearned": replace(m, forget=flat)}
    rows = unimodal.figures(replace(audit, models=models))
    row = pick(rows, "image linear CKA", "unlearned", "forget")
    assert row.absent == "all images have the same representation"


def test_cost_is_a_fraction_of_retraining_and_absent_where_unknown(audit: AuditInput, figures: list[Figure]) -> None:
    assert pick(figures, "fraction of retraining", "unlearned").value == pytest.approx(0.12)
    assert pick(figures, "pairs forwarded, as passes over the forget pairs", "unlearned").value == 10.0
    rows = AUDITS["cost"](replace(audit, cost={"wall_s": 3.0}))
    assert pick(rows, "fraction of retraining", "unlearned").absent == "no retraining was timed"
    assert pick(rows, "peak bytes", "unlearned").absent == "the run did not record peak_bytes"


def labelled(audit: AuditInput, right: dict[str, dict[str, float]]) -> AuditInput:
    """A classification family without an embedding space; ``right``: accuracy per model and split."""
    rng = np.random.default_rng(0)
    models = {}
    for name, m in audit.models.items():
        parts = {}
        for split in ("forget", "retain", "test"):
            signals = getattr(m, split)
            labels = rng.integers(3, size=len(signals))
            hit = rng.permutation(len(signals)) < right[name][split] * len(signals)
            logits = 4 * np.eye(3, dtype=np.float32)[np.where(hit, labels, (labels + 1) % 3)]
            nll = np.where(hit, 0.05, 4.05).astype(np.float32)
            parts[split] = with_(signals, embeddings=None, logits=logits, labels=labels, nll_nats=nll)
        models[name] = replace(m, **parts)
    return replace(audit, models=models)


def test_accuracy_takes_the_place_of_recall_where_there_are_labels(audit: AuditInput) -> None:
    usual = {"forget": 1.0, "retain": 1.0, "test": 0.5}
    right = {"original": usual, "unlearned": {**usual, "forget": 0.25}, "retrained": {**usual, "forget": 0.5}}
    rows = run_audits(labelled(audit, right))
    assert pick(rows, "sensitive accuracy", "unlearned", "forget").target is not None
    overall = [
        pick(rows, f"{kind} accuracy", "unlearned", "forget").value or 0 for kind in ("sensitive", "descriptive")
    ]
    assert np.mean(overall) == pytest.approx(0.25)
    counts = unit_counts(labelled(audit, right))
    assert counts is not None
    assert str(counts.measure) == "sensitive accuracy"


def test_family_without_embeddings_or_labels_is_absent_with_its_reason(audit: AuditInput) -> None:
    bare = every(audit, {"embeddings": None})
    assert "no joint embedding space" in (pick(forgetting.figures(bare), HEADLINE, "unlearned", "forget").absent or "")
    assert all(row.absent for row in utility.figures(bare))
    assert unit_counts(bare) is None


@pytest.mark.parametrize("missing", ["original", "unlearned"])
def test_input_without_a_model_is_refused(audit: AuditInput, missing: str) -> None:
    with pytest.raises(ValueError, match=f"there is no '{missing}'"):
        replace(audit, models={name: m for name, m in audit.models.items() if name != missing})


def test_input_with_other_pairs_or_overlap_or_unit_is_refused(audit: AuditInput) -> None:
    m = audit.models["unlearned"]
    shuffled = replace(m, forget=m.forget.select(np.arange(len(m.forget))[::-1]))
    with pytest.raises(ValueError, match="unlearned and original hold different forget pairs"):
        replace(audit, models={**audit.models, "unlearned": shuffled})
    both = {name: replace(x, retain=x.retain.join(x.forget)) for name, x in audit.models.items()}
    with pytest.raises(ValueError, match="48 pairs are both forgotten and retained"):
        replace(audit, models=both)
    with pytest.raises(ValueError, match="unit is 'person'"):
        replace(audit, unit="person")


def test_pairs_without_kinds_have_figures_without_prefix() -> None:
    sizes = {"people": 40, "forgotten": 10}
    plain = {"kinds": (None,), **sizes}
    models = {
        "original": model(forget=1.0, model_seed=1, **plain),
        "unlearned": model(forget=0.0, model_seed=2, **plain),
    }  # type: ignore[arg-type]
    rows = run_audits(run(models))
    assert pick(rows, "recall@1 image to text among all training texts", "unlearned", "forget").value is not None
    assert pick(rows, "auc", "unlearned", "forget and held-out").value is not None
