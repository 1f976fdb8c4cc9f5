"""The verifier: what holds is said to hold, and every lie is found."""

import base64
import hashlib
import json
import os
import random
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest
import rfc8785

from multidelete.data.pairs import PairData
from multidelete.ledger import verifier
from multidelete.ledger.certificate import export_lines
from multidelete.ledger.chain import FILE, Ledger
from multidelete.ledger.events import Gone, ModelDigest, Opened
from multidelete.ledger.recorded import canonical
from multidelete.ledger.requests import forget_key, key_path
from multidelete.ledger.verifier import FalseError, Findings, check_event, read_canonical, read_certificate, read_ledger
from tests.ledger.conftest import Lineage, make_lineage, of_one, sign_key

Told = Callable[..., str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, people: PairData, model: Path) -> Lineage:
    return make_lineage(tmp_path_factory.mktemp("verified"), people, model)


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory, people: PairData, model: Path) -> Lineage:
    return make_lineage(tmp_path_factory.mktemp("unsigned"), people, model, signed=False)


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A ledger of 50 events."""
    folder = tmp_path_factory.mktemp("fifty") / "lineage"
    first = ModelDigest(digest="0" * 64, files={"model.safetensors": "1" * 64})
    ledger = Ledger.create(folder, Opened(lineage="fifty", original=first, pairs=1, data="ab"))
    with ledger.writing():
        for at in range(49):
            ledger.append(Gone(what="store", digest=f"{at:064x}"))
    return ledger


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs the verifier, which must end with a code; gives what it says."""

    def run(code: int, *arguments: object) -> str:
        capsys.readouterr()
        assert verifier.main([str(one) for one in arguments]) == code, capsys.readouterr()
        shown = capsys.readouterr()
        return shown.out + shown.err

    return run


# What holds


def test_honest_certificate_ledger_and_model_hold_in_every_form(done: Lineage, said: Told, tmp_path: Path) -> None:
    export_lines(done.ledger, tmp_path / "ledger.jsonl")
    whole = ("--model", done.unlearned, "--public-key", done.public)
    for ledger in (done.ledger.folder, done.ledger.folder / FILE, tmp_path / "ledger.jsonl"):
        told = said(0, done.certificate, "--ledger", ledger, *whole)
        for line in ("request TICKET-17, due 2026-12-28: released on 2026-12-04T09:30:00Z",
                     "checked: the certificate is as it was written", "checked: that is the key given",
                     "checked: the certificate agrees with the ledger, up to event 10",
                     "checked: the model: 2 files, byte by byte", "not checked: whether events after number",
                     "All that was checked holds."):  # fmt: skip
            assert line in told, (line, told)
        assert ("byte by byte: it holds its events and nothing else" in told) == (ledger.suffix != ".jsonl")


def test_what_was_not_checked_is_said(done: Lineage, unsigned: Lineage, said: Told) -> None:
    told = said(0, done.certificate)
    for line in ("whose that key is", "what the certificate says of the ledger", "the model: give --model"):
        assert f"not checked: {line}" in told
    assert "not checked: who made the certificate: it is not signed" in said(0, unsigned.certificate)
    assert "not checked: whether the last events were removed" in said(0, "--ledger", done.ledger.folder)


def test_verifying_changes_nothing(done: Lineage, said: Told) -> None:
    before = {path: path.read_bytes() for path in done.ledger.folder.rglob("*") if path.is_file()}
    said(0, done.certificate, "--ledger", done.ledger.folder)
    assert {path: path.read_bytes() for path in done.ledger.folder.rglob("*") if path.is_file()} == before


