"""The report's plots, as SVG text to be put into a page.

Every function is pure: same arrays, same bytes. Colours mean models and nothing else; the kind
of a pair is told by its mark. Shape suffixes: N scores or points.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter
from sklearn.metrics import roc_curve

from multidelete.report.embedding_map import MAX_FORGET, Array, Embeddings, all_points, evenly, map_points

INK, MUTED, FAINT, RETAIN_FILL = "#1b1f24", "#5b6570", "#d9dde2", "#c9ced4"
MODEL_COLOURS = {
    "original": "#4a4f55",
    "unlearned": "#0072b2",
    "retrained": "#c77c02",
}  # told apart by all kinds of sight
NAMED_COLOURS = {  # further models whose names have a meaning
    "retrained again": "#b0568f",
    "unlearned again": "#56b4e9",
    "untouched": "#7a5c00",
    "random weights": "#009e73",
}
OTHER_COLOURS = ("#5e3c99", "#d1495b", "#44aa99", "#999933", "#882255")
MODEL_DASHES = {"original": (0.0, (4.0, 1.5)), "retrained": (0.0, (1.2, 1.2))}
STYLE: dict[Any, Any] = {  # matplotlib types its keys as 300 literals
    "svg.fonttype": "none",
    "svg.hashsalt": "multidelete",
    "text.parse_math": False,  # a name with two dollar signs is a name, not a formula
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same layout on every machine
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
}
MAX_RETAIN = 120  # pairs drawn in the map; more than this is a blot


@dataclass(frozen=True, kw_only=True)
class ChartData:
    """What the plots are drawn from. No ids: nothing here names a pair.

    Models are ``original``, ``unlearned``, ``retrained`` (in this order, those that exist); other
    names are drawn too. Whatever is left empty is reported as not drawn.

    Attributes:
        scores: For each model and split (``forget``, ``retain``, ``holdout``) the label-aware
            scores of the given pairs, (N,), any N per split.
        labelled: Whether these scores are margins of labels.
        members: For each model the attack's score of each forget pair, (N,); higher means
            "was trained on".
        nonmembers: The same of held-out pairs, (N,).
        embeddings: For each model; empty where the family has none.
        seconds: Wall seconds of each model's making (``unlearned``, ``retrained``, ...).
        gallery: Number of captions that were searched for the examples' ranks.
        kind: Kind of the pairs whose scores and embeddings these are, where pairs have kinds.
        attack: On which pairs and by which signal the attack is.
    """

    scores: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    labelled: bool = False
    members: Mapping[str, Array] = field(default_factory=dict)
    nonmembers: Mapping[str, Array] = field(default_factory=dict)
    embeddings: Mapping[str, Embeddings] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    gallery: int | None = None
    kind: str | None = None
    attack: str | None = None


@dataclass(frozen=True)
class Chart:
    """One plot: ``svg`` is escaped markup without outside references, or None and why."""

    title: str
    svg: str | None = None
    absent: str | None = None


def model_colour(model: str) -> str:
    """The colour of a model, the same in every plot and table; stable for unknown names."""
    return (MODEL_COLOURS | NAMED_COLOURS).get(model) or OTHER_COLOURS[sum(model.encode()) % len(OTHER_COLOURS)]


@mpl.rc_context(STYLE)
def score_histograms(scores: Mapping[str, Mapping[str, Array]], *, labelled: bool = False) -> Chart:
    """Scores of forget, retain and held-out pairs, one row per model, the same axes."""
    title = (
        "How sure each model is of the pairs' labels" if labelled else "How strongly each model associates the pairs"
    )
    drawn = {model: {split: s for split, s in splits.items() if len(s)} for model, splits in scores.items()}
    drawn = {model: splits for model, splits in drawn.items() if splits}
    if not drawn:
        return Chart(title, absent="no association scores were collected")
    bins = histogram_bins([s for splits in drawn.values() for s in splits.values()])
    canvas = Canvas(figsize=(4.5, 0.7 + 0.95 * len(drawn)))
    _keep_free(canvas, left=0.6, right=0.08, bottom=0.42, top=0.48)
    canvas.subplots_adjust(hspace=0.3)
    rows = canvas.subplots(len(drawn), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (model, splits) in zip(rows, drawn.items(), strict=True):
        _histogram_row(axes, splits, bins, model_colour(model))
        axes.set_title(_short(model), loc="left", fontsize=8.5, fontweight="bold", color=model_colour(model), pad=2)
    rows[0].set_ylim(0, 1.06 * max(axes.dataLim.y1 for axes in rows))
    rows[0].yaxis.set_major_locator(MaxNLocator(3))
    labels, scored = (
        "margin of the pair's label (right: surer)",
        "association score of the pair (right: belongs together)",
    )
    rows[-1].set_xlabel(labels if labelled else scored)
    canvas.supylabel("share of pairs", x=0.02, fontsize=8.5, color=MUTED)
    forget = tuple(Patch(facecolor=model_colour(model), alpha=0.75) for model in drawn)
    marks = [forget, Patch(facecolor=RETAIN_FILL), Line2D([], [], color=INK, lw=1.1, ls=(0, (3, 1.5)))]
    canvas.legend(  # type: ignore[call-overload]
        marks,
        ["forget", "retain", "held-out"],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        loc="upper right",
        borderaxespad=0.2,
        ncols=3,
        fontsize=8,
        handlelength=2.0,
        columnspacing=1.4,
    )
    return Chart(title, to_svg(canvas, "scores"))


def histogram_bins(arrays: Sequence[Array], limit: int = 36) -> Array:
    """Edges of equal bins over all arrays; constant values get one bin's width around them.

    >>> histogram_bins([np.array([0.5, 0.5])]).round(2).tolist()
    [0.45, 0.55]
    """
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    if low == high:
        half = 0.1 * abs(low) or 0.1
        return np.array([low - half, high + half])
    largest = max(len(a) for a in arrays)
    return np.linspace(low, high, min(limit, max(8, int(2 * np.sqrt(largest)))) + 1)


def _histogram_row(axes: Axes, splits: Mapping[str, Array], bins: Array, colour: str) -> None:
    """Retain as a grey field, forget in the model's colour over it, held-out as a dashed outline."""
    shares = {split: np.histogram(s, bins)[0] / len(s) for split, s in splits.items()}
    if "retain" in shares:
        axes.stairs(shares["retain"], bins, fill=True, color=RETAIN_FILL)
    if "forget" in shares:
        axes.stairs(shares["forget"], bins, fill=True, color=colour, alpha=0.6)
        axes.stairs(shares["forget"], bins, color=colour, lw=0.9)
    if "holdout" in shares:
        axes.stairs(shares["holdout"], bins, color=INK, lw=1.1, ls=(0, (3, 1.5)))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


