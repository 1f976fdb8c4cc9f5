"""Near-duplicates of a request: pairs that it does not name and that hold nearly what a deleted pair holds."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from multidelete.data.lookalikes import loose_form
from multidelete.data.near.pictures import near_pictures
from multidelete.data.near.texts import Chance, are_one_word_apart, near_texts, text_distance
from multidelete.data.pairs import Pair, PairDataset, members

Vectors = Mapping[str, NDArray[np.float32]]
"""What a model makes of members, by source."""

NEIGHBOURS = 5
SAME, PICTURE, TEXT, NODE, SUBJECT = "the same pair", "picture", "text", "node", "subject"


@dataclass(frozen=True)
class Reason:
    """Why a pair is offered.

    Attributes:
        what: The member that is nearly a deleted one, or ``the same pair``, under another id.
        distance: How far it is from the deleted one, in [0, 1].
        similarity: Cosine of the two in the model's own representation, where the model was asked.
    """

    what: str
    distance: float
    similarity: float | None = None

    def __str__(self) -> str:
        asked = "" if self.similarity is None else f", {self.similarity:.2f} alike to the model"
        return f"{self.what} {self.distance:.3f}{asked}"


@dataclass(frozen=True)
class NearDuplicate:
    """A kept pair, beside the deleted pair that it is nearest to."""

    pair: Pair = field(repr=False)
    beside: Pair = field(repr=False)
    reasons: tuple[Reason, ...]

    @property
    def distance(self) -> float:
        """That of the member that is nearest."""
        return min(reason.distance for reason in self.reasons)


def near_duplicates(
    train: PairDataset, ids: Collection[str], representations: Mapping[str, Vectors] | None = None
) -> list[NearDuplicate]:
    """Pairs that a request does not name and that nearly repeat one of its pairs, the nearest first.

    Args:
        train: All training pairs, with true sources.
        ids: Of the pairs that are to be deleted.
        representations: For each modality, what the model makes of its members: its nearest neighbours are looked at
            too, and may differ more.
    """
    deleted = [pair for pair in train if pair.id in ids]
    kept = [pair for pair in train if pair.id not in ids]
    near = _Near(deleted, kept, representations or {})
    offers = [offer for pair in kept if (offer := near.offer(pair)) is not None]
    return sorted(offers, key=lambda offer: (offer.distance, -len(offer.reasons)))


class _Near:
    """Which members are near which deleted ones, and whose those are."""

    def __init__(self, deleted: list[Pair], kept: list[Pair], representations: Mapping[str, Vectors]) -> None:
        self._by_member: dict[tuple[str, str], list[Pair]] = defaultdict(list)
        for pair in deleted:
            for matter, name in {(matter, name) for matter, name, _ in _named(pair)}:
                self._by_member[matter, name].append(pair)
        self._whole = {_sources(pair): pair for pair in reversed(deleted)}
        found = {
            modality: neighbours(vectors, _members(deleted, modality), _members(kept, modality))
            for modality, vectors in representations.items()
        }
        ours, theirs = _members(deleted, "image"), _members(kept, "image")
        alike: dict[str, dict[tuple[str, str], float]] = {
            PICTURE: near_pictures(
                ours,
                {source: picture for source, picture in theirs.items() if source not in ours},
                found.get("image", {}),
            )
        }
        texts = {source: str(text) for source, text in _members(deleted, "text").items()}
        others = {source: str(text) for source, text in _members(kept, "text").items() if source not in texts}
        self._chance = Chance({**texts, **others}.values())
        alike[TEXT] = near_texts(texts, others, found.get("text", {}), self._chance)
        alike[NODE] = _same_form(_members(deleted, "graph"), _members(kept, "graph"))
        alike[SUBJECT] = _same_form(*({pair.subject for pair in pairs} - {None} for pairs in (deleted, kept)))
        self._similarity = {PICTURE: found.get("image", {}), TEXT: found.get("text", {}), NODE: found.get("graph", {})}
        self._close: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for matter, distances in alike.items():
            for (here, there), distance in distances.items():
                self._close[matter, there][here] = distance

    def offer(self, pair: Pair) -> NearDuplicate | None:
        """The pair as a near-duplicate; None where it is none."""
        if (same := self._whole.get(_sources(pair))) is not None:
            return NearDuplicate(pair, same, (Reason(SAME, 0.0),))
        beside: dict[str, Pair] = {}
        for matter, name, _ in _named(pair):
            if matter == PICTURE and "text" in pair.inputs:
                same_picture = self._by_member.get((matter, name), ())
                beside |= {one.id: one for one in same_picture if are_one_word_apart(pair.text, one.text)}
            for ours in self._close.get((matter, name), {}):
                beside |= {one.id: one for one in self._by_member[matter, ours]}
        offers = [NearDuplicate(pair, one, reasons) for one in beside.values() if (reasons := self._reasons(pair, one))]
        return min(offers, key=lambda offer: (-len(offer.reasons), offer.distance), default=None)

    def _reasons(self, pair: Pair, beside: Pair) -> tuple[Reason, ...]:
        """Why a pair is offered beside a deleted one: a text alone is near where chance does not explain it."""
        theirs, reasons = [(matter, name) for matter, name, _ in _named(beside)], []
        for matter, name, _ in _named(pair):
            distances = self._close.get((matter, name), {})
            near = [(distances[other], other) for what, other in theirs if what == matter and other in distances]
            if near:
                distance, other = min(near)
                reasons.append(Reason(matter, distance, self._similarity.get(matter, {}).get((other, name))))
        shared = {(matter, name) for matter, name, _ in _named(pair)}.intersection(theirs)
        has_picture = any(matter == PICTURE for matter, _ in shared)
        if not reasons and has_picture and are_one_word_apart(pair.text, beside.text):
            reasons.append(Reason(TEXT, text_distance(pair.text, beside.text)))
        is_text_alone = [reason.what for reason in reasons] == [TEXT] and not {PICTURE, NODE} & {m for m, _ in shared}
        return () if is_text_alone and not self._chance.excludes(pair.text, beside.text) else tuple(reasons)


def _named(pair: Pair) -> list[tuple[str, str, object]]:
    """Each single member with its matter and source, and the subject."""
    matters = {"image": PICTURE, "text": TEXT, "graph": NODE}
    named = [
        (matters.get(modality, modality), source, value)
        for modality in pair.inputs
        for source, value in members(pair, modality)
    ]
    return named if pair.subject is None else [*named, (SUBJECT, pair.subject, pair.subject)]


def _sources(pair: Pair) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pair.sources.items()))


def _members(pairs: Iterable[Pair], modality: str) -> dict[str, object]:
    return {source: value for pair in pairs if modality in pair.inputs for source, value in members(pair, modality)}


def _same_form(deleted: Iterable[object], kept: Iterable[object]) -> dict[tuple[str, str], float]:
    """Names that differ from a deleted one in blanks, capital letters or spelling alone."""
    forms: dict[str, list[str]] = defaultdict(list)
    for name in map(str, deleted):
        forms[loose_form(name)].append(name)
    return {(ours, name): 0.0 for name in map(str, kept) for ours in forms.get(loose_form(name), ()) if ours != name}


def neighbours(vectors: Vectors, deleted: Iterable[str], kept: Iterable[str]) -> dict[tuple[str, str], float]:
    """The nearest kept members of each deleted one by the model's representation, with their cosine."""
    ours = {source: None for source in deleted if source in vectors}
    theirs = [source for source in kept if source in vectors and source not in ours]
    if not ours or not theirs:
        return {}
    here_ND, there_ND = (_unit(np.stack([vectors[source] for source in sources])) for sources in (ours, theirs))
    found: dict[tuple[str, str], float] = {}
    for source, vector_D in zip(ours, here_ND, strict=True):
        cosine_N = there_ND @ vector_D
        for at in np.argsort(-cosine_N, kind="stable")[:NEIGHBOURS]:
            found[source, theirs[at]] = float(cosine_N[at])
    return found


def _unit(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12))
