"""What still knows deleted pairs: what is found, what is passed over, and what is gone."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from multidelete.artifacts.deletions import content_reference
from multidelete.artifacts.keys import new_key
from multidelete.artifacts.manifest import digest_file
from multidelete.cli import run as command
from multidelete.core.errors import CheckpointError, LedgerError
from multidelete.curvature.metric import ParameterMetric
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.ledger.chain import Ledger
from multidelete.ledger.deleted import deleted
from multidelete.ledger.events import Holder
from multidelete.ledger.gone import check_gone, say_gone
from multidelete.ledger.holders import Look, find_holders, look_again
from multidelete.ledger.holdings import Holding, listed, not_among
from multidelete.ledger.models import newest
from multidelete.ledger.places import places_of, write_places
from multidelete.ledger.requests import forget_key, pairs_of
from multidelete.ledger.sorts import sort_of
from multidelete.ledger.stale import Stale, write_stale_ids
from multidelete.methods.kept_metric import KeptMetric, keep_metric
from multidelete.models import load_adapter
from multidelete.models.vectors import write_embeddings
from multidelete.unlearning import unlearn
from tests.ledger.operated import (
    FIRST,
    LORA,
    OFFICER,
    SECOND,
    Watched,
    ask,
    kinds,
    lineage,
    names_in,
    pairs_of_person,
    permissions_count,
)
from tests.tiny import people


def test_what_still_knows_is_listed_and_checked_to_be_gone(second: tuple[Ledger, Watched], tmp_path: Path) -> None:
    ledger, seen = second
    root = ledger.folder.parent
    (root / ".0007.partial" / "work").mkdir(parents=True)
    (root / "answers").mkdir()
    (root / "answers" / "signals-00.npz").write_bytes(b"x")
    (root / "photo.png").write_bytes(b"a picture")
    for _ in range(2):  # the second finds nothing new
        found = look_again(ledger, seen.data, Look(also=[root / "photo.png"]))
    assert {one.what for one in found} == {"model", "training data", "unfinished run", "cache of answers", "copy"}
    assert hashlib.sha256(b"a picture").hexdigest() not in {one.digest for one in found}
    (root / "photo.png").unlink()
    assert names_in(ledger.folder, pairs_of_person(seen.data, FIRST)) == []
    shutil.rmtree(root / "answers")
    gone, there, _ = check_gone(ledger, seen.data)
    assert sorted(one.what for one in gone) == ["cache of answers", "copy"]
    assert {one.what for one in there} == {"model", "training data", "unfinished run"}
    left = PairData(name="left", splits={**seen.data.splits, "train": seen.data.train.without(
        [pair.id for pair in pairs_of_person(seen.data, FIRST)], "left")})  # fmt: skip
    assert [one.what for one in check_gone(ledger, left)[0]] == ["training data"]
    model = next(one for one in listed(ledger) if one.what == "model")
    with pytest.raises(LedgerError, match="must be one"):
        say_gone(ledger, "", OFFICER)
    say_gone(ledger, model.digest[:12], OFFICER)
    assert {one.what for one in listed(ledger)} == {"unfinished run"}
    assert kinds(ledger)[-5:] == ["found", "gone", "gone", "gone", "gone"]


def test_thing_is_gone_when_its_last_copy_is(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    (ledger.folder / "still-knowing.json").unlink()  # it names places of the lineage that this one is a copy of
    original = ledger.folder.parent / "original"
    copies = [original, original.with_name("a-copy"), original.with_name("z-copy")]
    for copy in copies[1:]:
        shutil.copytree(original, copy)
    assert {Path(one.path) for one in look_again(ledger, seen.data) if one.what == "model"} == set(copies)
    for place in (copies[2], copies[0], copies[1]):
        assert "model" in {one.what for one in check_gone(ledger, seen.data)[1]}
        shutil.rmtree(place)
    assert [one.what for one in check_gone(ledger, seen.data)[0]] == ["model"]


def test_what_other_commands_wrote_of_deleted_pairs_is_listed(second: tuple[Ledger, Watched]) -> None:
    """Embeddings, metrics, lists of rows, ids to purge; not those of others alone, nor other files of such kinds."""
    ledger, seen = second
    root, adapter = ledger.folder.parent, load_adapter(newest(ledger).folder)
    gone, kept = pairs_of_person(seen.data, FIRST), pairs_of_person(seen.data, SECOND)
    for name, pairs in (("gone", [*kept, *gone]), ("kept", kept)):
        write_embeddings(adapter, pairs, len(pairs), root / f"{name}.parquet", modalities=["text"])
    for name, pairs in (("of gone", [*kept, *gone]), ("of kept", kept)):
        keep_metric_of(root / name, pairs)
    rows = [{"id": pair.id, "image": pair.sources["image"], "text": pair.text} for pair in seen.data.train]
    (root / "captions.json").write_text(json.dumps(rows, indent=1))
    pq.write_table(pa.Table.from_pylist(rows), root / "captions.parquet")
    (root / "shards").mkdir()
    for source in seen.data.train.sources("image"):
        Image.new("RGB", (8, 8)).save(root / "shards" / source)
    (root / "shards" / "0.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (root / "ids.txt").write_text("\n".join(pair.id for pair in gone))
    given = ["--data", root / "shards", "--forget", root / "ids.txt", "--out", root / "rows"]
    assert command(["exclude", *map(str, given)]) == 0
    stale, request = Stale("a" * 64, "b" * 64, ("text",), {"text": 1}, 1), pairs_of(ledger, "T-1", seen.data)
    write_stale_ids(root / "stale.json", ledger, stale, seen.data, request)
    for _ in range(2):  # the second finds nothing new
        found = {(one.what, Path(one.path).name): one.digest for one in look_again(ledger, seen.data)}
        assert {place for place in found if place[0] not in ("model", "training data")} == {
            ("embeddings", "gone.parquet"),
            ("metric", "of gone"),
            ("ids to purge", "stale.json"),
            ("list of rows", "rows"),
        }
    for name in ("gone.parquet", "stale.json"):
        assert digest_file(root / name) not in found.values()
    (root / "gone.parquet").unlink()
    assert [one.what for one in check_gone(ledger, seen.data)[0]] == ["embeddings"]


def test_held_out_pair_with_the_id_of_a_deleted_one_is_another(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    gone = pairs_of_person(seen.data, FIRST)
    others = [replace(pair, id=one.id) for pair, one in zip(seen.data.splits["test"], gone, strict=False)]
    train = seen.data.train.without([pair.id for pair in gone], "train")
    cleaned = replace(seen.data, splits={"train": train, "test": PairDataset(others, "test")})
    assert others
    assert deleted(ledger, cleaned).pairs == []
    repeated = replace(seen.data, splits={"train": train, "test": PairDataset([replace(gone[0], id="other")], "test")})
    assert [pair.id for pair in deleted(ledger, repeated).pairs] == ["other"]


def test_what_an_adapter_was_trained_on_still_knows_too(trained: Path, tmp_path: Path) -> None:
    data, adapter = people(12, unseen=6), tmp_path / "adapter"
    shutil.copytree(trained, tmp_path / "far" / "base")
    ids = [pair.id for pair in pairs_of_person(data, SECOND)]
    settings = {"passes": 1, "device": "cpu"}
    unlearn(tmp_path / "far" / "base", data, ids, method="finetune", settings=settings, lora=LORA, out=adapter)
    ledger = lineage(tmp_path / "lineage", adapter, data)
    ask(ledger, data, "T-1", FIRST)
    found = {(one.what, Path(one.path).name) for one in find_holders(ledger, data, references=["T-1"])}
    assert found >= {("adapter", "adapter"), ("model", "base")}


def without(data: PairData, *subjects: str) -> PairData:
    """The data after the pairs of people were taken out."""
    gone = [pair.id for pair in pairs_of_person(data, *subjects)]
    return replace(data, name="left", splits={**data.splits, "train": data.train.without(gone, "left")})


def sorts(found: Iterable[Holder | Holding]) -> set[str]:
    return {one.what for one in found}


def test_data_that_nobody_can_tell_or_that_was_not_read_is_not_gone(
    second: tuple[Ledger, Watched], tmp_path: Path
) -> None:
    ledger, seen = second
    (tmp_path / "recorded").mkdir()
    write_places(ledger.folder, replace(places_of(ledger.folder), data=str(tmp_path / "recorded")))
    (ledger.folder / "still-knowing.json").unlink()  # it names the place before
    assert "training data" in sorts(look_again(ledger, seen.data))
    left = without(seen.data, FIRST)
    for place in (tmp_path / "elsewhere", tmp_path / "lost"):
        gone, _, unknown = check_gone(ledger, left, place=str(place))
        assert ("training data" in sorts(unknown), sorts(gone)) == (True, set())
    (tmp_path / "recorded").rmdir()
    assert "training data" in sorts(check_gone(ledger, seen.data, place=str(tmp_path / "elsewhere"))[1])
    aside = shutil.copytree(ledger.folder, tmp_path / "aside")
    forget_key(ledger, "T-1")
    for step in (lambda: check_gone(ledger, left), lambda: check_gone(ledger, left, place=str(tmp_path / "elsewhere"))):
        gone, _, unknown = step()
        assert ("training data" in sorts(unknown), sorts(gone)) == (True, set())
    assert kinds(ledger)[-1] == "key forgotten"
    kept = Ledger.open(aside)
    assert sorts(check_gone(kept, left, place=str(tmp_path / "elsewhere"))[0]) == {"training data"}


def written(folder: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as a user would have them."""
    folder.mkdir()
    rows = [{"id": pair.id, "image": f"{at}.png", "text": pair.text} for at, pair in enumerate(pairs)]
    for row in rows:
        Image.new("RGB", (8, 8)).save(folder / row["image"])
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_command_that_read_other_data_does_not_call_the_first_gone(
    second: tuple[Ledger, Watched], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, seen = second
    look_again(ledger, seen.data)
    others = tmp_path / "others"
    written(others, [pair for pair in seen.data.train if pair.subject != FIRST])
    given = ["ledger", "still-knowing", str(ledger.folder), "--data", str(others), "--check"]
    assert command(given) == 0
    told = capsys.readouterr().out
    assert "not found here, or nobody can tell: training data" in told
    assert "or use --check" not in told
    assert "gone" not in kinds(ledger)


def keep_metric_of(folder: Path, pairs: Sequence[Pair]) -> None:
    key = new_key()
    references = {pair.id: content_reference(key, pair) for pair in pairs}
    folder.mkdir()
    keep_metric(folder, KeptMetric({"scale": ParameterMetric(torch.ones(1))}, 1, 1.0, (), (), references, key))


def test_what_knows_deleted_pairs_is_found_when_the_data_holds_them_no_more(
    second: tuple[Ledger, Watched], tmp_path: Path
) -> None:
    ledger, seen = second
    root, adapter, left = ledger.folder.parent, load_adapter(newest(ledger).folder), without(seen.data, FIRST)
    gone, kept = pairs_of_person(seen.data, FIRST), pairs_of_person(seen.data, SECOND)
    for name, pairs in (("gone", [*kept, *gone]), ("kept", kept)):
        write_embeddings(adapter, pairs, len(pairs), root / f"{name}.parquet", modalities=["text"])
        keep_metric_of(root / f"metric of {name}", pairs)
    ids = [pair.id for pair in kept]
    settings = {"passes": 1, "device": "cpu"}
    unlearn(root / "original", seen.data, ids, method="finetune", settings=settings, out=root / "other")
    shutil.copytree(newest(ledger).folder, root / "copy of the newest")
    told = {"gone.parquet", "metric of gone", "original", "other"}
    assert {Path(one.path).name for one in find_holders(ledger, left)} == told
    assert sorts(find_holders(ledger, left)) == {"model", "embeddings", "metric"}
    partly = replace(left, splits={**left.splits, "val": PairDataset(gone[:1], "val")})
    assert {Path(one.path).name for one in find_holders(ledger, partly) if one.what != "training data"} == told
    forget_key(ledger, "T-1")
    told |= {"kept.parquet", "metric of kept"}
    assert {Path(one.path).name for one in find_holders(ledger, left)} == told


def test_what_cannot_be_looked_at_is_warned_of_and_ends_nothing(
    second: tuple[Ledger, Watched], caplog: pytest.LogCaptureFixture
) -> None:
    ledger, seen = second
    root = ledger.folder.parent
    known = {one.path for one in find_holders(ledger, seen.data)}
    (root / "itself").symlink_to("itself")
    (root / "nowhere").symlink_to("nothing")
    (root / "locked").mkdir()
    (root / "locked.json").write_text("{}")
    locked = [root / "locked", root / "locked.json"]
    for path in locked:
        path.chmod(0)
    try:
        with permissions_count():
            assert {one.path for one in find_holders(ledger, seen.data)} == known
            with pytest.raises(CheckpointError, match="locked cannot be looked at: Permission denied"):
                find_holders(ledger, seen.data, Look(also=[root / "locked"]))
    finally:
        for path in locked:
            path.chmod(0o700)
    for path in (root / "itself", root / "nowhere", *locked):
        assert caplog.text.count(f"{path} is passed over") == 2  # each call says it once


def test_embeddings_and_metrics_that_cannot_be_read_are_listed(
    second: tuple[Ledger, Watched], caplog: pytest.LogCaptureFixture
) -> None:
    ledger, seen = second
    root, kept = ledger.folder.parent, pairs_of_person(seen.data, SECOND)
    adapter = load_adapter(newest(ledger).folder)
    for name in ("page", "numbers", "column", "cut"):
        write_embeddings(adapter, kept, len(kept), root / f"{name}.parquet", modalities=["text"])
    rows = pq.read_table(root / "numbers.parquet")
    numbers = pa.array(range(len(rows)), pa.int64())
    pq.write_table(rows.set_column(0, pa.field("id", pa.int64()), numbers), root / "numbers.parquet")
    pq.write_table(rows.drop_columns(["id"]), root / "column.parquet")
    damage(root / "page.parquet", at=4)
    os.truncate(root / "cut.parquet", 100)
    keep_metric_of(root / "metric", kept)
    damage(root / "metric" / "metric.safetensors", at=8)
    found = {Path(one.path).name for one in find_holders(ledger, seen.data) if one.what in ("embeddings", "metric")}
    assert found == {"page.parquet", "numbers.parquet", "column.parquet", "cut.parquet", "metric"}
    assert "holds ids of the type int64; ids of pairs are texts. Write them anew with embed" in caplog.text
    assert all(caplog.text.count(f"{root / name} is listed, since nobody can tell") == 1 for name in found)


def test_thing_whose_content_changes_leaves_the_list_when_it_is_gone(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    root = ledger.folder.parent
    store, odd = root / "store", root / os.fsdecode(b"of no text \xff")
    for folder in (store, odd):
        (folder / "original-1").mkdir(parents=True)
    for content in ("a", "b"):
        for folder in (store, odd):
            (folder / "original-1" / "multidelete.json").write_text(content)
        assert {Path(one.path) for one in look_again(ledger, seen.data) if one.what == "store"} == {store, odd}
    assert not_among(ledger, look_again(ledger, seen.data)) == []
    assert len([one for one in listed(ledger) if one.what == "store"]) == 2
    _, there, _ = check_gone(ledger, seen.data)
    assert [Path(one.path) for one in there if one.what == "store"] == [store]
    shutil.rmtree(store)
    shutil.rmtree(odd)
    assert [one.what for one in check_gone(ledger, seen.data)[0]] == ["store", "store"]
    assert "store" not in sorts(listed(ledger))


def test_embeddings_written_anew_without_deleted_pairs_are_gone(second: tuple[Ledger, Watched]) -> None:
    ledger, seen = second
    root, adapter = ledger.folder.parent, load_adapter(newest(ledger).folder)
    gone, kept = pairs_of_person(seen.data, FIRST), pairs_of_person(seen.data, SECOND)

    def write(pairs: Sequence[Pair]) -> None:
        shutil.rmtree(root / "metric", ignore_errors=True)
        keep_metric_of(root / "metric", pairs)
        write_embeddings(
            adapter, pairs, len(pairs), root / "v.parquet", modalities=["text"], overwrite=(root / "v.parquet").exists()
        )

    write([*kept, *gone])
    look_again(ledger, seen.data)
    write(gone)
    assert sorts(check_gone(ledger, seen.data)[1]) >= {"embeddings", "metric"}
    damage(root / "v.parquet", at=4)
    damage(root / "metric" / "metric.safetensors", at=8)
    assert sorts(check_gone(ledger, seen.data)[1]) >= {"embeddings", "metric"}
    write(kept)
    assert sorts(check_gone(ledger, without(seen.data, FIRST))[0]) == {"embeddings", "metric", "training data"}


@pytest.mark.parametrize(
    ("written", "called"),
    [("v.parquet", "VECTORS.PARQUET"), ("v.parquet", "v.pq"), ("v.parquet", "v"), ("stale.json", "ids.txt"),
     ("metric/metric.safetensors", "metric.safetensors"), ("metric/metric.safetensors", "the metric")],
)  # fmt: skip
def test_file_is_known_by_what_it_holds_however_it_is_called(
    second: tuple[Ledger, Watched], written: str, called: str
) -> None:
    ledger, seen = second
    root, adapter, gone = ledger.folder.parent, load_adapter(newest(ledger).folder), pairs_of_person(seen.data, FIRST)
    write_embeddings(adapter, gone, len(gone), root / "v.parquet", modalities=["text"])
    keep_metric_of(root / "metric", gone)
    stale = Stale("a" * 64, "b" * 64, ("text",), {"text": 1}, 1)
    write_stale_ids(root / "stale.json", ledger, stale, seen.data, pairs_of(ledger, "T-1", seen.data))
    sort = {Path(one.path): one.what for one in look_again(ledger, seen.data)}[
        root / written if "/" not in written else (root / written).parent
    ]
    (root / written).rename(root / called)
    assert (sort, root / called) in {(one.what, Path(one.path)) for one in look_again(ledger, seen.data)}
    assert sort in sorts(check_gone(ledger, seen.data)[0])
    (root / called).unlink()
    assert sort in sorts(check_gone(ledger, seen.data)[0])


def test_thing_is_not_gone_with_a_link_to_it(second: tuple[Ledger, Watched], tmp_path: Path) -> None:
    ledger, seen = second
    far, links = tmp_path / "far", [ledger.folder.parent / "linked", tmp_path / "named"]
    far.mkdir()
    (far / "signals-00.npz").write_bytes(b"x")
    (tmp_path / "photo.png").write_bytes(b"a picture")
    for link, target in zip(links, (far, tmp_path / "photo.png"), strict=True):
        link.symlink_to(target)
    look_again(ledger, seen.data, Look(also=links[1:]))
    for link in links:
        link.unlink()
    gone, there, _ = check_gone(ledger, seen.data)
    assert gone == []
    assert {str(far), str(tmp_path / "photo.png")} <= {one.path for one in there}


@pytest.mark.parametrize(
    ("inside", "sort"),
    [("original-1.jpg", None), ("reference-2.png", None), ("checkpoint-3.jpg", None), ("signals-4.csv", None),
     ("original-photos/1.jpg", None),
     ("original-0123456789abcdef/multidelete.json", "store"), ("grad_diff-0123456789abcdef/multidelete.json", "store"),
     ("signals-00.npz", "cache of answers"), ("reference-00.safetensors", "cache of answers"),
     ("checkpoint-00000010.safetensors", "checkpoints"), ("checkpoint-500/trainer_state.json", "checkpoints")],
)  # fmt: skip
def test_folder_is_known_by_files_of_its_sort_alone(tmp_path: Path, inside: str, sort: str | None) -> None:
    file = tmp_path / "folder" / inside
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    assert sort_of(tmp_path / "folder") == sort


def damage(file: Path, *, at: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(b"\xff" * 64)


def test_data_is_listed_where_it_was_read_from(
    second: tuple[Ledger, Watched], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, seen = second
    written(tmp_path / "others", seen.data.train)
    monkeypatch.chdir(tmp_path)
    for check in ([], ["--check"]):
        assert command(["ledger", "still-knowing", str(ledger.folder), "--data", "others", "--json", *check]) == 0
        there = json.loads(capsys.readouterr().out)["there"]
        assert [one["path"] for one in there if one["what"] == "training data"] == [str(tmp_path / "others")]


def test_thing_where_nobody_may_look_is_not_gone(second: tuple[Ledger, Watched], tmp_path: Path) -> None:
    ledger, seen = second
    places = {name: tmp_path / name / "copy" for name in ("locked", "taken", "replaced", "kept")}
    for place in places.values():
        place.parent.mkdir()
        place.write_text("a copy")
    look_again(ledger, seen.data, Look(also=list(places.values())))
    shutil.rmtree(places["taken"].parent)  # as of a disk that is not there today
    shutil.rmtree(places["replaced"].parent)
    places["replaced"].parent.write_text("a file")
    places["locked"].parent.chmod(0)
    places["kept"].unlink()
    try:
        with permissions_count():
            gone, there, unknown = check_gone(ledger, seen.data)
    finally:
        places["locked"].parent.chmod(0o700)
    assert [len([one for one in told if one.what == "copy"]) for told in (gone, there, unknown)] == [1, 0, 3]
