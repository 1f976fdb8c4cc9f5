"""Checkpoints laid out as the official ones: names written out here, from the official code's modules."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoImageProcessor, ViltConfig

from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError
from multidelete.models import load_adapter
from multidelete.models.albef import AlbefConfig, AlbefForRetrieval
from multidelete.models.checkpoint import stored_dtypes
from multidelete.models.converters.conversion import Conversion, convert, export
from multidelete.models.converters.layout import reading
from multidelete.models.converters.vision_bert import resized_positions
from multidelete.models.fresh import train_tokenizer
from tests.models.converters.drawn import Drawn
from tests.models.test_fusion import SIZE, pairs_of
from tests.tiny import captions, people

WIDTH, TEXT, VISION_LAYERS, LOWER, MLP, PATCH, SIDE = 32, 48, 2, 1, 64, 8, 32  # widths that all differ
HEAD = 16


def official(kind: str, *, pretrained: bool = False, distilled: bool = True) -> dict[str, Tensor]:
    """Tensors by official name, of retrieval, entailment or two images; pre-trained ones hold a BertForMaskedLM."""
    drawn = Drawn(around=0.0)
    made, add, linear, norm = drawn.tensors, drawn.add, drawn.linear, drawn.norm
    for copy in ("", "_m") if distilled else ("",):
        vision, text = f"visual_encoder{copy}", f"text_encoder{copy}" + (".bert" if pretrained else "")
        add(f"{vision}.cls_token", 1, 1, WIDTH)
        drawn.patches(vision, WIDTH, PATCH, places=(SIDE // PATCH) ** 2 + 1)
        drawn.blocks(vision, WIDTH, MLP, VISION_LAYERS)
        made[f"{text}.embeddings.position_ids"] = torch.arange(20).unsqueeze(0)
        add(f"{text}.embeddings.word_embeddings.weight", 400, TEXT)
        add(f"{text}.embeddings.position_embeddings.weight", 20, TEXT)
        add(f"{text}.embeddings.token_type_embeddings.weight", 2, TEXT)
        norm(f"{text}.embeddings.LayerNorm", TEXT)
        upper = 4 if kind == "two images" else 2
        for i in range(LOWER + upper):
            layer = f"{text}.encoder.layer.{i}"
            for attention, width in (("attention", TEXT), *([("crossattention", WIDTH)] if i >= LOWER else [])):
                linear(f"{layer}.{attention}.self.query", TEXT, TEXT)
                linear(f"{layer}.{attention}.self.key", TEXT, width)
                linear(f"{layer}.{attention}.self.value", TEXT, width)
                linear(f"{layer}.{attention}.output.dense", TEXT, TEXT)
                norm(f"{layer}.{attention}.output.LayerNorm", TEXT)
            linear(f"{layer}.intermediate.dense", 2 * MLP, TEXT)
            linear(f"{layer}.output.dense", TEXT, 2 * MLP)
            norm(f"{layer}.output.LayerNorm", TEXT)
        if kind == "two images":  # share_cross_attention
            for i in range(LOWER, LOWER + upper, 2):
                for part in ("key.weight", "key.bias", "value.weight", "value.bias"):
                    name = f"{text}.encoder.layer.{{}}.crossattention.self.{part}"
                    made[name.format(i)] = made[name.format(i + 1)]
        if pretrained:
            linear(f"text_encoder{copy}.cls.predictions.transform.dense", TEXT, TEXT)
            add(f"text_encoder{copy}.cls.predictions.bias", 400)
        if kind == "retrieval":
            linear(f"vision_proj{copy}", 24, WIDTH)
            linear(f"text_proj{copy}", 24, TEXT)
        else:
            linear(f"cls_head{copy}.0", TEXT, TEXT)
            linear(f"cls_head{copy}.2", 3 if kind == "entailment" else 2, TEXT)
    if kind == "retrieval":
        made["temp"] = torch.tensor(0.05)
        linear("itm_head", 2, TEXT)
        add("image_queue", 24, 64)
        add("text_queue", 24, 64)
        made["queue_ptr"] = torch.zeros(1, dtype=torch.int64)
        if not pretrained:
            made["idx_queue"] = torch.full((1, 64), -100)
    return made


def convert_albef(
    source: Path,
    out: Path,
    *,
    tokenizer: Path,
    image_size: int | None = None,
    classes: Sequence[str] = (),
    head_width: int = HEAD,
) -> Conversion:
    with reading(tokenizer=tokenizer, head_width=head_width, classes=classes):
        return convert(source, out, image_size=image_size)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(captions(people(6)), SIZE).save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint_best.pth"


def write(tensors: dict[str, Tensor], path: Path) -> None:
    """As the official scripts save: with the optimizer's state, the configuration and the epoch."""
    torch.save(
        {"model": tensors, "optimizer": {"state": {}}, "config": {"image_res": SIDE, "alpha": 0.4}, "epoch": 3}, path
    )


