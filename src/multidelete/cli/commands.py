"""The command line: parse, call the pipeline, print."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import cast

import typer

from multidelete import __version__
from multidelete.catalogue import catalogue
from multidelete.cli import show
from multidelete.cli.audit import audit
from multidelete.cli.compare import CompareOptions, compare
from multidelete.cli.convert import ConvertOptions, MergeOptions, convert, merge
from multidelete.cli.data import LookOptions, data
from multidelete.cli.demo import DemoOptions, demo
from multidelete.cli.embed import EmbedOptions, embed
from multidelete.cli.exclude import ExcludeOptions, exclude
from multidelete.cli.flags import Call, add_command
from multidelete.cli.ledger_group import ledger
from multidelete.cli.options import (
    AuditOptions,
    CheckpointOptions,
    DataOptions,
    FamilyOptions,
    ForgetOptions,
    HubOptions,
    KeyOptions,
    MethodOptions,
    OutOptions,
    RehearsalOptions,
    TokenizerOptions,
    UnlearnOptions,
)
from multidelete.cli.references import ReferencesOptions, references
from multidelete.cli.train import TrainOptions, train
from multidelete.cli.tune import TuneOptions, tune
from multidelete.cli.unlearn import unlearn
from multidelete.cli.verify import VERIFY, verify
from multidelete.core.errors import MultideleteError
from multidelete.core.settings import LoopSettings, TrainSettings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Make a trained multimodal model forget named training pairs, keep the rest, and show that it did.",
)
app.add_typer(ledger)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def methods(call: Call) -> None:
    """List the unlearning methods, their hyperparameters and the loop settings they use."""
    show.show_methods(catalogue().methods, as_json=call.json)


def families(call: Call) -> None:
    """List the model families and their tasks."""
    show.show_families(catalogue().families, as_json=call.json)


add_command(app, demo, DemoOptions, example="multidelete demo --out demo --seed 1")
add_command(
    app,
    train,
    *(DataOptions, OutOptions, TrainSettings, TrainOptions, CheckpointOptions, KeyOptions, LoopSettings),
    example="multidelete train --data photos/ --columns text=caption --holdout 0.1 --passes 30 --out original",
)
add_command(
    app,
    unlearn,
    *(DataOptions, ForgetOptions, MethodOptions, OutOptions, UnlearnOptions, RehearsalOptions),
    *(KeyOptions, FamilyOptions, CheckpointOptions, TokenizerOptions, HubOptions, LoopSettings),
    arguments=("original",),
    flags_only=(MethodOptions,),
    tables=("method", "search"),
    example="multidelete unlearn original --data photos/ --forget request.txt --method multidelete --out unlearned",
)
add_command(
    app,
    tune,
    *(DataOptions, ForgetOptions, MethodOptions, TuneOptions),
    *(KeyOptions, FamilyOptions, CheckpointOptions, LoopSettings),
    arguments=("original",),
    flags_only=(MethodOptions,),
    tables=("method", "search"),
    example="multidelete tune original --data photos/ --forget request.txt --method npo --out tuned.toml",
)
add_command(
    app,
    audit,
    *(DataOptions, ForgetOptions, OutOptions, AuditOptions, KeyOptions, FamilyOptions, CheckpointOptions),
    arguments=("unlearned",),
    example="multidelete audit unlearned --original original --data photos/ --forget request.txt --out report",
)
add_command(
    app,
    references,
    *(DataOptions, ForgetOptions, ReferencesOptions, KeyOptions, FamilyOptions, CheckpointOptions),
    arguments=("original",),
    example="multidelete references original --data photos/ --forget request.txt --store models --shadows 8",
)
add_command(
    app,
    compare,
    *(CompareOptions, KeyOptions),
    arguments=("experiment",),
    config=False,
    example="multidelete compare experiment.toml --store models --shard 1/2",
)
add_command(
    app,
    merge,
    *(MergeOptions, OutOptions, HubOptions, FamilyOptions),
    arguments=("adapter",),
    example="multidelete merge unlearned --out model",
)
add_command(
    app,
    convert,
    *(ConvertOptions, OutOptions),
    arguments=("source",),
    example="multidelete convert flickr30k.pth --tokenizer bert-base-uncased --out albef",
)
add_command(
    app,
    exclude,
    *(DataOptions, ForgetOptions, ExcludeOptions, OutOptions),
    example="multidelete exclude --data 'shards/{0000..0999}.tar' --forget request.txt --out lists",
)
add_command(
    app,
    embed,
    *(DataOptions, EmbedOptions, ForgetOptions, OutOptions, KeyOptions, FamilyOptions, CheckpointOptions),
    arguments=("model",),
    example="multidelete embed unlearned --data photos/ --only stale --out embeddings.parquet",
)
add_command(app, methods, config=False, example="multidelete methods --json")
add_command(app, families, config=False, example="multidelete families")
add_command(
    app,
    data,
    *(LookOptions, FamilyOptions, CheckpointOptions),
    arguments=("data",),
    example="multidelete data photos/ --columns image=file,text=caption --check",
)
app.command(
    "verify",
    add_help_option=False,
    context_settings=VERIFY,
    epilog="Example: multidelete verify "
    "certificate/certificate.json --ledger lineage --model unlearned --public-key sign.pub",
)(verify)


# What typer raises for flags and commands that are not there. It has no public name in common with all its versions.
_USAGE_ERROR = cast(type[Exception], typer.BadParameter.__base__)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0 done, 1 failed, 2 the input is wrong, 130 interrupted.
    """
    try:
        done = typer.main.get_command(app).main(list(arguments), prog_name="multidelete", standalone_mode=False)
        sys.stdout.flush()
    except MultideleteError as error:
        show.show_errors(error)
        return error.exit_code
    except _USAGE_ERROR as error:
        usage = cast(typer.BadParameter, error)
        if message := usage.format_message():  # where none was given, the help was shown
            show.show_usage(message, _typed(arguments) if usage.ctx is None else usage.ctx.command_path)
        return 2
    except OSError as error:  # of the machine: a full disk, too few open files, an output that is closed
        show.show_system_error(error)
        return 1
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return done if isinstance(done, int) else 0  # the code of a typer.Exit


def _typed(arguments: Sequence[str]) -> str:
    """The command that was typed, where typer does not say: with that of its group, and without anything else."""
    words = arguments[: 1 + (list(arguments[:1]) == [ledger.info.name])]
    return " ".join(["multidelete", *(word for word in words if not word.startswith("-"))])


def main() -> None:
    """Entry point of the ``multidelete`` command."""
    _quieten_libraries()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger("multidelete").addHandler(handler)
    logging.getLogger("multidelete").setLevel(logging.INFO)
    for level, word in ((logging.INFO, "note"), (logging.WARNING, "warning"), (logging.ERROR, "error")):
        logging.addLevelName(level, word)
    try:
        code = run(sys.argv[1:])
        try:
            sys.stdout.flush()
        except OSError:  # told already; what is left to write would fail once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(code)
    except KeyboardInterrupt:  # between commands: while something is imported
        show.say("interrupted; nothing was written.")
        sys.exit(130)


def _quieten_libraries() -> None:
    """Progress bars and advice of the libraries below: read from the environment when they are imported."""
    quiet = {
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
