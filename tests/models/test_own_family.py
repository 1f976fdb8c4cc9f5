"""A family of the user's own: made, loaded and judged by its flag, and never imported because a folder names it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multidelete import CheckpointError, ConfigError, add_family, load_adapter
from multidelete.cli import run
from multidelete.models import FAMILIES

DATA = ("--data", "personas:people=6,unseen=4,size=32")
REQUEST = ("--forget-subject", "person-0001")
QUICK = ("--passes", "0.5", "--device", "cpu")
OWN = "own_code:OwnAdapter"
CODE = """
from transformers import CLIPConfig, CLIPModel, CLIPProcessor

from multidelete.models.dual_encoder import DualEncoderAdapter


class OwnConfig(CLIPConfig):
    model_type = "own-clip"


class OwnNetwork(CLIPModel):
    config_class = OwnConfig


class OwnAdapter(DualEncoderAdapter):
    family = "own"
    description = "CLIP under another name"
    model_type = "own-clip"
    heads = {"OwnNetwork": "retrieval"}

    @classmethod
    def new(cls, wanted):
        config = OwnConfig(text_config=wanted.text_settings, vision_config=wanted.vision_settings, projection_dim=32)
        return OwnNetwork(config), CLIPProcessor(wanted.pictures, wanted.tokenizer)


class Headless(OwnAdapter):
    heads = {}


class Elsewhere(OwnAdapter):
    heads = {"NowhereNetwork": "retrieval"}
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A module on the path; the function makes everything as it is in a process that has not imported it."""
    (tmp_path / "own_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(FAMILIES)

    def forget() -> None:
        sys.modules.pop("own_code", None)
        FAMILIES.clear()
        FAMILIES.update(before)

    yield forget
    forget()


def test_models_of_an_own_family_are_trained_unlearned_and_audited(
    own_code: Callable[[], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original, unlearned, report = (str(tmp_path / name) for name in ("original", "unlearned", "report"))
    asked = ("--family", OWN)
    assert run(["train", *DATA, *asked, "--image-size", "32", *QUICK, "--out", original]) == 0
    assert json.loads((tmp_path / "original" / "config.json").read_text())["architectures"] == ["OwnNetwork"]
    own_code()
    unlearn = ("unlearn", original, *DATA, *REQUEST, *QUICK, "--out", unlearned)
    capsys.readouterr()
    assert run([*unlearn]) == 2
    assert f"asked for: if you trust this code, give --family {OWN}" in capsys.readouterr().err
    assert "own_code" not in sys.modules
    assert run([*unlearn, *asked]) == 0
    assert f"--family {OWN}" in capsys.readouterr().out  # the command that follows
    own_code()
    retrain = ("unlearn", original, *DATA, *REQUEST, *asked, "--method", "retrain", "--out", f"{tmp_path}/retrained")
    assert run([*retrain]) == 0
    own_code()
    audit = ("audit", unlearned, "--original", original, "--retrained", f"{tmp_path}/retrained", *DATA, *REQUEST)
    assert run([*audit, *asked, "--device", "cpu", "--out", report]) == 0
    assert json.loads((tmp_path / "report" / "audit.json").read_text())["run"]["family"] == "own"
    own_code()
    with pytest.raises(CheckpointError, match="imported only where it is asked for"):
        load_adapter(unlearned)
    assert load_adapter(unlearned, family=OWN).family == "own"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_code:Missing", "module own_code has no class 'Missing'"),
        ("own_code:OwnNetwork", "'own_code:OwnNetwork' is no subclass of multidelete.FamilyAdapter"),
        ("own_code:Headless", "'own_code:Headless' names no heads"),
        ("own_code:Elsewhere", "the head 'NowhereNetwork' is no PreTrainedModel of its module"),
        ("no_such_module:Own", "Family 'no_such_module:Own' cannot be imported"),
    ],
)
def test_what_is_no_family_is_refused(own_code: Callable[[], None], name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        add_family(name)
    assert name not in FAMILIES


def test_a_known_family_is_no_family_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["unlearn", str(tmp_path), *DATA, *REQUEST, "--family", "clip", "--out", f"{tmp_path}-out"]) == 2
    assert "--family is 'clip'; it must be package.module:Class" in capsys.readouterr().err
