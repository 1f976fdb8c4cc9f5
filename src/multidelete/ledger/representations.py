"""What a model makes of the members of pairs, each asked about once."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from multidelete.data.pairs import Pair, PairDataset, members
from multidelete.methods.reference import outputs_of
from multidelete.models import Adapter

_BATCH = 64


def representations(adapter: Adapter, pairs: PairDataset) -> Mapping[str, Mapping[str, NDArray[np.float32]]]:
    """For each modality, by source: before the joint space or the fusion. Members of several are left out.

    Args:
        adapter: The model.
        pairs: Pairs that fit it.
    """
    seen: dict[str, set[str]] = {modality: set() for modality in adapter.modalities}
    asked: list[Pair] = []
    for pair in pairs:
        new = {modality: source for modality in adapter.modalities if (source := _single(pair, modality)) is not None}
        if any(source not in seen[modality] for modality, source in new.items()):
            asked.append(pair)
            for modality, source in new.items():
                seen[modality].add(source)
    outputs = outputs_of(adapter, asked, _BATCH, "neighbours")
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for modality in adapter.modalities:
        vectors_BD = outputs.unimodal[modality].float().flatten(1).numpy()
        told = [(_single(pair, modality), vector) for pair, vector in zip(asked, vectors_BD, strict=True)]
        found[modality] = {source: vector for source, vector in told if source is not None}
    return found


def _single(pair: Pair, modality: str) -> str | None:
    """The source of a member that stands alone."""
    alone = members(pair, modality)
    return alone[0][0] if len(alone) == 1 else None
