"""Which model families there are, and how a folder tells what it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from inspect import isabstract
from pathlib import Path

from transformers import PreTrainedModel

from multidelete.artifacts.manifest import read_record
from multidelete.core.config import did_you_mean
from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError
from multidelete.core.imported import import_class
from multidelete.core.words import indefinite
from multidelete.models.albef import AlbefAdapter
from multidelete.models.base import Task
from multidelete.models.blip import BlipAdapter
from multidelete.models.checkpoint import StoredConfig, read_config
from multidelete.models.clip_relatives import AltClipAdapter, ChineseClipAdapter, ClipSegAdapter
from multidelete.models.converters.known import head_of
from multidelete.models.dual_encoder import DualEncoderAdapter, SiglipAdapter, VisionTextAdapter
from multidelete.models.family import FamilyAdapter
from multidelete.models.graph_text import GraphTextAdapter
from multidelete.models.vilt import ViltAdapter

_BUILT_IN: tuple[type[FamilyAdapter], ...] = (
    DualEncoderAdapter,
    SiglipAdapter,
    VisionTextAdapter,
    AlbefAdapter,
    BlipAdapter,
    ViltAdapter,
    GraphTextAdapter,
    AltClipAdapter,
    ChineseClipAdapter,
    ClipSegAdapter,
)
FAMILIES: dict[str, type[FamilyAdapter]] = {kind.family: kind for kind in _BUILT_IN}
"""By name; those of the user's own that were asked for, by module and class."""


def add_family(name: str) -> type[FamilyAdapter]:
    """Import a family of the user's own, ``package.module:Class``, so that its models can be made and loaded.

    Nothing else imports it: what a model's folder records is never run.

    Raises:
        ConfigError: It cannot be imported, or is no family; one line for each reason.
    """
    if ":" not in name or name in FAMILIES:
        return get_family(name)
    kind = import_class(name, "Family")
    if not issubclass(kind, FamilyAdapter):
        raise ConfigError(f"{name!r} is no subclass of multidelete.FamilyAdapter.")
    problems = [
        f'{name!r} has no {attribute}. Give the class one: {attribute} = "my-model".'
        for attribute in ("family", "model_type")
        if not isinstance(getattr(kind, attribute, None), str)
    ]
    if isabstract(kind):
        problems.append(f"{name!r} does not define {', '.join(sorted(kind.__abstractmethods__))}. Every family must.")
    heads = getattr(kind, "heads", None)
    if not isinstance(heads, dict) or not heads or set(heads.values()) - {"retrieval", "classification"}:
        problems.append(f'{name!r} names no heads. Give the class some: heads = {{"MyNetwork": "retrieval"}}.')
    else:
        problems += [
            f"{name!r}: the head {head!r} is no PreTrainedModel of its module, nor of transformers."
            for head in heads
            if not _is_network(kind, head)
        ]
    if problems:
        raise ConfigError(problems)
    FAMILIES[name] = kind
    return kind


def _is_network(kind: type[FamilyAdapter], head: str) -> bool:
    try:
        network: object = kind.model_class(head)
    except AttributeError:
        return False
    return isinstance(network, type) and issubclass(network, PreTrainedModel)


@dataclass(frozen=True)
class Recognised:
    """What a model folder is: its family, and the network class of its head."""

    kind: type[FamilyAdapter]
    head: str

    @property
    def family(self) -> str:
        return self.kind.family

    @property
    def task(self) -> Task:
        return self.kind.heads[self.head]


def get_family(name: str) -> type[FamilyAdapter]:
    """Look up a family by name; one of the user's own must have been asked for before (`add_family`).

    Raises:
        ConfigError: There is none.
    """
    if name not in FAMILIES:
        if ":" in name:
            raise ConfigError(f"Family {name!r} is not one of multidelete's own. {_ASKED_FOR.format(name)}")
        raise ConfigError(f"Unknown family {name!r}. {did_you_mean(name, FAMILIES)} Your own: package.module:Class.")
    return FAMILIES[name]


_ASKED_FOR = (
    "It is imported only where it is asked for: if you trust this code, give --family {}, from Python "
    "multidelete.add_family."
)


def with_task(task: Task, modalities: Iterable[str] | None = None) -> list[str]:
    """Names of the families that have a task, for pairs of these modalities."""
    wanted = None if modalities is None else set(modalities)
    return [
        name
        for name, kind in FAMILIES.items()
        if task in kind.tasks() and (wanted is None or set(kind.modalities) == wanted)
    ]


def _refuse_unasked(source: str | Path) -> None:
    """Refuse a folder that records a family of somebody's own which nobody has asked for.

    Raises:
        CheckpointError: It does.
    """
    record = read_record(source)
    told = None if record is None else record.recipe.model
    family = None if told is None else told.get("family")
    if isinstance(family, str) and ":" in family and family not in FAMILIES:
        raise CheckpointError(f"{source} is a model of the family {family!r}. {_ASKED_FOR.format(family)}")


def recognise(source: str | Path) -> Recognised:
    """The family and head of a model folder or hub id, by its config.json, or of a checkpoint of others, by its names.

    Raises:
        CheckpointError: Not a model, of no known family, or with a head that its family does not have.
        UnsupportedError: With a head that its family cannot have.
    """
    theirs = head_of(source)
    config = read_config(source) if theirs is None else StoredConfig("", (theirs,))
    _refuse_unasked(source)
    known = list(reversed(FAMILIES.values()))  # those of the user's own come first
    for kind in known:
        for head in config.architectures:
            if head in kind.heads:
                return Recognised(kind, head)
    for kind in known:
        for head in config.architectures:
            if head in kind.without:
                raise UnsupportedError(f"{source} is {indefinite(head)}; {kind.without[head]}.")
    for kind in known:
        if config.model_type != kind.model_type:
            continue
        if len(kind.heads) == 1:  # a class of the user's own, derived from it
            return Recognised(kind, next(iter(kind.heads)))
        heads = ", ".join(f"{head} ({task})" for head, task in kind.heads.items())
        named = " and ".join(config.architectures) or "no architectures in its config.json"
        raise CheckpointError(
            f"{source} is {indefinite(f'{config.model_type!r} model')} with the head {named}. Family {kind.family} has "
            f"the heads {heads}. Give a model with one of these, or write an adapter (docs/models.md)."
        )
    raise CheckpointError(
        f"{source} is {indefinite(f'{config.model_type!r} model')}. Known families: "
        + ", ".join(f"{name} ({kind.model_type})" for name, kind in FAMILIES.items())
        + ". For another model, write an adapter (docs/models.md), and name it: --family package.module:Class."
    )


def recognise_model(model: object) -> Recognised:
    """The family and head of a loaded network, by its class or the classes it is derived from.

    Raises:
        ConfigError: It is of no known family.
    """
    ancestors = [ancestor.__name__ for ancestor in type(model).__mro__]
    for ancestor in ancestors:
        for kind in reversed(FAMILIES.values()):
            if ancestor in kind.heads:
                return Recognised(kind, ancestor)
    known_classes = ", ".join(head for kind in FAMILIES.values() for head in kind.heads)
    raise ConfigError(
        f"{type(model).__name__} is of no known family; known: {known_classes}. "
        "Pass an Adapter for another model (docs/models.md)."
    )