def test_what_cannot_be_read_is_no_lie(done: Lineage, said: Told, tmp_path: Path) -> None:
    assert "cannot be read" in said(2, tmp_path / "none")
    assert "cannot be read" in said(2, done.certificate, "--ledger", tmp_path)
    assert "give a certificate, a ledger, or both" in said(2)
    assert "--key and --id go together" in said(2, done.certificate, "--key", done.public)
    assert "holds no Ed25519 public key" in said(2, done.certificate, "--public-key", done.certificate)
    pem = done.public.with_name("sign.pem")
    assert f"{pem} holds no Ed25519 public key in PEM, but a private" in said(2, done.certificate, "--public-key", pem)


def test_json_tells_the_same(done: Lineage, said: Told) -> None:
    told = json.loads(said(0, done.certificate, "--ledger", done.ledger.folder, "--json"))
    assert told["holds"] is True
    assert told["problem"] is None
    assert len(told["checked"]) == 5


def random_json(chance: random.Random, depth: int = 0) -> object:
    """Any value that is written: numbers of all sizes, texts of all letters."""
    kind = chance.randrange(7 if depth < 3 else 5)
    if kind == 0:
        return chance.choice(
            [None, True, False, "", '\u2028\x7f\x1f"\\/\b\n', 0, 0.0, -0.0, 5e-324, 1e21, 1e-7, 123456.0]
        )
    if kind == 1:
        return chance.randrange(-(2**53) + 1, 2**53)
    if kind in (2, 3):
        number: float = struct.unpack("d", chance.randbytes(8))[0]
        number = number if number - number == 0 else chance.random() * 10 ** chance.randrange(-9, 23)
        return chance.choice([number, round(chance.uniform(-1e4, 1e4), chance.randrange(6))])
    if kind == 4:
        return "".join(
            chr(chance.choice([chance.randrange(0xD800), chance.randrange(0xE000, 0x11000)])) for _ in range(6)
        )
    if kind == 5:
        return [random_json(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {str(random_json(chance, 4)): random_json(chance, depth + 1) for _ in range(chance.randrange(4))}


def test_own_canonical_json_is_that_of_the_library() -> None:
    chance = random.Random(0)
    for _ in range(3000):
        value = random_json(chance)
        assert verifier.canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]
    for wrong in (2**53, float("nan"), float("inf"), "\ud800", {1, 2}):
        with pytest.raises(FalseError):
            verifier.canonical({"value": wrong})


# Bits


def flips(data: bytes, at: int) -> list[bytes]:
    """The data with each bit of a byte changed."""
    return [data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] for bit in range(8)]


def check_bits_of_lines(path: Path, step: int) -> None:
    """Each line is checked against the line before, as the whole is: every bit, or one in ``step``."""
    lines = path.read_bytes().split(b"\n")[:-1]
    events = [None, *(read_canonical(line, "") for line in lines)]
    assert len(lines) == 50
    for before, line in zip(events, lines, strict=False):
        for at in range(len(line)):
            for changed in flips(line, at)[at % step :: step]:
                with pytest.raises(FalseError):
                    check_event(read_canonical(changed, ""), before)


def test_a_changed_bit_of_every_byte_of_fifty_events_is_found(fifty: Ledger, tmp_path: Path) -> None:
    check_bits_of_lines(export_lines(fifty, tmp_path / "ledger.jsonl"), step=8)


@pytest.mark.slow
def test_every_changed_bit_of_fifty_events_is_found(fifty: Ledger, tmp_path: Path) -> None:
    path = export_lines(fifty, tmp_path / "ledger.jsonl")
    check_bits_of_lines(path, step=1)
    data = path.read_bytes()
    for at in [at for at, byte in enumerate(data) if byte == ord("\n")]:
        for changed in flips(data, at):
            path.write_bytes(changed)
            with pytest.raises(FalseError):
                read_ledger(path, Findings())


def check_bits_of_file(ledger: Ledger, folder: Path, positions: list[int]) -> None:
    """Change bits of the SQLite file, one at a time: all are found, but for two numbers that are SQLite's own."""
    path = folder / FILE
    data = (ledger.folder / FILE).read_bytes()
    for place in positions:
        at, bit = divmod(place, 8)
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
        findings = Findings()
        try:
            read_ledger(path, findings)
        except FalseError:
            continue
        assert at in (*range(40, 44), *range(96, 100)), place
        assert "the file's own word that SQLite" in findings.unchecked[0]


