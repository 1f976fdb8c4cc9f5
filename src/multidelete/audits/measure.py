"""What a figure is about, as facts. Its text is made from them, and nothing reads them off a text."""

from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

RECALL, ACCURACY, AUC, LABEL_MARGIN, SCORE = "recall", "accuracy", "auc", "margin of the label", "score"


@dataclass(frozen=True, eq=False)
class Measure:
    """What was measured. Equal are those of one text, so that what is read from a file equals what was written.

    >>> str(Measure(RECALL, kind="sensitive", k=1, direction=("image", "text"), gallery="all training"))
    'sensitive recall@1 image to text among all training texts'
    >>> str(Measure(AUC, signal="score", to="retrained"))
    'auc of score, difference to retrained'

    Attributes:
        name: Of the measure. Of figures that are read from a file, the whole text.
        kind: Kind of the pairs, where pairs have kinds.
        modality: Modality of the members, where it is about single ones.
        k: How many of the best are looked at.
        signal: What an attack goes by.
        direction: What asks, and the modality that is searched.
        gallery: Which members of that modality are searched, where there are several to choose from.
        by: How the answer is found, where the model itself does not give it.
        state: What was done to the model before.
        step: Steps that it has learned before.
        to: What it is compared with: the figure is the difference to that.
    """

    name: str
    _: KW_ONLY
    kind: str | None = None
    modality: str | None = None
    k: int | None = None
    signal: str | None = None
    direction: tuple[str, str] | None = None
    gallery: str | None = None
    by: str | None = None
    state: str | None = None
    step: int | None = None
    to: str | None = None

    @property
    def is_attack(self) -> bool:
        """Whether it is the AUC of a single signal, and no difference."""
        return self.name == AUC and self.signal is not None and self.to is None

    @property
    def short(self) -> str:
        """Kind and name, with the cut-off."""
        words = [word for word in (self.kind, self.modality, self.name) if word is not None]
        return " ".join(words) + ("" if self.k is None else f"@{self.k}")

    @cached_property
    def text(self) -> str:
        """All of it in words."""
        query, candidate = self.direction or ("", "")
        parts = (
            (" of ", self.signal),
            (" ", self.direction and f"{query} to {candidate}"),
            (" among ", self.gallery and f"{self.gallery} {candidate}s"),
            (" by ", self.by),
            (", ", self.state),
            (", at step ", self.step),
            (", difference to ", self.to),
        )
        return self.short + "".join(f"{before}{part}" for before, part in parts if part is not None)

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measure) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def against(self, model: str) -> "Measure":
        """The difference to this model's value."""
        return replace(self, to=model)
