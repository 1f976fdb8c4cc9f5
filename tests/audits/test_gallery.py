"""Searching without embeddings: drawn members, each scored with each other."""

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from multidelete.audits import ModelSignals, Signals, UnitCounts, Verdict, collect, run_audits, unit_counts, verdict
from multidelete.audits.inputs import AuditInput, drawn_sets
from multidelete.audits.result import Figure
from multidelete.audits.retrieval import search
from multidelete.data.pairs import Pair, PairDataset
from multidelete.models import Adapter
from multidelete.models.gallery import Gallery, score_galleries
from tests.audits.world import model, models_of, pick, run, with_
from tests.models.cases import Case, case_adapter, case_data

VILT = Case("vilt", "retrieval", 1)
DIRECTIONS = [("image", "text"), ("text", "image")]


@pytest.fixture(scope="module")
def people() -> PairDataset:
    return case_data(VILT, number=4).train


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return case_adapter(VILT, case_data(VILT, number=4))


def members(pairs: list[Pair]) -> tuple[dict[str, Pair], dict[str, Pair]]:
    first, second = ({pair.sources[m]: pair for pair in pairs} for m in ("image", "text"))
    return first, second


def alone(adapter: Adapter, first: Pair, second: Pair) -> float:
    """Score of two pairs' members, prepared and asked by themselves."""
    inputs = {"image": first.inputs["image"], "text": second.inputs["text"]}
    sources = {"image": first.sources["image"], "text": second.sources["text"]}
    with torch.no_grad():
        return adapter(adapter.collate([Pair(id="one", inputs=inputs, sources=sources)])).score.item()


def test_every_member_meets_every_other_one_of_its_set(adapter: Adapter, people: PairDataset) -> None:
    sets = [list(people.pairs[:7]), list(people.pairs[7:12])]
    found = score_galleries(adapter, sets, batch_size=5)
    asked = set()
    for pairs in sets:
        first, second = members(pairs)
        for a, one in first.items():
            for b, two in second.items():
                assert found.holds(a, b)
                assert found.scores("image", [a], [b])[0, 0] == pytest.approx(alone(adapter, one, two), abs=2e-4)
                asked.add((a, b))
    assert np.isfinite(found.score).sum() == len(asked)
    every = [(a, b) for a in dict.fromkeys(p.sources["image"] for p in people) for b in people.sources("text")]
    strangers = [
        (a, b) for a, b in every if (a, b) not in asked and a in members(sets[0])[0] and b in members(sets[1])[1]
    ]
    assert strangers
    assert not any(found.holds(a, b) for a, b in strangers)
    assert np.isneginf(found.scores("text", [strangers[0][1]], [strangers[0][0]]))
    assert not found.holds("nobody", strangers[0][1])


def test_own_pairs_have_the_scores_of_the_signals_and_modes_are_kept(adapter: Adapter, people: PairDataset) -> None:
    adapter.train()
    adapter.model.vilt.eval()
    done: list[int] = []
    found = score_galleries(adapter, [list(people)], batch_size=30, progress=done.append)
    assert adapter.training
    assert not adapter.model.vilt.training
    adapter.eval()
    signals = replace(collect(adapter, people), gallery=found)
    assert signals.in_gallery.all()
    own = [found.scores("image", [a], [b])[0, 0] for a, b in zip(*signals.sources.values(), strict=True)]
    np.testing.assert_allclose(own, signals.score, atol=2e-4)
    assert done[-1] == found.score.size
    assert done[0] == 30


# Searching


def scored(seed: int, *, collapsed: bool = False) -> Signals:
    """Pairs of shared members, scored at random in two sets; the last pair is in none."""
    rng = np.random.default_rng(seed)
    pairs = sorted({(f"i{rng.integers(8)}", f"t{rng.integers(12)}") for _ in range(30)})
    half = len(pairs) // 2
    places = {
        m: {key: at for at, key in enumerate(sorted({pair[s] for pair in pairs}))}
        for s, m in enumerate(("image", "text"))
    }
    score = np.full((len(places["image"]), len(places["text"])), np.nan, dtype=np.float32)
    for part in (pairs[:half], pairs[half:-1]):
        for a in {a for a, _ in part}:
            for b in {b for _, b in part}:
                score[places["image"][a], places["text"][b]] = 1.5 if collapsed else rng.integers(-4, 5)
    empty = np.zeros(len(pairs), dtype=np.float32)
    sources = {"image": [a for a, _ in pairs], "text": [b for _, b in pairs]}
    none = [None] * len(pairs)
    return Signals([f"{a}+{b}" for a, b in pairs], none, none, sources, empty, {}, gallery=Gallery(places, score))


