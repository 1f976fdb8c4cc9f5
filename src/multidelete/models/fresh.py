"""New models from small named configurations, with a tokenizer trained on the training captions.

Made for experiments and tests on ordinary machines; users with a trained model never need them.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    ConvNextConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    SiglipConfig,
    SiglipModel,
    SiglipProcessor,
    ViltProcessor,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from multidelete.core.errors import ConfigError, DataError, UnsupportedError
from multidelete.models.base import Adapter, Task
from multidelete.models.families import get_family

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


def new_model(
    family: str,
    size: Size,
    *,
    image_size: int,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    task: Task = "retrieval",
    classes: Sequence[str] = (),
    images: int = 1,
    graph: "Graph | None" = None,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Random weights from ``seed``, and the processor that goes with them."""
    side = {"height": image_size, "width": image_size}
    pictures = CLIPImageProcessorPil(size=side, crop_size=side)
    torch.manual_seed(seed)
    if family == "clip":
        return _new_clip(size, image_size, len(tokenizer)), CLIPProcessor(pictures, tokenizer)
    if family == "siglip":
        return _new_siglip(size, image_size, len(tokenizer)), SiglipProcessor(pictures, tokenizer)
    if family == "vision-text":
        if not size.stages or len(size.stages) != len(size.depths):
            raise ConfigError(
                f"stages is {list(size.stages)} and depths is {list(size.depths)}; family {family} needs one entry or "
                "more in stages, and as many in depths. The named size tiny has [48, 96, 192] and [1, 2, 2]."
            )
        return _new_vision_text(size, image_size, len(tokenizer)), VisionTextDualEncoderProcessor(pictures, tokenizer)
    if family == "graph-text":
        if graph is None:
            raise DataError(f"Family {family} needs data with a graph, and this has none. Choose another family.")
        code = get_family(family).code
        network = code.new_graph_text(task, size, graph=graph, vocabulary=len(tokenizer), classes=classes)
        return network, code.GraphTextProcessor(graph, tokenizer)
    make = cast(Callable[..., PreTrainedModel], getattr(get_family(family).code, f"new_{family.replace('-', '_')}"))
    model = make(task, size, image_size=image_size, images=images, classes=classes, vocabulary=len(tokenizer))
    if family == "blip":
        return model, BlipProcessor(BlipImageProcessorPil(size=side), tokenizer)
    if family == "vilt":
        return model, ViltProcessor(pictures, tokenizer)
    return model, VisionTextDualEncoderProcessor(pictures, tokenizer)


def _text_settings(size: Size, vocabulary: int) -> dict[str, int]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.width // 32,
        "max_position_embeddings": size.context,
        "pad_token_id": PAD,
        "bos_token_id": START,
        "eos_token_id": END,
    }


def _vision_settings(size: Size, image_size: int) -> dict[str, int]:
    return {
        "image_size": image_size,
        "patch_size": size.patch,
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "num_hidden_layers": 2 * size.layers,
        "num_attention_heads": size.width // 32,
    }


def _new_clip(size: Size, image_size: int, vocabulary: int) -> CLIPModel:
    config = CLIPConfig(
        text_config=_text_settings(size, vocabulary) | {"projection_dim": size.projection},
        vision_config=_vision_settings(size, image_size) | {"projection_dim": size.projection},
        projection_dim=size.projection,
        logit_scale_init_value=LOGIT_SCALE,
    )
    return CLIPModel(config)


def _new_siglip(size: Size, image_size: int, vocabulary: int) -> SiglipModel:
    config = SiglipConfig(
        text_config=_text_settings(size, vocabulary) | {"projection_size": size.width},
        vision_config=_vision_settings(size, image_size),
    )
    model = SiglipModel(config)
    with torch.no_grad():  # the published initial values; the class draws them at random
        model.logit_scale.fill_(2.3026)
        model.logit_bias.fill_(-10.0)
    return model


def _new_vision_text(size: Size, image_size: int, vocabulary: int) -> VisionTextDualEncoderModel:
    vision = ConvNextConfig(
        image_size=image_size,
        num_stages=len(size.stages),
        hidden_sizes=list(size.stages),
        depths=list(size.depths),
        layer_scale_init_value=0.1,  # the published 1e-6 is for very deep networks and long schedules
        hidden_size=size.stages[-1],  # read by VisionTextDualEncoderModel
    )
    text = BertConfig(**_text_settings(size, vocabulary), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        vision, text, projection_dim=size.projection, logit_scale_init_value=LOGIT_SCALE
    )
    return VisionTextDualEncoderModel(config)


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
