"""All that a run changes while it runs, as one state: written after some steps, read back to go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from multidelete.artifacts.checkpoints import load_checkpoint, save_checkpoint
from multidelete.core.runtime import (
    State,
    from_every_process,
    held,
    is_main_process,
    process_index,
    random_state,
    set_random_state,
    wait_for_everyone,
)


class HasState(Protocol):
    """What can be written to a checkpoint and read back."""

    def state_dict(self) -> dict[str, State]:
        """What changes, for checkpoints."""

    def load_state_dict(self, state: Mapping[str, State]) -> object:
        """Go on from a checkpoint."""


@dataclass(frozen=True)
class Resumable:
    """The parts of a run that change.

    Attributes:
        accelerator: Of the run; its gradient scaler counts.
        network: Its parameters and buffers.
        parts: What else changes, by name: optimizer, schedule, counts.
    """

    accelerator: Accelerator
    network: nn.Module
    parts: Mapping[str, HasState]

    def save(self, work: Path, done: int) -> None:
        """Write a checkpoint after ``done`` steps; the main process does, for all."""
        random = from_every_process(random_state())
        if is_main_process():
            state: dict[str, State] = {name: part.state_dict() for name, part in self._every_part().items()}
            save_checkpoint(work, done, state | {"weights": _weights(self.network), "random": random})
        wait_for_everyone()

    def load(self, work: Path) -> int:
        """Go on from the newest checkpoint of this run, and say how many steps are done; 0 without one."""
        wait_for_everyone()
        done, state = load_checkpoint(work)
        if not state:
            return 0
        stored = held(state["weights"], dict)
        with torch.no_grad():
            for name, tensor in _weights(self.network).items():
                tensor.copy_(stored[name])
        for name, part in self._every_part().items():
            part.load_state_dict(held(state[name], dict))
        set_random_state(held(state["random"], list)[process_index()])
        return done

    def _every_part(self) -> dict[str, HasState]:
        scaler: HasState | None = self.accelerator.scaler
        return dict(self.parts) if scaler is None else {**self.parts, "scaler": scaler}


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and the buffers that are stored, each once; those of a network that shares some of them too."""
    stored = network.state_dict().keys()
    return {
        name: tensor.detach()
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
        if name in stored
    }
