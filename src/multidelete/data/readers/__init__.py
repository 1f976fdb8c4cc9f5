"""Where pairs come from: the built-in people, folders and files, published layouts, the Hugging Face hub."""

import difflib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multidelete.core.arguments import Wanted, whole
from multidelete.core.errors import ConfigError, DataError
from multidelete.core.paths import lies_there, user_path
from multidelete.data.generated.personas import personas
from multidelete.data.hub import is_on_hub
from multidelete.data.pairs import PairData
from multidelete.data.readers.checked import check_options, checked
from multidelete.data.readers.folder import read_folder
from multidelete.data.readers.graph_tables import looks_like_graph_tables, read_graph_tables
from multidelete.data.readers.karpathy import looks_like_karpathy, read_karpathy
from multidelete.data.readers.nlvr2 import looks_like_nlvr2, read_nlvr2
from multidelete.data.readers.pgr import looks_like_pgr, read_pgr
from multidelete.data.readers.snli_ve import looks_like_snli_ve, read_snli_ve
from multidelete.data.readers.vqa import ANSWERS, looks_like_vqa, read_vqa

_PERSONA_SETTINGS = ("people", "unseen", "views", "size", "seed")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read; see `load_data`."""

    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    image_root: Path | None = None
    seed: int = 0

    def refuse(self, reader: str, *names: str) -> None:
        """Raise where options were given that ``reader`` has no use for."""
        unused = [name for name in names if getattr(self, name)]
        if unused:
            raise ConfigError(f"The {reader} reader has no use for {', '.join(unused)}; leave it out.")


def _personas(settings: str, options: ReadOptions) -> PairData:
    options.refuse("personas", "columns", "splits", "image_root")
    values = {"seed": options.seed}
    problems = []
    for setting in filter(None, settings.split(",")):
        name, _, value = setting.partition("=")
        if name.strip() not in _PERSONA_SETTINGS:
            problems.append(f"personas has no setting {name.strip()!r}; it has {', '.join(_PERSONA_SETTINGS)}.")
        elif not re.fullmatch(r"-?\d+", value.strip()):
            problems.append(f"personas: {name.strip()} is {value.strip()!r}; it must be a whole number.")
        else:
            values[name.strip()] = int(value)
    if problems:
        raise ConfigError(problems)
    return personas(**values)


def _karpathy(path: str, options: ReadOptions) -> PairData:
    options.refuse("karpathy", "columns", "splits")
    return read_karpathy(user_path(path), image_root=options.image_root)


def _snli_ve(path: str, options: ReadOptions) -> PairData:
    options.refuse("snli-ve", "columns", "splits")
    return read_snli_ve(_existing(path), image_root=options.image_root)


def _nlvr2(path: str, options: ReadOptions) -> PairData:
    options.refuse("nlvr2", "columns", "splits")
    return read_nlvr2(_existing(path), image_root=options.image_root)


def _vqa(path: str, options: ReadOptions) -> PairData:
    options.refuse("vqa", "columns", "splits")
    if lies_there(path):
        return read_vqa(Path(path), image_root=options.image_root)
    path, comma, setting = path.rpartition(",answers=")
    if comma and not setting.isdecimal():
        raise ConfigError(f"vqa: answers is {setting!r}; it must be a whole number.")
    path, answers = (path, int(setting)) if comma else (setting, ANSWERS)
    return read_vqa(_existing(path), image_root=options.image_root, answers=answers)


def _pgr(path: str, options: ReadOptions) -> PairData:
    options.refuse("pgr", "columns", "splits", "image_root")
    return read_pgr(_existing(path))


def _graph_tables(path: str, options: ReadOptions) -> PairData:
    options.refuse("graph", "image_root")
    return read_graph_tables(_existing(path), columns=options.columns, splits=options.splits)


def _index(path: str, options: ReadOptions) -> PairData:
    from multidelete.data.index.dataset import index_of, indexed_data  # which imports readers of this package

    options.refuse("index", "columns", "splits", "image_root")
    return indexed_data(index_of(path))


def _existing(path: str) -> Path:
    located = user_path(path)
    if not lies_there(located):
        raise DataError(f"There is no file or folder {path}. Name the folder of the files.")
    return located


def _folder(path: str, options: ReadOptions) -> PairData:
    return read_folder(path, columns=options.columns, splits=options.splits, image_root=options.image_root)


READERS: dict[str, tuple[str, Callable[[str, ReadOptions], PairData]]] = {
    "personas": ("generated people: personas or personas:people=400,unseen=200,views=2,size=48,seed=0", _personas),
    "folder": ("an image folder with metadata, JSONL, CSV, parquet, WebDataset, or a hub id owner/name", _folder),
    "index": ("data that is larger than memory, by the index that 'multidelete data DATA --index' made", _index),
    "karpathy": ("Karpathy JSON (Flickr8k, Flickr30K, COCO) with its images beside it", _karpathy),
    "snli-ve": ("SNLI-VE, visual entailment: snli_ve_{train,dev,test}.jsonl, and the photographs", _snli_ve),
    "nlvr2": ("NLVR2, a sentence about two images: {train,dev,test}.json, and the images", _nlvr2),
    "vqa": ("VQA, questions and annotations JSON, and COCO images: vqa:PATH or vqa:PATH,answers=3129", _vqa),
    "pgr": ("PGR, genes, phenotypes and sentences: *_corpus/{train,test}.tsv, and hp.obo as the graph", _pgr),
    "graph": ("any graph with texts: tables of edges, of nodes, and of pairs that name nodes", _graph_tables),
}
_LOOKS_LIKE: dict[str, Callable[[Path], bool]] = {
    "snli-ve": looks_like_snli_ve,
    "nlvr2": looks_like_nlvr2,
    "vqa": looks_like_vqa,
    "pgr": looks_like_pgr,
    "graph": looks_like_graph_tables,
}


def load_data(
    data: str,
    *,
    columns: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    image_root: Path | None = None,
    classes: Sequence[str] = (),
    seed: int = 0,
) -> PairData:
    """Read pairs from wherever they are.

    Args:
        data: ``"personas"`` (with settings: ``"personas:people=40,size=32"``), a folder, a file, or a
            hub id. The reader is found from the content; ``"karpathy:PATH"`` and ``"folder:PATH"``
            name it.
        columns: Which column holds what, where names differ: ``{"text": "caption", "id": "pair_id"}``.
        splits: Which split is what, where names differ: ``{"train": "part_a", "test": "part_b"}``.
            Splits that are not named here are then left out.
        image_root: Folder that relative image paths start from; without it, the folder of the
            file that names them.
        classes: Names of the classes, where labels are numbers or a model has no names of its own: in the order of
            the numbers, which is that of the model's outputs. See `with_classes`.
        seed: Seed of generated data, unless ``data`` gives one.

    Raises:
        ConfigError: A setting is unknown or out of range.
        DataError: There is nothing at ``data``, or it cannot be read as pairs.
    """
    data_is = Wanted(data, (str,), "a text: personas, a folder, a file or a hub id")
    image_root = check_options(columns, splits, image_root, classes, data=data_is, seed=whole(seed))
    started = time.perf_counter()
    pairs = _read(data, ReadOptions(columns=columns or {}, splits=splits or {}, image_root=image_root, seed=seed))
    return checked(pairs, places=_places(data, image_root), classes=classes, started=started)


def _read(spec: str, options: ReadOptions) -> PairData:
    name, _, rest = spec.partition(":")
    if name in READERS and not lies_there(spec):
        if not rest and name != "personas":
            raise DataError(f"{spec!r} names no data; write {name}:PATH.")
        return READERS[name][1](rest, options)
    path = user_path(spec)
    if not lies_there(path):
        _refuse_missing_path(spec, path)
        return _folder(spec, options)
    files = _karpathy_files(path)
    if len(files) > 1:
        raise DataError(
            f"{path} holds {len(files)} Karpathy files: {', '.join(f.name for f in files)}. Name one of them."
        )
    if files:
        return _karpathy(str(files[0]), options)
    reader = next((name for name, looks_like in _LOOKS_LIKE.items() if looks_like(path)), "folder")
    return READERS[reader][1](spec, options)


def _places(spec: str, image_root: Path | None) -> list[Path]:
    """The folders that the pictures of a data set may lie in without surprise; none for what does not lie here."""
    name, _, rest = spec.partition(":")
    path = user_path(rest if name in READERS and not lies_there(spec) else spec)
    if not lies_there(path):
        return []
    folder = path if path.is_dir() else path.parent
    beside = any(looks_like(path) for looks_like in (looks_like_snli_ve, looks_like_nlvr2))
    return [folder.parent if beside else folder, *([image_root] if image_root is not None else [])]


def _karpathy_files(path: Path) -> list[Path]:
    candidates = sorted(path.glob("dataset*.json")) if path.is_dir() else [path]
    return [file for file in candidates if file.suffix == ".json" and looks_like_karpathy(file)]


def _refuse_missing_path(spec: str, path: Path) -> None:
    """Raise unless ``spec`` can only be a hub id: ``owner/name`` without a local folder ``owner``."""
    owner = spec.split("/")[0]
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", spec) and not path.suffix and not lies_there(owner):
        return
    close = difflib.get_close_matches(spec.partition(":")[0], READERS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if is_on_hub(spec):
        hint = (
            f" Data on the hub is read by an index: multidelete data '{spec}' --index-folder FOLDER; then give "
            "index:FOLDER. Or give its id, OWNER/NAME, to hold it in memory."
        )
    elif "{" in spec:
        hint = f" A pattern names shards for an index: multidelete data '{spec}' --index; then give index:{spec}."
    raise DataError(
        f"There is no file or folder {spec}.{hint} Data is a file, a folder, a hub id owner/name, "
        f"or one of {', '.join(READERS)}."
    )
