"""Reading an experiment file: everything that is wrong with it is said before anything runs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from multidelete.core.config import did_you_mean, resolve
from multidelete.core.errors import ConfigError, MultideleteError
from multidelete.core.json_files import Json, JsonObject
from multidelete.core.runtime import check_device
from multidelete.core.settings import LoopSettings, TrainSettings
from multidelete.core.toml_files import read_toml
from multidelete.core.units import Unit
from multidelete.experiments.comparison.experiment import (
    CONTROLS,
    Experiment,
    Grid,
    MethodRow,
    Setting,
    StartScript,
    Subset,
)
from multidelete.methods import Retrain, Training, get_method
from multidelete.models.families import add_family
from multidelete.models.fresh import Size, get_size

M = TypeVar("M")

_TAKEN = ("original", "unlearned", "retrained", *CONTROLS)
_INHERITED = ("precision", "device", "workers")  # of the training: where and how precisely methods run, too
_TABLES = ("columns", "splits", "subset", "model", "size", "start", "train", "methods")


@dataclass(frozen=True, kw_only=True)
class _SettingKeys:
    """Plain keys of a ``[settings.NAME]`` table."""

    data: str
    unit: Unit
    noun: str | None = None
    image_root: str | None = None
    holdout: float | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _StartKeys:
    """Keys of ``start`` that are not the function's own."""

    script: str
    function: str = "make_start"


def read_experiment(path: Path) -> Experiment:
    """Read and check an experiment file.

    Raises:
        ConfigError: Everything that is wrong with it, one line each, with the table it is in.
    """
    content = read_toml(path)
    problems: list[str] = []
    attempt = _Attempt(problems)
    plain = {key: value for key, value in content.items() if key not in ("settings", "settings_from", "methods")}
    grid = attempt(f"{path}", lambda: resolve(Grid, None, plain))
    common = _tables(content, "methods", str(path), problems)
    source = attempt(f"{path}", lambda: _source(path, content))
    settings = []
    described = content if source in (None, path) else read_toml(source)
    for name, table in _tables(described, "settings", str(source), problems).items() if source else ():
        where = f"{source}, [settings.{name}]"
        if not re.fullmatch(r"[\w-]+", name):
            problems.append(f"{where}: the name must be of letters, digits, - and _: files are named after it.")
        own = table.get("methods")
        if source != path and isinstance(own, dict):  # that file may have other rows
            table["methods"] = {row: changes for row, changes in own.items() if row in common}
        settings.append(_setting(name, table, common, _there(source).parent, where, problems))
    if problems:
        raise ConfigError(problems)
    return Experiment(path, _there(grid), tuple(_there(setting) for setting in settings))


def _source(path: Path, content: JsonObject) -> Path:
    """The file that has the settings: this one, or that of ``settings_from``."""
    if "settings_from" not in content:
        return path
    other = content["settings_from"]
    if "settings" in content:
        raise ConfigError("there are both settings and settings_from. Give one of them.")
    if not isinstance(other, str) or not (path.parent / other).is_file():
        raise ConfigError(
            f"settings_from is {other!r}; it must be another experiment file, with its path from this file's folder."
        )
    return path.parent / other


