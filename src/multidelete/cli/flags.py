"""Command-line options from settings classes: a field exists once, with its type, default and description.

The fields of a command's settings classes become its flags and the keys of its ``--config`` file.
"""

import inspect
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast, get_type_hints

import typer

from multidelete.artifacts.folders import partial_folder
from multidelete.artifacts.marks import beside
from multidelete.cli.paths import refuse_touching
from multidelete.core.config import did_you_mean, resolve
from multidelete.core.described import descriptions, metavar, title
from multidelete.core.errors import ConfigError, SettingProblem, UserError
from multidelete.core.json_files import Json, JsonObject
from multidelete.core.settings import LoopSettings
from multidelete.core.toml_files import SettingsFile, read_toml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")

_TOGETHER = ("train", "unlearn")  # commands that several processes run as one
_WITHOUT = {"train": ("pace", "memory"), "tune": ("pace",)}  # flags that would mean nothing there
REPEATED = {"repeated": True}  # give the flag several times; its values may hold commas


def as_mapping(option: str, entries: Sequence[str]) -> dict[str, str]:
    """``("image=photo", "text=caption")`` as a mapping.

    Raises:
        ConfigError: Entries without a name or a value, or a name given twice.
    """
    mapping: dict[str, str] = {}
    problems = []
    for entry in entries:
        name, _, value = (part.strip() for part in entry.partition("="))
        if not (name and value):
            problems.append(f"--{option} has {entry!r}; it must be NAME=VALUE.")
        elif name in mapping:
            problems.append(f"--{option} names {name!r} twice ({mapping[name]!r} and {value!r}). Give it once.")
        mapping[name] = value
    if problems:
        raise ConfigError(problems)
    return mapping


@dataclass(frozen=True)
class Call:
    """One call of a command: its flags, and its settings file. Both are resolved when they are first asked for, once.

    Attributes:
        kinds: The command's settings classes.
        flags: Value of each flag by field name; None where it was not given.
        path: The settings file, or None.
        flags_only: Those of them that the file is not read for.
        tables: Further keys that the file may have, and that the command reads itself.
        json: Whether to write JSON to standard output.
    """

    kinds: Sequence[type["DataclassInstance"]]
    flags: JsonObject
    path: Path | None = None
    flags_only: Collection[type["DataclassInstance"]] = ()
    tables: Collection[str] = ()
    json: bool = False

    @cached_property
    def file(self) -> SettingsFile | None:
        """The settings file as it is written."""
        return None if self.path is None else SettingsFile(self.path, read_toml(self.path))

    @cached_property
    def content(self) -> JsonObject:
        """The settings file, with underscores in its top-level keys."""
        return {} if self.file is None else {key.replace("-", "_"): one for key, one in self.file.content.items()}

    def paths(self) -> dict[str, Json | Path]:
        """Whatever was given by field, as it was written, the settings file itself as ``config``."""
        told = {name: value for name, value in self.flags.items() if value is not None}
        return {**self.content, **told, "config": self.path}

    def names(self, kind: type["DataclassInstance"]) -> list[str]:
        """Fields of ``kind`` that were given, as a flag or in the file."""
        return [name for name in _names(kind) if self.flags.get(name) is not None or name in self.content]

    def of(self, kind: type[S]) -> S:
        """The instance of one of the settings classes.

        Raises:
            ConfigError: Everything that is wrong with the file and the flags, for all classes of the command.
        """
        settings = self._settings[kind]
        if not isinstance(settings, kind):
            raise TypeError(f"{settings!r} is no {kind.__name__}")
        return settings

    @cached_property
    def _settings(self) -> Mapping[type, object]:
        """An instance of each settings class."""
        read = [kind for kind in self.kinds if kind not in self.flags_only]
        every = [*(name for kind in read for name in _names(kind)), *self.tables]
        unknown = [name for name in self.content if name not in every]
        problems = [f"{self.path}: unknown setting {name!r}. {did_you_mean(name, every)}" for name in unknown]
        resolved: dict[type, object] = {}
        for kind in read:
            own = set(_names(kind))
            others = {*every, *unknown} - own
            try:
                resolved[kind] = resolve(kind, self.file, {name: self.flags.get(name) for name in own}, also=others)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return resolved


def flag(name: str) -> str:
    """How a field is typed."""
    return f"--{name.replace('_', '-')}"


def with_flags(problems: Sequence[str], names: Collection[str], arguments: Collection[str] = ()) -> list[str]:
    """Problems with settings, each called as it is typed: by its flag, or in capitals where it is given by place."""
    typed = {name: name.upper() if name in arguments else flag(name) for name in names}
    return [
        problem.called(typed[problem.setting])
        if isinstance(problem, SettingProblem) and problem.setting in typed
        else problem
        for problem in problems
    ]


