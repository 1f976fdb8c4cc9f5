"""Where each request stands, told from the events, and which steps it can take from there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from multidelete.core.config import did_you_mean
from multidelete.core.errors import LedgerError
from multidelete.ledger.events import (
    Audited,
    CertificateIssued,
    Event,
    Failed,
    KeyedPairs,
    KeyForgotten,
    NearDuplicates,
    Planned,
    Received,
    Refused,
    Released,
    Started,
    Unlearned,
)

State = Literal["received", "planned", "unlearned", "audited", "released", "refused", "failed"]
PENDING: tuple[State, ...] = ("received", "planned", "failed")
"""States of requests that a run takes."""
ENDED: tuple[State, ...] = ("released", "refused")

_OPEN: tuple[State, ...] = ("received", "planned", "unlearned", "audited", "failed")
_STEPS: Mapping[type[Event], tuple[tuple[State, ...], State | None]] = {
    Planned: (_OPEN, "planned"),
    NearDuplicates: (("received", "planned", "failed"), None),
    Started: (_OPEN, None),
    Unlearned: (_OPEN, "unlearned"),
    Audited: (("unlearned", "audited", "released"), "audited"),
    Released: (("audited",), "released"),
    Refused: (_OPEN, "refused"),
    Failed: (_OPEN, "failed"),
    KeyForgotten: (ENDED, None),
    CertificateIssued: ((*ENDED, "failed"), None),
}
"""For each event the states that a request may be in, and the one that it is in afterwards; None leaves it."""


class Written(Protocol):
    """An event with its place and time."""

    @property
    def number(self) -> int: ...
    @property
    def time(self) -> str: ...
    @property
    def event(self) -> Event: ...


@dataclass(frozen=True)
class RequestState:
    """Where a request stands.

    Attributes:
        received: How it came in.
        state: How far it is; what happens to a released request later does not undo that.
        since: When it got there.
        numbers: Of the events about it, in order.
        also: Further pairs that were found to fall under it.
        reason: Why it was refused, or failed.
        unlearned: The newest run of it that made a model.
        audited: The newest audit of it.
        released: Its release.
        keys_gone: Whether its keys were destroyed.
        is_running: Whether a run began that made no model and did not fail: it runs now, or was killed.
    """

    received: Received
    state: State
    since: str
    numbers: tuple[int, ...]
    also: tuple[NearDuplicates, ...] = ()
    reason: str | None = None
    unlearned: Unlearned | None = None
    audited: Audited | None = None
    released: Released | None = None
    keys_gone: bool = False
    is_running: bool = False

    @property
    def reference(self) -> str:
        return self.received.reference

    @property
    def pairs(self) -> int:
        """How many pairs it is about, with those that were found later."""
        return sum(one.pairs for one in self.keyed)

    @property
    def keyed(self) -> tuple[KeyedPairs, ...]:
        """Everything that holds references to its pairs."""
        return (self.received, *self.also)


def folded(events: Iterable[Written]) -> dict[str, RequestState]:
    """Each request as its events leave it, by reference, in the order in which they came in.

    Raises:
        LedgerError: An event is not one that could follow.
    """
    requests: dict[str, RequestState] = {}
    for one in events:
        requests = after(requests, one)
    return requests


def after(requests: Mapping[str, RequestState], one: Written) -> dict[str, RequestState]:
    """The requests after one more event.

    Raises:
        LedgerError: It cannot follow.
    """
    event = one.event
    refuse_step(requests, event)
    changed = dict(requests)
    if isinstance(event, Received):
        changed[event.reference] = RequestState(event, "received", one.time, (one.number,))
        return changed
    for reference in event.about:
        changed[reference] = _after(requests[reference], one)
    return changed


def refuse_step(requests: Mapping[str, RequestState], event: Event) -> None:
    """Refuse an event that cannot follow.

    Raises:
        LedgerError: A request is not known or known already, or is not in a state from which this can happen.
    """
    if isinstance(event, Received):
        same = [name for name in requests if name.casefold() == event.reference.casefold()]
        if same:
            raise LedgerError(
                f"a request {same[0]} stands in the ledger already ({requests[same[0]].state}). A reference means one "
                "request: give another."
            )
        return
    unknown = [reference for reference in event.about if reference not in requests]
    if unknown:
        raise LedgerError([f"no request {one!r} in the ledger. {did_you_mean(one, requests)}" for one in unknown])
    states, _ = _STEPS.get(type(event), ((), None))
    wrong = [requests[reference] for reference in event.about if requests[reference].state not in states]
    if wrong:
        raise LedgerError(
            [
                f"request {one.reference} is {one.state}; {_WHAT[event.kind]} only when it is {' or '.join(states)}."
                for one in wrong
            ]
        )


_WHAT = {
    "planned": "it can be planned",
    "near-duplicates": "further pairs can be added",
    "started": "a run can take it",
    "unlearned": "a run can take it",
    "audited": "it can be audited",
    "released": "it can be released",
    "refused": "it can be refused",
    "failed": "it can fail",
    "key forgotten": "its key can be destroyed",
    "certificate issued": "a certificate can be issued",
}


def _after(request: RequestState, one: Written) -> RequestState:
    event = one.event
    _, state = _STEPS[type(event)]
    moved = replace(request, numbers=(*request.numbers, one.number))
    if state is not None and request.state != "released":
        moved = replace(moved, state=state, since=one.time)
    match event:
        case NearDuplicates():
            return replace(moved, also=(*request.also, event))
        case Started():
            return replace(moved, is_running=True)
        case Unlearned():
            return replace(moved, unlearned=event, is_running=False, reason=None)
        case Audited():
            return replace(moved, audited=event)
        case Released():
            return replace(moved, released=event)
        case Refused() | Failed():
            return replace(moved, reason=event.reason, is_running=False)
        case KeyForgotten():
            return replace(moved, keys_gone=True)
        case _:
            return moved
