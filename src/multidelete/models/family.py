"""What a family of models is beyond an adapter: how its folders are known and read, and how a new model is made."""

import sys
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, cast

import transformers
from transformers import AutoProcessor, PreTrainedModel, ProcessorMixin

from multidelete.core.errors import UnsupportedError
from multidelete.models.base import Adapter, Task
from multidelete.models.fresh import NewModel


class FamilyAdapter(Adapter):
    """A family of models: an adapter whose folders are loaded by what their config.json says.

    Class attributes:
        description: One line about it.
        model_type: What its config.json calls it.
        heads: The task of each network class. ``architectures`` in config.json names the class, which stands in the
            adapter's module or in `transformers`.
        without: Network classes of the same kind that it does not read, with the reason.
        extra: Extra of this package that it needs, if any.
        processor_parts: What its processor has.
    """

    description: ClassVar[str] = ""
    model_type: ClassVar[str]
    heads: ClassVar[Mapping[str, Task]]
    without: ClassVar[Mapping[str, str]] = {}
    extra: ClassVar[str | None] = None
    processor_parts: ClassVar[tuple[str, ...]] = ("image_processor", "tokenizer")

    @abstractmethod
    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        super().__init__()

    @classmethod
    def tasks(cls) -> tuple[Task, ...]:
        """The tasks that it has heads for."""
        return tuple(dict.fromkeys(cls.heads.values()))

    @classmethod
    def model_class(cls, head: str) -> type[PreTrainedModel]:
        """The network class of one of ``heads``."""
        own = getattr(sys.modules[cls.__module__], head, None)
        return cast(type[PreTrainedModel], own or getattr(transformers, head))

    @classmethod
    def read_processor(cls, source: str | Path) -> ProcessorMixin:
        """The processor of a model folder or hub id."""
        return AutoProcessor.from_pretrained(str(source), trust_remote_code=False)

    @classmethod
    def new(cls, wanted: NewModel) -> tuple[PreTrainedModel, ProcessorMixin]:
        """A network with random weights, and its processor.

        Raises:
            UnsupportedError: The family makes no new models.
        """
        raise UnsupportedError(
            f"Family {cls.family!r} makes no new models. Train on from one of its folders with --start, or give "
            f"{cls.__name__} a classmethod `new`."
        )
