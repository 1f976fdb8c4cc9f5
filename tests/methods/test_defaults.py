"""The loop's settings that nobody gave."""

import math
from dataclasses import dataclass, replace

import pytest

from multidelete.artifacts.record import RequestRecord, RunRecord
from multidelete.core.errors import ConfigError
from multidelete.core.settings import LoopSettings
from multidelete.methods import METHODS, GradDiff, Method, MultiDelete
from multidelete.methods.auto import can_solve
from multidelete.methods.defaults import loop_settings


def trained_at(lr: float) -> RunRecord:
    return RunRecord(command="train", loop={"lr": lr, "passes": 3.0})


@pytest.mark.parametrize("method", [METHODS[name]() for name in ("multidelete_paper", "npo", "finetune")])
def test_learning_rates_fall_with_the_rate_of_the_training_and_do_not_rise(method: Method) -> None:
    own = method.loop_settings_for(100)
    for rate, factor in ((1e-3, 1.0), (5e-3, 1.0), (4e-4, 0.4), (1e-5, 0.01)):
        found = loop_settings(method, None, trained_at(rate), 100)
        assert found.lr == pytest.approx(own.lr * factor)
        assert found.passes == own.passes
    request = RequestRecord(pairs=3, digest="")
    unlearned = replace(trained_at(1e-5), request=request)  # a method's rate, and not the training's
    assert loop_settings(method, None, unlearned, 100) == own
    assert loop_settings(method, None, None, 100) == own
    assert loop_settings(method, None, RunRecord(), 100) == own
    recorded = replace(unlearned, training=trained_at(4e-4).recipe)  # what its original was trained at
    assert loop_settings(method, None, recorded, 100).lr == pytest.approx(own.lr * 0.4)


@pytest.mark.parametrize("origin", [None, RunRecord(), trained_at(1e-3), trained_at(1e-5)])
def test_multidelete_finds_its_way_whoever_trained_the_model_unless_told_otherwise(origin: RunRecord | None) -> None:
    method = METHODS["multidelete"]()
    assert loop_settings(method, None, origin, 100).pace == "auto"
    assert loop_settings(method, {"batch_size": 4, "lr": None}, origin, 100).pace == "auto"
    for told in ({"lr": 1e-4}, {"passes": 6}, {"pace": "given"}):
        assert loop_settings(method, told, origin, 100).pace == "given"


def test_what_a_run_finds_is_neither_given_nor_told() -> None:
    method = METHODS["multidelete"]()
    found = loop_settings(method, None, trained_at(1e-3), 100)
    given = loop_settings(method, {"pace": "given"}, trained_at(1e-3), 100)
    assert given.told().keys() - found.told().keys() == {"passes", "lr", "schedule"}
    with pytest.raises(ConfigError, match=r"schedule is 'constant'.*Leave schedule out, or give pace=given"):
        loop_settings(method, {"schedule": "constant"}, None, 100)
    assert loop_settings(method, {"schedule": "constant", "lr": 1e-4}, None, 100).schedule == "constant"
    with pytest.raises(ConfigError, match=r"optimizer is 'sgd'.*Leave optimizer out, or give pace=given"):
        loop_settings(method, {"optimizer": "sgd"}, None, 100)
    assert loop_settings(method, {"optimizer": "sgd", "passes": 2}, None, 100).optimizer == "sgd"


@pytest.mark.parametrize("name", ["ssd", "slug", "kfade", "l_codec"])
def test_a_rate_for_a_method_without_steps_is_refused_and_none_is_told(name: str) -> None:
    method = METHODS[name]()
    with pytest.raises(ConfigError, match=rf"lr is 0.1 and passes is 3, and {name} takes no steps"):
        loop_settings(method, {"lr": 0.1, "passes": 3}, None, 100)
    told = loop_settings(method, None, None, 100).told(trains=method.trains)
    assert told.keys() == {"retain_sample", "memory", "device"}
    with pytest.raises(ConfigError, match=rf"precision is 'bf16', and {name} takes no steps"):
        loop_settings(method, {"precision": "bf16"}, None, 100)


@pytest.mark.parametrize("wrapped", ["scrub", "descent_to_delete"])
def test_a_wrapped_method_that_cannot_find_its_rate_is_refused_by_its_name(wrapped: str) -> None:
    with pytest.raises(ConfigError, match=f"{wrapped} cannot find its rate"):
        loop_settings(METHODS["salun"](wrapped=wrapped), {"pace": "auto"}, None, 100)
    assert loop_settings(METHODS["salun"](wrapped="grad_diff"), {"pace": "auto"}, None, 100).pace == "auto"


def test_small_requests_do_not_add_passes_of_retain_pairs_alone() -> None:
    assert METHODS["scrub"]().loop_settings_for(1).passes == METHODS["scrub"]().loop_settings_for(64).passes


@dataclass(frozen=True, kw_only=True)
class Mine(MultiDelete):
    """Another objective, which the solver knows nothing of."""

    score: float = 0.0


def test_what_is_made_of_a_method_that_can_be_solved_is_not_solved() -> None:
    assert can_solve(MultiDelete(), LoopSettings(pace="auto"))
    assert not can_solve(Mine(), LoopSettings(pace="auto"))
    assert loop_settings(Mine(), None, None, 100).pace == "given"


def test_rates_of_small_requests_fall_too() -> None:
    """A quarter of the usual rate for four pairs, and a tenth of that for the training's."""
    found = loop_settings(GradDiff(), None, trained_at(1e-4), 4)
    assert found.lr == pytest.approx(GradDiff().loop_settings().lr / 40)


def test_what_is_given_stands() -> None:
    given = LoopSettings(lr=0.7)
    assert loop_settings(GradDiff(), given, trained_at(1e-5), 100) is given
    assert loop_settings(GradDiff(), {"lr": 0.7}, trained_at(1e-5), 100).lr == 0.7


def test_retraining_follows_the_training() -> None:
    found = loop_settings(METHODS["retrain"](), None, trained_at(1e-5), 100)
    assert (found.lr, found.passes) == (1e-5, 3.0)


@pytest.mark.parametrize(
    ("name", "value"), [("memory", 0.0), ("memory", math.nan), ("memory", math.inf), ("feature_cache", math.inf)]
)
def test_sizes_that_no_memory_has_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is {value}; it must be .* GiB"):
        LoopSettings(**{name: value})  # type: ignore[arg-type]  # which field is told by a name
