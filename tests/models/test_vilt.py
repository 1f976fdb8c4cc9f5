"""ViLT with each of its heads, on real portraits."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ViltImageProcessorPil, ViltProcessor

from multidelete.core.errors import DataError, UnsupportedError
from multidelete.core.runtime import process_index
from multidelete.data.pairs import Batch, ImageInput, Pair, PairData, open_image, text_source
from multidelete.models import NewModel, load_adapter, new_adapter
from multidelete.models.fresh import train_tokenizer
from multidelete.models.vilt import ViltAdapter, _draw
from tests.tiny import SIDE, SIZE, captions, differing, people, weights

CLASSES = ("red", "green", "blue")
NAMES = ("retrieval", "retrieval, pictures of any size", "question", "two pictures", "two pictures of any size")
RETRIEVAL = NAMES[:2]


def adapter_called(name: str, data: PairData) -> ViltAdapter:
    """A tiny ViLT in evaluation mode; "of any size" reads pictures as the published processor gives them."""
    wanted = NewModel(
        size=SIZE, image_size=SIDE, tokenizer=train_tokenizer(captions(data), SIZE),
        task="retrieval" if name in RETRIEVAL else "classification",
        classes=() if name in RETRIEVAL else CLASSES, images=2 if name.startswith("two") else 1,
    )  # fmt: skip
    adapter = new_adapter("vilt", wanted, seed=0)
    model, processor = adapter.model, adapter.processor
    if name.endswith("any size"):
        images = ViltImageProcessorPil(size={"shortest_edge": SIDE}, size_divisor=8)
        processor = ViltProcessor(images, wanted.tokenizer)
    with torch.no_grad():  # as drawn, all pairs get nearly the same score, and mistakes would not show
        for parameter in model.parameters():
            parameter.mul_(8.0 if parameter.ndim > 1 else 1.0)
    return ViltAdapter(model, processor).eval()


def pairs_for(name: str, data: PairData) -> list[Pair]:
    """Eight pairs: some share a picture, some a caption; labelled, of two pictures, of several sizes."""
    train = data.train[[0, 1, 3, 4, 5, 8, 12, 17]]
    pairs = [*train[:-1], replace(train[-1], inputs={**train[-1].inputs, "text": "short"},
                                  sources={**train[-1].sources, "text": "short"})]  # fmt: skip
    if name.endswith("any size"):
        sizes = [(32, 32), (32, 32), (48, 32), (32, 40), (40, 32), (32, 48), (32, 32), (32, 32)]
        pairs = [
            replace(p, inputs={**p.inputs, "image": open_image(cast(ImageInput, p.inputs["image"])).resize(size)},
                    sources={**p.sources, "image": f"{p.sources['image']} {size}"})
            for p, size in zip(pairs, sizes, strict=True)
        ]  # fmt: skip
    if name in RETRIEVAL:
        return pairs
    pairs = [replace(pair, label=number % 3) for number, pair in enumerate(pairs)]
    if name == "question":
        return pairs
    return [
        replace(p, inputs={**p.inputs, "image": (p.inputs["image"], other.inputs["image"])},
                sources={**p.sources, "image": f"{p.sources['image']}|{other.sources['image']}"})
        for p, other in zip(pairs, pairs[3:] + pairs[:3], strict=True)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(6)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def adapter(name: str, data: PairData) -> ViltAdapter:
    return adapter_called(name, data)


@pytest.fixture
def pairs(name: str, data: PairData) -> list[Pair]:
    return pairs_for(name, data)


def own_logits(adapter: ViltAdapter, batch: Batch) -> Tensor:
    return cast(Tensor, adapter.model(**batch.inputs["image"], **batch.inputs["text"]).logits)


def assert_same(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def test_outputs_have_the_stated_shapes(name: str, adapter: ViltAdapter, pairs: list[Pair]) -> None:
    batch = adapter.collate(pairs)
    outputs = adapter(batch)
    pictures = 2 if name.startswith("two") else 1
    assert outputs.joint.shape == outputs.unimodal["image"].shape == (8, pictures * SIZE.width)
    assert outputs.unimodal["text"].shape == (8, SIZE.width)
    assert outputs.score.shape == (8,)
    assert outputs.embeddings is None
    assert (outputs.logits is None) == (name in RETRIEVAL)
    assert outputs.logits is None or outputs.logits.shape == (8, 3)
    assert {t.dtype for t in (outputs.joint, outputs.score, *outputs.unimodal.values())} == {torch.float32}
    assert (adapter.task, adapter.classes) == (("retrieval", ()) if name in RETRIEVAL else ("classification", CLASSES))
    assert ("pixel_mask" in batch.inputs["image"]) == name.endswith("any size")


def test_a_pair_alone_gets_the_same_outputs_as_among_others(adapter: ViltAdapter, pairs: list[Pair]) -> None:
    """Neither the order nor the other pairs count, nor the padding up to a longer text or a larger picture."""
    together, turned = adapter(adapter.collate(pairs)), adapter(adapter.collate(pairs[::-1]))
    for row, pair in enumerate(pairs):
        alone = adapter(adapter.collate([pair]))
        for others, at in ((together, row), (turned, len(pairs) - 1 - row)):
            assert_same(alone.score[0], others.score[at])
            assert_same(alone.joint[0], others.joint[at])
            for modality in ("image", "text"):
                assert_same(alone.unimodal[modality][0], others.unimodal[modality][at])


def test_score_and_logits_are_those_of_the_networks_own_forward(
    name: str, adapter: ViltAdapter, pairs: list[Pair]
) -> None:
    batch = adapter.collate(pairs)
    outputs, own = adapter(batch), own_logits(adapter, batch)
    if name in RETRIEVAL:
        assert_same(outputs.score, own[:, 0])
    else:
        assert_same(outputs.logits, own)
        probability = own.softmax(dim=1)[torch.arange(8), torch.tensor([pair.label for pair in pairs])]
        assert_same(outputs.score, probability.logit())
        predicted = adapter(replace(batch, labels=None)).score
        assert_same(predicted, own.softmax(dim=1).amax(dim=1).logit())
    assert outputs.score.std() > 0.03, "scores that are all the same would agree with anything"


def test_two_calls_are_bit_equal_and_draw_nothing(adapter: ViltAdapter, pairs: list[Pair]) -> None:
    """The network's own forward shuffles patches, and with `max_image_length` reads a random choice of them."""
    batch = adapter.collate(pairs)
    state = torch.get_rng_state()
    first = adapter(batch)
    adapter.model.config.max_image_length = 3
    second = adapter(batch)
    assert torch.equal(first.score, second.score)
    assert torch.equal(first.joint, second.joint)
    assert torch.equal(torch.get_rng_state(), state)
    own_logits(adapter, batch)
    assert not torch.equal(torch.get_rng_state(), state)