def kept(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without momentum copies, queues and the masked language head."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if "_m." not in name and "queue" not in name and "text_encoder.cls." not in name
    }


@pytest.mark.parametrize(
    ("kind", "pretrained"), [("retrieval", False), ("retrieval", True), ("entailment", False), ("two images", False)]
)
def test_there_and_back_gives_the_same_names_and_tensors(
    kind: str, pretrained: bool, checkpoint: Path, tokenizer: Path, tmp_path: Path
) -> None:
    before = official(kind, pretrained=pretrained)
    write(before, checkpoint)
    convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)
    export(tmp_path / "folder", tmp_path / "back.pth")
    after = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert set(after) == set(kept(before))
    assert [name for name in after if not torch.equal(after[name], before[name])] == []
    assert {name: t.dtype for name, t in after.items()} == {name: t.dtype for name, t in kept(before).items()}


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("retrieval", "entailment")), "two images"]
)
def test_checkpoints_of_lavis_have_no_token_types(kind: str, checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    """Its BERT adds none; a type of zeros is the same, and what it learns goes into the positions on the way back."""
    types = "text_encoder.embeddings.token_type_embeddings.weight"
    before = {name: tensor for name, tensor in official(kind, distilled=False).items() if name != types}
    write(before, checkpoint)
    convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)
    export(tmp_path / "folder", tmp_path / "back.pth")
    after = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert set(after) == set(kept(before))
    assert [name for name in after if not torch.equal(after[name], before[name])] == []

    adapter = load_adapter(tmp_path / "folder").eval()
    write({**before, types: torch.zeros(2, TEXT)}, checkpoint)
    convert_albef(checkpoint, tmp_path / "zeros", tokenizer=tokenizer)
    batch = adapter.collate(pairs_of(kind)[:2])
    with torch.no_grad():
        said = adapter(batch).score
        assert torch.equal(said, load_adapter(tmp_path / "zeros").eval()(batch).score)
        adapter.model.get_parameter(types).add_(0.3)
        said = adapter(batch).score
    adapter.save(tmp_path / "moved")
    export(tmp_path / "moved", tmp_path / "moved.pth")
    convert_albef(tmp_path / "moved.pth", tmp_path / "again", tokenizer=tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(load_adapter(tmp_path / "again").eval()(batch).score, said, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04N.", b"garbage" * 100, b"\x80\x02}q\x00."])
def test_files_that_are_no_checkpoints_are_refused(
    content: bytes, checkpoint: Path, tokenizer: Path, tmp_path: Path
) -> None:
    checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot be read|holds no tensors|no ALBEF checkpoint"):
        convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)


def test_names_in_the_folder_are_the_official_ones(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    before = official("retrieval", pretrained=True)
    write(before, checkpoint)
    convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)
    adapter = load_adapter(tmp_path / "folder")
    ours = adapter.model.state_dict()
    expected = {name.replace("text_encoder.bert.", "text_encoder.") for name in kept(before)}
    assert set(ours) == expected - {"text_encoder.embeddings.position_ids"}
    assert torch.equal(
        ours["text_encoder.encoder.layer.1.crossattention.self.query.weight"],
        before["text_encoder.bert.encoder.layer.1.crossattention.self.query.weight"],
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("retrieval", Conversion("ALBEF", "AlbefForRetrieval", "retrieval", 1, (), (SIDE, SIDE), {})),
        (
            "entailment",
            Conversion(
                "ALBEF",
                "AlbefForClassification",
                "classification",
                1,
                ("contradiction", "neutral", "entailment"),
                (SIDE, SIDE),
                {},
            ),
        ),
        (
            "two images",
            Conversion("ALBEF", "AlbefForClassification", "classification", 2, ("False", "True"), (SIDE, SIDE), {}),
        ),
    ],
)
def test_head_and_sizes_are_recognised(
    kind: str, expected: Conversion, checkpoint: Path, tokenizer: Path, tmp_path: Path
) -> None:
    write(official(kind), checkpoint)
    found = convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)
    assert (found.task, found.images, found.classes, found.image_size) == (
        expected.task, expected.images, expected.classes, expected.image_size)  # fmt: skip
    adapter = load_adapter(tmp_path / "folder")
    config = adapter.model.config
    assert (adapter.task, adapter.classes, config.images, config.fusion_layer) == (
        expected.task, expected.classes, expected.images, LOWER)  # fmt: skip
    assert (config.vision_config.hidden_size, config.text_config.hidden_size) == (WIDTH, TEXT)
    assert (config.vision_config.num_attention_heads, config.text_config.num_attention_heads) == (2, 3)
    assert config.vision_config.layer_norm_eps == 1e-6
    assert config.text_config.hidden_dropout_prob == 0.1
    batch = adapter.collate(pairs_of(kind)[:2])
    with torch.no_grad():
        assert torch.isfinite(adapter.eval()(batch).score).all()


