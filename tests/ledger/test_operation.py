"""Plan, run, audit and release: requests of a lineage one after the other, on a tiny model that is really trained."""

import base64
import csv
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import multidelete.ledger as ledger_package
from multidelete.artifacts.deletions import id_reference
from multidelete.artifacts.keys import key_id, new_key, read_keys, write_keys
from multidelete.artifacts.manifest import digest_file, read_record, write_record
from multidelete.artifacts.record import Holdout
from multidelete.cli import run as command
from multidelete.core.errors import CheckpointError, LedgerError, MultideleteError, RequestError, UnsupportedError
from multidelete.data.near.found import NearDuplicate, Reason
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.ledger import verifier
from multidelete.ledger.answers import Offered, take_newest
from multidelete.ledger.chain import Ledger
from multidelete.ledger.drift import advice
from multidelete.ledger.events import Audited, Budget, Planned, Started
from multidelete.ledger.holders import Look, look_again
from multidelete.ledger.holdings import listed
from multidelete.ledger.judging import Beside, judge
from multidelete.ledger.models import has_forgotten, newest
from multidelete.ledger.places import places_of, write_places
from multidelete.ledger.plan import make_plan, write_plan
from multidelete.ledger.releasing import refuse, release
from multidelete.ledger.requests import forget_key, pairs_of
from multidelete.ledger.running import run
from multidelete.ledger.stale import refuse_place_of_ids
from multidelete.ledger.work import How, taken_up
from multidelete.methods import METHODS
from multidelete.models import load_adapter
from multidelete.unlearning import carried_out, unlearn
from tests.ledger.operated import (
    DATA,
    FIRST,
    LORA,
    OFFICER,
    QUICK,
    SECOND,
    Killed,
    Watched,
    ask,
    kinds,
    lineage,
    names_in,
    pairs_of_person,
    watched,
)
from tests.tiny import differing, people, weights


@pytest.fixture
def first(trained: Path, tmp_path: Path) -> tuple[Ledger, Watched]:
    seen = watched()
    ledger = lineage(tmp_path / "lineage", trained, seen.data)
    ask(ledger, seen.data, "T-1", FIRST)
    return ledger, seen


def test_plan_without_show_names_nothing_and_changes_nothing(first: tuple[Ledger, Watched], tmp_path: Path) -> None:
    ledger, seen = first
    plan = make_plan(ledger, seen.data, QUICK)
    write_plan(plan, tmp_path / "plan")
    going = pairs_of_person(seen.data, FIRST)
    offered = [one.found.pair for one in plan.offers]
    assert names_in(tmp_path / "plan", [*going, *offered, *seen.data.train.pairs[:3]]) == []
    assert {path.name for path in (tmp_path / "plan").iterdir()} >= {"plan.html", "plan.json", "near-duplicates.csv"}
    told = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert told["pairs"] == {"go": 4, "of": 48}
    assert told["requests"][0]["rule"] == "all pairs of the subjects that were named"
    assert told["cost"]["peak_bytes"] > 0
    assert [one["what"] for one in told["stale_afterwards"]] == ["image embeddings", "text embeddings"]
    assert kinds(ledger) == ["opened", "received", "planned"]
    write_plan(plan, tmp_path / "shown", show=True)
    page = (tmp_path / "shown" / "plan.html").read_text()
    assert all(pair.id in page for pair in going)
    assert page.count("data:image/png") >= len(going)


def with_copies(data: PairData, subject: str) -> PairData:
    """The data with the pairs of a person once more, under other ids and another subject."""
    copies = [
        Pair(id=f"copy-{at}", inputs=pair.inputs, sources={**pair.sources, "image": f"copy-of-{at // 2}"},
             subject="somebody else", kind=pair.kind)
        for at, pair in enumerate(pairs_of_person(data, subject))
    ]  # fmt: skip
    train = PairDataset([*data.train.pairs, *copies], data.train.name)
    return PairData(name=data.name, splits={**data.splits, "train": train})


