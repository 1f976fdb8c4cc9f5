"""Distance to the retrained model on known answers, and its floor."""

from dataclasses import replace

import numpy as np
import pytest

from multidelete.audits import AuditInput, ModelSignals, distance, run_audits
from multidelete.audits.membership import margins
from tests.audits.world import every, model, models_of, pick, run, with_

SIGNED, ABSOLUTE = f"sensitive {distance.SIGNED}", f"sensitive {distance.ABSOLUTE}"


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    models = models_of(model(forget=0.3, model_seed=4)) | {"retrained again": model(forget=0.0, model_seed=5)}
    return run(models)


def shifted(m: ModelSignals, by: float, noise: float = 0.0, seed: int = 0) -> ModelSignals:
    """The same model without embeddings, with every forget score moved."""
    rng = np.random.default_rng(seed)
    moved = m.forget.score + by + noise * rng.normal(size=len(m.forget))
    return replace(m, forget=with_(m.forget, score=moved.astype(np.float32)))


def test_identical_models_have_no_distance(audit: AuditInput) -> None:
    retrained = audit.models["retrained"]
    rows = distance.figures(
        replace(audit, models=audit.models | {"unlearned": retrained, "retrained again": retrained})
    )
    for name in ("unlearned", "retrained again"):
        found = [row for row in rows if row.model == name and row.figure != f"sensitive {distance.KLOM}"]
        assert len(found) >= 14
        assert all(row.value == 0.0 for row in found if row.absent is None)


@pytest.mark.parametrize("by", [0.75, -0.75])
def test_planted_shift_is_found_with_its_sign_on_the_shifted_pairs_alone(audit: AuditInput, by: float) -> None:
    bare = every(audit, {"embeddings": None})
    models = bare.models | {"unlearned": shifted(bare.models["retrained"], by)}
    rows = distance.figures(replace(bare, models=models))
    assert pick(rows, SIGNED, "unlearned", "forget").value == pytest.approx(by, abs=1e-6)
    assert pick(rows, ABSOLUTE, "unlearned", "forget").value == pytest.approx(abs(by), abs=1e-6)
    for split in ("retain sample", "test"):
        assert pick(rows, SIGNED, "unlearned", split).value == 0.0
    for figure in (distance.HIGHEST, distance.LOWEST):
        assert pick(rows, f"sensitive {figure}", "unlearned").value == pytest.approx(by, abs=1e-6)


def test_extremes_are_the_farthest_pairs_on_either_side(audit: AuditInput) -> None:
    bare = every(audit, {"embeddings": None})
    retrained = bare.models["retrained"]
    score = retrained.forget.score.copy()
    sensitive = np.flatnonzero(np.array(retrained.forget.kinds) == "sensitive")
    score[sensitive[3]] += 5
    score[sensitive[7]] -= 2
    moved = replace(retrained, forget=with_(retrained.forget, score=score))
    rows = distance.figures(replace(bare, models=bare.models | {"unlearned": moved}))
    assert pick(rows, f"sensitive {distance.HIGHEST}", "unlearned").value == pytest.approx(5, abs=1e-5)
    assert pick(rows, f"sensitive {distance.LOWEST}", "unlearned").value == pytest.approx(-2, abs=1e-5)
    assert pick(rows, SIGNED, "unlearned", "forget").value == pytest.approx(3 / len(sensitive), abs=1e-5)


def test_signed_gap_equals_a_loop_over_pairs(audit: AuditInput) -> None:
    """Mean of both directions' margins, pair by pair, of forget, sample and held-out pairs together."""

    def naive(m: ModelSignals) -> list[float]:
        sample = m.retain.select(audit.retain_sample).of_kind("sensitive")
        assert m.test is not None
        pairs = m.forget.of_kind("sensitive").join(sample).join(m.test.of_kind("sensitive"))
        both = [
            margins(pairs, m.retain.of_kind("sensitive"), query=q, candidate=c)
            for q, c in (("image", "text"), ("text", "image"))
        ]
        assert both[0] is not None
        assert both[1] is not None
        return [(a + b) / 2 for a, b in zip(*both, strict=True)][: len(m.forget.of_kind("sensitive"))]

    gaps = [u - r for u, r in zip(naive(audit.models["unlearned"]), naive(audit.models["retrained"]), strict=True)]
    row = pick(distance.figures(audit), SIGNED, "unlearned", "forget")
    assert row.value == pytest.approx(sum(gaps) / len(gaps), abs=1e-9)
    assert row.low is not None
    assert row.high is not None
    assert row.low > 0, "it remembers a part, and lies above the retrained model"
    assert row.low < row.value < row.high


