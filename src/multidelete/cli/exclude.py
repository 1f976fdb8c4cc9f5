"""The command ``exclude``."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.inputs import index_options, read_forget
from multidelete.cli.options import DataOptions, ForgetOptions, OutOptions
from multidelete.core.config import check_settings
from multidelete.core.errors import RequestError
from multidelete.core.paths import lies_there, user_path
from multidelete.core.words import counted, share

if TYPE_CHECKING:
    from multidelete.artifacts.excluding import Excluded


@dataclass(frozen=True, kw_only=True)
class ExcludeOptions:
    """Shards.

    Attributes:
        rewrite: Folder for new shards without the rows: of each shard that holds some, one that is whole.
        in_place: Put each new shard in the place of the old one.
        resume: Go on rewriting where a killed run of the same command stopped; the lists stay as they are.
    """

    rewrite: str | None = None
    in_place: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "in_place": (not (self.in_place and self.rewrite), "left out with --rewrite"),
                "resume": (not self.resume or bool(self.in_place or self.rewrite),
                           "left out where nothing is rewritten"),
            },
        )  # fmt: skip


def exclude(call: Call) -> None:
    """List the rows of a request, shard by shard, for a training loop of your own; or write the shards without them.

    The lists come with two lines for `webdataset` or `datasets` that leave the rows out. Shards (.tar, .parquet,
    .jsonl, .csv, .tsv) are named as a folder, a file, a pattern such as `shards/{0000..0999}.tar`, or by their index;
    on the hub as `hf://datasets/OWNER/NAME`, where none are rewritten.
    """
    options, spec = call.of(ExcludeOptions), call.of(DataOptions).data
    from multidelete.artifacts.excluding import IMPORT
    from multidelete.artifacts.taking_out import stale_indices

    lists, written = _lists_and_shards(call)
    to_rewrite = options.in_place or options.rewrite is not None
    filters = {} if to_rewrite else dict(lists.filters)
    stale = stale_indices(lists.touched, spec) if options.in_place else []
    for folder, data in stale:
        show.say(
            f"note: {folder} is an index of the shards as they were, and holds ids and captions of the deleted pairs. "
            f"Make it again, with the flags that it was made with: multidelete data {data} --index"
        )
    shards = {shard.name: len(shard.at) for shard in lists.touched}
    if call.json:
        show.show_json(
            {"folder": str(lists.folder), "pairs": lists.pairs, "shards": shards, "of": len(lists.shards),
             "filters": filters, "pictures": [str(one) for one in lists.pictures],
             "rewritten": [str(one) for one in written],
             "stale_indices": [str(folder) for folder, _ in stale]}
        )  # fmt: skip
        return
    rows: list[list[object]] = [
        ["lists", lists.folder], ["pairs", lists.pairs], ["rows", sum(shards.values())],
        ["shards", f"{share(len(shards), len(lists.shards), 'shards hold')} them"],
    ]  # fmt: skip
    rows += [["pictures that no other pair has", f"{len(lists.pictures)}, in pictures.txt"]] if lists.pictures else []
    rows += [["shards written without them", counted(len(written), "shards")]] if written else []
    rows += [["filter", "none is needed: the rows are gone from the new shards"]] if to_rewrite else []
    show.show_table(["", ""], rows)
    for name, code in filters.items():
        show.show_lines([f"for {name} ({IMPORT}):", *(f"  {line}" for line in code.split("\n"))])


def _lists_and_shards(call: Call) -> "tuple[Excluded, list[Path]]":
    from multidelete.artifacts.excluding import rewritten
    from multidelete.artifacts.taking_out import refuse_begun, resumed, root_of_rows, root_of_shards, sole_rewriter

    out, options = call.of(OutOptions), call.of(ExcludeOptions)
    folder, target = Path(out.out), None if options.rewrite is None else Path(options.rewrite)
    before = _lists_before(call) if options.resume else None
    root = root_of_shards(call.of(DataOptions).data) if before is None else root_of_rows(before.shards)
    with sole_rewriter(root, in_place=options.in_place):
        if before is None:
            refuse_begun(folder, root, overwrite=out.overwrite)
        elif not resumed(folder, target, before.shards):
            where = "their place" if target is None else target
            show.say(f"note: nothing is left to resume. The rows on the lists in {folder} are gone from the shards in "
                     f"{where}.")  # fmt: skip
        lists = before or _lists(call)
        if options.in_place or options.rewrite is not None:
            return lists, rewritten(lists, target)
        return lists, []


def _lists_before(call: Call) -> "Excluded":
    """The lists to go on with, which are of the data that is named, and of the request where one is given."""
    from multidelete.artifacts.excluding import read_excluded
    from multidelete.artifacts.taking_out import refuse_other_data

    lists = read_excluded(Path(call.of(OutOptions).out))
    if call.names(ForgetOptions) and (lists.asked == "" or _asked(call) != lists.asked):
        why = "were written for another request" if lists.asked else "do not tell for which request they were written"
        raise RequestError(
            f"the lists in {lists.folder} {why}, of {counted(lists.pairs, 'pairs')}; --resume goes on with that alone. "
            "Give the same request in the same way, with the same --unit, --columns and --splits, or leave it out. For "
            "another request give another output folder, without --resume."
        )
    refuse_other_data(lists.folder, lists.shards, call.of(DataOptions).data)
    return lists


def _asked(call: Call) -> str:
    """Digest of what chooses the pairs: the names given, what the request file holds, and how rows are read.

    Empty where the request came through a pipe, which can be read only once.
    """
    options, data = call.of(ForgetOptions), call.of(DataOptions)
    names = [sorted(some) for some in (options.forget_subject, options.forget_image, options.forget_node)]
    told: list[object] = [names, options.unit, sorted(data.columns), sorted(data.splits)]
    if options.forget is not None:
        path = user_path(options.forget)
        if lies_there(path) and not path.is_file():
            return ""
        try:
            told += [path.suffix.lower(), hashlib.sha256(path.read_bytes()).hexdigest()]
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            reason = error.strerror if isinstance(error, OSError) else error
            raise RequestError(
                f"The request file {path} cannot be read: {reason}. Name the file that the lists were written for, or "
                "leave the request out."
            ) from error
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _lists(call: Call) -> "Excluded":
    from multidelete.artifacts.excluding import found, write_lists
    from multidelete.artifacts.indexing import index_for
    from multidelete.data.index.dataset import IndexedDataset, indexed_data
    from multidelete.data.location import only_here
    from multidelete.data.repeats import kept_repeats, repeats_note

    data, out, options = call.of(DataOptions), call.of(OutOptions), call.of(ExcludeOptions)
    to_rewrite = options.rewrite is not None or options.in_place
    if to_rewrite:
        only_here(data.data)
    with index_for(data.data, index_options(data)) as index:
        pairs = indexed_data(index)
        for note in pairs.notes:
            show.say(f"note: {note}")
        request = read_forget(pairs, call.of(ForgetOptions))
        repeats = kept_repeats(pairs.train, request.ids)
        if repeats:
            show.say(f"warning: {repeats_note(repeats)}")
        train = pairs.train
        if not isinstance(train, IndexedDataset):
            raise TypeError(f"{train!r} is of no index")
        if to_rewrite:
            only_here(train.pairs.file.meta.root)
        id_column = train.pairs.file.meta.columns.get("id")
        lists = replace(found(train, request, Path(out.out), id_column=id_column), asked=_asked(call))
        write_lists(lists, overwrite=out.overwrite)
        return lists
