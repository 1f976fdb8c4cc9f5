"""Processors that are not the network's: compared before anything is asked."""

import importlib.util
import json
from pathlib import Path

import pytest
from transformers import (
    CLIPProcessor,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
)
from transformers.utils import sentencepiece_model_pb2_new as sentencepiece_model

from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError
from multidelete.data.pairs import PairData
from multidelete.models import adapter_for, load_adapter
from multidelete.models.fresh import train_tokenizer
from tests.tiny import SIDE, SIZE, captions, family_model, own_clip, people


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(4)


@pytest.fixture
def folder(tmp_path: Path, data: PairData) -> Path:
    own_clip(data).save(tmp_path / "model")
    return tmp_path / "model"


def refusal(folder: Path) -> str:
    """What loading a folder says against it; nothing where it is read."""
    try:
        load_adapter(folder)
    except CheckpointError as error:
        return str(error)
    return ""


def test_a_tokenizer_without_padding_is_refused(folder: Path, data: PairData) -> None:
    tokenizer = train_tokenizer(captions(data), SIZE)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(CheckpointError, match="its tokenizer has no padding token"):
        load_adapter(folder)


def test_tokens_without_an_embedding_are_named(folder: Path, data: PairData) -> None:
    tokenizer = train_tokenizer(captions(data), SIZE)
    tokenizer.add_tokens(["<who>", "<where>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(CheckpointError, match="2 tokens that the network has no embedding for: <who>, <where>"):
        load_adapter(folder)


def test_a_folder_without_its_tokenizer_is_refused(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"has no readable processor|tokenizer is missing or another model's"):
        load_adapter(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    with pytest.raises(CheckpointError, match=r"has no readable processor|tokenizer is missing or another model's"):
        load_adapter(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    tokenizer = train_tokenizer(["a b"], SIZE)
    tokenizer.save_pretrained(folder)
    with pytest.raises(CheckpointError, match="tokenizer is missing or another model's"):
        load_adapter(folder)


def test_processors_of_the_wrong_kind_are_errors_of_ours(data: PairData) -> None:
    adapter = own_clip(data)
    whole = adapter.processor
    for wrong in (whole.tokenizer, whole.image_processor, "processor", CLIPProcessor, {"tokenizer": whole.tokenizer}):
        with pytest.raises(ConfigError, match=r"CLIPModel: the processor is a .* without .*the whole processor"):
            adapter_for(adapter.model, wrong)


def test_a_tokenizer_that_leaves_no_room_for_words_is_refused(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 2}))
    with pytest.raises(CheckpointError, match=r"texts may have 2 tokens .*no room for a word"):
        load_adapter(folder)


@pytest.mark.parametrize("value", ["many", None, [40]])
def test_a_length_that_is_no_number_is_a_checkpoint_error(value: object, folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": value}))
    said = refusal(folder)  # transformers takes None for no limit
    assert (said == "" and value is None) or "cannot be used" in said or "no readable processor" in said


def test_a_siglip_without_pooling_head_is_refused(data: PairData) -> None:
    tokenizer = train_tokenizer(captions(data), SIZE)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**shape, "vocab_size": len(tokenizer), "max_position_embeddings": 16},
        vision_config={**shape, "image_size": SIDE, "patch_size": 8, "vision_use_head": False},
    )
    processor = SiglipProcessor(SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}), tokenizer)
    with pytest.raises(UnsupportedError, match=r"SiglipVision.* gives no pooled output"):
        adapter_for(SiglipModel(config), processor)


def write_sentencepiece(folder: Path, words: int) -> None:
    """A sentencepiece model of a few single letters, as SigLIP folders hold one."""
    model = sentencepiece_model.ModelProto()
    for number, piece in enumerate(["<unk>", "<s>", "</s>", *(f"\u2581w{n}" for n in range(words))]):
        entry = model.pieces.add()
        entry.piece, entry.score = piece, -float(number)
        entry.type = 2 if number == 0 else 3 if number < 3 else 1
    (folder / "spiece.model").write_bytes(model.SerializeToString())


def test_a_sentencepiece_file_alone_is_read_or_names_the_package(data: PairData, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    adapter = family_model("siglip", data)
    adapter.save(folder)
    (folder / "tokenizer.json").unlink()
    rows = adapter.model.config.text_config.vocab_size
    write_sentencepiece(folder, rows - 3)
    names = {"tokenizer_class": "SiglipTokenizer", "model_max_length": 16, "pad_token": "</s>", "eos_token": "</s>",
             "unk_token": "<unk>"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    said = refusal(folder)
    assert "\n" not in said
    assert importlib.util.find_spec("sentencepiece") or "entencepiece" in said


CODE = "import pathlib\npathlib.Path({mark!r}).mkdir()\nclass Evil:\n    pass\n"


@pytest.mark.parametrize(
    ("file", "entry"),
    [
        (
            "tokenizer_config.json",
            {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}},
        ),
        ("processor_config.json", {"processor_class": "Evil", "auto_map": {"AutoProcessor": "evil.Evil"}}),
        ("preprocessor_config.json", {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}}),
        ("config.json", {"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}}),
    ],
)
def test_code_beside_a_model_is_never_run_nor_asked_about(
    file: str, entry: dict[str, object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = folder.parent / "ran"
    (folder / "evil.py").write_text(CODE.format(mark=str(mark)))
    path = folder / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | entry))

    def asked(*_: object) -> str:
        raise AssertionError("nobody may be asked")

    monkeypatch.setattr("builtins.input", asked)
    said = refusal(folder)
    assert said == "" or "no readable processor" in said
    assert not mark.exists()


def test_code_for_a_part_of_a_network_is_refused(data: PairData, tmp_path: Path) -> None:
    family_model("vision-text", data).save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    content = json.loads(path.read_text())
    content["text_config"]["auto_map"] = {"AutoModel": "evil.Evil"}
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"code of the folder's own for a part .*text_config\.auto_map"):
        load_adapter(tmp_path / "model")
    del content["text_config"]["auto_map"]
    path.write_text(json.dumps({**content, "attn_implementation": "someone/kernel"}))
    with pytest.raises(CheckpointError, match=r"sets attn_implementation to 'someone/kernel'"):
        load_adapter(tmp_path / "model")
