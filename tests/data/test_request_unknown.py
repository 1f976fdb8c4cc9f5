from pathlib import Path

import pytest

from multidelete.core.errors import DataError, RequestError
from multidelete.data.lookalikes import lookalike_notes
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.request import resolve_request

_NFC, _NFD = "Ren\u00e9", "Rene\u0301"


def data_of(what: str, names: list[str]) -> PairData:
    pairs = [
        Pair(
            id=name if what == "id" else f"p{number}",
            inputs={"image": b"", "text": "t"},
            sources={"image": name if what == "image" else f"{number}.png", "text": f"t{number}"},
            subject=name if what == "subject" else None,
        )
        for number, name in enumerate(names)
    ]
    return PairData("d", {"train": PairDataset(pairs, "train")})


def told(what: str, names: list[str], asked: str) -> str:
    with pytest.raises(RequestError) as error:
        resolve_request(data_of(what, names), **{f"{what}s": [asked]})  # type: ignore[arg-type]
    return str(error.value)


@pytest.mark.parametrize(
    ("what", "names", "asked", "expected"),
    [
        ("id", ["007", "7", "8", "9"], "07", "'07' may be '007' or '7'. Which one is meant must be said"),
        ("id", ["999", "1000", "7"], "1e3", "'1e3' may be '1000'. Which"),
        ("id", ["p0", "p1", "p2"], "P1", "'P1' may be 'p1'. Which"),
        ("subject", ["Zoe", "Ann", "Bob"], "ann", "'ann' may be 'Ann'. Which"),
        ("subject", [_NFC, _NFD, "Bob"], f"{_NFC}\u200b", r"may be 'Ren\xe9' or 'Rene\u0301'. Which"),
        ("image", ["images/0.png", "images/1.png", "images/2.png"], "images/1.PNG", "may be 'images/1.png'. Which"),
        ("image", ["images/0.png", "images/1.png", "images/2.png"], "1.PNG", "may be 'images/1.png'. Which"),
        ("subject", ["Zoe", "Hannah", "Bob"], "hanna", "Did you mean Hannah?"),
        (
            "id",
            ["pair-1a", "pair-1b", "x"],
            "pair-1",
            "mean another? 'pair-1' may be 'pair-1a' or 'pair-1b'. Which",
        ),
        ("id", ["p0", "p1", "p2"], "quite else", "For example, ids look like p0 there."),
    ],
)
def test_all_names_that_may_be_meant_are_told(what: str, names: list[str], asked: str, expected: str) -> None:
    assert expected in told(what, names, asked)


@pytest.mark.parametrize(("asked", "names"), [("-1", ["1", "2", "3"]), ("1001", ["1000", "1002", "1003"])])
def test_another_number_is_never_offered_in_place_of_one(asked: str, names: list[str]) -> None:
    assert "not among the training pairs of d" in told("id", names, asked)
    assert "may be" not in told("id", names, asked)
    assert "Did you mean" not in told("id", names, asked)


def test_numbers_with_a_power_of_ten_are_noted_as_the_numbers_that_they_are() -> None:
    (note,) = lookalike_notes(data_of("id", ["1000", "1e3", "1.0E+03", "1001", "e3"]))
    assert note.startswith("3 ids differ only in blanks")
    assert "'1000' (train row 1) and '1e3' (train row 2) and '1.0E+03' (train row 3)" in note


@pytest.mark.parametrize("name", ["", " "])
def test_empty_names_are_shown_and_refused(name: str) -> None:
    assert f"1 subject is empty: {name!r}. Say who is meant." in told("subject", ["a", "b", "c"], name)


def test_true_and_false_are_no_names(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"id": "a"}\ntrue\n{"subject": false}\n')
    with pytest.raises(RequestError, match=r"2 rows name true or false, which are no names in JSON.*line 2, line 3"):
        resolve_request(data_of("id", ["a", "True", "c"]), file=tmp_path / "r.jsonl")
    (tmp_path / "r.jsonl").write_text('"True"\n')
    assert resolve_request(data_of("id", ["a", "True", "c"]), file=tmp_path / "r.jsonl").ids == ("True",)
    with pytest.raises(DataError, match=r"rows? ha(ve|s) an id that is true or false"):
        PairData.from_rows([{"image": b"x", "text": "t", "id": True}, {"image": b"y", "text": "u", "id": "b"}])
