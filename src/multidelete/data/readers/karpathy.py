"""Karpathy JSON: ``dataset_flickr8k.json``, ``dataset_flickr30k.json``, ``dataset_coco.json``."""

import json
import os
from pathlib import Path
from typing import NotRequired, TypedDict

from multidelete.data.pairs import Pair, PairData, PairDataset, text_source
from multidelete.errors import DataError, first_few

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
    file name. ``restval`` counts as ``train``, as is usual for COCO.

    Args:
        path: The JSON file, or a folder with exactly one ``dataset*.json``.
        image_root: Folder of the images; without it ``images/`` beside the file. Images that have a
            ``filepath`` (COCO) lie in that subfolder.

    Raises:
        DataError: The file is not Karpathy JSON, a split is unknown, there is no ``train``, or images
            are missing (all are counted, ten are named).
    """
    if path.is_dir():
        found = sorted(path.glob("dataset*.json"))
        if len(found) != 1:
            raise DataError(f"{path} holds {len(found)} files dataset*.json; name the Karpathy JSON file itself.")
        path = found[0]
    root = image_root or path.parent / "images"
    images = _read(path)
    pairs: dict[str, list[Pair]] = {}
    unknown, missing = [], []
    for image in images:
        split = _SPLITS.get(str(image.get("split")))
        if split is None:
            unknown.append(image.get("split"))
            continue
        name = str(image["filename"])
        file = root / str(image.get("filepath", "")) / name
        if not os.path.isfile(file):  # Path.is_file raises on names that are too long
            missing.append(str(file))
        for number, sentence in enumerate(image["sentences"]):
            text = str(sentence["raw"] if "raw" in sentence else " ".join(sentence["tokens"])).strip()
            pair = Pair(
                id=f"{name}#{number}",
                inputs={"image": file, "text": text},
                sources={"image": name, "text": text_source(text)},
            )
            pairs.setdefault(split, []).append(pair)
    problems = []
    if unknown:
        names = ", ".join(sorted({str(name) for name in unknown}))
        problems.append(f"{path}: {len(unknown)} images have unknown splits: {names}. Known are {', '.join(_SPLITS)}.")
    if missing:
        problems.append(
            f"{len(missing)} of {len(images)} images of {path} are missing: {first_few(missing)}. "
            "Images lie in images/ beside the file; name another folder with --image-root."
        )
    if "train" not in pairs and not unknown:
        problems.append(f"{path} has no train split; it has {', '.join(sorted(pairs)) or 'no images at all'}.")
    if problems:
        raise DataError(problems)
    name = path.stem.removeprefix("dataset_")
    order = [split for split in ("train", "val", "test") if split in pairs]
    return PairData(name, {split: PairDataset(pairs[split], f"{name} {split}") for split in order})


class _Image(TypedDict):
    filename: str
    filepath: NotRequired[str]
    split: str
    sentences: list[dict[str, list[str]]]


def _read(path: Path) -> list[_Image]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = content["images"]
        bad = [number for number, image in enumerate(images) if not {"filename", "split", "sentences"} <= image.keys()]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not Karpathy JSON ({type(error).__name__}: {error}); "
            'it has a list "images", each with "filename", "split" and "sentences".'
        ) from error
    if bad:
        raise DataError(f"{path}: {len(bad)} images lack filename, split or sentences: numbers {first_few(bad)}.")
    return list(images)
