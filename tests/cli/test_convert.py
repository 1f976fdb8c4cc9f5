"""``multidelete convert`` as a user runs it, on checkpoints laid out like the official ones."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multidelete.cli import run
from multidelete.models import load_adapter
from multidelete.models.fresh import train_tokenizer
from tests.models.converters.test_albef import HEAD, SIDE, kept, official, write
from tests.models.test_fusion import SIZE, pairs_of
from tests.tiny import captions, people

CLASSES = {"retrieval": [], "entailment": ["contradiction", "neutral", "entailment"], "two images": ["False", "True"]}
Errors = Callable[..., list[str]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(captions(people(6)), SIZE).save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "flickr30k.pth"
    write(official("retrieval"), path)
    return path


@pytest.fixture
def errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Errors:
    """Runs a conversion that must end with exit code 2 and change nothing; returns its `error:` lines."""

    def refused(*arguments: object) -> list[str]:
        capsys.readouterr()
        before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
        assert run(["convert", *map(str, arguments)]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before
        return [line.removeprefix("error: ") for line in shown.err.splitlines() if line.startswith("error: ")]

    return refused


def flags(tokenizer: Path, out: Path) -> list[object]:
    return ["--tokenizer", tokenizer, "--head-width", HEAD, "--out", out]


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    """What the command prints with ``--json``."""
    capsys.readouterr()
    assert run(["convert", *map(str, arguments), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def tensors(file: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(file, weights_only=True)["model"]
    return found


@pytest.mark.parametrize("kind", CLASSES)
def test_there_and_back_on_the_command_line(
    kind: str, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = official(kind)
    write(before, tmp_path / "best.pth")
    found = told(capsys, tmp_path / "best.pth", *flags(tokenizer, tmp_path / "albef"))
    momentum = sum("_m." in name for name in before)
    assert found == {
        "folder": str(tmp_path / "albef"),
        "layout": "ALBEF",
        "network": "AlbefForRetrieval" if kind == "retrieval" else "AlbefForClassification",
        "task": "retrieval" if kind == "retrieval" else "classification",
        "images": 2 if kind == "two images" else 1,
        "classes": CLASSES[kind],
        "image_size_before": SIDE,
        "image_size": SIDE,
        "dropped": {"momentum copies": momentum, "states of an optimizer": 1}
        | ({"queues": 4} if kind == "retrieval" else {}),
    }
    adapter = load_adapter(tmp_path / "albef")
    assert list(adapter.classes) == CLASSES[kind]
    with torch.no_grad():
        assert torch.isfinite(adapter.eval()(adapter.collate(pairs_of(kind)[:2])).score).all()
    back = told(capsys, tmp_path / "albef", "--to-official", "--out", tmp_path / "back.pth")
    assert back == {"file": str(tmp_path / "back.pth"), "tensors": len(kept(before))}
    after = tensors(tmp_path / "back.pth")
    assert [name for name, tensor in kept(before).items() if not torch.equal(after[name], tensor)] == []
    assert set(after) == set(kept(before))


@pytest.mark.slow  # in this process the command is run below
def test_the_real_command_says_what_it_did(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    out = tmp_path / "albef"
    command = [sys.executable, "-m", "multidelete.cli", "convert", checkpoint, *flags(tokenizer, out)]
    command += ["--image-size", 48]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("note: ")
    assert done.stderr.endswith("momentum copies (108), queues (4)\n")
    assert done.stderr.count("\n") == 1
    for words in (str(out), "retrieval", "1 a pair", "48 px, positions interpolated from 32", "queues: 4"):
        assert words in done.stdout
    assert load_adapter(out).model.config.vision_config.image_size == 48
    assert sorted(path.name for path in tmp_path.iterdir()) == ["albef", "flickr30k.pth"]


def test_names_of_classes_and_settings_files(tokenizer: Path, tmp_path: Path) -> None:
    write(official("entailment"), tmp_path / "ve.pth")
    file = tmp_path / "settings.toml"
    file.write_text(f'classes = ["no", "maybe", "yes"]\nhead-width = {HEAD}\ntokenizer = "{tokenizer}"\n')
    assert run(["convert", str(tmp_path / "ve.pth"), "--config", str(file), "--out", str(tmp_path / "ve")]) == 0
    assert load_adapter(tmp_path / "ve").classes == ("no", "maybe", "yes")


def test_a_source_that_is_no_checkpoint_is_refused(
    checkpoint: Path, tokenizer: Path, tmp_path: Path, errors: Errors
) -> None:
    rest = flags(tokenizer, tmp_path / "albef")
    (line,) = errors(tmp_path / "nowhere.pth", *rest)
    assert (
        line == f"{tmp_path}/nowhere.pth does not exist. Give a checkpoint file, or --to-official with a model folder."
    )
    (line,) = errors(tokenizer, *rest)
    assert "is a folder. Give a checkpoint file, or --to-official" in line
    checkpoint.write_bytes(b"not a checkpoint")
    (line,) = errors(checkpoint, *rest)
    assert "cannot be read" in line
    torch.save({"fc.weight": torch.zeros(2, 2)}, checkpoint)
    (line,) = errors(checkpoint, *rest)
    assert "is of no known layout: it holds fc.weight" in line


def test_unknown_missing_and_misshapen_tensors_are_one_line_each(
    checkpoint: Path, tokenizer: Path, tmp_path: Path, errors: Errors
) -> None:
    wrong = official("retrieval")
    del wrong["visual_encoder.blocks.1.norm2.bias"]
    wrong["text_decoder.cls.predictions.bias"] = torch.zeros(4)
    wrong["itm_head.weight"] = torch.zeros(3, 48)
    write(wrong, checkpoint)
    missing, unknown, shape = errors(checkpoint, *flags(tokenizer, tmp_path / "albef"))
    assert "1 tensor is missing: visual_encoder.blocks.1.norm2.bias" in missing
    assert "1 tensor is unknown: text_decoder.cls.predictions.bias" in unknown
    assert "itm_head.weight is [3, 48], not [2, 48]" in shape


def test_settings_that_do_not_fit_are_refused(
    checkpoint: Path, tokenizer: Path, tmp_path: Path, errors: Errors
) -> None:
    rest = flags(tokenizer, tmp_path / "albef")
    (line,) = errors(checkpoint, *rest, "--image-size", "33")
    assert "--image-size is 33; it must be a positive multiple of the patch size 8" in line
    (line,) = errors(checkpoint, *rest, "--classes", "yes,no")
    assert "2 names of classes were given" in line
    (line,) = errors(checkpoint, *rest, "--head-width", "0")
    assert "--head-width is 0; it must" in line
    many = train_tokenizer((f"word{number} other{number}" for number in range(900)), SIZE)
    many.add_tokens([f"extra{number}" for number in range(400)])
    many.save_pretrained(tmp_path / "many")
    (line,) = errors(checkpoint, *flags(tmp_path / "many", tmp_path / "albef"))
    assert "tokens that the network has no embedding for" in line
    assert "Its vocabulary has 400 entries" in line
    (line,) = errors(checkpoint, *flags(tmp_path / "nowhere", tmp_path / "albef"))
    assert "has no readable tokenizer" in line


def test_an_existing_target_is_kept_unless_overwritten(
    checkpoint: Path, tokenizer: Path, tmp_path: Path, errors: Errors
) -> None:
    folder, file = tmp_path / "albef", tmp_path / "back.pth"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    file.write_text("mine")
    (line,) = errors(checkpoint, *flags(tokenizer, folder))
    assert line.startswith(f"{folder} already exists.")
    (line,) = errors(checkpoint, *flags(tokenizer, folder), "--overwrite")
    assert line.startswith(f"{folder} was not written by multidelete")
    (folder / "notes.txt").unlink()
    for _ in range(2):
        assert run(["convert", *map(str, [checkpoint, *flags(tokenizer, folder), "--overwrite"])]) == 0
    (line,) = errors(folder, "--to-official", "--out", file)
    assert line.startswith(f"{file} already exists.")
    (line,) = errors(folder, "--to-official", "--out", file, "--overwrite")
    assert line.startswith(f"{file} was not written by this command")
    assert file.read_text() == "mine"
    file.unlink()
    for _ in range(2):
        assert run(["convert", str(folder), "--to-official", "--out", str(file), "--overwrite"]) == 0
    assert set(tensors(file)) == set(kept(official("retrieval")))
    (line,) = errors(checkpoint, *flags(tokenizer, checkpoint), "--overwrite")
    assert "inputs are never changed" in line


def test_what_cannot_go_back_is_refused(tmp_path: Path, errors: Errors) -> None:
    out = ["--to-official", "--out", tmp_path / "back.pth"]
    (line,) = errors(tmp_path / "nowhere", *out)
    assert "nowhere does not exist" in line
    (tmp_path / "vilt").mkdir()
    (tmp_path / "vilt" / "config.json").write_text(
        '{"model_type": "vilt", "architectures": ["ViltForQuestionAnswering"]}'
    )
    (line,) = errors(tmp_path / "vilt", *out)
    assert "holds ViltForQuestionAnswering, and no known layout has such a network" in line
    (line,) = errors(tmp_path / "vilt", *out, "--image-size", "48", "--classes", "a,b")
    assert line == "--to-official writes the model as it is. Leave out --image-size, --classes."
