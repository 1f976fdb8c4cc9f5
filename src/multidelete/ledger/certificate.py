"""The certificate of one request: what was asked, done and measured, for somebody who has neither the data nor torch.

An in-toto Statement in a DSSE envelope. All of it is told by events of the ledger, and names them.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from multidelete.artifacts.folders import refuse_existing, refuse_other, whole_or_nothing
from multidelete.artifacts.overlap import refuse_inside_result
from multidelete.artifacts.room import write_whole
from multidelete.core.errors import LedgerError
from multidelete.core.json_files import Json, JsonObject
from multidelete.core.paths import lies_there, user_path
from multidelete.core.words import counted
from multidelete.ledger.chain import Ledger
from multidelete.ledger.clock import now, written
from multidelete.ledger.events import Audited, CertificateIssued, Released
from multidelete.ledger.places import PLACES, places_of
from multidelete.ledger.recorded import Recorded, canonical
from multidelete.ledger.requests import known
from multidelete.ledger.signing import private_key
from multidelete.ledger.states import RequestState
from multidelete.ledger.verifier import PAYLOAD, PREDICATE, STATEMENT

CERTIFICATE = "certificate.json"
PAGE = "certificate.html"
VERIFIER = "verifier.py"
_ENDS = {"released": "release", "refused": "refusal", "failed": "failure"}
_LEFT_OUT = {"references", "reference", "key", "ids", "contents", "folder"}  # of other requests, and what keys tell


def issue(ledger: Ledger, reference: str, out: Path, *, time: datetime | None = None, overwrite: bool = False) -> Path:
    """Write the certificate of a request that is released, refused or failed: JSON, a page, and the verifier.

    Args:
        ledger: Of the lineage.
        reference: The request's.
        out: Folder to write.
        time: Of the event.
        overwrite: Replace the folder if it exists.

    Raises:
        LedgerError: There is no such request, it is not at an end, or the key to sign with is not that of the ledger.
        CheckpointError: The folder cannot be written.
    """
    signer, crypto = ledger.opened.signer, signer_of(ledger)
    refuse_other(out, CERTIFICATE, overwrite=overwrite)
    with whole_or_nothing(out, overwrite=overwrite) as folder, ledger.writing():
        # The ledger ends first: nobody has a certificate that it does not know.
        at = time or now()
        told = statement(ledger, reference, at)
        text = canonical(told)
        own = hashlib.sha256(text.encode()).hexdigest()
        ledger.append(CertificateIssued(reference=reference, statement=own, signer=signer), time=at)
        (folder / CERTIFICATE).write_text(enveloped(text, crypto), encoding="utf-8")
        (folder / PAGE).write_text(page(told), encoding="utf-8")
        (folder / VERIFIER).write_bytes(files(__package__).joinpath(VERIFIER).read_bytes())
    return out


def statement(ledger: Ledger, reference: str, time: datetime) -> dict[str, Json]:
    """What a certificate states, told by the events up to now.

    Raises:
        LedgerError: There is no such request, or it is not at an end.
    """
    request, events = known(ledger, reference), ledger.events()
    if request.state not in _ENDS:
        raise LedgerError(
            f"request {reference} is {request.state}; a certificate can be issued only when it is {', '.join(_ENDS)}."
        )
    about = [events[number - 1] for number in request.numbers]
    sections = _sections(request, about)
    release = request.released
    subject = ledger.opened.original if request.unlearned is None or release is None else request.unlearned.after
    predicate: dict[str, Json] = {
        "lineage": _section(events[0]),
        "request": _section(about[0]),
        "pairs": request.pairs,
        "outcome": request.state,
        **sections,
        "found": [_section(one) for one in events if one.kind == "found"],
        "gone": [_section(one) for one in events if one.kind == "gone"],
        "steps": [_place(one) for one in about],
        "not_shown": not_shown(request, ledger.opened.signer),
        "ledger": {"id": ledger.id, "number": ledger.head.number, "hash": ledger.head.hash},
        "signer": ledger.opened.signer,
        "issued": written(time),
    }
    if release is not None:
        predicate |= {"done": request.since, "in_time": request.since[:10] <= request.received.due}
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": value}} for name, value in sorted(subject.files.items())],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }


def _sections(request: RequestState, about: Sequence[Recorded]) -> dict[str, Json]:
    """The newest run and end, the audit that the end rests on, and audits after that."""

    def newest(kind: str) -> Recorded | None:
        of_kind = [one for one in about if one.kind == kind]
        return of_kind[-1] if of_kind else None

    name = _ENDS[request.state]
    end = newest(request.state)
    before = [one for one in about if end is None or one.number <= end.number]
    judged = [one for one in before if isinstance(one.event, Audited)]
    if request.released is not None:
        judged = [one for one in judged if one.body["model"] == request.released.model]
    audit = judged[-1] if judged else None
    shown = {"run": newest("unlearned"), "audit": audit, name: end}
    later = [one for one in about if one.kind == "audited" and audit is not None and one.number > audit.number]
    return {
        **{name: _section(one) for name, one in shown.items() if one is not None},
        "later_audits": [_section(one, ("model", "outcome", "drift")) for one in later],
        "together": 0 if (run := shown["run"]) is None else len(run.event.about) - 1,
    }


def _place(one: Recorded) -> dict[str, Json]:
    return {"event": one.number, "kind": one.kind, "time": one.time, "hash": one.hash}


def _section(one: Recorded, only: Sequence[str] | None = None) -> dict[str, Json]:
    """An event with what it tells of this request."""
    left_out = _LEFT_OUT - ({"reference"} if one.kind == "received" else set())
    body = {name: value for name, value in one.body.items() if name not in left_out}
    return {**_place(one), "told": body if only is None else {name: body[name] for name in only if name in body}}


def not_shown(request: RequestState, signer: str | None) -> list[str]:
    """What the certificate does not show, in sentences."""
    audit, release = request.audited, request.released
    told = [
        "That the weights could not have come about otherwise: the same weights can come from other data. What was run "
        "and measured is attested, and nothing else.",
        "That what no figure measures is gone. An audit finds traces that it looks for.",
        "That no other copy is left: only what is listed as still knowing the pairs was looked for.",
        "That the request was complete, and that whoever made it was entitled to.",
        "That the ledger's keeper wrote down everything. The chain shows that what is written was not altered since.",
    ]
    if request.state != "released":
        return [f"That anything was deleted: the request was {request.state}.", *told[3:]]
    if signer is None:
        told.append("Who made this certificate: it is not signed.")
    if request.keys_gone:
        told.append("Which pairs the request was about: the key that would tell was destroyed.")
    return told + _gaps_of_audit(audit, release)


def _gaps_of_audit(audit: Audited | None, release: Released | None) -> list[str]:
    if audit is None:
        return ["Anything about what is left: no audit was recorded."]
    told = []
    absent = sum(figure.absent is not None for figure in audit.figures)
    void = {figure.audit for figure in audit.figures if figure.void is not None}
    if audit.outcome != "forgotten":
        why = (
            "" if release is None or release.reason is None else f" {release.by} took responsibility: {release.reason}"
        )
        told.append(f"That the pairs are forgotten: the audit's word is {audit.outcome}.{why}")
    if not any(figure.model == "retrained" for figure in audit.figures):
        told.append("How near the model lies to one that never saw the pairs: none was trained to compare with.")
    elif audit.floor in (None, "unknown"):
        told.append("How near is near: the distance between two models that never saw the pairs is not known.")
    if absent:
        told.append(f"What {counted(absent, 'figures')} would say: they could not be computed, each for its reason.")
    if void:
        told.append(f"What {', '.join(sorted(void))} found: on models of known answers it was wrong.")
    return told


def enveloped(payload: str, signer: CryptoSigner | None) -> str:
    """A statement in its envelope, as the file holds it; the digest tells of damage, and the signature of lies."""
    envelope = Envelope(payload.encode(), PAYLOAD, {})
    if signer is not None:
        envelope.sign(signer)
    content: JsonObject = json.loads(json.dumps(envelope.to_dict()))
    whole = hashlib.sha256(canonical(content).encode()).hexdigest()
    return canonical({**content, "sha256": whole}) + "\n"


def signer_of(ledger: Ledger) -> CryptoSigner | None:
    """The key to sign with, which must be that which the ledger was opened with; None where it was with none.

    Raises:
        LedgerError: It is not there, or another one.
    """
    folder, public = ledger.folder, ledger.opened.signer
    if public is None:
        return None
    path = places_of(folder).sign_key
    if path is None:
        raise LedgerError(f"{folder} names no sign_key, and its ledger was opened with one. Name it in lineage.json.")
    if not lies_there(user_path(path)):
        raise LedgerError(
            f"the key that certificates are signed with is not at {path}. Restore it, or say in {folder / PLACES} "
            "where it lies: the ledger was opened with this one."
        )
    key = private_key(user_path(path))
    raw = key.public_key().public_bytes_raw()
    if raw.hex() != public:
        raise LedgerError(f"{path} is another key than the one that the ledger was opened with. Restore that one.")
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key(), keyid=hashlib.sha256(raw).hexdigest()))


def page(told: JsonObject) -> str:
    """The certificate for people: one file that loads nothing."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("certificate.html").read_text(encoding="utf-8"))
    return template.render(it=told["predicate"], subject=told["subject"])


def export_lines(ledger: Ledger, out: Path, *, overwrite: bool = False) -> Path:
    """Write a ledger as JSON lines, each event in one, after checking all of it.

    Raises:
        LedgerError: The chain does not hold.
        CheckpointError: The file is there already, or cannot be written.
    """
    refuse_inside_result(out)
    refuse_existing(out, overwrite=overwrite, is_ours=_is_exported)
    write_whole(out, "".join(f"{one.line}\n" for one in ledger.verify()))
    return out


def _is_exported(file: Path) -> bool:
    with file.open("rb") as lines:
        return b'"kind":"opened","ledger":"' in lines.readline()
