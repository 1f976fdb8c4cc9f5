"""Which pairs are deleted: those that the data still holds, and all others by keyed references."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from multidelete.artifacts.deletions import Lineage
from multidelete.artifacts.keys import keyed_digest
from multidelete.data.pairs import Pair, PairData
from multidelete.ledger.chain import Ledger
from multidelete.ledger.models import released_requests
from multidelete.ledger.requests import known, request_key


@dataclass(frozen=True)
class Deleted:
    """The pairs of requests, as far as keys tell them.

    Attributes:
        pairs: Those that the data still holds.
        keyed: For each request whose key is kept the key, and its references to ids.
        elsewhere: Requests whose pairs the data does not hold, or not all of them, or that no key tells.
        untold: Those of them that no key tells.
    """

    pairs: Sequence[Pair]
    keyed: Sequence[tuple[bytes, frozenset[str]]] = field(repr=False)
    elsewhere: tuple[str, ...]
    untold: tuple[str, ...]

    def may_be_among(self, ids: Iterable[str]) -> bool:
        """Whether one of these ids is, or may be, that of a deleted pair: once a key is destroyed, any may."""
        if self.untold:
            return True
        here = {pair.id for pair in self.pairs}
        return any(one in here or self._is_known(one) for one in ids)

    def _is_known(self, pair_id: str) -> bool:
        return any(keyed_digest(key, "id", pair_id) in references for key, references in self.keyed)


def deleted(ledger: Ledger, data: PairData, references: Sequence[str] = ()) -> Deleted:
    """The pairs of released requests, and of others named.

    Args:
        ledger: Of the lineage.
        data: Where they are looked for, in every split.
        references: Further requests.

    Raises:
        LedgerError: A key is lost that was not destroyed.
    """
    states = [known(ledger, name) for name in dict.fromkeys((*released_requests(ledger), *references))]
    keys = {one.reference: request_key(ledger, one) for one in states if not one.keys_gone}
    told = [one for one in states if one.reference in keys]
    lineage = Lineage(
        tuple(keyed.record for one in told for keyed in one.keyed),
        {one.received.key: keys[one.reference] for one in told},
    )
    ids = lineage.earlier_in(data)
    pairs = [pair for split, every in data.splits.items() for pair in every if pair.id in ids[split]]
    whole = lineage.whole(pairs)
    return Deleted(
        pairs,
        [(keys[one.reference], frozenset(name for keyed in one.keyed for name in keyed.ids)) for one in told],
        tuple(one.reference for one in states if one not in told or any(k.record not in whole for k in one.keyed)),
        tuple(one.reference for one in states if one not in told),
    )
