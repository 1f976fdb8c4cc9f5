"""Whether the forget pairs' associations can still be found, beside what should stay.

The same searches run on the forget pairs and on a sample of the retain pairs drawn in the same unit:
within the split's own members, and within the members of all training pairs. The headline is recall@1
from first to second modality within all training pairs, of the sensitive kind where there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from multidelete.audits.compare import Heading, absent_figures, mean_figures
from multidelete.audits.controls import Controls, worse_than_original
from multidelete.audits.inputs import AuditInput, groups, prefix, units
from multidelete.audits.measure import ACCURACY, LABEL_MARGIN, RECALL, Measure
from multidelete.audits.result import Figure
from multidelete.audits.retrieval import KS, NO_EMBEDDINGS, NOT_DRAWN, directions, drawn, search
from multidelete.audits.signals import Signals
from multidelete.audits.utility import accuracy_figures, correct
from multidelete.core.words import counted

AUDIT = "forgetting"
QUESTION = "Are the deleted pairs still found, and the kept ones still?"
SEARCH_LIMIT = 50_000_000  # query x candidate comparisons of one search over all retain pairs
ALL_TRAINING, SAMPLED_TRAINING = "all training", "sampled training"  # galleries
FOUND = 0.5  # a unit is found when one of its queries finds its own with at least this probability


@dataclass(frozen=True)
class UnitCounts:
    """How many of the deleted units (people, images, pairs) each model still finds.

    A unit is found by a model when at least one of its first members ranks one of its own forgotten
    second members first among all training pairs (or the labels of all its pairs are predicted). It is *memorised* when
    the original finds it and the retrained model, where there is one, does not; the rest was never
    found, or is found by a model that never saw it, and tells nothing. It is *forgotten* by a model
    when it was memorised and is no longer found. So an untouched model has forgotten none, and the
    retrained model all.

    Attributes:
        noun: What a unit is called, in the plural.
        kind: Kind of pairs that were counted.
        measure: The headline measure.
        total: Units with pairs of this kind, or as many of them as were drawn for a gallery.
        found: Units found, for each model.
        memorised: Units that could be forgotten.
        forgotten: Of these, how many each model no longer finds.
        chance: The headline figure of a random order.
        groups: Groups that the pairs of this kind hang together in: what intervals resample.
        requested: Units with pairs of this kind, where only ``total`` of them were drawn for a gallery.
        others: The same of each other kind that was deleted.
    """

    noun: str
    kind: str | None
    measure: Measure
    total: int
    found: Mapping[str, int]
    memorised: int
    forgotten: Mapping[str, int]
    chance: float
    groups: int
    requested: int | None = None
    others: tuple["UnitCounts", ...] = ()

    def of_model(self, name: str) -> "UnitCounts":
        """The same with this model as the unlearned one."""
        found_by, forgotten = ({**of, "unlearned": of[name]} for of in (self.found, self.forgotten))
        others = tuple(one.of_model(name) for one in self.others)
        return replace(self, found=found_by, forgotten=forgotten, others=others)


def _is_headline(row: Figure) -> bool:
    """Recall among all training pairs, or accuracy, of the forget pairs."""
    is_search = row.measure.gallery in (ALL_TRAINING, SAMPLED_TRAINING)
    return row.split == "forget" and (is_search or row.measure.name == ACCURACY)


CONTROLS = Controls(apart=0.10, compared=_is_headline, rules=[worse_than_original])


def figures(audit: AuditInput) -> list[Figure]:
    """Recall on forget pairs, on a retain sample and on all retain pairs, or accuracy."""
    rows = []
    original = audit.original
    splits = {
        "forget": (np.ones(len(original.forget), dtype=bool), np.zeros(len(original.retain), dtype=bool)),
        "retain sample": (np.zeros(len(original.forget), dtype=bool), audit.retain_sample),
        "retain": (np.zeros(len(original.forget), dtype=bool), np.ones(len(original.retain), dtype=bool)),
    }
    masks = {split: np.concatenate(mask) for split, mask in splits.items()}
    in_gallery = original.training.in_gallery
    for kind in audit.kinds():
        of_kind = np.array([k == kind for k in original.training.kinds], dtype=bool)
        for split, mask in masks.items():
            own = mask & of_kind
            if not own.any():
                why = f"there are no {prefix(kind)}{split} pairs"
                rows += absent_figures(AUDIT, headline_measure(audit, kind), split, audit.models, why)
                continue
            if original.forget.can_be_judged:
                chosen = {name: model.training.select(own) for name, model in audit.models.items()}
                rows += accuracy_figures(chosen, audit=AUDIT, kind=kind, split=split, seed=audit.seed)
                rows += _margin_figures(audit, chosen, kind, split)
            if (own & in_gallery).any():
                rows += _recall_figures(audit, kind, split, own & in_gallery, of_kind & in_gallery)
            elif original.forget.can_be_searched:
                rows += absent_figures(AUDIT, headline_measure(audit, kind), split, audit.models, NOT_DRAWN)
            elif not original.forget.can_be_judged:
                rows += absent_figures(AUDIT, headline_measure(audit, kind), split, audit.models, NO_EMBEDDINGS)
        rows += _holdout_figures(audit, kind, of_kind)
    return rows


def unit_counts(audit: AuditInput) -> UnitCounts | None:
    """Count the units of the headline kind, and of the others; None without an embedding space and without labels."""
    first = audit.headline_kind()
    by_kind = {kind: _units_of_kind(audit, kind) for kind in audit.kinds()}
    counts = by_kind.pop(first)
    return counts and replace(counts, others=tuple(one for one in by_kind.values() if one))


def _units_of_kind(audit: AuditInput, kind: str | None) -> UnitCounts | None:
    forget_of_kind = np.array([k == kind for k in audit.original.forget.kinds], dtype=bool)
    requested = len(set(units(audit.original.forget.select(forget_of_kind), audit.unit)))
    if audit.original.forget.gallery is not None:
        forget_of_kind &= audit.original.forget.in_gallery
    of_pair = units(audit.original.forget.select(forget_of_kind), audit.unit)
    by_model: dict[str, set[str]] = {}
    chance = 0.0
    for name, model in audit.models.items():
        if model.forget.can_be_searched and forget_of_kind.any():
            of_kind = np.array([k == kind for k in model.training.kinds], dtype=bool) & model.training.in_gallery
            own = of_kind & (np.arange(len(of_kind)) < len(model.forget))
            query, candidate = model.forget.modalities
            result = search(model.training, own, of_kind, query=query, candidate=candidate, ks=(1,))
            hit, chance = result.recall[1][result.query_of_pair], float(result.chance[1].mean())
        elif model.forget.can_be_judged and model.forget.logits is not None:
            hit, chance = correct(model.forget.select(forget_of_kind)), 1 / model.forget.logits.shape[1]
        else:
            return None
        known = {unit for unit, p in zip(of_pair, hit, strict=True) if p >= FOUND}
        if not model.forget.can_be_searched:
            known -= {unit for unit, p in zip(of_pair, hit, strict=True) if p < FOUND}
        by_model[name] = known
    memorised = by_model["original"] - by_model.get("retrained", set())
    return UnitCounts(
        noun=audit.unit_noun,
        kind=kind,
        measure=headline_measure(audit, kind),
        total=len(set(of_pair)),
        found={name: len(known) for name, known in by_model.items()},
        memorised=len(memorised),
        forgotten={name: len(memorised - known) for name, known in by_model.items()},
        chance=chance,
        groups=len(set(groups(audit.original.forget.select(forget_of_kind)))),
        requested=requested if requested > len(set(of_pair)) else None,
    )


def headline_measure(audit: AuditInput, kind: str | None) -> Measure:
    """The headline measure of a kind."""
    if not audit.original.forget.can_be_searched and audit.original.forget.can_be_judged:
        return Measure(ACCURACY, kind=kind)
    return _recall(audit, kind, audit.original.forget.modalities)


def _recall(audit: AuditInput, kind: str | None, direction: tuple[str, str]) -> Measure:
    """Recall@1 within the members of the training pairs, or a sample of them."""
    is_sampled = audit.retain_is_sampled or audit.original.forget.gallery is not None
    return Measure(
        RECALL, kind=kind, k=1, direction=direction, gallery=SAMPLED_TRAINING if is_sampled else ALL_TRAINING
    )


def _recall_figures(
    audit: AuditInput, kind: str | None, split: str, own: NDArray[np.bool_], of_kind: NDArray[np.bool_]
) -> list[Figure]:
    """Both galleries and both directions; all retain pairs only within the training gallery."""
    rows = []
    training = {name: model.training for name, model in audit.models.items()}
    for query, candidate in directions(audit.original.forget):
        pool = counted(_distinct(training["original"], of_kind, candidate), f"distinct {prefix(kind)}{candidate}s")
        note = f"gallery: {pool} of the training pairs{drawn(training['original'])}"
        galleries = [(of_kind, _recall(audit, kind, (query, candidate)), note)]
        if audit.retain_is_sampled:
            galleries[0] = (*galleries[0][:2], f"{galleries[0][2]} (a sample of the retain pairs)")
        if split != "retain":
            size = counted(_distinct(training["original"], own, candidate), f"distinct {prefix(kind)}{candidate}s")
            measure = replace(galleries[0][1], gallery="the split's own")
            galleries.append((own, measure, f"gallery: {size} of the {split} pairs alone{drawn(training['original'])}"))
        for gallery, measure, note in galleries:
            cost = _distinct(training["original"], own, query) * _distinct(training["original"], gallery, candidate)
            if split == "retain" and cost > SEARCH_LIMIT:
                why = f"{cost:,} comparisons are more than {SEARCH_LIMIT:,}; the retain sample stands for it"
                rows += absent_figures(AUDIT, measure, split, audit.models, why)
                continue
            searches = {
                model: search(signals, own, gallery, query=query, candidate=candidate)
                for model, signals in training.items()
            }
            for k in KS:
                rows += mean_figures(
                    Heading(
                        AUDIT,
                        replace(measure, k=k),
                        split,
                        better="target" if split == "forget" else "higher",
                        note=note,
                        chance=float(searches["original"].chance[k].mean()),
                    ),
                    values={model: result.recall[k] for model, result in searches.items()},
                    groups=searches["original"].groups,
                    seed=audit.seed,
                    with_differences=k == 1,
                )
    return rows


def _margin_figures(audit: AuditInput, chosen: Mapping[str, Signals], kind: str | None, split: str) -> list[Figure]:
    """Mean margin of the pairs' own labels: accuracy sees only its sign."""
    return mean_figures(
        Heading(AUDIT, Measure(LABEL_MARGIN, kind=kind), split, note="log-odds of the pair's own label, in nats"),
        values={name: signals.label_aware_score for name, signals in chosen.items()},
        groups=groups(chosen["original"]),
        seed=audit.seed,
    )


