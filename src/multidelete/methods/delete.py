"""DELETE: distil the original on the forget pairs with what is to be forgotten masked out."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidelete.core.runtime import gather_with_grad
from multidelete.core.settings import LoopSettings
from multidelete.methods.base import GradientMethod, Job
from multidelete.methods.distributions import choice_logits, divergences, own_options
from multidelete.methods.reference import ReferenceSettings
from multidelete.methods.search import Factor, Search
from multidelete.models.base import PairOutputs
from multidelete.training.step import Step


@dataclass(frozen=True, kw_only=True)
class DELETE(GradientMethod):
    """Decoupled distillation to erase.

    Zhou, Zheng, Mo, Lu, Lin and Zheng: "Decoupled Distillation to Erase: A General Unlearning Method for Any
    Class-centric Tasks", CVPR 2025, arXiv:2503.23751. Checked in the authors' code
    (github.com/shaaaaron/DELETE); the paper's text was not at hand.

    On each forget pair, with z the original's logits and q what the model being trained says:
    KL(softmax(mask(z)) || q), where the mask sets the logit of the pair's own label to minus infinity. So
    the label's probability goes to 0, and the other classes keep their proportions. No retain pairs are seen.

    Differs from the paper: single pairs are forgotten, not whole classes. *Ours*, for retrieval: where there
    are embeddings, the classes are the members of the step's pairs, forget and retain; masked are those of all
    forget pairs, and of retain pairs that share a member with the pair at hand. Of a matching head the two
    classes are match, which is masked, and no match.
    """

    name: ClassVar[str] = "delete"
    parts: ClassVar[tuple[str, ...]] = ("forget",)
    search: ClassVar[Search] = {
        "lr": Factor(0.1, 3),
        "passes": Factor(0.3, 2),
    }

    def reference_settings(self, job: Job) -> ReferenceSettings:
        return ReferenceSettings()

    def losses(self, step: Step) -> dict[str, Tensor]:
        forget = step.forget
        now, known = choice_logits(forget, forget.outputs), choice_logits(forget, forget.referred())
        own = own_options(forget)
        if "retain" in step.parts:
            now[:2] = _candidate_logits(step, forget.outputs, step.retain.outputs)
            known[:2] = _candidate_logits(step, forget.referred(), step.retain.referred())
            own[:2] = [_masked_candidates(step)] * 2
        masked = [logits_BC.masked_fill(own_BC, float("-inf")) for logits_BC, own_BC in zip(known, own, strict=True)]
        return {"distillation": forget.mean(divergences(now, masked).mean(dim=0))}

    def fitting(self, job: Job) -> GradientMethod:
        """With retain pairs as candidates where there are similarities to compare."""
        return self if job.adapter.logit_scale is None else _DELETEAmongCandidates()

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(passes=5, lr=1.3e-4)


@dataclass(frozen=True, kw_only=True)
class _DELETEAmongCandidates(DELETE):
    """The same with retain pairs in each step."""

    parts: ClassVar[tuple[str, ...]] = ("forget", "retain")


def _candidate_logits(step: Step, forget: PairOutputs, retain: PairOutputs) -> list[Tensor]:
    """Scaled similarities of forget members to all of the step, (B, forget pairs + retain pairs), both ways."""
    if forget.embeddings is None or retain.embeddings is None:
        raise ValueError("similarities need embeddings")
    scale = step.forget.adapter.logit_scale or 1.0
    first, second = forget.embeddings
    return [
        scale
        * forget.embeddings[one]
        @ torch.cat([gather_with_grad(forget.embeddings[other]), gather_with_grad(retain.embeddings[other])]).T
        for one, other in ((first, second), (second, first))
    ]


def _masked_candidates(step: Step) -> Tensor:
    """Every forget pair, and the retain pairs that share a member with the pair of the row."""
    forget, retain = step.forget.batch.sources, step.retain.batch.sources
    shared = [forget[m].unsqueeze(1) == gather_with_grad(retain[m]).unsqueeze(0) for m in forget]
    shared_BR = torch.stack(shared).any(dim=0)
    pairs = len(gather_with_grad(next(iter(forget.values()))))
    return torch.cat([shared_BR.new_ones(len(shared_BR), pairs), shared_BR], dim=1)
