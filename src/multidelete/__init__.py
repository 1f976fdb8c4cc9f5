"""Make a trained multimodal model forget named training pairs, keep the rest, and show that it did."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidelete.audits.result import Figure, read_audit
    from multidelete.data.pairs import Batch, Pair, PairData, PairDataset
    from multidelete.data.personas import personas
    from multidelete.data.readers import READERS, load_data
    from multidelete.data.request import Request, resolve_request
    from multidelete.data.request_file import read_request
    from multidelete.demonstration import demo
    from multidelete.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        DivergedError,
        MultideleteError,
        RequestError,
        UnsupportedError,
        UserError,
    )
    from multidelete.evidence import audit
    from multidelete.merging import merge
    from multidelete.methods import METHODS, GradientMethod, Method
    from multidelete.models import FAMILIES, Adapter, PairOutputs, load_adapter
    from multidelete.pipeline import train, unlearn
    from multidelete.settings import LoopSettings, LoraSettings, TrainSettings
    from multidelete.store import ModelStore
    from multidelete.tuning import Tuned, tune

__version__ = "0.1.0"
__all__ = [
    "FAMILIES",
    "METHODS",
    "READERS",
    "Adapter",
    "Batch",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "Figure",
    "GradientMethod",
    "LoopSettings",
    "LoraSettings",
    "Method",
    "ModelStore",
    "MultideleteError",
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
    "audit",
    "demo",
    "load_adapter",
    "load_data",
    "merge",
    "personas",
    "read_audit",
    "read_request",
    "resolve_request",
    "train",
    "tune",
    "unlearn",
]

# Imported when first used: torch and transformers take seconds, and --help needs neither.
_HOMES = {
    "audits.result": "Figure read_audit",
    "data.pairs": "Batch Pair PairData PairDataset",
    "data.personas": "personas",
    "data.readers": "READERS load_data",
    "data.request": "Request resolve_request",
    "data.request_file": "read_request",
    "demonstration": "demo",
    "errors": (
        "CheckpointError ConfigError DataError DivergedError MultideleteError RequestError UnsupportedError UserError"
    ),
    "evidence": "audit",
    "merging": "merge",
    "methods": "METHODS GradientMethod Method",
    "models": "FAMILIES Adapter PairOutputs load_adapter",
    "pipeline": "train unlearn",
    "settings": "LoopSettings LoraSettings TrainSettings",
    "store": "ModelStore",
    "tuning": "Tuned tune",
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
