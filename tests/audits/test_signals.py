"""Collecting, selecting and caching signals; a real tiny CLIP on real generated people."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from multidelete.audits import Signals, cached, collect
from multidelete.data.generated.personas import personas
from multidelete.data.pairs import PairDataset
from multidelete.models import SIZES, NewModel, new_adapter, train_tokenizer
from multidelete.models.base import Adapter
from tests.audits.world import split_of


@pytest.fixture(scope="module")
def dataset() -> PairDataset:
    return personas(people=3, unseen=0, views=2, size=32, seed=0).train


@pytest.fixture(scope="module")
def adapter(dataset: PairDataset) -> Adapter:
    captions = [str(pair.inputs["text"]) for pair in dataset]
    wanted = NewModel(size=SIZES["tiny"], image_size=32, tokenizer=train_tokenizer(captions, SIZES["tiny"]))
    return new_adapter("clip", wanted, seed=0)


def same(ours: Signals, theirs: Signals) -> None:
    for name, value in vars(ours).items():
        other = getattr(theirs, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype
            assert value.tolist() == other.tolist()
        elif isinstance(value, dict) and value and isinstance(next(iter(value.values())), np.ndarray):
            assert {m: a.tolist() for m, a in value.items()} == {m: a.tolist() for m, a in other.items()}
        else:
            assert value == other


def test_collect_in_batches_equals_one_pair_at_a_time(adapter: Adapter, dataset: PairDataset) -> None:
    whole, single = collect(adapter, dataset, batch_size=5), collect(adapter, dataset, batch_size=1)
    assert whole.ids == dataset.ids
    assert whole.sources["text"] == [pair.sources["text"] for pair in dataset]
    assert whole.kinds == [pair.kind for pair in dataset]
    assert whole.score.dtype == np.float32
    assert whole.score == pytest.approx(single.score, abs=1e-5)
    assert whole.embeddings is not None
    assert np.linalg.norm(whole.embeddings["text"], axis=1) == pytest.approx(np.ones(len(dataset)), abs=1e-5)
    assert (whole.embeddings["image"] * whole.embeddings["text"]).sum(axis=1) == pytest.approx(whole.score, abs=1e-5)
    with torch.no_grad():
        outputs = adapter.eval()(adapter.collate(list(dataset)))
    assert whole.unimodal["image"] == pytest.approx(outputs.unimodal["image"].numpy(), abs=1e-4)


def test_collect_restores_each_modules_mode_and_reports_progress(adapter: Adapter, dataset: PairDataset) -> None:
    adapter.train()
    frozen = next(module for module in adapter.modules() if isinstance(module, torch.nn.LayerNorm))
    frozen.eval()
    seen: list[tuple[int, int]] = []
    collect(adapter, dataset, batch_size=5, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(5, 12), (10, 12), (12, 12)]
    assert adapter.training
    assert not frozen.training
    assert all(parameter.grad is None for parameter in adapter.parameters())


def test_collect_refuses_an_empty_set(adapter: Adapter) -> None:
    with pytest.raises(ValueError, match="0 pairs"):
        collect(adapter, PairDataset([], "nothing"))


def test_select_takes_masks_and_positions_alike() -> None:
    signals = split_of(0, split="forget", people=3, memorised=1.0)
    mask = np.array([kind == "sensitive" for kind in signals.kinds])
    same(signals.select(mask), signals.of_kind("sensitive"))
    same(signals.select(np.flatnonzero(mask)), signals.of_kind("sensitive"))
    backwards = signals.select(np.arange(len(signals))[::-1])
    assert backwards.ids == list(signals.ids)[::-1]
    assert backwards.score.tolist() == signals.score[::-1].tolist()


def test_join_is_the_inverse_of_selecting_halves() -> None:
    signals = split_of(0, split="forget", people=4, memorised=1.0)
    same(signals.select(np.arange(5)).join(signals.select(np.arange(5, len(signals)))), signals)


def test_arrays_of_other_lengths_are_refused() -> None:
    signals = split_of(0, split="forget", people=2, memorised=1.0)
    with pytest.raises(ValueError, match="8 ids, but arrays of lengths"):
        Signals(**{**vars(signals), "score": signals.score[:3]})


def test_cache_returns_what_was_made_and_makes_it_once(tmp_path: Path) -> None:
    signals = split_of(0, split="forget", people=2, memorised=1.0)
    labelled = Signals(**{**vars(signals), "labels": np.arange(8), "logits": np.eye(8, dtype=np.float32)})
    made: list[int] = []

    def make() -> Signals:
        made.append(1)
        return labelled

    cached(tmp_path / "deep" / "er", "a/b", make)
    same(cached(tmp_path / "deep" / "er", "a/b", make), labelled)
    assert len(made) == 1
    cached(tmp_path / "deep" / "er", "another key", make)
    assert len(made) == 2
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "pickle"])
def test_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    signals = split_of(0, split="forget", people=2, memorised=1.0)
    cached(tmp_path, "key", lambda: signals)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        at = content.find(signals.score.tobytes()[:16])
        content[at] ^= 255
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "foreign":
        np.savez(path, words=np.frombuffer(json.dumps({"key": "key"}).encode(), dtype=np.uint8))
    else:
        np.savez(path, words=np.array([{"key": "key"}], dtype=object))
    same(cached(tmp_path, "key", lambda: signals), signals)
    same(cached(tmp_path, "key", lambda: pytest.fail("the file was not replaced")), signals)


def test_interrupted_making_leaves_nothing(tmp_path: Path) -> None:
    def make() -> Signals:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "key", make)
    assert not list(tmp_path.rglob("*"))
