"""Legs that tests say themselves what to do in."""

from collections.abc import Mapping, Sequence

from multidelete.methods.standing import Standing


class SimpleLegs:
    """What a way of taking legs has beside ``take``: it predicts nothing, adapts to nothing and knows nothing."""

    name = "solved"
    length = 1.0
    most = 2
    brings_back = False
    pairs = 0.0
    asked = 0.0
    scales: Mapping[str, float] = {}

    def is_as_predicted(self, before: Standing, after: Standing) -> bool:
        return True

    def adapt(self, before: Standing, after: Standing | None) -> bool:
        return True

    def told(self) -> list[float]:
        return []

    def recall(self, told: Sequence[float]) -> None:
        pass
