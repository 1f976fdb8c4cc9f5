"""DELETE: what is masked, what the rest is distilled to, and which pairs a run sees."""

from math import log

import pytest
import torch

from multidelete.data.pairs import PairData
from multidelete.methods import DELETE, Job
from multidelete.methods.auto import planned_run, run_method
from multidelete.methods.delete import _DELETEAmongCandidates
from multidelete.methods.descent import SHORT, passes_of_leg
from tests.methods.steps import (
    ALIKE,
    EYE,
    LN3,
    classified,
    classifier,
    dual_encoder,
    matched,
    part,
    similar,
    step,
    values,
)
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import own_clip, parted, people, quick, record_collated


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(6)


def test_the_own_class_is_masked_and_the_others_keep_their_proportions() -> None:
    """The original's logits ln 9, ln 3 and 0; class 0 is the pair's own. Masked: 0, 3/4, 1/4. Found 1/3 each:
    KL = 3/4 ln(9/4) + 1/4 ln(3/4). Half a share counts half."""
    known, found = torch.tensor([[2 * LN3, LN3, 0.0]] * 2), torch.zeros(2, 3)
    given = step(part(classifier(), classified(found), classified(known), share=0.5))
    expected = 0.75 * log(9 / 4) + 0.25 * log(3 / 4)
    assert values(DELETE().losses(given)) == pytest.approx({"distillation": expected / 2})


def test_it_is_least_where_the_own_class_is_impossible_and_the_rest_as_it_was() -> None:
    known = torch.tensor([[2 * LN3, LN3, 0.0]] * 2)
    done = torch.tensor([[-50.0, LN3 + 4, 4.0]] * 2)  # a constant more is the same distribution
    given = step(part(classifier(), classified(done), classified(known)))
    assert values(DELETE().losses(given)) == pytest.approx({"distillation": 0.0}, abs=1e-6)


def test_a_match_is_masked_for_no_match() -> None:
    """Found 3/4 for a match, wanted 0: -ln(1/4)."""
    given = step(part(dual_encoder(), matched(LN3), matched(LN3)))
    assert values(DELETE().losses(given)) == pytest.approx({"distillation": log(4)})


@pytest.mark.parametrize(("shared", "expected"), [(False, log(2)), (True, 2 * log(2))])
def test_forget_candidates_are_masked_and_retain_candidates_distilled(shared: bool, expected: float) -> None:
    """Two forget and two retain pairs, all with the embeddings (1, 0) and (0, 1).

    Each member has the logits ln 3, 0, ln 3, 0 to the four candidates: found 3/8, 1/8, 3/8, 1/8. Known, with
    the forget candidates masked: 0, 0, 3/4, 1/4 (or 1/4, 3/4). KL = ln 2. Where the first forget pair shares its
    text with the first retain pair, that is masked too, and 1 is left for the other: -ln(1/8) = 3 ln 2 both
    ways; with ln 2 of the second pair the mean is 2 ln 2.
    """
    adapter = dual_encoder()
    forget, retain = (part(adapter, similar(EYE), similar(EYE), keys=keys) for keys in (0, 100))
    if shared:
        retain.batch.sources["text"][0] = forget.batch.sources["text"][0]
    assert values(DELETE().losses(step(forget, retain))) == pytest.approx({"distillation": expected})


def test_all_of_the_heads_of_a_model_count() -> None:
    """ln 2 for each of the two directions, and ln 4 for the match: the mean of three."""
    adapter = dual_encoder()
    outputs = similar(EYE, score=torch.full((2,), LN3))
    forget, retain = (part(adapter, outputs, outputs, keys=keys) for keys in (0, 100))
    assert values(DELETE().losses(step(forget, retain))) == pytest.approx({"distillation": 4 * log(2) / 3})


def test_candidates_without_the_original_s_similarities_pull_nothing_apart() -> None:
    """Where the original takes all candidates for alike, so should the unlearned: 0 for -inf, ln 2 at first."""
    adapter = dual_encoder()
    forget, retain = (part(adapter, similar(ALIKE, ALIKE), similar(ALIKE, ALIKE), keys=keys) for keys in (0, 100))
    assert values(DELETE().losses(step(forget, retain))) == pytest.approx({"distillation": log(2)})


@pytest.mark.parametrize(
    ("case", "retained"),
    [
        (Case("clip", "retrieval", 1), True),
        (Case("albef", "retrieval", 1), True),
        (Case("vilt", "retrieval", 1), False),
        (Case("albef", "classification", 1), False),
    ],
    ids=str,
)
def test_retain_pairs_are_trained_beside_forget_pairs_only_as_candidates(case: Case, retained: bool) -> None:
    data = case_data(case)
    given = Job(case_adapter(case, data), data.train, *parted(data), quick(), seed=0)
    outcome = DELETE().run(given)
    assert outcome.pairs_backward == len(given.forget) * (3 if retained else 1)


def test_a_run_keeps_its_name_and_sees_what_it_says(data: PairData) -> None:
    given = Job(own_clip(data), data.train, *parted(data), quick(), seed=0)
    seen = record_collated(given.adapter)
    outcome = DELETE().run(given)
    assert _DELETEAmongCandidates.name == DELETE.name
    assert len(seen) == outcome.pairs_forward + outcome.pairs_backward


def test_a_run_that_finds_its_way_takes_the_same_steps(data: PairData) -> None:
    """Candidates beside the forget pairs: two for each in every pass."""
    given = Job(own_clip(data), data.train, *parted(data), quick(pace="auto"), seed=0)
    outcome = run_method(DELETE(), given)
    passes = len(outcome.history) * passes_of_leg(given, SHORT)
    assert passes
    assert outcome.pairs_backward == passes * len(given.forget) * 3
    planned = planned_run(DELETE(), given)
    assert planned is not None
    assert planned.pairs_backward >= outcome.pairs_backward
