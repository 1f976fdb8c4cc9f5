"""CLIPErase: the three modules by hand, and a refusal where there are no embeddings."""

from dataclasses import replace
from math import log

import pytest
import torch

from multidelete.core.errors import ConfigError, UnsupportedError
from multidelete.methods import CLIPErase, Job
from tests.methods.steps import CROSSED, EYE, dual_encoder, matched, part, similar, step, values
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import parted, quick, record_collated


def test_terms_have_the_values_derived_by_hand() -> None:
    """Forgetting: the dot products .8 and .6, mean .7. Retention: -ln(3/4). Consistency: known 1/4, 3/4 and
    found 3/4, 1/4, KL = ln(3) / 2 each way, and two ways. Weights 3, 2 and 5; half a share counts half."""
    adapter = dual_encoder()
    text = torch.tensor([[0.8, 0.6], [0.8, 0.6]])
    given = step(part(adapter, similar(text)), part(adapter, similar(EYE), similar(CROSSED), share=0.5))
    found = values(CLIPErase(forgetting=3, retention=2, consistency=5).losses(given))
    assert found == pytest.approx({"forgetting": 2.1, "retention": log(4 / 3), "consistency": 2.5 * log(3)})


def test_a_matching_head_is_no_part_of_any_term_but_retention() -> None:
    adapter = dual_encoder()
    terms = []
    for score in (-4.0, 4.0):
        outputs = similar(CROSSED, score=torch.full((2,), score))
        given = step(part(adapter, outputs), part(adapter, outputs, similar(EYE)))
        terms.append(values(CLIPErase(retention=0).losses(given)))
    assert terms[0] == terms[1]


@pytest.mark.parametrize(
    "case",
    [Case("vilt", "retrieval", 1), Case("albef", "classification", 1), Case("graph-text", "classification", 0)],
    ids=str,
)
def test_models_without_embeddings_are_refused_before_anything_is_asked(case: Case) -> None:
    data = case_data(case)
    given = Job(case_adapter(case, data), data.train, *parted(data), quick(), seed=0)
    seen = record_collated(given.adapter)
    with pytest.raises(UnsupportedError, match=rf"family '{case.family}' for {case.task} has none"):
        CLIPErase().run(given)
    assert len(seen) == 1


def test_steps_without_embeddings_are_an_error() -> None:
    adapter = dual_encoder()
    given = step(part(adapter, matched(0.0)), part(adapter, similar(EYE), similar(EYE)))
    with pytest.raises(ValueError, match="embeddings"):
        CLIPErase().losses(replace(given))


@pytest.mark.parametrize("name", ["forgetting", "retention", "consistency"])
def test_weights_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is -1"):
        CLIPErase(**{name: -1})
