"""Near-duplicates that a plan offers, and what somebody answers: a table that names nothing and is edited by hand."""

import csv
import io
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multidelete.artifacts.deletions import id_reference
from multidelete.artifacts.manifest import digest_file
from multidelete.artifacts.room import write_whole
from multidelete.core.errors import LedgerError, first_few
from multidelete.core.json_files import read_json_object
from multidelete.core.words import counted
from multidelete.data.identity import with_true_sources
from multidelete.data.near.found import NearDuplicate
from multidelete.data.pairs import PairData
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Planned
from multidelete.ledger.places import places_of
from multidelete.ledger.requests import add_near_duplicates, known, request_key

logger = logging.getLogger(__name__)

PLAN = "plan.json"
ANSWERS = "near-duplicates.csv"
REPLACED = "answers_of"  # in a plan: the digests of those whose answers it took over
COLUMNS = ("number", "request", "reference", "distance", "why", "take")
_YES, _NO = {"yes", "y", "true", "1", "x"}, {"no", "n", "false", "0", ""}

Offer = tuple[str, str]
"""A request, and the keyed reference of a pair that is offered beside one of its pairs."""


@dataclass(frozen=True)
class Offered:
    """A near-duplicate with the request beside which it is offered.

    Attributes:
        number: From 1 on, the nearest first.
        request: Reference of the request.
        reference: Keyed reference of the pair, which says nothing without the key of the request.
        found: The pair, and the deleted one beside it.
    """

    number: int
    request: str
    reference: str
    found: NearDuplicate

    @property
    def why(self) -> str:
        """In words that name nothing."""
        return " and ".join(map(str, self.found.reasons))


Row = Mapping[str, str]
"""A line of the table, by column."""


def write_answers(path: Path, offers: Sequence[Offered], before: Sequence[Row], still_open: Collection[str]) -> None:
    """Write the table; what was answered before stays.

    Args:
        path: Of the table.
        offers: Near-duplicates to answer.
        before: Rows of the table that this one replaces. Those that were answered and are not offered now follow the
            others.
        still_open: Requests that are not done; answers for others are left out.
    """
    answers = answers_in(before)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for one in offers:
        table.writerow(
            {"number": one.number, "request": one.request, "reference": one.reference,
             "distance": f"{one.found.distance:.3f}", "why": one.why,
             "take": answers.get((one.request, one.reference), "")}
        )  # fmt: skip
    offered = {(one.request, one.reference) for one in offers}
    carried = {_offer(row): row for row in before if row["request"] in still_open and _offer(row) not in offered}
    for number, (offer, row) in enumerate(carried.items(), start=len(offers) + 1):
        if answers[offer]:
            table.writerow({**row, "number": number, "take": answers[offer]})
    write_whole(path, text.getvalue())


def _offer(row: Row) -> Offer:
    return row["request"], row["reference"]


def read_answers(path: Path) -> dict[Offer, str]:
    """What was answered: ``yes``, ``no`` or nothing.

    Raises:
        LedgerError: The table is not there or not one of these, or holds other answers.
    """
    return answers_in(read_rows(path))


def answers_in(rows: Sequence[Row]) -> dict[Offer, str]:
    """What is answered in rows that `read_rows` gave."""
    answers = {_offer(row): row["take"].strip().casefold() for row in rows}
    return {offer: "yes" if answer in _YES else "no" if answer else "" for offer, answer in answers.items()}


def read_rows(path: Path) -> list[Row]:
    """The rows of a table, as somebody left them.

    Raises:
        LedgerError: The table is not there or not one of these, or holds other answers.
    """
    try:
        read = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise LedgerError(f"{path} cannot be read: {why}. Give the folder of a plan, or plan again.") from error
    lacking = [name for name in ("request", "reference", "take") if read and name not in read[0]]
    if lacking:
        raise LedgerError(f"{path} lacks the columns {', '.join(lacking)}. Keep the columns of the plan.")
    rows: list[Row] = [{name: row.get(name) or "" for name in COLUMNS} for row in read]
    problems = [
        f"{path} line {number}: take is {row['take']!r}; it must be yes, no or empty."
        for number, row in enumerate(rows, start=2)
        if row["take"].strip().casefold() not in _YES | _NO
    ]
    if problems:
        raise LedgerError(problems)
    return rows


def plans_read_with(folder: Path) -> tuple[str, ...]:
    """Digests of the plans whose answers stand in a folder: its own, and those that it replaced.

    Args:
        folder: Of a plan, which need not be there.

    Raises:
        CheckpointError: The plan is damaged.
    """
    if not (folder / PLAN).is_file():
        return ()
    earlier = read_json_object(folder / PLAN, "Plan again elsewhere.").get(REPLACED)
    named = [one for one in earlier if isinstance(one, str)] if isinstance(earlier, list) else []
    return (digest_file(folder / PLAN), *named)


def take_newest(ledger: Ledger, data: PairData, references: Sequence[str]) -> int:
    """`take` from the newest plan, where it is still there; requests whose offers are not in it are named.

    Raises:
        LedgerError: As `take`.
    """
    plan = places_of(ledger.folder).plan
    folder = None if plan is None else ledger.folder / plan  # of an absolute path the path itself
    is_there = folder is not None and (folder / ANSWERS).is_file()
    read = () if folder is None else plans_read_with(folder)
    offered = {
        name: event.plan
        for event in (one.event for one in ledger.events())
        if isinstance(event, Planned)
        for name in event.references
        if event.offered
    }
    if elsewhere := [name for name in references if name in offered and offered[name] not in read]:
        logger.warning(
            "%s: the plan that offered near-duplicates is not the newest one, or not where it was written. What "
            "somebody said yes to in it is not read, and stays: name it with --plan.",
            ", ".join(elsewhere),
        )
    return take(ledger, data, folder, references) if folder is not None and is_there else 0


def take(ledger: Ledger, data: PairData, plan: Path, references: Sequence[str]) -> int:
    """Add the pairs that somebody said yes to to their requests; gives how many.

    Args:
        ledger: Of the lineage.
        data: The pairs.
        plan: Folder of the plan.
        references: Requests that are run; answers for others are left alone.

    Raises:
        LedgerError: The table is damaged, or names pairs that are not in the data.
    """
    answers = {one: answer for one, answer in read_answers(plan / ANSWERS).items() if one[0] in references}
    if open_ones := sum(not answer for answer in answers.values()):
        logger.info("%s", f"{counted(open_ones, 'near-duplicates stay')}: nobody answered in {plan / ANSWERS}")
    wanted: dict[str, set[str]] = {}
    for (request, reference), answer in answers.items():
        if answer == "yes":
            wanted.setdefault(request, set()).add(reference)
    taken = 0
    pairs = with_true_sources(data).train
    for request, chosen in wanted.items():
        state = known(ledger, request)
        new = chosen - {reference for one in state.keyed for reference in one.ids}
        if not new:
            continue
        key = request_key(ledger, state)
        found = [pair for pair in pairs if id_reference(key, pair) in new]
        lost = new - {id_reference(key, pair) for pair in found}
        if lost:
            raise LedgerError(
                f"{plan / ANSWERS} says yes to pairs of {request} that are not in {data.name}: "
                f"{first_few(sorted(lost))}. Give the data that holds them, or answer no."
            )
        add_near_duplicates(ledger, request, found)
        taken += len(found)
    return taken
