"""Rewinding: of the weights that a run passed through, take those that err on forget pairs as on unseen ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from multidelete.artifacts.sealed import read_sealed, run_of, write_sealed
from multidelete.core.runtime import State, held, is_main_process, wait_for_everyone
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairDataset
from multidelete.methods.base import Job
from multidelete.methods.distributions import choice_logits, own_options
from multidelete.methods.reference import HOLDOUT_LIMIT
from multidelete.models.base import Adapter
from multidelete.training.step import Part


def counterparts(
    adapter: Adapter, forget: PairDataset, holdout: PairDataset, *, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """Forget pairs and as many held-out pairs, at each position two of the same kind (of classifiers, and label).

    Forget pairs that no held-out pair is left for are not among them; at most `HOLDOUT_LIMIT` are.
    """

    def group(pair: Pair) -> tuple[str | None, int | None]:
        return pair.kind, pair.label if adapter.task == "classification" else None

    left: dict[tuple[str | None, int | None], list[Pair]] = {}
    for at in stream(seed, Stream.COUNTERPARTS).permutation(len(holdout)):
        left.setdefault(group(holdout[int(at)]), []).append(holdout[int(at)])
    matches = [(pair, left[group(pair)].pop()) for pair in forget if left.get(group(pair))][:HOLDOUT_LIMIT]
    return [one for one, _ in matches], [other for _, other in matches]


@torch.no_grad()
def error_rate(adapter: Adapter, pairs: Sequence[Pair], batch_size: int) -> float:
    """Fraction of the choices of the pairs that the model gets wrong, in [0, 1], in the mode it is in.

    A classifier's class; of embeddings which member of the batch belongs to which, both ways; of a matching
    head whether the pair is a match. Batches hold the pairs in their order.
    """
    wrong: list[Tensor] = []
    for start in range(0, len(pairs), batch_size):
        batch = adapter.collate(pairs[start : start + batch_size]).to(adapter.device)
        part = Part(batch, adapter(batch), adapter, 1.0)
        for logits_BC, own_BC in zip(choice_logits(part, part.outputs), own_options(part), strict=True):
            wrong.append(~own_BC.gather(1, logits_BC.argmax(dim=1, keepdim=True)))
    return torch.cat(wrong).float().mean().item()


@dataclass
class Rewind:
    """Weights after some passes of a run, with their error on the forget pairs.

    Attributes:
        job: The run: its model, pairs and work folder. Weights are kept there, or in memory without one.
        pairs: Pairs forwarded so far.
        errors: Error on the forget pairs after each pass that was kept.
    """

    job: Job
    pairs: int = 0
    errors: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        holdout = self.job.holdout or PairDataset([], "no held-out pairs")
        self._forget, self._unseen = counterparts(self.job.adapter, self.job.forget, holdout, seed=self.job.seed)
        self._weights: dict[int, dict[str, Tensor]] = {}
        if self.job.resume and self.job.work is not None:
            for path in sorted(self.job.work.glob("pass-*.safetensors")):
                told = read_sealed(path, of=run_of(self.job.work))
                self.errors[int(path.stem.removeprefix("pass-"))] = held(told["error"], float)

    @property
    def possible(self) -> bool:
        """Whether there are held-out pairs to compare with."""
        return bool(self._unseen)

    def keep(self, number: int) -> None:
        """Keep the weights as they are after a pass."""
        self.errors[number] = self._error(self._forget)
        now = {
            name: p.detach().cpu().clone(memory_format=torch.contiguous_format)  # else some cannot be written
            for name, p in self._trained().items()
        }
        if self.job.work is None:
            self._weights[number] = now
        elif is_main_process():
            told: dict[str, State] = {"weights": now, "error": self.errors[number]}
            write_sealed(_path(self.job.work, number), told, of=run_of(self.job.work))

    def back(self) -> dict[str, float]:
        """Go back to the pass whose error on forget pairs is nearest to the final weights' error on held-out ones.

        Returns:
            The pass, its error and the error on held-out pairs, for the manifest; empty where no pass was kept.
        """
        if not self.errors:
            return {}
        unseen = self._error(self._unseen)
        nearest = min(sorted(self.errors, reverse=True), key=lambda number: abs(self.errors[number] - unseen))
        wait_for_everyone()
        if self.job.work is None:
            weights = self._weights[nearest]
        else:
            told = read_sealed(_path(self.job.work, nearest), of=run_of(self.job.work))
            weights = held(told["weights"], dict)
        with torch.no_grad():
            for name, parameter in self._trained().items():
                parameter.copy_(weights[name])
        return {"rewound_to_pass": nearest + 1, "forget_error": self.errors[nearest], "holdout_error": unseen}

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in self.job.adapter.named_parameters() if p.requires_grad}

    def _error(self, pairs: Sequence[Pair]) -> float:
        self.pairs += len(pairs)
        return error_rate(self.job.adapter, pairs, self.job.settings.batch_size)


def _path(work: Path, number: int) -> Path:
    return work / f"pass-{number:04d}.safetensors"
