"""What libraries raise on files and settings that they cannot use, as errors of ours with the library's sentence."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

from huggingface_hub.errors import HTTPError as HTTPError  # type: ignore[attr-defined]  # of what it asks the hub by
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from multidelete.core.errors import CheckpointError, CodeError, MultideleteError, UserError

# transformers, torch and peft check little before they compute: a wrong type is an AttributeError deep inside them
LIBRARY_ERRORS = (
    OSError, ValueError, TypeError, LookupError, AttributeError, NameError, ImportError, RuntimeError, ArithmeticError,
    AssertionError, MemoryError, EOFError, SyntaxError, SafetensorError, StrictDataclassError, UnpicklingError,
    HTTPError,
)  # fmt: skip
_OF_LIBRARIES = ("multidelete.", "torch.", "transformers.", "abc", "builtins")
_LONGEST = 400  # characters of a library's sentence


@contextmanager
def explained(what: str, remedy: str, kind: type[UserError] = CheckpointError) -> Iterator[None]:
    """Within it, what a library raises becomes an error of ours: what is wrong, the library's sentence, the remedy."""
    try:
        yield
    except MultideleteError:
        raise
    except LIBRARY_ERRORS as error:
        raise kind(f"{what}: {sentence(error)} {remedy}") from error


@contextmanager
def own_code(*owners: object) -> Iterator[None]:
    """Within it, what a method or adapter of the user's own raises becomes an error that names it.

    Args:
        owners: The method and the adapter, or their classes. What the package's own raise stays as it is.

    Raises:
        CodeError: With the place, and the sentence of what was raised, which is the cause.
    """
    try:
        yield
    except (MultideleteError, OSError):
        raise
    except Exception as error:  # whatever code of others raises
        for owner in owners:
            kind = owner if isinstance(owner, type) else type(owner)
            if (where := _place_in(kind, error)) is not None:
                raise CodeError(
                    f"{called(kind)} failed in {where}: {sentence(error)} It is code of your own: mend it, or take "
                    "another."
                ) from error
        raise


def _place_in(kind: type, error: Exception) -> str | None:
    """The last place in a class's own modules that an error came through; None where that only hands on to the base."""
    modules = {base.__module__ for base in kind.__mro__ if not f"{base.__module__}.".startswith(_OF_LIBRARIES)}
    frames = [
        (frame.f_globals.get("__name__"), frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    last = max((at for at, (module, _, _) in enumerate(frames) if module in modules), default=None)
    if last is None:
        return None
    _, code, line = frames[last]
    is_handed_on = last + 1 < len(frames) and frames[last + 1][1].co_name == code.co_name
    return None if is_handed_on else f"{code.co_qualname}, line {line}"


def called(kind: type) -> str:
    """What errors call a class of the user's own.

    >>> called(UserError)
    'multidelete.core.errors:UserError'
    """
    return f"{kind.__module__}:{kind.__qualname__}"


def sentence(error: BaseException) -> str:
    """The first sentence of an error's text, with its type where the text alone says nothing, and a full stop.

    >>> sentence(KeyError("hidden_act")), sentence(ValueError("Give two.\\n\\nSee the documentation."))
    ("KeyError: 'hidden_act'.", 'Give two.')
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines or isinstance(error, LookupError | AttributeError | NameError):
        lines = [f"{type(error).__name__}: {lines[0] if lines else 'no more is said'}"]
    elif lines[0].endswith(":"):
        lines = [" ".join(lines[:2])]
    lines[0] = re.split(r"(?<=\w[.!?]) (?=[A-Z])", lines[0], maxsplit=1)[0]
    text = lines[0] if len(lines[0]) <= _LONGEST else lines[0][: _LONGEST - 3].rstrip() + "..."
    return text if text.endswith((".", "!", "?")) else f"{text.rstrip(' ,;:')}."
