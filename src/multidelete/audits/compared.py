"""The models of an audit: what they are called, and what their folders say of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from multidelete.artifacts.deletions import Lineage, refuse_without_keys
from multidelete.artifacts.manifest import digest_model, read_record
from multidelete.artifacts.record import RunRecord
from multidelete.audits.inputs import RETRAINED_AGAIN, UNLEARNED_AGAIN
from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem
from multidelete.core.words import indefinite
from multidelete.models import Adapter, Task, recognise
from multidelete.models.checkpoint import weights_digest
from multidelete.models.lineage import lineage_of

Source = str | Path | Adapter
"""A folder, a hub id, or a model in memory."""


def named_models(
    original: Source,
    unlearned: Source,
    retrained: Source | None,
    retrained_again: Sequence[Source],
    unlearned_again: Sequence[Source],
    others: Mapping[str, Source],
) -> dict[str, Source]:
    """All models by name, in the order of the report."""
    models: dict[str, Source] = {"original": original, "unlearned": unlearned}
    if retrained is not None:
        models["retrained"] = retrained
    elif retrained_again:
        raise ConfigError(
            SettingProblem(
                "retrained_again",
                "is given without a first retrained model, which is what it is measured against. Give one of "
                "its models as that.",
            )
        )
    for name, again in ((RETRAINED_AGAIN, retrained_again), (UNLEARNED_AGAIN, unlearned_again)):
        models |= {name if at == 1 else f"{name} {at}": source for at, source in enumerate(again, 1)}
    taken = sorted({"retrained", *models} & set(others))
    if taken:
        raise ConfigError(
            f"other models are called {', '.join(taken)}; these names have a meaning of their own. Rename them."
        )
    return models | dict(others)


def records_of(models: Mapping[str, Source]) -> dict[str, RunRecord]:
    """What each model's folder says of itself; refuses models that do not belong together, before any is loaded.

    Raises:
        CheckpointError: A folder is no model, or of another family than the original.
    """
    records: dict[str, RunRecord] = {}
    kinds: dict[str, str] = {}
    problems: list[str] = []
    for name, source in models.items():
        try:
            family, task = kind_of(source)
            kinds[name] = f"{family} model for {task}"
            records[name] = (None if isinstance(source, Adapter) else read_record(source)) or RunRecord()
        except CheckpointError as error:
            problems += error.problems
    problems += [
        f"{name} {place_of(models[name])} is {indefinite(kind)}, and the original {indefinite(kinds['original'])}; "
        "all models of an audit must be of one family and task. Give the model that was made from this original."
        for name, kind in kinds.items()
        if kind != kinds.get("original", kind)
    ]
    if problems:
        raise CheckpointError(problems)
    return records


def lineages_of(models: Mapping[str, Source], key: str | Path | None, *, removed: bool) -> dict[str, Lineage]:
    """What each model has forgotten; any model's keys serve all of them.

    Raises:
        CheckpointError: Keys are missing, and the user does not say that the pairs are.
    """
    recorded = {name: lineage_of(source, key) for name, source in models.items()}
    keys = {name: one for lineage in recorded.values() for name, one in lineage.keys.items()}
    lineages = {name: lineage.with_keys(keys) for name, lineage in recorded.items()}
    refuse_without_keys({f"{name} {place_of(models[name])}": one for name, one in lineages.items()}, removed=removed)
    return lineages


def cost_of(records: Mapping[str, RunRecord]) -> dict[str, float | None]:
    """What unlearning cost, and how long retraining took; a model that only was trained has not been unlearned."""
    unlearned = records["unlearned"]
    is_unlearned = unlearned.command == "unlearn"
    return {
        **(unlearned.spent if is_unlearned else {}),
        "search_wall_s": unlearned.search.wall_s if is_unlearned and unlearned.search else None,
        "retrained_wall_s": records.get("retrained", RunRecord()).spent.get("wall_s"),
    }


def seconds_of(records: Mapping[str, RunRecord]) -> dict[str, float]:
    """Wall seconds of each model's making beside the original, where they are known."""
    wall_s = {name: record.spent.get("wall_s") for name, record in records.items() if name != "original"}
    wall_s["unlearned"] = cost_of(records).get("wall_s")
    return {name: seconds for name, seconds in wall_s.items() if seconds is not None}


def digests_of(models: Mapping[str, Source]) -> dict[str, str]:
    """What tells each judged model from all others: of a folder its files but ``multidelete.json``."""
    digests = {}
    for name, source in models.items():
        if isinstance(source, Adapter):
            digests[name] = f"sha256 of the weights {weights_digest(source)}"
        elif Path(source).exists():
            of = "file" if Path(source).is_file() else "files"
            digests[name] = f"sha256 of the {of} {digest_model(Path(source))}"
        else:
            digests[name] = f"{source} on the Hugging Face hub"
    return digests


def kind_of(source: Source) -> tuple[str, Task]:
    """Family and task of a model."""
    if isinstance(source, Adapter):
        return source.family, source.task
    recognised = recognise(source)
    return recognised.family, recognised.task


def name_of(source: Source) -> str:
    """A folder's or file's own name, a hub id, or that there is no folder."""
    if isinstance(source, Adapter):
        return place_of(source)
    return Path(source).resolve().name if Path(source).exists() else str(source)


def place_of(source: Source) -> str:
    return "in memory" if isinstance(source, Adapter) else str(source)