def test_what_is_left_out_is_counted(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    tensors = official("retrieval", pretrained=True)
    write(tensors, checkpoint)
    found = convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)
    assert found.dropped == {
        "momentum copies": sum("_m." in name for name in tensors),
        "queues": 3,
        "masked language head": 3,
        "states of an optimizer": 1,
    }
    assert not [name for name in load_adapter(tmp_path / "folder").state_dict() if "_m." in name or "queue" in name]


def test_tensors_without_a_wrapper_are_read_too(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    torch.save(official("entailment", distilled=False), checkpoint)
    found = convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)
    assert found.dropped == {}


def test_half_precision_is_kept(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    half = {n: t.half() if t.is_floating_point() else t for n, t in official("two images", distilled=False).items()}
    write(half, checkpoint)
    convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)
    export(tmp_path / "folder", tmp_path / "back.pth")
    load_adapter(tmp_path / "folder").save(tmp_path / "again")
    assert stored_dtypes(tmp_path / "again") == stored_dtypes(tmp_path / "folder")
    assert set(stored_dtypes(tmp_path / "again").values()) == {torch.float16}
    after = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert [n for n in half if after[n].dtype != half[n].dtype or not torch.equal(after[n], half[n])] == []


def test_names_of_classes_can_be_given(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    write(official("entailment"), checkpoint)
    names = ("no", "maybe", "yes")
    convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer, classes=names)
    assert load_adapter(tmp_path / "folder").classes == names
    with pytest.raises(ConfigError, match="tells 3 classes apart, but 2 names"):
        convert_albef(checkpoint, tmp_path / "other", tokenizer=tokenizer, classes=("no", "yes"))
    assert not (tmp_path / "other").exists()


def test_positions_are_interpolated_to_another_image_size(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    tensors = official("retrieval")
    write(tensors, checkpoint)
    found = convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer, image_size=48)
    assert found.image_size == (SIDE, 48)
    adapter = load_adapter(tmp_path / "folder")
    positions = adapter.model.visual_encoder.pos_embed.detach()
    before = tensors["visual_encoder.pos_embed"]
    assert positions.shape == (1, 37, WIDTH)
    assert torch.equal(positions[:, 0], before[:, 0])
    grid = before[0, 1:].reshape(4, 4, WIDTH)
    for channel in (0, 7):
        expected = torch.nn.functional.interpolate(grid[None, None, ..., channel], size=(6, 6), mode="bicubic")
        torch.testing.assert_close(positions[0, 1:, channel].reshape(6, 6), expected[0, 0])
    assert adapter.model.config.vision_config.image_size == 48
    pixels = adapter.collate(pairs_of("retrieval")[:2]).inputs["image"]["pixel_values"]
    assert pixels.shape == (2, 3, 48, 48)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "folder")
    assert processor.image_mean == pytest.approx([0.48145466, 0.4578275, 0.40821073])


