"""The page of results, as Markdown with plots beside it and as one self-contained HTML file."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from multidelete.artifacts.room import write_whole
from multidelete.audits import COLUMNS
from multidelete.audits.controls import RANDOM_WEIGHTS, UNTOUCHED
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.core.words import counted
from multidelete.experiments.comparison.experiment import spelt
from multidelete.experiments.comparison.plots import gaps_plot
from multidelete.experiments.comparison.summary import WON, YARDSTICK, Block, Mean, Row
from multidelete.report.charts import Chart

_HALF = "\N{PLUS-MINUS SIGN}"
SHOWN = {
    UNTOUCHED: "original (untouched)",
    YARDSTICK: "retrained",
    RETRAINED_AGAIN: "retrained, other seed (the floor)",
    RANDOM_WEIGHTS: "random weights",
}
NOTES = (
    "Means over the groups of a table (its draws, and seeds where there are several), with half the width of the 95 % "
    "interval by Student's t; of a single group there is none. Draws of one seed share their original, so the interval "
    "is about other draws, and about other seeds only where several were run.",
    "A gap is a model's figure minus that of the retrained model of the same group: the target is 0 from both sides. "
    "The second retrained model, of another seed, is the floor: gaps as small as its own mean nothing.",
    "A column is void where its audit's own controls come out wrong, or where in most groups the untouched model "
    "passes forget, separation or membership, random weights pass test or retain, or a second retrained model fails "
    "any (gaps of at most "
    + ", ".join(f"{column.tolerance:.2f} in {column.key}" for column in COLUMNS if column.control)
    + " pass; test and retain only count from below). The verdict is void where the untouched model or random weights "
    "are called forgotten, or a second retrained model anything bad, in any group.",
    "Seconds and memory are of making the model, caches included, and without any search for settings. Memory is the "
    "peak of the process, which holds the libraries and the data as well.",
)


@dataclass(frozen=True)
class Table:
    """Plain cells under a title."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def write_page(folder: Path, name: str, blocks: Sequence[Block], *, done: int, groups: int) -> None:
    """Write ``results.md`` with its plots, and ``results.html``, of the ``done`` of all groups that are audited."""
    state = f"{done} of {counted(groups, 'groups')}." if done < groups else f"{counted(groups, 'groups')}."
    parts: list[tuple[Table, Table | None, Chart, str]] = []
    for number, block in enumerate(blocks):
        file = f"{block.setting}-{spelt(block.fraction)}.svg"
        parts.append((main_table(block), gap_table(block), gaps_plot(block, f"plot{number}"), file))
    wins = wins_table(blocks)
    lines = [f"# {_plain(name)}", "", state, ""]
    page = [f"<h1>{escape(name)}</h1>", f"<p>{state}</p>"]
    for main, gaps, chart, file in parts:
        for table in (main, gaps):
            lines += [] if table is None else _markdown(table)
            page += [] if table is None else _html(table)
        if chart.svg is None:
            lines += [f"Not drawn: {_plain(str(chart.absent))}.", ""]
            page.append(f"<p>Not drawn: {escape(str(chart.absent))}.</p>")
        else:
            svg = chart.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
            write_whole(folder / file, svg + "\n")
            lines += [f"![{_plain(chart.title)}]({file})", ""]
            page.append(f"<figure><figcaption>{escape(chart.title)}</figcaption>{chart.svg}</figure>")
    if wins is not None:
        lines += _markdown(wins)
        page += _html(wins)
    lines += ["## How to read it", "", *(f"- {note}" for note in NOTES), ""]
    page += ["<h2>How to read it</h2><ul>", *(f"<li>{escape(note)}</li>" for note in NOTES), "</ul>"]
    write_whole(folder / "results.md", "\n".join(lines))
    write_whole(folder / "results.html", _HTML.format(title=escape(name), body="\n".join(page)))


def main_table(block: Block) -> Table:
    """Values of all columns, time, memory and verdicts."""
    keys = _shown(block)
    head = ["", *(_marked(key, block) for key in keys), "seconds", "of retraining", "memory, GB"]
    head.append(_marked("verdict", block))
    rows = []
    for name, row in block.rows.items():
        cells = [_number(row.values.get(key), 3) for key in keys]
        cells += [_number(row.seconds, 1), _number(row.share, 3), _number(row.peak_bytes, 2, 1e9), _outcomes(row)]
        rows.append([SHOWN.get(name, name), *cells])
    notes = [f"{key} is void: {why}." for key, why in block.void.items()]
    notes += [f"{key} is void in some groups: {why}." for key, why in block.partly.items()]
    notes += [f"{key}: {block.figures[key]}." for key in keys if key in block.figures]
    notes += [
        f"{name} is absent in {len(row.absent)} of {counted(block.groups, 'groups')}: {why}"
        for name, row in block.rows.items()
        for why in list(dict.fromkeys(row.absent.values()))[:1]
    ]
    title = f"{block.setting}, {block.fraction:.1%} deleted, {counted(block.groups, 'groups')}"
    return Table(title, head, rows, notes)


def gap_table(block: Block) -> Table | None:
    """Signed gaps to the retrained model."""
    keys = _shown(block)
    if not keys:
        return None
    rows = [
        [SHOWN.get(name, name), *(_gap(row.gaps.get(key)) for key in keys)]
        for name, row in block.rows.items()
        if name != YARDSTICK
    ]
    return Table(
        f"{block.setting}, {block.fraction:.1%} deleted: gaps to the retrained model",
        ["", *(_marked(key, block) for key in keys)],
        rows,
    )


