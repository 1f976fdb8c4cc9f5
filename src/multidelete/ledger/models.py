"""The models of a lineage: where they lie, and which one the next run begins with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multidelete.artifacts.keys import read_keys
from multidelete.artifacts.manifest import read_record
from multidelete.core.errors import LedgerError, MultideleteError
from multidelete.data.pairs import Pair
from multidelete.ledger.chain import KEYS, Ledger
from multidelete.ledger.events import KeyForgotten, ModelDigest, Released, Unlearned
from multidelete.ledger.places import RUN_KEYS, model_digest, places_of, write_places
from multidelete.models.lineage import lineage_of

ORIGINAL = "original"
MODELS = "models"


@dataclass(frozen=True)
class LineageModel:
    """A model of a lineage.

    Attributes:
        name: Of its folder; ``original`` is the first.
        folder: Where it lies.
        digest: Of what it must hold.
        requests: What it was made for: of the run that made it alone.
    """

    name: str
    folder: Path
    digest: ModelDigest
    requests: tuple[str, ...] = ()

    def check(self) -> Path:
        """The folder, when it holds what it must.

        Raises:
            LedgerError: It is not there, or holds something else.
        """
        if not self.folder.exists():
            raise LedgerError(f"model {self.name} is not at {self.folder}. Say in lineage.json where it lies.")
        if model_digest(self.folder).digest != self.digest.digest:
            raise LedgerError(
                f"{self.folder} is not model {self.name} as the ledger knows it: its files are others. Restore it."
            )
        return self.folder


def run_keys(ledger: Ledger) -> Path:
    """The file of the keys that the models' records were made with; it is not there before the first run.

    Raises:
        LedgerError: It is lost.
    """
    file = ledger.folder / KEYS / RUN_KEYS
    if not file.exists():
        events = [one.event for one in ledger.events()]
        gone = {key for event in events if isinstance(event, KeyForgotten) for key in event.keys}
        if any(isinstance(event, Unlearned) and event.key and event.key not in gone for event in events):
            raise LedgerError(
                f"{file} is not there: the keys by which models of the lineage tell what they have forgotten. Restore "
                "it from a backup."
            )
    return file


def needed_keys(ledger: Ledger) -> set[str]:
    """Ids of the keys that records of the lineage's models were made with, those before its first run included."""
    runs = {one.event.key for one in ledger.events() if isinstance(one.event, Unlearned)}
    records = [read_record(model.folder) for model in all_models(ledger) if model.folder.exists()]
    earlier = {one.key for record in records if record is not None for one in record.forgotten}
    return {key for key in runs | earlier if key}


def all_models(ledger: Ledger) -> tuple[LineageModel, ...]:
    """Every model that a run made, after the first original, oldest first."""
    runs = [one.event for one in ledger.events() if isinstance(one.event, Unlearned)]
    return (original(ledger), *(_made(ledger, run) for run in runs))


def original(ledger: Ledger) -> LineageModel:
    """The first."""
    return LineageModel(ORIGINAL, Path(places_of(ledger.folder).model), ledger.opened.original)


def newest(ledger: Ledger) -> LineageModel:
    """The newest released model, or the first original."""
    released = [one.event.model for one in ledger.events() if isinstance(one.event, Released)]
    return model_of(ledger, released[-1]) if released else original(ledger)


def model_of(ledger: Ledger, digest: str) -> LineageModel:
    """The model of a digest.

    Raises:
        LedgerError: No run made such a model.
    """
    known = [model for model in all_models(ledger) if model.digest.digest == digest]
    if not known:
        raise LedgerError(f"no run of this lineage made the model {digest[:16]}.")
    return known[-1]


def released_requests(ledger: Ledger) -> tuple[str, ...]:
    """References of what the newest released model has forgotten, oldest first."""
    told = [one.event.references for one in ledger.events() if isinstance(one.event, Released)]
    return tuple(dict.fromkeys(reference for references in told for reference in references))


def place_of_run(ledger: Ledger, name: str) -> Path:
    """Where a run writes, or wrote, its model."""
    elsewhere = places_of(ledger.folder).models.get(name)
    return ledger.folder / MODELS / name if elsewhere is None else Path(elsewhere)


def remember_place(ledger: Ledger, name: str, folder: Path) -> None:
    """Note where a model is written that does not lie in the lineage's folder."""
    places = places_of(ledger.folder)
    if folder != ledger.folder / MODELS / name and places.models.get(name) != str(folder):
        write_places(ledger.folder, replace(places, models={**places.models, name: str(folder)}))


def _made(ledger: Ledger, run: Unlearned) -> LineageModel:
    return LineageModel(run.folder, place_of_run(ledger, run.folder), run.after, run.references)


def has_forgotten(ledger: Ledger, model: str | Path, pairs: Sequence[Pair]) -> bool:
    """Whether a model has forgotten all of these pairs, as far as the keys tell that lie beside it or in the ledger.

    One whose run gave the original back has not.
    """
    keys = run_keys(ledger)
    try:
        record = read_record(model)
        if record is not None and record.gave_original_back:
            return False
        lineage = lineage_of(model)
        lineage = lineage.with_keys(read_keys(keys)) if keys.is_file() else lineage
    except MultideleteError:
        return False
    return {pair.id for pair in pairs} <= lineage.earlier(pairs) and (bool(pairs) or lineage.deletions != ())


def made_without(ledger: Ledger, model: str | Path) -> set[str]:
    """Requests that a model was made without as the ledger says, by what it holds: its run's, and those before it."""
    try:
        digest = model_digest(Path(model)).digest
    except (MultideleteError, OSError):
        return set()
    events = [one.event for one in ledger.events()]
    runs = {one.after.digest: one for one in events if isinstance(one, Unlearned) and one.after.digest != one.before}
    requests: set[str] = set()
    while run := runs.pop(digest, None):
        requests.update(run.references)
        digest = run.before
    return requests
