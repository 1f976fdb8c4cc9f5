"""The certificate: what it states, who signed it, what it names, and what it does not show."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from multidelete.artifacts.manifest import code_digest
from multidelete.core.errors import CheckpointError, LedgerError
from multidelete.data.pairs import PairData
from multidelete.ledger import verifier
from multidelete.ledger.certificate import CERTIFICATE, PAGE, VERIFIER, export_lines, issue, not_shown, statement
from multidelete.ledger.events import Failed, Found, Holder, Refused
from multidelete.ledger.requests import forget_key
from tests.ledger.conftest import DAY, Lineage, asked, make_lineage, of_one, sign_key


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, people: PairData, model: Path) -> Lineage:
    return make_lineage(tmp_path_factory.mktemp("certified"), people, model)


def stated(certificate: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads(base64.b64decode(json.loads(certificate.read_text())["payload"]))
    return told


def test_certificate_is_an_intoto_statement_that_dsse_libraries_verify(done: Lineage) -> None:
    content = json.loads(done.certificate.read_text())
    envelope = Envelope.from_dict({name: content[name] for name in ("payload", "payloadType", "signatures")})
    public = load_pem_public_key(done.public.read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    signer = SSlibKey.from_crypto(public, keyid=next(iter(envelope.signatures)))
    assert len(envelope.verify([signer], 1)) == 1
    told = stated(done.certificate)
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert [one["name"] for one in told["subject"]] == ["config.json", "model.safetensors"]  # type: ignore[attr-defined]


def test_certificate_states_what_the_ledger_tells(done: Lineage) -> None:
    told = stated(done.certificate)["predicate"]
    assert isinstance(told, dict)
    assert told["outcome"] == "released"
    assert (told["done"], told["in_time"], told["pairs"]) == ("2026-12-04T09:30:00Z", True, 4)
    request = told["request"]["told"]
    assert set(request) == {"reference", "due", "basis", "unit", "pairs", "request"}
    assert told["run"]["told"]["cost"] == {"wall_s": 12.25, "peak_bytes": 2**31}
    assert told["run"]["told"]["seed"] == 7
    assert told["run"]["told"]["code"] == code_digest()
    assert told["release"]["told"]["by"] == "privacy officer"
    assert told["audit"]["told"]["figures"][0]["n"] == 4
    assert [one["told"]["digest"] for one in told["gone"]] == ["5" * 64]
    assert [one["kind"] for one in told["steps"]] == [
        "received", "planned", "started", "unlearned", "audited", "released"
    ]  # fmt: skip
    assert told["ledger"]["number"] == done.ledger.head.number - 1
    assert done.ledger.head.kind == "certificate issued"


def test_page_is_made_of_the_same_and_loads_nothing(done: Lineage) -> None:
    text = (done.certificate.parent / PAGE).read_text()
    for word in ("TICKET-17", "2026-12-28", "in time", "<b>forgotten</b>", "privacy officer", "0.0625",
                 "void: untouched", "absent: there",
                 "since found gone", "the same weights can come"):  # fmt: skip
        assert word in text, word
    assert "://" not in text
    assert "src=" not in text
    assert (done.certificate.parent / VERIFIER).is_file()


def test_texts_on_the_page_are_texts(people: PairData, model: Path, tmp_path: Path) -> None:
    done = make_lineage(tmp_path / "one", people, model)
    asked(done.ledger, people, "person-0003", "TICKET-19")
    done.ledger.append(Refused(reference="TICKET-19", reason="<script>alert('x')</script> & more", by="<b>"), time=DAY)
    out = issue(done.ledger, "TICKET-19", tmp_path / "out")
    text = (out / PAGE).read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text


def test_refused_request_has_a_certificate_that_says_nothing_was_deleted(done: Lineage, tmp_path: Path) -> None:
    out = issue(done.ledger, "TICKET-18", tmp_path / "out")
    told = stated(out / CERTIFICATE)["predicate"]
    assert isinstance(told, dict)
    assert told["outcome"] == "refused"
    assert told["refusal"]["told"] == {"reason": "a legal claim needs it", "by": "counsel"}
    assert told["not_shown"][0] == "That anything was deleted: the request was refused."
    assert "was refused" in (out / PAGE).read_text()


def test_what_is_not_shown_depends_on_what_was_done(done: Lineage) -> None:
    request = done.ledger.requests()["TICKET-17"]
    audit, release = request.audited, request.released
    assert audit is not None
    assert release is not None
    told = " ".join(not_shown(replace(request, keys_gone=True), None))
    for word in ("not signed", "was destroyed", "How near is near", "1 figure would", "What membership found"):
        assert word in told
    alone = replace(audit, figures=audit.figures[:1], outcome="unfinished")
    taken = replace(release, reason="the deadline")
    told = " ".join(not_shown(replace(request, audited=alone, released=taken), "key"))
    assert "none was trained to compare with" in told
    assert "the audit's word is unfinished. privacy officer took responsibility: the deadline" in told
    assert "not signed" not in told


def test_what_cannot_be_certified_is_refused_and_leaves_nothing(people: PairData, model: Path, tmp_path: Path) -> None:
    done = make_lineage(tmp_path / "one", people, model)
    asked(done.ledger, people, "person-0003", "TICKET-19")
    events = len(done.ledger.events())
    with pytest.raises(LedgerError, match="is received; a certificate can be issued only when it is released"):
        issue(done.ledger, "TICKET-19", tmp_path / "out")
    with pytest.raises(CheckpointError, match="already exists"):
        issue(done.ledger, "TICKET-17", done.certificate.parent)
    sign_key(tmp_path / "one")
    with pytest.raises(LedgerError, match="is another key than the one that the ledger was opened with"):
        issue(done.ledger, "TICKET-17", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(done.ledger.verify()) == events


def test_audit_shown_is_that_of_the_model_released(people: PairData, model: Path, tmp_path: Path) -> None:
    """Later audits, and what was found later, are told beside it."""
    done = make_lineage(tmp_path / "one", people, model)
    audit = done.ledger.requests()["TICKET-17"].audited
    assert audit is not None
    done.ledger.append(replace(audit, model="9" * 64, outcome="unfinished"), time=DAY + timedelta(days=7))
    done.ledger.append(Found(still_knowing=(Holder(what="adapter", digest="8" * 64),)), time=DAY + timedelta(days=7))
    out = issue(done.ledger, "TICKET-17", tmp_path / "out")
    told = stated(out / CERTIFICATE)["predicate"]
    assert isinstance(told, dict)
    assert told["audit"]["told"]["outcome"] == "forgotten"
    assert [one["told"]["outcome"] for one in told["later_audits"]] == ["unfinished"]
    assert "8" * 64 in (out / PAGE).read_text()
    assert verifier.main([str(out / CERTIFICATE), "--ledger", str(done.ledger.folder)]) == 0


def test_failed_request_is_certified_and_runs_again(people: PairData, model: Path, tmp_path: Path) -> None:
    done = make_lineage(tmp_path / "one", people, model, signed=False)
    asked(done.ledger, people, "person-0003", "TICKET-19")
    done.ledger.append(Failed(references=("TICKET-19",), reason="no memory"), time=DAY + timedelta(days=6))
    told = statement(done.ledger, "TICKET-19", DAY)["predicate"]
    assert isinstance(told, dict)
    assert told["failure"]["told"] == {"reason": "no memory"}


def encodings(text: str) -> list[str]:
    """How a text may stand in a file."""
    raw = text.encode()
    shifted = [base64.b64encode(b"x" * at + raw).decode()[(8 * at + 5) // 6 :][:-4] for at in range(3)]
    return [text, text.casefold(), raw.hex(), text.replace(" ", "%20"), text.replace(" ", "+"), *shifted]


def test_nothing_that_is_kept_or_handed_out_names_a_pair(people: PairData, model: Path, tmp_path: Path) -> None:
    """Ids, subjects, captions and names of files, plain, in hexadecimal, in base64 and as addresses have them."""
    done = make_lineage(tmp_path / "one", people, model)
    forget_key(done.ledger, "TICKET-17")
    export_lines(done.ledger, tmp_path / "one" / "ledger.jsonl")
    held = {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()}
    held[tmp_path / "payload"] = base64.b64decode(json.loads(done.certificate.read_text())["payload"])
    assert len(held) > 8
    names = "\n".join(path.relative_to(tmp_path).as_posix() for path in held)
    pairs = [people.train[people.train.index[one]] for one in of_one(people).ids]
    secrets = {name for pair in pairs for name in (pair.id, pair.subject or "", pair.text, pair.sources["image"])}
    assert len(secrets) > 8
    for secret in secrets:
        for word in encodings(secret):
            assert len(word) > 5
            assert word not in names
            assert [path.name for path, data in held.items() if word.encode() in data.lower() + data] == [], word
