"""Weights in few bits: rounded as stated, and what rounding brings back is found."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from multidelete.audits import AuditInput, ModelSignals, compression
from multidelete.audits.compression import compressed
from multidelete.data.pairs import Pair
from multidelete.models import Adapter
from tests.audits.world import every, model, models_of, pick, run
from tests.tiny import differing, family_model, people, scores, trained, weights

HEADLINE = "sensitive recall@1 image to text among all training texts, {}-bit weights"
MEMBERSHIP = "sensitive membership auc, {}-bit weights"
TO_RETRAINED, TO_UNCOMPRESSED = ", difference to retrained", ", difference to uncompressed"


class Layers(nn.Module):
    """Every sort of parameter that there is to round, or not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.conv, self.table = nn.Linear(7, 5), nn.Conv2d(3, 4, 2), nn.Embedding(6, 3)
        self.norm, self.token = nn.LayerNorm(5), nn.Parameter(torch.randn(1, 1, 8))
        with torch.no_grad():
            self.linear.weight[2] = 0.0


def naive(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Channel by channel and weight by weight."""
    largest = 2 ** (bits - 1) - 1
    out = weight.clone()
    for channel in out:
        flat = channel.view(-1)
        m = max(abs(w.item()) for w in flat)
        for i, w in enumerate(flat):
            flat[i] = 0.0 if m == 0 else round(w.item() / m * largest) * m / largest
    return out


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_weights_are_rounded_as_one_by_one_and_nothing_else_is(bits: int) -> None:
    layers = Layers()
    before = weights(layers)
    after = weights(compressed(layers, bits))  # type: ignore[arg-type]
    for name in ("linear.weight", "conv.weight", "table.weight"):
        assert after[name] == pytest.approx(naive(before[name], bits).numpy(), abs=1e-6)
        assert all(len(channel.unique()) <= 2**bits - 1 for channel in after[name].flatten(1))
    changed = {"linear.weight", "conv.weight", "table.weight"}
    assert set(differing(before, after)) == changed
    assert not differing(before, weights(layers)), "the model given was changed"


def test_one_bit_is_refused() -> None:
    with pytest.raises(ValueError, match="1 bits; a sign and a magnitude take at least 2"):
        compressed(Layers(), 1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    return run(models_of(model(forget=0.0, model_seed=4)))


def rounded_to(audit: AuditInput, unlearned: ModelSignals) -> dict[int, dict[str, ModelSignals]]:
    """Rounding that changes the unlearned model alone."""
    return {4: {**audit.models, "unlearned": unlearned}}


def test_forgotten_pairs_that_come_back_are_found(audit: AuditInput) -> None:
    rows = compression.figures(audit, rounded_to(audit, audit.original))
    back = pick(rows, HEADLINE.format(4) + TO_UNCOMPRESSED, "unlearned", "forget")
    assert (back.value, back.low, back.better) == (1.0, 1.0, "target")
    assert pick(rows, HEADLINE.format(4) + TO_RETRAINED, "unlearned", "forget").value == 1.0
    told = pick(rows, MEMBERSHIP.format(4) + TO_UNCOMPRESSED, "unlearned")
    assert (told.low or 0) > 0.3
    assert pick(rows, MEMBERSHIP.format(4), "unlearned").value == 1.0


def test_rounding_that_changes_nothing_shows_nothing(audit: AuditInput) -> None:
    rows = compression.figures(audit, {8: audit.models, 4: audit.models})
    changes = [row for row in rows if row.figure.endswith(TO_UNCOMPRESSED)]
    assert len(changes) == 2 * 3 * 3
    assert {(row.value, row.low, row.high) for row in changes} == {(0.0, 0.0, 0.0)}


def test_retrained_model_and_a_broken_one_do_not_pass_for_each_other(audit: AuditInput) -> None:
    """The retrained model stays where it is; random weights lose what was to be kept."""
    rows = compression.figures(audit, rounded_to(audit, model(forget=0.0, retain=0.0, looks=0.0, model_seed=9)))
    assert pick(rows, HEADLINE.format(4), "retrained", "retain sample").value == 1.0
    lost = pick(rows, HEADLINE.format(4) + TO_UNCOMPRESSED, "unlearned", "retain sample")
    assert (lost.high or 0) < -0.8


def test_what_cannot_be_searched_or_attacked_is_absent_with_its_reason(audit: AuditInput) -> None:
    bare = every(audit, {"embeddings": None})
    rows = compression.figures(bare, {4: bare.models})
    assert "no joint embedding space" in (pick(rows, HEADLINE.format(4), "unlearned", "forget").absent or "")
    assert pick(rows, MEMBERSHIP.format(4), "unlearned").value is not None
    alone = replace(audit, models={name: replace(m, test=None) for name, m in audit.models.items()})
    rows = compression.figures(alone, {4: alone.models})
    assert "there are no sensitive held-out pairs" in (pick(rows, MEMBERSHIP.format(4), "unlearned").absent or "")


def test_an_association_hidden_below_the_rounding_comes_back() -> None:
    """Real weights: a 4-bit model, moved by less than half a step until it no longer knows its pairs."""
    data = people(8)
    known = compressed(trained(family_model("clip", data), data.train, passes=15), 4)
    pairs = list(data.train)
    hidden = hide(known, pairs)
    strong, weak, back = (float(scores(m, pairs).mean()) for m in (known, hidden, compressed(hidden, 4)))
    assert weak < strong - 0.2
    assert back == pytest.approx(strong, abs=0.01)


def hide(known: Adapter, pairs: list[Pair]) -> Adapter:
    """Lower the pairs' scores by moves that rounding undoes: each channel's largest weight stays."""
    moved = compressed(known, 4)
    rounded = {n: p for n, p in moved.named_parameters() if p.ndim > 1 and n.endswith("weight")}
    start = {n: p.detach().clone() for n, p in rounded.items()}
    room = {}
    for name, p in start.items():
        largest = p.flatten(1).abs().amax(dim=1).reshape(-1, *[1] * (p.ndim - 1))
        room[name] = torch.where(p.abs() < largest * 0.999, 0.45 * largest / 7, 0.0)
    batch = moved.eval().collate(pairs)
    for _ in range(15):
        loss = moved(batch).score.mean()
        gradients = torch.autograd.grad(loss, list(rounded.values()), allow_unused=True)
        with torch.no_grad():
            for (name, p), g in zip(rounded.items(), gradients, strict=True):
                if g is not None:
                    p -= 0.2 * room[name] * g.sign()
                    p.copy_(torch.maximum(torch.minimum(p, start[name] + room[name]), start[name] - room[name]))
    return moved
