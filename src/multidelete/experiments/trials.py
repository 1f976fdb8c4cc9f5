"""What a search for settings keeps of its trials: a row each while it runs, and the settings file at its end."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from multidelete.artifacts.folders import partial_folder, refuse_existing
from multidelete.artifacts.room import told_where_full, write_whole
from multidelete.artifacts.sealed import sealed_digest
from multidelete.artifacts.search_cost import SearchCost
from multidelete.core.config import as_toml
from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem
from multidelete.core.json_files import JsonObject
from multidelete.core.records import read_object
from multidelete.core.settings import LoopSettings, LoraSettings
from multidelete.core.words import counted
from multidelete.methods import METHODS, Method

_FOUND_BY = "# Found by multidelete tune"  # how a settings file begins
NO_WAY_OF_ITS_OWN = (
    "a run with these settings has a fixed rate and budget. One without them finds its own, which the search did not "
    "try."
)
"""Of settings of a method whose runs otherwise find their way."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting that was tried.

    Attributes:
        number: From 0; 0 has the settings that the search began with.
        drawn: Values of what is searched, by name.
        objective: Lower is better (`audits.objective`); None where the trial failed.
        terms: What the objective is made of, by name.
        failed: Why there is no objective.
        wall_s: Seconds, judging included.
        pairs_forward: Pairs forwarded without gradients, judging included; unknown (0) where the trial failed.
        pairs_backward: Pairs forwarded and backpropagated; unknown (0) where the trial failed.
    """

    number: int
    drawn: Mapping[str, float]
    objective: float | None = None
    terms: Mapping[str, float] | None = None
    failed: str | None = None
    wall_s: float = 0.0
    pairs_forward: int = 0
    pairs_backward: int = 0


_AFRESH = "Give --overwrite to start afresh."


def _lines(path: Path) -> list[JsonObject]:
    """The objects of a file of trials, at least one.

    Raises:
        CheckpointError: The file cannot be read, or is not what `TrialFile` writes.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no readable file of trials: {error}. {_AFRESH}") from error
    if not rows or not all(isinstance(one, dict) for one in rows):
        raise CheckpointError(f"{path} is no file of trials. {_AFRESH}")
    return rows


