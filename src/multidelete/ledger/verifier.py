"""Check a certificate of a deletion, and the ledger behind it: ``python verifier.py CERTIFICATE [--ledger FILE]``.

A file of its own: it needs Python 3.11 and nothing else, and for signatures the package cryptography. It can be handed
over with a certificate, and read in half an hour. It says what it checked and what it could not.

Exit codes: 0 all that was checked holds, 1 something does not (the first that is met), 2 what was given cannot be read.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from json.encoder import encode_basestring
from pathlib import Path
from typing import NoReturn

FIRST = "0" * 64
"""What stands for the hash before the first event."""
FIELDS = ("body", "hash", "kind", "ledger", "number", "previous", "time")
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:multidelete:deletion:v1"
PAYLOAD = "application/vnd.in-toto+json"
MIGRATIONS: Sequence[tuple[str, Sequence[str]]] = (
    (
        "events",
        (
            "CREATE TABLE events (number INTEGER PRIMARY KEY, ledger TEXT NOT NULL, kind TEXT NOT NULL, "
            "time TEXT NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL) STRICT",
            "CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events "
            "BEGIN SELECT RAISE(ABORT, 'events are never changed'); END",
            "CREATE TRIGGER events_are_not_removed BEFORE DELETE ON events "
            "BEGIN SELECT RAISE(ABORT, 'events are never removed'); END",
        ),
    ),
)
"""Name and SQL of each step that made the file of a ledger, in order; the names are noted in it."""
PAGE_BYTES = 4096
NOTED = "CREATE TABLE IF NOT EXISTS migrations (name TEXT NOT NULL) STRICT"
MARK = ".multidelete"
"""In a folder, who wrote it: no part of a model."""
_SQLITE = b"SQLite format 3\0"
_COUNTERS, _COPIED, _WRITER = ((24, 28), (92, 96)), (40, 44), (96, 100)  # in the file's header
_LARGEST = 2**53  # whole numbers below are the same in every JSON
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_STATES = ("received", "planned", "unlearned", "audited", "released", "refused", "failed")

Json = bool | int | float | str | None | list["Json"] | dict[str, "Json"]
Object = dict[str, Json]


class FalseError(Exception):
    """Something that was checked does not hold."""


class UnusableError(Exception):
    """What was given cannot be read."""


@dataclass
class Findings:
    """What the certificate is about, what was checked, and what could not be."""

    about: str = ""
    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


# Canonical JSON


def canonical(value: object) -> bytes:
    """JSON in the one form of RFC 8785.

    Raises:
        FalseError: It holds what that form cannot.
    """
    try:
        return _text(value).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise FalseError("it holds half of a character, or is nested too deeply") from error


def _text(value: object) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: str(name).encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join([f"{_text(name)}:{_text(value[name])}" for name in names]) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join([_text(one) for one in value]) + "]"
    raise FalseError("it holds what JSON cannot")


def _number(value: float) -> str:
    """A number as ECMAScript writes it."""
    if isinstance(value, int):
        if abs(value) >= _LARGEST:
            raise FalseError("it holds a whole number that is too large")
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        raise FalseError("it holds what is no number")
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, rest = mantissa.partition(".")
    digits = (whole + rest).lstrip("0")
    point = int(exponent or 0) + (len(whole) if whole != "0" else len(digits) - len(rest))
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        told = digits.ljust(point, "0") if len(digits) <= point else f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        told = f"0.{'0' * -point}{digits}"
    else:
        told = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"-{told}" if value < 0 else told


def read_canonical(data: bytes, what: str) -> Object:
    """The object that canonical JSON holds; in any other form it was not written so.

    Raises:
        FalseError: It is not canonical, or no object.
    """
    try:
        content: Json = json.loads(data.decode(), parse_constant=_no_number)
        if isinstance(content, dict) and canonical(content) == data:
            return content
    except (ValueError, RecursionError, FalseError) as error:
        raise FalseError(f"{what} is not as it was written: {error}.") from error
    raise FalseError(f"{what} is not as it was written: it is no object in canonical JSON.")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def digest(value: object) -> str:
    """SHA-256 of canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


# The ledger


