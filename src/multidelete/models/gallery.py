"""Galleries of families without embeddings: drawn members, every first one scored with every second one.

Shape suffixes: Q first members, C second members.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multidelete.data.pairs import Batch, Pair
from multidelete.models.base import Adapter, evaluating

MEMBERS = 100  # of each modality in one set: 10,000 forwards of single pairs


@dataclass(frozen=True, eq=False)
class Gallery:
    """Members that were scored with each other.

    Attributes:
        places: For each modality, in order, the row (of the second one: the column) of each source.
        score: Association scores (Q, C); NaN for two members that were not scored with each other.
    """

    places: Mapping[str, Mapping[str, int]]
    score: NDArray[np.float32]

    def holds(self, first: str, second: str) -> bool:
        """Whether two members were scored with each other."""
        rows, columns = self.places.values()
        return first in rows and second in columns and not np.isnan(self.score[rows[first], columns[second]])

    def scores(self, query: str, queries: Sequence[str], candidates: Sequence[str]) -> NDArray[np.float64]:
        """Scores of sources of one modality with those of the other, (queries, candidates), to four decimals.

        Log-odds agree among batches to about five. Minus infinity for what was not scored.
        """
        (first, rows), (_, columns) = self.places.items()
        asked, answers = (rows, columns) if query == first else (columns, rows)
        score_QC = self.score if query == first else self.score.T
        chosen = score_QC[np.ix_([asked[key] for key in queries], [answers[key] for key in candidates])]
        return np.where(np.isnan(chosen), -np.inf, np.round(chosen.astype(np.float64), 4))


def score_galleries(
    adapter: Adapter,
    sets: Sequence[Sequence[Pair]],
    *,
    batch_size: int = 128,
    progress: Callable[[int], None] | None = None,
) -> Gallery:
    """Score every first member of each set of pairs with every second member of the same set.

    Members are prepared once, and exchanged as tensors.

    Args:
        adapter: The model, on its device.
        sets: Pairs of which every member meets every other one of its set.
        batch_size: Pairs at once; changes memory and speed only.
        progress: Called with the pairs of members done.
    """
    places: dict[str, dict[str, int]] = {m: {} for m in adapter.modalities}
    for pair in (pair for pairs in sets for pair in pairs):
        for m, place in places.items():
            place.setdefault(pair.sources[m], len(place))
    rows, columns = places.values()
    score_QC = np.full((len(rows), len(columns)), np.nan, dtype=np.float32)
    done = 0
    for pairs in sets:
        first, second = ({pair.sources[m]: pair for pair in pairs} for m in places)
        ones, twos = (adapter.collate(list(of.values())).to(adapter.device) for of in (first, second))
        at = np.array([(q, c) for q in range(len(first)) for c in range(len(second))])
        at_row, at_column = [rows[key] for key in first], [columns[key] for key in second]
        for start in range(0, len(at), batch_size):
            q, c = at[start : start + batch_size].T
            with evaluating(adapter):
                score_B = adapter(_joined(ones, twos, torch.from_numpy(q), torch.from_numpy(c))).score
            score_QC[np.take(at_row, q), np.take(at_column, c)] = score_B.float().cpu().numpy()
            done += len(q)
            if progress:
                progress(done)
    return Gallery(places, score_QC)


def _joined(ones: Batch, twos: Batch, q: Tensor, c: Tensor) -> Batch:
    """The first members of some pairs of one batch with the second members of some of another."""
    one, two = ones.inputs

    def rows(batch: Batch, m: str, at: Tensor) -> Mapping[str, Tensor]:
        return {name: tensor[at.to(tensor.device)] for name, tensor in batch.inputs[m].items()}

    return Batch(
        ids=[f"{ones.ids[i]}+{twos.ids[j]}" for i, j in zip(q.tolist(), c.tolist(), strict=True)],
        inputs={one: rows(ones, one, q), two: rows(twos, two, c)},
        sources={
            one: ones.sources[one][q.to(ones.sources[one].device)],
            two: twos.sources[two][c.to(twos.sources[two].device)],
        },
    )
