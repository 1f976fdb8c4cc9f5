"""Model folders: written back as they were, and refused with a reason."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, CLIPModel

from multidelete.core.errors import CheckpointError, ConfigError
from multidelete.core.settings import TrainSettings
from multidelete.data.pairs import PairData
from multidelete.methods import MultiDelete
from multidelete.models import Adapter, adapter_for, load_adapter
from multidelete.models.checkpoint import choose_trainable
from multidelete.models.initial import starting_point
from tests.models.cases import CASES, Case, case_adapter, case_data
from tests.tiny import MODELS, differing, family_model, own_clip, people, scores, vit_bert, weights


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(6)


@pytest.fixture
def folder(tmp_path: Path, data: PairData) -> Path:
    """A saved `CLIPModel`."""
    own_clip(data).save(tmp_path / "model")
    return tmp_path / "model"


def stored(folder: Path) -> dict[str, tuple[list[int], str]]:
    """Shape and dtype of every tensor in a folder's safetensors."""
    found: dict[str, tuple[list[int], str]] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                found[key] = (file.get_slice(key).get_shape(), file.get_slice(key).get_dtype())
    return found


def stored_as(folder: Path, dtype: torch.dtype) -> None:
    """Rewrite a folder's weights, all but the scale, in another dtype."""
    path = folder / "model.safetensors"
    tensors = {k: t if k == "logit_scale" else t.to(dtype) for k, t in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", MODELS)
def test_save_then_load_gives_bit_equal_outputs(name: str, data: PairData, tmp_path: Path) -> None:
    adapter = MODELS[name](data).eval()
    adapter.save(tmp_path / "model")
    again = load_adapter(tmp_path / "model")
    assert type(again) is type(adapter)
    assert differing(weights(adapter), weights(again)) == []
    batch, batch_again = adapter.collate(data.train[[0, 3, 5]]), again.collate(data.train[[0, 3, 5]])
    for modality, tensors in batch.inputs.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, batch_again.inputs[modality][key])
    assert torch.equal(scores(adapter, data.train[[0, 3, 5]]), scores(again, data.train[[0, 3, 5]]))
    again.save(tmp_path / "again")
    assert stored(tmp_path / "again") == stored(tmp_path / "model")
    assert {p.name for p in (tmp_path / "again").iterdir()} == {p.name for p in (tmp_path / "model").iterdir()}


PLAIN_USE = """
import importlib.util, json, sys
import torch
import transformers
import transformers
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

assert importlib.util.find_spec("multidelete") is None, "multidelete must not be importable here"
found = {}
for class_name, folder in json.loads(sys.argv[1]):
    model = getattr(transformers, class_name).from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    images = AutoImageProcessor.from_pretrained(folder)
    AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if class_name == "SiglipModel" else True
    texts = processor.tokenizer(["a person with round glasses"], padding=padding, max_length=40, return_tensors="pt")
    texts = {k: v for k, v in texts.items() if k != "attention_mask" or class_name != "SiglipModel"}
    pixels = images([Image.new("RGB", (48, 40), "red")], return_tensors="pt")
    more = {}
    torch.manual_seed(0)  # ViLT reads its patches in random order
    if class_name == "ViltForImagesAndTextClassification":
        pixels = {name: tensor.unsqueeze(1).expand(-1, 2, -1, -1, -1) for name, tensor in pixels.items()}
    if class_name == "BlipForImageTextRetrieval":
        more = {"use_itm_head": True}
    with torch.no_grad():
        out = model(**texts, **pixels, **more)
    name = next(name for name in ("logits_per_image", "itm_score", "logits") if name in out)
    found[folder] = out[name].tolist()
assert "multidelete" not in sys.modules
print(json.dumps(found))
"""


def test_saved_folders_load_where_multidelete_is_not_installed(data: PairData, tmp_path: Path) -> None:
    """One plain process for all families; the folders saved again from a loaded model give the same logits."""
    jobs: list[tuple[str, str]] = []
    for name, make in MODELS.items():
        adapter = make(data)
        adapter.save(tmp_path / name)
        load_adapter(tmp_path / name).save(tmp_path / f"{name} again")
        jobs += [(type(adapter.model).__name__, str(tmp_path / f"{name}{again}")) for again in ("", " again")]
    for case in CASES:  # networks of our own need this package; the others must not
        adapter = case_adapter(case, case_data(case))
        if case.family not in MODELS and hasattr(transformers, type(adapter.model).__name__):
            adapter.save(tmp_path / str(case))
            load_adapter(tmp_path / str(case)).save(tmp_path / f"{case} again")
            jobs += [(type(adapter.model).__name__, str(tmp_path / f"{case}{again}")) for again in ("", " again")]
    assert len(jobs) == 2 * (len(MODELS) + 4)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        # -S: no site-packages of an editable install; they are put back without its .pth files
        [sys.executable, "-S", "-c", f"import sys; sys.path += {site_packages()!r}" + PLAIN_USE, json.dumps(jobs)],
        capture_output=True, text=True, env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    logits = json.loads(done.stdout)
    for _, path in jobs[::2]:
        assert logits[path] == logits[f"{path} again"]


