"""Model folders made to do harm: no code runs, and every command ends with a sentence.

Every eighth here; with ``MULTIDELETE_HOSTILE_FOLDERS=1`` all of them, with every command.
"""

import os

import pytest

from tests.models.hostile_folders import FOLDERS, Hostile, World, commands

ALL = bool(os.environ.get("MULTIDELETE_HOSTILE_FOLDERS"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("hostile"))


def test_there_are_many_and_each_has_a_name() -> None:
    assert len(FOLDERS) >= 92
    assert len({hostile.name for hostile in FOLDERS}) == len(FOLDERS)


@pytest.mark.parametrize("hostile", FOLDERS if ALL else FOLDERS[::8], ids=lambda hostile: hostile.name)
def test_hostile_folders_end_with_a_sentence(hostile: Hostile, world: World) -> None:
    for command in commands(hostile) if ALL else ["unlearn"]:
        done = world.ended(hostile, command)
        assert not done.wrong, (command, done.code, done.wrong, done.said[-2000:])
