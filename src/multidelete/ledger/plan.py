"""The plan of a run: what would go, what stays and why, what is offered, what it costs, and what would be stale."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from multidelete.artifacts.deletions import id_reference
from multidelete.artifacts.folders import refuse_other, whole_or_nothing
from multidelete.artifacts.manifest import digest_file
from multidelete.core.json_files import Json
from multidelete.core.words import counted, indefinite
from multidelete.data.near.found import NearDuplicate, near_duplicates
from multidelete.data.pairs import Pair, PairData, members
from multidelete.ledger.answers import ANSWERS, PLAN, REPLACED, Offered, plans_read_with, read_rows, write_answers
from multidelete.ledger.chain import Ledger
from multidelete.ledger.drift import Advice, advice, model_drift
from multidelete.ledger.events import Planned
from multidelete.ledger.models import released_requests
from multidelete.ledger.places import places_of, write_places
from multidelete.ledger.plan_page import plan_page
from multidelete.ledger.recorded import Recorded
from multidelete.ledger.representations import representations
from multidelete.ledger.requests import known, request_key
from multidelete.ledger.stale import stale_modalities
from multidelete.ledger.states import ENDED
from multidelete.ledger.work import How, Work, taken_up
from multidelete.models import load_adapter
from multidelete.models.initial import fitted
from multidelete.rehearsal import Rehearsal, rehearse

RULES = {
    "pair": "the pairs that were named, one by one",
    "image": "everything that belongs to the images that were named",
    "subject": "all pairs of the subjects that were named",
    "node": "all pairs of the nodes that were named",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        work: What it takes up.
        rehearsal: What it would cost, and how many members stay.
        sharing: For each modality and for subjects, kept pairs that have one with a pair that goes.
        offers: Near-duplicates, the nearest first.
        stale: For each modality whose embeddings would be stale, how many distinct members kept pairs have.
        drift: What the lineage has lost so far.
        advice: Whether to go on.
    """

    work: Work
    rehearsal: Rehearsal
    sharing: Mapping[str, Sequence[Pair]] = field(repr=False)
    offers: Sequence[Offered]
    stale: Mapping[str, int]
    drift: Mapping[str, float]
    advice: Advice


def make_plan(
    ledger: Ledger, data: PairData, how: How | None = None, *, only: Sequence[str] = (), hashes_only: bool = False
) -> Plan:
    """Find out what a run would do. Nothing is changed.

    Args:
        ledger: Of the lineage.
        data: The pairs that the first model was trained on.
        how: The method and its settings.
        only: References; without any, all for which no model was made yet.
        hashes_only: Look for near-duplicates without asking the model, which takes a pass over all pairs.

    Raises:
        UserError: What `run` would refuse too.
    """
    how, work = how or How(), taken_up(ledger, data, only)
    work.base.check()
    rehearsal = rehearse(work.arguments(how))
    adapter = load_adapter(work.base.folder, allow_pickle=how.allow_pickle)
    asked = None if hashes_only else representations(adapter, fitted(adapter, work.left).train)
    found = near_duplicates(work.left.train, set(work.request.ids), asked)
    chosen = str(rehearsal.trainable["chosen"])
    changed = {name for name, _ in adapter.named_parameters()}
    if parts := adapter.encoder_parameters(chosen):
        changed = set(parts)
    elif parts := adapter.encoder_parameters(chosen.removeprefix("but-")):
        changed -= set(parts)
    kept, drift = work.left.train.without(work.request.ids, "kept"), model_drift(ledger, work.base)
    return Plan(
        work=work,
        rehearsal=rehearsal,
        sharing=_sharing(work),
        offers=_numbered(work, found),
        stale={modality: len(kept.sources(modality)) for modality in stale_modalities(adapter, changed)},
        drift=drift,
        advice=advice(drift, len(released_requests(ledger)), ledger.opened.budget),
    )


def write_plan(plan: Plan, out: Path, *, show: bool = False, overwrite: bool = False) -> Recorded:
    """Write the plan as a page, as JSON and as a table to answer, and note in the ledger that it was made.

    Args:
        plan: The plan.
        out: Folder to write.
        show: Name the pairs and show their pictures. Otherwise nothing in the folder does.
        overwrite: Replace a plan that is there. What was answered in it stays, also for requests and pairs that are not
            in this plan, as long as the request is open.

    Raises:
        LedgerError: The table of the plan that is there holds something else than answers.
        CheckpointError: The folder is there already, or cannot be written.
    """
    ledger = plan.work.ledger
    refuse_other(out, PLAN, overwrite=overwrite)
    has_answers = (out / ANSWERS).is_file()
    before = read_rows(out / ANSWERS) if has_answers else []
    content = as_json(plan, show=show)
    content[REPLACED] = list(plans_read_with(out)) if has_answers else []
    with whole_or_nothing(out, overwrite=overwrite) as folder:
        (folder / PLAN).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (folder / "plan.html").write_text(plan_page(plan, content, show=show), encoding="utf-8")
        write_answers(folder / ANSWERS, plan.offers, before, _open(ledger))
    whole, own = out.absolute(), ledger.folder.absolute()
    place = str(whole.relative_to(own) if whole.is_relative_to(own) else whole)
    write_places(ledger.folder, replace(places_of(ledger.folder), plan=place))
    return ledger.append(
        Planned(
            references=plan.work.references,
            plan=digest_file(out / PLAN),
            pairs=len(plan.work.request.ids),
            offered=len(plan.offers),
            wall_s=plan.rehearsal.wall_s,
            drift=plan.drift or None,
            advice=plan.advice,
        )
    )