def site_packages() -> list[str]:
    """Folders of installed packages, without the ones that an installation in place adds."""
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


@pytest.mark.parametrize(("dtype", "name"), [(torch.float16, "F16"), (torch.bfloat16, "BF16")])
def test_half_precision_folders_keep_their_dtypes(dtype: torch.dtype, name: str, folder: Path) -> None:
    stored_as(folder, dtype)
    before = stored(folder)
    adapter = load_adapter(folder)
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}  # trained in full precision
    adapter.save(folder.parent / "again")
    assert stored(folder.parent / "again") == before
    assert {dtype for _, dtype in before.values()} == {name, "F32"}
    again = load_file(folder.parent / "again" / "model.safetensors")
    assert differing(load_file(folder / "model.safetensors"), again) == []
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}  # saving changes no model in memory


def test_a_hub_id_is_read_from_the_hubs_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files as a download leaves them; there is no network here. Half precision comes back as it was."""
    stored_as(folder, torch.float16)
    cached = tmp_path / "hub" / "models--someone--faces"
    shutil.copytree(folder, cached / "snapshots" / "0123abcd")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123abcd")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    adapter = load_adapter("someone/faces")
    assert differing(weights(adapter), weights(load_adapter(folder))) == []
    adapter.save(tmp_path / "again")
    assert stored(tmp_path / "again") == stored(folder)


def test_a_family_is_refused_where_another_is_expected(folder: Path) -> None:
    assert load_adapter(folder, family="clip").family == "clip"
    with pytest.raises(CheckpointError, match=r"is of family 'clip', not 'siglip'"):
        load_adapter(folder, family="siglip")
    with pytest.raises(ConfigError, match=r"Unknown family 'cilp'. Did you mean 'clip'\?"):
        load_adapter(folder, family="cilp")


def test_folders_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere does not exist"):
        load_adapter(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"has no config.json \(found: nothing\)"):
        load_adapter(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(CheckpointError, match=r"has no config.json \(found: notes.txt\)"):
        load_adapter(tmp_path / "empty")
    with pytest.raises(CheckpointError, match=r"notes.txt is a file; a model is a folder"):
        load_adapter(tmp_path / "empty" / "notes.txt")
    (tmp_path / "empty" / "config.json").write_text("{ not JSON")
    with pytest.raises(CheckpointError, match=r"cannot be read as a model"):
        load_adapter(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"cannot be read as a model"):
        load_adapter(tmp_path / "empty")


def test_a_hub_id_that_cannot_be_reached_is_a_checkpoint_error() -> None:
    with pytest.raises(CheckpointError, match=r"nobody/no-such-model here, and as an id on the hub it cannot be read"):
        load_adapter("nobody/no-such-model")


def test_a_model_of_an_unknown_family_is_named(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"is a 'bert' model. Known families: clip \(clip\), siglip"):
        load_adapter(tmp_path)
    with pytest.raises(ConfigError, match=r"BertModel is of no known family; known: CLIPModel"):
        adapter_for(BertModel(config))


def test_missing_weights_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["visual_projection.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 weight is missing: visual_projection.weight"):
        load_adapter(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"has no .safetensors file \(found: no weights\)"):
        load_adapter(folder)


def test_weights_of_another_shape_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | {"visual_projection.weight": torch.zeros(3, 40)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"another shape.*visual_projection.weight is \[3, 40\], not \[20, 40\]"):
        load_adapter(folder)


def test_broken_safetensors_are_a_checkpoint_error(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"its weights cannot be read"):
        load_adapter(folder)


def pickled(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The same folder with its weights in a ``.bin`` file only."""
    stored_as(folder, dtype)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_pickled_weights_are_read_only_when_allowed(folder: Path) -> None:
    expected = weights(load_adapter(folder))
    pickled(folder)
    with pytest.raises(CheckpointError, match=r"no .safetensors file \(found: pytorch_model.bin\).*--allow-pickle"):
        load_adapter(folder)
    assert differing(expected, weights(load_adapter(folder, allow_pickle=True))) == []


