"""Graph and text: relations between nodes that a sentence states, and graph-text retrieval.

Needs the extra ``graph``.

Shape suffixes: B pairs of this process, G pairs of all processes, N nodes of a neighbourhood, E edges,
K named nodes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from multidelete.core.errors import CheckpointError, DataError, first_few
from multidelete.core.foreign import explained
from multidelete.core.runtime import gather_with_grad
from multidelete.core.words import counted
from multidelete.data.collate import stacked_labels, stacked_sources
from multidelete.data.graph import EDGES_FILE, NAMES_FILE, Graph, nodes_of
from multidelete.data.pairs import Batch, Pair
from multidelete.models.base import PairOutputs, Task
from multidelete.models.candidates import candidates
from multidelete.models.classes import name_classes
from multidelete.models.fresh import LOGIT_SCALE, NewModel
from multidelete.models.graph_network import GraphTextConfig, GraphTextForClassification, GraphTextForRetrieval
from multidelete.models.prepared import PreparedAdapter, class_log_odds, class_loss

__all__ = [
    "GraphTextAdapter",
    "GraphTextConfig",
    "GraphTextForClassification",
    "GraphTextForRetrieval",
    "GraphTextProcessor",
]


class GraphTextProcessor:
    """What turns pairs into tensors, beside the weights: the graph and the tokenizer."""

    def __init__(self, graph: Graph, tokenizer: PreTrainedTokenizerBase) -> None:
        self.graph = graph
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "GraphTextProcessor":
        """Read the graph and the tokenizer of a model folder or hub id.

        Raises:
            CheckpointError: One of them is missing or broken.
        """
        remedy = "A graph-text model holds both in its folder; give it as it was saved."
        with explained(f"{source} has no readable graph ({NAMES_FILE}, {EDGES_FILE}) or tokenizer", remedy):
            files = [cached_file(str(source), name) for name in (EDGES_FILE, NAMES_FILE)]
            tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
            return cls(Graph.load(Path(str(files[0])).parent), tokenizer)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write both into a model folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.graph.save(Path(folder))
        self.tokenizer.save_pretrained(str(folder))


class GraphTextAdapter(PreparedAdapter):
    """`GraphTextForClassification` and `GraphTextForRetrieval`.

    The graph's part of a pair is what reaches its named nodes within the model's hops, so its outputs
    depend on no other pair of the batch; which neighbours are sampled is decided by a hash of names
    (`Graph.neighbourhood`). u_graph is the named nodes' states, for retrieval their mean; u_text the text
    encoder's [CLS] state. h is what the classifier reads, or for retrieval the elementwise product of the
    two normalised embeddings.

    Raises:
        CheckpointError: The graph has other than the model's number of nodes, or other features.
    """

    family = "graph-text"
    description = "a graph encoder with a text encoder (our network): graph-text retrieval; relations"
    model_type = "graph-text"
    heads: ClassVar[Mapping[str, Task]] = {
        "GraphTextForRetrieval": "retrieval",
        "GraphTextForClassification": "classification",
    }
    classifiers = (GraphTextForClassification,)
    modalities = ("graph", "text")
    extra = "graph"
    processor_parts = ("graph", "tokenizer")

    @classmethod
    def read_processor(cls, source: str | Path) -> GraphTextProcessor:
        return GraphTextProcessor.from_pretrained(source)

    @classmethod
    def new(cls, wanted: NewModel, *, graph_encoder: str = "sage") -> tuple[PreTrainedModel, GraphTextProcessor]:
        """Each node gets an embedding, and so does each value of its features; the graph encoder looks two hops far.

        Raises:
            DataError: There is no graph.
        """
        graph = wanted.graph
        if graph is None:
            raise DataError(f"Family {cls.family} needs data with a graph, and this has none. Choose another family.")
        text = BertConfig(**wanted.text_settings, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        config = GraphTextConfig(
            text_config=text,
            nodes=len(graph.nodes),
            node_features=tuple(graph.feature_sizes.items()),
            graph_encoder=graph_encoder,
            projection_dim=wanted.size.projection,
            logit_scale_init_value=LOGIT_SCALE,
        )
        name_classes(config, wanted.classes)
        network = GraphTextForClassification if wanted.task == "classification" else GraphTextForRetrieval
        return network(config), GraphTextProcessor(graph, wanted.tokenizer)

    def __init__(self, model: PreTrainedModel, processor: GraphTextProcessor) -> None:
        super().__init__(model, processor)
        if len(processor.graph.nodes) != model.config.nodes:
            raise CheckpointError(
                f"The graph {processor.graph.name} has {counted(len(processor.graph.nodes), 'nodes')}, "
                "and the model was made for "
                f"{model.config.nodes}. Each node has an embedding: give the graph that the model was trained with."
            )

        made_for = dict(model.config.node_features)
        if list(processor.graph.feature_sizes.items()) != list(made_for.items()):
            raise CheckpointError(
                f"The nodes of the graph {processor.graph.name} have the features {processor.graph.feature_sizes}, by "
                f"their numbers of values, and the model was made for {made_for}. Each value has an embedding: give "
                "the graph that the model was trained with."
            )

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        """Neighbourhoods and token ids, side by side and padded.

        Graph inputs: ``nodes`` (B, N) positions in the graph, ``edges`` (B, E, 2) and ``roots`` (B, K)
        positions in ``nodes``, all int64 and padded with -1; ``features`` (B, N, F) where nodes have some.

        Raises:
            DataError: Pairs name unknown nodes, or another number than a classifier was made for.
        """
        self._check(pairs)
        config = self.model.config
        around = [
            self.processor.graph.neighbourhood(
                nodes_of(pair), hops=config.hops, fanout=config.fanout, hide_own_edge=config.hide_own_edge
            )
            for pair in pairs
        ]
        graph = {
            "nodes": _padded([one.nodes for one in around]),
            "edges": _padded([[end for edge in one.edges for end in edge] for one in around]).view(len(pairs), -1, 2),
            "roots": _padded([one.roots for one in around]),
        }
        if config.node_features:
            values = torch.from_numpy(self.processor.graph.feature_values)
            graph["features"] = values[graph["nodes"].clamp(min=0)]
        return Batch(
            ids=[pair.id for pair in pairs],
            inputs={"graph": graph, "text": self.texts([pair.text for pair in pairs])},
            sources=stacked_sources(pairs),
            labels=stacked_labels(pairs),
        )

    def _check(self, pairs: Sequence[Pair]) -> None:
        problems = []
        unknown = self.processor.graph.unknown(pairs)
        if unknown:
            problems.append(
                f"{counted(len(unknown), 'nodes are')} not in the model's graph {self.processor.graph.name}: "
                f"{first_few(unknown)}. A model knows the nodes it was made with; train one whose graph has them."
            )
        wanted = self.model.config.named_nodes if self.task == "classification" else None
        odd = [pair.id for pair in pairs if len(nodes_of(pair)) != wanted] if wanted else []
        empty = [pair.id for pair in pairs if not nodes_of(pair)]
        if odd:
            problems.append(
                f"{counted(len(odd), 'pairs do')} not name {wanted} nodes, as the classifier needs: {first_few(odd)}."
            )
        elif empty:
            problems.append(
                f"{counted(len(empty), 'pairs name')} no node: {first_few(empty)}. Each needs at least one."
            )
        if problems:
            raise DataError(problems)

    def forward(self, batch: Batch) -> PairOutputs:
        out = self.model(**batch.inputs["graph"], **batch.inputs["text"])
        unimodal = {"graph": out.u_graph.float(), "text": out.u_text.float()}
        joint_BD = out.joint.float()
        if self.task == "classification":
            logits_BC = out.logits.float()
            score_B = class_log_odds(logits_BC, batch.labels)
            return PairOutputs(unimodal=unimodal, joint=joint_BD, score=score_B, logits=logits_BC)
        embeddings = {"graph": out.graph_embeds, "text": out.text_embeds}
        return PairOutputs(unimodal=unimodal, joint=joint_BD, score=joint_BD.sum(dim=-1), embeddings=embeddings)

    def task_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        """Loss of each pair, (B,), in nats.

        Classification: cross-entropy of the label. Retrieval: symmetric contrastive cross-entropy
        (Radford et al. 2021) with negatives of all processes, of which none shares a member with the pair.

        Raises:
            DataError: A pair has no label, and the model is a classifier.
        """
        if self.task == "classification":
            return class_loss(outputs, batch)
        if outputs.embeddings is None:
            raise ValueError("a contrastive loss needs the embeddings of a dual encoder")
        graph_BD, text_BD = outputs.embeddings["graph"], outputs.embeddings["text"]
        own_B, shared_BG = candidates(batch)
        scale = self.model.logit_scale.exp().clamp(max=100.0)
        to_text_BG = (scale * graph_BD @ gather_with_grad(text_BD).T).masked_fill(shared_BG, float("-inf"))
        to_graph_BG = (scale * text_BD @ gather_with_grad(graph_BD).T).masked_fill(shared_BG, float("-inf"))
        losses = [F.cross_entropy(to_BG, own_B, reduction="none") for to_BG in (to_text_BG, to_graph_BG)]
        return (losses[0] + losses[1]) / 2

    def remove(self, pairs: Sequence[Pair], retained: Sequence[Pair]) -> None:
        """Take the edges that ``pairs`` state, and no retained pair does, out of the graph; for good.

        A pair that names exactly two nodes states the edge between them, where its label is one of
        `Graph.stated_by`. Nodes stay, and so do the edges that no pair states.
        """
        self.processor = GraphTextProcessor(
            self.processor.graph.without_edges_of(pairs, retained), self.processor.tokenizer
        )

    def joint_parameters(self) -> list[str]:
        parts = ("model.fusion.", "model.classifier.", "model.graph_projection.", "model.text_projection.")
        return [name for name, _ in self.named_parameters() if name.startswith(parts)]

    @property
    def logit_scale(self) -> float | None:
        return float(self.model.logit_scale.detach().exp()) if self.task == "retrieval" else None


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of different lengths as int64 (B, longest), padded with -1."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[-1] * (longest - len(row))] for row in rows], dtype=torch.int64)
