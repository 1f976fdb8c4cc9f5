"""Make a trained multimodal model forget named training pairs, keep the rest, and show that it did."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidelete.artifacts.hub import push_to_hub
    from multidelete.auditing import audit
    from multidelete.audits.result import Figure, read_audit
    from multidelete.core.errors import (
        CheckpointError,
        CodeError,
        ConfigError,
        DataError,
        DivergedError,
        LedgerError,
        MultideleteError,
        RequestError,
        UnsupportedError,
        UserError,
    )
    from multidelete.core.settings import LoopSettings, LoraSettings, TrainSettings
    from multidelete.data.collate import stacked_sources
    from multidelete.data.decode import open_image
    from multidelete.data.generated.personas import personas
    from multidelete.data.graph import Graph
    from multidelete.data.pairs import Batch, Pair, PairData, PairDataset
    from multidelete.data.readers import READERS, load_data
    from multidelete.data.request import Request, resolve_request
    from multidelete.data.request_file import read_request
    from multidelete.demonstration import demo
    from multidelete.experiments.store import ModelStore
    from multidelete.experiments.tuning import Tuned, tune
    from multidelete.methods import METHODS, GradientMethod, Method
    from multidelete.models import (
        FAMILIES,
        Adapter,
        FamilyAdapter,
        NewModel,
        PairOutputs,
        add_family,
        load_adapter,
        reading,
    )
    from multidelete.models.merging import merge
    from multidelete.unlearning import train, unlearn

__version__ = "0.1.0"
__all__ = [
    "FAMILIES",
    "METHODS",
    "READERS",
    "Adapter",
    "Batch",
    "CheckpointError",
    "CodeError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "FamilyAdapter",
    "Figure",
    "GradientMethod",
    "Graph",
    "LedgerError",
    "LoopSettings",
    "LoraSettings",
    "Method",
    "ModelStore",
    "MultideleteError",
    "NewModel",
    "Pair",
    "PairData",
    "PairDataset",
    "PairOutputs",
    "Request",
    "RequestError",
    "TrainSettings",
    "Tuned",
    "UnsupportedError",
    "UserError",
    "__version__",
    "add_family",
    "audit",
    "demo",
    "load_adapter",
    "load_data",
    "merge",
    "open_image",
    "personas",
    "push_to_hub",
    "read_audit",
    "read_request",
    "reading",
    "resolve_request",
    "stacked_sources",
    "train",
    "tune",
    "unlearn",
]

# Imported when first used: torch and transformers take seconds, and --help needs neither.
_HOMES = {
    "core.settings": "LoopSettings LoraSettings TrainSettings",
    "audits.result": "Figure read_audit",
    "data.collate": "stacked_sources",
    "data.decode": "open_image",
    "data.graph": "Graph",
    "data.pairs": "Batch Pair PairData PairDataset",
    "data.generated.personas": "personas",
    "data.readers": "READERS load_data",
    "data.request": "Request resolve_request",
    "data.request_file": "read_request",
    "demonstration": "demo",
    "core.errors": (
        "CheckpointError CodeError ConfigError DataError DivergedError LedgerError MultideleteError "
        "RequestError UnsupportedError UserError"
    ),
    "artifacts.hub": "push_to_hub",
    "auditing": "audit",
    "models.merging": "merge",
    "methods": "METHODS GradientMethod Method",
    "models": "FAMILIES Adapter FamilyAdapter NewModel PairOutputs add_family load_adapter reading",
    "unlearning": "train unlearn",
    "experiments.store": "ModelStore",
    "experiments.tuning": "Tuned tune",
}
_HOME = {name: f"multidelete.{module}" for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
