"""Which sort of thing that knows deleted pairs a file or folder is."""

import re
from pathlib import Path

from multidelete.artifacts.manifest import MANIFEST
from multidelete.artifacts.marks import MARK, beside
from multidelete.artifacts.taking_out import RECORD as EXCLUDE_RECORD
from multidelete.core.errors import CheckpointError
from multidelete.ledger.deleted import Deleted
from multidelete.ledger.stale import begins_stale_ids
from multidelete.methods.kept_metric import FILE as METRIC_FILE
from multidelete.methods.kept_metric import ids_of_metric, may_be_metric
from multidelete.models.vectors import ids_of_embeddings, may_be_embeddings

EMBEDDINGS, METRIC, TO_PURGE, EXCLUDED = "embeddings", "metric", "ids to purge", "list of rows"
NAMING = (EMBEDDINGS, METRIC, TO_PURGE, EXCLUDED)  # sorts that name pairs
_BEGINNING = 1024  # bytes of a file that tell its sort
_UNFINISHED = (".partial", ".old", ".leaving")
_STORED = ("original-", "retrained-", "shadow-", "unlearned-")
_KEYED = re.compile(r"[a-z_]+-[0-9a-f]{16}")  # what a store of models calls its folders, such as those of a method
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".tar")


def sort_of(path: Path) -> str | None:
    """Which sort of thing that knows pairs a path is; None where it is none that is known here.

    Raises:
        OSError: It is not there, or cannot be looked at.
    """
    path.stat()  # which says why, where ``is_file`` only says no
    if path.is_file():
        return "model" if (beside(path) / MANIFEST).is_file() else _sort_of_file(path)
    if not path.is_dir() or (path.suffix == MARK and path.with_suffix("").is_file()):  # what lies beside a model's file
        return None
    if path.name.startswith(".") and path.suffix in _UNFINISHED:
        return "unfinished run"
    if (path / "adapter_config.json").is_file():
        return "adapter"
    if (path / MANIFEST).is_file():
        return "model"
    if (path / "report.html").is_file() and _shows_pairs(path / "report.html"):
        return "report with pictures"
    if (path / "plan.json").is_file() and '"names_pairs": true' in _text(path / "plan.json"):
        return "plan that names pairs"
    if (path / EXCLUDE_RECORD).is_file():
        return EXCLUDED
    if (path / METRIC_FILE).is_file():
        return METRIC
    inside = list(path.iterdir())
    if any(map(_is_stored_model, inside)):
        return "store"
    if any(one.match("signals-*.npz") or one.match("reference-*.safetensors") for one in inside):
        return "cache of answers"
    if any(map(_is_checkpoint, inside)):
        return "checkpoints"
    return None


def _is_stored_model(path: Path) -> bool:
    """Whether it is called as a store of models calls them, and is a model."""
    is_called_so = path.name.startswith(_STORED) or _KEYED.fullmatch(path.name)
    return bool(is_called_so) and ((path / MANIFEST).is_file() or any(path.glob("*.safetensors")))


def _is_checkpoint(path: Path) -> bool:
    """Whether it is called a checkpoint, and is a folder or a file of weights: photographs may be called so too."""
    return path.name.startswith("checkpoint") and (path.suffix in _WEIGHTS or path.is_dir())


def _sort_of_file(path: Path) -> str | None:
    """As its beginning tells, whatever it is called."""
    with path.open("rb") as file:
        start = file.read(_BEGINNING)
    if start.startswith(b"PAR1"):
        return EMBEDDINGS if may_be_embeddings(path) else None
    if begins_stale_ids(start):
        return TO_PURGE
    is_safetensors = start[8:9] == b"{" or path.name == METRIC_FILE
    return METRIC if is_safetensors and may_be_metric(path) else None


def is_about(path: Path, sort: str, gone: Deleted) -> bool:
    """Whether something that may be of any pairs, as embeddings and a metric may, is of deleted ones.

    Raises:
        CheckpointError: It cannot be read.
    """
    match sort:
        case "embeddings":
            return gone.may_be_among(ids_of_embeddings(path))
        case "metric":
            return gone.may_be_among(ids_of_metric(path))
    return True


def is_still_about(path: Path, sort: str, gone: Deleted) -> bool:
    """`is_about`, of a place where such a thing lay: true where it cannot be read, or is something else now."""
    try:
        return sort_of(path) != sort or is_about(path, sort, gone)
    except (OSError, CheckpointError):
        return True


def _shows_pairs(report: Path) -> bool:
    return "Deleted pairs, one by one" in _text(report)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
