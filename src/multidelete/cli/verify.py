"""The command ``verify``: the verifier as it is handed over, which reads its own flags."""

import typer

from multidelete.ledger import verifier

VERIFY = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}
"""Everything is passed on."""


def verify(context: typer.Context) -> None:
    """Check a certificate, and the ledger and the model that it is about. It needs neither the data nor torch."""
    raise typer.Exit(verifier.main(context.args))
