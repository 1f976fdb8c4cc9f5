"""The metric that one request leaves for the next: used, grown stale, refused."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from multidelete import unlearn
from multidelete.core.errors import CheckpointError, UnsupportedError
from multidelete.curvature.metric import ParameterMetric
from multidelete.data.pairs import PairData
from multidelete.methods import Job, MultiDelete
from multidelete.methods.judge import Judge
from multidelete.methods.kept_metric import (
    FILE,
    KeptMetric,
    keep_metric,
    read_metric,
    refuse_as_folder,
    refuse_place,
    why_not,
)
from multidelete.methods.solved import SolvedLegs
from multidelete.methods.weights import weights_of
from multidelete.models import Adapter, choose_trainable
from multidelete.unlearning import Unlearned
from tests.tiny import family_model, parted, people, quick, trained, weights

AUTO = quick(pace="auto", retain_per_forget=8)


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(12, unseen=12)


@pytest.fixture(scope="module")
def memorised(data: PairData) -> Adapter:
    return trained(family_model("vision-text", data), data.train)


@pytest.fixture
def metric(tmp_path: Path) -> Path:
    return tmp_path / "metric"


def forgotten(original: object, data: PairData, ids: Sequence[str], metric: Path, **more: object) -> Unlearned:
    return unlearn(original, data, ids, settings=AUTO, metric=metric, **more)  # type: ignore[arg-type]


def job_of(memorised: Adapter, data: PairData, metric: Path | None, trainable: str = "text") -> Job:
    adapter = copy.deepcopy(memorised)
    choose_trainable(adapter, trainable)
    forget, retain = parted(data, 3)
    val = data.splits["val"]
    return Job(adapter, data.train, forget, retain, AUTO, 0, key="model", holdout=val, metric=metric)


def legs_of(job: Job) -> SolvedLegs:
    return SolvedLegs(job, Judge(job), 2, weights_of(job.adapter))


def one_leg(job: Job) -> SolvedLegs:
    now = Judge(job).measure()
    legs = legs_of(job)
    legs.take(0, now, now)
    return legs


def kept(folder: Path) -> KeptMetric:
    found = read_metric(folder)
    assert found is not None
    return found


def test_a_leg_with_the_kept_metric_goes_where_the_one_went_that_measured_it_and_costs_less(
    memorised: Adapter, data: PairData, metric: Path
) -> None:
    bare, first, second = (job_of(memorised, data, folder) for folder in (None, metric, metric))
    costs = [one_leg(job).pairs for job in (bare, first, second)]
    changed = [{n: t - weights(memorised)[n] for n, t in weights(job.adapter).items()} for job in (bare, first, second)]
    assert all(torch.equal(tensor, changed[2][name]) for name, tensor in changed[1].items())
    for name, tensor in changed[0].items():
        torch.testing.assert_close(changed[1][name], tensor, rtol=1e-3, atol=1e-3 * tensor.abs().max().item())
    fits = min(32, len(kept(metric).pairs))  # once more, to see how many gradients fit into memory
    assert costs[0] == costs[1] == costs[2] + len(kept(metric).pairs) + fits


def test_it_serves_what_deletions_make_of_the_model(memorised: Adapter, data: PairData, tmp_path: Path) -> None:
    first, second = data.train.ids[8:10]
    metric, done = tmp_path / "metric", []
    done.append(forgotten(memorised, data, [first], metric, out=tmp_path / "one"))
    assert done[0].outcome.decisions["unchanged"] == 0  # so that the next one begins with another model
    beside = {name: reference for name, reference in kept(metric).pairs.items() if name != second}
    assert first not in beside
    keep_metric(metric, replace(kept(metric), pairs=beside))  # as if the next one had not been drawn
    done.append(forgotten(tmp_path / "one", data, [second], metric, out=tmp_path / "two"))
    assert len(kept(metric).models) == 2  # so that what comes of the second is known, too
    goes = next(iter(beside))
    done.append(forgotten(tmp_path / "two", data, [goes], metric))
    assert [one.outcome.decisions["metric_reused"] for one in done] == [0, 1, 0]
    assert goes.encode() not in (metric / FILE).read_bytes()


def test_a_resumed_run_does_not_take_its_own_metric_for_an_earlier_ones(
    memorised: Adapter, data: PairData, metric: Path
) -> None:
    for told in [(True, False), (False, True)]:
        before = one_leg(job_of(memorised, data, metric))
        resumed = legs_of(job_of(memorised, data, metric))
        resumed.recall(before.told())
        resumed.take(1, *[Judge(job_of(memorised, data, metric)).measure()] * 2)
        assert (resumed.has_measured, resumed.has_reused) == (before.has_measured, before.has_reused) == told


@pytest.fixture
def job_and_metric(memorised: Adapter, data: PairData, metric: Path) -> tuple[Job, KeptMetric]:
    job = job_of(memorised, data, metric)
    one_leg(job)
    assert why_not(kept(metric), job) is None
    return job, kept(metric)


def test_why_a_metric_does_not_serve(
    job_and_metric: tuple[Job, KeptMetric], memorised: Adapter, data: PairData
) -> None:
    job, known = job_and_metric
    first = next(iter(known.pairs))
    without = job.retain.without([first], "retain")
    told = {
        "measured on another model": why_not(known, replace(job, key="other", before="another")),
        "might take 1 GiB then, and 0.5 now": why_not(known, replace(job, settings=replace(AUTO, memory=0.5))),
        "another part of the model": why_not(known, job_of(memorised, data, None, "all")),
        "are deleted now": why_not(known, replace(job, retain=without)),
        "hold other pictures or texts": why_not(replace(known, pairs={**known.pairs, first: "0" * 32}), job),
        "another shape": why_not(replace(known, metric={n: _narrow(m) for n, m in known.metric.items()}), job),
    }
    assert {rule: rule in (reason or "") for rule, reason in told.items()} == dict.fromkeys(told, True)
    assert why_not(known, replace(job, key="made of it", before="model")) is None


def _narrow(one: ParameterMetric) -> ParameterMetric:
    return replace(one, moments=one.moments[:-1])


def negative(moments: torch.Tensor) -> torch.Tensor:
    return -1 - moments


def unnumbered(moments: torch.Tensor) -> torch.Tensor:
    return moments * float("nan")


@pytest.mark.parametrize("spoilt", [negative, unnumbered])
def test_damaged_numbers_are_refused(
    job_and_metric: tuple[Job, KeptMetric], metric: Path, spoilt: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    known = job_and_metric[1]
    name, one = next(iter(known.metric.items()))
    keep_metric(metric, replace(known, metric={**known.metric, name: replace(one, moments=spoilt(one.moments))}))
    with pytest.raises(CheckpointError, match="is damaged"):
        refuse_as_folder(metric)


def test_other_files_of_that_name_are_refused(metric: Path) -> None:
    metric.mkdir()
    for content in (b"", b"no tensors", bytes(64)):
        (metric / FILE).write_bytes(content)
        with pytest.raises(CheckpointError, match="is not a metric that multidelete wrote"):
            refuse_as_folder(metric)
    save_file({"weight": torch.zeros(2)}, metric / FILE)
    with pytest.raises(CheckpointError, match="is not a metric that multidelete wrote"):
        refuse_as_folder(metric)


def test_places_that_cannot_hold_it_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    model = tmp_path / "model"
    model.mkdir()
    for folder, told in ((tmp_path / "file", "is a file"), (tmp_path / "nowhere" / "metric", "there is no folder")):
        with pytest.raises(CheckpointError, match=told):
            refuse_as_folder(folder)
    for folder, told in (
        (model, "is input"),
        (model / "metric", "lies inside input"),
        (tmp_path / "out", "lies inside output"),
        (tmp_path / "out" / "metric", "lies inside output"),
    ):
        with pytest.raises(CheckpointError, match=told):
            refuse_place(folder, [model], tmp_path / "out")
    refuse_place(tmp_path / "metric", [model], tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"method": "npo"}, "npo measures none"),
        ({"settings": {"passes": 2}}, "descends without one"),
        ({"method": MultiDelete(score=4.0)}, "descends without one"),
    ],
)
def test_runs_that_measure_none_refuse_it(
    memorised: Adapter, data: PairData, metric: Path, more: dict[str, object], told: str
) -> None:
    with pytest.raises(UnsupportedError, match=told):
        unlearn(memorised, data, data.train.ids[:1], metric=metric, **more)  # type: ignore[arg-type]
    assert not metric.exists()


def test_a_matching_head_refuses_it_and_leaves_nothing(tmp_path: Path) -> None:
    pairs = people(12, unseen=12)
    albef = family_model("albef", pairs)
    with pytest.raises(UnsupportedError, match="a matching head scores the members together"):
        forgotten(albef, pairs, pairs.train.ids[:1], tmp_path / "metric", out=tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == []
