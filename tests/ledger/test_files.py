"""A lineage that begins with a checkpoint file of open_clip's."""

import json
from pathlib import Path

import pytest
import torch

from multidelete.cli.commands import run
from multidelete.data.readers import load_data
from multidelete.models.fresh import train_tokenizer
from tests.models.converters.open_clip_model import CONTEXT, random_tensors
from tests.tiny import SIZE, captions

DATA = "personas:people=8,unseen=3,views=1,size=32"
QUICK = ("--passes", "1", "--retain-sample", "0", "--device", "cpu")


def test_lineage_begins_with_a_file_and_knows_that_it_still_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = train_tokenizer(captions(load_data(DATA)), SIZE)
    words.model_max_length = CONTEXT
    words.save_pretrained(tmp_path / "tokenizer")
    model, lineage, tokenizer = (
        tmp_path / "model.pt",
        str(tmp_path / "lineage"),
        ("--tokenizer", str(tmp_path / "tokenizer")),
    )
    torch.save(random_tensors(), model)
    assert (
        run(["train", "--data", DATA, "--start", str(model), *tokenizer, *QUICK, "--out", str(tmp_path / "own.pt")])
        == 0
    )
    assert run(["ledger", "init", lineage, "--model", str(model), "--data", DATA]) == 0
    asked = ("--forget-subject", "person-0002", "--reference", "T1", "--due", "2027-01-01", "--basis", "GDPR")
    assert run(["ledger", "receive", lineage, *asked]) == 0
    assert run(["ledger", "run", lineage, *tokenizer, *QUICK]) == 0
    capsys.readouterr()
    assert run(["ledger", "release", lineage, "T1", "--by", "me", *tokenizer, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    models = {Path(one["path"]).name for one in told["still_knowing"] if one["what"] == "model"}
    assert models == {"model.pt", "own.pt"}
    made = tmp_path / "lineage" / "models" / "0001"
    assert run(["convert", str(made), "--to-official", "--out", str(tmp_path / "released.pt")]) == 0
    assert torch.load(tmp_path / "released.pt", weights_only=True).keys() == random_tensors().keys()
