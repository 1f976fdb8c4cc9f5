"""Commands take checkpoint files as they come, and write them back so."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import multidelete
from multidelete.cli.commands import run
from multidelete.core.errors import CheckpointError
from multidelete.data.readers import load_data
from multidelete.models.converters.known import reading_as
from multidelete.models.fresh import train_tokenizer
from multidelete.models.lora import merge_lora
from tests.models.converters.open_clip_model import CONTEXT, random_tensors
from tests.tiny import SIZE, captions, differing, scores, weights

SPEC = "personas:people=8,unseen=3,views=1,size=32"
QUICK = ("--passes", "1", "--retain-sample", "0", "--checkpoint-steps", "0", "--device", "cpu")
TRAINED = ("transformer.resblocks.1.mlp.c_fc.weight",)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its tokenizer, and a request."""
    folder = tmp_path_factory.mktemp("direct")
    data = load_data(SPEC)
    words = train_tokenizer(captions(data), SIZE)
    words.model_max_length = CONTEXT
    words.save_pretrained(folder / "tokenizer")
    tensors = {f"module.{name}": t.half() if t.ndim > 1 else t for name, t in random_tensors().items()}
    torch.save({"epoch": 7, "state_dict": tensors, "optimizer": {"step": torch.ones(1)}}, folder / "model.pt")
    (folder / "request.txt").write_text("\n".join(pair.id for pair in data.train.pairs[:2]))
    return folder


def command(name: str, *words: object, place: Path) -> int:
    given = [str(word) for word in words]
    return run([name, *given, "--data", SPEC, "--forget", str(place / "request.txt")])


def weights_of(file: Path) -> dict[str, Tensor]:
    content = torch.load(file, weights_only=True)
    inside: dict[str, Tensor] = content["state_dict"]
    return inside


@pytest.fixture(scope="module")
def unlearned(place: Path) -> Path:
    """What ``unlearn`` makes of the file."""
    file = place / "unlearned.pt"
    named = ("--tokenizer", place / "tokenizer", "--out", file)
    assert command("unlearn", place / "model.pt", *named, *QUICK, place=place) == 0
    return file


def test_unlearned_file_has_the_layout_of_the_original(place: Path, unlearned: Path) -> None:
    content = torch.load(unlearned, weights_only=True)
    assert content["epoch"] == 7
    assert "optimizer" not in content
    before, after = weights_of(place / "model.pt"), weights_of(unlearned)
    assert {n: (t.dtype, t.shape) for n, t in before.items()} == {n: (t.dtype, t.shape) for n, t in after.items()}
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert f"module.{TRAINED[0]}" in changed
    assert [name for name in changed if "visual" in name] == []  # multidelete trains the text encoder


def test_record_card_and_key_lie_beside_the_file(place: Path, unlearned: Path) -> None:
    beside = place / "unlearned.pt.multidelete"
    record = json.loads((beside / "multidelete.json").read_text())
    assert record["command"] == "unlearn"
    assert (beside / "README.md").is_file()
    assert not (beside / "unlearned.pt").exists()
    assert (place / "unlearned.pt.key").is_file()
    left = {path.name for path in place.iterdir()}
    assert left == {"model.pt", "tokenizer", "request.txt", "unlearned.pt", beside.name, "unlearned.pt.key"} | (
        left & {"report"}
    )


def test_audit_takes_both_files(place: Path, unlearned: Path) -> None:
    assert command("audit", unlearned, "--original", place / "model.pt", "--out", place / "report", place=place) == 0
    audited = json.loads((place / "report" / "audit.json").read_text())
    assert audited["run"]["original"]["folder"] == "model.pt"
    assert audited["run"]["digests"]["unlearned"].startswith("sha256 of the file ")


