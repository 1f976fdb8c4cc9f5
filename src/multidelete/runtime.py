"""Processes, devices, seeds, memory, progress: what the machine is asked, in one place."""

import os
import random
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState, GradientState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from multidelete.errors import ConfigError


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_index() -> int:
    """Rank of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def start_processes() -> None:
    """Join the other processes, where ``accelerate launch`` started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState(cpu=not torch.cuda.is_available())


def is_main_process() -> bool:
    """Whether this process writes files and shows progress."""
    return process_index() == 0


def wait_for_everyone() -> None:
    """A barrier, where several processes run."""
    if world_size() > 1:
        dist.barrier()


def gather_with_grad(rows: Tensor) -> Tensor:
    """Rows of all processes, in rank order; gradients flow back to the process that made them.

    Every process must hold equally many rows.
    """
    if world_size() == 1:
        return rows
    if rows.is_floating_point():
        gathered = dist_nn.all_gather(rows)
    else:
        gathered = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(gathered, rows.contiguous())
    return torch.cat(list(gathered))


def make_accelerator(
    *,
    device: str = "auto",
    mixed_precision: str = "no",
    accumulation: int = 1,
    log_with: tuple[str, ...] = (),
    log_dir: str | None = None,
) -> Accelerator:
    """An `Accelerator` for one run, whatever ran before in this process.

    Raises:
        ConfigError: The device does not exist here, or cannot compute in this precision.
    """
    check_device(device)
    if world_size() == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    if device not in ("auto", "cpu"):
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    else:
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    try:
        return Accelerator(
            cpu=device == "cpu",
            mixed_precision=mixed_precision,
            gradient_accumulation_steps=accumulation,
            log_with=list(log_with) or None,
            project_dir=log_dir,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
        )
    except ValueError as error:
        raise ConfigError(f"precision {mixed_precision!r} cannot be used on device {device!r}: {error}") from error


def check_device(device: str) -> None:
    """Refuse a device that is not here."""
    kind = device.split(":")[0]
    if kind not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"device is {device!r}; it must be auto, cpu, cuda, cuda:N or mps.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is {device!r}, but no CUDA device is visible here. Use --device cpu or auto.")
    if kind == "cuda" and ":" in device:
        index = device.split(":")[1]
        if not index.isdigit() or int(index) >= torch.cuda.device_count():
            raise ConfigError(f"device is {device!r}, but there are {torch.cuda.device_count()} CUDA devices, from 0.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device is {device!r}, but there is no MPS device here. Use --device cpu or auto.")


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def peak_bytes(device: torch.device) -> int:
    """Most memory used so far: of the GPU by tensors, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def progress_bar(what: str, total: int) -> Iterator["Bar"]:
    """One bar with the time left, on standard error, for the main process and terminals only."""
    console = Console(stderr=True)
    shown = process_index() == 0 and console.is_terminal
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        yield Bar(progress, progress.add_task(what, total=total))


class Bar:
    """A running progress bar."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress = progress
        self._task = task

    def to(self, done: int, note: str | None = None) -> None:
        """Set how much is done."""
        if note is None:
            self._progress.update(self._task, completed=done)  # type: ignore[arg-type]
        else:
            self._progress.update(self._task, completed=done, description=note)  # type: ignore[arg-type]
