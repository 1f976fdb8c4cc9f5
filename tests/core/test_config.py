"""Settings from defaults, files and flags."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from multidelete.core.config import as_toml, check_settings, did_you_mean, read_toml, resolve, shown
from multidelete.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """Settings of every supported type."""

    family: ClassVar[str] = "not a setting"
    cook: str
    guests: int = 4
    heat: float = 0.5
    oven: bool = False
    meal: Literal["lunch", "dinner"] = "dinner"
    courses: tuple[str, ...] = ("soup",)
    minutes: tuple[int, ...] = ()
    budget: float | None = 20.0
    note: str | None = None

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "guests": (self.guests > 0, "greater than 0; close the kitchen instead"),
                "heat": (0 <= self.heat <= 1, "in [0, 1]"),
            },
        )


def in_file(folder: Path, text: str) -> Path:
    path = folder / "kitchen.toml"
    path.write_text(text)
    return path


def problems_of(*args: object, **kwargs: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(Kitchen, *args, **kwargs)
    return caught.value.problems


def test_flags_override_file_and_file_overrides_defaults(tmp_path: Path) -> None:
    path = in_file(tmp_path, 'cook = "Ada"\nguests = 7\nheat = 0.25\n')
    settings = resolve(Kitchen, path, {"guests": 9, "oven": None})
    assert settings == Kitchen(cook="Ada", guests=9, heat=0.25)


def test_hyphens_are_read_as_underscores(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Spelt:
        batch_size: int = 1

    assert resolve(Spelt, in_file(tmp_path, "batch-size = 3")).batch_size == 3


def test_whole_number_for_a_float_becomes_a_float(tmp_path: Path) -> None:
    heat = resolve(Kitchen, in_file(tmp_path, 'cook = "Ada"\nheat = 1')).heat
    assert heat == 1.0
    assert type(heat) is float


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("guests = true", "a whole number"),
        ("guests = 2.0", "a whole number"),
        ('guests = "2"', "a whole number"),
        ("heat = true", "a finite number"),
        ("heat = nan", "a finite number"),
        ("heat = inf", "a finite number"),
        ("heat = 1" + 400 * "0", "a finite number"),
        ("oven = 1", "true or false"),
        ("oven = 'true'", "true or false"),
        ("meal = 'brunch'", "one of 'lunch', 'dinner'"),
        ("courses = 'soup'", "a list, each item a text"),
        ("courses = ['soup', 2]", "a list, each item a text"),
        ("minutes = [1.5]", "a list, each item a whole number"),
        ("budget = 'much'", "a finite number, or none"),
        ("budget = nan", "a finite number, or none"),
        ("cook = 2000-01-01", "a text"),
    ],
)
def test_wrong_type_in_file_names_setting_value_and_rule(tmp_path: Path, line: str, wanted: str) -> None:
    path = in_file(tmp_path, line)
    (problem,) = problems_of(path, {} if line.startswith("cook") else {"cook": "Ada"})
    name = line.split()[0]
    assert problem.startswith(f"{path}: {name} is ")
    assert problem.endswith(f"; it must be {wanted}.")
    assert shown(read_toml(path)[name]) in problem


def test_flags_given_as_text_are_parsed() -> None:
    flags = {"cook": "3", "guests": "3", "heat": "1e-1", "oven": "True", "courses": "soup, cake", "minutes": "5,6"}
    settings = resolve(Kitchen, None, {**flags, "meal": "lunch", "budget": "none", "note": "late"})
    expected = Kitchen(
        cook="3",
        guests=3,
        heat=0.1,
        oven=True,
        courses=("soup", "cake"),
        minutes=(5, 6),
        meal="lunch",
        budget=None,
        note="late",
    )
    assert settings == expected


@pytest.mark.parametrize("flags", [{"guests": "three"}, {"heat": "nan"}, {"oven": "yes"}, {"minutes": "1,x"}])
def test_flags_given_as_wrong_text_are_refused(flags: dict[str, object]) -> None:
    (name,) = flags
    (problem,) = problems_of(None, {"cook": "Ada", **flags})
    assert problem.startswith(f"{name} is ")


def test_all_problems_are_collected(tmp_path: Path) -> None:
    path = in_file(tmp_path, "guest = 3\nheat = 2.5\noven = 3\ndessert = 1\n")
    problems = problems_of(path, {"cook": "Ada", "guests": -1})
    assert len(problems) == 5
    assert problems[0].startswith(f"{path}: unknown setting 'guest'. Did you mean 'guests'? Known: budget, cook, ")
    assert problems[1] == f"{path}: oven is 3; it must be true or false."
    assert problems[2].startswith(f"{path}: unknown setting 'dessert'. Known: ")
    assert problems[3] == "guests is -1; it must be greater than 0; close the kitchen instead."
    assert problems[4] == f"{path}: heat is 2.5; it must be in [0, 1]."


def test_missing_value_is_named_beside_other_problems() -> None:
    assert problems_of(None, {"oven": 1}) == [
        "oven is 1; it must be true or false.",
        "cook is not given; it must be a text. Give it.",
    ]


def test_refused_value_is_not_called_missing_too() -> None:
    assert problems_of(None, {"cook": 3}) == ["cook is 3; it must be a text."]


def test_class_variables_are_no_settings() -> None:
    (problem,) = problems_of(None, {"cook": "Ada", "family": "x"})
    assert "unknown setting 'family'" in problem


def test_table_is_read_by_itself_and_foreign_keys_pass(tmp_path: Path) -> None:
    path = in_file(tmp_path, 'data = "d"\nguests = 5\ncook = "Ada"\n[method]\nname = "stew"\ncook = "Bob"\n')
    assert resolve(Kitchen, path, also={"data", "method"}).cook == "Ada"
    assert resolve(Kitchen, path, table="method", also={"name"}) == Kitchen(cook="Bob")
    assert resolve(Kitchen, path, {"cook": "Cy"}, table="absent") == Kitchen(cook="Cy")
    (problem,) = problems_of(path, table="method")
    assert problem.startswith(f"{path}, [method]: unknown setting 'name'")


def test_table_that_is_a_value_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(in_file(tmp_path, "method = 'stew'"), {"cook": "Ada"}, table="method")
    assert "method is 'stew'; it must be a table" in problem


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"guests 4", r"is not valid TOML: .*line 1.*"),
        (b"guests = 4\nguests = 5", "not valid TOML"),
        (b"\xff", "UTF-8"),
    ],
)
def test_unreadable_file_is_named(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=match) as caught:
        read_toml(path)
    assert str(path) in str(caught.value)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        resolve(Kitchen, tmp_path / "none.toml", {"cook": "Ada"})


@pytest.mark.parametrize("table", [None, "method"])
def test_written_settings_are_read_back_equal(tmp_path: Path, table: str | None) -> None:
    plain = Kitchen(cook="Ada")
    odd = Kitchen(
        cook='quote " backslash \\ line\nbreak \x00\x1f\x7f é 🙂',
        guests=10**12,
        heat=1e-05,
        oven=True,
        courses=("a,b", "", "[x]"),
        minutes=(-1, 0),
        budget=None,
    )
    for settings in (plain, odd, replace(odd, budget=1e300, note="it's", courses=())):
        path = in_file(tmp_path, as_toml(settings, table=table))
        assert resolve(Kitchen, path, table=table) == settings


def test_settings_of_an_unsupported_type_are_the_programmers_error() -> None:
    @dataclass(frozen=True)
    class Odd:
        steps: dict[str, int]

    with pytest.raises(TypeError, match="cannot be of type"):
        resolve(Odd, None, {"steps": 3})


def test_true_is_not_the_choice_one() -> None:
    @dataclass(frozen=True)
    class Bits:
        width: Literal[1, 8] = 8

    assert resolve(Bits, None, {"width": 1}).width == 1
    assert resolve(Bits, None, {"width": "1"}).width == 1
    with pytest.raises(ConfigError, match="width is True; it must be one of 1, 8"):
        resolve(Bits, None, {"width": True})


def test_did_you_mean_is_silent_without_a_near_name() -> None:
    assert did_you_mean("zebra", ["seed"]) == "Known: seed."
