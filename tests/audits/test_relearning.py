"""What comes back when some forget pairs are learned again: hidden associations do, absent ones do not."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from multidelete.artifacts.record import RequestRecord, RunRecord
from multidelete.audits import AuditInput, ModelSignals, Signals, check_controls, collect, mark_void, relearning
from multidelete.audits.probing import probe_figures
from multidelete.audits.relearning import STEPS, Parted, part, relearn, relearning_rate
from multidelete.audits.result import Figure
from multidelete.core.errors import DivergedError
from multidelete.data.pairs import PairDataset
from multidelete.models import Adapter
from tests.audits.world import every, model, models_of, pick, run, with_
from tests.tiny import differing, family_model, parted, people, record_collated, trained, weights

HEADLINE = "sensitive recall@1 image to text among all training texts"
HALF, MEAN = f"steps to bring back half of {HEADLINE}", f"{HEADLINE}, mean over the steps"
TO_RETRAINED = ", difference to retrained"


@pytest.fixture(scope="module")
def audit() -> AuditInput:
    return run(models_of(model(forget=0.0, model_seed=4)))


def curve(memory: Sequence[float], seed: int) -> dict[int, Signals]:
    """A model's signals at each step, when it remembers forgotten people so well."""
    return {step: model(forget=m, model_seed=seed).training for step, m in zip(STEPS, memory, strict=True)}


def by_hand(audit: AuditInput, curves: Mapping[str, Mapping[int, Signals]]) -> list[Figure]:
    found = part(audit)
    assert isinstance(found, Parted)
    return relearning.figures(audit, found.unseen, curves, lr=1e-3)


def test_a_quarter_of_the_people_are_relearned_and_the_others_share_nothing_with_them(audit: AuditInput) -> None:
    found = part(audit)
    assert isinstance(found, Parted)
    subject = dict(zip(audit.original.forget.ids, audit.original.forget.subjects, strict=True))
    again, unseen = ({subject[name] for name in ids} for ids in (found.relearned, found.unseen))
    assert (len(again), len(unseen)) == (3, 9)
    assert not again & unseen
    assert len(found.relearned) + len(found.unseen) == len(subject)
    assert part(audit) == found
    assert part(replace(audit, seed=1)) != found


def test_pairs_that_share_a_member_with_relearned_ones_do_not_count(audit: AuditInput) -> None:
    """Of single deleted pairs, those of a picture or caption that is relearned are learned directly."""
    pairwise = replace(audit, unit="pair")
    found = part(pairwise)
    assert isinstance(found, Parted)
    forget = audit.original.forget
    for m, keys in forget.sources.items():
        key = dict(zip(forget.ids, keys, strict=True))
        assert not {key[name] for name in found.relearned} & {key[name] for name in found.unseen}, m
    one = every(audit, {"sources": {m: ["one"] * 48 for m in ("image", "text")}}, ("forget",))
    assert part(replace(one, unit="pair")) == (
        "48 people were deleted, and none is left beside those that are relearned"
    )


def test_hidden_associations_come_back_and_absent_ones_do_not(audit: AuditInput) -> None:
    """Planted curves: after 8 steps one model remembers as the original does; the retrained one never does."""
    jump = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    rows = by_hand(audit, {"unlearned": curve(jump, 4), "retrained": curve([0.0] * 8, 2)})
    assert pick(rows, HALF, "unlearned").value == 8.0
    assert "does not come back within 64 steps" in (pick(rows, HALF, "retrained").absent or "")
    area = pick(rows, MEAN + TO_RETRAINED, "unlearned")
    assert area.value == pytest.approx(4 / 7, abs=0.02)  # four of the seven points behind the start
    assert (area.low or 0) > 0.3
    assert pick(rows, f"{HEADLINE}, at step 0", "original").value == 1.0
    assert (pick(rows, f"{HEADLINE}, at step 8", "unlearned").value, area.n) == (1.0, 18)
    assert pick(rows, MEAN, "unlearned").note == "gallery: 120 distinct texts; learning rate 0.001"


def test_retrained_of_another_seed_is_not_accused_and_untouched_is(audit: AuditInput) -> None:
    nothing = [0.0] * 8
    rows = by_hand(audit, {"unlearned": curve(nothing, 7), "retrained": curve(nothing, 2)})
    area = pick(rows, MEAN + TO_RETRAINED, "unlearned")
    assert area.low is not None
    assert area.high is not None
    assert area.low <= 0 <= area.high
    rows = by_hand(audit, {"unlearned": curve([1.0] * 8, 1), "retrained": curve(nothing, 2)})
    assert pick(rows, HALF, "unlearned").value == 0.0
    assert (pick(rows, MEAN + TO_RETRAINED, "unlearned").low or 0) > 0.8


def test_relearning_goes_by_the_rate_of_the_training() -> None:
    """An original that has itself forgotten pairs records a method's rate beside that of its training."""
    trained = RunRecord(command="train", loop={"lr": 1e-3})
    again = RunRecord(command="unlearn", loop={"lr": 0.7}, request=RequestRecord(pairs=3, digest=""))
    assert relearning_rate(trained) == pytest.approx(3e-4)
    assert relearning_rate(replace(again, training=trained.recipe)) == pytest.approx(3e-4)
    assert relearning_rate(again) == 1e-5


