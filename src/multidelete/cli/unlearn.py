"""The command ``unlearn``."""

from dataclasses import asdict, replace
from pathlib import Path

from multidelete.artifacts.hub import check_hub, push_to_hub
from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.following import after_unlearn
from multidelete.cli.inputs import deletion_arguments, given_keys, given_search
from multidelete.cli.options import (
    CheckpointOptions,
    DataOptions,
    FamilyOptions,
    ForgetOptions,
    HubOptions,
    OutOptions,
    RehearsalOptions,
    UnlearnOptions,
)
from multidelete.core.json_files import Json
from multidelete.core.paths import user_path


def unlearn(call: Call) -> None:
    """Make a model forget training pairs. The result has the format of the original, which is not changed.

    Loop settings that are not given are the method's own (`multidelete methods`).
    """
    out, run = call.of(OutOptions), call.of(UnlearnOptions)
    from multidelete.artifacts.keys import place_of_keys
    from multidelete.models.sources import refuse_missing
    from multidelete.unlearning import carried_out

    hub = call.of(HubOptions).push_to_hub
    refuse_missing({"original": run.original})
    check_hub(hub)
    search = given_search(call)
    arguments, holdout = deletion_arguments(call, run)
    arguments = replace(arguments, metric=None if run.metric is None else user_path(run.metric))
    notes: dict[str, Json] = {} if holdout is None else {"holdout": holdout.as_json()}
    notes |= {} if search is None else {"search": asdict(search)}
    rehearsal = call.of(RehearsalOptions)
    if rehearsal.dry_run:
        from multidelete.cli.rehearsal import show_rehearsal
        from multidelete.rehearsal import rehearse

        rehearsed = rehearse(arguments, out.out, overwrite=out.overwrite)
        if show.is_printing():
            show_rehearsal(rehearsed, Path(out.out), named=rehearsal.name_forgotten, as_json=call.json)
        return
    done = carried_out(arguments, out.out, overwrite=out.overwrite, resume=run.resume, notes=notes)
    if hub is not None and show.is_printing():
        show.say(f"note: uploaded to {push_to_hub(out.out, hub)}")
    if show.is_printing():
        method = None if done.record.method is None else done.record.method.name
        same = [call.of(kind) for kind in (DataOptions, ForgetOptions, FamilyOptions, CheckpointOptions)]
        follows = after_unlearn(run.original, out.out, method, same)
        told: dict[str, Json] = {"kept_repeats": done.kept_repeats} if call.json else {}
        record = replace(done.record, rest=told)
        key = place_of_keys(Path(out.out), given_keys(call).key)
        show.show_run(Path(out.out), record, "unlearned", as_json=call.json, follows=follows, key=key)
