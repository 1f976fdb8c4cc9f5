"""How far long work is, and how long the rest will take: a bar on terminals, elsewhere a line now and then."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from multidelete.core.runtime import process_index

logger = logging.getLogger(__name__)

_UNDER_A_BAR = ContextVar("under_a_bar", default=False)


@contextmanager
def progress_bar(what: str, total: int, *, every_s: float = 30.0) -> Iterator["Bar"]:
    """How far something is and the time left, on standard error, for the main process; nothing within another bar.

    On a terminal it is a bar that goes when it is done. Elsewhere, as in a file of a run in the background, it is a
    note now and then.

    Args:
        what: What is being done.
        total: Of whatever is counted.
        every_s: Least seconds between two notes of this process, and before the first.
    """
    console = Console(stderr=True)
    is_outermost = process_index() == 0 and not _UNDER_A_BAR.get()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown = is_outermost and console.is_terminal
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        token = _UNDER_A_BAR.set(True)
        try:
            task = progress.add_task(what, total=total)
            yield Bar(progress, task, Notes(what, total, every_s) if is_outermost and not shown else None)
        finally:
            _UNDER_A_BAR.reset(token)


class Bar:
    """A running progress bar, or the notes in its place."""

    def __init__(self, progress: Progress, task: TaskID, notes: "Notes | None") -> None:
        self._progress = progress
        self._task = task
        self._notes = notes

    def to(self, done: int, note: str | None = None) -> None:
        """Set how much is done."""
        if note is None:
            self._progress.update(self._task, completed=done)
        else:
            self._progress.update(self._task, completed=done, description=note)
        if self._notes is not None:
            self._notes.to(done, note)


class Notes:
    """Progress in lines of text; the time since the last one counts over all of them, since many may be short."""

    _said: ClassVar[float] = time.monotonic()

    def __init__(self, what: str, total: int, every_s: float) -> None:
        self._what, self._total, self._every_s = what, total, every_s
        self._first: int | None = None
        self._started = time.monotonic()

    def to(self, done: int, note: str | None) -> None:
        """Say how much is done, if the last time is long enough ago."""
        self._what = note or self._what
        now = time.monotonic()
        if self._first is None:  # what was there already, of a resumed run, took no time of this one
            self._first, self._started = done, now
        if now - Notes._said < self._every_s or done <= self._first or done >= self._total:
            return
        Notes._said = now
        left_s = (now - self._started) / (done - self._first) * (self._total - done)
        logger.info("%s: %s of %s, about %s left", self._what, f"{done:,}", f"{self._total:,}", span(left_s))


def span(seconds: float) -> str:
    """A time in words, roughly.

    >>> span(44.6), span(119), span(3600)
    ('45 s', '2 min', '60 min')
    """
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
