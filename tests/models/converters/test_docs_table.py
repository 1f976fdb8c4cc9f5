"""Each line of the table in docs/models.md, in its order, on tiny models of the names that stand there."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from multidelete.cli.commands import run
from multidelete.data.generated.personas import write_personas
from multidelete.data.readers import load_data
from multidelete.models.fresh import train_tokenizer
from tests.models.converters import test_albef, test_blip
from tests.models.converters.open_clip_model import CONTEXT, random_tensors
from tests.tiny import SIZE, captions, own_clip, people

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
QUICK = "--passes 1 --retain-sample 0 --checkpoint-steps 0 --device cpu"
ARCHITECTURE = {"quick_gelu": True, "vision_cfg": {"width": 64}, "text_cfg": {"heads": 2}}


def lines() -> list[str]:
    table = PAGE.read_text().partition("## What you have, what you type")[2].partition("\n## ")[0]
    return re.findall(r"\| `(multidelete [^`]+)` \|", table)


def prepare(folder: Path) -> None:
    """A tiny model of every kind, by the names that stand in the table."""
    write_personas(folder / "photos", people=8, unseen=3, views=1, size=32)
    data = load_data(str(folder / "photos"))
    (folder / "request.txt").write_text("\n".join(pair.id for pair in data.train.pairs[:2]))
    words = train_tokenizer(captions(data), SIZE)
    words.save_pretrained(folder / "bert-base-uncased")
    words.model_max_length = CONTEXT
    for name in ("clip-tokenizer", "siglip-tokenizer", "openclip-folder"):
        words.save_pretrained(folder / name)
    own_clip(people(6)).save(folder / "clip")
    torch.save({"epoch": 32, "state_dict": random_tensors()}, folder / "epoch_32.pt")
    (folder / "model.json").write_text(json.dumps(ARCHITECTURE))
    save_file(random_tensors(siglip=True), folder / "siglip.safetensors")
    save_file(random_tensors(), folder / "openclip-folder" / "open_clip_model.safetensors")
    (folder / "openclip-folder" / "open_clip_config.json").write_text(json.dumps({"model_cfg": ARCHITECTURE}))
    shutil.copytree(folder / "clip", folder / "clip-st" / "0_CLIPModel")
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (folder / "clip-st" / "modules.json").write_text(json.dumps([module]))
    torch.save({"model": test_blip.official()}, folder / "blip.pth")
    torch.save({"model": test_albef.official("retrieval")}, folder / "albef.pth")


def test_every_line_of_the_table_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    typed = lines()
    assert len(typed) == 14
    for line in typed:
        words = shlex.split(line)[1:]
        out = Path(words[words.index("--out") + 1])
        if words[0] == "unlearn":
            words += QUICK.split()
        if words[1].endswith(".pth") and words[0] == "unlearn":
            words += ["--head-width", str(test_blip.HEAD)]
        assert run([*words, *(["--overwrite"] if out.exists() else [])]) == 0, line
        assert out.exists(), line
        assert (out.suffix in (".pt", ".pth", ".safetensors")) == out.is_file(), line
