"""LiRA and RMIA on known answers, against naive twins, and on models that were really trained."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from multidelete.audits import AuditInput, ModelSignals, Shadow, per_pair, stats
from multidelete.audits.result import Figure
from tests.audits.trained import IDS, ids, trained
from tests.audits.world import model, models_of, pick, run


def references(seed: int, models: int = 6, pairs: int = 80, lift: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Margins of reference models and what each saw: each pair has its own level, and a lift where it was seen."""
    rng = np.random.default_rng(seed)
    is_in = np.zeros((models, pairs), dtype=bool)
    for first in range(0, models, 2):
        is_in[first] = rng.permutation(pairs) < pairs // 2
        is_in[first + 1] = ~is_in[first]
    level = 5 * np.random.default_rng(99).normal(size=pairs)
    return level + lift * is_in + 0.3 * rng.normal(size=is_in.shape), is_in


MEMBER = np.arange(80) < 40
LEVEL = 5 * np.random.default_rng(99).normal(size=80)


def naive_lira(target: np.ndarray, reference: np.ndarray, is_in: np.ndarray) -> list[float]:
    means, squares, free = [], 0.0, 0
    for n in range(len(target)):
        ins = [reference[r, n] for r in range(len(reference)) if is_in[r, n]]
        outs = [reference[r, n] for r in range(len(reference)) if not is_in[r, n]]
        means.append((sum(ins) / len(ins), sum(outs) / len(outs)))
        squares += sum((v - means[-1][0]) ** 2 for v in ins) + sum((v - means[-1][1]) ** 2 for v in outs)
        free += len(ins) + len(outs) - 2
    s = math.sqrt(squares / free)
    found = []
    for margin, (mu_in, mu_out) in zip(target, means, strict=True):
        likely = [math.log(NormalDist(mu, s).pdf(margin)) for mu in (max(mu_in, mu_out), mu_out)]
        found.append(likely[0] - likely[1])
    return found


def test_online_lira_is_the_log_ratio_of_two_gaussians() -> None:
    reference, is_in = references(0, lift=0.4)
    target = reference.mean(axis=0) + np.random.default_rng(1).normal(size=80)
    found = per_pair.lira(target, reference, is_in, MEMBER)
    assert found is not None
    assert found.how == "online, 3 IN and 3 OUT models"
    assert found.score == pytest.approx(naive_lira(target, reference, is_in), abs=1e-6)


def test_offline_lira_counts_deviations_from_models_that_never_saw_the_pair() -> None:
    reference, _ = references(0, lift=0.0)
    target = np.random.default_rng(1).normal(size=80)
    found = per_pair.lira(target, reference, np.zeros(reference.shape, dtype=bool), MEMBER)
    assert found is not None
    assert found.how == "offline, 6 OUT models"
    spread = math.sqrt(np.mean([np.var(reference[:, n], ddof=1) for n in range(80)]))
    expected = [(target[n] - np.mean(reference[:, n])) / spread for n in range(80)]
    assert found.score == pytest.approx(expected, abs=1e-9)


def naive_rmia(target: np.ndarray, reference: np.ndarray, is_in: np.ndarray) -> list[float]:
    def likelihood(margin: float) -> float:
        return 1 / (1 + math.exp(-margin))

    ratio = []
    for n in range(len(target)):
        outs = [likelihood(reference[r, n]) for r in range(len(reference)) if not is_in[r, n]][:4]
        ratio.append(likelihood(target[n]) / (sum(outs) / len(outs)))
    found = []
    for n in range(len(target)):
        population = [ratio[z] for z in range(len(target)) if not MEMBER[z]]
        found.append(sum((ratio[n] > z) + 0.5 * (ratio[n] == z) for z in population) / len(population))
    return found


@pytest.mark.parametrize("models", [2, 6, 12])
def test_rmia_equals_a_loop_over_the_population(models: int) -> None:
    reference, is_in = references(2, models=models)
    target = LEVEL + np.random.default_rng(1).normal(size=80)
    found = per_pair.rmia(target, reference, is_in, MEMBER)
    assert found is not None
    assert found.score == pytest.approx(naive_rmia(target, reference, is_in), abs=1e-9)
    assert found.how == f"{min(models // 2, 4)} OUT models"


