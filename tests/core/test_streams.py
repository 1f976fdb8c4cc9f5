"""Draws by name: the numbers that results were made with, and no seed that is drawn from without one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from multidelete.core.streams import Stream, stream

PACKAGE = Path(__file__).parents[2] / "src" / "multidelete"


@pytest.mark.parametrize("seed", [0, 7, 2**33 + 1])
@pytest.mark.parametrize(
    ("of", "place", "before"),
    [
        (Stream.LEAD_ORDER, (), ()),
        (Stream.BOOTSTRAP, (), (0,)),
        (Stream.PART_ORDERS, (1,), (1,)),
        (Stream.RETAIN_SAMPLE, (), (1,)),
        (Stream.WRONG_TARGETS, (), (2,)),
        (Stream.TRIALS, (12,), (12,)),
        (Stream.PEOPLE, (4, 2), (4, 2)),
        (Stream.PICTURE_CHANGES, (5, 0, 3, 1), (5, 0, 3, 1)),
        (Stream.RELEARNED_BESIDE, (), (6,)),
    ],
)
def test_stream_draws_what_results_were_made_with(
    seed: int, of: Stream, place: tuple[int, ...], before: tuple[int, ...]
) -> None:
    expected = np.random.default_rng([seed, *before] if before else seed)
    assert (stream(seed, of, *place).integers(2**60, size=9) == expected.integers(2**60, size=9)).all()


def test_every_generator_has_a_name() -> None:
    unnamed = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "streams.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if "default_rng(" in line and not line.strip().startswith(">>>")
    ]
    assert unnamed == []


@pytest.mark.parametrize("of", Stream)
def test_every_stream_is_drawn_from(of: Stream) -> None:
    assert any(f"Stream.{of.name}" in path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))


def test_no_further_streams_share_a_number() -> None:
    """Those that do are counted: a new one must not join them."""
    numbers = Counter(number for _, number in (of.value for of in Stream))
    assert dict(numbers) == {0: 16, 1: 4, 2: 2, 3: 1, 4: 2, 5: 1, 6: 1, 7: 1, 10: 1, 11: 1}
