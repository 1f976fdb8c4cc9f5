"""Generated wrong input ends with a sentence and the code 0, 1 or 2 (`tests.hostile` runs any number of cases)."""

import os

import pytest

from tests.hostile import KINDS, World, ended

EACH = int(os.environ.get("MULTIDELETE_HOSTILE", "50"))
SLOWER = 25  # a checkpoint's case goes on with a run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_generated_wrong_input_is_answered_with_a_sentence(kind: str, world: World) -> None:
    wrong = []
    for seed in range(EACH // SLOWER if kind == "checkpoint" else EACH):
        done = ended(world, seed, kind)
        if not done.is_right:
            wrong.append((seed, done.case.arguments, done.code, done.escaped[-500:]))
        elif done.code and done.case.arguments:  # without any the help is shown
            assert "error: " in done.said, (seed, done.case.arguments, done.said)
    assert not wrong
