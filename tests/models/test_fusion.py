"""What ALBEF and BLIP share: outputs, losses and negatives, on one process and on two."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from multidelete.core.errors import DataError
from multidelete.core.runtime import process_index
from multidelete.data.pairs import Pair, source_key, text_source
from multidelete.models import NewModel, load_adapter, new_adapter
from multidelete.models.candidates import draw, gumbel
from multidelete.models.fresh import Size, train_tokenizer
from multidelete.models.fusion import FusionAdapter
from multidelete.models.prepared import class_log_odds
from tests.tiny import SIDE, captions, differing, people, weights

SIZE = Size(width=64, layers=2, stages=(), depths=(), projection=24, context=40, vocabulary=400)
KINDS = ("retrieval", "entailment", "two images")
CASES = [(family, kind) for family in ("albef", "blip") for kind in KINDS]
CLASSES = {"retrieval": (), "entailment": ("contradiction", "neutral", "entailment"), "two images": ("False", "True")}


def made(family: str, kind: str, seed: int = 0, *, spread: float = 0.1, size: Size = SIZE) -> FusionAdapter:
    """A new model, its weights spread so far that outputs depend on the inputs a lot; none with ``spread=0``."""
    data = people(6)
    wanted = NewModel(
        size=size, image_size=SIDE, tokenizer=train_tokenizer(captions(data), size),
        task="retrieval" if kind == "retrieval" else "classification", classes=CLASSES[kind],
        images=2 if kind == "two images" else 1,
    )  # fmt: skip
    adapter = new_adapter(family, wanted, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in adapter.model.named_parameters():
            if name != "temp":
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    assert isinstance(adapter, FusionAdapter)
    return adapter.eval()


def pairs_of(kind: str) -> list[Pair]:
    """People's pairs, one of them with a short caption; labelled for classifiers, with two pictures where asked."""
    pairs = [with_text(pair, "red hat") if i == 3 else pair for i, pair in enumerate(people(6).train)]
    if kind == "two images":
        pairs = [
            replace(
                pair,
                inputs={"image": (pair.inputs["image"], other.inputs["image"]), "text": pair.inputs["text"]},
                sources=pair.sources | {"image": f"{pair.sources['image']}|{other.sources['image']}"},
            )
            for pair, other in zip(pairs, pairs[-6:] + pairs[:-6], strict=True)
        ]
    if kind == "retrieval":
        return pairs
    return [replace(pair, label=i % len(CLASSES[kind])) for i, pair in enumerate(pairs)]


def with_text(pair: Pair, text: str) -> Pair:
    return replace(pair, inputs=pair.inputs | {"text": text}, sources=pair.sources | {"text": text_source(text)})


def distinct(pairs: list[Pair]) -> list[Pair]:
    """Pairs that share neither picture nor caption."""
    chosen: list[Pair] = []
    for pair in pairs:
        if not any(set(pair.sources.values()) & set(other.sources.values()) for other in chosen):
            chosen.append(pair)
    return chosen


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def case(request: pytest.FixtureRequest) -> tuple[FusionAdapter, list[Pair], str]:
    family, kind = request.param
    return made(family, kind), pairs_of(kind), kind


@pytest.fixture(scope="module", params=["albef", "blip"])
def retrieval(request: pytest.FixtureRequest) -> FusionAdapter:
    return made(request.param, "retrieval")


def every_output(adapter: FusionAdapter, pairs: list[Pair]) -> dict[str, Tensor]:
    with torch.no_grad():
        outputs = adapter(adapter.collate(pairs))
    found = {"joint": outputs.joint, "score": outputs.score, **{f"u_{m}": t for m, t in outputs.unimodal.items()}}
    if outputs.logits is not None:
        found["logits"] = outputs.logits
    return found | {f"e_{m}": t for m, t in (outputs.embeddings or {}).items()}


