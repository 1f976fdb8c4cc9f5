"""What the report shows of an audit: plots, examples, and the words that must not stand in it.

Shape suffixes: E examples, C captions, D embedding.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multidelete.audits import AuditInput, ModelSignals, Signals, Verdict
from multidelete.audits.distance import farthest_pairs
from multidelete.audits.inputs import groups, prefix
from multidelete.audits.membership import attack_scores
from multidelete.data.classes import class_name
from multidelete.data.pairs import ImageInput, Pair, PairDataset, members, open_image
from multidelete.report.build import Example, Extreme, Match
from multidelete.report.charts import MAX_RETAIN, ChartData
from multidelete.report.embedding_map import MAX_FORGET, Embeddings, evenly

EXAMPLES = 12
MATCHES = 3
EXTREMES = 4  # on either side


def secrets(audit: AuditInput, train: PairDataset) -> list[str]:
    """What names a deleted pair: ids, subjects, and members of the headline kind that no retain pair shares."""
    forget = [train[train.index[pair_id]] for pair_id in audit.original.forget.ids]
    retained = audit.original.retain.sources
    kept = {source for keys in retained.values() for source in keys}
    kept |= {single for keys in retained.values() for source in keys for single in source.split("|")}
    told = {text for pair in forget for text in (pair.id, pair.subject) if text}
    for pair in forget:
        if pair.kind != audit.headline_kind():
            continue
        for modality, whole in pair.sources.items():
            for source, member in (*members(pair, modality), (whole, whole)):
                if source not in kept:
                    told |= {source, member} if isinstance(member, str) else {source}
    return sorted(told)


def chart_data(audit: AuditInput, judged: Verdict, *, seconds: Mapping[str, float], gallery: int | None) -> ChartData:
    """What the plots show: pairs of the headline kind only, and the attack on those that fare worst under one.

    Args:
        audit: The audit's input.
        judged: The verdict; the attack that is drawn is the one its scorecard names.
        seconds: Wall seconds of each model's making, where they are known.
        gallery: Number of captions that `examples` searched.
    """
    kind = audit.headline_kind()
    scores = {}
    for name, model in audit.models.items():
        of_split = {"forget": model.forget, "retain": model.retain, "holdout": model.holdout}
        by_split = {split: s.of_kind(kind).label_aware_score for split, s in of_split.items() if s is not None}
        scores[name] = {split: score for split, score in by_split.items() if len(score)}
    rows = [row for row in judged.rows if row.criterion == "membership" and row.unlearned is not None]
    attacks, attack = {}, None
    if rows and (row := max(rows, key=lambda row: row.badness)).unlearned is not None:
        signal = row.unlearned.measure.signal or ""
        attacks = dict(attack_scores(audit, row.kind)[signal])
        attack = f"by the {prefix(row.kind)}pairs' {signal}"
    return ChartData(
        scores=scores,
        labelled=audit.original.forget.can_be_judged,
        members={name: members for name, (members, _) in attacks.items()},
        nonmembers={name: nonmembers for name, (_, nonmembers) in attacks.items()},
        embeddings={name: _map(model, kind) for name, model in audit.models.items() if model.forget.embeddings},
        seconds=seconds,
        gallery=gallery,
        kind=kind,
        attack=attack,
    )


def _map(model: ModelSignals, kind: str | None) -> Embeddings:
    """The same few pairs of every model."""

    def points(signals: Signals, limit: int) -> list[NDArray[np.float32]]:
        embeddings = signals.of_kind(kind).embeddings or {}
        return [evenly(embeddings[modality], limit) for modality in signals.modalities]

    forget, retain = points(model.forget, MAX_FORGET), points(model.retain, MAX_RETAIN)
    return Embeddings(forget_image=forget[0], forget_text=forget[1], retain_image=retain[0], retain_text=retain[1])


def examples(audit: AuditInput, train: PairDataset) -> tuple[list[Example], int | None]:
    """Up to a dozen forget pairs of the headline kind, of as many subjects or first members, with what each model
    finds for them among all distinct training captions of that kind; and how many these are.

    None, and no examples, where a model has no embeddings to search.
    """
    kind = audit.headline_kind()
    if any(model.forget.embeddings is None for model in audit.models.values()):
        return [], None
    forget, training = audit.original.forget.of_kind(kind), audit.original.training.of_kind(kind)
    first, second = forget.modalities
    row_of = {key: row for row, key in reversed(list(enumerate(training.sources[second])))}
    captions = list(row_of)
    text = [str(train[train.index[training.ids[row_of[key]]]].inputs[second]) for key in captions]
    deleted = set(forget.sources[second]) - set(audit.original.retain.of_kind(kind).sources[second])
    shown_E = evenly(np.unique(groups(forget), return_index=True)[1].astype(float), EXAMPLES).astype(int)
    own_E = np.array([captions.index(forget.sources[second][row]) for row in shown_E])
    matches: list[dict[str, list[Match]]] = [{} for _ in shown_E]
    ranks: list[dict[str, float]] = [{} for _ in shown_E]
    for name, model in audit.models.items():
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
    shown = []
    for e, row in enumerate(shown_E):
        pair = train[train.index[forget.ids[row]]]
        shown.append(
            Example(id=pair.id, subject=pair.subject, image=_picture(pair), caption=str(pair.inputs[second]),
                    matches=matches[e], rank=ranks[e])
        )  # fmt: skip
    return shown, len(captions)


def extremes(audit: AuditInput, train: PairDataset, classes: Sequence[str] | None) -> list[Extreme]:
    """The forget pairs of the headline kind that lie farthest above and below the retrained model's margins.

    Args:
        audit: The audit's input.
        train: The training pairs.
        classes: Names of the labels, where there are any.
    """
    forget = audit.original.forget.of_kind(audit.headline_kind())
    farthest = []
    for at, margin in farthest_pairs(audit, EXTREMES):
        pair = train[train.index[forget.ids[at]]]
        farthest.append(
            Extreme(id=pair.id, subject=pair.subject, image=_picture(pair), margin=margin,
                    caption=str(pair.inputs[forget.modalities[1]]), about=_about(pair, classes))
        )  # fmt: skip
    return farthest


def _about(pair: Pair, classes: Sequence[str] | None) -> str:
    """The nodes that a text is about, and the pair's label."""
    nodes = " with ".join(str(node) for _, node in members(pair, "graph")) if "graph" in pair.inputs else ""
    label = "" if pair.label is None or classes is None else f"label: {class_name(classes, pair.label)}"
    return "; ".join(part for part in (nodes, label) if part)


def _picture(pair: Pair) -> Image.Image | None:
    """The pair's picture, or its two pictures side by side."""
    if "image" not in pair.inputs:
        return None
    shown = [open_image(cast(ImageInput, picture)) for _, picture in members(pair, "image")]
    if len(shown) == 1:
        return shown[0]
    both = Image.new("RGB", (sum(one.width for one in shown), max(one.height for one in shown)), "white")
    left = 0
    for one in shown:
        both.paste(one, (left, 0))
        left += one.width
    return both
