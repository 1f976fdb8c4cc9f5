"""Where models come from: folders that are there, or ids on the hub."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem
from multidelete.models.base import Adapter
from multidelete.models.families import recognise_model


def may_be_hub_id(source: str) -> bool:
    """Whether a text can only name a model on the hub: ``owner/name``, and no folder ``owner`` is here.

    >>> may_be_hub_id("openai/clip-vit-base-patch32"), may_be_hub_id("nowhere")
    (True, False)
    """
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) is not None and not Path(source.split("/")[0]).exists()


def refuse_missing(sources: Mapping[str, object]) -> None:
    """Refuse models that are not there, before anything is read, and before the hub is asked for what is a slip.

    Args:
        sources: What was given for each setting: a folder or hub id, or several of them. What is neither a text nor
            a path, a model in memory for instance, and None are passed over.

    Raises:
        CheckpointError: One line for each that is no folder and cannot be a hub id.
    """
    problems = []
    for name, named in sources.items():
        for source in named if isinstance(named, Sequence) and not isinstance(named, str) else [named]:
            if not isinstance(source, str | Path):
                continue
            if not str(source):
                problems.append(SettingProblem(name, "is empty. Give a model folder or a hub id such as org/name."))
            elif not _exists(Path(source)) and not (isinstance(source, str) and may_be_hub_id(source)):
                problems.append(
                    SettingProblem(
                        name,
                        f"is {str(source)!r}, and there is no such folder. "
                        "Give a model folder, or a hub id such as org/name.",
                    )
                )
    if problems:
        raise CheckpointError(problems)


def check_processor(model: object, processor: object) -> None:
    """Refuse a processor that cannot prepare a loaded model's pairs; an Adapter has its own.

    Raises:
        ConfigError: It lacks one of the parts that a model of this family needs.
    """
    if isinstance(model, Adapter) or processor is None:
        return
    needs = recognise_model(model).kind.processor_parts
    lacks = [part for part in needs if getattr(processor, part, None) is None]
    if lacks:
        raise ConfigError(
            SettingProblem(
                "processor",
                f"is of type {type(processor).__name__} and has no {' and no '.join(lacks)}; it must have both "
                f"{' and '.join(needs)}, as AutoProcessor.from_pretrained(...) of the model's folder gives.",
            )
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False
