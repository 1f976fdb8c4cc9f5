"""MultiDelete's terms: their values by hand, their signs, and what they do to a model that memorised."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from multidelete.core.errors import ConfigError, UnsupportedError
from multidelete.data.pairs import Batch, Pair, PairData, PairDataset
from multidelete.methods import Job, MultiDelete, MultiDeletePaper
from multidelete.methods.reference import Reference, build_reference
from multidelete.methods.targets import ENOUGH, Stratum, compared, matched_scores, score_targets, strata_of
from multidelete.models import Adapter, PairOutputs
from multidelete.training.step import Part, Step
from tests.methods.cells import world
from tests.models.cases import Case, case_adapter, case_data
from tests.relations import graph_text, relations
from tests.tiny import family_model, parted, people, quick, scores, trained, weights

ONLY = {
    "decoupling": 0.0,
    "unimodal": 0.0,
    "multimodal": 0.0,
    "score": 0.0,
    "embeddings": 0.0,
    "retain_score": 0.0,
    "task": 0.0,
}


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(12)


@pytest.fixture(scope="module")
def memorised(data: PairData) -> Adapter:
    return trained(family_model("vision-text", data), data.train)


def outputs(image: list[list[float]], text: list[list[float]]) -> PairOutputs:
    image_BD, text_BD = torch.tensor(image), torch.tensor(text)
    joint_BD = image_BD * text_BD
    members = {"image": image_BD, "text": text_BD}
    return PairOutputs(unimodal=members, joint=joint_BD, score=joint_BD.sum(-1), embeddings=members)


def step_by_hand(adapter: Adapter, partner_scale: float = 1.0) -> tuple[Step, PairOutputs]:
    """Two forget and two retain pairs in two dimensions; the model being trained differs from the original."""
    batch = Batch(["a", "b"], {"image": {}, "text": {}}, {"image": torch.arange(2), "text": torch.arange(2)})
    original = outputs([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]])
    now = outputs([[0.8, 0.6], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.8]])
    partner = outputs([[partner_scale, 0.0], [0.0, partner_scale]], [[0.0, 1.0], [0.0, 1.0]])
    reference = Reference({"forget": original, "retain": original}, [partner], 6, torch.tensor([[0.1], [0.3]]))
    forget = Part(batch, now, adapter, 1.0, original, partner, torch.tensor([[0.1], [0.3]]))
    retain = Part(batch, now, adapter, 1.0, original)
    return Step({"forget": forget, "retain": retain}, reference, 0.0), now


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("decoupling", 1.36),
        ("unimodal", 0.8),
        ("multimodal", 0.08),
        ("score", 1.48),
        ("embeddings", 0.8),
    ],
)
def test_terms_have_the_values_derived_by_hand(memorised: Adapter, term: str, expected: float) -> None:
    """Variances are population variances over the cached rows, averaged over the dimensions.

    h' = (.8, 0), (0, .8); h of the partners = (0, 0), (0, 1); h of the original = (1, 0), (0, 1).

    decoupling: squared errors (.64, 0), (0, .04), mean .17; variance of the partners' h: (0, .25), mean .125;
    .17 / .125 = 1.36.
    unimodal: image errors (.04, .36), (0, 0), mean .1; text errors (0, 0), (.36, .04), mean .1; each variance .25;
    .1 / .25 + .1 / .25 = .8. The embeddings of the retain pairs are the same numbers.
    multimodal: (.04, 0), (0, .04), mean .02; variance of the retain pairs' h: .25; .02 / .25 = .08.
    score: .8 - .1 and .8 - .3, squared .49 and .25, mean .37; variance of the partners' scores 0 and 1: .25; 1.48.
    """
    step, _ = step_by_hand(memorised)
    found = MultiDelete(**(ONLY | {term: 1.0})).losses(step)
    assert found[term].item() == pytest.approx(expected, abs=1e-6)
    assert sum(value.item() for value in found.values()) == pytest.approx(expected, abs=1e-6)


def test_scores_of_retain_pairs_are_kept_where_a_head_gives_them(memorised: Adapter) -> None:
    """Scores .8 and .8 that were 1 and 1; variance of the retain pairs' and partners' 1, 1, 0, 1: .1875; .04 / .1875.

    Of dual encoders the embeddings keep them.
    """
    step, _ = step_by_hand(memorised)
    method = MultiDelete(**(ONLY | {"retain_score": 1.0}))
    assert "retain_score" not in method.losses(step)
    now, known = step.retain.outputs, step.retain.referred()
    retain = replace(step.retain, outputs=replace(now, embeddings=None), reference=replace(known, embeddings=None))
    assert method.losses(replace(step, parts={**step.parts, "retain": retain}))["retain_score"].item() == pytest.approx(
        0.04 / 0.1875, abs=1e-6
    )
    matching = replace(step.forget, score_target=torch.zeros(2, 2))  # a matching head beside the embeddings
    assert "retain_score" in method.losses(replace(step, parts={**step.parts, "forget": matching}))


def test_a_classifier_s_score_counts_three_times(memorised: Adapter) -> None:
    """The same errors, .37 over a variance of .25, where the score is the margin of a label."""
    step, now = step_by_hand(memorised)
    labelled = replace(step.forget, outputs=replace(now, logits=torch.zeros(2, 2)))
    found = MultiDelete(**(ONLY | {"score": 1.0})).losses(replace(step, parts={**step.parts, "forget": labelled}))
    assert found["score"].item() == pytest.approx(3 * 1.48, abs=1e-6)


def retrieval(family: str) -> tuple[Adapter, Job]:
    case = Case(family, "retrieval", 1)
    data = case_data(case, number=8)
    adapter = case_adapter(case, data)
    return adapter, Job(adapter, data.train, *parted(data, 2), quick(retain_sample=20), seed=0)


@pytest.mark.parametrize("family", ["albef", "blip", "vilt"])
def test_a_matching_head_is_trained_on_retain_pairs_too(family: str) -> None:
    """The term is the family's own loss of the step's retain pairs, times its weight."""
    _, job = retrieval(family)
    job = replace(job, settings=quick(passes=1, batch_size=8, retain_sample=20))
    once, twice = (MultiDelete(task=weight).run(replace(job, adapter=copy.deepcopy(job.adapter))) for weight in (1, 2))
    assert once.history[0]["task"] > 0
    assert twice.history[0]["task"] == pytest.approx(2 * once.history[0]["task"])
    assert "task" not in MultiDelete(task=0.0).run(job).history[0]


def test_no_other_model_is_trained_on_its_task(data: PairData, memorised: Adapter) -> None:
    """Of dual encoders the embeddings keep all similarities; of a classifier the scores of classes are kept."""
    ours = Job(copy.deepcopy(memorised), data.train, *parted(data, 2), quick(passes=1, batch_size=8), seed=0)
    case = Case("albef", "classification", 1)
    classes = case_data(case)
    adapter = case_adapter(case, classes)
    theirs = Job(adapter, classes.train, *parted(classes, 2), quick(passes=1, batch_size=8), seed=0)
    for job in (ours, theirs):
        assert "task" not in MultiDelete(task=5.0).run(job).history[0]


@pytest.mark.slow  # that its term is trained with is told above, of each matching head
def test_without_wrong_pairs_a_matching_head_comes_to_match_everything() -> None:
    """Unseen pairs rise with the kept ones, and the targets with them."""
    one = world(Case("vilt", "retrieval", 1))
    settings = quick(batch_size=4, lr=2e-3, passes=48)
    matched = {}
    for weight in (0.0, 5.0):
        adapter = MultiDelete(task=weight).run(one.job(settings)).adapter.eval()
        batch = adapter.collate(one.data.train.pairs)
        others = [batch.repair(torch.arange(len(batch)).roll(by)) for by in (2, 4, 6)]  # two pairs of each person
        with torch.no_grad():
            matched[weight] = torch.stack([adapter(wrong).score.sigmoid().mean() for wrong in others]).mean().item()
    assert matched[0.0] > matched[5.0] + 0.1


def test_scaled_terms_do_not_depend_on_the_scale_of_the_representations(memorised: Adapter) -> None:
    """Ten times larger representations everywhere give the same decoupling term."""
    step, _ = step_by_hand(memorised)
    assert step.reference is not None
    ten = PairOutputs.apply
    larger = Reference(
        {name: ten(part, lambda t: 10 * t) for name, part in step.reference.parts.items()},
        [ten(p, lambda t: 10 * t) for p in step.reference.partners],
        6,
        step.reference.score_targets,
    )
    forget = step.forget
    grown = replace(
        forget,
        outputs=forget.outputs.apply(lambda t: 10 * t),
        reference=forget.referred().apply(lambda t: 10 * t),
        partner=forget.partnered().apply(lambda t: 10 * t),
    )
    method = MultiDelete(**(ONLY | {"decoupling": 1.0, "unimodal": 1.0}))
    before = method.losses(step)
    after = method.losses(Step({"forget": grown, "retain": step.retain}, larger, 0.0))
    assert after["decoupling"].item() == pytest.approx(before["decoupling"].item(), rel=1e-5)
    assert after["unimodal"].item() == pytest.approx(before["unimodal"].item(), rel=1e-5)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_unimodal_retention_has_a_term_for_each_modality(memorised: Adapter, modality: str) -> None:
    step, _ = step_by_hand(memorised)
    forget = step.forget
    kept = {m: t if m == modality else forget.outputs.unimodal[m] for m, t in forget.referred().unimodal.items()}
    only_one = replace(forget, reference=replace(forget.referred(), unimodal=kept))
    found = MultiDelete(**(ONLY | {"unimodal": 1.0})).losses(replace(step, parts={**step.parts, "forget": only_one}))
    assert found["unimodal"].item() == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize("weight", ["decoupling", "unimodal", "multimodal", "score", "embeddings", "retain_score"])
def test_every_weight_is_checked(weight: str) -> None:
    with pytest.raises(ConfigError, match=f"{weight} is -1"):
        MultiDelete(**{weight: -1.0})


def naive_matched(values: list[float], held_out: list[float]) -> list[float]:
    return [
        float(np.quantile(held_out, (sum(other < value for other in values) + 0.5) / len(values))) for value in values
    ]


def test_matched_scores_have_the_rank_of_their_pair_within_their_kind() -> None:
    rng = np.random.default_rng(0)
    values, held_out = rng.normal(size=12).astype(np.float32), rng.normal(size=31).astype(np.float32)
    kinds, held_kinds = ["x", "y", "y"] * 4, ["x" if i % 3 else "y" for i in range(31)]
    strata, held_strata = ([Stratum(kind) for kind in each] for each in (kinds, held_kinds))
    found = matched_scores(torch.tensor(values), torch.tensor(held_out), compared(strata, held_strata)).numpy()
    for kind in "xy":
        mine = np.array([k == kind for k in kinds])
        theirs = held_out[np.array([k == kind for k in held_kinds])]
        assert found[mine].tolist() == pytest.approx(naive_matched(values[mine].tolist(), theirs.tolist()), abs=1e-5)


def named(number: int, first: str, second: str, text: str, label: int = 0) -> Pair:
    sources = {"graph": f"{first}|{second}", "text": text}
    return Pair(id=str(number), inputs={"graph": (first, second), "text": text}, sources=sources, label=label)


def test_strata_count_the_members_that_were_not_seen() -> None:
    seen = PairDataset([named(0, "a", "b", "x"), named(1, "b", "c", "y")], "seen")
    asked = [named(2, "a", "c", "x"), named(3, "a", "d", "x", 1), named(4, "d", "e", "z"), named(5, "c", "b", "z")]
    found = strata_of(PairDataset(asked, "asked"), seen, labelled=True)
    assert [one.unknown for one in found] == [(0, 0), (1, 0), (2, 1), (0, 1)]
    assert [one.kind for one in found] == [(None, 0), (None, 1), (None, 0), (None, 0)]
    assert strata_of(PairDataset(asked, "asked"), seen, labelled=False)[1].kind == (None, None)


def test_pairs_of_unknown_members_are_matched_to_held_out_pairs_of_unknown_members() -> None:
    """Held-out pairs of known nodes stand at 1, of one unknown node at 0; nothing is between."""
    held_out = torch.tensor([1.0, 0.0] * ENOUGH)
    strata = [Stratum(None, (number % 2,)) for number in range(2 * ENOUGH)]
    asked = [Stratum(None, (0,)), Stratum(None, (1,)), Stratum(None, (5,))]
    assert matched_scores(torch.zeros(3), held_out, compared(asked, strata)).tolist() == [1.0, 0.0, 0.0]


def test_too_few_held_out_pairs_in_a_stratum_take_the_nearest_along() -> None:
    """One pair at 9 with two unknown members, ENOUGH at 1 with one, as many at 0 with none: the median is 1."""
    held_out = torch.tensor([9.0] + [1.0] * ENOUGH + [0.0] * ENOUGH)
    strata = [Stratum("x", (2,))] + [Stratum("x", (1,))] * ENOUGH + [Stratum("x", (0,))] * ENOUGH
    assert matched_scores(torch.zeros(1), held_out, compared([Stratum("x", (2,))], strata)).tolist() == [1.0]
    other_kind = [Stratum("y", one.unknown) for one in strata]
    assert matched_scores(torch.zeros(1), held_out, compared([Stratum("x", (0,))], other_kind)).tolist() == [0.0]


def test_what_only_forget_pairs_named_is_known_to_the_original_and_unknown_afterwards() -> None:
    """Of held-out pairs with node d, which the original knows, the scores are 1; of those with node e, 0."""
    forget = PairDataset([named(1, "a", "d", "x")], "forget")
    train = PairDataset([named(0, "a", "b", "x"), *forget], "train")
    held_out = [named(2 + i, "a", "de"[i % 2], "x") for i in range(2 * ENOUGH)]
    parts = {"forget": forget, "holdout": PairDataset(held_out, "holdout")}
    said = {name: torch.tensor([(i + 1) % 2.0 for i in range(len(pairs))]) for name, pairs in parts.items()}
    asked = {name: PairOutputs({}, score.unsqueeze(1), score) for name, score in said.items()}
    targets = score_targets(graph_text(relations()), parts, train, asked, [], "holdout")
    assert targets is not None
    assert targets.tolist() == [[0.0]]


def job(adapter: Adapter, data: PairData, holdout: PairDataset | None) -> Job:
    forget, retain = parted(data)
    settings = quick(passes=40, batch_size=4, lr=1.5e-3)
    return Job(adapter, data.train, forget, retain, settings, seed=0, key="original", holdout=holdout)


def test_held_out_scores_are_asked_for_only_where_there_are_held_out_pairs(memorised: Adapter, data: PairData) -> None:
    without, with_holdout = job(memorised, data, None), job(memorised, data, data.splits["val"])
    assert MultiDelete().reference_settings(with_holdout).score_targets == "holdout"
    assert MultiDelete().reference_settings(without).score_targets == "partner"
    with pytest.raises(UnsupportedError, match="no val split"):
        MultiDelete(score_target="holdout").reference_settings(without)


def run(method: MultiDelete, data: PairData, memorised: Adapter, holdout: bool) -> tuple[Tensor, Tensor]:
    """Scores of forget and retain pairs afterwards."""
    adapter = family_model("vision-text", data)
    adapter.load_state_dict(weights(memorised))
    given = job(adapter, data, data.splits["val"] if holdout else None)
    after = method.run(given).adapter
    return scores(after, given.forget.pairs), scores(after, given.retain.pairs)


@pytest.mark.parametrize("holdout", [True, False])
def test_forget_scores_reach_their_targets_and_retain_scores_stay(
    memorised: Adapter, data: PairData, holdout: bool
) -> None:
    """More than half of the way from what the forget pairs scored to what unrelated or unseen pairs score."""
    forget, retain = parted(data)
    forget_before, retain_before = scores(memorised, forget.pairs), scores(memorised, retain.pairs)
    given = job(memorised, data, data.splits["val"] if holdout else None)
    parts = {"forget": given.forget, "retain": given.retain} | ({"holdout": data.splits["val"]} if holdout else {})
    settings = MultiDelete().reference_settings(given)
    targets = build_reference(memorised, parts, data.train, settings, seed=0).score_targets
    assert targets is not None
    way = (forget_before - targets[:, 0]).mean().item()
    assert way > 0.1
    forget_after, retain_after = run(MultiDelete(), data, memorised, holdout)
    fall = (forget_before - forget_after).mean().item()
    assert way / 2 < fall < 1.5 * way
    assert (retain_before - retain_after).abs().mean().item() < fall / 2


def test_the_paper_s_objective_is_its_three_terms_with_a_weight_of_one(memorised: Adapter) -> None:
    """The same numbers as term by term above."""
    found = MultiDeletePaper().losses(step_by_hand(memorised)[0])
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {"decoupling": 1.36, "unimodal": 0.8, "multimodal": 0.08}, abs=1e-6
    )


def test_the_paper_s_objective_asks_no_held_out_pairs_and_trains_all(memorised: Adapter, data: PairData) -> None:
    given = job(memorised, data, data.splits["val"])
    assert MultiDeletePaper().reference_settings(given).score_targets == "partner"
    assert MultiDeletePaper().trainable(memorised) == "all"
    assert MultiDelete().trainable(memorised) == "text"


def test_the_paper_s_terms_alone_decouple(memorised: Adapter, data: PairData) -> None:
    forget, _ = parted(data)
    before = scores(memorised, forget.pairs).mean().item()
    assert run(MultiDeletePaper(), data, memorised, holdout=False)[0].mean().item() < before - 0.05


# Targets that follow the model


def test_targets_are_matched_again_by_what_the_model_says_now(memorised: Adapter, data: PairData) -> None:
    """Of one stratum: sorted, the targets are quantiles of today's held-out scores, in the order of today's scores."""
    given = job(memorised, data, data.splits["val"])
    parts = {"forget": given.forget, "retain": given.retain, "holdout": data.splits["val"]}
    reference = build_reference(memorised, parts, data.train, MultiDelete().reference_settings(given), seed=0)
    before, asked = reference.score_targets.clone(), reference.pairs
    changed = trained(family_model("vision-text", data), data.train, passes=5)
    reference.match_again(changed, parts, data.train)
    kinds = [pair.kind for pair in given.forget]
    assert len(set(kinds)) == 2
    for kind in set(kinds):
        rows = [i for i, one in enumerate(kinds) if one == kind]
        held = scores(changed, [pair for pair in data.splits["val"] if pair.kind == kind])
        own, found = scores(changed, given.forget.pairs)[rows], reference.score_targets[rows, 0]
        ranks = (torch.arange(len(rows)) + 0.5) / len(rows)
        assert torch.allclose(found[own.argsort()], torch.quantile(held, ranks), atol=1e-5)
    assert not torch.allclose(reference.score_targets, before, atol=1e-3)
    assert reference.pairs == asked + len(parts["forget"]) + len(parts["holdout"])


def test_refreshes_are_spread_over_the_run_and_none_comes_last(memorised: Adapter, data: PairData) -> None:
    """Four passes: two refreshes come after the second pass and the last, where nothing is left to train."""

    def asked(refreshes: int) -> int:
        given = replace(job(copy.deepcopy(memorised), data, data.splits["val"]), settings=quick(passes=4))
        return MultiDelete(refreshes=refreshes).run(given).pairs_forward

    each, without = len(parted(data)[0]) + len(data.splits["val"]), asked(0)
    for refreshes, done in [(0, 0), (1, 0), (2, 1), (4, 3), (9, 3)]:
        assert asked(refreshes) - without == done * each, refreshes


def test_forget_scores_follow_those_of_unseen_pairs(memorised: Adapter, data: PairData) -> None:
    """Whichever way the training takes unseen pairs' scores: targets are matched again on the way."""

    def lead(adapter: Adapter) -> float:
        forget, _ = parted(data)
        return (scores(adapter, forget.pairs).mean() - scores(adapter, data.splits["val"].pairs).mean()).item()

    given = job(copy.deepcopy(memorised), data, data.splits["val"])
    assert abs(lead(MultiDelete(refreshes=6).run(given).adapter)) < 0.5 * lead(memorised)
