"""One member giving the other away: found where it is planted, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AuditInput, ModelSignals, leakage
from multidelete.audits.leakage import mapped
from multidelete.audits.result import Figure
from tests.audits.world import every, model, models_of, pick, run, with_

OWN = "sensitive recall@1 {} to {} by a fitted map"
ALONE = "sensitive recall@1 {} alone to {} by a fitted map"
BOTH_WAYS = [("image", "text"), ("text", "image")]


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    """People enough that a map of 96 dimensions can be fitted."""
    sizes = {"people": 220, "forgotten": 20}
    return run(models_of(model(forget=0.0, model_seed=4, **sizes), **sizes))


def with_unlearned(audit: AuditInput, m: ModelSignals) -> AuditInput:
    return replace(audit, models={**audit.models, "unlearned": m})


def hidden(m: ModelSignals) -> ModelSignals:
    """The same encoders behind another, random projection of each modality: no score tells anything."""
    rng = np.random.default_rng(0)
    turn = {name: np.linalg.qr(rng.normal(size=(96, 96)))[0].astype(np.float32) for name in ("image", "text")}
    parts = {}
    for part in ("forget", "retain", "test"):
        signals = getattr(m, part)
        turned = {name: array @ turn[name] for name, array in signals.embeddings.items()}
        score = (turned["image"] * turned["text"]).sum(axis=1)
        parts[part] = with_(signals, embeddings=turned, score=score)
    return replace(m, **parts)


def clearly(row: Figure) -> bool:
    """Whether a difference is not by chance."""
    return row.low is not None and row.high is not None and (row.low > 0 or row.high < 0)


@pytest.mark.parametrize("way", BOTH_WAYS)
def test_what_a_changed_projection_hides_is_found(audit: AuditInput, way: tuple[str, str]) -> None:
    """All recall is gone, and both encoders still hold the pairs."""
    secretive = hidden(audit.original)
    assert abs(secretive.forget.score.mean()) < 0.1 < audit.original.forget.score.mean()
    rows = leakage.figures(with_unlearned(audit, secretive))
    found = pick(rows, OWN.format(*way), "unlearned")
    assert (found.value or 0) > 0.9
    assert found.better == "target"
    apart = pick(rows, OWN.format(*way) + ", difference to retrained", "unlearned")
    assert clearly(apart)
    assert (apart.value or 0) > 0.8


def test_the_member_that_holds_it_is_named(audit: AuditInput) -> None:
    """Memorised texts point at their person; a picture shows who it is to every model, and tells nobody's name."""
    rows = leakage.figures(with_unlearned(audit, hidden(audit.original)))
    assert (pick(rows, ALONE.format("text", "image"), "unlearned").value or 0) > 0.9
    assert (pick(rows, ALONE.format("image", "text"), "unlearned").value or 0) < 0.2


def test_retrained_models_are_not_accused(audit: AuditInput) -> None:
    """Over 20 worlds, a second retrained model is told from the first about as often as chance allows.

    Each world has two independent figures, of own and of alone; 5 % of 40 are 2, and more than 6 would be
    a chance of about 0.003.
    """
    accused = 0
    sizes = {"people": 120, "forgotten": 12}
    for seed in range(20):
        models = {
            "original": model(forget=1.0, model_seed=100 + seed, seed=seed, **sizes),
            "unlearned": model(forget=0.0, model_seed=200 + seed, seed=seed, **sizes),
            "retrained": model(forget=0.0, model_seed=300 + seed, seed=seed, **sizes),
        }
        rows = leakage.figures(run(models))
        for name in (OWN, ALONE):
            accused += clearly(pick(rows, name.format("image", "text") + ", difference to retrained", "unlearned"))
    assert accused <= 6


