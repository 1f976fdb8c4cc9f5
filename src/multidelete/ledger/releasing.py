"""The end of a request: its model is released, or it is refused; each with a certificate."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from multidelete.core.errors import LedgerError
from multidelete.data.pairs import Pair, PairData
from multidelete.ledger.certificate import issue, signer_of
from multidelete.ledger.chain import Ledger
from multidelete.ledger.drift import exceeded, model_drift
from multidelete.ledger.events import Audited, CertificateIssued, Refused, Released, Unlearned
from multidelete.ledger.holders import Look, find_holders, naming_file
from multidelete.ledger.holdings import Holding, remember
from multidelete.ledger.models import LineageModel, model_of, newest
from multidelete.ledger.requests import known, pairs_of
from multidelete.ledger.sorts import TO_PURGE
from multidelete.ledger.stale import Stale, refuse_place_of_ids, stale_after, write_stale_ids
from multidelete.ledger.texts import naming, odd_text
from multidelete.ledger.work import taken_up
from multidelete.methods import Retrain

CERTIFICATES = "certificates"
BAD = ("unfinished", "over-forgotten", "damaged")


@dataclass(frozen=True)
class Release:
    """What came of a release.

    Attributes:
        references: The requests that the model was made for, all of which are released.
        certificates: A folder for each.
        still_knowing: What still knows their pairs.
        stale: What must be computed anew; None where the release was finished that a killed process had begun.
    """

    references: tuple[str, ...]
    certificates: tuple[Path, ...]
    still_knowing: Sequence[Holding] = ()
    stale: Stale | None = None


def release(
    ledger: Ledger,
    reference: str,
    data: PairData,
    *,
    by: str,
    despite: str | None = None,
    stale_ids: str | Path | None = None,
    look: Look | None = None,
) -> Release:
    """Release the model that a request's newest run made, for all requests of that run, and certify each.

    Args:
        ledger: Of the lineage.
        reference: A request of the run.
        data: The pairs that the first model was trained on.
        by: Role or name of who releases it.
        despite: Why it is released although an audit called it unfinished, over-forgotten or damaged, or the lineage
            has lost more than its budget with it.
        stale_ids: File to write with the ids of pairs whose embeddings must go or be computed anew. It names pairs.
        look: Where else what still knows the pairs is looked for; without it nowhere.

    Raises:
        LedgerError: The request is not audited, the audit forbids it, or another model was released meanwhile.
        CheckpointError: A further place is not there, or the file of ids cannot be written. Then nothing is released,
            and no such file is left.
    """
    state = known(ledger, reference)
    signer_of(ledger)
    if state.state == "released" and state.released is not None:
        return _finished(ledger, state.released)
    if state.unlearned is None or state.state != "audited":
        raise LedgerError(f"request {reference} is {state.state}; it can be released when it is audited.")
    run = state.unlearned
    model, before = model_of(ledger, run.after.digest), newest(ledger)
    if run.before != before.digest.digest:
        raise LedgerError(
            f"the model of {reference} was made from another than {before.name}, which was released meanwhile, and "
            f"knows what that one has forgotten. Run {reference} again."
        )
    problems = [*odd_text("by", by), *([] if despite is None else odd_text("despite", despite)),
                *([] if despite is not None else _forbidden(ledger, model, run))]  # fmt: skip
    work = taken_up(ledger, data, run.references)
    gone = work.left.train.only(work.request.ids, "forget").pairs
    problems += naming({"by": by, **({} if despite is None else {"despite": despite})}, gone)
    if problems:
        raise LedgerError(problems)
    if stale_ids is not None:
        refuse_place_of_ids(Path(stale_ids), ledger)
    digests = before.digest.digest, model.digest.digest
    stale = stale_after(before.check(), model.check(), digests, work.left, work.request)
    holdings = find_holders(ledger, data, look, run.references)
    if stale_ids is not None:
        holdings.append(naming_file(ledger, TO_PURGE, Path(stale_ids)))
    released = Released(
        references=run.references,
        by=by,
        model=model.digest.digest,
        reason=despite,
        still_knowing=tuple(one.holder for one in holdings),
        stale=stale.holders,
    )
    remember(ledger, holdings)
    if stale_ids is None:
        ledger.append(released)
    else:
        file = Path(stale_ids)
        _append_beside(ledger, released, file, lambda: write_stale_ids(file, ledger, stale, work.left, work.request))
    return Release(run.references, _certified(ledger, run.references), holdings, stale)


def _append_beside(ledger: Ledger, released: Released, file: Path, write: Callable[[], None]) -> None:
    """Append a release together with a file: where one of them cannot be written, neither is."""
    is_written = False
    try:
        with ledger.writing():
            write()
            is_written = True
            ledger.append(released)
    except BaseException:
        if is_written:
            file.unlink(missing_ok=True)
        raise


def refuse(ledger: Ledger, reference: str, reason: str, data: PairData, *, by: str | None = None) -> Path:
    """Refuse a request, and certify that.

    Args:
        ledger: Of the lineage.
        reference: The request.
        reason: Why; it names nobody.
        data: The pairs, so that the reason can be checked not to name one of the request, or any, where its key is
            lost.
        by: Role or name of who decided it.

    Raises:
        LedgerError: The request is done, or the reason is empty or names somebody.
    """
    state = known(ledger, reference)
    if state.state == "refused" and _is_certified(ledger, reference):
        raise LedgerError(
            f"{reference} is refused already: {state.reason}. For another copy of the certificate see ledger export."
        )
    signer_of(ledger)
    problems = [*odd_text("reason", reason), *([] if by is None else odd_text("by", by))]
    texts = {"reason": reason, **({} if by is None else {"by": by})}
    problems += naming(texts, _may_not_name(ledger, reference, data))
    if problems:
        raise LedgerError(problems)
    if state.state != "refused":
        ledger.append(Refused(reference=reference, reason=reason, by=by))
    return _certified(ledger, (reference,))[0]


def _may_not_name(ledger: Ledger, reference: str, data: PairData) -> Sequence[Pair]:
    """The pairs of a request; where its key or its pairs are lost, all of them."""
    try:
        wanted = set(pairs_of(ledger, reference, data).ids)
    except LedgerError:
        return data.train.pairs
    return [pair for pair in data.train if pair.id in wanted]


def _forbidden(ledger: Ledger, model: LineageModel, run: Unlearned) -> list[str]:
    """What audits of a model found that only somebody who takes responsibility can pass over."""
    remedy = "or release it all the same, by name and with the reason (--despite)."
    outcomes = {
        event.references: event.outcome
        for one in ledger.events()
        if isinstance(event := one.event, Audited) and event.model == model.digest.digest
    }
    problems = [
        f"the audit of {' and '.join(names)} calls the model {outcome}. Run again with other settings; {remedy}"
        for names, outcome in outcomes.items()
        if outcome in BAD
    ]
    lost = exceeded(model_drift(ledger, model), ledger.opened.budget)
    if lost and run.method != Retrain.name:  # what retraining loses, the deleted pairs were worth
        problems.append(
            f"with this model the lineage has lost {' and '.join(lost.values())} against its first original. "
            f"Run again with --method retrain; {remedy}"
        )
    return problems


def _finished(ledger: Ledger, done: Released) -> Release:
    """The certificates that a killed process did not come to write."""
    if not (lacking := [name for name in done.references if not _is_certified(ledger, name)]):
        raise LedgerError(
            f"{' and '.join(done.references)} is released already. For another copy of a certificate see ledger export."
        )
    return Release(done.references, _certified(ledger, lacking))


def _is_certified(ledger: Ledger, reference: str) -> bool:
    is_issued = any(
        isinstance(one.event, CertificateIssued) and one.event.reference == reference for one in ledger.events()
    )
    return is_issued and (ledger.folder / CERTIFICATES / reference).is_dir()


def _certified(ledger: Ledger, references: Iterable[str]) -> tuple[Path, ...]:
    return tuple(
        issue(ledger, reference, ledger.folder / CERTIFICATES / reference, overwrite=True) for reference in references
    )
