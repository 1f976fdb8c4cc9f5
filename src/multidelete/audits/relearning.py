"""How fast does what was forgotten come back, when a few of the forget pairs are learned again?

A model that only hides associations gives the rest back when it is fine-tuned on some of them; what was never learned,
or is really gone, does not come. Hu, Fu, Wu and Smith: "Unlearning or Obfuscating? Jogging the Memory of Unlearned
LLMs via Benign Relearning", ICLR 2025, arXiv:2406.13356. The retrained model, treated alike, is the target.

Differs from the paper: retain pairs stand beside the forget pairs in each step, so that a contrastive loss has
negatives and the model keeps the rest; and what is measured is the family's own headline measure.

Shape suffixes: Q queries or pairs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from multidelete.artifacts.record import RunRecord
from multidelete.audits.columns import Column
from multidelete.audits.compare import Heading, absent_figures, mean_figures
from multidelete.audits.controls import UNTOUCHED, Controls, some
from multidelete.audits.forgetting import ALL_TRAINING, headline_measure
from multidelete.audits.headline import headline
from multidelete.audits.inputs import AuditInput, groups, units
from multidelete.audits.judgement import TOLERANCES
from multidelete.audits.measure import ACCURACY, LABEL_MARGIN, SCORE, Measure
from multidelete.audits.result import Figure
from multidelete.audits.signals import Signals
from multidelete.audits.stats import Array, Floats
from multidelete.core.errors import ConfigError, DivergedError, SettingProblem
from multidelete.core.settings import LoopSettings
from multidelete.core.streams import Stream, stream
from multidelete.core.words import counted
from multidelete.data.pairs import PairDataset
from multidelete.methods.defaults import recorded
from multidelete.models.base import Adapter

AUDIT = "relearning"
QUESTION = "Do deleted pairs come back when a quarter of them is learned again?"
MEAN = "mean over the steps"
SPLIT = "forget, not relearned"
SHARE = 0.25  # of the forgotten units, that are relearned
STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
FORGET_PER_STEP, RETAIN_PER_STEP = 16, 32
HALF = 0.5
RATE_SHARE = 0.3  # of the learning rate that the original was trained at
UNRECORDED_RATE = 1e-5  # the usual one of large pre-trained models


def _is_area(row: Figure) -> bool:
    """The area between a model's curve of relearning and the retrained model's, of recall or accuracy."""
    is_headline = row.measure.gallery == ALL_TRAINING or row.measure.name == ACCURACY
    return is_headline and row.measure.state == MEAN and row.measure.to == "retrained"


def _comes_back(rows: Sequence[Figure]) -> list[str]:
    """What never went is there at every step: a curve that does not tell it from the retrained model tells nothing."""
    gaps = [row for row in rows if row.model == UNTOUCHED and _is_area(row)]
    return some(gaps, lambda row: (row.low or 0) > 0, "untouched: no more is there than in the retrained model")


CONTROLS = Controls(apart=0.20, compared=_is_area, rules=[_comes_back])


@dataclass(frozen=True)
class Parted:
    """Ids of the forget pairs that are relearned, and of those that share no member with them."""

    relearned: Sequence[str]
    unseen: Sequence[str]


def check_relearning(relearn: bool, lr: float | None) -> None:
    """Refuse a learning rate that is none, or that nothing would use."""
    if lr is not None and lr <= 0:
        raise ConfigError(SettingProblem("relearn_lr", f"is {lr}; it must be greater than 0, or None for the default."))
    if lr is not None and not relearn:
        raise ConfigError(
            SettingProblem(
                "relearn_lr", f"is {lr}, and relearning is not asked for. Give relearn too, or leave it out."
            )
        )


def relearning_rate(original: RunRecord) -> float:
    """A learning rate to fine-tune at: 0.3 times that of the training, where the record tells it, else 1e-5."""
    loop = original.recipe.loop or {}
    return RATE_SHARE * recorded(LoopSettings, loop, "loop").lr if "lr" in loop else UNRECORDED_RATE


def part(audit: AuditInput) -> Parted | str:
    """A quarter of the units, at least one, by the audit's seed, and the others; or why that cannot be done."""
    forget, of_pair = audit.original.forget, units(audit.original.forget, audit.unit)
    names = sorted(set(of_pair))
    order = stream(audit.seed, Stream.RELEARNED_UNITS).permutation(len(names))
    drawn = {names[i] for i in order[: max(1, round(SHARE * len(names)))]}
    chosen = [unit in drawn for unit in of_pair]
    taken = {m: {key for key, is_in in zip(keys, chosen, strict=True) if is_in} for m, keys in forget.sources.items()}
    unseen = [
        not is_in and not any(keys[row] in taken[m] for m, keys in forget.sources.items())
        for row, is_in in enumerate(chosen)
    ]
    of_kind = [
        is_unseen and kind == audit.headline_kind() for is_unseen, kind in zip(unseen, forget.kinds, strict=True)
    ]
    if not any(of_kind):
        gone = counted(len(names), f"{audit.unit_noun} were")
        return f"{gone} deleted, and none is left beside those that are relearned"
    ids = list(forget.ids)
    return Parted([ids[i] for i in np.flatnonzero(chosen)], [ids[i] for i in np.flatnonzero(unseen)])


