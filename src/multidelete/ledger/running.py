"""A run: open requests are deleted from the newest released model, and what it makes is judged."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multidelete.artifacts.deletions import request_digest
from multidelete.artifacts.folders import refuse_existing
from multidelete.artifacts.keys import read_keys, write_keys
from multidelete.artifacts.manifest import code_digest, read_record
from multidelete.artifacts.overlap import refuse_overlap
from multidelete.artifacts.record import RunRecord
from multidelete.core.errors import CheckpointError, ConfigError, DivergedError, LedgerError, MultideleteError
from multidelete.core.json_files import JsonObject
from multidelete.data.pairs import PairData
from multidelete.ledger.answers import take, take_newest
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Failed, Started, Unlearned
from multidelete.ledger.judging import Beside, Judged, judge
from multidelete.ledger.models import (
    LineageModel,
    model_of,
    place_of_run,
    remember_place,
    run_keys,
)
from multidelete.ledger.places import model_digest, places_of
from multidelete.ledger.work import How, Work, open_requests, taken_up
from multidelete.models import load_adapter
from multidelete.unlearning import carried_out

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """A model that a run made, and what its audits found."""

    model: LineageModel
    judged: Judged


def run(
    ledger: Ledger,
    data: PairData,
    how: How | None = None,
    *,
    only: Sequence[str] = (),
    out: str | Path | None = None,
    plan: str | Path | None = None,
    beside: Beside | None = None,
) -> RunResult:
    """Delete the pairs of open requests together, judge the result, and write both down.

    A run that was killed goes on where it stopped when it is called again in the same way.

    Args:
        ledger: Of the lineage.
        data: The pairs that the first model was trained on.
        how: The method and its settings.
        only: References; without any, all for which no model was made yet.
        out: Folder of the model; without it one in the lineage's folder.
        plan: Folder of a plan: near-duplicates that somebody said yes to go with their requests. Without it the
            newest, where it is still there.
        beside: What the result is judged beside.

    Raises:
        UserError: A request, the data, a model or a setting is wrong.
        DivergedError: A loss is not finite.
    """
    how, beside = how or How(), beside or Beside()
    beside = replace(beside, earlier_pairs_removed=beside.earlier_pairs_removed or how.earlier_pairs_removed)
    references = [one.reference for one in open_requests(ledger, only)]
    if plan is None:
        take_newest(ledger, data, references)
    else:
        take(ledger, data, Path(plan), references)
    work = taken_up(ledger, data, only)
    model = None if how.overwrite or out is not None else _not_yet_judged(ledger, work)
    if model is None:
        _say_again(ledger, work)
        model = _unlearned(ledger, work, how, None if out is None else Path(out))
    return RunResult(model, judge(ledger, model, data, beside))


def _say_again(ledger: Ledger, work: Work) -> None:
    requests = ledger.requests()
    if again := [name for name in work.references if requests[name].state == "audited"]:
        logger.warning(
            "%s: a model was made and audited already, and another one is made now. Release the first "
            "if it is the one to use.",
            ", ".join(again),
        )


def _unlearned(ledger: Ledger, work: Work, how: How, out: Path | None) -> LineageModel:
    work.base.check()
    if not run_keys(ledger).exists():
        write_keys(run_keys(ledger), {})
    arguments = work.arguments(how)
    name, folder = _folder_of(ledger, work, out)
    started = Started(references=work.references, folder=name, before=work.base.digest.digest)
    is_begun = any(one.event == started for one in ledger.events())
    if not is_begun:
        refuse_existing(folder, overwrite=False)
    if not folder.exists():
        arguments.resolved()  # what is refused is refused before anything is written down
        load_adapter(work.base.folder, allow_pickle=how.allow_pickle)
        refuse_overlap(folder, [work.base.folder])
    if not is_begun:
        remember_place(ledger, name, folder)
        ledger.append(started)
    if not folder.exists():
        try:
            carried_out(
                arguments, folder, overwrite=how.overwrite, resume=not how.overwrite, merge=True,
                notes=_notes(ledger),
            )  # fmt: skip
        except (ConfigError, CheckpointError):  # of a killed run with other settings, or another process runs
            raise
        except MultideleteError as error:
            ledger.append(Failed(references=work.references, reason=_reason(error)))
            raise
    record = read_record(folder)
    if record is None or not _is_of(work, record):
        raise LedgerError(f"{folder} holds no model without the pairs of {', '.join(work.references)}. Move it away.")
    ledger.append(_event(work, started, folder, record))
    return model_of(ledger, model_digest(folder).digest)


def _notes(ledger: Ledger) -> JsonObject:
    """What else a reader of the model must know of the data."""
    holdout = places_of(ledger.folder).holdout
    return {} if holdout is None else {"holdout": holdout.as_json()}


def _is_of(work: Work, record: RunRecord) -> bool:
    """Whether a model was made by deleting these pairs."""
    if not record.deletions:
        return False
    key = read_keys(run_keys(work.ledger)).get(record.deletions[-1].key)
    return key is not None and record.deletions[-1].request == request_digest(key, work.request.ids)


def _event(work: Work, started: Started, folder: Path, record: RunRecord) -> Unlearned:
    method = record.method
    return Unlearned(
        references=work.references,
        folder=started.folder,
        before=started.before,
        after=model_digest(folder),
        method="not recorded" if method is None or method.name is None else method.name,
        settings={} if method is None else method.rest,
        loop=record.loop,
        trainable=None if record.trainable is None else record.trainable.chosen,
        lora=record.lora,
        seed=record.seed,
        pairs=None if record.request is None else record.request.pairs,
        key=record.forgotten[-1].key,
        data=None if record.data is None else record.data.retained,
        cost=record.cost,
        versions=record.versions,
        code=code_digest(),
    )


def _reason(error: MultideleteError) -> str:
    """In words that name no pair, which messages may do."""
    if isinstance(error, DivergedError):
        return "a loss was not finite"
    return f"the run was ended by an error of the kind {type(error).__name__}"


def _folder_of(ledger: Ledger, work: Work, out: Path | None) -> tuple[str, Path]:
    """Name and place of the model to write: those of a killed run of the same requests, where one is unfinished."""
    runs = [one.event for one in ledger.events() if isinstance(one.event, Started)]
    ended = {one.event.folder for one in ledger.events() if isinstance(one.event, Unlearned)}
    before = work.base.digest.digest
    unfinished = [
        one
        for one in runs
        if one.references == work.references
        and one.before == before
        and one.folder not in ended
        and (out is None or place_of_run(ledger, one.folder) == out.absolute())
        and all(ledger.requests()[name].is_running for name in one.references)
    ]
    if unfinished:
        return unfinished[-1].folder, place_of_run(ledger, unfinished[-1].folder)
    names = {one.folder for one in runs}
    number = next(number for number in range(1, len(runs) + 2) if f"{number:04d}" not in names)
    name = f"{number:04d}"  # and not what the user calls it, which may name somebody
    return name, place_of_run(ledger, name) if out is None else out.absolute()


def _not_yet_judged(ledger: Ledger, work: Work) -> LineageModel | None:
    """The model of a run that was killed before its audit was written down."""
    requests = [ledger.requests()[name] for name in work.references]
    runs = {one.unlearned.after.digest for one in requests if one.unlearned is not None and one.state == "unlearned"}
    made = next(iter(runs)) if len(runs) == 1 and all(one.state == "unlearned" for one in requests) else None
    if made is None or model_of(ledger, made).requests != work.references:
        return None
    logger.info("the model of the last run is not judged yet: it is judged now, and nothing is run again")
    return model_of(ledger, made)