def test_floor_stands_beside_every_gap(audit: AuditInput) -> None:
    rows = run_audits(audit)
    floor = pick(rows, ABSOLUTE, "retrained again", "forget")
    unlearned = pick(rows, ABSOLUTE, "unlearned", "forget")
    assert unlearned.target == floor.value
    assert "floor, retrained again: +" in (unlearned.note or "")
    assert (unlearned.value or 0) > (floor.value or 0)
    assert pick(rows, SIGNED, "unlearned", "forget").target == 0.0
    alone = {name: m for name, m in audit.models.items() if name != "retrained again"}
    rows = run_audits(replace(audit, models=alone))
    assert distance.NO_FLOOR in (pick(rows, SIGNED, "unlearned", "forget").note or "")
    assert pick(rows, ABSOLUTE, "unlearned", "forget").target is None


def test_without_a_retrained_model_there_is_no_distance() -> None:
    assert distance.figures(run(models_of(model(forget=0.0, model_seed=4), with_retrained=False))) == []


def test_second_retrained_model_without_a_first_is_refused() -> None:
    models = models_of(model(forget=0.0, model_seed=4), with_retrained=False)
    with pytest.raises(ValueError, match="no first"):
        run(models | {"retrained again": models["original"]})


def naive_klom(ours: list[float], theirs: list[float]) -> float:
    low, high = min(ours + theirs), max(ours + theirs)
    if low == high:
        return 0.0
    edges = [low + (high - low) * i / 20 for i in range(21)]

    def share(values: list[float], i: int) -> float:
        inside = [v for v in values if edges[i] <= v and (v < edges[i + 1] or i == 19)]
        return len(inside) / len(values)

    total = 0.0
    for i in range(20):
        p, q = share(ours, i), share(theirs, i)
        if p:
            total += p * np.log(p / max(q, 1e-5))
    return total


def test_klom_equals_a_loop_over_pairs_and_bins() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(9, 40)), rng.normal(0.5, 2, size=(7, 40))
    expected = [naive_klom(ours[:, n].tolist(), theirs[:, n].tolist()) for n in range(40)]
    assert distance.klom(ours, theirs) == pytest.approx(expected, abs=1e-9)


def test_klom_of_equal_models_is_zero_and_of_far_ones_is_the_logarithm_of_an_empty_bin() -> None:
    same = np.array([[1.0, 2.0], [3.0, 2.0]])
    assert distance.klom(same, same).tolist() == [0.0, 0.0]
    assert distance.klom(same + 50, same) == pytest.approx([np.log(1e5), np.log(1e5)])
    assert distance.klom(same + 1e6, same + 2e6).tolist() == [0.0, 0.0]  # both beyond what is told apart
    with pytest.raises(ValueError, match="at least 2"):
        distance.klom(same[:1], same)


def test_klom_needs_as_many_retrained_models_for_its_floor(audit: AuditInput) -> None:
    why = pick(distance.figures(audit), "sensitive KLoM", "unlearned", "forget").absent
    assert why is not None
    assert why.startswith("1 unlearned and 2 retrained models; it takes 2 and 4")
    bare = every(audit, {"embeddings": None})
    retrained = bare.models["retrained"]
    many = {f"retrained again {i}": shifted(retrained, 0.0, noise=1.0, seed=i) for i in range(2, 5)}
    again = {"unlearned again": shifted(retrained, 30.0, noise=1.0, seed=9)}
    models = bare.models | many | again | {"unlearned": shifted(retrained, 30.0, noise=1.0, seed=8)}
    rows = distance.figures(replace(bare, models=models))
    unlearned, floor = (pick(rows, "sensitive KLoM", name, "forget") for name in ("unlearned", "retrained again"))
    assert np.log(0.5e5) <= (unlearned.value or 0) <= np.log(1e5)  # nothing shared; one bin or two
    assert 1 < (floor.value or 0) < np.log(0.5e5), "the floor of two models is far from 0"
    assert unlearned.target == floor.value
    assert f"floor, retrained models: {floor.value:.3f}" in (unlearned.note or "")
