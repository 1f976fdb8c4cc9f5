"""Messages in the code: a number is written with its noun by `counted` or `share`, and a name after its article."""

import re
from pathlib import Path

import pytest

from multidelete.core.words import counted, indefinite, share

SOURCES = sorted((Path(__file__).parents[2] / "src" / "multidelete").rglob("*.py"))
BY_HAND = re.compile(
    r"""\{(len|sum)\([^{}]*\)(:,)?\}\ (of\ [^"]*\}\ )?(more\ )?(?!as\b)[a-z]+s\b   # {len(x)} pairs
        |\{len\([^{}]*\)\}\ of\ \{len\(                                    # {len(x)} of {len(y)} ids
        |\b[Aa]\ \{type\(                                                  # a {type(x).__name__}
        |\{'?s'?\ if\ |'s'\ \* """,
    re.VERBOSE,
)
ALLOWED = ("raise ValueError(", "files dataset*.json", "Karpathy files", "class_of", "of them numbers", "states.count")


def test_numbers_and_articles_are_not_spelt_by_hand() -> None:
    lines = [(path.name, line.strip()) for path in SOURCES for line in path.read_text(encoding="utf-8").split("\n")]
    found = [(name, line) for name, line in lines if BY_HAND.search(line)]
    assert [one for one in found if not any(word in one[1] for word in ALLOWED)] == []


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (share(1, 1, "ids occur"), "1 of 1 id occurs"),
        (share(2, 3, "rows of train have"), "2 of 3 rows of train have"),
        (share(1, 3, "images of cats do"), "1 of 3 images of cats does"),
        (counted(1, "pictures lie"), "1 picture lies"),
        (counted(1, "pairs stay"), "1 pair stays"),
        (counted(1, "pairs of the request given are"), "1 pair of the request given is"),
        (indefinite("id"), "an id"),
        (indefinite("int"), "an int"),
        (indefinite("'albef' model"), "an 'albef' model"),
        (indefinite("'clip' model"), "a 'clip' model"),
        (indefinite("unit"), "a unit"),
        (indefinite("AlbefForRetrieval"), "an AlbefForRetrieval"),
    ],
)
def test_number_article_and_verb_go_together(said: str, wanted: str) -> None:
    assert said == wanted