def check_event(event: Object, before: Object | None) -> None:
    """Check that an event follows another, or is the first.

    Raises:
        FalseError: It does not.
    """
    number = 1 if before is None else _int(before["number"]) + 1
    what = f"event {number} of the ledger"
    if tuple(sorted(event)) != FIELDS or event["number"] != number or isinstance(event["number"], bool):
        raise FalseError(f"{what} is not where it was: events were removed, reordered or inserted.")
    texts = [event[name] for name in ("kind", "ledger", "time", "previous", "hash")]
    if not all(isinstance(text, str) for text in texts) or not isinstance(event["body"], dict):
        raise FalseError(f"{what} is not as it was written: a part of it is of another type.")
    if not _TIME.fullmatch(str(event["time"])):
        raise FalseError(f"{what} is not as it was written: its time is {event['time']!r}.")
    if before is not None and event["ledger"] != before["ledger"]:
        raise FalseError(f"{what} was taken from another ledger.")
    if event["previous"] != (FIRST if before is None else before["hash"]):
        raise FalseError(f"{what} does not follow the one before: events were removed, reordered, inserted or altered.")
    if event["hash"] != digest({name: event[name] for name in FIELDS if name != "hash"}):
        raise FalseError(f"{what} was altered: its hash is another.")
    if (before is None) != (event["kind"] == "opened"):
        raise FalseError(f"{what} is of the kind {event['kind']!r}: a ledger is opened once, at its beginning.")


def check_chain(events: Iterable[Object]) -> list[Object]:
    """All events, each checked against the one before.

    Raises:
        FalseError: One does not follow, or there is none.
    """
    checked: list[Object] = []
    for event in events:
        check_event(event, checked[-1] if checked else None)
        checked.append(event)
    if not checked:
        raise FalseError("the ledger holds no event.")
    return checked


def read_ledger(path: Path, findings: Findings) -> list[Object]:
    """The events of a ledger: of its SQLite file, its folder, or JSON lines that were exported.

    Raises:
        FalseError: They are not as they were written.
        UnusableError: There is no such file.
    """
    path = path / "ledger.sqlite" if path.is_dir() else path
    data = read_file(path)
    if data.startswith(_SQLITE) or path.suffix == ".sqlite":
        events = _of_sqlite(*_settled(path), findings)
    else:
        *lines, end = data.split(b"\n")
        if end:
            raise FalseError("the last line of the ledger is not as it was written: it has no end.")
        events = check_chain(read_canonical(line, f"line {at} of the ledger") for at, line in enumerate(lines, 1))
    findings.checked.append(f"the chain of {_counted(len(events), 'events')} of ledger {events[0]['ledger']}")
    back = [str(one["number"]) for last, one in pairwise(events) if str(one["time"]) < str(last["time"])]
    if back:
        findings.unchecked.append(f"the clock, which went back before the events {', '.join(back)}")
    return events


def _settled(path: Path) -> tuple[bytes, bytes]:
    """A file of SQLite and the log beside it, which belong together: read again while somebody writes."""
    log = Path(f"{path}-wal")
    for _ in range(100):
        with suppress(FileNotFoundError):  # the log has gone meanwhile
            before = _stamps(path, log)
            data, held = read_file(path), log.read_bytes() if before[1] else b""
            if _stamps(path, log) == before:
                return data, held
        time.sleep(0.02)
    raise UnusableError(f"{path} is being written all the time. Try again, or give a copy.")


def _stamps(*paths: Path) -> list[tuple[int, int] | None]:
    """When each file was changed, and its size."""
    found = [path.stat() if path.is_file() else None for path in paths]
    return [None if one is None else (one.st_mtime_ns, one.st_size) for one in found]