def test_outputs_have_the_stated_shapes(case: tuple[FusionAdapter, list[Pair], str]) -> None:
    adapter, pairs, kind = case
    shapes = {name: tuple(tensor.shape) for name, tensor in every_output(adapter, pairs[:5]).items()}
    expected = {"joint": (5, 64), "score": (5,), "u_image": (5, 128 if kind == "two images" else 64), "u_text": (5, 64)}
    if kind == "retrieval":
        expected |= {"e_image": (5, 24), "e_text": (5, 24)}
    else:
        expected |= {"logits": (5, len(CLASSES[kind]))}
    assert shapes == expected
    assert {tensor.dtype for tensor in every_output(adapter, pairs[:5]).values()} == {torch.float32}
    assert adapter.task == ("retrieval" if kind == "retrieval" else "classification")
    assert adapter.classes == CLASSES[kind]


def test_a_pair_alone_gets_the_same_outputs_as_among_others(case: tuple[FusionAdapter, list[Pair], str]) -> None:
    """Neither the order, nor the other pairs, nor the padding up to a longer caption counts."""
    adapter, pairs, _ = case
    some = [pairs[3], *pairs[8:14]]
    together, turned = every_output(adapter, some), every_output(adapter, some[::-1])
    for row, pair in enumerate(some):
        for name, alone in every_output(adapter, [pair]).items():
            torch.testing.assert_close(alone[0], together[name][row], atol=2e-5, rtol=1e-4, msg=f"{name} {row}")
            torch.testing.assert_close(alone[0], turned[name][-1 - row], atol=2e-5, rtol=1e-4, msg=f"{name} {row}")


def test_a_repaired_batch_is_the_batch_of_the_exchanged_pairs(case: tuple[FusionAdapter, list[Pair], str]) -> None:
    adapter, pairs, _ = case
    some = [replace(pair, label=None) for pair in pairs[::3]]
    order = torch.roll(torch.arange(len(some)), 1)
    exchanged = [with_text(pair, str(some[i].inputs["text"])) for pair, i in zip(some, order.tolist(), strict=True)]
    batch = adapter.collate(some)
    with torch.no_grad():
        repaired, before, expected = adapter(batch.repair(order)), adapter(batch), adapter(adapter.collate(exchanged))
    for name in ("score", "joint"):
        torch.testing.assert_close(getattr(repaired, name), getattr(expected, name), atol=2e-5, rtol=1e-4)
        assert not torch.isclose(getattr(repaired, name), getattr(before, name), atol=1e-3).any(dim=-1).all()
    assert torch.equal(repaired.unimodal["image"], before.unimodal["image"])
    assert torch.equal(repaired.unimodal["text"], before.unimodal["text"][order])


