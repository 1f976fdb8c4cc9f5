"""K-FADE: the step against a dense solution, the curvature against finite differences, and its bound."""

import math

import pytest
import torch
from torch import Tensor, nn

from multidelete.core.errors import ConfigError, DivergedError, UnsupportedError
from multidelete.curvature.metric import ParameterMetric
from multidelete.curvature.rows import PairGradients
from multidelete.data.pairs import Pair
from multidelete.methods import KFADE, Outcome
from multidelete.methods.base import sample_retain
from multidelete.methods.batch_loss import loss_gradient, mean_loss
from multidelete.methods.importance import draw_gallery
from multidelete.methods.kfade import Curvature, curvature_of, step_within
from multidelete.methods.random_labels import wrong_pairs
from tests.curvature.singly import Around, net_of, packed, pairs_of, score
from tests.methods.cells import World, world
from tests.models.cases import Case
from tests.tiny import differing, quick, record_collated, scores, weights

CLIP = Case("clip", "retrieval", 1)


@pytest.fixture(scope="module")
def one() -> World:
    return world(CLIP)


@pytest.fixture(scope="module")
def outcome(one: World) -> Outcome:
    return KFADE().run(one.job(quick()))


def kept(one: World) -> list[Pair]:
    """Retain pairs, and the same with a wrong caption each: all that there are."""
    parts = {"forget": one.retain, "retain": one.retain}
    return [*one.retain, *wrong_pairs(one.original, parts, one.data.train, pool="retain", seed=one.seed)]


def curvature(one: World) -> Curvature:
    pairs = kept(one)
    return curvature_of(one.original, pairs, scores(one.original, pairs)[:, None], 0.3)


def test_step_is_that_of_a_dense_solve() -> None:
    """D = radius (H + damping)^-1 g / sqrt(<g, (H + damping)^-1 g>), with H as an explicit matrix, in float64."""
    generator = torch.Generator().manual_seed(4)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    left, right = (torch.linalg.qr(drawn(size, size)).Q for size in (3, 4))
    metric = {
        "matrix": ParameterMetric(drawn(3, 4).square(), left, right),
        "vector": ParameterMetric(drawn(5).square()),
    }
    dampings, gradient = {"matrix": 0.2, "vector": 0.7}, {"matrix": drawn(3, 4), "vector": drawn(5), "other": drawn(2)}
    basis = torch.kron(left.double(), right.double())
    dense = torch.block_diag(
        basis @ metric["matrix"].moments.double().flatten().diag() @ basis.T + 0.2 * torch.eye(12),
        metric["vector"].moments.double().diag() + 0.7 * torch.eye(5),
    )
    g = torch.cat([gradient["matrix"].flatten(), gradient["vector"]]).double()
    expected = 0.5 * torch.linalg.solve(dense, g) / (g @ torch.linalg.solve(dense, g)).sqrt()
    change = Curvature(metric, dampings, torch.ones(1)).steepest(gradient, 0.5)
    assert list(change) == ["matrix", "vector"]
    found = torch.cat([change["matrix"].flatten(), change["vector"]]).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert (found @ dense @ found).sqrt().item() == pytest.approx(0.5, rel=1e-4)
    others = drawn(200, 17).double()
    others *= 0.5 / torch.einsum("np,pq,nq->n", others, dense, others).sqrt()[:, None]
    assert (others @ g).max() < found @ g


def test_curvature_tells_how_far_scores_move_in_standard_deviations(one: World) -> None:
    """The moment of one entry of a bias is the mean squared derivative of the scores, by finite differences."""
    pairs, found = kept(one), curvature(one)
    before = scores(one.original, pairs)
    assert found.spread.item() == pytest.approx(before.std().item(), rel=1e-4)
    name = "model.text_model.final_layer_norm.bias"
    entry = int(found.metric[name].moments.argmax())
    adapter = one.job(quick()).adapter
    with torch.no_grad():
        adapter.get_parameter(name)[entry] += 1e-2
    moved = found.moved(adapter, pairs, before[:, None])
    assert moved == pytest.approx(1e-2 * found.metric[name].moments[entry].sqrt().item(), rel=0.05)
    assert found.metric.keys() <= dict(adapter.named_parameters()).keys()


def test_steps_raise_the_forget_loss_within_the_radius(one: World, outcome: Outcome) -> None:
    losses = [row["loss"] for row in outcome.history]
    assert len(losses) == 3
    assert losses == sorted(losses)
    job = one.job(quick())
    gallery = draw_gallery(one.original, sample_retain(job), 0)
    after = {part: mean_loss(outcome.adapter, pairs.pairs, gallery, "") for part, pairs in
             (("forget", one.forget), ("retain", one.retain))}  # fmt: skip
    assert after["forget"] > losses[-1] > losses[0]
    assert after["forget"] - losses[0] > 3 * after["retain"]
    assert all(0 < row["moved"] <= 0.1 and 0 < row["part"] <= 1 for row in outcome.history)


def test_radius_bounds_how_far_kept_scores_move(one: World) -> None:
    moved = []
    for radius in (0.05, 0.2):
        after = KFADE(steps=1, radius=radius).run(one.job(quick())).adapter
        before = scores(one.original, kept(one))
        moved.append(((scores(after, kept(one)) - before) / before.std()).square().mean().sqrt().item())
        assert 0 < moved[-1] <= radius * 1.001
    assert moved[1] > 1.5 * moved[0]


