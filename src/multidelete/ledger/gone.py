"""Whether what still knew deleted pairs is gone: as far as can be seen here, or as somebody says."""

import os
from pathlib import Path

from multidelete.core.config import shown
from multidelete.core.errors import LedgerError
from multidelete.core.words import counted
from multidelete.data.pairs import PairData
from multidelete.ledger.chain import Ledger
from multidelete.ledger.deleted import Deleted, deleted
from multidelete.ledger.events import Gone, Holder
from multidelete.ledger.holdings import DATA, Holding, forget, listed, read_places
from multidelete.ledger.places import path_of, places_of
from multidelete.ledger.sorts import is_still_about
from multidelete.ledger.texts import odd_text
from multidelete.methods.kept_metric import metric_file


def check_gone(
    ledger: Ledger, data: PairData, *, place: str | None = None
) -> tuple[list[Holder], list[Holding], list[Holder]]:
    """Look whether what is listed is gone, and write down what is.

    A file or folder is gone when the folder around it can be looked into and does not hold it. The training data is
    gone when no deleted pair is in it any more, or when it is not there. Once the key of a released request is
    destroyed, nobody can tell that of the data. Embeddings and a metric are gone, too, when they were written anew
    without deleted pairs.

    Args:
        ledger: Of the lineage.
        data: The pairs as they are now.
        place: Where they were read from; without it where the lineage says that they lie.

    Returns:
        What is gone, what is still there, and what nobody can tell of here: it lies nobody knows where, or in a folder
        that cannot be looked into, or it is data that was not read.
    """
    pairs, read = deleted(ledger, data), places_of(ledger.folder).data if place is None else place
    known: dict[tuple[str, str], list[Holding]] = {}
    for one in _places(ledger, read):
        known.setdefault((one.what, one.digest), []).append(one)
    gone: list[Holder] = []
    unknown: list[Holder] = []
    left: dict[tuple[str, str], Holding] = {}  # once each, whatever it held before
    lost: list[Holding] = []
    for holder in listed(ledger):
        copies = known.get((holder.what, holder.digest), [])
        told = [_is_left(one, pairs, read) for one in copies]
        left |= {(one.what, one.path): one for one, answer in zip(copies, told, strict=True) if answer}
        lost += [one for one, answer in zip(copies, told, strict=True) if answer is False]
        if not any(told):
            (unknown if None in told or not copies else gone).append(holder)
    for holder in gone:
        ledger.append(Gone(what=holder.what, digest=holder.digest))
    if lost:
        forget(ledger, lost)
    return gone, list(left.values()), unknown


def _is_left(one: Holding, pairs: Deleted, read: str) -> bool | None:
    """Whether a thing that still knew deleted pairs still does where it lay; None where nobody can tell."""
    path = Path(one.path)
    match one.what:
        case "training data":
            return _is_data_left(one.path, pairs, read)
        case "embeddings":
            return is_there(path) and is_still_about(path, one.what, pairs)
        case "metric":  # whose folder may be left
            return is_there(metric_file(path)) and is_still_about(path, one.what, pairs)
        case _:
            return is_there(path)


def is_there(path: Path) -> bool | None:
    """Whether something lies at a path; None where nobody can tell.

    Where the folder around it is not there either, the disk may only be another one today.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False if _can_be_looked_into(path.parent) else None
    except (OSError, ValueError):
        return None
    return True


def _can_be_looked_into(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return True


def _places(ledger: Ledger, read: str) -> list[Holding]:
    """What is noted of places; data may always lie where the lineage says, and where it was read from."""
    noted = read_places(ledger)
    own = dict.fromkeys((places_of(ledger.folder).data, read))
    data = [Holding(what=DATA, digest=ledger.opened.data, path=one) for one in own]
    return [*noted, *(one for one in data if one not in noted)]


def _is_data_left(place: str, pairs: Deleted, read: str) -> bool | None:
    """Whether deleted pairs are left in the data at a place; None where nobody can tell."""
    if place == read:
        return True if pairs.pairs else None if pairs.untold else False
    path = path_of(place)
    is_lost = path is not None and is_there(path) is False
    return False if is_lost and not pairs.untold else None


def say_gone(ledger: Ledger, digest: str, by: str) -> Holder:
    """Write down that somebody says that something is gone which cannot be looked for here.

    Args:
        ledger: Of the lineage.
        digest: Of the thing, or as much of its beginning as tells it from others.
        by: Role or name of who says so.

    Raises:
        LedgerError: Nothing that is listed has that digest, or several have.
    """
    matching = [one for one in listed(ledger) if digest and one.digest.startswith(digest)]
    problems = odd_text("by", by)
    if len(matching) != 1:
        problems.append(
            f"the digest {shown(digest)} begins that of {counted(len(matching), 'things')} that still know deleted "
            "pairs; it must be one. See ledger still-knowing."
        )
    if problems:
        raise LedgerError(problems)
    (holder,) = matching
    ledger.append(Gone(what=holder.what, digest=holder.digest, by=by))
    return holder
