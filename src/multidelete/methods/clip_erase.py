"""CLIPErase: lower the similarity of forget pairs, train on retain pairs, stay consistent with the original."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multidelete.core.config import check_settings
from multidelete.core.errors import UnsupportedError
from multidelete.core.settings import LoopSettings
from multidelete.methods.base import GradientMethod, Job
from multidelete.methods.distributions import divergences, similarity_logits
from multidelete.methods.reference import ReferenceSettings, outputs_of
from multidelete.methods.search import Factor, Search
from multidelete.training.step import Step


@dataclass(frozen=True, kw_only=True)
class CLIPErase(GradientMethod):
    """Forgetting, retention and consistency modules, for models with embeddings.

    Yang, Dai, Wang, Cheng, Tian and Zhang: "CLIPErase: Efficient Unlearning of Visual-Textual Associations
    in CLIP", ACL 2025, arXiv:2410.23330. The paper's text was not at hand: the modules and their weights
    follow its abstract and a published summary of its equations, and no official code was found.

    - forgetting: the dot product of the two embeddings of each forget pair, to be lowered;
    - retention: CLIP's contrastive loss of retain pairs;
    - consistency: on retain pairs, KL(original || unlearned) of the image's and of the text's output
      distribution, summed.

    Differs from the paper: retention is the family's own task loss. The output distributions are the in-batch
    softmaxes over scaled similarities, from first to second members and back; how the paper makes
    them of one modality could not be checked. The published weights are 3, 1 and 3; there is no choice of the
    best checkpoint.

    Attributes:
        forgetting: Weight of the forget pairs' similarity, >= 0.
        retention: Weight of the retain pairs' task loss, >= 0.
        consistency: Weight of the divergence from the original, >= 0.
    """

    name: ClassVar[str] = "clip_erase"
    search: ClassVar[Search] = {
        "lr": Factor(0.2, 2),
        "passes": Factor(0.5, 2),
        "forgetting": Factor(0.1, 3),
        "consistency": Factor(0.2, 5),
    }
    forgetting: float = 4.5
    retention: float = 1.0
    consistency: float = 13.0

    def __post_init__(self) -> None:
        weights = ("forgetting", "retention", "consistency")
        check_settings(self, {name: (getattr(self, name) >= 0, "0 or more") for name in weights})

    def reference_settings(self, job: Job) -> ReferenceSettings:
        """Raises:
        UnsupportedError: The model has no embeddings.
        """
        adapter = job.adapter
        if outputs_of(adapter, job.forget[[0]], 1, "whether there are embeddings").embeddings is None:
            raise UnsupportedError(
                f"clip_erase lowers the similarity of two embeddings, and family {adapter.family!r} for {adapter.task} "
                "has none. Use a model with embeddings (docs/models.md), or another method."
            )
        return ReferenceSettings()

    def losses(self, step: Step) -> dict[str, Tensor]:
        forget, retain = step.forget, step.retain
        if forget.outputs.embeddings is None:
            raise ValueError("clip_erase needs embeddings")
        first_BD, second_BD = forget.outputs.embeddings.values()
        apart = divergences(similarity_logits(retain, retain.outputs), similarity_logits(retain, retain.referred()))
        return {
            "forgetting": self.forgetting * forget.mean((first_BD * second_BD).sum(dim=1)),
            "retention": self.retention * retain.mean(retain.task_loss_B),
            "consistency": self.consistency * retain.mean(apart.sum(dim=0)),
        }

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(lr=1.5e-3)