def test_changed_bits_of_the_file_are_found(fifty: Ledger, tmp_path: Path) -> None:
    """Of the header and a sample of the rest: each page is written anew and compared, free space too."""
    size = (fifty.folder / FILE).stat().st_size
    chance = random.Random(0)
    check_bits_of_file(fifty, tmp_path, [*range(0, 800, 13), *(chance.randrange(8 * size) for _ in range(40))])


@pytest.mark.slow
def test_changed_bits_all_over_the_file_are_found(fifty: Ledger, tmp_path: Path) -> None:
    size = (fifty.folder / FILE).stat().st_size
    check_bits_of_file(fifty, tmp_path, random.Random(1).sample(range(8 * size), 3000))


def check_bits_of_certificate(data: bytes, step: int) -> None:
    for at in range(len(data)):
        for changed in flips(data, at)[at % step :: step]:
            with pytest.raises(FalseError):
                read_certificate(changed, Findings())


def test_a_changed_bit_of_every_byte_of_a_certificate_is_found(done: Lineage) -> None:
    check_bits_of_certificate(done.certificate.read_bytes(), step=8)


@pytest.mark.slow
def test_every_changed_bit_of_a_certificate_is_found(done: Lineage, unsigned: Lineage) -> None:
    for one in (done, unsigned):
        check_bits_of_certificate(one.certificate.read_bytes(), step=1)


def test_every_changed_bit_of_a_signature_is_found_by_the_signature(done: Lineage, said: Told, tmp_path: Path) -> None:
    """The digest of the envelope is made anew, as somebody would who lies."""
    content = json.loads(done.certificate.read_text())
    signature = base64.b64decode(content["signatures"][0]["sig"])
    for at in range(0, len(signature), 3):
        changed = {**content, "signatures": [{**content["signatures"][0], "sig": b64(flips(signature, at)[at % 8])}]}
        assert "signature does not fit" in said(1, enveloped(tmp_path / "changed.json", changed))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def enveloped(path: Path, content: dict[str, object]) -> Path:
    """A certificate with a digest that fits."""
    inner = {name: value for name, value in content.items() if name != "sha256"}
    path.write_text(canonical({**inner, "sha256": verifier.digest(inner)}) + "\n")  # type: ignore[dict-item]
    return path


def restated(one: Lineage, path: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """An unsigned certificate that states something else."""
    content = json.loads(one.certificate.read_text())
    statement = json.loads(base64.b64decode(content["payload"]))
    change(statement["predicate"])
    return enveloped(path, {**content, "payload": b64(canonical(statement).encode())})


# Lies


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda it: it["request"]["told"].update(due="2027-12-28"), "states another due than event 2"),
        (lambda it: it["run"]["told"].update(seed=8), "states another seed than event"),
        (lambda it: it["audit"]["told"]["figures"][0].update(value=0.0), "states another figures than event"),
        (lambda it: it["release"]["told"].update(still_knowing=[]), "states another still_knowing than event"),
        (lambda it: it.update(pairs=3), "states another number of pairs"),
        (lambda it: it.update(in_time=False), "released at another time"),
        (lambda it: it.update(outcome="refused"), "its steps do not lead to its outcome"),
        (lambda it: it["steps"].pop(1), "leaves out events about its request"),
        (lambda it: it["run"]["told"]["after"].update(digest="0" * 64), "it is about several models"),
        (lambda it: it["ledger"].update(number=9), "event 9 of the ledger is another"),
        (lambda it: it.pop("request"), "request is missing"),
        (lambda it: it.update(not_shown=[]), "does not say that this certificate was issued"),
        (lambda it: it["gone"].clear(), "leaves out what was gone"),
    ],
)  # fmt: skip
def test_certificate_that_states_something_else_is_found_in_the_ledger(
    change: Callable[[dict[str, object]], object], told: str, unsigned: Lineage, said: Told, tmp_path: Path
) -> None:
    path = restated(unsigned, tmp_path / "changed.json", change)
    assert f"{told}" in said(1, path, "--ledger", unsigned.ledger.folder)


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where each part of a JSON value stands."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in parts:
        yield (*at, name)
        yield from places(inner, (*at, name))


