"""Can an attacker tell the forget pairs from held-out pairs of the same kind?

A population attack: one threshold on one signal, for all pairs alike. Members are the forget pairs,
nonmembers held-out pairs; retain pairs are members and only serve as the reference that margins are
measured against. The direction is fixed: a higher score says "was trained on". It is never turned
round afterwards, so an AUC below 0.5 shows over-forgetting: deleted pairs stand out as suspiciously
unassociated, which is a leak as well.

Shape suffixes: N pairs, C reference candidates.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from multidelete.audits import stats
from multidelete.audits.columns import Audited, Column
from multidelete.audits.compare import Heading, absent_figures, auc_figures, shuffled, tpr_figures
from multidelete.audits.controls import UNTOUCHED, Controls, guesses
from multidelete.audits.inputs import AuditInput, groups, prefix
from multidelete.audits.judgement import TOLERANCES
from multidelete.audits.measure import AUC, Measure
from multidelete.audits.result import Figure, Key
from multidelete.audits.retrieval import directions
from multidelete.audits.signals import Signals
from multidelete.core.words import counted

AUDIT = "membership"
QUESTION = "Can an attack tell deleted pairs from pairs that were never trained on?"
CONTROLS = Controls(apart=0.20, rules=[partial(guesses, apart=0.20)])
SPLIT = "forget and held-out"
MAX_REFERENCE = 1000
RATES = (0.01, 0.001)
RATIO_FPR = 0.1
CONFIDENCE = "confidence"  # the signal of classifiers that asks for no label

AttackScores = Mapping[str, tuple[stats.Floats, stats.Floats]]


def figures(audit: AuditInput) -> list[Figure]:
    """AUC per signal, the strongest signal's AUC and TPR at low FPR, and the MI ratio, per kind."""
    rows = []
    for kind in audit.kinds():
        holdout = audit.original.holdout
        if holdout is None or kind not in holdout.kinds:
            why = f"there are no {prefix(kind)}held-out pairs, and retain pairs are members"
            rows += absent_figures(AUDIT, Measure(AUC, kind=kind), SPLIT, audit.models, why)
            continue
        rows += _kind_figures(audit, kind, holdout.of_kind(kind))
    return rows


def attack_scores(audit: AuditInput, kind: str | None) -> dict[str, AttackScores]:
    """For each signal and model the attack's scores of members and of nonmembers.

    Signals: ``score``, the label-aware score of the pair; for classifiers ``confidence``, the log-odds of
    the most likely class, right or wrong; and for dual encoders ``margin image to text`` and ``margin text
    to image``, see `margins`. Higher says "was trained on".

    Raises:
        ValueError: There are no held-out pairs of this kind.
    """
    scores: dict[str, dict[str, tuple[stats.Floats, stats.Floats]]] = {"score": {}}
    for name, model in audit.models.items():
        members, retain = model.forget.of_kind(kind), model.retain.of_kind(kind)
        nonmembers = None if model.holdout is None else model.holdout.of_kind(kind)
        if nonmembers is None or not len(nonmembers) or not len(members):
            raise ValueError(f"{len(members)} members of kind {kind!r}, and no nonmembers")
        scores["score"][name] = (_float64(members.label_aware_score), _float64(nonmembers.label_aware_score))
        if members.confidence is not None and nonmembers.confidence is not None:
            halves = _float64(members.confidence), _float64(nonmembers.confidence)
            scores.setdefault(CONFIDENCE, {})[name] = halves
        if members.embeddings is None:
            continue
        both = members.join(nonmembers)
        for query, candidate in directions(members):
            margin_N = margins(both, retain, query=query, candidate=candidate, scale=model.logit_scale, seed=audit.seed)
            if margin_N is not None:
                halves = margin_N[: len(members)], margin_N[len(members) :]
                scores.setdefault(f"margin {query} to {candidate}", {})[name] = halves
    return dict(scores)


def margins(
    pairs: Signals, reference: Signals, *, query: str, candidate: str, scale: float | None = None, seed: int = 0
) -> stats.Floats | None:
    """How far each pair's own similarity stands out from what its query has with unassociated candidates, (N,).

    s * own - logsumexp_c(s * similarity to candidate c), over up to 1,000 distinct candidates of the
    reference pairs, the same ones for every model. Candidates that any pair joins to the query are left
    out. A query that likes everything therefore gains nothing. s is the model's logit scale if given,
    else 1 / the standard deviation of the similarities to the reference (1 for a collapsed encoder).

    Returns:
        None where a query has no unassociated candidate in the reference.
    """
    if pairs.embeddings is None or reference.embeddings is None or not len(reference):
        return None
    keys = list(dict.fromkeys(reference.sources[candidate]))
    keys = [keys[i] for i in shuffled(len(keys), MAX_REFERENCE, seed)]
    first = {key: position for position, key in reversed(list(enumerate(reference.sources[candidate])))}
    column = {key: position for position, key in enumerate(keys)}
    associated: dict[str, set[int]] = {}
    for side in (pairs, reference):
        for asked, answer in zip(side.sources[query], side.sources[candidate], strict=True):
            if answer in column:
                associated.setdefault(asked, set()).add(column[answer])
    asked_ND = _float64(pairs.embeddings[query])
    own_N = np.round((asked_ND * _float64(pairs.embeddings[candidate])).sum(axis=1), 6)
    candidates_CD = _float64(reference.embeddings[candidate][[first[key] for key in keys]])
    similarity_NC = np.round(asked_ND @ candidates_CD.T, 6)
    spread = float(similarity_NC.std())
    s = scale or (1 / spread if spread > 1e-6 else 1.0)
    for row, asked in enumerate(pairs.sources[query]):
        similarity_NC[row, list(associated.get(asked, ()))] = -np.inf
    if np.isneginf(similarity_NC).all(axis=1).any():
        return None
    return np.asarray(s * own_N - np.logaddexp.reduce(s * similarity_NC, axis=1))


