"""What there is, by name: methods, families and readers, told without importing any of them.

``catalogue.json`` beside this file holds it. ``python docs/make_cli.py`` writes that file from the registries
(`multidelete.catalogue.made`), and a test compares: torch and transformers take seconds to import, and a list
of names needs neither.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A hyperparameter."""

    name: str
    type: str
    default: object
    description: str


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """A method with its hyperparameters and the loop settings that it uses.

    Attributes:
        name: What ``--method`` takes.
        description: One line about it.
        settings: Its hyperparameters.
        loop: Its loop settings, as far as they are its own.
        trains: Whether it runs the loop.
        search: Lowest and highest multiple of the default that `tune` tries.
    """

    name: str
    description: str
    settings: list[SettingRow]
    loop: dict[str, object]
    trains: bool
    search: dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class FamilyRow:
    """A family with what its pairs consist of, and the network classes of each task."""

    name: str
    description: str
    modalities: list[str]
    tasks: dict[str, list[str]]
    extra: str | None


@dataclass(frozen=True, kw_only=True)
class ReaderRow:
    """A reader of data."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All that can be named in a command."""

    methods: list[MethodRow]
    families: list[FamilyRow]
    readers: list[ReaderRow]


@cache
def catalogue() -> Catalogue:
    """What ``catalogue.json`` holds."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return Catalogue(
        methods=[
            MethodRow(**row | {"settings": [SettingRow(**one) for one in row["settings"]]})
            for row in content["methods"]
        ],
        families=[FamilyRow(**row) for row in content["families"]],
        readers=[ReaderRow(**row) for row in content["readers"]],
    )
