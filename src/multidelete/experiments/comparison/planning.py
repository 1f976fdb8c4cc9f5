"""Which models each group consists of, by name, before any of them is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multidelete.audits import VERSION
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.core.errors import MultideleteError, UnsupportedError
from multidelete.data.pairs import PairData
from multidelete.data.request import Request
from multidelete.data.shadows import data_digest
from multidelete.experiments.comparison.experiment import Group, MethodRow
from multidelete.experiments.comparison.head import Audit
from multidelete.experiments.comparison.material import load, model_of, request_of
from multidelete.experiments.store import ModelStore


@dataclass(frozen=True)
class Planned:
    """A group with the folder of each of its models, there or not.

    Attributes:
        group: Which one.
        data: Its pairs.
        request: What it deletes.
        folders: By name: ``original``, ``retrained``, the retrained model of another seed, and the methods' rows.
        keys: What each model, the pairs and the audits are recognised by.
    """

    group: Group
    data: PairData
    request: Request
    folders: Mapping[str, Path]
    keys: Mapping[str, str]

    @property
    def base(self) -> list[str]:
        """Keys without which no row counts."""
        return [name for name in self.keys if name not in {row.name for row in self.group.setting.methods}]

    def missing(self, done: Audit | None) -> list[MethodRow] | None:
        """The rows that an audit lacks or has of other settings; None where all of it must be made."""
        recorded = {} if done is None else done[0].keys
        if any(recorded.get(name) != self.keys[name] for name in self.base):
            return None
        return [row for row in self.group.setting.methods if recorded.get(row.name) != self.keys[row.name]]


def plan(groups: Sequence[Group], store: ModelStore, data_root: Path) -> list[Planned]:
    """What each group consists of; data is read, and nothing is trained.

    Raises:
        UserError: Data, or a method's settings for it.
    """
    names = ModelStore(store.root, names_only=True, key=store.key, earlier_pairs_removed=store.removed)
    loaded: dict[str, PairData] = {}
    planned = []
    for group in groups:
        if group.setting.name not in loaded:
            loaded[group.setting.name] = load(group.setting, data_root, key=store.key, removed=store.removed)
        planned.append(_planned(group, loaded[group.setting.name], names))
    return planned


def _planned(group: Group, data: PairData, names: ModelStore) -> Planned:
    setting, request = group.setting, request_of(group, data)
    model = model_of(setting, data, group.seed, names)
    original = names.original(data, start=model, settings=setting.train, seed=group.seed)
    folders = {"original": original}
    for name, seed in (("retrained", group.seed), (RETRAINED_AGAIN, group.seed + 1)):
        folders[name] = names.retrained(original, data, request, seed=seed)
    for name, index in shadows_of(group).items():
        folders[name] = names.shadow(original, data, index=index)
    problems = []
    for row in setting.methods:
        try:
            folders[row.name] = unlearned(names, Planned(group, data, request, {}, {}), original, row)
        except MultideleteError as error:
            problems += [f"settings.{setting.name}, methods.{row.name}: {problem}" for problem in error.problems]
    if problems:
        raise UnsupportedError(problems)
    keys = {name: folder.name for name, folder in folders.items()}
    keys["pairs"] = data_digest(data, "train", "val", "test")[:16]
    probes = [name for name, asked_for in (("compress", group.compress), ("relearn", group.relearn)) if asked_for]
    keys["audit"] = ", ".join([f"version {VERSION}", *probes])
    return Planned(group, data, request, folders, keys)


def shadows_of(group: Group) -> dict[str, int]:
    """Name and index of each shadow model."""
    return {f"shadow {index}": index for index in range(group.shadows)}


def unlearned(store: ModelStore, planned: Planned, original: Path, row: MethodRow) -> Path:
    return store.unlearned(
        original, planned.data, planned.request, method=row.method, settings=row.loop, trainable=row.trainable,
        seed=planned.group.seed,
    )  # fmt: skip
