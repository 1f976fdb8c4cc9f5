"""BLIP: agreement with `transformers`, which loads the folders without this package."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoProcessor, BlipConfig, BlipForImageTextRetrieval

from multidelete.models.blip import BlipForClassification
from tests.models.test_fusion import CLASSES, made, pairs_of


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_retrieval_outputs_are_those_of_transformers() -> None:
    """Log-odds of its matching head, cosine of its contrastive one, and the states that it gives away."""
    adapter = made("blip", "retrieval")
    batch = adapter.collate(pairs_of("retrieval")[:6])
    inputs = {"pixel_values": batch.inputs["image"]["pixel_values"], **batch.inputs["text"]}
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        outputs = adapter(batch)
        matching, contrast = adapter.model(**inputs), adapter.model(**inputs, use_itm_head=False)
    close(outputs.score, matching.itm_score[:, 1] - matching.itm_score[:, 0])
    close(outputs.joint, matching.question_embeds[:, 0])
    close(outputs.unimodal["image"], matching.last_hidden_state[:, 0])
    close(outputs.unimodal["text"], contrast.question_embeds[:, 0])
    close(outputs.embeddings["image"] @ outputs.embeddings["text"].T, contrast.itm_score)


def test_a_saved_folder_loads_with_plain_transformers(tmp_path: Path) -> None:
    adapter, pairs = made("blip", "retrieval"), pairs_of("retrieval")[:3]
    adapter.save(tmp_path)
    model, report = BlipForImageTextRetrieval.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(tmp_path)
    batch = adapter.collate(pairs)
    inputs = processor(text=[str(pair.inputs["text"]) for pair in pairs], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model.eval()(pixel_values=batch.inputs["image"]["pixel_values"], **inputs).itm_score
        close(adapter(batch).score, logits[:, 1] - logits[:, 0])


@pytest.mark.parametrize("kind", ["entailment", "two images"])
def test_a_classifiers_encoders_load_with_plain_transformers(kind: str, tmp_path: Path) -> None:
    """Only the retrieval heads are missing, and only what classifies is left over."""
    adapter = made("blip", kind)
    adapter.save(tmp_path)
    model, report = BlipForImageTextRetrieval.from_pretrained(tmp_path, output_loading_info=True)
    heads = {f"{name}.{part}" for name in ("vision_proj", "text_proj", "itm_head") for part in ("weight", "bias")}
    assert set(report["missing_keys"]) == heads
    own = {f"cls_head.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")}
    assert set(report["unexpected_keys"]) == own | ({"image_embedding"} if kind == "two images" else set())
    state = adapter.model.state_dict()
    kept = {name: tensor for name, tensor in model.state_dict().items() if name not in heads}
    assert len(kept) > 50
    assert [name for name, tensor in kept.items() if not torch.equal(tensor, state[name])] == []


def test_one_image_classifier_reads_the_fused_state_of_the_same_encoders(tmp_path: Path) -> None:
    adapter = made("blip", "entailment")
    adapter.save(tmp_path)
    encoders = BlipForImageTextRetrieval.from_pretrained(tmp_path).eval()
    batch = adapter.collate(pairs_of("entailment")[:4])
    ids, mask = batch.inputs["text"]["input_ids"], batch.inputs["text"]["attention_mask"]
    pixels = batch.inputs["image"]["pixel_values"]
    with torch.no_grad():
        outputs = adapter(batch)
        fused = encoders(pixel_values=pixels, input_ids=ids, attention_mask=mask).question_embeds[:, 0]
        own = adapter.model(pixel_values=pixels, input_ids=ids, attention_mask=mask).logits
    close(outputs.joint, fused)
    close(outputs.logits, own)
    first, _, last = adapter.model.cls_head
    close(outputs.logits, (fused @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias)
    assert adapter.model.config.id2label == dict(enumerate(CLASSES["entailment"]))


def test_of_two_images_the_text_looks_at_the_tokens_of_both() -> None:
    """By hand: the tokens of each, with its own embedding added, one after the other."""
    adapter = made("blip", "two images")
    batch = adapter.collate(pairs_of("two images")[:3])
    ids, mask = batch.inputs["text"]["input_ids"], batch.inputs["text"]["attention_mask"]
    pixels = batch.inputs["image"]["pixel_values"]
    with torch.no_grad():
        outputs = adapter(batch)
        tokens = [
            adapter.model.vision_model(pixels[:, i]).last_hidden_state + adapter.model.image_embedding[i]
            for i in range(2)
        ]
        fused = adapter.model.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=torch.cat(tokens, dim=1)
        ).last_hidden_state[:, 0]
        own = adapter.model(pixel_values=pixels, input_ids=ids, attention_mask=mask).logits
    close(outputs.joint, fused)
    close(outputs.logits, own)


def test_the_similarity_scale_is_what_the_configuration_says() -> None:
    adapter = made("blip", "retrieval")
    adapter.model.config.logit_scale_init_value = math.log(1 / 0.07)
    assert adapter.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_new_models_tell_patches_apart_from_the_start() -> None:
    """The default spread of positions, 1e-10, would give a picture and its mirror image the same meaning."""
    adapter = made("blip", "retrieval", spread=0.0)
    positions = adapter.model.vision_model.embeddings.position_embedding
    assert positions.std() > 0.01
    pixels = adapter.collate(pairs_of("retrieval")[:1]).inputs["image"]["pixel_values"]
    with torch.no_grad():
        states = [adapter.encode_images(p)[:, 0] for p in (pixels, pixels.flip(-1))]
    assert not torch.allclose(*states, atol=1e-3)


def test_classifiers_of_one_image_have_no_image_embedding() -> None:
    assert not hasattr(made("blip", "entailment").model, "image_embedding")
    assert BlipForClassification(made("blip", "two images").model.config).image_embedding.shape == (2, 64)
    assert isinstance(made("blip", "entailment").model.config, BlipConfig)
