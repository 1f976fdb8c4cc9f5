"""Classes of the user's own, by the name of their module."""

import importlib

from multidelete.core.errors import ConfigError


def import_class(name: str, what: str) -> type:
    """Import ``package.module:Class``; ``what`` that is meant to be is for errors.

    Raises:
        ConfigError: The module or the class is not there, or the module fails while it is imported.
    """
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ConfigError(
            f"{what} {name!r} cannot be imported: {why}. "
            "Give package.module:Class of an installed package, or of one in a folder on PYTHONPATH."
        ) from error
    kind = getattr(module, class_name, None)
    if not isinstance(kind, type):
        raise ConfigError(f"{what} {name!r} cannot be imported: module {module_name} has no class {class_name!r}.")
    return kind
