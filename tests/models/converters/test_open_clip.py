"""Checkpoints in open_clip's layouts: the same network, and written back as they came."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPModel, SiglipModel

from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError
from multidelete.models import Adapter, load_adapter, reading
from multidelete.models.converters.conversion import convert, export
from multidelete.models.converters.layout import Stored, Untold
from multidelete.models.converters.open_clip import LAYOUT
from multidelete.models.converters.open_clip_siglip import LAYOUT as SIGLIP
from multidelete.models.converters.origin import Origin
from multidelete.models.fresh import train_tokenizer
from tests.models.converters.open_clip_model import CONTEXT, EMBED, Plain, random_tensors
from tests.tiny import SIZE, captions, own_clip, people

DATA = people(6)
EOS = 399


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    words = train_tokenizer(captions(DATA), SIZE)
    words.model_max_length = CONTEXT
    words.save_pretrained(folder)
    return folder


def load(file: Path, tokenizer: Path, architecture: str | Path | None = None) -> Adapter:
    with reading(tokenizer=tokenizer, architecture=architecture):
        return load_adapter(file).eval()


def halves(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As OpenAI's files are: matrices in half precision, all else in full."""
    return {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}


def same_bytes(tensors: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert {n: (t.dtype, t.shape) for n, t in tensors.items()} == {n: (t.dtype, t.shape) for n, t in others.items()}
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])] == []


def assert_same_network(adapter: Adapter, plain: Plain) -> None:
    """Embeddings of pictures and texts, against arithmetic in double precision."""
    batch = adapter.collate(DATA.train[list(range(6))])
    with torch.no_grad():
        embeddings = adapter(batch).embeddings
    assert embeddings is not None
    image = F.normalize(plain.image(batch.inputs["image"]["pixel_values"]), dim=-1)
    text = F.normalize(plain.text(batch.inputs["text"]["input_ids"]), dim=-1)
    assert (embeddings["image"] - image).abs().max() < 2e-5
    assert (embeddings["text"] - text).abs().max() < 2e-5


