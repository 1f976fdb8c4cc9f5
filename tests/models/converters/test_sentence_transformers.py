"""Folders of sentence-transformers around a CLIP: read, unlearned, and loaded by the library itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

import multidelete
from multidelete.cli.commands import run
from multidelete.core.errors import CheckpointError, UnsupportedError
from multidelete.models import load_adapter
from multidelete.models.checkpoint import stored_weights_digest
from tests.tiny import differing, own_clip, people, weights

DATA = people(6, unseen=3, views=1)
MODULE = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
NORMAL = {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "clip"
    own_clip(DATA).save(folder)
    return folder


def old_form(clip: Path, folder: Path, *modules: dict[str, object]) -> Path:
    """As versions before 5.4 wrote it: the network in a folder of its own."""
    shutil.copytree(clip, folder / "0_CLIPModel")
    (folder / "modules.json").write_text(json.dumps([MODULE, *modules]))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": "dot"}))
    for module in modules:
        (folder / str(module["path"])).mkdir()
    return folder


def new_form(clip: Path, folder: Path) -> Path:
    """As it is written now: the network at the top."""
    SentenceTransformer(str(clip), device="cpu").save(str(folder))
    return folder


def embedded(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the library makes of a text and of a picture."""
    model = SentenceTransformer(str(folder), device="cpu")
    picture = Image.new("RGB", (32, 32), (200, 30, 90))
    return model.encode(["a portrait of a person"]), model.encode([picture])  # type: ignore[list-item]


@pytest.mark.parametrize("form", ["old", "new"])
def test_unlearn_reads_and_writes_such_folders(form: str, clip: Path, tmp_path: Path) -> None:
    original = old_form(clip, tmp_path / "st", NORMAL) if form == "old" else new_form(clip, tmp_path / "st")
    (original / "onnx").mkdir()
    (original / "onnx" / "model.onnx").write_bytes(b"the model as it was")
    out = tmp_path / "unlearned"
    words = ["unlearn", str(original), "--data", "personas:people=6,unseen=3,views=1,size=32", "--out", str(out)]
    words += ["--forget-subject", str(DATA.train.pairs[0].subject), "--passes", "1", "--retain-sample", "0"]
    assert run([*words, "--checkpoint-steps", "0", "--device", "cpu"]) == 0
    before, after = embedded(original), embedded(out)
    assert np.abs(before[0] - after[0]).max() > 1e-4  # the text encoder is trained
    assert np.abs(before[1] - after[1]).max() < 1e-6
    for name in ("modules.json", "config_sentence_transformers.json"):
        assert (out / name).read_bytes() == (original / name).read_bytes()
    assert not (out / "onnx").exists()
    assert (out / "multidelete.json").is_file()
    assert "checkpoint_layout" not in next(out.rglob("config.json")).read_text()
    assert len(multidelete.load_adapter(out).model.state_dict()) == 62  # type: ignore[union-attr]


@pytest.mark.filterwarnings("error:Could not find a config file")
def test_lora_is_an_adapter_of_such_a_folder_and_merges_into_one(clip: Path, tmp_path: Path) -> None:
    original, adapter, merged = old_form(clip, tmp_path / "st", NORMAL), tmp_path / "adapter", tmp_path / "merged"
    settings: dict[str, object] = {"passes": 1, "retain_sample": 0, "device": "cpu", "lr": 1e-2}
    lora, ids = multidelete.LoraSettings(r=2), [DATA.train.pairs[0].id]
    multidelete.unlearn(original, DATA, ids, lora=lora, settings=settings, out=adapter)  # type: ignore[arg-type]
    assert (adapter / "adapter_config.json").is_file()
    multidelete.merge(adapter, merged)
    assert differing(weights(load_adapter(adapter)), weights(load_adapter(merged))) == []
    assert np.abs(embedded(original)[0] - embedded(merged)[0]).max() > 1e-4


def test_nothing_trained_is_the_same_to_the_bit(clip: Path, tmp_path: Path) -> None:
    original = old_form(clip, tmp_path / "st")
    adapter = load_adapter(original)
    assert stored_weights_digest(original) == stored_weights_digest(clip)
    for name, tensor in load_adapter(clip).model.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(tensor, adapter.model.get_parameter(name))  # type: ignore[operator, union-attr]


WRONG = {
    "dense": ([MODULE, {**NORMAL, "type": "sentence_transformers.models.Dense"}], UnsupportedError, "Dense"),
    "words": ([{**MODULE, "type": "sentence_transformers.models.BoW"}], UnsupportedError, "begins with the module BoW"),
    "outside": ([{**MODULE, "path": "../clip"}], CheckpointError, "is not in"),
    "nowhere": ([{**MODULE, "path": "7"}], CheckpointError, "and there is none"),
    "no list": ({"type": 3}, CheckpointError, "is no list of modules"),
    "numbers": ([{"type": 3, "path": 4}], CheckpointError, "is no list of modules"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_folders_get_one_line(name: str, clip: Path, tmp_path: Path) -> None:
    modules, error, match = WRONG[name]
    folder = old_form(clip, tmp_path / "st")
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(error, match=match) as caught:
        load_adapter(folder)
    assert len(str(caught.value).splitlines()) == 1
