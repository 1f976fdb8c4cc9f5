"""Gradients of single pairs from one backward pass, against autograd's pair by pair."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from multidelete import LoraSettings
from multidelete.curvature.rows import MatrixRows, PairGradients, TableRows
from multidelete.models.lora import add_lora
from tests.curvature.singly import score, wrong_rows
from tests.models.cases import CASES, Case, case_adapter, case_data

TEXTS = ("a cat", "a cat that sleeps on the warm roof of a very old house beside the river")
QUICK = ("clip retrieval", "albef retrieval", "graph-text classification")  # of each sort of network one
every_case = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if str(case) in QUICK else [pytest.mark.slow], id=str(case)) for case in CASES]
)


@every_case
def test_rows_equal_autograd_of_single_pairs(case: Case) -> None:
    data = case_data(case)
    adapter = case_adapter(case, data).eval()
    pairs = data.train.pairs[:5]
    gradients = PairGradients(adapter)
    rows = gradients.of(pairs, [score], batch_size=5)[0]
    assert wrong_rows(gradients, pairs, rows) == {}
    assert set(gradients.left).isdisjoint(rows)
    assert rows
    layers = [name for name, layer in adapter.named_modules() if type(layer) in (nn.Linear, nn.LayerNorm, nn.Embedding)]
    assert [name for name in gradients.left if name.rpartition(".")[0] in layers] == []


@every_case
def test_rows_of_lora_equal_autograd_of_single_pairs(case: Case) -> None:
    """With something learned already: at first no score depends on what LoRA reads, or on what it writes in a table."""
    data = case_data(case)
    adapter = case_adapter(case, data).eval()
    add_lora(adapter, LoraSettings(r=3, alpha=4.0), seed=0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if ".lora_B." in name or ".lora_embedding_A." in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    pairs = data.train.pairs[:5]
    gradients = PairGradients(adapter)
    rows = gradients.of(pairs, [score], batch_size=5)[0]
    assert gradients.left == []
    assert wrong_rows(gradients, pairs, rows) == {}
    assert any(isinstance(one, TableRows) for one in rows.values())


def test_padding_takes_no_room() -> None:
    data = case_data(CASES[0])
    adapter = case_adapter(CASES[0], data).eval()
    gradients = PairGradients(adapter)
    short, long = (replace(data.train[0], id=text, inputs=data.train[0].inputs | {"text": text}) for text in TEXTS)
    alone = gradients.of([short], [score], 1)[0]
    beside = gradients.of([short, long], [score], 2)[0]
    name = next(name for name in alone if "text" in name and isinstance(alone[name], MatrixRows))
    torch.testing.assert_close(alone[name].dense()[0], beside[name].dense()[0], rtol=1e-3, atol=1e-5)
    twice = gradients.of([short, short], [score], 2)[0]
    assert twice[name].nbytes == 2 * alone[name].nbytes < beside[name].nbytes
