"""One self-contained page that shows what was deleted, and the evidence that it is gone."""

import base64
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined, Template, pass_context
from jinja2.runtime import Context
from PIL import Image

from multidelete.audits import QUESTIONS, compression, membership, relearning
from multidelete.audits.result import Figure
from multidelete.audits.verdict import Verdict
from multidelete.core.words import counted, tokens_sentence
from multidelete.report.brought_back import compression_lines, relearning_curve
from multidelete.report.charts import (
    Chart,
    ChartData,
    cost_bars,
    embedding_maps,
    membership_roc,
    model_colour,
    score_histograms,
)
from multidelete.report.glossary import glossary
from multidelete.report.tables import MODELS, STATES, figure_table, number, score_line
from multidelete.report.withhold import content_salt, hider, pair_name, withhold

THUMBNAIL_PX = 96
HEADER = ("model", "family", "method", "data", "date", "request", "counts", "seed", "seeds")

DIGESTS = "digests"  # entry of the run: what tells the judged models and the request from others


class Match(NamedTuple):
    """One caption that a model found for a picture.

    Attributes:
        caption: The caption found.
        score: Its association score, higher means more associated.
        is_true: It is the pair's own caption.
        is_forgotten: It belongs to some forget pair.
    """

    caption: str
    score: float
    is_true: bool
    is_forgotten: bool

    def __repr__(self) -> str:
        return "Match()"


@dataclass(frozen=True, kw_only=True, repr=False)
class Shown:
    """A forget pair that stands in the report.

    Attributes:
        id: The pair's id.
        subject: Whom it is about.
        image: Its picture, any size; None where the family has none.
        caption: Its own caption.
    """

    id: str
    subject: str | None
    image: Image.Image | None
    caption: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@dataclass(frozen=True, kw_only=True, repr=False)
class Example(Shown):
    """One forget pair, and what each model finds for it.

    Attributes:
        matches: For each model its best matches, best first.
        rank: For each model the rank of the pair's own caption, from 1; halves come from ties.
    """

    matches: Mapping[str, Sequence[Match]]
    rank: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, repr=False)
class Extreme(Shown):
    """A forget pair that lies far from where the retrained model has it.

    Attributes:
        about: Its label, and names of what else belongs to it (a graph's nodes); empty where there are none.
        margin: Each model's margin of the pair, ``unlearned`` and ``retrained`` among them.
    """

    about: str = ""
    margin: Mapping[str, float]

    @property
    def gap(self) -> float:
        """How far above the retrained model's margin the unlearned model's lies."""
        return self.margin["unlearned"] - self.margin["retrained"]


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What a report shows.

    Attributes:
        run: What was done. ``model``, ``family``, ``method``, ``data``, ``date``, ``request``,
            ``counts``, ``seed`` and ``seeds`` stand at the top, where present;
            everything, nested mappings and lists included, stands under the settings. What ``digests``
            names is shown as what was judged.
        figures: All figures, absent ones included.
        verdict: The judgement.
        charts: What the plots are drawn from.
        examples: Forget pairs to show.
        extremes: Forget pairs farthest from the retrained model, to show likewise.
        deleted: Number of forget pairs that examples and extremes are chosen from, where there are more of them.
        show_forgotten: Show the examples' pictures, captions and ids. Otherwise each appears as a
            hash with its ranks only, and no id, subject or caption of theirs stands anywhere.
        forgotten: Ids, subjects and captions of further forget pairs, to be withheld likewise.
        name_of: What a pair of this id is called where its id must not stand. Left out, names hold for this page alone.
    """

    run: Mapping[str, object]
    figures: Sequence[Figure]
    verdict: Verdict
    charts: ChartData
    examples: Sequence[Example]
    extremes: Sequence[Extreme] = ()
    deleted: int | None = None
    show_forgotten: bool
    forgotten: Collection[str] = ()
    name_of: Callable[[str], str] | None = None


def build_report(out: Path, content: ReportContent) -> Path:
    """Write ``out/report.html``: one file that loads nothing, the same bytes for the same content; returns its path."""
    verdict, charts, show_forgotten = content.verdict, content.charts, content.show_forgotten
    secrets = [] if show_forgotten else [*content.forgotten, *_told_by(content.examples), *_told_by(content.extremes)]
    hide = hider(secrets)
    safe_run = withhold(content.run, secrets)
    safe_run = safe_run if isinstance(safe_run, Mapping) else {}
    pairs: list[Shown] = [*content.examples, *content.extremes]
    name_of = content.name_of
    if name_of is None:
        name_of = partial(pair_name, salt=content_salt([e.caption for e in pairs], [e.image for e in pairs]))
    void = {f.audit: f.void for f in content.figures if f.void is not None}
    present = [model for model in MODELS if any(f.model == model for f in content.figures)]
    has_retrained = any(row.retrained is not None for row in verdict.rows)
    if not has_retrained:
        present = [model for model in present if model != "retrained"]
    figures = [f for f in content.figures if has_retrained or f.model != "retrained"]
    digests = safe_run.get(DIGESTS)
    page = _template().render(
        hide=hide,
        header=[(key, "; ".join(_lines(safe_run[key]))) for key in HEADER if key in safe_run],
        settings=[line for key, value in safe_run.items() for line in _flat(str(key), value)],
        verdict=verdict,
        digests=list(digests.items()) if isinstance(digests, Mapping) else [],
        state={"forgotten": "met", "unjudged": "absent"}.get(verdict.outcome, "missed"),
        tally=_tally(verdict),
        scorecard=[score_line(row, has_retrained=has_retrained) for row in verdict.rows],
        has_retrained=has_retrained,
        tokenizer=_of_tokenizer(content.run),
        figures=figure_table(figures),
        figure_models=[*present, *sorted({f.model for f in figures} - set(MODELS))],
        void=void,
        absent=sum(f.absent is not None for f in figures),
        colour=model_colour,
        show_forgotten=show_forgotten,
        examples=[_example_view(e, name_of, show_forgotten) for e in content.examples],
        example_models=_in_order({model for e in content.examples for model in e.rank}),
        extremes=[_extreme_view(e, name_of, show_forgotten) for e in content.extremes],
        extreme_models=_in_order({model for e in content.extremes for model in e.margin}),
        number=number,
        states=STATES,
        gallery=charts.gallery,
        of_kind="" if charts.kind is None else f"Pairs of the kind “{charts.kind}”. ",
        attack=charts.attack,
        glossary=glossary(has_retrained=has_retrained),
        deleted=content.deleted,
        counted=counted,
        audits=QUESTIONS,
        brought_back=any(f.audit in (compression.AUDIT, relearning.AUDIT) and f.value is not None for f in figures),
        relearning=relearning_curve(figures),
        compression=compression_lines(figures),
        **_draw(charts, void),
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@cache
def _template() -> Template:
    """The page, read and compiled once. Every text that is put into it goes through ``hide``."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_hidden
    )
    return environment.from_string(files(__package__).joinpath("template.html").read_text(encoding="utf-8"))


