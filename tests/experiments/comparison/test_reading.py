"""An experiment file is checked as a whole before anything runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from multidelete.cli import run
from multidelete.core.errors import ConfigError
from multidelete.experiments.comparison import read_experiment
from multidelete.methods import SCRUB, MultiDelete

GOOD = """
name = "good"
seeds = [0, 1]
fractions = [0.05, 0.1]
draws = [1, 2, 3]
shadows = 2

[settings.one]
data = "personas:people=20"
unit = "subject"
model = { family = "clip", image_size = 32 }
train = { passes = 3, precision = "bf16" }
[settings.one.methods.quick]
passes = 2
gamma = 0.5

[settings.two]
data = "emoji"
columns = { id = "pair_id" }
unit = "image"
subset = { images = 10 }
size = { width = 64, layers = 1, stages = [], depths = [], projection = 64, context = 16, vocabulary = 500 }

[methods.multidelete]
[methods.quick]
method = "scrub"
trainable = "text"
passes = 1
"""


def read(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    return read_experiment(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    return error.value.problems


def test_a_good_file(tmp_path: Path) -> None:
    experiment = read(tmp_path, GOOD)
    one, two = experiment.settings
    assert [type(row.method) for row in one.methods] == [MultiDelete, SCRUB]
    assert one.methods[1].method == SCRUB(gamma=0.5)
    assert two.methods[1].method == SCRUB()
    assert dict(one.methods[1].loop) == {"precision": "bf16", "passes": 2.0}  # inherited, and overridden
    assert dict(two.methods[1].loop) == {"passes": 1.0}
    assert one.methods[1].trainable == "text"
    assert one.train.passes == 3
    assert one.train.batch_size == 48  # that of training, not the loop's own default
    assert two.size is not None
    assert two.size.width == 64
    groups = experiment.groups
    assert len(groups) == 2 * 2 * 2 * 3
    assert len({group.name for group in groups}) == len(groups)
    assert groups[1].name == "one-0.05-draw-2-seed-0"


def test_settings_of_another_file(tmp_path: Path) -> None:
    """The same settings, so the same originals; differences for rows that this file lacks do not matter."""
    experiment = read(tmp_path, GOOD)
    other = tmp_path / "further" / "sizes.toml"
    other.parent.mkdir()
    head = 'name = "sizes"\nfractions = [0.2]\nsettings_from = "../experiment.toml"\n'
    other.write_text(head + "[methods.multidelete]\n")
    found = read_experiment(other)
    assert [group.fraction for group in found.groups] == [0.2, 0.2]
    for mine, theirs in zip(found.settings, experiment.settings, strict=True):
        assert replace(mine, methods=()) == replace(theirs, methods=())
        assert [row.name for row in mine.methods] == ["multidelete"]
    quick = '[methods.quick]\nmethod = "scrub"\n'
    other.write_text(head + quick)
    assert read_experiment(other).settings[0].methods[0].method == SCRUB(gamma=0.5)
    for text, expected in (
        (head.replace("../experiment.toml", "no.toml") + quick, "settings_from is 'no.toml'; it must be another"),
        (head + quick + "[settings.one]\n", "both settings and settings_from. Give one"),
    ):
        other.write_text(text)
        with pytest.raises(ConfigError, match=expected):
            read_experiment(other)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("draws = ", "drawz = ", "unknown setting 'drawz'. Did you mean 'draws'?"),
        ("draws = [1, 2, 3]", "draws = [1, 1]", "draws is (1, 1); it must be a list of different numbers"),
        ("[0.05, 0.1]", "[0.05, 1.5]", "fractions is (0.05, 1.5); it must be"),
        ("[0.05, 0.1]", "[0.05, 0.05]", "fractions is (0.05, 0.05); it must be a list of shares"),
        ("[0.05, 0.1]", "[0.3, 0.3000000001]", "which differ in their first six digits"),
        ('name = "good"', "", "name is not given"),
        ('unit = "subject"', 'unit = "person"', "[settings.one]: unit is 'person'; it must be one of"),
        ('data = "emoji"', "", "[settings.two]: data is not given"),
        ("subset = ", "subsets = ", "[settings.two]: unknown key 'subsets'. Did you mean 'subset'?"),
        ("images = 10", "images = -1", "[settings.two], subset: images is -1; it must be 0 or more"),
        ("width = 64,", "", "[settings.two], size: width is not given"),
        ("image_size = 32 }", "image_size = 3 }", "[settings.one], model: image_size is 3"),
        ("passes = 3,", "passes = 0,", "[settings.one], train: passes is 0"),
        ("[methods.multidelete]", "[methods.multidelet]", "methods.multidelet: Unknown method 'multidelet'"),
        ("[methods.multidelete]", "[methods.retrain]", "retraining is always a row"),
        ("[methods.multidelete]", "[methods.untouched]\nmethod = 'scrub'", "are always there. Give this one another"),
        ("gamma = 0.5", "gama = 0.5", "unknown setting 'gama'. Did you mean 'gamma'?"),
        ("passes = 1\n", "passes = 'many'\n", "methods.quick: passes is 'many'; it must be a finite number"),
        ("[settings.one.methods.quick]", "[settings.one.methods.slow]", "methods names 'slow', which is no row"),
        ("size = {", "start = { script = 'no.py' }\nsize = {", "there is no script"),
        ("model = { family", "model = { start = 'a', family", "is fine"),
        ("columns = { id", "columns = { id = 3, text", "columns is {'id': 3"),
        ("[settings.two]\n", '[settings."a/b"]\n', "the name must be of letters"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    if expected == "is fine":
        assert read(tmp_path, text).settings[0].model.start == "a"
        return
    told = problems(tmp_path, text)
    assert any(expected in problem for problem in told), told


def test_everything_is_said_at_once_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MULTIDELETE_DATA", raising=False)
    text = (
        GOOD.replace("draws = ", "drawz = ").replace("images = 10", "images = -1").replace("passes = 3", "passes = 0")
    )
    (tmp_path / "wrong.toml").write_text(text)
    assert run(["compare", "wrong.toml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: wrong.toml") for line in lines)
    assert run(["compare", "missing.toml"]) == 2
    assert "missing.toml cannot be read" in capsys.readouterr().err
    (tmp_path / "empty.toml").write_text("")
    assert run(["compare", "empty.toml"]) == 2
    told = capsys.readouterr().err
    assert "settings must be tables, at least one" in told
    assert "methods must be tables, at least one" in told
    (tmp_path / "elsewhere.toml").write_text(GOOD)
    assert run(["compare", "elsewhere.toml"]) == 2
    assert "settings.two: there is no data emoji. Paths start from --data-root" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere.toml", "empty.toml", "wrong.toml"]
