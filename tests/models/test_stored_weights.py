"""Weight files beside each other, of other types, cut off, from elsewhere: told from their headers, by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multidelete import unlearn
from multidelete.core.errors import CheckpointError, UnsupportedError
from multidelete.data.pairs import PairData
from multidelete.models import load_adapter
from tests.tiny import own_clip, people, quick

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(4)


@pytest.fixture
def folder(tmp_path: Path, data: PairData) -> Path:
    own_clip(data).save(tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, **tensors: torch.Tensor) -> None:
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file(load_file(folder / WEIGHTS) | named, folder / WEIGHTS, metadata={"format": "pt"})


def configure(folder: Path, part: str | None = None, **entries: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (content if part is None else content[part]).update(entries)
    (folder / "config.json").write_text(json.dumps(content))


def refused(folder: Path, match: str, *, allow_pickle: bool = False) -> None:
    with pytest.raises(CheckpointError, match=match):
        load_adapter(folder, allow_pickle=allow_pickle)


@pytest.mark.parametrize("variant", ["model.fp16.safetensors", "a.safetensors", "pytorch_model.bin"])
def test_a_variant_beside_the_weights_decides_nothing(variant: str, folder: Path, data: PairData) -> None:
    before = load_file(folder / WEIGHTS)
    half = {name: tensor.half() for name, tensor in before.items()}
    if variant.endswith(".bin"):
        torch.save(half, folder / variant)
    else:
        save_file(half, folder / variant, metadata={"format": "pt"})
    out = folder.parent / "out"
    unlearn(folder, data, [data.train[0].id], settings=quick(), trainable="text", out=out)
    after = load_file(out / WEIGHTS)
    frozen = [name for name in before if name.startswith(("vision_model", "visual_projection"))]
    assert frozen
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in frozen)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}


def test_shards_keep_the_dtypes_that_their_index_names(folder: Path) -> None:
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / WEIGHTS).items()}
    (folder / WEIGHTS).unlink()
    names = list(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {n: file for file, held in parts.items() for n in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    save_file({n: t.float() for n, t in tensors.items()}, folder / "model.fp32.safetensors", metadata={"format": "pt"})
    assert set(load_adapter(folder).model.stored_dtypes.values()) == {torch.bfloat16}


def test_a_variant_alone_is_named(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model.fp16.safetensors")
    refused(folder, r"has no model.safetensors \(found: model.fp16.safetensors\)")


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd", "..\\x.safetensors", ""])
def test_an_index_that_points_elsewhere_is_refused(name: str, folder: Path) -> None:
    names = list(load_file(folder / WEIGHTS))
    (folder.parent / "other").mkdir()
    (folder / WEIGHTS).rename(folder.parent / "other" / WEIGHTS)
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, name)}))
    refused(folder, r"names files outside its folder|names 1 \.safetensors file that cannot be found there")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "[" * 100_000])
def test_an_index_that_is_none_is_refused(content: str, folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(content)
    refused(folder, r"index\.json (cannot be read|names no files)")


def test_weights_without_a_place_are_refused(folder: Path) -> None:
    configure(folder, "text_config", num_hidden_layers=1)  # the files hold two
    refused(folder, r"16 weights have no place in a CLIPModel .*text_model\.encoder\.layers\.1\..*They would be lost")


def test_buffers_of_older_versions_have_no_place_and_do_no_harm(folder: Path) -> None:
    change(folder, text_model__embeddings__position_ids=torch.arange(36)[None])
    load_adapter(folder)
    change(folder, text_model__embeddings__secret=torch.zeros(3))
    refused(folder, r"1 weight has no place in a CLIPModel .*text_model\.embeddings\.secret")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float, folder: Path) -> None:
    change(folder, visual_projection__weight=torch.full((20, 40), value))
    refused(folder, r"model: 1 weight holds NaN or infinite numbers: visual_projection\.weight")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_weights_in_codes_are_refused(dtype: torch.dtype, folder: Path) -> None:
    change(folder, visual_projection__weight=torch.ones(20, 40).to(dtype))
    refused(folder, r"1 weight is stored as whole numbers or in 8 bits: visual_projection\.weight")


def test_a_quantised_folder_is_refused(folder: Path) -> None:
    configure(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(UnsupportedError, match="is quantised"):
        load_adapter(folder)


@pytest.mark.parametrize(
    ("part", "entries", "match"),
    [
        ("text_config", {"num_hidden_layers": 10**8}, "config.json says num_hidden_layers 100000000"),
        ("text_config", {"num_hidden_layers": 10**30}, "no size may exceed"),
        ("vision_config", {"hidden_size": 2**20, "intermediate_size": 2**22}, "another shape than config.json says"),
        ("text_config", {"vocab_size": 10**9}, "another shape than config.json says"),
        ("text_config", {"hidden_size": "32"}, "config.json cannot be used: .*expected int, got str"),
        ("text_config", {"num_attention_heads": 0}, "config.json (describes no network|cannot be used)"),
        ("vision_config", {"patch_size": 0}, "config.json (describes no network|cannot be used)"),
        ("text_config", {"hidden_act": "evil"}, "config.json (describes no network|cannot be used)"),
        (None, {"text_config": [1, 2]}, "config.json (describes no network|cannot be used)"),
        (None, {"projection_dim": -3}, "config.json describes no network|another shape"),
        (None, {"architectures": "CLIPModel"}, "architectures in its config.json is 'CLIPModel'"),
        (None, {"architectures": [{"a": 1}]}, "architectures in its config.json is"),
        (None, {"num_labels": 10**8}, "at most 1000000 classes"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(
    part: str | None, entries: dict[str, object], match: str, folder: Path
) -> None:
    configure(folder, part, **entries)
    refused(folder, match)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x80\x04N.", b"garbage" * 100])
def test_pickled_files_that_are_none_are_refused(content: bytes, folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    refused(folder, r"its weights cannot be read|weights are missing|describes .* weights", allow_pickle=True)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"model_type": "clip", "x": ' + "9" * 5000 + "}", "[1]", "nul"])
def test_configurations_that_are_no_objects_are_refused(content: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    refused(folder, "cannot be read as a model")
