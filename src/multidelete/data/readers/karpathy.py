"""Karpathy JSON: ``dataset_flickr8k.json``, ``dataset_flickr30k.json``, ``dataset_coco.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from multidelete.core.errors import DataError, first_few
from multidelete.core.paths import lies_there
from multidelete.core.words import counted, share
from multidelete.data.pairs import Pair, PairData, PairDataset, text_source
from multidelete.data.tables.source import is_file
from multidelete.data.tables.strict_json import Json, read_json
from multidelete.data.tables.suspicion import is_text

_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_HEAD_BYTES = 1 << 16


def looks_like_karpathy(path: Path) -> bool:
    """Whether a JSON file has images with sentences, judged by its first 64 KiB."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return b'"images"' in head and b'"sentences"' in head


def read_karpathy(path: Path, *, image_root: Path | None = None) -> PairData:
    """Read one pair for each image and caption.

    A pair's id is ``filename#k`` for the image's k-th caption, from 0; its image source is the
    file name. Both begin with the ``filepath`` where several folders hold a file of that name. ``restval`` counts as
    ``train``, as is usual for COCO.

    Args:
        path: The JSON file, or a folder with exactly one ``dataset*.json``.
        image_root: Folder of the images; without it ``images/`` beside the file. Images that have a
            ``filepath`` (COCO) lie in that subfolder.

    Raises:
        DataError: The file is not Karpathy JSON, a split is unknown, there is no ``train``, or images
            are missing (all are counted, ten are named).
    """
    if lies_there(path) and path.is_dir():
        files = sorted(path.glob("dataset*.json"))
        if len(files) != 1:
            raise DataError(f"{path} holds {len(files)} files dataset*.json; name the Karpathy JSON file itself.")
        path = files[0]
    root = image_root or path.parent / "images"
    images = _read(path)
    pairs: dict[str, list[Pair]] = {}
    unknown, missing = [], []
    folders: dict[str, set[str]] = {}
    for image in images:
        folders.setdefault(image.filename, set()).add(image.folder)
    for image in images:
        split = _SPLITS.get(image.split)
        if split is None:
            unknown.append(image.split)
            continue
        file = root / image.folder / image.filename
        if not is_file(file):
            missing.append(str(file))
        is_alone = len(folders[image.filename]) == 1
        name = image.filename if is_alone else str(PurePosixPath(image.folder, image.filename))
        for number, text in enumerate(image.texts):
            pair = Pair(
                id=f"{name}#{number}",
                inputs={"image": file, "text": text},
                sources={"image": name, "text": text_source(text)},
            )
            pairs.setdefault(split, []).append(pair)
    problems = []
    if unknown:
        names = first_few(sorted(set(unknown)))
        problems.append(
            f"{path}: {counted(len(unknown), 'images have')} unknown splits: {names}. Known are {', '.join(_SPLITS)}."
        )
    if missing:
        problems.append(
            f"{share(len(missing), len(images), f'images of {path} are')} missing: {first_few(missing)}. "
            "Images lie in images/ beside the file; name another folder with --image-root."
        )
    if "train" not in pairs and not unknown:
        problems.append(f"{path} has no train split; it has {', '.join(sorted(pairs)) or 'no images at all'}.")
    if problems:
        raise DataError(problems)
    name = path.stem.removeprefix("dataset_")
    order = [split for split in ("train", "val", "test") if split in pairs]
    return PairData(name, {split: PairDataset(pairs[split], f"{name} {split}") for split in order})


@dataclass(frozen=True)
class _Image:
    """An image with its captions."""

    filename: str
    folder: str
    split: str
    texts: list[str]


def _read(path: Path) -> list[_Image]:
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise DataError(
            f'{path} is not Karpathy JSON; it has a list "images", each with "filename", "split" and "sentences".'
        )
    records, bad = [], []
    for number, image in enumerate(images):
        read = _image(image) if isinstance(image, dict) else None
        if read is None:
            bad.append(number)
        else:
            records.append(read)
    if bad:
        raise DataError(
            f"{path}: {counted(len(bad), 'images lack')} filename, split or sentences: numbers {first_few(bad)}. "
            "Each needs a name, a split, and sentences with a text."
        )
    return records


def _image(image: Mapping[str, Json]) -> _Image | None:
    """One entry of the list; None where something is missing or of another kind."""
    name, split, folder = image.get("filename"), image.get("split"), image.get("filepath") or ""
    sentences = image.get("sentences")
    if not (isinstance(name, str) and name and isinstance(split, str) and isinstance(folder, str)):
        return None
    texts = [_text(sentence) for sentence in sentences] if isinstance(sentences, list) else [""]
    return _Image(name, folder, split, texts) if all(texts) else None


def _text(sentence: Json) -> str:
    """A caption as written, or from its tokens; empty where it has neither."""
    if not isinstance(sentence, dict):
        return ""
    raw, tokens = sentence.get("raw"), sentence.get("tokens")
    if "raw" in sentence:
        return raw.strip() if isinstance(raw, str) and is_text(raw) else ""
    return " ".join(map(str, tokens)) if isinstance(tokens, list) else ""
