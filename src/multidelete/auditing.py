"""The audit from end to end: signals of every model, figures, a verdict, and the report that shows them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

from multidelete.artifacts.deletions import Lineage, not_yet_deleted, without_earlier
from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.keys import new_key, pair_alias
from multidelete.artifacts.manifest import versions
from multidelete.artifacts.overlap import paths_of_model, refuse_overlap, refuse_pictures
from multidelete.artifacts.record import RunRecord
from multidelete.artifacts.requests import refuse_other_requests, without_other_requests
from multidelete.audits import AuditInput, Shadow, Verdict, mark_void, run_audits, unit_counts, verdict, with_targets
from multidelete.audits.asking import Asker, make_cache, members_of, refuse_seen, splits_to_ask
from multidelete.audits.compared import (
    Source,
    cost_of,
    digests_of,
    kind_of,
    lineages_of,
    name_of,
    named_models,
    place_of,
    records_of,
    seconds_of,
)
from multidelete.audits.inputs import units
from multidelete.audits.probing import probe_figures
from multidelete.audits.relearning import check_relearning, relearning_rate
from multidelete.audits.result import Figure, write_audit
from multidelete.audits.sentences import Pace
from multidelete.audits.twins import refuse_twins, refuse_wrong_original, same_models
from multidelete.core.arguments import Wanted, check_arguments, flag, number, place, text, whole
from multidelete.core.foreign import own_code
from multidelete.core.runtime import check_device
from multidelete.data.identity import with_true_sources
from multidelete.data.images import check_pictures
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.repeats import kept_repeats, repeats_note
from multidelete.data.request import Request
from multidelete.deletion.arguments import as_request
from multidelete.methods import METHODS, Retrain
from multidelete.models import Adapter
from multidelete.models.sources import refuse_missing
from multidelete.report.build import ReportContent, build_report
from multidelete.report.exhibits import chart_data, examples, extremes, secrets
from multidelete.report.withhold import withhold

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditResult:
    """What an audit found, and the folder that holds ``report.html`` and ``audit.json``."""

    figures: list[Figure]
    verdict: Verdict
    folder: Path


def audit(
    unlearned: Source,
    original: Source,
    data: PairData,
    forget: Request | Sequence[str] | str | Path,
    *,
    retrained: Source | None = None,
    retrained_again: Sequence[Source] = (),
    unlearned_again: Sequence[Source] = (),
    others: Mapping[str, Source] | None = None,
    shadows: Sequence[str | Path] = (),
    cache: str | Path | None = None,
    out: str | Path,
    show_forgotten: bool = False,
    noun: str | None = None,
    compress: bool = False,
    relearn: bool = False,
    relearn_lr: float | None = None,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    allow_pickle: bool = False,
    key: str | Path | None = None,
    earlier_pairs_removed: bool = False,
) -> AuditResult:
    """Judge whether a model has forgotten what it was asked to, and write the report.

    Args:
        unlearned: The model to judge: a folder, a hub id, or an `Adapter`, which stays as it is.
        original: The model before unlearning.
        data: The pairs that the original was trained on, and held-out pairs where there are any.
        forget: Ids, a request file, or a request with its unit: that by which the unlearned model was made, or where
            it has forgotten several times, any one or several of these together. Pairs that the original had
            forgotten before play no part, nor do those that a model has forgotten by other requests.
        retrained: The model trained on the retain pairs alone: the yardstick. Without it the report says
            what cannot be judged.
        retrained_again: Retrained models of the same request and other seeds: what lies between them and the first
            is the floor that every distance is read beside.
        unlearned_again: Unlearned models of the same method and other seeds, for KLoM.
        others: Further models by name, to stand beside these in the figures. ``untouched`` and ``random weights``
            are taken as controls; see `multidelete.audits.controls`.
        shadows: Folders of shadow models, as `ModelStore.shadow` makes them, for the per-pair attacks.
        cache: Folder that keeps what each model folder says, for further audits of the same models and pairs. It
            knows the deleted pairs: delete it with them.
        out: Folder to write ``report.html`` and ``audit.json`` to.
        show_forgotten: Show deleted pairs; otherwise neither file holds an id, subject or caption of theirs.
        noun: What a deleted unit is called, in the plural (``"people"``).
        compress: Also ask copies of the models with 8-bit and 4-bit weights.
        relearn: Also train copies of the models on a quarter of the deleted units, and see what comes back of the rest.
        relearn_lr: Learning rate of that; None is 0.3 times the rate that the original was trained at, or
            1e-5 where that is not recorded.
        device: ``auto`` (a CUDA device if there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        seed: Of samples and bootstraps.
        overwrite: Replace ``out`` if it exists.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        key: Key file of the models' deletions, beside those that lie beside the models (``MODEL.key``).
        earlier_pairs_removed: Say that the data holds no pairs of other requests, where keys are missing.

    Raises:
        UserError: The request, a model, the data or a setting is wrong; nothing was written.
    """
    several = {"retrained_again": retrained_again, "unlearned_again": unlearned_again, "shadows": shadows}
    model = partial(Wanted, types=(str, Path, Adapter), rule="a folder, a hub id or an Adapter")
    check_arguments(
        {
            "data": Wanted(data, (PairData,), "pairs; read them with multidelete.load_data"),
            "unlearned": model(unlearned),
            "original": model(original),
            "retrained": model(retrained, optional=True),
            **{name: Wanted(one, (list, tuple), "a list of folders or hub ids") for name, one in several.items()},
            "show_forgotten": flag(show_forgotten),
            "compress": flag(compress),
            "relearn": flag(relearn),
            "overwrite": flag(overwrite),
            "allow_pickle": flag(allow_pickle),
            "out": place(out),
            "key": place(key, optional=True),
            "cache": place(cache, optional=True),
            "noun": text(noun, optional=True),
            "device": text(device),
            "seed": whole(seed),
            "relearn_lr": number(relearn_lr, optional=True),
        }
    )
    each = partial(model, rule="a folder, a hub id or an Adapter, each of them")
    for name, sources in several.items():
        for source in sources:
            check_arguments({name: each(source)})
    refuse_missing({"unlearned": unlearned, "original": original, "retrained": retrained, **several})
    data = with_true_sources(data)
    asked_for = as_request(data, forget)
    check_device(device)
    check_relearning(relearn, relearn_lr)
    models = named_models(original, unlearned, retrained, retrained_again, unlearned_again, others or {})
    references = {f"shadow {at}": folder for at, folder in enumerate(shadows)}
    records = records_of(models | references)
    lineages = lineages_of(models, key, removed=earlier_pairs_removed)
    twins = same_models(models, allow_pickle=allow_pickle) | same_models(references, allow_pickle=allow_pickle)
    refuse_wrong_original(models, lineages, twins, data.train.only(asked_for.ids, "asked for").pairs)
    left = without_earlier(data, lineages["original"])
    request = not_yet_deleted(asked_for, data, left, lineages["original"])
    forget_pairs = left.train.only(request.ids, "forget")
    repeats = kept_repeats(left.train, request.ids)
    if repeats:
        logger.warning("%s", repeats_note(repeats))
    deleted_by = {f"{name} {place_of(models[name])}": lineages[name] for name in models if name != "original"}
    refuse_other_requests(deleted_by, request, forget_pairs.pairs)
    refuse_seen(models, records, data)
    refuse_twins(models | references, twins)
    members = members_of(shadows, left)
    everything, data = data, without_other_requests(left, deleted_by, forget_pairs.pairs)
    named = [
        *models.values(),
        *shadows,
        *([] if cache is None else [cache]),
        *([forget] if isinstance(forget, str | Path) else []),
    ]
    read = [path for source in named if not isinstance(source, Adapter) for path in paths_of_model(source)]
    refuse_overlap(Path(out), read)
    refuse_pictures(Path(out), data)
    if cache is not None:
        make_cache(Path(cache), Path(out), [*models.values(), *shadows], data)
    with whole_or_nothing(Path(out), overwrite=overwrite) as folder:
        splits = splits_to_ask(data, request, seed)
        forget_pairs = splits["forget"]
        asker = Asker(
            data=data, splits=splits, unit=request.unit, seed=seed, device=device, allow_pickle=allow_pickle,
            cache=None if cache is None else Path(cache), shapes=check_pictures(splits),
        )  # fmt: skip
        with own_code(*(source for source in models.values() if isinstance(source, Adapter))):
            signals = {name: asker.ask(name, source) for name, source in models.items()}
        inputs = AuditInput(
            models=signals, cost=cost_of(records), seed=seed, unit=request.unit, noun=noun,
            retain_pairs=len(data.train) - len(forget_pairs),
            shadows=[Shadow(asker.ask(f"shadow {at}", folder), members[at]) for at, folder in enumerate(shadows)],
        )  # fmt: skip
        figures = run_audits(inputs)
        if compress or relearn:
            copies = {name: partial(asker.copy, source) for name, source in models.items()}
            lr = relearning_rate(records["original"]) if relearn_lr is None else relearn_lr
            probed = probe_figures(inputs, copies, compress=compress, relearn=relearn, lr=lr)
            figures += mark_void(with_targets(probed))
        judged = verdict(
            figures, unit_counts(inputs), kept_repeats=len(repeats), pace=pace_of(records["unlearned"]),
            is_untouched=twins.get("unlearned") == "original" or records["unlearned"].gave_original_back,
        )  # fmt: skip
        hidden = [] if show_forgotten else secrets(inputs, data.train)
        judged_by = {
            deletion.key: deletion for one in deleted_by.values() for deletion in one.whole(forget_pairs.pairs)
        }
        digests = digests_of(models)
        digests |= {f"request of key {key}": f"HMAC-SHA-256 {one.request}" for key, one in judged_by.items()}
        about = _run(models, records, data, inputs, splits) | {"digests": digests}
        if left_out := sum(len(everything.splits[name]) - len(pairs) for name, pairs in data.splits.items()):
            about["left out"] = {"pairs of other requests": left_out}
        if earlier_pairs_removed:
            about["earlier pairs"] = "removed from the data, as the user says"
        run = cast(dict[str, object], withhold(about, hidden))
        write_audit(folder / "audit.json", run, figures)
        shown, gallery = examples(inputs, data.train)
        charts = chart_data(inputs, judged, seconds=seconds_of(records), gallery=gallery)
        content = ReportContent(
            run=run, figures=figures, verdict=judged, charts=charts, examples=shown,
            extremes=extremes(inputs, data.train, data.classes), deleted=len(forget_pairs),
            show_forgotten=show_forgotten, forgotten=hidden,
            name_of=_aliases(deleted_by, forget_pairs),
        )  # fmt: skip
        build_report(folder, content)
    return AuditResult(figures, judged, Path(out))


def pace_of(record: RunRecord) -> Pace | None:
    """How the run that made a model came by its rate and its end; None where its record does not tell."""
    loop = record.loop or {}
    if loop.get("pace") == "auto":
        return "auto"
    method = None if record.method is None else METHODS.get(record.method.name or "")
    if method is None:
        return None
    if issubclass(method, Retrain):
        return "retrained"
    if not method.trains:
        return "none"
    return "given" if loop else None


def _aliases(lineages: Mapping[str, Lineage], forget: PairDataset) -> Callable[[str], str]:
    """What pairs are called in reports: the same in all of one request, where its key is known."""
    for lineage in lineages.values():
        named = lineage.aliases(forget.pairs)
        if len(named) == len(forget):
            return named.__getitem__
    return partial(pair_alias, new_key())


def _run(
    models: Mapping[str, Source],
    records: Mapping[str, RunRecord],
    data: PairData,
    inputs: AuditInput,
    splits: Mapping[str, PairDataset],
) -> dict[str, object]:
    """What was done, without naming a pair: what stands at the top of the report, then the settings."""
    method = records["unlearned"].method
    deleted = len(set(units(inputs.original.forget, inputs.unit)))
    request: dict[str, object] = {"unit": inputs.unit, inputs.unit_noun: deleted, "pairs": len(inputs.original.forget)}
    counts = {name: len(pairs) for name, pairs in splits.items()} | {"retain": inputs.retain_pairs}
    for name in ("test", "val"):
        if name in splits and len(splits[name]) < len(data.splits[name]):
            counts[f"{name} pairs in the data"] = len(data.splits[name])
    if inputs.retain_is_sampled:
        counts["retain pairs asked about"] = len(splits["retain"])
    family, task = kind_of(models["original"])
    run: dict[str, object] = {
        "model": name_of(models["unlearned"]),
        "family": family,
        "task": task,
        "method": "not recorded" if method is None else method.name,
        "data": data.name,
        "date": datetime.now(UTC).date().isoformat(),
        "request": request,
        "counts": counts,
        "seed": inputs.seed,
        "digests": {},
        "versions": versions(),
    }
    kept = ("date", "seed", "method", "loop", "trainable", "lora", "truncated_captions", "original", "cost", "search",
            "tokenizer")  # fmt: skip
    if inputs.shadows:
        run["shadows"] = len(inputs.shadows)
    for name, source in models.items():
        told = records[name].as_json()
        if told.get("versions", run["versions"]) == run["versions"]:
            told.pop("versions", None)
        run[name] = {"folder": name_of(source), **{key: told[key] for key in (*kept, "versions") if key in told}}
    return run
