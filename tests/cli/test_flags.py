"""Settings are resolved once for a command: its settings file is read and parsed one time."""

import tomllib
from pathlib import Path

import pytest

from multidelete.cli import run

SPEC = "personas:people=6,unseen=4,size=16"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were parsed as TOML."""
    texts: list[str] = []
    loads = tomllib.loads

    def counting(text: str) -> dict[str, object]:
        texts.append(text)
        return loads(text)

    monkeypatch.setattr(tomllib, "loads", counting)
    return texts


def test_a_settings_file_is_parsed_once(tmp_path: Path, parsed: list[str]) -> None:
    common = f'data = "{SPEC}"\npasses = 0.2\nbatch_size = 8\n'
    (tmp_path / "train.toml").write_text(f"{common}image_size = 16\n")
    original, out = str(tmp_path / "original"), str(tmp_path / "out")
    assert run(["train", "--config", str(tmp_path / "train.toml"), "--out", original]) == 0
    assert len(parsed) == 1
    search = "trials = 3\nfailed = 0\nwall_s = 1.5\npairs_forward = 1\npairs_backward = 2\nobjective = 0.5\n"
    search += "default_objective = 0.6\nrequest_pairs = 4\nseed = 0\n"
    tables = f'[method]\nname = "npo"\nbeta = 0.2\n[search]\n{search}'
    (tmp_path / "unlearn.toml").write_text(f'{common}forget_subject = ["person-0001"]\n{tables}')
    assert run(["unlearn", original, "--config", str(tmp_path / "unlearn.toml"), "--out", out]) == 0
    assert len(parsed) == 2


def test_a_wrong_settings_file_is_parsed_once(
    tmp_path: Path, parsed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.toml").write_text('datum = "x"\npasses = "y"\n')
    assert run(["tune", "original", "--config", str(tmp_path / "wrong.toml"), "--out", "x.toml"]) == 2
    assert len(parsed) == 1
    said = capsys.readouterr().err
    assert "unknown setting 'datum'" in said
    assert "passes is 'y'" in said
