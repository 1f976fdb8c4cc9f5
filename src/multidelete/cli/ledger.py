"""The commands of the ledger that write and show what is recorded, and leave models alone."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.inputs import given_keys, read_for, read_forget
from multidelete.cli.lineages import LineageDataOptions, LineageOptions, lineage_data, opened_ledger
from multidelete.cli.options import DataOptions, ForgetOptions
from multidelete.core.config import check_settings
from multidelete.core.errors import ConfigError, LedgerError
from multidelete.core.json_files import Json
from multidelete.core.paths import user_path
from multidelete.core.words import counted, share

if TYPE_CHECKING:
    from multidelete.ledger.chain import Ledger
    from multidelete.ledger.requests import Answer
    from multidelete.ledger.states import RequestState


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """Lineage.

    Attributes:
        lineage: Folder to make: it will hold the ledger and its keys.
        model: The first model: a folder or a checkpoint file.
        sign_key: File of an Ed25519 private key (PEM) that certificates are signed with. It stays where it is.
        retain_budget: What the lineage may lose in all of the figure of kept pairs before it should be retrained.
        test_budget: The same of the figure of test pairs.
    """

    lineage: str
    model: str
    sign_key: str | None = None
    retain_budget: float = 0.03
    test_budget: float = 0.02

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "retain_budget": (0 < self.retain_budget <= 1, "greater than 0, and at most 1"),
                "test_budget": (0 < self.test_budget <= 1, "greater than 0, and at most 1"),
            },
        )


@dataclass(frozen=True, kw_only=True)
class ReceiveOptions:
    """Request.

    Attributes:
        reference: What the request is called, such as the number of a ticket. It names nobody.
        due: The day by which it must be done: `2026-12-28`.
        basis: Legal ground, such as `GDPR Art. 17(1)(b)`. It names nobody.
    """

    reference: str
    due: str
    basis: str


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """Is it in?

    Attributes:
        id: Id of a pair: which requests it is in, as far as the keys that are left tell.
        subject: A subject: the same of all of its pairs in the data.
    """

    id: str | None = None
    subject: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions(LineageOptions):
    """Lineage.

    Attributes:
        reference: What the request is called.
    """

    reference: str


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Output.

    Attributes:
        certificate: A request that is released, refused or failed: write its certificate instead of the ledger.
        out: File to write the events to, each in a line of JSON; with --certificate a folder.
        overwrite: Replace it if it exists.
    """

    certificate: str | None = None
    out: str
    overwrite: bool = False


def init(call: Call) -> None:
    """Open the ledger of a lineage: a model, and everything that will be unlearned from it."""
    options, data = call.of(InitOptions), call.of(DataOptions)
    from multidelete.ledger.events import Budget
    from multidelete.ledger.places import Places, absolute, begin
    from multidelete.ledger.signing import public_key
    from multidelete.models.families import recognise
    from multidelete.models.lineage import lineage_of
    from multidelete.models.sources import refuse_missing

    refuse_missing({"model": options.model})
    recognise(user_path(options.model))
    sign_key = None if options.sign_key is None else user_path(options.sign_key)
    signer = None if sign_key is None else public_key(sign_key)
    budget = Budget(retain=options.retain_budget, test=options.test_budget)
    keys = given_keys(call)
    model = absolute(str(user_path(options.model)))
    pairs, holdout = read_for(data, model, keys)
    earlier = lineage_of(model, keys.key).own_keys
    places = Places(
        model=model,
        data=absolute(data.data),
        columns=data.columns,
        splits=data.splits,
        image_root=None if data.image_root is None else absolute(str(user_path(data.image_root))),
        classes=data.classes,
        sign_key=None if sign_key is None else absolute(str(sign_key)),
        holdout=holdout,
    )
    ledger = begin(user_path(options.lineage), pairs, places, budget=budget, signer=signer, keys=earlier)
    told: dict[str, Json] = {"ledger": ledger.id, "folder": str(ledger.folder), "signed": signer is not None}
    if call.json:
        show.show_json({**told, "event": ledger.head.number, "hash": ledger.head.hash})
        return
    signed = "certificates are signed" if signer else "certificates will not be signed (--sign-key)"
    show.show_table(["", ""], [["ledger", f"{ledger.folder}, id {ledger.id}"], ["", signed]])


def receive(call: Call) -> None:
    """Write down that a request came in. Its pairs are kept as keyed references; nothing names them."""
    options = call.of(ReceiveOptions)
    from multidelete.ledger.requests import key_path
    from multidelete.ledger.requests import receive as write_down

    ledger = opened_ledger(call.of(LineageOptions))
    data = lineage_data(ledger, call.of(LineageDataOptions))
    request = read_forget(data, call.of(ForgetOptions))
    recorded = write_down(ledger, request, data, reference=options.reference, due=options.due, basis=options.basis)
    state = ledger.requests()[options.reference]
    key = key_path(ledger.folder, options.reference)
    if call.json:
        show.show_json(
            {**_request_row(ledger, state), "event": recorded.number, "hash": recorded.hash, "key": str(key)}
        )
        return
    pairs = f"{counted(state.pairs, 'pairs')}, by {state.received.unit}"
    show.show_table(["", ""], [["received", options.reference], ["pairs", pairs], ["due", options.due], ["key", key]])


