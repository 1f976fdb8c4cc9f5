"""What the groups of an experiment are made of: pairs, untrained models, requests."""

import runpy
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.manifest import digest_file
from multidelete.core.errors import ConfigError, DataError
from multidelete.core.settings import TrainSettings
from multidelete.core.words import counted
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.readers import READERS, load_data
from multidelete.data.request import Request, resolve_request
from multidelete.data.shadows import data_digest
from multidelete.data.split import draw_request, with_holdout
from multidelete.experiments.comparison.experiment import Group, Setting, StartScript, Subset
from multidelete.experiments.store import ModelStore
from multidelete.models import new_adapter
from multidelete.models.fresh import Size
from multidelete.models.initial import fitting
from multidelete.models.lineage import known_lineage


def load(setting: Setting, root: Path, *, key: str | Path | None = None, removed: bool = False) -> PairData:
    """The setting's pairs, without what its start has forgotten (see `known_lineage`); folders lie below ``root``.

    Raises:
        UserError: There is no such data, or it cannot be read.
    """
    name, colon, rest = setting.data.partition(":")
    reader, path = (f"{name}:", rest) if colon and name in READERS else ("", setting.data)
    spec = setting.data
    if "personas" not in (name, setting.data):
        if not (root / path).exists():
            raise DataError(
                f"settings.{setting.name}: there is no data {root / path}. Paths start from --data-root, or else from "
                "the folder that MULTIDELETE_DATA names, or else from the working folder."
            )
        spec = f"{reader}{root / path}"
    images = None if setting.image_root is None else root / setting.image_root
    data = load_data(spec, columns=setting.columns, splits=setting.splits, image_root=images, classes=setting.classes)
    if setting.holdout is not None:
        data = with_holdout(data, fraction=setting.holdout)
    if setting.model.start:
        data = known_lineage(setting.model.start, data, key, removed=removed)[1]
    return data if setting.subset is None else _part(data, setting.subset)


def _part(data: PairData, subset: Subset) -> PairData:
    """The training pairs of the first images, and the first pairs of each image in every split."""
    splits = {
        split: _first(pairs, subset.images if split == "train" else 0, subset.pairs_per_image)
        for split, pairs in data.splits.items()
    }
    note = f"{len(splits['train'])} of {counted(len(data.train), 'training pairs')}: a subset of the experiment"
    left_out = data.train.without(splits["train"].ids, "left out").pairs
    graph = None if data.graph is None else data.graph.without_edges_of(left_out, splits["train"])
    return replace(data, splits=splits, notes=(*data.notes, note), graph=graph)


def _first(pairs: PairDataset, images: int, pairs_per_image: int) -> PairDataset:
    times: Counter[str] = Counter()
    kept = []
    for pair in pairs:
        image = next(iter(pair.sources.values()))
        is_new = image not in times
        if (is_new and images and len(times) >= images) or (pairs_per_image and times[image] >= pairs_per_image):
            continue
        times[image] += 1
        kept.append(pair)
    return PairDataset(kept, pairs.name)


def model_of(setting: Setting, data: PairData, seed: int, store: ModelStore) -> TrainSettings:
    """What training begins with; a size of the setting's own, or a script's model, is made in the store first."""
    model = setting.model
    if setting.start is not None:
        start = setting.start
        key = [digest_file(start.script), start.function, dict(start.options), data_digest(data, "train"), seed]
        folder = store.keep("start", key, lambda out: _scripted(start, data, seed, out))
    elif setting.size is not None:
        size = setting.size
        key = [model.family, model.image_size, model.task, asdict(size), data_digest(data, "train"), seed]
        folder = store.keep("start", key, lambda out: _sized(model, size, data, seed, out))
    else:
        return model
    return replace(model, start=str(folder))


def _scripted(start: StartScript, data: PairData, seed: int, out: Path) -> None:
    try:
        function = runpy.run_path(str(start.script)).get(start.function)
    except SyntaxError as error:
        raise ConfigError(f"{start.script}, line {error.lineno}: {error.msg}. It must be a Python script.") from error
    if not callable(function):
        raise ConfigError(f'{start.script} has no function {start.function}. Name one with function = "...".')
    make = cast(Callable[..., None], function)
    with whole_or_nothing(out) as folder:
        make(folder, [str(pair.inputs["text"]) for pair in data.train], seed=seed, **start.options)


def _sized(model: TrainSettings, size: Size, data: PairData, seed: int, out: Path) -> None:
    """Random weights of this size, as ``multidelete train`` makes those of the named sizes."""
    with whole_or_nothing(out) as folder:
        new_adapter(model.family, fitting(model, data, size=size), seed=seed).save(folder)


def request_of(group: Group, data: PairData) -> Request:
    """The units that the group's draw deletes, with all of their pairs.

    Of nodes the request is by pair: the other node of a drawn node's pair was not drawn, and keeps its other pairs.
    """
    unit = group.setting.unit
    ids = draw_request(data.train, fraction=group.fraction, unit=unit, seed=group.draw)
    return resolve_request(data, ids=ids, unit="pair" if unit == "node" else unit)