def test_unimodal_outputs_are_of_one_modality(adapter: ViltAdapter, pairs: list[Pair]) -> None:
    batch = adapter.collate(pairs)
    order = torch.roll(torch.arange(8), 3)
    before, after = adapter(batch), adapter(batch.repair(order))
    assert torch.equal(before.unimodal["image"], after.unimodal["image"])
    assert torch.equal(before.unimodal["text"][order], after.unimodal["text"])
    with torch.no_grad():
        for parameter_name, parameter in adapter.named_parameters():
            if parameter_name in adapter.joint_parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    changed = adapter(batch)
    assert torch.equal(before.unimodal["image"], changed.unimodal["image"])
    assert not torch.allclose(before.joint, changed.joint, atol=1e-2)


def test_a_repaired_batch_equals_collating_the_exchanged_pairs(adapter: ViltAdapter, pairs: list[Pair]) -> None:
    order = torch.roll(torch.arange(8), 3)
    batch = adapter.collate(pairs)
    repaired, before = adapter(batch.repair(order)), adapter(batch)
    exchanged = [
        Pair(id=p.id, inputs={**p.inputs, "text": pairs[j].inputs["text"]},
             sources={**p.sources, "text": pairs[j].sources["text"]})
        for p, j in zip(pairs, order.tolist(), strict=True)
    ]  # fmt: skip
    expected = adapter(adapter.collate(exchanged))
    assert_same(repaired.joint, expected.joint)
    assert_same(repaired.score, expected.score)
    assert not torch.allclose(repaired.joint, before.joint, atol=1e-4)
    assert not torch.allclose(repaired.score, before.score, atol=1e-4)


def test_pictures_are_told_apart_by_their_side(data: PairData) -> None:
    adapter, pairs = adapter_called("two pictures", data), pairs_for("two pictures", data)
    swapped = [
        replace(p, inputs={**p.inputs, "image": p.inputs["image"][::-1]},  # type: ignore[index]
                sources={**p.sources, "image": "|".join(p.sources["image"].split("|")[::-1])})
        for p in pairs
    ]  # fmt: skip
    one, other = (adapter(adapter.collate(some)) for some in (pairs, swapped))
    halves = [outputs.joint.split(SIZE.width, dim=1) for outputs in (one, other)]
    assert not torch.allclose(halves[0][0], halves[1][1], atol=1e-4)  # the same picture, on the other side
    assert_same(one.unimodal["image"], torch.cat(other.unimodal["image"].split(SIZE.width, dim=1)[::-1], dim=1))


