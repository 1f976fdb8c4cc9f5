"""Tiny models and data that tests share: real networks of a few thousand weights, real portraits of 32 pixels."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from filelock import FileLock
from torch import Tensor
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    ResNetConfig,
    RobertaConfig,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
)

from multidelete.core.settings import LoopSettings
from multidelete.data.generated.personas import personas
from multidelete.data.pairs import Batch, Pair, PairData, PairDataset
from multidelete.methods import GradientMethod, Step, Training
from multidelete.models import Adapter, NewModel, adapter_for, new_adapter
from multidelete.models.fresh import PAD, Size, train_tokenizer
from multidelete.training.loop import Run, run_loop

SIDE = 32
SIZE = Size(width=32, layers=1, stages=(16, 32), depths=(1, 1), projection=24, context=40, vocabulary=400)


def manifest_of(folder: Path) -> dict[str, Any]:
    """The ``multidelete.json`` of a folder."""
    content: dict[str, Any] = json.loads((folder / "multidelete.json").read_text())
    return content


def people(number: int = 12, *, unseen: int = 4, views: int = 2, seed: int = 0) -> PairData:
    """Generated people: four pairs each, two portraits, of which each has two captions."""
    return personas(people=number, unseen=unseen, views=views, size=SIDE, seed=seed)


def subjects_ids(dataset: PairDataset, number: int) -> list[str]:
    """Ids of all pairs of the first ``number`` people."""
    subjects = list(dict.fromkeys(pair.subject for pair in dataset))[:number]
    return [pair.id for pair in dataset if pair.subject in subjects]


def parted(data: PairData, number: int = 3) -> tuple[PairDataset, PairDataset]:
    """The pairs of the first ``number`` people to forget, and the others to retain."""
    ids = subjects_ids(data.train, number)
    return data.train.only(ids, "forget"), data.train.without(ids, "retain")


def captions(data: PairData) -> list[str]:
    return [str(pair.inputs["text"]) for pair in data.train]


def family_model(family: str, data: PairData, seed: int = 0) -> Adapter:
    """A model of a named family with this package's own configuration."""
    wanted = NewModel(size=SIZE, image_size=SIDE, tokenizer=train_tokenizer(captions(data), SIZE))
    return new_adapter(family, wanted, seed=seed)


def own_clip(data: PairData, seed: int = 0) -> Adapter:
    """A `CLIPModel` as a user may have it: widths that all differ, and a tokenizer without a limit."""
    tokenizer = train_tokenizer(captions(data), SIZE)
    tokenizer.model_max_length = 10**30
    torch.manual_seed(seed)
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 36, "bos_token_id": 2, "eos_token_id": 3,
            "pad_token_id": 0}  # fmt: skip
    vision = {"hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": 1, "num_attention_heads": 4,
              "image_size": SIDE, "patch_size": 16}  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=20))
    return adapter_for(model, CLIPProcessor(_image_processor(), tokenizer))


def vit_roberta(data: PairData, seed: int = 0, *, dropout: float = 0.0) -> Adapter:
    """A `VisionTextDualEncoderModel` of a ViT and a RoBERTa, whose positions start behind the padding index."""
    tokenizer = train_tokenizer(captions(data), SIZE)
    tokenizer.model_max_length = 10**30
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    torch.manual_seed(seed)
    vision = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                       image_size=SIDE, patch_size=16, hidden_dropout_prob=dropout,
                       attention_probs_dropout_prob=dropout)  # fmt: skip
    text = RobertaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=64, max_position_embeddings=37, pad_token_id=PAD, bos_token_id=2,
                         eos_token_id=3, type_vocab_size=1, hidden_dropout_prob=dropout,
                         attention_probs_dropout_prob=dropout)  # fmt: skip
    return _vision_text(vision, text, tokenizer)


def vit_bert(data: PairData, seed: int = 0) -> Adapter:
    """A `VisionTextDualEncoderModel` of a ViT and a BERT with default dropout."""
    tokenizer = train_tokenizer(captions(data), SIZE)
    torch.manual_seed(seed)
    vision = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                       image_size=SIDE, patch_size=16)  # fmt: skip
    text = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                      intermediate_size=64, max_position_embeddings=40)  # fmt: skip
    return _vision_text(vision, text, tokenizer)


def resnet_bert(data: PairData, seed: int = 0) -> Adapter:
    """A `VisionTextDualEncoderModel` of a ResNet, which keeps batch statistics, and a BERT."""
    tokenizer = train_tokenizer(captions(data), SIZE)
    torch.manual_seed(seed)
    vision = ResNetConfig(embedding_size=16, hidden_sizes=[16, 16], depths=[1, 1])
    vision.hidden_size = 16  # where the dual encoder looks for the width
    text = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                      intermediate_size=64, max_position_embeddings=40)  # fmt: skip
    return _vision_text(vision, text, tokenizer)


