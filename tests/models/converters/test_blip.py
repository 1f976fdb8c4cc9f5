"""Checkpoints of BLIP and of LAVIS' BLIP: the published forward written out, and back to the same file."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from multidelete.cli.commands import run
from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError
from multidelete.models import Adapter, load_adapter, reading
from multidelete.models.converters.conversion import convert, export
from multidelete.models.fresh import train_tokenizer
from tests.models.converters.drawn import Drawn
from tests.tiny import SIZE, captions, people

DATA = people(6, unseen=3, views=1)
VISION, TEXT, LAYERS, PATCH, SIDE, WORDS, PLACES, JOINT, HEAD = 32, 48, 2, 8, 32, 403, 40, 24, 16
LAYER = "text_encoder.encoder.layer"


def official(kind: str = "retrieval", *, momentum: bool = False) -> dict[str, Tensor]:
    """Tensors by the names of the official code, of retrieval or of LAVIS' classifier."""
    drawn = Drawn(seed=1)
    made, add, linear, norm = drawn.tensors, drawn.add, drawn.linear, drawn.norm
    for copy in ("", "_m") if momentum else ("",):
        vision, text = f"visual_encoder{copy}", f"text_encoder{copy}"
        add(f"{vision}.cls_token", 1, 1, VISION)
        drawn.patches(vision, VISION, PATCH, places=(SIDE // PATCH) ** 2 + 1)
        drawn.blocks(vision, VISION, 2 * VISION, LAYERS)
        made[f"{text}.embeddings.position_ids"] = torch.arange(PLACES).unsqueeze(0)
        add(f"{text}.embeddings.word_embeddings.weight", WORDS, TEXT)
        add(f"{text}.embeddings.position_embeddings.weight", PLACES, TEXT)
        norm(f"{text}.embeddings.LayerNorm", TEXT)
        for number in range(LAYERS):
            layer = f"{text}.encoder.layer.{number}"
            for attention, width in (("attention", TEXT), ("crossattention", VISION)):
                linear(f"{layer}.{attention}.self.query", TEXT, TEXT)
                linear(f"{layer}.{attention}.self.key", TEXT, width)
                linear(f"{layer}.{attention}.self.value", TEXT, width)
                linear(f"{layer}.{attention}.output.dense", TEXT, TEXT)
                norm(f"{layer}.{attention}.output.LayerNorm", TEXT)
            linear(f"{layer}.intermediate.dense", 2 * TEXT, TEXT)
            linear(f"{layer}.output.dense", TEXT, 2 * TEXT)
            norm(f"{layer}.output.LayerNorm", TEXT)
        if kind == "retrieval":
            linear(f"vision_proj{copy}", JOINT, VISION)
            linear(f"text_proj{copy}", JOINT, TEXT)
    if kind == "retrieval":
        linear("itm_head", 2, TEXT)
        made["temp"] = torch.tensor(0.05)
        if momentum:
            add("image_queue", JOINT, 16)
            add("text_queue", JOINT, 16)
            made |= {"idx_queue": torch.full((1, 16), -100), "ptr_queue": torch.zeros(1, dtype=torch.int64)}
    else:
        linear("cls_head.0", TEXT, TEXT)
        linear("cls_head.2", 3, TEXT)
    return made


class Plain:
    """The forward passes of the official code, in double precision."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.t = {name: t.double() if t.is_floating_point() else t for name, t in tensors.items()}

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    def norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.t[f"{name}.weight"], self.t[f"{name}.bias"], eps)

    @staticmethod
    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (one.unflatten(-1, (-1, HEAD)).transpose(1, 2) for one in (q, k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD)
        return ((scores if mask is None else scores + mask).softmax(-1) @ v).transpose(1, 2).flatten(2)

    def image(self, pixels: Tensor) -> Tensor:
        name = "visual_encoder.patch_embed.proj"
        x = F.conv2d(pixels.double(), self.t[f"{name}.weight"], self.t[f"{name}.bias"], stride=PATCH)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.t["visual_encoder.cls_token"].expand(len(x), -1, -1), x], dim=1)
        x = x + self.t["visual_encoder.pos_embed"]
        for number in range(LAYERS):
            block = f"visual_encoder.blocks.{number}"
            q, k, v = self.linear(self.norm(x, f"{block}.norm1", 1e-6), f"{block}.attn.qkv").chunk(3, dim=-1)
            x = x + self.linear(self.attend(q, k, v), f"{block}.attn.proj")
            y = F.gelu(self.linear(self.norm(x, f"{block}.norm2", 1e-6), f"{block}.mlp.fc1"))
            x = x + self.linear(y, f"{block}.mlp.fc2")
        return self.norm(x, "visual_encoder.norm", 1e-6)

    def text(self, ids: Tensor, mask: Tensor, image: Tensor | None = None) -> Tensor:
        name = "text_encoder.embeddings"
        x = self.t[f"{name}.word_embeddings.weight"][ids]
        x = self.norm(x + self.t[f"{name}.position_embeddings.weight"][: ids.shape[1]], f"{name}.LayerNorm", 1e-12)
        barred = (1.0 - mask[:, None, None].double()) * -1e9
        for number in range(LAYERS):
            layer = f"{LAYER}.{number}"
            for kind, seen, bar in (("attention", x, barred), ("crossattention", image, None)):
                if kind == "crossattention" and image is None:
                    continue
                seen = x if kind == "attention" else seen
                assert seen is not None
                q = self.linear(x, f"{layer}.{kind}.self.query")
                k, v = (self.linear(seen, f"{layer}.{kind}.self.{part}") for part in ("key", "value"))
                y = self.linear(self.attend(q, k, v, bar), f"{layer}.{kind}.output.dense")
                x = self.norm(x + y, f"{layer}.{kind}.output.LayerNorm", 1e-12)
            y = self.linear(F.gelu(self.linear(x, f"{layer}.intermediate.dense")), f"{layer}.output.dense")
            x = self.norm(x + y, f"{layer}.output.LayerNorm", 1e-12)
        return x[:, 0]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(captions(DATA), SIZE).save_pretrained(folder)
    return folder


def load(tensors: dict[str, Tensor], folder: Path, tokenizer: Path, classes: tuple[str, ...] = ()) -> Adapter:
    torch.save({"model": tensors, "config": {"image_size": SIDE}, "epoch": 5}, folder / "model.pth")
    with reading(tokenizer=tokenizer, head_width=HEAD, classes=classes):
        return load_adapter(folder / "model.pth").eval()


def test_retrieval_is_the_same_network(tmp_path: Path, tokenizer: Path) -> None:
    """Texts are fused from [ENC], the last token of the vocabulary, and read alone from their own first."""
    tensors = official()
    adapter, plain = load(tensors, tmp_path, tokenizer), Plain(tensors)
    batch = adapter.collate(DATA.train[list(range(6))])
    with torch.no_grad():
        outputs = adapter(batch)
    ids, mask = batch.inputs["text"]["input_ids"], batch.inputs["text"]["attention_mask"]
    image = plain.image(batch.inputs["image"]["pixel_values"])
    fused_ids = ids.clone()
    fused_ids[:, 0] = WORDS - 1
    logits = plain.linear(plain.text(fused_ids, mask, image), "itm_head")
    assert (outputs.score - (logits[:, 1] - logits[:, 0])).abs().max() < 1e-5
    embeddings = outputs.embeddings
    assert embeddings is not None
    for name, state in (("vision", image[:, 0]), ("text", plain.text(ids, mask))):
        expected = F.normalize(plain.linear(state, f"{name}_proj"), dim=-1)
        assert (embeddings["image" if name == "vision" else name] - expected).abs().max() < 1e-5
    assert adapter.logit_scale == pytest.approx(1 / 0.05)


def test_classifier_of_lavis_is_the_same_network(tmp_path: Path, tokenizer: Path) -> None:
    tensors = official("classification")
    adapter, plain = load(tensors, tmp_path, tokenizer), Plain(tensors)
    assert adapter.classes == ("contradiction", "neutral", "entailment")
    batch = adapter.collate(DATA.train[list(range(6))])
    with torch.no_grad():
        logits = adapter(batch).logits
    ids, mask = batch.inputs["text"]["input_ids"], batch.inputs["text"]["attention_mask"]
    joint = plain.text(ids, mask, plain.image(batch.inputs["image"]["pixel_values"]))
    expected = plain.linear(F.relu(plain.linear(joint, "cls_head.0")), "cls_head.2")
    assert logits is not None
    assert (logits - expected).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["retrieval", "classification"])
@pytest.mark.parametrize("half", [False, True])
def test_folder_and_back_is_the_same_file(kind: str, half: bool, tmp_path: Path, tokenizer: Path) -> None:
    before = {n: t.half() if half and t.is_floating_point() else t for n, t in official(kind).items()}
    torch.save({"model": before, "epoch": 5}, tmp_path / "model.pth")
    with reading(tokenizer=tokenizer, head_width=HEAD):
        done = convert(tmp_path / "model.pth", tmp_path / "folder")
    assert (done.layout, done.task, dict(done.dropped)) == ("BLIP", kind, {})
    assert export(tmp_path / "folder", tmp_path / "back.pth") == len(before)
    content = torch.load(tmp_path / "back.pth", weights_only=True)
    after = content["model"]
    assert content["epoch"] == 5
    assert {n: (t.dtype, t.shape) for n, t in after.items()} == {n: (t.dtype, t.shape) for n, t in before.items()}
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_what_only_trains_is_left_out_and_counted(tmp_path: Path, tokenizer: Path) -> None:
    tensors = official(momentum=True)
    torch.save({"model": tensors, "optimizer": {"state": {}}}, tmp_path / "model.pth")
    with reading(tokenizer=tokenizer, head_width=HEAD):
        done = convert(tmp_path / "model.pth", tmp_path / "folder")
    copies = sum(name.split(".")[0].endswith("_m") for name in tensors)
    assert dict(done.dropped) == {"momentum copies": copies, "queues": 4, "states of an optimizer": 1}


def test_folders_made_elsewhere_are_written_as_official_files(tmp_path: Path, tokenizer: Path) -> None:
    adapter = load(official(), tmp_path, tokenizer)
    del adapter.model.config.checkpoint_layout  # type: ignore[union-attr]
    adapter.save(tmp_path / "folder")
    export(tmp_path / "folder", tmp_path / "back.pth")
    after = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert official().keys() == after.keys()
    assert after["temp"] == pytest.approx(0.05)


def test_pictures_of_another_size_are_read(tmp_path: Path, tokenizer: Path) -> None:
    torch.save({"model": official()}, tmp_path / "model.pth")
    with reading(tokenizer=tokenizer, head_width=HEAD):
        done = convert(tmp_path / "model.pth", tmp_path / "folder", image_size=48)
    assert done.image_size == (SIDE, 48)
    adapter = load_adapter(tmp_path / "folder").eval()
    batch = adapter.collate(DATA.train[[0, 1]])
    assert batch.inputs["image"]["pixel_values"].shape[-1] == 48
    with torch.no_grad():
        assert torch.isfinite(adapter(batch).score).all()


WRONG = {
    "captioning": ({"text_decoder.x": torch.ones(2)}, UnsupportedError, "writes captions or answers"),
    "two pictures": ({f"{LAYER}.0.crossattention.self0.query.weight": torch.ones(2)}, UnsupportedError, "NLVR2"),
    "unknown": ({"visual_encoder.extra": torch.ones(2)}, CheckpointError, "1 tensor is unknown: visual_encoder.extra"),
    "shape": ({"itm_head.bias": torch.ones(3)}, CheckpointError, r"itm_head.bias is \[3\], not \[2\]"),
    "temperature": ({"temp": torch.tensor(-1.0)}, CheckpointError, "temp is -1.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_get_one_line(name: str, tmp_path: Path, tokenizer: Path) -> None:
    added, error, match = WRONG[name]
    with pytest.raises(error, match=match):
        load({**official(), **added}, tmp_path, tokenizer)


def test_classes_without_names_are_asked_for(tmp_path: Path, tokenizer: Path) -> None:
    tensors = official("classification")
    tensors |= {"cls_head.2.weight": torch.ones(5, TEXT), "cls_head.2.bias": torch.ones(5)}
    with pytest.raises(ConfigError, match="tells 5 classes apart, but 0 names were given"):
        load(tensors, tmp_path, tokenizer)
    assert load(tensors, tmp_path, tokenizer, classes=tuple("abcde")).classes == tuple("abcde")


def test_unlearn_takes_the_file_and_writes_it_back(tmp_path: Path, tokenizer: Path) -> None:
    torch.save({"model": official(), "epoch": 5}, tmp_path / "model.pth")
    words = ["unlearn", str(tmp_path / "model.pth"), "--data", "personas:people=6,unseen=3,views=1,size=32"]
    words += ["--forget-subject", str(DATA.train.pairs[0].subject), "--tokenizer", str(tokenizer)]
    words += ["--head-width", str(HEAD), "--out", str(tmp_path / "unlearned.pth"), "--passes", "1"]
    assert run([*words, "--retain-sample", "0", "--checkpoint-steps", "0", "--device", "cpu"]) == 0
    content = torch.load(tmp_path / "unlearned.pth", weights_only=True)
    before, after = official(), content["model"]
    assert content["epoch"] == 5
    assert {n: (t.dtype, t.shape) for n, t in after.items()} == {n: (t.dtype, t.shape) for n, t in before.items()}
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert "text_encoder" in changed
    assert "visual_encoder" not in changed
    again = load_adapter(tmp_path / "unlearned.pth")  # heads and tokenizer lie beside it
    assert again.model.config.vision_config.num_attention_heads == VISION // HEAD  # type: ignore[union-attr]
    assert again.model.config.fusion_token_id == WORDS - 1  # type: ignore[union-attr]
