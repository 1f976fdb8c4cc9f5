"""The command line: results, settings files, and every wrong input answered before anything is written."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from transformers import BertConfig, BertModel

import multidelete
from multidelete.artifacts.record import Cost, MethodRecord, RequestRecord, RunRecord
from multidelete.audits import run_audits, unit_counts, verdict
from multidelete.catalogue import FILE, catalogue
from multidelete.catalogue.made import as_json, registered
from multidelete.cli import run
from multidelete.cli.options import ForgetOptions
from multidelete.cli.show import data_row, show_run, show_verdict, show_verdict_json
from multidelete.core.described import descriptions
from multidelete.core.settings import LoopSettings
from multidelete.data.generated.personas import write_personas
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.request import UNITS
from multidelete.data.split import with_holdout
from multidelete.methods import METHODS
from multidelete.models import FAMILIES
from tests.audits import world
from tests.processes import ROOT, command, interrupted, without_progress

DATA = "personas:people=20,unseen=8,size=32"
QUICK = ("--passes", "1", "--device", "cpu")
Errors = Callable[..., list[str]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "original"
    assert run(["train", "--data", DATA, "--image-size", "32", *QUICK, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The same people as an image folder with an own test split."""
    folder = tmp_path / "photos"
    write_personas(folder, people=20, unseen=8, size=32)
    return folder


