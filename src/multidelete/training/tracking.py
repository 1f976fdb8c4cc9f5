"""What trackers (tensorboard, wandb, ...) are told while a run goes on."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator

from multidelete.artifacts.result_folder import LOGS

Log = Callable[[Mapping[str, float], int], None]


def log_folder(work: Path | None) -> str | None:
    """Where trackers that write files write them, in the work folder of a run."""
    return None if work is None else str(work / LOGS)


@contextmanager
def tracking(accelerator: Accelerator) -> Iterator[Log]:
    """A function that sends figures, by name, and the number of their step to the trackers of an accelerator.

    Trackers are closed one by one, as `Accelerator.end_training` would end the group of processes with them.
    """
    accelerator.init_trackers("multidelete")
    try:
        yield lambda row, step: accelerator.log(dict(row), step=step)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
