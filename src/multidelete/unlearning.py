"""Train, unlearn, audit: the only place that knows all rooms. Reads top to bottom."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import torch
from transformers import ProcessorMixin

from multidelete.artifacts.card import model_card
from multidelete.artifacts.deletions import Lineage, data_digest, deletions_entry, not_yet_deleted, record
from multidelete.artifacts.keys import keep_keys, key_of_run, key_target, new_key
from multidelete.artifacts.manifest import digest_folder, read_manifest, versions, write_manifest
from multidelete.artifacts.overlap import paths_of_model, refuse_pictures
from multidelete.artifacts.result_folder import RUN_KEY, result_folder, work_folder
from multidelete.core.arguments import Wanted, check_arguments, place
from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError
from multidelete.core.runtime import is_main_process, make_accelerator
from multidelete.core.settings import LoopSettings, LoraSettings, TrainSettings
from multidelete.data.identity import with_true_sources
from multidelete.data.pairs import PairData
from multidelete.data.repeats import cached_note, kept_repeats, repeats_note
from multidelete.data.request import Request, forget_retain
from multidelete.deletion import as_request, check_deletion, run_arguments
from multidelete.methods import METHODS, GradientMethod, Job, Method, Outcome, Training, get_method
from multidelete.methods.base import sample_retain
from multidelete.methods.defaults import loop_settings, recorded, training_of
from multidelete.models import Adapter, adapter_for, choose_trainable, hold_in_float32, load_adapter
from multidelete.models.checkpoint import lora_base, weights_digest
from multidelete.models.initial import fitted, refuse_fresh_tokenizer, starting_point
from multidelete.models.lineage import known_lineage, remember
from multidelete.models.preflight import check_pairs
from multidelete.models.sources import refuse_missing
from multidelete.models.tokens import tokenizer_of, tokens_of_deleted_alone
from multidelete.training.loop import run_loop

logger = logging.getLogger(__name__)


def train(
    data: PairData,
    out: str | Path,
    *,
    model: TrainSettings | Adapter | None = None,
    settings: LoopSettings | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    key: str | Path | None = None,
    earlier_pairs_removed: bool = False,
    notes: Mapping[str, object] | None = None,
) -> Path:
    """Train a model on the training pairs, and record how, so that it can be retrained without some.

    What a model to start from has forgotten is not trained on again.

    Args:
        data: Pairs; only the ``train`` split is used.
        out: Folder to write, in the family's own format.
        model: Family and size of a new model, the folder of one to start from, or an `Adapter`, which is trained as it
            is; of the latter nothing is recorded that it could be retrained from.
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
    check_arguments(
        {
            "data": Wanted(data, (PairData,), "pairs; read them with multidelete.load_data"),
            "out": place(out),
            "key": place(key, optional=True),
            "model": Wanted(model, (TrainSettings, Adapter), "TrainSettings or an Adapter", optional=True),
            "settings": Wanted(settings, (LoopSettings,), "LoopSettings", optional=True),
            **run_arguments(seed=seed, overwrite=overwrite, resume=resume),
        }
    )
    refuse_missing({"start": model.start if isinstance(model, TrainSettings) else None})
    out, data = Path(out), with_true_sources(data)
    model = model or TrainSettings()
    settings = settings or Training().loop_settings()
    inputs = paths_of_model(model.start) if isinstance(model, TrainSettings) and model.start else []
    lineage, data = known_lineage(model.start or "" if isinstance(model, TrainSettings) else model, data, key,
                                  removed=earlier_pairs_removed)  # fmt: skip
    keys_to = key_target(out, key) if lineage else None
    begin = [_content(model)] if isinstance(model, Adapter) else [asdict(model), _content(model.start or "")]
    identity = [*begin, asdict(settings), seed, data.train.content]
    refuse_pictures(out, data)
    with result_folder(out, inputs, overwrite, resume, identity) as folder:
        _check_machine(settings, folder)
        adapter = model if isinstance(model, Adapter) else starting_point(model, data, seed)
        pairs = fitted(adapter, data).train
        check_pairs(adapter, {"the training pairs": pairs})
        cut = adapter.truncated(pairs.pairs)
        result = run_loop(
            adapter, Training(), {"train": pairs}, settings=settings, seed=seed,
            work=work_folder(folder), resume=resume, title="training",
        )  # fmt: skip
        wall_s = data.reading_s + result.wall_s
        cost = {
            "wall_s": wall_s,
            "reading_s": data.reading_s,
            "pairs_backward": result.pairs,
            "peak_bytes": result.peak_bytes,
        }
        manifest = _manifest("train", data, adapter, seed, cost, cut, lineage)
        manifest |= {"loop": asdict(settings)}
        if not lineage or "shadow" in (notes or {}):  # else it would tell who was deleted
            manifest["data"] = {**cast(dict[str, object], manifest["data"]), "content": data.train.content}
        if not isinstance(model, Adapter):
            manifest |= {"model": asdict(model)}
        manifest |= deletions_entry(lineage, removed=earlier_pairs_removed)
        _write_result(folder, adapter, manifest | {"history": _thin(result.history)} | dict(notes or {}))
        if keys_to is not None:
            keep_keys(keys_to, lineage.own_keys, out)
    return out


