"""The floor: no model is asked to lie nearer to the retrained one than a second retrained model does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from multidelete.audits import distance
from multidelete.audits.criteria import Lookup
from multidelete.audits.forgetting import UnitCounts
from multidelete.audits.inputs import RETRAINED_AGAIN, prefix
from multidelete.audits.judgement import ENOUGH_GROUPS, ScoreRow
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure, Key
from multidelete.audits.roles import Role

State = Literal["unknown", "within", "above", "below"]


@dataclass(frozen=True)
class Floor:
    """Where the unlearned model's gaps to the retrained model lie, beside those of second retrained models.

    Attributes:
        state: ``within``: no gap of forgetting, membership and margins is larger than what the 95 % intervals of a
            second retrained model's gap reach to. ``above``: one is, and the unlearned model lies above the retrained
            one (unfinished). ``below``: one is, and it lies below in all of those (over-forgotten). ``unknown``: there
            is no second retrained model, a gap is absent, or fewer than `ENOUGH_GROUPS` deleted groups stand behind it.
        sentence: The gaps and the floor, or why it is not known; empty without a retrained model.
    """

    state: State
    sentence: str


NOT_KNOWN = "The floor, how far two retrained models lie apart by chance, is not known"
UNKNOWN = Floor("unknown", "")


def floor(look: Lookup, rows: Sequence[ScoreRow], counts: UnitCounts | None) -> Floor:
    """Compare the gaps of the scorecard's forgetting and membership rows, and the signed margin gap, with the floor."""
    if counts is None or all(row.retrained is None for row in rows):
        return UNKNOWN
    if not look.models(Role.RETRAINED_AGAIN):
        return Floor("unknown", f"{NOT_KNOWN}: there is no second retrained model (--retrained-again).")
    if counts.groups < ENOUGH_GROUPS:
        few = f"{counts.groups} deleted {counts.noun} are fewer than {ENOUGH_GROUPS}"
        return Floor("unknown", f"{NOT_KNOWN}: {few}, too few to compare two retrained models by.")
    keys: dict[str, Key | None] = {
        prefix(row.kind) + row.criterion: _gap_key(row.unlearned)
        for row in rows
        if row.criterion in ("forgetting", "membership")
    }
    for one in (counts, *counts.others):
        keys[f"{prefix(one.kind)}margins"] = (distance.AUDIT, Measure(distance.SIGNED, kind=one.kind), "forget")
    beyond, told = [], []
    for name, key in keys.items():
        gap = None if key is None else look.value(key, "unlearned")
        reach = None if key is None else _reach(look, key)
        if gap is None or reach is None:
            return Floor("unknown", f"{NOT_KNOWN}: {name} has no gap to the retrained models.")
        told.append(f"{name} {gap:+.3f} (a second retrained model up to {reach:.3f})")
        if abs(gap) > reach + 1e-9:
            beyond.append(gap)
    state: State = "within" if not beyond else "above" if max(beyond) > 0 else "below"
    words = {
        "within": "no farther from the retrained model than a second retrained one",
        "above": "above the floor, so that something is left of the deleted pairs",
        "below": "below the floor, so that deleted pairs stand out by their absence",
    }
    return Floor(state, f"On the deleted pairs {words[state]}: {', '.join(told)}.")


def farthest(look: Lookup, counts: UnitCounts | None) -> str:
    """The deleted pairs that lie farthest from the retrained model's margins on either side, as numbers."""
    if counts is None:
        return ""
    parts = []
    for model in ("unlearned", RETRAINED_AGAIN):
        ends = [
            look.value((distance.AUDIT, Measure(name, kind=counts.kind), "forget"), model)
            for name in (distance.HIGHEST, distance.LOWEST)
        ]
        if ends[0] is not None and ends[1] is not None:
            parts.append(f"{ends[1]:+.1f} to {ends[0]:+.1f}")
    if not parts:
        return ""
    beside = f" (a second retrained model: {parts[1]})" if len(parts) > 1 else ""
    return (
        f"Single deleted pairs: how sure the model is of one (its margin) differs from retrained by {parts[0]}{beside}."
    )


def _gap_key(unlearned: Figure | None) -> Key | None:
    return None if unlearned is None else (unlearned.audit, unlearned.measure.against("retrained"), unlearned.split)


def _reach(look: Lookup, key: Key) -> float | None:
    """The farthest end of the intervals of all second retrained models' gaps; the gap itself where there is none."""
    gaps = [row for model in look.models(Role.RETRAINED_AGAIN) if (row := look.row(key, model)) is not None]
    ends = [abs(end) for row in gaps for end in (row.low, row.high, row.value) if end is not None]
    return max(ends, default=None)
