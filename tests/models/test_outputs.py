"""What every model family promises: shapes, independence, losses, gradients."""

import logging

import pytest
import torch
from torch import Tensor

from multidelete.data.pairs import Batch, Pair, PairData, text_source
from multidelete.models import Adapter
from tests.tiny import MODELS, people

pytestmark = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(6)


@pytest.fixture
def adapter(name: str, data: PairData) -> Adapter:
    return MODELS[name](data).eval()


def with_text(pair: Pair, text: str, name: str) -> Pair:
    return Pair(id=name, inputs={**pair.inputs, "text": text}, sources={**pair.sources, "text": text_source(text)})


def distinct(data: PairData) -> list[Pair]:
    """Pairs that share neither picture nor caption."""
    chosen: list[Pair] = []
    for pair in data.train:
        if not any(set(pair.sources.values()) & set(other.sources.values()) for other in chosen):
            chosen.append(pair)
    return chosen


def own_outputs(adapter: Adapter, batch: Batch, **more: object):  # type: ignore[no-untyped-def]
    return adapter.model(**batch.inputs["image"], **batch.inputs["text"], **more)


def test_outputs_have_the_stated_shapes_and_norms(adapter: Adapter, data: PairData) -> None:
    batch = adapter.collate(data.train[[0, 1, 2, 3, 4]])
    outputs = adapter(batch)
    width = outputs.joint.shape[1]
    assert outputs.score.shape == (5,)
    assert set(outputs.unimodal) == set(outputs.embeddings) == {"image", "text"}
    for modality in ("image", "text"):
        assert outputs.unimodal[modality].shape[0] == 5
        assert outputs.unimodal[modality].ndim == 2
        assert outputs.embeddings[modality].shape == (5, width)
        torch.testing.assert_close(outputs.embeddings[modality].norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(outputs.joint, outputs.embeddings["image"] * outputs.embeddings["text"])
    torch.testing.assert_close(outputs.score, outputs.joint.sum(dim=-1))
    assert {t.dtype for t in (outputs.joint, outputs.score, *outputs.unimodal.values())} == {torch.float32}


def test_unimodal_outputs_are_before_the_joint_space(adapter: Adapter, data: PairData) -> None:
    """What maps into the joint space can change at will, and u_m(x) stays; h(a, b) does not."""
    batch = adapter.collate(data.train[[0, 1, 2]])
    before = adapter(batch)
    joint = set(adapter.joint_parameters())
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name in joint:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    after = adapter(batch)
    assert joint
    for modality in ("image", "text"):
        assert torch.equal(before.unimodal[modality], after.unimodal[modality])
        assert not torch.allclose(before.embeddings[modality], after.embeddings[modality], atol=1e-2)


def test_a_pair_alone_gets_the_same_outputs_as_among_others(adapter: Adapter, data: PairData) -> None:
    """Neither the order, nor the other pairs, nor the padding up to a longer caption counts."""
    pairs = [with_text(data.train[0], "red", "short"), *data.train[[5, 9, 14]]]
    together = adapter(adapter.collate(pairs))
    turned = adapter(adapter.collate(pairs[::-1]))
    for row, pair in enumerate(pairs):
        alone = adapter(adapter.collate([pair]))
        for other, at in ((together, row), (turned, len(pairs) - 1 - row)):
            torch.testing.assert_close(alone.score[0], other.score[at], atol=1e-5, rtol=0)
            torch.testing.assert_close(alone.joint[0], other.joint[at], atol=1e-5, rtol=0)
            for modality in ("image", "text"):
                torch.testing.assert_close(
                    alone.unimodal[modality][0], other.unimodal[modality][at], atol=1e-5, rtol=1e-5
                )


def test_scores_are_the_models_own_up_to_scale(adapter: Adapter, data: PairData) -> None:
    batch = adapter.collate(data.train[list(range(8))])
    own_B = own_outputs(adapter, batch).logits_per_image.diagonal()
    score_B = adapter(batch).score
    scaled_B = score_B * adapter.model.logit_scale.exp() + getattr(adapter.model, "logit_bias", 0.0)
    torch.testing.assert_close(scaled_B, own_B, atol=1e-4, rtol=1e-4)
    assert torch.equal(score_B.argsort(), own_B.argsort())


def test_a_repaired_batch_joins_other_captions_to_the_pictures(adapter: Adapter, data: PairData) -> None:
    """Score (i, order[i]) of the repaired batch is the model's own similarity of image i and text order[i]."""
    pairs = distinct(data)
    batch = adapter.collate(pairs)
    order = torch.roll(torch.arange(len(pairs)), 1)
    repaired = batch.repair(order)
    outputs, before = adapter(repaired), adapter(batch)
    expected_B = (before.embeddings["image"] * before.embeddings["text"][order]).sum(dim=-1)
    torch.testing.assert_close(outputs.score, expected_B, atol=1e-5, rtol=0)
    assert torch.equal(repaired.sources["image"], batch.sources["image"])
    assert torch.equal(repaired.sources["text"], batch.sources["text"][order])
    assert repaired.ids[0] == f"{pairs[0].id}+{pairs[-1].id}"
    assert not torch.allclose(outputs.score, before.score, atol=1e-4)


def test_task_loss_is_the_models_own_where_no_member_is_shared(adapter: Adapter, data: PairData) -> None:
    batch = adapter.collate(distinct(data))
    ours = adapter.task_loss(adapter(batch), batch)
    assert ours.shape == (len(batch),)
    torch.testing.assert_close(ours.mean(), own_outputs(adapter, batch, return_loss=True).loss, atol=1e-4, rtol=1e-5)


def test_task_loss_takes_no_pair_that_shares_a_member_as_negative(adapter: Adapter, data: PairData) -> None:
    """Against plain loops over pairs: rows 0 and 1 share a picture, other rows share a caption."""
    if adapter.family == "siglip":  # at the initial bias of -10 a negative more or less would not be seen
        adapter.model.logit_bias.data.zero_()
    pairs = data.train[list(range(8))]
    batch = adapter.collate(pairs)
    outputs = adapter(batch)
    similarity = own_outputs(adapter, batch).logits_per_image.tolist()

    def shared(i: int, j: int) -> bool:
        return any(pairs[i].sources[m] == pairs[j].sources[m] for m in ("image", "text"))

    assert any(shared(i, j) for i in range(8) for j in range(i))

    def expected(i: int) -> Tensor:
        others = [j for j in range(8) if j == i or not shared(i, j)]
        row, column = torch.tensor([similarity[i][j] for j in others]), torch.tensor([similarity[j][i] for j in others])
        own = others.index(i)
        if adapter.family == "siglip":
            signs = torch.tensor([1.0 if j == i else -1.0 for j in others])
            return -torch.log(torch.sigmoid(signs * row)).sum()
        return -(torch.log_softmax(row, 0)[own] + torch.log_softmax(column, 0)[own]) / 2

    torch.testing.assert_close(
        adapter.task_loss(outputs, batch), torch.stack([expected(i) for i in range(8)]), atol=1e-4, rtol=1e-4
    )


def test_gradients_reach_every_parameter(adapter: Adapter, data: PairData) -> None:
    """All but key biases, which softmax cancels, and what the models themselves leave unused."""
    batch = adapter.collate(data.train[list(range(12))])
    adapter.task_loss(adapter(batch), batch).mean().backward()
    without = [name for name, p in adapter.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in without if not name.endswith(("k_proj.bias", "key.bias"))] == []


def test_over_long_captions_are_counted_and_cut(
    name: str, adapter: Adapter, data: PairData, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = {"own clip": 36, "vit and roberta": 36}.get(name, 40)
    word = next(w for w in ("a", "the", "from") if len(adapter.texts.tokenizer(w)["input_ids"]) == 3)
    fits = with_text(data.train[0], " ".join([word] * (most - 2)), "fits")
    over = with_text(data.train[1], " ".join([word] * (most - 1)), "over")
    monkeypatch.setattr(adapter.texts.tokenizer, "model_max_length", most)  # as a folder's tokenizer has it
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    longer = with_text(data.train[1], " ".join([word] * 300), "longer")
    assert adapter.truncated([fits, data.train[2], over, longer]) == ["over", "longer"]
    assert adapter.truncated([]) == []
    assert caplog.text == ""  # they are cut, nothing is the matter
    batch = adapter.collate([fits, over])
    assert batch.inputs["text"]["input_ids"].shape == (2, most)
    assert torch.equal(*batch.inputs["text"]["input_ids"])  # cut before the closing token, which stays
    assert torch.isfinite(adapter(batch).score).all()
