"""Train and unlearn: where rooms meet. Reads top to bottom."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from transformers import ProcessorMixin

from multidelete.artifacts.card import model_card
from multidelete.artifacts.deletions import record_of
from multidelete.artifacts.keys import keep_keys, key_of_run, key_target, new_key, refuse_missing_folder
from multidelete.artifacts.manifest import digest_of, write_record
from multidelete.artifacts.overlap import paths_of_model, refuse_inside_result, refuse_pictures
from multidelete.artifacts.record import DataRecord, RunRecord
from multidelete.artifacts.result_file import result_of_run
from multidelete.artifacts.result_folder import RUN_KEY, work_folder
from multidelete.core.arguments import PLACE, Wanted, check_arguments, flag, place, whole
from multidelete.core.config import shown
from multidelete.core.errors import CodeError, ConfigError, SettingProblem
from multidelete.core.foreign import called, own_code
from multidelete.core.json_files import Json, JsonObject
from multidelete.core.records import read_object
from multidelete.core.runtime import as_found, is_main_process
from multidelete.core.settings import LoopSettings, LoraSettings, TrainSettings
from multidelete.data.identity import with_true_sources
from multidelete.data.pairs import PairData
from multidelete.data.repeats import cached_note, repeats_note
from multidelete.data.request import Request
from multidelete.deletion.arguments import DeletionArguments
from multidelete.deletion.job import check_machine, features_of, parts_to_check, prepare
from multidelete.deletion.recording import begun_record, record_of_deletion, record_of_training
from multidelete.deletion.resolved import Deletion, content_of
from multidelete.methods import Method, Outcome, Training
from multidelete.methods.auto import run_method
from multidelete.methods.base import sample_retain
from multidelete.methods.kept_metric import refuse_place
from multidelete.models import Adapter, add_family
from multidelete.models.converters.forms import Form, form_of, save_as
from multidelete.models.converters.layout import said_paths
from multidelete.models.initial import fitted, starting_point
from multidelete.models.lineage import known_lineage, remember
from multidelete.models.preflight import check_pairs
from multidelete.models.sources import refuse_missing
from multidelete.training.loop import Run, run_loop

logger = logging.getLogger(__name__)


@as_found()
def train(
    data: PairData,
    out: str | Path,
    *,
    start: TrainSettings | Adapter | str | Path | None = None,
    settings: LoopSettings | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    key: str | Path | None = None,
    earlier_pairs_removed: bool = False,
    notes: JsonObject | None = None,
) -> Path:
    """Train a model on the training pairs, and record how, so that it can be retrained without some.

    What a model to start from has forgotten is not trained on again. The caller's random numbers and its own use of
    `accelerate` are afterwards as they were.

    Args:
        data: Pairs; only the ``train`` split is used.
        out: Folder to write, in the family's own format.
        start: What training begins with: family and size of a new model, the folder or hub id of one to go on from,
            or an `Adapter`, which is trained as it is and of which nothing is recorded that it could be retrained from.
        settings: How the loop runs.
        seed: Of the initial weights and of the order of the pairs.
        overwrite: Replace ``out`` if it exists.
        resume: Go on where a killed run of the same command stopped.
        key: Key file of a model to start from that has forgotten pairs; without it ``MODEL.key`` beside it.
        earlier_pairs_removed: Say that the data holds no pairs that it has forgotten, where there is no key.
        notes: Entries to add to ``multidelete.json``: what else a reader of the folder must know of the data.

    Raises:
        UserError: Unreadable images, wrong settings, or ``out`` cannot be written.
        DivergedError: The loss is not finite.
    """
    start = TrainSettings() if start is None else start
    check_arguments(
        {
            "data": Wanted(data, (PairData,), "pairs; read them with multidelete.load_data"),
            "out": place(out),
            "key": place(key, optional=True),
            "start": Wanted(start, (TrainSettings, Adapter, *PLACE), "TrainSettings, a folder, a hub id or an Adapter"),
            "settings": Wanted(settings, (LoopSettings,), "LoopSettings", optional=True),
            "seed": whole(seed),
            "overwrite": flag(overwrite),
            "resume": flag(resume),
        }
    )
    if settings is not None and settings.pace == "auto":
        rule = "it must be 'given', since training takes its rate and passes as they are. Leave it out."
        raise ConfigError(SettingProblem("pace", f"is 'auto'; {rule}"))
    if not isinstance(start, TrainSettings | Adapter):
        start = TrainSettings(start=str(start))
    told = _noted(notes)
    if isinstance(start, TrainSettings):
        add_family(start.family)
        refuse_missing({"start": start.start})
    out, data = Path(out), with_true_sources(data)
    settings = settings or Training().loop_settings()
    begin_with = (start.start or "") if isinstance(start, TrainSettings) else start
    inputs = [*paths_of_model(begin_with), *said_paths()] if isinstance(begin_with, str) and begin_with else []
    lineage, data = known_lineage(begin_with, data, key, removed=earlier_pairs_removed)
    keys_to = key_target(out, key) if lineage else None
    begin = [content_of(start)] if isinstance(start, Adapter) else [asdict(start), content_of(start.start or "")]
    digest = digest_of([*begin, asdict(settings), seed, data.train.content, list(data.classes)])
    refuse_pictures(out, data)
    form = form_of(begin_with, out)
    with result_of_run(out, inputs, is_file=form.is_file, overwrite=overwrite, resume=resume, digest=digest) as folder:
        check_machine(settings, folder)
        adapter = start if isinstance(start, Adapter) else starting_point(start, data, seed)
        pairs = fitted(adapter, data).train
        with own_code(adapter):
            check_pairs(adapter, {"the training pairs": pairs})
            cut = adapter.truncated(pairs.pairs)
            result = run_loop(
                adapter, Training(), {"train": pairs}, settings=settings, seed=seed,
                run=Run(work=work_folder(folder), resume=resume, title="training"),
            )  # fmt: skip
        known = begun_record("train", data, adapter, seed, lineage, removed=earlier_pairs_removed)
        if told.shadow is not None or not lineage:  # else it would tell who was deleted
            content = data.train.content_by(data.classes)
            known = replace(known, data=replace(known.data or DataRecord(), content=content))
        record = record_of_training(known, result, settings, reading_s=data.reading_s, truncated=len(cut))
        if not isinstance(start, Adapter):
            record = replace(record, model=asdict(start))
        _write_result(folder, adapter, told.over(record), form)
        if keys_to is not None:
            keep_keys(keys_to, lineage.own_keys, out)
    return out


@dataclass(frozen=True)
class Unlearned:
    """The result of `unlearn`.

    Attributes:
        adapter: The unlearned model behind the family's adapter; ``adapter.model`` is the network itself.
        record: What was done, with what settings and at what cost.
        outcome: What the method made.
        kept_repeats: Ids of kept pairs that are the same as one that was deleted.
        folder: Where it was written, or None.
        keys: By id, the keys of this deletion and of those before it: they tell which pairs were deleted.
    """

    adapter: Adapter
    record: RunRecord
    outcome: Outcome
    kept_repeats: Sequence[str] = ()
    folder: Path | None = None
    keys: Mapping[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Unlearned({self.adapter.family}, folder={self.folder})"

    @property
    def manifest(self) -> dict[str, Json]:
        """The record, as ``multidelete.json`` holds it."""
        return self.record.as_json()

    @property
    def model(self) -> torch.nn.Module:
        """The network in the user's own class, in float32; ``out`` holds it in the dtypes it was given in."""
        return cast(torch.nn.Module, self.adapter.model)