@mpl.rc_context(STYLE)
def membership_roc(members: Mapping[str, Array], nonmembers: Mapping[str, Array]) -> Chart:
    """How well an attacker tells forget pairs from pairs that were never trained on."""
    title = "Can an attacker tell who was in the training data?"
    models = [model for model in members if len(members[model]) and len(nonmembers.get(model, ()))]
    if not models:
        return Chart(title, absent="no membership scores were collected")
    canvas = Canvas(figsize=(3.5, 3.5 + 0.17 * len(models)))
    _keep_free(canvas, left=0.64, right=0.12, bottom=0.44, top=0.3 + 0.17 * len(models))
    axes = canvas.subplots()
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1)
    for model in models:
        is_member_N = np.repeat([True, False], [len(members[model]), len(nonmembers[model])])
        false_N, true_N, _ = roc_curve(is_member_N, np.concatenate([members[model], nonmembers[model]]))
        area = float(np.trapezoid(true_N, false_N))
        dash = MODEL_DASHES.get(model, "-")
        axes.plot(false_N, true_N, color=model_colour(model), lw=1.7, ls=dash, label=f"{_short(model)}  {area:.2f}")
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal")
    axes.set_xlabel("held-out pairs wrongly called members")
    axes.set_ylabel("forget pairs called members")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    canvas.legend(  # beside the curves: they may run anywhere
        loc="upper left",
        borderaxespad=0.2,
        title="area under the curve (AUC)",
        title_fontsize=8,
        fontsize=8.5,
        alignment="left",
    )
    return Chart(title, to_svg(canvas, "roc"))