@pytest.fixture
def errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Errors:
    """Runs a command that must end with exit code 2 and leave nothing; returns its `error:` lines."""

    def refused(*arguments: object, out: str = "out") -> list[str]:
        capsys.readouterr()
        before = sorted(tmp_path.rglob("*"))
        assert run([str(argument) for argument in arguments]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        assert "Traceback" not in shown.err
        return [line.removeprefix("error: ") for line in shown.err.splitlines() if line.startswith("error: ")]

    return refused


def unlearn(original: Path, *arguments: object, data: object = DATA) -> list[object]:
    return ["unlearn", original, "--data", data, *QUICK, *arguments]


def one(lines: list[str]) -> str:
    (line,) = lines
    return line


def results(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    """What a command with ``--json`` prints."""
    capsys.readouterr()
    assert run([str(argument) for argument in (*arguments, "--json")]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


# What comes out


def test_unlearn_writes_a_model_and_tells_the_cost(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "unlearned"
    told = results(capsys, *unlearn(original, "--forget-subject", "person-0001", "--out", out))
    assert told["folder"] == str(out)
    assert told["request"] == {**told["request"], "pairs": 4, "unit": "subject"}  # type: ignore[dict-item]
    cost = told["cost"]
    assert isinstance(cost, dict)
    assert set(cost) >= {"wall_s", "reference_s", "pairs_forward", "pairs_backward", "peak_bytes"}
    assert 0 < cost["reading_s"] <= cost["wall_s"] - cost["reference_s"]
    assert json.loads((out / "multidelete.json").read_text())["cost"] == told["cost"]
    assert "person-0001" not in (out / "multidelete.json").read_text() + (out / "README.md").read_text()


def test_settings_come_from_flags_over_file_over_method(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        f'data = "{DATA}"\nforget-subject = ["person-0001"]\nout = "{tmp_path / "out"}"\ndevice = "cpu"\npasses = 2\n'
        'batch_size = 7\n[method]\nname = "grad_diff"\nascent = 0.5\ndescent = 2\n'
    )
    told = results(capsys, "unlearn", original, "--config", file, "--passes", "1", "--set", "ascent=0.25")
    assert told["method"] == {"name": "grad_diff", "ascent": 0.25, "descent": 2.0}
    loop = told["loop"]
    assert isinstance(loop, dict)
    own = METHODS["grad_diff"]().loop_settings_for(4)
    assert (loop["passes"], loop["batch_size"], loop["lr"]) == (1.0, 7, own.lr)


def test_loop_settings_not_given_are_the_methods_own(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = results(
        capsys, *unlearn(original, "--forget-image", "person-0001-view-1.png", "--out", tmp_path / "out"),
        *("--forget-image", "person-0002-view-1.png", "--method", "neggrad"),
    )  # fmt: skip
    own = METHODS["neggrad"]().loop_settings_for(4)
    assert own.lr != LoopSettings().lr
    assert told["loop"]["lr"] == own.lr  # type: ignore[index]
    assert told["request"] == {**told["request"], "pairs": 4, "unit": "image"}  # type: ignore[dict-item]


def test_held_out_pairs_are_the_same_in_later_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, original = tmp_path / "photos", tmp_path / "original"
    write_personas(data, people=20, unseen=0, size=32)
    train = ("train", "--data", data, "--holdout", "0.1", "--seed", "3", "--image-size", "32")
    told = results(capsys, *train, *QUICK, "--out", original)
    assert told["holdout"] == {"fraction": 0.1, "seed": 3}
    request = ["unlearn", original, "--data", data, *QUICK, "--seed", "5"]
    parted = with_holdout(multidelete.load_data(str(data)), fraction=0.1, seed=3)
    held_out = str(parted.splits["val"][0].subject)
    kept = str(parted.train[0].subject)
    assert run([str(a) for a in (*request, "--forget-subject", held_out, "--out", tmp_path / "refused")]) == 2
    assert "held-out" in capsys.readouterr().err
    told = results(capsys, *request, "--forget-subject", kept, "--out", tmp_path / "out")
    assert told["holdout"] == {"fraction": 0.1, "seed": 3}
    assert told["data"] == {**told["data"], "pairs": len(parted.train)}  # type: ignore[dict-item]


def test_other_data_than_the_original_records_is_remarked_on(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "personas:people=19,unseen=8,size=32"
    assert (
        run([str(a) for a in unlearn(original, "--forget-subject", "person-0001", "--out", tmp_path / "o", data=other)])
        == 0
    )
    assert "records other training pairs (80 of personas) than the 76" in capsys.readouterr().err


def test_lists_name_everything_registered(capsys: pytest.CaptureFixture[str]) -> None:
    for listing, names in (("methods", METHODS), ("families", FAMILIES), ("data", multidelete.READERS)):
        assert run([listing]) == 0
        shown = capsys.readouterr().out
        assert run([listing, "--json"]) == 0
        listed = {row["name"] for row in json.loads(capsys.readouterr().out)}
        assert set(names) <= listed
        assert all(name in shown for name in names)


def test_families_say_which_tasks_they_support(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["families", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["clip"]["tasks"] == {"retrieval": ["CLIPModel"]}
    assert rows["blip"]["tasks"] == {
        "retrieval": ["BlipForImageTextRetrieval"], "classification": ["BlipForClassification"]
    }  # fmt: skip
    assert len(rows["vilt"]["tasks"]["classification"]) == 2
    assert (rows["graph-text"]["modalities"], rows["graph-text"]["extra"]) == (["graph", "text"], "graph")
    assert run(["families"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "classification" in shown
    assert "graph and text" in shown


def test_data_shows_splits_and_examples_without_terminal_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_personas(tmp_path / "photos", people=4, unseen=2, size=16)
    metadata = tmp_path / "photos" / "metadata.jsonl"
    rows = [json.loads(line) for line in metadata.read_text().splitlines()]
    rows[0]["text"] = "\x1b[31m[bold]red[/bold]"
    metadata.write_text("\n".join(map(json.dumps, rows)))
    assert run(["data", str(tmp_path / "photos"), "--check"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[bold]red[/bold]" in shown
    told = results(capsys, "data", tmp_path / "photos", "--examples", 1)
    assert {name: split["pairs"] for name, split in told["splits"].items()} == {"train": 16, "val": 4, "test": 4}  # type: ignore[attr-defined]


def test_data_counts_each_picture_of_pairs_of_two() -> None:
    sides = [("a.png", "b.png"), ("b.png", "a.png"), ("a.png", "c.png")]
    pairs = [
        Pair(id=str(n), inputs={"image": side, "text": "t"}, sources={"image": "|".join(side), "text": "t"})
        for n, side in enumerate(sides)
    ]
    row = data_row(PairData("sides", {"train": PairDataset(pairs, "sides")}), examples=1)
    assert row["splits"] == {"train": {"pairs": 3, "images": 3, "texts": 1, "subjects": 0, "labels": 0, "kinds": ""}}
    assert row["examples"][0]["image"] == "a.png|b.png"  # type: ignore[index]


def test_data_shows_the_size_of_a_graph_and_no_pictures_where_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nodes.csv").write_text("atom,element\na,C\nb,N\nc,C\n")
    (tmp_path / "edges.csv").write_text("from,to\na,b\nb,c\n")
    (tmp_path / "train.csv").write_text("nodes,text,id\na|b,one bond,1\nb|c,another,2\n")
    assert run(["data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "graph: 3 nodes, 2 edges; of the nodes also element (2 values)" in said
    assert "image" not in said
    assert "named nodes" in said
    told = results(capsys, "data", tmp_path)
    assert told["graph"] == {"nodes": 3, "edges": 2, "features": {"element": 2}}
    assert isinstance(told["splits"], dict)
    assert told["splits"]["train"]["named nodes"] == 3
    assert "images" not in told["splits"]["train"]


def test_data_writes_generated_people_as_they_were_asked_for(tmp_path: Path) -> None:
    assert run(["data", "personas:people=3,unseen=0,views=1,size=16", "--write", str(tmp_path / "people")]) == 0
    assert len(multidelete.load_data(str(tmp_path / "people")).train) == 6


def test_audit_prints_its_verdict(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = ("--data", DATA, "--forget-subject", "person-0001")
    told = results(
        capsys, "audit", original, "--original", original, *request, "--device", "cpu", "--out", tmp_path / "report"
    )
    assert told["outcome"] != "forgotten"  # nothing was done
    assert {row["criterion"] for row in told["scorecard"]} == {"forgetting", "membership", "retain", "test"}  # type: ignore[attr-defined]
    assert (tmp_path / "report" / "report.html").is_file()


# Wrong input


@pytest.mark.parametrize(
    ("request_lines", "expected"),
    [
        ("person-0001-view-1-sensitive\nperson-9999", "1 of 2 ids is not among the training pairs"),
        ("person-0001-view-1-sensitive\nperson-0001-view-1-sensitive", "1 of 1 id occurs more than once"),
        ("# nobody\n\n", "needs at least one pair id, subject, image or node"),
        ("\n".join(pair.id for pair in multidelete.load_data(DATA).train), "names all 80 training pairs"),
    ],
    ids=["unknown", "duplicate", "empty", "everything"],
)  # fmt: skip
def test_wrong_request_is_refused(
    original: Path, tmp_path: Path, errors: Errors, request_lines: str, expected: str
) -> None:
    file = tmp_path / "request.txt"
    file.write_text(request_lines)
    assert expected in one(errors(*unlearn(original, "--forget", file, "--out", tmp_path / "out")))


def test_request_that_is_not_there_is_refused(original: Path, tmp_path: Path, errors: Errors) -> None:
    line = one(errors(*unlearn(original, "--forget", tmp_path / "none.txt", "--out", tmp_path / "out")))
    assert "There is no request file" in line


def test_unreadable_images_are_all_named_before_training(photos: Path, tmp_path: Path, errors: Errors) -> None:
    first, second, *_ = sorted((photos / "images").glob("person-00*.png"))
    first.write_bytes(first.read_bytes()[:200])
    second.write_text("no image")
    train = ("train", "--data", photos, "--image-size", "32", *QUICK, "--out", tmp_path / "out")
    line = one(errors(*train))
    assert "2 of 40 images" in line
    assert first.name in line
    assert second.name in line
    assert first.name in one(errors("data", photos, "--check"))


def test_missing_column_is_refused(photos: Path, tmp_path: Path, errors: Errors) -> None:
    train = ("train", "--data", photos, *QUICK, "--out", tmp_path / "out")
    assert "has no column 'caption' for the text. Its columns: " in one(errors(*train, "--columns", "text=caption"))
    assert "must be NAME=VALUE" in one(errors(*train, "--columns", "caption"))
    assert "Unknown columns: txt" in one(errors(*train, "--columns", "txt=text"))


def test_mixed_up_splits_are_refused(photos: Path, tmp_path: Path, errors: Errors) -> None:
    train = ("train", "--data", photos, *QUICK, "--out", tmp_path / "out")
    assert "has no split training; it has train, val, test" in " ".join(errors(*train, "--splits", "train=training"))
    metadata = photos / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace('"split": "test"', '"split": "valid"'))
    assert "two splits that mean val" in one(errors(*train))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("personas:peple=3", "personas has no setting 'peple'; it has people"),
        ("personas:people=three", "people is 'three'; it must be a whole number"),
        ("./nowhere", "There is no file or folder"),
    ],
)
def test_wrong_data_is_refused(tmp_path: Path, errors: Errors, spec: str, expected: str) -> None:
    assert expected in one(errors("train", "--data", spec, *QUICK, "--out", tmp_path / "out"))


def test_what_is_no_model_is_refused(original: Path, tmp_path: Path, errors: Errors) -> None:
    (tmp_path / "empty").mkdir()
    other, broken = tmp_path / "bert", tmp_path / "broken"
    BertModel(BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(
        other
    )
    shutil.copytree(original, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    request = ("--forget-subject", "person-0001", "--out", tmp_path / "out")
    assert "not a model folder" in one(errors(*unlearn(tmp_path / "empty", *request)))
    assert "there is no such folder" in one(errors(*unlearn(tmp_path / "nowhere", *request)))
    assert "is a 'bert' model. Known families" in one(errors(*unlearn(other, *request)))
    assert "weights" in one(errors(*unlearn(broken, *request)))
    shutil.copyfile(original / "model.safetensors", weights)
    for content in ("[]", "{}"):
        (broken / "config.json").write_text(content)
        assert "config.json has no model_type" in one(errors(*unlearn(broken, *request)))
    assert "not a model folder" in one(
        errors("train", "--data", DATA, "--start", tmp_path / "empty", *QUICK, "--out", tmp_path / "out")
    )


def test_weights_that_do_not_fit_are_all_told(original: Path, tmp_path: Path, errors: Errors) -> None:
    from safetensors.torch import load_file, save_file

    odd = tmp_path / "odd"
    shutil.copytree(original, odd)
    weights = load_file(odd / "model.safetensors")
    missing, *reshaped = sorted(weights)[:3]
    whole = {name: weights[name] for name in reshaped}
    weights |= {name: weights[name].flatten()[:1].clone() for name in reshaped}
    save_file(weights, odd / "model.safetensors", metadata={"format": "pt"})
    line = one(errors(*unlearn(odd, "--forget-subject", "person-0001", "--out", tmp_path / "out")))
    assert [name in line for name in reshaped] == [True, True]
    del weights[missing]
    save_file(weights | whole, odd / "model.safetensors", metadata={"format": "pt"})
    assert missing in one(errors(*unlearn(odd, "--forget-subject", "person-0001", "--out", tmp_path / "out")))


def test_folder_without_processor_is_refused(original: Path, tmp_path: Path, errors: Errors) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(original, bare, ignore=shutil.ignore_patterns("*processor*", "tokenizer*"))
    line = one(errors(*unlearn(bare, "--forget-subject", "person-0001", "--out", tmp_path / "out")))
    assert "has no readable processor" in line
    assert line.endswith("Save the processor (image processor and tokenizer) into the model folder.")
    assert "huggingface.co" not in line


def test_weights_that_run_code_are_refused_with_leave_too(original: Path, tmp_path: Path, errors: Errors) -> None:
    import torch

    evil = tmp_path / "evil"
    shutil.copytree(original, evil, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"weight": Touch(tmp_path / "touched")}, evil / "pytorch_model.bin")
    request = ("--forget-subject", "person-0001", "--out", tmp_path / "out")
    line = one(errors(*unlearn(evil, *request, "--allow-pickle")))
    assert "A pickled file that holds more than plain tensors could run code" in line


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--precision", "fp16"), "precision 'fp16' cannot be used on device 'cpu'"),
        (("--trackers", "nosuch"), "tracker 'nosuch' is unknown"),
    ],
)
def test_what_the_machine_cannot_do_is_refused_before_any_work(
    original: Path, photos: Path, tmp_path: Path, errors: Errors, flags: tuple[str, ...], expected: str
) -> None:
    for picture in (photos / "images").iterdir():
        picture.write_text("would be found out next")
    request = ("--forget-subject", "person-0001", "--out", tmp_path / "out")
    assert expected in one(errors(*unlearn(original, *request, *flags, data=photos)))
    train = ("train", "--data", photos, "--image-size", "32", *QUICK, "--out", tmp_path / "out")
    assert expected in one(errors(*train, *flags))


def test_pickled_weights_need_leave(original: Path, tmp_path: Path, errors: Errors) -> None:
    import torch
    from safetensors.torch import load_file

    pickled = tmp_path / "pickled"
    shutil.copytree(original, pickled)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    arguments = unlearn(pickled, "--forget-subject", "person-0001", "--out", tmp_path / "out")
    assert "--allow-pickle" in one(errors(*arguments))
    assert run([str(argument) for argument in (*arguments, "--allow-pickle")]) == 0


def test_existing_target_is_refused_and_replaced_on_demand(original: Path, tmp_path: Path, errors: Errors) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").touch()
    arguments = unlearn(original, "--forget-subject", "person-0001", "--out", out)
    assert "already exists" in one(errors(*arguments))
    assert "was not written by multidelete" in one(errors(*arguments, "--overwrite"))
    (out / "precious").unlink()
    for _ in range(2):
        assert run([str(argument) for argument in (*arguments, "--overwrite")]) == 0
    assert (out / "config.json").is_file()
    inside = one(errors(*unlearn(original, "--forget-subject", "person-0001", "--out", original, "--overwrite")))
    assert "inputs are never changed" in inside


def test_wrong_audit_is_refused(original: Path, tmp_path: Path, errors: Errors) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "report").mkdir()
    audit = ("audit", original, "--original", original, "--data", DATA, "--device", "cpu")
    request = ("--forget-subject", "person-0001")
    assert "not a model folder" in one(
        errors(*audit, *request, "--retrained", tmp_path / "empty", "--out", tmp_path / "out")
    )
    assert "already exists" in one(errors(*audit, *request, "--out", tmp_path / "report"))
    assert "seed is -1" in one(errors(*audit, *request, "--seed", "-1", "--out", tmp_path / "out"))
    assert "seed is -1" in one(errors("demo", "--seed", "-1", "--out", tmp_path / "out"))
    assert "lies inside input" in one(errors(*audit, *request, "--out", original / "report"))
    assert "Did you mean" in one(errors(*audit, "--forget-subject", "person-001", "--out", tmp_path / "out"))
    assert "original is not given" in one(
        errors("audit", original, "--data", DATA, *request, "--out", tmp_path / "out")
    )


def test_retraining_without_a_recorded_start_is_refused(original: Path, tmp_path: Path, errors: Errors) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(original, foreign, ignore=shutil.ignore_patterns("multidelete.json"))
    request = ("--forget-subject", "person-0001", "--method", "retrain", "--out", tmp_path / "out")
    assert "does not record them" in one(errors(*unlearn(foreign, *request)))


def test_all_wrong_settings_are_told_at_once(tmp_path: Path, errors: Errors) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('pases = 3\nbatch_size = "many"\n[method]\nname = "neggrad"\n')
    lines = errors("unlearn", "original", "--config", file, "--lr", "-1", "--out", tmp_path / "out")
    assert len(lines) == 4, lines
    text = "\n".join(lines)
    assert f"{file}: unknown setting 'pases'. Did you mean 'passes'?" in text
    assert "batch_size is 'many'; it must be a whole number" in text
    assert "lr is -1.0; it must be greater than 0" in text
    assert "data is not given" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("pases = 3", "unknown setting 'pases'"),
        ("passes = [1]", "passes is [1]; it must be a finite number"),
        ("passes", "is not valid TOML"),
        ("[method]\nname = 3", "method is 3"),
        ('[method]\nname = "neggrad"\nspeed = 1', "[method]: unknown setting 'speed'"),
        ('method = "multidelte"', "Unknown method 'multidelte'. Did you mean 'multidelete'?"),
        ("[methods]\n", "unknown setting 'methods'"),
    ],
)
def test_wrong_settings_file_is_refused(
    original: Path, tmp_path: Path, errors: Errors, content: str, expected: str
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(content)
    request = ("--forget-subject", "person-0001", "--out", tmp_path / "out")
    assert expected in one(errors("unlearn", original, "--data", DATA, *request, "--config", file))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--method", "multidelte"), "Did you mean 'multidelete'?"),
        (("--method", "no.such:Thing"), "cannot be imported"),
        (("--set", "decouplin=1"), "Did you mean 'decoupling'?"),
        (("--set", "decoupling=strong"), "decoupling is 'strong'; it must be a finite number"),
        (("--set", "decoupling"), "must be NAME=VALUE"),
        (("--set", "decoupling=1", "--set", "decoupling=2"), "names 'decoupling' twice"),
        (("--unit", "person"), "unit is 'person'; it must be one of"),
        (("--trainable", "no_such_layer"), "matches none of the"),
        (("--trainable", "("), "is no regular expression"),
        (("--device", "tpu"), "device is 'tpu'"),
        (("--seed", "1.5"), "seed is '1.5'; it must be a whole number"),
        (("--seed", "-1"), "seed is -1; it must be 0 or more"),
    ],
)
def test_wrong_flag_is_refused(
    original: Path, tmp_path: Path, errors: Errors, arguments: tuple[str, ...], expected: str
) -> None:
    request = ("--forget-subject", "person-0001", "--out", tmp_path / "out")
    assert expected in one(errors("unlearn", original, "--data", DATA, *request, *arguments))


def test_new_model_flags_are_refused_beside_start(original: Path, tmp_path: Path, errors: Errors) -> None:
    arguments = ("train", "--data", DATA, "--start", original, "--size", "small", "--out", tmp_path / "out")
    assert "Leave --size out" in one(errors(*arguments))


def test_usage_errors_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["unlearn", "--pases", "1"]) == 2
    assert "--passes" in capsys.readouterr().err
    assert run(["unlern"]) == 2


def test_divergence_ends_with_1_and_names_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ("train", "--data", DATA, "--image-size", "32", "--passes", "5", "--device", "cpu", "--lr", "1e30")
    assert run([*train, "--max-grad-norm", "0", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: the loss stopped being finite at step")
    assert not list(tmp_path.iterdir())


# The process


def test_process_prints_nothing_but_its_result(original: Path, tmp_path: Path) -> None:
    process = command(*unlearn(original, "--forget-subject", "person-0001", "--out", tmp_path / "out", "--json"))
    out, err = process.communicate(timeout=300)
    assert (process.returncode, without_progress(err)) == (0, "")
    assert json.loads(out)["folder"] == str(tmp_path / "out")


@pytest.mark.slow  # `tests.disturbed` fills disks, and test_folders has both refusals
def test_result_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path) -> None:
    train = [sys.executable, "-m", "multidelete.cli", "train", "--data", DATA, "--image-size", "32", *QUICK]
    limit = ["sh", "-c", 'ulimit -f 1000 && exec "$@"', "sh"]
    done = subprocess.run([*limit, *train, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    told = without_progress(done.stderr)
    assert one(told.splitlines()).startswith(f"error: {tmp_path / 'out'} cannot be written: a file would be")
    assert not list(tmp_path.iterdir())


def test_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("train", "--data", DATA, "--image-size", "32", "--device", "cpu", "--checkpoint-steps", "1")
    process = command(*arguments, "--passes", "2000", "--out", out)
    err = interrupted(process, tmp_path / ".out.partial" / "work", "checkpoint-0*.safetensors")
    assert without_progress(err).startswith("interrupted; what was done is kept in ")
    assert "--resume" in err
    assert not out.exists()


EACH = """
import contextlib, io, sys
from multidelete.cli import run

for command in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert run(command.split()) == 0, command
    heavy = {"torch", "transformers", "datasets", "sklearn", "numpy", "PIL"} & set(sys.modules)
    assert not heavy, f"{command} imports {heavy}"
    assert told.getvalue(), command
"""


def test_what_there_is_is_told_without_a_heavy_import() -> None:
    """One process for all: what it has not imported at the end, no command did."""
    asked = ["--help", "--version", "methods", "families --json", "data", "unlearn --help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", EACH, *asked], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What is written down


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("demo", "train", "unlearn", "audit", "merge", "methods", "families", "data"):
        assert run([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert f"Example: multidelete {name}" in " ".join(shown.split())
        assert "--json" in shown


def test_every_setting_is_described() -> None:
    assert set(descriptions(LoopSettings)) == {one.name for one in fields(LoopSettings)}


def test_units_are_those_of_requests() -> None:
    (unit,) = (one for one in fields(ForgetOptions) if one.name == "unit")
    assert all(repr(name) in str(unit.type) for name in UNITS)


def test_page_is_what_the_generator_makes() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))["page"]()
    assert (ROOT / "docs" / "cli.md").read_text() == made, "run python docs/make_cli.py"


def test_public_names_exist_and_are_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(multidelete._HOME) == sorted(set(multidelete.__all__) - {"__version__"})
    shadowed = [name for name in multidelete.__all__ if isinstance(getattr(multidelete, name), ModuleType)]
    assert not shadowed, "a module of the same name hides it once it is imported"
    assert set(multidelete.__all__) <= set(dir(multidelete))
    with pytest.raises(AttributeError, match="no attribute 'unlern'"):
        multidelete.unlern  # noqa: B018
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == multidelete.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert multidelete.__version__ == project["version"]


@pytest.mark.parametrize("with_retrained", [True, False])
def test_verdict_is_shown_with_its_scorecard(with_retrained: bool, capsys: pytest.CaptureFixture[str]) -> None:
    audit = world.run(world.models_of(world.model(forget=1.0, model_seed=1), with_retrained=with_retrained))
    found = verdict(run_audits(audit), unit_counts(audit))
    show_verdict(found, "report")
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("UNFINISHED: traces of the deleted people remain Of 12 people")
    assert "report: report/report.html next: Do not rely on this model." in shown
    assert all(word in shown for sentence in found.sentences for word in sentence.split())
    show_verdict_json(found, "report")
    told = json.loads(capsys.readouterr().out)
    forgetting = next(row for row in told["scorecard"] if row["criterion"] == "forgetting")
    assert forgetting["kind"] == "sensitive"
    assert told["next"] == found.steps
    assert (forgetting["retrained"] is not None) == with_retrained
    assert forgetting["unlearned"] == found.rows[0].unlearned.value  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("decided", "said"),
    [
        (None, "forgotten 4 pairs, by the method multidelete "),
        ({"forgotten": 1.0}, "forgotten 4 pairs, by the method multidelete "),
        (
            {"forgotten": 0.0},
            "not forgotten 4 pairs, by the method multidelete: by the run's own measure they can still",
        ),
        ({"forgotten": 1.0, "stands": 1.0, "lost": 0.01}, "forgotten 4 pairs, by the method multidelete key "),
        (
            {"forgotten": 1.0, "stands": 0.0, "lost": 0.0229},
            "forgotten 4 pairs, by the method multidelete lost of kept or unseen pairs 0.023 less are found",
        ),
    ],
)
def test_result_says_what_the_run_found(
    decided: dict[str, float] | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = RunRecord(
        method=MethodRecord(name="multidelete"), request=RequestRecord(pairs=4, digest="0"), decisions=decided,
        cost=Cost(wall_s=2.0, reference_s=0.5, pairs_backward=64, pairs_forward=1200),
    )  # fmt: skip
    show_run(Path("unlearned"), record, "unlearned", as_json=False, key=Path("unlearned.key"))
    shown = " ".join(capsys.readouterr().out.split())
    assert f"unlearned unlearned {said}" in shown
    assert "key unlearned.key; keep it apart from the model" in shown
    assert "time 2.0 s (0.5 s of it preparing, before training)" in shown
    assert "cost 64 pairs trained on, 1,200 only forwarded" in shown
    show_run(Path("unlearned"), record, "unlearned", as_json=True, key=Path("unlearned.key"))
    assert json.loads(capsys.readouterr().out)["key"] == "unlearned.key"


def test_methods_are_called_as_they_are_typed() -> None:
    told = [text for row in catalogue().methods for text in (row.description, *(s.description for s in row.settings))]
    classes = {f"`{method.__name__}`" for method in METHODS.values()}
    assert [text for text in told if any(name in text for name in classes)] == []


def test_catalogue_is_what_the_registries_hold() -> None:
    assert FILE.read_text() == as_json(registered()), "run python docs/make_cli.py"
    assert catalogue() == registered()


def test_rows_with_an_id_and_a_subject_are_asked_about(
    original: Path, tmp_path: Path, errors: Errors, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = multidelete.load_data(DATA).train[0]
    request = tmp_path / "request.csv"
    request.write_text(f"id,subject\n{pair.id},{pair.subject}\n")
    asked = ["unlearn", original, "--data", DATA, "--forget", request, "--out", tmp_path / "out", "--dry-run"]
    assert "Which of the two do you mean? Say --unit pair or --unit subject" in one(errors(*asked))
    for unit, pairs in (("pair", 1), ("subject", 4)):
        capsys.readouterr()
        assert run([str(argument) for argument in [*asked, "--unit", unit, "--json"]]) == 0
        assert f'"pairs": {pairs}' in capsys.readouterr().out
