"""The headline measure on any pairs: recall@1 from first to second modality, or accuracy.

Shape suffixes: Q queries or pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multidelete.audits.inputs import groups
from multidelete.audits.retrieval import NO_EMBEDDINGS, NOT_DRAWN, drawn, search
from multidelete.audits.signals import Signals
from multidelete.audits.stats import Floats
from multidelete.audits.utility import correct
from multidelete.core.words import counted


@dataclass(frozen=True)
class Headline:
    """The headline measure of several models on the same items.

    Attributes:
        values: For each model one value per item, (Q,), in [0, 1].
        groups: Which items are resampled together.
        note: The gallery, where one was searched.
    """

    values: Mapping[str, Floats]
    groups: Sequence[str]
    note: str | None


def headline(models: Mapping[str, Signals], own: NDArray[np.bool_], gallery: NDArray[np.bool_]) -> Headline | str:
    """Recall@1 of the own pairs within the gallery pairs, or accuracy of the own pairs; else why there is neither.

    Args:
        models: Signals of each model, of the same pairs.
        own: Mask (N,) of the pairs that are asked about, at least one.
        gallery: Mask (N,) of the pairs whose members are searched; contains ``own``.
    """
    one = next(iter(models.values()))
    if one.can_be_searched:
        own = own & one.in_gallery
        if not own.any():
            return NOT_DRAWN
        query, candidate = one.modalities
        searches = {
            name: search(signals, own, gallery & one.in_gallery, query=query, candidate=candidate, ks=(1,))
            for name, signals in models.items()
        }
        first = next(iter(searches.values()))
        note = f"gallery: {counted(first.gallery, f'distinct {candidate}s')}{drawn(one)}"
        return Headline({name: result.recall[1] for name, result in searches.items()}, first.groups, note)
    if one.labels is None or one.logits is None:
        return NO_EMBEDDINGS
    return Headline(
        {name: correct(signals.select(own)) for name, signals in models.items()}, groups(one.select(own)), None
    )
