"""The commands of the ledger that take a request from its plan to its end."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.inputs import chosen_method, given_loop, given_lora
from multidelete.cli.ledger import ReferenceOptions
from multidelete.cli.lineages import LineageDataOptions, LineageOptions, given_data, lineage_data, opened_ledger
from multidelete.cli.operation_options import (
    AuditAgainOptions,
    HolderOptions,
    HowOptions,
    LineageRunOptions,
    PlanOptions,
    RefuseOptions,
    ReleaseOptions,
)
from multidelete.core.json_files import Json
from multidelete.core.paths import user_path
from multidelete.core.words import counted

if TYPE_CHECKING:
    from multidelete.ledger.chain import Ledger
    from multidelete.ledger.holdings import Holding
    from multidelete.ledger.judging import Judged
    from multidelete.ledger.work import How


def plan(call: Call) -> None:
    """Say what a run would do: what goes, what stays, what else might be meant, what it costs. Nothing is changed."""
    options, how = call.of(PlanOptions), call.of(HowOptions)
    from multidelete.artifacts.folders import refuse_other
    from multidelete.ledger.answers import PLAN
    from multidelete.ledger.plan import as_json, make_plan, said, write_plan

    ledger = opened_ledger(call.of(LineageOptions))
    out = ledger.folder / "plan" if options.out is None else user_path(options.out)
    refuse_other(out, PLAN, overwrite=options.overwrite)
    data = lineage_data(ledger, call.of(LineageDataOptions))
    made = make_plan(ledger, data, _how(call), only=how.only, hashes_only=options.hashes_only)
    write_plan(made, out, show=options.show, overwrite=options.overwrite)
    if call.json:
        show.show_json({**as_json(made, show=options.show), "folder": str(out)})
        return
    show.show_lines(said(made))
    show.show_lines([f"page: {out}/plan.html"])
    if made.offers:
        show.show_lines([f"answer in {out}/near-duplicates.csv: yes in the column take; ledger run reads it"])


def run_ledger(call: Call) -> None:
    """Delete the pairs of open requests together, from the newest released model, and audit what came of it.

    Also audited again: all earlier requests. A run that was killed goes on where it stopped when it is called again.
    """
    options, how = call.of(LineageRunOptions), call.of(HowOptions)
    from multidelete.core.runtime import check_device
    from multidelete.ledger.judging import Beside
    from multidelete.ledger.running import run

    _refuse_yardsticks(options.retrained, options.retrained_again)
    ledger = opened_ledger(call.of(LineageOptions))
    data = lineage_data(ledger, call.of(LineageDataOptions))
    device = str(given_loop(call).get("device", "auto"))
    check_device(device)
    beside = Beside(
        retrained=options.retrained, retrained_again=options.retrained_again, noun=options.noun, device=device,
        seed=how.seed, allow_pickle=how.allow_pickle, earlier_pairs_removed=how.earlier_pairs_removed,
    )  # fmt: skip
    done = run(
        ledger, data, _how(call, overwrite=options.overwrite), only=how.only,
        out=None if options.out is None else user_path(options.out),
        plan=None if options.plan is None else user_path(options.plan), beside=beside,
    )  # fmt: skip
    told: dict[str, Json] = {"model": str(done.model.folder), "digest": done.model.digest.digest}
    told |= {"requests": list(done.model.requests)}
    _show_judged(call, done.judged, told)


def audit_ledger(call: Call) -> None:
    """Audit the model that a request's newest run made once more, such as beside a retrained model."""
    options, how = call.of(AuditAgainOptions), call.of(ReferenceOptions)
    from multidelete.ledger.judging import Beside, judge, newest_run
    from multidelete.ledger.models import model_of

    _refuse_yardsticks(options.retrained, options.retrained_again)
    ledger = opened_ledger(how)
    data = lineage_data(ledger, call.of(LineageDataOptions))
    model = model_of(ledger, newest_run(ledger, how.reference))
    beside = Beside(
        retrained=options.retrained, retrained_again=options.retrained_again, noun=options.noun, seed=options.seed,
        device=options.device, earlier_pairs_removed=options.earlier_pairs_removed,
    )  # fmt: skip
    judged = judge(ledger, model, data, beside)
    _show_judged(call, judged, {"model": str(model.folder), "requests": list(model.requests)})


def release(call: Call) -> None:
    """Release the model of a request, with all requests of its run; write certificates, and what still knows the pairs.

    What an audit calls unfinished, over-forgotten or damaged is released only with `--despite`; so is a model with
    which the lineage has lost more than its budget, unless it was retrained.
    """
    options, named = call.of(ReleaseOptions), call.of(ReferenceOptions)
    from multidelete.ledger.holders import Look
    from multidelete.ledger.releasing import release as let_go

    ledger = opened_ledger(named)
    data = lineage_data(ledger, call.of(LineageDataOptions))
    done = let_go(
        ledger, named.reference, data, by=options.by, despite=options.despite,
        stale_ids=None if options.stale_ids is None else user_path(options.stale_ids),
        look=Look(also=[user_path(one) for one in options.also], place=_place_of_data(call, ledger)),
    )  # fmt: skip
    stale = [] if done.stale is None else [f"{one.what}: {one.note}" for one in done.stale.holders]
    if call.json:
        show.show_json(
            {"released": list(done.references), "certificates": [str(one) for one in done.certificates],
             "still_knowing": _rows(done.still_knowing), "stale": stale}
        )  # fmt: skip
        return
    show.show_lines([f"released: {', '.join(done.references)}", *(f"certificate: {one}" for one in done.certificates)])
    _show_holdings(done.still_knowing)
    show.show_lines(f"stale: {line}" for line in stale)


