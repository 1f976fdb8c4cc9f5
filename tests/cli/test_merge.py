"""``unlearn --lora`` and ``merge`` from the command line."""

import json
from pathlib import Path

import pytest

from multidelete.cli import run
from multidelete.models import load_adapter
from tests.tiny import differing, own_clip, people, weights

DATA = "personas:people=6,unseen=2,size=32"
UNLEARN = (
    "--data",
    DATA,
    "--forget-subject",
    "person-0001",
    "--method",
    "grad_diff",
    "--passes",
    "1",
    "--device",
    "cpu",
)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    own_clip(people(6, unseen=2)).save(tmp_path / "original")
    return tmp_path / "original"


def test_lora_from_flag_to_full_model(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter, full = tmp_path / "adapter", tmp_path / "full"
    assert run(["unlearn", str(original), *UNLEARN, "--lora", "r=2,alpha=8", "--out", str(adapter), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lora"] == {"r": 2, "alpha": 8.0, "merged": False}
    assert run(["merge", str(adapter), "--out", str(full), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(full), "adapter": str(adapter)}
    assert differing(weights(load_adapter(adapter)), weights(load_adapter(full))) == []
    assert run(["merge", str(adapter), "--out", str(full)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert run(["merge", str(adapter), "--out", str(full), "--overwrite"]) == 0
    assert "of the adapter" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("r=0", "r is 0; it must be 1 or more"),
        ("rank=4", "unknown setting 'rank'"),
        ("r", "--lora has 'r'; it must be NAME=VALUE"),
        ("r=two", "r is 'two'; it must be a whole number"),
    ],
)
def test_wrong_lora_is_refused(
    given: str, expected: str, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["unlearn", str(original), *UNLEARN, "--lora", given, "--out", str(tmp_path / "adapter")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "adapter").exists()
