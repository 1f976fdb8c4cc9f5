"""An experiment file becomes one page; nothing is run twice, and it does not matter where or in what order."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from multidelete.audits.controls import RANDOM_WEIGHTS, UNTOUCHED
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.audits.result import read_audit
from multidelete.cli import run
from multidelete.core.errors import CheckpointError, ConfigError
from multidelete.experiments.comparison import Block, compare
from multidelete.experiments.comparison.experiment import CONTROLS
from multidelete.methods import METHODS
from tests.processes import ROOT

TINY = """
name = "tiny"
draws = [1, 2]
fractions = [0.25]

[settings.people]
data = "personas:people=12,unseen=8,size=32"
unit = "subject"
noun = "people"
model = { family = "clip", size = "tiny", image_size = 32 }
train = { passes = 4, batch_size = 24, lr = 2e-3, device = "cpu" }

[methods.finetune]
passes = 1
[methods.scrub]
passes = 1
[settings.people.methods.scrub]
lr = 1e-4
"""


FIRST = TINY.replace("draws = [1, 2]", "draws = [1]")


def file_of(folder: Path) -> Path:
    """The experiment that is run in a folder; it lies beside it, since what is read may not lie in what is written."""
    return folder.parent / f"{folder.name}.toml"


def write(folder: Path, text: str = TINY) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file_of(folder).write_text(text)
    return file_of(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Block]]:
    """The experiment run from beginning to end, its first draw before the second; tests that change it copy it."""
    out = tmp_path_factory.mktemp("whole")
    compare(write(out, FIRST), out=out)
    return out, compare(write(out), out=out)


@pytest.fixture(scope="module")
def first(whole: tuple[Path, list[Block]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Block]]:
    """The first draw alone, which is enough where cells are made anew."""
    out = copied(whole[0], tmp_path_factory.mktemp("first") / "first")
    return out, compare(write(out, FIRST), out=out)


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    shutil.copy(file_of(folder), file_of(to))
    return to


@pytest.fixture
def copy(whole: tuple[Path, list[Block]], tmp_path: Path) -> Path:
    return copied(whole[0], tmp_path / "copy")


@pytest.fixture
def copy_of_first(first: tuple[Path, list[Block]], tmp_path: Path) -> Path:
    return copied(first[0], tmp_path / "copy")


def results(blocks: Sequence[Block]) -> list[object]:
    """What does not depend on how fast the machine was."""
    return [
        (b.setting, b.fraction, b.groups, b.wins, b.void, b.figures,
         {name: (row.values, row.gaps, row.outcomes, row.absent) for name, row in b.rows.items()})
        for b in blocks
    ]  # fmt: skip


def models(out: Path) -> set[str]:
    return {path.name for path in (out / "models").glob("[!.]*-*") if path.is_dir()}


def said(out: Path, **given: object) -> list[str]:
    """The cells that a run says it works on, but for the audits."""
    lines: list[str] = []
    compare(file_of(out), out=out, say=lines.append, **given)  # type: ignore[arg-type]
    cells = [re.sub(r", about .* left", "", line.partition(": ")[2]) for line in lines]
    groups = {cell.partition(", ")[0] for cell in cells}
    assert sorted(cell for cell in cells if cell.endswith(", audit")) == sorted(f"{group}, audit" for group in groups)
    return [cell for cell in cells if not cell.endswith(", audit")]


def test_every_cell_is_there_with_controls_and_a_page(whole: tuple[Path, list[Block]]) -> None:
    out, (block,) = whole
    assert (block.setting, block.fraction, block.groups) == ("people", 0.25, 2)
    assert list(block.rows) == [UNTOUCHED, "retrained", RETRAINED_AGAIN, RANDOM_WEIGHTS, "finetune", "scrub"]
    for name, row in block.rows.items():
        assert {"test", "retain", "forget", "separation", "membership"} <= set(row.values), name
        assert row.gaps["forget"].n == 2
        assert sum(row.outcomes.values()) == (0 if name == "retrained" else 2)
    assert {gap.value for gap in block.rows["retrained"].gaps.values()} == {0.0}
    assert "margin gap" in block.rows[RETRAINED_AGAIN].values
    for name in ("finetune", "scrub", RETRAINED_AGAIN):
        row = block.rows[name]
        assert row.share is not None
        assert row.seconds is not None
        assert row.peak_bytes is not None
        assert row.seconds.value > 0
        assert row.peak_bytes.value > 1e8
    assert sorted(name.split("-")[0] for name in models(out)) == [
        *["finetune"] * 2, "original", *["retrained"] * 4, *["scrub"] * 2
    ]  # fmt: skip
    page = (out / "results.md").read_text()
    assert "| finetune | " in page
    assert "](people-0.25.svg)" in page
    assert (out / "people-0.25.svg").read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg" ')
    html = (out / "results.html").read_text()
    assert "<svg" in html
    assert not re.search(r"https?://|src=|<script|<link", html)


def test_an_audit_holds_what_the_page_is_made_of(whole: tuple[Path, list[Block]]) -> None:
    out, _ = whole
    run_, figures = read_audit(out / "audits" / "people-0.25-draw-2-seed-0.json")
    told = run_["models"]
    assert set(told) == {"original", "retrained", *CONTROLS, "finetune", "scrub"}  # type: ignore[arg-type]
    assert told["scrub"]["loop"]["lr"] == 1e-4  # type: ignore[index]
    assert told["finetune"]["loop"]["lr"] == METHODS["finetune"]().loop_settings_for(12).lr  # type: ignore[index]
    assert {row.model for row in figures} == set(told)  # type: ignore[arg-type]
    same = [(row.model, row.value) for row in figures
            if row.audit == "utility" and row.figure == "sensitive recall@10 image to text"
            if row.model in ("original", UNTOUCHED)]  # fmt: skip
    assert len(same) == 2
    assert same[0][1] == same[1][1]
    text = (out / "audits" / "people-0.25-draw-2-seed-0.json").read_text()
    assert "person-00" not in text  # nobody is named


def test_what_is_done_is_not_run_again(copy: Path, whole: tuple[Path, list[Block]]) -> None:
    shutil.rmtree(copy / "models")  # not even the models are needed
    before = {path: path.stat().st_mtime_ns for path in (copy / "audits").iterdir()}
    lines: list[str] = []
    blocks = compare(file_of(copy), out=copy, say=lines.append)
    assert lines == []
    assert {path: path.stat().st_mtime_ns for path in (copy / "audits").iterdir()} == before
    assert blocks == whole[1]
    assert not (copy / "models").exists()


@pytest.mark.slow  # which models are missing, the test below tells of a row of other settings
def test_a_changed_setting_reruns_its_own_cells(copy_of_first: Path, first: tuple[Path, list[Block]]) -> None:
    copy, before = copy_of_first, models(copy_of_first)
    write(copy, FIRST.replace("lr = 1e-4", "lr = 2e-4"))
    assert said(copy) == ["people-0.25-draw-1-seed-0, scrub"]
    assert [name.split("-")[0] for name in models(copy) - before] == ["scrub"]
    (block,) = compare(file_of(copy), out=copy)
    (old,) = first[1]
    for name in (UNTOUCHED, "retrained", RETRAINED_AGAIN, RANDOM_WEIGHTS, "finetune"):
        assert block.rows[name] == old.rows[name]
    assert block.rows["scrub"].values != old.rows["scrub"].values
    write(copy, FIRST)
    assert said(copy) == ["people-0.25-draw-1-seed-0, scrub"]  # from the store
    assert results(compare(file_of(copy), out=copy)) == results(first[1])


def test_a_new_row_is_added_to_what_is_there_and_a_removed_one_leaves(copy_of_first: Path) -> None:
    copy = copy_of_first
    write(copy, FIRST.partition("[methods.scrub]")[0] + '[methods.gentle]\nmethod = "scrub"\npasses = 1\nlr = 1e-5\n')
    assert said(copy, discard=True) == ["people-0.25-draw-1-seed-0, gentle"]
    (block,) = compare(file_of(copy), out=copy)
    assert list(block.rows)[4:] == ["finetune", "gentle"]
    assert block.rows["gentle"].gaps["forget"].n == 1
    write(copy, FIRST + "[methods.neggrad]\npasses = 1\n")  # the models that were discarded are not missed
    assert [line.split(", ")[1] for line in said(copy, discard=True)] == ["scrub", "neggrad"]
    kept = models(copy)
    assert not {name for name in kept if name.startswith("neggrad")}
    assert {name for name in kept if name.startswith(("original", "retrained"))}


@pytest.mark.slow  # what makes another model, the tests of the store have
def test_another_original_makes_every_cell_anew(copy_of_first: Path) -> None:
    write(copy_of_first, FIRST.replace("passes = 4", "passes = 3"))
    cells = [line.split(", ", 1)[1] for line in said(copy_of_first)]
    assert cells == ["original", "retrained", RETRAINED_AGAIN, "finetune", "scrub"]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_page(tmp_path: Path, first: tuple[Path, list[Block]]) -> None:
    out = tmp_path / "killed"
    write(out, FIRST)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "multidelete.cli", "compare", str(file_of(out)), "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, cwd=ROOT,
    )  # fmt: skip
    end = time.monotonic() + 100
    while not list((out / "models").glob("retrained-*")):  # in the middle of the first group
        assert process.poll() is None, process.stderr and process.stderr.read().decode()[-2000:]
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list((out / "audits").glob("*.json"))
    made = models(out)
    assert results(compare(file_of(out), out=out)) == results(first[1])
    assert made < models(out) < models(first[0])


@pytest.mark.slow
def test_two_shards_on_two_machines_give_the_page_of_one(tmp_path: Path, whole: tuple[Path, list[Block]]) -> None:
    """What each would train again is taken from one store, for it is the same to the bit."""
    first, second = tmp_path / "first", tmp_path / "second"
    for number, out in enumerate((first, second), start=1):
        (part,) = compare(write(out), out=out, store=whole[0] / "models", shard=f"{number}/2")
        assert part.groups == 1
        assert "1 of 2 groups." in (out / "results.md").read_text()
    for audit in (second / "audits").glob("*.json"):
        shutil.copy(audit, first / "audits")
    assert results(compare(file_of(first), out=first)) == results(whole[1])
    seconds = [results([b]) for b in compare(file_of(first), out=first, shard="2/2")]
    assert seconds == [results([b]) for b in whole[1]]  # a shard's page shows all that is there


def test_an_audit_of_another_version_is_made_anew(copy: Path, whole: tuple[Path, list[Block]]) -> None:
    """A page never mixes figures of the audits as they were and as they are; no model is trained for it."""
    first, second = sorted((copy / "audits").glob("*.json"))
    first.write_text(first.read_text().replace('"audit": "version ', '"audit": "version 0'))
    kept, made = second.read_bytes(), models(copy)
    assert results(compare(file_of(copy), out=copy)) == results(whole[1])
    assert '"audit": "version 0' not in first.read_text()
    assert second.read_bytes() == kept
    assert models(copy) == made


@pytest.mark.slow
def test_copies_are_compressed_and_relearned_with_their_controls(copy: Path) -> None:
    made = models(copy)
    one = TINY.replace("draws = [1, 2]", "draws = [1]\ncompress = true\nrelearn = true")
    write(copy, one[: one.index("[methods.scrub]")])  # fewer models: each learns for 64 steps
    (block,) = compare(file_of(copy), out=copy)
    assert models(copy) == made
    assert block.groups == 1
    for column in ("4 bits", "relearned"):
        for name in (UNTOUCHED, RANDOM_WEIGHTS, RETRAINED_AGAIN, "finetune"):
            assert block.rows[name].gaps[column].n == 1, name
        assert block.rows["finetune"].values[column].n == 1
    _, figures = read_audit(copy / "audits" / "people-0.25-draw-1-seed-0.json")
    bits = {(row.figure, row.split, row.model): row.value for row in figures if row.audit == "compression"}
    of_original = {key: value for key, value in bits.items() if key[2] == "original"}
    assert of_original
    for (figure, split, _), value in of_original.items():
        assert bits[figure, split, UNTOUCHED] == value
    assert any(value != bits[figure, split, RANDOM_WEIGHTS] for (figure, split, _), value in of_original.items())
    page = (copy / "results.md").read_text()
    assert "4 bits" in page
    assert "relearned" in page
    assert said(copy) == []


def test_a_method_that_cannot_do_it_is_absent_with_its_reason(copy_of_first: Path) -> None:
    bad = '[methods.wild]\nmethod = "neggrad"\nlr = 1e30\noptimizer = "sgd"\nmax_grad_norm = 0\npasses = 9\n'
    copy = copy_of_first
    write(copy, FIRST + bad)
    (block,) = compare(file_of(copy), out=copy)
    wild = block.rows["wild"]
    assert len(wild.absent) == 1
    assert all("infinite" in why or "NaN" in why or "finite" in why for why in wild.absent.values())
    assert wild.values == {}
    assert block.rows["scrub"].gaps["forget"].n == 1
    page = (copy / "results.md").read_text()
    assert "- wild is absent in 1 of 1 group: " in page
    assert said(copy) == []


def test_the_command_prints_tables_or_json(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["compare", str(file_of(copy)), "--out", str(copy)]
    assert run(asked) == 0
    shown = capsys.readouterr().out
    assert "people, 25.0% deleted, groups: 2" in shown
    assert "finetune" in shown
    assert run([*asked, "--json"]) == 0
    (block,) = json.loads(capsys.readouterr().out)
    assert block["rows"]["scrub"]["gaps"]["forget"]["n"] == 2
    assert run([*asked, "--shard", "3/2"]) == 2
    assert "--shard is '3/2'; it must be I/N" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('family = "clip"', 'family = "clop"', r"model: Unknown family 'clop'"),
        ('size = "tiny"', 'size = "huge"', r"model: Unknown size 'huge'"),
        ('device = "cpu"', 'device = "tpu"', r"train: device is 'tpu'"),
        ('name = "tiny"', 'name = "../out"', r"name is '../out'; it must be letters"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_written(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compare(write(tmp_path, TINY.replace(old, new)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    file, taken = write(tmp_path / "own"), tmp_path / "taken"
    taken.write_text("")
    for given in ({"out": taken}, {"out": tmp_path / "out", "store": taken}):
        with pytest.raises(CheckpointError, match=r"taken.* cannot be made"):
            compare(file, **given)
    for given in ({"out": file}, {"out": file.parent}, {"out": tmp_path / "out", "store": file.parent}):
        with pytest.raises(CheckpointError, match="inputs are never changed"):
            compare(file, **given)