def relearn(
    adapter: Adapter,
    forget: PairDataset,
    retain: PairDataset,
    *,
    lr: float,
    seed: int,
    after_step: Callable[[], None] = lambda: None,
) -> Iterator[int]:
    """Fine-tune a model in place on forget pairs beside retain pairs, and stop at each of `STEPS` to be measured.

    All parameters are trained by AdamW on the family's task loss, at a constant rate and with gradients clipped at
    norm 1, in evaluation mode: no dropout, and batch statistics as they are. The pairs of each step depend on the seed
    alone, so that all models see the same.

    Args:
        adapter: The model, on its device; changed.
        forget: The pairs to learn again; about 16 in a step.
        retain: Pairs beside them; about 32 in a step.
        lr: Learning rate, > 0.
        seed: Of the order of the pairs.
        after_step: Called after each step.

    Yields:
        The number of steps done.

    Raises:
        DivergedError: A loss is not finite.
    """
    adapter.eval()
    adapter.requires_grad_(True)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=lr, weight_decay=0.0)
    few = _batches(len(forget), FORGET_PER_STEP, stream(seed, Stream.RELEARNED_ORDER))
    many = _batches(len(retain), RETAIN_PER_STEP, stream(seed, Stream.RELEARNED_BESIDE))
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            yield step
        if step == STEPS[-1]:
            return
        pairs = [*forget[next(few)], *retain[next(many)]]
        batch = adapter.collate(pairs).to(adapter.device)
        loss = adapter.task_loss(adapter(batch), batch).mean()
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss of relearning is {loss.item()} at step {step + 1}. Lower --relearn-lr.")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        clip_grad_norm_(adapter.parameters(), 1.0)
        optimizer.step()
        after_step()


def figures(
    audit: AuditInput, unseen: Sequence[str], curves: Mapping[str, Mapping[int, Signals]], *, lr: float
) -> list[Figure]:
    """What comes back of the forget pairs that are not relearned, after each number of steps.

    Args:
        audit: The models' signals before.
        unseen: Ids of the forget pairs that are not relearned.
        curves: For each model, and each number of steps, its signals of forget and retain pairs, in the audit's order.
        lr: Learning rate that they were learned at, for the notes.
    """
    kind = audit.headline_kind()
    training = audit.original.training
    of_kind = np.array([k == kind for k in training.kinds], dtype=bool)
    own = of_kind & np.isin(np.asarray(training.ids), np.asarray(unseen))
    measured: dict[int, Mapping[str, Signals]] = {
        step: {model: curve[step] for model, curve in curves.items()} for step in next(iter(curves.values()))
    }
    measured[0] = {"original": training, **measured[0]}
    measure, rows = headline_measure(audit, kind), []
    asked = {step: headline(models, own, of_kind) for step, models in measured.items()}
    values: dict[int, Mapping[str, Floats]] = {}
    rate = f"learning rate {lr:g}"
    for step, result in asked.items():
        if isinstance(result, str):
            rows += absent_figures(AUDIT, replace(measure, step=step), SPLIT, measured[step], result)
            continue
        values[step] = result.values
        hang_together, note = result.groups, f"{result.note}; {rate}" if result.note else rate
    if values:
        rows += _curve_figures(audit, measure, values, hang_together, note)
        rows += _half_figures(measure, values)
    scores = {
        step: {model: signals.select(own).label_aware_score for model, signals in models.items()}
        for step, models in measured.items()
    }
    score = Measure(LABEL_MARGIN if training.can_be_judged else SCORE, kind=kind)
    return rows + _curve_figures(audit, score, scores, groups(training.select(own)), rate)


def _curve_figures(
    audit: AuditInput,
    measure: Measure,
    values: Mapping[int, Mapping[str, Array]],
    hang_together: Sequence[str],
    note: str,
) -> list[Figure]:
    """Each measured point, and the mean over those behind the start: its difference is the area between two curves."""
    learning = list(values[max(values)])
    later = [by_model for step, by_model in values.items() if step > 0]
    points = {replace(measure, step=step): by_model for step, by_model in values.items()}
    points[replace(measure, state=MEAN)] = {
        model: np.mean([by_model[model] for by_model in later], axis=0) for model in learning
    }
    return [
        row
        for point, by_model in points.items()
        for row in mean_figures(
            Heading(AUDIT, point, SPLIT, note=note), values=by_model, groups=hang_together, seed=audit.seed
        )
    ]


def _half_figures(measure: Measure, values: Mapping[int, Mapping[str, Floats]]) -> list[Figure]:
    """The first measured number of steps after which half of the original's figure is there again."""
    original = float(values[0]["original"].mean())
    half, rows = Measure(f"steps to bring back half of {measure}"), []
    for model in (model for model in values[0] if model != "original"):
        row = partial(Figure, audit=AUDIT, measure=half, model=model, split=SPLIT)
        back = [step for step, by_model in sorted(values.items()) if by_model[model].mean() >= HALF * original]
        if original <= 0:
            rows.append(row(absent="the original finds none of them, so there is nothing to come back"))
        elif not back:
            best = max(float(by_model[model].mean()) for by_model in values.values())
            why = (
                f"it does not come back within {max(values)} steps: {best:.3f} at most, the original has {original:.3f}"
            )
            rows.append(row(absent=why))
        else:
            note = f"half of {original:.3f}; measured after {', '.join(map(str, sorted(values)))} steps"
            rows.append(row(value=float(back[0]), n=len(values[0][model]), better="target", note=note))
    return rows


def _batches(size: int, wanted: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Positions of one batch after the other, from shuffled passes."""
    while True:
        order = rng.permutation(size)
        for chunk in np.array_split(order, max(1, round(size / wanted))):
            yield chunk.tolist()


COLUMNS = (
    Column(
        key="relearned",
        figure=lambda audited: audited.if_there((AUDIT, replace(audited.headline, state=MEAN), SPLIT)),
        tolerance=TOLERANCES["forgetting"][1],
        control=UNTOUCHED,
    ),
)