def _of_sqlite(data: bytes, held: bytes, findings: Findings) -> list[Object]:
    """Read a copy: opening a file of SQLite may change it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.sqlite")
        copy.write_bytes(data)
        if held:
            Path(f"{copy}-wal").write_bytes(held)
        try:
            with closing(sqlite3.connect(copy)) as connection:
                rows = connection.execute(
                    "SELECT number, ledger, kind, time, body, previous, hash FROM events ORDER BY number"
                ).fetchall()
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise FalseError(f"the file of the ledger is damaged: {error}.") from error
        names = ("number", "ledger", "kind", "time", "body", "previous", "hash")
        events = check_chain(_event(dict(zip(names, row, strict=True))) for row in rows)
        if held:
            findings.unchecked.append("the file byte by byte: a log of SQLite lies beside it, so that it is in use")
        else:
            _check_bytes(data, _written(Path(folder, "again.sqlite"), events), events, findings)
    return events


def _event(row: dict[str, object]) -> Object:
    what = f"event {row['number']} of the ledger"
    body = read_canonical(str(row["body"]).encode(errors="replace"), what)
    return {name: body if name == "body" else value for name, value in row.items()}  # type: ignore[misc]  # of SQLite


def _written(path: Path, events: Sequence[Object]) -> bytes:
    """The file that SQLite makes when these events are appended one by one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        for event in events:
            connection.execute("BEGIN IMMEDIATE")
            if event is events[0]:
                connection.execute(NOTED)
                for name, statements in MIGRATIONS:
                    for statement in statements:
                        connection.execute(statement)
                    connection.execute("INSERT INTO migrations VALUES (?)", (name,))
            row = [event[name] for name in ("number", "ledger", "kind", "time", "body", "previous", "hash")]
            row[4] = canonical(row[4]).decode()
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("COMMIT")
    return path.read_bytes()


def _check_bytes(data: bytes, made: bytes, events: Sequence[Object], findings: Findings) -> None:
    """Compare the file with one of the same events: nothing else may stand in it.

    Four numbers in its head are SQLite's own: two counters, which are the same, depend on how often the file was
    opened, one on whether it is a copy that SQLite made, and one is the version that wrote it.
    """
    (first, second), (number, own) = (data[slice(*at)] for at in _COUNTERS), (_int_at(one) for one in (data, made))
    if first != second:
        raise FalseError("the file of the ledger was altered: its counters differ.")
    versions = events[0]["body"].get("versions") if isinstance(events[0]["body"], dict) else None
    told = str(versions.get("sqlite")) if isinstance(versions, dict) else ""
    writer = f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
    is_known = number == own or writer == told
    if _without_numbers(data) == _without_numbers(made):
        findings.checked.append("the file of the ledger, byte by byte: it holds its events and nothing else")
    elif is_known:
        raise FalseError("the file of the ledger was altered: it holds bytes that its events do not make.")
    else:
        findings.unchecked.append(
            f"free space in the file of the ledger: SQLite {writer} wrote it, and this is {sqlite3.sqlite_version}"
        )
        return
    if not is_known:
        findings.unchecked.append(f"the file's own word that SQLite {writer} wrote it")
    if data[slice(*_COPIED)] != made[slice(*_COPIED)]:
        findings.unchecked.append("the file's own word that SQLite made it as a copy of another")


def _int_at(data: bytes) -> int:
    return int.from_bytes(data[slice(*_WRITER)], "big")


def _without_numbers(data: bytes) -> bytes:
    kept = bytearray(data)
    for start, end in (*_COUNTERS, _COPIED, _WRITER):
        kept[start:end] = bytes(end - start)
    return bytes(kept)


# The certificate


def read_certificate(data: bytes, findings: Findings) -> Object:
    """The statement of a certificate.

    Raises:
        FalseError: The certificate is not as it was written, or contradicts itself.
    """
    envelope = read_canonical(data.removesuffix(b"\n"), "the certificate")
    if data[-1:] != b"\n" or sorted(envelope) != ["payload", "payloadType", "sha256", "signatures"]:
        raise FalseError("the certificate is not as it was written: it lacks a part, or has one too many.")
    if envelope.pop("sha256") != digest(envelope):
        raise FalseError("the certificate was altered: its digest is another.")
    payload = decoded(envelope["payload"])
    statement = read_canonical(payload, "what the certificate states")
    if (envelope["payloadType"], statement.get("_type"), statement.get("predicateType")) != (
        PAYLOAD, STATEMENT, PREDICATE
    ):  # fmt: skip
        raise FalseError("the certificate is of another kind than this verifier knows.")
    findings.checked.append("the certificate is as it was written")
    return statement