def test_controls_of_relearning(audit: AuditInput) -> None:
    """Right: the untouched model has everything, a second retrained one nothing. Void where either is the other."""
    there, gone = curve([1.0] * 8, 1), curve([0.0] * 8, 6)
    right = by_hand(audit, {"retrained": curve([0.0] * 8, 2), "untouched": there, "retrained again": gone})
    assert check_controls(right) == {"relearning": None}
    blind = by_hand(audit, {"retrained": curve([0.0] * 8, 2), "untouched": {**gone, 0: there[0]}})
    assert "untouched: no more is there" in (check_controls(blind)["relearning"] or "")
    jumping = by_hand(audit, {"retrained": curve([0.0] * 8, 2), "retrained again": there})
    assert f"retrained again: {MEAN} lies +1.000" in (check_controls(jumping)["relearning"] or "")
    assert all(row.void for row in mark_void(jumping))


def test_what_was_never_there_cannot_come_back(audit: AuditInput) -> None:
    away = replace(audit, models={**audit.models, "original": model(forget=0.0, opposed=True, model_seed=1)})
    rows = by_hand(away, {"unlearned": curve([0.0] * 8, 4)})
    assert "the original finds none of them" in (pick(rows, HALF, "unlearned").absent or "")


def test_families_that_cannot_be_searched_have_scores_alone(audit: AuditInput) -> None:
    bare = every(audit, {"embeddings": None})
    curves = {"unlearned": {step: with_(s, embeddings=None) for step, s in curve([0.0] * 8, 4).items()}}
    rows = by_hand(bare, curves)
    assert "no joint embedding space" in (pick(rows, f"{HEADLINE}, at step 4", "unlearned").absent or "")
    assert pick(rows, "sensitive score, mean over the steps", "unlearned").value is not None


@dataclass(frozen=True)
class Trained:
    """Real models of the same people, four of them to forget."""

    forget: PairDataset
    retain: PairDataset
    test: PairDataset
    models: Mapping[str, Adapter]

    def audit(self, unlearned: str) -> AuditInput:
        named = {"original": self.models["original"], "unlearned": self.models[unlearned]}
        named["retrained"] = self.models["retrained"]
        signals = {
            name: ModelSignals(**{s: collect(a, p) for s, p in self.splits().items()}) for name, a in named.items()
        }
        return AuditInput(models=signals, unit="subject", noun="people")

    def splits(self) -> dict[str, PairDataset]:
        return {"forget": self.forget, "retain": self.retain, "test": self.test}

    def copies(self, unlearned: str) -> dict[str, Callable[[], tuple[Adapter, Mapping[str, PairDataset]]]]:
        names = {"original": "original", "unlearned": unlearned, "retrained": "retrained"}
        return {
            role: lambda name=name: (copy.deepcopy(self.models[name]), self.splits())  # type: ignore[misc]
            for role, name in names.items()
        }


@pytest.fixture(scope="module")
def real() -> Trained:
    """``hidden`` is the original behind noise on its last projections: it finds nobody, and holds everybody."""
    data = people(32)
    forget, retain = parted(data, 8)
    start = family_model("clip", data)
    original = trained(copy.deepcopy(start), data.train, passes=30)
    retrained = trained(start, retain, passes=30)
    hidden = copy.deepcopy(original)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in hidden.named_parameters():
            if "projection" in name:
                p += 8 * p.std() * torch.randn_like(p)
    return Trained(
        forget, retain, data.splits["test"], {"original": original, "retrained": retrained, "hidden": hidden}
    )


def test_real_hidden_association_comes_back_faster_than_it_can_be_learned(real: Trained) -> None:
    before = {name: weights(m) for name, m in real.models.items()}
    rows = probe_figures(real.audit("hidden"), real.copies("hidden"), compress=False, relearn=True, lr=1e-3)
    assert all(not differing(before[name], weights(m)) for name, m in real.models.items()), "a model given was changed"
    assert (pick(rows, f"{HEADLINE}, at step 0", "unlearned").value or 0) < 0.3
    assert pick(rows, HALF, "unlearned").value is not None
    assert pick(rows, HALF, "retrained").absent is not None
    assert (pick(rows, MEAN + TO_RETRAINED, "unlearned").low or 0) > 0


def test_relearning_sees_no_unseen_pair_and_the_same_batches_for_every_model(real: Trained) -> None:
    forget = real.forget.only(real.forget.ids[:8], "some")
    seen = []
    for name in ("original", "retrained"):
        adapter = copy.deepcopy(real.models[name])
        collated = record_collated(adapter)
        assert list(relearn(adapter, forget, real.retain, lr=1e-3, seed=0)) == list(STEPS)
        assert set(collated) <= {*forget.ids, *real.retain.ids}
        assert set(forget.ids) <= set(collated)
        seen.append(collated)
        assert differing(weights(real.models[name]), weights(adapter))
    assert seen[0] == seen[1]


def test_relearning_that_diverges_says_so(real: Trained) -> None:
    with pytest.raises(DivergedError, match="Lower --relearn-lr"):
        list(relearn(copy.deepcopy(real.models["original"]), real.forget, real.retain, lr=float("inf"), seed=0))


def test_figures_of_real_models_are_the_same_each_time_and_need_two_units(real: Trained) -> None:
    given = real.audit("retrained")
    rows = probe_figures(given, real.copies("retrained"), compress=True, relearn=True, lr=1e-3)
    area = pick(rows, MEAN + TO_RETRAINED, "unlearned")
    assert (area.value, area.low, area.high) == (0.0, 0.0, 0.0)
    assert {row.audit for row in rows} == {"compression", "relearning"}
    one = replace(given, models={
        name: replace(m, forget=m.forget.select(np.arange(4))) for name, m in given.models.items()
    })  # fmt: skip
    rows = probe_figures(one, real.copies("retrained"), compress=False, relearn=True, lr=1e-3)
    assert {row.absent for row in rows} == {"1 person was deleted, and none is left beside those that are relearned"}
