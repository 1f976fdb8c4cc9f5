"""What a run records of itself: the content of ``multidelete.json``, and the parts that it has."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

from multidelete.core.json_files import JsonObject
from multidelete.core.records import NULLABLE, Record


@dataclass(frozen=True, kw_only=True)
class DataRecord(Record):
    """The training pairs.

    Attributes:
        name: Of the data.
        pairs: How many.
        notes: What was odd about them.
        digest: Of ids and texts; keyed where pairs have been deleted before.
        content: Of what pictures hold, too.
        retained: Keyed digest of the pairs that were kept.
    """

    name: str | None = None
    pairs: int | None = None
    notes: tuple[str, ...] | None = None
    digest: str | None = None
    content: str | None = None
    retained: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cost(Record):
    """What a run took: seconds, pairs and bytes."""

    wall_s: float | None = None
    reading_s: float | None = None
    reference_s: float | None = None
    pairs_forward: float | None = None
    pairs_backward: float | None = None
    peak_bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class MethodRecord(Record):
    """A method; ``rest`` holds its hyperparameters."""

    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainableRecord(Record):
    """Which part was trained, and how many tensors of parameters that is."""

    chosen: str | None = None
    parameters: int | None = None


@dataclass(frozen=True, kw_only=True)
class RequestRecord(Record):
    """What was deleted, by a keyed digest of all ids; and how many kept pairs are the same as one that was."""

    pairs: int
    unit: str | None = None
    digest: str
    kept_repeats: int | None = None


@dataclass(frozen=True, kw_only=True)
class OriginalRecord(Record):
    """The digest of the original's weights."""

    weights: str


@dataclass(frozen=True, kw_only=True)
class LoraRecord(Record):
    """LoRA's rank and scale, and whether it has become part of the weights."""

    r: int | None = None
    alpha: float | None = None
    merged: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Holdout(Record):
    """Held-out pairs that were drawn from the data: the share of each split, and the seed."""

    fraction: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class SearchRecord(Record):
    """What a search for the settings took; ``rest`` holds what else `SearchCost` tells."""

    trials: int
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class ShadowRecord(Record):
    """Which shadow model a model is, and of how many pairs."""

    index: int
    pairs: int | None = None


@dataclass(frozen=True, kw_only=True)
class TokenizerRecord(Record):
    """How many tokens are words of deleted texts alone."""

    tokens_of_deleted_texts_alone: int | None = None


@dataclass(frozen=True, kw_only=True)
class DeletionRecord(Record):
    """One deletion, by keyed digests.

    Attributes:
        key: Id of the key; empty in records of versions that had none.
        unit: What was deleted as a whole.
        pairs: How many pairs.
        request: Keyed digest of the request: of all ids together.
        ids: Keyed digest of each pair's id, sorted.
        contents: Keyed digest of what both members of each pair are: what a picture's file holds, and the text.
    """

    key: str
    unit: str
    pairs: int
    request: str
    ids: tuple[str, ...] = field(repr=False)
    contents: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Recipe(Record):
    """How a model was trained: which model, the loop's settings, and the seed; or what of these is known."""

    model: JsonObject | None = None
    loop: JsonObject | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord(Record):
    """What made a model. Of a file from elsewhere any of it may be missing.

    Attributes:
        command: ``train``, ``unlearn`` or ``shadow``.
        task: Of the model.
        date: Of the run.
        seed: Of everything that was drawn.
        data: The pairs it was trained on.
        truncated_captions: Captions longer than the model's context.
        cost: What the run took.
        versions: Of Python, the platform and libraries.
        method: By which pairs were deleted.
        loop: Settings of the loop.
        trainable: The part of the model that was trained.
        request: What was deleted.
        original: The model that it was deleted from.
        scales: What the losses were divided by.
        decisions: What the method chose by itself.
        model: Which model was trained, as `TrainSettings`.
        deletions: Everything that was deleted from the model and those before it, oldest first.
        earlier_pairs_removed: Whether the user says that the data holds no pairs of earlier deletions.
        training: How the first model of the lineage was trained.
        tokenizer: What the tokenizer keeps of deleted texts.
        lora: Set where LoRA alone was trained.
        history: Loss terms of evenly spaced steps.
        holdout: Pairs that were set aside before training.
        search: The search that found the settings.
        shadow: Set for shadow models.
    """

    command: str | None = None
    task: str | None = None
    date: str | None = None
    seed: int | None = None
    data: DataRecord | None = None
    truncated_captions: int | None = None
    cost: Cost | None = None
    versions: JsonObject | None = None
    method: MethodRecord | None = None
    loop: JsonObject | None = None
    trainable: TrainableRecord | None = None
    request: RequestRecord | None = None
    original: OriginalRecord | None = None
    scales: JsonObject | None = None
    decisions: JsonObject | None = None
    model: JsonObject | None = None
    deletions: tuple[DeletionRecord, ...] | None = None
    earlier_pairs_removed: bool | None = None
    training: Recipe | None = None
    tokenizer: TokenizerRecord | None = None
    lora: LoraRecord | None = None
    history: tuple[JsonObject, ...] | None = None
    holdout: Holdout | None = field(default=None, metadata=NULLABLE)
    search: SearchRecord | None = field(default=None, metadata=NULLABLE)
    shadow: ShadowRecord | None = None

    @property
    def recipe(self) -> Recipe:
        """How the first model of the lineage was trained.

        A model that forgets keeps the recipe of its original, so that later requests can be retrained too.
        """
        if self.request is not None:
            return self.training or Recipe()
        return Recipe(model=self.model, loop=self.loop, seed=self.seed)

    @property
    def spent(self) -> dict[str, float]:
        """What the run took, by the names of `Cost`."""
        cost = {} if self.cost is None else self.cost.as_json()
        return {name: float(value) for name, value in cost.items() if isinstance(value, int | float)}

    @property
    def forgotten(self) -> tuple[DeletionRecord, ...]:
        """Everything that was deleted; of a version that kept no references, one record without a key."""
        if self.deletions is not None or self.request is None:
            return self.deletions or ()
        unit, pairs, digest = self.request.unit or "pair", self.request.pairs, self.request.digest
        return (DeletionRecord(key="", unit=unit, pairs=pairs, request=digest, ids=(), contents=()),)

    @property
    def gave_original_back(self) -> bool:
        """Whether the run found no way to forget its pairs, so that the weights are the original's."""
        found = self.decisions or {}
        return bool(found.get("unchanged")) and not found.get("forgotten")

    def merged(self) -> Self:
        """The record once what LoRA learned is part of the weights."""
        return replace(self, lora=replace(self.lora or LoraRecord(), merged=True))

    def contradictions(self) -> Iterator[str]:
        """Parts without what belongs to them, and seeds below 0."""
        for name, part, other, its in (("loop", self.loop, "command", self.command),
                                       ("model", self.model, "seed", self.seed)):  # fmt: skip
            if part is not None and its is None:
                yield f"{name} stands there without {other}, which belongs to it."
        held_out = None if self.holdout is None else self.holdout.seed
        for place, seed in (("seed", self.seed), ("holdout.seed", held_out)):
            if seed is not None and seed < 0:
                yield f"{place} is {seed}; it must be 0 or more."