def decoded(text: Json) -> bytes:
    """Base64 in its one form."""
    try:
        data = base64.b64decode(str(text), validate=True)
    except ValueError as error:
        raise FalseError("the certificate is not as it was written: no base64.") from error
    if base64.b64encode(data).decode() != text:
        raise FalseError("the certificate is not as it was written: base64 in another form.")
    return data


def check_signature(data: bytes, statement: Object, public_key: Path | None, findings: Findings) -> None:
    """Check the signature with the key that the statement names, and that key with the one given.

    Raises:
        FalseError: The signature is of another key or content, or missing where there must be one.
        UnusableError: The key given is none.
    """
    signer, signatures = _part(statement, "predicate").get("signer"), json.loads(data)["signatures"]
    if signer is None:
        if signatures or public_key is not None:
            raise FalseError("the certificate states no signer, and a signature or a key is there.")
        findings.unchecked.append("who made the certificate: it is not signed, and anybody could have written it")
        return
    if not isinstance(signer, str) or not re.fullmatch("[0-9a-f]{64}", signer):
        raise FalseError("the certificate states a signer that is no key.")
    if not isinstance(signatures, list) or len(signatures) != 1 or sorted(signatures[0]) != ["keyid", "sig"]:
        raise FalseError(f"the certificate must have one signature, and has {len(signatures)}.")
    if signatures[0]["keyid"] != hashlib.sha256(bytes.fromhex(signer)).hexdigest():
        raise FalseError("the certificate's signature names another key than the signer that it states.")
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        findings.unchecked.append("the signature: the package cryptography is not installed")
        return
    payload, signature = decoded(json.loads(data)["payload"]), decoded(signatures[0]["sig"])
    signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(signature, signed)
    except (InvalidSignature, ValueError) as error:
        raise FalseError("the signature does not fit what the certificate states.") from error
    findings.checked.append(f"the signature, of the key {signer}")
    if public_key is None:
        findings.unchecked.append("whose that key is: give --public-key, from somewhere else than the certificate")
    elif _public(public_key) != signer:
        raise FalseError("the certificate is signed by another key than the one given.")
    else:
        findings.checked.append("that is the key given")


def _public(path: Path) -> str:
    """A public key in PEM, or 64 digits of hexadecimal."""
    text = read_file(path).strip().decode(errors="replace")
    if re.fullmatch("[0-9a-f]{64}", text):
        return text
    inner = re.search(r"-----BEGIN PUBLIC KEY-----([^-]*)-----END PUBLIC KEY-----", text)
    try:
        key = base64.b64decode(inner[1]) if inner else b""
    except ValueError:
        key = b""
    if len(key) != 44 or not key.startswith(bytes.fromhex("302a300506032b6570032100")):
        private = ", but a private one" if "PRIVATE KEY-----" in text else ""
        raise UnusableError(
            f"{path} holds no Ed25519 public key in PEM{private}. Give what 'openssl pkey -in KEY -pubout' writes."
        )
    return key[12:].hex()


def check_statement(statement: Object) -> None:
    """Check what a statement says against itself.

    Raises:
        FalseError: It contradicts itself.
    """
    told = _part(statement, "predicate")
    steps = [(_int(one["event"]), str(one["kind"])) for one in _parts(told, "steps")]
    head = _int(_part(told, "ledger")["number"])
    files = {str(one["name"]): str(_part(one, "digest")["sha256"]) for one in _parts(statement, "subject")}
    if len(files) != len(_parts(statement, "subject")):
        raise FalseError("the certificate contradicts itself: it names a file of the model twice.")
    is_ordered = [number for number, _ in steps] == sorted({number for number, _ in steps})
    if not steps or not is_ordered or steps[-1][0] > head or _state(kind for _, kind in steps) != told["outcome"]:
        raise FalseError("the certificate contradicts itself: its steps do not lead to its outcome.")
    if told["outcome"] == "released":
        run, audit, release = (_part(_part(told, name), "told") for name in ("run", "audit", "release"))
        after = _part(run, "after")
        if not (files == after["files"] and digest(files) == after["digest"] == audit["model"] == release["model"]):
            raise FalseError("the certificate contradicts itself: it is about several models.")
        done, due = str(_part(told, "release")["time"]), str(_part(_part(told, "request"), "told")["due"])
        if (told["done"], told["in_time"]) != (done, done[:10] <= due):
            raise FalseError("the certificate contradicts itself: it was released at another time.")
    elif files != _part(_part(_part(told, "lineage"), "told"), "original")["files"]:
        raise FalseError("the certificate contradicts itself: it is about another model than the lineage's first.")


