"""Paths as users write them: taken literally, whatever characters they hold."""

from pathlib import Path


def user_path(typed: str | Path) -> Path:
    """The path as it is written, where something is there; else with a leading ``~`` as the home folder."""
    path = Path(typed)
    if lies_there(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # ~name, and there is no such user
        return path


def lies_there(path: str | Path) -> bool:
    """Whether something is there; under a name that no file can have (too long, a zero inside) nothing is."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