def _trial(row: JsonObject, path: Path) -> Trial:
    return read_object(Trial, {name: value for name, value in row.items() if value is not None}, str(path), _AFRESH)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest objective, the first one of equals; None where all failed."""
    judged = [trial for trial in trials if trial.objective is not None]
    return min(judged, key=lambda trial: (trial.objective, trial.number), default=None)


def search_cost(
    trials: Sequence[Trial], *, asked_s: float, asked_pairs: int, request_pairs: int, seed: int
) -> SearchCost:
    """What asking the original and all trials took together; at least one trial did not fail."""
    best = best_of(trials)
    if best is None or best.objective is None:
        raise ValueError("all trials failed")
    return SearchCost(
        trials=len(trials),
        failed=sum(trial.objective is None for trial in trials),
        wall_s=round(asked_s + sum(trial.wall_s for trial in trials), 3),
        pairs_forward=asked_pairs + sum(trial.pairs_forward for trial in trials),
        pairs_backward=sum(trial.pairs_backward for trial in trials),
        default_objective=trials[0].objective,
        objective=best.objective,
        request_pairs=request_pairs,
        seed=seed,
    )


class TrialFile:
    """The rows of a search in JSON lines: ``.NAME.toml.partial`` while it runs, ``NAME.jsonl`` beside the result."""

    def __init__(self, out: Path, *, overwrite: bool, resume: bool) -> None:
        """Raises:
        ConfigError: ``out`` is not named like a settings file.
        CheckpointError: There is such a result, or an unfinished search that is neither resumed nor overwritten, or
            nothing can be written there.
        """
        if out.suffix != ".toml":
            raise ConfigError(
                SettingProblem("out", f"is {out}; it must be a settings file that ends in .toml, such as tuned.toml.")
            )
        self.out, self.rows_path, self.partial = out, out.with_suffix(".jsonl"), partial_folder(out)
        for path in (self.out, self.rows_path):
            if path.is_dir():
                raise CheckpointError(f"{path} is a folder. Give a settings file that can be written.")
            if not (resume and self.partial.is_file()):  # else it may be this search's own, killed at its very end
                refuse_existing(path, overwrite=overwrite, is_ours=_is_of_a_search)
        if self.partial.exists() and not (resume or overwrite):
            raise CheckpointError(
                f"an earlier search for {out} did not end; its trials are in {self.partial}. "
                "Give --resume to go on with them, or --overwrite to start afresh."
            )
        parent = next(folder for folder in self.partial.parents if folder.exists())
        if not parent.is_dir():
            raise CheckpointError(f"{out} cannot be written: {parent} is a file. Give another place.")
        if not os.access(parent, os.W_OK):
            raise CheckpointError(f"{out} cannot be written: no permission for {parent}. Give another place.")
        self._resume, self._overwrite = resume, overwrite

    def read(self, identity: Sequence[object]) -> list[Trial]:
        """The trials of an earlier run that is resumed, for a search that ``identity`` tells from all others.

        Raises:
            ConfigError: They are of another search.
        """
        self._run = sealed_digest(json.dumps(list(identity), sort_keys=True))
        if not (self._resume and self.partial.exists()):
            return []
        head, *rows = _lines(self.partial)
        if head != {"search": self._run}:
            raise ConfigError(
                f"{self.partial} holds trials with another model, data, request or settings. "
                "Resume with the same ones, or give --overwrite to start afresh."
            )
        for path in (self.out, self.rows_path):
            if path.exists() and self._run not in _text_of(path):
                refuse_existing(path, overwrite=self._overwrite, is_ours=_is_of_a_search)
        return [_trial(row, self.partial) for row in rows]

    def write(self, trials: Sequence[Trial]) -> None:
        """Keep the trials so far; the file is whole at any moment."""
        write_whole(self.partial, json.dumps({"search": self._run}) + "\n" + _as_lines(trials))

    def end(self, settings: str) -> None:
        """Write the settings file, with the rows beside it; a kill in between leaves what can be resumed."""
        write_whole(self.out, f"{settings}\n# Search {self._run}\n")
        with told_where_full(self.out):
            os.replace(self.partial, self.rows_path)


def _is_of_a_search(path: Path) -> bool:
    """Whether a file is one that a search wrote."""
    return _text_of(path).startswith((_FOUND_BY, '{"search": "'))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _as_lines(trials: Sequence[Trial]) -> str:
    return "".join(json.dumps(asdict(trial), allow_nan=False) + "\n" for trial in trials)


def settings_file(
    method: Method,
    loop: LoopSettings,
    loop_names: Sequence[str],
    cost: SearchCost,
    *,
    trainable: str,
    lora: LoraSettings | None,
) -> str:
    """A file for ``multidelete unlearn --config``: the settings found, and what it took to find them.

    Args:
        method: With its hyperparameters.
        loop: The loop's settings.
        loop_names: Those of them to write.
        cost: Of the search; ``unlearn`` copies it to the result's ``multidelete.json``.
        trainable: As given to the search.
        lora: As given to the search.
    """
    before = "failed" if cost.default_objective is None else f"{cost.default_objective:.4f}"
    began = "the fixed budget that the search began with" if method.trains else "what the search began with"
    head = [
        f"{_FOUND_BY}: {counted(cost.trials, 'trials')}, {cost.failed} of them failed, {cost.wall_s:,.0f} s.",
        f"# Pairs backpropagated in all: {cost.pairs_backward:,}; forwarded, judging included: {cost.pairs_forward:,}.",
        f"# Objective (validation pairs and request): {before} with {began}, {cost.objective:.4f} with these.",
    ]
    if method.is_solvable:
        head.append(f"# {NO_WAY_OF_ITS_OWN[:1].upper()}{NO_WAY_OF_ITS_OWN[1:]}")
    top = as_toml(loop, only=loop_names)
    if trainable != "auto":
        top += f"trainable = {json.dumps(trainable)}\n"
    if lora is not None:
        top += f"lora = {json.dumps([f'{name}={value}' for name, value in asdict(lora).items()])}\n"
    own = as_toml(method, table="method").replace("[method]\n", f"[method]\nname = {json.dumps(_name(method))}\n", 1)
    return "\n".join(["\n".join(head) + "\n", top, own, as_toml(cost, table="search")])


def _name(method: Method) -> str:
    """How the command line finds the method."""
    kind = type(method)
    return method.name if METHODS.get(method.name) is kind else f"{kind.__module__}:{kind.__qualname__}"