def check_against_ledger(data: bytes, statement: Object, events: Sequence[Object], findings: Findings) -> None:
    """Check that all that a certificate states is what the ledger holds.

    Raises:
        FalseError: It is not, or events that it names are gone.
    """
    told = _part(statement, "predicate")
    named = _part(told, "ledger")
    head = _int(named["number"])
    if named["id"] != events[0]["ledger"]:
        raise FalseError("the certificate is of another ledger.")
    if len(events) < head:
        raise FalseError(f"events were removed: the ledger has {len(events)}, and had {head} when this was issued.")
    if events[head - 1]["hash"] != named["hash"]:
        raise FalseError(f"event {head} of the ledger is another than when the certificate was issued.")
    reference = _part(_part(told, "request"), "told")["reference"]
    about = [event for event in events[:head] if _is_about(event, reference)]
    if canonical(told["steps"]) != canonical([_place(event) for event in about]):
        raise FalseError("the certificate leaves out events about its request, or has others.")
    for section in _sections(told):
        event = events[_int(section["event"]) - 1] if _int(section["event"]) <= head else {}
        place, body = {name: section.get(name) for name in ("event", "kind", "time", "hash")}, event.get("body")
        if not isinstance(body, dict) or canonical(place) != canonical(_place(event)):
            raise FalseError("the certificate names an event that the ledger does not hold.")
        wrong = [
            name for name, value in _part(section, "told").items() if canonical(body.get(name)) != canonical(value)
        ]
        if wrong:
            raise FalseError(f"the certificate states another {wrong[0]} than event {event['number']} of the ledger.")
    for name in ("found", "gone"):
        numbers = [event["number"] for event in events[:head] if event["kind"] == name]
        if [one["event"] for one in _parts(told, name)] != numbers:
            raise FalseError(f"the certificate leaves out what was {name}.")
    _check_newest(told, about)
    pairs = [_part(event, "body")["pairs"] for event in about if event["kind"] in ("received", "near-duplicates")]
    if told.get("pairs") != sum(map(_int, pairs)) or told.get("signer") != _part(events[0], "body").get("signer"):
        raise FalseError("the certificate states another number of pairs, or another signer, than the ledger.")
    own = hashlib.sha256(decoded(json.loads(data)["payload"])).hexdigest()
    issued = events[head : head + 1]
    if issued and (issued[0]["kind"], _part(issued[0], "body").get("statement")) != ("certificate issued", own):
        raise FalseError("the ledger does not say that this certificate was issued.")
    findings.checked.append(f"the certificate agrees with the ledger, up to event {head}")
    if not issued:
        findings.unchecked.append("that the ledger says this certificate was issued: its copy ends before that")
    findings.unchecked.append(
        f"whether events after number {len(events)} were removed: only a later certificate or copy can tell"
    )


def _check_newest(told: Object, about: Sequence[Object]) -> None:
    """What a certificate shows of a run, an audit and an end must be the newest; of audits the last before the end."""
    kinds = {"run": "unlearned", "release": "released", "refusal": "refused", "failure": "failed"}
    for name, kind in kinds.items():
        numbers = [event["number"] for event in about if event["kind"] == kind]
        if name in told and numbers[-1:] != [_part(told, name)["event"]]:
            raise FalseError(f"the certificate shows an older {name} than the newest in the ledger.")
    if "audit" in told:
        release = _part(told, "release") if "release" in told else None
        end = _int(about[-1]["number"] if release is None else release["event"])
        judged = [one for one in about if one["kind"] == "audited" and _int(one["number"]) <= end]
        if release is not None:
            judged = [one for one in judged if _part(one, "body")["model"] == _part(release, "told")["model"]]
        if [one["number"] for one in judged[-1:]] != [_part(told, "audit")["event"]]:
            raise FalseError("the certificate shows an older audit than the last before the end.")
    later = [_place(one)["event"] for one in about if one["kind"] == "audited" and "audit" in told
             and _int(one["number"]) > _int(_part(told, "audit")["event"])]  # fmt: skip
    if [one["event"] for one in _parts(told, "later_audits")] != later:
        raise FalseError("the certificate leaves out later audits of its request.")


