"""State that runs write and read: tensors and JSON, known by a seal, and never run as code."""

import pickle
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multidelete.artifacts.checkpoints import load_checkpoint, newest_checkpoint, save_checkpoint
from multidelete.artifacts.sealed import NOTE, SealError, State, key_file, read_sealed, write_sealed

STATE: dict[str, State] = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3).bfloat16(), "empty": torch.zeros(0, 2)},
    "numbered": {0: {"step": torch.tensor(3.0)}, 10: {"step": torch.tensor(4)}},
    "words": ["é", None, True, 1, 0.1, 1e-300, [], {}],
}


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        assert isinstance(second, dict)
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return isinstance(second, list) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return type(first) is type(second) and first == second


def test_state_is_read_back_as_it_was(tmp_path: Path) -> None:
    write_sealed(tmp_path / "work" / "a.safetensors", STATE, of="run")
    assert same(read_sealed(tmp_path / "work" / "a.safetensors", of="run"), STATE)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["a.safetensors"]


def test_the_key_is_its_users_alone_and_lies_outside_of_outputs(tmp_path: Path, state_home: Path) -> None:
    write_sealed(tmp_path / "a.safetensors", STATE, of="run")
    assert key_file().is_relative_to(state_home)
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key_file().parent.iterdir()] == ["seal.key"]
    assert key_file().read_bytes() not in (tmp_path / "a.safetensors").read_bytes()


@pytest.mark.parametrize("keep", [0, 1, 100, 400, -1])
def test_a_truncated_file_is_told(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    write_sealed(path, STATE, of="run")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SealError, match=r"a\.safetensors"):
        read_sealed(path, of="run")


def test_whatever_is_changed_breaks_the_seal(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_sealed(path, STATE, of="run")
    tensors = load_file(path)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        told = file.metadata()
    changed = [{name: t + 1 for name, t in tensors.items()}, {**tensors, "more": torch.zeros(1)}]
    for content in changed:
        save_file(content, path, metadata=told)
        with pytest.raises(SealError, match=r"is damaged, or was not written by this run"):
            read_sealed(path, of="run")
    save_file(tensors, path, metadata=told)
    read_sealed(path, of="run")
    with pytest.raises(SealError):
        read_sealed(path, of="another run")
    path.rename(tmp_path / "b.safetensors")
    with pytest.raises(SealError):
        read_sealed(tmp_path / "b.safetensors", of="run")
    save_file(tensors, path)
    with pytest.raises(SealError):
        read_sealed(path, of="run")


def test_a_file_of_another_user_is_not_taken_for_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sealed(tmp_path / "a.safetensors", STATE, of="run")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mallory"))
    with pytest.raises(SealError, match=r"its seal does not fit the key in .*mallory"):
        read_sealed(tmp_path / "a.safetensors", of="run")


def test_where_no_key_can_be_kept_a_run_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    write_sealed(tmp_path / "a.safetensors", STATE, of="run")
    assert "this run cannot be resumed. Set XDG_STATE_HOME" in caplog.text
    read_sealed(tmp_path / "a.safetensors", of="run")


def test_processes_that_need_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    with get_context("fork").Pool(8) as pool:
        paths = [tmp_path / f"{number}.safetensors" for number in range(8)]
        pool.map(written, paths, chunksize=1)
    for path in paths:
        read_sealed(path, of="run")


def written(path: Path) -> None:
    write_sealed(path, {"a": 1}, of="run")


# Checkpoints


class Planted:
    """Runs when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.witness,))


def test_the_newest_that_is_whole_is_gone_on_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NOTE).write_text("run")
    save_checkpoint(tmp_path, 2, STATE)
    older = (tmp_path / "checkpoint-00000002.safetensors").read_bytes()
    save_checkpoint(tmp_path, 4, STATE)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-00000004.safetensors"
    assert load_checkpoint(tmp_path)[0] == 4
    (tmp_path / "checkpoint-00000002.safetensors").write_bytes(older)
    (tmp_path / "checkpoint-00000004.safetensors").write_bytes(older)  # of other steps
    assert load_checkpoint(tmp_path)[0] == 2
    assert "checkpoint-00000004.safetensors is damaged, or was not written by this run" in caplog.text
    (tmp_path / "checkpoint-00000002.safetensors").write_bytes(older[:100])
    assert load_checkpoint(tmp_path) == (0, {})
    save_checkpoint(tmp_path, 6, STATE)
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint-00000006.safetensors"]


def test_nothing_planted_is_run(tmp_path: Path) -> None:
    bomb = pickle.dumps(Planted(tmp_path / "ran"))
    folder = tmp_path / "checkpoint-00000009"
    folder.mkdir()
    for name in ("custom_checkpoint_0.pkl", "scheduler.bin", "random_states_0.pkl", "optimizer.bin"):
        (folder / name).write_bytes(bomb)
    (tmp_path / "checkpoint-00000008.safetensors").write_bytes(bomb)
    (tmp_path / "reference-0.safetensors").write_bytes(bomb)
    assert load_checkpoint(tmp_path) == (0, {})
    assert not (tmp_path / "ran").exists()
    pickle.loads(bomb)  # noqa: S301 - the witness works
    assert (tmp_path / "ran").exists()
