"""SCRUB: disobey the original on forget pairs and obey it on retain pairs, in turn; then rewind."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from multidelete.core.config import check_settings
from multidelete.core.settings import LoopSettings
from multidelete.methods.base import GradientMethod, Job, Outcome
from multidelete.methods.distributions import divergence_B, has_rivals
from multidelete.methods.reference import ReferenceSettings
from multidelete.methods.rewind import Rewind
from multidelete.methods.search import Factor, Search
from multidelete.training.step import Part, Step


@dataclass(frozen=True, kw_only=True)
class SCRUB(GradientMethod):
    """Passes that move away from the original on forget pairs, in turn with passes that follow it on retain pairs.

    Kurmanji, Triantafillou, Hayes and Triantafillou: "Towards Unbounded Machine Unlearning", NeurIPS 2023,
    arXiv:2302.09880; with ``rewind`` it is the paper's SCRUB+R. Checked in the authors' code
    (github.com/meghdadk/SCRUB) and in published summaries; the paper's text was not at hand.

    With d the divergence KL(original || unlearned): a max pass minimises -d over the forget pairs, a min pass
    alpha * d + gamma * task loss over retain pairs. They alternate until there were ``max_passes`` max
    passes; min passes alone follow. Rewinding then takes the weights, among those after each min pass, whose
    error on the forget pairs is nearest to the final weights' error on held-out pairs of the same kind.

    Differs from the paper: a min pass comes first, since d and its gradient are 0 at the original's own
    weights, where the authors' code relies on dropout and batch statistics; sampled retain pairs; no
    temperature. *Ours*, for retrieval: the distributions, and the choices whose errors are counted, are those
    of `multidelete.methods.distributions`.

    Attributes:
        alpha: Weight of the divergence on retain pairs, >= 0.
        gamma: Weight of the task loss on retain pairs, >= 0.
        max_passes: Passes over the forget pairs, >= 1; the budget should have twice as many and some more.
        rewind: Whether to rewind where there are held-out pairs.
    """

    name: ClassVar[str] = "scrub"
    finds_its_way: ClassVar[bool] = False
    search: ClassVar[Search] = {
        "lr": Factor(0.2, 5),
        "passes": Factor(0.5, 2),
        "max_passes": Factor(0.5, 2),
        "alpha": Factor(0.2, 5),
    }
    alpha: float = 0.15
    gamma: float = 1.0
    max_passes: int = 3
    rewind: bool = True

    def __post_init__(self) -> None:
        rules = {name: (getattr(self, name) >= 0, "0 or more") for name in ("alpha", "gamma")}
        check_settings(self, rules | {"max_passes": (self.max_passes >= 1, "1 or more")})

    def parts_of_pass(self, number: int) -> tuple[str, ...]:
        return ("forget",) if number % 2 and number < 2 * self.max_passes else ("retain",)

    def reference_settings(self, job: Job) -> ReferenceSettings:
        return ReferenceSettings()

    def moves(self, part: Part) -> bool:
        return has_rivals(part)

    def losses(self, step: Step) -> dict[str, Tensor]:
        if "forget" in step.parts:
            forget = step.forget
            return {"max": -forget.mean(divergence_B(forget, forget.referred()))}
        retain = step.retain
        return {
            "min": self.alpha * retain.mean(divergence_B(retain, retain.referred())),
            "task": self.gamma * retain.mean(retain.task_loss_B),
        }

    def run(self, job: Job, after_pass: Callable[[int], None] | None = None) -> Outcome:
        """Train, and rewind where that is asked for and possible."""
        rewind = Rewind(job)
        if not (self.rewind and rewind.possible):
            return super().run(job, after_pass)

        def keep(number: int) -> None:
            if number > 1 and "retain" in self.parts_of_pass(number):  # before the first max pass nothing is forgotten
                rewind.keep(number)
            if after_pass is not None:
                after_pass(number)

        done = super().run(job, keep)
        started = time.perf_counter()
        decisions = rewind.back()
        return replace(
            done,
            decisions=decisions,
            pairs_forward=done.pairs_forward + rewind.pairs,
            wall_s=done.wall_s + time.perf_counter() - started,
        )

    def loop_settings_for(self, forget: int) -> LoopSettings:
        """Small requests take as many passes as others: more would add passes of the retain pairs alone."""
        return replace(super().loop_settings_for(forget), passes=self.loop_settings().passes)

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(passes=9, lr=8e-5)
