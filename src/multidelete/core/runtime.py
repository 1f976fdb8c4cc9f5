"""Processes, devices, seeds, memory: what the machine is asked, in one place."""

import logging
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from torch import Tensor

from multidelete.core.errors import ConfigError, SettingProblem
from multidelete.core.words import counted

try:
    import resource
except ImportError:  # Windows
    HAS_RESOURCE = False
else:
    HAS_RESOURCE = True

T = TypeVar("T")
State = None | bool | int | float | str | Tensor | Sequence["State"] | Mapping[str, "State"] | Mapping[int, "State"]
"""What a run needs to go on, as checkpoints hold it."""

logger = logging.getLogger(__name__)

FILES_OPEN = 64  # of a process without workers, with room to spare
FILES_OF_A_WORKER = 48

_ALONE = ContextVar("alone", default=False)
_DEVICE = "ACCELERATE_TORCH_DEVICE"


@contextmanager
def alone() -> Iterator[None]:
    """Within it this process computes as the only one: losses gather nothing from others."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if _together() else 1


def process_index() -> int:
    """Rank of this process, from 0."""
    return dist.get_rank() if _together() else 0


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and not _ALONE.get()


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


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

    Processes may hold different numbers of rows.
    """
    if world_size() == 1:
        return rows
    numbers = rows_of_processes(len(rows), rows.device)
    padded = torch.cat([rows, rows.new_zeros(max(numbers) - len(rows), *rows.shape[1:])])
    if rows.is_floating_point():
        gathered = dist_nn.all_gather(padded)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    else:
        gathered = [torch.empty_like(padded) for _ in range(world_size())]
        dist.all_gather(gathered, padded)
    return torch.cat([part[:number] for part, number in zip(gathered, numbers, strict=True)])


def rows_of_processes(rows: int, device: torch.device) -> list[int]:
    """How many rows each process holds, in rank order."""
    if world_size() == 1:
        return [rows]
    numbers = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(numbers, torch.tensor([rows], device=device))
    return [int(number.item()) for number in numbers]


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
        ConfigError: The device does not exist here, or cannot compute in this precision, or a tracker is unknown,
            not installed, or has no folder to write to.
    """
    check_device(device)
    check_trackers(log_with, log_dir)
    AcceleratorState._reset_state(reset_partial_state=world_size() == 1)
    GradientState._reset_state()
    _name_device(None if device in ("auto", "cpu") else device)
    try:
        accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision=mixed_precision,
            gradient_accumulation_steps=accumulation,
            log_with=list(log_with) or None,
            project_dir=log_dir,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
        )
    except ValueError as error:
        raise ConfigError(f"precision {mixed_precision!r} cannot be used on device {device!r}: {error}") from error
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError(f"precision 'fp16' cannot be used on device {device!r}: it needs a GPU. Use bf16, or no.")
    return accelerator


def _name_device(device: str | None) -> None:
    if device is None:
        os.environ.pop(_DEVICE, None)
    else:
        os.environ[_DEVICE] = device


@contextmanager
def as_found() -> Iterator[None]:
    """Runs within it may seed and set up `accelerate`; afterwards both are as the caller had them.

    Put back are the random numbers of Python, NumPy and torch (on CPU and CUDA), the state that all `Accelerator`s of a
    process share, and the variable that names their device. Processes that train together stay joined.
    """
    shared = [(kind, dict(kind._shared_state)) for kind in (PartialState, AcceleratorState, GradientState)]
    device, python, numbers = os.environ.get(_DEVICE), random.getstate(), np.random.get_state()
    seed, on_cpu = torch.initial_seed(), torch.get_rng_state()
    is_started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    on_cuda = torch.cuda.get_rng_state_all() if is_started else None
    try:
        yield
    finally:
        for kind, state in shared:
            if state or kind is not PartialState or not (dist.is_available() and dist.is_initialized()):
                kind._shared_state.clear()
                kind._shared_state.update(state)
        _name_device(device)
        random.setstate(python)
        np.random.set_state(numbers)
        if on_cuda is None:
            torch.cuda.manual_seed_all(seed)  # to ask CUDA for its state would have started it
        else:
            torch.cuda.set_rng_state_all(on_cuda)
        torch.set_rng_state(on_cpu)


def check_device(device: str) -> None:
    """Refuse a device that is not here."""
    kind = device.split(":")[0]
    if kind not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(SettingProblem("device", f"is {device!r}; it must be auto, cpu, cuda, cuda:N or mps."))
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            SettingProblem("device", f"is {device!r}, but no CUDA device is visible here. Use --device cpu or auto.")
        )
    if kind == "cuda" and ":" in device:
        index = device.split(":")[1]
        if not index.isdigit() or int(index) >= torch.cuda.device_count():
            raise ConfigError(
                SettingProblem(
                    "device", f"is {device!r}, but there are {torch.cuda.device_count()} CUDA devices, from 0."
                )
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            SettingProblem("device", f"is {device!r}, but there is no MPS device here. Use --device cpu or auto.")
        )


def device_for(device: str) -> str:
    """What ``auto`` means for a model that is asked and not trained; other devices are returned as they are."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_trackers(names: tuple[str, ...], log_dir: str | None) -> None:
    """Refuse trackers that cannot log; accelerate passes over those that are not installed without a word."""
    known, installed = sorted(LOGGER_TYPE_TO_CLASS), {str(tracker) for tracker in get_available_trackers()}
    problems = []
    for name in names:
        if name not in known:
            problems.append(f"tracker {name!r} is unknown; accelerate knows {', '.join(known)}.")
        elif name not in installed:
            problems.append(f"tracker {name!r} is not installed here: pip install {name}.")
        elif LOGGER_TYPE_TO_CLASS[name].requires_logging_directory and log_dir is None:
            problems.append(f"tracker {name!r} writes files, but the result is kept in memory. Give an output folder.")
    if problems:
        raise ConfigError(problems)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def possible_workers(wanted: int) -> int:
    """As many processes to prepare batches as were asked for, or none where too few files may be open for them.

    Each batch comes through open files; where there are too few, everybody would wait for ever. Systems without
    such a limit (Windows) give as many as were asked for.
    """
    if wanted == 0 or not HAS_RESOURCE:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES_OPEN + FILES_OF_A_WORKER * wanted
    if soft != resource.RLIM_INFINITY and soft < needed and (hard == resource.RLIM_INFINITY or hard > soft):
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and soft < needed:
        logger.warning(
            "only %d files can be open here, and to prepare batches in %s takes %d: this process does it. "
            "Results are the same; raise the limit (ulimit -n) for more speed.",
            soft, counted(wanted, "processes"), needed,
        )  # fmt: skip
        return 0
    return wanted


