"""Layers as people use them: rows are right, or their parameters are named as left."""

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, MPNetConfig, PreTrainedConfig, Swinv2Config, ViTConfig

from multidelete.curvature.rows import PairGradients
from multidelete.data.pairs import PairData
from multidelete.methods.base import Job
from multidelete.methods.judge import Judge
from multidelete.methods.solved import SolvedLegs
from multidelete.methods.weights import weights_of
from multidelete.models import Adapter
from multidelete.models.fresh import PAD, train_tokenizer
from tests.curvature.singly import Around, drawn_pairs, net_of, packed, pairs_of, score, wrong_rows
from tests.tiny import SIDE, SIZE, _vision_text, captions, differing, parted, people, quick, weights


class Scaled(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return 7 * super().forward(input)


class Learned(nn.Embedding):
    """Of positions in states that it is given."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(torch.arange(input.shape[1]).expand(len(input), -1))


class Standardised(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return self._conv_forward(input, self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True), self.bias)


class Padded(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(nn.functional.pad(input, (1, 1, 1, 1)))


class ChannelsLast(nn.GroupNorm):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input.movedim(-1, 1)).movedim(1, -1)


class OfChannels(nn.LayerNorm):
    """As those of segmentation models: over the second dimension, and without saying so."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class Formatted(OfChannels):
    """As ConvNeXt's, which says so."""

    data_format = "channels_first"


def entries(x: Tensor) -> Tensor:
    return (3 * x.abs()).long().clamp(max=5)


def without_gradient(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = layer[0](x)
    return layer[1](y)


def of_some(layer: nn.Module, x: Tensor) -> Tensor:
    chosen = (x[:, 0] > 0).nonzero()[:, 0]
    return x.index_add(0, chosen, layer(x[chosen]))


def places_first(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (x.shape[1], -1)).transpose(0, 1)


def tied() -> nn.Module:
    pair = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5))
    pair[2].weight = pair[0].weight
    return pair


def table_that_is_read_twice() -> nn.Module:
    layer = nn.Sequential(nn.Embedding(6, 5), nn.Tanh(), nn.Linear(5, 6, bias=False))
    layer[2].weight = layer[0].weight
    return layer


