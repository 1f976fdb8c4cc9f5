"""Can an attacker who calibrates each pair with reference models tell the forget pairs from held-out pairs?

Some pairs score high in every model, trained on or not; a single threshold cannot allow for that. Reference
models tell what a pair scores where it was trained on (IN) and where it was not (OUT): shadows, and without
any the second retrained models, which saw none of the pairs in question.

Members are the forget pairs, nonmembers held-out pairs of the same kind, as in `multidelete.audits.membership`.
Higher says "was trained on", and the direction is never turned round.

Shape suffixes: N pairs (members, then nonmembers), M nonmembers, R reference models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from multidelete.audits import stats
from multidelete.audits.columns import Column
from multidelete.audits.compare import Heading, absent_figures, auc_figures, tpr_figures
from multidelete.audits.controls import UNTOUCHED, Controls, far, guesses
from multidelete.audits.inputs import AuditInput, ModelSignals, groups, prefix
from multidelete.audits.judgement import TOLERANCES
from multidelete.audits.margin import NO_REFERENCE, pair_margins
from multidelete.audits.measure import AUC, Measure
from multidelete.audits.membership import RATES, SPLIT
from multidelete.audits.result import Figure
from multidelete.audits.roles import Role
from multidelete.audits.signals import Signals
from multidelete.core.words import counted

AUDIT = "per-pair membership"
QUESTION = "The same, with a threshold of its own for each pair, learned from further models."
LIRA, RMIA = "LiRA", "RMIA"
LEAST_MODELS = 2  # on each side, for a mean and a variance
LEAST_PAIRS = 10  # on each side, after those with too few models are left out
MOST_REFERENCES = 4

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Attack:
    """Scores of the pairs that an attack can be made on.

    Attributes:
        score: (N,), NaN for pairs that it cannot judge: too few reference models of one side.
        how: Which variant, and with how many models.
    """

    score: stats.Floats
    how: str


def _alone(rows: Sequence[Figure]) -> list[str]:
    """Without shadows each of two retrained models calibrates the other, and 0.5 stands in for the first one's AUC."""
    compared = {(row.measure, row.model) for row in rows if row.measure.to == "retrained"}
    aucs = [row for row in rows if row.role is Role.RETRAINED_AGAIN and row.measure.is_attack]
    return [
        far(row, 0.5, APART, f"{row.model}: {row.figure} is {row.value:.3f}")
        for row in aucs
        if (row.measure.against("retrained"), row.model) not in compared
    ]


APART = 0.20
CONTROLS = Controls(apart=APART, rules=[_alone, partial(guesses, apart=APART)])


def figures(audit: AuditInput) -> list[Figure]:
    """AUC and TPR at low FPR of LiRA and of RMIA, per kind and model."""
    rows = []
    for kind in audit.kinds():
        held = audit.original.holdout
        why = None
        if held is None or kind not in held.kinds:
            why = f"there are no {prefix(kind)}held-out pairs, and retain pairs are members"
        else:
            pairs = audit.original.forget.of_kind(kind).join(held.of_kind(kind))
            is_member_N = np.arange(len(pairs)) < list(audit.original.forget.kinds).count(kind)
            models = {name: _margins(model, kind, audit.seed) for name, model in audit.models.items()}
            shadows = [_margins(shadow.signals, kind, audit.seed) for shadow in audit.shadows]
            margins = {name: margin_N for name, margin_N in models.items() if margin_N is not None}
            shadow_R = [margin_N for margin_N in shadows if margin_N is not None]
            if len(margins) == len(models) and len(shadow_R) == len(shadows):
                rows += _attacked(audit, kind, margins, shadow_R, pairs, is_member_N)
                continue
            why = NO_REFERENCE
        for label in (LIRA, RMIA):
            rows += absent_figures(AUDIT, Measure(AUC, kind=kind, signal=label), SPLIT, audit.models, why)
    return rows


