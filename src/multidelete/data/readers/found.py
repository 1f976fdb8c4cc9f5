"""Which files of a folder hold its pairs, and of which split each is."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from multidelete.core.errors import DataError, first_few

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
ENDINGS = (".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".json", ".tar")
WORKBOOKS = (".xlsx", ".xls", ".ods")
_WORDS = {**{name: name for name in SPLIT_NAMES}, "eval": "test", "evaluation": "test"}
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}.*")
_NOT_TABLES = {"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


@dataclass(frozen=True)
class Found:
    """Files with pairs.

    Attributes:
        files: Each file, seen from the folder, and the split that its name or folder tells; None where none tells one.
        metadata: Whether they are the metadata of image folders: paths in them start from each one's own folder.
        notes: What was left out.
    """

    files: Sequence[tuple[Path, str | None]]
    metadata: bool
    notes: tuple[str, ...]


def find_files(folder: Path, *, in_shards: bool = False) -> Found:
    """The tables of a folder that lies here; as `files_among`."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    names = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    return files_among(folder, names, text, in_shards=in_shards)


def files_among(folder: object, names: Iterable[Path], readme: str, *, in_shards: bool = False) -> Found:
    """The tables among the files of a folder: the metadata of its images, or else all tables of one kind.

    Splits are told as in the `datasets` library: by the names of folders, or else of files (``test.csv``,
    ``train-00000-of-00002.parquet``). Nothing but names is looked at; addresses that a ``README.md`` gives are
    never followed.

    Args:
        folder: The folder, for messages.
        names: All files below it, seen from it.
        readme: The text of its ``README.md``.
        in_shards: Whether several tables for one split are what is expected.

    Raises:
        DataError: There are none, or some of which it is not clear which are meant.
    """
    notes = _notes_on_readme(folder, readme)
    hidden = (".", "__")
    every = sorted(file for file in names if not any(part.startswith(hidden) for part in file.parts))
    metadata = [file for file in every if file.name.lower() in _METADATA]
    tables = [file for file in every if file.suffix.lower() in ENDINGS and file.name not in _NOT_TABLES]
    if metadata:
        return _metadata(folder, metadata, notes)
    if not tables:
        workbooks = [file.name for file in every if file.suffix.lower() in WORKBOOKS]
        hint = f" {first_few(workbooks)}: save the sheet as CSV in UTF-8." if workbooks else ""
        raise DataError(
            f"{folder} cannot be loaded as a data set: it holds no table of pairs. Write metadata.jsonl or "
            f"metadata.csv beside the images, or a table ({', '.join(ENDINGS)}).{hint}"
        )
    splits = splits_of(tables)
    named = [(file, split) for file, split in zip(tables, splits, strict=True) if split is not None]
    if named and len(named) < len(tables):
        left = [str(file) for file, split in zip(tables, splits, strict=True) if split is None]
        notes.append(f"not read, as other tables are named after splits: {first_few(left)}")
    chosen: list[tuple[Path, str | None]] = [*named] or [(file, None) for file in tables]
    several = [(file, split) for file, split in chosen if sum(one == split for _, one in chosen) > 1]
    if several and not in_shards and not all(_SHARD.fullmatch(file.name) for file, _ in several):
        read = first_few([str(file) for file, _ in several])
        notes.append(f"{several[0][1] or 'the data'} is read from several tables together: {read}")
    kinds = {file.suffix.lower() for file, _ in chosen}
    if len(kinds) > 1:
        found = first_few([str(file) for file, _ in chosen])
        raise DataError(f"{folder} holds tables of several kinds: {found}. Name the file that is meant.")
    return Found(chosen, metadata=False, notes=tuple(notes))


def _metadata(folder: object, files: Sequence[Path], notes: list[str]) -> Found:
    """Metadata at the top, or else one in each folder below it."""
    top = [file for file in files if file.parent == Path()]
    below = [file for file in files if file.parent != Path()]
    folders = [file.parent for file in files]
    twice = sorted({f"{folder}/{one}".removesuffix("/.") for one in folders if folders.count(one) > 1})
    if twice:
        raise DataError(f"{first_few(twice)} holds several metadata files. Keep one in each folder.")
    if top and below:
        notes.append(f"{top[0].name} at the top is not read: folders below have their own")
    chosen = below or top
    splits = [_word(file.parent.parts) for file in chosen]
    return Found(list(zip(chosen, splits, strict=True)), metadata=True, notes=tuple(notes))


def splits_of(files: Sequence[Path]) -> list[str | None]:
    """The split of each file: by its folders where those tell any, or else by its name."""
    by_folder = [_word(file.parent.parts) for file in files]
    if any(by_folder):
        return by_folder
    shards = [match[1] if (match := _SHARD.fullmatch(file.name)) else None for file in files]
    if all(shards):
        return [_word([shard]) or shard for shard in shards if shard is not None]
    return [_word([file.name]) for file in files]


def _word(names: Sequence[str]) -> str | None:
    """The split that one of these names tells by a word in it; the first one."""
    for name in names:
        for word in re.split(r"[-._ 0-9]+", name.lower()):
            if word in _WORDS:
                return _WORDS[word]
    return None


def _notes_on_readme(folder: object, text: str) -> list[str]:
    """A note where a README names data files, which are found by their own names instead.

    Raises:
        DataError: It names several configurations, of which only one can be meant.
    """
    head = text.split("\n---", 1)[0] if text.startswith("---") else ""
    configs = re.findall(r"^[\s-]*config_name:\s*(.+)$", head, re.MULTILINE)
    if len(set(configs)) > 1 and "data_files" in head:
        raise DataError(
            f"{folder} holds several configurations: {first_few(configs)}. Name the folder or file of the one meant."
        )
    if "data_files" in head or "data_dir" in head:
        return ["README.md names data files; they were found by their own names, and addresses were not followed"]
    return []