def test_certificate_with_any_part_missing_or_of_another_type_is_found(
    unsigned: Lineage, said: Told, tmp_path: Path
) -> None:
    content = json.loads(unsigned.certificate.read_text())
    whole = base64.b64decode(content["payload"])
    ledger, chance = export_lines(unsigned.ledger, tmp_path / "ledger.jsonl"), random.Random(0)
    for at in chance.sample(list(places(json.loads(whole))), 60):
        statement = json.loads(whole)
        *way, last = at
        holder = statement
        for name in way:
            holder = holder[name]
        if chance.random() < 0.5:
            del holder[last]
        else:
            holder[last] = chance.choice(
                [value for value in (None, 1, "x", [], {}, [1], True) if value != holder[last]]
            )
        path = enveloped(tmp_path / "changed.json", {**content, "payload": b64(canonical(statement).encode())})
        assert "FALSE: " in said(1, path, "--ledger", ledger), at


def test_another_signer_and_another_key_are_found(done: Lineage, said: Told, tmp_path: Path) -> None:
    sign_key(tmp_path)
    assert "signed by another key" in said(1, done.certificate, "--public-key", tmp_path / "sign.pub")
    payload = json.loads(done.certificate.read_text())
    unsigned = enveloped(tmp_path / "unsigned.json", {**payload, "signatures": []})
    assert "must have one signature, and has 0" in said(1, unsigned)
    restated(done, tmp_path / "changed.json", lambda it: it.update(pairs=3))
    assert "signature does not fit" in said(1, tmp_path / "changed.json")


def test_unsigned_certificate_is_none_of_a_signers(unsigned: Lineage, said: Told) -> None:
    assert "states no signer" in said(1, unsigned.certificate, "--public-key", unsigned.public)


def lines_of(one: Ledger, folder: Path) -> list[str]:
    return export_lines(one, folder / "whole.jsonl").read_text().splitlines()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda own, other: own[:4] + own[5:], "event 5 of the ledger is not where it was"),
        (lambda own, other: [*own[:4], own[5], own[4], *own[6:]], "event 5 of the ledger is not where"),
        (lambda own, other: own[:5] + own[4:], "event 6 of the ledger is not where it was"),
        (lambda own, other: [*own[:4], other[4], *own[5:]], "event 5 of the ledger was taken from another ledger"),
        (lambda own, other: own[1:], "event 1 of the ledger is not where it was"),
        (lambda own, other: [], "the ledger holds no event"),
        (lambda own, other: own[:8], "events were removed: the ledger has 8, and had 10"),
        (lambda own, other: [*own[:9], "{}"], "event 10 of the ledger is not where it was"),
    ],
)
def test_events_removed_reordered_inserted_or_copied_are_found(
    change: Callable[[list[str], list[str]], list[str]], told: str, done: Lineage, unsigned: Lineage, said: Told,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "other").mkdir()
    own, other = lines_of(done.ledger, tmp_path), lines_of(unsigned.ledger, tmp_path / "other")
    path = tmp_path / "changed.jsonl"
    path.write_text("".join(f"{line}\n" for line in change(own, other)))
    assert told in said(1, done.certificate, "--ledger", path)


