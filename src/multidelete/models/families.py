"""Which model families there are, what they can do, and how a folder tells what it is.

A family's module is imported when it is first used: some need packages that others do not.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

import transformers
from transformers import PreTrainedModel

from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError
from multidelete.models.base import Adapter, Task
from multidelete.models.checkpoint import read_config


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family.

    Attributes:
        description: One line about it.
        model_type: What its config.json calls it.
        heads: The task of each network class; ``architectures`` in config.json names the class.
        module: Where its adapter is.
        adapter_name: The adapter's class there.
        modalities: What its pairs consist of.
        extra: Extra of this package that it needs, if any.
    """

    description: str
    model_type: str
    heads: Mapping[str, Task]
    module: str
    adapter_name: str
    modalities: tuple[str, str] = ("image", "text")
    extra: str | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that it has heads for."""
        return tuple(dict.fromkeys(self.heads.values()))

    @cached_property
    def code(self) -> ModuleType:
        """The family's module.

        Raises:
            UnsupportedError: A package that it needs is not installed.
        """
        try:
            return import_module(self.module)
        except ImportError as error:
            if self.extra is None or (error.name or "").startswith("multidelete"):
                raise
            raise UnsupportedError(
                f"{self.description.partition(':')[0]} needs {error.name}, which is not installed. "
                f"Install it with: pip install '.[{self.extra}]', in a clone of multidelete."
            ) from error

    @property
    def adapter(self) -> type[Adapter]:
        """Its adapter, made of a network and its processor."""
        return cast(type[Adapter], getattr(self.code, self.adapter_name))

    def model_class(self, head: str) -> type[PreTrainedModel]:
        """The network class of one of ``heads``."""
        return cast(type[PreTrainedModel], getattr(self.code, head, None) or getattr(transformers, head))


_DUAL_ENCODER = "multidelete.models.dual_encoder"

FAMILIES: dict[str, Family] = {
    "clip": Family(
        description="CLIP (transformers CLIPModel): image-text retrieval",
        model_type="clip",
        heads={"CLIPModel": "retrieval"},
        module=_DUAL_ENCODER,
        adapter_name="DualEncoderAdapter",
    ),
    "siglip": Family(
        description="SigLIP (transformers SiglipModel): image-text retrieval",
        model_type="siglip",
        heads={"SiglipModel": "retrieval"},
        module=_DUAL_ENCODER,
        adapter_name="SiglipAdapter",
    ),
    "vision-text": Family(
        description=(
            "any vision backbone with any text encoder (transformers VisionTextDualEncoderModel): image-text retrieval"
        ),
        model_type="vision-text-dual-encoder",
        heads={"VisionTextDualEncoderModel": "retrieval"},
        module=_DUAL_ENCODER,
        adapter_name="VisionTextAdapter",
    ),
    "albef": Family(
        description="ALBEF (our network, the published architecture): retrieval; entailment, two-image reasoning",
        model_type="albef",
        heads={"AlbefForRetrieval": "retrieval", "AlbefForClassification": "classification"},
        module="multidelete.models.albef",
        adapter_name="AlbefAdapter",
    ),
    "blip": Family(
        description="BLIP (transformers' encoders): retrieval; entailment, two-image reasoning",
        model_type="blip",
        heads={"BlipForImageTextRetrieval": "retrieval", "BlipForClassification": "classification"},
        module="multidelete.models.blip",
        adapter_name="BlipAdapter",
    ),
    "vilt": Family(
        description="ViLT (transformers): retrieval; two-image reasoning, question answering",
        model_type="vilt",
        heads={
            "ViltForImageAndTextRetrieval": "retrieval",
            "ViltForImagesAndTextClassification": "classification",
            "ViltForQuestionAnswering": "classification",
        },
        module="multidelete.models.vilt",
        adapter_name="ViltAdapter",
    ),
    "graph-text": Family(
        description="a graph encoder with a text encoder (our network): graph-text retrieval; relations",
        model_type="graph-text",
        heads={"GraphTextForRetrieval": "retrieval", "GraphTextForClassification": "classification"},
        module="multidelete.models.graph_text",
        adapter_name="GraphTextAdapter",
        modalities=("graph", "text"),
        extra="graph",
    ),
}


@dataclass(frozen=True)
class Recognised:
    """What a model folder is: its family, and the network class of its head."""

    family: str
    head: str

    @property
    def task(self) -> Task:
        return FAMILIES[self.family].heads[self.head]


def get_family(name: str) -> Family:
    """Look up a family by name."""
    if name not in FAMILIES:
        close = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"Unknown family {name!r}.{hint} Known families: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def with_task(task: Task, modalities: Iterable[str] | None = None) -> list[str]:
    """Names of the families that have a task, for pairs of these modalities."""
    wanted = None if modalities is None else set(modalities)
    return [
        name
        for name, family in FAMILIES.items()
        if task in family.tasks and (wanted is None or set(family.modalities) == wanted)
    ]


def recognise(source: str | Path) -> Recognised:
    """The family and head of a model folder or hub id, by its config.json.

    Raises:
        CheckpointError: Not a model, of no known family, or with a head that its family does not have.
    """
    config = read_config(source)
    for name, family in FAMILIES.items():
        for head in config.architectures:
            if head in family.heads:
                return Recognised(name, head)
    for name, family in FAMILIES.items():
        if config.model_type != family.model_type:
            continue
        if len(family.heads) == 1:  # a class of the user's own, derived from it
            return Recognised(name, next(iter(family.heads)))
        known = ", ".join(f"{head} ({task})" for head, task in family.heads.items())
        named = " and ".join(config.architectures) or "no architectures in its config.json"
        raise CheckpointError(
            f"{source} is a {config.model_type!r} model with the head {named}. Family {name} has the heads {known}. "
            "Give a model with one of these, or write an adapter (docs/models.md)."
        )
    raise CheckpointError(
        f"{source} is a {config.model_type!r} model. Known families: "
        + ", ".join(f"{name} ({known.model_type})" for name, known in FAMILIES.items())
        + ". For another model, write an adapter (docs/models.md)."
    )


def recognise_model(model: object) -> Recognised:
    """The family and head of a loaded network, by its class or the classes it is derived from.

    Raises:
        ConfigError: It is of no known family.
    """
    ancestors = [ancestor.__name__ for ancestor in type(model).__mro__]
    for ancestor in ancestors:
        for name, family in FAMILIES.items():
            if ancestor in family.heads:
                return Recognised(name, ancestor)
    known_classes = ", ".join(head for family in FAMILIES.values() for head in family.heads)
    raise ConfigError(
        f"{type(model).__name__} is of no known family; known: {known_classes}. "
        "Pass an Adapter for another model (docs/models.md)."
    )
