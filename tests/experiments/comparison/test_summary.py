"""Means, wins and void columns from planted audits; the t interval against scipy's."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from multidelete.audits.controls import RANDOM_WEIGHTS, UNTOUCHED
from multidelete.audits.inputs import RETRAINED_AGAIN
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure
from multidelete.core.records import read_object
from multidelete.experiments.comparison.head import Audit, Head
from multidelete.experiments.comparison.page import gap_table, main_table, wins_table, write_page
from multidelete.experiments.comparison.plots import gaps_plot
from multidelete.experiments.comparison.summary import Mean, summarise

COLUMNS = {
    "test": ("utility", "recall@10", "test"),
    "retain": ("forgetting", "recall@1", "retain"),
    "forget": ("forgetting", "recall@1", "forget"),
    "separation": ("separation", "auc", "both"),
    "membership": ("membership", "auc of score", "both"),
    "margin gap": ("distance", "signed margin gap to retrained", "forget"),
}
USUAL = {
    "original": {"test": 0.6, "retain": 0.9, "forget": 0.9, "separation": 0.5, "membership": 0.95},
    UNTOUCHED: {"test": 0.6, "retain": 0.9, "forget": 0.9, "separation": 0.5, "membership": 0.95, "margin gap": 9.0},
    "retrained": {"test": 0.58, "retain": 0.9, "forget": 0.1, "separation": 0.9, "membership": 0.5},
    RETRAINED_AGAIN: {
        "test": 0.585, "retain": 0.89, "forget": 0.12, "separation": 0.88, "membership": 0.52, "margin gap": 0.1,
    },
    RANDOM_WEIGHTS: {
        "test": 0.1, "retain": 0.0, "forget": 0.0, "separation": 0.5, "membership": 0.5, "margin gap": -5.0,
    },
    "near": {"test": 0.57, "retain": 0.9, "forget": 0.13, "separation": 0.9, "membership": 0.55, "margin gap": 0.2},
    "far": {"test": 0.40, "retain": 0.5, "forget": 0.0, "separation": 0.95, "membership": 0.3, "margin gap": -2.0},
}  # fmt: skip
OUTCOMES = {UNTOUCHED: "unfinished", RETRAINED_AGAIN: "forgotten", RANDOM_WEIGHTS: "damaged", "near": "forgotten"}


def audit(
    changes: Mapping[str, Mapping[str, float]] | None = None, outcomes: Mapping[str, str] | None = None,
    half: float = 0.01, void: Mapping[str, str] | None = None,
) -> Audit:  # fmt: skip
    """One group's audit: the usual values with some changed, gap intervals of this half width."""
    values = {name: {**row, **(changes or {}).get(name, {})} for name, row in USUAL.items()}
    figures = []
    for name, row in values.items():
        for key, value in row.items():
            audited, figure, split = COLUMNS[key]
            why = (void or {}).get(audited)
            figures.append(
                Figure(audit=audited, measure=Measure(figure), split=split, model=name, value=value, void=why)
            )
            if key != "margin gap" and name not in ("original", "retrained"):
                gap = value - values["retrained"][key]
                figures.append(
                    Figure(audit=audited, measure=Measure(figure, to="retrained"), split=split, model=name, value=gap,
                           low=gap - half, high=gap + half, void=why)
                )  # fmt: skip
    told: dict[str, dict[str, object]] = {name: {} for name in values}
    told["retrained"]["cost"] = {"wall_s": 100.0, "peak_bytes": 2e9}
    told["near"]["cost"] = {"wall_s": 10.0, "peak_bytes": 1e9}
    told["far"]["cost"] = {"wall_s": 1.0}
    for name, outcome in {**OUTCOMES, **(outcomes or {})}.items():
        told[name]["verdict"] = {"outcome": outcome}
    run: dict[str, object] = {
        "setting": "planted",
        "fraction": 0.05,
        "columns": {k: list(v) for k, v in COLUMNS.items()},
    }
    return read_object(Head, run | {"keys": {}, "models": told}, "planted", ""), figures


def block(*audits: Audit):  # type: ignore[no-untyped-def]
    return summarise({f"group {n}": one for n, one in enumerate(audits)}, ["near", "far"])


def test_means_gaps_time_and_verdicts() -> None:
    found = block(audit(), audit({"near": {"forget": 0.19}}), audit({"near": {"forget": 0.10}}))
    near = found.rows["near"]
    values = np.array([0.13, 0.19, 0.10])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert near.values["forget"].value == pytest.approx(values.mean())
    assert near.values["forget"].half == pytest.approx((high - low) / 2, abs=5e-4)
    assert near.gaps["forget"].value == pytest.approx(values.mean() - 0.1)
    assert near.gaps["margin gap"].value == pytest.approx(0.2)  # a gap by itself
    assert found.rows["retrained"].gaps["forget"].value == 0.0
    assert "margin gap" not in found.rows["retrained"].gaps
    assert near.seconds is not None
    assert near.share is not None
    assert (near.seconds.value, near.share.value) == (10.0, 0.1)
    assert found.rows["far"].peak_bytes is None  # not known, and no number takes its place
    assert near.outcomes == {"forgotten": 3}
    assert found.void == {}


def test_one_group_has_no_interval() -> None:
    found = block(audit())
    assert found.rows["near"].values["forget"] == Mean(0.13, None, 1)
    table = main_table(found)
    assert "0.130" in table.rows[4]
    assert not any("\N{PLUS-MINUS SIGN}" in cell for row in table.rows for cell in row)


