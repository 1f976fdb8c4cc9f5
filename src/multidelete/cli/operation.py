"""The commands of the ledger that take a request from its plan to its end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from multidelete.cli import show
from multidelete.cli.flags import REPEATED, Call
from multidelete.cli.inputs import chosen_method, given_loop
from multidelete.cli.ledger import ReferenceOptions
from multidelete.cli.lineages import LineageDataOptions, LineageOptions, lineage_data, opened_ledger
from multidelete.cli.options import SEED_RULE, is_seed
from multidelete.core.config import check_settings
from multidelete.core.json_files import Json
from multidelete.core.paths import user_path
from multidelete.core.words import counted

if TYPE_CHECKING:
    from multidelete.ledger.holders import Holding
    from multidelete.ledger.judging import Judged
    from multidelete.ledger.work import How


@dataclass(frozen=True, kw_only=True)
class HowOptions:
    """How.

    Attributes:
        only: A request to do by itself. May be given several times; without it all for which no model was
            made yet are done together.
        trainable: Which parameters to train, as of `multidelete unlearn`.
        seed: Of everything that is drawn, 0 or more.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        earlier_pairs_removed: Say that the data does not hold pairs of requests whose keys were destroyed.
    """

    only: tuple[str, ...] = field(default=(), metadata=REPEATED)
    trainable: str = "auto"
    seed: int = 0
    allow_pickle: bool = False
    earlier_pairs_removed: bool = False

    def __post_init__(self) -> None:
        check_settings(self, {"seed": (is_seed(self.seed), SEED_RULE)})


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Plan.

    Attributes:
        out: Folder to write. Without it `plan` in the lineage's folder.
        show: Name the pairs and show their pictures. Without it nothing in the folder does.
        hashes_only: Do not ask the model for neighbours, which takes a pass over all pairs.
        overwrite: Replace a plan that is there. What was answered in it stays.
    """

    out: str | None = None
    show: bool = False
    hashes_only: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class LineageRunOptions:
    """Run and audit.

    Attributes:
        out: Folder of the model. Without it one in the lineage's folder.
        plan: Folder of a plan: near-duplicates with a yes in its table go too. Without it the newest plan.
        retrained: A model trained without the pairs: the yardstick of the audit.
        retrained_again: Such models of other seeds: the floor that distances are read beside.
        noun: What the deleted units are called in the report, such as `people`.
        overwrite: Start afresh where a run of the same requests stopped, or made a model that could not be judged.
    """

    out: str | None = None
    plan: str | None = None
    retrained: str | None = None
    retrained_again: tuple[str, ...] = field(default=(), metadata=REPEATED)
    noun: str | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions:
    """Release.

    Attributes:
        by: Role or name of who releases the model.
        despite: Why it is released although an audit calls it unfinished, over-forgotten or damaged.
        stale_ids: File to write, outside the lineage's folder: ids of pairs whose embeddings must go from a vector
            database, or be computed anew. It names pairs.
        also: A further place of something that still knows the pairs. May be given several times.
    """

    by: str
    despite: str | None = None
    stale_ids: str | None = None
    also: tuple[str, ...] = field(default=(), metadata=REPEATED)


@dataclass(frozen=True, kw_only=True)
class RefuseOptions:
    """Refusal.

    Attributes:
        reason: Why. It names nobody.
        by: Role or name of who decided it.
    """

    reason: str
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class HolderOptions:
    """What still knows.

    Attributes:
        also: A further place of something that still knows deleted pairs. May be given several times.
        check: Look whether what is listed is gone, and write down what is.
        gone: Digest, or its beginning, of something that lies elsewhere and is gone as somebody says; needs --by.
        by: Role or name of who says so.
    """

    also: tuple[str, ...] = field(default=(), metadata=REPEATED)
    check: bool = False
    gone: str | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        fits = (self.gone is None) == (self.by is None)
        check_settings(self, {"by": (fits, "given together with --gone")})


def plan(call: Call) -> None:
    """Say what a run would do: what goes, what stays, what else might be meant, what it costs. Nothing is changed."""
    options, how = call.of(PlanOptions), call.of(HowOptions)
    from multidelete.ledger.plan import as_json, make_plan, said, write_plan

    ledger = opened_ledger(call.of(LineageOptions))
    data = lineage_data(ledger.folder, call.of(LineageDataOptions))
    made = make_plan(ledger, data, _how(call), only=how.only, hashes_only=options.hashes_only)
    out = ledger.folder / "plan" if options.out is None else user_path(options.out)
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
    from multidelete.models.sources import refuse_missing

    refuse_missing({"retrained": options.retrained, "retrained_again": options.retrained_again})
    ledger = opened_ledger(call.of(LineageOptions))
    data = lineage_data(ledger.folder, call.of(LineageDataOptions))
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
    from multidelete.models.sources import refuse_missing

    refuse_missing({"retrained": options.retrained, "retrained_again": options.retrained_again})
    ledger = opened_ledger(how)
    data = lineage_data(ledger.folder, call.of(LineageDataOptions))
    model = model_of(ledger, newest_run(ledger, how.reference))
    beside = Beside(
        retrained=options.retrained, retrained_again=options.retrained_again, noun=options.noun, seed=options.seed,
        device=options.device, earlier_pairs_removed=options.earlier_pairs_removed,
    )  # fmt: skip
    judged = judge(ledger, model, data, beside)
    _show_judged(call, judged, {"model": str(model.folder), "requests": list(model.requests)})


