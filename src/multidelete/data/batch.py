"""What a batch of pairs is.

Shape suffixes: B pairs in the batch.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multidelete.core.words import counted


def source_key(source: str) -> int:
    """A source as an int64, so that batches can carry and gather it (blake2b, 8 bytes, signed)."""
    return int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "big", signed=True)


@dataclass(frozen=True)
class Batch:
    """Stacked inputs of B pairs.

    Attributes:
        ids: The pairs' ids.
        inputs: For each modality, in order, its tensors, first dimension B
            (``{"image": {"pixel_values": ...}, "text": {"input_ids": ..., "attention_mask": ...}}``).
        sources: For each modality, `source_key` of each pair's source, int64 (B,).
        labels: int64 (B,), or None.
    """

    ids: Sequence[str]
    inputs: Mapping[str, Mapping[str, Tensor]]
    sources: Mapping[str, Tensor]
    labels: Tensor | None = None

    def __repr__(self) -> str:
        return f"Batch({counted(len(self.ids), 'pairs')} of {' and '.join(self.inputs)})"

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> "Batch":
        """A run of consecutive pairs."""
        return Batch(
            ids=self.ids[rows],
            inputs={m: {k: t[rows] for k, t in tensors.items()} for m, tensors in self.inputs.items()},
            sources={m: t[rows] for m, t in self.sources.items()},
            labels=None if self.labels is None else self.labels[rows],
        )

    def repair(self, order: Tensor) -> "Batch":
        """The same first members joined with the second members in another order.

        Ids become ``first+second``; labels are dropped, since nobody labelled the new pairs.
        """
        _, second = self.inputs
        at = order.tolist()
        return Batch(
            ids=[f"{self.ids[i]}+{self.ids[j]}" for i, j in enumerate(at)],
            inputs={**self.inputs, second: {k: t[order.to(t.device)] for k, t in self.inputs[second].items()}},
            sources={**self.sources, second: self.sources[second][order.to(self.sources[second].device)]},
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return replace(
            self,
            inputs={m: {k: move(t) for k, t in tensors.items()} for m, tensors in self.inputs.items()},
            sources={m: move(t) for m, t in self.sources.items()},
            labels=None if self.labels is None else move(self.labels),
        )
