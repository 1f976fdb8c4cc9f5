"""``audit.json`` is what its schema says, and the schema says no less."""

import json
import re
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from multidelete.audits import run_audits
from multidelete.audits.result import SCHEMA, Figure, read_audit, write_audit
from multidelete.core.errors import CheckpointError
from tests.audits.world import model, models_of, run

TEXT = json.loads(files("multidelete.audits").joinpath("audit.schema.json").read_text())
VALIDATOR = Draft202012Validator(TEXT)
ROW = {"audit": "forgetting", "figure": "recall@1", "model": "original", "value": 0.5}


def test_schema_is_of_this_version_and_knows_every_field() -> None:
    Draft202012Validator.check_schema(TEXT)
    assert TEXT["properties"]["schema"]["const"] == SCHEMA
    assert set(TEXT["$defs"]["figure"]["properties"]) == {field.name for field in fields(Figure)} - {"measure"} | {
        "figure"
    }


def test_written_figures_validate_and_are_read_back(tmp_path: Path) -> None:
    models = models_of(model(forget=0.0, model_seed=4)) | {"retrained again": model(forget=0.0, model_seed=5)}
    given = run(models | {"untouched": models["original"], "random weights": models["original"]})
    figures = run_audits(given)
    assert any(row.void for row in figures)
    assert any(row.absent for row in figures)
    write_audit(tmp_path / "audit.json", {"seed": 0}, figures)
    VALIDATOR.validate(json.loads((tmp_path / "audit.json").read_text()))
    assert read_audit(tmp_path / "audit.json") == ({"seed": 0}, figures)


@pytest.mark.parametrize(
    "change",
    [
        {"value": None},
        {"absent": "no pairs"},
        {"low": 0.1},
        {"better": "larger"},
        {"n": 1.5},
        {"interval": [0, 1]},
        {"audit": ""},
        {"value": "0.5"},
    ],
)
def test_what_no_audit_writes_is_refused(change: dict[str, object]) -> None:
    content = {"schema": SCHEMA, "run": {}, "figures": [ROW]}
    VALIDATOR.validate(content)
    with pytest.raises(ValidationError):
        VALIDATOR.validate(content | {"figures": [ROW | change]})
    with pytest.raises(ValidationError):
        VALIDATOR.validate(content | {"schema": SCHEMA + 1})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": "0.5"}, "value is '0.5'; it must be a finite number"),
        ({"value": True}, "value is True; it must be a finite number"),
        ({"value": [0.5]}, "value is [0.5]; it must be a finite number"),
        ({"low": "0", "high": 1}, "low is '0'; it must be a finite number"),
        ({"n": 1.5}, "n is 1.5; it must be a whole number"),
        ({"groups": "six"}, "groups is 'six'; it must be a whole number"),
        ({"chance": "1/10"}, "chance is '1/10'; it must be a finite number"),
        ({"model": None}, "model is None; it must be a text"),
        ({"audit": 3}, "audit is 3; it must be a text"),
        ({"split": ["forget"]}, "split is ['forget']; it must be a text"),
        ({"note": 1}, "note is 1; it must be a text"),
        ({"void": True}, "void is True; it must be a text"),
        ({"better": "larger"}, "better is 'larger'; it must be one of 'higher', 'lower', 'target'"),
        ({"interval": [0, 1]}, "unknown 'interval'"),
        ({"absent": "no pairs"}, "give either a value or the reason it is absent"),
        ({"value": 10**400}, "value is 1000"),
    ],
)
def test_a_figure_of_a_wrong_type_is_told_where_it_is_read(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({"schema": SCHEMA, "run": {}, "figures": [ROW, ROW | change]}))
    with pytest.raises(CheckpointError, match=re.escape(f"{path} holds what no audit writes: figure 2: ")) as told:
        read_audit(path)
    assert said in str(told.value)
    assert str(told.value).endswith("Audit again, or delete it.")


def test_a_figure_that_is_no_object_is_told(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(json.dumps({"schema": SCHEMA, "run": {}, "figures": ["0.5"] * 30}))
    with pytest.raises(CheckpointError, match=r"figure 1: '0.5' is no JSON object, figure 2.*, and 20 more"):
        read_audit(tmp_path / "audit.json")
