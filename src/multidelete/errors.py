"""Everything this package raises on purpose.

    MultideleteError            exit code
    |- UserError                    2   the user can mend it: input, settings, files
    |  |- RequestError                  the deletion request
    |  |- DataError                     the pairs on disk
    |  |- CheckpointError               a model folder, or a folder to write to
    |  |- UnsupportedError              a combination that does not exist
    |  `- ConfigError                   a setting
    `- DivergedError                1   the run itself failed: a loss is not finite

Messages say what is wrong, the value found, the rule, and the remedy.
"""

from collections.abc import Iterable, Sequence


class MultideleteError(Exception):
    """Base of all errors of this package. ``problems`` holds one line each."""

    exit_code = 1

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class UserError(MultideleteError):
    """The user can mend it: wrong input, settings or files."""

    exit_code = 2


class RequestError(UserError):
    """The deletion request does not fit the data."""


class DataError(UserError):
    """The pairs on disk cannot be read as asked."""


class CheckpointError(UserError):
    """A model folder cannot be read, or a target cannot be written."""


class UnsupportedError(UserError):
    """A combination of family, method and data that does not exist."""


class ConfigError(UserError):
    """A setting is unknown or out of range."""


class DivergedError(MultideleteError):
    """A loss or a weight is NaN or infinite."""


def first_few(items: Sequence[object], limit: int = 10) -> str:
    """Join the first ``limit`` items, and say how many more there are.

    >>> first_few(["a", "b", "c"], limit=2)
    'a, b, and 1 more'
    """
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown}, and {len(items) - limit} more"
