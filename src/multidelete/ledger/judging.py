"""The audit of a lineage's model: of the newest requests and, again, of all earlier ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from multidelete.auditing import AuditResult, audit
from multidelete.audits.compared import Source
from multidelete.core.errors import LedgerError
from multidelete.data.identity import with_true_sources
from multidelete.data.pairs import PairData
from multidelete.data.request import Request
from multidelete.ledger.chain import Ledger
from multidelete.ledger.drift import Advice, advice, drift_of, model_drift
from multidelete.ledger.events import Gone, Unlearned
from multidelete.ledger.judged import audited_event
from multidelete.ledger.models import (
    ORIGINAL,
    LineageModel,
    has_forgotten,
    model_of,
    original,
    released_requests,
    run_keys,
)
from multidelete.ledger.requests import known, pairs_of
from multidelete.models import Adapter

logger = logging.getLogger(__name__)

AUDITS = "audits"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a model is judged beside and how, as `multidelete.audit` takes it.

    Attributes:
        retrained: A model trained without the pairs: the yardstick. Of earlier requests, too, where it was trained
            without theirs.
        retrained_again: Such models of other seeds.
        noun: What the deleted units are called in the report.
        device: Where the models are asked.
        seed: Of everything that is drawn.
        allow_pickle: Also read weights that are not safetensors.
        earlier_pairs_removed: Say that the data holds no pairs of requests whose keys were destroyed.
    """

    retrained: Source | None = None
    retrained_again: Sequence[Source] = ()
    noun: str | None = None
    device: str = "auto"
    seed: int = 0
    allow_pickle: bool = False
    earlier_pairs_removed: bool = False


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the audits of a model found.

    Attributes:
        newest: Of the requests that it was made for.
        earlier: Of all earlier ones together; None where there are none whose keys are left.
        drift: What it has lost against the first original.
        advice: What that means for the next request.
        not_told: Earlier requests that nobody can ask about again: their keys were destroyed, or the first original.
    """

    newest: AuditResult
    earlier: AuditResult | None = None
    drift: dict[str, float] = field(default_factory=dict)
    advice: Advice = "go on"
    not_told: tuple[str, ...] = ()


def judge(ledger: Ledger, model: LineageModel, data: PairData, beside: Beside | None = None) -> Judged:
    """Audit a model against the first original, and write down what came of it.

    Where the first original was destroyed, as it should be in the end, the model is judged against that which it was
    made from, whose losses are added to its own; earlier requests cannot be asked about again then.

    Args:
        ledger: Of the lineage.
        model: The model, which some run made.
        data: The pairs that the first model was trained on.
        beside: What it is judged beside.

    Raises:
        LedgerError: It is not the model that the ledger knows.
        UserError: What `multidelete.audit` refuses.
    """
    beside = beside or Beside()
    model.check()
    everything = with_true_sources(data)
    against = _against(ledger, model)
    before = [known(ledger, name) for name in released_requests(ledger) if name not in model.requests]
    is_first = against.name == ORIGINAL
    told = [one.reference for one in before if is_first and not one.keys_gone]
    audits = partial(_audit, ledger, model, against.folder, everything)
    newest = audits(beside, model.requests)
    earlier = audits(_fit_for(ledger, everything, told, beside), told) if told else None
    lost = {} if is_first else model_drift(ledger, against)
    drift = {name: round(more + lost.get(name, 0.0), 6) for name, more in drift_of(newest.verdict.rows).items()}
    with ledger.writing():
        digest = model.digest.digest
        event = audited_event(newest.folder, newest.verdict, model.requests, model=digest, drift=drift)
        ledger.append(replace(event, against=None if is_first else against.digest.digest))
        if earlier is not None:
            ledger.append(audited_event(earlier.folder, earlier.verdict, told, model=digest))
    return Judged(
        newest=newest,
        earlier=earlier,
        drift=drift,
        advice=advice(drift, len(before) + len(model.requests), ledger.opened.budget),
        not_told=tuple(one.reference for one in before if one.reference not in told),
    )


def newest_run(ledger: Ledger, reference: str) -> str:
    """Digest of the model that the newest run of a request made.

    Raises:
        LedgerError: None did.
    """
    run = known(ledger, reference).unlearned
    if run is None:
        raise LedgerError(f"no run has made a model for {reference} yet. Run it with ledger run.")
    return run.after.digest


def _against(ledger: Ledger, model: LineageModel) -> LineageModel:
    """What a model is judged against."""
    first, events = original(ledger), [one.event for one in ledger.events()]
    if first.folder.exists():
        first.check()
        return first
    runs = [event for event in events if isinstance(event, Unlearned)]
    before = model_of(ledger, next(run.before for run in runs if run.after.digest == model.digest.digest))
    before.check()
    if not any(isinstance(event, Gone) and event.digest == first.digest.digest for event in events):
        logger.warning(
            "the first original is not at %s: the model is judged beside %s, and earlier requests are not asked about "
            "again. If it was moved, say in lineage.json where it lies, and audit again.",
            *(first.folder, before.name),
        )
    return before


def _fit_for(ledger: Ledger, data: PairData, references: Sequence[str], beside: Beside) -> Beside:
    """What earlier requests are judged beside: retrained models that have not seen their pairs, or none."""
    wanted = {pair_id for reference in references for pair_id in pairs_of(ledger, reference, data).ids}
    pairs = [pair for pair in data.train if pair.id in wanted]

    def is_fit(source: Source | None) -> bool:
        return source is None or (not isinstance(source, Adapter) and has_forgotten(ledger, source, pairs))

    if not is_fit(beside.retrained):
        return replace(beside, retrained=None, retrained_again=())
    return replace(beside, retrained_again=tuple(filter(is_fit, beside.retrained_again)))


def _audit(
    ledger: Ledger, model: LineageModel, against: Path, data: PairData, beside: Beside, references: Sequence[str]
) -> AuditResult:
    requests = [pairs_of(ledger, reference, data) for reference in references]
    wanted = {pair_id for request in requests for pair_id in request.ids}
    units = {request.unit for request in requests}
    request = Request(
        tuple(pair.id for pair in data.train if pair.id in wanted),
        units.pop() if len(units) == 1 else "pair",
        f"the pairs of {', '.join(references)}",
    )
    name = f"{model.name}-{references[0]}" + (f"-and-{len(references) - 1}-more" if len(references) > 1 else "")
    return audit(
        model.folder, against, data, request, retrained=beside.retrained,
        retrained_again=beside.retrained_again, out=ledger.folder / AUDITS / name, noun=beside.noun,
        device=beside.device, seed=beside.seed, overwrite=True, allow_pickle=beside.allow_pickle,
        key=run_keys(ledger), earlier_pairs_removed=beside.earlier_pairs_removed,
    )  # fmt: skip
