"""The commands of ``multidelete ledger``, in the order of a request's way."""

import typer

from multidelete.cli.flags import add_command
from multidelete.cli.ledger import (
    AskOptions,
    ExportOptions,
    InitOptions,
    ReceiveOptions,
    ReferenceOptions,
    export,
    forget_key,
    init,
    log,
    receive,
    show_ledger,
)
from multidelete.cli.lineages import LineageDataOptions, LineageOptions
from multidelete.cli.operation import audit_ledger, plan, refuse, release, run_ledger, still_knowing
from multidelete.cli.operation_options import (
    AuditAgainOptions,
    HolderOptions,
    HowOptions,
    LineageRunOptions,
    PlanOptions,
    RefuseOptions,
    ReleaseOptions,
)
from multidelete.cli.options import (
    CheckpointOptions,
    DataOptions,
    ForgetOptions,
    KeyOptions,
    MethodOptions,
)
from multidelete.core.settings import LoopSettings

ledger = typer.Typer(
    name="ledger",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Keep the record of a model's deletion requests: received, planned, run, released.",
)
add_command(
    ledger,
    init,
    *(InitOptions, DataOptions, KeyOptions, CheckpointOptions),
    arguments=("lineage",),
    example="multidelete ledger init lineage --model original --data photos/ --sign-key sign.pem",
)
add_command(
    ledger,
    receive,
    *(LineageOptions, ReceiveOptions, ForgetOptions, LineageDataOptions),
    arguments=("lineage",),
    example='multidelete ledger receive lineage --forget request.txt --due 2026-12-28 --basis "GDPR Art. 17(1)(b)" '
    "--reference TICKET-17",
)
add_command(
    ledger,
    show_ledger,
    *(LineageOptions, AskOptions, LineageDataOptions),
    arguments=("lineage",),
    config=False,
    example="multidelete ledger show lineage --id person-0001-view-1-sensitive",
)
add_command(ledger, log, LineageOptions, arguments=("lineage",), config=False, example="multidelete ledger log lineage")
add_command(
    ledger,
    export,
    *(LineageOptions, ExportOptions),
    arguments=("lineage",),
    config=False,
    example="multidelete ledger export lineage --certificate TICKET-17 --out certificate",
)
add_command(
    ledger,
    forget_key,
    ReferenceOptions,
    arguments=("lineage", "reference"),
    config=False,
    example="multidelete ledger forget-key lineage TICKET-17",
)
add_command(
    ledger,
    plan,
    *(LineageOptions, HowOptions, PlanOptions, MethodOptions, LineageDataOptions, CheckpointOptions, LoopSettings),
    arguments=("lineage",),
    flags_only=(MethodOptions,),
    tables=("method", "search"),
    example="multidelete ledger plan lineage --only TICKET-17 --out plan",
)
add_command(
    ledger,
    run_ledger,
    *(
        LineageOptions,
        HowOptions,
        LineageRunOptions,
        MethodOptions,
        LineageDataOptions,
        CheckpointOptions,
        LoopSettings,
    ),
    arguments=("lineage",),
    flags_only=(MethodOptions,),
    tables=("method", "search"),
    example="multidelete ledger run lineage --plan plan --retrained retrained",
)
add_command(
    ledger,
    audit_ledger,
    *(ReferenceOptions, AuditAgainOptions, LineageDataOptions, CheckpointOptions),
    arguments=("lineage", "reference"),
    config=False,
    example="multidelete ledger audit lineage TICKET-17 --retrained retrained",
)
add_command(
    ledger,
    release,
    *(ReferenceOptions, ReleaseOptions, LineageDataOptions, CheckpointOptions),
    arguments=("lineage", "reference"),
    config=False,
    example='multidelete ledger release lineage TICKET-17 --by "data protection officer" --stale-ids stale.json',
)
add_command(
    ledger,
    refuse,
    *(ReferenceOptions, RefuseOptions, LineageDataOptions),
    arguments=("lineage", "reference"),
    config=False,
    example='multidelete ledger refuse lineage TICKET-18 --reason "Art. 17(3)(e): claims are pending" --by "legal"',
)
add_command(
    ledger,
    still_knowing,
    *(LineageOptions, HolderOptions, LineageDataOptions),
    arguments=("lineage",),
    config=False,
    example="multidelete ledger still-knowing lineage --check",
)
