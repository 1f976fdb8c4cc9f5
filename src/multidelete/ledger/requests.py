"""Requests of a lineage: received, found again in the data, asked about, and made unknowable."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from multidelete.artifacts.deletions import content_reference, id_reference, record_of
from multidelete.artifacts.keys import keyed_digest, new_key, read_keys, write_keys
from multidelete.core.config import did_you_mean, shown
from multidelete.core.errors import CheckpointError, LedgerError
from multidelete.core.units import UNITS
from multidelete.core.words import counted, share
from multidelete.data.pairs import Pair, PairData
from multidelete.data.request import Request
from multidelete.ledger.chain import KEYS, Ledger
from multidelete.ledger.clock import today
from multidelete.ledger.events import KeyForgotten, NearDuplicates, Received
from multidelete.ledger.places import DATA_KEY, RUN_KEYS
from multidelete.ledger.recorded import Recorded
from multidelete.ledger.states import RequestState
from multidelete.ledger.texts import naming, odd_text

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def key_path(folder: Path, reference: str) -> Path:
    """Where the key of a request lies."""
    return folder / KEYS / f"{reference}.key"


def receive(
    ledger: Ledger,
    request: Request,
    data: PairData,
    *,
    reference: str,
    due: str,
    basis: str,
    time: datetime | None = None,
) -> Recorded:
    """Write down that a request came in, and keep a key by which its pairs are known again.

    Args:
        ledger: Of the lineage.
        request: What is to be forgotten.
        data: The pairs that it was resolved on.
        reference: What the request is called, such as the number of a ticket; names nobody.
        due: The day by which it must be done, ``2026-12-28``.
        basis: Legal ground, ``GDPR Art. 17(1)(b)``; names nobody.
        time: Of the event.

    Raises:
        LedgerError: The reference, the day or the ground are not what they must be; nothing was written.
    """
    pairs = [data.train[data.train.index[pair_id]] for pair_id in request.ids]
    problems = [*_odd_reference(reference), *_odd_day(due, today() if time is None else time.date()),
                *odd_text("basis", basis), *naming({"reference": reference, "basis": basis}, pairs)]  # fmt: skip
    if problems:
        raise LedgerError(problems)
    key = new_key()
    record = record_of(key, pairs, request.unit)
    event = Received(
        reference=reference, due=due, basis=basis, unit=record.unit, pairs=record.pairs, key=record.key,
        request=record.request, ids=record.ids, contents=record.contents,
    )  # fmt: skip
    with ledger.writing():
        recorded = ledger.append(event, time=time)
        write_keys(key_path(ledger.folder, reference), {record.key: key})  # before the event counts
    return recorded


def add_near_duplicates(
    ledger: Ledger, reference: str, pairs: Sequence[Pair], *, time: datetime | None = None
) -> Recorded:
    """Write down that further pairs fall under a request.

    Raises:
        LedgerError: There is no such request, it is done, or its key is gone.
    """
    with ledger.writing():
        request = known(ledger, reference)
        record = record_of(request_key(ledger, request), pairs, request.received.unit)
        return ledger.append(
            NearDuplicates(
                reference=reference, unit=record.unit, pairs=record.pairs, key=record.key, request=record.request,
                ids=record.ids, contents=record.contents,
            ),
            time=time,
        )  # fmt: skip


def known(ledger: Ledger, reference: str) -> RequestState:
    """Where a request stands.

    Raises:
        LedgerError: The ledger holds none of that name.
    """
    requests = ledger.requests()
    if reference not in requests:
        raise LedgerError(f"no request {shown(reference)} in {ledger.folder}. {did_you_mean(reference, requests)}")
    return requests[reference]


def key_state(ledger: Ledger, request: RequestState) -> str:
    """Whether the key of a request is kept, destroyed, or missing."""
    if request.keys_gone:
        return "destroyed"
    return "kept" if key_path(ledger.folder, request.reference).is_file() else "missing"


def request_key(ledger: Ledger, request: RequestState) -> bytes:
    """The key of a request.

    Raises:
        LedgerError: It was destroyed, or its file is not there or of another request.
    """
    path = key_path(ledger.folder, request.reference)
    if request.keys_gone:
        raise LedgerError(f"the key of {request.reference} was destroyed: nobody can tell its pairs any more.")
    if not path.is_file():
        raise LedgerError(f"the key of {request.reference} is not there ({path}). Restore it from a backup.")
    keys = _keys_in(path)
    if request.received.key not in keys:
        raise LedgerError(f"{path} holds another key than that of {request.reference}. Restore it from a backup.")
    return keys[request.received.key]


def _keys_in(file: Path) -> dict[str, bytes]:
    try:
        return read_keys(file)
    except CheckpointError as error:
        raise LedgerError(f"{file} cannot be read as keys, or is damaged. Restore it from a backup.") from error


def pairs_of(ledger: Ledger, reference: str, data: PairData) -> Request:
    """The pairs of a request, found in the data by keyed references: by id, or where ids are others by content.

    Raises:
        LedgerError: There is no such request, its key is gone, pairs of it are not in the data, an id stands for
            another pair now, or the data does not tell which of several equal pairs is meant.
    """
    request = known(ledger, reference)
    key = request_key(ledger, request)
    known_ids = {name for one in request.keyed for name in one.ids}
    known_contents = {name for one in request.keyed for name in one.contents}
    references = ((pair, id_reference(key, pair), content_reference(key, pair)) for pair in data.train)
    keyed = [one for one in references if one[1] in known_ids or one[2] in known_contents]
    ids: set[str] = set()
    problems = []
    for one in request.keyed:
        named, held = set(one.ids), set(one.contents)
        by_id = [(pair, content) for pair, own, content in keyed if own in named]
        others = [pair for pair, content in by_id if content not in held]
        left = held - {content for _, content in by_id}
        by_content = [pair for pair, own, content in keyed if own not in named and content in left]
        meant = [pair.id for pair, _ in by_id] + [pair.id for pair in by_content]
        if others:
            problems.append(
                f"{share(len(others), one.pairs, f'pairs of {reference} have')} another picture or text in {data.name} "
                "than when it was received. Give the data as it was."
            )
        elif len(meant) < one.pairs:
            problems.append(
                f"{share(one.pairs - len(meant), one.pairs, f'pairs of {reference} are')} not among the training pairs "
                f"of {data.name}. Give the data that still holds them."
            )
        elif len(meant) > one.pairs:
            problems.append(
                f"{data.name} has other ids than when {reference} was received, and "
                f"{share(one.pairs, len(meant), 'pairs that look alike are')} meant: which cannot be told. Give the "
                "data with the ids that it had."
            )
        ids.update(meant)
    if problems:
        raise LedgerError(problems)
    unit = next(one for one in UNITS if one == request.received.unit)
    chosen = tuple(data.train.only(ids, "forget").ids)
    return Request(chosen, unit, f"{len(chosen)} of {counted(len(data.train), 'training pairs')}, by a reference")


@dataclass(frozen=True)
class Answer:
    """What the ledger can tell of a pair.

    Attributes:
        requests: Those that it is in.
        unknown: Requests whose keys are gone, so that nobody can tell.
        others: How many requests it is certainly not in.
    """

    requests: tuple[RequestState, ...]
    unknown: tuple[RequestState, ...]
    others: int


def is_in(ledger: Ledger, pair: Pair | str) -> Answer:
    """In which requests a pair is: "is my data still in?", as far as the keys that are left allow to tell.

    Args:
        ledger: Of the lineage.
        pair: The pair, or its id alone: then it is not known under another id.
    """
    holding, unknown, others = [], [], 0
    for request in ledger.requests().values():
        try:
            key = request_key(ledger, request)
        except LedgerError:
            unknown.append(request)
            continue
        told = {keyed_digest(key, "id", pair)} if isinstance(pair, str) else _references(key, pair)
        if any(told & {*one.ids, *one.contents} for one in request.keyed):
            holding.append(request)
        else:
            others += 1
    return Answer(tuple(holding), tuple(unknown), others)


def _references(key: bytes, pair: Pair) -> set[str]:
    return {id_reference(key, pair), content_reference(key, pair)}


def forget_key(ledger: Ledger, reference: str, *, time: datetime | None = None) -> Recorded:
    """Destroy what tells the pairs of a request that is done: from then on nobody can confirm that one was in it.

    That is its key, those of the runs that made models for it, those of models beside the lineage that lie with them,
    and that of the digest of the first data, by which the pairs that are missing now could be tried out. Copies
    elsewhere, such as backups, are not reached.

    Raises:
        LedgerError: There is no such request, it is not done, its key was destroyed before, or a file of keys is
            damaged; then nothing is destroyed.
        CheckpointError: A file of keys cannot be written.
    """
    from multidelete.ledger.models import needed_keys  # which imports transformers

    with ledger.writing():
        request = known(ledger, reference)
        if request.keys_gone:
            raise LedgerError(f"the key of {reference} was destroyed already.")
        runs = [one.event for one in ledger.events() if one.kind == "unlearned" and reference in one.event.about]
        gone = {request.received.key, *(run.as_json().get("key") for run in runs)}
        first = ledger.folder / KEYS / DATA_KEY
        gone |= set(_keys_in(first)) if first.is_file() else set()
        folder = ledger.folder / KEYS
        held = {file: _keys_in(file) for file in sorted(folder.glob("*.key"))}  # one that is damaged stops it here
        gone |= set(held.get(folder / RUN_KEYS, {})) - needed_keys(
            ledger
        )  # of models beside it, such as retrained ones
        keys = tuple(sorted(str(one) for one in gone if one))
        recorded = ledger.append(KeyForgotten(reference=reference, keys=keys), time=time)  # refused where it may not be
        for left in {*folder.glob("*.key.old"), *folder.glob(f"{reference}.key.*")}:  # by a process that was killed
            _wipe(left)
        for file, kept in held.items():
            _destroy(file, kept, set(keys))
    return recorded


def _destroy(file: Path, keys: Mapping[str, bytes], gone: set[str]) -> None:
    """Take keys out of a file that holds these."""
    if not gone.intersection(keys):
        return
    old = file.with_name(f"{file.name}.old")
    os.link(file, old)
    if kept := {name: key for name, key in keys.items() if name not in gone}:
        write_keys(file, kept)
    else:
        file.unlink()
    _wipe(old)


def _wipe(file: Path) -> None:
    """Overwrite and remove a file."""
    with file.open("r+b") as held:
        held.write(bytes(file.stat().st_size))
        held.flush()
        os.fsync(held.fileno())
    file.unlink()


def _odd_reference(reference: str) -> list[str]:
    if _REFERENCE.fullmatch(reference):
        return []
    return [
        f"reference is {shown(reference)}; it must be 1 to 64 letters, digits, dots, hyphens and underscores, and "
        "begin with a letter or digit (TICKET-17). Files are named by it."
    ]


def _odd_day(due: str, from_day: date) -> list[str]:
    try:
        day = date.fromisoformat(due)
    except ValueError:
        return [f"due is {shown(due)}; it must be a day such as 2026-12-28."]
    if day < from_day:
        return [f"due is {due}, and today is {from_day}: a day to come must be given."]
    return []
