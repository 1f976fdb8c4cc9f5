"""Which model is trained, and the size of LoRA's matrices."""

from dataclasses import dataclass
from typing import Literal

from multidelete.core.config import check_settings


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Which model ``multidelete train`` trains.

    Attributes:
        family: Family of a new model (``multidelete families``).
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