@pytest.mark.slow
def test_near_duplicates_go_when_somebody_says_yes(trained: Path, tmp_path: Path) -> None:
    data = with_copies(people(12, unseen=6), FIRST)
    ledger = lineage(tmp_path / "lineage", trained, data)
    ids = ask(ledger, data, "T-1", FIRST)
    plan = make_plan(ledger, data, QUICK, hashes_only=True)
    copies = {f"copy-{at}" for at in range(4)}
    offered = {one.found.pair.id: one for one in plan.offers}
    assert copies <= set(offered)
    assert all(offered[name].found.distance == 0 for name in copies)
    write_plan(plan, tmp_path / "plan")
    table = tmp_path / "plan" / "near-duplicates.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    numbers = {one.number for name, one in offered.items() if name in copies}
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "take": "yes" if int(row["number"]) in numbers else "no"} for row in rows)
    write_plan(plan, tmp_path / "plan", overwrite=True)
    assert table.read_text().count(",yes") == len(copies)
    done = run(ledger, data, QUICK, plan=tmp_path / "plan")
    assert set(pairs_of(ledger, "T-1", data).ids) == ids | copies
    assert ledger.requests()["T-1"].unlearned is not None
    assert done.judged.newest.figures
    assert "near-duplicates" in kinds(ledger)
    assert names_in(ledger.folder, [pair for pair in data.train if pair.id in copies]) == []


def test_plan_is_read_where_the_lineage_lies_and_missed_where_it_is_not(
    first: tuple[Ledger, Watched], caplog: pytest.LogCaptureFixture
) -> None:
    ledger, seen = first
    plan = replace(make_plan(ledger, seen.data, QUICK), offers=())
    write_plan(plan, ledger.folder / "plan")
    assert places_of(ledger.folder).plan == "plan"
    moved = Ledger.open(ledger.folder.rename(ledger.folder.with_name("moved")))
    moved.append(Planned(references=("T-1",), plan=digest_file(moved.folder / "plan" / "plan.json"), offered=2))
    answers = moved.folder / "plan" / "near-duplicates.csv"
    answers.write_text("number,request,reference,take\n1,T-1,00,yes\n")
    with pytest.raises(LedgerError, match="says yes to pairs of T-1 that are not in"):
        take_newest(moved, seen.data, ["T-1"])
    assert caplog.text == ""
    shutil.rmtree(answers.parent)
    assert take_newest(moved, seen.data, ["T-1"]) == 0
    assert "T-1: the plan that offered near-duplicates is not the newest one" in caplog.text


def test_answers_for_requests_that_are_not_planned_again_stay(
    first: tuple[Ledger, Watched], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, seen = first
    ask(ledger, seen.data, "T-2", SECOND)
    ask(ledger, seen.data, "T-3", "person-0005")
    key = next(iter(read_keys(ledger.folder / "keys" / "T-1.key").values()))
    meant = next(pair for pair in seen.data.train if pair.subject == "person-0006")
    table = tmp_path / "plan" / "near-duplicates.csv"
    both = make_plan(ledger, seen.data, QUICK, only=["T-1", "T-3"], hashes_only=True)
    offers = [
        Offered(1, "T-1", id_reference(key, meant), NearDuplicate(meant, meant, (Reason("text", 0.1),))),
        Offered(2, "T-1", "01", NearDuplicate(meant, meant, (Reason("text", 0.1),))),
        Offered(3, "T-3", "02", NearDuplicate(meant, meant, (Reason("text", 0.1),))),
    ]
    write_plan(replace(both, offers=offers), tmp_path / "plan")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], f"{lines[1]}yes", lines[2], f"{lines[3]}no"]))
    refuse(ledger, "T-3", "withdrawn", seen.data)
    alone = make_plan(ledger, seen.data, QUICK, only=["T-2"], hashes_only=True)
    for _ in range(2):
        write_plan(replace(alone, offers=offers[:0]), tmp_path / "plan", overwrite=True)
        assert table.read_text().splitlines() == [lines[0], f"{lines[1]}yes"]
    assert take_newest(ledger, seen.data, ["T-1", "T-2"]) == 1
    assert caplog.text == ""
    assert meant.id in pairs_of(ledger, "T-1", seen.data).ids
    again = make_plan(ledger, seen.data, QUICK, only=["T-1"], hashes_only=True)
    write_plan(replace(again, offers=offers[1::-1]), tmp_path / "plan", overwrite=True)
    assert [row["take"] for row in csv.DictReader(table.read_text().splitlines())] == ["", "yes"]
    write_plan(replace(alone, offers=offers[:1]), tmp_path / "elsewhere")
    take_newest(ledger, seen.data, ["T-1"])
    assert "T-1: the plan that offered near-duplicates is not the newest one" in caplog.text


