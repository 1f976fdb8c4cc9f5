import pytest

from multidelete.audits.result import Figure
from multidelete.report.tables import cell, figure_table, number


@pytest.mark.parametrize(
    ("value", "name", "signed", "text"),
    [
        (0.0, "", False, "0.000"),
        (0.0, "", True, "+0.000"),
        (-0.25, "", False, "\N{MINUS SIGN}0.250"),
        (12.0, "", False, "12"),
        (12.34, "", False, "12.3"),
        (40_000.4, "", False, "40,000"),
        (2.5 * 2**20, "peak bytes", False, "2.5 MiB"),
    ],
)
def test_number_reads_well(value: float, name: str, signed: bool, text: str) -> None:
    assert number(value, name, signed=signed) == text


def test_differences_carry_a_sign() -> None:
    figure = Figure(
        audit="a", figure="auc, difference to retrained", model="unlearned", value=0.1, low=-0.1, high=0.3, n=1200
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
        return Figure(audit="utility", figure="recall", model=model, split=split, value=0.5, note=note)

    absent = Figure(audit="utility", figure="recall", model="retrained", split="test", absent="no gallery")
    table = figure_table([row("original", "test", "same"), row("unlearned", "test", "same"), absent, row("a", "val")])
    ((audit, lines),) = table
    assert audit == "utility"
    assert [(line["split"], list(line["cells"]), line["notes"]) for line in lines] == [
        ("test", ["original", "unlearned", "retrained"], ["same"]),
        ("val", ["a"], []),
    ]
    assert lines[0]["cells"]["retrained"]["absent"] == "no gallery"
