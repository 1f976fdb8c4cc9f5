"""What unlearning cost, as the run recorded it."""

from multidelete.audits.inputs import AuditInput
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure

AUDIT = "cost"
QUESTION = "Time, memory, and the number of pairs that were gone through."
WALL, FRACTION, PEAK = "wall seconds", "fraction of retraining", "peak bytes"
SEARCH = "for this run's settings; not among its wall seconds"


def figures(audit: AuditInput) -> list[Figure]:
    """Seconds, pairs and memory of the unlearning run; absent where the run did not record them.

    Keys read from ``audit.cost``: ``wall_s`` (the whole job, reading the data and caches included),
    ``reference_s`` (the part of it spent on the original's outputs), ``pairs_forward`` and ``pairs_backward``
    (encoder passes over a pair, caches included), ``peak_bytes``, ``retrained_wall_s``,
    ``search_wall_s`` (the search for the run's settings, where one is recorded).
    """
    forget = len(audit.original.forget)
    wall_s, retrained_wall_s = audit.cost.get("wall_s"), audit.cost.get("retrained_wall_s")
    rows = [
        _figure(WALL, wall_s, "the run did not record wall_s", note="caches of the original included"),
        _figure("search seconds", audit.cost.get("search_wall_s"), "no search for settings is recorded", note=SEARCH),
        _figure("reference seconds", audit.cost.get("reference_s"), "the run did not record reference_s"),
    ]
    if "retrained" in audit.models:
        rows.append(_figure(WALL, retrained_wall_s, "no retraining was timed", model="retrained"))
        rows.append(_fraction(wall_s, retrained_wall_s))
    for key, what in (("pairs_forward", "pairs forwarded"), ("pairs_backward", "pairs backpropagated")):
        pairs, missing = audit.cost.get(key), f"the run did not record {key}"
        rows.append(_figure(what, pairs, missing))
        passes = None if pairs is None else pairs / forget
        note = f"{forget:,} forget pairs"
        rows.append(_figure(f"{what}, as passes over the forget pairs", passes, missing, note=note))
    rows.append(_figure(PEAK, audit.cost.get("peak_bytes") or None, "the run did not record peak_bytes"))
    return rows


def _fraction(wall_s: float | None, retrained_wall_s: float | None) -> Figure:
    if wall_s is None or retrained_wall_s is None or retrained_wall_s <= 0:
        missing = "the run's wall seconds are unknown" if wall_s is None else "no retraining was timed"
        return _figure(FRACTION, None, missing)
    return _figure(FRACTION, wall_s / retrained_wall_s, "", note=f"{wall_s:.1f} s against {retrained_wall_s:.1f} s")


def _figure(
    name: str, value: float | None, missing: str, *, model: str = "unlearned", note: str | None = None
) -> Figure:
    if value is None:
        return Figure(audit=AUDIT, measure=Measure(name), model=model, absent=missing)
    return Figure(audit=AUDIT, measure=Measure(name), model=model, value=float(value), better="lower", note=note)
