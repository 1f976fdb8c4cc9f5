"""How far each pair's margin lies from the retrained model's, beside the floor: retrained against retrained again.

The margin of a pair is `multidelete.audits.margin.pair_margins`. Two retrained models of different seeds
differ as well, so no distance is read without that between them.

Shape suffixes: N pairs, R and S models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from multidelete.audits import stats
from multidelete.audits.columns import Column
from multidelete.audits.compare import Heading, absent_figures, mean_figures
from multidelete.audits.controls import RANDOM_WEIGHTS, Controls, some
from multidelete.audits.inputs import RETRAINED_AGAIN, AuditInput, ModelSignals, groups
from multidelete.audits.margin import NO_REFERENCE, meaning, pair_margins
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure
from multidelete.audits.roles import Role
from multidelete.audits.signals import Signals
from multidelete.core.words import counted

AUDIT = "distance"
QUESTION = "How far the models lie from the retrained model, pair by pair. Near 0 is good."
SIGNED, ABSOLUTE, KLOM = "signed margin gap to retrained", "absolute margin gap to retrained", "KLoM"
HIGHEST, LOWEST = "highest margin gap of a pair", "lowest margin gap of a pair"
NO_FLOOR = "floor not known: there is no second retrained model"
LEAST_MODELS = 2
BINS, CLIP, EMPTY = 20, 100.0, 1e-5


def _is_farther(rows: Sequence[Figure]) -> list[str]:
    """Random weights lie farther from the retrained model than a second one does, in some figure."""
    floor = {(row.measure, row.split): row.value for row in rows if row.model == RETRAINED_AGAIN}
    random = [row for row in rows if row.model == RANDOM_WEIGHTS and row.measure.name == ABSOLUTE]
    gaps = [row for row in random if (row.measure, row.split) in floor]
    nearer = "random weights: nowhere farther from the retrained model than a second one is"
    return some(gaps, lambda row: (row.value or 0) > (floor[row.measure, row.split] or 0), nearer)


CONTROLS = Controls(rules=[_is_farther])


def figures(audit: AuditInput) -> list[Figure]:
    """Signed and absolute mean gap and KLoM on forget pairs, a retain sample and held-out pairs, per kind.

    None without a retrained model: there is nothing to be far from.
    """
    rows = []
    for kind in audit.kinds() if "retrained" in audit.models else ():
        splits = _splits(audit.original, audit, kind)
        margins = kind_margins(audit, kind)
        for split, pairs in splits.items():
            if margins is None:
                rows += absent_figures(AUDIT, Measure(SIGNED, kind=kind), split, audit.models, NO_REFERENCE)
                continue
            of_split = {model: of_splits[split] for model, of_splits in margins.items()}
            rows += _gap_figures(audit, kind, split, of_split, pairs)
            rows += _klom_figures(audit, kind, split, of_split, pairs)
    return rows


def kind_margins(audit: AuditInput, kind: str | None) -> dict[str, dict[str, stats.Floats]] | None:
    """For each model and split the margins of the pairs of one kind; None where a pair has no reference."""
    margins = {}
    for name, model in audit.models.items():
        splits = _splits(model, audit, kind)
        first, *others = splits.values()
        for other in others:
            first = first.join(other)
        margin_N = pair_margins(model, first, audit.seed)
        if margin_N is None:
            return None
        ends = np.cumsum([len(pairs) for pairs in splits.values()])
        margins[name] = dict(zip(splits, np.split(margin_N, ends[:-1]), strict=True))
    return margins


def farthest_pairs(audit: AuditInput, count: int) -> list[tuple[int, dict[str, float]]]:
    """The forget pairs of the headline kind whose margins lie farthest above and below the retrained model's.

    Returns:
        At most ``count`` pairs of each side, the highest gap first: the place among the forget pairs of that kind,
        and each model's margin. Empty without a retrained model or margins.
    """
    kind = audit.headline_kind()
    margins = kind_margins(audit, kind) if "retrained" in audit.models else None
    if margins is None:
        return []
    gap_N = margins["unlearned"]["forget"] - margins["retrained"]["forget"]
    order = np.argsort(-gap_N, kind="stable")
    ends = [at for at in order[:count] if gap_N[at] > 0] + [at for at in order[-count:] if gap_N[at] < 0]
    return [(int(at), {name: float(splits["forget"][at]) for name, splits in margins.items()}) for at in ends]


def klom(ours_RN: stats.Array, theirs_SN: stats.Array) -> stats.Floats:
    """KL divergence of margins: of each pair's margins over R models from its margins over S models, in nats, (N,).

    Georgiev, Rinberg, Park, Garg, Ilyas, Madry and Neel: "Attribute-to-Delete: Machine Unlearning via
    Datamodel Matching", 2024, arXiv:2410.23232, appendix E.1. Checked against code that its authors
    published, not against the paper's text: KL(unlearned || retrained) of histograms with 20 equal bins over
    the range of both sides, margins cut off at 100 from both sides, 1e-5 in place of an empty retrained bin.

    Differs from that code: the largest margin counts in the last bin; there it falls out of all bins,
    which for few models loses much of what there is.

    >>> klom(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])).tolist()
    [0.0]

    Raises:
        ValueError: A side has fewer than two models.
    """
    if min(len(ours_RN), len(theirs_SN)) < LEAST_MODELS:
        raise ValueError(f"{len(ours_RN)} and {len(theirs_SN)} models; a distribution takes at least {LEAST_MODELS}")
    ours_RN, theirs_SN = np.clip(ours_RN, -CLIP, CLIP), np.clip(theirs_SN, -CLIP, CLIP)
    both = np.concatenate([ours_RN, theirs_SN])
    low_N = both.min(axis=0)
    width_N = np.maximum((both.max(axis=0) - low_N) / BINS, 1e-12)

    def shares(margin_RN: stats.Array) -> stats.Floats:
        bin_RN = np.minimum((margin_RN - low_N) // width_N, BINS - 1)
        return np.stack([(bin_RN == place).mean(axis=0) for place in range(BINS)])

    p_BN, q_BN = shares(ours_RN), np.maximum(shares(theirs_SN), EMPTY)
    return np.asarray(np.where(p_BN > 0, p_BN * np.log(np.maximum(p_BN, EMPTY) / q_BN), 0.0).sum(axis=0))


def _splits(model: ModelSignals, audit: AuditInput, kind: str | None) -> dict[str, Signals]:
    """Forget pairs, the retain sample and held-out pairs of one kind, those that there are."""
    by_split = {"forget": model.forget, "retain sample": model.retain.select(audit.retain_sample)}
    if model.holdout is not None:
        by_split["test"] = model.holdout
    return {split: of_kind for split, pairs in by_split.items() if len(of_kind := pairs.of_kind(kind))}


def _gap_figures(
    audit: AuditInput, kind: str | None, split: str, margins: Mapping[str, stats.Floats], pairs: Signals
) -> list[Figure]:
    """Mean gaps of every model but the retrained one, with the floor in the note; extremes on forget pairs."""
    gap_N = {name: margin_N - margins["retrained"] for name, margin_N in margins.items() if name != "retrained"}
    gaps = []
    for name, values in ((SIGNED, gap_N), (ABSOLUTE, {name: np.abs(gap) for name, gap in gap_N.items()})):
        rows = mean_figures(
            Heading(AUDIT, Measure(name, kind=kind), split),
            values=values,
            groups=groups(pairs),
            seed=audit.seed,
            with_differences=False,
        )
        again = [row for row in rows if row.role is Role.RETRAINED_AGAIN]
        target = 0.0 if name == SIGNED else max((row.value or 0.0 for row in again), default=None)
        gaps += [replace(row, target=target, note=f"{meaning(pairs)}; {_floor(again)}") for row in rows]
    if split == "forget":
        for name, extreme in ((HIGHEST, np.max), (LOWEST, np.min)):
            gaps += [
                Figure(audit=AUDIT, measure=Measure(name, kind=kind), model=model, split=split,
                       value=float(extreme(gap)), n=len(gap), better="target",
                       note=f"an extreme of all pairs; read it beside {RETRAINED_AGAIN}")
                for model, gap in gap_N.items()
            ]  # fmt: skip
    return gaps


def _floor(again: list[Figure]) -> str:
    """The floor in words."""
    values = [
        f"{row.value:+.3f}" + ("" if row.low is None or row.high is None else f" ({row.low:+.3f} to {row.high:+.3f})")
        for row in again
    ]
    return f"floor, {RETRAINED_AGAIN}: {', '.join(values)}" if values else NO_FLOOR


def _klom_figures(
    audit: AuditInput, kind: str | None, split: str, margins: Mapping[str, stats.Floats], pairs: Signals
) -> list[Figure]:
    """KLoM of the unlearned and of other retrained models, both against the same retrained ones, equally many."""
    measure = Measure(KLOM, kind=kind)
    unlearned = [margins[model] for model in ("unlearned", *audit.of_role(Role.UNLEARNED_AGAIN))]
    retrained = [margins[model] for model in ("retrained", *audit.of_role(Role.RETRAINED_AGAIN))]
    many = min(len(unlearned), len(retrained) // 2)
    if many < LEAST_MODELS:
        why = (
            f"{len(unlearned)} unlearned and {counted(len(retrained), 'retrained models')}; it takes {LEAST_MODELS} "
            f"and {2 * LEAST_MODELS}: half of the retrained ones give the floor, without which it says nothing"
        )
        return absent_figures(AUDIT, measure, split, {"unlearned": None}, why)
    against = np.stack(retrained[many : 2 * many])
    rows = mean_figures(
        Heading(AUDIT, measure, split),
        values={
            "unlearned": klom(np.stack(unlearned[:many]), against),
            RETRAINED_AGAIN: klom(np.stack(retrained[:many]), against),
        },
        groups=groups(pairs),
        seed=audit.seed,
        with_differences=False,
    )
    floor = rows[1]
    note = f"{many} models on each side, {BINS} bins; {meaning(pairs)}; floor, retrained models: {floor.value:.3f}"
    return [replace(row, target=floor.value, note=note) for row in rows]


COLUMNS = (Column(key="margin gap", figure=lambda audited: (AUDIT, Measure(SIGNED, kind=audited.kind), "forget")),)
