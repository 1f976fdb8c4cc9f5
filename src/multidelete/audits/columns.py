"""What an audit shows in the tables of a comparison: its columns stand with it, as its ``COLUMNS``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from multidelete.audits.forgetting import UnitCounts
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure, Key

NOISE = 1e-9


@dataclass(frozen=True)
class Audited:
    """What a column chooses its figure among.

    Attributes:
        figures: Of all models of a group.
        counts: Of what was forgotten, where it could be counted.
        headline: What the verdict looks at first.
    """

    figures: Sequence[Figure]
    counts: UnitCounts | None
    headline: Measure

    @property
    def kind(self) -> str | None:
        """Kind of the pairs that tables are about, where pairs have kinds."""
        return self.counts.kind if self.counts else None

    def if_there(self, key: Key) -> Key | None:
        """The key, where there is such a figure."""
        return key if any(row.key == key for row in self.figures) else None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure of the tables, judged by its gap to the retrained model.

    Attributes:
        key: What it is called.
        figure: Which figure it shows; None where there is none.
        tolerance: A gap this large passes; infinite where none is known.
        one_sided: Whether only a gap below the retrained model counts.
        control: The control that must not pass, where there is a tolerance.
    """

    key: str
    figure: Callable[[Audited], Key | None]
    tolerance: float = inf
    one_sided: bool = False
    control: str | None = None

    def passes(self, gap: float) -> bool:
        """Whether a gap lies within the tolerance."""
        return gap >= -self.tolerance - NOISE and (self.one_sided or gap <= self.tolerance + NOISE)
