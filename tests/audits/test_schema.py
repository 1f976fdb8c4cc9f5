"""``audit.json`` is what its schema says, and the schema says no less."""

import json
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from multidelete.audits import run_audits
from multidelete.audits.result import SCHEMA, Figure, read_audit, write_audit
from tests.audits.world import model, models_of, run

TEXT = json.loads(files("multidelete.audits").joinpath("audit.schema.json").read_text())
VALIDATOR = Draft202012Validator(TEXT)
ROW = {"audit": "forgetting", "figure": "recall@1", "model": "original", "value": 0.5}


def test_schema_is_of_this_version_and_knows_every_field() -> None:
    Draft202012Validator.check_schema(TEXT)
    assert TEXT["properties"]["schema"]["const"] == SCHEMA
    assert set(TEXT["$defs"]["figure"]["properties"]) == {field.name for field in fields(Figure)}


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
