"""Signals: everything the audits ask of one model about one set of pairs, collected in one pass.

Shape suffixes: N pairs, D embedding, C classes.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from multidelete.artifacts.locks import clear, in_turn
from multidelete.artifacts.room import make_whole, told_where_full
from multidelete.core.words import counted
from multidelete.data.pairs import PairDataset
from multidelete.models.base import Adapter, evaluating
from multidelete.models.gallery import Gallery

Floats = NDArray[np.float32]
Rows = NDArray[np.bool_] | NDArray[np.intp]
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Signals:
    """What one model says of N pairs; arrays are float32 on the CPU.

    Attributes:
        ids: The pairs' ids.
        kinds: The pairs' kinds, None where they have none.
        subjects: The pairs' subjects, None where they have none.
        sources: For each modality, in order, the source of each pair's member.
        score: Association scores (N,), higher means more associated.
        unimodal: For each modality its representation before joint space or fusion, (N, D_m).
        embeddings: L2-normalised embeddings of each modality, (N, D), where the family has a contrastive part.
        logits: Class scores (N, C), where the family has a classification head.
        labels: int64 classes (N,), where the pairs have labels.
        nll_nats: Negative log-likelihood of each pair's label (N,), where there are logits and labels.
        gallery: Scores of drawn members with each other, for retrieval without embeddings; see `score_galleries`.
    """

    ids: Sequence[str]
    kinds: Sequence[str | None]
    subjects: Sequence[str | None]
    sources: Mapping[str, Sequence[str]]
    score: Floats
    unimodal: Mapping[str, Floats]
    embeddings: Mapping[str, Floats] | None = None
    logits: Floats | None = None
    labels: NDArray[np.int64] | None = None
    nll_nats: Floats | None = None
    gallery: Gallery | None = None

    def __repr__(self) -> str:
        return f"Signals({counted(len(self.ids), 'pairs')})"

    def __post_init__(self) -> None:
        lengths = {
            len(self.kinds),
            len(self.subjects),
            len(self.score),
            *(len(keys) for keys in self.sources.values()),
            *(len(array) for _, array in _arrays(self)),
        }
        if lengths - {len(self.ids)}:
            raise ValueError(f"{len(self.ids)} ids, but arrays of lengths {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> tuple[str, str]:
        """The two modalities, in the pairs' order."""
        first, second = self.sources
        return first, second

    @cached_property
    def label_aware_score(self) -> Floats:
        """Margin of the pair's own label where there are logits and labels, else the association score, (N,).

        The margin is log p(label) - log(1 - p(label)) in nats. It orders pairs as the likelihood does, and
        keeps apart pairs that a confident model gives a likelihood of nearly 1.
        """
        if self.logits is None or self.labels is None:
            return self.score
        return _log_odds(self.logits, self.labels)

    @cached_property
    def confidence(self) -> Floats | None:
        """Log-odds of the most likely class in nats, right or wrong, (N,); None where there are no logits."""
        if self.logits is None:
            return None
        return _log_odds(self.logits, self.logits.argmax(axis=1))

    @property
    def can_be_judged(self) -> bool:
        """Whether there are labels, and class scores to judge by them."""
        return self.labels is not None and self.logits is not None

    @property
    def can_be_searched(self) -> bool:
        """Whether there is something to search: embeddings, or a drawn gallery."""
        return self.embeddings is not None or self.gallery is not None

    @property
    def in_gallery(self) -> NDArray[np.bool_]:
        """The pairs that a search can be about, (N,): all, or those whose members were scored with each other."""
        if self.gallery is None:
            return np.full(len(self), self.can_be_searched)
        return np.array([self.gallery.holds(*sources) for sources in zip(*self.sources.values(), strict=True)])

    def similarity(self, query: str, candidate: str, queries: Rows, candidates: Rows) -> NDArray[np.float64]:
        """Similarity of some pairs' query members to others' candidate members, (Q, C), rounded so that noise ties.

        Minus infinity where a gallery has no score.

        Raises:
            ValueError: There is nothing to search.
        """
        if self.embeddings is not None:
            queries_QD = self.embeddings[query][queries].astype(np.float64)
            return np.round(queries_QD @ self.embeddings[candidate][candidates].astype(np.float64).T, 6)
        if self.gallery is None:
            raise ValueError("these signals have neither embeddings nor a gallery")
        keys = {m: np.asarray(self.sources[m], dtype=object) for m in (query, candidate)}
        return self.gallery.scores(query, keys[query][queries].tolist(), keys[candidate][candidates].tolist())

    def select(self, rows: Rows) -> "Signals":
        """The pairs of a boolean mask (N,) or of integer positions, in that order."""
        at = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows)
        selected = _assembled(
            {name: array[at] for name, array in _arrays(self)},
            ids=[self.ids[i] for i in at],
            kinds=[self.kinds[i] for i in at],
            subjects=[self.subjects[i] for i in at],
            sources={m: [keys[i] for i in at] for m, keys in self.sources.items()},
        )
        return replace(selected, gallery=self.gallery)

    def of_kind(self, kind: str | None) -> "Signals":
        """The pairs of one kind."""
        return self.select(np.array([k == kind for k in self.kinds], dtype=bool))

    def join(self, other: "Signals") -> "Signals":
        """These pairs, then the other ones of the same model; what only one side has is left out."""
        theirs = dict(_arrays(other))
        joined = _assembled(
            {name: np.concatenate([array, theirs[name]]) for name, array in _arrays(self) if name in theirs},
            ids=[*self.ids, *other.ids],
            kinds=[*self.kinds, *other.kinds],
            subjects=[*self.subjects, *other.subjects],
            sources={m: [*keys, *other.sources[m]] for m, keys in self.sources.items()},
        )
        return replace(joined, gallery=self.gallery if self.gallery is other.gallery else None)


