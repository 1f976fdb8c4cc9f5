"""An event as it stands in the ledger: its place, its hash, and the line that it is exported as."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import rfc8785

from multidelete.artifacts.manifest import digest_text
from multidelete.core.json_files import Json, JsonObject
from multidelete.ledger.events import Event


@dataclass(frozen=True)
class Recorded:
    """An event as it stands in the ledger.

    Attributes:
        ledger: Random id of the ledger.
        number: From 1 on.
        time: When it was written, in UTC.
        event: What happened.
        text: The same as it stands there, canonical JSON.
        previous: Hash of the event before.
        hash: SHA-256 of the canonical JSON of all the rest.
    """

    ledger: str
    number: int
    time: str
    event: Event
    text: str = field(repr=False)
    previous: str
    hash: str

    @property
    def kind(self) -> str:
        return self.event.kind

    @cached_property
    def body(self) -> dict[str, Json]:
        """The event as JSON, as it was written: also by an earlier version, which knew fewer fields."""
        body: dict[str, Json] = json.loads(self.text)
        return body

    @property
    def line(self) -> str:
        """The event in a line of canonical JSON."""
        place = place_of_event(self.ledger, self.number, self.kind, self.time, self.previous)
        return line_of(self.text, {**place, "hash": self.hash})


def canonical(content: JsonObject) -> str:
    """Canonical JSON (RFC 8785)."""
    return rfc8785.dumps(_plain(content)).decode()


def _plain(value: Json) -> "rfc8785._impl._Value":
    """With dictionaries and lists, which the library takes alone."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


def place_of_event(ledger: str, number: int, kind: str, time: str, previous: str) -> dict[str, Json]:
    return {"ledger": ledger, "number": number, "kind": kind, "time": time, "previous": previous}


def line_of(body: str, rest: JsonObject) -> str:
    """Canonical JSON of an event whose body is canonical already: large ones are not written twice."""
    return f'{{"body":{body},{canonical(rest)[1:]}'  # the first of all names


def hash_of(body: str, place: JsonObject) -> str:
    return digest_text(line_of(body, place))
