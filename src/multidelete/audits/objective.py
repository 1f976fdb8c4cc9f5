"""How good a setting is, told from the request and validation pairs alone: what `multidelete.tune` minimises.

Validation pairs take the place of the held-out pairs; test pairs and a retrained model are not asked.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multidelete.audits import stats
from multidelete.audits.inputs import AuditInput
from multidelete.audits.membership import attack_scores
from multidelete.audits.retrieval import KS, directions, search
from multidelete.audits.signals import Signals
from multidelete.audits.utility import correct
from multidelete.core.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised, in [0, 3], and its terms, each in [0, 1]; this project's own definition.

    Means over the kinds of the forget pairs, weighted by their forget pairs. *Quality* is recall@1 from first to second
    modality among the members of all pairs given (forget, retain, validation) of the kind, or accuracy.

    Attributes:
        membership: |2 AUC - 1| of forget against validation pairs, by the signal that tells most
            (`audits.membership`): 0 where they cannot be told apart, from both sides.
        gap: |quality of the forget pairs - quality of the validation pairs|: the latter is what never having seen
            a pair gives.
        utility: Share of the original's quality on validation pairs that is lost; for retrieval of its mean
            recall@1, 5 and 10, both ways, within the validation pairs. No gain makes up for a loss elsewhere.
        retain: Share of the original's quality on the retain pairs that is lost.
    """

    membership: float
    gap: float
    utility: float
    retain: float

    @property
    def value(self) -> float:
        """Mean of the two terms of forgetting, plus the two losses.

        An untouched model has 1 at most, since it loses nothing; one that knows nothing nears 2.
        """
        return (self.membership + self.gap) / 2 + self.utility + self.retain


def objective(audit: AuditInput) -> Objective:
    """Judge ``unlearned`` beside ``original``.

    Args:
        audit: Both models' signals of the forget pairs, of retain pairs, and of validation pairs as ``val``.

    Raises:
        DataError: There are no validation pairs of the forget pairs' kinds, or pairs without labels.
    """
    original, unlearned = audit.original, audit.models["unlearned"]
    if original.val is None or unlearned.val is None:
        raise ValueError("the objective needs validation pairs")
    held = set(original.val.kinds)
    kinds = [kind for kind in audit.kinds() if kind in held]
    if not kinds:
        wanted = ", ".join(repr(kind) for kind in audit.kinds())
        raise DataError(
            f"no validation pair is of a kind that is to be forgotten ({wanted}); the search judges by them. "
            "Give a val split that has such pairs."
        )
    of_forget, weight_K = list(original.forget.kinds), []
    terms_KT = []
    for kind in kinds:
        before, after = _qualities(audit, "original", kind), _qualities(audit, "unlearned", kind)
        forget, retain, val, _ = after
        lost = [_lost(was, now) for was, now in zip(before, after, strict=True)]
        terms_KT.append((_advantage(audit, kind), abs(forget - val), lost[3], lost[1]))
        weight_K.append(of_forget.count(kind))
    membership, gap, utility, retain = np.average(np.array(terms_KT), axis=0, weights=weight_K).tolist()
    return Objective(membership=membership, gap=gap, utility=utility, retain=retain)


def _advantage(audit: AuditInput, kind: str | None) -> float:
    """|2 AUC - 1| of the signal that tells most."""
    attacks = [by_model["unlearned"] for by_model in attack_scores(audit, kind).values() if "unlearned" in by_model]
    return max(abs(2 * stats.auc(members, nonmembers) - 1) for members, nonmembers in attacks)


def _qualities(audit: AuditInput, model: str, kind: str | None) -> tuple[float, float, float, float]:
    """Of forget, retain and validation pairs in one gallery, and of validation pairs by themselves."""
    signals = audit.models[model]
    parts = [part.of_kind(kind) for part in (signals.forget, signals.retain, signals.val) if part is not None]
    if not parts[0].can_be_searched:
        if any(part.labels is None or part.logits is None for part in parts):
            raise DataError("some pairs have no label, and a search judges a classifier by its accuracy. Give labels.")
        forget, retain, val = (_mean(correct(part)) for part in parts)
        return forget, retain, val, val
    everything = parts[0].join(parts[1]).join(parts[2])
    part_N = np.repeat(np.arange(3), [len(part) for part in parts])
    gallery_N = everything.in_gallery
    forget, retain, val = (
        _recall(everything, gallery_N & (part_N == part), gallery_N, ks=(1,), both_ways=False) for part in range(3)
    )
    held_N = parts[2].in_gallery
    return forget, retain, val, _recall(parts[2], held_N, held_N, ks=KS, both_ways=True)


def _recall(
    signals: Signals, own_N: NDArray[np.bool_], gallery_N: NDArray[np.bool_], *, ks: tuple[int, ...], both_ways: bool
) -> float:
    """Mean recall over queries, cut-offs and directions; 0 where no pair is in the gallery."""
    if not own_N.any():
        return 0.0
    ways = directions(signals)[: 1 + both_ways]
    searches = [search(signals, own_N, gallery_N, query=one, candidate=other, ks=ks) for one, other in ways]
    return float(np.mean([_mean(result.recall[k]) for result in searches for k in ks]))


def _lost(was: float, now: float) -> float:
    """Share of what was there that is gone; of nothing, nothing can be lost."""
    return max(0.0, was - now) / was if was > 0 else 0.0


def _mean(values: stats.Floats) -> float:
    """0 for no values: where nothing is retained of a kind, nothing can be lost."""
    return float(values.mean()) if len(values) else 0.0
