"""Everything this package raises on purpose.

    MultideleteError            exit code
    |- UserError                    2   the user can mend it: input, settings, files
    |  |- RequestError                  the deletion request
    |  |- DataError                     the pairs on disk
    |  |- CheckpointError               a model folder, or a folder to write to
    |  |- LedgerError                   the ledger of a lineage, or a step that a request cannot take
    |  |- UnsupportedError              a combination that does not exist
    |  `- ConfigError                   a setting
    |- DivergedError                1   the run itself failed: a loss is not finite
    `- CodeError                    1   a method or adapter of the user's own failed

Messages say what is wrong, the value found, the rule, and the remedy.
"""

from collections.abc import Iterable, Mapping, Sequence

from multidelete.core.words import counted


class SettingProblem(str):
    """What is wrong with one setting: its name, and the rest of the sentence.

    In Python a setting is called by its name; the command line calls it by its flag (`called`).

    >>> SettingProblem("relearn_lr", "is 0; it must be greater than 0.").called("--relearn-lr")
    '--relearn-lr is 0; it must be greater than 0.'
    """

    __slots__ = ("rest", "setting")

    setting: str
    rest: str

    def __new__(cls, setting: str, rest: str) -> "SettingProblem":
        problem = super().__new__(cls, f"{setting} {rest}")
        problem.setting, problem.rest = setting, rest
        return problem

    def called(self, name: str) -> str:
        """The sentence with another name for the setting."""
        return f"{name} {self.rest}"


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


class LedgerError(UserError):
    """The ledger of a lineage is damaged or busy, or a request cannot take this step."""


class UnsupportedError(UserError):
    """A combination of family, method and data that does not exist."""


class ConfigError(UserError):
    """A setting is unknown or out of range."""


class DivergedError(MultideleteError):
    """A loss or a weight is NaN or infinite."""


class CodeError(MultideleteError):
    """A method or adapter of the user's own failed; what it raised is the cause."""


def first_few(items: Sequence[object], limit: int = 10) -> str:
    """Join the first ``limit`` items, and say how many more there are.

    >>> first_few(["a", "b", "c"], limit=2)
    'a, b, and 1 more'
    """
    shown = ", ".join(short(str(item)) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown}, and {len(items) - limit} more"


def rule_lines(name: object, broken: Mapping[str, Sequence[object]]) -> list[str]:
    """A problem for each rule that is broken, such as ``rows have no text``, with where it is.

    >>> rule_lines("a.csv", {"rows have no text": ["row 3", "row 7"]})
    ['a.csv: 2 rows have no text: row 3, row 7.']
    """
    return [f"{name}: {counted(len(where), rule)}: {first_few(where)}." for rule, where in broken.items()]


def short(text: str, limit: int = 200) -> str:
    """A text for one line of a message: long ones are cut, and characters that do not print are escaped.

    >>> short("a\\nb"), short("x" * 500, limit=4)
    ('a\\\\nb', 'xxxx... (500 characters)')
    """
    cut = text if len(text) <= limit else f"{text[:limit]}... ({counted(len(text), 'characters')})"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)
