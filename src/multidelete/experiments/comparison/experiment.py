"""What is compared: the grid, settings, rows and groups of an experiment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from multidelete.audits.controls import RANDOM_WEIGHTS, UNTOUCHED
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.core.config import check_settings
from multidelete.core.json_files import JsonObject
from multidelete.core.settings import LoopSettings, TrainSettings
from multidelete.core.units import Unit
from multidelete.methods import Method
from multidelete.models.fresh import Size

CONTROLS = (UNTOUCHED, RANDOM_WEIGHTS, RETRAINED_AGAIN)


def spelt(fraction: float) -> str:
    """A share as groups and their files are named by it: in six digits.

    >>> spelt(0.05), spelt(0.1 + 0.2)
    ('0.05', '0.3')
    """
    return f"{fraction:g}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is varied.

    Attributes:
        name: Of the experiment, for the page.
        seeds: Of training, unlearning and everything else that is drawn but the request.
        fractions: Shares of the units that a request deletes, each in (0, 1), no two the same.
        draws: Which requests are drawn: their seeds.
        shadows: Shadow models of each original, for attacks on single pairs, >= 0.
        compress: Whether to ask copies with 8-bit and 4-bit weights too.
        relearn: Whether to train copies on a quarter of the deleted units again, and see what comes back of the rest.
    """

    name: str
    seeds: tuple[int, ...] = (0,)
    fractions: tuple[float, ...] = (0.05,)
    draws: tuple[int, ...] = (1,)
    shadows: int = 0
    compress: bool = False
    relearn: bool = False

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {}
        for name in ("seeds", "draws"):
            values = getattr(self, name)
            fits = bool(values) and len(set(values)) == len(values) and min(values) >= 0
            rules[name] = (fits, "a list of different numbers, each 0 or more")
        inside = bool(self.fractions) and all(0 < share < 1 for share in self.fractions)
        differ = len(set(map(spelt, self.fractions))) == len(self.fractions)
        each = "a list of shares of the units, above 0 and below 1, which differ in their first six digits"
        rules["fractions"] = (inside and differ, each)
        named = re.fullmatch(r"\w[\w .-]*", self.name) is not None
        rules["name"] = (named, "letters, digits, spaces, dots, - and _, since a folder is named after it")
        rules["shadows"] = (self.shadows >= 0, "0 or more")
        check_settings(self, rules)


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The first part of the data, for small computers.

    Attributes:
        images: Training images (first members of pairs) to keep, in the data's order, >= 1; 0 keeps all.
        pairs_per_image: Pairs to keep of each image, in every split, >= 1; 0 keeps all.
    """

    images: int = 0
    pairs_per_image: int = 0

    def __post_init__(self) -> None:
        check_settings(self, {n: (getattr(self, n) >= 0, "0 or more") for n in ("images", "pairs_per_image")})


@dataclass(frozen=True)
class MethodRow:
    """One row of the tables: a method with its hyperparameters, and what it changes of its loop settings."""

    name: str
    method: Method
    loop: JsonObject
    trainable: str


@dataclass(frozen=True)
class StartScript:
    """A function ``make(folder, captions, *, seed, **options)`` that writes the untrained model."""

    script: Path
    function: str
    options: JsonObject


@dataclass(frozen=True)
class Setting:
    """A family on a data set with its recipe: one group of tables.

    Attributes:
        name: Of its table.
        data: What to read, as written.
        columns: Which column holds what.
        splits: Which split is what.
        image_root: Folder that image paths start from.
        classes: Names of numbered classes, in their order.
        holdout: Share of the pairs to set aside for each of val and test, where there are none.
        subset: The part of the data to use.
        model: Family, named size and task.
        size: A size of its own instead of a named one.
        start: A script that makes the untrained model.
        train: The recipe.
        unit: What a request deletes as a whole.
        noun: What a unit is called, in the plural.
        methods: The rows.
    """

    name: str
    data: str
    model: TrainSettings
    train: LoopSettings
    unit: Unit
    noun: str | None
    methods: tuple[MethodRow, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    image_root: str | None = None
    holdout: float | None = None
    subset: Subset | None = None
    size: Size | None = None
    start: StartScript | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """One request on one original: every model of it is audited with the same pairs."""

    setting: Setting
    fraction: float
    draw: int
    seed: int
    shadows: int = 0
    compress: bool = False
    relearn: bool = False

    @property
    def name(self) -> str:
        """Unique in the experiment, and fit for a file's name."""
        return f"{self.setting.name}-{spelt(self.fraction)}-draw-{self.draw}-seed-{self.seed}"


@dataclass(frozen=True)
class Experiment:
    """A checked experiment file."""

    path: Path
    grid: Grid
    settings: tuple[Setting, ...]

    @property
    def out(self) -> Path:
        """Its folder of results, where no other is given."""
        return Path("runs") / self.grid.name

    @property
    def groups(self) -> list[Group]:
        """All groups, in the order of the page."""
        return [
            Group(setting, fraction, draw, seed, self.grid.shadows, self.grid.compress, self.grid.relearn)
            for setting in self.settings
            for fraction in self.grid.fractions
            for seed in self.grid.seeds
            for draw in self.grid.draws
        ]
