"""The command ``audit``."""

from dataclasses import asdict

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.following import after_audit
from multidelete.cli.inputs import given_keys, read_for, read_forget
from multidelete.cli.options import (
    AuditOptions,
    CheckpointOptions,
    DataOptions,
    FamilyOptions,
    ForgetOptions,
    OutOptions,
)


def audit(call: Call) -> None:
    """Judge whether a model has forgotten, beside the original and a retrained model, and write the report."""
    run, out = call.of(AuditOptions), call.of(OutOptions)
    from multidelete.auditing import audit as run_audit
    from multidelete.data.repeats import kept_repeats
    from multidelete.models.converters.known import reading_as
    from multidelete.models.sources import refuse_missing

    named = ("unlearned", "original", "retrained", "retrained_again", "unlearned_again", "shadows")
    refuse_missing({name: getattr(run, name) for name in named})
    keys = given_keys(call)
    pairs, _ = read_for(call.of(DataOptions), run.original, keys)
    request = read_forget(pairs, call.of(ForgetOptions))
    with reading_as([run.unlearned, run.original, *([run.retrained] if run.retrained else [])]):
        result = run_audit(
            run.unlearned,
            run.original,
            pairs,
            request,
            retrained=run.retrained,
            retrained_again=run.retrained_again,
            unlearned_again=run.unlearned_again,
            shadows=run.shadows,
            cache=run.cache,
            out=out.out,
            show_forgotten=run.show_forgotten,
            noun=run.noun,
            compress=run.compress,
            relearn=run.relearn,
            relearn_lr=run.relearn_lr,
            device=run.device,
            seed=run.seed,
            overwrite=out.overwrite,
            allow_pickle=run.allow_pickle,
            **asdict(keys),
        )
    if show.is_printing():
        judged = result.verdict
        same = [call.of(kind) for kind in (DataOptions, ForgetOptions, FamilyOptions, CheckpointOptions)]
        method, finds_its_way = _made_by(run.unlearned)
        follows = after_audit(
            judged.outcome, run, method, same, has_recipe=_has_recipe(run.original), finds_its_way=finds_its_way
        )
        if call.json:
            repeats = kept_repeats(pairs.train, request.ids)
            show.show_verdict_json(judged, result.folder, {"commands": follows, "kept_repeats": repeats})
        else:
            show.show_verdict(judged, result.folder, follows)


def _has_recipe(original: str) -> bool:
    """Whether the original's folder tells how it was trained."""
    from multidelete.artifacts.manifest import read_record
    from multidelete.artifacts.record import Recipe

    record = read_record(original)
    return record is not None and record.recipe != Recipe()


def _made_by(folder: str) -> tuple[str | None, bool]:
    """The method that made a model, where its folder tells, and whether the run found its rate by itself."""
    from multidelete.artifacts.manifest import read_record
    from multidelete.auditing import pace_of

    record = read_record(folder)
    if record is None or record.method is None:
        return None, False
    return record.method.name, pace_of(record) == "auto"
