"""The curve of relearning and the table of few bits show what the figures say."""

from dataclasses import replace

from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure
from multidelete.report.brought_back import compression_lines, relearning_curve

HEADLINE = Measure("recall", kind="sensitive", k=1, direction=("image", "text"), gallery="all training")
SCORE = Measure("score")


def point(model: str, step: int, value: float, measure: Measure = HEADLINE) -> Figure:
    return Figure(
        audit="relearning", measure=replace(measure, step=step), model=model, split="forget, not relearned",
        value=value, low=max(0.0, value - 0.1), high=min(1.0, value + 0.1), n=30, better="target",
    )  # fmt: skip


def curve() -> list[Figure]:
    rows = [point("original", 0, 0.9)]
    for model, values in {"unlearned": (0.0, 0.2, 0.6), "retrained": (0.0, 0.0, 0.1)}.items():
        rows += [point(model, step, value) for step, value in zip((0, 1, 2), values, strict=True)]
    return rows


def test_curve_names_every_model_and_step() -> None:
    svg = relearning_curve(curve()).svg
    assert svg is not None
    for words in ("original, not trained", "unlearned", "retrained", "training steps", "sensitive recall@1<"):
        assert words in svg
    assert svg == relearning_curve(curve()).svg


def test_curve_depends_on_the_values_and_on_nothing_else() -> None:
    score = [point("unlearned", step, 0.5, Measure("score", kind="sensitive")) for step in (0, 1, 2)]
    assert relearning_curve([*curve(), *score]).svg == relearning_curve(curve()).svg
    assert relearning_curve([*curve()[:-1], point("retrained", 2, 0.2)]).svg != relearning_curve(curve()).svg


def test_scores_are_drawn_where_nothing_can_be_searched() -> None:
    absent = [
        Figure(audit="relearning", measure=replace(HEADLINE, step=s), model="unlearned", absent="x") for s in (0, 1)
    ]
    svg = relearning_curve([*absent, point("unlearned", 0, 3.0, SCORE), point("unlearned", 1, 4.0, SCORE)]).svg
    assert svg is not None
    assert "recall@1" not in svg


def test_without_relearning_there_is_a_reason_and_no_curve() -> None:
    assert relearning_curve([]).absent == "no relearning was asked for (--relearn)"
    absent = Figure(audit="relearning", measure=replace(HEADLINE, step=0), model="unlearned", absent="one person")
    assert relearning_curve([absent]).absent == "one person"


def test_void_curve_is_not_drawn() -> None:
    chart = relearning_curve([replace(row, void="retrained again: it comes back") for row in curve()])
    assert (chart.svg, chart.absent) == (None, "these figures are void (retrained again: it comes back)")


def test_lines_show_value_and_change_of_each_model() -> None:
    def row(measure: Measure, model: str, value: float) -> Figure:
        return Figure(audit="compression", measure=measure, model=model, split="forget", value=value, n=10)

    measure = replace(HEADLINE, state="4-bit weights")
    rows = [row(measure, "original", 0.9), row(measure, "unlearned", 0.5)]
    rows += [row(measure.against("retrained"), "unlearned", 0.5)]
    rows += [row(measure.against("uncompressed"), "unlearned", 0.5)]
    (line,) = compression_lines(rows)
    assert (line["figure"], line["split"]) == (str(measure), "forget")
    cells = line["cells"]
    assert isinstance(cells, dict)
    assert (cells["unlearned"]["value"], cells["unlearned"]["changed"]) == ("0.500", "+0.500")
    assert cells["original"]["changed"] is None
