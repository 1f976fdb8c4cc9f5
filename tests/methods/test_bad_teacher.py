"""Bad teaching: the incompetent teacher knows nothing, and each part follows its own teacher."""

from math import log

import pytest
import torch
from torch import nn

from multidelete.core.errors import ConfigError, UnsupportedError
from multidelete.data.pairs import PairData
from multidelete.methods import BadTeacher, Job
from multidelete.models.fresh import untrained
from tests.methods.steps import ALIKE, CROSSED, EYE, dual_encoder, part, similar, step, values
from tests.models.cases import CASES, Case, case_adapter, case_data
from tests.tiny import differing, own_clip, parted, people, quick, scores, trained, weights


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


def test_terms_have_the_values_derived_by_hand() -> None:
    """Found 3/4, 1/4. The incompetent teacher says 1/2, 1/2: ln(4/3) / 2. The original says 1/4, 3/4:
    KL = ln(1/3) / 4 + 3 ln(3) / 4 = ln(3) / 2. Weights 2 and 3; half a share counts half."""
    adapter = dual_encoder()
    forget = part(adapter, similar(EYE), similar(ALIKE, ALIKE), share=0.5)
    given = step(forget, part(adapter, similar(EYE), similar(CROSSED)))
    found = values(BadTeacher(forget=2, retain=3).losses(given))
    assert found == pytest.approx({"incompetent": log(4 / 3) / 2, "competent": 3 * log(3) / 2})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_untrained_model_is_another_of_the_same_architecture(case: Case) -> None:
    """Every weight matrix is drawn anew, by the seed alone; the given model stays, and reads as before."""
    data = case_data(case)
    adapter = case_adapter(case, data)
    before = weights(adapter)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    fresh, again, other = (untrained(adapter, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert differing(weights(adapter), before) == []
    assert differing(weights(fresh), weights(again)) == []
    matrices = {name for name, p in adapter.named_parameters() if p.ndim > 1}
    drawn = set(differing(weights(fresh), weights(other)))
    assert len(drawn & matrices) > 0.8 * len(matrices)
    assert torch.isfinite(scores(fresh, data.train.pairs[:4])).all()
    assert not torch.equal(scores(fresh, data.train.pairs[:4]), scores(adapter, data.train.pairs[:4]))


def test_forget_pairs_get_the_incompetent_answers_and_retain_pairs_the_original_s(data: PairData) -> None:
    adapter = trained(own_clip(data), data.train, passes=5)
    job = Job(adapter, data.train, *parted(data), quick(), seed=3)
    method = BadTeacher()
    datasets = method.datasets(job)
    reference = method.reference(job, datasets)
    torch.testing.assert_close(
        reference.parts["forget"].score, scores(untrained(adapter, seed=3), datasets["forget"].pairs)
    )
    torch.testing.assert_close(reference.parts["retain"].score, scores(adapter, datasets["retain"].pairs))
    assert reference.pairs == len(datasets["forget"]) + len(datasets["retain"])


def test_a_network_without_a_config_is_refused(data: PairData) -> None:
    adapter = own_clip(data)
    adapter.model = nn.Linear(1, 1)
    with pytest.raises(UnsupportedError, match=r"a randomly initialised Linear is needed, and only"):
        untrained(adapter, seed=0)


@pytest.mark.parametrize("name", ["forget", "retain"])
def test_weights_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is -1"):
        BadTeacher(**{name: -1})