def test_gradients_reach_every_parameter(adapter: ViltAdapter, pairs: list[Pair]) -> None:
    """All but key biases, which softmax cancels."""
    batch = adapter.collate(pairs)
    torch.autograd.backward(adapter.task_loss(adapter(batch), batch).sum())
    without = [n for n, p in adapter.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in without if not n.endswith("key.bias")] == []


@pytest.mark.parametrize("name", ["question", "two pictures"])
def test_classification_loss_is_the_cross_entropy_of_the_label(adapter: ViltAdapter, pairs: list[Pair]) -> None:
    batch = adapter.collate(pairs)
    expected = -own_logits(adapter, batch).log_softmax(dim=1)[torch.arange(8), batch.labels]
    assert_same(adapter.task_loss(adapter(batch), batch), expected)
    unlabelled = replace(batch, labels=None)
    with pytest.raises(DataError, match="classifier learns from labels"):
        adapter.task_loss(adapter(unlabelled), unlabelled)


@pytest.mark.parametrize("name", RETRIEVAL)
def test_matching_loss_is_of_the_pair_and_of_two_wrong_ones(adapter: ViltAdapter, pairs: list[Pair]) -> None:
    """Against the scores of all pictures with all texts: never one whose picture and text occur together."""
    score = torch.stack([
        adapter(adapter.collate([
            Pair(id=str(j), inputs={"image": one.inputs["image"], "text": other.inputs["text"]},
                 sources={"image": one.sources["image"], "text": other.sources["text"]})
            for j, other in enumerate(pairs)
        ])).score
        for one in pairs
    ])  # fmt: skip
    together = {(pair.sources["image"], pair.sources["text"]) for pair in pairs}
    batch = adapter.collate(pairs)
    loss = adapter.task_loss(adapter(batch), batch)
    repeated = adapter.task_loss(adapter(batch), batch)
    assert torch.equal(loss, repeated)
    assert [p.sources["image"] for p in pairs[:2]] == [pairs[0].sources["image"]] * 2
    assert [p.sources["text"] for p in pairs[1:3]] == [pairs[1].sources["text"]] * 2
    for i, pair in enumerate(pairs):
        texts = [j for j in range(8) if (pair.sources["image"], pairs[j].sources["text"]) not in together]
        images = [j for j in range(8) if (pairs[j].sources["image"], pair.sources["text"]) not in together]
        possible = torch.stack([
            (F.softplus(-score[i, i]) + F.softplus(score[i, j]) + F.softplus(score[k, i])) / 3
            for j in texts for k in images
        ])  # fmt: skip
        assert (possible - loss[i]).abs().min() < 1e-5


@pytest.mark.parametrize("name", ["retrieval"])
def test_without_a_possible_negative_the_loss_is_that_of_the_match(adapter: ViltAdapter, data: PairData) -> None:
    alone = data.train[[0]]
    one_picture = [replace(alone[0], id=str(n), inputs={**alone[0].inputs, "text": t},
                           sources={**alone[0].sources, "text": t}) for n, t in enumerate("abc")]  # fmt: skip
    for pairs in (alone, one_picture):
        batch = adapter.collate(pairs)
        assert_same(adapter.task_loss(adapter(batch), batch), F.softplus(-adapter(batch).score))


def test_negatives_are_drawn_evenly_and_anew_for_each_batch() -> None:
    """Row 0 may draw rows 2 to 5: row 1 shares its first member, row 6 the second of row 1. Only row 6 varies."""
    times, draws = torch.zeros(7), 4000
    others = torch.tensor([8, 9, 20, 21, 22, 23, 9])
    for number in range(draws):
        drawn, possible = _draw(torch.tensor([5, 5, 10, 11, 12, 13, 100 + number]), others, torch.tensor([0]))
        assert possible.tolist() == [True]
        times[drawn] += 1
    assert times[[0, 1, 6]].tolist() == [0, 0, 0]
    deviation = (draws * 0.25 * 0.75) ** 0.5
    assert (times[2:6] - draws / 4).abs().max() < 4 * deviation