def test_pickled_half_precision_weights_keep_their_dtypes(folder: Path) -> None:
    stored_as(folder, torch.float16)
    before = stored(folder)
    load_adapter(pickled(folder, torch.float16), allow_pickle=True).save(folder.parent / "again")
    assert stored(folder.parent / "again") == before


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_pickled_weights_never_run_code(folder: Path) -> None:
    pickled(folder)
    torch.save({"visual_projection.weight": Harmful(folder / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"its weights cannot be read"):
        load_adapter(folder, allow_pickle=True)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("family", ["clip", "siglip", "vision-text"])
@pytest.mark.parametrize("part", ["preprocessor", "tokenizer"])
def test_a_missing_processor_is_a_checkpoint_error(family: str, part: str, data: PairData, tmp_path: Path) -> None:
    family_model(family, data).save(tmp_path / "model")
    for path in [*(tmp_path / "model").glob(f"{part}*"), *(tmp_path / "model").glob("processor*")]:
        path.unlink()
    with pytest.raises(CheckpointError, match=r"has no readable processor"):
        load_adapter(tmp_path / "model")


def test_a_loaded_model_needs_its_processor(data: PairData) -> None:
    adapter = own_clip(data)
    assert adapter_for(adapter) is adapter
    assert isinstance(adapter.model, CLIPModel)
    assert adapter_for(adapter.model, adapter.processor).model is adapter.model
    with pytest.raises(ConfigError, match=r"a CLIPModel needs its processor too"):
        adapter_for(adapter.model)


def test_unknown_sizes_and_families_of_new_models_are_refused(data: PairData) -> None:
    with pytest.raises(ConfigError, match=r"Unknown size 'huge'. Known sizes: tiny, small"):
        starting_point(TrainSettings(family="clip", size="huge"), data, 0)
    with pytest.raises(ConfigError, match=r"Unknown family 'clap'. Did you mean 'clip'\?"):
        starting_point(TrainSettings(family="clap"), data, 0)


@pytest.mark.parametrize("family", ["clip", "siglip", "vision-text"])
def test_new_models_depend_on_the_seed_alone(family: str, data: PairData) -> None:
    def make(seed: int) -> Adapter:
        return family_model(family, data, seed)

    assert differing(weights(make(1)), weights(make(1))) == []
    assert differing(weights(make(1)), weights(make(2))) != []


def test_trainable_parts_are_chosen_by_name(data: PairData) -> None:
    adapter = vit_bert(data)

    def chosen(train: str) -> list[str]:
        names = choose_trainable(adapter, train)
        assert names == [name for name, p in adapter.named_parameters() if p.requires_grad]
        return names

    assert chosen("projections") == ["model.visual_projection.weight", "model.text_projection.weight"]
    assert chosen(r"text_model.*query") == [f"model.text_model.encoder.layer.0.attention.self.query.{p}"
                                            for p in ("weight", "bias")]  # fmt: skip
    assert {name.split(".")[1] for name in chosen("text")} == {"text_model", "text_projection"}
    assert {name.split(".")[1] for name in chosen("image")} == {"vision_model", "visual_projection"}
    assert len(chosen("all")) == len(list(adapter.parameters()))
    with pytest.raises(ConfigError, match=r"matches none of the \d+ parameters. Use all, projections, or"):
        chosen("visual_projektion")
    with pytest.raises(ConfigError, match=r"which is no regular expression"):
        chosen("(")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_multidelete_trains_leaves_every_picture_where_it_was(case: Case) -> None:
    """Of families with an image encoder: whatever becomes of the chosen weights, u and embedding of the image stay."""
    data = case_data(case)
    adapter = case_adapter(case, data).eval()
    part = MultiDelete().trainable(adapter)
    fused = {"albef": "but-image", "blip": "but-image", "vilt": "all", "graph-text": "all"}
    assert part == fused.get(case.family, "text")
    chosen = set(choose_trainable(adapter, part))
    batch = adapter.collate(data.train.pairs)
    with torch.no_grad():
        before = adapter(batch)
        for name, parameter in adapter.named_parameters():
            if name in chosen:
                parameter.add_(0.1 * torch.randn_like(parameter))
        after = adapter(batch)
    assert not torch.equal(before.score, after.score)
    first, second = adapter.modalities
    assert torch.equal(before.unimodal[first], after.unimodal[first]) == (part != "all")
    assert not torch.equal(before.unimodal[second], after.unimodal[second])
    if before.embeddings is not None and after.embeddings is not None:
        assert torch.equal(before.embeddings[first], after.embeddings[first]) == (part != "all")


def test_saving_leaves_the_source_folder_as_it_is(folder: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    shutil.copytree(folder, folder.parent / "copy")
    load_adapter(folder).save(folder.parent / "again")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
