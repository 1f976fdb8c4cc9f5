"""Whether what still knew deleted pairs is gone: as far as can be seen here, or as somebody says."""

import os

from multidelete.core.config import shown
from multidelete.core.errors import LedgerError
from multidelete.core.words import counted
from multidelete.data.pairs import PairData
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Gone, Holder
from multidelete.ledger.holders import deleted_pairs
from multidelete.ledger.holdings import DATA, Holding, listed, read_places
from multidelete.ledger.texts import odd_text


def check_gone(ledger: Ledger, data: PairData) -> tuple[list[Holder], list[Holding], list[Holder]]:
    """Look whether what is listed is gone, and write down what is.

    Args:
        ledger: Of the lineage.
        data: The pairs as they are now; they are gone when no deleted one is among them.

    Returns:
        What is gone, what is still there, and what lies nobody knows where.
    """
    places: dict[tuple[str, str], list[Holding]] = {}
    for one in read_places(ledger):
        places.setdefault((one.what, one.digest), []).append(one)
    has_pairs = bool(deleted_pairs(ledger, data))
    gone, there, unknown = [], [], []
    for holder in listed(ledger):
        known = places.get((holder.what, holder.digest), [])  # several, where there are copies
        left = [one for one in known if (has_pairs if holder.what == DATA else os.path.lexists(one.path))]
        there += left
        if not known:
            unknown.append(holder)
        elif not left:
            gone.append(holder)
    for holder in gone:
        ledger.append(Gone(what=holder.what, digest=holder.digest))
    return gone, there, unknown


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
