"""Checkpoints of a run: the newest that is the run's own and whole is the one to go on from."""

import logging
from collections.abc import Mapping
from pathlib import Path

from multidelete.artifacts.sealed import SealError, read_sealed, run_of, write_sealed
from multidelete.core.runtime import State

logger = logging.getLogger(__name__)

_NAME = "checkpoint-"


def newest_checkpoint(work: Path) -> Path | None:
    """The newest complete checkpoint in a work folder."""
    checkpoints = _all(work)
    return checkpoints[-1] if checkpoints else None


def save_checkpoint(work: Path, done: int, state: Mapping[str, State]) -> None:
    """Write a checkpoint after ``done`` steps, whole or not at all, then drop those before.

    Raises:
        CheckpointError: The disk is full.
    """
    before = _all(work)
    path = work / f"{_NAME}{done:08d}.safetensors"
    write_sealed(path, state, of=run_of(work))
    for old in before:
        if old != path:
            old.unlink()


def load_checkpoint(work: Path) -> tuple[int, dict[str, State]]:
    """Steps done and state of the newest checkpoint that is whole and of this run; 0 and nothing without one.

    Those that are not are left out with a warning: steps are then done again, to the same result.
    """
    for path in reversed(_all(work)):
        try:
            state = read_sealed(path, of=run_of(work))
        except SealError as error:
            logger.warning("%s It is left out, and the steps before it are done again.", error)
            continue
        done = int(path.stem.removeprefix(_NAME))
        logger.info("resuming at step %d", done)
        return done, state
    return 0, {}


def _all(work: Path) -> list[Path]:
    """All checkpoints, oldest first."""
    return sorted(path for path in work.glob(f"{_NAME}*.safetensors") if path.stem.removeprefix(_NAME).isdecimal())
