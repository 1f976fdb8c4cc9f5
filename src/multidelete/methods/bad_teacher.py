"""Bad teaching: on forget pairs imitate a model that knows nothing, on retain pairs the original."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multidelete.core.config import check_settings
from multidelete.core.runtime import make_accelerator
from multidelete.core.settings import LoopSettings
from multidelete.data.pairs import PairDataset
from multidelete.methods.base import GradientMethod, Job
from multidelete.methods.distributions import divergence_B, has_rivals
from multidelete.methods.reference import Reference, ReferenceSettings, outputs_of
from multidelete.methods.search import Factor, Search
from multidelete.models.fresh import untrained
from multidelete.training.step import Part, Step


@dataclass(frozen=True, kw_only=True)
class BadTeacher(GradientMethod):
    """Distil an incompetent teacher on the forget pairs and a competent one on the retain pairs.

    Chundawat, Tarun, Mandal and Kankanhalli: "Can Bad Teaching Induce Forgetting? Unlearning in Deep
    Networks Using an Incompetent Teacher", AAAI 2023, arXiv:2205.08096. Checked in the authors' code
    (github.com/vikram2000b/bad-teaching-unlearning); the paper's text was not at hand.

    With S the model being trained, T_s the original and T_d a randomly initialised model of the same
    architecture, the loss is KL(T_d(x) || S(x)) on forget pairs and KL(T_s(x) || S(x)) on retain pairs.
    Both teachers are asked once, before training, and are not in memory afterwards.

    Differs from the paper: sampled retain pairs instead of 30 % of all; each divergence is a mean over
    pairs and has a weight. The official code averages over classes too. *Ours*, for retrieval: the
    distributions are those of `multidelete.methods.distributions`.

    Attributes:
        forget: Weight of the divergence from the incompetent teacher, >= 0.
        retain: Weight of the divergence from the original, >= 0.
    """

    name: ClassVar[str] = "bad_teacher"
    search: ClassVar[Search] = {
        "lr": Factor(0.2, 2),
        "passes": Factor(0.5, 2),
        "forget": Factor(0.2, 5),
    }
    forget: float = 0.55
    retain: float = 1.0

    def __post_init__(self) -> None:
        check_settings(self, {"forget": (self.forget >= 0, "0 or more"), "retain": (self.retain >= 0, "0 or more")})

    def reference(self, job: Job, datasets: Mapping[str, PairDataset]) -> Reference:
        """What the incompetent teacher says of the forget pairs, and the original of the retain pairs."""
        device = make_accelerator(device=job.settings.device).device
        size = ReferenceSettings().batch_size
        incompetent = untrained(job.adapter, seed=job.seed).to(device)
        forget = outputs_of(incompetent, datasets["forget"].pairs, size, "incompetent teacher on forget")
        retain = outputs_of(job.adapter.to(device), datasets["retain"].pairs, size, "original on retain")
        return Reference({"forget": forget, "retain": retain}, [], len(datasets["forget"]) + len(datasets["retain"]))

    def asked(self, job: Job, sizes: Mapping[str, int]) -> int:
        return sum(sizes.values())

    def moves(self, part: Part) -> bool:
        return has_rivals(part)

    def losses(self, step: Step) -> dict[str, Tensor]:
        forget, retain = step.forget, step.retain
        return {
            "incompetent": self.forget * forget.mean(divergence_B(forget, forget.referred())),
            "competent": self.retain * retain.mean(divergence_B(retain, retain.referred())),
        }

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(passes=13, lr=1.5e-3)