def aucs(target: np.ndarray, *, offline: bool = False) -> list[float]:
    reference, is_in = references(4)
    if offline:
        reference, is_in = references(4, lift=0.0)[0], np.zeros((6, 80), dtype=bool)
    low = 15.0  # so that no likelihood is near 1, from where it could not rise
    made = [attack(target - low, reference - low, is_in, MEMBER) for attack in (per_pair.lira, per_pair.rmia)]
    return [stats.auc(m.score[MEMBER], m.score[~MEMBER]) for m in made if m is not None]


@pytest.mark.parametrize("offline", [False, True])
def test_planted_membership_bit_is_found_by_calibration_alone(offline: bool) -> None:
    """The lift is smaller than the differences among pairs: one threshold for all hardly finds it."""
    target = LEVEL + 2.0 * MEMBER + 0.05 * np.random.default_rng(5).normal(size=80)
    lira, rmia = aucs(target, offline=offline)
    assert lira == 1.0
    assert rmia == 1.0
    assert stats.auc(target[MEMBER], target[~MEMBER]) < 0.75


@pytest.mark.parametrize("offline", [False, True])
def test_sign_is_not_turned_round_however_far_pairs_are_pushed_down(offline: bool) -> None:
    for push in (1.0, 5.0, 50.0):
        target = LEVEL - push * MEMBER + 0.05 * np.random.default_rng(5).normal(size=80)
        lira, rmia = aucs(target, offline=offline)
        assert lira < 0.05
        assert rmia < 0.05