class _Attempt:
    """Runs a check, and collects what it finds instead of raising."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems

    def __call__(self, where: str, make: Callable[[], M]) -> M | None:
        try:
            return make()
        except MultideleteError as error:
            self.problems += [f"{where}: {problem}" for problem in error.problems]
            return None


def _there(part: M | None) -> M:
    """The part itself; nothing is missing where there were no problems."""
    if part is None:
        raise ValueError("a part of the experiment is missing without a problem")
    return part


def _tables(content: JsonObject, key: str, where: str, problems: list[str]) -> dict[str, dict[str, Json]]:
    """The tables below ``key``, at least one."""
    tables = content.get(key, {})
    if not isinstance(tables, dict) or not tables or not all(isinstance(table, dict) for table in tables.values()):
        problems.append(f"{where}: {key} must be tables, at least one: [{key}.NAME] with its keys below.")
        return {}
    return tables


def _setting(
    name: str, table: JsonObject, common: Mapping[str, JsonObject], folder: Path, where: str,
    problems: list[str],
) -> Setting | None:  # fmt: skip
    attempt, before = _Attempt(problems), len(problems)
    parts: dict[str, dict[str, Json]] = {}
    for key in _TABLES:
        part = table.get(key, {})
        if not isinstance(part, dict):
            problems.append(f"{where}: {key} is {part!r}; it must be a table: {key} = {{ ... }}.")
            part = {}
        parts[key] = part
    plain = {key: value for key, value in table.items() if key not in _TABLES}
    unknown = [key for key in plain if key not in {one.name for one in fields(_SettingKeys)}]
    for key in unknown:
        problems.append(
            f"{where}: unknown key {key!r}. {did_you_mean(key, [*_TABLES, *(f.name for f in fields(_SettingKeys))])}"
        )
        del plain[key]
    keys = attempt(where, lambda: resolve(_SettingKeys, None, plain))
    model = attempt(f"{where}, model", lambda: resolve(TrainSettings, None, parts["model"]))
    base = asdict(Training().loop_settings())
    train = attempt(f"{where}, train", lambda: resolve(LoopSettings, None, {**base, **parts["train"]}))
    if model and not model.start:
        attempt(f"{where}, model", lambda: add_family(model.family))
        if not parts["size"]:
            attempt(f"{where}, model", lambda: get_size(model.size))
    if train:
        attempt(f"{where}, train", lambda: check_device(train.device))
    subset = attempt(f"{where}, subset", lambda: resolve(Subset, None, parts["subset"])) if parts["subset"] else None
    size = attempt(f"{where}, size", lambda: resolve(Size, None, parts["size"])) if parts["size"] else None
    start = _start(parts["start"], folder, f"{where}, start", problems) if parts["start"] else None
    begun = [key for key in ("size", "start") if parts[key]] + (["model.start"] if model and model.start else [])
    if len(begun) > 1:
        problems.append(f"{where}: {' and '.join(begun)} each say what training begins with. Give one of them.")
    problems += [
        f"{where}: {key} is {parts[key]!r}; every name in it must be a text."
        for key in ("columns", "splits")
        if not all(isinstance(value, str) for value in parts[key].values())
    ]
    strangers = [key for key in parts["methods"] if key not in common]
    problems += [f"{where}: methods names {key!r}, which is no row. {did_you_mean(key, common)}" for key in strangers]
    inherited = {key: parts["train"][key] for key in _INHERITED if key in parts["train"]}
    rows = []
    for row, changes in common.items():
        own = parts["methods"].get(row, {})
        if not isinstance(own, dict):
            problems.append(f"{where}: methods.{row} is {own!r}; it must be a table.")
            own = {}
        rows.append(_row(row, {**inherited, **changes, **own}, f"{where}, methods.{row}", problems))
    if len(problems) > before or keys is None or model is None or train is None:
        return None
    columns, splits = ({k: str(v) for k, v in parts[key].items()} for key in ("columns", "splits"))
    return Setting(
        name, keys.data, model, train, keys.unit, keys.noun, tuple(_there(row) for row in rows), columns, splits,
        keys.image_root, keys.holdout, subset, size, start, keys.classes,
    )  # fmt: skip


def _start(table: JsonObject, folder: Path, where: str, problems: list[str]) -> StartScript | None:
    known = {one.name for one in fields(_StartKeys)}
    own = {key: value for key, value in table.items() if key in known}
    keys = _Attempt(problems)(where, lambda: resolve(_StartKeys, None, own))
    if keys is None:
        return None
    script = folder / keys.script
    if not script.is_file():
        problems.append(f"{where}: there is no script {script}. Its path starts from the experiment file's folder.")
        return None
    return StartScript(script, keys.function, {key: value for key, value in table.items() if key not in known})


def _row(name: str, table: JsonObject, where: str, problems: list[str]) -> MethodRow | None:
    """A row; hyperparameters and loop settings stand side by side in its table."""
    attempt, before = _Attempt(problems), len(problems)
    if name in _TAKEN:
        problems.append(f"{where}: rows called {', '.join(_TAKEN)} are always there. Give this one another name.")
    settings = dict(table)
    chosen, trainable = settings.pop("method", name), settings.pop("trainable", "auto")
    if not isinstance(chosen, str) or not isinstance(trainable, str):
        problems.append(f"{where}: method and trainable must be texts; they are {chosen!r} and {trainable!r}.")
        return None
    try:
        kind = get_method(chosen)
    except ConfigError as error:
        problems += [
            f'{where}: {problem} A row of another name says which: method = "...".' for problem in error.problems
        ]
        return None
    if kind is Retrain:
        problems.append(f"{where}: retraining is always a row, and is no method here. Leave it out.")
        return None
    own, loops = ({one.name for one in fields(of) if one.init} for of in (kind, LoopSettings))
    for key in [key for key in settings if key not in own | loops]:
        problems.append(f"{where}: unknown setting {key!r}. {did_you_mean(key, [*own, *loops, 'method', 'trainable'])}")
        del settings[key]
    loop = {key: value for key, value in settings.items() if key in loops - own}
    method = attempt(where, lambda: resolve(kind, None, {key: value for key, value in settings.items() if key in own}))
    if method is None or len(problems) > before:
        return None
    base = asdict(method.loop_settings())
    checked = attempt(where, lambda: resolve(LoopSettings, None, {**base, **loop}))
    return None if checked is None else MethodRow(name, method, {key: getattr(checked, key) for key in loop}, trainable)
