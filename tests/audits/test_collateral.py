"""Untouched pairs near the deleted ones: found as a naive search finds them, and judged from both sides."""

from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AuditInput, ModelSignals, collateral
from multidelete.audits.collateral import K, nearest
from tests.audits.world import every, model, models_of, pick, run, with_

SCORE, HEADLINE = "score", "recall@1 image to text among all training texts"
TO_RETRAINED, TO_ORIGINAL = ", difference to retrained", ", difference to original"


def kept_descriptions(m: ModelSignals) -> ModelSignals:
    """Only sensitive captions are deleted; the descriptive ones of the same pictures stay."""
    return replace(m, forget=m.forget.of_kind("sensitive"), retain=m.retain.join(m.forget.of_kind("descriptive")))


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    models = models_of(model(forget=0.0, model_seed=4))
    return replace(run({name: kept_descriptions(m) for name, m in models.items()}), unit="pair")


def lowered(audit: AuditInput, part: str, rows: np.ndarray, by: float = 1.0) -> AuditInput:
    """The unlearned model scores these pairs lower."""
    m = audit.models["unlearned"]
    signals = getattr(m, part)
    scored = with_(signals, score=(signals.score - by * rows).astype(np.float32))
    return replace(audit, models={**audit.models, "unlearned": replace(m, **{part: scored})})


def naive_neighbours(audit: AuditInput, part: str, modality: str) -> set[str]:
    """Ids of the pairs whose member is among the K nearest to a deleted one, pair by pair."""
    forget, others = audit.original.forget, getattr(audit.original, part)
    found: set[str] = set()
    for f in range(len(forget)):
        cosine: dict[str, float] = {}
        for o in range(len(others)):
            shares = any(others.sources[m][o] in forget.sources[m] for m in others.sources)
            if others.kinds[o] != forget.kinds[f] or shares or others.subjects[o] in forget.subjects:
                continue
            one, two = forget.unimodal[modality][f], others.unimodal[modality][o]
            cosine[others.sources[modality][o]] = round(float(one @ two / np.linalg.norm(one) / np.linalg.norm(two)), 6)
        near = sorted(cosine, key=lambda key: -cosine[key])[:K]
        found |= {others.ids[o] for o in range(len(others)) if others.sources[modality][o] in near
                  and others.kinds[o] == forget.kinds[f]}  # fmt: skip
    return found


@pytest.mark.parametrize(("part", "split"), [("retain", "retain"), ("test", "held-out")])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_nearest_pairs_are_those_of_a_naive_search(audit: AuditInput, part: str, split: str, modality: str) -> None:
    """Lowering exactly them by 1 lowers their mean by 1; lowering all others changes nothing."""
    near = naive_neighbours(audit, part, modality)
    rows = np.array([name in near for name in getattr(audit.original, part).ids])
    assert 0 < rows.sum() < len(rows) / 2
    where = f"{split}, nearest {modality}s"
    before = pick(collateral.figures(audit), f"sensitive {SCORE}", "unlearned", where)
    assert before.n == rows.sum()
    assert before.value is not None
    hit = pick(collateral.figures(lowered(audit, part, rows)), f"sensitive {SCORE}", "unlearned", where)
    missed = pick(collateral.figures(lowered(audit, part, ~rows)), f"sensitive {SCORE}", "unlearned", where)
    assert hit.value == pytest.approx(before.value - 1, abs=1e-5)
    assert missed.value == before.value


def test_captions_that_are_kept_of_deleted_pictures_are_found_to_be_damaged(audit: AuditInput) -> None:
    m = audit.original.retain
    same = np.array([source in set(audit.original.forget.sources["image"]) for source in m.sources["image"]])
    assert same.sum() == 24
    found = collateral.figures(lowered(audit, "retain", same))
    row = pick(found, f"descriptive {SCORE}{TO_RETRAINED}", "unlearned", "retain, same image")
    assert row.high is not None
    assert row.high < -0.9
    assert row.better == "target"
    raised = collateral.figures(lowered(audit, "retain", same, by=-1.0))
    assert (pick(raised, f"descriptive {SCORE}{TO_RETRAINED}", "unlearned", "retain, same image").low or 0) > 0.9


