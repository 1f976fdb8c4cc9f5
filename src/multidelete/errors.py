"""What this package raises, by the name that `except` is written with; defined in `multidelete.core.errors`."""

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

__all__ = [
    "CheckpointError",
    "CodeError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "LedgerError",
    "MultideleteError",
    "RequestError",
    "UnsupportedError",
    "UserError",
]
