"""A folder of models that are trained once: originals, retrained and shadow models, unlearned ones.

A store holds models that know the deleted pairs, and whoever has all the data can confirm a request by the names of its
folders. Delete it with them, and give a model away under another name.
"""

import ast
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from inspect import getfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from multidelete.artifacts.folders import make_folder
from multidelete.artifacts.locks import clear, in_turn
from multidelete.artifacts.manifest import digest_model, digest_of, read_record
from multidelete.artifacts.picture_cache import kept_digests
from multidelete.artifacts.record import RunRecord
from multidelete.artifacts.room import told_where_full
from multidelete.core.errors import CheckpointError, UnsupportedError
from multidelete.core.json_files import JsonObject
from multidelete.core.runtime import start_processes, world_size
from multidelete.core.settings import LoopSettings, TrainSettings
from multidelete.curvature import metric, rows, solve
from multidelete.data.identity import with_true_sources
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.request import Request
from multidelete.data.shadows import data_digest, shadow_members, shadow_pool
from multidelete.methods import (
    Method,
    Retrain,
    auto,
    descent,
    get_method,
    guided,
    lora_start,
    searching,
    solved,
    standing,
    targets,
)
from multidelete.methods.defaults import loop_settings, recorded
from multidelete.models import load_adapter
from multidelete.models.initial import starting_point
from multidelete.models.lineage import known_lineage
from multidelete.models.tokens import tokenizer_of
from multidelete.unlearning import train, unlearn

GUIDING: tuple[ModuleType, ...] = (
    auto, descent, guided, lora_start, searching, solved, standing, targets, metric, rows, solve,
)  # fmt: skip
"""Where it stands how a run finds its way."""

_SHARED = {Method.__module__, "abc", "builtins", "typing"}
"""Modules of base classes that no method's code is written in."""


class Recipe(NamedTuple):
    """How an original was trained."""

    model: TrainSettings
    loop: LoopSettings
    seed: int


