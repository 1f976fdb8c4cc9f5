"""Names of a model's classes: ``id2label`` and ``label2id`` of its configuration."""

from collections.abc import Sequence

from transformers import PreTrainedConfig

from multidelete.core.errors import CheckpointError
from multidelete.core.words import counted


def name_classes(config: PreTrainedConfig, classes: Sequence[str]) -> None:
    """Write the names of classes, where there are any, into a `transformers` configuration."""
    if classes:
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: position for position, name in enumerate(classes)}


def read_classes(config: PreTrainedConfig) -> tuple[str, ...]:
    """Names of the classes in the order of the model's outputs; ``LABEL_0`` and so on where it has none.

    Raises:
        CheckpointError: ``id2label`` does not name each output once, or ``label2id`` contradicts it.
    """
    names = config.id2label
    absent = [number for number in range(len(names)) if number not in names]
    if absent:
        raise CheckpointError(
            f"id2label of the model's config.json names {counted(len(names), 'classes')} and none of number "
            f"{absent[0]}. Number them from 0, in the order of the model's outputs."
        )
    classes = tuple(str(names[number]) for number in range(len(names)))
    back = {str(name): number for name, number in (config.label2id or {}).items()}
    contradicted = [name for number, name in enumerate(classes) if back.get(name, number) != number]
    if contradicted and len(set(classes)) == len(classes):
        raise CheckpointError(
            f"id2label and label2id of the model's config.json contradict each other: {contradicted[0]!r} is "
            f"{classes.index(contradicted[0])} in one and {back[contradicted[0]]} in the other. Correct one of them."
        )
    return classes
