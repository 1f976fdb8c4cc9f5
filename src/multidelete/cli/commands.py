"""The command line: parse, call the pipeline, print."""

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import typer

from multidelete import __version__
from multidelete.artifacts.record import Holdout, RunRecord
from multidelete.catalogue import catalogue
from multidelete.cli import show
from multidelete.cli.compare import compare
from multidelete.cli.convert import convert, merge
from multidelete.cli.flags import Given, add_command, take
from multidelete.cli.following import after_audit, after_unlearn
from multidelete.cli.inputs import (
    check_all,
    chosen_method,
    fresh_tokenizer,
    given_keys,
    given_loop,
    given_lora,
    given_search,
    read_for,
    read_forget,
    read_pairs,
    read_telling,
    set_aside,
    write_people,
)
from multidelete.cli.options import (
    AuditOptions,
    CompareOptions,
    ConvertOptions,
    DataOptions,
    DemoOptions,
    FamilyOptions,
    ForgetOptions,
    KeyOptions,
    LookOptions,
    MergeOptions,
    MethodOptions,
    OutOptions,
    ReferencesOptions,
    RehearsalOptions,
    TokenizerOptions,
    TrainOptions,
    TuneOptions,
    UnlearnOptions,
)
from multidelete.cli.references import references
from multidelete.cli.tune import tune
from multidelete.core.config import resolve
from multidelete.core.errors import ConfigError, MultideleteError
from multidelete.core.json_files import Json
from multidelete.core.settings import LoopSettings, TrainSettings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Make a trained multimodal model forget named training pairs, keep the rest, and show that it did.",
)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def demo(given: Given) -> None:
    """Generate people, train a tiny model, forget a tenth of them, retrain without them, audit, and report."""
    options = take(given.settings(), DemoOptions)
    from multidelete import demo as run_demo

    result = run_demo(
        options.out,
        people=options.people,
        seed=options.seed,
        device=options.device,
        overwrite=options.overwrite,
    )
    if _prints():
        (show.show_verdict_json if given.json else show.show_verdict)(result.verdict, result.folder)


def train(given: Given) -> None:
    """Train a model on the training pairs, and record how, so that it can be retrained without some of them.

    Loop settings that are not given are those of `train` in `multidelete methods`.
    """
    made = given.settings()
    data, out, run = take(made, DataOptions), take(made, OutOptions), take(made, TrainOptions)
    start = take(made, TrainSettings)
    own = {"start", "family"} if ":" in start.family else {"start"}
    unused = [name for name in given.names(TrainSettings) if name not in own]
    if start.start and unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise ConfigError(f"--start {start.start} goes on from that model as it is. Leave {flags} out, or --start.")
    from multidelete.artifacts.manifest import read_record
    from multidelete.methods import Training
    from multidelete.models.sources import refuse_missing
    from multidelete.unlearning import train as run_train

    refuse_missing({"start": start.start})

    settings = resolve(LoopSettings, None, {**asdict(Training().loop_settings()), **given_loop(given, made)})
    holdout = None if run.holdout is None else Holdout(fraction=run.holdout, seed=run.seed)
    pairs = read_telling(data)
    if holdout and {"val", "test"} & set(pairs.splits):
        show.say(f"note: {pairs.name} has held-out pairs of its own; --holdout changes nothing.")
        holdout = None
    folder = run_train(
        set_aside(pairs, holdout),
        out.out,
        start=start,
        settings=settings,
        seed=run.seed,
        overwrite=out.overwrite,
        resume=run.resume,
        **asdict(given_keys(made)),
        notes=None if holdout is None else {"holdout": holdout.as_json()},
    )
    if _prints():
        _show_result(given, folder, read_record(folder) or RunRecord(), "trained")


