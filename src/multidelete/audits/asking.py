"""What every model of an audit is asked: one pass over the same pairs. Answers are kept where the user says so."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from multidelete.artifacts.folders import make_folder
from multidelete.artifacts.manifest import digest_model, read_record, versions
from multidelete.artifacts.overlap import refuse_pictures
from multidelete.artifacts.picture_cache import kept_digests
from multidelete.artifacts.record import RunRecord
from multidelete.audits import ModelSignals, Signals, cached, collect
from multidelete.audits.compared import Source, place_of
from multidelete.audits.inputs import drawn_sets
from multidelete.audits.roles import Role
from multidelete.core.errors import CheckpointError
from multidelete.core.progress import Bar, progress_bar
from multidelete.core.runtime import device_for
from multidelete.core.streams import Stream, stream
from multidelete.core.units import Unit
from multidelete.core.words import counted
from multidelete.data.images import Shapes
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.request import Request, forget_retain
from multidelete.data.shadows import data_digest, shadow_members, shadow_pool
from multidelete.models import Adapter, load_adapter
from multidelete.models.features import FeatureStore, shared_features
from multidelete.models.gallery import MEMBERS, score_galleries
from multidelete.models.initial import fitted
from multidelete.models.preflight import preflight

INDEXED_LIMIT = 5_000  # pairs of each part that models are asked about where data is read by an index
RETAIN_LIMIT = 50_000  # retain pairs that every model is asked about; of more, a sample


@dataclass(frozen=True, kw_only=True)
class Asker:
    """The same questions to every model.

    Attributes:
        data: What the pairs are from: it tells the classes.
        splits: The pairs that are asked about, ``forget`` and ``retain`` among them.
        whole: Pairs that hold those to forget and to retain, asked about in their place: what is kept of them serves
            other requests too.
        unit: What was deleted; galleries are drawn in it.
        seed: Of the galleries.
        members: Of each modality in one gallery.
        together: Whether training and held-out pairs are searched in one gallery.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        cache: Folder that keeps the answers of models, or None.
        shapes: Width and height of each picture by source, to try the oddest pairs first; None tries none.
        features: What the image encoder of the model asked last gave of pictures, for a next one that has the same.
    """

    data: PairData
    splits: Mapping[str, PairDataset]
    whole: PairDataset | None = None
    unit: Unit
    seed: int
    members: int = MEMBERS
    together: bool = False
    device: str = "auto"
    allow_pickle: bool = False
    cache: Path | None = None
    shapes: Shapes | None = None
    features: dict[str, FeatureStore] = field(default_factory=dict, repr=False, compare=False)

    def ask(self, name: str, source: Source, *, key: str | None = None) -> ModelSignals:
        """One pass of one model over all pairs; it leaves memory afterwards.

        Args:
            name: What it is called while it is asked.
            source: The model.
            key: What the answers of a model in memory are kept under; without one they are not. Those of a folder are
                kept under its content.
        """
        adapter = source if isinstance(source, Adapter) else load_adapter(source, allow_pickle=self.allow_pickle)
        came_from = adapter.device
        data = self._fitted(adapter)
        asked = {s: pairs for s, pairs in data.splits.items() if self.whole is None or s not in ("forget", "retain")}
        if self.shapes is not None:
            preflight(adapter, asked, self.shapes, name=name if isinstance(source, Adapter) else f"{name} {source}")
        adapter.to(device_for(self.device))
        if self.cache is not None and not isinstance(source, Adapter) and Path(source).exists():
            key = digest_model(Path(source))
        answers, done = {}, 0
        bar_of_all = progress_bar(f"asking {name}", sum(map(len, asked.values())))
        with shared_features(adapter, self.features), bar_of_all as bar:
            for split, pairs in asked.items():
                answers[split] = self._answers(adapter, data, split, key, _counting_on(bar, done))
                done += len(pairs)
                bar.to(done)
        if self.whole is not None:
            training = answers.pop("whole")
            is_forgotten = np.isin(training.ids, self.splits["forget"].ids)
            answers |= {"forget": training.select(is_forgotten), "retain": training.select(~is_forgotten)}
        if adapter.task == "retrieval" and answers["forget"].embeddings is None:
            sets = drawn_sets(answers, data.splits, self.unit, self.seed, members=self.members, together=self.together)
            with progress_bar(f"searching {name}", self.members**2 * len(sets)) as bar:
                gallery = score_galleries(adapter, sets, progress=bar.to)
            answers = {split: replace(signals, gallery=gallery) for split, signals in answers.items()}
        if adapter is source:
            adapter.to(came_from)
        return ModelSignals(**answers, logit_scale=adapter.logit_scale)

    def copy(self, source: Source) -> tuple[Adapter, Mapping[str, PairDataset]]:
        """A copy of a model on the device, which may be changed, and the pairs with labels as it knows them."""
        if isinstance(source, Adapter):
            own = copy.deepcopy(source)
        else:
            own = load_adapter(source, allow_pickle=self.allow_pickle)
        return own.to(device_for(self.device)), self._fitted(own).splits

    def _fitted(self, adapter: Adapter) -> PairData:
        whole = {} if self.whole is None else {"whole": self.whole}
        return fitted(adapter, self.data, {**whole, **self.splits})

    def _answers(
        self, adapter: Adapter, data: PairData, split: str, key: str | None, progress: Callable[[int, int], None]
    ) -> Signals:
        def collected() -> Signals:
            return collect(adapter, data.splits[split], progress=progress)

        if self.cache is None or key is None:
            return collected()
        with kept_digests(self.cache):
            full_key = repr([key, device_for(self.device), versions(), data_digest(data, split)])
        return cached(self.cache, full_key, collected)


def splits_to_ask(data: PairData, request: Request, seed: int) -> dict[str, PairDataset]:
    """The pairs of the request, the retain pairs or a sample of them, and held-out pairs where there are any."""
    forget, retain = forget_retain(data.train, request)
    if retain.is_indexed:
        kept = {"retain": retain, **{name: data.splits[name] for name in ("test", "val") if data.splits.get(name)}}
        rng = stream(seed, Stream.AUDITED_RETAIN)
        return {"forget": forget, **{name: _drawn(pairs, name, rng) for name, pairs in kept.items()}}
    if len(retain) > RETAIN_LIMIT:
        drawn = np.sort(stream(seed, Stream.AUDITED_RETAIN).permutation(len(retain))[:RETAIN_LIMIT])
        retain = PairDataset(retain[drawn.tolist()], f"{RETAIN_LIMIT:,} retain pairs")
    held_out = {name: data.splits[name] for name in ("test", "val") if data.splits.get(name)}
    return {"forget": forget, "retain": retain, **held_out}


def _drawn(pairs: PairDataset, name: str, rng: np.random.Generator) -> PairDataset:
    """A sample of indexed pairs, in their order."""
    drawn = np.sort(rng.choice(len(pairs), min(len(pairs), INDEXED_LIMIT), replace=False))
    return PairDataset(pairs[drawn.tolist()], f"{counted(len(drawn), f'{name} pairs')}")


def members_of(shadows: Sequence[str | Path], data: PairData) -> list[frozenset[str]]:
    """Ids of the pairs that each shadow model was trained on, as its folder tells.

    Raises:
        CheckpointError: A folder is no shadow model, or one of other pairs.
    """
    ids_of, problems = [], []
    for folder in shadows:
        record = read_record(folder) or RunRecord()
        if record.shadow is None:
            problems.append(
                f"{folder} does not say which pairs it was trained on: its multidelete.json names no shadow. "
                "Give folders that 'multidelete references' made."
            )
            continue
        index = record.shadow.index
        members = shadow_members(data, index)
        chosen = PairDataset([pair for pair in shadow_pool(data) if pair.id in members], f"shadow {index}")
        if record.data is None or record.data.content not in (chosen.content_by(data.classes), chosen.content):
            problems.append(
                f"{folder} was trained on other pairs than shadow {index} of {data.name} is. Give the data that "
                "'multidelete references' was given, with the same held-out pairs."
            )
        ids_of.append(members)
    if problems:
        raise CheckpointError(problems)
    return ids_of


def refuse_seen(models: Mapping[str, Source], records: Mapping[str, RunRecord], data: PairData) -> None:
    """Refuse retrained models that are known to have been trained on what is to be forgotten.

    Raises:
        CheckpointError: One line for each.
    """
    problems = []
    known = (data.train.digest_by(data.classes), data.train.digest)
    for name, record in records.items():
        if Role.of(name) not in (Role.RETRAINED, Role.RETRAINED_AGAIN):
            continue
        digest, made_by = record.data and record.data.digest, record.method and record.method.name
        why = None
        if record.command == "train" and digest in known:
            why = "was trained on all of these pairs, those of the request too"
        elif made_by not in (None, "retrain"):
            why = f"was made by {made_by} from a model that had seen the pairs of the request"
        if why:
            problems.append(
                f"{name} {place_of(models[name])} {why}, as its multidelete.json tells. Give a model that was trained "
                "without them ('multidelete unlearn --method retrain' makes one), or leave it out."
            )
    if problems:
        raise CheckpointError(problems)


def make_cache(cache: Path, out: Path, models: Sequence[Source], data: PairData) -> None:
    """Make the folder of answers; refused inside a model, or inside the report, which appears whole or not at all.

    Raises:
        CheckpointError: It lies there, or nothing can be written to it.
    """
    inputs = [Path(source) for source in models if not isinstance(source, Adapter) and Path(source).exists()]
    problems = [
        f"cache {cache} lies inside {folder}, which is not to be changed. Give another folder."
        for folder in dict.fromkeys([*inputs, out])
        if cache.resolve().is_relative_to(folder.resolve())
    ]
    if problems:
        raise CheckpointError(problems)
    refuse_pictures(cache, data)
    if inputs:  # models in memory leave no answers
        make_folder(cache)


def _counting_on(bar: Bar, before: int) -> Callable[[int, int], None]:
    """Shows the progress of one part on a bar that counts all of them."""
    return lambda done, _: bar.to(before + done)
