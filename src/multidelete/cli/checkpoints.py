"""Flags of checkpoints of others, which commands read models with."""

from collections.abc import Iterator
from contextlib import contextmanager

from multidelete.cli.flags import Call
from multidelete.cli.options import CheckpointOptions, DataOptions
from multidelete.core.paths import user_path


@contextmanager
def reading_checkpoints(call: Call) -> Iterator[None]:
    """Within it, checkpoints of others are read with what the flags say of them."""
    given = call.paths()
    names = ("tokenizer", "architecture", "head_width", "classes")
    if CheckpointOptions not in call.kinds or all(given.get(name) is None for name in names):
        yield
        return
    from multidelete.models.converters.layout import reading

    said = call.of(CheckpointOptions)
    told = next((call.of(kind) for kind in call.kinds if issubclass(kind, DataOptions)), None)
    with reading(
        tokenizer=None if said.tokenizer is None else user_path(said.tokenizer),
        architecture=None if said.architecture is None else user_path(said.architecture),
        head_width=said.head_width,
        classes=() if told is None else told.classes,
    ):
        yield
