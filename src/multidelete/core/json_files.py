"""JSON files that others wrote: whatever they hold, a sentence and never a traceback."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from multidelete.core.errors import CheckpointError
from multidelete.core.words import indefinite

if TYPE_CHECKING:
    Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
else:
    Json = object  # the hints of dataclasses are read where they run, and nothing reads one that holds itself
JsonObject: TypeAlias = Mapping[str, Json]


def read_json_object(path: Path, remedy: str) -> dict[str, Json]:
    """The object in a JSON file.

    Args:
        path: The file.
        remedy: What to do where it is none, as a sentence.

    Raises:
        CheckpointError: It cannot be read, is not JSON, or is no object.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_refuse_constant)
        if "\\ud" in text.lower():  # half of a character, which nothing can write again
            json.dumps(content, ensure_ascii=False).encode()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}. {remedy}") from error
    except RecursionError as error:
        raise CheckpointError(f"{path} is nested too deeply to be read. {remedy}") from error
    except ValueError as error:  # no text, no JSON, or a number of thousands of digits
        raise CheckpointError(f"{path} is not valid JSON: {error}. {remedy}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {indefinite(type(content).__name__)}; it must be a JSON object. {remedy}")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
