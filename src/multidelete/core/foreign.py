"""What libraries raise on files and settings that they cannot use, as errors of ours with the library's sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from multidelete.core.errors import CheckpointError, MultideleteError, UserError

# transformers, torch and peft check little before they compute: a wrong type is an AttributeError deep inside them
LIBRARY_ERRORS = (
    OSError, ValueError, TypeError, LookupError, AttributeError, NameError, ImportError, RuntimeError, ArithmeticError,
    AssertionError, MemoryError, EOFError, SyntaxError, SafetensorError, StrictDataclassError, UnpicklingError,
)  # fmt: skip
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
