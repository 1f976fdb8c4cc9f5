"""Which flags name what a command reads and what it writes: nothing of the one may touch the other."""

from collections.abc import Callable, Mapping
from pathlib import Path

from multidelete.artifacts.overlap import paths_of_model, refuse_overlap
from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem
from multidelete.core.paths import lies_there, user_path


def _paths_of_data(spec: str) -> list[Path]:
    """Where pairs are read from: a path may follow the name of a reader."""
    _, colon, rest = spec.partition(":")
    return [Path(spec), *([Path(rest)] if colon and rest else [])]


def _plain(name: str) -> list[Path]:
    return [Path(name)]


MODELS = (
    *("original", "start", "unlearned", "retrained", "retrained_again", "unlearned_again"),
    *("shadows", "adapter", "model", "source"),
)
READS: Mapping[str, Callable[[str], list[Path]]] = {
    "architecture": _plain,
    "config": _plain,
    "data": _paths_of_data,
    "experiment": _plain,
    "forget": _plain,
    "forget_image": _plain,
    "also": _plain,
    "image_root": _plain,
    "key": _plain,
    "plan": _plain,
    "sign_key": _plain,
    "tokenizer": _plain,
    **dict.fromkeys(MODELS, paths_of_model),
}
"""Fields of all commands that name files and folders to read, and how."""

WRITES = ("out", "write", "rewrite", "index_folder", "stale_ids")
"""Fields that name what is written and may replace what is there."""

ADDS_TO = ("cache", "metric", "store", "lineage")
"""Fields that name folders which are read, and to which files are added; stores and lineages hold models that are
read."""


def refuse_touching(values: Mapping[str, object]) -> None:
    """Refuse outputs that are, hold or lie inside anything that is read.

    Args:
        values: All that a command was given, by field, from flags and settings file.

    Raises:
        CheckpointError: One line for each pair of paths.
        ConfigError: A name is empty, which would be the working folder.
    """
    _refuse_empty(values)
    read = {name: [p for text in _texts(values.get(name)) for p in _ways(READS[name], text)] for name in READS}
    others = [path for name, paths in read.items() if name not in MODELS for path in paths]
    models = [path for name in MODELS for path in read[name]]
    problems: list[str] = []

    def check(output: Path, inputs: list[Path], *, may_hold: bool = False) -> None:
        try:
            refuse_overlap(output, inputs, may_hold=may_hold)
        except CheckpointError as error:
            problems.extend(problem for problem in error.problems if problem not in problems)

    kept = [Path(text) for name in ADDS_TO for text in _texts(values.get(name))]
    outputs = [output for name in WRITES for text in _texts(values.get(name)) for output in _outputs(Path(text))]
    told = [path for text in _texts(values.get("lineage")) if outputs for path in _told_by(user_path(text))]
    for output in outputs:
        check(output, [*others, *models, *told, *([] if "experiment" in values else kept)])
    for name in ADDS_TO:
        for text in _texts(values.get(name)):
            check(Path(text), others)
            check(Path(text), models, may_hold=name in ("store", "lineage"))
            check(Path(text, "added"), [])
    for text in _texts(values.get("key")):  # which the new key is added to
        check(Path(text), [path for name, paths in read.items() if name != "key" for path in paths])
    if problems:
        raise CheckpointError(problems)


def _refuse_empty(values: Mapping[str, object]) -> None:
    empty = [name for name in dict.fromkeys((*READS, *WRITES, *ADDS_TO)) if "" in _texts(values.get(name))]
    if empty:
        rule = "is empty; it must be a path, or what else its help names. Give one."
        raise ConfigError([SettingProblem(name, rule) for name in empty])


def _told_by(lineage: Path) -> list[Path]:
    """What the folder of a lineage says that its first model and its data are."""
    from multidelete.ledger.places import PLACES, places_of  # which other commands do not need

    if not lies_there(lineage / PLACES):
        return []
    places = places_of(lineage)
    named = [Path(one) for one in (places.image_root, places.sign_key) if one]
    return [*paths_of_model(places.model), *_paths_of_data(places.data), *named]


def _outputs(out: Path) -> list[Path]:
    """What is written: beside a settings file also the rows of its search."""
    return [out, out.with_suffix(".jsonl")] if out.suffix == ".toml" else [out]


def _ways(paths: Callable[[str], list[Path]], text: str) -> list[Path]:
    """The paths that a text may mean: as it is written, and with a ``~`` at its beginning as the home folder."""
    home = str(Path(text).expanduser()) if text.startswith("~/") or text == "~" else text
    return [path for one in dict.fromkeys((text, home)) for path in paths(one)]


def _texts(value: object) -> list[str]:
    if isinstance(value, str | Path):
        return [str(value)]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []
