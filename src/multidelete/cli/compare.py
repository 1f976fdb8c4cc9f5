"""The command that runs an experiment file."""

from dataclasses import asdict, dataclass
from pathlib import Path

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.inputs import given_keys


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Comparison.

    Attributes:
        experiment: The experiment file (docs/comparisons.md).
        out: Folder of the audits and the page of results; without it runs/NAME. What is there is not run again.
        store: Folder of the models, which several experiments may share; without it models in the folder above.
            It holds models that know the deleted pairs: delete it with them.
        data_root: Folder that data paths start from; without it what MULTIDELETE_DATA names, or the working folder.
        shard: Run only every N-th group, from the I-th: `I/N`, for several machines.
        discard: Delete the unlearned models once they are audited.
    """

    experiment: str
    out: str | None = None
    store: str | None = None
    data_root: str | None = None
    shard: str | None = None
    discard: bool = False


def compare(call: Call) -> None:
    """Run an experiment: methods x settings x request sizes x draws x seeds, and write one page of results.

    It can be stopped at any time and goes on where it stopped. A changed setting reruns only its own cells.
    """
    options, keys = call.of(CompareOptions), given_keys(call)
    from multidelete.experiments.comparison import compare as run_compare
    from multidelete.experiments.comparison import read_experiment
    from multidelete.experiments.comparison.page import short_table
    from multidelete.experiments.store import ModelStore

    experiment = read_experiment(Path(options.experiment))
    out = experiment.out if options.out is None else Path(options.out)
    blocks = run_compare(
        experiment,
        out=out,
        store=ModelStore(
            out / "models" if options.store is None else options.store,
            key=keys.key,
            earlier_pairs_removed=keys.earlier_pairs_removed,
        ),
        data_root=options.data_root,
        shard=options.shard,
        discard=options.discard,
        say=show.say,
    )
    if call.json:
        show.show_json([asdict(block) for block in blocks])
        return
    for block in blocks:
        table = short_table(block)
        show.show_lines([table.title])
        show.show_table(table.head, table.rows)
        show.show_lines(table.notes)
