"""ALBEF as published: blocks recomputed by hand, two images, and the model's own forward."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from multidelete.models.albef import AlbefConfig, AlbefForClassification, AlbefForRetrieval
from multidelete.models.fusion import FusionAdapter
from tests.models.test_fusion import made, pairs_of

HEADS = 2


def normed(x: Tensor, weights: dict[str, Tensor], name: str, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None = None) -> Tensor:
    """Heads one by one: (L, D), (M, D), (M, D); ``seen`` (M,) of the keys."""
    width = query.shape[-1] // HEADS
    parts = []
    for head in range(HEADS):
        here = slice(head * width, (head + 1) * width)
        logits = query[:, here] @ key[:, here].T / math.sqrt(width)
        if seen is not None:
            logits = logits - 10_000 * (1 - seen.to(logits))  # as the official code hides padding
        parts.append(logits.exp() / logits.exp().sum(-1, keepdim=True) @ value[:, here])
    return torch.cat(parts, dim=-1)


def vision_by_hand(pixels: Tensor, weights: dict[str, Tensor], layers: int) -> Tensor:
    """One picture (3, side, side) to states (P, D): patches row by row, [CLS] first; norms before what they feed."""
    kernel = weights["patch_embed.proj.weight"]
    patch, side = kernel.shape[-1], pixels.shape[-1]
    squares = [
        pixels[:, y : y + patch, x : x + patch].reshape(-1)
        for y in range(0, side, patch)
        for x in range(0, side, patch)
    ]
    patches = torch.stack(squares) @ kernel.reshape(len(kernel), -1).T + weights["patch_embed.proj.bias"]
    x = torch.cat([weights["cls_token"][0], patches]) + weights["pos_embed"][0]
    for i in range(layers):
        name = f"blocks.{i}"
        qkv = linear(normed(x, weights, f"{name}.norm1", 1e-6), weights, f"{name}.attn.qkv")
        query, key, value = qkv.split(qkv.shape[-1] // 3, dim=-1)
        x = x + linear(attention(query, key, value), weights, f"{name}.attn.proj")
        hidden = gelu(linear(normed(x, weights, f"{name}.norm2", 1e-6), weights, f"{name}.mlp.fc1"))
        x = x + linear(hidden, weights, f"{name}.mlp.fc2")
    return normed(x, weights, "norm", 1e-6)


def text_layer_by_hand(
    x: Tensor, seen: Tensor, image: Tensor | None, weights: dict[str, Tensor], number: int
) -> Tensor:
    """One BERT layer of a text (L, D): self-attention, attention to the image (P, D), MLP; norms after each sum."""

    def attend(name: str, source: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            linear(given, weights, f"{name}.self.{part}")
            for part, given in (("query", x), ("key", source), ("value", source))
        )
        mixed = linear(attention(query, key, value, mask), weights, f"{name}.output.dense")
        return normed(x + mixed, weights, f"{name}.output.LayerNorm", 1e-12)

    layer = f"encoder.layer.{number}"
    x = attend(f"{layer}.attention", x, seen)
    if image is not None:
        x = attend(f"{layer}.crossattention", image, None)
    hidden = linear(gelu(linear(x, weights, f"{layer}.intermediate.dense")), weights, f"{layer}.output.dense")
    return normed(x + hidden, weights, f"{layer}.output.LayerNorm", 1e-12)


def embedded_by_hand(ids: Tensor, weights: dict[str, Tensor]) -> Tensor:
    name = "embeddings"
    words, places = weights[f"{name}.word_embeddings.weight"], weights[f"{name}.position_embeddings.weight"]
    x = words[ids] + places[: len(ids)] + weights[f"{name}.token_type_embeddings.weight"][0]
    return normed(x, weights, f"{name}.LayerNorm", 1e-12)


def parts_of(adapter: FusionAdapter, prefix: str) -> dict[str, Tensor]:
    """Weights in double precision, by their names within a part."""
    return {
        name.removeprefix(prefix): tensor.double()
        for name, tensor in adapter.model.state_dict().items()
        if name.startswith(prefix)
    }


def fused_by_hand(adapter: FusionAdapter, images: list[Tensor], ids: Tensor, seen: Tensor) -> Tensor:
    """Fused states (L, D) of one pair: lower layers without, upper layers with the images in turn."""
    vision, text = parts_of(adapter, "visual_encoder."), parts_of(adapter, "text_encoder.")
    states = [vision_by_hand(image.double(), vision, layers=4) for image in images]
    x = embedded_by_hand(ids, text)
    for number in range(2):
        x = text_layer_by_hand(x, seen, None, text, number)
    for number in range(2, 2 + 2 * len(images)):
        x = text_layer_by_hand(x, seen, states[(number - 2) % len(images)], text, number)
    return x


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


def test_vision_states_are_those_computed_by_hand() -> None:
    adapter = made("albef", "retrieval")
    assert adapter.model.config.vision_config.num_attention_heads == HEADS
    pixels = adapter.collate(pairs_of("retrieval")[:3]).inputs["image"]["pixel_values"]
    with torch.no_grad():
        found = adapter.model.visual_encoder(pixels)
    weights = parts_of(adapter, "visual_encoder.")
    close(found, torch.stack([vision_by_hand(one.double(), weights, layers=4) for one in pixels]))


def test_text_states_before_and_after_the_fusion_are_those_computed_by_hand() -> None:
    """Of a padded text too: the last of three captions is the shortest."""
    adapter = made("albef", "retrieval")
    batch = adapter.collate(pairs_of("retrieval")[1:4])
    ids, mask = batch.inputs["text"]["input_ids"], batch.inputs["text"]["attention_mask"]
    assert mask[2].sum() < mask.shape[1]
    with torch.no_grad():
        outputs = adapter(batch)
    text = parts_of(adapter, "text_encoder.")
    for row in range(3):
        x = embedded_by_hand(ids[row], text)
        for number in range(2):
            x = text_layer_by_hand(x, mask[row], None, text, number)
        close(outputs.unimodal["text"][row], x[0])
        pixels = batch.inputs["image"]["pixel_values"][row]
        close(outputs.joint[row], fused_by_hand(adapter, [pixels], ids[row], mask[row])[0])


def test_retrieval_outputs_are_those_of_the_published_heads() -> None:
    adapter = made("albef", "retrieval")
    batch = adapter.collate(pairs_of("retrieval")[:4])
    with torch.no_grad():
        outputs = adapter(batch)
        logits = adapter.model(**batch.inputs["image"], **batch.inputs["text"]).logits
    weights = parts_of(adapter, "")
    close(logits, linear(outputs.joint.double(), weights, "itm_head"))
    close(outputs.score, (logits[:, 1] - logits[:, 0]).double())
    for modality, name in (("image", "vision_proj"), ("text", "text_proj")):
        projected = linear(outputs.unimodal[modality].double(), weights, name)
        close(outputs.embeddings[modality], projected / projected.norm(dim=-1, keepdim=True))
    adapter.model.temp.data.fill_(0.07)
    assert adapter.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_entailment_logits_are_those_of_the_published_classifier() -> None:
    adapter = made("albef", "entailment")
    batch = adapter.collate(pairs_of("entailment")[:4])
    with torch.no_grad():
        outputs = adapter(batch)
        own = adapter.model(**batch.inputs["image"], **batch.inputs["text"]).logits
    weights = parts_of(adapter, "")
    hidden = linear(outputs.joint.double(), weights, "cls_head.0").clamp(min=0)
    close(outputs.logits, linear(hidden, weights, "cls_head.2"))
    torch.testing.assert_close(own, outputs.logits)


def test_two_images_are_looked_at_in_turn_with_shared_keys_and_values() -> None:
    """The upper layers are doubled; of each two, keys and values of the attention to the image are the same."""
    adapter = made("albef", "two images")
    layers = adapter.model.text_encoder.layers
    assert [hasattr(layer, "crossattention") for layer in layers] == [False] * 2 + [True] * 4
    for first, second in ((2, 3), (4, 5)):
        heads = [layers[i].crossattention.self for i in (first, second)]
        for part in ("key", "value"):
            assert getattr(heads[0], part).weight is getattr(heads[1], part).weight
            assert getattr(heads[0], part).bias is getattr(heads[1], part).bias
        assert not torch.equal(heads[0].query.weight, heads[1].query.weight)
    assert not torch.equal(layers[2].crossattention.self.key.weight, layers[4].crossattention.self.key.weight)
    batch = adapter.collate(pairs_of("two images")[:3])
    ids, mask = batch.inputs["text"]["input_ids"], batch.inputs["text"]["attention_mask"]
    pixels = batch.inputs["image"]["pixel_values"]
    assert pixels.shape == (3, 2, 3, 32, 32)
    with torch.no_grad():
        outputs = adapter(batch)
        own = adapter.model(**batch.inputs["image"], **batch.inputs["text"]).logits
    for row in range(3):
        close(outputs.joint[row], fused_by_hand(adapter, list(pixels[row]), ids[row], mask[row])[0])
    torch.testing.assert_close(own, outputs.logits)


def test_shared_keys_stay_shared_through_a_step_and_a_folder(tmp_path: Path) -> None:
    adapter = made("albef", "two images")
    batch = adapter.collate(pairs_of("two images")[:3])
    adapter.task_loss(adapter(batch), batch).mean().backward()
    torch.optim.SGD(adapter.parameters(), lr=0.1).step()
    adapter.save(tmp_path)
    layers = AlbefForClassification.from_pretrained(tmp_path).text_encoder.layers
    assert layers[2].crossattention.self.key.weight is layers[3].crossattention.self.key.weight
    before = adapter.model.text_encoder.layers[3].crossattention.self.key.weight
    assert torch.equal(layers[2].crossattention.self.key.weight, before)


def test_sizes_default_to_the_published_ones() -> None:
    config = AlbefConfig()
    vision, text = config.vision_config, config.text_config
    assert (vision.image_size, vision.patch_size, vision.hidden_size, vision.num_hidden_layers) == (384, 16, 768, 12)
    assert (vision.num_attention_heads, vision.intermediate_size, vision.layer_norm_eps) == (12, 3072, 1e-6)
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (768, 12, 12)
    assert (text.vocab_size, text.type_vocab_size, text.layer_norm_eps) == (30522, 2, 1e-12)
    assert (config.fusion_layer, config.projection_dim, config.initial_temperature) == (6, 256, 0.07)


def test_the_network_holds_no_momentum_copies_nor_queues() -> None:
    names = [*AlbefForRetrieval(made("albef", "retrieval").model.config).state_dict()]
    assert [name for name in names if "_m." in name or "queue" in name] == []


def test_the_temperature_is_kept_in_the_published_range_and_learned() -> None:
    adapter = made("albef", "retrieval")
    for given, kept in ((1e-6, 0.001), (0.2, 0.2), (3.0, 0.5)):
        adapter.model.temp.data.fill_(given)
        assert adapter.logit_scale == pytest.approx(1 / kept, rel=1e-5)
    adapter.model.temp.data.fill_(0.1)
    batch = adapter.collate(pairs_of("retrieval")[:6])
    adapter.task_loss(adapter(batch), batch).mean().backward()
    assert adapter.model.temp.grad.abs() > 0


def test_dropout_of_the_text_layers_acts_in_training_only() -> None:
    adapter = made("albef", "retrieval")
    for layer in adapter.model.text_encoder.layers:
        layer.attention.self.dropout = 0.5
    batch = adapter.collate(pairs_of("retrieval")[:2])
    with torch.no_grad():
        assert torch.equal(adapter(batch).joint, adapter(batch).joint)
        adapter.train()
        assert not torch.equal(adapter(batch).joint, adapter(batch).joint)


def test_softplus_of_log_odds_is_the_matching_cross_entropy() -> None:
    """-log softmax(logits)[1] = log(1 + exp(logit_0 - logit_1)): what the loss computes from the score."""
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    odds = logits[:, 1] - logits[:, 0]
    for label, sign in ((1, -1), (0, 1)):
        expected = F.cross_entropy(logits, torch.full((6,), label), reduction="none")
        torch.testing.assert_close(F.softplus(sign * odds), expected)
