"""The command that follows: what a command prints at its end, ready to be run."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

from multidelete.cli.flags import flag
from multidelete.cli.options import AuditOptions

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from multidelete.audits.sentences import Outcome

BAD = ("unfinished", "over-forgotten", "damaged")


def after_unlearn(original: str, out: str, method: str | None, same: Sequence["DataclassInstance"]) -> str:
    """The audit of what was made, with the same settings; a retrained model is the yardstick of another's audit."""
    models = [out, "--original", original]
    if method == "retrain":
        models = ["UNLEARNED", "--original", original, "--retrained", out]
    return _command("audit", *models, *_same(same), "--out", f"{_bare(out)}-report")


def after_audit(
    outcome: "Outcome",
    run: AuditOptions,
    method: str | None,
    same: Sequence["DataclassInstance"],
    *,
    has_recipe: bool = True,
    finds_its_way: bool = False,
) -> list[str]:
    """What mends a bad outcome, and what is missing for a better judged one.

    ``retrain`` repeats how the original was trained: without that recipe it would be refused. A run that found its rate
    by itself gains nothing from a search for one.
    """
    request = list(_same(same))
    commands = []
    if outcome in BAD and not finds_its_way:
        chosen = [] if method is None or method == "retrain" else ["--method", method]
        tuned = f"{_bare(run.unlearned)}-settings.toml"
        commands.append(_command("tune", run.original, *request, *chosen, "--out", tuned))
    if run.retrained is None and has_recipe:
        retrained = f"{_bare(run.original)}-retrained"
        commands.append(_command("unlearn", run.original, *request, "--method", "retrain", "--out", retrained))
    elif run.retrained is not None and not run.retrained_again and outcome not in BAD:
        commands.append(_command("references", run.original, *request, "--store", "models", "--retrained", "2"))
    return commands


def _command(*words: str) -> str:
    return shlex.join(["multidelete", *words])


def _bare(folder: str) -> str:
    return folder.rstrip("/")


def _same(settings: Sequence["DataclassInstance"]) -> Iterator[str]:
    """The flags that give these settings again."""
    for one, value in [(one, getattr(options, one.name)) for options in settings for one in fields(options)]:
        if one.default is not MISSING and value == one.default:
            continue
        several: Sequence[object] = value if isinstance(value, tuple) else (value,)
        for part in several if "repeated" in one.metadata else (",".join(map(str, several)),):
            yield from (flag(one.name), str(part))