def _vision_text(vision, text, tokenizer) -> Adapter:  # type: ignore[no-untyped-def]
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)
    processor = VisionTextDualEncoderProcessor(_image_processor(), tokenizer)
    return adapter_for(VisionTextDualEncoderModel(config), processor)


def _image_processor() -> CLIPImageProcessorPil:
    side = {"height": SIDE, "width": SIDE}
    return CLIPImageProcessorPil(size=side, crop_size=side)


MODELS: Mapping[str, Callable[[PairData], Adapter]] = {
    "clip": lambda data: family_model("clip", data),
    "siglip": lambda data: family_model("siglip", data),
    "vision-text": lambda data: family_model("vision-text", data),
    "own clip": own_clip,
    "vit and roberta": vit_roberta,
}


def quick(**changes: object) -> LoopSettings:
    """Settings of a loop of a few small steps, without checkpoints."""
    own: dict[str, object] = {
        "passes": 1, "batch_size": 8, "retain_per_forget": 2, "retain_sample": 0, "checkpoint_steps": 0, "device": "cpu"
    }  # fmt: skip
    return LoopSettings(**(own | changes))  # type: ignore[arg-type]


def trained(adapter: Adapter, dataset: PairDataset, *, passes: float = 40, lr: float = 3e-3) -> Adapter:
    """Train in place until the captions are memorised."""
    settings = quick(passes=passes, batch_size=24, lr=lr, schedule="linear")

    def train() -> int:
        run_loop(adapter, Training(), {"train": dataset}, settings=settings, seed=0)
        return round(passes)

    trains = [name for name, parameter in adapter.named_parameters() if parameter.requires_grad]
    once(f"{type(adapter)} {settings} {dataset.digest} {trains} {weights_digest(adapter)}", adapter, train)
    return adapter


def once(what: str, adapter: Adapter, train: Callable[[], int]) -> int:
    """Train in place, or take the weights that a training of the same ended with, in this worker or another.

    Args:
        what: All that the result depends on.
        adapter: Ends in evaluation mode.
        train: Changes it, and returns how many passes that took.
    """
    file = Path(os.environ["MULTIDELETE_TEST_MODELS"]) / f"{hashlib.sha256(what.encode()).hexdigest()}.pt"
    with FileLock(f"{file}.lock"):
        if file.exists():
            known = torch.load(file)
            adapter.load_state_dict(known["weights"])
        else:
            known = {"passes": train(), "weights": adapter.state_dict()}
            torch.save(known, file)
    adapter.eval()
    return int(known["passes"])


def weights_digest(adapter: Adapter) -> str:
    digest = hashlib.sha256()
    for name, tensor in adapter.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


class _Enough(Exception):  # noqa: N818 - no error: it ends a training
    pass


def train_until(
    known: Callable[[], bool], adapter: Adapter, dataset: PairDataset, settings: LoopSettings, *, seed: int = 0
) -> int:
    """Train in place until ``known`` says so, asked every five passes; returns how many that took.

    A number of passes that suits one seed or processor leaves another model half trained.
    """
    passes = 0

    def look(number: int) -> None:
        nonlocal passes
        passes = number + 1
        if passes % 5 == 0:
            if known():
                raise _Enough
            adapter.train(Training.training_mode)

    with suppress(_Enough):
        run_loop(adapter, Training(), {"train": dataset}, settings=settings, seed=seed, run=Run(after_pass=look))
    adapter.eval()
    return passes


def weights(adapter: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: tensor.detach().clone() for name, tensor in adapter.state_dict().items()}


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that are not bit-equal; the two must have the same names."""
    assert list(first) == list(second)
    return [name for name in first if not torch.equal(first[name], second[name])]


@torch.no_grad()
def scores(adapter: Adapter, pairs: Sequence[Pair]) -> Tensor:
    """Association score of each pair, (B,)."""
    result: Tensor = adapter.eval()(adapter.collate(pairs)).score
    return result


@torch.no_grad()
def mean_loss(adapter: Adapter, pairs: Sequence[Pair]) -> float:
    """Mean task loss of the pairs as one batch, in nats."""
    batch = adapter.eval().collate(pairs)
    return adapter.task_loss(adapter(batch), batch).mean().item()


def record_collated(adapter: Adapter) -> list[str]:
    """From now on, note the id of every pair that the adapter is asked to stack: all that it can ever see."""
    seen: list[str] = []
    real = adapter.collate

    def collate(pairs: Sequence[Pair]) -> Batch:
        seen.extend(pair.id for pair in pairs)
        return real(pairs)

    adapter.collate = collate  # type: ignore[method-assign]
    return seen


@dataclass(frozen=True, kw_only=True)
class RaiseScore(GradientMethod):
    """Raises the forget pairs' scores: without in-batch coupling, so that batches can be split anywhere."""

    name: ClassVar[str] = "raise_score"
    parts: ClassVar[tuple[str, ...]] = ("forget",)

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {"score": -step.forget.mean(step.forget.outputs.score)}
