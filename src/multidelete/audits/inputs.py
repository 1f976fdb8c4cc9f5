"""What an audit is given: the models' signals on the same pairs, and what the run cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from multidelete.audits.roles import Role
from multidelete.audits.signals import Signals
from multidelete.core.streams import Stream, stream
from multidelete.core.units import UNITS, Unit
from multidelete.core.words import counted
from multidelete.data.pairs import Pair, PairDataset

SPLITS = ("forget", "retain", "test", "val")
RETRAINED_AGAIN, UNLEARNED_AGAIN = Role.RETRAINED_AGAIN.value, Role.UNLEARNED_AGAIN.value


@dataclass(frozen=True, kw_only=True)
class ModelSignals:
    """One model's signals on each split.

    Attributes:
        forget: All forget pairs.
        retain: All retain pairs, or a sample of them (say so in `AuditInput.retain_pairs`).
        test: Held-out pairs, or None where the data has none.
        val: Validation pairs, or None; they stand in for the test pairs where those are missing.
        logit_scale: Factor of the cosine similarities in the model's own softmax, where it has one.
    """

    forget: Signals
    retain: Signals
    test: Signals | None = None
    val: Signals | None = None
    logit_scale: float | None = None

    @cached_property
    def training(self) -> Signals:
        """Forget pairs, then retain pairs."""
        return self.forget.join(self.retain)

    @property
    def holdout(self) -> Signals | None:
        """Pairs the model was never trained on: test pairs, or else validation pairs."""
        return self.test if self.test is not None else self.val


@dataclass(frozen=True)
class Shadow:
    """A model trained by the original's recipe on other pairs, for attacks that calibrate each pair.

    Attributes:
        signals: Of the same pairs as the audited models.
        members: Ids of the pairs that it was trained on, of whatever split; the others it never saw.
    """

    signals: ModelSignals
    members: frozenset[str]

    def __repr__(self) -> str:
        return f"Shadow({counted(len(self.members), 'members')})"


@dataclass(frozen=True, kw_only=True)
class AuditInput:
    """Everything the audits read.

    Attributes:
        models: ``original`` and ``unlearned``, ``retrained`` where there is one, and any others. All
            hold the same pairs in the same order. Names that begin with ``retrained again`` are retrained
            models of the same request and another seed: what lies between them and the retrained model is
            the *floor*. ``unlearned again`` likewise.
        cost: What `cost` reads; missing keys are reported as absent.
        seed: Of the retain sample and of the bootstraps.
        unit: What was deleted as a whole; of pairs of two pictures these two together. Retain samples are drawn in
            the same unit; a node counts by all nodes of its pair.
        noun: What a unit is called in the verdict, in the plural (``"people"``).
        retain_pairs: Number of retain pairs there are, if ``retain`` holds a sample of them.
        shadows: Reference models of other training pairs; no figure is about them.

    Raises:
        ValueError: A model is missing, models or shadows hold different pairs, a pair is both forgotten
            and retained, or nothing is forgotten or retained.
    """

    models: Mapping[str, ModelSignals]
    cost: Mapping[str, float | None] = field(default_factory=dict)
    seed: int = 0
    unit: Unit = "pair"
    noun: str | None = None
    retain_pairs: int | None = None
    shadows: Sequence[Shadow] = ()

    def __post_init__(self) -> None:
        for name in ("original", "unlearned"):
            if name not in self.models:
                raise ValueError(f"there is no {name!r} among the models {list(self.models)}")
        if self.of_role(Role.RETRAINED_AGAIN) and "retrained" not in self.models:
            raise ValueError(f"there is a second retrained model, and no first among {list(self.models)}")
        original = self.models["original"]
        shadows = {f"shadow {at}": shadow.signals for at, shadow in enumerate(self.shadows)}
        for name, model in (dict(self.models) | shadows).items():
            for split in SPLITS:
                ours, theirs = getattr(original, split), getattr(model, split)
                if (None if ours is None else list(ours.ids)) != (None if theirs is None else list(theirs.ids)):
                    raise ValueError(f"{name} and original hold different {split} pairs, or in another order")
        if not len(original.forget) or not len(original.retain):
            raise ValueError(f"{len(original.forget)} forget and {len(original.retain)} retain pairs; need both")
        both = set(original.forget.ids) & set(original.retain.ids)
        if both:
            raise ValueError(f"{counted(len(both), 'pairs are')} both forgotten and retained: {sorted(both)[:3]}")
        if self.unit not in UNITS or (self.unit == "image" and "image" not in original.forget.modalities):
            raise ValueError(f"unit is {self.unit!r}; it must be one of {UNITS} and pairs of it")

    def of_role(self, role: Role) -> dict[str, ModelSignals]:
        """The models that play this part."""
        return {name: model for name, model in self.models.items() if Role.of(name) is role}

    @property
    def original(self) -> ModelSignals:
        return self.models["original"]

    @property
    def retain_is_sampled(self) -> bool:
        return self.retain_pairs is not None and self.retain_pairs > len(self.original.retain)

    @property
    def unit_noun(self) -> str:
        return self.noun or f"{self.unit}s"

    def kinds(self) -> list[str | None]:
        """Kinds of the forget pairs, sorted; ``[None]`` where pairs have none."""
        return kinds_of(self.original.forget)

    def headline_kind(self) -> str | None:
        """The kind the verdict is about: ``sensitive`` if it is forgotten, else the most frequent one."""
        kinds = list(self.original.forget.kinds)
        if "sensitive" in kinds:
            return "sensitive"
        return max(self.kinds(), key=lambda kind: (kinds.count(kind), str(kind)))

    @cached_property
    def retain_sample(self) -> NDArray[np.bool_]:
        """Mask over the retain pairs: as many units as are forgotten (all, if there are fewer), at random."""
        wanted = len(set(units(self.original.forget, self.unit)))
        of_pair = units(self.original.retain, self.unit)
        names = sorted(set(of_pair))
        drawn = stream(self.seed, Stream.COMPARED_RETAIN).permutation(len(names))[:wanted]
        chosen = {names[i] for i in drawn}
        return np.array([name in chosen for name in of_pair], dtype=bool)


def units(signals: Signals, unit: Unit) -> list[str]:
    """The unit each pair belongs to; a pair without a subject counts by its first member."""
    if unit == "pair":
        return list(signals.ids)
    if unit == "subject":
        return groups(signals)
    return list(signals.sources[signals.modalities[0] if unit == "node" else unit])


def drawn_sets(
    signals: Mapping[str, Signals],
    splits: Mapping[str, PairDataset],
    unit: Unit,
    seed: int,
    *,
    members: int,
    together: bool = False,
) -> list[list[Pair]]:
    """Pairs whose members are to be scored with each other, for retrieval without embeddings.

    For each kind one set of training pairs, up to half of it forget pairs, and one of test (or validation) pairs, or
    both ``together``. Units are drawn at random, and their pairs taken while a set has at most ``members`` members of
    each modality.
    """
    held = "test" if "test" in signals else "val"
    sets = []
    for kind in kinds_of(signals["forget"]):
        of_kind = []
        for limits in ({"forget": members // 2, "retain": members}, {held: members}):
            taken: tuple[set[str], ...] = (set(), set())
            drawn: list[Pair] = []
            for split, most in limits.items():
                if split in signals:
                    rows = _drawn(signals[split].of_kind(kind), unit, seed, most, taken)
                    drawn += splits[split].only(rows, "drawn")
            of_kind.append(drawn)
        sets += [[pair for drawn in of_kind for pair in drawn]] if together else of_kind
    return [drawn for drawn in sets if drawn]


def _drawn(signals: Signals, unit: Unit, seed: int, members: int, taken: tuple[set[str], ...]) -> list[str]:
    """Ids of pairs, unit by unit at random, while ``taken``, the members so far by modality, have room."""
    of_pair = units(signals, unit)
    names = sorted(set(of_pair))
    rank = dict(zip(names, stream(seed, Stream.AUDITED_SETS).permutation(len(names)).tolist(), strict=True))
    ids = []
    for at in sorted(range(len(signals)), key=lambda at: rank[of_pair[at]]):
        both = list(zip((sources[at] for sources in signals.sources.values()), taken, strict=True))
        if all(key in keys or len(keys) < members for key, keys in both):
            ids.append(signals.ids[at])
            for key, keys in both:
                keys.add(key)
    return ids


def groups(signals: Signals) -> list[str]:
    """Which pairs hang together when resampling: those of one subject, else of one first member."""
    first = signals.sources[signals.modalities[0]]
    return [
        f"member {source}" if subject is None else f"subject {subject}"
        for subject, source in zip(signals.subjects, first, strict=True)
    ]


def kinds_of(signals: Signals) -> list[str | None]:
    """Distinct kinds, sorted; pairs without one come first."""
    return sorted(set(signals.kinds), key=lambda kind: (kind is not None, kind or ""))


def prefix(kind: str | None) -> str:
    """How a figure's name begins.

    >>> prefix("sensitive"), prefix(None)
    ('sensitive ', '')
    """
    return "" if kind is None else f"{kind} "
