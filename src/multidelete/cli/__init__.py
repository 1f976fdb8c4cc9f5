"""The command line: parse, call what does it, print."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidelete.cli.commands import app

__all__ = ["app", "main", "run"]


def main() -> None:
    """Entry point of the ``multidelete`` command. A certificate is verified before anything else is imported."""
    if sys.argv[1:2] == ["verify"]:
        from multidelete.ledger import verifier

        sys.exit(verifier.main(sys.argv[2:]))
    from multidelete.cli import commands

    commands.main()


def run(arguments: Sequence[str]) -> int:
    """Run one command; gives its exit code."""
    from multidelete.cli import commands

    return commands.run(arguments)


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("multidelete.cli.commands").app