def test_unimodal_outputs_are_before_the_fusion(case: tuple[FusionAdapter, list[Pair], str]) -> None:
    """What `joint_parameters` names can change at will, and u_m(x) stays; h(a, b) does not."""
    adapter, pairs, _ = case
    before, kept, joint = every_output(adapter, pairs[:4]), weights(adapter), set(adapter.joint_parameters())
    assert joint < {name for name, _ in adapter.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name in joint:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
    after = every_output(adapter, pairs[:4])
    adapter.load_state_dict(kept)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("u_"), name


def test_gradients_reach_every_parameter(case: tuple[FusionAdapter, list[Pair], str]) -> None:
    """All but key biases, which softmax cancels, and the rows of embeddings for what these texts do not have."""
    adapter, pairs, _ = case
    adapter.zero_grad()
    batch = adapter.collate(pairs)
    adapter.task_loss(adapter(batch), batch).mean().backward()
    without = [name for name, p in adapter.named_parameters() if p.grad is None or not p.grad.abs().sum() > 1e-7]
    assert [name for name in without if not name.endswith("key.bias")] == []


def test_a_saved_folder_gives_the_same_weights_and_outputs(
    case: tuple[FusionAdapter, list[Pair], str], tmp_path: Path
) -> None:
    adapter, pairs, _ = case
    adapter.save(tmp_path)
    loaded = load_adapter(tmp_path).eval()
    assert isinstance(loaded, FusionAdapter)
    assert differing(weights(adapter), weights(loaded)) == []
    assert (loaded.family, loaded.task, loaded.classes) == (adapter.family, adapter.task, adapter.classes)
    before = every_output(adapter, pairs[:4])
    for name, tensor in every_output(loaded, pairs[:4]).items():
        assert torch.equal(tensor, before[name]), name


def test_outputs_of_rows_and_batches_of_rows_go_together(case: tuple[FusionAdapter, list[Pair], str]) -> None:
    """The loop forwards forget and retain pairs at once, and takes the loss of each part."""
    adapter, pairs, _ = case
    batch = adapter.collate(pairs[:10])
    with torch.no_grad():
        part = adapter.task_loss(adapter(batch)[4:10], batch[4:10])
        own = adapter.collate(pairs[4:10])
        torch.testing.assert_close(part, adapter.task_loss(adapter(own), own), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["albef", "blip"])
def test_two_images_are_told_apart(family: str) -> None:
    adapter, pairs = made(family, "two images"), pairs_of("two images")[:6]
    turned = [replace(pair, inputs=pair.inputs | {"image": pair.inputs["image"][::-1]}, sources=pair.sources | {
        "image": "|".join(pair.sources["image"].split("|")[::-1])}) for pair in pairs]  # fmt: skip
    before, after = every_output(adapter, pairs), every_output(adapter, turned)
    torch.testing.assert_close(after["u_image"], before["u_image"].roll(64, dims=1), atol=1e-5, rtol=1e-4)
    assert not torch.isclose(after["joint"], before["joint"], atol=1e-2).all(dim=1).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["albef", "blip"])
def test_pairs_with_another_number_of_images_are_refused(family: str, kind: str) -> None:
    wrong = pairs_of("entailment" if kind == "two images" else "two images")[:2]
    with pytest.raises(DataError, match=f"2 pairs do not have the {2 if kind == 'two images' else 1} image"):
        made(family, kind).collate(wrong)


@pytest.mark.parametrize("kind", ["entailment", "two images"])
@pytest.mark.parametrize("family", ["albef", "blip"])
def test_classification_loss_and_score_are_of_the_pairs_own_label(family: str, kind: str) -> None:
    adapter, pairs = made(family, kind), pairs_of(kind)[:7]
    batch = adapter.collate(pairs)
    with torch.no_grad():
        outputs = adapter(batch)
        losses = adapter.task_loss(outputs, batch)
    for row, pair in enumerate(pairs):
        p = outputs.logits[row].softmax(0)[pair.label].item()
        assert losses[row].item() == pytest.approx(-math.log(p), rel=1e-4)
        assert outputs.score[row].item() == pytest.approx(math.log(p / (1 - p)), abs=1e-4)
    unlabelled = adapter.collate([replace(pair, label=None) for pair in pairs])
    with torch.no_grad():
        guesses = adapter(unlabelled)
    top = guesses.logits.softmax(1).max(dim=1).values
    torch.testing.assert_close(guesses.score, torch.log(top / (1 - top)), atol=1e-4, rtol=1e-4)
    with pytest.raises(DataError, match="no labels"):
        adapter.task_loss(guesses, unlabelled)


def test_class_log_odds_of_two_classes_is_their_difference() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 4.0]])
    assert class_log_odds(logits, torch.tensor([0, 0])).tolist() == [3.0, -3.5]
    assert class_log_odds(logits, None).tolist() == [3.0, 3.5]


def shared(first: Pair, second: Pair) -> bool:
    return any(first.sources[m] == second.sources[m] for m in ("image", "text"))


def hashed_gumbel(first: str, second: str, everyone: list[Pair]) -> float:
    """The documented noise in plain integers: the SplitMix64 finaliser of the source keys, its top 23 bits."""
    whole = (1 << 64) - 1
    salt = sum(source_key(source) for pair in everyone for source in pair.sources.values())
    mixed = ((source_key(first) + salt) * 0x1B873593CC9E2D51 + source_key(second)) & whole
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & whole
    return -math.log(-math.log(((mixed >> 41) + 0.5) / 2**23))


