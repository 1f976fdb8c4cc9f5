"""The networks of graph-text: a graph encoder, a text encoder, and a head for relations or for retrieval.

The paper's graph-text model was never published; this architecture is this project's own. Needs the
extra ``graph``: PyTorch Geometric, without the compiled companions it has elsewhere.

Shape suffixes: B pairs in the batch, N nodes of a neighbourhood, F features of a node, E edges, K named nodes,
D width, P projection, C classes.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from multidelete.core.errors import ConfigError, UnsupportedError

CONVOLUTIONS = ("sage", "gcn", "gat")


def convolution(kind: str, width: int, heads: int) -> nn.Module:
    """A layer of the graph encoder.

    Raises:
        UnsupportedError: PyTorch Geometric is not installed.
    """
    try:
        from torch_geometric.nn.conv import GATConv, GCNConv, SAGEConv  # only this family needs it
    except ImportError as error:
        raise UnsupportedError(
            f"family graph-text needs {error.name}, which is not installed. "
            "Install it with: pip install '.[graph]', in a clone of multidelete."
        ) from error
    layer: nn.Module
    if kind == "gat":
        layer = GATConv(width, width // heads, heads=heads)
    else:
        layer = (SAGEConv if kind == "sage" else GCNConv)(width, width)
    return layer


class GraphTextConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """Sizes of a graph-text model, and how much of the graph it looks at.

    Args:
        text_config: The text encoder's, a `BertConfig`; its hidden size is the width of everything.
        nodes: Nodes of the graph, each with a learned embedding.
        node_features: Each feature of a node with how many values it can have (`Graph.feature_sizes`), in their
            order; each value has a learned embedding, which is added to that of the node's name.
        named_nodes: Nodes that each pair names, for classification (2: a relation); retrieval pairs
            name any number.
        graph_encoder: One of `CONVOLUTIONS`.
        hops: Layers of the graph encoder, and steps from the named nodes that it looks.
        fanout: Most neighbours of a node that it looks at; None for all.
        hide_own_edge: Judge the relation of two nodes without looking at the edge between them, which
            for training pairs would tell the label.
        projection_dim: Dimension of the joint space, for retrieval.
        logit_scale_init_value: Logarithm of the factor that similarities start with in the retrieval loss.
        settings: What every `transformers` configuration has, such as ``id2label``.

    Raises:
        ConfigError: ``graph_encoder`` is unknown.
    """

    model_type = "graph-text"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"text_config": BertConfig}

    def __init__(
        self,
        *,
        text_config: PreTrainedConfig | Mapping[str, object] | None = None,
        nodes: int = 1,
        node_features: Sequence[tuple[str, int]] = (),
        named_nodes: int = 2,
        graph_encoder: str = "sage",
        hops: int = 2,
        fanout: int | None = 10,
        hide_own_edge: bool = True,
        projection_dim: int = 128,
        logit_scale_init_value: float = 2.6592,
        **settings: object,
    ) -> None:
        if graph_encoder not in CONVOLUTIONS:
            raise ConfigError(f"graph_encoder is {graph_encoder!r}; it must be one of {', '.join(CONVOLUTIONS)}.")
        encoder = text_config if isinstance(text_config, PreTrainedConfig) else BertConfig(**(text_config or {}))
        self.text_config: PreTrainedConfig = encoder
        self.nodes = nodes
        self.node_features = [(name, values) for name, values in node_features]
        self.named_nodes = named_nodes
        self.graph_encoder = graph_encoder
        self.hops = hops
        self.fanout = fanout
        self.hide_own_edge = hide_own_edge
        self.projection_dim = projection_dim
        self.logit_scale_init_value = logit_scale_init_value
        self.initializer_range = 0.02
        super().__init__(**settings)


class GraphEncoder(nn.Module):
    """Node embeddings, and layers that mix each node with its neighbours.

    A node's embedding is the sum of that of its name and those of the values of its features.

    A layer adds GELU of its convolution to each state and normalises the sum. The convolution is
    GraphSAGE's with mean aggregation (Hamilton, Ying and Leskovec 2017, arXiv:1706.02216), GCN's
    (Kipf and Welling 2017, arXiv:1609.02907; degrees are those of the neighbourhood) or GAT's (Velickovic
    et al. 2018, arXiv:1710.10903).
    """

    def __init__(self, config: GraphTextConfig) -> None:
        super().__init__()
        width, heads = config.text_config.hidden_size, config.text_config.num_attention_heads
        self.embedding = nn.Embedding(config.nodes, width)
        self.features = nn.ModuleList(nn.Embedding(values, width) for _, values in config.node_features)
        layers = [convolution(config.graph_encoder, width, heads) for _ in range(config.hops)]
        self.convolutions = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.hops + 1))

    def forward(self, nodes_BN: Tensor, edges_BE2: Tensor, features_BNF: Tensor | None = None) -> Tensor:
        """States (B, N, D) of all nodes, positions below 0 being padding."""
        pairs, size = nodes_BN.shape
        embedded = self.embedding(nodes_BN.clamp(min=0))
        if self.features:
            if features_BNF is None:
                raise ValueError("this model's nodes have features: pass them as `features`")
            for number, feature in enumerate(self.features):
                embedded = embedded + feature(features_BNF[:, :, number].clamp(min=0))
        state = self.norms[0](embedded).flatten(0, 1)
        shifted = edges_BE2 + size * torch.arange(pairs, device=edges_BE2.device)[:, None, None]
        edges_2E = shifted[edges_BE2[:, :, 0] >= 0].T.contiguous()  # of all pairs, side by side
        for convolution, norm in zip(self.convolutions, self.norms[1:], strict=True):
            state = norm(state + F.gelu(convolution(state, edges_2E)))
        out: Tensor = state.unflatten(0, (pairs, size))
        return out


@dataclass
class GraphTextOutput(ModelOutput):  # type: ignore[misc]  # transformers is untyped
    """What a graph-text model says of B pairs.

    Attributes:
        u_graph: States of the named nodes: side by side for classification (B, K * D), their mean
            for retrieval (B, D).
        u_text: [CLS] state of the text encoder (B, D).
        joint: Classification: what the classifier reads, (B, D). Retrieval: product of the embeddings (B, P).
        logits: Class scores (B, C), or None.
        graph_embeds: L2-normalised embedding of the graph's part (B, P), or None.
        text_embeds: L2-normalised embedding of the text (B, P), or None.
    """

    u_graph: Tensor | None = None
    u_text: Tensor | None = None
    joint: Tensor | None = None
    logits: Tensor | None = None
    graph_embeds: Tensor | None = None
    text_embeds: Tensor | None = None


class GraphTextModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """The two encoders; the heads below fuse or project what they say."""

    config_class = GraphTextConfig
    base_model_prefix = "model"

    def __init__(self, config: GraphTextConfig) -> None:
        super().__init__(config)
        self.graph_encoder = GraphEncoder(config)
        self.text_encoder = BertModel(config.text_config, add_pooling_layer=False)

    def _init_weights(self, module: nn.Module) -> None:
        spread = self.config.initializer_range
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=spread)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=spread)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, GraphTextForRetrieval):  # missing where a classifier's encoders are taken
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)

    def forward(
        self,
        nodes: Tensor,
        edges: Tensor,
        roots: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        features: Tensor | None = None,
    ) -> GraphTextOutput:
        """What the head says of the two encoders' states; see `GraphTextAdapter.collate` for the inputs."""
        states_BND = self.graph_encoder(nodes, edges, features)
        at_BKD = roots.clamp(min=0)[:, :, None].expand(-1, -1, states_BND.shape[2])
        named_BKD = states_BND.gather(1, at_BKD) * (roots >= 0)[:, :, None]
        text = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return self.head(named_BKD, roots, text.last_hidden_state[:, 0])

    @abstractmethod
    def head(self, named_BKD: Tensor, roots: Tensor, u_text: Tensor) -> GraphTextOutput:
        """What is said of states of the named nodes (B, K, D), zero where ``roots`` is padded, and of the text's."""


