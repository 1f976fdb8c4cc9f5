"""A deletion with everything resolved: what `unlearn`, `tune` and a rehearsal pass on."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from multidelete.artifacts.deletions import Lineage
from multidelete.artifacts.manifest import digest_model, digest_of
from multidelete.artifacts.overlap import paths_of_model
from multidelete.artifacts.record import Recipe, RunRecord
from multidelete.core.errors import CheckpointError, ConfigError
from multidelete.core.settings import LoopSettings, LoraSettings
from multidelete.data.pairs import Pair, PairData
from multidelete.data.repeats import kept_repeats
from multidelete.data.request import Request
from multidelete.methods import Method
from multidelete.models import Adapter, hold_in_float32, load_adapter
from multidelete.models.checkpoint import lora_base, weights_digest
from multidelete.models.converters.known import checkpoint_of

Model = str | Path | Adapter
"""A folder, a hub id, or a network in memory behind its family's adapter."""


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What goes from which model, and how.

    Attributes:
        model: The original; it is not changed.
        data: The pairs it was trained on, without those that it has forgotten before.
        request: The pairs that go.
        method: With its hyperparameters.
        loop: How the loop runs.
        trainable: The part of the model to train, as asked for (``auto`` is the method's choice).
        lora: LoRA to train in the place of that part, or None.
        seed: Of everything that is drawn.
        allow_pickle: Also read weights that are not safetensors.
        lineage: What the model has forgotten before.
        earlier_pairs_removed: Whether the user says that the data holds none of those pairs.
        origin: What the model's folder records, or None.
        metric: Folder in which the metric is kept from request to request, or None.
    """

    model: Model
    data: PairData
    request: Request
    method: Method
    loop: LoopSettings
    trainable: str
    lora: LoraSettings | None
    seed: int
    allow_pickle: bool
    lineage: Lineage
    earlier_pairs_removed: bool
    origin: RunRecord | None
    metric: Path | None = None

    @cached_property
    def digest(self) -> str:
        """The same for deletions that end in the same weights."""
        told: list[object] = [content_of(self.model), self.method.name, asdict(self.method), asdict(self.loop)]
        told += [self.trainable, self.seed, self.request.digest, self.data.train.digest]
        told += [self.data.train.only(self.request.ids, "forget").content, list(self.data.classes)]
        told += [val.digest for name, val in self.data.splits.items() if name == "val"]
        told += [] if self.lora is None else [asdict(self.lora)]
        told += [] if self.metric is None else [str(self.metric.absolute())]
        return digest_of(told)

    @cached_property
    def pairs(self) -> Sequence[Pair]:
        """The pairs that go."""
        return self.data.train.only(self.request.ids, "forget").pairs

    @cached_property
    def repeats(self) -> Sequence[str]:
        """Ids of kept pairs that are the same as one that goes."""
        return kept_repeats(self.data.train, self.request.ids)

    @property
    def recipe(self) -> Recipe | None:
        """How the original was trained; None where its folder does not tell."""
        recipe = None if self.origin is None else self.origin.recipe
        return None if recipe == Recipe() else recipe

    @property
    def model_name(self) -> str:
        """What messages call the model."""
        return "the model" if isinstance(self.model, Adapter) else str(self.model)

    @property
    def model_paths(self) -> list[Path]:
        """The files that the model is read from."""
        return [] if isinstance(self.model, Adapter) else paths_of_model(self.model)

    def original(self) -> Adapter:
        """A copy of the original, in float32."""
        if not isinstance(self.model, Adapter):
            return load_adapter(self.model, allow_pickle=self.allow_pickle)
        adapter = copy.deepcopy(self.model)
        hold_in_float32(adapter.model)
        return adapter

    def lora_base(self) -> str | None:
        """What a folder with LoRA alone names as its base: the model's folder or hub id; None where LoRA is merged.

        That is without LoRA, and of a checkpoint of others: what it becomes is written as it came, with LoRA in it.

        Raises:
            UserError: There is nothing that it could name.
        """
        if self.lora is None:
            return None
        if isinstance(self.model, Adapter):
            raise ConfigError(
                "the model is given in memory, and an adapter folder must name the model it belongs to. "
                "Give a folder or hub id, or no output folder."
            )
        if checkpoint_of(self.model) is not None:
            return None
        if lora_base(self.model) is not None:
            raise CheckpointError(f"{self.model} is an adapter itself. Make it a model with 'multidelete merge' first.")
        return str(Path(self.model).resolve()) if Path(self.model).is_dir() else str(self.model)


def content_of(model: Model) -> str:
    """What tells one model from another: the digest of its folder or file, or of its weights, or its hub id."""
    if isinstance(model, Adapter):
        return weights_digest(model)
    return digest_model(Path(model)) if str(model) and Path(model).exists() else str(model)
