"""What a run takes up: the open requests, the model that they begin with, and the data without earlier ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from multidelete.artifacts.deletions import Lineage, without_earlier
from multidelete.core.errors import LedgerError, RequestError
from multidelete.core.json_files import JsonObject
from multidelete.core.settings import LoopSettings, LoraSettings
from multidelete.core.units import Unit
from multidelete.core.words import counted
from multidelete.data.identity import with_true_sources
from multidelete.data.pairs import PairData
from multidelete.data.request import Request, what_is_missing_afterwards
from multidelete.deletion.arguments import DeletionArguments
from multidelete.ledger.chain import Ledger
from multidelete.ledger.models import LineageModel, newest, released_requests, run_keys
from multidelete.ledger.requests import known, pairs_of, request_key
from multidelete.ledger.states import ENDED, PENDING, RequestState
from multidelete.methods import Method

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class How:
    """How pairs are deleted, as `multidelete.unlearn` takes it.

    Attributes:
        method: Name, or an instance with its hyperparameters.
        settings: Of the loop: what differs from the method's own.
        trainable: The part of the model.
        lora: LoRA to train in the place of that part. A run merges it into the weights: a model of a lineage needs no
            other one, which is to be destroyed.
        seed: Of everything that is drawn.
        allow_pickle: Also read weights that are not safetensors.
        earlier_pairs_removed: Say that the data holds no pairs of requests whose keys were destroyed.
        overwrite: Start afresh where a run of the same requests stopped, or made a model that could not be judged.
    """

    method: Method | str = "multidelete"
    settings: LoopSettings | JsonObject | None = None
    trainable: str = "auto"
    lora: LoraSettings | None = None
    seed: int = 0
    allow_pickle: bool = False
    earlier_pairs_removed: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Work:
    """Requests that are done together.

    Attributes:
        ledger: Of the lineage.
        references: The requests, in the order in which they came in.
        base: The model that they begin with.
        everything: The data as it was read, with true sources.
        left: The data without the pairs of earlier requests.
        request: The pairs that go.
    """

    ledger: Ledger = field(repr=False)
    references: tuple[str, ...]
    base: LineageModel
    everything: PairData
    left: PairData
    request: Request

    def arguments(self, how: How) -> DeletionArguments:
        """What `unlearn` is given.

        Raises:
            LedgerError: Keys of earlier requests were destroyed, and nobody says that their pairs are not in the data.
        """
        told = self.ledger.requests()
        blind = [name for name in released_requests(self.ledger) if told[name].keys_gone]
        if blind and not how.earlier_pairs_removed:
            raise LedgerError(
                f"the keys of {', '.join(blind)} were destroyed, so that nothing tells pairs of theirs in "
                f"{self.everything.name}. They would be used again: take them out of the data first, and say so with "
                "--earlier-pairs-removed."
            )
        keys = run_keys(self.ledger)
        return DeletionArguments(
            original=self.base.folder, data=self.left, forget=self.request, method=how.method, settings=how.settings,
            trainable=how.trainable, lora=how.lora, seed=how.seed, allow_pickle=how.allow_pickle,
            key=keys if keys.exists() else None,
            earlier_pairs_removed=how.earlier_pairs_removed,
        )  # fmt: skip

    @cached_property
    def by_request(self) -> dict[str, Request]:
        """The pairs of each request."""
        return {reference: pairs_of(self.ledger, reference, self.everything) for reference in self.references}


def taken_up(ledger: Ledger, data: PairData, only: Sequence[str] = ()) -> Work:
    """The requests that a run takes up, with their pairs.

    Args:
        ledger: Of the lineage.
        data: The pairs that the first model was trained on, with those of earlier requests or without.
        only: References; without any, all requests for which no model was made yet.

    Raises:
        LedgerError: None is open, or pairs cannot be found again.
        RequestError: Nothing of them is left to be deleted, or not enough of the data would stay.
    """
    requests = open_requests(ledger, only)
    everything = with_true_sources(data)
    left = without_earlier(everything, earlier_deletions(ledger))
    found = [pairs_of(ledger, one.reference, everything) for one in requests]
    wanted = {pair_id for request in found for pair_id in request.ids}
    ids = tuple(pair.id for pair in left.train if pair.id in wanted)
    names = ", ".join(one.reference for one in requests)
    if not ids:
        raise RequestError(
            f"all pairs of {names} were deleted by earlier requests: there is nothing to run. Refuse it and say so."
        )
    if problems := what_is_missing_afterwards(left.train, set(ids), left.classes):
        raise RequestError(problems)
    units: set[Unit] = {request.unit for request in found}
    unit = units.pop() if len(units) == 1 else "pair"
    request = Request(ids, unit, f"{len(ids)} of {counted(len(left.train), 'training pairs')}, of {names}")
    return Work(ledger, tuple(one.reference for one in requests), newest(ledger), everything, left, request)


def earlier_deletions(ledger: Ledger) -> Lineage:
    """What the newest released model has forgotten, with the keys that are left."""
    requests = [known(ledger, reference) for reference in released_requests(ledger)]
    keys = {one.received.key: request_key(ledger, one) for one in requests if not one.keys_gone}
    return Lineage(tuple(keyed.record for one in requests for keyed in one.keyed), keys)


def open_requests(ledger: Ledger, only: Sequence[str]) -> list[RequestState]:
    """The requests named; or all without a model yet; or, where there are none of these, all that are not done."""
    requests = list(ledger.requests().values())
    if only:
        named = {known(ledger, reference).reference for reference in only}
        ended = [f"{one.reference} is {one.state}" for one in requests if one.reference in named and one.state in ENDED]
        if ended:
            raise LedgerError(f"{' and '.join(ended)}: there is nothing left to run. Leave it out.")
        return [one for one in requests if one.reference in named]
    still_open = [one for one in requests if one.state not in ENDED]
    if not still_open:
        raise LedgerError(f"no request of {ledger.folder} is open. Write one down with ledger receive.")
    pending = [one for one in still_open if one.state in PENDING]
    if pending and len(pending) < len(still_open):
        waiting = ", ".join(one.reference for one in still_open if one.state not in PENDING)
        logger.warning(
            "%s: a model was made that is not released. Release it first: of two models that were made from the same "
            "one, only the first can be released.", waiting,
        )  # fmt: skip
    return pending or still_open
