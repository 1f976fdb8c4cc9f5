"""What still knows deleted pairs: models, unfinished runs, stores, answers, reports, plans, lists, and the data.

Found near the models and the lineage, or named by the user.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from multidelete.artifacts.keys import keyed_digest, new_key
from multidelete.core.errors import CheckpointError, MultideleteError
from multidelete.core.paths import lies_there
from multidelete.data.pairs import PairData
from multidelete.ledger.chain import Ledger
from multidelete.ledger.deleted import Deleted, deleted
from multidelete.ledger.events import Found
from multidelete.ledger.holdings import DATA, Holding, listed, read_places, remember
from multidelete.ledger.models import all_models, has_forgotten, made_without, released_requests
from multidelete.ledger.places import model_digest, places_of
from multidelete.ledger.sorts import NAMING, is_about, sort_of
from multidelete.models.checkpoint import lora_base

logger = logging.getLogger(__name__)

AUDITS = "audits"


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where what still knows deleted pairs is looked for, beside the models and the lineage.

    Attributes:
        also: Further places that the user names.
        place: Where the pairs were read from; without it where the lineage says that they lie.
    """

    also: Sequence[str | Path] = ()
    place: str | None = None


def find_holders(
    ledger: Ledger, data: PairData, look: Look | None = None, references: Sequence[str] = ()
) -> list[Holding]:
    """What is on disk near the models and the lineage that still knows pairs which were deleted.

    Args:
        ledger: Of the lineage.
        data: The pairs; where they still hold deleted ones, they count too, and so do copies in the cache of
            `datasets`.
        look: Where else; without it nowhere.
        references: Requests whose pairs are about to be released, beside those that are. Where none is, nothing is
            deleted, and nothing is found.

    Raises:
        CheckpointError: A place that is named is not there, or cannot be looked at.
    """
    if not (released_requests(ledger) or references):
        return []
    gone, look = deleted(ledger, data, references), look or Look()
    places = read_places(ledger)
    found = [_holding(what, path, places) for what, path in _known(ledger, gone)]
    if gone.pairs:
        read = places_of(ledger.folder).data if look.place is None else look.place
        found.append(Holding(what=DATA, digest=ledger.opened.data, path=read))
    cached = [path for path in data.cached if lies_there(path)]
    found += [_secretly("cache of datasets", path, places) for path in cached]
    for named in look.also:
        path = _place(Path(named))
        try:
            sort = sort_of(path)
        except FileNotFoundError as error:
            raise CheckpointError(f"{named} is not there. Name what still knows deleted pairs.") from error
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{named} cannot be looked at: {_why(error)}. Let yourself read it, or leave it out."
            ) from error
        found.append(_secretly("copy", path, places) if sort is None else _holding(sort, path, places))
    return list({one.path: one for one in found}.values())


def naming_file(ledger: Ledger, what: str, path: Path) -> Holding:
    """A file that names deleted pairs, which is written only when all else is known."""
    return _secretly(what, Path(os.path.abspath(path)), read_places(ledger))


def _holding(what: str, path: Path, places: Sequence[Holding]) -> Holding:
    if what in NAMING:
        return _secretly(what, path, places)
    return Holding(what=what, digest=_digest(path), path=str(path))


def _secretly(what: str, path: Path, places: Sequence[Holding]) -> Holding:
    """A thing that holds or names pairs: a digest of it would confirm guesses, so a random one stands for it."""
    known = [one.digest for one in places if (one.what, one.path) == (what, str(path))]
    digest = known[-1] if known else keyed_digest(new_key(), "content", str(path))
    return Holding(what=what, digest=digest, path=str(path))


def _known(ledger: Ledger, gone: Deleted) -> Iterator[tuple[str, Path]]:
    models = all_models(ledger)
    around = dict.fromkeys([ledger.folder.absolute(), *(model.folder.absolute().parent for model in models)])
    seen: set[str] = set()
    own = [model.folder for model in models]
    own += [base for folder in own if (base := _base(folder)) is not None]
    for path in (*own, *(path for place in around for path in _inside(place, ledger))):
        real = os.path.realpath(path)  # of a link to itself the link
        if real in seen:
            continue
        seen.add(real)
        sort = _sort(path, is_model=path in own)
        if sort is not None and _still_knows(ledger, path, sort, gone):
            yield sort, _place(path)


def _place(path: Path) -> Path:
    """Where a thing lies: of a link where it leads, since what lies there is left when the link is removed."""
    return Path(os.path.realpath(path) if path.is_symlink() else os.path.abspath(path))


def _sort(path: Path, *, is_model: bool) -> str | None:
    """Which sort of thing lies at a path; None where none does, or it cannot be looked at, which is said."""
    try:
        os.lstat(path)
        return sort_of(path) or ("model" if is_model else None)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not path.is_symlink():  # gone already
            return None
        why = _why(error)
    except OSError as error:
        why = _why(error)
    logger.warning("%s is passed over, since it cannot be looked at: %s. It may know deleted pairs.", path, why)
    return None


def _still_knows(ledger: Ledger, path: Path, sort: str, gone: Deleted) -> bool:
    """Whether a thing may know deleted pairs; one that cannot be read may, which is said."""
    try:
        return _knows(ledger, path, gone) if sort in ("model", "adapter") else is_about(path, sort, gone)
    except (OSError, CheckpointError) as error:
        logger.warning("%s is listed, since nobody can tell whose pairs it knows: %s", path, _why(error))
        return True


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _knows(ledger: Ledger, model: Path, gone: Deleted) -> bool:
    """Whether a model may still know deleted pairs.

    Its record tells of those that the data holds. Of others the ledger tells for which requests the model was made; of
    a model that no run of the lineage made, nobody can tell.
    """
    if not has_forgotten(ledger, model, gone.pairs):
        return True
    return bool(gone.elsewhere) and not made_without(ledger, model).issuperset(gone.elsewhere)


def _base(folder: Path) -> Path | None:
    """The model that an adapter names, where it lies here."""
    try:
        base = lora_base(folder)
    except (MultideleteError, OSError):
        return None
    return None if base is None or not lies_there(base) else Path(base)


def _inside(place: Path, ledger: Ledger) -> Iterator[Path]:
    """What lies directly in a folder; of the lineage's also what lies in its own folders."""
    try:
        paths = sorted(place.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("nothing is looked for in %s: %s. What lies there may know deleted pairs.", place, _why(error))
        return
    for path in paths:
        yield path
        if place == ledger.folder.absolute() and path.name == AUDITS and path.is_dir():
            yield from _inside(path, ledger)


def _digest(path: Path) -> str:
    """Of all files of a folder, or of a file; empty where they cannot be read, or there are none."""
    try:
        return model_digest(path).digest
    except (MultideleteError, OSError):
        return ""


def look_again(ledger: Ledger, data: PairData, look: Look | None = None) -> list[Holding]:
    """Look for what still knows deleted pairs; what is new is written down.

    Args:
        ledger: Of the lineage.
        data: The pairs.
        look: Where else; without it nowhere.

    Raises:
        CheckpointError: A place that is named is not there, or cannot be looked at.
    """
    found = find_holders(ledger, data, look)
    known = {(one.what, one.digest) for one in listed(ledger)}
    new = tuple(one.holder for one in found if (one.what, one.digest) not in known)
    remember(ledger, found)
    if new:
        ledger.append(Found(still_knowing=new))
    return found
