"""SCRUB: its passes in turn, its terms by hand, and which weights rewinding takes."""

import copy
from dataclasses import replace
from itertools import pairwise
from math import log
from pathlib import Path

import pytest
import torch

from multidelete.core.errors import ConfigError
from multidelete.data.pairs import PairData, PairDataset
from multidelete.methods import SCRUB, Job
from multidelete.methods.rewind import Rewind, counterparts, error_rate
from multidelete.models import Adapter
from tests.methods.steps import CROSSED, EYE, dual_encoder, part, similar, step, values
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import differing, own_clip, parted, people, quick, record_collated, trained, weights


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8, unseen=8)


@pytest.fixture(scope="module")
def memorised(data: PairData) -> Adapter:
    return trained(own_clip(data), data.train, passes=60)


def job(adapter: Adapter, data: PairData, **changes: object) -> Job:
    settings = quick(**({"passes": 8, "lr": 5e-4} | changes))
    forget, retain = parted(data)
    return Job(copy.deepcopy(adapter), data.train, forget, retain, settings, seed=0, holdout=data.splits["val"])


# Terms and passes


def test_terms_have_the_values_derived_by_hand() -> None:
    """Known 1/4, 3/4; found 3/4, 1/4: KL = ln(3) / 2, to be raised on forget pairs and lowered, with weight alpha,
    on retain pairs; the task loss there is -ln(3/4), with weight gamma. Half a share counts half."""
    adapter, method = dual_encoder(), SCRUB(alpha=4, gamma=3)
    away = part(adapter, similar(EYE), similar(CROSSED), share=0.5)
    near = part(adapter, similar(EYE), similar(CROSSED))
    assert values(method.losses(step(forget=away))) == pytest.approx({"max": -log(3) / 4})
    assert values(method.losses(step(retain=near))) == pytest.approx({"min": 2 * log(3), "task": 3 * log(4 / 3)})


def test_passes_take_turns_and_end_with_recovery() -> None:
    order = [SCRUB(max_passes=2).parts_of_pass(number) for number in range(7)]
    assert order == [("retain",), ("forget",)] * 2 + [("retain",)] * 3


def test_each_pass_sees_its_own_part_only(memorised: Adapter, data: PairData) -> None:
    """Of 12 forget pairs, 24 retain pairs beside them; the reference is asked once before."""
    given = job(memorised, data, passes=5)
    seen = record_collated(given.adapter)
    outcome = SCRUB(max_passes=2, rewind=False).run(given)
    trained_on = seen[outcome.pairs_forward :]
    bounds = [0, 24, 36, 60, 72, 96]
    assert len(trained_on) == outcome.pairs_backward == bounds[-1]
    for number, (start, end) in enumerate(pairwise(bounds)):
        wanted = given.forget if number % 2 else given.retain
        assert set(trained_on[start:end]) <= set(wanted.ids)
    assert ["max" in row for row in outcome.history] == [False] * 2 + [True] * 2 + [False] * 2 + [True] * 2 + [
        False
    ] * 2


def test_the_first_max_pass_moves_away_from_the_original(memorised: Adapter, data: PairData) -> None:
    """At the original's own weights the divergence has no gradient: a min pass before gives it one."""
    outcome = SCRUB(max_passes=1, rewind=False).run(job(memorised, data, passes=2, lr=1e-3))
    first, second = (row["max"] for row in outcome.history if "max" in row)
    assert 0 > first > second


@pytest.mark.parametrize(("name", "value"), [("alpha", -1.0), ("gamma", -1.0), ("max_passes", 0)])
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is "):
        SCRUB(**{name: value})


# Rewinding


