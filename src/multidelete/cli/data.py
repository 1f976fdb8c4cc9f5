"""The command ``data``."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from multidelete.catalogue import catalogue
from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.inputs import check_all, index_options, read_pairs, write_people
from multidelete.cli.options import DataOptions
from multidelete.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LookOptions(DataOptions):
    """Data.

    Attributes:
        examples: Training pairs to show, 0 or more.
        check: Read every image, and name those that cannot be read.
        model: Model folder: with --check, each image also goes through its processor, and the oddest pairs of each
            split through the model.
        write: Folder to write generated people to, as an ordinary image folder.
        index: Make the index of data that is larger than memory (.tar, .parquet, .jsonl, .csv, .tsv), or bring it up to
            date. Other commands take it as `--data index:DATA`. Shards on the hub are `hf://datasets/OWNER/NAME`.
        index_folder: Folder of that index, which others take as `--data index:FOLDER`; without it
            `.multidelete-index` beside the data. Data on the hub needs it.
    """

    data: str | None = None  # type: ignore[assignment]  # required by every other command
    examples: int = 3
    check: bool = False
    model: str | None = None
    write: str | None = None
    index: bool = False
    index_folder: str | None = None


def data(call: Call) -> None:
    """List the readers; with DATA, show its splits and first pairs."""
    options = call.of(LookOptions)
    if options.data is None:
        show.show_readers(catalogue().readers, as_json=call.json)
        return
    if options.examples < 0:
        raise ConfigError(f"--examples is {options.examples}; it must be 0 or more.")
    if options.index or options.index_folder is not None:
        _write_index(options, as_json=call.json)
        return
    pairs = read_pairs(options)
    if options.write is not None:
        write_people(options.data, Path(options.write))
    if options.model is not None and not options.check:
        raise ConfigError("--model says what --check tries the pairs with. Give --check too, or leave it out.")
    if options.check:
        check_all(pairs, options.model)
    if call.json:
        show.show_json(show.data_row(pairs, options.examples))
    else:
        show.show_data(pairs, options.examples)


def _write_index(options: LookOptions, *, as_json: bool) -> None:
    from multidelete.artifacts.indexing import write_index

    folder = None if options.index_folder is None else Path(options.index_folder)
    target, built = write_index(options.data or "", folder, index_options(options))
    told = f"index:{options.data if folder is None else folder}"
    if as_json:
        show.show_json({"folder": str(target), "data": told, **asdict(built)})
        return
    for note in built.notes:
        show.say(f"note: {note}")
    rows: list[list[object]] = [
        ["index", target], ["shards", f"{built.shards}, of which {built.read} were read"], ["pairs", built.pairs],
        ["use it as", f"--data {shlex.quote(told)}"],
    ]  # fmt: skip
    show.show_table(["", ""], rows)
