"""What a run records of itself."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

from multidelete.artifacts.deletions import Lineage, data_digest
from multidelete.artifacts.manifest import versions
from multidelete.artifacts.record import (
    Cost,
    DataRecord,
    LoraRecord,
    MethodRecord,
    OriginalRecord,
    RequestRecord,
    RunRecord,
    TokenizerRecord,
    TrainableRecord,
)
from multidelete.core.settings import LoopSettings
from multidelete.data.pairs import PairData
from multidelete.deletion.job import Prepared
from multidelete.methods import Outcome
from multidelete.models import Adapter
from multidelete.models.tokens import tokens_of_deleted_alone
from multidelete.training.loop import LoopResult


def begun_record(
    command: str, data: PairData, adapter: Adapter, seed: int, lineage: Lineage, *, removed: bool
) -> RunRecord:
    """What is known before a run."""
    digest = None
    if not lineage:
        digest = data.train.digest_by(data.classes)
    elif lineage.own_keys:  # without a key, whoever has most of the data could try out who is missing in it
        digest = data_digest(list(lineage.own_keys.values())[-1], data.train, data.classes)
    return RunRecord(
        command=command,
        task=adapter.task,
        date=datetime.now(UTC).date().isoformat(),
        seed=seed,
        data=DataRecord(name=data.name, pairs=len(data.train), notes=tuple(data.notes), digest=digest),
        versions=versions(),
        deletions=lineage.deletions or None,
        earlier_pairs_removed=True if removed and lineage.without_key else None,
    )


def _thinned(history: Sequence[Mapping[str, float]], rows: int = 100) -> tuple[dict[str, float], ...]:
    """At most about ``rows`` evenly spaced steps, each with its number."""
    every = max(1, len(history) // rows)
    last = len(history) - 1
    return tuple({"step": i + 1, **row} for i, row in enumerate(history) if i % every == 0 or i == last)


def record_of_training(
    known: RunRecord, result: LoopResult, loop: LoopSettings, *, reading_s: float, truncated: int
) -> RunRecord:
    """What ordinary training records, with what was known before."""
    cost = Cost(
        wall_s=reading_s + result.wall_s,
        reading_s=reading_s,
        pairs_backward=result.pairs,
        peak_bytes=result.peak_bytes,
    )
    history = _thinned(result.history)
    return replace(known, truncated_captions=truncated, cost=cost, loop=asdict(loop), history=history)


def record_of_deletion(prepared: Prepared, done: Outcome, lineage: Lineage, *, truncated: int) -> RunRecord:
    """What a deletion records; the lineage ends with it."""
    deletion, job = prepared.deletion, prepared.job
    retain = deletion.data.train.without(deletion.request.ids, "retain")  # the job's labels are the model's positions
    record = begun_record("unlearn", deletion.data, done.adapter, deletion.seed, lineage,
                     removed=deletion.earlier_pairs_removed)  # fmt: skip
    return replace(
        record,
        data=replace(
            record.data or DataRecord(), retained=data_digest(lineage.newest_key, retain, deletion.data.classes)
        ),
        truncated_captions=truncated,
        cost=Cost(
            wall_s=deletion.data.reading_s + done.wall_s,
            reading_s=deletion.data.reading_s,
            reference_s=done.reference_s,
            pairs_forward=done.pairs_forward,
            pairs_backward=done.pairs_backward,
            peak_bytes=done.peak_bytes,
        ),
        method=MethodRecord(name=deletion.method.name, rest=asdict(deletion.method)),
        loop=deletion.loop.told(trains=deletion.method.trains),
        trainable=TrainableRecord(chosen=prepared.part, parameters=prepared.parameters),
        request=RequestRecord(
            pairs=len(job.forget),
            unit=deletion.request.unit,
            digest=lineage.deletions[-1].request,
            kept_repeats=len(deletion.repeats) or None,
        ),
        original=OriginalRecord(weights=job.key),
        scales=done.scales,
        decisions=done.decisions,
        history=_thinned(done.history),
        tokenizer=TokenizerRecord(
            tokens_of_deleted_texts_alone=None
            if job.retain.is_indexed  # all of whose texts would have to be read
            else tokens_of_deleted_alone(done.adapter, job.forget, job.retain)
        ),
        training=deletion.recipe,
        lora=None if deletion.lora is None else LoraRecord(r=deletion.lora.r, alpha=deletion.lora.alpha, merged=False),
    )
