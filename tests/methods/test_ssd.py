"""Selective synaptic dampening: the rule by hand, what it leaves alone, and what it refuses."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from multidelete.core.errors import ConfigError
from multidelete.data.pairs import PairData
from multidelete.methods import SSD, Job
from multidelete.methods.base import sample_retain
from multidelete.methods.importance import draw_gallery, importance
from multidelete.models import Adapter
from tests.tiny import differing, own_clip, parted, people, quick, trained, weights


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def original(data: PairData) -> Adapter:
    return trained(own_clip(data), data.train, passes=5)


def job_of(adapter: Adapter, data: PairData, **changes: object) -> Job:
    return Job(copy.deepcopy(adapter), data.train, *parted(data, 2), quick(**changes), seed=0)


def test_weights_are_those_of_the_rule(original: Adapter, data: PairData) -> None:
    """w becomes w min(lambda I_D / I_F, 1) where I_F > alpha I_D, entry by entry in plain Python.

    8 of 32 pairs are forgotten, all others are sampled: I_D = (8 I_F + 24 I_R) / 32.
    """
    job = job_of(original, data)
    gallery = draw_gallery(original, sample_retain(job), 0)
    of_forget = importance(original, job.forget.pairs, gallery)
    of_retain = importance(original, job.retain.pairs, gallery)
    outcome = SSD(alpha=1.5, strength=0.8).run(job)
    after, dampened = dict(outcome.adapter.named_parameters()), 0
    for name, before in original.named_parameters():
        flat = (t.flatten().tolist() for t in (before, after[name], of_forget[name], of_retain[name]))
        for old, new, forget, retain in zip(*flat, strict=True):
            overall = (8 * forget + 24 * retain) / 32
            factor = min(0.8 * overall / forget, 1) if forget > 1.5 * overall else 1
            assert math.isclose(new, old * factor, rel_tol=1e-3, abs_tol=1e-9)
            dampened += factor < 1
    assert outcome.history[0]["dampened"] == pytest.approx(dampened, abs=2)
    assert dampened > 100
    assert outcome.pairs_backward == 32 * 16


def test_nothing_grows_and_most_stays(original: Adapter, data: PairData) -> None:
    """With a lambda far above 1 the factor is cut at 1, so nothing changes at all."""
    after = SSD(strength=1e6).run(job_of(original, data)).adapter
    assert differing(weights(original), weights(after)) == []
    after = SSD().run(job_of(original, data)).adapter
    kept = sum(int((a == b).sum()) for a, b in zip(weights(original).values(), weights(after).values(), strict=True))
    total = sum(t.numel() for t in weights(original).values())
    assert total / 2 < kept < total


def test_the_loops_batch_size_does_not_matter(original: Adapter, data: PairData) -> None:
    after = [weights(SSD().run(job_of(original, data, batch_size=size)).adapter) for size in (2, 16)]
    assert differing(*after) == []


def test_the_gallery_is_of_the_seed(original: Adapter, data: PairData) -> None:
    one, again, other = (weights(SSD().run(replace(job_of(original, data), seed=n)).adapter) for n in (0, 0, 1))
    assert differing(one, again) == []
    assert differing(one, other)


def test_only_trainable_parameters_are_dampened(original: Adapter, data: PairData) -> None:
    job = job_of(original, data)
    for name, parameter in job.adapter.named_parameters():
        parameter.requires_grad_("text" in name)
    changed = differing(weights(original), weights(SSD().run(job).adapter))
    assert changed
    assert all("text" in name for name in changed)


def test_an_alpha_that_could_select_nothing_is_lowered(original: Adapter, data: PairData) -> None:
    """Of 32 pairs 8 go, so nothing can be 4 times as important to them as to all."""
    asked, lower = (SSD(alpha=alpha, share=0.5).run(job_of(original, data)) for alpha in (4.0, 2.0))
    assert asked.decisions == lower.decisions == {"alpha": 2.0}
    assert differing(weights(asked.adapter), weights(lower.adapter)) == []
    assert asked.history[0]["dampened"] > 0
    assert SSD(alpha=1.5, share=0.5).run(job_of(original, data)).decisions == {"alpha": 1.5}


@pytest.mark.parametrize("setting", ["alpha", "strength"])
def test_settings_are_checked(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"{setting} is 0.0; it must be greater than 0"):
        SSD(**{setting: 0.0})
    with pytest.raises(ConfigError, match=r"share is 1.0; it must be above 0 and below 1"):
        SSD(share=1.0)


def test_importance_ignores_dropout(data: PairData) -> None:
    adapter = own_clip(data).train()
    found = [importance(adapter, data.train.pairs[:2], data.train.pairs[8:12]) for _ in range(2)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert adapter.training
