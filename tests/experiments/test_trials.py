"""A file of trials that somebody damaged is refused with what is wrong, and can be overwritten."""

import json
from pathlib import Path

import pytest

from multidelete.core.errors import CheckpointError
from multidelete.experiments.trials import TrialFile

GOOD = {"number": 0, "drawn": {}, "objective": 0.5, "wall_s": 1.0, "pairs_forward": 3, "pairs_backward": 4}


def written(tmp_path: Path, change: dict[str, object]) -> TrialFile:
    """The unfinished file of a search, with its only row changed."""
    file = TrialFile(tmp_path / "tuned.toml", overwrite=False, resume=False)
    file.read(["me"])
    file.write([])
    with file.partial.open("a") as rows:
        rows.write(json.dumps({**GOOD, **change}) + "\n")
    return TrialFile(tmp_path / "tuned.toml", overwrite=False, resume=True)


def test_good_rows_are_read(tmp_path: Path) -> None:
    assert written(tmp_path, {}).read(["me"])[0].objective == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"number": "0"}, "number is '0'; it must be a whole number"),
        ({"drawn": []}, r"drawn is \[\]; it must be an object"),
        ({"objective": float("nan")}, "objective is nan; it must be a finite number"),
        ({"drawn": {"lr": "x"}}, "drawn.lr is 'x'; it must be a finite number"),
        ({"number": None}, "number is missing"),
        ({"mine": 1}, "unknown 'mine'"),
        ({"wall_s": 10**400}, "wall_s is 1000"),
    ],
)
def test_wrong_rows_are_refused_with_their_place(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        written(tmp_path, change).read(["me"])


@pytest.mark.parametrize("content", [b"", b"{", b"[]\n", b"[" * 100_000, b"\xff\xfe", b'{"search": 1' + b"0" * 5000])
def test_what_is_no_file_of_trials_is_refused(tmp_path: Path, content: bytes) -> None:
    file = written(tmp_path, {})
    file.partial.write_bytes(content)
    with pytest.raises(CheckpointError, match="of trials"):
        file.read(["me"])