def unlearn(given: Given) -> None:
    """Make a model forget training pairs. The result has the format of the original, which is not changed.

    Loop settings that are not given are the method's own (`multidelete methods`).
    """
    made = given.settings()
    out, run = take(made, OutOptions), take(made, UnlearnOptions)
    from multidelete.data.repeats import kept_repeats
    from multidelete.deletion.arguments import DeletionArguments
    from multidelete.models.sources import refuse_missing
    from multidelete.unlearning import carried_out

    refuse_missing({"original": run.original})
    method, search = chosen_method(given), given_search(given)
    method = fresh_tokenizer(method) if take(made, TokenizerOptions).fresh_tokenizer else method
    keys = given_keys(made)
    loop, lora = given_loop(given, made), given_lora(run.lora)
    pairs, holdout = read_for(take(made, DataOptions), run.original, keys)
    notes: dict[str, Json] = {} if holdout is None else {"holdout": holdout.as_json()}
    notes |= {} if search is None else {"search": asdict(search)}
    request = read_forget(pairs, take(made, ForgetOptions))
    arguments = DeletionArguments(
        original=run.original, data=pairs, forget=request, method=method, settings=loop, trainable=run.trainable,
        lora=lora, seed=run.seed, allow_pickle=run.allow_pickle, **asdict(keys),
    )  # fmt: skip
    rehearsal = take(made, RehearsalOptions)
    if rehearsal.dry_run:
        from multidelete.cli.rehearsal import show_rehearsal
        from multidelete.rehearsal import rehearse

        found = rehearse(arguments, out.out, overwrite=out.overwrite)
        if _prints():
            show_rehearsal(found, Path(out.out), named=rehearsal.name_forgotten, as_json=given.json)
        return
    done = carried_out(
        arguments, out.out, overwrite=out.overwrite, resume=run.resume,
        notes=notes,
    )  # fmt: skip
    if _prints():
        same = [take(made, kind) for kind in (DataOptions, ForgetOptions, FamilyOptions)]
        follows = after_unlearn(run.original, out.out, method.name, same)
        told: dict[str, Json] = {"kept_repeats": kept_repeats(pairs.train, request.ids)} if given.json else {}
        _show_result(given, Path(out.out), replace(done.record, rest=told), "unlearned", follows)


def audit(given: Given) -> None:
    """Judge whether a model has forgotten, beside the original and a retrained model, and write the report."""
    made = given.settings()
    run, out = take(made, AuditOptions), take(made, OutOptions)
    from multidelete.auditing import audit as run_audit
    from multidelete.data.repeats import kept_repeats
    from multidelete.models.sources import refuse_missing

    named = ("unlearned", "original", "retrained", "retrained_again", "unlearned_again", "shadows")
    refuse_missing({name: getattr(run, name) for name in named})
    keys = given_keys(made)
    pairs, _ = read_for(take(made, DataOptions), run.original, keys)
    request = read_forget(pairs, take(made, ForgetOptions))
    result = run_audit(
        run.unlearned,
        run.original,
        pairs,
        request,
        retrained=run.retrained,
        retrained_again=run.retrained_again,
        unlearned_again=run.unlearned_again,
        shadows=run.shadows,
        cache=run.cache,
        out=out.out,
        show_forgotten=run.show_forgotten,
        noun=run.noun,
        compress=run.compress,
        relearn=run.relearn,
        relearn_lr=run.relearn_lr,
        device=run.device,
        seed=run.seed,
        overwrite=out.overwrite,
        allow_pickle=run.allow_pickle,
        **asdict(keys),
    )
    if _prints():
        judged = result.verdict
        same = [take(made, kind) for kind in (DataOptions, ForgetOptions, FamilyOptions)]
        follows = after_audit(judged.outcome, run, _method_of(run.unlearned), same)
        if given.json:
            repeats = kept_repeats(pairs.train, request.ids)
            show.show_verdict_json(judged, result.folder, {"commands": follows, "kept_repeats": repeats})
        else:
            show.show_verdict(judged, result.folder, follows)


def methods(given: Given) -> None:
    """List the unlearning methods, their hyperparameters and the loop settings they use."""
    show.show_methods(catalogue().methods, as_json=given.json)


