"""Descent-to-delete: fine-tuning, then the noise: its size, its place, its seed."""

import copy
from dataclasses import replace

import pytest
import torch

from multidelete.core.errors import ConfigError
from multidelete.data.pairs import PairData
from multidelete.methods import DescentToDelete, FineTune, Job
from multidelete.models import Adapter
from tests.tiny import differing, own_clip, parted, people, quick, record_collated, trained, weights


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def original(data: PairData) -> Adapter:
    return trained(own_clip(data), data.train, passes=3)


def job_of(adapter: Adapter, data: PairData, *, seed: int = 0) -> Job:
    return Job(copy.deepcopy(adapter), data.train, *parted(data, 2), quick(), seed=seed)


def noise(sigma: float, original: Adapter, data: PairData, seed: int = 0) -> dict[str, torch.Tensor]:
    """What the method adds to fine-tuning."""
    tuned = weights(FineTune().run(job_of(original, data, seed=seed)).adapter)
    after = weights(DescentToDelete(sigma=sigma).run(job_of(original, data, seed=seed)).adapter)
    return {name: after[name] - tuned[name] for name in after}


def test_noise_has_the_standard_deviation_that_was_asked_for(original: Adapter, data: PairData) -> None:
    """Of N entries the sample's deviation lies within 4 / sqrt(2 N) of sigma, and its mean within 4 / sqrt(N) sigma."""
    every = torch.cat([t.flatten() for name, t in noise(0.03, original, data).items() if t.is_floating_point()])
    number = sum(p.numel() for p in original.parameters())
    assert every.std().item() == pytest.approx(0.03, rel=4 / (2 * number) ** 0.5 + 1e-3)
    assert abs(every.mean().item()) < 4 * 0.03 / number**0.5


def test_no_noise_is_fine_tuning(original: Adapter, data: PairData) -> None:
    assert all(float(t.abs().max()) == 0 for t in noise(0.0, original, data).values())


def test_noise_is_of_the_seed_and_scales_with_sigma(original: Adapter, data: PairData) -> None:
    one, again, other = (noise(0.02, original, data, seed=seed) for seed in (0, 0, 1))
    twice = noise(0.04, original, data)
    assert differing(one, again) == []
    assert not torch.allclose(one["model.text_projection.weight"], other["model.text_projection.weight"], atol=1e-3)
    for name, tensor in one.items():
        torch.testing.assert_close(twice[name], 2 * tensor, rtol=1e-3, atol=1e-5)


def test_frozen_parts_get_no_noise(original: Adapter, data: PairData) -> None:
    job = job_of(original, data)
    for name, parameter in job.adapter.named_parameters():
        parameter.requires_grad_("text_projection" in name)
    after = DescentToDelete().run(job).adapter
    assert differing(weights(original), weights(after)) == ["model.text_projection.weight"]


def test_forget_pairs_are_never_seen(original: Adapter, data: PairData) -> None:
    job = job_of(original, data)
    seen = record_collated(job.adapter)
    DescentToDelete().run(replace(job, settings=quick(passes=3)))
    assert seen
    assert not set(seen) & set(job.forget.ids)


def test_sigma_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"sigma is -0.1; it must be 0 or more"):
        DescentToDelete(sigma=-0.1)