@pytest.mark.parametrize("name", [OWN, ALONE])
@pytest.mark.parametrize("way", BOTH_WAYS)
def test_untouched_model_leaks_as_the_original_and_random_weights_do_not(
    audit: AuditInput, name: str, way: tuple[str, str]
) -> None:
    rng = np.random.default_rng(1)
    m = audit.original
    random = {
        part: with_(
            getattr(m, part),
            unimodal={k: rng.normal(size=a.shape).astype(np.float32) for k, a in getattr(m, part).unimodal.items()},
        )
        for part in ("forget", "retain")
    }
    rows = leakage.figures(replace(audit, models={**audit.models, "unlearned": m, "random": replace(m, **random)}))
    row = name.format(*way)
    assert pick(rows, row, "unlearned").value == pick(rows, row, "original").value
    chance = pick(rows, row, "random")
    assert (chance.value or 0) < 0.25
    assert pick(rows, f"{row}, difference to original", "unlearned").value == 0.0


def test_collapsed_encoder_is_at_chance(audit: AuditInput) -> None:
    flat = {"image": np.ones((1, 5)), "text": np.ones((1, 5))}
    m = audit.original
    parts = {
        part: with_(
            getattr(m, part),
            unimodal={k: np.repeat(a, len(getattr(m, part)), 0).astype(np.float32) for k, a in flat.items()},
        )
        for part in ("forget", "retain")
    }
    rows = leakage.figures(with_unlearned(audit, replace(m, **parts)))
    row = pick(rows, OWN.format("image", "text"), "unlearned")
    assert row.value == pytest.approx(1 / 20)
    assert "gallery: 20 distinct texts of the forget pairs; chance is 0.050" in (row.note or "")


def test_map_is_a_ridge_regression_written_out() -> None:
    """Against the normal equations at the penalty with the least error when each pair is left out in turn."""
    rng = np.random.default_rng(2)
    x, asked, known = rng.normal(size=(30, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    y = x @ rng.normal(size=(4, 3)) + 0.5 * rng.normal(size=(30, 3))

    def predict(fit: np.ndarray, onto: np.ndarray, at: np.ndarray, penalty: float) -> np.ndarray:
        mean_x, mean_y = fit.mean(axis=0), onto.mean(axis=0)
        gram = (fit - mean_x).T @ (fit - mean_x) + penalty * np.eye(fit.shape[1])
        return (at - mean_x) @ np.linalg.solve(gram, (fit - mean_x).T @ (onto - mean_y)) + mean_y

    scale, centre = x.std(axis=0), x.mean(axis=0)
    inputs, outputs = (x - centre) / scale, y - y.mean(axis=0)
    errors = []
    for penalty in leakage.PENALTIES:
        left = [np.delete(np.arange(30), i) for i in range(30)]
        missed = [outputs[i] - predict(inputs[rest], outputs[rest], inputs[i], penalty) for i, rest in enumerate(left)]
        errors.append(np.square(missed).mean())
    best = leakage.PENALTIES[int(np.argmin(errors))]
    wanted = predict(inputs, outputs, (asked - centre) / scale, best)
    got, around = mapped(x, y, asked, known)
    assert got == pytest.approx(wanted / np.linalg.norm(wanted, axis=1, keepdims=True))
    shifted = known - y.mean(axis=0)
    assert around == pytest.approx(shifted / np.linalg.norm(shifted, axis=1, keepdims=True))


def test_what_cannot_be_told_is_absent_with_its_reason(audit: AuditInput) -> None:
    alone = replace(audit, models={name: m for name, m in audit.models.items() if name != "retrained"})
    assert not [row for row in leakage.figures(alone) if " alone to " in row.figure]
    assert pick(leakage.figures(alone), OWN.format("image", "text"), "unlearned").value is not None
    few = {n: replace(m, retain=m.retain.select(np.arange(12))) for n, m in audit.models.items()}
    row = pick(leakage.figures(replace(audit, models=few)), OWN.format("image", "text"), "unlearned")
    assert row.absent == "6 retain pairs of the kind to fit a map on; it takes 20"
    same = every(audit, {"sources": {m: ["one"] * 80 for m in ("image", "text")}}, ("forget",))
    row = pick(leakage.figures(same), OWN.format("image", "text"), "unlearned")
    assert row.absent == "1 distinct text to choose from; it takes 2"
