"""What a run sees of a model, where some pairs are of a kind or a label of which there are few."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from multidelete.core.errors import DivergedError
from multidelete.data.pairs import Batch, Pair, PairData, PairDataset
from multidelete.deletion.arguments import DeletionArguments
from multidelete.deletion.job import prepare
from multidelete.methods import Job, MultiDelete
from multidelete.methods.auto import run_method, what_is_missing
from multidelete.methods.judge import OF_A_KIND, Judge
from multidelete.methods.standing import CLOSE
from multidelete.models import Adapter, PairOutputs, choose_trainable
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import family_model, parted, people, quick

CLASSIFIER = Case("albef", "classification", 1)


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(24, unseen=24)


@pytest.fixture(scope="module")
def adapter(data: PairData) -> Adapter:
    made = family_model("vision-text", data)
    choose_trainable(made, "text")
    return made


def changed(pairs: PairDataset, change: Callable[[int, Pair], Pair]) -> PairDataset:
    return PairDataset([change(at, pair) for at, pair in enumerate(pairs)], pairs.name)


def job_of(adapter: Adapter, data: PairData, people: int = 3) -> Job:
    forget, retain = parted(data, people)
    return Job(adapter, data.train, forget, retain, quick(pace="auto"), 0, holdout=data.splits["val"])


def alone(_: int, pair: Pair) -> Pair:
    return replace(pair, kind=None)


def of_one_kind(data: PairData) -> PairData:
    return replace(data, splits={name: changed(pairs, alone) for name, pairs in data.splits.items()})


def test_one_pair_of_a_rare_label_does_not_excuse_all_others() -> None:
    data = of_one_kind(case_data(CLASSIFIER, number=24, unseen=24))
    adapter = case_adapter(CLASSIFIER, data)
    rare = next(pair.id for pair in data.splits["val"] if pair.label == 2)
    val = changed(data.splits["val"], lambda at, p: p if p.id == rare or p.label != 2 else replace(p, label=at % 2))
    common = [pair.id for pair in data.train if pair.label != 2][:20]
    one = next(pair.id for pair in data.train if pair.label == 2)

    def doubt(ids: list[str]) -> float:
        retain = data.train.without(ids, "retain")
        job = Job(adapter, data.train, data.train.only(ids, "forget"), retain, quick(pace="auto"), 0, holdout=val)
        return Judge(job).doubt

    assert doubt([one]) > 0.4  # of this one pair nothing can be said
    assert doubt([*common, one]) == pytest.approx(doubt(common), rel=0.15)


def test_kinds_of_which_there_are_few_count_with_the_commonest(adapter: Adapter, data: PairData) -> None:
    data = of_one_kind(data)
    job = job_of(adapter, data)
    last = len(job.retain) - 1
    retain = changed(job.retain, lambda at, pair: replace(pair, kind="rare") if at == last else pair)
    start = Judge(replace(job, retain=retain)).measure()
    assert [*start.kinds.kept] == [None]
    assert sorted(start.kinds.kept[None].tolist()) == [*range(len(start.kept))]
    fewer = start.kept.clone()
    fewer[last] = fewer[last] - 0.5
    assert replace(start, kept=fewer).lost_since(start) <= 0.5 / len(fewer)
    some = changed(job.retain, lambda at, pair: replace(pair, kind="own") if at < OF_A_KIND else pair)
    assert {*Judge(replace(job, retain=some)).measure().kinds.kept} == {None, "own"}


def test_kinds_on_both_sides_of_where_they_belong_do_not_make_up_for_each_other(
    adapter: Adapter, data: PairData
) -> None:
    start = Judge(job_of(adapter, data)).measure()
    first, second = start.kinds.forget.values()
    gaps = torch.zeros_like(start.gaps)
    gaps[first], gaps[second] = start.spread, -start.spread * len(first) / len(second)
    apart = replace(start, gaps=gaps, ranks=torch.full_like(start.ranks, 0.5), left=0.0)
    assert gaps.mean().abs() < 1e-5
    assert apart.beside >= 1
    assert not apart.is_level
    assert replace(apart, gaps=torch.zeros_like(gaps)).is_level


def test_text_encoders_that_look_at_pictures_are_not_taken_for_frozen_ones() -> None:
    data = of_one_kind(case_data(CLASSIFIER, number=12, unseen=24))
    adapter = case_adapter(CLASSIFIER, data)
    choose_trainable(adapter, "but-image")
    judge = Judge(job_of(adapter, data, people=6))
    judge.measure()
    assert {*judge.apart} == {"image"}


def test_of_each_kind_that_goes_validation_pairs_are_looked_at(adapter: Adapter, data: PairData) -> None:
    """A sample of them may hold none."""
    few, val = 3, data.splits["val"]
    many = [replace(pair, id=f"{turn}-{pair.id}", kind="a") for turn in range(20) for pair in val]
    rare = [replace(pair, id=f"rare-{pair.id}", kind="b") for pair in val.pairs[:few]]
    train = changed(data.train, lambda at, pair: replace(pair, kind="ab"[at % 2]))
    splits = {"train": train, "val": PairDataset([*many, *rare], "val")}
    job = job_of(adapter, replace(data, splits=splits))
    judge = Judge(job)
    assert judge.has_holdout
    assert sum(pair.kind == "b" for pair in judge.unseen) == few
    without = Judge(replace(job, holdout=PairDataset(many, "val")))
    assert not without.has_holdout
    assert without.why_no_holdout == "no validation pair is of the kind 'b', as deleted ones are"


def test_a_run_says_what_still_tells_and_on_which_ground_it_stands(adapter: Adapter, data: PairData) -> None:
    judge = Judge(job_of(adapter, data))
    told = {
        "legs": 3.0,
        "kept": 0.9,
        "kept_before": 0.9,
        "distance": 0.04,
        "further": 0.05,
        "stands": 1.0,
        "unchanged": 0.0,
    }
    open_ones: dict[str, dict[str, float]] = {
        "mean rank among them lies 0.05": {"near": 0, "beside": 0.1, "left": 0.1},
        "mean signal lies 0.40 standard deviations": {"near": 1, "beside": CLOSE + 0.1, "left": 0.1},
        "33% of the distance": {"near": 1, "beside": 0.1, "left": 0.33},
    }
    for words, figures in open_ones.items():
        assert words in (what_is_missing({**told, **figures, "forgotten": 0.0}, judge) or "")
        again = what_is_missing({**told, **figures, "forgotten": 0.0, "unchanged": 1.0}, judge) or ""
        assert "so the result is the original, unchanged" in again
    assert what_is_missing({**told, "forgotten": 1.0}, judge) is None
    blind = Judge(replace(job_of(adapter, data), holdout=None))
    said = what_is_missing({**told, "forgotten": 1.0}, blind) or ""
    assert "weaker ground" in said
    assert "there are no validation pairs" in said


def test_kept_pairs_of_which_the_original_says_no_number_are_refused(adapter: Adapter, data: PairData) -> None:
    job = job_of(copy.deepcopy(adapter), data)
    silent, said = job.retain.pairs[20].id, job.adapter.forward

    def forward(batch: Batch) -> PairOutputs:
        outputs = said(batch)
        assert outputs.embeddings is not None
        blank_B1 = torch.tensor([[torch.nan if pair_id == silent else 0.0] for pair_id in batch.ids])
        return replace(outputs, embeddings={name: one + blank_B1 for name, one in outputs.embeddings.items()})

    job.adapter.forward = forward  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="of the kept pairs is not finite"):
        run_method(MultiDelete(), job)


def test_validation_pairs_without_a_label_are_left_out_of_a_classifier(caplog: pytest.LogCaptureFixture) -> None:
    data = case_data(CLASSIFIER, number=12, unseen=12)
    adapter = case_adapter(CLASSIFIER, data)
    val = changed(data.splits["val"], lambda at, pair: replace(pair, label=None) if at == 5 else pair)
    given = replace(data, splits={**data.splits, "val": val})
    arguments = DeletionArguments(original=adapter, data=given, forget=data.train.ids[:4])
    holdout = prepare(arguments.resolved()).job.holdout
    assert holdout is not None
    assert len(holdout) == len(val) - 1
    assert f"1 of {len(val)} validation pairs has no label, and the run does without: {val.pairs[5].id}" in caplog.text


def test_a_validation_split_without_pairs_is_none(adapter: Adapter, data: PairData) -> None:
    given = replace(data, splits={**data.splits, "val": PairDataset([], "val")})
    arguments = DeletionArguments(original=adapter, data=given, forget=data.train.ids[:2])
    assert prepare(arguments.resolved()).job.holdout is None


def test_other_validation_pairs_are_another_run(adapter: Adapter, data: PairData) -> None:
    """It would go on to other targets."""
    fewer = PairDataset(data.splits["val"].pairs[:12], "val")
    both = [
        DeletionArguments(original=adapter, data=given, forget=data.train.ids[:4]).resolved().digest
        for given in (data, data, replace(data, splits={**data.splits, "val": fewer}))
    ]
    assert both[0] == both[1]
    assert both[0] != both[2]
