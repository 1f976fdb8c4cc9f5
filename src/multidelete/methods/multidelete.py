"""MultiDelete: decouple the members of the forget pairs, keep everything else."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from multidelete.errors import ConfigError
from multidelete.settings import LoopSettings
from multidelete.step import Step
from multidelete.methods.base import GradientMethod
from multidelete.methods.reference import PartnerSource, ReferenceSettings


@dataclass(frozen=True, kw_only=True)
class MultiDelete(GradientMethod):
    name = "multidelete"

    decoupling: float = 1.0
    unimodal: float = 0.1
    multimodal: float = 1.0
    score: float = 0.0
    cross: float = 0.0
    partners: PartnerSource = "retain"
    draws: int = 4

    def reference_settings(self):
        return ReferenceSettings(partners=self.partners, draws=self.draws)

    def loop_settings(self):
        return LoopSettings(passes=20, retain_per_forget=2, batch_size=32, lr=3e-4)

    def losses(self, step: Step) -> dict[str, Tensor]:
        f, r = step.forget, step.retain
        ref = step.reference
        def scaled(a, b, pool, part):
            return part.mean(((a - b) ** 2).mean(-1)) / pool.var(0).mean()
        P = ref.partners[0]
        out = {
            "decoupling": self.decoupling * scaled(f.outputs.joint, f.partnered().joint, P.joint, f),
            "unimodal": self.unimodal * sum(scaled(f.outputs.unimodal[m], f.referred().unimodal[m], ref.parts["forget"].unimodal[m], f) for m in f.outputs.unimodal),
            "multimodal": self.multimodal * scaled(r.outputs.joint, r.referred().joint, ref.parts["retain"].joint, r),
        }
        return out
