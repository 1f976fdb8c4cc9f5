"""Deletions from data that is read by an index: the same as from data in memory, and never a pass over all pairs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from multidelete.auditing import audit
from multidelete.cli import run
from multidelete.core.json_files import read_json_object
from multidelete.core.settings import LoopSettings, TrainSettings
from multidelete.data.generated.personas import write_personas
from multidelete.data.index.build import IndexOptions, build_index
from multidelete.data.index.dataset import indexed_data
from multidelete.data.index.pairs import IndexedPairs
from multidelete.data.pairs import Pair, PairData
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request
from multidelete.deletion.arguments import DeletionArguments
from multidelete.experiments.tuning import searched
from multidelete.rehearsal import rehearse
from multidelete.unlearning import train, unlearn
from tests.tiny import SIDE, manifest_of, own_clip

LOOP = LoopSettings(passes=2, batch_size=8, checkpoint_steps=0, device="cpu")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[PairData, PairData, Path]:
    """The same people in memory and by an index, and their folder."""
    folder = tmp_path_factory.mktemp("people")
    write_personas(folder / "people", people=10, unseen=6, size=SIDE)
    build_index(str(folder / "people"), folder / "index.sqlite", IndexOptions())
    own_clip(load_data(str(folder / "people"))).save(folder / "original")
    return load_data(str(folder / "people")), indexed_data(folder / "index.sqlite"), folder


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes through all pairs of an index."""

    def refused(self: IndexedPairs) -> Iterator[Pair]:
        raise AssertionError("a pass over all pairs")

    monkeypatch.setattr(IndexedPairs, "__iter__", refused)


@pytest.mark.parametrize("method", ["multidelete", "npo", "random_labels", "scrub"])
def test_deletion_by_an_index_gives_the_same_weights(method: str, both: tuple[PairData, PairData, Path]) -> None:
    weights = []
    for data in both[:2]:
        request = resolve_request(data, subjects=["person-0001", "person-0004"])
        weights.append(unlearn(both[2] / "original", data, request, method=method, settings=LOOP).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_training_by_an_index_gives_the_same_weights(both: tuple[PairData, PairData, Path], tmp_path: Path) -> None:
    start, loop = TrainSettings(family="clip", size="tiny", image_size=SIDE), replace(LOOP, passes=1)
    for name, data in zip(("memory", "index"), both[:2], strict=True):
        train(data, tmp_path / name, start=start, settings=loop)
        request = resolve_request(data, subjects=["person-0001"])
        unlearn(tmp_path / name, data, request, method="retrain", settings={"workers": 1}, out=tmp_path / f"re{name}")
    for name in ("", "re"):
        weights = [load_file(tmp_path / f"{name}{one}" / "model.safetensors") for one in ("memory", "index")]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.usefixtures("no_pass")
def test_unlearning_and_audit_never_pass_over_all_pairs(
    both: tuple[PairData, PairData, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multidelete.audits.asking.INDEXED_LIMIT", 10)
    monkeypatch.setattr("multidelete.methods.base.RETAIN_POOL_PER_FORGET", 1)
    _, data, folder = both
    request = resolve_request(data, subjects=["person-0001"], unit="subject")
    settings = {"passes": 2, "batch_size": 4, "retain_sample": 12, "checkpoint_steps": 0, "device": "cpu"}
    rehearse(DeletionArguments(original=folder / "original", data=data, forget=request, settings=settings))
    done = unlearn(folder / "original", data, request, settings=settings, out=tmp_path / "unlearned")
    assert done.manifest["tokenizer"] == {}
    audit(tmp_path / "unlearned", folder / "original", data, request, out=tmp_path / "report", device="cpu")
    told: Any = read_json_object(tmp_path / "report" / "audit.json", "")
    counts = told["run"]["counts"]
    assert (counts["retain"], counts["retain pairs asked about"]) == (36, 10)
    assert (counts["test"], counts["test pairs in the data"]) == (10, 12)


@pytest.mark.usefixtures("no_pass")
def test_search_by_an_index_never_passes_over_all_pairs(both: tuple[PairData, PairData, Path], tmp_path: Path) -> None:
    _, data, folder = both
    request = resolve_request(data, subjects=["person-0001"], unit="subject")
    settings = {"passes": 1, "checkpoint_steps": 0, "device": "cpu"}
    arguments = DeletionArguments(original=folder / "original", data=data, forget=request, settings=settings)
    assert searched(arguments, str(tmp_path / "tuned.toml"), trials=1).best.objective is not None


def test_audit_by_an_index_has_the_same_figures(both: tuple[PairData, PairData, Path], tmp_path: Path) -> None:
    figures = []
    for name, data in zip(("memory", "index"), both[:2], strict=True):
        request = resolve_request(data, subjects=["person-0001", "person-0004"], unit="subject")
        result = audit(
            both[2] / "original", own_clip(both[0], seed=1), data, request, out=tmp_path / name, device="cpu"
        )
        figures.append([str(figure) for figure in result.figures])
    assert figures[0] == figures[1]


def test_commands_take_an_index(both: tuple[PairData, PairData, Path], tmp_path: Path, capsys: Any) -> None:
    people, original = both[2] / "people", both[2] / "original"
    assert run(["data", str(people), "--index-folder", str(tmp_path / "index")]) == 0
    data = ["--data", f"index:{tmp_path / 'index'}", "--forget-subject", "person-0002"]
    loop = ["--passes", "1", "--checkpoint-steps", "0", "--device", "cpu"]
    assert run(["data", f"index:{tmp_path / 'index'}"]) == 0
    assert run(["unlearn", str(original), *data, *loop, "--out", str(tmp_path / "first")]) == 0
    more = ["--data", data[1], "--forget-subject", "person-0003"]
    assert run(["unlearn", str(tmp_path / "first"), *more, *loop, "--out", str(tmp_path / "second")]) == 0
    assert manifest_of(tmp_path / "second")["data"]["pairs"] == 36
    assert "records other training pairs" not in capsys.readouterr().err
    memory = ["--data", str(people), *more[2:]]
    assert run(["unlearn", str(tmp_path / "first"), *memory, *loop, "--out", str(tmp_path / "third")]) == 0
    assert "records other training pairs" not in capsys.readouterr().err


def test_columns_belong_to_the_making_of_an_index(both: tuple[PairData, PairData, Path], capsys: Any) -> None:
    spec = f"index:{both[2] / 'people'}"
    assert run(["data", spec]) == 2
    assert "There is no index" in capsys.readouterr().err
