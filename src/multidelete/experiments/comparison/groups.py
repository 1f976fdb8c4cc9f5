"""Running an experiment group by group: what is done is never done again."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TypeVar

from multidelete.artifacts.folders import make_folder, remove_whole
from multidelete.artifacts.keys import key_file
from multidelete.artifacts.locks import clear, in_turn
from multidelete.artifacts.manifest import read_record
from multidelete.artifacts.record import RunRecord
from multidelete.audits import Shadow
from multidelete.audits.asking import Asker, splits_to_ask
from multidelete.audits.controls import RANDOM_WEIGHTS
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.audits.probing import probe_figures
from multidelete.audits.relearning import relearning_rate
from multidelete.core.errors import DivergedError, UnsupportedError
from multidelete.core.progress import span
from multidelete.core.runtime import forget_peak
from multidelete.data.images import check_pictures
from multidelete.data.shadows import shadow_members
from multidelete.experiments.comparison.experiment import CONTROLS, Group
from multidelete.experiments.comparison.head import Audit
from multidelete.experiments.comparison.material import model_of
from multidelete.experiments.comparison.planning import Planned, shadows_of, unlearned
from multidelete.experiments.comparison.records import read_group, write_group
from multidelete.experiments.store import ModelStore
from multidelete.models import load_adapter
from multidelete.models.fresh import untrained

T = TypeVar("T")


@dataclass
class Clock:
    """Says which cell of how many runs, and how long the rest will take."""

    say: Callable[[str], None]
    left: list[str]
    total: int
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def begin(self, group: str, name: str) -> None:
        every = [second for several in self.seconds.values() for second in several]
        told = ""
        if every:
            rest_s = sum(mean(self.seconds.get(one) or every) for one in self.left)
            told = f", about {span(rest_s)} left"
        self.say(f"cell {self.total - len(self.left) + 1} of {self.total}: {group}, {name}{told}")

    def end(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)
        self.left.remove(name)


@dataclass(frozen=True)
class Runner:
    """Where an experiment runs.

    Attributes:
        store: Where models are kept.
        audits: Folder of the groups' audits.
        discard: Delete the methods' models once they are audited.
    """

    store: ModelStore
    audits: Path
    discard: bool = False

    def path(self, group: Group) -> Path:
        """The group's audit."""
        return self.audits / f"{group.name}.json"

    def done(self, planned: Planned) -> Audit | None:
        """The group's audit, without rows that are not of the experiment any more; None where it does not hold."""
        audit = read_group(self.path(planned.group))
        missing = planned.missing(audit)
        if audit is None or missing is None:
            return None
        head, figures = audit
        unwanted = set(head.models) - {*planned.keys, *CONTROLS}
        unwanted |= {row.name for row in missing}
        models = {name: model for name, model in head.models.items() if name not in unwanted}
        return replace(head, models=models), [row for row in figures if row.model not in unwanted]

    def run(self, planned: Sequence[Planned], say: Callable[[str], None]) -> Iterator[Group]:
        """Make what is missing; yields each group that was worked on."""
        seen: set[Path] = set()
        todo = [self._todo(one, seen) for one in planned]
        left = [name for names in todo for name in names]
        clock = Clock(say, left, len(left))
        worked = {one.group.setting.name: one.data for one, names in zip(planned, todo, strict=True) if names}
        for data in worked.values():
            check_pictures({name: pairs for name, pairs in data.splits.items() if name != "train"})  # training checks
        for one, names in zip(planned, todo, strict=True):
            if names:
                make_folder(self.audits)
                make_folder(self.store.root)
                with in_turn(self._turn(one)):
                    self._run_group(one, clock, names)
                yield one.group
            else:
                self._tidy(one)

    def _todo(self, planned: Planned, seen: set[Path]) -> list[str]:
        """Names of the models to make, and to audit; those of ``seen`` are made with an earlier group."""
        missing = planned.missing(read_group(self.path(planned.group)))
        if missing == []:
            return []
        rows = planned.group.setting.methods if missing is None else missing
        folders = {name: folder for name, folder in planned.folders.items() if name in planned.base}
        new = [name for name, folder in folders.items() if not folder.is_dir() and folder not in seen]
        seen.update(folders.values())
        return [*new, *(row.name for row in rows), "audit"]

    def _run_group(self, planned: Planned, clock: Clock, expected: Sequence[str]) -> None:
        path = self.path(planned.group)
        rows = planned.missing(read_group(path))
        if rows == []:  # another process has worked on it meanwhile
            for name in expected:
                clock.left.remove(name)
            return

        def timed(name: str, make: Callable[[], T]) -> T:
            if name not in expected:
                return make()
            clock.begin(planned.group.name, name)
            forget_peak()
            started = time.monotonic()
            try:
                return make()
            finally:
                clock.end(name, time.monotonic() - started)

        group, store = planned.group, self.store
        model = model_of(group.setting, planned.data, group.seed, store)
        train = group.setting.train
        original = timed(
            "original", partial(store.original, planned.data, start=model, settings=train, seed=group.seed)
        )
        for name, seed in (("retrained", group.seed), (RETRAINED_AGAIN, group.seed + 1)):
            timed(name, partial(store.retrained, original, planned.data, planned.request, seed=seed))
        for name, index in shadows_of(group).items():
            timed(name, partial(store.shadow, original, planned.data, index=index))
        unlearned_names: list[str] = []
        absent: dict[str, str] = {}
        for row in group.setting.methods if rows is None else rows:
            try:
                timed(row.name, partial(unlearned, store, planned, original, row))
                unlearned_names.append(row.name)
            except (UnsupportedError, DivergedError) as error:
                absent[row.name] = error.problems[0]
        timed("audit", lambda: self._audit(planned, unlearned_names, absent))
        self._tidy(planned)

    def _tidy(self, planned: Planned) -> None:
        """Once a group is audited: delete the methods' models where that is asked for, and what a killed run left."""
        clear(self._turn(planned))
        for row in planned.group.setting.methods if self.discard else ():
            remove_whole(planned.folders[row.name])
            key_file(planned.folders[row.name]).unlink(missing_ok=True)

    def _turn(self, planned: Planned) -> Path:
        """The file that a process holds while it works on a group."""
        return self.audits / f".{planned.group.name}.turn"

    def _audit(self, planned: Planned, unlearned_names: Sequence[str], absent: Mapping[str, str]) -> None:
        """Ask every model, and write the group's audit; answers are kept of those that other audits ask again."""
        folders, group = planned.folders, planned.group
        splits = splits_to_ask(planned.data, planned.request, group.draw)
        is_sampled = len(splits["forget"]) + len(splits["retain"]) < len(planned.data.train)
        asker = Asker(
            data=planned.data, splits=splits, whole=None if is_sampled else planned.data.train,
            unit=planned.request.unit, seed=group.draw, cache=self.store.root / "answers",
        )  # fmt: skip
        models = {name: asker.ask(name, folders[name]) for name in ("original", "retrained", RETRAINED_AGAIN)}
        random = untrained(load_adapter(folders["original"]), seed=group.seed)
        key = f"random weights {group.seed} like {folders['original'].name}"
        models[RANDOM_WEIGHTS] = asker.ask(RANDOM_WEIGHTS, random, key=key)
        models |= {name: replace(asker, cache=None).ask(name, folders[name]) for name in unlearned_names}
        shadows = [
            Shadow(asker.ask(name, folders[name]), shadow_members(planned.data, index))
            for name, index in shadows_of(group).items()
        ]
        probe = None
        if group.compress or group.relearn:
            copies = {name: partial(asker.copy, random if name == RANDOM_WEIGHTS else folders[name]) for name in models}
            probe = partial(
                probe_figures, load={**copies, "unlearned": copies["original"]}, compress=group.compress,
                relearn=group.relearn, lr=relearning_rate(read_record(folders["original"]) or RunRecord()),
            )  # fmt: skip
        write_group(self.path(group), planned, models, shadows, absent, self.done(planned), probe)