def _state(kinds: Iterable[str]) -> str:
    state = ""
    for kind in kinds:
        state = kind if kind in _STATES and state != "released" else state
    return state


def _is_about(event: Object, reference: Json) -> bool:
    body = _part(event, "body")
    several = body.get("references")
    return body.get("reference") == reference or (isinstance(several, list) and reference in several)


def _counted(number: int, nouns: str) -> str:
    return f"{number} {nouns if number != 1 else nouns[:-1]}"


def _place(event: Object) -> Object:
    return {"event": event["number"], "kind": event["kind"], "time": event["time"], "hash": event["hash"]}


def _sections(value: Json) -> Iterator[Object]:
    """Every part of a certificate that tells of one event."""
    if isinstance(value, dict):
        if "told" in value:
            yield value
        for inner in value.values():
            yield from _sections(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _sections(inner)


def _part(value: Object, name: str) -> Object:
    inner = value.get(name)
    if not isinstance(inner, dict):
        raise FalseError(f"{name} is missing, or no object.")
    return inner


def _parts(value: Object, name: str) -> list[Object]:
    inner = value.get(name)
    if not isinstance(inner, list):
        raise FalseError(f"{name} is missing, or no list.")
    return [one for one in inner if isinstance(one, dict)]


def _int(value: Json) -> int:
    if not isinstance(value, int):
        raise FalseError(f"{value!r} stands where a number must.")
    return value


# What lies beside


def model_files(model: Path) -> dict[str, str]:
    """SHA-256 of each file of a model folder by its name in it, or of a model that is one file."""
    if model.is_file():
        return {model.name: _of_file(model)}
    if not model.is_dir():
        raise UnusableError(f"{model} is not there. Give the folder or the file of the model.")
    names = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    return {name: _of_file(model / name) for name in names if name != MARK}


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_model(folder: Path, statement: Object, findings: Findings) -> None:
    """Check that a model is the one that a certificate is about, byte by byte.

    Raises:
        FalseError: A file is another, missing, or was added.
    """
    stated = {str(one["name"]): _part(one, "digest")["sha256"] for one in _parts(statement, "subject")}
    found = model_files(folder)
    for name in sorted({*stated, *found}):
        if stated.get(name) != found.get(name):
            how = "was added" if name not in stated else "is missing" if name not in found else "was changed"
            raise FalseError(f"{name} of the model {how}.")
    findings.checked.append(f"the model: {_counted(len(found), 'files')}, byte by byte")


def check_id(key_file: Path, asked: str, events: Sequence[Object], findings: Findings) -> None:
    """Check with its key that an id is in a request of the ledger.

    Raises:
        FalseError: The key is of no request, was said to be destroyed, or the id is not in its request.
        UnusableError: The file holds no keys.
    """
    try:
        keys = [bytes.fromhex(key) for key in json.loads(read_file(key_file))["keys"].values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableError(f"{key_file} is no file of keys. Give keys/REFERENCE.key of the lineage.") from error
    by_id = {hashlib.sha256(b"multidelete key\0" + key).hexdigest()[:16]: key for key in keys}
    keyed = [event for event in events if _part(event, "body").get("key") in by_id and "ids" in _part(event, "body")]
    if not keyed:
        raise FalseError("the key is of no request in the ledger.")
    reference = str(_part(keyed[0], "body")["reference"])
    if any(event["kind"] == "key forgotten" and _is_about(event, reference) for event in events):
        raise FalseError(f"the ledger says that the key of {reference} was destroyed, and here it is.")
    for event in keyed:
        body = _part(event, "body")
        own = hmac.digest(by_id[str(body["key"])], f"id\0{asked}".encode("utf-8", "surrogatepass"), "sha256")[:16].hex()
        ids = body["ids"]
        if isinstance(ids, list) and own in ids:
            findings.checked.append(f"the id is in request {body['reference']}")
            return
    raise FalseError(f"the id is not in request {reference}.")


def read_file(path: Path) -> bytes:
    """A file's content.

    Raises:
        UnusableError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableError(f"{path} cannot be read: {error.strerror}.") from error


# The command


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}. See --help.\n")


def parser() -> argparse.ArgumentParser:
    """What the command can be given."""
    it = _Parser(
        prog="verify", description="Check a certificate of a deletion, and the ledger behind it.", allow_abbrev=False
    )
    it.add_argument(
        "certificate", nargs="?", metavar="CERTIFICATE", help="The certificate: certificate.json or its folder."
    )
    it.add_argument("--ledger", metavar="FILE", help="The ledger: its SQLite file, its folder, or exported JSON lines.")
    it.add_argument("--model", metavar="PATH", help="The model that the certificate is about, a folder or a file.")
    it.add_argument("--public-key", metavar="FILE", help="The signer's public key (PEM), from a source of its own.")
    it.add_argument("--key", metavar="FILE", help="The key of the request; with --id and --ledger.")
    it.add_argument("--id", metavar="TEXT", help="Id of a pair: check that it is in the request that the key is of.")
    it.add_argument("--json", action="store_true", help="Machine-readable output.")
    return it


def check(given: argparse.Namespace, findings: Findings) -> None:
    """Check everything that was given.

    Raises:
        FalseError: The first thing that does not hold.
        UnusableError: What was given cannot be read, or does not go together.
    """
    if not (given.certificate or given.ledger) or ((given.model or given.public_key) and not given.certificate):
        raise UnusableError("give a certificate, a ledger, or both; --model and --public-key go with a certificate.")
    if (given.key is None) != (given.id is None) or (given.key and not given.ledger):
        raise UnusableError("--key and --id go together, and with --ledger.")
    try:
        _check(given, findings)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise FalseError(f"a part is missing, or of another type: {error}.") from error


def _check(given: argparse.Namespace, findings: Findings) -> None:
    statement: Object | None = None
    if given.certificate:
        path = Path(given.certificate)
        data = read_file(path / "certificate.json" if path.is_dir() else path)
        statement = read_certificate(data, findings)
        check_signature(data, statement, Path(given.public_key) if given.public_key else None, findings)
        check_statement(statement)
        told = _part(statement, "predicate")
        asked = _part(_part(told, "request"), "told")
        on = f" on {told['done']}" if "done" in told else ""
        findings.about = f"request {asked['reference']}, due {asked['due']}: {told['outcome']}{on}"
    events = read_ledger(Path(given.ledger), findings) if given.ledger else []
    if statement is not None and events:
        check_against_ledger(data, statement, events, findings)
    elif statement is None:
        findings.unchecked.append("whether the last events were removed: only a certificate or an older copy can tell")
    else:
        findings.unchecked.append("what the certificate says of the ledger: give --ledger")
    if given.model and statement is not None:
        check_model(Path(given.model), statement, findings)
    elif statement is not None:
        findings.unchecked.append("the model: give --model")
    if given.key:
        check_id(Path(given.key), given.id, events, findings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit code."""
    given, findings = parser().parse_args(arguments), Findings()
    code, problem = 0, None
    try:
        check(given, findings)
    except FalseError as error:
        code, problem = 1, str(error)
    except UnusableError as error:
        code, problem = 2, str(error)
    except OSError as error:
        code, problem = 2, f"{error.filename} cannot be read: {error.strerror}."
    if given.json:
        told = {
            "holds": code == 0,
            "about": findings.about,
            "checked": findings.checked,
            "not_checked": findings.unchecked,
            "problem": problem,
        }
        _say(json.dumps(told, indent=1))
        return code
    if findings.about:
        _say(findings.about)
    for line in findings.checked:
        _say(f"checked: {line}")
    for line in findings.unchecked:
        _say(f"not checked: {line}")
    if problem is not None:
        sys.stderr.write(f"{'FALSE' if code == 1 else 'error'}: {problem}\n")
    else:
        _say("All that was checked holds.")
    return code


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