class GraphTextForClassification(GraphTextModel):
    """Names the relation that a text states between the named nodes.

    Fusion: the named nodes' states and the text's [CLS] state side by side, through two layers.
    """

    def __init__(self, config: GraphTextConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.fusion = nn.Sequential(
            nn.Linear((config.named_nodes + 1) * width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.GELU(),
        )
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def head(self, named_BKD: Tensor, roots: Tensor, u_text: Tensor) -> GraphTextOutput:
        """The relation's class scores."""
        u_graph = named_BKD.flatten(1)
        joint_BD = self.fusion(torch.cat([u_graph, u_text], dim=1))
        return GraphTextOutput(u_graph=u_graph, u_text=u_text, joint=joint_BD, logits=self.classifier(joint_BD))


class GraphTextForRetrieval(GraphTextModel):
    """Finds the text that belongs to a part of the graph, and back: two encoders and no fusion."""

    def __init__(self, config: GraphTextConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.graph_projection = nn.Linear(width, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(width, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
        self.post_init()

    def head(self, named_BKD: Tensor, roots: Tensor, u_text: Tensor) -> GraphTextOutput:
        """The embeddings."""
        u_graph = named_BKD.sum(dim=1) / (roots >= 0).sum(dim=1, keepdim=True)
        graph_BP = F.normalize(self.graph_projection(u_graph).float(), dim=-1)
        text_BP = F.normalize(self.text_projection(u_text).float(), dim=-1)
        return GraphTextOutput(
            u_graph=u_graph, u_text=u_text, joint=graph_BP * text_BP, graph_embeds=graph_BP, text_embeds=text_BP
        )


AutoConfig.register("graph-text", GraphTextConfig, exist_ok=True)