def shadows_of(audit: AuditInput, seed: int, count: int = 4) -> list[Shadow]:
    """Models whose scores are noise, and which claim to have seen random halves of the pairs."""
    rng = np.random.default_rng(seed)
    pairs = [*audit.original.forget.ids, *audit.original.test.ids]  # type: ignore[union-attr]
    found = []
    for _ in range(count // 2):
        half = set(rng.permutation(pairs)[: len(pairs) // 2].tolist())
        found += [Shadow(noise(audit.original, rng), frozenset(h)) for h in (half, set(pairs) - half)]
    return found


def noise(m: ModelSignals, rng: np.random.Generator) -> ModelSignals:
    parts = {
        split: replace(s, score=rng.normal(size=len(s)).astype(np.float32), embeddings=None)
        for split, s in (("forget", m.forget), ("retain", m.retain), ("test", m.test))
        if s is not None
    }
    return replace(m, **parts)


def test_scores_independent_of_membership_give_half_within_the_interval() -> None:
    audit = run(models_of(model(forget=0.0, model_seed=4)))
    inside, rows = 0, 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        blind = replace(
            audit,
            models={name: noise(m, rng) for name, m in audit.models.items()},
            shadows=shadows_of(audit, seed),
        )
        for row in per_pair.figures(blind):
            if row.model == "unlearned" and " auc of " in row.figure and "," not in row.figure:
                assert row.low is not None
                assert row.high is not None
                rows += 1
                inside += row.low <= 0.5 <= row.high
    assert rows == 40
    assert inside >= 34


@pytest.fixture(scope="module")
def real() -> AuditInput:
    """Trained models: the original saw all but the test pairs, the retrained ones not the forget pairs either."""
    models = {"original": trained(ids("forget", "retain"), 0), "unlearned": trained(ids("forget", "retain"), 0)}
    models |= {
        name: trained(ids("retain"), seed)
        for name, seed in (("retrained", 1), ("retrained again", 2), ("retrained again 2", 3))
    }
    shadows = []
    for index in range(4):
        order = np.random.default_rng(index // 2).permutation(IDS).tolist()
        half = order[:60] if index % 2 == 0 else order[60:]
        shadows.append(Shadow(trained(half, 10 + index), frozenset(half)))
    return AuditInput(models=models, shadows=shadows)


def check_attacks(rows: list[Figure]) -> None:
    for attack in ("LiRA", "RMIA"):
        assert (pick(rows, f"auc of {attack}", "original").value or 0) > 0.9
        retrained = pick(rows, f"auc of {attack}", "retrained")
        assert retrained.low is not None
        assert retrained.high is not None
        assert retrained.low <= 0.5 <= retrained.high
        apart = pick(rows, f"auc of {attack}, difference to retrained", "unlearned")
        assert apart.low is not None
        assert apart.low > 0
        assert "48 nonmembers cannot resolve" in (pick(rows, f"tpr at fpr 0.01 of {attack}", "original").absent or "")


def test_shadows_find_members_of_a_trained_model_and_none_of_a_retrained_one(real: AuditInput) -> None:
    rows = per_pair.figures(real)
    check_attacks(rows)
    note = pick(rows, "auc of LiRA", "original").note
    assert note == "online, 2 IN and 2 OUT models of 4 shadows; 24 members against 48 nonmembers"


def test_second_retrained_models_serve_where_there_are_no_shadows(real: AuditInput) -> None:
    rows = per_pair.figures(replace(real, shadows=()))
    check_attacks(rows)
    assert (pick(rows, "auc of LiRA", "original").note or "").startswith("offline, 2 OUT models of 2 other retrained")
    alone = replace(real, shadows=(), models={n: m for n, m in real.models.items() if not n.endswith(" 2")})
    rows = per_pair.figures(alone)
    assert "it takes 2 reference models" in (pick(rows, "auc of LiRA", "original").absent or "")
    assert (pick(rows, "auc of RMIA", "original").value or 0) > 0.9
    again, first = (pick(rows, "auc of RMIA", name) for name in ("retrained again", "retrained"))
    assert (again.note or "").startswith("1 OUT models of 1 other retrained")
    assert (again.value or 0) + (first.value or 0) == pytest.approx(1, abs=0.02)  # each other's reference
    gap = pick(rows, "auc of RMIA, difference to retrained", "retrained again")
    assert "counts twice" in (gap.absent or "")


def test_too_few_models_or_pairs_give_no_figure(real: AuditInput) -> None:
    names = ("original", "unlearned", "retrained")
    none = replace(real, shadows=(), models={name: real.models[name] for name in names})
    for row in per_pair.figures(none):
        assert "there are 0 other retrained models" in (row.absent or "")
    few = {name: replace(m, forget=m.forget.select(np.arange(9))) for name, m in real.models.items()}
    shadows = [Shadow(replace(s.signals, forget=few["original"].forget), s.members) for s in real.shadows]
    for row in per_pair.figures(replace(real, models=few, shadows=shadows)):
        assert "at least 10 forget" in (row.absent or "")
    unseen = replace(real, shadows=[Shadow(s.signals, frozenset()) for s in real.shadows])
    assert (pick(per_pair.figures(unseen), "auc of LiRA", "original").note or "").startswith("offline, 4 OUT")


def test_pairs_that_too_few_shadows_left_out_are_not_judged(real: AuditInput) -> None:
    forget = real.original.forget.ids
    shadows = [Shadow(s.signals, s.members | set(forget[:6])) for s in real.shadows]
    row = pick(per_pair.figures(replace(real, shadows=shadows)), "auc of LiRA", "original")
    assert row.n == 18
    assert "6 pairs left out" in (row.note or "")


def test_shadows_of_other_pairs_are_refused(real: AuditInput) -> None:
    signals = real.shadows[0].signals
    other = replace(signals, forget=signals.forget.select(np.arange(3)))
    with pytest.raises(ValueError, match="shadow 0 and original hold different forget pairs"):
        replace(real, shadows=[Shadow(other, frozenset())])


def test_without_held_out_pairs_the_attack_is_absent(real: AuditInput) -> None:
    models = {name: replace(m, test=None) for name, m in real.models.items()}
    rows = per_pair.figures(replace(real, models=models, shadows=()))
    assert rows
    assert all("retain pairs are members" in (row.absent or "") for row in rows)
