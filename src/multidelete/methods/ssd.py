"""Selective synaptic dampening: shrink the weights that matter to the forget pairs more than to the rest."""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from multidelete.core.config import check_settings
from multidelete.core.runtime import make_accelerator, peak_bytes
from multidelete.core.settings import LoopSettings
from multidelete.methods.base import Job, Method, Outcome, Planned, sample_retain
from multidelete.methods.importance import draw_gallery, importance, trainable
from multidelete.methods.search import Factor, Search


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

    Since I_D >= |F| / |D| I_F, nothing can be selected once alpha reaches |D| / |F|: ``share`` of that is
    taken in the place of a larger alpha, and recorded.

    Attributes:
        alpha: How many times more important than to all pairs a parameter must be to forget pairs to be
            dampened, > 0; the default is the paper's.
        share: Most that alpha may be, as a share of |D| / |F|, in (0, 1).
        strength: The paper's lambda, > 0: the smaller, the more is dampened.
    """

    name: ClassVar[str] = "ssd"
    trains: ClassVar[bool] = False
    search: ClassVar[Search] = {
        "alpha": Factor(0.1, 2),
        "strength": Factor(0.1, 1),
    }
    alpha: float = 10.0
    share: float = 0.4
    strength: float = 0.7

    def __post_init__(self) -> None:
        above = "greater than 0"
        rules = {name: (getattr(self, name) > 0, above) for name in ("alpha", "strength")}
        check_settings(self, rules | {"share": (0 < self.share < 1, "above 0 and below 1")})

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(retain_sample=0)  # each sampled pair is a backward pass of its own

    def planned(self, job: Job) -> Planned:
        sampled = sample_retain(job)
        return Planned(0, (len(job.forget) + len(sampled)) * (1 + len(draw_gallery(job.adapter, sampled, job.seed))), 0)

    def run(self, job: Job) -> Outcome:
        """Measure, then dampen."""
        started, forgotten = time.perf_counter(), len(job.forget) / (len(job.forget) + len(job.retain))
        alpha = min(self.alpha, self.share / forgotten)
        adapter, sampled = job.adapter, sample_retain(job)
        adapter.to(make_accelerator(device=job.settings.device).device)
        gallery = draw_gallery(adapter, sampled, job.seed)
        of_forget = importance(adapter, job.forget.pairs, gallery, "importance for forget pairs")
        of_retain = importance(adapter, sampled.pairs, gallery, "importance for retain pairs")
        selected = 0
        with torch.no_grad():
            for name, weight in zip(*trainable(adapter), strict=True):
                forget, overall = of_forget[name], forgotten * of_forget[name] + (1 - forgotten) * of_retain[name]
                chosen = forget > alpha * overall
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
            decisions={"alpha": alpha},
        )
