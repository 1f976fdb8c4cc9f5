"""Settings files: TOML that users write."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from multidelete.core.errors import ConfigError
from multidelete.core.json_files import Json, JsonObject


@dataclass(frozen=True)
class SettingsFile:
    """A settings file that has been read: where it lies, and what it holds."""

    path: Path
    content: JsonObject


def read_toml(path: Path) -> dict[str, Json]:
    """Read a settings file.

    Raises:
        ConfigError: The file cannot be read or is not TOML; names the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply to be read. Each line reads `name = value`.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Give the path of a TOML file.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}. Give the path of a TOML file.") from error
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise ConfigError(f"{path} is not valid TOML: {error}. Each line reads `name = value`.") from error
