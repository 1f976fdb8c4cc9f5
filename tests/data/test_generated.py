"""A few of the generated bad tables and requests; the environment may ask for more, and for others."""

import os

from tests.data.generated import outcomes


def test_generated_tables_and_requests_are_read_right_or_refused() -> None:
    count, first = int(os.environ.get("MULTIDELETE_GENERATED", "200")), int(os.environ.get("MULTIDELETE_SEED", "0"))
    right, wrong = outcomes(first, count)
    assert wrong == {}
    assert right["read"] > count / 50
    assert right["not written"] < count / 10