@pytest.mark.parametrize("answer", ["perhaps", "ja"])
def test_answer_that_is_none_is_refused(first: tuple[Ledger, Watched], tmp_path: Path, answer: str) -> None:
    ledger, seen = first
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "near-duplicates.csv").write_text(f"number,request,reference,take\n1,T-1,00,{answer}\n")
    with pytest.raises(LedgerError, match="must be yes, no or empty"):
        run(ledger, seen.data, QUICK, plan=tmp_path / "plan")
    (tmp_path / "plan" / "near-duplicates.csv").write_text("number,request,reference,take\n1,T-1,00,yes\n")
    with pytest.raises(LedgerError, match="not in personas"):
        run(ledger, seen.data, QUICK, plan=tmp_path / "plan")
    assert kinds(ledger) == ["opened", "received"]


QUICKEST = ("finetune",)


@pytest.mark.parametrize("method", [m if m in QUICKEST else pytest.param(m, marks=pytest.mark.slow) for m in METHODS])
def test_pairs_of_earlier_requests_are_met_in_no_role(second: tuple[Ledger, Watched], method: str) -> None:
    ledger, seen = second
    seen.seen.clear()
    takes_passes = METHODS[method].trains and method != "retrain"
    settings = {"device": "cpu"} | ({"passes": 1} if takes_passes else {})
    carried_out(taken_up(ledger, seen.data).arguments(How(method=method, settings=settings)), None)
    assert seen.seen
    assert not seen.seen & {pair.id for pair in pairs_of_person(seen.data, FIRST)}


@pytest.mark.slow
def test_plan_and_run_of_a_later_request_leave_earlier_pairs_out_and_judge_them_again(
    second: tuple[Ledger, Watched],
) -> None:
    ledger, seen = second
    seen.seen.clear()
    plan = make_plan(ledger, seen.data, QUICK)
    gone = {pair.id for pair in pairs_of_person(seen.data, FIRST)}
    assert seen.seen
    assert not seen.seen & gone
    assert plan.work.base.name == "0001"
    assert set(plan.drift) == {"retain", "test"}
    done = run(ledger, seen.data, QUICK)
    assert done.model.requests == ("T-2",)
    assert done.judged.earlier is not None
    audits = [one.event for one in ledger.events() if one.kind == "audited"]
    assert [event.about for event in audits] == [("T-1",), ("T-2",), ("T-1",)]
    assert seen.seen & gone, "the earlier request is asked about again"
    released = release(ledger, "T-2", seen.data, by=OFFICER, despite="a model of a test")
    assert newest(ledger) == done.model
    assert {one.what for one in released.still_knowing} == {"model", "training data"}
    assert names_in(ledger.folder, pairs_of_person(seen.data, FIRST, SECOND)) == []


