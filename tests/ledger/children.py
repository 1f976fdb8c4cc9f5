"""Work in a child process that is killed at some moment, or may write no more than so many bytes."""

import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from multidelete.core.errors import MultideleteError

PATIENCE_S = 60.0


def in_child(work: Callable[[], object], *, kill_after_s: float | None = None, file_bytes: int | None = None) -> str:
    """How a forked child ended: ``done``, ``killed``, or the error that it told.

    Args:
        work: What it does.
        kill_after_s: When it is killed, counted from where its work begins.
        file_bytes: No file of its may grow beyond; what meets a full disk meets this.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = "done"
        try:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            os.write(writing, b"!")
            work()
        except MultideleteError as error:
            told = str(error)
        except BaseException as error:  # noqa: BLE001 - the child says what came, and ends
            told = f"traceback: {error!r}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)  # it has begun
    deadline = time.monotonic() + (PATIENCE_S if kill_after_s is None else kill_after_s)
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() >= deadline:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode() or "killed"


def usual_s(work: Callable[[], object]) -> float:
    """Seconds that work takes in a child which nobody disturbs."""
    began = time.monotonic()
    assert in_child(work) == "done"
    return time.monotonic() - began
