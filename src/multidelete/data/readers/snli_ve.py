"""SNLI-VE: does the picture entail the sentence? ``snli_ve_train.jsonl``, ``snli_ve_dev.jsonl`` and so on.

Xie, Lai, Doran, Kadav: "Visual Entailment: A Novel Task for Fine-Grained Image Understanding", arXiv:1901.06706.
"""

from pathlib import Path

from multidelete.core.errors import first_few
from multidelete.core.words import counted, share
from multidelete.data.pairs import Pair, PairData, text_source
from multidelete.data.readers.layouts import Pictures, Row, checked_splits, read_json_lines

CLASSES = ("contradiction", "neutral", "entailment")
FILES = {"train": "snli_ve_train.jsonl", "val": "snli_ve_dev.jsonl", "test": "snli_ve_test.jsonl"}
_COLUMNS = ("pairID", "Flickr30K_ID", "sentence2", "gold_label")
_IMAGE_FOLDERS = ("images", "flickr30k_images", "flickr30k-images")


def looks_like_snli_ve(path: Path) -> bool:
    """Whether a folder holds SNLI-VE files, or a file is one of them."""
    return path.name in FILES.values() if path.is_file() else any((path / name).is_file() for name in FILES.values())


def read_snli_ve(path: Path, *, image_root: Path | None = None) -> PairData:
    """Read one pair for each row: a picture, a sentence, and how the two relate.

    A pair's id is ``pairID``, its image source the file name ``<Flickr30K_ID>.jpg``, and its label a position in
    ``("contradiction", "neutral", "entailment")``. Rows on which the annotators did not agree
    (``gold_label`` is ``-``) are dropped and counted in the notes. ``dev`` is called ``val``.

    Args:
        path: The folder of the files, or one of them; then the others beside it are read too.
        image_root: Folder of the pictures. Without it they are looked for in ``images/``,
            ``flickr30k_images/`` and ``flickr30k-images/`` beside the files and one folder above, and in
            ``images/`` of the neighbouring folders ``flickr30k/`` and ``flickr8k/``.

    Raises:
        DataError: With all problems at once: no training file, broken lines, missing columns, unknown
            labels, repeated ids, missing pictures (all are counted, ten are named).
    """
    folder = path.parent if path.is_file() else path
    pictures = Pictures([image_root] if image_root is not None else _image_folders(folder))
    problems: list[str] = []
    notes: list[str] = []
    pairs: dict[str, list[Pair]] = {}
    for split, name in FILES.items():
        file = folder / name
        if not file.is_file():
            continue
        rows = read_json_lines(file, _COLUMNS, "sentence2", problems)
        agreed = [row for row in rows if row["gold_label"] != "-"]
        if len(agreed) < len(rows):
            notes.append(
                f"{share(len(rows) - len(agreed), len(rows), f'rows of {split} have')} no agreed label ('-'): dropped"
            )
        labelled = [row for row in agreed if row["gold_label"] in CLASSES]
        if len(labelled) < len(agreed):
            unknown = sorted({str(row["gold_label"]) for row in agreed} - set(CLASSES))
            problems.append(
                f"{file}: {counted(len(agreed) - len(labelled), 'rows have')} an unknown gold_label: "
                f"{first_few(unknown)}. Known are {', '.join(CLASSES)}, and '-' for no agreement."
            )
        pairs[split] = [_pair(row, pictures) for row in labelled]
    splits = checked_splits("snli-ve", folder, pairs, train_file=FILES["train"], pictures=pictures, problems=problems)
    return PairData("snli-ve", splits, notes=tuple(notes), classes=CLASSES)


def _image_folders(folder: Path) -> list[Path]:
    beside = [place / name for place in (folder, folder.parent) for name in _IMAGE_FOLDERS]
    return [*beside, *(folder.parent / name / "images" for name in ("flickr30k", "flickr8k"))]


def _pair(row: Row, pictures: Pictures) -> Pair:
    name, text = f"{row['Flickr30K_ID']}.jpg", str(row["sentence2"]).strip()
    return Pair(
        id=str(row["pairID"]),
        inputs={"image": pictures.find(name), "text": text},
        sources={"image": name, "text": text_source(text)},
        label=CLASSES.index(str(row["gold_label"])),
    )