@mpl.rc_context(STYLE)
def embedding_maps(embeddings: Mapping[str, Embeddings]) -> tuple[list[Chart], str]:
    """One map per model, the same axes, each pair's image and text joined by a line; and a note."""
    if not embeddings:
        return [], "Not drawn: this model scores a pair as a whole, and has no place (embedding) for each part of it."
    if any(len(e.retain_image) < 3 or len(e.forget_image) < 1 for e in embeddings.values()):
        return [], "Not drawn: a map needs at least three retain pairs and one forget pair."
    try:
        placed, explained = map_points(embeddings)
    except ValueError as problem:
        return [], f"Not drawn: {problem}."
    everything = np.concatenate([a for e in placed.values() for a in all_points(e)])
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = 0.06 * max(float((high - low).max()), 1e-9)
    charts = []
    for number, (model, e) in enumerate(placed.items()):
        canvas = Canvas(figsize=(3.3, 3.1))
        axes = canvas.add_axes((0.003, 0.003, 0.994, 0.994))
        thinned = [evenly(a, MAX_RETAIN) for a in (e.retain_image, e.retain_text)]
        _draw_pairs(axes, thinned[0], thinned[1], "#b4bbc3", size=9, line=0.35)
        _draw_pairs(axes, e.forget_image, e.forget_text, model_colour(model), size=17, line=0.9)
        axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color=FAINT)
        charts.append(Chart(model, to_svg(canvas, f"map{number}")))
    cut = f"At most {MAX_FORGET} deleted and {MAX_RETAIN} kept pairs are drawn."
    return charts, f"{cut} The map shows {explained:.0%} of the spread of the original's embeddings."


def _keep_free(canvas: Canvas, *, left: float, right: float, bottom: float, top: float) -> None:
    """Leave room around the axes, in inches: all texts but the ticks' are known, so that no layout need be searched."""
    width, height = canvas.get_size_inches()
    canvas.subplots_adjust(left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height)


def _draw_pairs(axes: Axes, image_N2: Array, text_N2: Array, colour: str, *, size: float, line: float) -> None:
    ends = np.stack([image_N2, text_N2], axis=1)
    axes.add_collection(LineCollection(list(ends), colors=colour, linewidths=line, alpha=0.6, capstyle="butt"))
    axes.scatter(image_N2[:, 0], image_N2[:, 1], s=size, color=colour, linewidths=0, zorder=3)
    axes.scatter(
        text_N2[:, 0],
        text_N2[:, 1],
        s=size,
        marker="s",
        facecolors="white",
        edgecolors=colour,
        linewidths=0.9,
        zorder=3,
    )


@mpl.rc_context(STYLE)
def cost_bars(seconds: Mapping[str, float]) -> Chart:
    """Wall seconds as bars, each with its fraction of retraining where that is known."""
    title = "What it cost"
    if not seconds:
        return Chart(title, absent="no times were recorded")
    whole = seconds.get("retrained")
    canvas = Canvas(figsize=(4.5, 0.2 + 0.27 * len(seconds)), layout="constrained")
    axes = canvas.subplots()
    longest = max(seconds.values())
    for row, (model, wall_s) in enumerate(seconds.items()):
        axes.barh(row, wall_s, height=0.58, color=model_colour(model))
        share = f", {wall_s / whole:.2f} \N{MULTIPLICATION SIGN} retraining" if whole and model != "retrained" else ""
        axes.text(wall_s + 0.012 * longest, row, f" {wall_s:,.1f} s{share}", va="center", fontsize=8.5)
    axes.set_yticks(range(len(seconds)), [_short(model) for model in seconds], color=INK)
    axes.set(xlim=(0, 1.6 * longest or 1.0), xticks=[])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[["bottom", "left"]].set_visible(False)
    return Chart(title, to_svg(canvas, "cost"))


def _short(name: str, limit: int = 32) -> str:
    """A name from outside that leaves room for the plot."""
    return name if len(name) <= limit else name[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def to_svg(canvas: Canvas, name: str) -> str:
    """SVG to be put into a page: no prolog, no date, no addresses, ids that begin with ``name``."""
    buffer = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():  # the browser draws the letters; only their widths are guessed here
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)  # it would hold for the whole page
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "Helvetica, Arial, sans-serif", text)
    return re.sub(r"<[^>]*>", lambda tag: _own_ids(tag.group(), name), text).strip()


def _own_ids(tag: str, name: str) -> str:
    tag = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", tag).replace("xlink:href", "href")
    tag = re.sub(r'\sid="([^"]*)"', rf' id="{name}-\1"', tag)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", tag)
