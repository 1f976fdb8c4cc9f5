"""The search for settings, and its judge, on real tiny models."""

import copy
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import multidelete
from multidelete.artifacts.folders import partial_folder
from multidelete.artifacts.search_cost import SearchCost
from multidelete.audits import AuditInput, ModelSignals, Signals
from multidelete.audits.objective import Objective, objective
from multidelete.core.errors import CheckpointError, ConfigError, DataError, DivergedError, UnsupportedError
from multidelete.core.settings import LoopSettings
from multidelete.data.pairs import PairData
from multidelete.data.request import Request, resolve_request
from multidelete.experiments.judge import Judge, draw_retain
from multidelete.experiments.trials import settings_file
from multidelete.experiments.tuning import Tuned, tune
from multidelete.methods import GradDiff, GradientMethod, MultiDelete, SalUn, Step
from multidelete.methods.search import Factor, Search
from multidelete.models import Adapter
from tests.processes import ROOT, own_environment
from tests.tiny import differing, family_model, own_clip, people, record_collated, trained, weights

FORGOTTEN = ("person-0001", "person-0002", "person-0003", "person-0004")
QUICK: Mapping[str, object] = {"passes": 1, "batch_size": 8, "device": "cpu"}
Models = Mapping[str, Adapter]


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(16, unseen=10)


@pytest.fixture(scope="module")
def request_(data: PairData) -> Request:
    return resolve_request(data, subjects=FORGOTTEN, unit="subject")


@pytest.fixture(scope="module")
def models(data: PairData, request_: Request) -> Models:
    """An original that has memorised everything, one that never saw the forget pairs, and one that knows nothing."""
    retain = data.train.without(request_.ids, "retain")
    return {
        "original": trained(own_clip(data), data.train, passes=30),
        "retrained": trained(own_clip(data), retain, passes=40),
        "destroyed": own_clip(data, seed=1),
    }


# What is minimised


def test_retrained_beats_untouched_and_destroyed_is_worst(data: PairData, request_: Request, models: Models) -> None:
    judge = Judge(data, request_, seed=0, device="cpu")
    judge.hear(models["original"])
    found = {name: judge.judged(model) for name, model in models.items()}
    assert found["original"].utility == found["original"].retain == 0
    assert found["original"].value <= 1
    assert found["retrained"].value < found["original"].value - 0.2
    assert found["destroyed"].value > found["original"].value + 0.1
    assert found["retrained"].gap < 0.3 < found["original"].gap
    assert found["destroyed"].retain > 0.7


def planted(
    forget: tuple[float, ...], retain: tuple[float, ...], val: tuple[float, ...], *, right: Mapping[str, float]
) -> ModelSignals:
    """A classifier's signals: scores as given, and for each split the share of pairs whose label is predicted."""

    def signals(split: str, scores: tuple[float, ...]) -> Signals:
        count = len(scores)
        labels = np.zeros(count, dtype=np.int64)
        sign = np.where(np.arange(count) < round(right[split] * count), 1.0, -1.0)
        # The size of the margin is the score; its sign says whether the label is predicted.
        logits = np.stack([sign * np.array(scores), np.zeros(count)], axis=1).astype(np.float32)
        keys = [f"{split}-{i}" for i in range(count)]
        return Signals(
            ids=keys, kinds=[None] * count, subjects=[None] * count, sources={"image": keys, "text": keys},
            score=logits[:, 0], unimodal={}, logits=logits, labels=labels,
        )  # fmt: skip

    return ModelSignals(
        forget=signals("forget", forget), retain=signals("retain", retain), val=signals("val", val)
    )  # fmt: skip


def test_objective_of_planted_answers() -> None:
    """Margins of forget pairs 4, 3, -2, -1 against 2, -1, -3, -4 of validation pairs.

    Of 16 comparisons forget wins 4 + 4 + 2 (over -3, -4) and, at -1, 2 and a tie: AUC = 12.5 / 16, so that
    |2 AUC - 1| = 0.5625. Accuracies: forget 2/4, validation 1/4: gap 1/4. The original had 2/4 on validation pairs, so
    half is lost; of the retain pairs' 4/4 a quarter.
    """
    before = planted((9, 8, 7, 6), (5, 5, 5, 5), (4, 3, 2, 1), right={"forget": 1, "retain": 1, "val": 0.5})
    after = planted((4, 3, 2, 1), (5, 5, 5, 5), (2, 1, 3, 4), right={"forget": 0.5, "retain": 0.75, "val": 0.25})
    found = objective(AuditInput(models={"original": before, "unlearned": after}))
    assert asdict(found) == pytest.approx({"membership": 0.5625, "gap": 0.25, "utility": 0.5, "retain": 0.25})
    assert found.value == pytest.approx((0.5625 + 0.25) / 2 + 0.5 + 0.25)


