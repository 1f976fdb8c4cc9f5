"""What a run makes stale elsewhere: embeddings of which members must be computed anew, and which must go."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from multidelete.artifacts.room import write_whole
from multidelete.core.errors import CheckpointError, LedgerError
from multidelete.core.paths import lies_there
from multidelete.data.pairs import PairData
from multidelete.data.request import Request
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Holder
from multidelete.models import Adapter, load_adapter

_OF_SCORES_ALONE = ("logit_scale", "logit_bias")  # parameters that no embedding passes through


@dataclass(frozen=True)
class Stale:
    """What must be computed anew.

    Attributes:
        before: Digest of the model that it was computed with.
        after: Digest of the model to compute it with.
        modalities: Those whose embeddings the run changed; a fused model changes both with either.
        members: For each of them, how many distinct members of kept pairs there are.
        deleted: How many pairs must go from wherever their embeddings lie.
    """

    before: str
    after: str
    modalities: tuple[str, ...]
    members: Mapping[str, int]
    deleted: int

    @property
    def holders(self) -> tuple[Holder, ...]:
        """As the ledger holds it: which, and how many."""
        purge = Holder(what="embeddings to purge", note=f"of all members that {self.deleted} deleted pairs alone have")
        anew = [
            Holder(
                what=f"{modality} embeddings",
                digest=self.before,
                note=f"all {self.members[modality]:,}, to compute anew with model {self.after}",
            )
            for modality in self.modalities
        ]
        return (*anew, purge)


def changed_modalities(before: Adapter, after: Adapter) -> tuple[str, ...]:
    """Modalities whose members' embeddings pass through parameters that differ."""
    ours = dict(before.named_parameters())
    theirs = dict(after.named_parameters())
    changed = {
        name
        for name in ours.keys() | theirs.keys()
        if not name.endswith(_OF_SCORES_ALONE)
        and (name not in ours or name not in theirs or not torch.equal(ours[name], theirs[name]))
    }
    return stale_modalities(after, changed)


def stale_modalities(adapter: Adapter, changed: set[str]) -> tuple[str, ...]:
    """Modalities whose members' embeddings pass through some of these parameters."""
    stale = []
    for modality in adapter.modalities:
        elsewhere = {
            name for other in adapter.modalities if other != modality for name in adapter.encoder_parameters(other)
        }
        if changed - elsewhere or (modality == "graph" and adapter.holds_data):
            stale.append(modality)
    return tuple(stale)


def stale_after(before: Path, after: Path, digests: tuple[str, str], left: PairData, request: Request) -> Stale:
    """What is stale once the model ``after`` takes the place of ``before``.

    Args:
        before: Folder of the model that was in use.
        after: Folder of the new one.
        digests: Of the two.
        left: The data without pairs of earlier requests.
        request: What was deleted now.
    """
    modalities = changed_modalities(load_adapter(before), load_adapter(after))
    kept = left.train.without(request.ids, "kept")
    counts = {modality: len(kept.sources(modality)) for modality in modalities}
    return Stale(*digests, modalities, counts, len(request.ids))


def refuse_place_of_ids(path: Path, ledger: Ledger) -> None:
    """Refuse a place where `write_stale_ids` could not write.

    Raises:
        LedgerError: The file would lie in the lineage's folder, which names nobody.
        CheckpointError: It is there already, or cannot be written.
    """
    here = Path(os.path.abspath(path))
    if here.is_relative_to(ledger.folder.absolute()):
        raise LedgerError(f"{path} lies in the lineage's folder, and names pairs. Give a place outside of it.")
    if os.path.lexists(path):
        raise CheckpointError(f"{path} already exists, and is not replaced. Give another place for the ids.")
    around = next(folder for folder in here.parents if lies_there(folder))
    if not around.is_dir() or not os.access(around, os.W_OK | os.X_OK):
        raise CheckpointError(f"{path} cannot be written: nothing can be made in {around}. Give another place.")


def write_stale_ids(path: Path, ledger: Ledger, stale: Stale, left: PairData, request: Request) -> None:
    """Write what a vector database needs: ids of pairs to purge, and to compute anew, with both models' versions.

    Raises:
        LedgerError: The file would lie in the lineage's folder, which names nobody.
        CheckpointError: It is there already, or cannot be written.
    """
    refuse_place_of_ids(path, ledger)
    kept: Sequence[str] = left.train.without(request.ids, "kept").ids
    content = {
        "model": {"before": stale.before, "after": stale.after},
        "purge": list(request.ids),
        "compute_anew": dict.fromkeys(stale.modalities, kept),
    }
    write_whole(path, json.dumps(content, indent=1) + "\n")


def begins_stale_ids(start: bytes) -> bool:
    """Whether these are the first bytes, 1024 or more, of a file that `write_stale_ids` wrote."""
    return start.startswith(b'{\n "model": {\n  "before": ') and b'\n "purge": [' in start