normed = nn.utils.parametrizations.weight_norm
RIGHT = {
    "linear": (lambda: nn.Linear(5, 6), (5,)),
    "linear of places": (lambda: nn.Linear(5, 6), (3, 2, 5)),
    "linear and relu in place": (lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(True), nn.Linear(6, 3)), (5,)),
    "linear without bias and relu in place": (lambda: nn.Sequential(nn.Linear(5, 6, False), nn.ReLU(True)), (3, 5)),
    "norm and relu in place": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.Conv2d(4, 2, 3)), (3, 8, 8),
    ),
    "convolution": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 8, 8)),
    "convolution of groups": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2), (4, 8, 8)),
    "convolution that keeps the size": (lambda: nn.Conv2d(3, 4, 3, padding="same", dilation=2), (3, 8, 8)),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(4), (4,)),
    "batch norm of rows": (lambda: nn.BatchNorm1d(4), (4, 7)),
    "batch norm of square rows": (lambda: nn.BatchNorm1d(4), (4, 4)),
    "group norm of vectors": (lambda: nn.GroupNorm(2, 4), (4,)),
    "group norm of rows": (lambda: nn.GroupNorm(2, 4), (4, 7)),
    "group norm of volumes": (lambda: nn.GroupNorm(2, 4), (4, 3, 3, 3)),
    "layer norm": (lambda: nn.LayerNorm(5, bias=False), (3, 2, 5)),
    "layer norm of two dimensions": (lambda: nn.LayerNorm((3, 5)), (3, 5)),
    "layer norm of channels that says so": (lambda: Formatted(4), (4, 3, 3)),
    "table": (lambda: Around(nn.Embedding(6, 5, padding_idx=1), lambda e, x: e(entries(x))), (3,)),
    "table of positions": (
        lambda: Around(nn.Embedding(4, 5), lambda e, x: x + e(torch.arange(4)[None]).relu_()), (4, 5),
    ),
    "layer called by keyword": (lambda: Around(nn.Linear(5, 5), lambda a, x: a(input=x)), (5,)),
    "layer called twice": (lambda: Around(nn.Linear(5, 5), lambda a, x: a(a(x).tanh())), (5,)),
    "layer called without gradient": (
        lambda: Around(nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5)), without_gradient), (5,),
    ),
    "layer that is not called": (lambda: Around(nn.Linear(5, 5), lambda a, x: x), (5,)),
    "weight of two layers": (tied, (5,)),
}  # fmt: skip
BOTH = {"net.layer.weight", "net.layer.bias"}
LEFT = {
    "convolution with reflections": (
        lambda: Around(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), lambda a, x: a(x)), (3, 8, 8), BOTH,
    ),
    "convolution around the edge": (
        lambda: Around(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), lambda a, x: a(x)), (3, 8, 8), BOTH,
    ),
    "convolution of a class of its own": (
        lambda: Around(Standardised(3, 4, 3), lambda a, x: a(x)), (3, 8, 8), BOTH,
    ),
    "convolution that pads by itself": (lambda: Around(Padded(3, 4, 3), lambda a, x: a(x)), (3, 8, 8), BOTH),
    "convolution of one picture": (
        lambda: Around(nn.Conv2d(3, 4, 3), lambda a, x: x.sum(dim=(2, 3)) * a(x[0]).mean()), (3, 8, 8), BOTH,
    ),
    "group norm of a class of its own": (lambda: Around(ChannelsLast(2, 4), lambda a, x: a(x)), (3, 3, 4), BOTH),
    "layer norm without pairs": (
        lambda: Around(nn.LayerNorm((4, 5)), lambda a, x: x + a(torch.arange(20.0).view(4, 5))), (4, 5), BOTH,
    ),
    "layer norm of channels": (lambda: Around(OfChannels(4), lambda a, x: a(x)), (4, 4, 4), BOTH),
    "table with a scale": (lambda: Around(Scaled(6, 5), lambda e, x: e(entries(x))), (3,), {"net.layer.weight"}),
    "table that is given something else": (
        lambda: Around(Learned(6, 5), lambda e, x: x + e(x)), (4, 5), {"net.layer.weight"},
    ),
    "table that a linear layer reads too": (
        lambda: Around(table_that_is_read_twice(), lambda a, x: a(entries(x))), (3,), {"net.layer.0.weight"},
    ),
    "table with sparse gradients": (
        lambda: Around(nn.Embedding(6, 5, sparse=True), lambda e, x: e(entries(x))), (3,), {"net.layer.weight"},
    ),
    "positions as many as pairs": (
        lambda: Around(nn.Embedding(4, 5), lambda e, x: x + e(torch.arange(4))), (4, 5), {"net.layer.weight"},
    ),
    "positions, more than pairs": (
        lambda: Around(nn.Embedding(5, 5), lambda e, x: x + e(torch.arange(5))), (5, 5), {"net.layer.weight"},
    ),
    "positions of which the first row is taken": (
        lambda: Around(nn.Embedding(4, 5), lambda e, x: x + e(torch.arange(4)[None])[0]), (4, 5), {"net.layer.weight"},
    ),
    "one entry for all": (
        lambda: Around(nn.Embedding(5, 5), lambda e, x: x * e(torch.tensor(3))), (5,), {"net.layer.weight"},
    ),
    "one row for all": (
        lambda: Around(nn.Embedding(5, 5), lambda e, x: x * e(torch.tensor([[3]])).view(5)), (5,), {"net.layer.weight"},
    ),
    "distances without pairs": (
        lambda: Around(nn.Embedding(8, 1), lambda e, x: x * e(torch.arange(4)[:, None] + torch.arange(4)).flatten(1)),
        (4, 4), {"net.layer.weight"},
    ),
    "weight read beside the layer": (
        lambda: Around(nn.Linear(5, 5), lambda a, x: a(x).tanh() @ a.weight), (5,), {"net.layer.weight"},
    ),
    "weight hardly read beside the layer": (
        lambda: Around(nn.Linear(5, 5), lambda a, x: a(x) + 0.05 * x @ a.weight), (5,), {"net.layer.weight"},
    ),
    "weight read without the layer": (
        lambda: Around(nn.Linear(5, 5), lambda a, x: x @ a.weight), (5,), {"net.layer.weight"},
    ),
    "places first": (
        lambda: Around(nn.Linear(5, 5), lambda a, x: a(x.transpose(0, 1)).transpose(0, 1)), (4, 5), BOTH,
    ),
    "places first in one row": (lambda: Around(nn.Linear(5, 5), places_first), (4, 5), BOTH),
    "view changed in place": (lambda: Around(nn.Linear(5, 5), lambda a, x: a(x).relu_()), (3, 5), BOTH),
    "layer of some pairs": (lambda: Around(nn.Linear(5, 5), of_some), (5,), BOTH),
    "layer of no pair": (
        lambda: Around(nn.Linear(4, 4), lambda a, x: x + a(torch.ones(4))), (4,), BOTH,
    ),
    "convolution with weight norm": (
        lambda: Around(normed(nn.Conv2d(3, 4, 3)), lambda a, x: a(x)), (3, 8, 8),
        {"net.layer.bias", *(f"net.layer.parametrizations.weight.original{at}" for at in (0, 1))},
    ),
    "linear with weight norm of old": (
        lambda: Around(nn.utils.weight_norm(nn.Linear(5, 5)), lambda a, x: a(x)), (5,),
        {"net.layer.bias", "net.layer.weight_g", "net.layer.weight_v"},
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize("name", [*RIGHT, *LEFT])
@pytest.mark.parametrize("batch_size", [4, 2])
def test_rows_are_those_of_single_pairs_or_parameters_are_left(name: str, batch_size: int) -> None:
    make, shape, left = LEFT[name] if name in LEFT else (*RIGHT[name], set())
    pairs = drawn_pairs(4, *shape)
    gradients = PairGradients(net_of(make()))
    rows = gradients.of(pairs, [score], batch_size)[0]
    assert set(gradients.left) == left
    assert wrong_rows(gradients, pairs, rows) == {}
    assert left.isdisjoint(rows)


@pytest.mark.parametrize("name", ["places first in one row", "positions, more than pairs", "layer of some pairs"])
def test_what_is_right_for_one_pair_is_left_once_there_are_more(name: str) -> None:
    make, shape, left = LEFT[name]
    pairs = drawn_pairs(4, *shape)
    pairs = [pair for pair in pairs if pair.inputs["image"].flatten()[0] > 0] + pairs  # type: ignore[attr-defined]
    gradients = PairGradients(net_of(make()))
    alone = gradients.of(pairs[:1], [score], 1)[0]
    assert alone.keys() == left
    assert wrong_rows(gradients, pairs[:1], alone) == {}
    together = gradients.of(pairs[1:], [score], 4)[0]
    assert together == {}
    assert set(gradients.left) == left


def test_layer_that_some_batches_do_not_use_is_left() -> None:
    make, shape, left = LEFT["layer of some pairs"]
    gradients = PairGradients(net_of(make()))
    assert gradients.of(drawn_pairs(8, *shape), [score], 1)[0] == {}
    assert set(gradients.left) == left


def test_tokens_without_padding_are_left_when_texts_differ_in_length() -> None:
    """As many of each in one batch, not in the next."""
    drawn = torch.randn(4, 4, 5, generator=torch.Generator().manual_seed(3))
    for one, length in zip(drawn, (2, 2, 2, 4), strict=True):
        one[length:] = 0
    pairs = pairs_of(list(drawn))
    gradients = PairGradients(net_of(Around(nn.Linear(5, 5), packed)))
    first = gradients.of(pairs[:2], [score], 2)[0]
    assert first.keys() == BOTH
    assert wrong_rows(gradients, pairs[:2], first) == {}
    assert gradients.of(pairs[2:], [score], 2)[0] == {}
    assert set(gradients.left) == BOTH


@pytest.mark.parametrize("first", [0.0, float("nan")])
def test_layers_are_compared_again_where_a_batch_told_nothing(first: float) -> None:
    def gated(layer: nn.Module, x: Tensor) -> Tensor:
        gate, table = layer
        return x + gate * table(torch.arange(4))

    layer = nn.ParameterList([nn.Parameter(torch.zeros(1))])
    layer.append(nn.Embedding(4, 5))  # type: ignore[arg-type]
    adapter = net_of(Around(layer, gated))
    gate: nn.Parameter = layer[0]
    gate.requires_grad_(False)
    gate.fill_(first)
    gradients = PairGradients(adapter)
    pairs = drawn_pairs(4, 4, 5)
    gradients.of(pairs, [score], 4)
    gate.fill_(1.0)
    assert gradients.of(pairs, [score], 4)[0] == {}
    assert gradients.left == ["net.layer.1.weight"]


def test_each_number_is_compared() -> None:
    """The second number alone passes through what is wrong."""
    branches = nn.ModuleList([nn.Linear(5, 5), Around(nn.Embedding(4, 5), lambda e, x: x + e(torch.arange(4)))])
    adapter = net_of(Around(branches, lambda both, x: torch.stack([one(x) for one in both], dim=1)))
    halves = [lambda outputs, batch, at=at: outputs.joint.unflatten(1, (2, -1))[:, at].sin().sum(1) for at in (0, 1)]
    gradients = PairGradients(adapter)
    first, second = gradients.of(drawn_pairs(4, 4, 5), halves, 4)
    assert first.keys() == second.keys() == {"net.layer.0.weight", "net.layer.0.bias"}
    assert gradients.left == ["net.layer.1.layer.weight"]


def test_norms_of_batches_are_understood_in_evaluation_mode_whenever_it_begins() -> None:
    adapter = net_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    gradients = PairGradients(adapter.train())
    assert gradients.left == ["net.1.weight", "net.1.bias"]
    adapter.eval()
    pairs = drawn_pairs(4, 3, 8, 8)
    assert wrong_rows(gradients, pairs, gradients.of(pairs, [score], 4)[0]) == {}
    assert gradients.left == []


def test_comparison_draws_nothing_and_changes_no_row() -> None:
    adapter, pairs = net_of(nn.Sequential(nn.Linear(5, 6), nn.Dropout(), nn.Linear(6, 3))), drawn_pairs(8, 5)
    before = torch.get_rng_state()
    gradients = PairGradients(adapter)
    compared, after = (gradients.of(pairs, [score], 4)[0] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one.dense(), after[name].dense()) for name, one in compared.items())


