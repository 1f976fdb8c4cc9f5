"""A ``multidelete.json`` may come from anywhere: each wrong type is a sentence that names its place."""

import json
from pathlib import Path

import pytest

from multidelete.artifacts.manifest import MANIFEST, read_record
from multidelete.core.errors import CheckpointError

WRONG: dict[str, tuple[object, str]] = {
    "text for a number": ({"seed": "1"}, "seed is '1'; it must be a whole number"),
    "negative seed": ({"seed": -1}, "seed is -1; it must be 0 or more"),
    "huge number": ({"seed": 10**400}, "seed is 1000.*it must be a whole number"),
    "truth for a number": ({"cost": {"wall_s": True}}, "cost.wall_s is True; it must be a finite number"),
    "list for an object": ({"data": []}, r"data is \[\]; it must be an object"),
    "object in a list": ({"data": {"notes": [{}]}}, r"data.notes holds \{\}; each must be a text"),
    "half a holdout": ({"holdout": {"fraction": 0.1}}, "holdout lacks seed"),
    "request without digest": ({"request": {"pairs": 3}}, "request lacks digest"),
    "recipe without seed": ({"model": {}}, "model stands there without seed"),
    "shadow without index": ({"shadow": {}}, "shadow lacks index"),
}
BROKEN = {
    "not JSON": b"{",
    "empty": b"",
    "a list": b"[]",
    "not a number": b'{"cost": {"wall_s": NaN}}',
    "other bytes": b"\xff\xfe{\x00}\x00",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "thousands of digits": b'{"seed": 1' + 5000 * b"0" + b"}",
    "half a character": b'{"data": {"name": "\\ud800"}}',
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_type_is_refused_with_its_place(kind: str, tmp_path: Path) -> None:
    content, said = WRONG[kind]
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=said) as error:
        read_record(tmp_path)
    assert str(tmp_path / MANIFEST) in str(error.value)


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_json_object_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(BROKEN[kind])
    with pytest.raises(CheckpointError, match=MANIFEST):
        read_record(tmp_path)


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"seed": "x", "data": 3, "holdout": {}}))
    with pytest.raises(CheckpointError) as error:
        read_record(tmp_path)
    assert len(error.value.problems) == 3


def test_keys_that_nobody_knows_are_let_through(tmp_path: Path) -> None:
    content = {"mine": [1, {"a": None}], "seed": 3, "data": {"pairs": 2, "more": "x"}}
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "holdout": None}))
    record = read_record(tmp_path)
    assert record is not None
    assert record.data is not None
    assert (record.seed, record.data.pairs, record.holdout) == (3, 2, None)
    assert record.as_json() == content