def strongest(aucs: Mapping[str, float]) -> str:
    """The signal whose AUC is farthest from 0.5; the first one of equals.

    >>> strongest({"score": 0.6, "margin": 0.3})
    'margin'
    """
    return max(aucs, key=lambda signal: round(abs(aucs[signal] - 0.5), 9))


def _kind_figures(audit: AuditInput, kind: str | None, holdout: Signals) -> list[Figure]:
    """All figures of one kind."""
    attacks = attack_scores(audit, kind)
    members = audit.original.forget.of_kind(kind)
    sizes = f"{counted(len(members), 'members')} against {counted(len(holdout), 'nonmembers')}"
    second = members.modalities[1]
    trained = set(members.sources[second]) | set(audit.original.retain.sources[second])
    shared = sum(key in trained for key in holdout.sources[second])
    note = sizes + (f"; {shared:,} of the nonmembers' {second}s also occur in training" if shared else "")
    hang_together = groups(members), groups(holdout)
    figures = []
    for signal, by_model in attacks.items():
        figures += auc_figures(
            Heading(AUDIT, Measure(AUC, kind=kind, signal=signal), SPLIT, note=note),
            scores=by_model,
            groups=hang_together,
            seed=audit.seed,
        )
    row_of = {(row.model, row.measure.signal): row for row in figures if row.measure.to is None}
    headline_of: dict[str, str] = {}
    for name in audit.models:
        rows = {signal: row_of[name, signal] for signal in attacks if name in attacks[signal]}
        headline_of[name] = strongest({signal: row.value for signal, row in rows.items() if row.value is not None})
        best = rows[headline_of[name]]
        figures.append(
            replace(best, measure=Measure(AUC, kind=kind), note=f"strongest signal: {headline_of[name]}; {note}")
        )
        for fpr in RATES:
            figures += tpr_figures(
                Heading(AUDIT, Measure(f"tpr at fpr {fpr}", kind=kind), SPLIT, note=f"signal: {headline_of[name]}"),
                scores={name: attacks[headline_of[name]][name]},
                groups=hang_together,
                fpr=fpr,
                seed=audit.seed,
            )
    return figures + _ratio_figures(audit, kind, headline_of["original"], attacks[headline_of["original"]])


def _ratio_figures(audit: AuditInput, kind: str | None, signal: str, scores: AttackScores) -> list[Figure]:
    """Attack's success on the original over its success on the model: above 1, the attack got weaker.

    This project's own definition (not checked against the paper, which names the measure): success is
    the share of forget pairs called members while at most 10 % of the held-out pairs are, by the signal
    that is strongest on the original.
    """
    measure = Measure("MI ratio", kind=kind)
    nonmembers = len(scores["original"][1])
    if nonmembers * RATIO_FPR < 1 - 1e-9:
        why = f"{counted(nonmembers, 'nonmembers')}; the attack's threshold needs at least {round(1 / RATIO_FPR)}"
        return absent_figures(AUDIT, measure, SPLIT, audit.models, why)
    success = {model: stats.tpr_at_fpr(*pair, RATIO_FPR) for model, pair in scores.items()}
    rows = []
    for model, rate in success.items():
        row = partial(Figure, audit=AUDIT, measure=measure, model=model, split=SPLIT)
        if not rate:
            why = "the attack calls no forget pair of this model a member: the ratio has no bound"
            rows.append(row(absent=why))
            continue
        note = f"share called members: original {success['original']:.3f}, here {rate:.3f}; signal: {signal}"
        value = success["original"] / rate
        rows.append(row(value=value, n=len(scores[model][0]), better="target", note=note))
    return rows


def _float64(array: stats.Array) -> stats.Floats:
    return array.astype(np.float64)


def _confidence(audited: Audited) -> Key | None:
    """Tells models apart that the others do not: it needs no label."""
    return audited.if_there((AUDIT, Measure(AUC, kind=audited.kind, signal=CONFIDENCE), SPLIT))


def _most_telling(audited: Audited) -> Key | None:
    """The attack that tells most of the original, confidence aside."""
    attacks = [
        row for row in audited.figures
        if row.audit == AUDIT and row.model == "original" and row.value is not None and row.measure.is_attack
        and row.measure.kind == audited.kind and row.measure.signal != CONFIDENCE
    ]  # fmt: skip
    return max(attacks, key=lambda row: row.value or 0.0).key if attacks else None


COLUMNS = (
    Column(key="membership", figure=_most_telling, tolerance=TOLERANCES["membership"][1], control=UNTOUCHED),
    Column(key="confidence", figure=_confidence, tolerance=TOLERANCES["membership"][1]),
)