@pytest.mark.parametrize(("query", "candidate"), DIRECTIONS)
def test_search_equals_a_loop_over_every_order_of_ties(query: str, candidate: str) -> None:
    """Recall@1: share of the right ones among the best, by hand from dictionaries."""
    for seed in range(15):
        found = scored(seed)
        own = found.in_gallery & (np.random.default_rng(seed).random(len(found)) < 0.5)
        if not own.any():
            continue
        result = search(found, own, found.in_gallery, query=query, candidate=candidate, ks=(1,))
        assert found.gallery is not None
        edges = [
            (q, c, o, g)
            for q, c, o, g in zip(found.sources[query], found.sources[candidate], own, found.in_gallery, strict=True)
        ]
        expected = {}
        for asked in dict.fromkeys(q for q, _, o, _ in edges if o):
            right = {c for q, c, o, _ in edges if q == asked and o}
            joined = {c for q, c, _, g in edges if q == asked and g}
            names = {c for _, c, _, g in edges if g} - (joined - right)
            value = {c: found.gallery.scores(query, [asked], [c])[0, 0] for c in names}
            best = [c for c in names if value[c] == max(value.values())]
            expected[asked] = len(right & set(best)) / len(best)
        assert result.recall[1].tolist() == pytest.approx(list(expected.values()))


def test_equal_scores_find_what_chance_finds() -> None:
    found = scored(3, collapsed=True)
    own = found.in_gallery
    result = search(found, own, own, query="image", candidate="text")
    for k, recall in result.recall.items():
        assert recall == pytest.approx(result.chance[k])


def test_parts_keep_their_gallery() -> None:
    found = scored(1)
    left, right = found.select(found.in_gallery), found.select(~found.in_gallery)
    assert left.in_gallery.all()
    assert not right.in_gallery.any()
    assert left.join(right).gallery is found.gallery
    assert left.join(with_(right, gallery=scored(2).gallery)).gallery is None
    with pytest.raises(ValueError, match="neither embeddings nor a gallery"):
        with_(left, gallery=None).similarity("image", "text", np.arange(2), np.arange(2))


# Drawing


def pairs_of(signals: Signals) -> PairDataset:
    def pair(at: int) -> Pair:
        return Pair(id=signals.ids[at], inputs={}, sources={m: keys[at] for m, keys in signals.sources.items()})

    return PairDataset([pair(at) for at in range(len(signals))], "pairs")


def splits_of(m: ModelSignals) -> dict[str, Signals]:
    return {name: part for name in ("forget", "retain", "test", "val") if (part := getattr(m, name)) is not None}


def sets_of(m: ModelSignals, seed: int = 0, most: int = 40) -> list[list[Pair]]:
    found = splits_of(m)
    return drawn_sets(found, {n: pairs_of(part) for n, part in found.items()}, "subject", seed, members=most)


def test_sets_are_bounded_of_one_kind_and_drawn_by_seed() -> None:
    m = model(forget=1.0, forgotten=30)
    first = sets_of(m)
    assert [pair.id for pairs in first for pair in pairs] == [pair.id for pairs in sets_of(m) for pair in pairs]
    assert [pair.id for pairs in first for pair in pairs] != [pair.id for pairs in sets_of(m, 1) for pair in pairs]
    assert len(first) == 4
    for pairs in first:
        images, texts = members(pairs)
        assert len(images) == 40
        assert len(texts) == 20
        assert len({pair.id.rsplit("-", 1)[1] for pair in pairs}) == 1
    forgotten = {pair.id for pair in first[0]} & set(m.forget.ids)
    assert len(forgotten) == 20
    whole = {pair_id.rsplit("-", 2)[0] for pair_id in forgotten}
    assert len(whole) == 10, "people are drawn, with both of their pictures"
    assert {pair.id.split("-")[0] for pair in first[1]} == {"test"}


def test_small_data_is_drawn_whole() -> None:
    m = model(forget=1.0, people=20, forgotten=5)
    assert sum(len(pairs) for pairs in sets_of(m, most=100)) == sum(map(len, splits_of(m).values()))


