"""A dry run says what a run would do, and does none of it."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import multidelete
from multidelete.cli import run
from multidelete.core.errors import CheckpointError, DataError, RequestError, UnsupportedError
from multidelete.core.settings import LoraSettings
from multidelete.data.pairs import PairData, PairDataset
from multidelete.deletion.arguments import DeletionArguments
from multidelete.methods import METHODS
from multidelete.rehearsal import Rehearsal, rehearse
from tests.tiny import differing, own_clip, people, subjects_ids, weights

DATA = people(8, unseen=8)
SPEC = "personas:people=6,unseen=4,size=16"


def rehearsed(model: object, data: PairData, forget: Sequence[str], **options: object) -> Rehearsal:
    out = options.pop("out", None)
    return rehearse(DeletionArguments(original=model, data=data, forget=forget, **options), out)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "original"
    told = ["--passes", "0.2", "--batch-size", "8", "--image-size", "16"]
    assert run(["train", "--data", SPEC, *told, "--out", str(folder)]) == 0
    return folder


ALIKE = ("npo", "neggrad", "delete", "random_labels", "descent_to_delete")  # go the way of grad_diff or finetune


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in sorted(set(METHODS) - {"retrain"})],
)
def test_planned_cost_is_what_a_run_costs(name: str) -> None:
    adapter, forget = own_clip(DATA), subjects_ids(DATA.train, 2)
    settings = {"batch_size": 3, "retain_per_forget": 2, "retain_sample": 0}
    settings |= {"passes": 3.0} if METHODS[name].trains else {}
    told = rehearsed(adapter, DATA, forget, method=name, settings=settings)
    made = multidelete.unlearn(adapter, DATA, forget, method=name, settings=settings).manifest["cost"]
    assert isinstance(made, dict)
    assert told.pairs_backward == made["pairs_backward"]
    if name in ("slug", "kfade"):  # when they find a length is known at the end alone
        assert told.pairs_forward >= made["pairs_forward"]
    elif name != "scrub":  # nor what it rewinds to
        assert told.pairs_forward == made["pairs_forward"]
    assert (told.wall_s or 0) > 0


def test_nothing_is_written_and_the_model_stays_as_it_was(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(original)
    asked = ["unlearn", str(original), "--data", SPEC, "--forget-subject", "person-0001", "--out", "out", "--dry-run"]
    assert run(asked) == 0
    said = capsys.readouterr().out
    assert "4 of 24 training pairs" in said
    assert "of kind descriptive: 2 of 12" in said
    assert "nothing; a run would write out" in said
    assert "person-0001" not in said
    assert list(tmp_path.iterdir()) == []
    assert contents(original) == before


def test_json_has_the_settings_and_names_nobody_unless_asked(
    original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["unlearn", str(original), "--data", SPEC, "--forget-subject", "person-0001", "--out", "o", "--dry-run"]
    assert run([*asked, "--json", "--method", "npo", "--set", "beta=0.5", "--passes", "2"]) == 0
    plain = capsys.readouterr().out
    told = json.loads(plain)
    assert told["dry_run"] is True
    assert told["request"] == {"pairs": 4, "of": 24, "unit": "subject", "units": 1}
    assert told["method"]["beta"] == 0.5
    assert told["loop"]["passes"] == 2
    assert told["wall_s"] > 0
    assert "steps" in told["estimated"]
    assert "person-0001" not in plain
    assert run([*asked, "--json", "--name-forgotten"]) == 0
    assert len(json.loads(capsys.readouterr().out)["forget"]) == 4


def test_members_that_kept_pairs_have_too_are_counted_as_staying() -> None:
    first, second = [pair.id for pair in DATA.train if pair.subject == "person-0001"][:2]
    told = rehearsed(own_clip(DATA), DATA, [first], settings={"passes": 1.0})
    assert told.members["subject"] == (1, 1)
    assert second not in told.forget


def test_kept_pairs_that_are_the_same_are_counted() -> None:
    first = DATA.train.pairs[0]
    train = PairDataset([*DATA.train, replace(first, id="again")], "doubled")
    doubled = replace(DATA, splits={**DATA.splits, "train": train})
    told = rehearsed(own_clip(DATA), doubled, [first.id], settings={"passes": 1.0})
    assert told.kept_repeats == ("again",)


def test_network_in_memory_stays_as_it_was() -> None:
    adapter = own_clip(DATA)
    before = weights(adapter)
    rehearsed(adapter, DATA, subjects_ids(DATA.train, 1), method="grad_diff")
    assert differing(before, weights(adapter)) == []


@pytest.mark.parametrize(("pace", "most"), [("auto", "at most "), ("given", "")])
def test_cost_of_a_run_that_finds_its_end_is_a_ceiling(
    pace: str, most: str, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--data", SPEC, "--forget-subject", "person-0001", "--pace", pace, "--device", "cpu", "--dry-run"]
    assert run(["unlearn", str(original), *told, "--out", str(tmp_path / "out")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(rf"cost {most}[\d,]+ steps, [\d,]+ pairs trained on, [\d,]+ only forwarded", shown)
    assert "all pairs of 1 subject" in shown
    assert ("weaker ground the validation pairs are of fewer than 10 subjects" in shown) == (pace == "auto")


def test_lora_is_named_with_its_part(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["unlearn", str(original), "--data", SPEC, "--forget-subject", "person-0001", "--out", "o", "--dry-run"]
    assert run([*asked, "--lora", "r=2", "--trainable", "text"]) == 0
    assert "LoRA beside text: " in capsys.readouterr().out
    assert run([*asked, "--lora", "r=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trainable"]["lora"] == {"r": 2, "alpha": 16.0}


def test_what_a_run_would_refuse_is_refused(original: Path, tmp_path: Path) -> None:
    adapter = own_clip(DATA)
    with pytest.raises(RequestError, match="not among the training pairs"):
        rehearsed(adapter, DATA, ["nobody"])
    with pytest.raises(CheckpointError, match="already exists"):
        rehearsed(adapter, DATA, subjects_ids(DATA.train, 1), out=tmp_path)
    with pytest.raises(UnsupportedError, match="cannot train LoRA"):
        rehearsed(adapter, DATA, subjects_ids(DATA.train, 1), method="ssd", lora=LoraSettings())
    assert run(["unlearn", str(original), "--data", SPEC, "--out", "o", "--name-forgotten"]) == 2


def test_broken_validation_pictures_are_told_together(tmp_path: Path) -> None:
    """By a dry run as by a run, which compares the deleted pairs with them."""
    data = people(8, unseen=24)
    val = list(data.splits["val"])
    for number in (3, 11, 30):
        (file := tmp_path / f"{number}.png").write_bytes(f"no picture {number}".encode())
        pair = val[number]
        val[number] = replace(pair, inputs={**pair.inputs, "image": file}, sources={**pair.sources, "image": str(file)})
    broken = replace(data, splits={**data.splits, "val": PairDataset(val, "val")})
    with pytest.raises(DataError, match=r"3 of \d+ images of val cannot be read"):
        rehearsed(own_clip(data), broken, data.train.ids[:4])
