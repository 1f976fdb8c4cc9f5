"""Models are trained once, by whatever process asks first; shadows see what they should and nothing else."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from safetensors.torch import load_file

from multidelete.artifacts.folders import partial_folder
from multidelete.cli import run
from multidelete.core.errors import DataError, UnsupportedError
from multidelete.core.settings import TrainSettings
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.request import Request, resolve_request
from multidelete.data.shadows import shadow_members
from multidelete.experiments import store as store_module
from multidelete.experiments.store import ModelStore, code_digest
from multidelete.methods import GradDiff, NegGrad
from multidelete.models import load_adapter
from multidelete.models.lineage import lineage_of
from multidelete.unlearning import unlearn
from tests.processes import ROOT, interrupted_here, own_environment, wait_for
from tests.tiny import SIDE, differing, manifest_of, own_clip, people, quick, subjects_ids

TINY = TrainSettings(family="clip", size="tiny", image_size=SIDE)
RATE = 5e-4  # below it methods' own rates fall, so that they depend on how the original was trained
SLOW = quick(passes=30, checkpoint_steps=2)  # long enough to be killed in


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def request_of_two(data: PairData) -> Request:
    return resolve_request(data, ids=subjects_ids(data.train, 2))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    return ModelStore(tmp_path_factory.mktemp("models") / "store")


@pytest.fixture(scope="module")
def original(store: ModelStore, data: PairData) -> Path:
    return store.original(data, start=TINY, settings=quick(lr=RATE), seed=3)


def weights_of(folder: Path):  # type: ignore[no-untyped-def]
    return load_file(folder / "model.safetensors")


# What is the same model


def test_a_model_is_trained_once(store: ModelStore, original: Path, data: PairData) -> None:
    made, changed = list(store.made), (original / "model.safetensors").stat().st_mtime_ns
    other = ModelStore(store.root)
    assert other.original(people(8), start=TINY, settings=quick(lr=RATE), seed=3) == original
    assert (original / "model.safetensors").stat().st_mtime_ns == changed
    assert store.made == made
    assert other.made == []
    assert original.name.startswith("original-")
    assert [path.name for path in store.root.iterdir() if path.name.startswith(".")] == []


def test_whatever_changes_the_weights_makes_another_model(
    tmp_path: Path, data: PairData, request_of_two: Request
) -> None:
    """Nothing is trained here: the store tells the folder that a model would have."""
    store = ModelStore(tmp_path, names_only=True)
    folders: list[Path] = []

    def original(pairs: PairData, **changes: object) -> None:
        given: dict[str, object] = {"start": TINY, "settings": quick(), "seed": 0}
        folders.append(store.original(pairs, **(given | changes)))  # type: ignore[arg-type]  # values of many kinds

    held_out = replace(data, splits={"train": data.train})
    for same in (data, people(8), held_out):
        original(same)
    assert len(set(folders)) == 1
    from multidelete.data.generated.personas import personas

    larger = personas(people=8, unseen=4, views=2, size=SIDE + 1, seed=0)
    assert larger.train.digest == data.train.digest  # pictures of another size, and otherwise the same
    original(larger)
    original(people(9))
    original(data, seed=1)
    original(data, settings=quick(lr=1e-4))
    original(data, start=replace(TINY, size="small"))
    assert len(set(folders)) == 6

    own_clip(data).save(tmp_path / "a")
    own_clip(data, seed=1).save(tmp_path / "b")
    folders.clear()
    for changes in (
        {},
        {"original": tmp_path / "b"},
        {"request": resolve_request(data, ids=subjects_ids(data.train, 3))},
        {"method": "neggrad"},
        {"method": NegGrad()},  # the same as the one before
        {"method": GradDiff(ascent=0.3)},
        {"settings": {"lr": 1e-4}},
        {"trainable": "projections"},
        {"seed": 1},
        {"data": replace(data, splits={**data.splits, "val": data.splits["test"]})},
        {"data": replace(data, splits={**data.splits, "test": data.splits["val"]})},  # the same as the first
    ):
        told = {"original": tmp_path / "a", "data": data, "request": request_of_two, "method": "grad_diff"} | changes
        from_, pairs, request = (told.pop(name) for name in ("original", "data", "request"))
        folders.append(store.unlearned(from_, pairs, request, **told))  # type: ignore[arg-type]  # values of many kinds
    assert [n for n, first in enumerate(folders) if first in folders[:n]] == [4, 10]


def test_unlearned_and_retrained_are_what_the_pipeline_makes(
    store: ModelStore, original: Path, data: PairData, request_of_two: Request
) -> None:
    quickly = {"passes": 1, "batch_size": 8}
    folders = [
        store.unlearned(original, data, request_of_two, method="grad_diff", settings=quickly, seed=5),
        store.retrained(original, data, request_of_two, seed=5),
        store.retrained(original, data, request_of_two, seed=6),
    ]
    assert [folder.name.split("-")[0] for folder in folders] == ["grad_diff", "retrained", "retrained"]
    for folder, method, settings in ((folders[0], "grad_diff", quickly), (folders[1], "retrain", None)):
        same = unlearn(original, data, request_of_two, method=method, settings=settings, seed=5)
        assert differing(dict(same.adapter.model.state_dict()), dict(load_adapter(folder).model.state_dict())) == []
    assert differing(weights_of(folders[1]), weights_of(folders[2])) != []
    assert lineage_of(folders[1]).earlier(data.train) == set(request_of_two.ids)
    assert request_of_two.digest not in (folders[1] / "multidelete.json").read_text()


def test_names_are_known_before_anything_is_trained(
    store: ModelStore, original: Path, data: PairData, request_of_two: Request
) -> None:
    """A machine that only reads results knows what they are of."""
    names = ModelStore(store.root, names_only=True)
    assert names.original(data, start=TINY, settings=quick(lr=RATE), seed=3) == original
    elsewhere = ModelStore("nowhere", names_only=True)
    same = elsewhere.original(data, start=TINY, settings=quick(lr=RATE), seed=3)
    assert same == Path("nowhere") / original.name
    for kind, ask in {
        "retrained": lambda of, it: of.retrained(it, data, request_of_two, seed=5),
        "shadow": lambda of, it: of.shadow(it, data, index=1),
        "grad_diff": lambda of, it: of.unlearned(it, data, request_of_two, method="grad_diff", settings={"passes": 1}),
    }.items():
        folder = ask(store, original)
        assert folder.is_dir()
        assert folder.name.startswith(kind)
        assert ask(elsewhere, same).name == folder.name
    assert elsewhere.made == []
    assert not Path("nowhere").exists()


def test_comments_and_docstrings_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for number, text in enumerate((
        'class Mine:\n    """What it is."""\n    x = 1\n',
        'class Mine:\n    """Said otherwise."""\n\n    x = 1  # one\n',
        'class Mine:\n    """What it is."""\n    x = 2\n',
    )):  # fmt: skip
        (tmp_path / f"mine_{number}.py").write_text(text)
        digests.append(code_digest(import_module(f"mine_{number}").Mine))
    assert digests[0] == digests[1] != digests[2]


def test_inherited_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for x in (1, 2):
        (tmp_path / f"parent_{x}.py").write_text(
            f"from multidelete.methods import NPO\nclass Parent(NPO):\n    x = {x}\n"
        )
        (tmp_path / f"child_{x}.py").write_text("from parent import Parent\nclass Child(Parent):\n    y = 1\n")
        monkeypatch.setitem(sys.modules, "parent", import_module(f"parent_{x}"))
        digests.append(code_digest(import_module(f"child_{x}").Child))
    assert digests[0] != digests[1]


def test_how_a_run_finds_its_way_decides_what_it_makes(
    tmp_path: Path, data: PairData, request_of_two: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    own_clip(data).save(tmp_path / "original")
    names = ModelStore(tmp_path, names_only=True)
    folders: dict[str, list[Path]] = {"auto": [], "given": []}
    for x in (1, 2):
        (tmp_path / f"legs_{x}.py").write_text(f"X = {x}\n")
        monkeypatch.setattr(store_module, "GUIDING", (import_module(f"legs_{x}"),))
        for pace, found in folders.items():
            settings = {"pace": pace}
            found.append(
                names.unlearned(tmp_path / "original", data, request_of_two, method="multidelete", settings=settings)
            )
    assert folders["auto"][0] != folders["auto"][1]
    assert folders["given"][0] == folders["given"][1]


# Shadows


def test_shadow_members_are_half_of_the_units_of_training_and_held_out_pairs(data: PairData) -> None:
    pool = [*data.train, *data.splits["test"]]
    of_subject = {str(p.subject): {q.id for q in pool if q.subject == p.subject} for p in pool}
    for index in range(6):
        members = shadow_members(data, index)
        assert members == shadow_members(people(8), index)
        inside = [s for s, ids in of_subject.items() if ids <= members]
        assert len(inside) == len(of_subject) // 2 == 5
        assert members == {i for s in inside for i in of_subject[s]}
    times = Counter(i for index in range(6) for i in shadow_members(data, index))
    assert set(times.values()) == {3}
    assert len({shadow_members(data, index) for index in range(20)}) > 15


def test_shadow_members_without_subjects_keep_the_captions_of_an_image_together(data: PairData) -> None:
    bare = {
        split: PairDataset([replace(pair, subject=None) for pair in pairs], split)
        for split, pairs in data.splits.items() if split != "test"
    }  # fmt: skip
    members = shadow_members(PairData("bare", bare), 1)
    for pair in (*bare["train"], *bare["val"]):
        assert len({other.id in members for other in (*bare["train"], *bare["val"])
                    if other.sources["image"] == pair.sources["image"]}) == 1  # fmt: skip
    assert members & set(bare["val"].ids)
    clash = PairData("clash", {"train": data.train, "test": data.train})
    with pytest.raises(DataError, match="occur more than once in clash, training and held-out pairs together"):
        shadow_members(clash, 0)


def test_a_shadow_has_the_originals_recipe_and_start_and_its_own_pairs(
    store: ModelStore, original: Path, data: PairData
) -> None:
    folder = store.shadow(original, data, index=1)
    told, recipe = manifest_of(folder), manifest_of(original)
    members = shadow_members(data, 1)
    only = PairDataset([p for p in (*data.train, *data.splits["test"]) if p.id in members], "members")
    assert told["data"]["digest"] == only.digest  # type: ignore[index]
    assert told["command"] == "shadow"
    assert told["shadow"] == {"index": 1, "pairs": len(members)}
    assert told["loop"] == recipe["loop"]
    assert (folder / "tokenizer.json").read_bytes() == (original / "tokenizer.json").read_bytes()
    assert store.shadow(original, people(8), index=1) == folder
    assert store.shadow(original, data, index=2) != folder


def test_a_shadow_of_a_graph_holds_no_edge_of_a_training_pair_that_it_does_not_train_on(tmp_path: Path) -> None:
    pytest.importorskip("torch_geometric", reason="needs the extra graph")
    from multidelete.data.graph import Graph
    from tests.relations import relations

    data, store = relations(), ModelStore(tmp_path)
    assert data.graph is not None
    original = store.original(data, start=TrainSettings(family="graph-text"), settings=quick())
    folder = store.shadow(original, data, index=0)
    graph, members = Graph.load(folder), shadow_members(data, 0)
    left = {frozenset(graph.nodes[i] for i in edge) for edge in graph.edges.tolist()}
    stated = {p.id: frozenset(p.inputs["graph"]) for p in data.train if p.label == 1}  # type: ignore[call-overload]
    inside = {edge for i, edge in stated.items() if i in members}
    assert inside <= left
    assert not (set(stated.values()) - inside) & left
    assert len(left - set(stated.values())) == 6  # between traits: stated by no pair


def test_an_original_without_a_recipe_is_refused(tmp_path: Path, data: PairData, request_of_two: Request) -> None:
    own_clip(data).save(tmp_path / "original")
    store = ModelStore(tmp_path / "store")
    for ask in (
        lambda: store.shadow(tmp_path / "original", data, index=0),
        lambda: store.retrained(tmp_path / "original", data, request_of_two, seed=0),
    ):
        with pytest.raises(UnsupportedError, match="does not record how it was trained"):
            ask()
    assert not store.root.exists()


# Processes


def asking(root: Path) -> "subprocess.Popen[str]":
    """A real process of its own that asks the store for a slow original."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.test_store", str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own_environment(), cwd=ROOT,
    )  # fmt: skip