def test_retrieval_loss_and_gradient_are_those_of_plain_loops_over_pairs(retrieval: FusionAdapter) -> None:
    """Contrastive: symmetric cross-entropy over those that share no member. Matching: own pair, one drawn wrong image
    and one drawn wrong text, each scored as a pair of its own; -log p(match) or -log p(no match), averaged."""
    adapter, pairs = retrieval, pairs_of("retrieval")[:10]
    assert any(shared(a, b) for a in pairs for b in pairs if a is not b)
    batch = adapter.collate(pairs)
    outputs = adapter(batch)
    image, text = outputs.embeddings["image"], outputs.embeddings["text"]
    scale = adapter.similarity_scale()
    assert scale.item() == pytest.approx(math.exp(3.6), rel=1e-5)
    expected, drawn_images, drawn_texts = [], [], []
    for i, pair in enumerate(pairs):
        others = [j for j in range(len(pairs)) if j != i and not shared(pair, pairs[j])]
        to_text = {j: scale * image[i] @ text[j] for j in [i, *others]}
        to_image = {j: scale * text[i] @ image[j] for j in [i, *others]}
        contrastive = [torch.stack(list(sims.values())).logsumexp(0) - sims[i] for sims in (to_text, to_image)]
        wrong_image = max(others, key=lambda j: to_image[j].item() + hashed_gumbel(
            pair.sources["text"], pairs[j].sources["image"], pairs))  # fmt: skip
        wrong_text = max(others, key=lambda j: to_text[j].item() + hashed_gumbel(
            pair.sources["image"], pairs[j].sources["text"], pairs))  # fmt: skip
        drawn_images.append(wrong_image)
        drawn_texts.append(wrong_text)
        made_up = [with_text(pairs[wrong_image], str(pair.inputs["text"])),
                   with_text(pair, str(pairs[wrong_text].inputs["text"]))]  # fmt: skip
        own, first, second = (adapter(adapter.collate([p])).score[0] for p in (pair, *made_up))
        matching = -(F.logsigmoid(own) + F.logsigmoid(-first) + F.logsigmoid(-second)) / 3
        expected.append((contrastive[0] + contrastive[1]) / 2 + matching)
    assert len(set(drawn_images)) > 1
    assert drawn_images != drawn_texts
    found = adapter.task_loss(outputs, batch)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)
    parameters = dict(adapter.named_parameters())
    weight = torch.arange(10.0)  # of each pair's loss, so that gradients of one pair cannot stand for another's
    gradients = [
        torch.autograd.grad((weight * losses).sum(), list(parameters.values()), retain_graph=True)
        for losses in (found, torch.stack(expected))
    ]
    for name, ours, theirs in zip(parameters, *gradients, strict=True):
        apart = (ours - theirs).abs().max()
        assert apart < 1e-3 * theirs.abs().max() + 2e-3, f"{name}: {apart} of {theirs.abs().max()}"


def test_without_any_negative_only_the_own_pairs_match_counts(retrieval: FusionAdapter) -> None:
    pair = pairs_of("retrieval")[0]
    pairs = [pair, with_text(pair, "another hat"), with_text(pair, "a third hat")]
    batch = retrieval.collate(pairs)
    with torch.no_grad():
        outputs = retrieval(batch)
        torch.testing.assert_close(retrieval.task_loss(outputs, batch), F.softplus(-outputs.score))