def random_state() -> dict[str, State]:
    """Where the random numbers of this process are: of Python, NumPy and torch, on all devices."""
    version, numbers, gauss = random.getstate()
    kind, words, *rest = np.random.get_state(legacy=True)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, np.asarray(words).tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def held(part: State, kind: type[T]) -> T:
    """A part of a state, which must be of a type.

    Raises:
        TypeError: It is of another.
    """
    if not isinstance(part, kind):
        raise TypeError(f"a part of the state is of type {type(part).__name__}; it must be of type {kind.__name__}")
    return part


def set_random_state(state: Mapping[str, State]) -> None:
    """Go on drawing where `random_state` was asked for."""
    version, numbers, gauss = held(state["python"], list)
    random.setstate((version, tuple(numbers), gauss))
    kind, words, *rest = held(state["numpy"], list)
    np.random.set_state((kind, np.array(words, dtype=np.uint32), *rest))
    torch.set_rng_state(held(state["torch"], Tensor))
    if on_devices := held(state["cuda"], list):
        torch.cuda.set_rng_state_all(on_devices)


def from_every_process(own: T) -> list[T]:
    """What each process has, in rank order."""
    if world_size() == 1:
        return [own]
    gathered = [own] * world_size()
    dist.all_gather_object(gathered, own)
    return gathered


def from_main_process(own: T) -> T:
    """What the main process has, in every process."""
    if world_size() == 1:
        return own
    told = [own]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def in_float64(tensor: Tensor) -> Tensor:
    """The tensor in float64: where it is, or on the CPU where its device has no such numbers (MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def peak_bytes(device: torch.device) -> int:
    """Most memory used so far: of the GPU by tensors, else of this process; 0 where it is not told (Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not HAS_RESOURCE:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> bool:
    """Let `peak_bytes` begin anew, so that it tells of one run among several in this process.

    Returns:
        Whether it does; only Linux can forget the peak of a process.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
