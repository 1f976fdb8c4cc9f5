"""Saliency unlearning: which entries may change, that the others stay to the bit, and what it refuses."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multidelete.core.errors import ConfigError
from multidelete.data.pairs import PairData
from multidelete.methods import METHODS, GradDiff, GradientMethod, Job, SalUn
from multidelete.methods.base import sample_retain
from multidelete.methods.importance import draw_gallery, mean_gradient
from multidelete.models import Adapter
from multidelete.training.frozen import FrozenEntries
from multidelete.training.loop import Run, run_loop
from tests.tiny import differing, own_clip, parted, people, quick, trained, weights

GRADIENT_METHODS = sorted(name for name, method in METHODS.items() if issubclass(method, GradientMethod))


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def original(data: PairData) -> Adapter:
    return trained(own_clip(data), data.train, passes=3)


def job_of(adapter: Adapter, data: PairData, **changes: object) -> Job:
    forget, retain = parted(data, 2)
    return Job(copy.deepcopy(adapter), data.train, forget, retain, quick(**changes), seed=0)


def salient(original: Adapter, job: Job, fraction: float) -> dict[str, torch.Tensor]:
    """By hand: sort all absolute mean gradients, and take the largest share."""
    gallery = draw_gallery(original, sample_retain(job), 0)
    gradients = {n: g.abs() for n, g in mean_gradient(original, job.forget.pairs, gallery).items()}
    every = sorted((v for g in gradients.values() for v in g.flatten().tolist()), reverse=True)
    border = every[round(fraction * len(every)) - 1]
    return {name: (g >= border) & (g > 0) for name, g in gradients.items()}


@pytest.mark.parametrize("fraction", [0.5, 0.1])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_entries_that_are_not_salient_stay_to_the_bit(
    fraction: float, weight_decay: float, original: Adapter, data: PairData
) -> None:
    job = job_of(original, data, passes=3, weight_decay=weight_decay, lr=1e-3)
    masks = salient(original, job, fraction)
    after = SalUn(wrapped="grad_diff", fraction=fraction).run(job).adapter
    changed = 0
    for (name, before), now in zip(original.named_parameters(), after.parameters(), strict=True):
        moved = before != now
        assert not (moved & ~masks[name]).any(), name
        changed += int(moved.sum())
    assert changed > 0.9 * sum(int(mask.sum()) for mask in masks.values())


@pytest.fixture(scope="module")
def masks(original: Adapter, data: PairData) -> dict[str, torch.Tensor]:
    return salient(original, job_of(original, data), 0.3)


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_every_gradient_method_keeps_to_the_mask(
    name: str, original: Adapter, masks: dict[str, torch.Tensor], data: PairData
) -> None:
    job = job_of(original, data, lr=1e-3)
    after = SalUn(wrapped=name, fraction=0.3).run(job).adapter
    for (parameter, before), now in zip(original.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(before[~masks[parameter]], now[~masks[parameter]]), parameter
    assert differing(weights(original), weights(after))


def test_all_entries_with_a_gradient_are_the_method_itself(original: Adapter, data: PairData) -> None:
    """With the whole share and no decay, entries that nothing moves are all that is masked."""
    settings = {"passes": 2, "optimizer": "sgd", "lr": 0.05, "max_grad_norm": 0.0}
    plain = GradDiff(descent=0.0).run(job_of(original, data, **settings)).adapter
    job = job_of(original, data, **settings)
    everything = {name: torch.ones_like(p, dtype=torch.bool) for name, p in job.adapter.named_parameters()}
    masked = GradDiff(descent=0.0).run(replace(job, masks=everything)).adapter
    assert differing(weights(plain), weights(masked)) == []


def test_cost_counts_the_saliency(original: Adapter, data: PairData) -> None:
    job = job_of(original, data)
    alone = GradDiff().run(job_of(original, data))
    outcome = SalUn(wrapped="grad_diff").run(job)
    assert outcome.pairs_backward == alone.pairs_backward + len(job.forget) * 16
    assert outcome.reference_s > 0


def test_loop_settings_and_trainable_part_are_those_of_the_method(original: Adapter) -> None:
    wrapping = SalUn(wrapped="multidelete")
    assert wrapping.loop_settings() == METHODS["multidelete"]().loop_settings()
    assert wrapping.trainable(original) == "text"


def test_a_resumed_run_keeps_the_originals_entries(original: Adapter, data: PairData, tmp_path: Path) -> None:
    """The values to keep are noted before a checkpoint is read; the result is that of a run in one piece."""
    changes = {"passes": 2, "checkpoint_steps": 1, "lr": 1e-3, "weight_decay": 0.1}
    whole = SalUn(wrapped="grad_diff").run(job_of(original, data, **changes))
    job = replace(job_of(original, data, **changes), work=tmp_path)
    SalUn(wrapped="grad_diff").run(job)  # leaves the checkpoint of its last step
    resumed = SalUn(wrapped="grad_diff").run(replace(job_of(original, data, **changes), work=tmp_path, resume=True))
    assert differing(weights(whole.adapter), weights(resumed.adapter)) == []


@pytest.mark.parametrize("wrapped", ["retrain", "ssd", "salun"])
def test_methods_without_gradient_steps_are_refused(wrapped: str, original: Adapter, data: PairData) -> None:
    with pytest.raises(ConfigError, match=rf"wrapped is '{wrapped}', which takes no gradient steps"):
        SalUn(wrapped=wrapped).run(job_of(original, data))


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_shares_are_checked(fraction: float) -> None:
    with pytest.raises(ConfigError, match=rf"fraction is {fraction}; it must be above 0"):
        SalUn(fraction=fraction)


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown method 'random_lables'"):
        SalUn(wrapped="random_lables").loop_settings()


# Frozen entries


def test_masks_that_fit_no_parameter_are_the_programmers_error(original: Adapter) -> None:
    with pytest.raises(ValueError, match=r"the mask 'model.nothing' of shape \[2\]"):
        FrozenEntries(original, {"model.nothing": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"the mask 'model.logit_scale' of shape \[2\]"):
        FrozenEntries(original, {"model.logit_scale": torch.ones(2, dtype=torch.bool)})


def test_masked_gradients_do_not_count_in_clipping(original: Adapter, data: PairData) -> None:
    """With only one scalar free and SGD, the step is the clipped norm itself: 1 times the learning rate at most."""
    job = job_of(original, data, optimizer="sgd", lr=0.5, max_grad_norm=1e-6, passes=1, schedule="constant", warmup=0)
    masks = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in job.adapter.named_parameters()}
    masks["model.logit_scale"] = torch.ones_like(masks["model.logit_scale"])
    datasets = {"forget": job.forget, "retain": sample_retain(job)}
    run_loop(job.adapter, GradDiff(), datasets, settings=job.settings, seed=0, run=Run(masks=masks))
    assert differing(weights(original), weights(job.adapter)) == ["model.logit_scale"]
    moved = (job.adapter.model.logit_scale - original.model.logit_scale).abs().item()
    assert moved == pytest.approx(0.5e-6, rel=0.5)
