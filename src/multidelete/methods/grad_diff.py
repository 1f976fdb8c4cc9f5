"""Gradient difference (NegGrad+): ascent on the forget pairs, descent on retain pairs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multidelete.core.config import check_settings
from multidelete.core.settings import LoopSettings
from multidelete.methods.base import GradientMethod
from multidelete.methods.distributions import log_likelihood_B
from multidelete.methods.search import Factor, Search
from multidelete.training.step import Part, Step


@dataclass(frozen=True, kw_only=True)
class GradDiff(GradientMethod):
    """Descend the log-likelihood of the forget pairs, and the task loss of retain pairs.

    Called NegGrad+ in Kurmanji, Triantafillou, Hayes and Triantafillou: "Towards Unbounded Machine
    Unlearning", NeurIPS 2023, arXiv:2302.09880. The paper's text was not at hand when this was
    written; the weighting here is a plain sum with a weight on each term.

    Minus the log-likelihood is the task loss. *Ours*, of a matching head: without the loss's wrong pairs, as in
    `multidelete.methods.neggrad`.

    Attributes:
        ascent: Weight of the forget pairs' log-likelihood, >= 0.
        descent: Weight of the retain pairs' task loss, >= 0.
    """

    name: ClassVar[str] = "grad_diff"
    search: ClassVar[Search] = {
        "lr": Factor(0.3, 5),
        "passes": Factor(0.5, 2),
        "ascent": Factor(0.1, 5),
    }
    ascent: float = 0.2
    descent: float = 1.0

    def __post_init__(self) -> None:
        check_settings(self, {"ascent": (self.ascent >= 0, "0 or more"), "descent": (self.descent >= 0, "0 or more")})

    def moves(self, part: Part) -> bool:
        return bool(log_likelihood_B(part, part.outputs).any())

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {
            "ascent": self.ascent * step.forget.mean(log_likelihood_B(step.forget, step.forget.outputs)),
            "descent": self.descent * step.retain.mean(step.retain.task_loss_B),
        }

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(passes=7, lr=4e-4)
