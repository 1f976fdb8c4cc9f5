"""Which pairs each step of a run holds, drawn from the seed before it starts, and each process's share of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from multidelete.core.errors import ConfigError
from multidelete.core.runtime import process_index, world_size
from multidelete.core.settings import LoopSettings
from multidelete.core.streams import Stream, stream
from multidelete.core.words import counted
from multidelete.data.augment import augmented
from multidelete.data.pairs import Batch, PairDataset
from multidelete.models.base import Adapter


@dataclass(frozen=True)
class PlannedStep:
    """Positions of the pairs of one optimizer step in each part, over all processes."""

    positions: Mapping[str, Sequence[int]]
    number_of_pass: int

    def only(self, parts: Sequence[str]) -> "PlannedStep":
        """The same step without the pairs of other parts."""
        kept = {part: rows for part, rows in self.positions.items() if part in parts}
        return PlannedStep(kept, self.number_of_pass)


@dataclass(frozen=True)
class MicroBatch:
    """This process's share of one micro-batch: the parts' pairs one after the other."""

    batch: Batch
    positions: Mapping[str, Sequence[int]]
    shares: Mapping[str, float]
    number_of_pass: int
    progress: float


def plan_steps(parts: Sequence[str], sizes: Mapping[str, int], settings: LoopSettings, seed: int) -> list[PlannedStep]:
    """Draw every step of a run.

    The forget pairs (for training, all pairs) are walked through in shuffled passes, in batches of
    nearly equal size; the others are drawn beside them, ``retain_per_forget`` each, from shuffled
    passes of their own. A method that sees retain pairs alone gets them in the place of the forget
    pairs too, so that it takes as many steps of as many pairs as the others do.

    Args:
        parts: What a step holds.
        sizes: Pairs in each part, and in ``forget`` where there is a request.
        settings: Budget and batch size.
        seed: Of every order.
    """
    lead = "forget" if "forget" in sizes else parts[0]
    others = [part for part in parts if part != lead]
    for_each = settings.retain_per_forget + (lead not in parts)
    rng = stream(seed, Stream.LEAD_ORDER)
    streams = {part: _shuffled(sizes[part], stream(seed, Stream.PART_ORDERS, i)) for i, part in enumerate(others)}
    per_pass = max(1, round(sizes[lead] / settings.batch_size))
    total = max(1, round(per_pass * settings.passes))
    steps: list[PlannedStep] = []
    # All of it is drawn before the first step, each part from a stream of its own: which pairs meet in a step then
    # depends neither on how many processes share it nor on where a run was resumed.
    while len(steps) < total:
        for chunk in np.array_split(rng.permutation(sizes[lead]), per_pass):
            positions: dict[str, Sequence[int]] = {lead: chunk.tolist()} if lead in parts else {}
            for part in others:
                wanted = min(for_each * len(chunk), sizes[part])
                positions[part] = [next(streams[part]) for _ in range(wanted)]
            steps.append(PlannedStep(positions, len(steps) // per_pass))
    return steps[:total]


def _shuffled(size: int, rng: np.random.Generator) -> Iterator[int]:
    """Positions of endless shuffled passes."""
    while True:
        yield from rng.permutation(size).tolist()


def check_shares(plan: Sequence[PlannedStep], accumulation: int) -> None:
    """Refuse steps of fewer pairs than processes and micro-batches share.

    Raises:
        ConfigError: There is such a step.
    """
    shares = accumulation * world_size()
    for step in plan:
        for part, wanted in step.positions.items():
            if len(wanted) < shares:
                raise ConfigError(
                    f"a step has {counted(len(wanted), f'{part} pairs')}, fewer than its {shares} shares "
                    f"({counted(world_size(), 'processes')} x {accumulation} accumulated). Raise batch_size."
                )


class MicroBatches(Dataset[MicroBatch]):
    """Collates this process's share of each planned step, in order; with ``augment_seed`` pictures are altered."""

    def __init__(
        self,
        plan: Sequence[PlannedStep],
        datasets: Mapping[str, PairDataset],
        adapter: Adapter,
        accumulation: int,
        augment_seed: int | None = None,
    ) -> None:
        self.plan, self.datasets, self.adapter = plan, datasets, adapter
        self.accumulation = accumulation
        self.augment_seed = augment_seed
        self.rank, self.world = process_index(), world_size()
        check_shares(plan, accumulation)

    def __len__(self) -> int:
        return len(self.plan) * self.accumulation

    def __getitem__(self, number: int) -> MicroBatch:
        step = self.plan[number // self.accumulation]
        # Shares of a step may differ by a row, so each carries the factor that makes the mean over processes and
        # micro-batches, which the wrappers take, the mean over the whole step's pairs.
        shards = self.accumulation * self.world
        mine = (number % self.accumulation) * self.world + self.rank
        positions: dict[str, Sequence[int]] = {}
        shares: dict[str, float] = {}
        seeds: list[tuple[int, ...]] = []
        for index, (part, wanted) in enumerate(step.positions.items()):
            rows = range(mine * len(wanted) // shards, (mine + 1) * len(wanted) // shards)
            positions[part] = [wanted[row] for row in rows]
            seeds += [(number // self.accumulation, index, row) for row in rows]
            shares[part] = len(positions[part]) * shards / len(wanted)
        pairs = [self.datasets[part].pairs[i] for part, rows in positions.items() for i in rows]
        batch = self.adapter.collate(pairs)
        if self.augment_seed is not None:
            batch = augmented(batch, [(self.augment_seed, *seed) for seed in seeds])
        return MicroBatch(
            batch=batch,
            positions=positions,
            shares=shares,
            number_of_pass=step.number_of_pass,
            progress=(number // self.accumulation) / len(self.plan),
        )
