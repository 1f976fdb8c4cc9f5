"""SLUG: the layer and the step by hand, the front and the search against brute force, and what it aims at."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from multidelete.core.errors import ConfigError, DivergedError, UnsupportedError
from multidelete.data.pairs import Batch, Pair, PairDataset
from multidelete.methods import SLUG, Job, Outcome
from multidelete.methods.base import sample_retain
from multidelete.methods.batch_loss import loss_gradient, mean_loss
from multidelete.methods.importance import draw_gallery
from multidelete.methods.slug import LEVEL, layer_weights, pareto_front, rate, search_length
from multidelete.methods.standing import CLOSE
from tests.methods.cells import World, world
from tests.models.cases import Case
from tests.tiny import differing, own_clip, parted, people, quick, record_collated, scores, trained, weights

METHOD = SLUG(layers=3, trials=6)


@pytest.fixture(scope="module")
def one() -> World:
    return world(Case("clip", "retrieval", 1))


@pytest.fixture(scope="module")
def outcome(one: World) -> Outcome:
    return METHOD.run(one.job(quick()))


def layer(outcome: Outcome) -> str:
    return next(iter(outcome.decisions)).removeprefix("length in ")


def gradients(job: Job, pairs: PairDataset) -> dict[str, Tensor]:
    return loss_gradient(job.adapter, pairs.pairs, gallery(job), "")[1]


def gallery(job: Job) -> list[Pair]:
    return draw_gallery(job.adapter, sample_retain(job), job.seed)


def rated(job: Job) -> dict[str, tuple[float, float]]:
    """Importance and alignment of each layer, in float64."""
    forget, retain = gradients(job, job.forget), gradients(job, sample_retain(job))
    found = {}
    for name, weight in layer_weights(job.adapter).items():
        w, f, r = (tensor.flatten().double() for tensor in (weight, forget[name], retain[name]))
        found[name] = ((f.norm() / w.norm()).item(), (f @ r / (f.norm() * r.norm())).abs().item())
        assert rate(weight, forget[name], retain[name]) == pytest.approx(found[name], rel=1e-4, abs=1e-5)
    return found


def test_one_layer_of_the_front_moves_along_its_forget_gradient(one: World, outcome: Outcome) -> None:
    job = one.job(quick())
    name, length = layer(outcome), next(iter(outcome.decisions.values()))
    assert differing(weights(one.original), weights(outcome.adapter)) == [name]
    before, after = (dict(model.named_parameters())[name].detach() for model in (one.original, outcome.adapter))
    forget = gradients(job, job.forget)[name]
    torch.testing.assert_close(after - before, length * before.norm() / forget.norm() * forget, rtol=1e-3, atol=1e-6)
    assert length > 0
    points = rated(job)
    assert not any(more > points[name][0] and less < points[name][1] for more, less in points.values())


def test_forget_pairs_end_where_unseen_ones_are(one: World, outcome: Outcome) -> None:
    """A step towards zero similarity, or as long as it takes for none to be found, would leave them below."""
    unseen = one.data.splits["val"].pairs

    def gap(adapter: torch.nn.Module) -> float:
        return (scores(adapter, one.forget.pairs).mean() - scores(adapter, unseen).mean()).item()  # type: ignore[arg-type]

    assert gap(one.original) > 0.1
    assert abs(gap(outcome.adapter)) < gap(one.original) / 5
    assert abs(outcome.decisions["gap"]) <= LEVEL < 1 < outcome.decisions["gap_before"]


def test_pairs_that_lie_below_unseen_ones_rise() -> None:
    """Pairs that nobody trained on are forgotten, and memorised ones stand for the unseen."""
    data = people(16, unseen=8)
    original = trained(own_clip(data), data.train)
    seen, kept = parted(data, 12)
    train = PairDataset([*data.splits["val"], *kept], "train")
    job = Job(copy.deepcopy(original), train, data.splits["val"], kept, quick(), seed=0, holdout=seen)
    after = METHOD.run(job)
    assert after.decisions["gap_before"] < 0
    assert next(iter(after.decisions.values())) < 0
    assert scores(after.adapter, job.forget.pairs).mean() > scores(original, job.forget.pairs).mean()


def test_of_layers_whose_gap_closes_the_one_with_the_lowest_retain_loss_is_taken() -> None:
    one = world(Case("albef", "classification", 1))
    job = one.job(quick())
    after = METHOD.run(job)
    sampled = sample_retain(job).pairs
    closed = [row for row in after.history if abs(row["gap"]) <= CLOSE]
    assert len(closed) > 1
    taken = min(closed, key=lambda row: row["retain_loss"])
    assert taken is not after.history[0], "here the most important layer is not the best"
    assert after.decisions[f"length in {layer(after)}"] == taken["length"]
    assert mean_loss(after.adapter, sampled, [], "") == pytest.approx(taken["retain_loss"], rel=1e-4)


def test_front_is_that_of_brute_force_over_points_with_ties() -> None:
    drawn = torch.randint(0, 6, (40, 2), generator=torch.Generator().manual_seed(3)).double().tolist()
    points = [(more, less) for more, less in drawn]
    beaten = {a for a in range(40) for b in range(40) if points[b][0] > points[a][0] and points[b][1] < points[a][1]}
    assert pareto_front(points) == [at for at in range(40) if at not in beaten]
    assert 0 < len(beaten) < 40


def test_search_doubles_until_it_is_too_far_and_then_halves() -> None:
    def lengths(close: float, trials: int) -> list[float]:
        return [length for length, _ in search_length(lambda length: close - length, 0.1, trials)]

    assert lengths(1.3, 9) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 1.2, 1.4, 1.3])
    assert lengths(1.3, 6) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 1.2])
    assert lengths(0.0, 9) == pytest.approx([0.1, 0.05])
    assert lengths(math.inf, 3) == pytest.approx([0.1, 0.2, 0.4])
    broken = search_length(lambda length: math.nan if length > 0.35 else 0.3 - length, 0.1, 9)
    assert [length for length, _ in broken] == pytest.approx([0.1, 0.2, 0.4, 0.3])


def test_tables_and_positions_are_no_layers(one: World) -> None:
    names = layer_weights(one.original)
    assert "model.text_projection.weight" in names
    assert not [name for name in names if "token_embedding" in name or "position_embedding" in name]


def test_cost_is_what_was_asked_and_no_more_than_planned(one: World) -> None:
    job, method = one.job(quick()), SLUG(layers=2, trials=2)
    planned = method.planned(job)
    seen = record_collated(job.adapter)
    after = method.run(job)
    assert after.pairs_forward + after.pairs_backward == len(seen)
    assert after.pairs_backward == planned.pairs_backward
    assert 0 < after.pairs_forward <= planned.pairs_forward


def test_without_held_out_pairs_unassociated_ones_are_the_aim(one: World) -> None:
    after = METHOD.run(replace(one.job(quick()), holdout=None))
    assert abs(after.decisions["gap"]) <= CLOSE < after.decisions["gap_before"]


def test_model_without_a_layer_to_step_in_is_refused(one: World) -> None:
    job = one.job(quick())
    for name, parameter in job.adapter.named_parameters():
        parameter.requires_grad_(name == "model.logit_scale")
    with pytest.raises(UnsupportedError, match="has a gradient in no layer that is trained"):
        METHOD.run(job)


def test_held_out_scores_that_are_not_finite_are_refused(one: World) -> None:
    job = one.job(quick())
    real = job.adapter.collate

    def collate(pairs: Sequence[Pair]) -> Batch:
        batch = real(pairs)
        if pairs[0].id in one.data.splits["val"].ids:
            batch.inputs["image"]["pixel_values"].fill_(torch.nan)
        return batch

    job.adapter.collate = collate  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="forget pairs lie nan from unseen ones"):
        METHOD.run(job)


@pytest.mark.parametrize(("setting", "value"), [("layers", 0), ("trials", 0), ("first_length", 0.0)])
def test_settings_are_checked(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{setting} is {value}; it must be"):
        SLUG(**{setting: value})
