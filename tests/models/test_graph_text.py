"""What the graph-text family promises beyond the contract of all families."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch_geometric", reason="needs the extra graph")

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig

from multidelete.core.errors import CheckpointError, ConfigError, DataError, UnsupportedError
from multidelete.data.graph import Graph
from multidelete.data.pairs import Pair, PairData, text_source
from multidelete.models import Adapter, load_adapter
from multidelete.models.base import PairOutputs
from multidelete.models.graph_text import (
    GraphTextAdapter,
    GraphTextConfig,
    GraphTextForClassification,
    GraphTextForRetrieval,
    GraphTextProcessor,
)
from tests.relations import SIZE, articles, graph_text, relations

CASES = {
    "relations": lambda: (relations(), "sage"),
    "relations gcn": lambda: (relations(), "gcn"),
    "relations gat": lambda: (relations(), "gat"),
    "articles": lambda: (articles(), "sage"),
    "relations of nodes with features": lambda: (with_features(relations()), "sage"),
    "articles about nodes with features": lambda: (with_features(articles()), "gcn"),
}
each_case = pytest.mark.parametrize("case", CASES)


def with_features(data: PairData) -> PairData:
    """The same pairs, with an element and a charge for each node; of some nodes the charge is not known."""
    assert data.graph is not None
    count = len(data.graph.nodes)
    elements, charges = [("C", "N", "O")[n % 3] for n in range(count)], [("", "+", "-")[n % 3] for n in range(count)]
    return replace(data, graph=replace(data.graph, features={"element": elements, "charge": charges}))


def made(case: str) -> tuple[PairData, Adapter]:
    data, encoder = CASES[case]()
    return data, livened(graph_text(data, encoder)).eval()


def livened(adapter: Adapter) -> Adapter:
    """With weights as large as trained ones, so that no difference drowns in rounding."""
    with torch.no_grad():
        for parameter in adapter.model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return adapter


def answers(adapter: Adapter, pairs: list[Pair]) -> PairOutputs:
    with torch.no_grad():
        outputs: PairOutputs = adapter(adapter.collate(pairs))
    return outputs


def assert_same(one: PairOutputs, row: int, other: PairOutputs, at: int) -> None:
    for first, second in ((one.joint, other.joint), *((one.unimodal[m], other.unimodal[m]) for m in ("graph", "text"))):
        torch.testing.assert_close(first[row], second[at], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.score[row], other.score[at], atol=1e-5, rtol=1e-5)


@each_case
def test_outputs_have_the_stated_shapes(case: str) -> None:
    data, adapter = made(case)
    out = answers(adapter, data.train[[0, 1, 2, 3, 4]])
    assert adapter.modalities == ("graph", "text")
    assert out.score.shape == (5,)
    assert out.unimodal["text"].shape == (5, SIZE.width)
    assert {t.dtype for t in (out.joint, out.score, *out.unimodal.values())} == {torch.float32}
    if data.classes:
        assert (adapter.task, adapter.classes) == ("classification", ("no relation", "relation"))
        assert out.unimodal["graph"].shape == (5, 2 * SIZE.width)
        assert out.joint.shape == (5, SIZE.width)
        assert out.logits.shape == (5, 2)
        assert out.embeddings is None
    else:
        assert (adapter.task, adapter.classes) == ("retrieval", ())
        assert out.unimodal["graph"].shape == (5, SIZE.width)
        assert out.logits is None
        for modality in ("graph", "text"):
            torch.testing.assert_close(out.embeddings[modality].norm(dim=-1), torch.ones(5))
        torch.testing.assert_close(out.joint, out.embeddings["graph"] * out.embeddings["text"])
        torch.testing.assert_close(out.score, out.joint.sum(dim=-1))


@each_case
def test_a_pair_alone_gets_the_same_outputs_as_among_others(case: str) -> None:
    """Neither order nor neighbours count, nor padding up to longer texts and larger neighbourhoods."""
    data, adapter = made(case)
    pairs = data.train[[0, 7, 3, 9, 4]]
    together, turned = answers(adapter, pairs), answers(adapter, pairs[::-1])
    for row, pair in enumerate(pairs):
        alone = answers(adapter, [pair])
        assert_same(alone, 0, together, row)
        assert_same(alone, 0, turned, len(pairs) - 1 - row)
    assert not torch.allclose(together.joint[0], together.joint[1], atol=1e-2)


@each_case
def test_scores_are_the_models_own(case: str) -> None:
    data, adapter = made(case)
    batch = adapter.collate(data.train[list(range(10))])
    own = adapter.model(**batch.inputs["graph"], **batch.inputs["text"])
    score_B = adapter(batch).score
    if data.classes:
        log_p = own.logits.log_softmax(dim=1).gather(1, batch.labels[:, None]).squeeze(1)
        torch.testing.assert_close(score_B, log_p - torch.log(-torch.expm1(log_p)), atol=1e-4, rtol=1e-4)
        predicted = adapter(replace(batch, labels=None)).score
        torch.testing.assert_close(predicted, score_B.abs())  # of two classes
        assert {bool(s > 0) for s in score_B} == {True, False}
    else:
        cosine = F.cosine_similarity(own.graph_embeds, own.text_embeds)
        torch.testing.assert_close(score_B, cosine)


@each_case
def test_a_repaired_batch_joins_other_texts_to_the_nodes(case: str) -> None:
    data, adapter = made(case)
    pairs = data.train[[0, 3, 5, 8]]
    order = torch.tensor([2, 0, 3, 1])
    exchanged = [
        Pair(id="x", inputs={**p.inputs, "text": q.inputs["text"]}, sources={**p.sources, "text": q.sources["text"]})
        for p, q in zip(pairs, [pairs[i] for i in order.tolist()], strict=True)
    ]
    with torch.no_grad():
        repaired = adapter(adapter.collate(pairs).repair(order))
    before, expected = answers(adapter, pairs), answers(adapter, exchanged)
    for row in range(4):
        assert_same(repaired, row, expected, row)
    assert torch.equal(repaired.unimodal["graph"], before.unimodal["graph"])
    assert (repaired.joint - before.joint).abs().amax(dim=1).min() > 1e-3


@each_case
def test_gradients_reach_every_parameter(case: str) -> None:
    """All but the text encoder's key biases, which softmax cancels."""
    data, adapter = made(case)
    batch = adapter.collate(data.train.pairs)
    adapter.task_loss(adapter(batch), batch).mean().backward()
    without = [name for name, p in adapter.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in without if not name.endswith("key.bias")] == []