# Audits: the same verdicts as with embeddings


def without_embeddings(audit: AuditInput, most: int = 100) -> AuditInput:
    """The same models, as a family without embeddings: their cosines as scores of drawn pairs."""

    def scored_pairs(m: ModelSignals) -> ModelSignals:
        found = splits_of(m)
        vectors: dict[str, dict[str, np.ndarray]] = {"image": {}, "text": {}}
        for part in found.values():
            for name, of in (part.embeddings or {}).items():
                vectors[name] |= dict(zip(part.sources[name], of, strict=True))
        places: dict[str, dict[str, int]] = {"image": {}, "text": {}}
        sets = sets_of(m, audit.seed, most)
        for name, place in places.items():
            place |= {key: at for at, key in enumerate(dict.fromkeys(p.sources[name] for pairs in sets for p in pairs))}
        score = np.full((len(places["image"]), len(places["text"])), np.nan, dtype=np.float32)
        for pairs in sets:
            images, texts = members(pairs)
            for a in images:
                for b in texts:
                    score[places["image"][a], places["text"][b]] = 20 * vectors["image"][a] @ vectors["text"][b]
        gallery = Gallery(places, score)
        return replace(m, **{n: with_(part, embeddings=None, gallery=gallery) for n, part in found.items()})

    return replace(audit, models={name: scored_pairs(m) for name, m in audit.models.items()})


SELDOM = [pytest.param(*each, marks=pytest.mark.slow) for each in ((True, 12), (False, 60))]


def judge(audit: AuditInput) -> tuple[list[Figure], UnitCounts | None, Verdict]:
    figures = run_audits(audit)
    counts = unit_counts(audit)
    return figures, counts, verdict(figures, counts)


def test_where_everything_is_drawn_figures_are_those_of_embeddings() -> None:
    audit = run(models_of(model(forget=0.5, model_seed=4, people=24, forgotten=6), people=24, forgotten=6))
    expected, counts, _ = judge(audit)
    found, drawn_counts, _ = judge(without_embeddings(audit))
    rows: Mapping[tuple[str, ...], Figure] = {
        (row.audit, row.figure.replace("among sampled", "among all"), row.model, str(row.split)): row for row in found
    }
    compared = 0
    for row in expected:
        if row.audit in ("utility", "forgetting") and (row.audit, row.split) != ("forgetting", "test"):
            other = rows[row.audit, row.figure, row.model, str(row.split)]
            assert (other.value, other.low, other.high, other.n) == (row.value, row.low, row.high, row.n), row.figure
            compared += 1
    assert compared > 100
    assert counts is not None
    named = [replace(one, measure=replace(one.measure, gallery="sampled training")) for one in (counts, *counts.others)]
    assert replace(named[0], others=tuple(named[1:])) == drawn_counts


@pytest.mark.parametrize(
    ("with_retrained", "forgotten"),
    [(True, 60), (False, 12), *SELDOM],
)
def test_controls_keep_their_verdicts(with_retrained: bool, forgotten: int) -> None:
    def outcome(m: ModelSignals) -> tuple[str, str]:
        models = models_of(m, with_retrained=with_retrained, people=160, forgotten=forgotten)
        judged = judge(without_embeddings(run(models)))[2]
        return judged.outcome, judged.sentences[0]

    sizes = {"people": 160, "forgotten": forgotten}
    untouched, told = outcome(model(forget=1.0, model_seed=1, **sizes))
    assert untouched == "unfinished"
    assert re.match(r"Of \d+ people to be forgotten.* finds (\d+), the unlearned model \1", told)
    assert ("drawn from 60 that were requested" in told) == (forgotten == 60)
    if with_retrained:
        assert outcome(model(forget=0.0, model_seed=2, **sizes))[0] == "forgotten"
    assert outcome(model(forget=0.0, retain=0.0, looks=0.0, model_seed=9, **sizes))[0] == "damaged"


def test_names_and_notes_say_what_was_drawn() -> None:
    audit = without_embeddings(run(models_of(model(forget=0.5, model_seed=4, forgotten=60), forgotten=60)))
    figures, _, _ = judge(audit)
    row = pick(figures, "sensitive recall@1 image to text among sampled training texts", "unlearned", "forget")
    assert row.note == (
        "gallery: 50 distinct sensitive texts of the training pairs, drawn: this family scores pairs one by one"
    )
    assert row.n == 50
