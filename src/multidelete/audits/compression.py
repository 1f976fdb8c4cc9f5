"""Does what was forgotten come back when the weights are stored in few bits?

Unlearning that moves weights by little can be undone by rounding them. Zhang et al.: "Catastrophic Failure of LLM
Unlearning via Quantization", ICLR 2025, arXiv:2410.16454. The retrained model, rounded alike, is the target.

Shape suffixes: C output channels.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from multidelete.audits import stats
from multidelete.audits.columns import Column
from multidelete.audits.compare import Heading, absent_figures, auc_figures, mean_figures
from multidelete.audits.controls import UNTOUCHED, Controls, worse_than_original
from multidelete.audits.forgetting import headline_measure
from multidelete.audits.headline import Headline, headline
from multidelete.audits.inputs import AuditInput, ModelSignals, groups, prefix
from multidelete.audits.judgement import TOLERANCES
from multidelete.audits.measure import Measure
from multidelete.audits.membership import SPLIT as MEMBERSHIP_SPLIT
from multidelete.audits.membership import attack_scores, strongest
from multidelete.audits.result import Figure
from multidelete.models.base import Adapter

AUDIT = "compression"
QUESTION = "Do deleted pairs come back when weights are rounded to few bits?"
CONTROLS = Controls(apart=0.20, rules=[worse_than_original])
BITS = (8, 4)
UNCOMPRESSED = "uncompressed"


def weights_in(bits: int) -> str:
    """The state of a model with such weights."""
    return f"{bits}-bit weights"


def compressed(adapter: Adapter, bits: int) -> Adapter:
    """A copy whose weights have ``bits`` bits: rounded to the nearest, symmetric, with a scale per output channel.

    Rounded are the parameters called ``weight`` that have two or more dimensions: those of linear and convolutional
    layers and embedding tables. The first dimension is the output channel, of an embedding the entry. With m the
    largest magnitude in a channel, its weights become multiples of m / (2^(bits - 1) - 1). Biases, norms and free
    vectors, such as a class token, stay as they are, and so do activations.

    Args:
        adapter: The model, which is not changed.
        bits: At least 2.

    Raises:
        ValueError: Fewer than 2 bits.
    """
    if bits < 2:
        raise ValueError(f"{bits} bits; a sign and a magnitude take at least 2")
    rounded = copy.deepcopy(adapter)
    levels = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for name, weight in rounded.named_parameters():
            if weight.ndim < 2 or not name.endswith("weight"):
                continue
            largest_C1 = weight.flatten(1).abs().amax(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
            scale_C1 = torch.where(largest_C1 > 0, largest_C1 / levels, 1.0)
            weight.copy_((weight / scale_C1).round() * scale_C1)
    return rounded


def figures(audit: AuditInput, rounded: Mapping[int, Mapping[str, ModelSignals]]) -> list[Figure]:
    """Headline measure on forget pairs and on a retain sample, and membership, of each model in few bits.

    Args:
        audit: The uncompressed models' signals.
        rounded: For each number of bits what the compressed models say of the same pairs.
    """
    kind = audit.headline_kind()
    whole = {name: model.training for name, model in audit.models.items()}
    of_kind = np.array([k == kind for k in whole["original"].kinds], dtype=bool)
    is_forget = np.arange(len(of_kind)) < len(audit.original.forget)
    sample = np.concatenate([np.zeros(is_forget.sum(), dtype=bool), audit.retain_sample])
    rows = []
    for bits, models in rounded.items():
        few_bits = {name: model.training for name, model in models.items()}
        measure = replace(headline_measure(audit, kind), state=weights_in(bits))
        for split, own in (("forget", is_forget & of_kind), ("retain sample", sample & of_kind)):
            if not own.any():
                why = f"there are no {prefix(kind)}{split} pairs"
                rows += absent_figures(AUDIT, measure, split, models, why)
                continue
            before, after = headline(whole, own, of_kind), headline(few_bits, own, of_kind)
            if isinstance(before, str) or isinstance(after, str):
                why = before if isinstance(before, str) else str(after)
                rows += absent_figures(AUDIT, measure, split, models, why)
            else:
                rows += _headline_figures(audit, measure, split, before, after)
        rows += _membership_figures(audit, models, bits)
    return rows


def _headline_figures(
    audit: AuditInput, measure: Measure, split: str, before: Headline, after: Headline
) -> list[Figure]:
    """The measure in few bits, and what rounding changed of it, paired over the items."""
    rows = mean_figures(
        Heading(AUDIT, measure, split, better="target" if split == "forget" else "higher", note=after.note),
        values=after.values,
        groups=after.groups,
        seed=audit.seed,
    )
    changed = {model: values - before.values[model] for model, values in after.values.items()}
    return rows + mean_figures(
        Heading(AUDIT, measure.against(UNCOMPRESSED), split),
        values=changed,
        groups=after.groups,
        seed=audit.seed,
        with_differences=False,
    )


def _membership_figures(audit: AuditInput, models: Mapping[str, ModelSignals], bits: int) -> list[Figure]:
    """AUC of the signal that is strongest on the uncompressed original, and what rounding changed of it."""
    kind, holdout = audit.headline_kind(), audit.original.holdout
    measure = Measure("membership auc", kind=kind, state=weights_in(bits))
    if holdout is None or kind not in holdout.kinds:
        why = f"there are no {prefix(kind)}held-out pairs, and retain pairs are members"
        return absent_figures(AUDIT, measure, MEMBERSHIP_SPLIT, models, why)
    before, after = attack_scores(audit, kind), attack_scores(replace(audit, models=models), kind)
    signal = strongest({signal: stats.auc(*by_model["original"]) for signal, by_model in before.items()})
    of_groups = groups(audit.original.forget.of_kind(kind)), groups(holdout.of_kind(kind))
    rows = auc_figures(
        Heading(AUDIT, measure, MEMBERSHIP_SPLIT, note=f"signal: {signal}"),
        scores=after[signal],
        groups=of_groups,
        seed=audit.seed,
    )
    for model, scores in after[signal].items():
        value = stats.auc(*scores) - stats.auc(*before[signal][model])
        now_R, then_R = (stats.auc_resamples(*pair, *of_groups, audit.seed) for pair in (scores, before[signal][model]))
        low, high = stats.percentiles(None if now_R is None or then_R is None else now_R - then_R) or (None, None)
        row = partial(Figure, audit=AUDIT, model=model, split=MEMBERSHIP_SPLIT, n=len(scores[0]), better="target")
        rows.append(row(measure=measure.against(UNCOMPRESSED), value=value, low=low, high=high))
    return rows


COLUMNS = (
    Column(
        key="4 bits",
        figure=lambda audited: audited.if_there((AUDIT, replace(audited.headline, state=weights_in(4)), "forget")),
        tolerance=TOLERANCES["forgetting"][1],
        control=UNTOUCHED,
    ),
)