def test_over_forgetting_costs_as_much_as_forgetting_too_little() -> None:
    right = {"forget": 1.0, "retain": 1.0, "val": 1.0}
    original = planted((9, 9), (5, 5), (3, 4), right=right)
    values = []
    for forget in ((8.0, 9.0), (1.0, 2.0)):
        unlearned = planted(forget, (5, 5), (3, 4), right=right)
        values.append(objective(AuditInput(models={"original": original, "unlearned": unlearned})).membership)
    assert values == [1, 1]


def test_a_gain_pays_for_no_loss() -> None:
    before = planted((9, 9), (5, 5), (4, 3), right={"forget": 1, "retain": 1, "val": 0.5})
    after = planted((9, 9), (5, 5), (4, 3), right={"forget": 1, "retain": 0.5, "val": 1})
    found = objective(AuditInput(models={"original": before, "unlearned": after}))
    assert (found.utility, found.retain) == (0, 0.5)


def test_retain_pairs_of_the_judge_are_whole_units_of_another_draw(data: PairData, request_: Request) -> None:
    retain = data.train.without(request_.ids, "retain")
    drawn = [draw_retain(retain, 16, request_, seed) for seed in (0, 1)]
    for some in drawn:
        assert len(some) == 16
        assert len({pair.subject for pair in some}) == 4
        assert not set(some.ids) & set(request_.ids)
    assert drawn[0].ids != drawn[1].ids


def test_one_deleted_pair_is_judged_by_all_retain_pairs_that_there_are(data: PairData) -> None:
    """By one of them nobody sees what a setting costs."""
    judge = Judge(data, resolve_request(data, ids=[data.train[0].id]), seed=0, device="cpu")
    assert len(judge.splits["forget"]) == 1
    assert len(judge.splits["retain"]) == len(data.train) - 1


def test_families_without_embeddings_are_searched_in_one_drawn_gallery(data: PairData, request_: Request) -> None:
    vilt = family_model("vilt", data)
    judge = Judge(data, request_, seed=0, device="cpu")
    judge.hear(vilt)
    found = judge.judged(vilt)
    assert found.utility == found.retain == 0
    assert judge.pairs > 2 * sum(map(len, judge.splits.values()))  # the gallery's scores count too


# The search


@dataclass(frozen=True, kw_only=True)
class Fragile(GradDiff):
    """Its loss is not finite where the weight is above the default."""

    name: ClassVar[str] = "fragile"
    search: ClassVar[Search] = {"ascent": Factor(0.1, 10)}

    def losses(self, step: Step) -> dict[str, torch.Tensor]:
        losses = super().losses(step)
        return losses if self.ascent <= 0.2 else {"ascent": losses["ascent"] * float("nan")}


@dataclass(frozen=True, kw_only=True)
class Broken(Fragile):
    """Its loss is never finite."""

    name: ClassVar[str] = "broken"
    ascent: float = 0.3


def search(model: object, data: PairData, request: Request, **changes: object) -> Tuned:
    given: dict[str, object] = {"method": "grad_diff", "settings": QUICK, "trials": 3}
    return tune(model, data, request, **(given | changes))  # type: ignore[arg-type]


def told(tuned: Tuned) -> list[dict[str, object]]:
    """All trials, without their seconds."""
    return [{name: value for name, value in asdict(trial).items() if name != "wall_s"} for trial in tuned.trials]


@pytest.mark.parametrize("method", ["multidelete", "scrub"])
def test_only_training_and_validation_pairs_are_read(method: str, data: PairData, request_: Request) -> None:
    adapter = own_clip(data)
    seen = record_collated(adapter)
    search(adapter, data, request_, method=method, trials=1)
    seen = [one for ids in seen for one in ids.split("+")]  # partners are made of two pairs
    ids = {name: set(pairs.ids) for name, pairs in data.splits.items()}
    assert ids["test"]
    assert not ids["test"] & set(seen)
    assert set(request_.ids) | ids["val"] <= set(seen) <= ids["train"] | ids["val"]


