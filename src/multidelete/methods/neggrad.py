"""NegGrad: gradient ascent on the forget pairs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multidelete.core.settings import LoopSettings
from multidelete.methods.base import GradientMethod
from multidelete.methods.distributions import log_likelihood_B
from multidelete.methods.search import Factor, Search
from multidelete.training.step import Part, Step


@dataclass(frozen=True, kw_only=True)
class NegGrad(GradientMethod):
    """Descend the log-likelihood of the forget pairs: for most heads, ascend their task loss.

    A baseline in Golatkar, Achille and Soatto: "Eternal Sunshine of the Spotless Net: Selective
    Forgetting in Deep Networks", CVPR 2020, arXiv:1911.04933. The paper's text was not at hand
    when this was written; the definition is the one in general use.

    Nothing holds the rest of the model in place, so a small budget is all it can take.

    *Ours*, of a matching head: the likelihood is that of `multidelete.methods.distributions`, without the wrong
    pairs of the task loss. Ascending those teaches that wrong pairs match, and the own pair stays a match.
    """

    name: ClassVar[str] = "neggrad"
    parts: ClassVar[tuple[str, ...]] = ("forget",)
    search: ClassVar[Search] = {
        "lr": Factor(0.1, 10),
        "passes": Factor(0.5, 2),
    }

    def moves(self, part: Part) -> bool:
        return bool(log_likelihood_B(part, part.outputs).any())

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {"ascent": step.forget.mean(log_likelihood_B(step.forget, step.forget.outputs))}

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(passes=2.5, lr=1.5e-5)