@pytest.mark.slow  # locks, and runs that are killed, have quicker tests of their own
def test_two_processes_never_train_the_same_model_and_a_killed_one_is_resumed(tmp_path: Path, data: PairData) -> None:
    """The one that is killed holds the lock; the one that waits for it goes on where it stopped."""
    whole = ModelStore(tmp_path / "whole").original(data, start=TINY, settings=SLOW)
    shared = tmp_path / "shared"
    first = asking(shared)
    work = partial_folder(shared / whole.name) / "work"
    wait_for(first, work, "checkpoint-*.safetensors")
    first.send_signal(signal.SIGSTOP)
    second = asking(shared)
    reached = max(path.name for path in work.glob("checkpoint-0*.safetensors"))
    time.sleep(0.5)
    first.kill()
    first.communicate()
    mine = ModelStore(shared)
    assert mine.original(data, start=TINY, settings=SLOW) == shared / whole.name
    told = json.loads(second.communicate(timeout=100)[0])
    assert told["folder"] == str(shared / whole.name)
    assert told["made"] + len(mine.made) == 1
    assert reached < "checkpoint-00000120"
    assert differing(weights_of(whole), weights_of(shared / whole.name)) == []
    assert not partial_folder(shared / whole.name).exists()


# The command


def _interrupted(original: Path, asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A shadow of a recipe that takes long, interrupted while it trains."""
    told = json.loads((original / "multidelete.json").read_text())
    told["loop"] |= {"passes": 2000, "checkpoint_steps": 1}
    (original / "multidelete.json").write_text(json.dumps(told))
    store = Path(asked[asked.index("--store") + 1])
    code = interrupted_here(
        [*asked, "--retrained", "0", "--shadows", "1"], lambda: any(store.glob(".shadow-*.partial/*/checkpoint-0*"))
    )
    assert code == 130
    assert "models that were complete are kept. Run the same command" in capsys.readouterr().err


def test_references_makes_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, original, store = "personas:people=8,unseen=4,size=32", tmp_path / "original", tmp_path / "models"
    quickly = ("--family", "clip", "--image-size", "32", "--passes", "1", "--device", "cpu", "--seed", "4")
    assert run(["train", "--data", data, *quickly, "--out", str(original)]) == 0
    asked = ["references", str(original), "--data", data, "--store", str(store), "--json"]
    forget = ["--forget-subject", "person-0001"]
    capsys.readouterr()
    assert run([*asked, *forget, "--retrained", "1", "--shadows", "1"]) == 0
    shown = capsys.readouterr()
    first = json.loads(shown.out)["models"]
    assert [(row["kind"], row.get("seed"), row.get("index"), row["made"]) for row in first] == [
        ("retrained", 4, None, True), ("shadow", None, 0, True),
    ]  # fmt: skip
    assert "model 2 of 2: shadow 0, about" in shown.err
    assert run([*asked, "--retrained", "0", "--shadows", "2"]) == 0
    second = json.loads(capsys.readouterr().out)["models"]
    assert [row["made"] for row in second] == [False, True]
    assert second[0]["folder"] == first[1]["folder"]
    assert run([*asked, "--shadows", "1"]) == 2  # two retrained models of no request
    assert "Nothing is named" in capsys.readouterr().err
    assert run([*asked, "--retrained", "0", "--shadows", "0"]) == 2
    assert "both 0" in capsys.readouterr().err
    assert run([*asked, *forget, "--shadows", "-1"]) == 2
    assert "shadows is -1" in capsys.readouterr().err
    for place, said in ((__file__, "cannot be made: File exists"), (str(original / "below"), "lies inside input")):
        assert run(["references", str(original), "--data", data, "--store", place, *forget]) == 2
        assert said in capsys.readouterr().err
    assert not (original / "below").exists()
    assert run(["references", str(tmp_path / "none"), "--data", data, "--store", str(store), *forget]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    _interrupted(original, asked, capsys)
    (original / "multidelete.json").unlink()
    assert run([*asked, *forget]) == 2
    assert "does not record how it was trained" in capsys.readouterr().err


if __name__ == "__main__":
    made = ModelStore(sys.argv[1])
    path = made.original(people(8), start=TINY, settings=SLOW)
    sys.stdout.write(json.dumps({"folder": str(path), "made": len(made.made)}))