@pass_context
def _hidden(context: Context, value: object) -> object:
    return context["hide"](value) if type(value) is str else value


def _of_tokenizer(run: Mapping[str, object]) -> str:
    """What the unlearned model's tokenizer may keep of deleted texts."""
    unlearned = run.get("unlearned")
    told = unlearned.get("tokenizer") if isinstance(unlearned, Mapping) else None
    alone = told.get("tokens_of_deleted_texts_alone") if isinstance(told, Mapping) else None
    if not isinstance(alone, int):
        return "Whether the tokenizer holds words of deleted texts, names among them, was not looked at."
    return tokens_sentence(alone)


def _told_by(examples: Sequence[Shown]) -> Iterator[str]:
    """Every string that would name a forget pair."""
    for example in examples:
        yield example.id
        yield example.caption
        if example.subject:
            yield example.subject
        if isinstance(example, Example):
            for matches in example.matches.values():
                yield from (match.caption for match in matches if match.is_true or match.is_forgotten)


def _tally(verdict: Verdict) -> str:
    """How many targets were met: ``2 of 4 met, 1 missed, 1 unclear``."""
    states = [row.state for row in verdict.rows]
    others = [f"{states.count(state)} {STATES[state]}" for state in STATES if state != "met" and state in states]
    return ", ".join([f"{states.count('met')} of {len(states)} met", *others])


def _example_view(example: Example, name_of: Callable[[str], str], show: bool) -> dict[str, object]:
    """What of an example may be shown: everything, or a hash and the ranks."""
    if not show:
        return {"name": name_of(example.id), "rank": example.rank}
    return _content(example) | {"matches": example.matches, "rank": example.rank}


def _extreme_view(extreme: Extreme, name_of: Callable[[str], str], show: bool) -> dict[str, object]:
    """Its content, or a hash; and the numbers."""
    content = _content(extreme) | {"about": extreme.about} if show else {"name": name_of(extreme.id)}
    return content | {"gap": extreme.gap, "margin": extreme.margin}


def _content(pair: Shown) -> dict[str, object]:
    return {
        "name": pair.id,
        "subject": pair.subject,
        "image": None if pair.image is None else thumbnail(pair.image),
        "caption": pair.caption,
    }


def thumbnail(image: Image.Image) -> str:
    """A data URI of a PNG of at most 96 pixels a side, without the file's metadata."""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = BytesIO()
    Image.frombytes("RGB", small.size, small.tobytes()).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _draw(data: ChartData, void: Mapping[str, str]) -> dict[str, object]:
    """All plots; their markup is already escaped."""
    roc, why = membership_roc(data.members, data.nonmembers), void.get(membership.AUDIT)
    maps, map_note = embedding_maps(data.embeddings)
    return {
        "scores": score_histograms(data.scores, labelled=data.labelled),
        "roc": roc if why is None else Chart(roc.title, absent=f"these figures are void ({why})"),
        "maps": maps,
        "map_note": map_note,
        "cost": cost_bars(data.seconds),
    }


def _in_order(models: Collection[str]) -> list[str]:
    return [*(model for model in MODELS if model in models), *sorted(set(models) - set(MODELS))]


def _lines(value: object) -> list[str]:
    """A value of the run in words: mappings as "key value", lists joined by commas."""
    if isinstance(value, Mapping):
        return [f"{key} {'; '.join(_lines(inner))}" for key, inner in value.items()]
    if isinstance(value, list):
        return [", ".join("; ".join(_lines(inner)) for inner in value)]
    return [f"{value:g}" if isinstance(value, float) else str(value)]


def _flat(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Nested settings as dotted keys."""
    if isinstance(value, Mapping):
        for inner, content in value.items():
            yield from _flat(f"{key}.{inner}", content)
    else:
        yield key, "; ".join(_lines(value))
