"""A lineage that begins with a checkpoint file of open_clip's."""

import json
from pathlib import Path

import pytest
import torch

import multidelete
from multidelete.artifacts.keys import read_keys, write_keys
from multidelete.cli.commands import run
from multidelete.core.settings import LoraSettings
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import Opened, Released, Started
from multidelete.ledger.models import remember_place, run_keys
from multidelete.ledger.places import Places, begin
from multidelete.ledger.requests import receive
from multidelete.ledger.running import run as run_requests
from multidelete.ledger.work import How
from multidelete.models.fresh import train_tokenizer
from tests.models.converters.open_clip_model import CONTEXT, random_tensors
from tests.tiny import SIZE, captions

DATA = "personas:people=8,unseen=3,views=1,size=32"
QUICK = ("--passes", "1", "--retain-sample", "0", "--device", "cpu")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A tokenizer."""
    trained = train_tokenizer(captions(load_data(DATA)), SIZE)
    trained.model_max_length = CONTEXT
    trained.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_lineage_begins_with_a_file_and_knows_that_it_still_knows(
    tmp_path: Path, words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, lineage, tokenizer = tmp_path / "model.pt", str(tmp_path / "lineage"), ("--tokenizer", str(words))
    torch.save(random_tensors(), model)
    assert (
        run(["train", "--data", DATA, "--start", str(model), *tokenizer, *QUICK, "--out", str(tmp_path / "own.pt")])
        == 0
    )
    assert run(["ledger", "init", lineage, "--model", str(model), "--data", DATA]) == 0
    asked = ("--forget-subject", "person-0002", "--reference", "T1", "--due", "2099-01-01", "--basis", "GDPR")
    assert run(["ledger", "receive", lineage, *asked]) == 0
    assert run(["ledger", "run", lineage, *QUICK]) == 2
    assert "--tokenizer is not given" in capsys.readouterr().err
    assert [one.kind for one in Ledger.open(lineage).events()] == ["opened", "received"]
    assert run(["ledger", "run", lineage, *tokenizer, *QUICK]) == 0
    capsys.readouterr()
    assert run(["ledger", "release", lineage, "T1", "--by", "me", *tokenizer, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    models = {Path(one["path"]).name for one in told["still_knowing"] if one["what"] == "model"}
    assert models == {"model.pt", "own.pt"}
    made = tmp_path / "lineage" / "models" / "0001"
    assert run(["convert", str(made), "--to-official", "--out", str(tmp_path / "released.pt")]) == 0
    assert torch.load(tmp_path / "released.pt", weights_only=True).keys() == random_tensors().keys()
    known = {one.original.digest if isinstance(one, Opened) else one.model for one in events_of(lineage)}
    assert known & {one["digest"] for one in told["still_knowing"] if one["path"] == str(model)}


def events_of(lineage: str) -> list[Opened | Released]:
    return [one.event for one in Ledger.open(lineage).events() if isinstance(one.event, Opened | Released)]


def test_file_that_a_killed_run_wrote_is_taken(tmp_path: Path, words: Path) -> None:
    """The file is in its place, and the ledger does not know it yet."""
    data, model, out = load_data(DATA), tmp_path / "model.pt", tmp_path / "one.pt"
    torch.save(random_tensors(), model)
    request = resolve_request(data, subjects=["person-0002"], unit="subject")
    how = How(settings={"passes": 1, "retain_sample": 0, "device": "cpu"}, lora=LoraSettings(r=2))
    ledgers = [begin(tmp_path / name, data, Places(model=str(model), data=DATA)) for name in ("first", "again")]
    for ledger in ledgers:
        receive(ledger, request, data, reference="T1", due="2099-01-01", basis="GDPR")
    with multidelete.reading(tokenizer=words):
        made = run_requests(ledgers[0], data, how, out=out).model
        before = made.digest.digest
        write_keys(run_keys(ledgers[1]), read_keys(run_keys(ledgers[0])))
        remember_place(ledgers[1], "0001", out)
        ledgers[1].append(Started(references=("T1",), folder="0001", before=ledgers[1].opened.original.digest))
        assert run_requests(ledgers[1], data, how, out=out).model.digest.digest == before
    assert torch.load(out, weights_only=True).keys() == random_tensors().keys()