def lira(target_N: stats.Floats, reference_RN: stats.Floats, is_in_RN: Bools, is_member_N: Bools) -> Attack | None:
    """Likelihood ratio attack: how much better a pair's margin fits models that saw the pair than others.

    Carlini, Chien, Nasr, Song, Terzis and Tramer: "Membership Inference Attacks From First Principles", IEEE
    S&P 2022, arXiv:2112.03570. The margin is the logit-scaled confidence log(p / (1 - p)). Online where enough
    members and nonmembers have both kinds of models: log N(margin; mu_in, s) - log N(margin; mu_out, s).
    Offline otherwise: (margin - mu_out) / s, which orders pairs as the probability of a lower OUT margin does.

    Differs from the paper, whose text was not at hand: s, one variance for IN and OUT and for all pairs, is pooled
    from the deviations of each pair's margins from its own means (the paper as well estimates variances over all
    pairs where models are few). And mu_in is never below mu_out. So the score never falls as the margin rises:
    with two variances, a pair pushed far below both means could look like a member.

    Args:
        target_N: Margins of the attacked model.
        reference_RN: Margins of reference models.
        is_in_RN: Which pairs each of them was trained on.
        is_member_N: Which pairs are members; only used to see that both sides have enough pairs.

    Returns:
        None where fewer than `LEAST_PAIRS` of either side have `LEAST_MODELS` OUT models, or no margin varies.
    """
    ins_N, outs_N = is_in_RN.sum(axis=0), (~is_in_RN).sum(axis=0)
    online_N = (ins_N >= LEAST_MODELS) & (outs_N >= LEAST_MODELS)
    is_online = _enough(online_N, is_member_N)
    judged_N = online_N if is_online else outs_N >= LEAST_MODELS
    if not _enough(judged_N, is_member_N):
        return None
    mean_in_N, mean_out_N = (_masked_mean(reference_RN, mask_RN) for mask_RN in (is_in_RN, ~is_in_RN))
    away_RN = np.where(is_in_RN, reference_RN - mean_in_N, reference_RN - mean_out_N)[:, judged_N]
    counts_RN = (is_in_RN if is_online else np.zeros_like(is_in_RN)) | ~is_in_RN
    used_RN = counts_RN[:, judged_N]
    free = used_RN.sum() - judged_N.sum() * (2 if is_online else 1)  # a mean was taken from each side of each pair
    variance = float((away_RN**2)[used_RN].sum()) / free
    if variance <= 1e-12:
        return None
    if is_online:
        # log N(margin; mu_in, s) - log N(margin; mu_out, s): with one s for both, the squares of the margin cancel, and
        # what is left is a line through the middle of the two means.
        lift_N = np.maximum(mean_in_N - mean_out_N, 0.0)
        score_N = lift_N * (target_N - mean_out_N - lift_N / 2) / variance
        how = f"online, {_range(ins_N[judged_N])} IN and {_range(outs_N[judged_N])} OUT models"
    else:
        score_N = (target_N - mean_out_N) / np.sqrt(variance)
        how = f"offline, {_range(outs_N[judged_N])} OUT models"
    return Attack(np.where(judged_N, score_N, np.nan), how)


def rmia(target_N: stats.Floats, reference_RN: stats.Floats, is_in_RN: Bools, is_member_N: Bools) -> Attack | None:
    """Robust membership attack: over what share of the population a pair's likelihood ratio stands out.

    Zarifzadeh, Liu and Shokri: "Low-Cost High-Power Membership Inference Attacks", ICML 2024, arXiv:2312.03262.
    ratio(x) = p(x | model) / mean over OUT reference models of p(x | reference); the score is the share of
    population pairs z with ratio(x) >= gamma ratio(z). p = 1 / (1 + exp(-margin)).

    Differs from the paper, whose text was not at hand: gamma is 1, its least value, since with a larger one pairs
    that were pushed down look like pairs never seen. The mean over OUT models is not corrected for the lack of IN
    models (their a = 1). The population are the held-out pairs; equal ratios, as of x itself, count half. At most
    `MOST_REFERENCES` OUT models are used for each pair, the first ones.

    Args:
        target_N: Margins of the attacked model.
        reference_RN: Margins of reference models.
        is_in_RN: Which pairs each of them was trained on.
        is_member_N: Which pairs are members; the others are the population.

    Returns:
        None where fewer than `LEAST_PAIRS` of either side have an OUT model.
    """
    used_RN = ~is_in_RN & (np.cumsum(~is_in_RN, axis=0) <= MOST_REFERENCES)
    judged_N = np.asarray(used_RN.any(axis=0))
    if not _enough(judged_N, is_member_N):
        return None
    likelihood_RN = np.where(used_RN, -np.logaddexp(0, -reference_RN), -np.inf)
    usual_N = np.logaddexp.reduce(likelihood_RN, axis=0) - np.log(np.maximum(used_RN.sum(axis=0), 1))
    ratio_N = np.where(judged_N, -np.logaddexp(0, -target_N), 0.0) - np.where(judged_N, usual_N, 0.0)
    population_M = np.sort(ratio_N[judged_N & ~is_member_N])
    below_N, reached_N = (np.searchsorted(population_M, ratio_N, side=side) for side in ("left", "right"))
    score_N = (below_N + reached_N) / (2 * len(population_M))
    return Attack(np.where(judged_N, score_N, np.nan), f"{_range(used_RN.sum(axis=0)[judged_N])} OUT models")