def unlearn(
    original: object,
    data: PairData,
    forget: Request | Sequence[str] | str | Path,
    *,
    processor: ProcessorMixin | None = None,
    method: Method | str = "multidelete",
    settings: LoopSettings | JsonObject | None = None,
    trainable: str = "auto",
    lora: LoraSettings | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    allow_pickle: bool = False,
    key: str | Path | None = None,
    earlier_pairs_removed: bool = False,
    metric: str | Path | None = None,
    notes: JsonObject | None = None,
) -> Unlearned:
    """Make a model forget pairs. The model given is not changed, on disk or in memory.

    Pairs that it has forgotten before take no part: they are no retain pairs, negatives, partners or held-out pairs.
    The caller's random numbers and its own use of `accelerate` are afterwards as they were.

    Args:
        original: Folder, hub id, checkpoint file of others (`reading` says what it does not tell), a loaded
            `transformers` model of a known family, or an `Adapter`.
        data: The pairs it was trained on.
        forget: Ids, a request file, or a request with its unit.
        processor: Of a loaded model.
        method: Name, or an instance with its hyperparameters.
        settings: How the loop runs: all of it, or only what differs from the method's own.
        trainable: ``auto`` (what the method prefers for the family), ``all``, ``projections``, a modality
            whose encoder stands by itself (``text``), all but such an encoder (``but-image``), or a regular
            expression over parameter names.
        lora: Train LoRA beside the linear layers and tables of words of that part, and nothing else; ``out`` is then an
            adapter of a few MB that names ``original``, a folder or hub id (`multidelete.merge` makes a model of both).
            Of a checkpoint of others it is the whole model, as it came, with LoRA in its weights.
        out: Folder to write, in the family's own format; of a checkpoint file a file in its layout, where the name ends
            like one. None keeps the result in memory.
        seed: Of everything that is drawn.
        overwrite: Replace ``out`` if it exists.
        resume: Go on where a killed run of the same command stopped; needs ``out``.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        key: File of keys: the new one is added to it, and those of earlier deletions are read from it. Without it
            they are read from ``MODEL.key`` and written to ``OUT.key``. Whoever has it can confirm who was deleted.
        earlier_pairs_removed: Say that the data holds no pairs that the model has forgotten, where there is no key.
        metric: Folder in which a run that solves its legs keeps what kept pairs' scores depend on (`METRIC_PAIRS` of
            them, by id), so that the next request for the model, or for what this one makes of it, need not measure it
            again. It is measured anew where one of its pairs is deleted.
        notes: Entries to add to ``multidelete.json``.

    Raises:
        UserError: The request, the model, the data or the settings are wrong; nothing was written.
        DivergedError: A loss is not finite.
    """
    check_arguments({"out": place(out, optional=True), "overwrite": flag(overwrite), "resume": flag(resume)})
    arguments = DeletionArguments(
        original=original, data=data, forget=forget, processor=processor, method=method, settings=settings,
        trainable=trainable, lora=lora, seed=seed, allow_pickle=allow_pickle, key=key,
        earlier_pairs_removed=earlier_pairs_removed, metric=metric,
    )  # fmt: skip
    return carried_out(arguments, out, overwrite=overwrite, resume=resume, notes=notes)