def families(given: Given) -> None:
    """List the model families and their tasks."""
    show.show_families(catalogue().families, as_json=given.json)


def data(given: Given) -> None:
    """List the readers; with DATA, show its splits and first pairs."""
    options = take(given.settings(), LookOptions)
    if options.data is None:
        show.show_readers(catalogue().readers, as_json=given.json)
        return
    if options.examples < 0:
        raise ConfigError(f"--examples is {options.examples}; it must be 0 or more.")
    pairs = read_pairs(options)
    if options.write is not None:
        write_people(options.data, Path(options.write))
    if options.model is not None and not options.check:
        raise ConfigError("--model says what --check tries the pairs with. Give --check too, or leave it out.")
    if options.check:
        check_all(pairs, options.model)
    if given.json:
        show.show_json(show.data_row(pairs, options.examples))
    else:
        show.show_data(pairs, options.examples)


def _show_result(given: Given, folder: Path, record: RunRecord, what: str, follows: str | None = None) -> None:
    if given.json:
        told = {"folder": str(folder), **replace(record, history=None).as_json()}
        show.show_json(told | ({} if follows is None else {"next": [follows]}))
    else:
        show.show_result(folder, record, what)
        show.show_commands([] if follows is None else [follows])


def _method_of(folder: str) -> str | None:
    """The method that made a model, where its folder tells."""
    from multidelete.artifacts.manifest import read_record

    record = read_record(folder)
    return None if record is None or record.method is None else record.method.name


def _prints() -> bool:
    """Whether this process prints the result, where ``accelerate launch`` started several."""
    from multidelete.core.runtime import is_main_process

    return is_main_process()


add_command(app, demo, DemoOptions, example="multidelete demo --out demo --seed 1")
add_command(
    app,
    train,
    *(DataOptions, OutOptions, TrainSettings, TrainOptions, KeyOptions, LoopSettings),
    example="multidelete train --data photos/ --columns text=caption --holdout 0.1 --passes 30 --out original",
)
add_command(
    app,
    unlearn,
    *(DataOptions, ForgetOptions, MethodOptions, OutOptions, UnlearnOptions, RehearsalOptions),
    *(KeyOptions, FamilyOptions, TokenizerOptions, LoopSettings),
    arguments=("original",),
    flags_only=(MethodOptions,),
    tables=("method", "search"),
    example="multidelete unlearn original --data photos/ --forget request.txt --method multidelete --out unlearned",
)
add_command(
    app,
    tune,
    *(DataOptions, ForgetOptions, MethodOptions, TuneOptions, KeyOptions, FamilyOptions, LoopSettings),
    arguments=("original",),
    flags_only=(MethodOptions,),
    tables=("method", "search"),
    example="multidelete tune original --data photos/ --forget request.txt --method npo --out tuned.toml",
)
add_command(
    app,
    audit,
    *(DataOptions, ForgetOptions, OutOptions, AuditOptions, KeyOptions, FamilyOptions),
    arguments=("unlearned",),
    example="multidelete audit unlearned --original original --data photos/ --forget request.txt --out report",
)
add_command(
    app,
    references,
    *(DataOptions, ForgetOptions, ReferencesOptions, KeyOptions, FamilyOptions),
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
    *(MergeOptions, OutOptions, FamilyOptions),
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
add_command(app, methods, config=False, example="multidelete methods --json")
add_command(app, families, config=False, example="multidelete families")
add_command(
    app,
    data,
    *(LookOptions, FamilyOptions),
    arguments=("data",),
    example="multidelete data photos/ --columns image=file,text=caption --check",
)


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
        if arguments:  # without any the help was shown
            show.show_usage(cast(typer.BadParameter, error).format_message(), arguments)
        return 2
    except OSError as error:  # of the machine: a full disk, too few open files, an output that is closed
        show.show_system_error(error)
        return 1
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return done if isinstance(done, int) else 0  # the code of a typer.Exit


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
