"""The job that a method gets: a deletion with its model loaded and its pairs parted."""

import copy
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from multidelete.core.errors import first_few
from multidelete.core.foreign import own_code
from multidelete.core.runtime import make_accelerator
from multidelete.core.settings import LoopSettings, TrainSettings
from multidelete.core.streams import Stream
from multidelete.core.words import share
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.request import forget_retain
from multidelete.deletion.resolved import Deletion
from multidelete.methods import GradientMethod, Job
from multidelete.methods.auto import finds_its_way
from multidelete.methods.base import sample_pairs, sample_retain
from multidelete.methods.defaults import recorded
from multidelete.methods.reference import HOLDOUT_LIMIT
from multidelete.methods.unseen import validation_pairs
from multidelete.models import Adapter, choose_trainable
from multidelete.models.checkpoint import weights_digest
from multidelete.models.features import KeptPictures, kept_features
from multidelete.models.initial import fitted, refuse_fresh_tokenizer, starting_point
from multidelete.models.tokens import tokenizer_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A job, and what of the model is trained.

    Attributes:
        deletion: What is to be done.
        job: What the method gets.
        part: The part of the model.
        parameters: How many tensors of parameters that is.
    """

    deletion: Deletion
    job: Job
    part: str
    parameters: int


def prepare(deletion: Deletion, work: Path | None = None, *, resume: bool = False) -> Prepared:
    """Load the original, part the pairs, and choose what is trained."""
    check_machine(deletion.loop, work)
    adapter, method = deletion.original(), deletion.method
    pairs = fitted(adapter, deletion.data)
    forget, retain = forget_retain(pairs.train, deletion.request)
    key = weights_digest(adapter)
    adapter.remove(forget.pairs, retain.pairs)
    with own_code(method, adapter):
        part = method.trainable(adapter) if deletion.trainable == "auto" else deletion.trainable
    trained = choose_trainable(adapter, part)
    if deletion.lora is not None:
        from multidelete.models.lora import add_lora  # peft takes a second to import

        training_mode = isinstance(method, GradientMethod) and method.training_mode
        trained = add_lora(adapter, deletion.lora, seed=deletion.seed, training_mode=training_mode)
    job = Job(
        adapter=adapter,
        train=pairs.train,
        forget=forget,
        retain=retain,
        settings=deletion.loop,
        seed=deletion.seed,
        key=key,
        work=work,
        resume=resume,
        holdout=_holdout(pairs, deletion.seed),
        start=_start(deletion, adapter, forget, retain),
        metric=deletion.metric,
        before=_made_from(deletion),
    )
    return Prepared(deletion, job, part, len(trained))


def features_of(prepared: Prepared) -> AbstractContextManager[KeptPictures | None]:
    """Within the block, a job's frozen image encoder sees each picture once, if the method leaves it frozen."""
    job, method = prepared.job, prepared.deletion.method
    job.adapter.to(make_accelerator(device=job.settings.device).device)
    is_still = isinstance(method, GradientMethod) and not method.training_mode
    return kept_features(job.adapter, job.settings.feature_cache if is_still else 0.0, job.work)


def parts_to_check(prepared: Prepared) -> dict[str, PairDataset]:
    """The pairs that a run begins with, by what they are for."""
    job, method = prepared.job, prepared.deletion.method
    parts = {"the forget pairs": job.forget, "the retain pairs": sample_retain(job)}
    if isinstance(method, GradientMethod) and finds_its_way(method, job):
        compared = validation_pairs(job)
        parts |= {} if isinstance(compared, str) else {"the validation pairs": compared}
    return parts


def _holdout(data: PairData, seed: int) -> PairDataset | None:
    """The validation pairs that have what is asked of them; of indexed data a sample of them."""
    val = data.splits.get("val")
    if val is None or not len(val):
        return None
    if val.is_indexed:
        val = sample_pairs(val, HOLDOUT_LIMIT, seed, Stream.HELD_OUT_SAMPLE, "sampled held-out pairs")
    if not data.classes:
        return val
    without = [pair.id for pair in val if pair.label is None]
    if not without:
        return val
    told = share(len(without), len(val), "validation pairs have")
    logger.warning("%s no label, and the run does without: %s.", told, first_few(without))
    return val.without(without, val.name) if len(without) < len(val) else None


def check_machine(loop: LoopSettings, folder: Path | None) -> None:
    """Refuse a device, precision or tracker that is not here before anything is read or asked."""
    make_accelerator(
        device=loop.device,
        mixed_precision=loop.precision,
        log_with=loop.trackers,
        log_dir=None if folder is None else str(folder),
    )


def _made_from(deletion: Deletion) -> str:
    """Digest of the weights that an earlier deletion made the original from; empty where none did."""
    made = None if deletion.origin is None else deletion.origin.original
    return "" if made is None else made.weights


def _start(
    deletion: Deletion, adapter: Adapter, forget: PairDataset, retain: PairDataset
) -> Callable[[bool], Adapter] | None:
    """Makes the model that the original's training began with, where that is known."""
    data, recipe = deletion.data, deletion.recipe
    if recipe is None or recipe.model is None or recipe.seed is None:
        return None
    settings, seed = recorded(TrainSettings, recipe.model, "model"), recipe.seed
    # Where pairs are missing, their captions cannot make the tokenizer that the original had.
    tokenizer = copy.deepcopy(tokenizer_of(adapter)) if deletion.lineage else None

    def start(fresh_tokenizer: bool) -> Adapter:
        if fresh_tokenizer:
            refuse_fresh_tokenizer(settings)
            own = replace(data, splits={**data.splits, "train": data.train.without(deletion.request.ids, "retain")})
            begun = starting_point(settings, own, seed)
        else:
            begun = starting_point(settings, data, seed, tokenizer=tokenizer)
        begun.remove(forget.pairs, retain.pairs)
        return begun

    return start
