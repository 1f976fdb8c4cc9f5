"""Random labels: the wrong ones are wrong and fixed, and the terms have their values."""

from collections import Counter
from dataclasses import replace
from math import log

import pytest

from multidelete.core.errors import ConfigError, DataError, RequestError, UnsupportedError
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.methods import Job, RandomLabels
from multidelete.methods.partners import Associations
from tests.methods.steps import CROSSED, EYE, classifier, dual_encoder, part, similar, step, values
from tests.relations import relations
from tests.tiny import own_clip, parted, people, quick, record_collated


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


def job(data: PairData, seed: int = 0) -> Job:
    return Job(own_clip(data), data.train, *parted(data), quick(), seed=seed)


def test_terms_have_the_values_derived_by_hand() -> None:
    """The task loss of crossed pairs is -ln(1/4) and that of right ones -ln(3/4), with weights 0.5 and 2."""
    given = step(part(dual_encoder(), similar(CROSSED)), part(dual_encoder(), similar(EYE)))
    assert values(RandomLabels(forget=0.5).losses(given)) == pytest.approx(
        {"wrong": log(4) / 2, "task": 2 * log(4 / 3)}
    )


@pytest.mark.parametrize("captions", ["retain", "forget"])
def test_wrong_captions_belong_to_other_pictures(captions: str, data: PairData) -> None:
    """Checked with plain loops over the training pairs; pictures, order and kinds stay."""
    given = job(data)
    parts = RandomLabels(captions=captions).datasets(given)
    wrong, pool = parts["forget"], {"retain": given.retain, "forget": given.forget}[captions]
    joined = {(pair.sources["image"], pair.sources["text"]) for pair in data.train}
    texts = {pair.sources["text"]: pair.inputs["text"] for pair in pool}
    of_subject = {pair.sources["text"]: pair.subject for pair in data.train}
    assert len(wrong) == len(given.forget)
    for pair, before in zip(wrong, given.forget, strict=True):
        assert pair.inputs["image"] is before.inputs["image"]
        assert pair.inputs["text"] == texts[pair.sources["text"]]
        assert (before.sources["image"], pair.sources["text"]) not in joined
        assert of_subject[pair.sources["text"]] != before.subject
        assert (pair.kind, pair.subject) == (before.kind, before.subject)


def test_wrong_captions_are_fixed_by_the_seed(data: PairData) -> None:
    first, again, other = (RandomLabels().datasets(job(data, seed))["forget"].ids for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_run_never_shows_a_forget_pair_as_it_was(data: PairData) -> None:
    given = job(data)
    seen = record_collated(given.adapter)
    RandomLabels().run(given)
    assert not set(seen) & set(given.forget.ids)
    assert {name.split("+")[0] for name in seen if "+" in name} == set(given.forget.ids)


def labelled(label: int | None, number: int = 600) -> PairDataset:
    data = relations()
    return PairDataset([replace(data.train[0], id=str(n), label=label) for n in range(number)], "forget")


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    adapter, data = classifier(), relations()
    adapter.classes = ("none", "weak", "strong", "unknown")
    given = Job(adapter, data.train, labelled(2), data.train, quick(), seed=0)
    wrong = RandomLabels().datasets(given)["forget"]
    drawn = Counter(pair.label for pair in wrong)
    assert set(drawn) == {0, 1, 3}
    assert min(drawn.values()) > 150
    assert wrong.ids == given.forget.ids


def test_what_cannot_be_wrong_is_refused(data: PairData) -> None:
    adapter = classifier()
    given = Job(adapter, data.train, labelled(None, 1), data.train, quick(), seed=0)
    with pytest.raises(DataError, match=r"Pair 0 has no label"):
        RandomLabels().datasets(given)
    adapter.classes = ("only",)
    with pytest.raises(UnsupportedError, match=r"needs a wrong class for each pair, and the model has 1 class"):
        RandomLabels().datasets(replace(given, forget=labelled(0, 1)))
    one: Pair = data.train[0]
    alone = PairDataset([one], "one")
    with pytest.raises(RequestError, match=r"all 1 candidate for a wrong text belong to the image of pair"):
        RandomLabels(captions="forget").datasets(replace(job(data), forget=alone))
    assert Associations(data.train, ("image", "text")).associated(one, one)


@pytest.mark.parametrize("name", ["forget", "retain"])
def test_weights_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is -1"):
        RandomLabels(**{name: -1})