def test_rows_and_columns_keep_their_places_when_resized() -> None:
    """One channel counts rows, the other columns: after resizing too, within bicubic's error for straight lines."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    positions = torch.cat([torch.full((1, 1, 2), 9.0), torch.stack([rows, columns], -1).reshape(1, 64, 2)], dim=1)
    found = resized_positions(positions, image_size=64, patch_size=4)[0, 1:].reshape(16, 16, 2)
    expected = (torch.arange(4.0, 12.0) + 0.5) / 2 - 0.5
    torch.testing.assert_close(found[4:12, 4:12, 0], expected[:, None].expand(8, 8), atol=0.06, rtol=0)
    torch.testing.assert_close(found[4:12, 4:12, 1], expected[None, :].expand(8, 8), atol=0.06, rtol=0)
    assert resized_positions(positions, image_size=32, patch_size=4) is positions


@pytest.mark.parametrize("size", [0, -8, 33])
def test_an_image_size_that_is_no_multiple_of_the_patch_is_refused(
    size: int, checkpoint: Path, tokenizer: Path, tmp_path: Path
) -> None:
    write(official("retrieval"), checkpoint)
    with pytest.raises(ConfigError, match=f"image_size is {size}; it must be a positive multiple of the patch size 8"):
        convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer, image_size=size)


def test_missing_unknown_and_misshapen_tensors_are_named(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    tensors = official("retrieval")
    del tensors["visual_encoder.blocks.1.norm2.bias"]
    tensors["text_decoder.cls.predictions.bias"] = torch.zeros(4)
    tensors["itm_head.weight"] = torch.zeros(3, TEXT)
    write(tensors, checkpoint)
    with pytest.raises(CheckpointError) as raised:
        convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)
    missing, unknown, shape = raised.value.problems
    assert "1 tensor is missing: visual_encoder.blocks.1.norm2.bias" in missing
    assert "1 tensor is unknown: text_decoder.cls.predictions.bias" in unknown
    assert "itm_head.weight is [3, 48], not [2, 48]" in shape
    assert not (tmp_path / "folder").exists()


def test_other_files_are_refused(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises((CheckpointError, UnsupportedError), match=match):
            convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)

    refused("does not exist")
    checkpoint.write_bytes(b"not a checkpoint")
    refused("cannot be read")
    torch.save({"model": tmp_path}, checkpoint)  # an object, not a tensor: would run code
    refused("plain tensors")
    torch.save([1, 2], checkpoint)
    refused("holds list, no tensors by name")
    torch.save({"fc.weight": torch.zeros(2, 2)}, checkpoint)
    refused("no known layout: it holds fc.weight")
    write({name: t for name, t in official("retrieval").items() if "crossattention" not in name}, checkpoint)
    refused("lacks text layers with crossattention")
    write({name: t for name, t in official("retrieval").items() if "itm_head" not in name}, checkpoint)
    refused("lacks itm_head.weight")


def test_a_missing_tokenizer_a_wrong_head_width_and_an_existing_folder_are_refused(
    checkpoint: Path, tokenizer: Path, tmp_path: Path
) -> None:
    write(official("retrieval"), checkpoint)
    with pytest.raises(CheckpointError, match="has no readable tokenizer"):
        convert_albef(checkpoint, tmp_path / "folder", tokenizer=tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="lies inside input"):
        convert_albef(checkpoint, tokenizer / "folder", tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="head_width is 64; it must divide"):
        convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer, head_width=64)
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="exists"):
        convert_albef(checkpoint, tmp_path / "folder", tokenizer=tokenizer)


def test_only_known_networks_go_back_and_nothing_is_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    ViltConfig(architectures=["ViltForQuestionAnswering"]).save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match="holds ViltForQuestionAnswering, and no known layout"):
        export(tmp_path / "other", checkpoint)
    checkpoint.touch()
    with pytest.raises(CheckpointError, match="already exists"):
        export(tmp_path / "other", checkpoint)


def test_published_sizes_give_the_published_names_and_shapes() -> None:
    """At the sizes of the official configuration, on no memory: as many parameters as the published model, and
    the names of its first and last layers."""
    with torch.device("meta"):
        state = AlbefForRetrieval(AlbefConfig()).state_dict()
    assert state["visual_encoder.pos_embed"].shape == (1, 577, 768)
    assert state["visual_encoder.blocks.11.attn.qkv.weight"].shape == (2304, 768)
    assert state["text_encoder.encoder.layer.11.crossattention.self.value.weight"].shape == (768, 768)
    assert "text_encoder.encoder.layer.5.crossattention.self.value.weight" not in state
    assert state["vision_proj.weight"].shape == (256, 768)
    vision = 768 * (1 + 577 + 3 * 16 * 16 + 1) + 12 * (12 * 768**2 + 13 * 768) + 2 * 768
    bert = 768 * (30522 + 512 + 2 + 2) + 12 * (12 * 768**2 + 13 * 768)
    looking = 6 * (4 * 768**2 + 6 * 768)
    heads = 2 * (769 * 256) + 769 * 2 + 1
    assert sum(tensor.numel() for tensor in state.values()) == vision + bert + looking + heads
