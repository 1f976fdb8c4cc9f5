"""What the ledger's commands share: which lineage, and its data."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from multidelete.cli.inputs import read_for, set_aside
from multidelete.cli.options import DataOptions, KeyOptions
from multidelete.core.errors import DataError
from multidelete.core.paths import user_path

if TYPE_CHECKING:
    from multidelete.data.pairs import PairData
    from multidelete.ledger.chain import Ledger
    from multidelete.ledger.places import Places


@dataclass(frozen=True, kw_only=True)
class LineageOptions:
    """Lineage.

    Attributes:
        lineage: Folder of the lineage: its ledger, its keys, and where model and data lie.
    """

    lineage: str


@dataclass(frozen=True, kw_only=True)
class LineageDataOptions(DataOptions):
    """Data.

    Attributes:
        data: The pairs, where they are not those that `ledger init` was given.
    """

    data: str | None = None  # type: ignore[assignment]  # required by commands without a lineage


def opened_ledger(options: LineageOptions, *, to_read: bool = False) -> "Ledger":
    """The ledger that a command names, to read alone or to write to as well."""
    from multidelete.ledger.chain import Ledger

    ledger = Ledger.open(user_path(options.lineage))
    if not to_read:
        ledger.refuse_read_only()
    return ledger


def lineage_data(ledger: "Ledger", options: LineageDataOptions) -> "PairData":
    """The pairs of a lineage, with those held out that its first model was not trained on.

    Raises:
        DataError: They are not where they were; or held-out pairs were drawn from them, and they are others now.
    """
    from multidelete.data.split import was_drawn
    from multidelete.ledger.chain import KEYS
    from multidelete.ledger.places import PLACES, RUN_KEYS, is_first_data, is_lost, places_of

    folder = ledger.folder
    places = places_of(folder)
    if options.data is None and is_lost(places.data):
        raise DataError(
            f"the data of the lineage is not at {places.data} any more. Name it with --data, or in {folder / PLACES}."
        )
    keys = folder / KEYS / RUN_KEYS  # of pairs that these do not tell, runs and audits speak themselves
    known = KeyOptions(key=str(keys) if keys.exists() else None, earlier_pairs_removed=True)
    pairs, holdout = read_for(given_data(options, places), places.model, known)
    if holdout is None:  # the first model, which records it, may be gone
        pairs = set_aside(pairs, places.holdout)
    if was_drawn(pairs) and not is_first_data(ledger, pairs):
        raise DataError(
            f"held-out pairs were drawn from the data when the lineage began, and {pairs.name} is not that data any "
            "more, or nothing is left that tells (the key of its digest, the first model): others would be drawn, "
            "which that model was trained on. Give the data as it was (what was deleted is left out of it), or data "
            "with splits val and test."
        )
    return pairs


def given_data(options: LineageDataOptions, places: "Places") -> DataOptions:
    """What names the data: the flags, and what they leave out as it was at the beginning."""
    return replace(
        options,
        data=options.data or places.data,
        columns=options.columns or places.columns,
        splits=options.splits or places.splits,
        image_root=options.image_root or places.image_root,
        classes=options.classes or places.classes,
    )
