"""The folder of a lineage: its ledger, its keys, and where its model and its data lie. The last can be changed."""

import json
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from multidelete.artifacts.deletions import data_digest
from multidelete.artifacts.folders import make_folder, writing
from multidelete.artifacts.keys import key_id, new_key, read_keys, write_keys
from multidelete.artifacts.manifest import digest_file, digest_text, read_record, versions
from multidelete.artifacts.marks import MARK
from multidelete.artifacts.record import Holdout
from multidelete.artifacts.room import write_whole
from multidelete.core.errors import CheckpointError, LedgerError
from multidelete.core.json_files import read_json_object
from multidelete.core.paths import lies_there
from multidelete.core.records import Record, read_object
from multidelete.data.pairs import PairData
from multidelete.ledger.chain import KEYS, Ledger
from multidelete.ledger.events import Budget, ModelDigest, Opened
from multidelete.ledger.recorded import canonical

PLACES = "lineage.json"
DATA_KEY = "_data.key"
"""In the folder of keys: what the digest of the first data was made with. No request has such a name."""
RUN_KEYS = "_models.key"
"""In the folder of keys: what the models' own records were made with."""


@dataclass(frozen=True, kw_only=True)
class Places(Record):
    """Where a lineage's parts lie; none of it is in the ledger, and moving them is writing it anew.

    Attributes:
        model: Folder of the first model.
        data: The pairs, as ``--data`` names them.
        columns: As ``--columns``.
        splits: As ``--splits``.
        image_root: As ``--image-root``.
        classes: As ``--classes``.
        sign_key: File of the private key that certificates are signed with.
        models: By name, models of the lineage that lie elsewhere than in its folder.
        holdout: How pairs were set aside before the first model was trained.
        plan: Folder of the newest plan; within the lineage's folder as it lies there.
    """

    model: str
    data: str
    columns: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    image_root: str | None = None
    classes: tuple[str, ...] = ()
    sign_key: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    holdout: Holdout | None = None
    plan: str | None = None


def begin(
    folder: Path,
    data: PairData,
    places: Places,
    *,
    budget: Budget | None = None,
    signer: str | None = None,
    keys: Mapping[str, bytes] | None = None,
    time: datetime | None = None,
) -> Ledger:
    """Open the ledger of a lineage.

    Args:
        folder: Of the lineage; it is made.
        data: The pairs that the first model was trained on.
        places: Where model and data lie.
        budget: What the lineage may lose.
        signer: Public key of certificates, in hexadecimal.
        keys: By id, keys of what the first model has forgotten before.
        time: Of the event.

    Raises:
        LedgerError: There is one already.
        CheckpointError: The model is no folder, or nothing can be written.
    """
    original = model_digest(Path(places.model))
    key = new_key()
    with writing(folder):
        make_folder(folder)
        if Ledger.is_there(folder):
            raise LedgerError(f"{folder} holds a ledger already. Give another folder.")
        (folder / KEYS).mkdir(mode=0o700, exist_ok=True)
        write_places(folder, places)
        write_keys(folder / KEYS / DATA_KEY, {key_id(key): key})
        if keys:
            write_keys(folder / KEYS / RUN_KEYS, keys)
        opened = Opened(
            lineage=folder.resolve().name,
            original=original,
            pairs=len(data.train),
            data=data_digest(key, data.train, data.classes),
            budget=budget or Budget(),
            signer=signer,
            versions={**versions(), "sqlite": sqlite3.sqlite_version},
        )
        return Ledger.create(folder, opened, time=time)


def places_of(folder: str | Path) -> Places:
    """Where the parts of a lineage lie.

    Raises:
        CheckpointError: The file that says so is damaged, or not there.
    """
    remedy = "Write it as ledger init does: an object with model and data."
    return read_object(Places, read_json_object(Path(folder) / PLACES, remedy), str(Path(folder) / PLACES), remedy)


def write_places(folder: Path, places: Places) -> None:
    """Say where the parts of a lineage lie."""
    write_whole(folder / PLACES, json.dumps(places.as_json(), indent=1, ensure_ascii=False) + "\n")


def absolute(place: str) -> str:
    """A path as it is found from anywhere; what is no path stays as it is, such as the name of generated data."""
    reader, colon, rest = place.partition(":")
    if lies_there(place):
        return os.path.abspath(place)
    return f"{reader}:{os.path.abspath(rest)}" if colon and lies_there(rest) else place


def path_of(place: str) -> Path | None:
    """The path in what `absolute` gave; None where it is none, or a pattern of several files."""
    path = place if os.path.isabs(place) else place.partition(":")[2]
    return None if not os.path.isabs(path) or set(path) & set("*?[{") else Path(path)


def is_lost(place: str) -> bool:
    """Whether a path that `absolute` gave leads nowhere now; of a pattern of several files nobody can tell."""
    path = path_of(place)
    return path is not None and not lies_there(path)


def is_first_data(ledger: Ledger, data: PairData) -> bool:
    """Whether the training pairs are those that the lineage began with, as far as a key or the first model tells."""
    file, places = ledger.folder / KEYS / DATA_KEY, places_of(ledger.folder)
    ways: tuple[tuple[str, ...], ...] = (tuple(data.classes), ())
    if file.is_file():
        key = next(iter(read_keys(file).values()))
        return ledger.opened.data in [data_digest(key, data.train, way) for way in ways]
    record = read_record(places.model) if lies_there(places.model) else None
    recorded = None if record is None or record.data is None else record.data.digest
    return recorded in [data.train.digest_by(way) for way in ways]


def model_digest(model: Path) -> ModelDigest:
    """Digests of all files of a model folder, but for the mark of who wrote it, or of a model that is one file.

    Raises:
        CheckpointError: Nothing is there, the folder holds no file, or one cannot be read.
    """
    if model.is_file():
        files = {model.name: digest_file(model)}
    elif model.is_dir():
        names = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
        files = {name: digest_file(model / name) for name in names if name != MARK}
    else:
        raise CheckpointError(f"{model} is not a folder. A lineage begins with a model that lies here.")
    if not files:
        raise CheckpointError(f"{model} holds no file. Name the folder of a model.")
    return ModelDigest(digest=digest_text(canonical(files)), files=files)