@pytest.mark.parametrize(
    "looks", [pytest.param(0, marks=pytest.mark.slow), 40, pytest.param(90, marks=pytest.mark.slow)]
)
def test_killed_run_goes_on_when_it_is_called_again(first: tuple[Ledger, Watched], looks: int) -> None:
    ledger, seen = first
    seen.ends_after = looks
    with pytest.raises(Killed):
        run(ledger, seen.data, QUICK)
    Ledger.open(ledger.folder).verify()
    run(ledger, seen.data, QUICK)
    told = kinds(ledger)
    assert told.count("unlearned") == told.count("audited") == told.count("started") == 1
    assert [path.name for path in (ledger.folder / "models").iterdir() if path.is_dir()] == ["0001"]


def test_lineage_of_a_model_that_has_forgotten_before_keeps_its_keys(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, data = tmp_path / "earlier", people(12, unseen=6)
    ids = [pair.id for pair in pairs_of_person(data, SECOND)]
    settings = {"passes": 1, "device": "cpu"}
    unlearn(trained, data, ids, method="finetune", settings=settings, out=earlier, key=tmp_path / "key")
    begun = ["ledger", "init", str(tmp_path / "other"), "--model", str(earlier), "--data", DATA]
    assert command(begun) == 2
    assert "Name the key file with --key" in capsys.readouterr().err
    assert command([*begun, "--key", str(tmp_path / "key")]) == 0
    (tmp_path / "key").unlink()
    other = Ledger.open(tmp_path / "other")
    assert has_forgotten(other, earlier, pairs_of_person(data, SECOND))
    copied = shutil.copytree(earlier, tmp_path / "given back")
    record = read_record(copied)
    assert record is not None
    write_record(copied, replace(record, decisions={"unchanged": 1.0, "forgotten": 0.0}))
    assert not has_forgotten(other, copied, pairs_of_person(data, SECOND))
    asked = ("--forget-subject", FIRST, "--reference", "T-1", "--due", "2099-12-28", "--basis", "GDPR")
    assert command(["ledger", "receive", str(other.folder), *asked]) == 0
    resolved = taken_up(other, data).arguments(QUICK).resolved()
    assert not set(ids) & set(resolved.data.train.ids)


def test_lora_is_merged_before_the_model_enters_the_lineage(trained: Path, tmp_path: Path) -> None:
    """It needs no other model, is killed and goes on as other runs, and ledger and certificate say how it was made."""
    seen = watched()
    shutil.copytree(trained, tmp_path / "original")
    ledger = lineage(tmp_path / "lineage", tmp_path / "original", seen.data)
    ask(ledger, seen.data, "T-1", FIRST)
    with pytest.raises(UnsupportedError, match="cannot train LoRA"):
        run(ledger, seen.data, replace(QUICK, method="ssd", settings={"device": "cpu"}, lora=LORA))
    assert kinds(ledger) == ["opened", "received"]
    drawn = Holdout(fraction=0.1, seed=3)
    write_places(ledger.folder, replace(places_of(ledger.folder), holdout=drawn))
    seen.ends_after, how = 40, replace(QUICK, lora=LORA, trainable="text")
    for _ in range(2):
        with suppress(Killed):
            made = run(ledger, seen.data, how, out=tmp_path / FIRST).model  # however the user calls the folder
    release(ledger, "T-1", seen.data, by=OFFICER, despite="a model of a test")
    assert kinds(ledger)[2:4] == ["started", "unlearned"]
    record = read_record(made.folder)
    assert record is not None
    assert record.holdout == drawn  # for those who read the model without the ledger
    before, after = (weights(load_adapter(folder)) for folder in (tmp_path / "original", made.folder))
    changed = differing(before, after)
    assert changed
    assert all(name.startswith("model.text_") and name.endswith("weight") and after[name].ndim == 2 for name in changed)
    shutil.rmtree(tmp_path / "original")
    load_adapter(made.folder)
    assert [path.name for path in (ledger.folder / "audits").iterdir()] == ["0001-T-1"]
    certificate = ledger.folder / "certificates" / "T-1" / "certificate.json"
    assert verifier.main([str(certificate), "--ledger", str(ledger.folder), "--model", str(made.folder)]) == 0
    told = json.loads(base64.b64decode(json.loads(certificate.read_text())["payload"]))["predicate"]["run"]["told"]
    assert told["lora"] == {"r": 2, "alpha": 4, "merged": True}
    assert "rank 2, alpha 4, merged into the weights" in certificate.with_name("certificate.html").read_text()


@pytest.mark.slow
def test_result_of_a_run_that_was_killed_before_it_was_written_down_is_taken(first: tuple[Ledger, Watched]) -> None:
    ledger, seen = first
    work = taken_up(ledger, seen.data)
    run(ledger, seen.data, QUICK)
    fresh = lineage(ledger.folder.parent / "again", work.base.folder, seen.data)
    ask(fresh, seen.data, "T-1", FIRST)
    fresh.append(Started(references=("T-1",), folder="0001", before=work.base.digest.digest))
    shutil.copytree(ledger.folder / "models", fresh.folder / "models")
    with pytest.raises(LedgerError, match="no model without the pairs of T-1"):
        run(fresh, seen.data, QUICK)
    shutil.copy(ledger.folder / "keys" / "_models.key", fresh.folder / "keys")
    seen.seen.clear()
    assert run(fresh, seen.data, QUICK).model.name == "0001"


@pytest.mark.slow
def test_losses_add_up_when_the_first_original_is_gone(
    second: tuple[Ledger, Watched], caplog: pytest.LogCaptureFixture
) -> None:
    ledger, seen = second
    shutil.rmtree(ledger.folder.parent / "original")
    done = run(ledger, seen.data, QUICK).judged
    assert (done.earlier, done.not_told) == (None, ("T-1",))
    assert "If it was moved, say in lineage.json where it lies" in caplog.text
    first, second_ = (event for one in ledger.events() if isinstance(event := one.event, Audited))
    assert (first.against, second_.against) == (None, first.model)
    assert set(done.drift) == set(first.drift or {})


@pytest.mark.slow
def test_retrained_model_is_the_yardstick_of_what_it_never_saw_alone(
    second: tuple[Ledger, Watched], tmp_path: Path
) -> None:
    ledger, seen = second
    ids = pairs_of(ledger, "T-2", seen.data).ids
    for start in ("original", "lineage/models/0001"):
        unlearn(ledger.folder.parent / start, seen.data, ids, method="retrain", settings={"device": "cpu"},
                out=tmp_path / Path(start).name, key=ledger.folder / "keys" / "_models.key")  # fmt: skip
    told = []
    for name in ("original", "0001"):
        judged = run(ledger, seen.data, QUICK, beside=Beside(retrained=tmp_path / name)).judged
        assert judged.earlier is not None
        told.append([any(figure.model == "retrained" for figure in one.figures)
                     for one in (judged.newest, judged.earlier)])  # fmt: skip
    assert told == [[True, False], [True, True]]


@pytest.mark.slow
def test_run_without_open_requests_or_pairs_is_refused(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    ask(ledger, seen.data, "T-3", FIRST)
    with pytest.raises(RequestError, match="nothing to run"):
        run(ledger, seen.data, QUICK, only=["T-3"])
    assert taken_up(ledger, seen.data, ["T-2"]).references == ("T-2",)
    with pytest.raises(LedgerError, match="T-1 is released"):
        run(ledger, seen.data, QUICK, only=["T-1"])
    refuse(ledger, "T-3", "done already with T-1", seen.data)
    refuse(ledger, "T-2", "withdrawn", seen.data)
    with pytest.raises(LedgerError, match=r"no request of .* is open"):
        run(ledger, seen.data, QUICK)


@pytest.mark.slow
def test_release_needs_an_audit_that_allows_it_or_somebody_responsible(first: tuple[Ledger, Watched]) -> None:
    ledger, seen = first
    with pytest.raises(LedgerError, match="is received"):
        release(ledger, "T-1", seen.data, by=OFFICER)
    run(ledger, seen.data, QUICK)
    outcome = ledger.requests()["T-1"].audited
    assert outcome is not None
    if outcome.outcome in ("unfinished", "damaged", "over-forgotten"):
        with pytest.raises(LedgerError, match="--despite"):
            release(ledger, "T-1", seen.data, by=OFFICER)
    with pytest.raises(LedgerError, match="names a pair"):
        release(ledger, "T-1", seen.data, by=FIRST, despite="x")
    spent = replace(outcome, outcome="forgotten", drift={"retain": 0.01, "test": 0.04})
    ledger.append(spent)
    with pytest.raises(LedgerError, match=r"lost 0.040 of test \(0.02 is allowed\) against .* --method retrain"):
        release(ledger, "T-1", seen.data, by=OFFICER)
    assert "released" not in kinds(ledger)


@pytest.mark.slow
def test_what_retraining_loses_is_not_held_against_the_budget(first: tuple[Ledger, Watched]) -> None:
    ledger, seen = first
    run(ledger, seen.data, How(method="retrain", settings={"passes": 1, "device": "cpu"}))
    outcome = ledger.requests()["T-1"].audited
    assert outcome is not None
    ledger.append(replace(outcome, outcome="forgotten", drift={"retain": 0.01, "test": 0.04}))
    release(ledger, "T-1", seen.data, by=OFFICER)
    assert "released" in kinds(ledger)


@pytest.mark.slow
def test_model_that_another_request_overtook_is_not_released(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    ask(ledger, seen.data, "T-3", "person-0005")
    run(ledger, seen.data, QUICK, only=["T-2"])
    run(ledger, seen.data, QUICK, only=["T-3"])
    release(ledger, "T-3", seen.data, by=OFFICER, despite="a model of a test")
    with pytest.raises(LedgerError, match="Run T-2 again"):
        release(ledger, "T-2", seen.data, by=OFFICER, despite="a model of a test")


def test_release_that_fails_leaves_no_ids_and_can_be_tried_again(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    run(ledger, seen.data, QUICK)
    ids = ledger.folder.parent / "ids" / "stale.json"
    options = {"by": OFFICER, "despite": "a model of a test", "stale_ids": ids}
    with pytest.raises(CheckpointError, match="nothing is not there"):
        release(ledger, "T-2", seen.data, look=Look(also=["nothing"]), **options)
    other = sqlite3.connect(ledger.folder / "ledger.sqlite")
    other.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
    with pytest.raises(LedgerError, match="no room"):
        release(ledger, "T-2", seen.data, **options)
    other.execute("DROP TRIGGER full")
    other.close()
    assert not ids.exists()
    done = release(ledger, "T-2", seen.data, **options)
    assert set(json.loads(ids.read_text())["purge"]) == {pair.id for pair in pairs_of_person(seen.data, SECOND)}
    assert ("ids to purge", str(ids)) in {(one.what, one.path) for one in done.still_knowing}
    assert "ids to purge" in {one.what for one in listed(ledger)}
    assert digest_file(ids) not in {one.digest for one in listed(ledger)}


def test_ids_are_refused_where_they_could_not_be_written(second: tuple[Ledger, Watched]) -> None:
    ledger, _ = second
    (ledger.folder.parent / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="nothing can be made in"):
        refuse_place_of_ids(ledger.folder.parent / "file" / "stale.json", ledger)
    with pytest.raises(CheckpointError, match="already exists"):
        refuse_place_of_ids(ledger.folder.parent / "file", ledger)
    with pytest.raises(LedgerError, match="outside of it"):
        refuse_place_of_ids(ledger.folder / "stale.json", ledger)


@pytest.mark.slow
def test_stale_ids_are_written_outside_the_lineage_alone(first: tuple[Ledger, Watched], tmp_path: Path) -> None:
    ledger, seen = first
    run(ledger, seen.data, How(method="npo", settings={"passes": 1, "device": "cpu"}, trainable="text"))
    options = {"by": OFFICER, "despite": "a model of a test"}
    with pytest.raises(LedgerError, match="outside of it"):
        release(ledger, "T-1", seen.data, stale_ids=ledger.folder / "stale.json", **options)
    done = release(ledger, "T-1", seen.data, stale_ids=tmp_path / "stale.json", **options)
    told = json.loads((tmp_path / "stale.json").read_text())
    assert set(told["purge"]) == {pair.id for pair in pairs_of_person(seen.data, FIRST)}
    assert list(told["compute_anew"]) == ["text"]
    assert len(told["compute_anew"]["text"]) == 44
    assert told["model"]["after"] == newest(ledger).digest.digest
    assert [one.what for one in done.stale.holders] == ["text embeddings", "embeddings to purge"]  # type: ignore[union-attr]


def test_pairs_that_no_key_tells_are_not_used_again_in_silence(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    models_keys = ledger.folder / "keys" / "_models.key"
    kept = models_keys.rename(ledger.folder / "kept")
    for step in (lambda: run(ledger, seen.data, QUICK), lambda: judge(ledger, newest(ledger), seen.data),
                 lambda: look_again(ledger, seen.data)):  # fmt: skip
        with pytest.raises(LedgerError, match=r"_models.key is not there: .* Restore it from a backup"):
            step()
    kept.rename(models_keys)
    of_first, beside = set(read_keys(models_keys)), new_key()  # beside: of a model that was retrained with --key
    write_keys(models_keys, {**read_keys(models_keys), key_id(beside): beside})
    forget_key(ledger, "T-1")
    assert not models_keys.exists()
    assert {*of_first, key_id(beside)} <= set(ledger.head.body["keys"])  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match=r"the keys of T-1 were destroyed, .* --earlier-pairs-removed"):
        run(ledger, seen.data, QUICK)
    taken_up(ledger, seen.data).arguments(replace(QUICK, earlier_pairs_removed=True)).resolved()
    assert kinds(ledger)[-1] == "key forgotten"


def test_model_whose_files_changed_is_neither_judged_nor_run_from(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    (newest(ledger).folder / "config.json").write_text("{}")
    with pytest.raises(LedgerError, match="its files are others"):
        run(ledger, seen.data, QUICK)
    with pytest.raises(LedgerError, match="its files are others"):
        judge(ledger, newest(ledger), seen.data)
    assert kinds(ledger)[-1] == "received"


@pytest.mark.slow
def test_run_that_fails_is_written_down_without_a_name(first: tuple[Ledger, Watched]) -> None:
    ledger, seen = first
    with pytest.raises(MultideleteError):
        run(ledger, seen.data, How(method="finetune", settings={"passes": 4, "lr": 1e30, "device": "cpu"}))
    assert kinds(ledger)[-2:] == ["started", "failed"]
    assert ledger.requests()["T-1"].reason == "a loss was not finite"
    assert run(ledger, seen.data, QUICK).model.name == "0002"


@pytest.mark.parametrize(
    ("drift", "requests", "told"),
    [
        ({}, 0, "go on"),
        ({"retain": 0.0, "test": -0.1}, 5, "go on"),
        ({"retain": 0.02, "test": 0.0}, 1, "retrain now"),
        ({"retain": 0.02, "test": 0.0}, 2, "go on"),
        ({"retain": 0.0, "test": 0.019}, 18, "retrain now"),
        ({"retain": 0.04}, 40, "retrain now"),
    ],
)
def test_advice_comes_before_the_budget_is_exceeded(drift: dict[str, float], requests: int, told: str) -> None:
    assert advice(drift, requests, Budget()) == told


def test_package_offers_what_its_modules_hold_and_imports_them_when_asked() -> None:
    assert all(callable(getattr(ledger_package, name)) for name in ledger_package.__all__)
    told = "import sys, multidelete.ledger; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "[]\n"
