"""The command that runs an experiment file."""

from dataclasses import asdict
from pathlib import Path

from multidelete.cli import show
from multidelete.cli.flags import Given, take
from multidelete.cli.inputs import given_keys
from multidelete.cli.options import CompareOptions


def compare(given: Given) -> None:
    """Run an experiment: methods x settings x request sizes x draws x seeds, and write one page of results.

    It can be stopped at any time and goes on where it stopped. A changed setting reruns only its own cells.
    """
    made = given.settings()
    options, keys = take(made, CompareOptions), given_keys(made)
    from multidelete.experiments.comparison import compare as run_compare
    from multidelete.experiments.comparison.page import short_table

    blocks = run_compare(
        Path(options.experiment),
        out=options.out,
        store=options.store,
        data_root=options.data_root,
        shard=options.shard,
        discard=options.discard,
        key=keys.key,
        earlier_pairs_removed=keys.earlier_pairs_removed,
        say=show.say,
    )
    if given.json:
        show.show_json([asdict(block) for block in blocks])
        return
    for block in blocks:
        table = short_table(block)
        show.show_lines([table.title])
        show.show_table(table.head, table.rows)
        show.show_lines(table.notes)