def _log_odds(logits_NC: Floats, class_N: NDArray[np.int64]) -> Floats:
    """log p(class) - log(1 - p(class)) of one class of each pair, (N,)."""
    rows = np.arange(len(class_N))
    others_NC = logits_NC.astype(np.float64)
    own_N = others_NC[rows, class_N]
    others_NC[rows, class_N] = -np.inf
    return np.asarray(own_N - np.logaddexp.reduce(others_NC, axis=1), dtype=np.float32)


def collect(
    adapter: Adapter,
    dataset: PairDataset,
    *,
    batch_size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> Signals:
    """One pass of a model over pairs, in evaluation mode and without gradients; its modes are restored.

    Args:
        adapter: The model, on its device.
        dataset: The pairs, at least one.
        batch_size: Pairs at once, at least 1; changes memory and speed only.
        progress: Called with the pairs done and the pairs in all after each batch.

    Raises:
        ValueError: There is no pair, or a batch size below 1.
    """
    if not len(dataset) or batch_size < 1:
        raise ValueError(f"{len(dataset)} pairs in batches of {batch_size}; both must be at least 1")
    parts: dict[str, list[NDArray[Any]]] = {}
    with evaluating(adapter):
        for start in range(0, len(dataset), batch_size):
            pairs = list(dataset.pairs[start : start + batch_size])
            batch = adapter.collate(pairs).to(adapter.device)
            outputs = adapter(batch)
            answers = {"score": outputs.score, "logits": outputs.logits, "labels": batch.labels}
            answers |= {f"unimodal/{m}": t for m, t in outputs.unimodal.items()}
            answers |= {f"embeddings/{m}": t for m, t in (outputs.embeddings or {}).items()}
            if outputs.logits is not None and batch.labels is not None:
                answers["nll_nats"] = torch.nn.functional.cross_entropy(
                    outputs.logits.float(), batch.labels, reduction="none"
                )
            for name, tensor in answers.items():
                if tensor is not None:
                    kept = tensor.long() if name == "labels" else tensor.float()
                    parts.setdefault(name, []).append(kept.cpu().numpy())
            if progress:
                progress(start + len(pairs), len(dataset))
    return _assembled(
        {name: np.concatenate(arrays) for name, arrays in parts.items()},
        ids=dataset.ids,
        kinds=[pair.kind for pair in dataset],
        subjects=[pair.subject for pair in dataset],
        sources={m: [pair.sources[m] for pair in dataset] for m in adapter.modalities},
    )


def cached(folder: Path, key: str, make: Callable[[], Signals]) -> Signals:
    """Read signals from ``folder``, or make and keep them.

    The file is an ``.npz`` that holds arrays and one JSON text, no pickles and no gallery. It appears whole or
    not at all. A file that is damaged, or made under another key, is made anew.

    Args:
        folder: Made if it is missing.
        key: Names the content: a digest of model, data and settings.
        make: Called where there is no usable file.
    """
    path = folder / f"signals-{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    turn = folder / f".{path.stem}.turn"
    if path.exists():
        clear(turn)
        try:
            return _read(path, key)
        except _DAMAGED:
            pass  # made anew below, and replaced
    signals = make()
    with told_where_full(path):
        folder.mkdir(parents=True, exist_ok=True)
        with in_turn(turn):
            make_whole(path, lambda unfinished: _write(unfinished, key, signals))
    return signals


def _write(path: Path, key: str, signals: Signals) -> None:
    words = {
        "key": key,
        "ids": list(signals.ids),
        "kinds": list(signals.kinds),
        "subjects": list(signals.subjects),
        "sources": {m: list(keys) for m, keys in signals.sources.items()},
    }
    text = np.frombuffer(json.dumps(words).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, words=text, **dict(_arrays(signals)))


def _read(path: Path, key: str) -> Signals:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        words = json.loads(stored["words"].tobytes())
        if words.pop("key") != key:
            raise ValueError("made under another key")
        return _assembled({name: stored[name] for name in stored.files if name != "words"}, **words)


def _arrays(signals: Signals) -> list[tuple[str, NDArray[Any]]]:
    """All arrays by flat name (``embeddings/image``), those that exist."""
    flat = {"score": signals.score, "logits": signals.logits, "labels": signals.labels, "nll_nats": signals.nll_nats}
    nested = {"unimodal": signals.unimodal, "embeddings": signals.embeddings or {}}
    return [(n, a) for n, a in flat.items() if a is not None] + [
        (f"{name}/{m}", array) for name, arrays in nested.items() for m, array in arrays.items()
    ]


def _assembled(
    arrays: Mapping[str, NDArray[Any]],
    *,
    ids: Sequence[str],
    kinds: Sequence[str | None],
    subjects: Sequence[str | None],
    sources: Mapping[str, Sequence[str]],
) -> Signals:
    """Signals from the flat names of `_arrays`."""

    def of_modality(outer: str) -> dict[str, NDArray[Any]]:
        return {m: arrays[f"{outer}/{m}"] for m in sources if f"{outer}/{m}" in arrays}

    return Signals(
        ids=ids,
        kinds=kinds,
        subjects=subjects,
        sources=sources,
        score=arrays["score"],
        unimodal=of_modality("unimodal"),
        embeddings=of_modality("embeddings") or None,
        logits=arrays.get("logits"),
        labels=arrays.get("labels"),
        nll_nats=arrays.get("nll_nats"),
    )