def test_negatives_are_drawn_in_proportion_to_the_exponential_of_similarity() -> None:
    """40,000 rows with the same similarities, one candidate barred: frequencies against softmax, to 4 deviations."""
    rows = torch.tensor([source_key(f"text {i}") for i in range(40_000)])
    columns = torch.tensor([source_key(f"image {i}") for i in range(5)])
    similarity = torch.tensor([0.0, 1.0, 2.0, -1.0, 9.0]).expand(len(rows), 5)
    barred = torch.tensor([False, False, False, False, True]).expand_as(similarity)
    found = draw(similarity, gumbel(rows, columns), barred).bincount(minlength=5) / len(rows)
    expected = similarity[0].masked_fill(barred[0], float("-inf")).softmax(0)
    assert (found - expected).abs().max() < 4 * 0.5 / len(rows) ** 0.5
    assert found[4] == 0


def test_noise_depends_on_both_keys_alone() -> None:
    keys = torch.tensor([source_key(name) for name in "abcd"])
    noise = gumbel(keys, keys)
    assert torch.isfinite(noise).all()
    assert len(noise.unique()) == 16
    assert torch.equal(gumbel(keys.flip(0), keys[1:]), noise.flip(0)[:, 1:])


@pytest.mark.parametrize("family", [pytest.param("albef", marks=pytest.mark.slow), "blip"])  # cells train ALBEF's, too
def test_training_tells_matching_pairs_from_others(family: str) -> None:
    """Steps on batches of five of eight pairs, until they have higher log-odds than with others' captions."""
    adapter = made(family, "retrieval", spread=0.0, size=replace(SIZE, width=32, layers=1))
    pairs, generator = distinct(pairs_of("retrieval"))[:8], torch.Generator().manual_seed(0)
    batch = adapter.collate(pairs)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=3e-3)

    @torch.no_grad()
    def lead() -> float:
        wrong = torch.stack([adapter(batch.repair(torch.arange(8).roll(shift))).score for shift in range(1, 8)])
        return (adapter(batch).score.mean() - wrong.mean()).item()

    for step in range(900):  # 150 do on some processors, three times as many on others
        if step % 50 == 0 and lead() > 0.5:
            break
        some = adapter.collate([pairs[i] for i in torch.randperm(8, generator=generator)[:5].tolist()])
        optimizer.zero_grad()
        adapter.task_loss(adapter(some), some).mean().backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimizer.step()
    assert lead() > 0.5


def losses_and_gradients(family: str, pairs: list[Pair]) -> dict[str, Tensor]:
    """Loss of each pair, and the gradient of their sum."""
    adapter = made(family, "retrieval")
    batch = adapter.collate(pairs)
    losses = adapter.task_loss(adapter(batch), batch)
    losses.sum().backward()
    found = {f"gradient/{name}": p.grad for name, p in adapter.named_parameters() if p.grad is not None}
    return found | {"losses": losses.detach()}


def shares() -> tuple[list[Pair], list[Pair]]:
    """Of different sizes, and all captions of the first shorter than the longest of the second."""
    pairs = pairs_of("retrieval")
    return [pairs[3], with_text(pairs[0], "a red hat"), with_text(pairs[9], "glasses"), pairs[3]], pairs[8:14]


def in_two_processes(folder: Path) -> None:
    """What each of the two processes does."""
    rank, found = process_index(), {}
    for family in ("albef", "blip"):
        for name, tensor in losses_and_gradients(family, shares()[rank]).items():
            if name == "losses":
                found[f"{family}/losses/{rank}"] = tensor
            else:
                dist.all_reduce(tensor)
                found[f"{family}/{name}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / f"found-{rank}.safetensors")


def test_two_processes_equal_one_on_the_same_global_batch(of_two: Path) -> None:
    first, second = shares()
    found = {}
    for rank in range(2):
        found |= load_file(of_two / "fusion" / f"found-{rank}.safetensors")
    for family in ("albef", "blip"):
        for name, expected in losses_and_gradients(family, first + second).items():
            if name == "losses":
                together = torch.cat([found[f"{family}/losses/{rank}"] for rank in range(2)])
                torch.testing.assert_close(together, expected, atol=1e-4, rtol=1e-4)
            else:
                apart = (found[f"{family}/{name}"] - expected).abs().max()
                assert apart < 1e-3 * expected.abs().max() + 1e-4, f"{family} {name}"
