"""What a model folder may not ask for: code of its own, kernels of others, sizes that no machine has."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from multidelete.core.errors import CheckpointError, UnsupportedError, first_few
from multidelete.core.json_files import JsonObject

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")  # without those of the hub
_LARGEST, _MOST_CLASSES = 10**9, 10**6


def refuse_untrusted(source: str | Path, content: JsonObject) -> None:
    """Raise where config.json names code or sizes that must not be followed.

    Code that stands beside a network of a known class (``auto_map`` at the top) is not read, and does no harm.

    Raises:
        CheckpointError: It names code for one of its parts, an attention that is fetched from the hub, or a size out of
            all proportion.
        UnsupportedError: Its weights are quantised.
    """
    problems = []
    for path, value in _entries(content):
        name = path.rpartition(".")[2]
        if name == "auto_map" and path != name:
            problems.append(
                f"{source}: config.json names code of the folder's own for a part of the network ({path}). Such code "
                "is never run: give a network of transformers' own classes, or write an adapter (docs/models.md)."
            )
        if name in ("attn_implementation", "_attn_implementation") and value is not None and value not in ATTENTION:
            problems.append(
                f"{source}: config.json sets {path} to {value!r}; known are {', '.join(ATTENTION)}. Others are code "
                "from the hub, which is never run. Take the entry out."
            )
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
            problems.append(f"{source}: config.json sets {path} to {value}; no size may exceed {_LARGEST}. Correct it.")
        if name == "num_labels" and isinstance(value, int) and value > _MOST_CLASSES:
            problems.append(f"{source}: config.json sets {path} to {value}; at most {_MOST_CLASSES} classes are read.")
    if problems:
        raise CheckpointError(problems)
    if content.get("quantization_config") is not None:
        raise UnsupportedError(
            f"{source} is quantised: config.json has a quantization_config. Quantised weights cannot be trained; "
            "give the model in float32, float16 or bfloat16."
        )


def refuse_devices(folder: Path) -> None:
    """Raise where something in a folder is neither a file nor a folder: a pipe or device is read without end.

    Raises:
        CheckpointError: Each is named.
    """
    wrong = sorted(path.name for path in folder.iterdir() if path.exists() and not (path.is_file() or path.is_dir()))
    if wrong:
        raise CheckpointError(f"{folder} holds what is no ordinary file: {first_few(wrong)}. Take it out.")


def _entries(content: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every entry of nested dictionaries and lists, with its path."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            inner = f"{path}.{key}" if path else str(key)
            yield inner, value
            yield from _entries(value, inner)
    elif isinstance(content, list):
        for value in content:
            if isinstance(value, int):
                yield path, value
            else:
                yield from _entries(value, path)
