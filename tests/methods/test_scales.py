"""What MultiDelete's terms are divided by: the variance of their targets, unless these hardly vary."""

import pytest
import torch
from torch import Tensor

from multidelete.data.pairs import Batch
from multidelete.methods import MultiDelete
from multidelete.methods.reference import LEAST, Reference, build_reference
from multidelete.methods.targets import association_signals, number_of_signals
from multidelete.models import PairOutputs
from multidelete.training.step import Part, Step
from tests.methods.cells import HEADS, start, world
from tests.models.cases import CASES, Case

EACH_ONCE = {"decoupling": 1.0, "score": 1.0, "task": 0.0}


def outputs(image: Tensor, text: Tensor) -> PairOutputs:
    joint = image * text
    return PairOutputs({"image": image, "text": text}, joint, joint.sum(dim=-1), {"image": image, "text": text})


def first_terms(associated: PairOutputs, wrong: PairOutputs) -> dict[str, float]:
    """Those of the first step, where the model still is the original, and the target of each score is its partner's."""
    case = Case("clip", "retrieval", 1)
    number = len(associated.score)
    batch = Batch([str(row) for row in range(number)], {"image": {}, "text": {}}, {})
    targets = wrong.score.unsqueeze(1)
    reference = Reference({"forget": associated, "retain": associated}, [wrong], number, targets)
    forget = Part(batch, associated, start(case), 1.0, associated, wrong, targets)
    retain = Part(batch, associated, start(case), 1.0, associated)
    terms = MultiDelete(**EACH_ONCE).losses(Step({"forget": forget, "retain": retain}, reference, 0.0))
    return {name: value.item() for name, value in terms.items()}


@pytest.mark.parametrize("differ", [1e-2, 1e-4, 1e-8, 0.0])
def test_first_terms_are_small_where_all_wrong_pairs_look_alike(differ: float) -> None:
    """The way to go is 1, and the wrong pairs' own variance ``differ`` ** 2: over that the terms would be 1e4 to 1e16.

    Of two groups that hardly vary, a distance of 1 apart, the variance is 1/4; a quarter of it is 1/16.
    """
    noise = differ * torch.randn(8, 1, generator=torch.Generator().manual_seed(0))
    right = torch.eye(4).repeat(2, 1)
    terms = first_terms(outputs(right, right), outputs(right, right * noise))
    assert terms["score"] == pytest.approx(1 / (LEAST / 4), rel=0.1)
    assert 1 < terms["decoupling"] < 1 / (LEAST / 4)
    assert terms["unimodal"] == terms["multimodal"] == terms["embeddings"] == 0


def test_retain_pairs_that_all_look_alike_are_not_held_harder_than_the_others_are_moved() -> None:
    alike = outputs(torch.ones(8, 3), torch.ones(8, 3) + 1e-4 * torch.randn(8, 3))
    wrong = outputs(torch.ones(8, 3), torch.randn(8, 3))
    variances = Reference({"forget": alike, "retain": alike}, [wrong], 8).variances
    assert variances["retain"] > 0.1 * variances["partner"]


def test_members_of_one_picture_are_held_on_the_scale_of_the_others() -> None:
    """The two views of one picture differ by a hundredth of what pictures differ by."""
    views = torch.tensor([[1.0, 0.0], [1.01, 0.0]])
    others = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [1.0, -2.0]])
    parts = {"forget": outputs(views, views), "retain": outputs(others, others)}
    variances = Reference(parts, [parts["forget"]], 6).variances
    assert 0.1 < variances["unimodal image"] / others.var(dim=0, correction=0).mean().item() < 0.3


@pytest.mark.parametrize("case", [case for case in CASES if str(case) in HEADS], ids=str)
def test_of_a_model_that_tells_wrong_pairs_apart_the_divisors_are_the_variances_of_the_targets(case: Case) -> None:
    one = world(case)
    job = one.job(MultiDelete().loop_settings())
    parts = {"forget": one.forget, "retain": one.retain, "holdout": one.data.splits["val"]}
    reference = build_reference(one.original, parts, one.data.train, MultiDelete().reference_settings(job), seed=0)
    forget, retain = reference.parts["forget"], reference.parts["retain"]
    number = number_of_signals(forget)
    wrong_NS = torch.cat([association_signals(partner, number) for partner in reference.partners])
    targets = {"partner": torch.cat([partner.joint for partner in reference.partners]), "retain": retain.joint}
    targets |= {"partner score": wrong_NS[:, 0], "score": torch.cat([retain.score, wrong_NS[:, 0]])}
    targets |= {f"unimodal {modality}": values for modality, values in forget.unimodal.items()}
    targets |= {f"embedding {modality}": values for modality, values in (retain.embeddings or {}).items()}
    if number == 2:
        targets["partner similarity"] = wrong_NS[:, 1]
    plain = {name: values.var(dim=0, correction=0).mean().item() for name, values in targets.items()}
    assert reference.variances == pytest.approx(plain, rel=1e-5)