@dataclass(frozen=True, kw_only=True)
class AuditAgainOptions:
    """Audit.

    Attributes:
        retrained: A model trained without the pairs: the yardstick.
        retrained_again: Such models of other seeds: the floor that distances are read beside.
        noun: What the deleted units are called in the report, such as `people`.
        seed: Of everything that is drawn, 0 or more.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        earlier_pairs_removed: Say that the data does not hold pairs of requests whose keys were destroyed.
    """

    retrained: str | None = None
    retrained_again: tuple[str, ...] = field(default=(), metadata=REPEATED)
    noun: str | None = None
    seed: int = 0
    device: str = "auto"
    earlier_pairs_removed: bool = False

    def __post_init__(self) -> None:
        check_settings(self, {"seed": (is_seed(self.seed), SEED_RULE)})


def release(call: Call) -> None:
    """Release the model of a request, with all requests of its run; write certificates, and what still knows the pairs.

    What an audit calls unfinished, over-forgotten or damaged is released only with `--despite`.
    """
    options, named = call.of(ReleaseOptions), call.of(ReferenceOptions)
    from multidelete.ledger.releasing import release as let_go

    ledger = opened_ledger(named)
    data = lineage_data(ledger.folder, call.of(LineageDataOptions))
    done = let_go(
        ledger, named.reference, data, by=options.by, despite=options.despite,
        stale_ids=None if options.stale_ids is None else user_path(options.stale_ids),
        also=[user_path(one) for one in options.also],
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
    data = lineage_data(ledger.folder, call.of(LineageDataOptions))
    certificate = turn_down(ledger, named.reference, options.reason, data, by=options.by)
    if call.json:
        show.show_json({"refused": named.reference, "certificate": str(certificate)})
        return
    show.show_lines([f"refused: {named.reference}", f"certificate: {certificate}"])


def still_knowing(call: Call) -> None:
    """List what still knows deleted pairs: earlier models, unfinished runs, stores, answers, reports, the data."""
    options = call.of(HolderOptions)
    from multidelete.ledger.holders import check_gone, listed, look_again, say_gone

    ledger = opened_ledger(call.of(LineageOptions))
    if options.gone is not None and options.by is not None:
        say_gone(ledger, options.gone, options.by)
    data = lineage_data(ledger.folder, call.of(LineageDataOptions))
    found = look_again(ledger, data, [user_path(one) for one in options.also])
    gone, there, unknown = check_gone(ledger, data) if options.check else ([], found, [])
    lost = {(one.what, one.digest) for one in found}
    unknown = unknown or [one for one in listed(ledger) if (one.what, one.digest) not in lost and not options.check]
    if call.json:
        show.show_json(
            {"there": _rows(there), "gone": [one.as_json() for one in gone],
             "elsewhere": [one.as_json() for one in unknown]}
        )  # fmt: skip
        return
    _show_holdings(there)
    show.show_lines(f"gone: {one.what} {one.digest[:16]}" for one in gone)
    show.show_lines(
        f"not found here: {one.what} {one.digest[:16]}. When it is gone, say so with --gone and --by, or use --check."
        for one in unknown
    )
    if not there and not unknown:
        show.show_lines(["nothing that is listed is left."])


def _how(call: Call, *, overwrite: bool = False) -> "How":
    options = call.of(HowOptions)
    from multidelete.ledger.work import How

    return How(
        method=chosen_method(call), settings=given_loop(call), trainable=options.trainable, seed=options.seed,
        allow_pickle=options.allow_pickle, earlier_pairs_removed=options.earlier_pairs_removed, overwrite=overwrite,
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
        show.show_lines([f"all earlier requests together: {earlier.verdict.headline}", f"report: {earlier.folder}"])
    if judged.not_told:
        show.show_lines([f"not asked about again, since their keys are destroyed: {', '.join(judged.not_told)}"])
    lost = ", ".join(f"{name} {value:+.3f}" for name, value in judged.drift.items()) or "not known"
    show.show_lines([f"lost against the first original: {lost}; {judged.advice}"])


def _rows(holdings: "Sequence[Holding]") -> list[Json]:
    return [one.as_json() for one in holdings]


def _show_holdings(holdings: "Sequence[Holding]") -> None:
    if holdings:
        show.show_lines([f"{counted(len(holdings), 'things')} still know deleted pairs:"])
        show.show_table(["what", "digest", "where"], [[one.what, one.digest[:16], one.path] for one in holdings])