def options(
    kinds: Sequence[type["DataclassInstance"]],
    *,
    arguments: Collection[str] = (),
    without: Collection[str] = (),
    config: bool = True,
) -> list[inspect.Parameter]:
    """The parameters that typer makes a command's flags from.

    Args:
        kinds: The command's settings classes.
        arguments: Fields that are given by position instead.
        without: Fields that the command has no flags for, as it would refuse all but their defaults.
        config: Whether the command reads a settings file.
    """
    every = [parameter for kind in kinds for parameter in _parameters(kind, arguments)]
    parameters = [parameter for parameter in every if parameter.name not in without]
    if config:
        parameters.append(
            _parameter(
                "config",
                Path | None,
                typer.Option(None, "--config", metavar="FILE.toml", help=_CONFIG_HELP, rich_help_panel="General"),
            )
        )
    parameters.append(
        _parameter("json", bool, typer.Option(False, "--json", help=_JSON_HELP, rich_help_panel="General"))
    )
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        raise ValueError(f"two settings classes share a field: {sorted(names)}")
    return sorted(parameters, key=lambda parameter: parameter.name not in arguments)


_CONFIG_HELP = "Settings file: the names of the flags (batch_size = 64); flags override it."
_JSON_HELP = "Machine-readable output on standard output; everything else goes to standard error."


def _parameter(name: str, annotation: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameters(kind: type["DataclassInstance"], arguments: Collection[str]) -> Iterator[inspect.Parameter]:
    told, hints, panel = descriptions(kind), get_type_hints(kind), title(kind)
    if kind is LoopSettings:
        panel += " (what is not given: the method's own, see multidelete methods)"
    for one in fields(kind):
        wanted = hints[one.name]
        text = told[one.name]
        if one.name in arguments:
            argument = typer.Argument(None, metavar=one.name.upper(), help=text, show_default=False)
            yield _parameter(one.name, str | None, argument)
            continue
        is_flag, repeated = wanted is bool, "repeated" in one.metadata
        annotation = bool | None if is_flag else list[str] | None if repeated else str | None
        option = typer.Option(
            None,
            flag(one.name),
            metavar=None if is_flag else metavar(wanted, repeated=repeated),
            help=text if kind is LoopSettings else text + _default(one),
            rich_help_panel=panel,
            show_default=False,
        )
        yield _parameter(one.name, annotation, option)


def _names(kind: type["DataclassInstance"]) -> list[str]:
    return [one.name for one in fields(kind) if one.init]


def _default(one: "Field[object]") -> str:
    if one.default is MISSING:
        return " Required."
    return "" if one.default is None or one.default is False or one.default == () else f" Default: {one.default}."


def add_command(
    app: typer.Typer,
    body: Callable[[Call], None],
    *kinds: type["DataclassInstance"],
    example: str,
    arguments: Collection[str] = (),
    flags_only: Collection[type["DataclassInstance"]] = (),
    tables: Collection[str] = (),
    config: bool = True,
) -> None:
    """Make a function a command with the flags of its settings classes."""
    own_name = body.__name__.removesuffix("_ledger").replace("_", "-")
    name = f"{app.info.name} {own_name}" if isinstance(app.info.name, str) else own_name

    def command(*, config: Path | None = None, json: bool, **values: str | bool | list[str] | None) -> None:
        # A flag that was not given is None, False or empty, depending on what it takes.
        flags = {name: None if value is False or value == [] else value for name, value in values.items()}
        call = Call(kinds, flags, config, flags_only, tables, json)
        try:
            if body.__name__ not in _TOGETHER and (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
                raise ConfigError(
                    f"{name} runs in one process, and {processes} were started. Start it without accelerate "
                    f"launch; {' and '.join(_TOGETHER)} run in several."
                )
            refuse_touching(call.paths())
            _import_family(call)
            from multidelete.cli.checkpoints import reading_checkpoints  # its options are made of flags

            with reading_checkpoints(call):
                body(call)
        except UserError as error:
            error.problems = with_flags(error.problems, flags, arguments)
            raise
        except KeyboardInterrupt as error:  # here, since typer answers it in a way that depends on its version
            typer.echo(_interrupted(call), err=True)
            raise typer.Exit(130) from error

    parameters = options(kinds, arguments=arguments, without=_WITHOUT.get(name, ()), config=config)
    signed = cast("_Signed", command)
    signed.__signature__ = inspect.Signature(parameters)
    signed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    signed.__doc__ = body.__doc__
    app.command(own_name, epilog=f"Example: {example}")(command)


def _import_family(call: Call) -> None:
    """Import a family of the user's own, which its flag names; nothing else does."""
    family = call.paths().get("family")
    if isinstance(family, str) and ":" in family:
        from multidelete.models import add_family

        add_family(family)


def _interrupted(call: Call) -> str:
    """What to tell somebody who stopped a command."""
    if "store" in call.flags:
        return "interrupted; models that were complete are kept. Run the same command to go on from there."
    out = call.flags.get("out") or call.content.get("out")
    places = [partial_folder(place) for place in (Path(str(out)), beside(Path(str(out))))] if out else []
    partial = next((place for place in places if place.exists()), None)
    if partial is None:
        return "interrupted; nothing was written."
    return f"interrupted; what was done is kept in {partial}. Run the same command with --resume to go on from there."


if TYPE_CHECKING:

    class _Signed:
        """A function whose signature is replaced."""

        __signature__: inspect.Signature