def test_same_seed_same_trials_and_the_model_stays(data: PairData, request_: Request, models: Models) -> None:
    original = models["original"]
    before = weights(original)
    first, second = (search(original, data, request_, seed=3) for _ in range(2))
    assert told(first) == told(second)
    assert differing(before, weights(original)) == []
    assert told(search(original, data, request_, seed=4, trials=2))[1]["drawn"] != first.trials[1].drawn


def test_best_trial_becomes_the_settings(data: PairData, request_: Request, models: Models) -> None:
    tuned = search(models["original"], data, request_, settings={**QUICK, "lr": 1e-3}, trials=4)
    assert tuned.trials[0].drawn == {"lr": 1e-3, "passes": 1.0, "ascent": 0.2}
    assert tuned.best.objective == min(trial.objective for trial in tuned.trials if trial.objective is not None)
    assert tuned.settings == {
        "passes": tuned.best.drawn["passes"], "lr": tuned.best.drawn["lr"], "batch_size": 8
    }  # fmt: skip
    assert tuned.method == GradDiff(ascent=float(str(tuned.best.drawn["ascent"])))
    for trial in tuned.trials:
        assert trial.terms is not None
        assert trial.objective == pytest.approx(Objective(**trial.terms).value)
        assert trial.pairs_backward > 0 < trial.pairs_forward
    assert tuned.cost.pairs_backward == sum(trial.pairs_backward for trial in tuned.trials)
    assert tuned.cost.wall_s >= sum(trial.wall_s for trial in tuned.trials) - 0.001


def test_settings_found_give_the_model_that_was_judged(data: PairData, request_: Request, models: Models) -> None:
    tuned = search(models["original"], data, request_)
    done = multidelete.unlearn(
        models["original"], data, request_, method=tuned.method, settings={**tuned.settings, "device": "cpu"}
    )
    judge = Judge(data, request_, seed=0, device="cpu")
    judge.hear(models["original"])
    assert judge.judged(done.adapter).value == tuned.best.objective


def test_diverged_trials_fail_with_their_reason(data: PairData, request_: Request) -> None:
    tuned = search(own_clip(data), data, request_, method=Fragile(), trials=8)
    failed = [trial for trial in tuned.trials if trial.failed]
    assert [trial.number for trial in failed] == [t.number for t in tuned.trials if float(str(t.drawn["ascent"])) > 0.2]
    assert 0 < len(failed) == tuned.cost.failed < 8
    assert all("not finite" in str(trial.failed) or "being finite" in str(trial.failed) for trial in failed)
    assert tuned.best.failed is None


def test_nothing_is_found_where_every_trial_fails(data: PairData, request_: Request, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"all 1 trial failed; the first: the loss stopped being finite"):
        search(own_clip(data), data, request_, method=Broken(), trials=1, out=tmp_path / "tuned.toml")
    assert not (tmp_path / "tuned.toml").exists()


# Files, and going on


