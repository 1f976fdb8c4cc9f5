"""Steps of a request that are killed, or meet a full disk: nothing half-said, and they can be done again."""

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from multidelete.data.pairs import PairData
from multidelete.ledger import verifier
from multidelete.ledger.certificate import CERTIFICATE, issue
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Gone
from multidelete.ledger.places import Places, begin
from multidelete.ledger.requests import forget_key, key_path, pairs_of
from tests.ledger.children import in_child, usual_s
from tests.ledger.conftest import DATA, Lineage, asked, make_lineage, of_one


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, people: PairData, model: Path) -> Lineage:
    return make_lineage(tmp_path_factory.mktemp("disturbed"), people, model)


def copied(done: Lineage, folder: Path) -> Ledger:
    shutil.rmtree(folder, ignore_errors=True)
    return Ledger.open(shutil.copytree(done.ledger.folder, folder))


def sound(folder: Path) -> Ledger:
    """The ledger, of which the chain holds and the file is what its events make."""
    ledger, findings = Ledger.open(folder), verifier.Findings()
    assert len(verifier.read_ledger(folder, findings)) == len(ledger.verify())
    assert "byte by byte" in findings.checked[0]
    return ledger


def kill_while_receiving(done: Lineage, people: PairData, folder: Path, chance: random.Random, usual: float) -> str:
    ledger = copied(done, folder)
    ended = in_child(lambda: asked(ledger, people, "person-0003", "TICKET-19"), kill_after_s=chance.random() * usual)
    again = sound(folder)
    if "TICKET-19" not in again.requests():
        asked(again, people, "person-0003", "TICKET-19")
    assert pairs_of(again, "TICKET-19", people).ids == of_one(people, "person-0003").ids
    return ended


def kill_while_forgetting(done: Lineage, people: PairData, folder: Path, chance: random.Random, usual: float) -> str:
    """The ledger never says that a key was destroyed which is still there."""
    ledger = copied(done, folder)
    ended = in_child(lambda: forget_key(ledger, "TICKET-17"), kill_after_s=chance.random() * usual)
    again = sound(folder)
    if not again.requests()["TICKET-17"].keys_gone:
        forget_key(again, "TICKET-17")
    assert sorted(path.name for path in (folder / "keys").iterdir()) == ["TICKET-18.key"]
    return ended


def kill_while_certifying(done: Lineage, people: PairData, folder: Path, chance: random.Random, usual: float) -> str:
    """Nobody has a certificate that the ledger does not know."""
    ledger, out = copied(done, folder), folder.with_name("certificate")
    shutil.rmtree(out, ignore_errors=True)
    ended = in_child(lambda: issue(ledger, "TICKET-17", out), kill_after_s=chance.random() * usual)
    again = Ledger.open(folder)
    again.append(Gone(what="store", digest=""))
    if not out.exists():
        issue(again, "TICKET-17", out)
    assert verifier.main([str(out / CERTIFICATE), "--ledger", str(folder)]) == 0
    return ended


def kill_while_beginning(done: Lineage, people: PairData, folder: Path, chance: random.Random, usual: float) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    places = Places(model=str(done.unlearned), data=DATA)
    ended = in_child(lambda: begin(folder, people, places), kill_after_s=chance.random() * usual)
    if not Ledger.is_there(folder):
        begin(folder, people, places)
    assert [one.kind for one in sound(folder).events()] == ["opened"]
    assert len(list((folder / "keys").iterdir())) == 1
    return ended


KILLS = {one.__name__: one for one in (kill_while_receiving, kill_while_forgetting, kill_while_certifying,
                                       kill_while_beginning)}  # fmt: skip


def kill_all(done: Lineage, people: PairData, folder: Path, each: int, seed: int) -> Counter[str]:
    chance, ended = random.Random(seed), Counter[str]()
    usual = usual_s(lambda: asked(copied(done, folder / "usual"), people, "person-0003", "TICKET-19"))
    for _ in range(each):
        for one in KILLS.values():
            ended[one(done, people, folder / "lineage", chance, usual)] += 1
    assert set(ended) <= {"done", "killed"}
    return ended


def test_killed_steps_leave_nothing_half_said(done: Lineage, people: PairData, tmp_path: Path) -> None:
    """A kill that comes late meets a step that is done: on a busy machine many do, so there are more rounds."""
    killed = 0
    for seed in range(12):
        killed += kill_all(done, people, tmp_path, each=1, seed=seed)["killed"]
        if killed >= 2:
            break
    assert killed >= 2


@pytest.mark.slow
def test_steps_killed_two_hundred_times_leave_nothing_half_said(
    done: Lineage, people: PairData, tmp_path: Path
) -> None:
    assert kill_all(done, people, tmp_path, each=50, seed=1)["killed"] >= 80


@pytest.mark.parametrize("file_bytes", [0, 1000, 5000, 20000])
def test_file_that_may_not_grow_is_one_clear_error(
    file_bytes: int, done: Lineage, people: PairData, tmp_path: Path
) -> None:
    ledger = copied(done, tmp_path / "lineage")
    told = in_child(lambda: asked(ledger, people, "person-0003", "TICKET-19"), file_bytes=file_bytes)
    assert told == "done" or "cannot be" in told, told
    assert told == "done" or "disk" in told or "make room" in told.casefold(), told
    assert file_bytes > 5000 or told != "done"
    again = Ledger.open(tmp_path / "lineage")
    assert len(again.verify()) == len(done.ledger.events()) + (told == "done")
    assert key_path(tmp_path / "lineage", "TICKET-17").is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def test_full_disk_is_one_clear_error_and_the_chain_holds(done: Lineage, people: PairData, small_disk: Path) -> None:
    ledger = copied(done, small_disk / "lineage")
    big = Gone(what="x" * 20000, digest="")
    told = ""
    while not told:
        told = in_child(lambda: ledger.append(big)).removeprefix("done")
    assert "cannot be" in told
    assert "disk" in told
    events = Ledger.open(small_disk / "lineage").verify()
    assert {len(str(one.body["what"])) for one in events if one.number > len(done.ledger.events())} == {20000}