def test_curvature_spares_kept_pairs_what_plain_ascent_costs_them(one: World) -> None:
    """Of two steps that raise the forget loss as much, the plain gradient's moves kept scores farther."""
    adapter = one.job(quick()).adapter
    gallery = draw_gallery(adapter, sample_retain(one.job(quick())), 0)
    before, pairs, found = weights(adapter), kept(one), curvature(one)
    start = scores(adapter, pairs)[:, None]
    loss, gradient = loss_gradient(adapter, one.forget.pairs, gallery, "")
    moved = {}
    for name, way in (("kfade", found.steepest(gradient, 0.1)), ("plain", gradient)):
        length = 1.0
        for _ in range(30):  # the length that raises the loss by about a half
            with torch.no_grad():
                for parameter, one_way in way.items():
                    adapter.get_parameter(parameter).add_(length * one_way)
            rise = mean_loss(adapter, one.forget.pairs, gallery, "") - loss
            moved[name] = found.moved(adapter, pairs, start)
            adapter.load_state_dict(before)
            if rise <= 0.5:
                break
            length /= 1.5
        assert rise > 0.2
    assert moved["kfade"] < 0.7 * moved["plain"]


def test_layers_that_are_not_trained_stay(one: World) -> None:
    job = one.job(quick())
    for name, parameter in job.adapter.named_parameters():
        parameter.requires_grad_("text_model" in name)
    changed = differing(weights(one.original), weights(KFADE(steps=1).run(job).adapter))
    assert changed
    assert all("text_model" in name for name in changed)


def test_matching_heads_hold_the_similarity_too() -> None:
    """Where the score does not depend on what is trained, the curvature is that of the similarity alone."""
    albef = world(Case("albef", "retrieval", 1))
    job = albef.job(quick())
    for name, parameter in job.adapter.named_parameters():
        parameter.requires_grad_("text_proj" in name)
    outcome = KFADE(steps=1).run(job)
    assert set(differing(weights(albef.original), weights(outcome.adapter))) == {
        "model.text_proj.weight",
        "model.text_proj.bias",
    }
    assert 0 < outcome.history[0]["moved"] <= 0.1


def test_cost_is_what_was_asked_and_no_more_than_planned(one: World) -> None:
    job, method = one.job(quick()), KFADE(steps=2, curvature_pairs=10)
    planned = method.planned(job)
    seen = record_collated(job.adapter)
    after = method.run(job)
    assert after.pairs_forward + after.pairs_backward == len(seen)
    assert len({name for name in seen if "+" in name}) == 5  # with a wrong caption each
    assert after.pairs_backward == planned.pairs_backward
    assert 0 < after.pairs_forward <= planned.pairs_forward


@pytest.mark.parametrize("distance", [1.0, math.inf, math.nan])
def test_steps_that_stay_too_long_are_refused_and_undone(distance: float, one: World) -> None:
    adapter = one.job(quick()).adapter
    change = {"model.text_projection.weight": torch.ones_like(adapter.model.text_projection.weight)}
    with pytest.raises(DivergedError, match=r"more than 0\.1 standard deviations"):
        step_within(adapter, change, lambda: distance, 0.1, 1.0)
    assert differing(weights(one.original), weights(adapter)) == []


def test_steps_are_shortened_until_they_hold(one: World) -> None:
    adapter = one.job(quick()).adapter
    change = {"model.text_projection.weight": torch.ones_like(adapter.model.text_projection.weight)}
    told = iter([1.2, 0.3, 0.1])
    part, distance, tries = step_within(adapter, change, lambda: next(told), 0.15, 0.8)
    assert (distance, tries) == (0.1, 3)
    assert part == pytest.approx(0.8 / 8 / 3)
    moved = weights(adapter)["model.text_projection.weight"] - weights(one.original)["model.text_projection.weight"]
    torch.testing.assert_close(moved, torch.full_like(moved, part), rtol=0, atol=1e-6)


def test_model_without_a_known_layer_is_refused(one: World) -> None:
    job = one.job(quick())
    for name, parameter in job.adapter.named_parameters():
        parameter.requires_grad_(name == "model.logit_scale")
    with pytest.raises(UnsupportedError, match="no score depends on such a layer that is trained"):
        KFADE().run(job)


def test_loss_without_a_gradient_is_refused(one: World) -> None:
    flat = {name: torch.zeros_like(parameter) for name, parameter in one.original.named_parameters()}
    with pytest.raises(UnsupportedError, match="no way leads uphill"):
        curvature(one).steepest(flat, 0.1)


def test_scores_that_are_not_finite_are_refused(one: World) -> None:
    with pytest.raises(DivergedError, match="is not finite"):
        curvature_of(one.original, one.retain.pairs, torch.full((8, 1), torch.nan), 0.3)


@pytest.mark.parametrize(
    ("setting", "value"), [("steps", 0), ("radius", 0.0), ("damping", 0.0), ("curvature_pairs", 3)]
)
def test_settings_are_checked(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{setting} is {value}; it must be"):
        KFADE(**{setting: value})


def test_layers_that_late_pairs_show_to_be_used_otherwise_stay() -> None:
    texts = torch.randn(40, 4, 5, generator=torch.Generator().manual_seed(3))
    for number, text in enumerate(texts):
        text[4 if number == 5 else 2 :] = 0  # one text is longer, beyond those that tell how large gradients are
    pairs = pairs_of(list(texts))
    network = net_of(nn.Sequential(Around(nn.Linear(5, 5), packed), nn.Linear(5, 5)))
    said = network(network.collate(pairs)).score.detach()[:, None]
    each = sum(rows.nbytes for rows in PairGradients(network).of(pairs[-1:], [score], 1)[0].values())
    found = curvature_of(network, pairs, said, 0.3, most_bytes=2 * each)  # two at a time
    assert {*found.metric} == {"net.1.weight", "net.1.bias"}
