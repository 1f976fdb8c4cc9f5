"""A group's audit as it was kept: read back as it was written, or refused by place."""

import json
from pathlib import Path

import pytest

from multidelete.core.errors import CheckpointError
from multidelete.experiments.comparison.records import read_group

HEAD = {
    "setting": "people", "fraction": 0.25, "keys": {"retrained": "a", "npo": "b"},
    "columns": {"test": ["utility", "recall@10", "test"]},
    "models": {"retrained": {"cost": {"wall_s": 2.5}}, "npo": {"verdict": {"outcome": "damaged"}}},
}  # fmt: skip


def written(folder: Path, **changes: object) -> Path:
    path = folder / "group.json"
    path.write_text(json.dumps({"schema": 1, "run": HEAD | changes, "figures": []}))
    return path


def test_a_kept_group_is_read_back_and_a_missing_one_is_none(tmp_path: Path) -> None:
    kept = read_group(written(tmp_path))
    assert kept is not None
    assert (kept[0].as_json(), kept[1]) == (HEAD, [])
    assert read_group(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"setting": 3}, "setting is 3; it must be a text"),
        ({"fraction": "a quarter"}, "fraction is 'a quarter'; it must be a finite number"),
        ({"keys": ["a"]}, "keys is \\['a'\\]; it must be an object"),
        ({"keys": {"npo": 1}}, "keys.npo is 1; it must be a text"),
        ({"columns": {"test": "utility"}}, "columns.test is 'utility'; it must be a list"),
        ({"columns": {"test": ["utility"]}}, "columns.test is \\['utility'\\]; it must be three texts"),
        ({"models": []}, "models is \\[\\]; it must be an object"),
        ({"models": {"npo": {}}}, "models.retrained is missing"),
        (
            {"models": {"retrained": {"cost": {"wall_s": "2"}}}},
            "models.retrained.cost.wall_s is '2'; it must be a finite",
        ),
        ({"models": {"retrained": {"verdict": "good"}}}, "models.retrained.verdict is 'good'; it must be an obj"),
    ],
)
def test_a_head_of_a_wrong_type_is_refused_by_place(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"group.json holds what no comparison writes: .*{said}.*Delete it"):
        read_group(written(tmp_path, **changes))
