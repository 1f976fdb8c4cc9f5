"""The command line: parse, call what does it, print."""

from multidelete.cli.commands import app, main, run

__all__ = ["app", "main", "run"]