def show_ledger(call: Call) -> None:
    """Show where each request stands; with --id or --subject, which requests somebody's data is in."""
    asked = call.of(AskOptions)
    from multidelete.ledger.requests import key_state

    ledger = opened_ledger(call.of(LineageOptions), to_read=True)
    if asked.id is not None and asked.subject is not None:
        raise ConfigError("--id and --subject are given. Give one of them.")
    if asked.id is not None or asked.subject is not None:
        _show_answer(ledger, call, asked)
        return
    requests, head = ledger.requests().values(), ledger.head
    if call.json:
        show.show_json(
            {"ledger": ledger.id, "lineage": ledger.opened.lineage, "head": {"number": head.number, "hash": head.hash},
             "requests": [_request_row(ledger, one) for one in requests]}
        )  # fmt: skip
        return
    show.show_lines([f"{ledger.opened.lineage}: {counted(len(requests), 'requests')}, ledger {ledger.id}"])
    rows = [
        [one.reference, _state(one), one.since, one.received.due, one.pairs, one.received.unit,
         key_state(ledger, one)]
        for one in requests
    ]  # fmt: skip
    if rows:
        show.show_table(["request", "state", "since", "due", "pairs", "unit", "key"], rows, numbers=["pairs"])


def log(call: Call) -> None:
    """Check the whole ledger, and list its events."""
    ledger = opened_ledger(call.of(LineageOptions), to_read=True)
    events = ledger.verify()
    if call.json:
        show.show_json([json.loads(one.line) for one in events])
        return
    rows = [[one.number, one.time, one.kind, " ".join(one.event.about), one.hash[:16]] for one in events]
    show.show_table(["", "time", "event", "requests", "hash"], rows, numbers=[""])
    show.show_lines(
        [f"the chain holds: {counted(len(events), 'events')}. Whether later ones were removed, only a certificate or a "
         "copy made elsewhere can tell."]
    )  # fmt: skip


def export(call: Call) -> None:
    """Write the ledger as JSON lines, or the certificate of a request: as JSON, as a page, and with the verifier."""
    options, out = call.of(ExportOptions), user_path(call.of(ExportOptions).out)
    from multidelete.ledger.certificate import export_lines, issue

    ledger = opened_ledger(call.of(LineageOptions), to_read=options.certificate is None)
    if options.certificate is None:
        export_lines(ledger, out, overwrite=options.overwrite)
    else:
        issue(ledger, options.certificate, out, overwrite=options.overwrite)
    head = ledger.head
    if call.json:
        show.show_json({"out": str(out), "ledger": ledger.id, "event": head.number, "hash": head.hash})
        return
    what = "the ledger" if options.certificate is None else f"the certificate of {options.certificate}"
    show.show_lines([f"{what} is written to {out}; the newest event is {head.number}, {head.hash}."])


def forget_key(call: Call) -> None:
    """Destroy what tells the pairs of a request that is released or refused. Nobody can confirm one afterwards."""
    options = call.of(ReferenceOptions)
    from multidelete.ledger.requests import forget_key as destroy

    ledger = opened_ledger(options)
    recorded = destroy(ledger, options.reference)
    if call.json:
        show.show_json({"reference": options.reference, "event": recorded.number, **recorded.body})
        return
    show.show_lines(
        [f"the key of {options.reference} is destroyed. Destroy its copies too: backups, and the key files beside "
         "models and audits that were made without the ledger."]
    )  # fmt: skip


def _show_answer(ledger: "Ledger", call: Call, asked: AskOptions) -> None:
    from multidelete.ledger.requests import is_in

    if asked.subject is None:
        answers = [is_in(ledger, asked.id or "")]
    else:
        data = lineage_data(ledger, call.of(LineageDataOptions))
        pairs = [pair for pair in data.train if pair.subject == asked.subject]
        if not pairs:
            raise LedgerError(
                f"no training pair of {data.name} is of the subject given. Where it was removed, ask for ids with --id."
            )
        answers = [is_in(ledger, pair) for pair in pairs]
    holding = {one.reference: one for answer in answers for one in answer.requests}
    unknown = {one.reference: one for answer in answers for one in answer.unknown}
    if call.json:
        numbers = {reference: _number(answers, reference) for reference in holding}
        rows = [{**_request_row(ledger, one), "pairs": numbers[one.reference]} for one in holding.values()]
        show.show_json({"requests": rows, "cannot_be_told": list(unknown)})
        return
    for one in holding.values():
        number = (
            "" if asked.subject is None else f"{share(_number(answers, one.reference), len(answers), 'pairs are')} in "
        )
        show.show_lines([f"{number}request {one.reference}: {_state(one)}, since {one.since}"])
    if not holding:
        show.show_lines([f"in none of {counted(answers[0].others, 'requests')} whose keys are left."])
    if unknown:
        show.show_lines([f"cannot be told for {', '.join(unknown)}: the key is destroyed, or not there."])


def _number(answers: "list[Answer]", reference: str) -> int:
    return sum(reference in [one.reference for one in answer.requests] for answer in answers)


def _state(one: "RequestState") -> str:
    if one.reason and one.state in ("refused", "failed"):
        return f"{one.state} ({one.reason})"
    return f"{one.state}, overdue" if _is_overdue(one) else one.state


def _is_overdue(one: "RequestState") -> bool:
    from multidelete.ledger.clock import today
    from multidelete.ledger.states import ENDED

    return one.state not in ENDED and one.received.due < today().isoformat()


def _request_row(ledger: "Ledger", one: "RequestState") -> dict[str, Json]:
    from multidelete.ledger.requests import key_state

    return {
        "reference": one.reference, "state": one.state, "since": one.since, "due": one.received.due,
        "basis": one.received.basis, "pairs": one.pairs, "unit": one.received.unit, "reason": one.reason,
        "overdue": _is_overdue(one), "key": key_state(ledger, one),
    }  # fmt: skip
