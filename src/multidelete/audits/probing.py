"""Audits that change copies of the models: weights in few bits, and learning some of the forget pairs again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from multidelete.audits import compression, relearning
from multidelete.audits.compare import absent_figures
from multidelete.audits.forgetting import headline_measure
from multidelete.audits.inputs import SPLITS, AuditInput, ModelSignals, units
from multidelete.audits.result import Figure
from multidelete.audits.separation import whole_units_first
from multidelete.audits.signals import Signals, collect
from multidelete.core.progress import Bar, progress_bar
from multidelete.data.pairs import PairDataset
from multidelete.models.base import Adapter

RETAIN_LIMIT = 2000  # retain pairs that a changed model is asked about
HOLDOUT_LIMIT = 1000
_STEP_COST = 3 * (relearning.FORGET_PER_STEP + relearning.RETAIN_PER_STEP)  # in pairs forwarded

Loaded = tuple[Adapter, Mapping[str, PairDataset]]


def probe_figures(
    audit: AuditInput, load: Mapping[str, Callable[[], Loaded]], *, compress: bool, relearn: bool, lr: float
) -> list[Figure]:
    """Figures of `compression` and `relearning`, as far as they are asked for.

    Of retain and held-out pairs only some are asked about, in whole units. Families that are searched in drawn
    galleries are not searched again: of these only scores and membership are measured.

    Args:
        audit: The models' signals.
        load: For each model of the audit a copy of it that may be changed, on its device, and the pairs of the
            signals, labelled as this model knows them.
        compress: Whether to round weights.
        relearn: Whether to learn forget pairs again.
        lr: Learning rate of relearning, > 0.

    Raises:
        DivergedError: A loss of relearning is not finite.
    """
    few = _fewer(audit)
    parted = relearning.part(few)
    learners = [name for name in few.models if name != "original"]
    asked = sum(len(signals) for signals in _splits(few.original).values())
    total = len(few.models) * len(compression.BITS) * asked if compress else 0
    if relearn and not isinstance(parted, str):
        measuring = len(relearning.STEPS) * len(few.original.training)
        total += len(learners) * (measuring + relearning.STEPS[-1] * _STEP_COST)
    rows: list[Figure] = []
    with progress_bar("probing", total) as bar:
        prober = _Prober(few, load, bar)
        if compress:
            rows += compression.figures(few, prober.compressed())
        if relearn and isinstance(parted, str):
            measure = headline_measure(few, few.headline_kind())
            rows += absent_figures(relearning.AUDIT, measure, relearning.SPLIT, dict.fromkeys(learners), parted)
        elif relearn and not isinstance(parted, str):
            curves = {name: prober.relearned(name, parted, lr) for name in learners}
            rows += relearning.figures(few, parted.unseen, curves, lr=lr)
    return rows


@dataclass
class _Prober:
    """Changes copies of models, and asks them about the audit's pairs."""

    audit: AuditInput
    load: Mapping[str, Callable[[], Loaded]]
    bar: Bar
    done: int = 0

    def compressed(self) -> dict[int, dict[str, ModelSignals]]:
        """What each model says in few bits."""
        rounded_in: dict[int, dict[str, ModelSignals]] = {bits: {} for bits in compression.BITS}
        for name in self.audit.models:
            adapter, pairs = self._loaded(name)
            for bits, by_model in rounded_in.items():
                rounded = compression.compressed(adapter, bits)
                answers = {s: self._ask(rounded, p, f"{name} in {bits} bits") for s, p in pairs.items()}
                by_model[name] = ModelSignals(**answers, logit_scale=rounded.logit_scale)
        return rounded_in

    def relearned(self, name: str, parted: relearning.Parted, lr: float) -> dict[int, Signals]:
        """What one model says of forget and retain pairs, while it learns some of them again."""
        adapter, pairs = self._loaded(name)
        forget, retain = pairs["forget"], pairs["retain"]
        curve: dict[int, Signals] = {}
        again, title = forget.only(parted.relearned, "relearned"), f"relearning {name}"

        def count_step() -> None:
            self.done += _STEP_COST
            self.bar.to(self.done, title)

        learning = relearning.relearn(adapter, again, retain, lr=lr, seed=self.audit.seed, after_step=count_step)
        for step in learning:
            curve[step] = self._ask(adapter, forget, title).join(self._ask(adapter, retain, title))
        return curve

    def _loaded(self, name: str) -> Loaded:
        adapter, splits = self.load[name]()
        wanted = _splits(self.audit.original)
        return adapter, {split: splits[split].only(signals.ids, split) for split, signals in wanted.items()}

    def _ask(self, adapter: Adapter, pairs: PairDataset, title: str) -> Signals:
        before = self.done
        signals = collect(adapter, pairs, progress=lambda now, _: self.bar.to(before + now, title))
        self.done += len(pairs)
        return replace(signals, unimodal={})  # the largest part, which no figure here reads


def _fewer(audit: AuditInput) -> AuditInput:
    """The same audit of at most `RETAIN_LIMIT` retain pairs and `HOLDOUT_LIMIT` of each held-out split."""
    limits = {"retain": RETAIN_LIMIT, "test": HOLDOUT_LIMIT, "val": HOLDOUT_LIMIT}
    models = {}
    for name, model in audit.models.items():
        kept = {}
        for split, signals in _splits(model).items():
            order = whole_units_first(units(signals, audit.unit), audit.seed)
            kept[split] = replace(signals.select(np.sort(order[: limits.get(split)])), gallery=None)
        models[name] = ModelSignals(**kept, logit_scale=model.logit_scale)
    return replace(audit, models=models, retain_pairs=audit.retain_pairs or len(audit.original.retain))


def _splits(model: ModelSignals) -> dict[str, Signals]:
    """The splits that there are."""
    answers = {split: getattr(model, split) for split in SPLITS}
    return {split: signals for split, signals in answers.items() if signals is not None}