@pytest.mark.parametrize("act", ["gelu", "quick_gelu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize("part", ["", "text."])
def test_clip_is_the_same_network(act: str, part: str, tmp_path: Path, tokenizer: Path) -> None:
    tensors = random_tensors(part=part)
    torch.save(tensors, tmp_path / "model.pt")
    acts = {"act_kwargs": {"approximate": "tanh"}} if act.endswith("tanh") else {}
    config = {"embed_dim": EMBED, "quick_gelu": act == "quick_gelu",
              "vision_cfg": {"width": 64, **acts}, "text_cfg": {"heads": 2, **acts}}  # fmt: skip
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    assert_same_network(load(tmp_path / "model.pt", tokenizer, tmp_path / "tiny.json"), Plain(tensors, act=act))


def test_text_is_pooled_at_its_largest_token(tmp_path: Path, tokenizer: Path) -> None:
    tensors = random_tensors()
    torch.save(tensors, tmp_path / "model.pt")
    ids = torch.randint(4, 390, (3, CONTEXT))
    ids[:, 7] = EOS
    with torch.no_grad():
        text = load(tmp_path / "model.pt", tokenizer).model.get_text_features(input_ids=ids)  # type: ignore[operator, union-attr]
    text = getattr(text, "pooler_output", text)
    assert (text - Plain(tensors).text(ids)).abs().max() < 1e-4


@pytest.mark.parametrize(("words", "act"), [(None, "gelu"), ("ViT-B-32-SigLIP2-256", "gelu_pytorch_tanh")])
def test_siglip_is_the_same_network(words: str | None, act: str, tmp_path: Path, tokenizer: Path) -> None:
    tensors = random_tensors(siglip=True)
    torch.save({"state_dict": tensors}, tmp_path / "model.pt")
    adapter = load(tmp_path / "model.pt", tokenizer, words)
    assert adapter.family == "siglip"
    assert adapter.logit_scale == pytest.approx(float(tensors["logit_scale"].exp()))
    assert_same_network(adapter, Plain(tensors, act=act, siglip=True))


FORMS = {
    "flat": lambda tensors: tensors,
    "of training": lambda tensors: {
        "epoch": 3, "name": "run-1", "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()},
    },
    "compiled": lambda tensors: OrderedDict((f"_orig_mod.{name}", tensor) for name, tensor in tensors.items()),
}  # fmt: skip


@pytest.mark.parametrize("siglip", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_folder_and_back_is_the_same_file(siglip: bool, form: str, tmp_path: Path, tokenizer: Path) -> None:
    tensors = halves(random_tensors(siglip))
    if not siglip:
        numbers = {"input_resolution": 32, "context_length": CONTEXT, "vocab_size": 400}
        tensors |= {name: torch.tensor(number) for name, number in numbers.items()}
        tensors["attn_mask"] = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)
    torch.save(FORMS[form](tensors), tmp_path / "model.pt")
    with reading(tokenizer=tokenizer):
        convert(tmp_path / "model.pt", tmp_path / "folder")
    assert export(tmp_path / "folder", tmp_path / "back.pt") == len(tensors)
    came, back = (torch.load(tmp_path / name, weights_only=True) for name in ("model.pt", "back.pt"))
    if form == "of training":
        assert back.keys() - came.keys() == {"written_by"}
        assert [back["epoch"], back["name"]] == [3, "run-1"]
        came, back = came["state_dict"], back["state_dict"]
    same_bytes(came, back)


def test_safetensors_and_a_folder_of_open_clips_come_back(tmp_path: Path, tokenizer: Path) -> None:
    tensors = {name: tensor.bfloat16() for name, tensor in random_tensors().items()}
    save_file(tensors, tmp_path / "model.safetensors")
    with reading(tokenizer=tokenizer):
        convert(tmp_path / "model.safetensors", tmp_path / "folder")
    export(tmp_path / "folder", tmp_path / "back.safetensors")
    same_bytes(tensors, load_file(tmp_path / "back.safetensors"))


def test_siglip_in_safetensors_comes_back(tmp_path: Path, tokenizer: Path) -> None:
    save_file(random_tensors(siglip=True), tmp_path / "model.safetensors")
    with reading(tokenizer=tokenizer):
        convert(tmp_path / "model.safetensors", tmp_path / "folder")
    export(tmp_path / "folder", tmp_path / "back.safetensors")
    same_bytes(random_tensors(siglip=True), load_file(tmp_path / "back.safetensors"))


def test_files_of_old_versions_of_torch_are_read(tmp_path: Path, tokenizer: Path) -> None:
    torch.save(random_tensors(), tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    assert load(tmp_path / "model.pt", tokenizer).family == "clip"


def test_folders_made_elsewhere_are_written_as_open_clips(tmp_path: Path, tokenizer: Path) -> None:
    """Where they are a CLIP that open_clip has; the file is the same network."""
    adapter = own_clip(DATA)
    adapter.save(tmp_path / "own")
    with pytest.raises(UnsupportedError, match="takes a text's state at token 3, and open_clip at the largest"):
        export(tmp_path / "own", tmp_path / "model.pt")
    adapter.model.config.text_config.eos_token_id = 2  # type: ignore[union-attr]
    adapter.save(tmp_path / "legacy")
    export(tmp_path / "legacy", tmp_path / "model.pt")
    tensors = torch.load(tmp_path / "model.pt", weights_only=True)["state_dict"]
    assert torch.equal(tensors["visual.proj"].T, adapter.model.visual_projection.weight)  # type: ignore[union-attr]


def test_states_of_training_are_left_out_and_counted(tmp_path: Path, tokenizer: Path) -> None:
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}}
    torch.save({"state_dict": random_tensors(), "optimizer": optimizer, "epoch": 1}, tmp_path / "model.pt")
    with reading(tokenizer=tokenizer):
        done = convert(tmp_path / "model.pt", tmp_path / "folder")
    assert dict(done.dropped) == {"states of an optimizer": 1}
    export(tmp_path / "folder", tmp_path / "back.pt")
    assert set(torch.load(tmp_path / "back.pt", weights_only=True)) == {"state_dict", "epoch", "written_by"}


class Code:
    """Runs when it is unpickled by somebody who lets it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


def without(*names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in random_tensors().items() if name not in names}


WRONG: dict[str, tuple[dict[str, object], type[Exception], str]] = {
    "missing": (without("visual.ln_post.bias"), CheckpointError, "1 tensor is missing: visual.ln_post.bias"),
    "unknown": ({**random_tensors(), "visual.extra": torch.ones(2)}, CheckpointError, "unknown: visual.extra"),
    "deep": (
        {**random_tensors(), "transformer.resblocks.999999999.ln_1.bias": torch.ones(2)}, CheckpointError,
        "unknown: transformer.resblocks.999999999.ln_1.bias",
    ),
    "shape": ({**random_tensors(), "ln_final.bias": torch.ones(2)}, CheckpointError, r"ln_final.bias is \[2\], not"),
    "resnet": (
        {"visual.layer1.0.conv1.weight": torch.ones(2, 2, 1, 1), "logit_scale": torch.ones(())},
        UnsupportedError, "ResNet",
    ),
    "coca": ({**random_tensors(), "text_decoder.ln_final.weight": torch.ones(2)}, UnsupportedError, "CoCa"),
    "pooling": ({**random_tensors(), "visual.attn_pool.query": torch.ones(2)}, UnsupportedError, "attn_pool"),
    "bias": ({**random_tensors(), "logit_bias": torch.ones(())}, UnsupportedError, "logit_bias"),
    "trunk": (
        {"visual.trunk.stem.0.weight": torch.ones(2), "logit_scale": torch.ones(())}, UnsupportedError, "timm's",
    ),
    "whole numbers": (
        {**random_tensors(), "ln_final.bias": torch.ones(128, dtype=torch.int8)}, CheckpointError, "int8",
    ),
    "infinite": ({**random_tensors(), "ln_final.bias": torch.full((128,), torch.nan)}, CheckpointError, "NaN"),
    "other mask": ({**random_tensors(), "attn_mask": torch.ones(3, 3)}, CheckpointError, "attn_mask is not what"),
    "no pre-norm": (without("visual.ln_pre.weight"), CheckpointError, "lacks visual.ln_pre.weight"),
    "somebody's": ({"fc.weight": torch.ones(2, 2)}, UnsupportedError, "no known layout: it holds fc.weight"),
    "ours": ({"vision_model.x": torch.ones(2)}, UnsupportedError, "as transformers names them"),
    "empty": ({}, CheckpointError, "no tensors by name"),
    "huge": ({**random_tensors(), "ln_final.bias": torch.ones(1).expand(2**40)}, CheckpointError, "would take"),
    "code": ({"state_dict": {"logit_scale": Code()}}, CheckpointError, "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_get_one_line(name: str, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, error, match = WRONG[name]
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(error, match=match) as caught:
        load(tmp_path / "model.pt", tokenizer)
    assert "model.pt" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_not_finite_are_not_converted(tmp_path: Path, tokenizer: Path) -> None:
    torch.save(WRONG["infinite"][0], tmp_path / "model.pt")
    with reading(tokenizer=tokenizer), pytest.raises(CheckpointError, match="NaN or infinite"):
        convert(tmp_path / "model.pt", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_damaged_files_and_archives_of_code_get_one_line(tmp_path: Path, tokenizer: Path) -> None:
    torch.save(random_tensors(), tmp_path / "whole.pt")
    (tmp_path / "model.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:5000])
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "code.pt"))  # type: ignore[no-untyped-call]
    for name, match in (("model.pt", "cannot be read"), ("model.safetensors", "cannot"), ("code.pt", "TorchScript")):
        with pytest.raises(CheckpointError, match=match):
            load(tmp_path / name, tokenizer)


def test_other_architecture_than_named_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    torch.save(random_tensors(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="is no ViT-B-32: width and layers"):
        load(tmp_path / "model.pt", tokenizer, "ViT-B-32")
    with pytest.raises(ConfigError, match="architecture is 'RN50', which is neither"):
        load(tmp_path / "model.pt", tokenizer, "RN50")
    odd = {"vision_cfg": {"width": 64, "head_width": 7}, "text_cfg": {"heads": 5}}
    (tmp_path / "odd.json").write_text(json.dumps(odd))
    with pytest.raises(CheckpointError, match="its sizes describe no network"):
        load(tmp_path / "model.pt", tokenizer, tmp_path / "odd.json")
    (tmp_path / "wide.json").write_text(json.dumps({"vision_cfg": {"width": 768}, "text_cfg": {"heads": 2}}))
    with pytest.raises(CheckpointError, match="has towers of width 64 and 128, and its configuration file says 768"):
        load(tmp_path / "model.pt", tokenizer, tmp_path / "wide.json")
    config = {"vision_cfg": {"layers": [3, 4, 6, 3]}, "text_cfg": {"hf_model_name": "roberta"}}
    (tmp_path / "other.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedError, match="ResNet") as caught:
        load(tmp_path / "model.pt", tokenizer, tmp_path / "other.json")
    assert "hf_model_name" in str(caught.value)


def test_missing_tokenizer_is_asked_for(tmp_path: Path) -> None:
    torch.save(random_tensors(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="tokenizer is not given"):
        load_adapter(tmp_path / "model.pt")


def test_unknown_activation_is_said(tmp_path: Path, tokenizer: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(random_tensors(), tmp_path / "model.pt")
    load(tmp_path / "model.pt", tokenizer)
    assert "does not tell its activation, and is read with GELU" in caplog.text


# Patch, picture, vision width, layers and width inside, text width, layers, embedding; millions of parameters as
# open_clip's table of models has them, and attention heads of both towers as its configurations do.
PUBLISHED = {
    "ViT-B-32": (32, 224, 768, 12, 3072, 512, 12, 512, 151.28, 12, 8),
    "ViT-B-16": (16, 224, 768, 12, 3072, 512, 12, 512, 149.62, 12, 8),
    "ViT-L-14": (14, 224, 1024, 24, 4096, 768, 12, 768, 427.62, 16, 12),
    "ViT-L-14-336": (14, 336, 1024, 24, 4096, 768, 12, 768, 427.94, 16, 12),
    "ViT-H-14": (14, 224, 1280, 32, 5120, 1024, 24, 1024, 986.11, 16, 16),
    "ViT-g-14": (14, 224, 1408, 40, 6144, 1024, 24, 1024, 1366.68, 16, 16),
    "ViT-bigG-14": (14, 224, 1664, 48, 8192, 1280, 32, 1280, 2539.57, 16, 20),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_give_the_published_networks(name: str) -> None:
    """Told from shapes alone, on no memory."""
    patch, picture, width, layers, inside, text, depth, embedding, millions, *heads = PUBLISHED[name]
    shapes: dict[str, tuple[int, ...]] = {
        "visual.conv1.weight": (width, 3, patch, patch), "visual.proj": (width, embedding), "logit_scale": (),
        "visual.positional_embedding": ((picture // patch) ** 2 + 1, width), "visual.ln_pre.weight": (width,),
        "token_embedding.weight": (49408, text), "positional_embedding": (77, text),
        "text_projection": (text, embedding),
        **{f"visual.transformer.resblocks.{n}.mlp.c_fc.weight": (inside, width) for n in range(layers)},
        **{f"transformer.resblocks.{n}.mlp.c_fc.weight": (4 * text, text) for n in range(depth)},
    }  # fmt: skip
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    described = LAYOUT.describe(Stored(Path(f"{name}.pt"), tensors, Origin(layout="")), Untold(architecture=name))
    towers = (described.config.vision_config, described.config.text_config)
    assert [tower.num_attention_heads for tower in towers] == heads
    with torch.device("meta"):
        network = CLIPModel(described.config)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


# Patch, picture, width, layers and width inside of the vision tower; width, layers and vocabulary of the text tower.
SIGLIPS = {
    "ViT-B-16-SigLIP": (16, 224, 768, 12, 3072, 768, 12, 32000, 203.16, 12, "gelu"),
    "ViT-L-16-SigLIP-256": (16, 256, 1024, 24, 4096, 1024, 24, 32000, 652.15, 16, "gelu"),
    "ViT-SO400M-14-SigLIP-384": (14, 384, 1152, 27, 4304, 1152, 27, 32000, 877.96, 16, "gelu"),
    "ViT-B-16-SigLIP2": (16, 224, 768, 12, 3072, 768, 12, 256000, 375.19, 12, "gelu"),
    "ViT-SO400M-16-SigLIP2-384": (16, 384, 1152, 27, 4304, 1152, 27, 256000, None, 16, "gelu_pytorch_tanh"),
}


@pytest.mark.parametrize("name", SIGLIPS)
def test_published_sizes_give_the_published_siglips(name: str) -> None:
    """With the activations that timm's towers and open_clip's texts have."""
    patch, picture, width, layers, inside, text, depth, words, millions, heads, act = SIGLIPS[name]
    trunk, part = "visual.trunk.", "text."
    shapes: dict[str, tuple[int, ...]] = {
        f"{trunk}patch_embed.proj.weight": (width, 3, patch, patch), "logit_scale": (), "logit_bias": (),
        f"{trunk}pos_embed": (1, (picture // patch) ** 2, width), f"{trunk}attn_pool.latent": (1, 1, width),
        f"{part}token_embedding.weight": (words, text), f"{part}positional_embedding": (64, text),
        f"{part}text_projection.weight": (width, text),
        **{f"{trunk}blocks.{n}.mlp.fc1.weight": (inside, width) for n in range(layers)},
        **{f"{part}transformer.resblocks.{n}.mlp.c_fc.weight": (inside, text) for n in range(depth)},
    }  # fmt: skip
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    for said in (Untold(), Untold(architecture=name)):
        config = SIGLIP.describe(Stored(Path(f"{name}.pt"), tensors, Origin(layout="")), said).config
        towers = (config.vision_config, config.text_config)
        assert [tower.num_attention_heads for tower in towers] == [heads, heads]
        assert towers[0].hidden_act == act
        assert towers[1].hidden_act == ("gelu_pytorch_tanh" if "SigLIP2" in name else "gelu")
    with torch.device("meta"):
        network = SiglipModel(config)
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    assert millions is None or parameters == pytest.approx(millions, abs=0.006)
