"""A few of the generated bad tables and requests; the environment may ask for more, and for others."""

import os

import pytest

from tests.data.generated import outcomes


@pytest.mark.parametrize("more", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_generated_tables_and_requests_are_read_right_or_refused(more: int) -> None:
    count, first = int(os.environ.get("MULTIDELETE_GENERATED", "100")), int(os.environ.get("MULTIDELETE_SEED", "0"))
    count *= more
    right, wrong = outcomes(first, count)
    assert wrong == {}
    assert right["read"] > count / 50
    assert right["not written"] < count / 10
