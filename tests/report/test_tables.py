import pytest

from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure
from multidelete.report.tables import cell, figure_table, number


@pytest.mark.parametrize(
    ("value", "in_bytes", "signed", "text"),
    [
        (0.0, False, False, "0.000"),
        (0.0, False, True, "+0.000"),
        (-0.25, False, False, "\N{MINUS SIGN}0.250"),
        (12.0, False, False, "12"),
        (12.34, False, False, "12.3"),
        (40_000.4, False, False, "40,000"),
        (2.5 * 2**20, True, False, "2.5 MiB"),
    ],
)
def test_number_reads_well(value: float, in_bytes: bool, signed: bool, text: str) -> None:
    assert number(value, in_bytes=in_bytes, signed=signed) == text


def test_differences_carry_a_sign() -> None:
    figure = Figure(
        audit="a", measure=Measure("auc", to="retrained"), model="unlearned", value=0.1, low=-0.1, high=0.3, n=1200
    )
    assert cell(figure) == {
        "value": "+0.100",
        "interval": "\N{MINUS SIGN}0.100 to +0.300",
        "n": "1,200",
        "absent": None,
        "void": False,
    }


def test_table_has_one_line_per_figure_and_split() -> None:
    def row(model: str, split: str, note: str | None = None) -> Figure:
        return Figure(audit="utility", measure=Measure("recall"), model=model, split=split, value=0.5, note=note)

    absent = Figure(audit="utility", measure=Measure("recall"), model="retrained", split="test", absent="no gallery")
    table = figure_table([row("original", "test", "same"), row("unlearned", "test", "same"), absent, row("a", "val")])
    ((audit, lines),) = table
    assert audit == "utility"
    assert [(line["split"], list(line["cells"]), line["notes"]) for line in lines] == [
        ("test", ["original", "unlearned", "retrained"], ["same"]),
        ("val", ["a"], []),
    ]
    assert lines[0]["cells"]["retrained"]["absent"] == "no gallery"
