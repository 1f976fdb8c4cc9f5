"""MultiDelete: decouple the members of the forget pairs, keep everything else."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from multidelete.core.config import check_settings
from multidelete.core.errors import UnsupportedError
from multidelete.core.settings import LoopSettings
from multidelete.core.streams import Stream
from multidelete.methods.base import GradientMethod, Job, sample_pairs
from multidelete.methods.reference import PartnerSource, Reference, ReferenceSettings
from multidelete.methods.search import Factor, Search
from multidelete.methods.targets import SIGNALS, association_signals
from multidelete.models.base import Adapter
from multidelete.training.step import Part, Step

REFRESH_PAIRS = 256
LABELLED = 3  # a classifier's score, the margin of the label, counts this many times as much as a similarity


@dataclass(frozen=True, kw_only=True)
class MultiDelete(GradientMethod):
    """Make each forget pair look like an unassociated one, and keep its members and all other pairs.

    Cheng and Amiri: "MultiDelete for Multimodal Machine Unlearning", ECCV 2024, arXiv:2311.12047.
    The paper's text was not at hand when this was written: the three losses follow this project's
    description of them.

    With f the original and f' the model being trained, dist a distance, h the joint and u_m the
    unimodal representations (`PairOutputs`):

    - modality decoupling, dist(h'(a_i, b_i), h(a_p, b_q)) on forget pairs, with (a_p, b_q) a pair
      that nothing associates;
    - unimodal retention, the sum over modalities of dist(u'_m(x_i), u_m(x_i)) on forget pairs;
    - multimodal retention, dist(h'(a_r, b_r), h(a_r, b_r)) on retain pairs.

    Differs from the paper:

    - Each term is divided by the variance of its target over the cache, so that weights mean the
      same for every model family. No divisor is below a quarter of the variance of associated and unassociated pairs
      together, for u of forget and retain pairs together, each group half of it: where all unassociated pairs look
      alike to the original, their own variance is next to nothing. The manifest records the divisors as ``scales``.
    - The unassociated pair's members come from retain pairs by default.
    - Dual encoders have no fusion: h is the elementwise product of the two embeddings. Only the encoder
      of the second modality is trained, unless asked otherwise (``trainable=all``): what the two encoders
      join, either can sever, and embeddings of pictures that users have stored stay valid. For the same
      reasons ALBEF and BLIP keep their image encoder, which makes a step a quarter cheaper.
    - ``score``, ``embeddings``, ``retain_score`` and ``task`` are further terms, on by default. For dual encoders
      h's sum, the similarity, decides what is retrieved, and the squared error of h hardly sees it; of other models
      the head reads few directions of h. `MultiDeletePaper` has the paper's terms alone, and says what the
      released code does otherwise.

    Attributes:
        decoupling: Weight of modality decoupling, >= 0.
        unimodal: Weight of unimodal retention, >= 0.
        multimodal: Weight of multimodal retention, >= 0.
        score: Weight of the squared distance between each forget pair's association score and its
            target score, >= 0; and likewise of the similarity of its embeddings, where a matching head
            gives the score. For classifiers, whose score is the margin of the label, it counts `LABELLED` times.
        embeddings: Weight of the squared distance between the embeddings of retain pairs and the
            original's, for dual encoders, >= 0: keeps the similarities of retain pairs to everything,
            not only within each pair.
        retain_score: Weight of the squared distance between the association scores of retain pairs and the
            original's, for models whose head gives the score, >= 0: without it forgetting lowers all scores.
        task: Weight of the family's own loss on retain pairs, for models with a matching head, >= 0: it shows the head
            wrong pairs, without which it comes to match everything.
        score_target: Whose scores are the targets, matched by rank: ``holdout`` (those of validation pairs of the
            same `Stratum`: kind, label, and how many members are unknown), ``partner`` (those of the unassociated
            pairs), or ``auto``: held-out pairs where the data has them.
        refreshes: How many times in a run, evenly, targets from held-out pairs are matched again, by what the model
            then says of them (of `REFRESH_PAIRS` at most) and of the forget pairs, >= 0: training moves the scores of
            unseen pairs too, and targets that stay where they were would be left above or below them.
        partners: Where unassociated partners come from.
        draws: Partners for each forget pair, taken in turn by the passes, >= 1.
        distance: ``mse``, or ``cosine`` (1 - cosine similarity, not divided by a variance).
    """

    name: ClassVar[str] = "multidelete"
    is_solvable: ClassVar[bool] = True
    search: ClassVar[Search] = {
        "lr": Factor(0.3, 3),
        "passes": Factor(0.5, 2),
        "decoupling": Factor(0.2, 5),
        "score": Factor(0.2, 5),
    }
    decoupling: float = 0.3
    unimodal: float = 0.1
    multimodal: float = 1.0
    score: float = 3.0
    embeddings: float = 40.0
    retain_score: float = 20.0
    task: float = 5.0
    score_target: Literal["auto", "holdout", "partner"] = "auto"
    refreshes: int = 6
    partners: PartnerSource = "retain"
    draws: int = 4
    distance: Literal["mse", "cosine"] = "mse"

    def __post_init__(self) -> None:
        weights = ("decoupling", "unimodal", "multimodal", "score", "embeddings", "retain_score", "task")
        check_settings(
            self,
            {name: (getattr(self, name) >= 0, "0 or more") for name in weights}
            | {"draws": (self.draws >= 1, "1 or more"), "refreshes": (self.refreshes >= 0, "0 or more")},
        )

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(passes=6, lr=1.5e-3)

    def trainable(self, adapter: Adapter) -> str:
        first, second = adapter.modalities
        if adapter.encoder_parameters(second):
            return second
        return f"but-{first}" if adapter.encoder_parameters(first) else "all"

    def asked(self, job: Job, sizes: Mapping[str, int]) -> int:
        passes = range(math.ceil(job.settings.passes))
        times = sum(self._is_due(number, job.settings.passes) for number in passes)
        return super().asked(job, sizes) + times * self.asked_again(job)

    def asked_again(self, job: Job) -> int:
        if job.holdout is None or not self._matches_again(job):
            return 0
        return len(job.forget) + min(REFRESH_PAIRS, len(job.holdout))

    def _matches_again(self, job: Job) -> bool:
        """Whether there are targets from held-out pairs to match while the run goes on."""
        asked = self.reference_settings(job)
        return asked.score_targets == "holdout" and self.score > 0 and self.refreshes > 0

    def _is_due(self, number: int, passes: float) -> bool:
        """Whether another of the refreshes is due after a pass; at the end of the run none is."""
        due, was_due = (int(self.refreshes * done / passes) for done in (number + 1, number))
        return due > was_due and number + 1 < passes

    def update_reference(self, reference: Reference, job: Job, number: int) -> None:
        """Match the targets again where another of the refreshes is due."""
        if self._is_due(number, job.settings.passes):
            self.refresh_reference(reference, job)

    def refresh_reference(self, reference: Reference, job: Job) -> None:
        """Match the targets again."""
        if job.holdout is not None and self._matches_again(job):
            holdout = sample_pairs(
                job.holdout, REFRESH_PAIRS, job.seed, Stream.REFRESH_SAMPLE, "sampled held-out pairs"
            )
            reference.match_again(job.adapter, {"forget": job.forget, "holdout": holdout}, job.train)

    def reference_settings(self, job: Job) -> ReferenceSettings:
        source = self.score_target
        if source == "auto":
            source = "holdout" if job.holdout is not None else "partner"
        elif source == "holdout" and job.holdout is None:
            raise UnsupportedError(
                "score_target is 'holdout', but the data has no val split of pairs that were never trained on. "
                "Use score_target=partner, or data with a val split."
            )
        return ReferenceSettings(partners=self.partners, draws=self.draws, score_targets=source)

    def losses(self, step: Step) -> dict[str, Tensor]:
        forget, retain, reference = step.forget, step.retain, step.reference
        if reference is None or forget.score_target is None:
            raise ValueError("MultiDelete needs the original's outputs")
        scales = reference.variances
        now, known = forget.outputs, forget.referred()
        decoupling = self._distance(forget, now.joint, forget.partnered().joint, scales.get("partner"))
        unimodal = self._each(forget, now.unimodal, known.unimodal, scales, "unimodal")
        multimodal = self._distance(retain, retain.outputs.joint, retain.referred().joint, scales.get("retain"))
        terms = {
            "decoupling": self.decoupling * decoupling,
            "unimodal": self.unimodal * unimodal,
            "multimodal": self.multimodal * multimodal,
        }
        if self.score > 0:
            gap_BS = association_signals(forget.outputs, forget.score_target.shape[1]) - forget.score_target
            weight = self.score * (1 if forget.outputs.logits is None else LABELLED)
            squared = [
                weight * forget.mean(gap_B**2) / scales.get(f"partner {name}", 1.0)
                for name, gap_B in zip(SIGNALS, gap_BS.unbind(dim=1), strict=False)
            ]
            terms["score"] = torch.stack(squared).sum()
        kept = retain.referred().embeddings
        if self.embeddings > 0 and retain.outputs.embeddings is not None and kept is not None:
            terms["embeddings"] = self.embeddings * self._each(
                retain, retain.outputs.embeddings, kept, scales, "embedding"
            )
        is_similarity = kept is not None and forget.score_target.shape[1] == 1  # then the embeddings keep it
        if self.retain_score > 0 and not is_similarity:
            gap_B = retain.outputs.score - retain.referred().score
            terms["retain_score"] = self.retain_score * retain.mean(gap_B**2) / scales.get("score", 1.0)
        if self.task > 0 and not is_similarity and retain.outputs.logits is None:  # a matching head, not a classifier's
            terms["task"] = self.task * retain.mean(retain.task_loss_B)
        return terms

    def _each(
        self,
        part: Part,
        now: Mapping[str, Tensor],
        wanted: Mapping[str, Tensor],
        scales: Mapping[str, float],
        what: str,
    ) -> Tensor:
        """Sum of the modalities' distances."""
        return torch.stack([self._distance(part, now[m], wanted[m], scales.get(f"{what} {m}")) for m in now]).sum()

    def _distance(self, part: Part, found_BD: Tensor, wanted_BD: Tensor, variance: float | None) -> Tensor:
        """Mean distance over the step's pairs; a target that does not vary is not scaled."""
        if self.distance == "cosine":
            return part.mean(1 - F.cosine_similarity(found_BD, wanted_BD, dim=-1))
        return part.mean(((found_BD - wanted_BD) ** 2).mean(dim=-1)) / (variance or 1.0)
