"""What a search for settings varies, and how one trial's settings are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from multidelete.core.errors import UnsupportedError
from multidelete.core.settings import LoopSettings
from multidelete.core.streams import Stream, stream

if TYPE_CHECKING:
    from multidelete.methods.base import Method


@dataclass(frozen=True)
class Factor:
    """Drawn log-uniformly between ``low`` and ``high`` times the default; whole numbers stay whole, and at least 1.

    Multiples, not values: what suits a model is around its default, or around what the user gave instead of it
    (a learning rate of 1e-5 for a large model).
    """

    low: float
    high: float

    def draw(self, rng: np.random.Generator, default: object) -> float:
        """One value, with three significant digits."""
        if not isinstance(default, int | float) or isinstance(default, bool):
            raise TypeError(f"{default!r} is no number")
        value = float(f"{default * np.exp(rng.uniform(np.log(self.low), np.log(self.high))):.3g}")
        return max(1, round(value)) if isinstance(default, int) else value


Search = Mapping[str, Factor]  # by name of a hyperparameter of the method, or of a loop setting


def check_search(method: "Method") -> None:
    """Refuse a method that has nothing to search.

    Raises:
        UnsupportedError: With the method's own reason.
    """
    if not method.search:
        why = method.no_search or "its class names nothing to search; give it a class attribute `search`"
        raise UnsupportedError(f"{method.name} cannot be tuned: {why}.")


def drawn_settings(
    method: "Method", loop: LoopSettings, *, trial: int, seed: int
) -> tuple["Method", LoopSettings, dict[str, float]]:
    """The settings of one trial: a function of its number and the seed alone. Trial 0 has those given.

    Returns:
        The method, the loop's settings, and what was drawn by name.
    """
    rng = stream(seed, Stream.TRIALS, trial)
    own = {one.name for one in fields(method)}
    before = {name: getattr(method if name in own else loop, name) for name in method.search}
    drawn = dict(before) if trial == 0 else {name: span.draw(rng, before[name]) for name, span in method.search.items()}
    return (*with_settings(method, loop, drawn), drawn)


def with_settings(method: "Method", loop: LoopSettings, drawn: Mapping[str, float]) -> tuple["Method", LoopSettings]:
    """Both with the settings that are theirs."""
    own = {one.name for one in fields(method)}
    return (
        replace(method, **{name: value for name, value in drawn.items() if name in own}),
        # each value is of its field's type, which mypy cannot see
        replace(loop, **{name: value for name, value in drawn.items() if name not in own}),  # type: ignore[arg-type]
    )
