"""What the commands read before they run: pairs, requests, methods, loop settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from multidelete.artifacts.record import Holdout, RunRecord
from multidelete.artifacts.search_cost import SearchCost
from multidelete.cli import show
from multidelete.cli.flags import Call, as_mapping
from multidelete.cli.options import (
    DataOptions,
    DeletionOptions,
    ForgetOptions,
    KeyOptions,
    MethodOptions,
    TokenizerOptions,
)
from multidelete.core.config import resolve
from multidelete.core.errors import ConfigError, DataError, SettingProblem
from multidelete.core.json_files import Json
from multidelete.core.paths import user_path
from multidelete.core.settings import LoopSettings, LoraSettings
from multidelete.core.units import Unit

if TYPE_CHECKING:
    from multidelete.data.index.build import IndexOptions
    from multidelete.data.pairs import PairData
    from multidelete.data.request import Request
    from multidelete.deletion.arguments import DeletionArguments
    from multidelete.methods import Method

_READ_BYTES = 4 * 2**30  # pictures are compared with those of the training where reading takes seconds


def read_pairs(options: DataOptions) -> "PairData":
    """The pairs that the data flags name."""
    from multidelete.data.readers import load_data

    return load_data(
        options.data,
        columns=as_mapping("columns", options.columns),
        splits=as_mapping("splits", options.splits),
        image_root=None if options.image_root is None else user_path(options.image_root),
        classes=options.classes,
    )


def index_options(options: DataOptions) -> "IndexOptions":
    """How the data flags say that rows of shards are read."""
    from multidelete.data.index.build import IndexOptions

    return IndexOptions(
        columns=as_mapping("columns", options.columns),
        splits=as_mapping("splits", options.splits),
        image_root=None if options.image_root is None else user_path(options.image_root),
    )


def read_telling(options: DataOptions) -> "PairData":
    """The pairs that the data flags name, with what is odd about them told."""
    pairs = read_pairs(options)
    for note in pairs.notes:
        show.say(f"note: {note}")
    return pairs


def read_for(options: DataOptions, original: str, keys: KeyOptions) -> tuple["PairData", Holdout | None]:
    """The pairs as the original was trained on them, and what was held out, as its folder records it.

    Raises:
        DataError: Held-out pairs were drawn from the data, and it is not the same any more.
    """
    from multidelete.artifacts.deletions import data_digest
    from multidelete.artifacts.manifest import read_record
    from multidelete.data.pairs import INDEX_DIGEST
    from multidelete.models.lineage import known_lineage

    record = read_record(original) or RunRecord()
    holdout, trained = record.holdout, record.data
    pairs = set_aside(read_telling(options), holdout)
    if trained is None:
        return pairs, holdout
    lineage, left = known_lineage(original, pairs, keys.key, removed=keys.earlier_pairs_removed)
    recorded, ways = trained.digest, (pairs.classes, ())  # it may have been trained before numbers had names
    digests = [pairs.train.digest_by(way) for way in ways]
    if lineage:
        kept = trained.digest if trained.retained is None else trained.retained
        recorded = None if lineage.deletions[-1] in lineage.without_key else kept
        digests = [data_digest(lineage.newest_key, left.train, way) for way in ways] if recorded else []
    if recorded and recorded.startswith(INDEX_DIGEST) != pairs.train.is_indexed:
        # Of one an index was read and of the other not: their digests are of two sorts, and their numbers are compared.
        gone = record.request.pairs if lineage and record.request is not None and trained.retained else 0
        digests = [recorded] if trained.pairs == len(left.train) + gone else []
    if holdout and lineage and recorded not in digests:
        raise DataError(
            f"{original} records held-out pairs that were drawn from the data, and {pairs.name} is not that data any "
            "more: others would be drawn, which the model was trained on. Give the data as it was (what was deleted "
            "is left out of it), or data with splits val and test."
        )
    if recorded and recorded not in digests:
        show.say(
            f"note: {original} records other training pairs ({trained.pairs} of {trained.name}) than the "
            f"{len(pairs.train)} of {pairs.name}. Pairs that it was never trained on cannot be forgotten."
        )
    elif _has_other_pictures(pairs, trained.content):
        show.say(
            f"note: {original} was trained on other pictures than those that {pairs.name} has under the same names "
            "now. What it learned of the others can neither be forgotten nor judged with these."
        )
    return pairs, holdout


def _has_other_pictures(pairs: "PairData", content: str | None) -> bool:
    from multidelete.data.identity import file_bytes

    return (
        content is not None
        and not pairs.train.is_indexed
        and file_bytes(pairs.train) <= _READ_BYTES
        and content not in (pairs.train.content_by(pairs.classes), pairs.train.content)
    )


def set_aside(pairs: "PairData", holdout: Holdout | None) -> "PairData":
    """The pairs with held-out ones set aside, where a fraction and seed are recorded."""
    from multidelete.data.split import with_holdout

    if holdout is None:
        return pairs
    parted = with_holdout(pairs, fraction=holdout.fraction, seed=holdout.seed)
    for note in parted.notes[len(pairs.notes) :]:
        show.say(f"note: {note}")
    return parted


def read_forget(pairs: "PairData", options: ForgetOptions) -> "Request":
    """The deletion request."""
    from multidelete.data.request import resolve_request

    named: dict[Unit, tuple[str, ...]] = {
        "subject": options.forget_subject, "image": options.forget_image, "node": options.forget_node,
    }  # fmt: skip
    # What is named by one sort of flag alone is deleted as such a whole.
    sole = [unit for unit, names in named.items() if names]
    inferred = sole[0] if len(sole) == 1 and options.forget is None else None
    return resolve_request(
        pairs,
        subjects=options.forget_subject,
        images=options.forget_image,
        nodes=options.forget_node,
        file=None if options.forget is None else user_path(options.forget),
        unit=options.unit or inferred,
    )


def chosen_method(call: Call) -> "Method":
    """The method with its hyperparameters: of the file's [method] table, overridden by ``--set``."""
    from multidelete.core.foreign import own_code
    from multidelete.methods import get_method

    options = resolve(MethodOptions, None, {name: call.flags[name] for name in ("method", "set")})
    table = call.content.get("method")
    named = table.get("name") if isinstance(table, dict) else table
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"{call.path}: method is {named!r}; it must be a name, or a table with a name.")
    kind = get_method(options.method if call.flags["method"] or named is None else named)
    file = call.file if isinstance(table, dict) else None
    with _spelt("--set"), own_code(kind):
        method = resolve(kind, file, as_mapping("set", options.set), table="method", also=("name",))
    is_fresh = TokenizerOptions in call.kinds and call.of(TokenizerOptions).fresh_tokenizer
    return _fresh_tokenizer(method) if is_fresh else method


