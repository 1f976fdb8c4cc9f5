"""A comparison that starts from a model which has forgotten pairs before: they take no part."""

from pathlib import Path

import pytest

from multidelete.cli.commands import run
from multidelete.core.errors import CheckpointError
from multidelete.data.readers import load_data
from multidelete.experiments.comparison import compare, read_experiment
from multidelete.experiments.comparison.planning import plan
from multidelete.experiments.store import ModelStore
from multidelete.unlearning import unlearn
from tests.tiny import own_clip, quick, subjects_ids

DATA = "personas:people=12,unseen=8,size=32"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has forgotten two people, its key elsewhere, and an experiment that starts from it."""
    root = tmp_path_factory.mktemp("begun")
    data = load_data(DATA)
    unlearn(own_clip(data), data, subjects_ids(data.train, 2), method="neggrad", settings=quick(passes=0.1),
            out=root / "start", key=root / "elsewhere.key")  # fmt: skip
    (root / "experiment.toml").write_text(
        f'name = "tiny"\nfractions = [0.25]\ndraws = [1]\nseeds = [0]\n[settings.people]\ndata = "{DATA}"\n'
        f'unit = "subject"\nmodel = {{ start = "{root / "start"}" }}\ntrain = {{ passes = 1, device = "cpu" }}\n'
        "[methods.neggrad]\npasses = 1\n"
    )
    return root


def test_without_its_key_nothing_is_compared(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment, out = begun / "experiment.toml", begun / "refused"
    with pytest.raises(CheckpointError, match=r"has forgotten pairs before .*Name the key file with --key"):
        compare(experiment, out=out)
    assert run(["compare", str(experiment), "--out", str(out)]) == 2
    assert "--key" in capsys.readouterr().err
    assert not out.exists()


def test_with_its_key_the_pairs_are_in_no_role(begun: Path) -> None:
    groups = read_experiment(begun / "experiment.toml").groups
    everything = load_data(DATA).train
    gone = set(subjects_ids(everything, 2))
    (planned,) = plan(groups, ModelStore(begun / "models", key=begun / "elsewhere.key"), begun)
    assert {pair.id for pair in planned.data.train} == {pair.id for pair in everything} - gone
    assert not gone & set(planned.request.ids)
    (removed,) = plan(groups, ModelStore(begun / "models", earlier_pairs_removed=True), begun)
    assert len(removed.data.train) == len(everything)


@pytest.mark.slow
def test_the_command_takes_the_key(begun: Path) -> None:
    key = begun / "elsewhere.key"
    command = ["compare", str(begun / "experiment.toml"), "--out", str(begun / "out"), "--key", str(key)]
    assert run(command) == 0
    assert "neggrad" in (begun / "out" / "results.md").read_text()
