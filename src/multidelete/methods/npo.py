"""Negative preference optimization: push forget pairs below the original's likelihood, with a fading gradient."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from multidelete.core.config import check_settings
from multidelete.methods.base import GradientMethod, Job
from multidelete.methods.distributions import log_likelihood_B
from multidelete.methods.reference import ReferenceSettings
from multidelete.methods.search import Factor, Search
from multidelete.training.step import Part, Step


@dataclass(frozen=True, kw_only=True)
class NPO(GradientMethod):
    """Negative preference optimization of the forget pairs.

    Zhang, Lin, Bai and Mei: "Negative Preference Optimization: From Catastrophic Collapse to Effective
    Unlearning", COLM 2024, arXiv:2404.05868. Checked in the authors' code
    (github.com/licong-lin/negative-preference-optimization); the paper's text was not at hand.

    With p the likelihood of a forget pair and p_0 the original's, the loss is
    -2 / beta * log sigmoid(-beta * log(p / p_0)), a mean over forget pairs, plus the task loss of retain
    pairs (the paper's variant with a retain loss). The gradient is that of ascent on -log p, times
    2 sigmoid(beta log(p / p_0)), which is 1 at the start and fades as p falls; beta to 0 is gradient ascent.

    Differs from the paper: log p is no token likelihood but minus the family's own task loss, which for
    contrastive losses compares with the step's other forget pairs. Of a matching head, log p is that of
    a match plus, where there are embeddings, that of the in-batch choice: the loss's wrong pairs are
    left out.

    Attributes:
        beta: Inverse temperature, in 1 / nats, > 0; the gradient is down to half after 1.1 / beta nats.
        forget: Weight of the loss of forget pairs, >= 0.
        retain: Weight of the task loss of retain pairs, >= 0.
    """

    name: ClassVar[str] = "npo"
    search: ClassVar[Search] = {
        "lr": Factor(0.2, 2),
        "passes": Factor(0.5, 2),
        "beta": Factor(0.2, 5),
        "forget": Factor(0.2, 5),
    }
    beta: float = 1.0
    forget: float = 1.0
    retain: float = 1.0

    def __post_init__(self) -> None:
        rules = {name: (getattr(self, name) >= 0, "0 or more") for name in ("forget", "retain")}
        check_settings(self, {"beta": (self.beta > 0, "greater than 0; grad_diff is the limit at 0")} | rules)

    def reference_settings(self, job: Job) -> ReferenceSettings:
        return ReferenceSettings()

    def moves(self, part: Part) -> bool:
        return bool(log_likelihood_B(part, part.outputs).any())

    def losses(self, step: Step) -> dict[str, Tensor]:
        forget, retain = step.forget, step.retain
        with torch.no_grad():
            known_B = log_likelihood_B(forget, forget.referred())
        log_ratio_B = log_likelihood_B(forget, forget.outputs) - known_B
        preference_B = -2 / self.beta * F.logsigmoid(-self.beta * log_ratio_B)
        return {
            "preference": self.forget * forget.mean(preference_B),
            "task": self.retain * retain.mean(retain.task_loss_B),
        }