def given_keys(call: Call) -> KeyOptions:
    """The key file, with a ``~`` at its beginning as the home folder, and what was said of earlier pairs."""
    keys = call.of(KeyOptions)
    return keys if keys.key is None else replace(keys, key=str(user_path(keys.key)))


def deletion_arguments(call: Call, run: DeletionOptions) -> tuple["DeletionArguments", Holdout | None]:
    """What describes the deletion, and what was held out of its data."""
    from multidelete.deletion.arguments import DeletionArguments

    method, loop, lora, keys = chosen_method(call), given_loop(call), given_lora(run.lora), given_keys(call)
    pairs, holdout = read_for(call.of(DataOptions), run.original, keys)
    request = read_forget(pairs, call.of(ForgetOptions))
    arguments = DeletionArguments(
        original=run.original, data=pairs, forget=request, method=method, settings=loop, trainable=run.trainable,
        lora=lora, seed=run.seed, allow_pickle=run.allow_pickle, **asdict(keys),
    )  # fmt: skip
    return arguments, holdout


def _fresh_tokenizer(method: "Method") -> "Method":
    """The method with a tokenizer trained anew.

    Raises:
        ConfigError: It is not the one that trains from the start.
    """
    from multidelete.methods import Retrain

    if not isinstance(method, Retrain):
        raise ConfigError(
            f"--fresh-tokenizer is for --method retrain, and the method is {method.name}: its weights belong to the "
            "original's tokenizer. Leave it out, or retrain."
        )
    return replace(method, fresh_tokenizer=True)


def given_search(call: Call) -> SearchCost | None:
    """What the file's [search] table says of how its settings were found; None for another method than was tuned."""
    table = call.content.get("method")
    named = table.get("name") if isinstance(table, dict) else table
    if "search" not in call.content or call.flags["method"] not in (None, named):
        return None
    return resolve(SearchCost, call.file, table="search")


def given_loop(call: Call) -> dict[str, Json]:
    """Loop settings that were given; the rest is the method's own."""
    from multidelete.core.runtime import check_device

    loop = call.of(LoopSettings)
    check_device(loop.device)
    return {name: getattr(loop, name) for name in call.names(LoopSettings)}


def given_lora(entries: Sequence[str]) -> LoraSettings | None:
    """What ``--lora`` says; None where it is not given."""
    with _spelt("--lora"):
        return resolve(LoraSettings, None, as_mapping("lora", entries)) if entries else None


@contextmanager
def _spelt(option: str) -> Iterator[None]:
    """Problems with settings that are given as NAME=VALUE of an option say so."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(
            [
                told.called(f"{option} {told.setting}") if isinstance(told, SettingProblem) else told
                for told in error.problems
            ]
        ) from error


def check_all(pairs: "PairData", model: str | None = None) -> None:
    """Read every image of every split, and try the pairs with a model where one is named.

    Raises:
        DataError: Images cannot be read, or do not fit the model; or some pairs do not.
        CheckpointError: The folder is no model, or no pairs fit it.
    """
    from multidelete.data.images import check_pictures

    if model is None:
        check_pictures(pairs.splits)
        show.say("all images can be read")
        return
    from multidelete.models import load_adapter
    from multidelete.models.initial import fitted
    from multidelete.models.preflight import preflight

    adapter = load_adapter(model)
    preflight(
        adapter,
        fitted(adapter, pairs).splits,
        check_pictures(pairs.splits, lambda _, picture: adapter.check_picture(picture)),
        name=model,
    )
    show.say(f"all images can be read, and {model} takes them")


def write_people(spec: str, folder: Path) -> None:
    """Write the generated people that ``spec`` names, which has been read without complaint.

    Raises:
        UserError: The data is not generated, or the folder cannot be written.
    """
    from multidelete.artifacts.folders import whole_or_nothing
    from multidelete.data.generated.personas import write_personas

    name, _, settings = spec.partition(":")
    if name != "personas":
        raise ConfigError(f"--write writes generated people, and the data is {spec!r}. Give personas, or leave it out.")
    numbers = {key.strip(): int(value) for key, _, value in (s.partition("=") for s in settings.split(",") if s)}
    with whole_or_nothing(folder) as unfinished:
        write_personas(unfinished, **numbers)
    show.say(f"written to {folder}")