def test_save_then_load_gives_bit_equal_outputs(
    name: str, adapter: ViltAdapter, pairs: list[Pair], tmp_path: Path
) -> None:
    adapter.save(tmp_path / "model")
    again = load_adapter(tmp_path / "model").eval()
    assert isinstance(again, ViltAdapter)
    assert (again.task, again.classes, again.pictures) == (adapter.task, adapter.classes, adapter.pictures)
    assert differing(weights(adapter), weights(again)) == []
    batch, batch_again = adapter.collate(pairs), again.collate(pairs)
    for modality, tensors in batch.inputs.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, batch_again.inputs[modality][key])
    assert torch.equal(adapter(batch).score, again(batch_again).score)


def test_saved_folders_load_with_plain_transformers(adapter: ViltAdapter, pairs: list[Pair], tmp_path: Path) -> None:
    adapter.save(tmp_path / "model")
    batch = adapter.collate(pairs)
    plain = getattr(transformers, type(adapter.model).__name__).from_pretrained(tmp_path / "model").eval()
    assert list(plain.state_dict()) == list(adapter.model.state_dict())
    assert_same(plain(**batch.inputs["image"], **batch.inputs["text"]).logits, own_logits(adapter, batch))
    assert tuple(plain.config.id2label.values()) == adapter.classes or adapter.task == "retrieval"
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    text = processor.tokenizer([str(pair.inputs["text"]) for pair in pairs], padding=True, return_tensors="pt")
    assert torch.equal(text["input_ids"], batch.inputs["text"]["input_ids"])


def test_what_does_not_fit_is_refused(data: PairData) -> None:
    with pytest.raises(DataError, match=r"8 pairs do not have the 1 picture that this ViltForQuestionAnswering"):
        adapter_called("question", data).collate(pairs_for("two pictures", data))
    with pytest.raises(DataError, match=r"8 pairs do not have the 2 pictures"):
        adapter_called("two pictures", data).collate(pairs_for("question", data))
    wanted = NewModel(size=SIZE, image_size=SIDE, tokenizer=train_tokenizer(captions(data), SIZE), images=2)
    with pytest.raises(UnsupportedError, match="no retrieval of pairs with two pictures"):
        new_adapter("vilt", wanted, seed=0)


def test_over_long_texts_are_counted_and_cut(data: PairData) -> None:
    adapter = adapter_called("retrieval", data)
    word = next(w for w in ("a", "the", "from") if len(adapter.texts.tokenizer([w], padding=False, truncation=False)
                                                       ["input_ids"][0]) == 3)  # fmt: skip
    texts = [" ".join([word] * (SIZE.context - 2)), " ".join([word] * (SIZE.context - 1))]
    fits, over = (
        replace(data.train[0], id=i, inputs={**data.train[0].inputs, "text": text},
                sources={**data.train[0].sources, "text": text_source(text)})
        for i, text in zip(("fits", "over"), texts, strict=True)
    )  # fmt: skip
    assert adapter.truncated([fits, over]) == ["over"]
    assert adapter.collate([fits, over]).inputs["text"]["input_ids"].shape == (2, SIZE.context)


def losses_and_gradients(name: str, rows: slice) -> dict[str, Tensor]:
    """Losses of some of the pairs, and the gradient of their sum."""
    data = people(6)
    adapter = adapter_called(name, data)
    batch = adapter.collate(pairs_for(name, data)[rows])
    loss = adapter.task_loss(adapter(batch), batch)
    torch.autograd.backward(loss.sum())
    found = {n: p.grad for n, p in adapter.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}


def in_two_processes(folder: Path) -> None:
    """What each of the two does: five pairs here, three there, with texts and pictures of other sizes."""
    rank = process_index()
    for number, name in enumerate(NAMES):
        found = losses_and_gradients(name, slice(0, 5) if rank == 0 else slice(5, 8))
        save_file({n: t.contiguous() for n, t in found.items()}, folder / f"{number}-{rank}.safetensors")


def test_two_processes_give_the_losses_and_gradients_of_one(name: str, of_two: Path) -> None:
    number, expected = NAMES.index(name), losses_and_gradients(name, slice(None))
    parts: list[Mapping[str, Tensor]] = [
        load_file(of_two / "vilt" / f"{number}-{rank}.safetensors") for rank in range(2)
    ]
    assert_same(torch.cat([part["loss"] for part in parts]), expected.pop("loss"))
    for parameter, gradient in expected.items():
        torch.testing.assert_close(parts[0][parameter] + parts[1][parameter], gradient, atol=2e-5, rtol=1e-4)
