"""The training loop: its plan, what it changes, what it refuses."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from multidelete.artifacts.checkpoints import newest_checkpoint
from multidelete.core.config import resolve
from multidelete.core.errors import ConfigError, DivergedError
from multidelete.core.settings import LoopSettings
from multidelete.data.pairs import PairData, PairDataset
from multidelete.methods import FineTune, GradDiff, GradientMethod, NegGrad, Step, Training
from multidelete.models import Adapter, choose_trainable
from multidelete.training.loop import Run, run_loop
from multidelete.training.plan import plan_steps
from tests.tiny import (
    RaiseScore,
    differing,
    family_model,
    mean_loss,
    own_clip,
    parted,
    people,
    quick,
    record_collated,
    vit_roberta,
    weights,
)

BOTH = ("forget", "retain")


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def parts(data: PairData) -> dict[str, PairDataset]:
    """12 pairs to forget, 20 to retain."""
    forget, retain = parted(data)
    return {"forget": forget, "retain": retain}


# The plan


@pytest.mark.parametrize(("forget", "batch"), [(12, 4), (13, 4), (7, 32), (100, 8), (33, 16)])
def test_each_pass_covers_every_forget_pair_once_in_nearly_equal_batches(forget: int, batch: int) -> None:
    settings = LoopSettings(passes=3, batch_size=batch)
    plan = plan_steps(BOTH, {"forget": forget, "retain": 300}, settings, seed=1)
    per_pass = max(1, round(forget / batch))
    assert len(plan) == 3 * per_pass
    for number in range(3):
        steps = [step for step in plan if step.number_of_pass == number]
        assert sorted(i for step in steps for i in step.positions["forget"]) == list(range(forget))
    lengths = {len(step.positions["forget"]) for step in plan}
    assert max(lengths) - min(lengths) <= 1
    orders = [[i for step in plan[k * per_pass : (k + 1) * per_pass] for i in step.positions["forget"]] for k in (0, 1)]
    assert orders[0] != orders[1]


def test_retain_pairs_stand_beside_forget_pairs_in_the_stated_ratio() -> None:
    settings = LoopSettings(passes=5, batch_size=10, retain_per_forget=3)
    plan = plan_steps(BOTH, {"forget": 40, "retain": 60}, settings, seed=1)
    assert {len(step.positions["retain"]) for step in plan} == {30}
    seen = Counter(i for step in plan for i in step.positions["retain"])  # 600 draws in passes over 60
    assert set(seen.values()) == {10}
    assert all(len(set(step.positions["retain"])) == 30 for step in plan[:2])  # one shuffled pass


def test_few_retain_pairs_are_never_drawn_more_often_than_there_are() -> None:
    plan = plan_steps(BOTH, {"forget": 8, "retain": 3}, LoopSettings(passes=2, batch_size=8), seed=1)
    assert {len(step.positions["retain"]) for step in plan} == {3}


def test_a_method_of_retain_pairs_alone_takes_equal_steps_of_equal_size() -> None:
    """10 forget and 2 x 10 retain pairs in the others' steps: 30 retain pairs here, in as many steps."""
    sizes, settings = {"forget": 40, "retain": 320}, LoopSettings(passes=2.5, batch_size=10, retain_per_forget=2)
    plan, other = plan_steps(("retain",), sizes, settings, 1), plan_steps(BOTH, sizes, settings, 1)
    assert len(plan) == len(other) == 10
    assert [set(step.positions) for step in plan] == [{"retain"}] * 10
    assert {len(step.positions["retain"]) for step in plan} == {30}
    assert {sum(map(len, step.positions.values())) for step in other} == {30}


def test_training_walks_through_its_own_pairs() -> None:
    plan = plan_steps(("train",), {"train": 50}, LoopSettings(passes=1, batch_size=16), seed=0)
    assert sorted(i for step in plan for i in step.positions["train"]) == list(range(50))


def test_a_part_of_a_pass_is_a_part_of_its_steps() -> None:
    plan = plan_steps(BOTH, {"forget": 40, "retain": 80}, LoopSettings(passes=1.5, batch_size=10), seed=0)
    assert [step.number_of_pass for step in plan] == [0, 0, 0, 0, 1, 1]
    assert len(plan_steps(BOTH, {"forget": 40, "retain": 80}, LoopSettings(passes=0.01), seed=0)) == 1


