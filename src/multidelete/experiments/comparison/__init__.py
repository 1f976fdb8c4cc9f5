"""Comparisons: methods x settings x request sizes x draws x seeds, from one TOML file to one page."""

import os
from collections.abc import Callable
from pathlib import Path

from multidelete.artifacts.locks import in_turn
from multidelete.artifacts.overlap import paths_of_model, refuse_overlap, refuse_pictures
from multidelete.artifacts.room import told_where_full
from multidelete.core.errors import ConfigError, SettingProblem
from multidelete.experiments.comparison.experiment import Experiment
from multidelete.experiments.comparison.groups import Runner
from multidelete.experiments.comparison.page import write_page
from multidelete.experiments.comparison.planning import Planned, plan
from multidelete.experiments.comparison.reading import read_experiment
from multidelete.experiments.comparison.summary import Block, summarise
from multidelete.experiments.store import ModelStore

__all__ = ["Block", "Experiment", "compare", "read_experiment", "summarise"]


def compare(
    experiment: Experiment | str | Path,
    *,
    out: str | Path | None = None,
    store: ModelStore | str | Path | None = None,
    data_root: str | Path | None = None,
    shard: str | None = None,
    discard: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Block]:
    """Run what an experiment lacks, and write its page of results after each group.

    Args:
        experiment: The experiment file, or what it says.
        out: Folder of ``audits/``, ``results.md``, its plots and ``results.html``; without it ``runs/NAME``.
        store: Models, or their folder, which several experiments may share; without it ``models`` in ``out``. Where
            starts have forgotten pairs, give a `ModelStore` with the key: their pairs are left out, and the keys of the
            deletions that are compared are added to it.
        data_root: Folder that data paths start from; without it that of MULTIDELETE_DATA, else the working folder.
        shard: ``i/n``: only every n-th group, from the i-th; the page shows all that are there.
        discard: Delete the methods' models once they are audited.
        say: Takes a line for each cell.

    Returns:
        The tables' content, for groups that are audited.

    Raises:
        UserError: The experiment, its data or a combination in it is wrong; found before anything is trained.
        DivergedError: An original or a retrained model cannot be trained.
    """
    read = experiment if isinstance(experiment, Experiment) else read_experiment(Path(experiment))
    chosen = _shard(shard, len(read.groups))
    folder = read.out if out is None else Path(out)
    models = store if isinstance(store, ModelStore) else ModelStore(folder / "models" if store is None else store)
    root = Path(data_root if data_root is not None else os.environ.get("MULTIDELETE_DATA", "."))
    inputs = [read.path, *inputs_of(read, root), *([] if models.key is None else [Path(models.key)])]
    refuse_overlap(folder, inputs)
    refuse_overlap(models.root, inputs, may_hold=False)
    runner = Runner(models, folder / "audits", discard)
    planned = plan(read.groups, models, root)
    for data in {one.group.setting.name: one.data for one in planned}.values():
        refuse_pictures(folder, data)
        refuse_pictures(models.root, data)
    with told_where_full(folder):
        for _ in runner.run([planned[number] for number in chosen], say):
            _page(read, runner, planned, folder)
        return _page(read, runner, planned, folder)


def inputs_of(read: Experiment, root: Path) -> list[Path]:
    """Files and folders that an experiment reads besides its own file."""
    paths: list[Path] = []
    for setting in read.settings:
        paths += [root / setting.data, root / setting.data.partition(":")[2]] if setting.data else []
        paths += [] if setting.image_root is None else [root / setting.image_root]
        paths += [] if setting.start is None else [setting.start.script]
        paths += paths_of_model(setting.model.start) if setting.model.start else []
    return [path for path in paths if path != root]


def _page(read: Experiment, runner: Runner, planned: list[Planned], folder: Path) -> list[Block]:
    """Write the page of what is there."""
    audits = {one.group.name: audit for one in planned if (audit := runner.done(one)) is not None}
    blocks = []
    for setting in read.settings:
        for fraction in read.grid.fractions:
            names = [g.name for g in read.groups if g.setting is setting and g.fraction == fraction]
            if of := {name: audits[name] for name in names if name in audits}:
                blocks.append(summarise(of, [row.name for row in setting.methods]))
    if blocks:
        with in_turn(folder / ".results.turn"):
            write_page(folder, read.grid.name, blocks, done=len(audits), groups=len(planned))
    return blocks


def _shard(shard: str | None, groups: int) -> range:
    """Numbers of the groups that are this process's."""
    if shard is None:
        return range(groups)
    first, slash, of = shard.partition("/")
    if not (slash and first.isdecimal() and of.isdecimal() and 1 <= int(first) <= int(of)):
        raise ConfigError(SettingProblem("shard", f"is {shard!r}; it must be I/N with 1 <= I <= N, such as 1/4."))
    return range(int(first) - 1, groups, int(of))
