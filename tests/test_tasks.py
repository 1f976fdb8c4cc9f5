"""Training, unlearning, retraining and auditing of families beyond dual encoders, from end to end."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multidelete.auditing import audit
from multidelete.audits import Figure
from multidelete.core.errors import CheckpointError, DataError, UnsupportedError
from multidelete.core.settings import TrainSettings
from multidelete.data.graph import Graph
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.request import resolve_request
from multidelete.methods import Training
from multidelete.models import FAMILIES, SIZES, NewModel, load_adapter, new_adapter, train_tokenizer
from multidelete.models.initial import fitted, starting_point
from multidelete.unlearning import train, unlearn
from tests.models.cases import CASES, CLASSES, Case, case_data
from tests.tiny import captions, differing, weights

WHOLE = [
    Case("albef", "classification", 1),
    Case("blip", "retrieval", 1),
    Case("vilt", "classification", 2),
    Case("vilt", "retrieval", 1),
    Case("graph-text", "classification", 0),
]


@dataclass(frozen=True)
class Made:
    case: Case
    data: PairData
    root: Path
    figures: list[Figure]

    def value(self, name: str, model: str, split: str) -> float | None:
        (row,) = [f for f in self.figures if (f.figure, f.model, f.split) == (name, model, split)]
        return row.value

    def recorded(self, name: str) -> dict[str, object]:
        content: dict[str, object] = json.loads((self.root / name / "multidelete.json").read_text())
        return content


# Left to runs with the slow tests: parts of these go through cells, exhibits and other heads of every run.
SELDOM = (Case("vilt", "classification", 2), Case("albef", "classification", 1))


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, marks=[pytest.mark.slow] if case in SELDOM else [], id=str(case)) for case in WHOLE],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    case, root = request.param, tmp_path_factory.mktemp("tasks")
    data = case_data(case, number=6, unseen=4)
    settings = replace(Training().loop_settings(), passes=1, batch_size=16, device="cpu", checkpoint_steps=0)
    train(data, root / "original", start=TrainSettings(family=case.family, image_size=32), settings=settings)
    asked = resolve_request(data, subjects=["person-0001", "person-0004"], unit="subject")
    few = {"passes": 1, "device": "cpu"}
    unlearn(root / "original", data, asked, settings=few, out=root / "unlearned")
    unlearn(root / "original", data, asked, method="retrain", settings=few, out=root / "retrained")
    found = audit(root / "unlearned", root / "original", data, asked, retrained=root / "retrained",
                  out=root / "report", device="cpu")  # fmt: skip
    return Made(case, data, root, found.figures)


def test_folders_record_and_are_their_task(made: Made) -> None:
    for name in ("original", "unlearned", "retrained"):
        assert made.recorded(name)["task"] == made.case.task
        adapter = load_adapter(made.root / name)
        assert (adapter.family, adapter.task) == (made.case.family, made.case.task)
        assert adapter.classes == (CLASSES if made.case.task == "classification" else ())


def test_audits_measure_what_the_task_has(made: Made) -> None:
    names = {f.figure for f in made.figures if f.value is not None}
    assert any(name.endswith("auc of score") for name in names)
    assert any("nearest-neighbour overlap" in name for name in names)
    assert {f.split for f in made.figures if f.audit == "separation" and f.value is not None} == {"forget and retain"}
    if made.case.task == "classification":
        for kind in ("sensitive", "descriptive"):
            for model in ("original", "unlearned", "retrained"):
                for split in ("forget", "retain sample", "retain", "test"):
                    assert 0 <= (made.value(f"{kind} accuracy", model, split) or 0) <= 1 if split != "test" else True
                    assert made.value(f"{kind} margin of the label", model, split) is not None
        assert not any("recall" in name for name in names)
    elif made.case.family == "vilt":
        assert "sensitive recall@1 image to text among sampled training texts" in names
        assert "descriptive recall@10 text to image" in names
        notes = {f.note for f in made.figures if "recall" in f.figure and f.value is not None}
        assert all("drawn: this family scores pairs one by one" in note for note in notes)
    else:
        assert any("recall@10 image to text" in name for name in names)


def test_unlearning_changes_the_model_and_moves_signals(made: Made) -> None:
    scales = made.recorded("unlearned")["scales"]
    assert isinstance(scales, dict)
    both = made.case == Case("blip", "retrieval", 1)  # a matching head and contrastive embeddings
    assert ("partner similarity" in scales) == both
    assert ("embedding image" in scales) == both
    assert {"partner", "partner score", "retain"} <= set(scales)


def test_deleted_pairs_take_their_own_edges_along(made: Made) -> None:
    if made.case.family != "graph-text":
        return
    graph = {name: Graph.load(made.root / name) for name in ("original", "unlearned", "retrained")}
    asked = resolve_request(made.data, subjects=["person-0001", "person-0004"], unit="subject")
    forget, retain = made.data.train.only(asked.ids, "f"), made.data.train.without(asked.ids, "r")
    expected = graph["original"].without_edges_of(forget, retain)
    assert len(expected.edges) < len(graph["original"].edges)
    for name in ("unlearned", "retrained"):
        assert graph[name].digest == expected.digest


# Choosing a task


@pytest.mark.parametrize("case", CASES, ids=str)
def test_auto_follows_the_data(case: Case) -> None:
    data = case_data(case)
    made = starting_point(TrainSettings(family=case.family, image_size=32), data, 0)
    assert made.task == case.task
    assert made.classes == tuple(data.classes)


def test_a_family_without_the_task_is_refused_with_those_that_have_it() -> None:
    labelled = case_data(Case("albef", "classification", 1))
    why = r"'clip' has no classification, the task of data with 3 classes; it has retrieval. " \
          r"Families that have it: albef, blip, vilt. .* --task retrieval"  # fmt: skip
    with pytest.raises(UnsupportedError, match=why):
        starting_point(TrainSettings(family="clip", image_size=32), labelled, 0)
    made = starting_point(TrainSettings(family="clip", image_size=32, task="retrieval"), labelled, 0)
    assert made.task == "retrieval"
    with pytest.raises(UnsupportedError, match=r"'siglip' has no classification; .*: albef, blip, vilt"):
        starting_point(TrainSettings(family="siglip", task="classification"), case_data(CASES[0]), 0)
    size = SIZES["tiny"]
    wanted = NewModel(
        size=size, image_size=32, tokenizer=train_tokenizer(captions(labelled), size), task="classification"
    )
    with pytest.raises(UnsupportedError, match=r"Family 'clip' has no classification"):
        new_adapter("clip", wanted, seed=0)


def test_pairs_of_other_modalities_are_refused() -> None:
    nodes = case_data(Case("graph-text", "retrieval", 0))
    with pytest.raises(
        UnsupportedError, match=r"'clip' takes pairs of image and text; .* graph and text. .*: graph-text"
    ):
        starting_point(TrainSettings(family="clip"), nodes, 0)


def test_labels_that_do_not_fit_are_refused() -> None:
    case = Case("albef", "classification", 1)
    data = case_data(case)
    settings = TrainSettings(family="albef", image_size=32)
    bare = replace(data, splits=case_data(CASES[0]).splits)
    with pytest.raises(DataError, match=r"24 of 24 training pairs of .* have no label"):
        starting_point(settings, bare, 0)
    adapter = starting_point(settings, data, 0)
    request = data.train.ids[:1]
    other = replace(data, classes=("yes", "neutral", "no"))
    with pytest.raises(
        DataError, match=r"2 of 3 classes of .* not among the model's classes: yes, no. .* are entailed"
    ):
        unlearn(adapter, other, request)
    without = replace(data, classes=())
    assert starting_point(replace(settings, task="classification"), without, 0).classes == ("0", "1", "2")


def test_classes_are_matched_by_name() -> None:
    """In another order, or fewer than the model has; labels of unlabelled pairs and of all splits included."""
    data = case_data(Case("albef", "classification", 1))
    adapter = starting_point(TrainSettings(family="albef", image_size=32), data, 0)
    assert fitted(adapter, data) is data
    with pytest.raises(DataError, match=r"labels of .* are numbers: 0, 1, 2. The model's classes have names: entailed"):
        fitted(adapter, replace(data, classes=()))
    turned = fitted(adapter, replace(data, classes=CLASSES[::-1]))
    assert tuple(turned.classes) == CLASSES
    for name, pairs in data.splits.items():
        assert [pair.label for pair in turned.splits[name]] == [2 - pair.label for pair in pairs]  # type: ignore[operator]
        assert turned.splits[name].ids == pairs.ids
    two = [replace(pair, label=number % 2) for number, pair in enumerate(data.train)]
    fewer = replace(data, splits={"train": PairDataset(two, "train")}, classes=("neutral", "contradicted"))
    assert [pair.label for pair in fitted(adapter, fewer).train] == [1 + number % 2 for number in range(len(two))]


@pytest.mark.parametrize("case", [case for case in CASES if case.pictures < 2], ids=str)
def test_a_start_keeps_its_head_or_gets_a_new_one_for_another_task(case: Case, tmp_path: Path) -> None:
    """The encoders are the folder's, the head is drawn from the seed: the same for the same seed."""
    data = case_data(case)
    starting_point(TrainSettings(family=case.family, image_size=32), data, 0).save(tmp_path / "model")
    again = starting_point(TrainSettings(start=str(tmp_path / "model")), data, 5)
    assert (again.task, tuple(again.classes)) == (case.task, tuple(data.classes))
    assert differing(weights(again), weights(load_adapter(tmp_path / "model"))) == []
    other = "classification" if case.task == "retrieval" else "retrieval"
    settings = TrainSettings(start=str(tmp_path / "model"), task=other)  # type: ignore[arg-type]
    labelled = case_data(replace(case, task="classification"))
    if other not in FAMILIES[case.family].tasks():
        with pytest.raises(UnsupportedError, match=rf"'{case.family}' has no classification"):
            starting_point(settings, labelled, 0)
        return
    first, same, another = (starting_point(settings, labelled, seed) for seed in (0, 0, 1))
    assert (first.task, tuple(first.classes)) == (other, CLASSES if other == "classification" else ())
    assert differing(weights(first), weights(same)) == []
    drawn, old, found = differing(weights(first), weights(another)), weights(again), weights(first)
    assert drawn
    kept = [name for name in found if name not in drawn and name in old]
    assert len(kept) > len(found) / 2
    assert [name for name in kept if not torch.equal(found[name], old[name])] == []
    assert torch.isfinite(first.task_loss(first(batch := first.collate(labelled.train[[0, 1, 2]])), batch)).all()


