"""Whether validation pairs are of the kind of the deleted ones is seen by a classifier that tells them apart."""

from dataclasses import replace

import pytest
import torch
from PIL import ImageOps

from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.methods import Job, MultiDelete
from multidelete.methods.auto import run_method
from multidelete.methods.judge import Judge
from multidelete.methods.likeness import SURE, UNLIKE, told_apart, what_is_unlike
from multidelete.models import choose_trainable
from multidelete.models.base import PairOutputs
from tests.tiny import family_model, parted, people, quick


def asked(shift: float, *, number: int = 60, of_each: int = 1, seed: int = 0) -> tuple[list[Pair], PairOutputs]:
    """Pairs of texts whose representations are random, but for their mean; so many of each subject are the same."""
    subjects = [f"{shift} {seed} {at // of_each}" for at in range(number)]
    pairs = [
        Pair(id=f"{at}", inputs={"text": f"{at}"}, sources={"text": f"{seed} {at}"}, subject=subject)
        for at, subject in enumerate(subjects)
    ]
    drawn = torch.randn(number // of_each, 16, generator=torch.Generator().manual_seed(seed))
    own = drawn.repeat_interleave(of_each, dim=0) + shift
    return pairs, PairOutputs(unimodal={"text": own}, joint=own, score=own[:, 0])


def test_members_of_one_kind_are_not_told_apart_and_those_of_two_are() -> None:
    assert told_apart(asked(0.0, number=250), asked(0.0, number=250, seed=1), "text") == pytest.approx(0.5, abs=0.05)
    assert (told_apart(asked(0.0), asked(1.0, seed=1), "text") or 0) > 0.9


def test_subjects_that_were_seen_do_not_tell_of_themselves() -> None:
    """Five equal pairs of each subject: a classifier that saw four of them would be right of the fifth."""
    known, met = [], []
    for seed in range(0, 16, 2):
        both = [asked(0.0, of_each=5, seed=seed + side) for side in (0, 1)]
        known.append(told_apart(*both, "text") or 1)
        met.append(told_apart(*[(list(map(alone, pairs)), outputs) for pairs, outputs in both], "text") or 0)
    assert sum(known) / len(known) < 0.5
    assert sum(met) / len(met) > 0.8


def alone(pair: Pair) -> Pair:
    return replace(pair, subject=None)


def test_of_fewer_than_five_subjects_nothing_is_said() -> None:
    assert told_apart(asked(0.0, number=4), asked(0.0, seed=1), "text") is None
    assert told_apart(asked(0.0), asked(0.0, number=20, of_each=5, seed=1), "text") is None


def test_of_a_model_that_gives_no_numbers_nothing_is_said() -> None:
    pairs, outputs = asked(0.0)
    outputs.unimodal["text"][3, 5] = float("nan")
    assert told_apart((pairs, outputs), asked(0.0, seed=1), "text") is None


def test_a_clear_difference_alone_is_told() -> None:
    assert what_is_unlike({}, 0.01) is None
    assert what_is_unlike({"image": UNLIKE, "text": 0.1}, 0.01) is None
    assert what_is_unlike({"image": 0.9}, 0.4 / SURE) is None  # chance explains it
    told = what_is_unlike({"image": 0.5, "text": 0.913}, 0.05) or ""
    assert "the text side alone tells the deleted pairs from the validation pairs" in told
    assert "finds the deleted one in 0.91 of cases" in told


@pytest.mark.parametrize("inverted", [False, True])
def test_a_run_says_where_validation_pictures_are_of_another_kind(
    inverted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    data = people(40, unseen=40)
    adapter = family_model("vision-text", data)
    choose_trainable(adapter, MultiDelete().trainable(adapter))
    holdout = negative(data.splits["val"]) if inverted else data.splits["val"]
    forget, retain = parted(data, 8)
    job = Job(adapter, data.train, forget, retain, quick(pace="auto"), 0, holdout=holdout)
    decided = run_method(MultiDelete(), job).decisions
    assert (decided["apart_image"] > UNLIKE) == inverted
    assert ("the image side alone tells the deleted pairs" in caplog.text) == inverted
    assert "the text side" not in caplog.text
    assert "apart_text" not in decided, (
        "the run trains this side, which may know words that the deleted pairs taught it"
    )


def test_without_validation_pairs_nothing_is_compared() -> None:
    data: PairData = people(12)
    forget, retain = parted(data, 3)
    judge = Judge(Job(family_model("vision-text", data), data.train, forget, retain, quick(pace="auto"), 0))
    judge.measure()
    assert judge.apart == {}


def negative(pairs: PairDataset) -> PairDataset:
    """The same pairs, their pictures in inverted colours."""

    def inverted(pair: Pair) -> Pair:
        picture = pair.inputs["image"]
        assert callable(picture)
        sources = {**pair.sources, "image": f"negative {pair.sources['image']}"}
        return replace(pair, inputs={**pair.inputs, "image": ImageOps.invert(picture())}, sources=sources)

    return PairDataset([inverted(pair) for pair in pairs], pairs.name)
