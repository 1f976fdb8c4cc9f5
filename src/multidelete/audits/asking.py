"""What every model of an audit is asked: one pass over the same pairs. Answers are kept where the user says so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from multidelete.artifacts.folders import make_folder
from multidelete.artifacts.manifest import digest_folder, read_manifest, versions
from multidelete.artifacts.picture_cache import kept_digests
from multidelete.audits import ModelSignals, Signals, cached, collect
from multidelete.audits.gallery import MEMBERS, score_galleries
from multidelete.audits.inputs import drawn_sets
from multidelete.core.errors import CheckpointError
from multidelete.core.progress import Bar, progress_bar
from multidelete.core.runtime import device_for
from multidelete.data.images import Shapes
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.shadows import data_digest, shadow_members, shadow_pool
from multidelete.models import Adapter, load_adapter
from multidelete.models.initial import fitted
from multidelete.models.preflight import preflight

Source = str | Path | Adapter


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The same questions to every model.

    Attributes:
        data: The pairs by split; ``train`` only tells the classes.
        unit: What was deleted; galleries are drawn in it.
        seed: Of the galleries.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        cache: Folder that keeps the answers of model folders, or None.
        shapes: Width and height of each picture by source.
    """

    data: PairData
    unit: str
    seed: int
    device: str
    allow_pickle: bool
    cache: Path | None
    shapes: Shapes = field(default_factory=dict)

    def ask(self, name: str, source: Source) -> ModelSignals:
        """One pass of one model over all pairs; it leaves memory afterwards."""
        adapter = source if isinstance(source, Adapter) else load_adapter(source, allow_pickle=self.allow_pickle)
        came_from = adapter.device
        given = fitted(adapter, self.data)
        splits = {split: pairs for split, pairs in given.splits.items() if split != "train"}
        preflight(adapter, splits, self.shapes, name=name if isinstance(source, Adapter) else f"{name} {source}")
        where = device_for(self.device)
        adapter.to(where)
        is_kept = self.cache is not None and not isinstance(source, Adapter) and Path(source).is_dir()
        model = [digest_folder(Path(cast(str, source))), where, versions()] if is_kept else []
        found, before = {}, 0
        with progress_bar(f"asking {name}", sum(map(len, splits.values()))) as bar:
            for split, pairs in splits.items():

                def collected(pairs: PairDataset = pairs, before: int = before) -> Signals:
                    return collect(adapter, pairs, progress=_counting_on(bar, before))

                if is_kept and self.cache:
                    with kept_digests(self.cache):
                        key = repr([*model, data_digest(given, split)])
                    found[split] = cached(self.cache, key, collected)
                else:
                    found[split] = collected()
                before += len(pairs)
                bar.to(before)
        if adapter.task == "retrieval" and found["forget"].embeddings is None:
            sets = drawn_sets(found, splits, self.unit, self.seed, members=MEMBERS)
            with progress_bar(f"searching {name}", MEMBERS**2 * len(sets)) as bar:
                gallery = score_galleries(adapter, sets, progress=bar.to)
            found = {split: replace(signals, gallery=gallery) for split, signals in found.items()}
        if adapter is source:
            adapter.to(came_from)
        return ModelSignals(**found, logit_scale=adapter.logit_scale)


def members_of(shadows: Sequence[str | Path], data: PairData) -> list[frozenset[str]]:
    """Ids of the pairs that each shadow model was trained on, as its folder tells.

    Raises:
        CheckpointError: A folder is no shadow model, or one of other pairs.
    """
    found, problems = [], []
    for folder in shadows:
        told = read_manifest(Path(folder)) or {}
        drawn, trained = told.get("shadow"), told.get("data")
        index = drawn.get("index") if isinstance(drawn, dict) else None
        if not isinstance(index, int):
            problems.append(
                f"{folder} does not say which pairs it was trained on: its multidelete.json names no shadow. "
                "Give folders that 'multidelete references' made."
            )
            continue
        members = shadow_members(data, index)
        chosen = PairDataset([pair for pair in shadow_pool(data) if pair.id in members], f"shadow {index}")
        if not isinstance(trained, dict) or trained.get("content") not in (
            chosen.content_by(data.classes),
            chosen.content,
        ):
            problems.append(
                f"{folder} was trained on other pairs than shadow {index} of {data.name} is. Give the data that "
                "'multidelete references' was given, with the same held-out pairs."
            )
        found.append(members)
    if problems:
        raise CheckpointError(problems)
    return found


def refuse_seen(models: Mapping[str, Source], manifests: Mapping[str, Mapping[str, object]], data: PairData) -> None:
    """Refuse retrained models that are known to have been trained on what is to be forgotten.

    Args:
        models: By name.
        manifests: What each model's folder says of itself.
        data: All pairs, the forget pairs among them.

    Raises:
        CheckpointError: One line for each.
    """
    problems = []
    known = (data.train.digest_by(data.classes), data.train.digest)
    for name, told in manifests.items():
        if not name.startswith("retrained"):
            continue
        trained, method = told.get("data"), told.get("method")
        made_by = method.get("name") if isinstance(method, dict) else None
        why = None
        if told.get("command") == "train" and isinstance(trained, dict) and trained.get("digest") in known:
            why = "was trained on all of these pairs, those of the request too"
        elif made_by not in (None, "retrain"):
            why = f"was made by {made_by} from a model that had seen the pairs of the request"
        if why:
            problems.append(
                f"{name} {_place(models[name])} {why}, as its multidelete.json tells. Give a model that was trained "
                "without them ('multidelete unlearn --method retrain' makes one), or leave it out."
            )
    if problems:
        raise CheckpointError(problems)


def _place(source: Source) -> str:
    return "in memory" if isinstance(source, Adapter) else str(source)


def make_cache(cache: Path, out: Path, models: Sequence[Source]) -> None:
    """Make the folder of answers; refused inside a model, or inside the report, which appears whole or not at all.

    Raises:
        CheckpointError: It lies there, or nothing can be written to it.
    """
    inputs = [Path(source) for source in models if not isinstance(source, Adapter) and Path(source).is_dir()]
    problems = [
        f"cache {cache} lies inside {folder}, which is not to be changed. Give another folder."
        for folder in dict.fromkeys([*inputs, out])
        if cache.resolve().is_relative_to(folder.resolve())
    ]
    if problems:
        raise CheckpointError(problems)
    if inputs:  # models in memory leave no answers
        make_folder(cache)


def _counting_on(bar: Bar, before: int) -> Callable[[int, int], None]:
    """Shows the progress of one part on a bar that counts all of them."""
    return lambda done, _: bar.to(before + done)