def test_a_start_without_all_of_its_encoders_gets_no_new_head(tmp_path: Path) -> None:
    data = case_data(Case("blip", "retrieval", 1))
    starting_point(TrainSettings(family="blip", image_size=32), data, 0).save(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in stored if "crossattention" in name)
    save_file({n: t for n, t in stored.items() if n != gone}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    labelled = case_data(Case("blip", "classification", 1))
    with pytest.raises(CheckpointError, match=r"1 weight is missing: text_encoder.*crossattention"):
        starting_point(TrainSettings(start=str(tmp_path), task="classification"), labelled, 0)


def test_folders_with_unknown_heads_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]})
    )
    with pytest.raises(
        CheckpointError, match=r"head BlipForConditionalGeneration. Family blip has the heads BlipForIma"
    ):
        load_adapter(tmp_path)


def test_states_are_never_cached() -> None:
    """Token states are many times larger than everything else that is kept of a pair."""
    from multidelete.methods.reference import outputs_of

    case = Case("albef", "retrieval", 1)
    data = case_data(case)
    adapter = starting_point(TrainSettings(family="albef", image_size=32), data, 0)
    batch = adapter.collate(data.train[[0, 1]])
    outputs = adapter(batch)
    assert outputs.states is not None
    assert outputs[torch.tensor([1])].states["image"].shape[0] == 1  # type: ignore[index]
    assert outputs_of(adapter, data.train[[0, 1]], 2, "asking").states is None