def test_the_plan_depends_on_the_seed_alone() -> None:
    sizes, settings = {"forget": 40, "retain": 80}, LoopSettings(passes=2, batch_size=10)
    assert plan_steps(BOTH, sizes, settings, 3) == plan_steps(BOTH, sizes, settings, 3)
    first, second = plan_steps(BOTH, sizes, settings, 3), plan_steps(BOTH, sizes, settings, 4)
    for part in BOTH:
        assert [s.positions[part] for s in first] != [s.positions[part] for s in second]


# What is trained


def run(adapter: Adapter, method: GradientMethod, parts: dict[str, PairDataset], seed: int = 0, **changes: object):  # type: ignore[no-untyped-def]
    work = changes.pop("work", None)
    assert work is None or isinstance(work, Path)
    return run_loop(adapter, method, parts, settings=quick(**changes), seed=seed, run=Run(work=work))


def test_same_seed_same_weights_other_seed_other_weights(data: PairData, parts: dict[str, PairDataset]) -> None:
    def after(seed: int) -> dict[str, Tensor]:
        adapter = vit_roberta(data, dropout=0.1)
        run(adapter, FineTune(), parts, seed=seed)
        return weights(adapter)

    first = after(5)
    assert differing(first, after(5)) == []
    assert differing(first, after(6)) != []


@pytest.mark.parametrize("train", ["projections", r"text_model.*mlp"])
def test_frozen_parameters_stay_bit_equal(train: str, data: PairData, parts: dict[str, PairDataset]) -> None:
    """With weight decay, which would change whatever the optimizer is given."""
    adapter = own_clip(data)
    before = weights(adapter)
    chosen = choose_trainable(adapter, train)
    run(adapter, GradDiff(), parts, passes=2, weight_decay=0.1)
    assert 0 < len(chosen) < len(before)
    assert set(differing(before, weights(adapter))) == set(chosen)


def test_dropout_is_on_for_training_alone(data: PairData, parts: dict[str, PairDataset]) -> None:
    """All pairs are in the first step, so that its loss is that of an evaluation, unless dropout is on."""
    for method, part, same in ((NegGrad(), "forget", True), (FineTune(), "retain", False)):
        adapter = vit_roberta(data, dropout=0.3)
        evaluated = mean_loss(adapter, parts[part].pairs)
        first = run(adapter, method, parts, batch_size=12).history[0]["loss"]
        assert (abs(first) == pytest.approx(evaluated, rel=1e-5)) is same