class ModelStore:
    """Models by content: asked for twice with the same data, recipe, seed and request, they are trained once.

    Each model is a folder ``KIND-KEY``, as `train` and `unlearn` write it. Its key is a digest of everything that
    decides its weights: the pairs with what their pictures hold, the graph, the recipe, the seed, the request, the
    original's files, the method with its settings, and the code of the files that it and the methods it inherits from
    are written in (not their comments); where a run finds its way, that of `GUIDING` too. Versions of libraries and
    other files of this package do not count. Processes wait for each other instead of training the same model twice,
    and a killed training goes on where it stopped.

    Args:
        root: The folder; made with the first model.
        names_only: Train nothing, and return the folders that the models have or would have.
        key: Key file of originals that have forgotten pairs; without it ``MODEL.key`` beside each. Their pairs are
            left out.
        earlier_pairs_removed: Say that the data holds none of them, where there is no key.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        names_only: bool = False,
        key: str | Path | None = None,
        earlier_pairs_removed: bool = False,
    ) -> None:
        self.root = Path(root)
        self.key, self.removed = key, earlier_pairs_removed
        self.names_only = names_only
        self.made: list[Path] = []
        """Models that this object has trained itself, in order."""
        self._recipes: dict[Path, Recipe] = {}
        self._digests: dict[tuple[int, tuple[str, ...]], tuple[PairData, str]] = {}

    def original(
        self, data: PairData, *, start: TrainSettings | None = None, settings: LoopSettings | None = None, seed: int = 0
    ) -> Path:
        """A model of all training pairs; see `train`."""
        from multidelete.methods import Training

        start, settings = start or TrainSettings(), settings or Training().loop_settings()
        folder = self.keep(
            "original",
            [self._digest(data, "train"), *self._begin(start), training_key(settings), seed],
            lambda out: train(
                data,
                out,
                start=start,
                settings=settings,
                seed=seed,
                resume=True,
                key=self.key,
                earlier_pairs_removed=self.removed,
            ),
        )
        self._recipes[folder] = Recipe(start, settings, seed)
        return folder

    def retrained(self, original: Path, data: PairData, request: Request, *, seed: int) -> Path:
        """A model of the retain pairs alone, with the original's start and recipe; the seed orders the pairs.

        Raises:
            UnsupportedError: The original's folder does not record its recipe.
        """
        model, loop, start_seed = self._recipes.get(original) or recipe_of(original)
        left = self._left(original, data)
        key = [self._digest(left, "train"), request.digest, *self._begin(model), training_key(loop), start_seed, seed]
        key += [] if left is data else self._content(original)  # whose tokenizer it has
        return self.keep(
            "retrained",
            key,
            lambda out: unlearn(
                original,
                data,
                request,
                method=Retrain(),
                settings=loop,
                out=out,
                seed=seed,
                resume=True,
                key=self.key,
                earlier_pairs_removed=self.removed,
            ),
        )

    def shadow(self, original: Path, data: PairData, *, index: int) -> Path:
        """A model trained with the original's start and recipe on `shadow_members`; the index is its seed too.

        The start is the original's: its tokenizer has read all training captions. A graph loses the edges that only
        training pairs state which the shadow does not train on; edges that held-out pairs would state are not added.

        Raises:
            UnsupportedError: The original's folder does not record its recipe.
        """
        model, loop, seed = self._recipes.get(original) or recipe_of(original)
        data = with_true_sources(data)  # as the whole has them, not the half that a shadow sees
        everything, data = data, self._left(original, data)
        members = shadow_members(data, index)
        chosen = PairDataset([pair for pair in shadow_pool(data) if pair.id in members], f"shadow {index}")
        drawn = replace(data, splits={"train": chosen})

        def make(out: Path) -> None:
            tokenizer = None if data is everything else tokenizer_of(load_adapter(original))
            start = starting_point(model, data, seed, tokenizer=tokenizer)
            start.remove(data.train.without(members, "nonmembers").pairs, chosen.pairs)
            notes: JsonObject = {"command": "shadow", "shadow": {"index": index, "pairs": len(chosen)}}
            train(
                drawn,
                out,
                start=start,
                settings=loop,
                seed=index,
                resume=True,
                notes=notes,
                key=self.key,
                earlier_pairs_removed=self.removed,
            )

        key = [self._digest(data, "train"), data_digest(drawn, "train"), *self._begin(model)]
        key += [training_key(loop), seed, index, *([] if data is everything else self._content(original))]
        return self.keep("shadow", key, make)

    def unlearned(
        self,
        original: Path,
        data: PairData,
        request: Request,
        *,
        method: Method | str,
        settings: LoopSettings | JsonObject | None = None,
        trainable: str = "auto",
        seed: int = 0,
    ) -> Path:
        """What a method makes of the original; see `unlearn`."""
        chosen = get_method(method)() if isinstance(method, str) else method
        recipe = self._recipes.get(original)  # known before the folder is there
        origin = RunRecord(command="train", loop=asdict(recipe.loop)) if recipe else read_record(original)
        loop = loop_settings(chosen, settings, origin, len(request.ids))
        key: list[object] = [self._digest(data, "train", "val"), self._content(original), request.digest]
        key += [chosen.name, asdict(chosen), code_digest(type(chosen)), asdict(loop), trainable, seed]
        key += [_digest_of_code(getfile(part) for part in GUIDING)] if loop.pace == "auto" else []
        return self.keep(
            chosen.name,
            key,
            lambda out: unlearn(
                original, data, request, method=chosen, settings=loop, trainable=trainable, out=out, seed=seed,
                resume=True, key=self.key, earlier_pairs_removed=self.removed,
            ),
        )  # fmt: skip

    def keep(self, kind: str, key: Sequence[object], make: Callable[[Path], object]) -> Path:
        """The folder of whatever ``make`` writes, by a key of what decides its content; made if it is not there."""
        folder = self.root / f"{kind}-{digest_of(key)[:16]}"
        turn = self.root / f".{folder.name}.turn"
        if self.names_only or folder.is_dir():
            clear(turn)
            return folder
        start_processes()
        if world_size() > 1:
            raise UnsupportedError(
                f"{world_size()} processes train together, and a model store is for one. Start without accelerate "
                "launch, or train with 'multidelete train' and 'multidelete unlearn'."
            )
        make_folder(self.root)
        with told_where_full(folder), in_turn(turn):
            if not folder.is_dir():  # another process may have made it meanwhile
                make(folder)
                self.made.append(folder)
        return folder

    def _left(self, original: Path, data: PairData) -> PairData:
        """The data without what the original has forgotten."""
        return known_lineage(original, data, self.key, removed=self.removed)[1] if original.exists() else data

    def _digest(self, data: PairData, *splits: str) -> str:
        """`data_digest`, computed once for each object."""
        known = self._digests.setdefault((id(data), splits), (data, ""))  # holding the data keeps its id its own
        if not known[1]:
            with kept_digests(self.root):
                known = self._digests[id(data), splits] = (data, data_digest(data, *splits))
        return known[1]

    def _begin(self, model: TrainSettings) -> list[object]:
        """What training begins with: of a folder its content, of a hub id its name."""
        start = model.start and (self._content(Path(model.start)) if self._is_here(model.start) else model.start)
        return [asdict(replace(model, start=None)), start]

    def _is_here(self, source: str) -> bool:
        return Path(source).exists() or Path(source).parent == self.root

    def _content(self, folder: Path) -> list[object]:
        """What tells a model from another: the name says it of those of this store, even before they are there."""
        if folder.parent.resolve() == self.root.resolve():
            return [folder.name]
        record = read_record(folder) or RunRecord()
        return [digest_model(folder), record.model, record.seed]  # the latter: what methods rewind to


def recipe_of(original: Path) -> Recipe:
    """What an original's folder says of its training.

    Raises:
        CheckpointError: There is no such folder.
        UnsupportedError: It does not tell.
    """
    if not original.exists():
        raise CheckpointError(f"{original} does not exist. Give the folder that 'multidelete train' wrote.")
    told = (read_record(original) or RunRecord()).recipe
    if told.model is None or told.loop is None or told.seed is None:
        raise UnsupportedError(
            f"{original} does not record how it was trained (it has no multidelete.json of 'multidelete train'), so no "
            "reference models of the same recipe can be made. Train it with 'multidelete train', or train references "
            "with your own script."
        )
    model, loop = recorded(TrainSettings, told.model, "model"), recorded(LoopSettings, told.loop, "loop")
    return Recipe(model, loop, told.seed)


def training_key(loop: LoopSettings) -> dict[str, object]:
    """What training reads of the loop's settings: which retain pairs to draw is for methods that forget."""
    return {name: value for name, value in asdict(loop).items() if not name.startswith("retain_")}


def code_digest(kind: type) -> str:
    """Of the files that a class and the methods it inherits from are written in; `Method` and the loop do not count.

    Comments, docstrings and layout do not count either.
    """
    return _digest_of_code(dict.fromkeys(getfile(base) for base in kind.__mro__ if base.__module__ not in _SHARED))


def _digest_of_code(files: Iterable[str]) -> str:
    sha = hashlib.sha256()
    for file in files:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            first = body[0] if isinstance(body, list) and body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                first.value = ast.Constant(None)
        sha.update(ast.unparse(tree).encode())
    return sha.hexdigest()