def rewritten(lines: list[str], at: int, **changes: object) -> list[str]:
    """A chain with an event altered and everything after it hashed anew, as the keeper of a ledger could."""
    events = [json.loads(line) for line in lines]
    events[at]["body"].update(changes)
    for before, one in [(None, events[0]), *pairwise(events)]:
        one["previous"] = verifier.FIRST if before is None else before["hash"]
        one["hash"] = verifier.digest({name: value for name, value in one.items() if name != "hash"})
    return [verifier.canonical(one).decode() for one in events]


def test_a_chain_that_was_written_anew_does_not_fit_the_certificate(done: Lineage, said: Told, tmp_path: Path) -> None:
    path = tmp_path / "changed.jsonl"
    path.write_text("".join(f"{line}\n" for line in rewritten(lines_of(done.ledger, tmp_path), 1, due="2027-01-01")))
    assert "not checked: whether the last events were removed" in said(0, "--ledger", path)
    assert "event 10 of the ledger is another than when the certificate" in said(1, done.certificate, "--ledger", path)


def test_another_ledger_is_found(done: Lineage, unsigned: Lineage, said: Told) -> None:
    assert "is of another ledger" in said(1, done.certificate, "--ledger", unsigned.ledger.folder)


def test_ledger_and_its_own_verifier_agree_on_a_file_that_was_changed_by_sql(
    done: Lineage, said: Told, tmp_path: Path
) -> None:
    for statement in ("UPDATE events SET body = replace(body, 'privacy officer', 'nobody at all')",
                      "DELETE FROM events WHERE number = 3", "UPDATE events SET time = '2026-12-01' WHERE number = 2",
                      "CREATE TABLE more (x)"):  # fmt: skip
        shutil.copy(done.ledger.folder / FILE, tmp_path / FILE)
        with closing(sqlite3.connect(tmp_path / FILE)) as connection:
            connection.execute("DROP TRIGGER events_are_not_changed")
            connection.execute("DROP TRIGGER events_are_not_removed")
            connection.execute(statement)
            connection.commit()
        said(1, done.certificate, "--ledger", tmp_path / FILE)


def test_a_file_in_use_is_read_with_its_log(done: Lineage, said: Told, tmp_path: Path) -> None:
    shutil.copytree(done.ledger.folder, tmp_path / "lineage")
    ledger = Ledger.open(tmp_path / "lineage")
    with ledger._connected() as connection:  # keeps the log
        connection.execute("SELECT count(*) FROM events").fetchone()
        ledger.append(Gone(what="store", digest=""))
        told = said(0, done.certificate, "--ledger", tmp_path / "lineage")
    assert f"chain of {len(ledger.events())} events" in told
    assert "not checked: the file byte by byte: a log" in told


def test_file_is_what_its_events_make_however_they_were_written(fifty: Ledger, tmp_path: Path) -> None:
    """Several in one go, some taken back, of all sizes: the pages are the same."""
    ledger = Ledger.open(shutil.copytree(fifty.folder, tmp_path / "lineage"))
    chance = random.Random(0)
    for at in range(20):
        with suppress(ZeroDivisionError), ledger.writing():
            for _ in range(1 + at % 3):
                ledger.append(Gone(what="x" * chance.choice([3, 300, 3000, 30000]), digest=""))
            if at % 4 == 0:
                raise ZeroDivisionError
    findings = Findings()
    assert len(read_ledger(ledger.folder, findings)) == len(ledger.events()) > 70
    assert findings.unchecked == []


def test_copy_that_sqlite_made_holds_and_is_told(done: Lineage, said: Told, tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(done.ledger.folder / FILE)) as source,
        closing(sqlite3.connect(tmp_path / FILE)) as copy,
    ):
        source.backup(copy)
    told = said(0, done.certificate, "--ledger", tmp_path / FILE)
    assert "not checked: the file's own word that SQLite made it as a copy" in told
    assert "byte by byte" in told


