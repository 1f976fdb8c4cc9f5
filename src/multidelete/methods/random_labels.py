"""Random labels: train the forget pairs on wrong captions or labels, retain pairs on right ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor

from multidelete.core.config import check_settings
from multidelete.core.errors import DataError, UnsupportedError, first_few
from multidelete.core.settings import LoopSettings
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairDataset
from multidelete.methods.base import GradientMethod, Job, sample_retain
from multidelete.methods.partners import Associations, unassociated_second
from multidelete.methods.reference import PartnerSource
from multidelete.methods.search import Factor, Search
from multidelete.models.base import Adapter
from multidelete.training.step import Part, Step


@dataclass(frozen=True, kw_only=True)
class RandomLabels(GradientMethod):
    """Go on training with each forget pair's label, or caption, replaced by a random wrong one.

    Graves, Nagisetty and Ganesh: "Amnesiac Machine Learning", AAAI 2021, arXiv:2010.10981, where it is
    called *unlearning* and trains a few passes over the whole changed data set. Checked in the authors'
    published notebook (github.com/lmgraves/AmnesiacML); the paper's text was not at hand.

    The wrong labels and captions are drawn once for a run, uniformly. For classification: among the other
    classes. For retrieval, which the paper does not treat: among the captions that nothing associates
    with the pair's first member.

    Differs from the paper: sampled retain pairs instead of all, and a weight on each of the two terms.

    Differs from the released code of SalUn, whose baseline of this name draws labels anew in each epoch and
    among all classes, the true one included.

    Attributes:
        forget: Weight of the task loss of the wrong pairs, >= 0.
        retain: Weight of the task loss of retain pairs, >= 0.
        captions: Whose captions the wrong ones are: those of the sampled ``retain`` pairs, or of other
            ``forget`` pairs.
    """

    name: ClassVar[str] = "random_labels"
    training_mode: ClassVar[bool] = True
    search: ClassVar[Search] = {
        "lr": Factor(0.2, 5),
        "passes": Factor(0.5, 2),
        "forget": Factor(0.2, 5),
    }
    forget: float = 1.0
    retain: float = 2.0
    captions: PartnerSource = "retain"

    def __post_init__(self) -> None:
        check_settings(self, {"forget": (self.forget >= 0, "0 or more"), "retain": (self.retain >= 0, "0 or more")})

    def datasets(self, job: Job) -> dict[str, PairDataset]:
        parts = {"forget": job.forget, "retain": sample_retain(job)}
        return parts | {"forget": wrong_pairs(job.adapter, parts, job.train, pool=self.captions, seed=job.seed)}

    def moves(self, part: Part) -> bool:
        return bool(part.task_loss_B.any())

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {
            "wrong": self.forget * step.forget.mean(step.forget.task_loss_B),
            "task": self.retain * step.retain.mean(step.retain.task_loss_B),
        }

    def loop_settings(self) -> LoopSettings:
        return LoopSettings(lr=5e-4)


def wrong_pairs(
    adapter: Adapter, parts: Mapping[str, PairDataset], train: PairDataset, *, pool: PartnerSource, seed: int
) -> PairDataset:
    """The forget pairs, in their order, with a wrong label each, or with a caption that is not theirs.

    Args:
        adapter: Says whether it is labels or captions.
        parts: ``forget`` and ``retain``.
        train: All training pairs: what is associated with what.
        pool: Which part wrong captions come from.
        seed: Of the draws.

    Raises:
        DataError: A pair of a classifier has no label.
        UnsupportedError: There is only one class.
        RequestError: Every caption of the pool belongs to some pair's first member.
    """
    rng = stream(seed, Stream.WRONG_TARGETS)
    if adapter.task == "classification":
        return PairDataset([_mislabelled(pair, len(adapter.classes), rng) for pair in parts["forget"]], "wrong labels")
    associations = Associations(train, adapter.modalities)
    drawn = unassociated_second(parts[pool].pairs, parts["forget"].pairs, associations, rng)
    return PairDataset(drawn, "wrong captions")


def _mislabelled(pair: Pair, classes: int, rng: np.random.Generator) -> Pair:
    if pair.label is None:
        raise DataError(f"Pair {first_few([pair.id])} has no label, so none is wrong. Name the column of the label.")
    if classes < 2:
        raise UnsupportedError(
            f"this method needs a wrong class for each pair, and the model has {classes} class. Use another method."
        )
    return replace(pair, label=(pair.label + int(rng.integers(1, classes))) % classes)
