"""What every model family offers: the adapter and its outputs.

Shape suffixes: B pairs in the batch, D embedding, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from multidelete.data.collate import Pictures
from multidelete.data.pairs import Batch, Pair

Task = Literal["retrieval", "classification"]


@dataclass(frozen=True)
class PairOutputs:
    """What a model says of B pairs. All tensors are float32.

    Attributes:
        unimodal: u_m(x) for each modality, (B, D_m): before the joint space or the fusion.
        joint: h(a, b), (B, D): the fused state, or for dual encoders the elementwise product of
            the two normalised embeddings.
        score: Association score of each given pair, (B,); higher means more associated. Of a
            matching head the log-odds of a match, of a classifier the log-odds of the pair's own
            label (of the predicted class where the batch has no labels), of dual encoders the cosine.
        embeddings: L2-normalised contrastive embeddings of each modality, (B, D), where the family
            has a contrastive part.
        logits: Class scores (B, C) where the family has a classification head.
        states: What `Adapter.task_loss` needs again, such as token states (B, L, D) and masks (B, L);
            never cached nor audited.
    """

    unimodal: Mapping[str, Tensor]
    joint: Tensor
    score: Tensor
    embeddings: Mapping[str, Tensor] | None = None
    logits: Tensor | None = None
    states: Mapping[str, Tensor] | None = None

    def __getitem__(self, rows: slice | Tensor) -> "PairOutputs":
        return self.apply(lambda tensor: tensor[rows])

    def apply(self, function: Callable[[Tensor], Tensor]) -> "PairOutputs":
        """The same outputs with ``function`` applied to every tensor."""
        return PairOutputs(
            unimodal={modality: function(tensor) for modality, tensor in self.unimodal.items()},
            joint=function(self.joint),
            score=function(self.score),
            embeddings=None if self.embeddings is None else {m: function(t) for m, t in self.embeddings.items()},
            logits=None if self.logits is None else function(self.logits),
            states=None if self.states is None else {name: function(t) for name, t in self.states.items()},
        )


@dataclass(frozen=True)
class PicturePart:
    """The part of a forward pass that each picture goes through alone (`multidelete.models.features`).

    Attributes:
        weights: Names, as in the state dict, of what it depends on: parameters, also those that it shares with other
            parts, and statistics of norms.
        features: From what an `ImagePreparer` gives of N pictures to what ``forward`` takes in its place: for each
            name a tensor (N, ...).
    """

    weights: frozenset[str]
    features: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


class Adapter(nn.Module, ABC):
    """One model family behind one interface; what `accelerate` wraps.

    The wrapped network is ``self.model``; its own names, shapes and dtypes are kept on saving.

    Attributes:
        family: Registry name.
        modalities: The two modalities, in the order in which pairs hold them.
        task: What the model's head does: find the member that belongs to another, or name the class of a pair.
        classes: Names of the classes, at the positions that labels give; empty for retrieval.
        images: What `collate` prepares pictures with, of pairs that have some.
    """

    family: ClassVar[str]
    modalities: tuple[str, str] = ("image", "text")
    task: Task = "retrieval"
    classes: tuple[str, ...] = ()
    images: Pictures

    @abstractmethod
    def collate(self, pairs: Sequence[Pair]) -> Batch:
        """Preprocess and stack pairs, on the CPU; texts over the model's context are cut."""

    @abstractmethod
    def truncated(self, pairs: Sequence[Pair]) -> list[str]:
        """Ids of the pairs whose text `collate` cuts."""

    def check_picture(self, picture: Image.Image) -> None:
        """Raise `DataError` where a decoded picture cannot be prepared; all can where a family does not say so."""
        return

    @abstractmethod
    def forward(self, batch: Batch) -> PairOutputs:
        """What the model says of each pair; a pair's outputs do not depend on the others."""

    @abstractmethod
    def task_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
        """The family's own loss per pair, (B,); contrastive negatives are gathered over processes."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the family's own format: weights (safetensors), configuration, processor."""

    @abstractmethod
    def joint_parameters(self) -> Sequence[str]:
        """Names of the parameters that map into the joint space (``--trainable projections``)."""

    def encoder_parameters(self, modality: str) -> Sequence[str]:
        """Names of the parameters that only ``modality`` passes through, projection included (``--trainable text``).

        Empty where its encoder does not stand by itself: where it attends to another modality.
        """
        return ()

    def own_parameters(self, begins: tuple[str, ...]) -> list[str]:
        """Names of the parameters below these prefixes, but for those that other parts share with them."""
        every: dict[int, list[str]] = {}
        for name, parameter in self.named_parameters(remove_duplicate=False):
            every.setdefault(id(parameter), []).append(name)
        return [names[0] for names in every.values() if all(name.startswith(begins) for name in names)]

    def picture_part(self) -> PicturePart | None:
        """What each picture goes through alone: where it is frozen, it is computed once; None says that nothing is."""
        return None

    @property
    def holds_data(self) -> bool:
        """Whether forgetting changes more than weights."""
        return type(self).remove is not Adapter.remove

    def remove(self, pairs: Sequence[Pair], retained: Sequence[Pair]) -> None:
        """Take what only ``pairs`` told out of what the model holds besides weights, before unlearning or retraining.

        Most families hold nothing else. A graph loses the edges that these pairs have and ``retained`` do not.
        """

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def logit_scale(self) -> float | None:
        """Factor of the similarities in the family's own loss; None where it has none."""
        return None


@contextmanager
def evaluating(adapter: Adapter) -> Iterator[None]:
    """Evaluation mode without gradients; the modes of all modules are restored."""
    modes = [(module, module.training) for module in adapter.modules()]
    adapter.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training
