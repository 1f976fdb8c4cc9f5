"""Fine-tuning: go on training on the retain pairs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multidelete.core.settings import LoopSettings
from multidelete.methods.base import GradientMethod
from multidelete.methods.search import Factor, Search
from multidelete.training.step import Step


@dataclass(frozen=True, kw_only=True)
class FineTune(GradientMethod):
    """Continue the task's own training on retain pairs, and let forgetting happen by itself.

    A baseline in Golatkar, Achille and Soatto: "Eternal Sunshine of the Spotless Net: Selective
    Forgetting in Deep Networks", CVPR 2020, arXiv:1911.04933. The paper's text was not at hand
    when this was written; the definition is the one in general use.

    A step has as many retain pairs as the other methods' steps have pairs in all, and a pass has as
    many steps as theirs, so that equal passes cost the same.
    """

    name: ClassVar[str] = "finetune"
    parts: ClassVar[tuple[str, ...]] = ("retain",)
    training_mode: ClassVar[bool] = True
    search: ClassVar[Search] = {
        "lr": Factor(0.3, 10),
        "passes": Factor(0.5, 2),
    }

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {"task": step.retain.mean(step.retain.task_loss_B)}

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(passes=5.5, lr=2e-3)
