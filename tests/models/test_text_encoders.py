"""Text encoders as people join them to a picture encoder: which are read, and which are refused."""

from collections.abc import Callable, Mapping

import pytest
import torch
import transformers
from transformers import (
    PreTrainedModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from multidelete.core.errors import UnsupportedError
from multidelete.data.pairs import PairData
from multidelete.models import Adapter, adapter_for
from multidelete.models.fresh import train_tokenizer
from multidelete.models.prepared import context_length
from tests.tiny import SIDE, SIZE, captions, people

WIDE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 30, "pad_token_id": 1}  # fmt: skip
OFFSETS = {  # positions that are never used
    "Bert": 0, "MPNet": 2, "Data2VecText": 2, "RobertaPreLayerNorm": 2, "Roberta": 2, "XLMRoberta": 2,
    "XLMRobertaXL": 2, "Camembert": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(4)


def joined(data: PairData, make: Callable[[int], PreTrainedModel]) -> Adapter:
    """A text encoder beside a ViT, with a tokenizer that sets no limit and gives token types."""
    tokenizer = train_tokenizer(captions(data), SIZE)
    tokenizer.model_max_length = int(1e30)
    torch.manual_seed(0)
    text = make(len(tokenizer)).eval()
    vision = ViTModel(ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                                image_size=SIDE, patch_size=16))  # fmt: skip
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, projection_dim=16)
    model = VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text)
    processor = VisionTextDualEncoderProcessor(ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}), tokenizer)
    return adapter_for(model, processor)


def of_transformers(name: str, settings: Mapping[str, int]) -> Callable[[int], PreTrainedModel]:
    def make(vocabulary: int) -> PreTrainedModel:
        model: PreTrainedModel = getattr(transformers, f"{name}Model")(
            getattr(transformers, f"{name}Config")(vocab_size=vocabulary, **settings)
        )
        return model

    return make


@pytest.mark.parametrize("name", OFFSETS)
def test_long_captions_are_cut_where_positions_end(name: str, data: PairData) -> None:
    adapter = joined(data, of_transformers(name, WIDE)).eval()
    assert context_length(adapter.model, adapter.processor) == 30 - OFFSETS[name]
    pair = data.train[0]
    long = type(pair)(
        id="long", inputs={**pair.inputs, "text": "a red dog " * 60}, sources={**pair.sources, "text": "long"}
    )
    assert adapter.truncated([pair, long]) == ["long"]
    with torch.no_grad():
        assert bool(torch.isfinite(adapter(adapter.collate([pair, long])).score).all())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("DistilBert", {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 30}),
        ("Electra", {"embedding_size": 16, **WIDE}),
        ("GPT2", {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 30}),
    ],
)
def test_encoders_without_a_pooled_output_are_refused(name: str, settings: dict[str, int], data: PairData) -> None:
    adapter = joined(data, of_transformers(name, settings))
    with pytest.raises(UnsupportedError, match=f"the encoder {name}Model gives no pooled output"):
        adapter(adapter.collate(data.train[[0, 1]]))