def test_half_precision_is_held_to_what_it_can_say() -> None:
    make, shape, left = LEFT["places first"]
    deep = nn.Sequential(*(one for _ in range(6) for one in (nn.LayerNorm(5), nn.Linear(5, 5), nn.Tanh())))
    for net, expected in ((deep, set()), (make(), left)):
        gradients = PairGradients(net_of(net).bfloat16())
        pairs = drawn_pairs(4, *shape)
        pairs = pairs_of([pair.inputs["image"].bfloat16() for pair in pairs])  # type: ignore[attr-defined]
        gradients.of(pairs, [score], 4)
        assert set(gradients.left) == expected


@pytest.mark.parametrize("bound", [1, 3, 7])
def test_rows_of_as_few_pairs_as_fit_are_those_of_all(bound: int) -> None:
    """One pair's gradients may take more than a batch's are to take."""
    adapter = net_of(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)))
    pairs = drawn_pairs(16, 3, 5)
    gradients = PairGradients(adapter)
    whole = gradients.of(pairs, [score, score], 16)
    most = bound * sum(one.nbytes for rows in whole for one in rows.values()) // 16
    adapter.sizes.clear()
    fitting = gradients.fitting(pairs, [score, score], 16, most)
    assert fitting == bound
    assert adapter.sizes[0] == 2
    assert max(adapter.sizes[1:]) <= bound
    held = list(gradients.pieces(pairs, [score, score], 16, fitting))
    assert all(sum(one.nbytes for one in rows.values()) <= most for rows in held)
    for name, one in whole[0].items():
        found = torch.cat([rows[name].dense().chunk(2)[0] for rows in held])
        order = [at for piece in range(len(held)) for at in range(piece, 16, len(held))]
        torch.testing.assert_close(found, one.dense()[order])


