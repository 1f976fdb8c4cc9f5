"""Writes what is made from the code: ``python docs/make_cli.py``.

That is docs/cli.md, from the commands, and the package's catalogue.json, from its methods, families and readers.
"""

from collections.abc import Iterator
from inspect import Parameter
from pathlib import Path

import typer

from multidelete.catalogue import FILE
from multidelete.catalogue.made import as_json, registered
from multidelete.cli import app
from multidelete.ledger.verifier import parser

PAGE = Path(__file__).with_name("cli.md")
INTRODUCTION = """# Command line

<!-- Made by docs/make_cli.py; a test compares. -->

Results go to standard output, everything else to standard error; `--json` makes results machine-readable.
Exit codes: 0 done, 1 failed, 2 the input is wrong (one `error:` line for each problem), 130 interrupted.
Outputs appear when they are complete, or not at all. An interrupted `train` or `unlearn` goes on with `--resume`.

What is written is refused, exit code 2, in these cases; nothing is read or changed then:

- `--out` (or `--write`, `--cache`, `--store`) is, holds or lies inside anything that the command reads: a model, its
  base model and what its training began with, the data, `--image-root`, the request, the settings file, a store or
  cache, shadow models, a tokenizer, an experiment. Links, `..` and mounts are followed. A store may hold models that
  are read.
- `--overwrite` meets a folder without the mark `.multidelete` that this tool leaves in what it writes, or one to which
  files were added since, or a file that the command does not write, or the home or working folder.
- `--key` names a file in a folder that is not there, unless `--out` makes it.
- Another process is writing there. One that was killed is no obstacle.
- `accelerate launch` starts a command other than `train` and `unlearn`.

What is read is refused, exit code 2, with what is wrong, the value, the rule and the remedy, one line for each problem:

- Settings of the wrong type or out of range, by the name that was typed: `--batch-size`, `ORIGINAL`, `--set score`, or
  the line of the settings file. Unknown flags, keys and commands are refused with the nearest known one.
- A model that is no folder here and cannot be an id on the hub, before anything else is read. Of what can be one, the
  message says first that there is no such folder.
- A `multidelete.json`, a settings file, an experiment, trials or an `audit.json` that is damaged, or holds values of
  other types than are written there: parts of a damaged record would decide what is trained and judged. Reading them,
  and checkpoints, runs no code.
- A method of one's own (`--method package.module:Class`) whose module fails at import, or whose class is no dataclass,
  has no name, lacks `losses` or `run`, or has fields that settings cannot hold.
- A family of one's own (`--family`) whose module fails at import, or whose class says no `model_type` or `heads`; and a
  model folder that records such a family, unless it is asked for.

`unlearn --dry-run` says what would go, what would stay, the settings and the cost, and writes nothing. The time is an
estimate: three steps on the pairs of the run with the family's own loss are timed after one that is not, and so is
asking about at most 64 pairs; both are multiplied by the pairs that the whole run takes. Loading, the check of pictures
and writing are left out, and so is what `scrub` rewinds.

Settings can also stand in a TOML file that `--config` names, with the names of the flags:

```toml
data = "photos/"
columns = ["image=file", "text=caption"]
forget = "request.txt"
out = "unlearned"
batch_size = 16

[method]
name = "npo"
beta = 0.5
```

Flags override the file. A table `[method]` holds the method's name and hyperparameters; `method = "..."` does for
the name alone. Unknown names are errors. Relative paths start from the working folder.

`accelerate launch --multi_gpu --num_processes 2 -m multidelete.cli unlearn ...` runs on two processes.
On a machine without GPUs the same line uses the CPU, where `--cpu` alone would start a single one.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([INTRODUCTION, *(section(name, command) for name, command in commands(app))])


def commands(group: typer.Typer, before: str = "") -> Iterator[tuple[str, typer.models.CommandInfo]]:
    """Every command with its name, those of groups after the others."""
    yield from ((f"{before}{command.name}", command) for command in group.registered_commands)
    for inner in group.registered_groups:
        yield from commands(inner.typer_instance, f"{before}{inner.typer_instance.info.name} ")


def section(name: str, command: typer.models.CommandInfo) -> str:
    """One command: what it does, an example, its arguments and its options by panel."""
    body = command.callback
    lines = [f"## {name}", "", *(line.strip() for line in (body.__doc__ or "").strip().splitlines()), ""]
    lines += ["```sh", str(command.epilog).removeprefix("Example: "), "```", ""]
    if name == "verify":
        return "\n".join([*lines, "| | |", "|---|---|", *verifier_rows(), ""])
    panels: dict[str, list[str]] = {}
    for parameter in body.__signature__.parameters.values():
        info = parameter.default
        panels.setdefault(info.rich_help_panel or "Arguments", []).append(row(parameter, info))
    for panel, rows in panels.items():
        lines += [f"**{panel}**", "", "| | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def verifier_rows() -> Iterator[str]:
    """What the verifier's own parser takes."""
    for one in parser()._actions:
        if one.dest != "help":
            flag = " ".join([*one.option_strings, *([one.metavar] if isinstance(one.metavar, str) else [])])
            yield f"| `{flag}` | {one.help} |"


def row(parameter: Parameter, info: typer.models.ParameterInfo) -> str:
    """One line of a table: the flag with what it takes, and what it is for."""
    flag = " ".join([*(info.param_decls or ()), *([info.metavar] if info.metavar else [])]).replace("|", "\\|")
    text = (info.help or "").replace("|", "\\|")
    return f"| `{flag}` | {text} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    FILE.write_text(as_json(registered()), encoding="utf-8")
