"""Saliency unlearning: another method, allowed to change only the weights that matter to the forget pairs."""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

from multidelete.core.config import check_settings
from multidelete.core.errors import ConfigError
from multidelete.core.runtime import make_accelerator
from multidelete.core.settings import LoopSettings
from multidelete.methods.auto import planned_run, run_method
from multidelete.methods.base import GradientMethod, Job, Method, Outcome, Planned, sample_retain
from multidelete.methods.importance import draw_gallery, mean_gradient, saliency_mask
from multidelete.methods.search import Factor, Search
from multidelete.models.base import Adapter


@dataclass(frozen=True, kw_only=True)
class SalUn(Method):
    """Run another method on the weights with the largest gradient of the forget pairs' loss; the others stay bit-equal.

    Fan, Liu, Zhang, Wong, Wei and Liu: "SalUn: Empowering Machine Unlearning via Gradient-based
    Weight Saliency in Both Image Classification and Generation", ICLR 2024, arXiv:2310.12508. The
    mask is 1 where |gradient of the forget loss at the original's weights| is at least gamma, with gamma
    such that a given share passes (the median: one half); what passes is trained with random labels.

    Differs from the paper: the gradient is the mean over single pairs, for retrieval among a fixed
    gallery (`multidelete.methods.importance`). Entries without any gradient, such as the embeddings of words that
    no forget pair has, never pass, even where the share would have room for them.

    Differs from the released code (github.com/OPTML-Group/Unlearn-Saliency): there the random labels are drawn anew
    in each epoch, uniformly among all classes, so that one may be the true one; `RandomLabels` draws a wrong one,
    once for the run. There gradients are summed over batches and the rest of the training data is trained on whole.
    The gradients of both are those at the original's weights: the released code has not moved them since December
    2023 (before that it took a step after each batch).

    Attributes:
        wrapped: The gradient method that is run with its own defaults: a name, or package.module:Class.
        fraction: Share of the trainable entries that may change, in (0, 1].
    """

    name: ClassVar[str] = "salun"
    finds_its_way: ClassVar[bool] = True
    takes_lora: ClassVar[bool] = True
    search: ClassVar[Search] = {
        "lr": Factor(0.2, 5),
        "passes": Factor(0.5, 2),
        "fraction": Factor(0.2, 2),
    }
    wrapped: str = "random_labels"
    fraction: float = 0.5

    def __post_init__(self) -> None:
        check_settings(self, {"fraction": (0 < self.fraction <= 1, "above 0, and 1 or less")})

    def method(self) -> GradientMethod:
        """The method that is run under the mask.

        Raises:
            ConfigError: It is unknown, or no gradient method.
        """
        from multidelete.methods import get_method  # which holds this class too

        kind = get_method(self.wrapped)
        if not issubclass(kind, GradientMethod):
            raise ConfigError(
                f"wrapped is {self.wrapped!r}, which takes no gradient steps, so nothing can be masked. "
                "Name a method that does, such as random_labels or grad_diff."
            )
        return kind()

    @property
    def at_work(self) -> Method:
        return self.method()

    def loop_settings(self) -> LoopSettings:
        return self.method().loop_settings()

    def loop_settings_for(self, forget: int) -> LoopSettings:
        return self.method().loop_settings_for(forget)

    def trainable(self, adapter: Adapter) -> str:
        return self.method().trainable(adapter)

    def planned(self, job: Job) -> Planned | None:
        of_method = planned_run(self.method(), job)
        if of_method is None:
            return None
        gallery = draw_gallery(job.adapter, sample_retain(job), job.seed)
        return replace(of_method, pairs_backward=of_method.pairs_backward + len(job.forget) * (1 + len(gallery)))

    def run(self, job: Job) -> Outcome:
        """Find the salient entries, then run the method on them."""
        started, method = time.perf_counter(), self.method()
        job.adapter.to(make_accelerator(device=job.settings.device).device)
        gallery = draw_gallery(job.adapter, sample_retain(job), job.seed)
        masks = saliency_mask(mean_gradient(job.adapter, job.forget.pairs, gallery, "saliency"), self.fraction)
        saliency_s = time.perf_counter() - started
        outcome = run_method(method, replace(job, masks=masks))
        return replace(
            outcome,
            pairs_backward=outcome.pairs_backward + len(job.forget) * (1 + len(gallery)),
            reference_s=outcome.reference_s + saliency_s,
            wall_s=outcome.wall_s + saliency_s,
        )
