"""The commands of the ledger that write and show what is recorded."""

import json
import os
import shutil
from pathlib import Path

import pytest

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.cli import run
from multidelete.data.generated.personas import personas
from multidelete.data.pairs import PairData
from multidelete.data.split import with_holdout
from multidelete.ledger import verifier
from multidelete.ledger.chain import Ledger
from multidelete.ledger.clock import CLOCK
from multidelete.ledger.events import Refused
from multidelete.ledger.places import model_digest
from multidelete.ledger.requests import key_path
from tests.ledger.conftest import DATA, make_lineage, sign_key
from tests.ledger.operated import DATA as TRAINED_ON

RECEIVE = ("--due", "2026-12-28", "--basis", "GDPR Art. 17(1)(b)", "--reference", "TICKET-17")


@pytest.fixture
def lineage(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv(CLOCK, "2026-12-01T09:30:00Z")
    folder = str(tmp_path / "lineage")
    assert run(["ledger", "init", folder, "--model", str(model), "--data", DATA]) == 0
    assert "will not be signed" in capsys.readouterr().out
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    capsys.readouterr()
    assert run(["ledger", *arguments, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(["ledger", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return shown.err


def test_request_is_received_shown_and_logged(lineage: str, capsys: pytest.CaptureFixture[str]) -> None:
    received = told(capsys, "receive", lineage, "--forget-subject", "person-0001", *RECEIVE)
    assert received["pairs"] == 4
    assert received["unit"] == "subject"
    shown = told(capsys, "show", lineage)
    assert shown["requests"] == [{key: received[key] for key in received if key not in ("event", "hash")} | {
        "key": "kept"}]  # fmt: skip
    assert shown["head"] == {"number": 2, "hash": received["hash"]}
    for command in ("show", "log"):
        assert run(["ledger", command, lineage]) == 0
        out = capsys.readouterr().out
        assert "TICKET-17" in out
        assert "person" not in out
    assert [one["kind"] for one in told(capsys, "log", lineage)] == ["opened", "received"]  # type: ignore[index]


def test_person_asks_whether_their_data_is_still_in(lineage: str, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "receive", lineage, "--forget-subject", "person-0001", *RECEIVE)
    for asked in (("--id", "person-0001-view-1-descriptive"), ("--subject", "person-0001")):
        answer = told(capsys, "show", lineage, *asked)
        assert [one["reference"] for one in answer["requests"]] == ["TICKET-17"]  # type: ignore[attr-defined]
    assert run(["ledger", "show", lineage, "--subject", "person-0001"]) == 0
    assert "4 of 4 pairs are in request TICKET-17: received" in capsys.readouterr().out
    assert run(["ledger", "show", lineage, "--id", "person-0002-view-1-descriptive"]) == 0
    assert capsys.readouterr().out.strip() == "in none of 1 request whose keys are left."
    Ledger.open(lineage).append(Refused(reference="TICKET-17", reason="a legal claim needs it"))
    assert run(["ledger", "forget-key", lineage, "TICKET-17"]) == 0
    assert not key_path(Path(lineage), "TICKET-17").exists()
    assert told(capsys, "show", lineage, "--id", "person-0001-view-1-descriptive") == {
        "requests": [], "cannot_be_told": ["TICKET-17"]
    }  # fmt: skip
    assert run(["ledger", "show", lineage]) == 0
    out = capsys.readouterr().out
    assert "refused (a legal claim needs it)" in " ".join(out.split())
    assert "destroyed" in out


def test_request_that_is_late_is_shown_so(
    lineage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told(capsys, "receive", lineage, "--forget-subject", "person-0001", *RECEIVE)
    for day, late in (("2026-12-28", False), ("2026-12-29", True)):
        monkeypatch.setenv(CLOCK, day)
        assert [one["overdue"] for one in told(capsys, "show", lineage)["requests"]] == [late]  # type: ignore[attr-defined]
    assert run(["ledger", "show", lineage]) == 0
    assert "received, overdue" in capsys.readouterr().out


def test_wrong_input_is_one_clear_error_and_changes_nothing(
    lineage: str, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    person = ("--forget-subject", "person-0001")
    assert "holds no ledger" in refused(capsys, "show", str(tmp_path / "none"))
    assert "holds a ledger already" in refused(capsys, "init", lineage, "--model", str(model), "--data", DATA)
    assert "reference is not given" in refused(capsys, "receive", lineage, *person, *RECEIVE[:4]).replace("--", "")
    past = ("--due", "2026-11-30", *RECEIVE[2:])
    assert "due is 2026-11-30, and today is 2026-12-01" in refused(capsys, "receive", lineage, *person, *past)
    assert "1 of 1 subject is not among" in refused(capsys, "receive", lineage, "--forget-subject", "nobody", *RECEIVE)
    assert "no request 'TICKET-18'" in refused(capsys, "forget-key", lineage, "TICKET-18")
    assert "Give one of them" in refused(capsys, "show", lineage, "--id", "x", "--subject", "y")
    assert "no training pair" in refused(capsys, "show", lineage, "--subject", "nobody")
    key = tmp_path / "sign.pem"
    key.write_text("no key")
    other = str(tmp_path / "other")
    start = ("--model", str(model), "--data", DATA)
    assert "no private key in PEM" in refused(capsys, "init", other, *start, "--sign-key", str(key))
    assert "test-budget is 2" in refused(capsys, "init", other, *start, "--test-budget", "2")
    assert not Path(other).exists()
    assert len(Ledger.open(lineage).verify()) == 1


def test_lineage_begins_with_a_model_and_says_where_the_data_is_not_its_own(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for wrong, why in (("photos", "is not a model folder"), ("none", "there is no such folder or file")):
        assert why in refused(capsys, "init", str(tmp_path / "one"), "--model", str(tmp_path / wrong), "--data", DATA)
    assert not (tmp_path / "one").exists()
    for data, is_other in ((DATA, True), (TRAINED_ON, False)):
        assert run(["ledger", "init", str(tmp_path / data[-2:]), "--model", str(trained), "--data", data]) == 0
        told_apart = "records other training pairs (48 of personas) than the 24 of personas"
        assert (told_apart in capsys.readouterr().err) == is_other


def test_nothing_is_written_over_model_data_or_other_results(
    lineage: str, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Also where no flag names them: the lineage knows where they lie."""
    told(capsys, "receive", lineage, "--forget-subject", "person-0001", *RECEIVE)
    data, other, places = tmp_path / "photos", tmp_path / "other", Path(lineage, "lineage.json")
    for folder in (data, other):
        with whole_or_nothing(folder) as unfinished:
            (unfinished / "kept").write_text("mine")
    of_one = ("--certificate", "TICKET-17")
    assert "it holds no plan.json" in refused(capsys, "plan", lineage, "--out", str(other), "--overwrite")
    Ledger.open(lineage).append(Refused(reference="TICKET-17", reason="a legal claim needs it"))
    out = ("--out", str(other), "--overwrite")
    assert "it holds no certificate.json" in refused(capsys, "export", lineage, *of_one, *out)
    places.write_text(places.read_text().replace(DATA, str(data)))
    for place in (model, data, data / "inside"):
        for command in (("plan",), ("run",), ("export", *of_one)):
            said = refused(capsys, command[0], lineage, *command[1:], "--out", str(place), "--overwrite")
            assert "inputs are never changed" in said
    assert [(folder / "kept").read_text() for folder in (data, other)] == ["mine", "mine"]
    assert len(Ledger.open(lineage).verify()) == 3


def test_ledger_that_cannot_be_written_to_can_be_read(
    lineage: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(capsys, "receive", lineage, "--forget-subject", "person-0001", *RECEIVE)
    before = {path: path.read_bytes() for path in Path(lineage).rglob("*") if path.is_file()}
    monkeypatch.setattr("os.access", lambda _place, mode, **_: mode != os.W_OK)
    assert [one["reference"] for one in told(capsys, "show", lineage)["requests"]] == ["TICKET-17"]  # type: ignore[attr-defined]
    assert len(told(capsys, "log", lineage)) == 2
    assert told(capsys, "export", lineage, "--out", str(tmp_path / "ledger.jsonl"))["event"] == 2
    for command in (("plan",), ("run",), ("still-knowing",), ("forget-key", "TICKET-17"), ("audit", "TICKET-17"),
                    ("refuse", "TICKET-17", "--reason", "x"), ("release", "TICKET-17", "--by", "x")):  # fmt: skip
        assert "cannot be written to" in refused(capsys, command[0], lineage, *command[1:])
    assert {path: path.read_bytes() for path in Path(lineage).rglob("*") if path.is_file()} == before


def test_nothing_still_knows_deleted_pairs_before_any_is(lineage: str, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "receive", lineage, "--forget-subject", "person-0001", *RECEIVE)
    assert run(["ledger", "still-knowing", lineage, "--check"]) == 0
    assert "no request is released: nothing is deleted." in capsys.readouterr().out
    assert "--gone is 'ab'; it must be given together with --by" in refused(
        capsys, "still-knowing", lineage, "--gone", "ab"
    )
    assert len(Ledger.open(lineage).verify()) == 2


def test_what_is_lost_is_named_with_its_remedy(
    lineage: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told(capsys, "receive", lineage, "--forget-subject", "person-0001", *RECEIVE)
    key, places = key_path(Path(lineage), "TICKET-17"), Path(lineage, "lineage.json")
    kept, known = key.read_bytes(), places.read_text()
    key.write_text("junk")
    assert "or is damaged" in (said := refused(capsys, "plan", lineage))
    assert "Restore it from a backup" in said
    key.unlink()
    assert "Restore it from a backup" in refused(capsys, "run", lineage)
    assert [one["key"] for one in told(capsys, "show", lineage)["requests"]] == ["missing"]  # type: ignore[attr-defined]
    key.write_bytes(kept)
    places.write_text(known.replace(DATA, str(tmp_path / "gone")))
    assert f"is not at {tmp_path / 'gone'} any more. Name it with --data" in refused(capsys, "plan", lineage)
    for content in (None, "{", "{}"):
        places.unlink() if content is None else places.write_text(content)
        assert "Write it as ledger init does" in refused(capsys, "plan", lineage)
        told(capsys, "show", lineage)
    assert len(Ledger.open(lineage).verify()) == 2


def test_request_whose_key_is_lost_can_be_refused_once(lineage: str, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "receive", lineage, "--forget-subject", "person-0001", *RECEIVE)
    key, other = key_path(Path(lineage), "TICKET-17"), Path(lineage, "keys", "_data.key")
    held, kept = key.read_bytes(), other.read_bytes()
    key.unlink()
    refuse = ("refuse", lineage, "TICKET-17", "--reason")
    assert "names a pair" in refused(capsys, *refuse, "as person-0004 said")
    told(capsys, *refuse, "its key was lost")
    assert "is refused already: its key was lost" in refused(capsys, *refuse, "another reason")
    key.write_bytes(held)
    other.write_text("junk")
    assert "_data.key cannot be read as keys" in refused(capsys, "forget-key", lineage, "TICKET-17")
    assert key.read_bytes() == held
    other.write_bytes(kept)
    told(capsys, "forget-key", lineage, "TICKET-17")


def test_nothing_ends_without_the_key_that_certificates_are_signed_with(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pem, folder = sign_key(tmp_path), str(tmp_path / "signed")
    told(capsys, "init", folder, "--model", str(model), "--data", DATA, "--sign-key", str(pem))
    told(capsys, "receive", folder, "--forget-subject", "person-0001", "--due", "2099-12-28", *RECEIVE[2:])
    kept = pem.rename(tmp_path / "elsewhere")
    assert f"is not at {pem}. Restore it" in refused(capsys, "refuse", folder, "TICKET-17", "--reason", "withdrawn")
    assert [one.kind for one in Ledger.open(folder).events()] == ["opened", "received"]
    kept.rename(pem)
    told(capsys, "refuse", folder, "TICKET-17", "--reason", "withdrawn")


def test_held_out_pairs_are_those_of_the_beginning(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when the first model, which records how they were drawn, is gone."""
    original, folder = tmp_path / "original", str(tmp_path / "lineage")
    shutil.copytree(model, original)
    (original / "multidelete.json").write_text(json.dumps({"holdout": {"fraction": 0.25, "seed": 3}}))
    parted = with_holdout(personas(people=8, unseen=0, size=16), fraction=0.25, seed=3)
    told(capsys, "init", folder, "--model", str(original), "--data", (whole := "personas:people=8,unseen=0,size=16"))
    assert Ledger.open(folder).opened.pairs == len(parted.train) == 16
    shutil.rmtree(original)
    ask = ("receive", folder, "--due", "2099-12-28", *RECEIVE[2:], "--forget-subject")
    assert "is of held-out pairs" in refused(capsys, *ask, str(parted.splits["val"][0].subject))
    kept = str(parted.train[0].subject)
    other = ("--data", whole.replace("people=8", "people=7"))
    assert "is not that data any more" in refused(capsys, *ask, kept, *other)
    told(capsys, *ask, kept)
    (tmp_path / "lineage" / "keys" / "_data.key").unlink()
    assert "or nothing is left that tells" in refused(capsys, *ask, kept)


def test_data_that_moved_can_be_named(lineage: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    moved = ("--data", "personas:people=5,unseen=2,size=16")
    assert told(capsys, "receive", lineage, "--forget-subject", "person-0005", *RECEIVE, *moved)["pairs"] == 4


def test_ledger_and_certificate_are_exported_and_verified(
    people: PairData, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = make_lineage(tmp_path / "one", people, model)
    folder, lines, out = str(done.ledger.folder), tmp_path / "ledger.jsonl", tmp_path / "out"
    assert told(capsys, "export", folder, "--certificate", "TICKET-18", "--out", str(out))["out"] == str(out)
    assert told(capsys, "export", folder, "--out", str(lines))["event"] == len(lines.read_text().splitlines())
    assert run(["verify", str(out / "certificate.json"), "--ledger", str(lines), "--model", str(model)]) == 0
    assert "All that was checked holds." in capsys.readouterr().out
    assert run(["verify", str(out / "certificate.json"), "--model", str(done.unlearned)]) == 1
    assert "FALSE: model.safetensors of the model was changed." in capsys.readouterr().err
    assert "already exists" in refused(capsys, "export", folder, "--out", str(lines))
    assert run(["ledger", "export", folder, "--out", str(lines), "--overwrite"]) == 0
    (tmp_path / "notes.txt").write_text("mine")
    assert "was not written by this command" in refused(
        capsys, "export", folder, "--out", str(tmp_path / "notes.txt"), "--overwrite"
    )
    assert "no request 'TICKET-1'" in refused(
        capsys, "export", folder, "--certificate", "TICKET-1", "--out", str(tmp_path / "other")
    )


def test_commands_that_are_not_there_are_told_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such command 'nix'. See 'multidelete ledger --help'." in refused(capsys, "nix")
    assert "See 'multidelete ledger show --help'." in refused(capsys, "show", "--nix")
    assert run(["ledger"]) == 2
    shown = capsys.readouterr()
    assert "receive" in shown.out + shown.err
    assert "error" not in shown.err


def test_model_may_be_one_file(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"weights")
    assert model_digest(file).files == verifier.model_files(file)
    assert list(verifier.model_files(file)) == ["model.pt"]
