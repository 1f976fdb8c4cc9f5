"""What a method sees of one step of the loop.

Shape suffixes: B pairs of one part of this process's batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

from torch import Tensor

from multidelete.core.runtime import State
from multidelete.data.pairs import Batch
from multidelete.models.base import Adapter, PairOutputs


@dataclass(frozen=True)
class Part:
    """The forget pairs, or the retain pairs, of one step.

    Attributes:
        batch: Inputs of B pairs.
        outputs: What the model being trained says of them.
        adapter: The model being trained.
        share: B over the number of such pairs in the whole optimizer step, times the number of
            processes and accumulated micro-batches, which average their gradients.
        reference: What the original says of the same pairs, row by row.
        partner: What the original says of each forget pair's unassociated partner.
        score_target: What each forget pair's association signals should be, (B, S): the score, and the
            similarity of the embeddings where that is another thing.
    """

    batch: Batch
    outputs: PairOutputs
    adapter: Adapter
    share: float
    reference: PairOutputs | None = None
    partner: PairOutputs | None = None
    score_target: Tensor | None = None

    def mean(self, values_B: Tensor) -> Tensor:
        """Mean over all such pairs of the optimizer step, whatever the number of processes."""
        return values_B.mean() * self.share

    @cached_property
    def task_loss_B(self) -> Tensor:  # noqa: N802 - shape suffix
        """The family's own loss of each pair, (B,)."""
        return self.adapter.task_loss(self.outputs, self.batch)

    def referred(self) -> PairOutputs:
        """``reference``, for methods that cannot do without."""
        if self.reference is None:
            raise ValueError("this method reads the original's outputs, but none were cached")
        return self.reference

    def partnered(self) -> PairOutputs:
        """``partner``, for methods that cannot do without."""
        if self.partner is None:
            raise ValueError("this method reads unassociated partners, but none were cached")
        return self.partner


@dataclass(frozen=True)
class Step:
    """What a method sees of one step.

    Attributes:
        parts: ``forget`` and ``retain``, those that the method asked for.
        reference: The whole cache, for statistics over it.
        progress: Fraction of the budget that is spent, in [0, 1).
    """

    parts: Mapping[str, Part]
    reference: "Answers | None"
    progress: float

    @property
    def forget(self) -> Part:
        return self.parts["forget"]

    @property
    def retain(self) -> Part:
        return self.parts["retain"]


class Answers(Protocol):
    """What frozen models say of the pairs, asked before training.

    Attributes:
        score_targets: What each forget pair's association signals should be, (|F|, S), or None.
    """

    score_targets: Tensor | None

    @property
    def variances(self) -> Mapping[str, float]:
        """What losses are divided by, by name."""

    def rows(
        self, part: str, positions: Sequence[int], number_of_pass: int
    ) -> tuple[PairOutputs | None, PairOutputs | None]:
        """What is known of these pairs, and of their partners."""

    def state_dict(self) -> dict[str, State]:
        """What changes while training, for checkpoints."""

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """Go on from a checkpoint."""


class Losses(Protocol):
    """What the loop asks of a method.

    Attributes:
        parts: Which pairs a step holds: ``forget``, ``retain`` or both.
        training_mode: Whether dropout and batch statistics are on.
    """

    parts: ClassVar[tuple[str, ...]]
    training_mode: ClassVar[bool]

    def parts_of_pass(self, number: int) -> tuple[str, ...]:
        """Those of ``parts`` that the steps of a pass hold, passes counted from 0."""

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Named scalar terms, each already weighted."""