@dataclass(frozen=True)
class Unlearned:
    """The result of `unlearn`.

    Attributes:
        adapter: The unlearned model behind the family's adapter; ``adapter.model`` is the network itself.
        manifest: What was done, with what settings and at what cost.
        folder: Where it was written, or None.
        keys: By id, the keys of this deletion and of those before it: they tell which pairs were deleted.
    """

    adapter: Adapter
    manifest: dict[str, object]
    folder: Path | None = None
    keys: Mapping[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Unlearned({self.adapter.family}, folder={self.folder})"

    @property
    def model(self) -> torch.nn.Module:
        """The network in the user's own class, in float32; ``out`` holds it in the dtypes it was given in."""
        return cast(torch.nn.Module, self.adapter.model)


def unlearn(
    model: object,
    data: PairData,
    forget: Request | Sequence[str] | str | Path,
    *,
    processor: ProcessorMixin | None = None,
    method: Method | str = "multidelete",
    settings: LoopSettings | Mapping[str, object] | None = None,
    trainable: str = "auto",
    lora: LoraSettings | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    allow_pickle: bool = False,
    key: str | Path | None = None,
    earlier_pairs_removed: bool = False,
    notes: Mapping[str, object] | None = None,
) -> Unlearned:
    """Make a model forget pairs. The model given is not changed, on disk or in memory.

    Pairs that it has forgotten before take no part: they are no retain pairs, negatives, partners or held-out pairs.

    Args:
        model: Folder, hub id, a loaded `transformers` model of a known family, or an `Adapter`.
        data: The pairs it was trained on.
        forget: Ids, a request file, or a request with its unit.
        processor: Of a loaded model.
        method: Name, or an instance with its hyperparameters.
        settings: How the loop runs: all of it, or only what differs from the method's own.
        trainable: ``auto`` (what the method prefers for the family), ``all``, ``projections``, a modality
            whose encoder stands by itself (``text``), all but such an encoder (``but-image``), or a regular
            expression over parameter names.
        lora: Train LoRA beside the linear layers of that part, and nothing else; ``out`` is then an adapter
            of a few MB that names ``model``, a folder or hub id (`multidelete.merge` makes a model of both).
        out: Folder to write, in the family's own format; None keeps the result in memory.
        seed: Of everything that is drawn.
        overwrite: Replace ``out`` if it exists.
        resume: Go on where a killed run of the same command stopped; needs ``out``.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        key: File of keys: the new one is added to it, and those of earlier deletions are read from it. Without it
            they are read from ``MODEL.key`` and written to ``OUT.key``. Whoever has it can confirm who was deleted.
        earlier_pairs_removed: Say that the data holds no pairs that the model has forgotten, where there is no key.
        notes: Entries to add to ``multidelete.json``.

    Raises:
        UserError: The request, the model, the data or the settings are wrong; nothing was written.
        DivergedError: A loss is not finite.
    """
    check_arguments({"out": place(out, optional=True), "key": place(key, optional=True)})
    check_deletion(
        model, data, processor=processor, method=method, settings=settings, trainable=trainable, lora=lora, seed=seed,
        overwrite=overwrite, resume=resume, allow_pickle=allow_pickle,
    )  # fmt: skip
    data = with_true_sources(data)
    lineage, left = known_lineage(model, data, key, removed=earlier_pairs_removed)
    request, data = not_yet_deleted(as_request(data, forget), data, left, lineage), left
    repeats = kept_repeats(data.train, request.ids)
    if repeats:
        logger.warning("%s", repeats_note(repeats))
    chosen, origin, loop = resolved(model, request, method, settings, trainable)
    base = None if lora is None else base_for_lora(model, chosen, in_memory=out is None)
    deleted = data.train.only(request.ids, "forget").pairs
    if out is None:
        own_key = new_key()
        lineage = lineage.then(record(own_key, deleted, request.unit), own_key)
        done = _unlearn(
            model, data, request, processor, chosen, loop, trainable, lora, seed, None, False, allow_pickle, origin,
            lineage, earlier_pairs_removed,
        )  # fmt: skip
        if key is not None:
            keep_keys(Path(key), lineage.own_keys)
        return done
    keys_to = key_target(Path(out), key)
    identity: list[object] = [_content(model if isinstance(model, str | Path) else adapter_for(model, processor))]
    identity += [chosen.name, asdict(chosen), asdict(loop), trainable, seed, request.digest, data.train.digest]
    identity.append(data.train.only(request.ids, "forget").content)
    identity += [] if lora is None else [asdict(lora)]
    inputs = paths_of_model(model) if isinstance(model, str | Path) else []
    inputs += [Path(forget)] if isinstance(forget, str | Path) else []
    refuse_pictures(Path(out), data)
    with result_folder(Path(out), inputs, overwrite, resume, identity) as folder:
        own_key = key_of_run(work_folder(folder) / RUN_KEY)
        lineage = lineage.then(record(own_key, deleted, request.unit), own_key)
        done = _unlearn(
            model, data, request, processor, chosen, loop, trainable, lora, seed, work_folder(folder), resume,
            allow_pickle, origin, lineage, earlier_pairs_removed,
        )  # fmt: skip
        done = replace(done, manifest=done.manifest | dict(notes or {}))
        _write_result(folder, done.adapter, done.manifest, base)
        if is_main_process():
            (folder / "README.md").write_text(model_card(done.manifest), encoding="utf-8")
        keep_keys(keys_to, lineage.own_keys, Path(out))
    if (note := cached_note(data)) is not None and is_main_process():
        logger.warning("%s", note)
    return replace(done, folder=Path(out))


def resolved(
    model: object,
    request: Request,
    method: Method | str,
    settings: LoopSettings | Mapping[str, object] | None,
    trainable: str,
) -> tuple[Method, dict[str, object] | None, LoopSettings]:
    """The method, what the original's folder records, and the loop's settings.

    Raises:
        UnsupportedError: A part of the model is asked for, and the method trains all of it.
    """
    chosen = get_method(method)() if isinstance(method, str) else method
    origin = read_manifest(Path(model)) if isinstance(model, str | Path) else None
    loop = loop_settings(chosen, settings, origin, len(request.ids))
    if trainable not in ("auto", "all") and not chosen.takes_part:
        raise UnsupportedError(
            f"{chosen.name} trains a model of its own, all of it, and the part to train is {trainable!r}. Leave it out."
        )
    return chosen, origin, loop


def _unlearn(
    model: object,
    data: PairData,
    request: Request,
    processor: ProcessorMixin | None,
    method: Method,
    loop: LoopSettings,
    trainable: str,
    lora: LoraSettings | None,
    seed: int,
    work: Path | None,
    resume: bool,
    allow_pickle: bool,
    origin: Mapping[str, object] | None,
    lineage: Lineage,
    earlier_pairs_removed: bool,
) -> Unlearned:
    """`unlearn` once everything is resolved; the lineage ends with this deletion."""
    job, part, trained = prepared(
        model, data, request, processor, method, loop, trainable, lora, seed, work, resume, allow_pickle, origin,
        keep_tokenizer=len(lineage.deletions) > 1,
    )  # fmt: skip
    parts = {"the forget pairs": job.forget, "the retain pairs": sample_retain(job)}
    check_pairs(job.adapter, parts, name=str(model) if isinstance(model, str | Path) else "the model")
    cut = job.adapter.truncated([pair for pairs in parts.values() for pair in pairs])
    done: Outcome = method.run(job)
    cost = {
        "wall_s": data.reading_s + done.wall_s,
        "reading_s": data.reading_s,
        "reference_s": done.reference_s,
        "pairs_forward": done.pairs_forward,
        "pairs_backward": done.pairs_backward,
        "peak_bytes": done.peak_bytes,
    }
    manifest = _manifest("unlearn", data, done.adapter, seed, cost, cut, lineage) | {
        "method": {"name": method.name, **asdict(method)},
        "loop": asdict(loop),
        "trainable": {"chosen": part, "parameters": trained},
        "request": {"pairs": len(job.forget), "unit": request.unit, "digest": lineage.deletions[-1].request},
        "original": {"weights": job.key},
        "scales": done.scales,
        "decisions": done.decisions,
        "history": _thin(done.history),
    }
    if repeats := kept_repeats(data.train, request.ids):
        manifest["request"] = {**cast(dict[str, object], manifest["request"]), "kept_repeats": len(repeats)}
    told_data = cast(dict[str, object], manifest["data"])
    alone = tokens_of_deleted_alone(done.adapter, job.forget, job.retain)
    manifest["tokenizer"] = {"tokens_of_deleted_texts_alone": alone}
    told_data["retained"] = data_digest(lineage.newest_key, job.retain)
    manifest |= deletions_entry(lineage, removed=earlier_pairs_removed)
    if recipe := training_of(origin):
        manifest["training"] = recipe
    if lora is not None:
        manifest["lora"] = {**asdict(lora), "merged": False}
    remember(done.adapter, lineage)
    return Unlearned(done.adapter, manifest, keys=lineage.own_keys)


def prepared(
    model: object,
    data: PairData,
    request: Request,
    processor: ProcessorMixin | None,
    method: Method,
    loop: LoopSettings,
    trainable: str,
    lora: LoraSettings | None,
    seed: int,
    work: Path | None,
    resume: bool,
    allow_pickle: bool,
    origin: Mapping[str, object] | None,
    *,
    keep_tokenizer: bool,
) -> tuple[Job, str, int]:
    """The deletion as a method gets it, the part of the model that is trained, and how many parameters that is."""
    _check_machine(loop, work)
    if isinstance(model, str | Path):
        adapter = load_adapter(model, allow_pickle=allow_pickle)
    else:
        adapter = copy.deepcopy(adapter_for(model, processor))
        hold_in_float32(adapter.model)
    pairs = fitted(adapter, data)
    forget, retain = forget_retain(pairs.train, request)
    key = weights_digest(adapter)
    adapter.remove(forget.pairs, retain.pairs)
    part = method.trainable(adapter) if trainable == "auto" else trainable
    trained = choose_trainable(adapter, part)
    if lora is not None:
        from multidelete.models.lora import add_lora  # peft takes a second to import

        training_mode = isinstance(method, GradientMethod) and method.training_mode
        trained = add_lora(adapter, lora, seed=seed, training_mode=training_mode)
    recipe = training_of(origin)
    start: Callable[[bool], Adapter] | None = None
    if "model" in recipe:
        settings = recorded(TrainSettings, recipe, "model")
        start_seed = cast(int, recipe["seed"])
        # Where pairs are missing, their captions cannot make the tokenizer that the original had.
        tokenizer = copy.deepcopy(tokenizer_of(adapter)) if keep_tokenizer else None

        def start(fresh_tokenizer: bool) -> Adapter:
            if fresh_tokenizer:
                refuse_fresh_tokenizer(settings)
                own = replace(data, splits={**data.splits, "train": data.train.without(request.ids, "retain")})
                made = starting_point(settings, own, start_seed)
            else:
                made = starting_point(settings, data, start_seed, tokenizer=tokenizer)
            made.remove(forget.pairs, retain.pairs)
            return made

    job = Job(
        adapter=adapter,
        train=pairs.train,
        forget=forget,
        retain=retain,
        settings=loop,
        seed=seed,
        key=key,
        work=work,
        resume=resume,
        holdout=pairs.splits.get("val"),
        start=start,
    )
    return job, part, len(trained)


def base_for_lora(model: object, method: Method, *, in_memory: bool) -> str | None:
    """What a LoRA folder will name as its base: the model's folder or hub id; None where nothing is written."""
    if not method.takes_lora:
        able = ", ".join(name for name, kind in METHODS.items() if kind.takes_lora)
        raise UnsupportedError(
            f"{method.name} changes the weights themselves and cannot train LoRA. Methods that can: {able}."
        )
    if in_memory:
        return None
    if not isinstance(model, str | Path):
        raise ConfigError(
            "the model is given in memory, and an adapter folder must name the model it belongs to. "
            "Give a folder or hub id, or no output folder."
        )
    if lora_base(model) is not None:
        raise CheckpointError(f"{model} is an adapter itself. Make it a model with 'multidelete merge' first.")
    return str(Path(model).resolve()) if Path(model).is_dir() else str(model)


def _check_machine(settings: LoopSettings, folder: Path | None) -> None:
    """Refuse a device, precision or tracker that is not here before anything is read or asked."""
    make_accelerator(
        device=settings.device,
        mixed_precision=settings.precision,
        log_with=settings.trackers,
        log_dir=None if folder is None else str(folder),
    )


def _content(model: Adapter | str | Path) -> str:
    """What tells one model from another: the digest of its folder or of its weights, or its hub id."""
    if isinstance(model, Adapter):
        return weights_digest(model)
    return digest_folder(Path(model)) if Path(model).is_dir() and str(model) else str(model)


def _manifest(
    command: str, data: PairData, adapter: Adapter, seed: int, cost: Mapping[str, object], truncated: Sequence[str],
    lineage: Lineage,
) -> dict[str, object]:  # fmt: skip
    told: dict[str, object] = {"name": data.name, "pairs": len(data.train), "notes": list(data.notes)}
    if not lineage:
        told["digest"] = data.train.digest
    elif lineage.own_keys:  # without a key, whoever has most of the data could try out who is missing in it
        told["digest"] = data_digest(list(lineage.own_keys.values())[-1], data.train)
    return {
        "command": command,
        "task": adapter.task,
        "date": datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "data": told,
        "truncated_captions": len(truncated),
        "cost": dict(cost),
        "versions": versions(),
    }


def _thin(history: Sequence[Mapping[str, float]], rows: int = 100) -> list[dict[str, float]]:
    """At most about ``rows`` evenly spaced steps, each with its number."""
    every = max(1, len(history) // rows)
    return [{"step": i + 1, **row} for i, row in enumerate(history) if i % every == 0 or i == len(history) - 1]


def _write_result(folder: Path, adapter: Adapter, manifest: Mapping[str, object], lora_base: str | None = None) -> None:
    """A model in its family's own format; of one with LoRA on a base model, LoRA alone."""
    if is_main_process():
        adapter.to("cpu")
        if lora_base is None:
            adapter.save(folder)
        else:
            from multidelete.models.lora import save_lora

            save_lora(adapter, folder, lora_base)
        write_manifest(folder, manifest)