def test_counterparts_are_of_the_same_kind_and_none_is_used_twice(data: PairData) -> None:
    given = job(own_clip(data), data)
    forget, unseen = counterparts(given.adapter, given.forget, data.splits["val"], seed=0)
    assert [pair.kind for pair in forget] == [pair.kind for pair in unseen]
    assert {pair.kind for pair in forget} == {"sensitive", "descriptive"}
    assert len(forget) == len(given.forget) == len({pair.id for pair in unseen})
    few = PairDataset([pair for pair in data.splits["val"] if pair.kind == "sensitive"][:2], "val")
    assert [pair.kind for pair in counterparts(given.adapter, given.forget, few, seed=0)[0]] == ["sensitive"] * 2


def test_counterparts_of_classifiers_have_the_same_label() -> None:
    case = Case("albef", "classification", 1)
    data = case_data(case, number=6, unseen=6)
    forget, unseen = counterparts(case_adapter(case, data), data.train, data.splits["val"], seed=0)
    assert [(pair.kind, pair.label) for pair in forget] == [(pair.kind, pair.label) for pair in unseen]
    assert len({pair.label for pair in forget}) == 3


def test_a_memorised_pair_is_no_error_and_a_crossed_one_is(memorised: Adapter, data: PairData) -> None:
    """Sensitive captions of different people: each found among the others; with pictures exchanged none is."""
    pairs = [pair for pair in data.train if pair.kind == "sensitive" and "view-1" in pair.id]
    exchanged = [
        replace(pair, inputs=pair.inputs | {"image": other.inputs["image"]}, sources=pair.sources | {"image": other.id})
        for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True)
    ]
    assert error_rate(memorised.eval(), pairs, 32) == 0
    assert error_rate(memorised, exchanged, 32) > 0.8


@pytest.mark.parametrize("on_disk", [True, False])
def test_rewinding_takes_the_weights_whose_error_is_nearest(
    on_disk: bool, memorised: Adapter, data: PairData, tmp_path: Path
) -> None:
    """Weights of three passes, the middle one with an error of about one half; the final model errs on unseen
    pairs as much as it does. A resumed run finds what an earlier one kept."""
    given = replace(job(memorised, data), work=tmp_path if on_disk else None)
    fresh = own_clip(data, seed=9)
    rewind = Rewind(given)
    states = {}
    for number, share in ((2, 0.0), (4, 0.5), (6, 1.0)):
        mixed = {name: torch.lerp(w, weights(fresh)[name], share) for name, w in weights(memorised).items()}
        given.adapter.load_state_dict(mixed)
        rewind.keep(number)
        states[number] = weights(given.adapter)
    assert rewind.errors[2] < rewind.errors[4] < rewind.errors[6]
    if on_disk:
        rewind = Rewind(replace(given, resume=True))
        assert sorted(rewind.errors) == [2, 4, 6]
        assert Rewind(given).errors == {}
    found = rewind.back()
    nearest = min(rewind.errors, key=lambda number: abs(rewind.errors[number] - found["holdout_error"]))
    assert found["rewound_to_pass"] == nearest + 1
    assert found["forget_error"] == rewind.errors[nearest]
    assert differing(weights(given.adapter), states[nearest]) == []


def test_a_run_ends_at_the_weights_it_names(memorised: Adapter, data: PairData) -> None:
    given = job(memorised, data)
    outcome = SCRUB().run(given)
    forget, _ = counterparts(given.adapter, given.forget, data.splits["val"], seed=0)
    assert error_rate(outcome.adapter, forget, given.settings.batch_size) == outcome.decisions["forget_error"]
    assert outcome.decisions["rewound_to_pass"] in (3, 5, 7, 8)
    straight = SCRUB(rewind=False).run(job(memorised, data))
    same = differing(weights(straight.adapter), weights(outcome.adapter)) == []
    assert same is (outcome.decisions["rewound_to_pass"] == 8)
    assert outcome.pairs_forward > straight.pairs_forward
    assert straight.decisions == {}


def test_without_held_out_pairs_nothing_is_rewound(memorised: Adapter, data: PairData) -> None:
    outcome = SCRUB().run(replace(job(memorised, data, passes=3), holdout=None))
    assert outcome.decisions == {}
