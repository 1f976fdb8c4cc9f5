"""The three terms of the paper, and nothing else."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from multidelete.core.settings import LoopSettings
from multidelete.methods.multidelete import MultiDelete
from multidelete.methods.search import Factor, Search
from multidelete.models.base import Adapter


@dataclass(frozen=True, kw_only=True)
class MultiDeletePaper(MultiDelete):
    """MultiDelete's three losses with a weight of 1 each, on all parameters: to compare `MultiDelete` with.

    Cheng and Amiri: "MultiDelete for Multimodal Machine Unlearning", ECCV 2024, arXiv:2311.12047.

    Differs from the paper: as `MultiDelete` does, but for the further terms and for what is trained. Each term is
    divided by the variance of its target, partners come from the retain pairs, h of dual encoders is the product
    of the embeddings.

    Differs from the released code, which is neither the paper nor one objective:

    - For classification its unimodal term takes all tokens of the image encoder and no text; here it takes each
      encoder's [CLS] state (`PairOutputs.unimodal`), of both modalities.
    - For retrieval its terms compare the similarity matrices of a batch, from pictures to texts and back, with
      those of the original; here they compare representations, pair by pair.
    - Its unassociated partners are a permutation of the batch, which may leave a pair with its own member or with
      one that belongs to it; here a partner is drawn from the retain pairs, and nothing associates it.
    - Its student trains with dropout on; here dropout is off, as in the original that it is compared with.

    Attributes:
        decoupling: As in `MultiDelete`, and so are all others; only their defaults differ.
        score_target: ``partner``: no held-out pairs are asked for, since no score is moved.
    """

    name: ClassVar[str] = "multidelete_paper"
    is_solvable: ClassVar[bool] = False
    search: ClassVar[Search] = {
        "lr": Factor(0.1, 3),
        "passes": Factor(0.5, 2),
        "decoupling": Factor(0.2, 5),
        "unimodal": Factor(0.1, 3),
    }
    decoupling: float = 1.0
    unimodal: float = 1.0
    multimodal: float = 1.0
    score: float = 0.0
    embeddings: float = 0.0
    retain_score: float = 0.0
    task: float = 0.0
    score_target: Literal["auto", "holdout", "partner"] = "partner"

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(lr=2e-3)

    def trainable(self, adapter: Adapter) -> str:
        return "all"
