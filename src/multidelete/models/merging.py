"""Make a model of an adapter and the model it belongs to."""

from pathlib import Path

from multidelete.artifacts.card import model_card
from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.keys import keep_keys, key_target
from multidelete.artifacts.manifest import read_record, write_record
from multidelete.artifacts.overlap import paths_of_model, refuse_overlap
from multidelete.core.errors import CheckpointError
from multidelete.models import load_adapter
from multidelete.models.checkpoint import LORA_CONFIG, lora_base
from multidelete.models.converters.forms import form_of, save_as
from multidelete.models.lineage import lineage_of


def merge(adapter: str | Path, out: str | Path, *, overwrite: bool = False, allow_pickle: bool = False) -> Path:
    """Write a LoRA folder and its base model as one full model, in the family's own format.

    Args:
        adapter: What ``unlearn`` with ``lora`` wrote, or peft. It is not changed, and neither is its base model.
        out: Folder to write; ``multidelete.json`` goes along, and the keys beside the folder to ``OUT.key``.
        overwrite: Replace ``out`` if it exists.
        allow_pickle: Also read weights of the base model that are not safetensors, as plain tensors.

    Raises:
        CheckpointError: No LoRA folder, one that does not fit its base model, or ``out`` cannot be written.
    """
    adapter, out = Path(adapter), Path(out)
    base = lora_base(adapter)
    if base is None:
        raise CheckpointError(f"{adapter} is no adapter folder: it has no {LORA_CONFIG}. There is nothing to merge.")
    refuse_overlap(out, paths_of_model(adapter))
    keys = lineage_of(adapter).own_keys
    target = key_target(out, None) if keys else None
    with whole_or_nothing(out, overwrite=overwrite) as unfinished:
        save_as(form_of(base, out), load_adapter(adapter, allow_pickle=allow_pickle), unfinished)
        record = read_record(adapter)
        if record is not None:
            record = record.merged()
            write_record(unfinished, record)
            (unfinished / "README.md").write_text(model_card(record), encoding="utf-8")
        if target is not None:
            keep_keys(target, keys, out)
    return out
