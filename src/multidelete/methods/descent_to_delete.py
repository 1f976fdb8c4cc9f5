"""Descent-to-delete: go on training on the retain pairs, then hide what is left under Gaussian noise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from multidelete.core.config import check_settings
from multidelete.methods.base import Job, Outcome
from multidelete.methods.finetune import FineTune
from multidelete.methods.importance import trainable
from multidelete.methods.search import Factor, Search


@dataclass(frozen=True, kw_only=True)
class DescentToDelete(FineTune):
    """Fine-tune on retain pairs, then add Gaussian noise to the weights; no guarantee here, as the loss is not convex.

    Neel, Roth and Sharifi-Malvajerdi: "Descent-to-Delete: Gradient-Based Methods for Machine
    Unlearning", ALT 2021, arXiv:2007.02923, Algorithm 1: I steps of projected gradient descent on
    the remaining n pairs from the last weights, then theta + N(0, sigma^2 I) is published. For a loss
    that is m-strongly convex, M-smooth and L-Lipschitz they calibrate

        sigma = 4 sqrt(2) L g^I / (m n (1 - g^I) (sqrt(log(1 / delta) + epsilon) - sqrt(log(1 / delta))))

    with g = (M - m) / (M + m), and (epsilon, delta)-deletion follows. (Formula as released
    implementations have it; the paper's text was not at hand.)

    Differs from the paper: a network's loss has no such m, L and M, so sigma is a setting and nothing is
    certified. Mini-batches of sampled retain pairs and AdamW take the place of full gradient descent,
    nothing is projected, and the original itself was published without noise.

    Attributes:
        sigma: Standard deviation of the noise, in units of the weights, >= 0. The same for every trainable entry.
    """

    name: ClassVar[str] = "descent_to_delete"
    finds_its_way: ClassVar[bool] = False
    takes_lora: ClassVar[bool] = False  # the noise is for all weights
    search: ClassVar[Search] = {
        **FineTune.search,
        "sigma": Factor(0.03, 3),
    }
    sigma: float = 0.002

    def __post_init__(self) -> None:
        check_settings(self, {"sigma": (self.sigma >= 0, "0 or more; 0 is plain fine-tuning")})

    def run(self, job: Job, after_pass: Callable[[int], None] | None = None) -> Outcome:
        """Fine-tune, then add the noise: drawn on the CPU from the seed, so the same on every device and process."""
        outcome = super().run(job, after_pass)
        generator, masks = torch.Generator().manual_seed(job.seed), job.masks or {}
        with torch.no_grad():
            for name, weight in zip(*trainable(outcome.adapter), strict=True):
                noise = (self.sigma * torch.randn(weight.shape, generator=generator)).to(weight.device)
                weight.copy_(torch.where(masks[name], weight + noise, weight) if name in masks else weight + noise)
        return outcome
