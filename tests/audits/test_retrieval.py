"""Searching a gallery: members matched by source, other associations left out."""

import numpy as np
import pytest

from multidelete.audits import Signals
from multidelete.audits.retrieval import search


def signals(pairs: list[tuple[str, str]], seed: int = 0, *, dimension: int = 4, collapsed: bool = False) -> Signals:
    """Pairs of these sources; equal sources have equal embeddings."""
    rng = np.random.default_rng(seed)
    vector: dict[str, np.ndarray] = {}
    for key in sorted({key for pair in pairs for key in pair}):
        raw = np.ones(dimension) if collapsed else rng.normal(size=dimension)
        vector[key] = (raw / np.linalg.norm(raw)).astype(np.float32)
    image, text = (np.stack([vector[pair[side]] for pair in pairs]) for side in (0, 1))
    return Signals(
        ids=[f"{i}+{t}" for i, t in pairs],
        kinds=[None] * len(pairs),
        subjects=[None] * len(pairs),
        sources={"image": [i for i, _ in pairs], "text": [t for _, t in pairs]},
        score=(image * text).sum(axis=1),
        unimodal={"image": image, "text": text},
        embeddings={"image": image, "text": text},
    )


def naive(found: Signals, own: list[bool], gallery: list[bool], query: str, candidate: str, k: int) -> dict[str, float]:
    """For each query one sorted list, built from dictionaries."""
    vectors = {
        m: dict(zip(found.sources[m], (found.embeddings or {})[m].astype(float), strict=True)) for m in found.sources
    }
    edges = list(zip(found.sources[query], found.sources[candidate], own, gallery, strict=True))
    result = {}
    for q in {q for q, _, is_own, _ in edges if is_own}:
        right = {c for x, c, is_own, _ in edges if x == q and is_own}
        joined = {c for x, c, _, listed in edges if x == q and listed}
        names = {c for _, c, _, listed in edges if listed} - (joined - right)
        ranked = sorted(names, key=lambda c: -(vectors[query][q] @ vectors[candidate][c]))
        result[q] = float(any(c in right for c in ranked[:k]))
    return result


def random_pairs(seed: int) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    drawn = {(f"i{rng.integers(8)}", f"t{rng.integers(14)}") for _ in range(30)}
    return sorted(drawn)


@pytest.mark.parametrize("direction", [("image", "text"), ("text", "image")])
def test_search_equals_sorting_one_list_per_query(direction: tuple[str, str]) -> None:
    query, candidate = direction
    for seed in range(15):
        found = signals(random_pairs(seed), seed)
        rng = np.random.default_rng(seed)
        gallery = rng.random(len(found)) < 0.8
        own = gallery & (rng.random(len(found)) < 0.4)
        own[np.flatnonzero(gallery)[0]] = True
        result = search(found, own, gallery, query=query, candidate=candidate, ks=(1, 3))
        for k in (1, 3):
            expected = naive(found, own.tolist(), gallery.tolist(), query, candidate, k)
            keys = list(dict.fromkeys(np.array(found.sources[query])[own]))
            assert dict(zip(keys, result.recall[k], strict=True)) == expected


def test_search_counts_any_of_five_captions_as_right() -> None:
    found = signals([(f"i{i}", f"t{i}-{c}") for i in range(4) for c in range(5)], dimension=64)
    embeddings = {m: array.copy() for m, array in (found.embeddings or {}).items()}
    for i in range(4):
        embeddings["text"][5 * i + 4] = embeddings["image"][5 * i]  # only the last caption fits
    everything = np.ones(20, dtype=bool)
    moved = Signals(**{**vars(found), "embeddings": embeddings})
    result = search(moved, everything, everything, query="image", candidate="text")
    assert result.recall[1].tolist() == [1.0] * 4
    assert result.gallery == 20
    assert result.chance[1] == pytest.approx([5 / 20] * 4)


def test_search_is_by_source_and_not_by_row() -> None:
    pairs = [("i0", "t0"), ("i1", "t1"), ("i2", "t2"), ("i1", "t1")]
    found = signals(pairs)
    embeddings = {"image": found.embeddings["image"], "text": found.embeddings["image"]}  # type: ignore[index]
    everything = np.ones(4, dtype=bool)
    result = search(
        Signals(**{**vars(found), "embeddings": embeddings}), everything, everything, query="image", candidate="text"
    )
    assert result.gallery == 3
    assert result.recall[1].tolist() == [1.0] * 3
    assert result.query_of_pair.tolist() == [0, 1, 2, 1]


def test_search_leaves_out_what_a_kept_pair_joins_to_the_query() -> None:
    """The kept caption of the same image fits best; it must not hide that the deleted one is next."""
    found = signals([("i0", "deleted"), ("i0", "kept"), ("i1", "other")], dimension=3)
    e = np.eye(3, dtype=np.float32)
    image = np.stack([e[0], e[0], e[1]])
    text = np.stack([0.6 * e[0] + 0.8 * e[2], e[0], e[1]])
    moved = Signals(**{**vars(found), "embeddings": {"image": image, "text": text}})
    own, everything = np.array([True, False, False]), np.ones(3, dtype=bool)
    assert search(moved, own, everything, query="image", candidate="text").recall[1].tolist() == [1.0]
    assert search(moved, own, everything, query="image", candidate="text").chance[1].tolist() == [0.5]


def test_search_of_a_collapsed_encoder_is_exactly_k_of_the_gallery() -> None:
    found = signals([(f"i{i}", f"t{i}") for i in range(37)], collapsed=True, dimension=33)
    everything = np.ones(37, dtype=bool)
    result = search(found, everything, everything, query="text", candidate="image")
    for k in (1, 5, 10):
        assert result.recall[k] == pytest.approx(np.full(37, k / 37))


def test_search_lets_chance_and_not_float_noise_break_ties() -> None:
    found = signals([(f"i{i}", f"t{i}") for i in range(20)], collapsed=True, dimension=33)
    rng = np.random.default_rng(0)
    noisy = {m: (a + rng.normal(scale=3e-8, size=a.shape)).astype(np.float32) for m, a in found.embeddings.items()}  # type: ignore[union-attr]
    everything = np.ones(20, dtype=bool)
    moved = Signals(**{**vars(found), "embeddings": noisy})
    result = search(moved, everything, everything, query="image", candidate="text")
    assert result.recall[1] == pytest.approx(np.full(20, 1 / 20))


def test_search_in_blocks_equals_search_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = signals(random_pairs(3), 3)
    everything = np.ones(len(found), dtype=bool)
    whole = search(found, everything, everything, query="image", candidate="text")
    monkeypatch.setattr("multidelete.audits.retrieval._BLOCK", 1)
    parts = search(found, everything, everything, query="image", candidate="text")
    assert {k: v.tolist() for k, v in parts.recall.items()} == {k: v.tolist() for k, v in whole.recall.items()}
    assert {k: v.tolist() for k, v in parts.chance.items()} == {k: v.tolist() for k, v in whole.chance.items()}


def test_search_refuses_own_pairs_outside_the_gallery() -> None:
    found = signals(random_pairs(0))
    everything = np.ones(len(found), dtype=bool)
    with pytest.raises(ValueError, match="outside the gallery"):
        search(found, everything, ~everything, query="image", candidate="text")
