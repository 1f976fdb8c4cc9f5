"""What a search varies: declared by every method, valid wherever it is drawn, and a function of seed and trial."""

from dataclasses import fields

import numpy as np
import pytest

from multidelete.core.errors import UnsupportedError
from multidelete.core.settings import LoopSettings
from multidelete.methods import METHODS
from multidelete.methods.search import Factor, check_search, drawn_settings

LOOP = {one.name for one in fields(LoopSettings)}
TUNED = sorted(name for name, method in METHODS.items() if method.search)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_is_searched_or_why_nothing_is(name: str) -> None:
    method = METHODS[name]
    assert bool(method.search) != bool(method.no_search)
    own = {one.name for one in fields(method)}
    assert not own & LOOP, "a name would mean two settings"
    assert set(method.search) <= (own | LOOP if method.trains else own)


@pytest.mark.parametrize("name", TUNED)
def test_every_drawn_setting_is_valid_and_within_its_range(name: str) -> None:
    method = METHODS[name]()
    loop = method.loop_settings_for(100)
    for trial in range(1, 200):
        own, own_loop, drawn = drawn_settings(method, loop, trial=trial, seed=3)  # constructing them checks them
        for key, value in drawn.items():
            before = getattr(method if hasattr(method, key) else loop, key)
            assert getattr(own if hasattr(own, key) else own_loop, key) == value
            assert type(value) is type(before)
            assert before > 0, "a multiple of 0 is 0"
            slack = 0.5 if isinstance(before, int) else 0.005 * before * method.search[key].high
            assert method.search[key].low * before - slack <= value <= method.search[key].high * before + slack


@pytest.mark.parametrize("name", TUNED)
def test_first_trial_has_the_defaults_and_others_are_a_function_of_seed_and_number(name: str) -> None:
    method = METHODS[name]()
    loop = method.loop_settings()
    assert drawn_settings(method, loop, trial=0, seed=5)[:2] == (method, loop)
    ones = [drawn_settings(method, loop, trial=trial, seed=5) for trial in (1, 2, 3)]
    assert drawn_settings(method, loop, trial=3, seed=5) == ones[2]
    others = [*ones, drawn_settings(method, loop, trial=1, seed=6)]
    assert len({repr(drawn) for _, _, drawn in others}) == 4


def test_factor_is_log_uniform_around_what_it_is_given() -> None:
    """Half of the draws between a tenth and ten times lie below the default, whatever it is."""
    rng = np.random.default_rng(0)
    values = np.array([Factor(0.1, 10).draw(rng, 1e-5) for _ in range(2000)], dtype=float)
    assert abs((values < 1e-5).mean() - 0.5) < 0.05
    assert abs((values < 1e-5 * 10**-0.5).mean() - 0.25) < 0.05


def test_whole_numbers_stay_whole_and_positive() -> None:
    rng = np.random.default_rng(0)
    values = [Factor(0.1, 2).draw(rng, 2) for _ in range(200)]
    assert set(values) == {1, 2, 3, 4}


def test_yardstick_is_not_tuned() -> None:
    with pytest.raises(UnsupportedError, match=r"retrain cannot be tuned: it is the yardstick"):
        check_search(METHODS["retrain"]())