def start(model: Path, out: Path) -> subprocess.Popen[bytes]:
    """A real process of its own that runs the search."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.test_tuning", str(model), str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=own_environment(), cwd=ROOT,
    )  # fmt: skip


def run_search(model: Path, out: Path, *, resume: bool = False) -> Tuned:
    data = people(16, unseen=10)
    request = resolve_request(data, subjects=FORGOTTEN, unit="subject")
    return search(model, data, request, trials=6, out=out, resume=resume)


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_result(tmp_path: Path, models: Models) -> None:
    folder, out = tmp_path / "original", tmp_path / "tuned.toml"
    copy.deepcopy(models["original"]).save(folder)
    whole = run_search(folder, tmp_path / "whole.toml")
    process = start(folder, out)
    partial, end = partial_folder(out), time.monotonic() + 120
    while not (partial.exists() and len(partial.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.stderr and process.stderr.read().decode()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    rows = [json.loads(row) for row in partial.read_text().splitlines()]
    assert 2 <= len(rows) - 1 < 6, "killed too late"
    with pytest.raises(CheckpointError, match=r"an earlier search .* did not end.*--resume"):
        run_search(folder, out)
    resumed = run_search(folder, out, resume=True)
    assert [asdict(trial) for trial in resumed.trials[: len(rows) - 1]] == rows[1:]  # not run again: same seconds
    assert told(resumed) == told(whole)
    lines = [[line for line in file.read_text().splitlines() if " s." not in line and "wall_s" not in line]
             for file in (out, tmp_path / "whole.toml")]  # fmt: skip
    assert lines[0] == lines[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "original", "tuned.jsonl", "tuned.toml", "whole.jsonl", "whole.toml"
    ]  # fmt: skip


def test_trials_of_another_search_are_not_resumed(data: PairData, request_: Request, tmp_path: Path) -> None:
    out = tmp_path / "tuned.toml"
    with pytest.raises(DivergedError):
        search(own_clip(data), data, request_, method=Broken(), trials=1, out=out)
    with pytest.raises(ConfigError, match=r"holds trials with another model, data, request or settings"):
        search(own_clip(data), data, request_, method=Broken(ascent=0.4), trials=1, out=out, resume=True)


def refusals(
    data: PairData, request: Request, folder: Path
) -> dict[str, tuple[type[Exception], str, dict[str, object]]]:
    (folder / "there.toml").write_text("")
    untold = replace(data, splits={name: pairs for name, pairs in data.splits.items() if name != "val"})
    alone = replace(data, splits={"train": data.train})
    unlike = replace(data.splits["val"][0], kind="other")
    other_kind = replace(data, splits={**data.splits, "val": type(data.train)([unlike], "val")})
    return {
        "no validation pairs": (
            DataError,
            r"its held-out pairs are those of test\. .*--splits val=NAME",
            {"data": untold},
        ),
        "no held-out pairs": (DataError, r"has no held-out pairs, .*--holdout", {"data": alone}),
        "other kinds": (DataError, r"no validation pair is of a kind that is to be forgotten", {"data": other_kind}),
        "yardstick": (UnsupportedError, r"retrain cannot be tuned: it is the yardstick", {"method": "retrain"}),
        "no search": (UnsupportedError, r"class names nothing to search", {"method": Plain()}),
        "no trials": (ConfigError, r"trials is 0; it must be 1 or more", {"trials": 0}),
        "not a settings file": (ConfigError, r"ends in \.toml", {"out": folder / "tuned"}),
        "finds its way": (ConfigError, r"pace is 'auto'; it must be 'given'", {"settings": {"pace": "auto"}}),
        "existing": (
            CheckpointError,
            r"there\.toml already exists\. Give another output file",
            {"out": folder / "there.toml"},
        ),
        "below a file": (CheckpointError, r"there\.toml is a file", {"out": folder / "there.toml" / "new.toml"}),
        "own settings": (ConfigError, r"wrapped is 'retrain'", {"method": SalUn(wrapped="retrain")}),
    }


def test_file_says_that_its_runs_do_not_find_their_way() -> None:
    cost = SearchCost(trials=1, failed=0, wall_s=1.0, pairs_forward=1, pairs_backward=1, default_objective=0.075,
                      objective=0.05, request_pairs=4, seed=0)  # fmt: skip
    told = settings_file(MultiDelete(), LoopSettings(), ["pace"], cost, trainable="auto", lora=None)
    assert "0.0750 with the fixed budget that the search began with, 0.0500 with these." in told
    assert "# A run with these settings has a fixed rate and budget. One without them finds its own, " in told


@dataclass(frozen=True, kw_only=True)
class Plain(GradientMethod):
    """Names nothing to search."""

    name: ClassVar[str] = "plain"

    def losses(self, step: Step) -> dict[str, torch.Tensor]:
        raise NotImplementedError


@pytest.mark.parametrize(
    "case",
    ["no validation pairs", "no held-out pairs", "finds its way", "other kinds", "yardstick", "no search", "no trials",
     "not a settings file", "existing", "own settings"],
)  # fmt: skip
def test_wrong_input_is_refused_and_leaves_nothing(
    case: str, data: PairData, request_: Request, tmp_path: Path
) -> None:
    error, message, changes = refusals(data, request_, tmp_path)[case]
    given: dict[str, object] = {"model": own_clip(data), "data": data, "request": request_} | changes
    with pytest.raises(error, match=message):
        search(**given)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["there.toml"]


if __name__ == "__main__":
    run_search(Path(sys.argv[1]), Path(sys.argv[2]))