@pytest.mark.parametrize("accumulation", [2, 5])
def test_accumulated_micro_batches_equal_one_large_batch(
    accumulation: int, data: PairData, parts: dict[str, PairDataset]
) -> None:
    """A score without in-batch coupling, under plain SGD; 12 pairs in a step, in shares of 6, or of 2 and 3."""
    after, rows = [], []
    for number in (1, accumulation):
        adapter = own_clip(data)
        result = run(
            adapter, RaiseScore(), parts, passes=3, batch_size=12, optimizer="sgd", lr=0.1, accumulation=number
        )
        after.append(weights(adapter))
        rows.append([row["score"] for row in result.history])
        assert result.pairs == 36
    assert differing(after[0], weights(own_clip(data))) != []
    torch.testing.assert_close(after[0], after[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rows[0], rows[1], atol=1e-6, rtol=1e-5)


def test_every_planned_pair_is_seen_when_shares_are_uneven(data: PairData, parts: dict[str, PairDataset]) -> None:
    """One step of 12 forget pairs in five micro-batches: 2, 2, 3, 2 and 3."""
    adapter = own_clip(data)
    seen = record_collated(adapter)
    run(adapter, RaiseScore(), parts, batch_size=12, accumulation=5)
    assert sorted(seen) == sorted(parts["forget"].ids)


def test_more_shares_than_pairs_are_refused(data: PairData, parts: dict[str, PairDataset]) -> None:
    with pytest.raises(ConfigError, match=r"a step has 2 forget pairs, fewer than its 4 shares.*Raise batch_size"):
        run(own_clip(data), RaiseScore(), parts, batch_size=2, accumulation=4)


def test_gradients_are_clipped_at_the_norm(data: PairData, parts: dict[str, PairDataset]) -> None:
    """One SGD step of rate 1 without weight decay moves the weights by exactly the clipped gradient."""

    def moved(max_grad_norm: float) -> float:
        adapter = own_clip(data)
        before = weights(adapter)
        run(
            adapter, NegGrad(), parts, batch_size=12, optimizer="sgd", lr=1.0, warmup=0.0, schedule="constant",
            max_grad_norm=max_grad_norm,
        )  # fmt: skip
        return torch.cat([(t - before[n]).flatten() for n, t in weights(adapter).items()]).norm().item()

    free = moved(0)
    assert free > 0.02
    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)
    assert moved(10 * free) == pytest.approx(free, rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.0, 0.5, 1, 1, 1, 1, 1, 1]), ("linear", [0, 0.5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
     ("cosine", [0.0, 0.5, *[(1 + np.cos(np.pi * k / 6)) / 2 for k in range(6)]])],
)  # fmt: skip
def test_schedules_rise_over_the_warmup_and_fall(
    schedule: str, expected: list[float], data: PairData, parts: dict[str, PairDataset]
) -> None:
    """The rate of step k, seen in how far plain SGD goes with a gradient that is constant: 8 steps, 2 of warm-up."""

    @dataclass(frozen=True, kw_only=True)
    class Drift(GradientMethod):
        name: ClassVar[str] = "drift"
        parts: ClassVar[tuple[str, ...]] = ("forget",)

        def losses(self, step: Step) -> dict[str, Tensor]:
            scale: Tensor = step.forget.adapter.model.logit_scale
            at.append(scale.item())
            return {"drift": -scale}

    at: list[float] = []
    adapter = own_clip(data)
    run(
        adapter, Drift(), parts, passes=8, batch_size=12, optimizer="sgd", lr=0.01, schedule=schedule, warmup=0.25,
        max_grad_norm=0,
    )  # fmt: skip
    at.append(adapter.model.logit_scale.item())
    np.testing.assert_allclose(np.diff(at) / 0.01, expected, atol=1e-3)


def test_bf16_runs_on_the_cpu_and_stays_finite(data: PairData, parts: dict[str, PairDataset]) -> None:
    adapter = family_model("vision-text", data)
    result = run(adapter, GradDiff(), parts, passes=2, precision="bf16")
    assert all(np.isfinite(value) for row in result.history for value in row.values())
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}
    full = run(family_model("vision-text", data), GradDiff(), parts, passes=2).history
    assert 0 < abs(full[0]["loss"] - result.history[0]["loss"]) < 0.1


def test_history_names_the_terms_and_their_sum(data: PairData, parts: dict[str, PairDataset]) -> None:
    result = run(own_clip(data), GradDiff(), parts)
    assert len(result.history) == 2
    for row in result.history:
        assert set(row) == {"ascent", "descent", "loss"}
        assert row["loss"] == pytest.approx(row["ascent"] + row["descent"])
    assert result.pairs == 36
    assert result.wall_s > 0
    assert result.peak_bytes > 2**20


def test_workers_change_nothing(data: PairData, parts: dict[str, PairDataset]) -> None:
    after = []
    for workers in (0, 1):
        adapter = vit_roberta(data, dropout=0.1)
        run(adapter, FineTune(), parts, workers=workers)
        after.append(weights(adapter))
    assert differing(*after) == []


