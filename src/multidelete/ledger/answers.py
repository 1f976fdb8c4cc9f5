"""Near-duplicates that a plan offers, and what somebody answers: a table that names nothing and is edited by hand."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multidelete.artifacts.deletions import id_reference
from multidelete.artifacts.manifest import digest_file
from multidelete.artifacts.room import write_whole
from multidelete.core.errors import LedgerError, first_few
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


def write_answers(path: Path, offers: Sequence[Offered], before: Mapping[Offer, str]) -> None:
    """Write the table; what was answered before stays."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in offers:
        answer = before.get((one.request, one.reference), "")
        table.writerow([one.number, one.request, one.reference, f"{one.found.distance:.3f}", one.why, answer])
    write_whole(path, text.getvalue())


def read_answers(path: Path) -> dict[Offer, str]:
    """What was answered: ``yes``, ``no`` or nothing.

    Raises:
        LedgerError: The table is not there or not one of these, or holds other answers.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise LedgerError(f"{path} cannot be read: {why}. Give the folder of a plan, or plan again.") from error
    lacking = [name for name in ("request", "reference", "take") if rows and name not in rows[0]]
    if lacking:
        raise LedgerError(f"{path} lacks the columns {', '.join(lacking)}. Keep the columns of the plan.")
    answers: dict[Offer, str] = {}
    problems = []
    for number, row in enumerate(rows, start=2):
        answer = (row["take"] or "").strip().casefold()
        if answer not in _YES | _NO:
            problems.append(f"{path} line {number}: take is {row['take']!r}; it must be yes, no or empty.")
        answers[row["request"], row["reference"]] = "yes" if answer in _YES else "no" if answer else ""
    if problems:
        raise LedgerError(problems)
    return answers


def take_newest(ledger: Ledger, data: PairData, references: Sequence[str]) -> int:
    """`take` from the newest plan, where it is still there; requests whose offers are not in it are named.

    Raises:
        LedgerError: As `take`.
    """
    plan = places_of(ledger.folder).plan
    folder = None if plan is None else ledger.folder / plan  # of an absolute path the path itself
    is_there = folder is not None and (folder / ANSWERS).is_file()
    read = digest_file(folder / PLAN) if folder is not None and (folder / PLAN).is_file() else None
    offered = {
        name: event.plan
        for event in (one.event for one in ledger.events())
        if isinstance(event, Planned)
        for name in event.references
        if event.offered
    }
    if elsewhere := [name for name in references if name in offered and offered[name] != read]:
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
                f"{first_few(sorted(lost))}. Plan again."
            )
        add_near_duplicates(ledger, request, found)
        taken += len(found)
    return taken