def short_table(block: Block) -> Table:
    """What fits a terminal: gaps, time and verdicts."""
    keys = [key for key in WON if any(key in row.gaps for row in block.rows.values())]
    rows = [
        [SHOWN.get(name, name), *(_gap(row.gaps.get(key)) for key in keys), _number(row.share, 3), _outcomes(row)]
        for name, row in block.rows.items()
    ]
    notes = [f"{key} is void: {why}" for key, why in block.void.items()]
    head = ["gap to retrained:", *keys, "time of it", "verdict"]
    return Table(f"{block.setting}, {block.fraction:.1%} deleted, groups: {block.groups}", head, rows, notes)


def wins_table(blocks: Sequence[Block]) -> Table | None:
    """In how many groups each method is nearest to the retrained model."""
    totals: dict[str, Counter[str]] = {}
    for block in blocks:
        for key, won in block.wins.items():
            totals.setdefault(key, Counter()).update(won)
    if not totals:
        return None
    keys = [key for key in WON if key in totals]
    names = list(dict.fromkeys(name for won in totals.values() for name in won))
    names.sort(key=lambda name: -sum(totals[key][name] for key in keys))
    rows = [[name, *(str(totals[key][name]) for key in keys), str(sum(totals[key][name] for key in keys))]
            for name in names]  # fmt: skip
    groups = {key: sum(block.groups for block in blocks if key in block.wins) for key in keys}
    notes = [
        "; ".join(f"{key}: {counted(groups[key], 'groups')}" for key in keys)
        + ". Ties count for each; void columns do not."
    ]
    return Table("Groups in which a method is nearest to the retrained model", ["", *keys, "all"], rows, notes)


def _number(mean: Mean | None, digits: int, unit: float = 1.0) -> str:
    if mean is None:
        return "-"
    half = "" if mean.half is None else f" {_HALF} {mean.half / unit:.{digits}f}"
    return f"{mean.value / unit:.{digits}f}{half}"


def _shown(block: Block) -> list[str]:
    """The columns that there is something to say of."""
    there = {key for row in block.rows.values() for key in row.values} | set(block.void)
    return [column.key for column in COLUMNS if column.key in there]


def _marked(key: str, block: Block) -> str:
    """A column's head; the reason of a void one stands below the table."""
    return f"{key} (void)" if key in block.void else key


def _gap(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    half = "" if mean.half is None else f" {_HALF} {mean.half:.3f}"
    return f"{mean.value:+.3f}{half}"


def _outcomes(row: Row) -> str:
    if row.absent and not row.outcomes:
        return "absent"
    return (
        ", ".join(f"{outcome} {times}" for outcome, times in sorted(row.outcomes.items(), key=lambda one: -one[1]))
        or "-"
    )


def _markdown(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(_plain, cells)) + " |"

    lines = [f"## {_plain(table.title)}", "", line(table.head), "|" + "---|" * len(table.head)]
    notes = [f"- {_plain(note)}" for note in table.notes]
    return [*lines, *map(line, table.rows), "", *notes, *([""] if notes else [])]


def _plain(text: str) -> str:
    """Text from outside in one line of Markdown, where it means itself: no markup, no HTML, no new cell."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", escape(" ".join(text.split()), quote=False))


def _html(table: Table) -> list[str]:
    def cell(text: str) -> str:
        value, has_half, half = escape(text).partition(f" {_HALF} ")
        if has_half:
            return f"<td>{value}<small>{_HALF} {half}</small></td>"
        parts = value.replace("_", "_<wbr>").split(", ")  # where a line may break
        return (
            "<td>" + " ".join(f"<span>{part}</span>" for part in [*(f"{p}," for p in parts[:-1]), parts[-1]]) + "</td>"
        )

    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    body = "".join("<tr>" + "".join(map(cell, cells)) + "</tr>" for cells in table.rows)
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return [
        f"<h2>{escape(table.title)}</h2>",
        f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>",
        f"<ul>{notes}</ul>" if notes else "",
    ]


_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin:0 auto; max-width:1500px; padding:36px 24px 64px; color:#1b1f24;
  font:13.5px/1.5 -apple-system,"Segoe UI","Helvetica Neue",Arial,"Liberation Sans",sans-serif }}
h1 {{ font-size:28px }} h2 {{ font-size:18px; margin:44px 0 8px; padding-top:12px; border-top:2px solid #1b1f24 }}
div {{ overflow-x:auto }} table {{ border-collapse:collapse; font-variant-numeric:tabular-nums }}
th, td {{ text-align:left; vertical-align:top; padding:5px 12px 5px 0; border-bottom:1px solid #d9dde2 }}
th {{ color:#5b6570; font-size:12px; vertical-align:bottom }} th:last-child, td:last-child {{ padding-right:0 }}
td:last-child span {{ white-space:nowrap }}
td:first-child {{ min-width:8.5em; overflow-wrap:anywhere }}
small {{ display:block; color:#5b6570; white-space:nowrap }}
ul, figcaption {{ color:#5b6570; font-size:13px }} figure {{ margin:24px 0 }}
svg {{ max-width:100%; height:auto }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