def _holdout_figures(audit: AuditInput, kind: str | None, of_kind: NDArray[np.bool_]) -> list[Figure]:
    """The headline figure of held-out pairs: what never having seen a pair gives.

    They are searched for among the training pairs, or their labels are predicted.
    """
    measure = headline_measure(audit, kind)
    if not audit.original.forget.can_be_searched and audit.original.forget.can_be_judged:
        held = {model: s.holdout.of_kind(kind) for model, s in audit.models.items() if s.holdout is not None}
        if not held or not len(held["original"]) or not held["original"].can_be_judged:
            why = f"there are no {prefix(kind)}held-out pairs with labels"
            return absent_figures(AUDIT, measure, "test", audit.models, why)
        rows = accuracy_figures(held, audit=AUDIT, kind=kind, split="test", seed=audit.seed)
        return rows + _margin_figures(audit, held, kind, "test")
    values, hang_together, gallery = {}, [""], 0
    for model, signals in audit.models.items():
        if signals.holdout is None or signals.holdout.embeddings is None:
            return []
        others = signals.holdout.of_kind(kind)
        query, candidate = others.modalities
        if not len(others):
            return absent_figures(AUDIT, measure, "test", audit.models, f"there are no {prefix(kind)}held-out pairs")
        both = others.join(signals.training.select(of_kind))
        if _distinct(others, np.ones(len(others), dtype=bool), query) * len(both) > SEARCH_LIMIT:
            return absent_figures(AUDIT, measure, "test", audit.models, f"more than {SEARCH_LIMIT:,} comparisons")
        own = np.arange(len(both)) < len(others)
        result = search(both, own, np.ones(len(both), dtype=bool), query=query, candidate=candidate, ks=(1,))
        values[model], hang_together, gallery = result.recall[1], list(result.groups), result.gallery
    return mean_figures(
        Heading(
            AUDIT,
            measure,
            "test",
            better="higher",
            note=f"gallery: {counted(gallery, f'distinct {prefix(kind)}{candidate}s')} of training and held-out pairs",
        ),
        values=values,
        groups=hang_together,
        seed=audit.seed,
        with_differences=False,
    )


def _distinct(signals: Signals, rows: NDArray[np.bool_], modality: str) -> int:
    keys = signals.sources[modality]
    return len({key for key, chosen in zip(keys, rows, strict=True) if chosen})
