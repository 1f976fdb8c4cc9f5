"""What groups are made of: parts of data, untrained models of a size or script of one's own, requests by node."""

from pathlib import Path

import pytest

from multidelete.core.errors import ConfigError
from multidelete.data.generated.personas import write_personas
from multidelete.experiments.comparison import Experiment, read_experiment
from multidelete.experiments.comparison.material import load, model_of, request_of
from multidelete.experiments.store import ModelStore
from multidelete.models import load_adapter

SCRIPT = """
from tests.tiny import own_clip, people

def make_start(folder, captions, *, seed, people_of):
    assert len(captions) == 18
    own_clip(people(people_of), seed=seed).save(folder)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_personas(tmp_path / "data" / "faces", people=12, unseen=8, size=32)
    return tmp_path / "data"


def experiment(tmp_path: Path, more: str, unit: str = "image") -> Experiment:
    (tmp_path / "experiment.toml").write_text(
        f'name = "one"\n[settings.faces]\ndata = "faces"\nunit = "{unit}"\n{more}\n[methods.finetune]\n'
    )
    return read_experiment(tmp_path / "experiment.toml")


def test_a_subset_is_the_first_images_with_few_pairs_each(tmp_path: Path, root: Path) -> None:
    (whole,) = experiment(tmp_path, "").settings
    (part,) = experiment(tmp_path, "subset = { images = 9, pairs_per_image = 1 }").settings
    data, smaller = load(whole, root), load(part, root)
    assert len(data.train) == 48
    images = list(dict.fromkeys(pair.sources["image"] for pair in data.train))
    assert [pair.sources["image"] for pair in smaller.train] == images[:9]
    assert len(smaller.splits["test"]) == len(data.splits["test"].sources("image"))
    assert "9 of 48 training pairs" in smaller.notes[-1]


def test_a_size_of_its_own_and_a_script_make_the_start_once(tmp_path: Path, root: Path) -> None:
    store = ModelStore(tmp_path / "store")
    size = "size = { width = 32, layers = 1, stages = [16], depths = [1], projection = 24, context = 16, "
    size += "vocabulary = 300 }"
    (sized,) = experiment(tmp_path, 'model = { family = "clip", image_size = 32 }\n' + size).settings
    data = load(sized, root)
    first = model_of(sized, data, 0, store)
    assert first.start is not None
    assert load_adapter(first.start).model.config.projection_dim == 24
    assert model_of(sized, data, 0, store) == first
    assert model_of(sized, data, 1, store) != first

    (tmp_path / "start.py").write_text(SCRIPT)
    subset = "subset = { images = 9 }\n"
    (scripted,) = experiment(tmp_path, subset + 'start = { script = "start.py", people_of = 6 }').settings
    data = load(scripted, root)
    made = model_of(scripted, data, 0, store)
    assert made.start is not None
    assert load_adapter(made.start).family == "clip"
    assert model_of(scripted, data, 0, ModelStore(store.root, names_only=True)) == made
    assert len(store.made) == 3
    (wrong,) = experiment(tmp_path, subset + 'start = { script = "start.py", function = "begin" }').settings
    with pytest.raises(ConfigError, match=r"start\.py has no function begin"):
        model_of(wrong, data, 0, store)


def test_requests_are_drawn_in_whole_units(tmp_path: Path, root: Path) -> None:
    for unit, share in (("image", 2), ("subject", 4)):
        group = experiment(tmp_path, "", unit).groups[0]
        data = load(group.setting, root)
        request = request_of(group, data)
        assert request.unit == unit
        assert len(request.ids) == share  # one of 24 images with both captions, one of 12 people


def test_of_nodes_the_request_is_by_pair(tmp_path: Path) -> None:
    pytest.importorskip("torch_geometric", reason="needs the extra graph")
    from tests.relations import relations

    group = experiment(tmp_path, "", "node").groups[0]
    data = relations()
    request = request_of(group, data)
    assert request.unit == "pair"
    drawn = {pair.id: set(pair.inputs["graph"]) for pair in data.train if pair.id in request.ids}  # type: ignore[call-overload]
    (node,) = set.intersection(*drawn.values())
    assert [p.id for p in data.train if node in p.inputs["graph"]] == list(request.ids)  # type: ignore[operator]