def _attacked(
    audit: AuditInput,
    kind: str | None,
    margins: Mapping[str, stats.Floats],
    shadow_R: Sequence[stats.Floats],
    pairs: Signals,
    is_member_N: Bools,
) -> list[Figure]:
    """Both attacks on every model."""
    figures = []
    for label, attack in ((LIRA, lira), (RMIA, rmia)):
        scores, notes = {}, {}
        for name, target_N in margins.items():
            reference = shadow_R or [margins[other] for other in _others(name, margins)]
            others = "other retrained models" if "retrained" in audit.models else "reference models"
            what = counted(len(reference), "shadows" if shadow_R else others)
            is_in_RN = np.array([[pair in s.members for pair in pairs.ids] for s in audit.shadows], dtype=bool)
            if not shadow_R:  # none of these pairs was seen by a retrained model
                is_in_RN = np.zeros((len(reference), len(pairs)), dtype=bool)
            result = attack(target_N, np.array(reference).reshape(is_in_RN.shape), is_in_RN, is_member_N)
            if result is None:
                models = f"{LEAST_MODELS} reference models" if label == LIRA else "a reference model"
                why = (
                    f"it takes {models} that never saw the pair, for at least {LEAST_PAIRS} forget and {LEAST_PAIRS} "
                    f"held-out pairs; there are {what}, {counted(int(is_member_N.sum()), 'forget pairs')} and "
                    f"{counted(int((~is_member_N).sum()), 'held-out pairs')}"
                )
                figures += absent_figures(AUDIT, Measure(AUC, kind=kind, signal=label), SPLIT, {name: None}, why)
            else:
                scores[name], notes[name] = result.score, f"{result.how} of {what}"
        if scores:
            rows = _rows(audit, kind, label, scores, pairs, is_member_N)
            rows = rows if shadow_R else [_without_swapped_gap(row) for row in rows]
            figures += [replace(row, note=f"{notes[row.model]}; {row.note}") if row.note else row for row in rows]
    return figures


def _others(name: str, models: Iterable[str]) -> list[str]:
    """References where there are no shadows: the second retrained models; for one of them, the first in its place."""
    again = [other for other in models if Role.of(other) is Role.RETRAINED_AGAIN]
    return ["retrained" if other == name else other for other in again]


def _without_swapped_gap(row: Figure) -> Figure:
    """Each retrained model is the other's reference: one AUC is 1 minus the other, and their gap counts all twice."""
    if not (row.role is Role.RETRAINED_AGAIN and row.measure.to == "retrained"):
        return row
    why = "it and the retrained model are each other's references, so that what lies between them counts twice"
    return Figure(audit=AUDIT, measure=row.measure, model=row.model, split=row.split, absent=why)


def _rows(
    audit: AuditInput,
    kind: str | None,
    label: str,
    scores: Mapping[str, stats.Floats],
    pairs: Signals,
    is_member_N: Bools,
) -> list[Figure]:
    """The figures of one attack; which pairs it judges is the same for all models."""
    judged_N = ~np.isnan(next(iter(scores.values())))
    members, nonmembers = (np.flatnonzero(judged_N & side_N) for side_N in (is_member_N, ~is_member_N))
    hang_together = groups(pairs.select(members)), groups(pairs.select(nonmembers))
    left_out = "" if judged_N.all() else f"; {counted(int((~judged_N).sum()), 'pairs')} left out for want of models"
    note = f"{counted(len(members), 'members')} against {counted(len(nonmembers), 'nonmembers')}{left_out}"
    both = {name: (score_N[members], score_N[nonmembers]) for name, score_N in scores.items()}
    rows = auc_figures(
        Heading(AUDIT, Measure(AUC, kind=kind, signal=label), SPLIT, note=note),
        scores=both,
        groups=hang_together,
        seed=audit.seed,
    )
    for fpr in RATES:
        rows += tpr_figures(
            Heading(AUDIT, Measure(f"tpr at fpr {fpr}", kind=kind, signal=label), SPLIT, note=note),
            scores=both,
            groups=hang_together,
            fpr=fpr,
            seed=audit.seed,
        )
    return rows


def _margins(model: ModelSignals, kind: str | None, seed: int) -> stats.Floats | None:
    """Of the forget pairs of a kind, then of the held-out ones."""
    pairs = model.forget.of_kind(kind)
    return pair_margins(model, pairs if model.holdout is None else pairs.join(model.holdout.of_kind(kind)), seed)


def _enough(judged_N: Bools, is_member_N: Bools) -> bool:
    return bool(min((judged_N & is_member_N).sum(), (judged_N & ~is_member_N).sum()) >= LEAST_PAIRS)


def _masked_mean(value_RN: stats.Floats, mask_RN: Bools) -> stats.Floats:
    """Mean over the marked models of each pair; 0 where there is none, for pairs that are not judged by it."""
    total_N = np.asarray(np.where(mask_RN, value_RN, 0.0).sum(axis=0))
    return np.asarray(total_N / np.maximum(mask_RN.sum(axis=0), 1))


def _range(counts: Sequence[int] | NDArray[np.intp]) -> str:
    """A count, or its least and greatest value."""
    low, high = int(np.min(counts)), int(np.max(counts))
    return str(low) if low == high else f"{low} to {high}"


COLUMNS = (
    Column(
        key="per pair",
        figure=lambda audited: (AUDIT, Measure(AUC, kind=audited.kind, signal=LIRA), SPLIT),
        tolerance=TOLERANCES["membership"][1],
        control=UNTOUCHED,
    ),
)