def test_tensorboard_gets_event_files(tmp_path: Path, data: PairData, parts: dict[str, PairDataset]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = run(own_clip(data), GradDiff(), parts, trackers=("tensorboard",), work=tmp_path)
    events = EventAccumulator(str(next((tmp_path / "logs").rglob("events.out.*")).parent))
    events.Reload()
    assert {"ascent", "descent", "loss", "lr"} <= set(events.Tags()["scalars"])
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([row["loss"] for row in result.history])


# What is refused


@dataclass(frozen=True, kw_only=True)
class Broken(GradientMethod):
    """Descends, until a term or its gradient is not a number from some step on."""

    name: ClassVar[str] = "broken"
    parts: ClassVar[tuple[str, ...]] = ("forget",)
    from_progress: float
    value: float = float("nan")
    in_the_gradient: bool = False

    def losses(self, step: Step) -> dict[str, Tensor]:
        fine = step.forget.mean(step.forget.task_loss_B)
        extra = fine * 0
        if step.progress >= self.from_progress:
            extra = torch.sqrt(extra) if self.in_the_gradient else extra + self.value
        return {"task": fine, "extra": extra}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_stops_before_it_is_applied(
    value: float, tmp_path: Path, data: PairData, parts: dict[str, PairDataset]
) -> None:
    """Ten steps; from the sixth on one term is not finite. The last checkpoint is of step 4."""
    healthy, broken = own_clip(data), own_clip(data)
    settings = {"passes": 10, "batch_size": 12, "schedule": "constant", "warmup": 0.0, "checkpoint_steps": 2}
    with pytest.raises(DivergedError, match=r"at step 6 of 10: extra = (nan|-?inf)\. .*checkpoint-00000004\.") as error:
        run(broken, Broken(from_progress=0.5, value=value), parts, work=tmp_path, **settings)
    assert "task" not in str(error.value)
    assert error.value.exit_code == 1
    run(healthy, Broken(from_progress=2), parts, **settings | {"passes": 5})
    assert differing_beyond_plan(weights(healthy), weights(broken)) == []
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-00000004.safetensors"


def differing_beyond_plan(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """One batch holds all pairs, so five steps of five are five steps of ten up to the order within the batch."""
    return [name for name in first if not torch.allclose(first[name], second[name], atol=1e-5)]


def test_without_a_checkpoint_the_error_says_so(data: PairData, parts: dict[str, PairDataset]) -> None:
    with pytest.raises(DivergedError, match=r"at step 1 of 1: extra = nan\. There is no checkpoint yet\."):
        run(own_clip(data), Broken(from_progress=0), parts, batch_size=12)


def test_weights_that_are_not_finite_become_no_checkpoint(
    tmp_path: Path, data: PairData, parts: dict[str, PairDataset]
) -> None:
    """sqrt(0) is finite, its gradient is not: step 6 spoils the weights, and step 4 has the last good checkpoint."""
    with pytest.raises(DivergedError, match=r"weights are not finite after step 6.*checkpoint-00000004"):
        run(own_clip(data), Broken(from_progress=0.5, in_the_gradient=True), parts, passes=10, batch_size=12,
            checkpoint_steps=2, work=tmp_path)  # fmt: skip
    with pytest.raises(DivergedError, match=r"weights are not finite after step 1:.*There is no checkpoint yet"):
        run(own_clip(data), Broken(from_progress=0, in_the_gradient=True), parts, batch_size=12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cuda"}, r"device is 'cuda', but no CUDA device is visible here"),
        ({"device": "gpu"}, r"device is 'gpu'; it must be auto, cpu, cuda, cuda:N or mps"),
        ({"precision": "fp16"}, r"precision 'fp16' cannot be used on device 'cpu'.*bf16"),
        ({"trackers": ("tensorbord",)}, r"tracker 'tensorbord' is unknown; accelerate knows .*tensorboard"),
        ({"trackers": ("tensorboard",)}, r"tracker 'tensorboard' writes files, but the result is kept in memory"),
        ({"trackers": ("wandb",)}, r"tracker 'wandb' is not installed here: pip install wandb"),
    ],
)
def test_what_this_machine_cannot_do_is_a_config_error(
    changes: dict[str, object], message: str, data: PairData, parts: dict[str, PairDataset]
) -> None:
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ConfigError, match=message):
        run(own_clip(data), Training(), {"train": parts["forget"]}, **changes)


def test_settings_out_of_range_are_all_named() -> None:
    with pytest.raises(ConfigError) as error:
        LoopSettings(passes=0, batch_size=0, retain_per_forget=0, lr=0, weight_decay=-1, warmup=1, max_grad_norm=-1,
                     accumulation=0, workers=-1, checkpoint_steps=-1)  # fmt: skip
    assert len(error.value.problems) == 10
    with pytest.raises(ConfigError, match="schedule"):
        resolve(LoopSettings, None, {"schedule": "exponential"})
    with pytest.raises(ConfigError, match="lr"):
        replace(LoopSettings(), lr=float("nan"))