def test_a_damaged_neighbour_is_no_longer_found(audit: AuditInput) -> None:
    """Kept captions of deleted pictures that point elsewhere are lost by a search, within the interval of all."""
    m = audit.models["unlearned"]
    same = np.array([source in set(m.forget.sources["image"]) for source in m.retain.sources["image"]])
    text = m.retain.embeddings["text"].copy()
    text[same] *= -1
    broken = with_(m.retain, embeddings={**m.retain.embeddings, "text": text})
    found = collateral.figures(replace(audit, models={**audit.models, "unlearned": replace(m, retain=broken)}))
    assert pick(found, f"descriptive {HEADLINE}", "original", "retain, same image").value == 1.0
    assert pick(found, f"descriptive {HEADLINE}", "unlearned", "retain, same image").value == 0.0
    assert pick(found, f"descriptive {HEADLINE}{TO_ORIGINAL}", "unlearned", "retain, same image").value == -1.0


def test_untouched_and_retrained_models_show_no_damage(audit: AuditInput) -> None:
    """The original differs from itself by nothing, and so does the retrained model."""
    for name, ending in (("original", TO_ORIGINAL), ("retrained", TO_RETRAINED)):
        same = replace(audit, models={**audit.models, "unlearned": audit.models[name]})
        rows = [row for row in collateral.figures(same) if row.figure.endswith(ending) and row.model == "unlearned"]
        assert len(rows) >= 8
        assert {(row.value, row.low, row.high) for row in rows} == {(0.0, 0.0, 0.0)}


def test_relations_that_do_not_exist_are_absent_with_the_reason() -> None:
    whole_people = run(models_of(model(forget=0.0, model_seed=4)))
    by_split = {row.split: row.absent for row in collateral.figures(whole_people) if row.absent}
    assert by_split == {
        "retain, same subject": "no retain pair is of a deleted pair's subject",
        "retain, same image": "no retain pair has the image of a deleted one",
        "retain, same text": "no retain pair has the text of a deleted one",
    }
    alone = {name: replace(m, test=None) for name, m in whole_people.models.items()}
    rows = collateral.figures(replace(whole_people, models=alone))
    assert {row.absent for row in rows if row.split == "held-out, nearest images"} == {"there are no held-out pairs"}


def test_labelled_pairs_are_judged_by_accuracy_and_margin(audit: AuditInput) -> None:
    models = {}
    for name, m in audit.models.items():
        parts = {}
        for part in ("forget", "retain", "test"):
            labels = np.zeros(len(getattr(m, part)), dtype=np.int64)
            logits = np.tile(np.array([[2.0, 0.0]], dtype=np.float32), (len(labels), 1))
            parts[part] = with_(getattr(m, part), embeddings=None, logits=logits, labels=labels)
        models[name] = replace(m, **parts)
    rows = collateral.figures(replace(audit, models=models))
    assert pick(rows, "descriptive accuracy", "unlearned", "retain, same image").value == 1.0
    margin = pick(rows, "descriptive margin of the label", "unlearned", "retain, same image").value
    assert margin == pytest.approx(2.0)


def test_pairs_of_a_family_that_cannot_be_searched_have_scores(audit: AuditInput) -> None:
    rows = collateral.figures(every(audit, {"embeddings": None}))
    assert pick(rows, "descriptive score", "unlearned", "retain, same image").value is not None
    assert "no joint embedding space" in (
        pick(rows, f"descriptive {HEADLINE}", "unlearned", "retain, same image").absent or ""
    )


def test_nearest_takes_no_more_than_there_are() -> None:
    assert nearest(np.ones((3, 2)), np.eye(2), k=5) == [0, 1]
