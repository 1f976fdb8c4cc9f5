"""The audit from end to end: signals of every model, figures, a verdict, and the report that shows them.

Shape suffixes: E examples, C captions, D embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import torch

from multidelete.audits import AuditInput, ModelSignals, Signals, Verdict, collect, run_audits, unit_counts, verdict
from multidelete.audits.inputs import groups, prefix, units
from multidelete.audits.membership import attack_scores
from multidelete.audits.result import Figure, write_audit
from multidelete.data.images import check_images
from multidelete.data.pairs import ImageInput, PairData, PairDataset, open_image
from multidelete.data.request import Request, forget_retain
from multidelete.errors import CheckpointError, ConfigError, DataError, RequestError
from multidelete.manifest import read_manifest, refuse_inside, versions, whole_or_nothing
from multidelete.models import load_adapter
from multidelete.models.checkpoint import read_config
from multidelete.pipeline import as_request
from multidelete.report.build import Example, Match, build_report
from multidelete.report.charts import MAX_RETAIN, ChartData
from multidelete.report.embedding_map import MAX_FORGET, Embeddings, evenly
from multidelete.report.withhold import withhold
from multidelete.runtime import check_device, progress_bar

RETAIN_LIMIT = 50_000  # retain pairs that every model is asked about; of more, a sample
EXAMPLES = 12
MATCHES = 3

Source = str | Path
Manifests = Mapping[str, Mapping[str, object]]


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
    others: Mapping[str, Source] | None = None,
    out: str | Path,
    show_forgotten: bool = False,
    noun: str | None = None,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    allow_pickle: bool = False,
) -> AuditResult:
    """Judge whether a model has forgotten what it was asked to, and write the report.

    Args:
        unlearned: Folder or hub id of the model to judge.
        original: The model before unlearning.
        data: The pairs that the original was trained on, and held-out pairs where there are any.
        forget: Ids, a request file, or a request with its unit.
        retrained: The model trained on the retain pairs alone: the yardstick. Without it the report says
            what cannot be judged.
        others: Further models by name, to stand beside these in the figures.
        out: Folder to write ``report.html`` and ``audit.json`` to.
        show_forgotten: Show deleted pairs; otherwise neither file holds an id, subject or caption of theirs.
        noun: What a deleted unit is called, in the plural (``"people"``).
        device: ``auto`` (a CUDA device if there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        seed: Of samples and bootstraps.
        overwrite: Replace ``out`` if it exists.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.

    Raises:
        UserError: The request, a model, the data or a setting is wrong; nothing was written.
    """
    request = as_request(data, forget)
    check_device(device)
    models = _named(original, unlearned, retrained, others or {})
    manifests = _manifests(models, request)
    refuse_inside(Path(out), [Path(source) for source in (*models.values(), *_files(forget))])
    with whole_or_nothing(Path(out), overwrite=overwrite) as folder:
        forget_pairs, retain = forget_retain(data.train, request)
        splits = {"forget": forget_pairs, "retain": _sample(retain, seed)}
        splits |= {name: data.splits[name] for name in ("test", "val") if data.splits.get(name)}
        _check_images(splits)
        signals = {name: _ask(name, source, splits, device, allow_pickle) for name, source in models.items()}
        given = AuditInput(
            models=signals, cost=_cost(manifests), seed=seed, unit=request.unit, noun=noun, retain_pairs=len(retain)
        )
        figures = run_audits(given)
        judged = verdict(figures, unit_counts(given))
        secrets = [] if show_forgotten else _secrets(given, data.train)
        run = _run(models, manifests, data, given, splits)
        write_audit(folder / "audit.json", cast(dict[str, object], withhold(run, secrets)), figures)
        examples, gallery = _examples(given, data.train)
        build_report(
            folder, run=run, figures=figures, verdict=judged, charts=_charts(given, judged, manifests, gallery),
            examples=examples, show_forgotten=show_forgotten, forgotten=secrets,
        )  # fmt: skip
    return AuditResult(figures, judged, Path(out))


def _named(
    original: Source, unlearned: Source, retrained: Source | None, others: Mapping[str, Source]
) -> dict[str, Source]:
    """All models by name, in the order of the report."""
    models: dict[str, Source] = {"original": original, "unlearned": unlearned}
    if retrained is not None:
        models["retrained"] = retrained
    taken = sorted({"original", "unlearned", "retrained"} & set(others))
    if taken:
        raise ConfigError(
            f"other models are called {', '.join(taken)}; these names have a meaning of their own. Rename them."
        )
    return models | dict(others)


def _manifests(models: Mapping[str, Source], request: Request) -> Manifests:
    """What each model's folder says of itself; refuses models that do not belong together, before any is loaded.

    Raises:
        CheckpointError: A folder is no model, or of another family than the original.
        RequestError: A model was made by another request.
    """
    found: dict[str, Mapping[str, object]] = {}
    kinds: dict[str, str] = {}
    problems: list[str] = []
    for name, source in models.items():
        try:
            kinds[name] = str(read_config(source).model_type)
            found[name] = read_manifest(Path(source)) or {}
        except CheckpointError as error:
            problems += error.problems
    problems += [
        f"{name} {models[name]} is a {kind!r} model and the original a {kinds['original']!r} one; "
        "all models of an audit must be of one family. Give the model that was made from this original."
        for name, kind in kinds.items()
        if kind != kinds.get("original", kind)
    ]
    if problems:
        raise CheckpointError(problems)
    made = {name: manifest["request"] for name, manifest in found.items() if isinstance(manifest.get("request"), dict)}
    strangers = [
        f"{name} {models[name]} was made by another request: its multidelete.json records one for "
        f"{recorded.get('pairs')} pairs with digest {str(recorded.get('digest'))[:12]}, and the request given is for "
        f"{len(request.ids)} pairs with digest {request.digest[:12]}. Give the request that it was made by."
        for name, recorded in cast(dict[str, dict[str, object]], made).items()
        if recorded.get("digest") != request.digest
    ]
    if strangers:
        raise RequestError(strangers)
    return found


def _files(forget: Request | Sequence[str] | str | Path) -> list[Source]:
    return [forget] if isinstance(forget, str | Path) else []


def _sample(retain: PairDataset, seed: int) -> PairDataset:
    """All retain pairs, or as many as the models are asked about, at random and in their order."""
    if len(retain) <= RETAIN_LIMIT:
        return retain
    drawn = np.sort(np.random.default_rng(seed).permutation(len(retain))[:RETAIN_LIMIT])
    return PairDataset(retain[drawn.tolist()], f"{RETAIN_LIMIT:,} retain pairs")


def _check_images(splits: Mapping[str, PairDataset]) -> None:
    """Decode every picture once, and report the broken ones of all splits together."""
    counts = {name: len({p.sources["image"] for p in pairs if "image" in p.sources}) for name, pairs in splits.items()}
    problems, before = [], 0
    with progress_bar("checking images", sum(counts.values())) as bar:
        for name, pairs in splits.items():
            if not counts[name]:
                continue
            try:
                check_images(pairs, lambda done, _, start=before: bar.to(start + done))  # type: ignore[misc]
            except DataError as error:
                problems += error.problems
            before += counts[name]
    if problems:
        raise DataError(problems)


def _ask(
    name: str, source: Source, splits: Mapping[str, PairDataset], device: str, allow_pickle: bool
) -> ModelSignals:
    """One pass of one model over all pairs; it leaves memory afterwards."""
    adapter = load_adapter(source, allow_pickle=allow_pickle)
    where = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    adapter.to(where)
    found, before = {}, 0
    with progress_bar(f"asking {name}", sum(map(len, splits.values()))) as bar:
        for split, pairs in splits.items():
            found[split] = collect(adapter, pairs, progress=lambda done, _, start=before: bar.to(start + done))  # type: ignore[misc]
            before += len(pairs)
    return ModelSignals(**found, logit_scale=adapter.logit_scale)


def _cost(manifests: Manifests) -> dict[str, float | None]:
    """What unlearning cost, and how long retraining took; a model that only was trained has not been unlearned."""
    made = manifests["unlearned"]
    cost = dict(_recorded(made)) if made.get("command") == "unlearn" else {}
    return {**cost, "retrained_wall_s": _recorded(manifests.get("retrained", {})).get("wall_s")}


def _recorded(manifest: Mapping[str, object]) -> dict[str, float]:
    cost = manifest.get("cost")
    if not isinstance(cost, dict):
        return {}
    return {str(key): float(value) for key, value in cost.items() if isinstance(value, int | float)}


def _secrets(given: AuditInput, train: PairDataset) -> list[str]:
    """What names a deleted pair: ids, subjects, and members of the headline kind that no retain pair shares."""
    forget = [train[train.index[pair_id]] for pair_id in given.original.forget.ids]
    kept = {source for keys in given.original.retain.sources.values() for source in keys}
    found = {text for pair in forget for text in (pair.id, pair.subject) if text}
    for pair in forget:
        if pair.kind != given.headline_kind():
            continue
        for modality, source in pair.sources.items():
            if source not in kept:
                member = pair.inputs[modality]
                found |= {source, member} if isinstance(member, str) else {source}
    return sorted(found)


def _run(
    models: Mapping[str, Source],
    manifests: Manifests,
    data: PairData,
    given: AuditInput,
    splits: Mapping[str, PairDataset],
) -> dict[str, object]:
    """What was done, without naming a pair: what stands at the top of the report, then the settings."""
    made = manifests["unlearned"]
    method = made.get("method")
    deleted = len(set(units(given.original.forget, given.unit)))
    request: dict[str, object] = {"unit": given.unit, given.unit_noun: deleted, "pairs": len(given.original.forget)}
    counts = {name: len(pairs) for name, pairs in splits.items()} | {"retain": given.retain_pairs}
    if given.retain_is_sampled:
        counts["retain pairs asked about"] = len(splits["retain"])
    run: dict[str, object] = {
        "model": _name(models["unlearned"]),
        "family": str(read_config(models["unlearned"]).model_type),
        "method": method["name"] if isinstance(method, dict) else "not recorded",
        "data": data.name,
        "date": datetime.now(UTC).date().isoformat(),
        "request": request,
        "counts": counts,
        "seed": given.seed,
        "versions": versions(),
    }
    run |= {f"{name} model": _name(source) for name, source in models.items()}
    kept = ("date", "seed", "method", "loop", "trainable", "truncated_captions", "versions", "original")
    recorded = {name: {key: m[key] for key in kept if key in m} for name, m in manifests.items()}
    return run | {f"{name} made with": settings for name, settings in recorded.items() if settings}


def _name(source: Source) -> str:
    """A folder's own name, or a hub id."""
    return Path(source).resolve().name if Path(source).is_dir() else str(source)


def _charts(given: AuditInput, judged: Verdict, manifests: Manifests, gallery: int | None) -> ChartData:
    """What the plots show: pairs of the headline kind only."""
    kind = given.headline_kind()
    scores = {}
    for name, model in given.models.items():
        of_split = {"forget": model.forget, "retain": model.retain, "holdout": model.holdout}
        found = {split: s.of_kind(kind).score for split, s in of_split.items() if s is not None}
        scores[name] = {split: score for split, score in found.items() if len(score)}
    row = next(row for row in judged.rows if row.criterion == "membership")
    attacks = {}
    if row.unlearned is not None:
        attacks = dict(attack_scores(given, kind)[row.unlearned.figure.removeprefix(f"{prefix(kind)}auc of ")])
    seconds = {"unlearned": _cost(manifests).get("wall_s")}
    seconds |= {name: _recorded(m).get("wall_s") for name, m in manifests.items() if name not in ("original", *seconds)}
    return ChartData(
        scores=scores,
        members={name: members for name, (members, _) in attacks.items()},
        nonmembers={name: nonmembers for name, (_, nonmembers) in attacks.items()},
        embeddings={name: _map(model, kind) for name, model in given.models.items() if model.forget.embeddings},
        seconds={name: wall_s for name, wall_s in seconds.items() if wall_s is not None},
        gallery=gallery,
    )


def _map(model: ModelSignals, kind: str | None) -> Embeddings:
    """The same few pairs of every model."""

    def points(signals: Signals, limit: int) -> list[np.ndarray]:
        embeddings = signals.of_kind(kind).embeddings or {}
        return [evenly(embeddings[modality], limit) for modality in signals.modalities]

    forget, retain = points(model.forget, MAX_FORGET), points(model.retain, MAX_RETAIN)
    return Embeddings(forget_image=forget[0], forget_text=forget[1], retain_image=retain[0], retain_text=retain[1])


def _examples(given: AuditInput, train: PairDataset) -> tuple[list[Example], int | None]:
    """Up to a dozen forget pairs of the headline kind, of as many subjects or first members, with what each model
    finds for them among all distinct training captions of that kind; and how many these are.

    None, and no examples, where a model has no embeddings to search.
    """
    kind = given.headline_kind()
    if any(model.forget.embeddings is None for model in given.models.values()):
        return [], None
    forget, training = given.original.forget.of_kind(kind), given.original.training.of_kind(kind)
    first, second = forget.modalities
    row_of = {key: row for row, key in reversed(list(enumerate(training.sources[second])))}
    captions = list(row_of)
    text = [str(train[train.index[training.ids[row_of[key]]]].inputs[second]) for key in captions]
    deleted = set(forget.sources[second]) - set(given.original.retain.of_kind(kind).sources[second])
    shown_E = evenly(np.unique(groups(forget), return_index=True)[1].astype(float), EXAMPLES).astype(int)
    own_E = np.array([captions.index(forget.sources[second][row]) for row in shown_E])
    matches: list[dict[str, list[Match]]] = [{} for _ in shown_E]
    ranks: list[dict[str, float]] = [{} for _ in shown_E]
    for name, model in given.models.items():
        query_ED = (model.forget.of_kind(kind).embeddings or {})[first][shown_E].astype(np.float64)
        caption_CD = (model.training.of_kind(kind).embeddings or {})[second][[row_of[key] for key in captions]]
        similarity_EC = np.round(query_ED @ caption_CD.astype(np.float64).T, 6)
        for e, (similarity_C, own) in enumerate(zip(similarity_EC, own_E, strict=True)):
            best = np.argsort(-similarity_C, kind="stable")[:MATCHES]
            matches[e][name] = [
                Match(text[c], float(similarity_C[c]), bool(c == own), captions[c] in deleted) for c in best
            ]
            above, equal = (similarity_C > similarity_C[own]).sum(), (similarity_C == similarity_C[own]).sum()
            ranks[e][name] = float(1 + above + (equal - 1) / 2)  # expected over random orders of equals
    examples = []
    for e, row in enumerate(shown_E):
        pair = train[train.index[forget.ids[row]]]
        image = open_image(cast(ImageInput, pair.inputs["image"])) if "image" in pair.inputs else None
        examples.append(
            Example(id=pair.id, subject=pair.subject, image=image, caption=str(pair.inputs[second]),
                    matches=matches[e], rank=ranks[e])
        )  # fmt: skip
    return examples, len(captions)