def _open(ledger: Ledger) -> list[str]:
    return [name for name, one in ledger.requests().items() if one.state not in ENDED]


def as_json(plan: Plan, *, show: bool) -> dict[str, Json]:
    """The plan; only where ``show`` asks for it with ids of pairs."""
    work, rehearsal, budget = plan.work, plan.rehearsal, plan.work.ledger.opened.budget
    states = [known(work.ledger, reference) for reference in work.references]
    content: dict[str, Json] = {
        "lineage": work.ledger.opened.lineage,
        "ledger": work.ledger.id,
        "model": {"name": work.base.name, "digest": work.base.digest.digest},
        "requests": [
            {"reference": one.reference, "due": one.received.due, "basis": one.received.basis, "pairs": one.pairs,
             "rule": RULES[one.received.unit] + (f", and {sum(also.pairs for also in one.also)} near-duplicates "
                                                 "that were confirmed" if one.also else "")}
            for one in states
        ],
        "pairs": {"go": len(work.request.ids), "of": len(work.left.train)},
        "kinds": {kind: {"go": go, "of": of} for kind, (go, of) in rehearsal.kinds.items()},
        "stays": {
            what: {"of_pairs_that_go": rehearsal.members[what][0], "stay": rehearsal.members[what][1],
                   "kept_pairs": len(pairs)}
            for what, pairs in plan.sharing.items()
        },
        "why_it_stays": "A pair that shares a member with one that goes stays: what is forgotten is that these two "
                        "belong together. Name it too, or say yes to it below, if it is meant.",
        "near_duplicates": [_offer(one, show=show) for one in plan.offers],
        "method": rehearsal.method,
        "loop": rehearsal.loop,
        "trainable": rehearsal.trainable,
        "cost": {"steps": rehearsal.steps, "pairs_backward": rehearsal.pairs_backward,
                 "pairs_forward": rehearsal.pairs_forward, "wall_s": rehearsal.wall_s,
                 "peak_bytes": rehearsal.peak_bytes, "estimated": rehearsal.estimated},
        "drift": {"so_far": dict(plan.drift), "budget": budget.by_figure(),
                  "advice": plan.advice},
        "stale_afterwards": [
            {"what": f"{modality} embeddings", "number": number} for modality, number in plan.stale.items()
        ],
        "names_pairs": show,
    }  # fmt: skip
    if show:
        content["forget"] = {name: list(request.ids) for name, request in work.by_request.items()}
        content["sharing"] = {what: [pair.id for pair in pairs] for what, pairs in plan.sharing.items()}
    return content


def _offer(one: Offered, *, show: bool) -> dict[str, Json]:
    told: dict[str, Json] = {
        "number": one.number,
        "request": one.request,
        "reference": one.reference,
        "reasons": [
            {"what": reason.what, "distance": round(reason.distance, 4), "similarity": reason.similarity}
            for reason in one.found.reasons
        ],
    }
    return told | ({"pair": one.found.pair.id, "beside": one.found.beside.id} if show else {})


def _numbered(work: Work, found: Sequence[NearDuplicate]) -> list[Offered]:
    """Each near-duplicate under the first request that the pair beside it belongs to."""
    by_pair = {pair_id: name for name, request in reversed(work.by_request.items()) for pair_id in request.ids}
    keys = {name: request_key(work.ledger, known(work.ledger, name)) for name in work.references}
    return [
        Offered(number, name := by_pair[one.beside.id], id_reference(keys[name], one.pair), one)
        for number, one in enumerate(found, start=1)
    ]


def _sharing(work: Work) -> dict[str, list[Pair]]:
    """Kept pairs that share a member or the subject with one that goes."""
    going = work.left.train.only(work.request.ids, "forget")
    kept = work.left.train.without(work.request.ids, "kept")
    sharing = {}
    for modality in dict.fromkeys(modality for pair in going for modality in pair.inputs):
        gone = going.sources(modality)
        sharing[modality] = [
            pair for pair in kept if modality in pair.inputs and any(one in gone for one, _ in members(pair, modality))
        ]
    subjects = {pair.subject for pair in going} - {None}
    return sharing | ({"subject": [pair for pair in kept if pair.subject in subjects]} if subjects else {})


def said(plan: Plan) -> list[str]:
    """The plan in a few lines, for the command line."""
    lost = ", ".join(f"{name} {value:+.3f}" for name, value in plan.drift.items()) or "nothing yet"
    stale = ", ".join(f"{counted(number, f'{modality} embeddings')}" for modality, number in plan.stale.items())
    return [
        f"{counted(len(plan.work.references), 'requests')}: {', '.join(plan.work.references)}",
        f"{counted(len(plan.work.request.ids), 'pairs')} of {len(plan.work.left.train):,} would go, "
        f"from model {plan.work.base.name}",
        *(f"{counted(len(pairs), 'kept pairs have')} {indefinite(what)} of theirs too"
          for what, pairs in plan.sharing.items() if pairs),
        f"{counted(len(plan.offers), 'near-duplicates are')} offered",
        f"lost so far: {lost}; {plan.advice}",
        f"stale afterwards: {stale or 'no embeddings'}",
    ]  # fmt: skip