def test_second_request_knows_the_first(place: Path, unlearned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("unlearn", unlearned, "--out", place / "again.pt", *QUICK, place=place) == 2
    assert "were deleted from this model by earlier requests" in capsys.readouterr().err


def test_python_takes_files_too(place: Path, tmp_path: Path) -> None:
    data, out = load_data(SPEC), tmp_path / "unlearned.pt"
    settings: Mapping[str, object] = {"passes": 1, "retain_sample": 0, "checkpoint_steps": 0, "device": "cpu"}
    with multidelete.reading(tokenizer=place / "tokenizer"):
        done = multidelete.unlearn(place / "model.pt", data, place / "request.txt", out=out, settings=settings)  # type: ignore[arg-type]
    assert done.folder == out
    assert weights_of(out).keys() == weights_of(place / "model.pt").keys()
    assert multidelete.load_adapter(out).family == "clip"


def refused(place: Path, out: Path, *words: str, tokenizer: bool = True) -> Sequence[str]:
    """What `unlearn` says in its refusal; nothing is written."""
    named = ("--tokenizer", str(place / "tokenizer")) if tokenizer else ()
    before = sorted(out.parent.iterdir())
    assert command("unlearn", place / "model.pt", "--out", out, *named, *words, *QUICK, place=place) == 2
    assert sorted(out.parent.iterdir()) == before
    return words


def test_existing_files_are_replaced_only_where_they_are_ours(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weights": torch.ones(2)}, tmp_path / "mine.pt")
    refused(place, tmp_path / "mine.pt")
    assert "already exists" in capsys.readouterr().err
    refused(place, tmp_path / "mine.pt", "--overwrite")
    assert "was not written by this command" in capsys.readouterr().err
    ours = tmp_path / "ours.pt"
    for words in ((), ("--overwrite",)):
        named = ("--tokenizer", place / "tokenizer", "--out", ours)
        assert command("unlearn", place / "model.pt", *named, *words, *QUICK, place=place) == 0
    refused(place, ours)


def test_outputs_over_inputs_and_other_kinds_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(place, place / "model.pt", "--overwrite")
    assert "inputs are never changed" in capsys.readouterr().err
    refused(place, tmp_path / "model.pt.multidelete")
    assert "is called as what lies beside a model that is a file" in capsys.readouterr().err
    refused(place, tmp_path / "out.safetensors")
    assert "a file of another kind" in capsys.readouterr().err
    refused(place, tmp_path / "none.pt", tokenizer=False)
    assert "--tokenizer is not given" in capsys.readouterr().err


def test_lora_becomes_part_of_the_file(place: Path, tmp_path: Path) -> None:
    """The file is the model after merging, to the bit; without LoRA beside them, tensors are those of the original."""
    tensors, data, out = random_tensors(), load_data(SPEC), tmp_path / "unlearned.pt"
    torch.save({"epoch": 7, "state_dict": tensors}, tmp_path / "model.pt")
    settings: Mapping[str, object] = {"passes": 1, "retain_sample": 0, "device": "cpu", "lr": 1e-3}
    forget, lora = place / "request.txt", multidelete.LoraSettings(r=2, alpha=8.0)
    with multidelete.reading(tokenizer=place / "tokenizer"):
        made = [
            multidelete.unlearn(tmp_path / "model.pt", data, forget, lora=lora, out=file, settings=settings)  # type: ignore[arg-type]
            for file in (out, None)
        ]
    written, in_memory = multidelete.load_adapter(out), made[1].adapter
    torch.testing.assert_close(scores(written, data.train.pairs), scores(in_memory, data.train.pairs))
    merge_lora(in_memory)
    for merged in (in_memory, made[0].adapter):
        assert differing(weights(merged), weights(written)) == []
        assert torch.equal(scores(merged, data.train.pairs), scores(written, data.train.pairs))
    after, linear = weights_of(out), ("in_proj_weight", "proj.weight", "c_fc.weight")
    changed = {name for name in tensors if not torch.equal(tensors[name], after[name])}
    assert changed == {"text_projection", "token_embedding.weight"} | {
        name for name in tensors if name.startswith("transformer.") and name.endswith(linear)
    }


def test_lora_of_a_file_says_that_it_is_merged(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out, weights_at in ((tmp_path / "lora.pt", "lora.pt"), (tmp_path / "folder", "folder/model.safetensors")):
        named = ("--tokenizer", place / "tokenizer", "--lora", "r=2", "--out", out)
        assert command("unlearn", place / "model.pt", *named, *QUICK, place=place) == 0
        assert "rank 2, merged into the weights" in capsys.readouterr().out
        assert (tmp_path / weights_at).is_file()
        assert list(tmp_path.rglob("adapter_*")) == []
        beside = out if out.is_dir() else tmp_path / "lora.pt.multidelete"
        assert json.loads((beside / "multidelete.json").read_text())["lora"]["merged"] is True
    before, after = weights_of(place / "model.pt"), weights_of(tmp_path / "lora.pt")
    assert {n: t.dtype for n, t in before.items()} == {n: t.dtype for n, t in after.items()}


def test_a_name_without_an_ending_gives_a_folder(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "folder"
    named = ("--tokenizer", place / "tokenizer", "--out", out)
    assert command("unlearn", place / "model.pt", *named, *QUICK, place=place) == 0
    assert (out / "model.safetensors").is_file()
    assert run(["convert", str(out), "--to-official", "--out", str(tmp_path / "back.pt")]) == 0
    assert weights_of(tmp_path / "back.pt").keys() == weights_of(place / "model.pt").keys()
    assert (tmp_path / "back.pt.key").is_file()


def test_run_that_was_cut_off_while_moving_is_told(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut.pt"
    named = ("--tokenizer", place / "tokenizer", "--out", out)
    assert command("unlearn", place / "model.pt", *named, *QUICK, place=place) == 0
    out.rename(tmp_path / "cut.pt.multidelete" / "cut.pt")  # as a kill between the two moves leaves it
    torch.save(torch.load(place / "model.pt", weights_only=True), out)
    with pytest.raises(CheckpointError, match="was cut off before it put the new file in place"):
        multidelete.load_adapter(out)


def test_folder_of_open_clips_stays_one(place: Path, tmp_path: Path) -> None:
    original, out = tmp_path / "hub", tmp_path / "unlearned"
    shutil.copytree(place / "tokenizer", original)
    save_file(random_tensors(), original / "open_clip_model.safetensors")
    config = {"model_cfg": {"quick_gelu": True, "vision_cfg": {"width": 64}, "text_cfg": {"heads": 2}}}
    config["preprocess_cfg"] = {"mean": [0.5, 0.5, 0.5]}
    (original / "open_clip_config.json").write_text(json.dumps(config))
    assert command("unlearn", original, "--out", out, *QUICK, place=place) == 0
    assert load_file(out / "open_clip_model.safetensors").keys() == random_tensors().keys()
    assert json.loads((out / "open_clip_config.json").read_text()) == config
    adapter = multidelete.load_adapter(out)
    assert adapter.model.config.text_config.hidden_act == "quick_gelu"  # type: ignore[union-attr]
    assert adapter.processor.image_processor.image_mean == (0.5, 0.5, 0.5)  # type: ignore[union-attr]
    assert json.loads((out / "multidelete.json").read_text())["command"] == "unlearn"


def test_audit_reads_the_original_as_the_unlearned_file_says(place: Path, tmp_path: Path) -> None:
    """The activation was named when it was unlearned, and is not named again."""
    torch.save(random_tensors(), tmp_path / "model.pt")
    config = {"quick_gelu": True, "vision_cfg": {"width": 64}, "text_cfg": {"heads": 2}}
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    named = ("--tokenizer", place / "tokenizer", "--architecture", tmp_path / "tiny.json")
    out = tmp_path / "unlearned.pt"
    assert command("unlearn", tmp_path / "model.pt", *named, "--out", out, *QUICK, place=place) == 0
    with reading_as([out, tmp_path / "model.pt"]):
        models = [multidelete.load_adapter(file).model for file in (out, tmp_path / "model.pt")]
    assert [model.config.text_config.hidden_act for model in models] == ["quick_gelu", "quick_gelu"]  # type: ignore[union-attr]
