"""The settings that commands share."""

import math
from dataclasses import asdict, dataclass
from typing import Literal

from multidelete.core.config import check_settings
from multidelete.core.json_files import JsonObject

GIB = 1 << 30

FOUND = ("passes", "lr", "schedule")
"""Loop settings that mean nothing where a run finds its way."""

OF_ANY_METHOD = ("retain_sample", "memory", "device")
"""Loop settings that mean something where no loop runs."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How the loop runs.

    Attributes:
        pace: ``given``: ``lr`` and ``passes`` hold. ``auto``: runs find both by themselves, leg by leg, and take
            back what costs kept pairs. It is the default of ``multidelete`` where neither is given.
        passes: Budget, in passes over the forget set (for training, all pairs), > 0.
        batch_size: Forget pairs (for training, any pairs) in one optimizer step, over all processes
            and accumulated micro-batches, >= 1.
        retain_per_forget: Retain pairs beside each forget pair, >= 1.
        retain_sample: Least number of retain pairs that are sampled for the whole run, >= 0; otherwise eight for
            each forget pair. Those that are not sampled lose more.
        lr: Peak learning rate of AdamW, > 0.
        weight_decay: AdamW's weight decay, >= 0.
        warmup: Fraction of the steps in which the learning rate rises, in [0, 1).
        schedule: What the learning rate does afterwards.
        optimizer: ``adamw``, or ``sgd`` (plain, for exact comparisons).
        max_grad_norm: Gradients are clipped at this norm; 0 turns clipping off.
        accumulation: Micro-batches in one optimizer step; contrastive negatives are those of a micro-batch.
        augment: Train on randomly scaled, turned, shifted and tinted pictures: small models that are trained from
            scratch then recognise unseen pictures. Methods that compare with the original leave pictures as they are.
        feature_cache: GiB of what a frozen image encoder gives of each picture, computed once and kept for the run: the
            first in memory, the others in temporary files; >= 0, and 0 keeps nothing.
        memory: GiB that the gradients of single pairs may take at a time, in solved legs and in ``kfade``, > 0. Where
            fewer fit, a leg takes the deleted pairs in more blocks, one after the other.
        precision: ``no`` (float32), ``bf16`` or ``fp16`` autocasting, of steps at a rate. What is solved, and what a
            run asks of the model, is computed in the precision of the weights.
        workers: Processes that prepare batches; 0 prepares them in this one.
        checkpoint_steps: A checkpoint for resuming every so many optimizer steps; 0 keeps none.
        trackers: Names that accelerate knows (``tensorboard``, ``wandb``, ...).
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """

    pace: Literal["auto", "given"] = "given"
    passes: float = 8.0
    batch_size: int = 8
    retain_per_forget: int = 8
    retain_sample: int = 2048
    lr: float = 1e-3
    weight_decay: float = 0.0
    warmup: float = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    max_grad_norm: float = 1.0
    accumulation: int = 1
    augment: bool = False
    feature_cache: float = 8.0
    memory: float = 1.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    workers: int = 0
    checkpoint_steps: int = 200
    trackers: tuple[str, ...] = ()
    device: str = "auto"

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "passes": (self.passes > 0, "greater than 0"),
                "batch_size": (self.batch_size >= 1, "1 or more"),
                "retain_per_forget": (self.retain_per_forget >= 1, "1 or more"),
                "retain_sample": (self.retain_sample >= 0, "0 or more; 0 leaves it at eight for each forget pair"),
                "lr": (self.lr > 0, "greater than 0; 3e-4 suits small models, 1e-5 large ones"),
                "weight_decay": (self.weight_decay >= 0, "0 or more"),
                "warmup": (0 <= self.warmup < 1, "at least 0 and less than 1: a fraction of the steps"),
                "max_grad_norm": (self.max_grad_norm >= 0, "0 or more; 0 turns clipping off"),
                "accumulation": (self.accumulation >= 1, "1 or more"),
                "feature_cache": (0 <= self.feature_cache < math.inf, "0 or more GiB; 0 keeps nothing"),
                "memory": (0 < self.memory < math.inf, "more than 0 GiB; 1 is usual"),
                "workers": (self.workers >= 0, "0 or more"),
                "checkpoint_steps": (self.checkpoint_steps >= 0, "0 or more; 0 keeps none"),
            },
        )

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes."""
        return max(1, int(self.memory * GIB))

    def told(self, *, trains: bool = True) -> JsonObject:
        """What decides how a run goes: without rate, passes and schedule where it finds them.

        Args:
            trains: Whether the method runs the loop.
        """
        told = asdict(self)
        if not trains:
            return {name: told[name] for name in OF_ANY_METHOD}
        return {name: value for name, value in told.items() if self.pace == "given" or name not in FOUND}


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Which model ``multidelete train`` trains.

    Attributes:
        family: Family of a new model (``multidelete families``), or your own: package.module:Class.
        size: Named size of a new model: ``tiny`` or ``small``.
        image_size: Height and width of a new model's pictures, in pixels, >= 16.
        start: Folder or hub id of a model to go on from, instead of a new one.
        task: What the model is for: ``retrieval``, ``classification``, or ``auto``: classification where the
            data has classes (of a model to go on from, what its head does; another task gives it a new head).
    """

    family: str = "vision-text"
    size: str = "tiny"
    image_size: int = 48
    start: str | None = None
    task: Literal["auto", "retrieval", "classification"] = "auto"

    def __post_init__(self) -> None:
        check_settings(self, {"image_size": (self.image_size >= 16, "16 or more pixels")})


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Size of the matrices that LoRA trains.

    Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen: "LoRA: Low-Rank Adaptation of Large Language Models",
    ICLR 2022, arXiv:2106.09685. A weight W acts as W + alpha / r B A, with A (r, in) drawn at random and
    B (out, r) zero at first.

    Attributes:
        r: Rank, >= 1.
        alpha: Scale of what is learned, > 0.
    """

    r: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        check_settings(self, {"r": (self.r >= 1, "1 or more"), "alpha": (self.alpha > 0, "greater than 0")})
