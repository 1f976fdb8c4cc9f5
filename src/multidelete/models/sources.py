"""Where models come from: folders that are there, or ids on the hub."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from multidelete.core.errors import CheckpointError, SettingProblem
from multidelete.core.paths import lies_there


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
            elif not lies_there(source) and not (isinstance(source, str) and may_be_hub_id(source)):
                problems.append(
                    SettingProblem(
                        name,
                        f"is {str(source)!r}, and there is no such folder or file. "
                        "Give a model folder, a checkpoint file, or a hub id such as org/name.",
                    )
                )
    if problems:
        raise CheckpointError(problems)
