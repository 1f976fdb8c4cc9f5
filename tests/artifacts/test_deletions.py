"""Records of deletions: they tell the holder of the key which pairs were deleted, and nobody else."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from multidelete.artifacts.deletions import (
    Lineage,
    not_yet_deleted,
    record_of,
    refuse_without_keys,
    without_earlier,
)
from multidelete.artifacts.indexing import write_index
from multidelete.artifacts.keys import key_id, new_key, pair_alias, read_keys, write_keys
from multidelete.artifacts.record import DeletionRecord, RunRecord
from multidelete.artifacts.requests import refuse_other_requests, without_other_requests
from multidelete.core.errors import CheckpointError, RequestError
from multidelete.core.json_files import Json, JsonObject
from multidelete.core.records import as_json, read_object
from multidelete.data.index.build import IndexOptions
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request
from tests.data.sharded import rows, write_jsonl


def pair(name: str, *, image: str | None = None, text: str | None = None) -> Pair:
    image, text = image or f"{name}.png", text or f"caption {name}"
    return Pair(id=name, inputs={"image": image, "text": text}, sources={"image": image, "text": text}, subject="Anna")


PAIRS = [pair(f"p{n}") for n in range(8)]
DATA = PairData("pairs", {"train": PairDataset(PAIRS[:6], "train"), "test": PairDataset(PAIRS[6:], "test")})


def lineage(*requests: list[int]) -> Lineage:
    made = Lineage()
    for numbers in requests:
        key = new_key()
        made = made.then(record_of(key, [PAIRS[n] for n in numbers], "pair"), key)
    return made


def test_deleted_pairs_are_known_by_id_and_by_content() -> None:
    made = lineage([0, 1])
    again = [pair("x", image="p0.png", text="caption p0"), pair("p1", image="other.png", text="other")]
    assert made.earlier([*PAIRS, *again]) == {"p0", "p1", "x"}
    assert not made.earlier([pair("p7", image="p0.png")]), "one shared member makes no pair"


def test_deleted_pairs_are_known_under_other_names_by_what_their_pictures_hold(tmp_path: Path) -> None:
    for name, content in {"a/cat.png": b"cat", "b/IMG_004.png": b"cat", "b/cat.png": b"dog"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)

    def of(pair_id: str, file: str, source: str) -> Pair:
        image = tmp_path / file
        return Pair(id=pair_id, inputs={"image": image, "text": "t"}, sources={"image": source, "text": "t"})

    key = new_key()
    made = Lineage().then(record_of(key, [of("p0", "a/cat.png", "cat.png")], "pair"), key)
    again = [of("row1", "b/IMG_004.png", "IMG_004.png"), of("row2", "b/cat.png", "cat.png")]
    assert made.earlier(again) == {"row1"}


def test_an_id_that_was_deleted_and_means_another_pair_now_is_refused() -> None:
    moved = [pair("p0", image="p3.png", text="caption p3"), *PAIRS[1:6]]
    data = PairData("moved", {"train": PairDataset(moved, "train")})
    made = lineage([0])
    left = without_earlier(data, made)
    request = resolve_request(data, ids=["p0", "p1"])
    with pytest.raises(RequestError, match=r"another picture or text than those had: p0\. One id must mean one pair"):
        not_yet_deleted(request, data, left, made)


def forgotten(content: JsonObject) -> tuple[DeletionRecord, ...]:
    return read_object(RunRecord, content, "multidelete.json", "Restore it.").forgotten


def test_a_record_names_nothing_and_depends_on_its_key() -> None:
    rows = [as_json(lineage([0, 1]).deletions) for _ in range(2)]
    assert "p0" not in json.dumps(rows)
    assert "caption" not in json.dumps(rows)
    assert "Anna" not in json.dumps(rows)
    assert rows[0] != rows[1]
    assert forgotten({"deletions": rows[0]}) == forgotten({"deletions": json.loads(json.dumps(rows[0]))})
    assert not Lineage(forgotten({"deletions": rows[0]})).earlier(PAIRS), "found without a key"


def test_earlier_pairs_leave_every_split() -> None:
    left = without_earlier(DATA, lineage([0], [6, 3]))
    assert left.train.ids == ["p1", "p2", "p4", "p5"]
    assert left.splits["test"].ids == ["p7"]
    assert "3 of 8" in left.notes[-1]
    assert "p0" not in left.notes[-1]


def numbered_from_0(folder: Path, *, index: bool) -> PairData:
    """Six training pairs and six held-out ones, each numbered from 0: two of these are repeats of the first two."""
    held_out = [{**row, "split": "test"} for row in (*rows(6, 4), *rows(0, 2))]
    for name, some in {"train-0": rows(0, 6), "test-0": held_out}.items():
        write_jsonl(folder / f"{name}.jsonl", [{**row, "id": str(at)} for at, row in enumerate(some)])
    if not index:
        return load_data(str(folder))
    write_index(str(folder), None, IndexOptions())
    return load_data(f"index:{folder}")


@pytest.mark.parametrize("index", [False, True], ids=["memory", "index"])
def test_held_out_pairs_with_the_id_of_a_deleted_one_stay_and_those_with_its_content_leave(
    index: bool, tmp_path: Path
) -> None:
    data, made = numbered_from_0(tmp_path / "data", index=index), Lineage()
    for positions in ([0, 1], [2]):
        key = new_key()
        made = made.then(record_of(key, data.train[positions], "pair"), key)
    left = without_earlier(data, made)
    assert left.train.ids == ["3", "4", "5"]
    assert left.splits["test"].ids == ["0", "1", "2", "3"]
    assert "5 of 12 pairs were deleted by earlier requests" in left.notes[-1]
    judged = without_other_requests(data, {"unlearned": made}, data.train[[2]])
    assert judged.train.ids == ["2", "3", "4", "5"]
    assert judged.splits["test"].ids == ["0", "1", "2", "3"]


def test_a_request_for_deleted_pairs_is_narrowed_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    made = lineage([0, 1])
    left = without_earlier(DATA, made)
    assert not_yet_deleted(resolve_request(DATA, ids=["p1", "p2"]), DATA, left, made).ids == ("p2",)
    assert "1 of 2 pairs of the request was deleted" in caplog.text
    with pytest.raises(RequestError, match="all 2 pairs of the request were deleted"):
        not_yet_deleted(resolve_request(DATA, ids=["p0", "p1"]), DATA, left, made)
    with pytest.raises(RequestError, match="At least two must be kept"):
        not_yet_deleted(resolve_request(DATA, ids=["p0", "p2", "p3", "p4"]), DATA, left, made)


def test_without_its_key_a_lineage_is_refused_unless_the_pairs_are_gone() -> None:
    made = Lineage(lineage([0, 1]).deletions)
    with pytest.raises(CheckpointError, match=r"the model has forgotten pairs before \(1 request, 2 pairs\).*--key"):
        refuse_without_keys({"the model": made}, removed=False)
    refuse_without_keys({"the model": made}, removed=True)
    old = Lineage(forgotten({"request": {"pairs": 3, "unit": "pair", "digest": "abc"}}))
    with pytest.raises(CheckpointError, match="kept no references"):
        refuse_without_keys({"the model": old}, removed=False)


@pytest.mark.parametrize("damage", ["x", [1], [{"key": "a"}], {"a": 1}, [{"key": 1, "unit": "pair", "pairs": 2}]])
def test_damaged_records_are_refused(damage: Json) -> None:
    with pytest.raises(CheckpointError, match=r"multidelete.json: deletions.* Restore it."):
        forgotten({"deletions": damage})


def test_an_audit_may_be_about_any_whole_requests_of_the_lineage() -> None:
    models = {"unlearned": lineage([0, 1], [2, 3])}
    for ids in (["p0", "p1"], ["p2", "p3"], ["p0", "p1", "p2", "p3"]):
        request = resolve_request(DATA, ids=ids)
        forget = DATA.train.only(ids, "forget").pairs
        refuse_other_requests(models, request, forget)
        others = {"p0", "p1", "p2", "p3"} - set(ids)
        assert set(without_other_requests(DATA, models, forget).train.ids) == set(DATA.train.ids) - others
    for ids, why in ((["p0", "p4"], "1 of 2 pairs"), (["p0"], "only a part")):
        with pytest.raises(RequestError, match=f"made by another request.*2 requests, 4 pairs.*{why}"):
            refuse_other_requests(models, resolve_request(DATA, ids=ids), DATA.train.only(ids, "forget").pairs)


def test_key_files_are_their_owners_alone_and_damage_is_seen(tmp_path: Path) -> None:
    file, key = tmp_path / "deep" / "model.key", new_key()
    write_keys(file, {key_id(key): key})
    assert read_keys(file) == {key_id(key): key}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for content in ("", "[]", '{"keys": {"a": "zz"}}', json.dumps({"keys": {key_id(key): new_key().hex()}})):
        file.write_text(content)
        with pytest.raises(CheckpointError, match="no key file"):
            read_keys(file)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_keys(tmp_path / "none.key")


def test_aliases_are_stable_within_a_request_alone() -> None:
    key, other = new_key(), new_key()
    assert pair_alias(key, "p0") == pair_alias(key, "p0") != pair_alias(other, "p0")
    made = lineage([0, 1], [2])
    assert set(made.aliases(PAIRS)) == {"p0", "p1", "p2"}
    assert made.aliases(PAIRS)["p2"] == pair_alias(made.newest_key, "p2")


def test_representations_show_no_references_and_no_keys() -> None:
    made = lineage([0, 1])
    shown = repr(made) + repr(replace(made.deletions[0]))
    assert made.deletions[0].ids[0] not in shown
    assert made.newest_key.hex() not in shown
    assert str(made.newest_key) not in shown
