"""The time that events are given: the machine's, or one that is set."""

import os
from datetime import UTC, date, datetime

from multidelete.core.config import shown
from multidelete.core.errors import ConfigError

CLOCK = "MULTIDELETE_NOW"
"""Environment variable: the time to work at, such as ``2026-12-01T09:30:00Z``, for rehearsals and tests."""


def now() -> datetime:
    """The time in UTC, in whole seconds.

    Raises:
        ConfigError: The environment variable holds no time.
    """
    told = os.environ.get(CLOCK)
    if not told:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        return as_utc(datetime.fromisoformat(told))
    except ValueError as error:
        raise ConfigError(
            f"{CLOCK} is {shown(told)}; it must be a time such as 2026-12-01T09:30:00Z, or not be set."
        ) from error


def today() -> date:
    """The day in UTC."""
    return now().date()


def as_utc(time: datetime) -> datetime:
    """In UTC and whole seconds; a time without a zone is in UTC already."""
    return (time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)).replace(microsecond=0)


def written(time: datetime) -> str:
    """As events hold it.

    >>> written(datetime(2026, 12, 1, 9, 30))
    '2026-12-01T09:30:00Z'
    """
    return as_utc(time).strftime("%Y-%m-%dT%H:%M:%SZ")
