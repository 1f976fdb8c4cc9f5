"""The catalogue as the registries have it: ``python docs/make_cli.py`` writes it down."""

import json
from dataclasses import MISSING, asdict, fields
from typing import get_type_hints

from multidelete.catalogue import Catalogue, FamilyRow, MethodRow, ReaderRow, SettingRow
from multidelete.core.described import descriptions, metavar, title
from multidelete.core.settings import LoopSettings
from multidelete.data.readers import READERS
from multidelete.methods import METHODS, Method, Retrain, Training
from multidelete.models import FAMILIES, FamilyAdapter

_TOLD = ("passes", "batch_size", "lr")  # loop settings that are told of every method that trains


def registered() -> Catalogue:
    """Every built-in method, family and reader."""
    methods: list[type[Method]] = [*METHODS.values(), Training]
    return Catalogue(
        methods=[method_row(method) for method in methods],
        families=[family_row(name, family) for name, family in FAMILIES.items()],
        readers=[ReaderRow(name=name, description=text) for name, (text, _) in READERS.items()],
    )


def as_json(content: Catalogue) -> str:
    """A catalogue as the text of its file."""
    return json.dumps(asdict(content), indent=1, ensure_ascii=False) + "\n"


def method_row(method: type[Method]) -> MethodRow:
    """What there is to know of a method before it is run."""
    told_of, hints = {name: _as_typed(text) for name, text in descriptions(method).items()}, get_type_hints(method)
    settings = [
        SettingRow(
            name=one.name,
            type=metavar(hints[one.name]),
            default=None if one.default is MISSING else one.default,
            description=told_of.get(one.name, ""),
        )
        for one in fields(method)
    ]
    own, usual = asdict(method().loop_settings()), asdict(LoopSettings())
    loop = {name: value for name, value in own.items() if name in _TOLD or value != usual[name]}
    if method.is_solvable:  # its runs find their rate and their end
        loop = {"pace": "auto", **{name: value for name, value in loop.items() if name not in ("passes", "lr")}}
    if issubclass(method, Retrain) or not method.trains:  # retraining follows the recipe that the original's folder has
        loop = {}
    search = {name: [factor.low, factor.high] for name, factor in method.search.items()}
    return MethodRow(
        name=method.name,
        description=_as_typed(title(method)),
        settings=settings,
        loop=loop,
        trains=method.trains,
        search=search,
    )


def _as_typed(text: str) -> str:
    """A description with methods called as they are typed, in the place of their classes."""
    for name, method in METHODS.items():
        text = text.replace(f"`{method.__name__}`", f"`{name}`")
    return text


def family_row(name: str, family: type[FamilyAdapter]) -> FamilyRow:
    """What there is to know of a family before one of its models is loaded."""
    tasks = {str(task): [head for head, of in family.heads.items() if of == task] for task in family.tasks()}
    return FamilyRow(
        name=name,
        description=family.description,
        modalities=list(family.modalities),
        tasks=tasks,
        extra=family.extra,
    )
