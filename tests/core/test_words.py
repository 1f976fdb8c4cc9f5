"""One of something is told in the singular, wherever the package counts."""

import re
from pathlib import Path

import pytest

from multidelete.core.words import counted, share, singular

SOURCES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))
COUNT_OF_PLURAL = re.compile(  # f"{len(rows)} rows have ..." without `counted`
    r"\{len\([^{}]*\)(:,)?\} "
    r"(pairs|rows|ids|images|weights|nodes|cells|lines|columns|labels|classes|tensors|tokens|texts)\b"
)


@pytest.mark.parametrize(
    ("noun", "one"),
    [
        ("pairs", "pair"), ("people", "person"), ("classes", "class"), ("entries", "entry"),
        ("distinct texts", "distinct text"),
        ("pairs of nodes", "pair of nodes"), ("staff", "staff"), ("kept pairs", "kept pair"),
    ],
)  # fmt: skip
def test_singular_of_what_is_counted_here(noun: str, one: str) -> None:
    assert singular(noun) == one
    assert counted(1, noun) == f"1 {one}"
    assert counted(0, noun) == f"0 {noun}"


@pytest.mark.parametrize(
    ("count", "told"), [(1, "1 row has no id"), (2, "2 rows have no id"), (1234, "1,234 rows have no id")]
)
def test_verb_goes_along_with_the_number(count: int, told: str) -> None:
    assert counted(count, "rows have no id") == told


def test_verb_of_a_share_goes_along_with_the_part() -> None:
    assert share(1, 3, "images are") == "1 of 3 images is"
    assert share(1, 1, "images are") == "1 of 1 image is"
    assert share(2, 3, "images lie") == "2 of 3 images lie"


def test_no_message_counts_one_of_something_in_the_plural() -> None:
    found = []
    for path in SOURCES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if COUNT_OF_PLURAL.search(line) and "raise ValueError" not in line:
                found.append(f"{path.name}:{number}: {line.strip()}")
    assert found == [], "write counted(len(...), 'rows have') of multidelete.core.words"
