"""What a figure measures, and the text that is made from it."""

from dataclasses import replace

import pytest

from multidelete.audits.measure import Measure

HEADLINE = Measure("recall", kind="sensitive", k=1, direction=("image", "text"), gallery="all training")


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure("wall seconds"), "wall seconds"),
        (Measure("linear CKA", modality="image"), "image linear CKA"),
        (
            Measure("auc", kind="sensitive", signal="LiRA", to="retrained"),
            "sensitive auc of LiRA, difference to retrained",
        ),
        (HEADLINE, "sensitive recall@1 image to text among all training texts"),
        (replace(HEADLINE, gallery=None, by="a fitted map"), "sensitive recall@1 image to text by a fitted map"),
        (replace(HEADLINE, kind=None, step=0), "recall@1 image to text among all training texts, at step 0"),
        (
            replace(HEADLINE, state="4-bit weights").against("uncompressed"),
            "sensitive recall@1 image to text among all training texts, 4-bit weights, difference to uncompressed",
        ),
    ],
)
def test_text_says_what_there_is_and_nothing_else(measure: Measure, text: str) -> None:
    assert (str(measure), measure == Measure(text), hash(measure) == hash(Measure(text))) == (text, True, True)


def test_short_text_is_that_of_an_axis() -> None:
    assert HEADLINE.against("retrained").short == "sensitive recall@1"
    assert Measure("margin of the label").short == "margin of the label"
