"""New models from small named configurations, with a tokenizer trained on the training captions.

Made for experiments and tests on ordinary machines; users with a trained model never need them.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPImageProcessorPil, PreTrainedModel, PreTrainedTokenizerFast

from multidelete.core.errors import ConfigError, UnsupportedError
from multidelete.models.base import Adapter, Task

if TYPE_CHECKING:
    from multidelete.data.graph import Graph

PAD, UNK, START, END, MASK = range(5)
LOGIT_SCALE = 3.6  # a factor of 37: short runs never get from the published 14 to where CLIP models end
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """A named configuration.

    Attributes:
        width: Hidden size of the transformer encoders.
        layers: Transformer layers of each encoder.
        stages: Channels of each stage of the convolutional backbone (vision-text).
        depths: Blocks of each stage.
        projection: Dimension of the joint space.
        context: Most tokens of a text.
        vocabulary: Most entries of the tokenizer.
        patch: Height and width of a transformer's picture patches, in pixels.
    """

    width: int
    layers: int
    stages: tuple[int, ...]
    depths: tuple[int, ...]
    projection: int
    context: int
    vocabulary: int
    patch: int = 8


SIZES = {
    "tiny": Size(
        width=128, layers=2, stages=(48, 96, 192), depths=(1, 2, 2), projection=128, context=32, vocabulary=4096
    ),
    "small": Size(
        width=256, layers=3, stages=(64, 128, 256), depths=(2, 2, 3), projection=256, context=48, vocabulary=6000
    ),
}


def get_size(name: str) -> Size:
    """Look up a size by name."""
    if name not in SIZES:
        raise ConfigError(f"Unknown size {name!r}. Known sizes: {', '.join(SIZES)}.")
    return SIZES[name]


def train_tokenizer(captions: Iterable[str], size: Size) -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer that wraps each text in [CLS] and [SEP].

    The same captions give the same tokenizer, so that retraining starts where the original did. The
    trainer numbers the characters inside words in the order of a hash map, which decides ties
    between merges; naming them to it beforehand fixes their order.
    """
    captions = list(captions)
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {word for text in captions for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    inner = sorted({f"##{character}" for word in words for character in word[1:]})
    draft = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    draft.normalizer, draft.pre_tokenizer = normalizer, splitter
    draft.train_from_iterator(
        captions,
        trainers.WordPieceTrainer(
            vocab_size=size.vocabulary, special_tokens=SPECIAL_TOKENS + inner, show_progress=False
        ),
    )
    tokenizer = Tokenizer(models.WordPiece(draft.get_vocab(with_added_tokens=True), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", START), ("[SEP]", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        model_max_length=size.context,
    )


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """What a new model is to be.

    Attributes:
        size: Widths and depths.
        image_size: Height and width of its pictures, in pixels.
        tokenizer: Its tokenizer.
        task: What its head does.
        classes: Names of the classes, for classification.
        images: Pictures of one pair, 1 or 2.
        graph: The graph that the pairs' nodes are in, for families that read one.
    """

    size: Size
    image_size: int
    tokenizer: PreTrainedTokenizerFast
    task: Task = "retrieval"
    classes: Sequence[str] = ()
    images: int = 1
    graph: "Graph | None" = None

    @property
    def side(self) -> dict[str, int]:
        """The size of its pictures, as image processors take it."""
        return {"height": self.image_size, "width": self.image_size}

    @property
    def pictures(self) -> CLIPImageProcessorPil:
        """What prepares pictures as CLIP does."""
        return CLIPImageProcessorPil(size=self.side, crop_size=self.side)

    @property
    def text_settings(self) -> dict[str, int]:
        """Of a transformer that reads texts."""
        return {
            "vocab_size": len(self.tokenizer),
            "hidden_size": self.size.width,
            "intermediate_size": 4 * self.size.width,
            "num_hidden_layers": self.size.layers,
            "num_attention_heads": self.size.width // 32,
            "max_position_embeddings": self.size.context,
            "pad_token_id": PAD,
            "bos_token_id": START,
            "eos_token_id": END,
        }

    @property
    def vision_settings(self) -> dict[str, int]:
        """Of a transformer that reads patches of pictures."""
        return {
            "image_size": self.image_size,
            "patch_size": self.size.patch,
            "hidden_size": self.size.width,
            "intermediate_size": 4 * self.size.width,
            "num_hidden_layers": 2 * self.size.layers,
            "num_attention_heads": self.size.width // 32,
        }


def untrained(adapter: Adapter, *, seed: int) -> Adapter:
    """A model of the same architecture with random weights, as its own class draws them, on the CPU.

    Raises:
        UnsupportedError: The network is no `PreTrainedModel`, so how to make another is not known.
    """
    model = adapter.model
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedError(
            f"a randomly initialised {type(model).__name__} is needed, and only transformers' PreTrainedModel says how "
            "to make one from its config. Derive the network from it, or use another method."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(model)(model.config)
    other = copy.copy(adapter)
    other._modules = dict(adapter._modules)  # a shallow copy shares it: the adapter would get the new network too
    other.model = fresh
    return other.eval()