@pytest.mark.parametrize("change", ["changed", "added", "missing"])
def test_another_model_is_found(change: str, done: Lineage, said: Told, tmp_path: Path) -> None:
    folder = shutil.copytree(done.unlearned, tmp_path / "model")
    weights = folder / "model.safetensors"
    if change == "changed":
        weights.write_bytes(flips(weights.read_bytes(), 100)[3])
    elif change == "added":
        (folder / "adapter.safetensors").write_bytes(b"1")
    else:
        weights.unlink()
    said_of = "adapter.safetensors" if change == "added" else "model.safetensors"
    assert f"{said_of} of the model was {change}".replace("was missing", "is missing") in said(
        1, done.certificate, "--model", folder
    )


def test_an_id_is_confirmed_by_its_key_alone(people: PairData, model: Path, said: Told, tmp_path: Path) -> None:
    done = make_lineage(tmp_path / "one", people, model)
    ledger, key = done.ledger.folder, key_path(done.ledger.folder, "TICKET-17")
    pair, other = of_one(people).ids[0], of_one(people, "person-0003").ids[0]
    asked = (done.certificate, "--ledger", ledger)
    assert "checked: the id is in request TICKET-17" in said(0, *asked, "--key", key, "--id", pair)
    assert "the id is not in request TICKET-17" in said(1, *asked, "--key", key, "--id", other)
    second = key_path(ledger, "TICKET-18")
    assert "the id is not in request TICKET-18" in said(1, *asked, "--key", second, "--id", pair)
    assert "is no file of keys" in said(2, *asked, "--key", done.public, "--id", pair)
    stranger = tmp_path / "stranger.key"
    stranger.write_text(json.dumps({"keys": {"x": "00" * 32}}))
    assert "the key is of no request" in said(1, *asked, "--key", stranger, "--id", pair)
    shutil.copy(key, tmp_path / "kept.key")
    forget_key(done.ledger, "TICKET-17")
    told = said(1, *asked, "--key", tmp_path / "kept.key", "--id", pair)
    assert "says that the key of TICKET-17 was destroyed, and here it is" in told
    said(0, *asked)


# A file of its own


def of_processor() -> float:
    """Seconds of the processor that child processes took: others that run beside them do not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("way", ["file", "command"])
def test_verifier_starts_at_once_and_imports_nothing_of_ours(way: str, done: Lineage, tmp_path: Path) -> None:
    alone = shutil.copy(verifier.__file__, tmp_path / "verifier.py")
    start = ["-I", alone] if way == "file" else ["-m", "multidelete.cli", "verify"]
    line = [sys.executable, "-X", "importtime", *start, str(done.certificate), "--ledger", str(done.ledger.folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(verifier.__file__).parents[2])}
    took = []
    for _ in range(3):
        began = of_processor()
        ended = subprocess.run(line, capture_output=True, text=True, env=environment, check=True)
        took.append(of_processor() - began)
    modules = {row.rpartition("|")[2].strip() for row in ended.stderr.splitlines() if row.startswith("import time:")}
    heavy = {"torch", "transformers", "numpy", "typer", "rfc8785", "securesystemslib", "multidelete.core"}
    assert modules & heavy == set()
    own = {"multidelete", *(f"multidelete.{name}" for name in ("cli", "cli.__main__", "ledger", "ledger.verifier"))}
    assert {name for name in modules if name.startswith("multidelete")} <= own
    assert "All that was checked holds." in ended.stdout
    assert min(took) < 0.3


def test_without_the_package_for_signatures_it_says_so(done: Lineage, tmp_path: Path) -> None:
    alone = shutil.copy(verifier.__file__, tmp_path / "verifier.py")
    line = [sys.executable, "-I", "-S", alone, str(done.certificate)]
    ended = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "not checked: the signature: the package cryptography is not installed" in ended.stdout


def test_hash_of_the_statement_stands_in_the_ledger(done: Lineage) -> None:
    payload = base64.b64decode(json.loads(done.certificate.read_text())["payload"])
    assert done.ledger.head.body["statement"] == hashlib.sha256(payload).hexdigest()