def refuse(call: Call) -> None:
    """Refuse a request, for a reason that stands in the ledger and in its certificate."""
    options, named = call.of(RefuseOptions), call.of(ReferenceOptions)
    from multidelete.ledger.releasing import refuse as turn_down

    ledger = opened_ledger(named)
    data = lineage_data(ledger, call.of(LineageDataOptions))
    certificate = turn_down(ledger, named.reference, options.reason, data, by=options.by)
    if call.json:
        show.show_json({"refused": named.reference, "certificate": str(certificate)})
        return
    show.show_lines([f"refused: {named.reference}", f"certificate: {certificate}"])


def still_knowing(call: Call) -> None:
    """List what still knows deleted pairs: earlier models, unfinished runs, stores, answers, reports, the data."""
    options = call.of(HolderOptions)
    from multidelete.ledger.gone import check_gone, say_gone
    from multidelete.ledger.holders import Look, look_again
    from multidelete.ledger.holdings import not_among
    from multidelete.ledger.models import released_requests

    ledger = opened_ledger(call.of(LineageOptions))
    if options.gone is not None and options.by is not None:
        say_gone(ledger, options.gone, options.by)
    data = lineage_data(ledger, call.of(LineageDataOptions))
    place = _place_of_data(call, ledger)
    found = look_again(ledger, data, Look(also=[user_path(one) for one in options.also], place=place))
    if options.check:
        gone, there, unknown = check_gone(ledger, data, place=place)
        remedy = "When it is gone, say so with --gone and --by."
    else:
        gone, there, unknown = [], found, not_among(ledger, found)
        remedy = "When it is gone, say so with --gone and --by, or use --check."
    if call.json:
        show.show_json(
            {"there": _rows(there), "gone": [one.as_json() for one in gone],
             "elsewhere": [one.as_json() for one in unknown]}
        )  # fmt: skip
        return
    _show_holdings(there)
    show.show_lines(f"gone: {one.what} {one.digest[:16]}" for one in gone)
    show.show_lines(f"not found here, or nobody can tell: {one.what} {one.digest[:16]}. {remedy}" for one in unknown)
    if not there and not unknown:
        is_any = bool(released_requests(ledger))
        show.show_lines(
            ["nothing that is listed is left." if is_any else "no request is released: nothing is deleted."]
        )


def _place_of_data(call: Call, ledger: "Ledger") -> str:
    """Where the pairs are read from, as the lineage names its places."""
    from multidelete.ledger.places import absolute, places_of

    return absolute(given_data(call.of(LineageDataOptions), places_of(ledger.folder)).data)


def _refuse_yardsticks(retrained: str | None, again: Sequence[str]) -> None:
    """Refuse what is no model before a run, which may take long."""
    from multidelete.models.families import recognise
    from multidelete.models.sources import refuse_missing

    refuse_missing({"retrained": retrained, "retrained_again": again})
    for source in (*([] if retrained is None else [retrained]), *again):
        recognise(source)


def _how(call: Call, *, overwrite: bool = False) -> "How":
    options = call.of(HowOptions)
    from multidelete.ledger.work import How

    return How(
        method=chosen_method(call), settings=given_loop(call), trainable=options.trainable,
        lora=given_lora(options.lora), seed=options.seed, allow_pickle=options.allow_pickle,
        earlier_pairs_removed=options.earlier_pairs_removed, overwrite=overwrite,
    )  # fmt: skip


def _show_judged(call: Call, judged: "Judged", told: dict[str, Json]) -> None:
    """Both verdicts, the drift, and what it means."""
    earlier = judged.earlier
    if call.json:
        also = told | {
            "drift": dict(judged.drift), "advice": judged.advice, "not_told": list(judged.not_told),
            "earlier": None if earlier is None else earlier.verdict.outcome,
        }  # fmt: skip
        show.show_verdict_json(judged.newest.verdict, judged.newest.folder, also)
        return
    show.show_lines(f"{name}: {', '.join(one) if isinstance(one, list) else one}" for name, one in told.items())
    show.show_verdict(judged.newest.verdict, judged.newest.folder)
    if earlier is not None:
        show.show_lines(
            [f"all earlier requests together: {earlier.verdict.headline}", f"report: {earlier.folder}/report.html"]
        )
    if judged.not_told:
        names = ", ".join(judged.not_told)
        show.show_lines([f"not asked about again, since their keys or the first original are gone: {names}"])
    lost = ", ".join(f"{name} {value:+.3f}" for name, value in judged.drift.items()) or "not known"
    show.show_lines([f"lost against the first original: {lost}; {judged.advice}"])


def _rows(holdings: "Sequence[Holding]") -> list[Json]:
    return [one.as_json() for one in holdings]


def _show_holdings(holdings: "Sequence[Holding]") -> None:
    if holdings:
        show.show_lines([f"deleted pairs are still known to {counted(len(holdings), 'things')}:"])
        show.show_table(["what", "digest", "where"], [[one.what, one.digest[:16], one.path] for one in holdings])
