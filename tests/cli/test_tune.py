"""``multidelete tune`` on the command line: a settings file that ``unlearn`` reads as it is."""

import json
import tomllib
from pathlib import Path

import pytest

from multidelete.audits.result import read_audit
from multidelete.cli import run

DATA = "personas:people=16,unseen=8,size=32"
QUICK = ("--device", "cpu", "--data", DATA)
REQUEST = ("--forget-subject", "person-0001", "--forget-subject", "person-0002")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune") / "original"
    assert run(["train", *QUICK, "--image-size", "32", "--passes", "2", "--out", str(folder)]) == 0
    return folder


def results(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    """What a command with ``--json`` prints."""
    capsys.readouterr()
    assert run([str(argument) for argument in (*arguments, "--json")]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_settings_file_goes_through_unlearn_and_its_cost_into_the_audit(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tuned.toml"
    found = results(
        capsys, "tune", original, *QUICK, *REQUEST, "--method", "grad_diff", "--set", "descent=2", "--passes", "1",
        "--batch-size", "7", "--lora", "r=2", "--trainable", "all", "--trials", "3", "--seed", "4", "--out", file,
    )  # fmt: skip
    written = tomllib.loads(file.read_text())
    assert (found["file"], len(found["trials"])) == (str(file), 3)  # type: ignore[arg-type]
    assert file.read_text().startswith("# Found by multidelete tune: 3 trials, 0 of them failed")
    assert " with the fixed budget that the search began with, " in file.read_text()
    assert "finds its own" not in file.read_text(), "runs of grad_diff do not, unless they are asked to"
    assert len((tmp_path / "tuned.jsonl").read_text().splitlines()) == 4
    done = results(
        capsys, "unlearn", original, *QUICK, *REQUEST, "--config", file, "--out", tmp_path / "unlearned"
    )  # fmt: skip
    assert done["method"] == found["method"] == {**written["method"], "descent": 2.0}
    assert done["loop"] == {**done["loop"], **found["loop"], "batch_size": 7}  # type: ignore[dict-item]
    assert (done["lora"], done["trainable"]) == (
        {"r": 2, "alpha": 16.0, "merged": False},
        {**done["trainable"], "chosen": "all"},  # type: ignore[dict-item]
    )
    assert done["search"] == found["search"] == written["search"]
    capsys.readouterr()
    report = tmp_path / "report"
    audit = ("audit", tmp_path / "unlearned", "--original", original, *QUICK, *REQUEST, "--out", report)
    assert run([str(argument) for argument in audit]) == 0
    _, figures = read_audit(report / "audit.json")
    seconds = {f.figure: f.value for f in figures if f.audit == "cost" and f.model == "unlearned"}
    assert seconds["search seconds"] == found["search"]["wall_s"]  # type: ignore[index]
    assert seconds["wall seconds"] == done["cost"]["wall_s"]  # type: ignore[index]


def test_search_of_one_method_is_not_the_cost_of_another(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tuned.toml"
    search = ("tune", original, *QUICK, *REQUEST, "--method", "neggrad", "--trials", "1", "--out", file)
    results(capsys, *search, "--passes", "1")
    unlearn = ("unlearn", original, *QUICK, *REQUEST, "--config", file, "--method", "finetune")
    assert "search" not in results(capsys, *unlearn, "--out", tmp_path / "other")


def test_trials_are_shown_with_the_best_one(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tune", str(original), *QUICK, *REQUEST[:2], "--method", "ssd", "--trials", "1"]
    assert run([*arguments, "--out", str(tmp_path / "tuned.toml")]) == 0
    shown = capsys.readouterr().out
    assert "alpha" in shown
    assert "lr" not in shown  # ssd does not train
    assert shown.count("best") == 1
    assert " with what the search began with, " in (tmp_path / "tuned.toml").read_text()
    assert tomllib.loads((tmp_path / "tuned.toml").read_text()).keys() == {"method", "search"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--method", "retrain"), "retrain cannot be tuned: it is the yardstick"),
        (("--trials", "0"), "trials is 0; it must be 1 or more."),
        (("--out", "tuned"), "out is tuned; it must be a settings file that ends in .toml"),
        (("--data", "personas:people=16,size=32,unseen=0"), "has no held-out pairs"),
        (("--pace", "auto"), "No such option: --pace"),
    ],
)
def test_wrong_input_ends_with_exit_code_2(
    changes: tuple[str, str], message: str, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out = tmp_path / "tuned.toml"
    assert run(["tune", str(original), *QUICK, *REQUEST, "--out", str(out), *changes]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert not list(tmp_path.iterdir())
