"""Selective synaptic dampening: shrink the weights that matter to the forget pairs more than to the rest."""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from multidelete.config import check_settings
from multidelete.errors import ConfigError
from multidelete.methods.base import Job, Method, Outcome, sample_retain
from multidelete.methods.importance import draw_gallery, importance, trainable
from multidelete.methods.search import Factor, Search
from multidelete.runtime import make_accelerator, peak_bytes


@dataclass(frozen=True, kw_only=True)
class SSD(Method):
    """Dampen the parameters that are disproportionately important to the forget pairs; no training.

    Foster, Schoepf and Brintrup: "Fast Machine Unlearning Without Retraining Through Selective
    Synaptic Dampening", AAAI 2024, arXiv:2308.07707. With I_F and I_D the diagonal Fisher
    information of forget pairs and of all training pairs, each parameter w with
    I_F > alpha I_D becomes w min(lambda I_D / I_F, 1).

    Differs from the paper: I_D is estimated from the sampled retain pairs, at most eight for each
    forget pair, as (|F| I_F + |R| I_R) / |D|, so that cost grows with the forget pairs and not with
    the training set. Importance is that of single pairs (`multidelete.methods.importance` says among
    which negatives), as the paper defines it; the official code squares gradients that are averaged over a batch.

    Since I_D >= |F| / |D| I_F, nothing can be selected once alpha reaches |D| / |F|; the paper's
    alpha of 10 suits requests well below a tenth of the data.

    Attributes:
        alpha: How many times more important than to all pairs a parameter must be to forget pairs to be
            dampened, > 0 and below |D| / |F|.
        strength: The paper's lambda, > 0: the smaller, the more is dampened.
    """

    name: ClassVar[str] = "ssd"
    trains: ClassVar[bool] = False
    search: ClassVar[Search] = {
        "alpha": Factor(0.55, 5),
        "strength": Factor(0.1, 1),
    }
    alpha: float = 2.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        above = "greater than 0"
        check_settings(self, {"alpha": (self.alpha > 0, above), "strength": (self.strength > 0, above)})

    def run(self, job: Job) -> Outcome:
        """Measure, then dampen.

        Raises:
            ConfigError: No parameter can be alpha times as important.
        """
        started, total = time.perf_counter(), len(job.forget) + len(job.retain)
        if self.alpha * len(job.forget) >= total:
            raise ConfigError(
                f"alpha is {self.alpha}, and {len(job.forget)} of {total} training pairs are to be forgotten: no "
                f"parameter can be {self.alpha} times as important to them as to all. "
                f"alpha must be below {total / len(job.forget):.3g}."
            )
        adapter, sampled = job.adapter, sample_retain(job)
        adapter.to(make_accelerator(device=job.settings.device).device)
        gallery = draw_gallery(adapter, sampled, job.seed)
        of_forget = importance(adapter, job.forget.pairs, gallery, "importance for forget pairs")
        of_retain = importance(adapter, sampled.pairs, gallery, "importance for retain pairs")
        share = len(job.forget) / total
        selected = 0
        with torch.no_grad():
            for name, weight in zip(*trainable(adapter), strict=True):
                forget, overall = of_forget[name], share * of_forget[name] + (1 - share) * of_retain[name]
                chosen = forget > self.alpha * overall
                weight.mul_(torch.where(chosen, (self.strength * overall / forget).clamp(max=1), 1))
                selected += int(chosen.sum())
        return Outcome(
            adapter=adapter,
            history=[{"dampened": float(selected)}],
            pairs_forward=0,
            pairs_backward=(len(job.forget) + len(sampled)) * (1 + len(gallery)),
            reference_s=0.0,
            wall_s=time.perf_counter() - started,
            peak_bytes=peak_bytes(adapter.device),
        )
