"""What the models behind a model have forgotten: found for folders, hub ids and networks in memory alike."""

from pathlib import Path

from transformers import PreTrainedModel
from transformers.utils import cached_file

from multidelete.artifacts.deletions import Lineage, refuse_without_keys, without_earlier
from multidelete.artifacts.keys import key_file, read_keys
from multidelete.artifacts.manifest import MANIFEST, read_record
from multidelete.artifacts.record import RunRecord
from multidelete.data.pairs import PairData
from multidelete.models.base import Adapter
from multidelete.models.sources import may_be_hub_id

_LINEAGE = "multidelete_lineage"  # attribute of a network in memory; copies of the network keep it


def lineage_of(model: object, key: str | Path | None = None) -> Lineage:
    """The deletions behind a model, with those of their keys that are found.

    Keys are looked for in ``key`` and beside the model (``MODEL.key``). A network in memory knows its lineage if
    `multidelete.unlearn` made it, or if it was loaded from a folder or the hub.

    Args:
        model: A folder, hub id, network or adapter.
        key: A key file; it need not be there yet where the model has forgotten nothing.

    Raises:
        CheckpointError: A key file or ``multidelete.json`` cannot be read.
    """
    if isinstance(model, str | Path):
        lineage = _of_source(str(model))
    else:
        network = getattr(model, "model", None) if isinstance(model, Adapter) else model
        known = getattr(network, _LINEAGE, None)
        source = network.name_or_path if isinstance(network, PreTrainedModel) else ""
        lineage = known if isinstance(known, Lineage) else _of_source(source) if source else Lineage()
    if key is not None and (lineage.without_key or Path(key).exists()):
        lineage = lineage.with_keys(read_keys(Path(key)))
    return lineage


def known_lineage(model: object, data: PairData, key: str | Path | None, *, removed: bool) -> tuple[Lineage, PairData]:
    """What a model has forgotten, and the data without it.

    Args:
        model: A folder, hub id, network or adapter.
        data: The pairs.
        key: Key file, or None for that beside the model.
        removed: Whether the user says that the data holds none of those pairs, where there is no key.

    Raises:
        CheckpointError: There is no key to tell them by.
    """
    lineage = lineage_of(model, key)
    name = str(model) if isinstance(model, str | Path) else "the model in memory"
    refuse_without_keys({name: lineage}, removed=removed)
    return lineage, without_earlier(data, lineage)


def remember(adapter: Adapter, lineage: Lineage) -> None:
    """Let a network in memory know what it has forgotten."""
    network = getattr(adapter, "model", None)
    if network is not None:
        setattr(network, _LINEAGE, lineage)


def _of_source(source: str) -> Lineage:
    folder = Path(source)
    is_here = folder.exists()
    record = read_record(folder) if is_here else _of_the_hub(source) if may_be_hub_id(source) else None
    deletions, keys = () if record is None else record.forgotten, key_file(folder)
    return Lineage(deletions, read_keys(keys) if deletions and is_here and keys.is_file() else {})


def _of_the_hub(source: str) -> RunRecord | None:
    """The record of a hub id, or None where it has none."""
    try:
        file = cached_file(source, MANIFEST)
    except OSError:
        return None
    return None if file is None else read_record(Path(file).parent)
