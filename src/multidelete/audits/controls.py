"""Controls: models of known answers among the audited ones. An audit that gets them wrong says nothing of others.

    untouched         the original, given as if it had unlearned
    retrained again   a second retrained model, of another seed; further ones are "retrained again 2", ...
    random weights    a new model that was never trained

Models with these names are taken as controls wherever figures come from; `run_audits` marks figures itself. What an
audit promises of them stands with the audit, as its ``CONTROLS``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from multidelete.audits.result import Figure
from multidelete.audits.roles import Role

UNTOUCHED, RANDOM_WEIGHTS = "untouched", "random weights"
SAME = 1e-4  # the same weights asked twice, perhaps in other batches

Rule = Callable[[Sequence[Figure]], list[str]]
"""From an audit's figures to one outcome for each thing looked at, empty where it is right."""


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What an audit promises of models whose answers are known.

    Attributes:
        apart: A second retrained model is not certainly farther from the first than this. Twice the verdict's
            tolerance: two retrained models differ, and few items make narrow intervals. None: it is not looked at.
        compared: The figures of which that holds.
        expected: What the untouched model's figure is where it is not the original's.
        rules: What else holds, of random weights above all.
    """

    apart: float | None = None
    compared: Callable[[Figure], bool] = lambda _: True
    expected: Callable[[Figure], float | None] = lambda _: None
    rules: Sequence[Rule] = ()

    def outcomes(self, rows: Sequence[Figure]) -> list[str]:
        """One outcome for each thing looked at, empty where it is right."""
        return [
            *self._untouched(rows),
            *self._retrained_again(rows),
            *(told for rule in self.rules for told in rule(rows)),
        ]

    def _untouched(self, rows: Sequence[Figure]) -> list[str]:
        """It has the original's value in every figure, up to `SAME`, and lies nowhere away from it."""
        original = {(row.measure, row.split): row.value for row in rows if row.model == "original"}
        outcomes = []
        for row in rows:
            expected = 0.0 if row.measure.to == "original" else original.get((row.measure, row.split))
            expected = expected if (own := self.expected(row)) is None else own
            if row.model != UNTOUCHED or row.value is None or expected is None:
                continue
            is_same = abs(row.value - expected) <= SAME * max(1.0, abs(expected))
            where = f"{row.figure} ({row.split})" if row.split else row.figure
            outcomes.append("" if is_same else f"untouched: {where} is {row.value:.3f}, the original's {expected:.3f}")
        return outcomes

    def _retrained_again(self, rows: Sequence[Figure]) -> list[str]:
        """Its interval reaches into what is within ``apart`` of the retrained model."""
        apart = self.apart
        if apart is None:
            return []
        gaps = [row for row in rows if row.role is Role.RETRAINED_AGAIN and row.measure.to == "retrained"]
        return [
            far(
                row,
                0.0,
                apart,
                f"{row.model}: {replace(row.measure, to=None)} lies {row.value:+.3f} from the retrained's",
            )
            for row in gaps
            if self.compared(row)
        ]


def worse_than_original(rows: Sequence[Figure]) -> list[str]:
    """Random weights are certainly worse than the original in some figure of pairs that are kept."""
    kept = [row for row in _random(rows) if row.measure.to == "original" and row.split != "forget"]
    return some(kept, _below_zero, "random weights: nothing is certainly worse than the original's")


def guesses(rows: Sequence[Figure], *, apart: float) -> list[str]:
    """No attack on random weights is certainly farther than ``apart`` from an AUC of 0.5."""
    aucs = [row for row in _random(rows) if row.measure.is_attack]
    return [far(row, 0.5, apart, f"random weights: {row.figure} is {row.value:.3f}") for row in aucs]


def _random(rows: Sequence[Figure]) -> list[Figure]:
    return [row for row in rows if row.model == RANDOM_WEIGHTS]


def far(row: Figure, centre: float, tolerance: float, words: str) -> str:
    """Words, if the whole interval is farther from the centre than the tolerance; no interval proves nothing."""
    if row.low is None or row.high is None:
        return ""
    is_far = row.low > centre + tolerance or row.high < centre - tolerance
    return f"{words}, 95 % interval {row.low:.3f} to {row.high:.3f}" if is_far else ""


def some(rows: Sequence[Figure], holds: Callable[[Figure], bool], words: str) -> list[str]:
    """One outcome for all rows: right if the rule holds for any; none where there are no rows."""
    return ["" if any(map(holds, rows)) else words] if rows else []


def _below_zero(row: Figure) -> bool:
    return (row.value or 0) < 0 and (row.high is None or row.high < 0)
