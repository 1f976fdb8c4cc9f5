"""The chain of events: what is appended, what is refused, and two writers at once."""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from multidelete.core.errors import CheckpointError, LedgerError
from multidelete.data.pairs import PairData
from multidelete.ledger import verifier
from multidelete.ledger.certificate import export_lines
from multidelete.ledger.chain import FILE, Ledger
from multidelete.ledger.clock import CLOCK, now
from multidelete.ledger.events import KINDS, Budget, Failed, Gone, ModelDigest, Opened, Planned, Released
from multidelete.ledger.places import Places, begin
from multidelete.ledger.recorded import canonical
from tests.ledger.conftest import DATA, DAY, asked
from tests.processes import own_environment

GONE = Gone(what="store", digest="0" * 64)


def test_events_follow_each_other_and_are_read_again_as_they_were_written(ledger: Ledger, people: PairData) -> None:
    received = asked(ledger, people)
    planned = ledger.append(Planned(references=("TICKET-17",), wall_s=1.5), time=DAY + timedelta(hours=1))
    again = Ledger.open(ledger.folder)
    assert [one.kind for one in again.events()] == ["opened", "received", "planned"]
    assert again.events()[1:] == (received, planned)
    assert planned.previous == received.hash
    assert planned.time == "2026-12-01T10:30:00Z"
    assert again.opened.budget == Budget(retain=0.03, test=0.02)
    assert again.verify() == ledger.events()
    assert again.id == ledger.id != begin_other(ledger.folder.parent).id


def begin_other(folder: Path) -> Ledger:
    model = ModelDigest(digest="0" * 64, files={})
    return Ledger.create(folder / "other", Opened(lineage="other", original=model, pairs=1, data=""))


def test_other_writers_events_are_seen(ledger: Ledger) -> None:
    other = Ledger.open(ledger.folder)
    other.append(GONE)
    assert len(ledger.events()) == 2
    assert ledger.append(GONE).number == 3


def test_events_are_neither_changed_nor_removed_by_sql(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.folder / FILE)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            connection.execute("UPDATE events SET body = '{}'")
        with pytest.raises(sqlite3.IntegrityError, match="never removed"):
            connection.execute("DELETE FROM events")