@as_found()
def carried_out(
    arguments: DeletionArguments,
    out: str | Path | None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    notes: JsonObject | None = None,
    merge: bool = False,
) -> Unlearned:
    """`unlearn` with its first arguments in one; ``merge`` makes LoRA part of the weights that are written."""
    told = _noted(notes)
    deletion = arguments.resolved()
    if deletion.repeats:
        logger.warning("%s", repeats_note(deletion.repeats))
    key = arguments.key
    if deletion.metric is not None:
        refuse_place(deletion.metric, deletion.model_paths, out)
        refuse_pictures(deletion.metric, deletion.data)
    if out is None:
        if key is not None:
            refuse_inside_result(Path(key))
            refuse_missing_folder(Path(key))
        done = forgotten(deletion)
        if key is not None:
            keep_keys(Path(key), done.keys)
        return done
    out, base, keys_to = Path(out), None if merge else deletion.lora_base(), key_target(Path(out), key)
    form = form_of(deletion.model, out)
    inputs = [*deletion.model_paths, *arguments.files, *said_paths()]
    for output in (out, keys_to):
        refuse_pictures(output, deletion.data)
    with result_of_run(
        out, inputs, is_file=form.is_file, overwrite=overwrite, resume=resume, digest=deletion.digest
    ) as folder:
        done = forgotten(deletion, work_folder(folder), resume=resume)
        if deletion.lora is not None and base is None:
            from multidelete.models.lora import merge_lora  # peft takes a second to import

            merge_lora(done.adapter)
            done = replace(done, record=done.record.merged())
        done = replace(done, record=told.over(done.record), folder=out)
        _write_result(folder, done.adapter, done.record, form, base)
        if is_main_process():
            (folder / "README.md").write_text(model_card(done.record), encoding="utf-8")
        keep_keys(keys_to, done.keys, out)
    if (note := cached_note(deletion.data)) is not None and is_main_process():
        logger.warning("%s", note)
    return done


def forgotten(deletion: Deletion, work: Path | None = None, *, resume: bool = False) -> Unlearned:
    """Carry out a deletion in memory; ``work`` is a folder for its key, checkpoints and caches."""
    prepared = prepare(deletion, work, resume=resume)
    job, method = prepared.job, deletion.method
    own_key = new_key() if work is None else key_of_run(work / RUN_KEY)
    lineage = deletion.lineage.then(record_of(own_key, deletion.pairs, deletion.request.unit), own_key)
    with own_code(method, job.adapter), features_of(prepared) as kept:
        check_pairs(job.adapter, parts_to_check(prepared), name=deletion.model_name)
        cut = job.adapter.truncated([*job.forget, *sample_retain(job)])
        done = run_method(method, job)
        if kept is not None and isinstance(done, Outcome):
            done = replace(done, reference_s=done.reference_s + kept.seconds, wall_s=done.wall_s + kept.seconds)
    if not isinstance(done, Outcome):
        raise CodeError(f"{called(type(method))} gives {shown(done)} as its outcome; run must return an Outcome.")
    record = record_of_deletion(prepared, done, lineage, truncated=len(cut))
    remember(done.adapter, lineage)
    return Unlearned(done.adapter, record, done, deletion.repeats, keys=lineage.own_keys)


def _noted(notes: JsonObject | None) -> RunRecord:
    """Entries of the user's, which must be what can be read again."""
    return read_object(RunRecord, notes or {}, "notes", "What multidelete reads again must be as it writes it.")


def _write_result(folder: Path, adapter: Adapter, record: RunRecord, form: Form, lora_base: str | None = None) -> None:
    """A model and its record."""
    if is_main_process():
        adapter.to("cpu")
        save_as(form, adapter, folder, lora_base=lora_base)
        write_record(folder, record)
