"""What a lineage has lost against its first original, and when it is time to retrain."""

from collections.abc import Iterable, Mapping
from typing import Literal

from multidelete.audits.judgement import ScoreRow
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Audited, Budget
from multidelete.ledger.models import LineageModel

Advice = Literal["go on", "retrain now"]
FIGURES = ("retain", "test")


def drift_of(rows: Iterable[ScoreRow]) -> dict[str, float]:
    """How far a model lies below the original in the figures of kept and of test pairs, of the worst kind of pairs.

    Args:
        rows: The scorecard of an audit against the first original.
    """
    drift: dict[str, float] = {}
    for row in rows:
        if row.criterion not in FIGURES or row.original is None or row.unlearned is None:
            continue
        if row.original.value is not None and row.unlearned.value is not None:
            lost = row.original.value - row.unlearned.value
            drift[row.criterion] = max(lost, drift.get(row.criterion, lost))
    return {name: round(lost, 6) for name, lost in drift.items()}


def model_drift(ledger: Ledger, model: LineageModel) -> dict[str, float]:
    """What a model has lost against the first original; nothing where it was not judged, or is the first."""
    told = [
        event.drift
        for one in ledger.events()
        if isinstance(event := one.event, Audited) and event.model == model.digest.digest and event.drift is not None
    ]
    return dict(told[-1]) if told else {}


def advice(drift: Mapping[str, float], requests: int, budget: Budget) -> Advice:
    """``retrain now`` before the budget is exceeded: when one more request of the mean loss would exceed it.

    Args:
        drift: What was lost by each figure.
        requests: By how many requests.
        budget: What may be lost in all.

    >>> advice({"retain": 0.02, "test": 0.0}, 4, Budget()), advice({"retain": 0.02}, 1, Budget())
    ('go on', 'retrain now')
    """
    allowed = budget.by_figure()
    return (
        "retrain now"
        if any(lost + max(0.0, lost) / max(1, requests) > allowed[name] for name, lost in drift.items())
        else "go on"
    )


def exceeded(drift: Mapping[str, float], budget: Budget) -> dict[str, str]:
    """The figures by which more was lost than the budget allows, in words.

    Args:
        drift: What was lost by each figure.
        budget: What may be lost in all.

    >>> exceeded({"retain": 0.05, "test": 0.01}, Budget())
    {'retain': '0.050 of retain (0.03 is allowed)'}
    """
    allowed = budget.by_figure()
    return {
        name: f"{lost:.3f} of {name} ({allowed[name]:g} is allowed)"
        for name, lost in drift.items()
        if lost > allowed[name]
    }
