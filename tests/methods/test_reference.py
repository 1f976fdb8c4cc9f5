"""Unassociated partners are unassociated, and the original's answers are cached as they were."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multidelete.core.errors import RequestError
from multidelete.data.pairs import Pair, PairData, PairDataset, text_source
from multidelete.methods.partners import Associations, unassociated_pairs
from multidelete.methods.reference import Reference, ReferenceSettings, build_reference, outputs_of
from multidelete.models import PairOutputs
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import own_clip, parted, people, record_collated, trained, weights

MODALITIES = ("image", "text")


def made(name: str, image: str, text: str, subject: str | None = None) -> Pair:
    return Pair(
        id=name, inputs={"image": image, "text": text}, sources={"image": image, "text": text_source(text)},
        subject=subject,
    )  # fmt: skip


TRAIN = PairDataset(
    [
        made("dog-1", "dog.png", "A dog runs"),
        made("dog-2", "dog.png", "a brown dog"),
        made("cat-1", "cat.png", "a cat sleeps"),
        made("cat-2", "cat.png", "a  DOG runs "),  # a duplicate of dog-1's caption: joins cat.png with it
        made("sea-1", "sea.png", "waves"),
        made("ann-1", "ann-left.png", "ann, from the left", "ann"),
        made("ann-2", "ann-right.png", "ann, from the right", "ann"),
    ],
    "train",
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("dog-1", "dog-1", True),
        ("dog-1", "dog-2", True),  # two captions of one image
        ("dog-2", "cat-2", True),  # the caption is a duplicate of one of this image's
        ("cat-1", "dog-1", True),
        ("ann-1", "ann-2", True),  # never paired in training, but one subject
        ("cat-1", "dog-2", False),
        ("sea-1", "dog-1", False),
        ("dog-1", "sea-1", False),
        ("sea-1", "ann-1", False),
    ],
)
def test_what_the_training_set_joins_is_associated(first: str, second: str, expected: bool) -> None:
    pairs = {pair.id: pair for pair in TRAIN}
    assert Associations(TRAIN, MODALITIES).associated(pairs[first], pairs[second]) is expected


def test_no_partner_is_associated_whatever_is_drawn() -> None:
    """Every drawn pair is checked against plain loops over the training pairs."""
    by_source = {(pair.sources["image"], pair.sources["text"]) for pair in TRAIN}
    of_subject = {pair.sources[m]: pair.subject for pair in TRAIN for m in MODALITIES}
    drawn = unassociated_pairs(TRAIN.pairs, [TRAIN[0]] * 400, Associations(TRAIN, MODALITIES), np.random.default_rng(0))
    assert len(drawn) == 400
    for pair in drawn:
        image, text = pair.sources["image"], pair.sources["text"]
        assert (image, text) not in by_source
        assert of_subject[image] is None or of_subject[image] != of_subject[text]
        assert pair.label is None
        first, second = (next(p for p in TRAIN if p.id == name) for name in pair.id.split("+"))
        assert pair.inputs == {"image": first.inputs["image"], "text": second.inputs["text"]}
    kinds = {(pair.sources["image"], pair.sources["text"]) for pair in drawn}
    assert len(kinds) == 21  # 5 pictures x 6 captions, less 7 joined by pairs and 2 by the subject


def test_partners_that_do_not_exist_are_a_request_error() -> None:
    pool = TRAIN.only(["dog-1", "dog-2"], "pool").pairs
    with pytest.raises(RequestError, match=r"no unassociated partners found among 2 pairs"):
        unassociated_pairs(pool, TRAIN.pairs[:3], Associations(TRAIN, MODALITIES), np.random.default_rng(0))


def two(name: str, left: str, right: str, text: str, label: int) -> Pair:
    return Pair(
        id=name, inputs={"image": (left, right), "text": text}, label=label,
        sources={"image": f"{left}|{right}", "text": text_source(text)},
    )  # fmt: skip


def test_pairs_that_share_a_picture_a_caption_or_a_node_are_associated() -> None:
    """Every drawn pair is checked against plain loops: nothing of a joins anything of b in any training pair."""
    train = PairDataset(
        [
            two("1", "a.png", "b.png", "two dogs", 0),
            two("2", "b.png", "c.png", "one dog", 1),  # shares b.png with 1
            two("3", "d.png", "e.png", "two dogs", 1),  # shares the statement with 1
            two("4", "f.png", "g.png", "no dog", 0),
            two("5", "h.png", "f.png", "a | b", 0),  # shares f.png with 4; a text is never split
        ],
        "train",
    )
    joined = {(one, pair.sources["text"]) for pair in train for one in pair.sources["image"].split("|")}
    associations = Associations(train, MODALITIES)
    drawn = unassociated_pairs(train.pairs, [train[0]] * 300, associations, np.random.default_rng(0))
    for pair in drawn:
        assert not any((one, pair.sources["text"]) in joined for one in pair.sources["image"].split("|"))
        assert len(pair.inputs["image"]) == 2  # type: ignore[arg-type]
    assert {pair.id for pair in drawn} == {
        "1+4", "1+5", "2+4", "2+5", "3+2", "3+4", "3+5", "4+1", "4+2", "4+3", "5+1", "5+2", "5+3"
    }  # fmt: skip


def test_partners_have_the_labels_of_those_they_stand_for() -> None:
    stand_for = [two(str(n), "x.png", "y.png", "t", n % 3) for n in range(7)]
    drawn = unassociated_pairs(TRAIN.pairs, stand_for, Associations(TRAIN, MODALITIES), np.random.default_rng(0))
    assert [pair.label for pair in drawn] == [0, 1, 2, 0, 1, 2, 0]


def test_generated_people_are_never_their_own_partners() -> None:
    train = people(6).train
    subject_of = {
        source: pair.subject for pair in train for source in pair.sources.values() if pair.kind == "sensitive"
    }
    subject_of |= {pair.sources["image"]: pair.subject for pair in train}
    drawn = unassociated_pairs(train.pairs, [train[0]] * 300, Associations(train, MODALITIES), np.random.default_rng(1))
    joined = {tuple(pair.sources.values()) for pair in train}
    assert not joined & {tuple(pair.sources.values()) for pair in drawn}
    known = [(subject_of[p.sources["image"]], subject_of.get(p.sources["text"])) for p in drawn]
    assert all(image != text for image, text in known)


# The cache


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


def same(first: PairOutputs, second: PairOutputs) -> bool:
    def flat(outputs: PairOutputs) -> Mapping[str, torch.Tensor]:
        return {"joint": outputs.joint, "score": outputs.score, **{f"u {k}": t for k, t in outputs.unimodal.items()},
                **{f"e {k}": t for k, t in (outputs.embeddings or {}).items()}}  # fmt: skip

    one, other = flat(first), flat(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def equal(first: Reference, second: Reference) -> bool:
    return (
        first.parts.keys() == second.parts.keys()
        and all(same(first.parts[name], second.parts[name]) for name in first.parts)
        and len(first.partners) == len(second.partners)
        and all(same(a, b) for a, b in zip(first.partners, second.partners, strict=True))
        and first.pairs == second.pairs
        and (first.score_targets is None) is (second.score_targets is None)
        and (first.score_targets is None or torch.equal(first.score_targets, second.score_targets))  # type: ignore[arg-type]
    )


def test_the_cache_holds_what_the_model_says(data: PairData) -> None:
    adapter, (forget, retain) = own_clip(data), parted(data)
    settings = ReferenceSettings(batch_size=5)
    reference = build_reference(adapter, {"forget": forget, "retain": retain}, data.train, settings, seed=0)
    for name, dataset in (("forget", forget), ("retain", retain)):
        with torch.no_grad():
            expected = adapter.eval()(adapter.collate(dataset.pairs))
        torch.testing.assert_close(reference.parts[name].joint, expected.joint, atol=1e-6, rtol=0)
        torch.testing.assert_close(
            reference.parts[name].unimodal["text"], expected.unimodal["text"], atol=1e-5, rtol=1e-5
        )
    own, partner = reference.rows("forget", [4, 0], number_of_pass=0)
    assert own is not None
    assert partner is None
    assert torch.equal(own.score, reference.parts["forget"].score[[4, 0]])
    assert reference.rows("another part", [0], 0) == (None, None)
    assert reference.pairs == 32


def test_partners_take_turns_and_come_from_where_it_is_said(data: PairData) -> None:
    forget, retain = parted(data)
    for source, pool in (("retain", retain), ("forget", forget)):
        adapter = own_clip(data)
        seen = record_collated(adapter)
        settings = ReferenceSettings(partners=source, draws=3)  # type: ignore[arg-type]
        reference = build_reference(adapter, {"forget": forget, "retain": retain}, data.train, settings, seed=0)
        partners = [name.split("+") for name in seen if "+" in name]
        assert len(partners) == 3 * len(forget)
        assert {name for pair in partners for name in pair} <= set(pool.ids)
        assert len(reference.partners) == 3
        first, again, second = (reference.rows("forget", [0, 1, 2], number)[1] for number in (0, 3, 1))
        assert first is not None
        assert again is not None
        assert second is not None
        assert same(first, again)
        assert not same(first, second)
        assert reference.rows("retain", [0], 0)[1] is None


def test_the_cache_is_read_back_as_it_was_written(tmp_path: Path, data: PairData) -> None:
    """The second adapter differs, so that equal answers can only come from the file; the same key names it."""
    parts = dict(zip(("forget", "retain"), parted(data), strict=True))
    settings = ReferenceSettings(partners="retain", draws=2)

    def ask(seed: int = 0, key: str = "original", **changes: object) -> Reference:
        own = replace(settings, **changes)  # type: ignore[arg-type]
        model = own_clip(data, seed=model_seed)
        return build_reference(model, parts, data.train, own, seed=seed, key=key, folder=tmp_path)

    model_seed = 0
    written = ask()
    model_seed = 1
    assert equal(ask(), written)
    assert len(list(tmp_path.iterdir())) == 1
    for other in (ask(seed=1), ask(key="another model"), ask(partners="forget"), ask(draws=3)):
        assert not equal(other, written)
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("source", ["holdout", "partner"])
def test_score_targets_outlive_the_file(source: str, tmp_path: Path, data: PairData) -> None:
    parts = dict(zip(("forget", "retain"), parted(data), strict=True)) | {"holdout": data.splits["val"]}
    settings = ReferenceSettings(partners="retain", draws=2, score_targets=source)  # type: ignore[arg-type]
    written, read = (
        build_reference(own_clip(data, seed=seed), parts, data.train, settings, seed=0, key="x", folder=tmp_path)
        for seed in (0, 1)
    )
    assert written.score_targets is not None
    assert written.score_targets.shape == (12, 1)
    assert equal(written, read)


def test_pairs_are_answered_in_their_order_whatever_the_length_of_their_texts(data: PairData) -> None:
    adapter = own_clip(data)
    pairs = data.train.pairs[:6]
    pairs[2] = replace(pairs[2], inputs=pairs[2].inputs | {"text": "one"})
    together = outputs_of(adapter, pairs, 4, "test")
    alone = [outputs_of(adapter, [pair], 1, "test") for pair in pairs]
    torch.testing.assert_close(together.score, torch.cat([one.score for one in alone]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.joint, torch.cat([one.joint for one in alone]), rtol=1e-4, atol=1e-5)


def test_asking_the_original_changes_nothing_in_it(data: PairData) -> None:
    adapter = trained(own_clip(data), data.train, passes=1).train()
    before = weights(adapter)
    outputs = outputs_of(adapter, data.train.pairs[:5], 2, "asking")
    assert adapter.training
    assert not outputs.joint.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(adapter).items())


# Targets


@pytest.mark.parametrize("source", ["holdout", "partner"])
def test_targets_of_a_classifier_are_matched_within_the_label(source: str) -> None:
    """With three labels whose log-odds lie far apart, no target leaves the range of its own label."""
    case = Case("albef", "classification", 1)
    data = case_data(case, number=8, unseen=8)
    forget, retain = parted(data)
    parts = {"forget": forget, "retain": retain, "holdout": data.splits["val"]}
    settings = ReferenceSettings(partners="retain", draws=2, score_targets=source)  # type: ignore[arg-type]
    adapter = case_adapter(case, data)
    with torch.no_grad():
        adapter.model.cls_head[-1].bias.copy_(torch.tensor([0.0, 30.0, 60.0]))
    reference = build_reference(adapter, parts, data.train, settings, seed=0)
    targets = reference.score_targets
    assert targets is not None
    assert targets.shape == (len(forget), 1)
    labels = torch.tensor([pair.label for pair in forget])
    for label in range(3):
        if source == "holdout":
            rows = [i for i, pair in enumerate(data.splits["val"]) if pair.label == label]
            scores = reference.parts["holdout"].score[rows]
        else:
            scores = torch.cat([partner.score[labels == label] for partner in reference.partners])
        mine = targets[labels == label, 0]
        assert len(mine) > 1
        assert scores.min() <= mine.min() <= mine.max() <= scores.max()
    bounds = [targets[labels == label, 0].mean().item() for label in range(3)]
    assert bounds == sorted(bounds)
    assert bounds[1] - bounds[0] > 10


def test_a_matching_head_and_embeddings_have_a_target_each() -> None:
    """Column 0 for the head's log-odds, column 1 for the cosine; both within what held-out pairs have."""
    case = Case("albef", "retrieval", 1)
    data = case_data(case, number=8, unseen=8)
    forget, retain = parted(data)
    parts = {"forget": forget, "retain": retain, "holdout": data.splits["val"]}
    settings = ReferenceSettings(partners="retain", draws=2, score_targets="holdout")
    reference = build_reference(case_adapter(case, data), parts, data.train, settings, seed=0)
    targets, held = reference.score_targets, reference.parts["holdout"]
    assert targets is not None
    assert held.embeddings is not None
    cosine = (held.embeddings["image"] * held.embeddings["text"]).sum(dim=-1)
    assert targets.shape == (len(forget), 2)
    for column, values in ((0, held.score), (1, cosine)):
        assert values.min() <= targets[:, column].min() < targets[:, column].max() <= values.max()
    assert {"partner score", "partner similarity"} <= set(reference.variances)
    assert reference.parts["forget"].states is None
