"""Where things lie that still know deleted pairs, as noted beside the ledger, and which of them it says are left.

The file beside the ledger may be deleted; the ledger holds the sort and the digest of each thing alone.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from multidelete.artifacts.room import write_whole
from multidelete.core.json_files import read_json_object
from multidelete.core.records import Record, read_object
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Found, Gone, Holder, Released

PLACES = "still-knowing.json"
DATA = "training data"


@dataclass(frozen=True, kw_only=True)
class Holding(Record):
    """Something that still knows deleted pairs.

    Attributes:
        what: Which sort of thing.
        digest: Of what it holds; of copies of the data a random one, since a digest of theirs would confirm guesses.
        path: Where it lies.
    """

    what: str
    digest: str
    path: str

    @property
    def holder(self) -> Holder:
        """As the ledger holds it, without its path."""
        return Holder(what=self.what, digest=self.digest)


@dataclass(frozen=True, kw_only=True)
class _Places(Record):
    holdings: tuple[Holding, ...] = ()


def listed(ledger: Ledger) -> list[Holder]:
    """What the ledger knows to be left, by sort and digest: found once, and not gone since."""
    left: dict[tuple[str, str], Holder] = {}
    for one in ledger.events():
        match one.event:
            case Released() | Found():
                left |= {(holder.what, holder.digest): holder for holder in one.event.still_knowing}
            case Gone():
                left.pop((one.event.what, one.event.digest), None)
            case _:
                pass
    return list(left.values())


def not_among(ledger: Ledger, found: Iterable[Holding]) -> list[Holder]:
    """What is listed and was not found; a thing whose content changed since is found under another digest."""
    at = {(one.what, one.path) for one in found}
    seen = {(one.what, one.digest) for one in (*found, *read_places(ledger)) if (one.what, one.path) in at}
    return [one for one in listed(ledger) if (one.what, one.digest) not in seen]


def remember(ledger: Ledger, found: Iterable[Holding]) -> None:
    """Note where things lie, beside the ledger; what lay there with another content before stays noted."""
    every = {(one.path, one.what, one.digest): one for one in (*read_places(ledger), *found)}
    _write_places(ledger, every.values())


def forget(ledger: Ledger, gone: Collection[Holding]) -> None:
    """Note no longer where things lay that are gone."""
    _write_places(ledger, [one for one in read_places(ledger) if one not in gone])


def _write_places(ledger: Ledger, places: Iterable[Holding]) -> None:
    content = _Places(holdings=tuple(one for one in places if _is_text(one.path))).as_json()
    write_whole(ledger.folder / PLACES, json.dumps(content, indent=1) + "\n")


def _is_text(path: str) -> bool:
    """Whether a path can be written down; a file's name may be any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_places(ledger: Ledger) -> tuple[Holding, ...]:
    """What is noted of where things lie."""
    path = ledger.folder / PLACES
    if not path.is_file():
        return ()
    remedy = "Delete it: it is made again."
    return read_object(_Places, read_json_object(path, remedy), str(path), remedy).holdings