@pytest.mark.parametrize("groups", [2, 3, 6, 16, 17, 100])
def test_half_width_is_of_students_t(groups: int) -> None:
    values = np.random.default_rng(groups).random(groups)
    test = stats.ttest_1samp(values, 0.0)
    assert Mean.of(values.tolist()).half == pytest.approx(np.ptp(test.confidence_interval(0.95)) / 2, abs=5.1e-4)


@pytest.mark.parametrize(
    ("changes", "column", "reason"),
    [
        ({UNTOUCHED: {"forget": 0.14}}, "forget", "the untouched model passes in 2 of 3 groups"),
        ({UNTOUCHED: {"membership": 0.41}}, "membership", "the untouched model passes in 2 of 3 groups"),
        ({UNTOUCHED: {"separation": 0.99}}, "separation", "the untouched model passes in 2 of 3 groups"),
        ({RANDOM_WEIGHTS: {"test": 0.57}}, "test", "random weights pass in 2 of 3 groups"),
        ({RANDOM_WEIGHTS: {"retain": 0.99}}, "retain", "random weights pass in 2 of 3 groups"),
        ({RETRAINED_AGAIN: {"forget": 0.3}}, "forget", "a second retrained model fails in 2 of 3"),
        ({RETRAINED_AGAIN: {"test": 0.4}}, "test", "a second retrained model fails in 2 of 3"),
    ],
)
def test_a_control_that_comes_out_wrong_makes_its_column_void(
    changes: dict[str, dict[str, float]], column: str, reason: str
) -> None:
    found = block(audit(changes), audit(changes), audit())
    assert found.void == {column: reason}
    assert column not in found.wins
    head = main_table(found).head
    assert f"{column} (void)" in head
    assert f"{column} is void: {reason}." in main_table(found).notes
    assert block(audit(changes), audit(), audit()).void == {}  # one of three


def test_what_is_within_the_noise_is_no_failure() -> None:
    changes = {RETRAINED_AGAIN: {"forget": 0.2}}
    assert block(audit(changes, half=0.04)).void != {}
    assert block(audit(changes, half=0.06)).void == {}


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ({UNTOUCHED: "forgotten"}, "untouched is called forgotten"),
        ({RANDOM_WEIGHTS: "forgotten"}, "random weights is called forgotten"),
        ({RETRAINED_AGAIN: "over-forgotten"}, "a second retrained model is called over-forgotten"),
    ],
)
def test_one_wrong_verdict_of_a_control_makes_all_of_them_void(outcomes: dict[str, str], reason: str) -> None:
    found = block(audit(), audit(), audit(outcomes=outcomes))
    assert found.void == {"verdict": reason}
    assert main_table(found).head[-1] == "verdict (void)"


def test_what_the_audits_call_void_is_void_where_it_is_most_of_them() -> None:
    wrong = {"membership": "random weights: auc is 0.9"}
    found = block(audit(void=wrong), audit(void=wrong), audit())
    assert found.void == {"membership": "random weights: auc is 0.9 (in 2 of 3 groups)"}
    found = block(audit(void=wrong), audit(), audit())
    assert found.void == {}
    assert found.partly == {"membership": "random weights: auc is 0.9 (in 1 of 3 groups)"}
    assert found.rows["near"].values["membership"].n == 3


def test_a_missing_control_makes_void_what_it_should_have_judged() -> None:
    run, figures = audit()
    found = block((run, [row for row in figures if row.model != UNTOUCHED]))
    assert {key: found.void[key] for key in ("forget", "separation", "membership")} == dict.fromkeys(
        ("forget", "separation", "membership"), "untouched was not measured"
    )


def test_wins_count_the_nearest_and_ties_for_each() -> None:
    tied = {"far": {"forget": 0.07}, "near": {"forget": 0.13}}
    found = block(audit(), audit(tied), audit({"far": {"membership": 0.5}}))
    assert found.wins["forget"] == {"near": 3, "far": 1}
    assert found.wins["membership"] == {"near": 2, "far": 1}
    table = wins_table([found, found])
    assert table is not None
    assert [row[0] for row in table.rows] == ["near", "far"]
    assert dict(zip(table.head, table.rows[0], strict=True))["forget"] == "6"


def test_gaps_are_signed_and_drawn() -> None:
    found = block(audit(), audit())
    table = gap_table(found)
    assert table is not None
    rows = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    assert rows["far"]["forget"].startswith("-0.100")
    assert rows["original (untouched)"]["forget"].startswith("+0.800")
    svg = gaps_plot(found, "plot").svg
    assert svg is not None
    assert ">near<" in svg
    assert gaps_plot(found, "plot").svg == svg


def test_page_holds_names_as_text_and_every_column(tmp_path: Path) -> None:
    """Rows are named by users: in Markdown, too, a name is no markup, no HTML and no further cell."""
    name = "<img src=x onerror=alert(1)> | [near](http://x) `*far*`"
    head, figures = audit()
    run = replace(head, models={**head.models, name: head.models["near"]})
    figures += [replace(row, model=name) for row in figures if row.model == "near"]
    found = summarise({"group": (run, figures), "other": (run, figures)}, ["near", name])
    write_page(tmp_path, "a <b>bold</b> name", [found], done=2, groups=2)
    markdown, html = ((tmp_path / f"results.{ending}").read_text() for ending in ("md", "html"))
    for raw in ("<img", "<b>", "[near]("):
        assert raw not in markdown
        assert raw not in html or raw == "[near]("
    rows = [line for line in markdown.split("\n") if "img src" in line and line.startswith("| ")]
    assert rows
    heads = [line for line in markdown.split("\n") if line.startswith("|  |")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {
        len(re.findall(r"(?<!\\)\|", head)) for head in heads
    }
    assert "nowrap" not in html.partition("th, td {")[2].partition("}")[0], "cells give way, so that no column is cut"