@each_case
def test_unimodal_outputs_are_before_the_joint_space(case: str) -> None:
    data, adapter = made(case)
    before = answers(adapter, data.train[[0, 1, 2]])
    joint = set(adapter.joint_parameters())
    assert joint < {name for name, _ in adapter.named_parameters()}
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name in joint:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    after = answers(adapter, data.train[[0, 1, 2]])
    for modality in ("graph", "text"):
        assert torch.equal(before.unimodal[modality], after.unimodal[modality])
    assert not torch.allclose(before.score, after.score, atol=1e-2)


def test_classification_loss_is_the_cross_entropy_of_the_label() -> None:
    data, adapter = made("relations")
    batch = adapter.collate(data.train[[0, 1, 2, 3]])
    outputs = adapter(batch)
    expected = [-torch.log_softmax(outputs.logits[row], 0)[label] for row, label in enumerate(batch.labels.tolist())]
    torch.testing.assert_close(adapter.task_loss(outputs, batch), torch.stack(expected))
    unlabelled = replace(batch, labels=None)
    with pytest.raises(DataError, match="pairs have no labels"):
        adapter.task_loss(adapter(unlabelled), unlabelled)


def test_retrieval_loss_takes_no_pair_that_shares_a_member_as_negative() -> None:
    """Against plain loops; the last two articles are on the same entities."""
    data, adapter = made("articles")
    pairs = data.train.pairs
    batch = adapter.collate(pairs)
    outputs = adapter(batch)
    assert pairs[-1].sources["graph"] == pairs[-2].sources["graph"]
    scale = adapter.model.logit_scale.detach().exp()
    assert adapter.logit_scale == pytest.approx(float(scale))
    similarity = scale * outputs.embeddings["graph"] @ outputs.embeddings["text"].T

    def expected(i: int) -> Tensor:
        others = [j for j in range(len(pairs)) if j == i or pairs[i].sources["graph"] != pairs[j].sources["graph"]]
        own = others.index(i)
        row, column = similarity[i][others], similarity[others, i]
        return -(torch.log_softmax(row, 0)[own] + torch.log_softmax(column, 0)[own]) / 2

    torch.testing.assert_close(
        adapter.task_loss(outputs, batch), torch.stack([expected(i) for i in range(len(pairs))]), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("encoder", ["sage", "gat"])
def test_neighbourhoods_give_the_states_of_the_whole_graph(encoder: str) -> None:
    """Without sampling, the named nodes' states are those of a pass over all nodes and edges.

    Not so for GCN, which divides by the degrees that nodes have in the neighbourhood.
    """
    data = relations()
    adapter = livened(graph_text(data, encoder)).eval()
    adapter.model.config.fanout, adapter.model.config.hide_own_edge = None, False
    both_ways = torch.tensor(data.graph.edges)
    both_ways = torch.cat([both_ways, both_ways.flip(1)])
    with torch.no_grad():
        whole = adapter.model.graph_encoder(torch.arange(len(data.graph.nodes))[None], both_ways[None])[0]
    outputs = answers(adapter, data.train.pairs)
    for row, pair in enumerate(data.train):
        expected = torch.cat([whole[data.graph.index[node]] for node in pair.inputs["graph"]])
        torch.testing.assert_close(outputs.unimodal["graph"][row], expected, atol=1e-5, rtol=1e-5)


def test_sage_layer_is_the_published_mean_aggregation() -> None:
    """W_1 x_v + W_2 mean of the neighbours' x, then GELU, added to x and normalised, by hand on a path a - b - c."""
    graph = Graph(["a", "b", "c"], torch.tensor([(0, 1), (1, 2)]).numpy(), "path")
    config = GraphTextConfig(
        text_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
        nodes=3,
        hops=1,
    )
    model = GraphTextForRetrieval(config).eval()
    encoder = model.graph_encoder
    layer = encoder.convolutions[0]
    x = encoder.norms[0](encoder.embedding.weight)
    around_b = graph.neighbourhood(["b"], hops=1)
    states = encoder(torch.tensor([around_b.nodes]), torch.tensor([around_b.edges]))[0, around_b.roots[0]]
    mixed = x[1] @ layer.lin_r.weight.T + (x[0] + x[2]) / 2 @ layer.lin_l.weight.T + layer.lin_l.bias
    torch.testing.assert_close(states, encoder.norms[1](x[1] + F.gelu(mixed)))


def test_a_pairs_own_edge_does_not_count_for_itself_but_for_others() -> None:
    data, adapter = made("relations")
    positive = next(pair for pair in data.train if pair.label == 1)
    other = next(p for p in data.train if p.inputs["graph"][0] == positive.inputs["graph"][0] and p.label == 0)
    before = answers(adapter, [positive, other])
    edges = len(adapter.processor.graph.edges)
    adapter.remove([positive], [pair for pair in data.train if pair.inputs["graph"] != positive.inputs["graph"]])
    assert len(adapter.processor.graph.edges) == edges - 1
    after = answers(adapter, [positive, other])
    assert_same(before, 0, after, 0)
    assert not torch.allclose(before.unimodal["graph"][1], after.unimodal["graph"][1], atol=1e-3)
    seen = graph_text(data)
    seen.model.config.hide_own_edge = False
    assert not torch.allclose(
        answers(seen, [positive]).unimodal["graph"], answers(graph_text(data), [positive]).unimodal["graph"], atol=1e-3
    )


def test_removed_edges_are_gone_from_the_saved_folder(tmp_path: Path) -> None:
    data, adapter = made("relations")
    forget = [pair for pair in data.train if pair.subject == "study 1"]
    retain = [pair for pair in data.train if pair.subject != "study 1"]
    stated = {pair.inputs["graph"] for pair in forget if pair.label == 1}
    adapter.remove(forget, retain)
    adapter.save(tmp_path / "model")
    graph = load_adapter(tmp_path / "model").processor.graph
    joined = {frozenset((graph.nodes[a], graph.nodes[b])) for a, b in graph.edges.tolist()}
    assert stated
    assert not {frozenset(nodes) for nodes in stated} & joined
    assert len(graph.edges) == len(data.graph.edges) - len(stated)
    assert list(graph.nodes) == list(data.graph.nodes)


def test_an_edge_that_a_retained_pair_states_stays() -> None:
    data, adapter = made("relations")
    positive = [pair for pair in data.train if pair.label == 1]
    adapter.remove(positive[:1], data.train.pairs[1:])
    assert positive[1].inputs["graph"] == positive[0].inputs["graph"]
    assert adapter.processor.graph.digest == data.graph.digest


@each_case
def test_save_then_load_is_bit_equal(case: str, tmp_path: Path) -> None:
    data, adapter = made(case)
    adapter.save(tmp_path / "model")
    again = load_adapter(tmp_path / "model").eval()
    assert type(again) is GraphTextAdapter
    assert (again.task, again.classes) == (adapter.task, adapter.classes)
    before, after = adapter.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.processor.graph.digest == data.graph.digest
    for modality, tensors in adapter.collate(data.train.pairs).inputs.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, again.collate(data.train.pairs).inputs[modality][name])
    assert torch.equal(answers(adapter, data.train.pairs).joint, answers(again, data.train.pairs).joint)
    again.save(tmp_path / "again")
    for name in ("model.safetensors", "graph.safetensors", "graph.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_the_network_loads_by_its_own_class_and_its_configuration_by_auto_config(tmp_path: Path) -> None:
    data, adapter = made("relations gat")
    adapter.save(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(str(tmp_path)), GraphTextConfig)
    model = GraphTextForClassification.from_pretrained(str(tmp_path)).eval()
    batch = adapter.collate(data.train[[0, 1]])
    with torch.no_grad():
        own = model(**batch.inputs["graph"], **batch.inputs["text"])
    assert torch.equal(own.logits, answers(adapter, data.train[[0, 1]]).logits)
    assert model.config.id2label == {0: "no relation", 1: "relation"}


def test_a_feature_counts_and_nodes_of_one_value_share_its_embedding() -> None:
    data, adapter = made("relations of nodes with features")
    encoder = adapter.model.graph_encoder
    assert [embedding.num_embeddings for embedding in encoder.features] == [4, 3]
    before = answers(adapter, data.train.pairs)
    with torch.no_grad():
        encoder.features[0].weight[2] += torch.linspace(-1, 1, encoder.features[0].embedding_dim)  # N
    after = answers(adapter, data.train.pairs)
    graph = adapter.processor.graph
    elements = dict(zip(graph.nodes, graph.features["element"], strict=True))
    around = [graph.neighbourhood(pair.inputs["graph"], hops=2, hide_own_edge=True).nodes for pair in data.train]
    sees = ["N" in [elements[graph.nodes[node]] for node in nodes] for nodes in around]
    moved = (before.unimodal["graph"] - after.unimodal["graph"]).abs().amax(dim=1) > 1e-4
    assert moved.tolist() == sees
    assert any(sees)


def test_a_graph_with_other_features_is_refused() -> None:
    _, adapter = made("relations of nodes with features")
    plain = replace(adapter.processor.graph, features={})
    with pytest.raises(CheckpointError, match=r"the features \{\}, by .* the model was made for \{'element': 4"):
        GraphTextAdapter(adapter.model, GraphTextProcessor(plain, adapter.processor.tokenizer))


def test_features_stay_when_edges_are_removed() -> None:
    data, adapter = made("relations of nodes with features")
    features = adapter.processor.graph.features
    adapter.remove(data.train.pairs[:1], data.train.pairs[1:])
    assert adapter.processor.graph.features == features


def test_pairs_that_the_model_cannot_read_are_refused(tmp_path: Path) -> None:
    data, adapter = made("relations")
    strange = replace(data.train[0], inputs={"graph": ("gene:0", "trait:x"), "text": "t"})
    alone = replace(data.train[1], id="alone", inputs={"graph": ("gene:0",), "text": "t"})
    with pytest.raises(DataError) as caught:
        adapter.collate([strange, alone])
    assert caught.value.problems == [
        "1 node is not in the model's graph relations: trait:x. A model knows the nodes it was made with; train "
        "one whose graph has them.",
        "1 pair does not name 2 nodes, as the classifier needs: alone.",
    ]
    with pytest.raises(DataError, match="1 pair names no node: article-0"):
        made("articles")[1].collate([replace(articles().train[0], inputs={"graph": (), "text": "t"})])
    with pytest.raises(CheckpointError, match=r"The graph ring has 9 nodes, and the model was made for 15"):
        GraphTextAdapter(adapter.model, GraphTextProcessor(articles().graph, adapter.processor.tokenizer))
    with pytest.raises(ConfigError, match="graph_encoder is 'gin'; it must be one of sage, gcn, gat"):
        GraphTextConfig(graph_encoder="gin")
    adapter.save(tmp_path)
    (tmp_path / "graph.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no readable graph"):
        load_adapter(tmp_path)


def test_over_long_texts_are_counted_and_cut() -> None:
    data, adapter = made("relations")
    long = "gene " * 40
    over = replace(
        data.train[0],
        id="over",
        inputs={**data.train[0].inputs, "text": long},
        sources={"graph": "x", "text": text_source(long)},
    )
    assert adapter.truncated([*data.train[[0, 1]], over]) == ["over"]
    assert adapter.collate([over]).inputs["text"]["input_ids"].shape == (1, SIZE.context)


@pytest.mark.parametrize(
    "case", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("relations", "relations gat")), "articles"]
)
def test_training_memorises(case: str) -> None:
    data, encoder = CASES[case]()
    adapter = graph_text(data, encoder)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=3e-3)
    batch = adapter.collate(data.train.pairs)
    first = adapter.task_loss(adapter(batch), batch).mean().item()
    for _ in range(60):
        loss = adapter.task_loss(adapter(batch), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < first / 3


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of None fails as one of a package that is not installed; the family is known all the same."""
    monkeypatch.setitem(sys.modules, "torch_geometric.nn.conv", None)
    with pytest.raises(UnsupportedError, match=r"torch_geometric.*Install it with: pip install '\.\[graph\]'"):
        graph_text(articles())
