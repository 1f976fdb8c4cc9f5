"""What a flag and a parameter mean has one name, on the command line and in Python."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields

import pytest

import multidelete
from multidelete import LoopSettings, TrainSettings
from multidelete.artifacts.excluding import exclude
from multidelete.cli import app
from multidelete.data.request import Request
from multidelete.experiments.comparison import compare
from multidelete.experiments.store import ModelStore
from multidelete.methods import Retrain
from multidelete.models.converters.conversion import convert, export
from multidelete.models.vectors import write_embeddings

REQUEST = {"forget_subject", "forget_image", "forget_node"}  # resolve_request: subjects, images, nodes
FAMILY = {"family"}  # add_family
HUB = {"push_to_hub"}  # a function of that name


@dataclass(frozen=True)
class Compared:
    """A command beside Python.

    Attributes:
        entry: The functions that it calls.
        settings: What their parameters hold: the fields are flags.
        only_flags: Flags of what the command does itself.
        only_python: Parameters that no flag can give: objects in memory, and what the settings above stand for.
    """

    entry: tuple[Callable[..., object], ...]
    settings: tuple[type, ...] = ()
    only_flags: frozenset[str] | set[str] = frozenset()
    only_python: frozenset[str] | set[str] = frozenset()


COMMANDS = {
    "demo": Compared((multidelete.demo,), only_python={"passes"}),
    "train": Compared(
        (multidelete.train, multidelete.load_data, multidelete.reading),
        (TrainSettings, LoopSettings),
        {"holdout"},
        {"settings", "notes"},
    ),
    "unlearn": Compared(
        (multidelete.unlearn, multidelete.load_data, multidelete.reading),
        (LoopSettings, Request, Retrain),
        REQUEST | FAMILY | HUB | {"set", "dry_run", "name_forgotten"},
        {"settings", "processor", "notes"},
    ),
    "tune": Compared(
        (multidelete.tune, multidelete.load_data, multidelete.reading),
        (LoopSettings, Request),
        REQUEST | FAMILY | {"set"},
        {"settings", "processor"},
    ),
    "audit": Compared(
        (multidelete.audit, multidelete.load_data, multidelete.reading), (Request,), REQUEST | FAMILY, {"others"}
    ),
    "references": Compared(
        (ModelStore.retrained, multidelete.load_data, ModelStore, multidelete.reading),
        (Request,),
        REQUEST | FAMILY | {"forget", "store", "retrained", "shadows"},
        {"request", "root", "names_only", "seed"},
    ),
    "compare": Compared((compare, ModelStore), only_python={"say", "root", "names_only"}),
    "merge": Compared((multidelete.merge,), only_flags=FAMILY | HUB),
    "convert": Compared((convert, export, multidelete.reading), only_flags={"to_official"}),
    "data": Compared(
        (multidelete.load_data, multidelete.reading),
        only_flags=FAMILY | {"examples", "check", "model", "write", "index", "index_folder"},
    ),
    "exclude": Compared(
        (multidelete.load_data, exclude),
        (Request,),
        REQUEST | {"forget", "rewrite", "in_place", "resume"},
        {"train", "request", "id_column"},
    ),
    "embed": Compared(
        (multidelete.load_data, multidelete.reading, write_embeddings),
        (Request,),
        REQUEST | FAMILY | {"forget", "key", "model", "only", "device", "allow_pickle", "earlier_pairs_removed"},
        {"adapter", "pairs", "number", "modalities"},
    ),
    "methods": Compared(()),
    "verify": Compared((), only_flags={"context"}),  # the verifier reads its own flags
    "families": Compared(()),
}


def flags_of(name: str) -> set[str]:
    (command,) = (one for one in app.registered_commands if one.name == name)
    return set(inspect.signature(command.callback).parameters) - {"config", "json"}  # type: ignore[arg-type]


def test_every_command_is_compared() -> None:
    assert {command.name for command in app.registered_commands} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_and_parameters_have_one_name(name: str) -> None:
    compared = COMMANDS[name]
    parameters = {one for function in compared.entry for one in inspect.signature(function).parameters} - {"self"}
    settings = {one.name for kind in compared.settings for one in fields(kind)}
    flags = flags_of(name)
    assert flags - parameters - settings == compared.only_flags
    assert parameters - flags - {"seed"} == compared.only_python - {"seed"}  # which load_data has for generated pairs
