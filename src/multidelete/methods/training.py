"""Ordinary training, and retraining without the forget pairs: the yardstick."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multidelete.core.errors import UnsupportedError
from multidelete.core.settings import LoopSettings
from multidelete.methods.base import GradientMethod, Job, Method, Outcome, Planned
from multidelete.models.base import Adapter
from multidelete.training.loop import Run, run_loop
from multidelete.training.plan import plan_steps
from multidelete.training.step import Step


@dataclass(frozen=True, kw_only=True)
class Training(GradientMethod):
    """Minimise the family's task loss over all given pairs; what ``multidelete train`` runs."""

    name: ClassVar[str] = "train"
    parts: ClassVar[tuple[str, ...]] = ("train",)
    training_mode: ClassVar[bool] = True

    def losses(self, step: Step) -> dict[str, Tensor]:
        part = step.parts["train"]
        return {"task": part.mean(part.task_loss_B)}

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(passes=40, batch_size=48, lr=1e-3, weight_decay=0.1)


@dataclass(frozen=True, kw_only=True)
class Retrain(Method):
    """Train on the retain pairs alone, from the start and with the recipe of the original.

    What every other method is measured against. The start is known for models that
    ``multidelete train`` made: the same initial weights and tokenizer, or the same folder that
    was fine-tuned. Passes are over the retain pairs.

    Attributes:
        fresh_tokenizer: Train the tokenizer of a new model anew on the retain pairs' captions: that of the original
            holds words that stand in deleted captions alone, names among them.
    """

    fresh_tokenizer: bool = False

    name: ClassVar[str] = "retrain"
    parts: ClassVar[tuple[str, ...]] = ("retain",)
    takes_part: ClassVar[bool] = False
    no_search: ClassVar[str | None] = "it is the yardstick, and has the settings of the original's training"

    def planned(self, job: Job) -> Planned:
        plan = plan_steps(("train",), {"train": len(job.retain)}, job.settings, job.seed)
        return Planned(len(plan), sum(len(step.positions["train"]) for step in plan), 0)

    def run(self, job: Job) -> Outcome:
        """Raises:
        UnsupportedError: Nobody recorded what the original's training began with.
        """
        if job.start is None:
            raise UnsupportedError(
                "retrain needs the model that the original's training began with and its recipe, and the original's "
                "folder does not record them (it has no multidelete.json of 'multidelete train'). Retrain with your "
                "own script on the retain pairs, and give the result to 'multidelete audit --retrained'."
            )
        adapter: Adapter = job.start(self.fresh_tokenizer)
        result = run_loop(
            adapter,
            Training(),
            {"train": job.retain},
            settings=job.settings,
            seed=job.seed,
            run=Run(work=job.work, resume=job.resume, title=self.name),
        )
        return Outcome(
            adapter=adapter,
            history=result.history,
            pairs_forward=0,
            pairs_backward=result.pairs,
            reference_s=0.0,
            peak_bytes=result.peak_bytes,
            wall_s=result.wall_s,
        )
