"""The metric of a run, kept in a folder, so that the next request need not measure it again.

It says what kept pairs' scores depend on, which a deletion hardly changes. It holds for the model that it was measured
on, and for those that deletions have made of that one, as long as all its pairs are kept.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from multidelete.artifacts.deletions import content_reference
from multidelete.artifacts.keys import new_key
from multidelete.artifacts.overlap import refuse_overlap
from multidelete.artifacts.room import make_whole
from multidelete.core.errors import CheckpointError
from multidelete.core.runtime import is_main_process, wait_for_everyone
from multidelete.curvature.metric import Metric, ParameterMetric
from multidelete.data.pairs import Pair
from multidelete.methods.base import Job

logger = logging.getLogger(__name__)

FILE = "metric.safetensors"
_TOLD = "told"


@dataclass(frozen=True)
class KeptMetric:
    """A metric, and what it was measured on.

    Attributes:
        metric: By parameter name.
        fitting: Pairs whose gradients fit into ``memory`` at a time.
        memory: In GiB.
        trained: Names of the parameters that could change.
        models: Digests of the weights of the models that it serves.
        pairs: Of each pair its id, and by ``key`` a reference to what its members hold.
        key: Random bytes.
    """

    metric: Metric
    fitting: int
    memory: float
    trained: tuple[str, ...]
    models: tuple[str, ...]
    pairs: Mapping[str, str]
    key: bytes

    def serving(self, model: str) -> "KeptMetric":
        """The metric of one more model."""
        return self if model in self.models else replace(self, models=(*self.models, model))


def measured_for(job: Job, metric: Metric, fitting: int, pairs: Sequence[Pair]) -> KeptMetric:
    """A metric with what it was measured on."""
    key = new_key()
    references = {pair.id: content_reference(key, pair) for pair in pairs}
    return KeptMetric(metric, fitting, job.settings.memory, _trained(job), (job.key,), references, key)


def keep_metric(folder: Path, kept: KeptMetric) -> None:
    """Write a metric, in the place of the one that lies there.

    Raises:
        CheckpointError: It cannot be written.
    """
    if is_main_process():
        tensors: dict[str, Tensor] = {}
        for name, measured in kept.metric.items():
            parts = {"moments": measured.moments, "left": measured.left, "right": measured.right}
            tensors |= {
                f"{name}/{part}": tensor.cpu().contiguous() for part, tensor in parts.items() if tensor is not None
            }
        told = {
            "fitting": kept.fitting,
            "memory": kept.memory,
            "trained": kept.trained,
            "models": kept.models,
            "pairs": dict(kept.pairs),
        }
        words = json.dumps(told | {"key": kept.key.hex()})
        make_whole(folder / FILE, lambda unfinished: save_file(tensors, unfinished, metadata={_TOLD: words}))
    wait_for_everyone()


def read_metric(folder: Path) -> KeptMetric | None:
    """The metric that lies in a folder; None where there is none.

    Raises:
        CheckpointError: What lies there is not a metric, or is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            told = json.loads((opened.metadata() or {})[_TOLD])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        names = dict.fromkeys(name.rpartition("/")[0] for name in tensors)
        metric = {name: _parameter(name, tensors) for name in names}
        return KeptMetric(
            metric=metric,
            fitting=int(told["fitting"]),
            memory=float(told["memory"]),
            trained=tuple(told["trained"]),
            models=tuple(told["models"]),
            pairs=dict(told["pairs"]),
            key=bytes.fromhex(told["key"]),
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(file) from error


def metric_file(place: Path) -> Path:
    """The file of a metric that lies in a folder, or is named itself."""
    return place / FILE if place.is_dir() else place


def ids_of_metric(place: Path) -> set[str]:
    """Ids of the pairs that a metric was measured on.

    Args:
        place: Its folder, or its file.

    Raises:
        CheckpointError: What lies there is not a metric, or is damaged.
    """
    file = metric_file(place)
    try:
        with safe_open(file, framework="pt") as opened:
            return set(json.loads((opened.metadata() or {})[_TOLD])["pairs"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(file) from error


def may_be_metric(file: Path) -> bool:
    """Whether a file is a metric, or is called so and cannot be read."""
    try:
        ids_of_metric(file)
    except CheckpointError:
        return file.name == FILE
    return True


def _damaged(file: Path) -> CheckpointError:
    return CheckpointError(
        f"{file} is not a metric that multidelete wrote, or is damaged. Remove it, or name another folder."
    )


def refuse_as_folder(folder: Path) -> None:
    """Refuse a place where no metric can be kept.

    Raises:
        CheckpointError: It is a file, lies in a folder that is not there, or holds something else of that name.
    """
    around = folder.absolute().parent
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"metric {folder} is a file; it must be a folder. Name another place.")
    if not around.is_dir():
        raise CheckpointError(f"metric {folder} cannot be written: there is no folder {around}. Make it first.")
    read_metric(folder)


def refuse_place(folder: Path, model: Sequence[Path], out: str | Path | None) -> None:
    """Refuse a place inside the model, or inside a result, this run's own or another's.

    Raises:
        CheckpointError: It lies there.
    """
    refuse_overlap(folder, model, may_hold=True)
    if out is not None and folder.absolute().is_relative_to(Path(out).absolute()):
        raise CheckpointError(f"metric {folder} lies inside output {out}. Name a place beside it.")


def usable_metric(folder: Path, job: Job) -> KeptMetric | None:
    """The metric that lies in a folder, if it serves a job; it is told why one does not."""
    kept = read_metric(folder)
    reason = None if kept is None else why_not(kept, job)
    if reason is not None:
        logger.warning("the metric in %s is measured anew: %s.", folder, reason)
    return kept if reason is None else None


def why_not(kept: KeptMetric, job: Job) -> str | None:
    """Why a metric does not serve a job; None where it does."""
    if not {job.key, job.before} & set(kept.models):
        return "it was measured on another model"
    if kept.memory != job.settings.memory:
        return f"gradients might take {kept.memory:g} GiB then, and {job.settings.memory:g} now"
    if kept.trained != _trained(job):
        return "another part of the model was trained"
    place = job.retain.index
    if any(name not in place for name in kept.pairs):
        return "pairs that it was measured on are deleted now, or are no training pairs any more"
    pairs = [job.retain[place[name]] for name in kept.pairs]
    if any(content_reference(kept.key, pair) != kept.pairs[pair.id] for pair in pairs):
        return "pairs that it was measured on hold other pictures or texts now"
    parameters = dict(job.adapter.named_parameters())
    if any(parameters[name].numel() != one.moments.numel() for name, one in kept.metric.items()):
        return "its parameters have another shape"
    return None


def _trained(job: Job) -> tuple[str, ...]:
    return tuple(sorted(name for name, parameter in job.adapter.named_parameters() if parameter.requires_grad))


def _parameter(name: str, tensors: Mapping[str, Tensor]) -> ParameterMetric:
    """Raises:
    ValueError: It is no metric of a parameter.
    """
    moments, left, right = (tensors.get(f"{name}/{part}") for part in ("moments", "left", "right"))
    if moments is None or not torch.isfinite(moments).all() or (moments < 0).any() or (left is None) != (right is None):
        raise ValueError("no moments")
    if left is not None and right is not None and [*map(len, (left, right))] != [*moments.shape]:
        raise ValueError("other bases")
    return ParameterMetric(moments, left, right)
