"""What can be read off each modality's representation by a linear classifier.

Alain and Bengio: "Understanding intermediate layers using linear classifier probes", ICLR 2017 workshop,
arXiv:1610.01644. Each model has its own probe, a logistic regression on the encoders' outputs before joint space or
fusion, fitted on retain pairs and asked about held-out and forget pairs. Held-out pairs tell whether a modality kept
its meaning, forget pairs whether it tells more of a deleted pair than the retrained model does.

Shape suffixes: N pairs, D representation.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from multidelete.audits.compare import Heading, absent_figures, mean_figures, shuffled
from multidelete.audits.inputs import AuditInput, groups
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure
from multidelete.audits.signals import Signals
from multidelete.audits.stats import Array, Floats
from multidelete.core.words import counted

MAX_FIT = 2000
MAX_STEPS = 2000


def probe_figures(audit: AuditInput, audit_name: str) -> list[Figure]:
    """Accuracy of each modality's probe on forget and on held-out pairs.

    Classes are the pairs' labels; where they have none, their kinds, for a modality whose members have one kind each.
    """
    original, figures = audit.original, []
    rows = shuffled(len(original.retain), MAX_FIT, audit.seed)
    fit = {name: model.retain.select(rows) for name, model in audit.models.items()}
    held = "val" if original.test is None else "test"
    for modality in original.forget.unimodal:
        measure = Measure("linear probe accuracy", modality=modality)
        for split in ("forget", held):
            asked = {
                model: signals.forget if split == "forget" else signals.holdout
                for model, signals in audit.models.items()
            }
            known = {model: signals for model, signals in asked.items() if signals is not None}
            why = _why_not(fit["original"], known.get("original"), modality)
            if why:
                figures += absent_figures(audit_name, measure, split, audit.models, why)
                continue
            classes = _classes(fit["original"])
            figures += mean_figures(
                Heading(
                    audit_name,
                    measure,
                    split,
                    better="target" if split == "forget" else "higher",
                    note=f"{counted(len(set(classes)), _what(fit['original']))}; fitted on "
                    f"{counted(len(rows), 'retain pairs')}; the most "
                    f"frequent one is right of {_most_frequent(classes, _classes(known['original'])):.3f}",
                ),
                values={model: _hits(fit[model], known[model], modality) for model in known},
                groups=groups(known["original"]),
                seed=audit.seed,
            )
    return figures


def probe_hits(fit_ND: Array, classes: Sequence[object], asked_ND: Array, wanted: Sequence[object]) -> Floats:
    """Whether a logistic regression on standardised inputs, with an L2 penalty of 1, is right of each asked row, (N,).

    >>> side = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    >>> probe_hits(side, ["left", "left", "right", "right"], np.array([[-3.0], [3.0]]), ["left", "left"]).tolist()
    [1.0, 0.0]
    """
    names = sorted(set(classes), key=str)
    code = {name: number for number, name in enumerate(names)}
    scaler = StandardScaler().fit(fit_ND.astype(np.float64))
    probe = LogisticRegression(max_iter=MAX_STEPS)
    probe.fit(scaler.transform(fit_ND.astype(np.float64)), [code[name] for name in classes])
    said_N = probe.predict(scaler.transform(asked_ND.astype(np.float64)))
    return np.asarray(said_N == np.array([code.get(name, -1) for name in wanted]), dtype=np.float64)


def _hits(fit: Signals, asked: Signals, modality: str) -> Floats:
    return probe_hits(fit.unimodal[modality], _classes(fit), asked.unimodal[modality], _classes(asked))


def _classes(signals: Signals) -> Sequence[object]:
    return list(signals.kinds) if signals.labels is None else signals.labels.tolist()


def _what(signals: Signals) -> str:
    return "kinds" if signals.labels is None else "labels"


def _most_frequent(fitted: Sequence[object], asked: Sequence[object]) -> float:
    """Share of the asked pairs that have the class most frequent among the fitted ones."""
    most = max(sorted(set(fitted), key=str), key=fitted.count)
    return asked.count(most) / len(asked)


def _why_not(fit: Signals, asked: Signals | None, modality: str) -> str | None:
    """Why there is no probe, or None."""
    if asked is None or not len(asked):
        return "there are no held-out pairs"
    if fit.labels is not None and asked.labels is None:
        return "these pairs have no labels"
    if len(set(_classes(fit))) < 2:
        return "the retain pairs have no labels, and fewer than two kinds"
    if fit.labels is None:
        kinds: dict[str, set[str | None]] = {}
        for key, kind in zip(fit.sources[modality], fit.kinds, strict=True):
            kinds.setdefault(key, set()).add(kind)
        if any(len(of_member) > 1 for of_member in kinds.values()):
            return f"the pairs have no labels, and {modality}s are in pairs of several kinds"
    return None