def test_at_least_one_pair_fits() -> None:
    gradients, pairs = PairGradients(net_of(nn.Linear(5, 6))), drawn_pairs(3, 5)
    assert gradients.fitting(pairs, [score], 32, 1) == 1


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(6, unseen=6)


def joined(data: PairData, vision: PreTrainedConfig, text: type[PreTrainedConfig]) -> Adapter:
    tokenizer = train_tokenizer(captions(data), SIZE)
    tokenizer.model_max_length = 10**30
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    torch.manual_seed(0)
    told = text(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                intermediate_size=64, max_position_embeddings=60, pad_token_id=PAD)  # fmt: skip
    adapter = _vision_text(vision, told, tokenizer)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)  # so that scores differ
    return adapter.eval()


VIT = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=SIDE,
                patch_size=16)  # fmt: skip
SWIN = Swinv2Config(image_size=SIDE, patch_size=4, embed_dim=16, depths=[2], num_heads=[2], window_size=4)
SHARED = {  # bias of positions, which a batch looks up once
    "mpnet": (VIT, MPNetConfig, {"model.text_model.encoder.relative_attention_bias.weight"}),
    "swinv2": (SWIN, BertConfig, {
        f"model.vision_model.encoder.layers.0.blocks.{block}.attention.self.continuous_position_bias_mlp.{at}"
        for block in (0, 1) for at in ("0.weight", "0.bias", "2.weight")
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("batch_size", [2, 5])
def test_encoders_with_positions_that_pairs_share(name: str, batch_size: int, data: PairData) -> None:
    vision, text, shared = SHARED[name]
    gradients = PairGradients(joined(data, vision, text))
    pairs = sorted(data.train.pairs, key=lambda pair: len(pair.text))[:10]  # of all lengths that have as many as pairs
    rows = gradients.of(pairs, [score], batch_size)[0]
    assert wrong_rows(gradients, pairs, rows) == {}
    assert shared <= set(gradients.left)
    assert len(rows) > 30


@pytest.mark.parametrize("name", SHARED)
def test_solved_leg_moves_all_but_positions_that_pairs_share(name: str, data: PairData) -> None:
    vision, text, shared = SHARED[name]
    adapter = joined(data, vision, text)
    forget, retain = parted(data, 1)
    job = Job(adapter, data.train, forget, retain, quick(pace="auto"), 0, holdout=data.splits["val"])
    before, judge = weights(adapter), Judge(job)
    start = judge.measure()
    SolvedLegs(job, judge, 1, weights_of(adapter)).take(0, start, start)
    changed = set(differing(before, weights(adapter)))
    assert len(changed) > 30
    assert changed.isdisjoint(shared)