def test_what_is_written_within_an_error_is_taken_back(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.writing():
        ledger.append(GONE)
        raise ZeroDivisionError
    assert len(ledger.events()) == len(Ledger.open(ledger.folder).events()) == 1
    assert ledger.append(GONE).number == 2


def test_a_block_within_a_block_is_a_part_of_it(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.writing():
        with ledger.writing():
            ledger.append(GONE)
        raise ZeroDivisionError
    assert len(Ledger.open(ledger.folder).events()) == 1


def test_steps_that_cannot_follow_are_refused(ledger: Ledger, people: PairData) -> None:
    with pytest.raises(LedgerError, match="no request 'TICKET-17'"):
        ledger.append(Planned(references=("TICKET-17",)))
    asked(ledger, people)
    with pytest.raises(LedgerError, match="is received; it can be released only when it is audited"):
        ledger.append(Released(references=("TICKET-17",), by="officer", model=""))
    ledger.append(Failed(references=("TICKET-17",), reason="no memory"))
    assert ledger.requests()["TICKET-17"].reason == "no memory"
    assert len(ledger.events()) == 3


def test_folders_without_a_ledger_and_with_one_are_refused(ledger: Ledger, people: PairData, model: Path) -> None:
    with pytest.raises(LedgerError, match=r"holds no ledger .*ledger init"):
        Ledger.open(ledger.folder / "nothing")
    with pytest.raises(LedgerError, match="holds a ledger already"):
        begin(ledger.folder, people, Places(model=str(model), data=DATA))
    with pytest.raises(CheckpointError, match="is not a folder"):
        begin(ledger.folder.parent / "new", people, Places(model="nowhere", data=DATA))
    assert not (ledger.folder.parent / "new").exists()


def test_a_file_that_is_no_ledger_is_one_clear_error(ledger: Ledger) -> None:
    (ledger.folder / FILE).write_bytes(b"no database at all, but some text" * 40)
    with pytest.raises(LedgerError, match=r"is damaged: .* Restore"):
        Ledger.open(ledger.folder)


def test_a_changed_bit_in_free_space_is_found(ledger: Ledger) -> None:
    path = ledger.folder / FILE
    data = path.read_bytes()
    at = len(data) - 1 - data[::-1].index(bytes(64))  # the last byte of a run of zeros
    path.write_bytes(data[:at] + b"\1" + data[at + 1 :])
    assert Ledger.open(ledger.folder).events() == ledger.events()
    with pytest.raises(LedgerError, match=r"is not what was written: .* bytes that its events do not make. Restore"):
        ledger.verify()


def test_events_of_versions_that_knew_fewer_or_more_fields_stay_as_they_were_written(
    ledger: Ledger, people: PairData, said_of: dict[str, object], tmp_path: Path
) -> None:
    """An event without a field that has a default today, and one with a field that nobody knows."""
    asked(ledger, people)
    body = canonical({**said_of, "unheard of": 1})  # type: ignore[dict-item]
    head = ledger.head
    event = {"ledger": ledger.id, "number": 3, "kind": "unlearned", "time": head.time, "previous": head.hash}
    own = verifier.digest({**event, "body": json.loads(body)})
    with closing(sqlite3.connect(ledger.folder / FILE)) as connection:
        connection.execute("INSERT INTO events VALUES (3, ?, ?, ?, ?, ?, ?)",
                           (ledger.id, "unlearned", head.time, body, head.hash, own))  # fmt: skip
        connection.commit()
    assert ledger.head.text == body
    assert ledger.head.body == {**said_of, "unheard of": 1}
    assert "settings" not in ledger.head.line
    export_lines(ledger, tmp_path / "ledger.jsonl")
    assert len(verifier.read_ledger(tmp_path / "ledger.jsonl", verifier.Findings())) == 3


@pytest.fixture
def said_of() -> dict[str, object]:
    """A run as the least that it must tell."""
    return {"references": ["TICKET-17"], "folder": "0001", "before": "", "after": {"digest": "", "files": {}},
            "method": "npo"}  # fmt: skip


def test_clock_can_be_given(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLOCK, "2027-01-02T03:04:05+01:00")
    assert ledger.append(GONE).time == "2027-01-02T02:04:05Z"
    monkeypatch.setenv(CLOCK, "yesterday")
    with pytest.raises(Exception, match="MULTIDELETE_NOW is 'yesterday'"):
        now()


def test_canonical_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="not representable"):
        canonical({"value": float("nan")})


def test_every_kind_has_a_name_of_its_own() -> None:
    assert {name: kind.kind for name, kind in KINDS.items()} == {name: name for name in KINDS}


def test_event_takes_less_than_50_ms(ledger: Ledger) -> None:
    """The median: a disk has its moments."""
    took = []
    for _ in range(15):
        began = time.perf_counter()
        ledger.append(GONE)
        took.append(time.perf_counter() - began)
    assert sorted(took)[7] < 0.05


@pytest.mark.parametrize("number", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_two_processes_write_events_at_once(number: int, ledger: Ledger) -> None:
    code = (
        "import sys; from multidelete.ledger.chain import Ledger; from multidelete.ledger.events import Gone\n"
        "ledger = Ledger.open(sys.argv[1])\n"
        f"for at in range({number}): ledger.append(Gone(what=f'{{sys.argv[2]}} {{at}}', digest=''))"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(ledger.folder), name], env=own_environment())
        for name in ("first", "second")
    ]
    while any(writer.poll() is None for writer in writers):
        verifier.read_ledger(ledger.folder, verifier.Findings())  # holds at any moment
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    events = ledger.verify()
    told = [one.body["what"] for one in events[1:]]
    for name in ("first", "second"):
        assert [one for one in told if str(one).startswith(name)] == [f"{name} {at}" for at in range(number)]
