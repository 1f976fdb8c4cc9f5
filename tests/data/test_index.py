"""Pairs by their index: the same as those that are read into memory, asked about without reading all."""

import os
import pickle
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from multidelete.artifacts.indexing import write_index
from multidelete.cli import run
from multidelete.core.errors import CheckpointError, DataError, RequestError
from multidelete.data.images import check_images
from multidelete.data.index.build import Built, IndexOptions, build_index
from multidelete.data.index.dataset import indexed_data
from multidelete.data.index.file import FILE
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.readers import load_data
from multidelete.data.repeats import kept_repeats
from multidelete.data.request import resolve_request
from tests.data.sharded import COLUMNS, rows, write_csv, write_jsonl, write_parquet, write_pictures, write_tar

FORMS = ("tar", "parquet", "jsonl", "csv")


def write(folder: Path, form: str, shards: int = 3, each: int = 8) -> dict[str, str]:
    """Shards of a form, the last one of val; gives the columns to map."""
    writers = {"tar": write_tar, "parquet": write_parquet, "jsonl": write_jsonl, "csv": write_csv}
    for number in range(shards):
        split = "val" if number == shards - 1 else "train"
        writers[form](folder / f"{split}-{number}.{form}", rows(number * each, each, split=split))
    return COLUMNS if form == "tar" else {}


def indexed(folder: Path, at: Path, columns: dict[str, str] | None = None) -> PairData:
    (at / "index").mkdir(parents=True, exist_ok=True)
    (at / "index" / FILE).unlink(missing_ok=True)
    build_index(str(folder), at / "index" / FILE, IndexOptions(columns=columns or {}))
    return indexed_data(at / "index" / FILE)


def told(pair: Pair) -> tuple[object, ...]:
    """What a pair says; pictures by what they hold, since each reader fetches them in its own way."""
    picture = pair.inputs["image"]
    held = picture().tobytes() if callable(picture) else Path(str(picture)).read_bytes()
    return pair.id, pair.inputs["text"], dict(pair.sources), pair.label, pair.subject, pair.kind, held


@pytest.mark.parametrize("form", FORMS)
def test_indexed_pairs_are_those_in_memory(form: str, tmp_path: Path) -> None:
    columns = write(tmp_path / "data", form)
    memory, index = load_data(str(tmp_path / "data"), columns=columns), indexed(tmp_path / "data", tmp_path, columns)
    assert list(index.splits) == list(memory.splits) == ["train", "val"]
    for split, pairs in memory.splits.items():
        of_index = index.splits[split]
        assert [told(pair) for pair in of_index] == [told(pair) for pair in pairs]
        assert [told(of_index[at]) for at in (5, -1, 0)] == [told(pairs[at]) for at in (5, len(pairs) - 1, 0)]
        assert (of_index.kinds, of_index.labels) == (pairs.kinds, pairs.labels)
        assert of_index.index[pairs[3].id] == 3
    assert (index.name, index.classes) == (memory.name, memory.classes)


REQUESTS: Sequence[dict[str, Sequence[str] | str]] = (
    {"ids": ["row-3", "row-0"]},
    {"subjects": ["person 2"]},
    {"ids": ["row-3"], "unit": "subject"},
    {"ids": ["row-3"], "unit": "image"},
    {"ids": ["row-3", "row-3"]},
    {"ids": ["nobody"]},
    {"ids": ["Row-3"]},
    {"ids": ["row-17"]},
    {"subjects": ["Person 2"]},
    {"subjects": ["person 9"]},
    {"subjects": [f"person {n}" for n in range(8)]},
    {"images": ["images/3.png"]},
    {"images": ["3.png"]},
    {"images": ["nothing.png"]},
    {},
)


@pytest.mark.parametrize("named", REQUESTS, ids=str)
def test_requests_come_to_the_same(named: dict[str, Sequence[str]], tmp_path: Path) -> None:
    write(tmp_path / "data", "jsonl")
    both = []
    for data in (load_data(str(tmp_path / "data")), indexed(tmp_path / "data", tmp_path)):
        try:
            both.append(str(vars(resolve_request(data, **named))))  # type: ignore[arg-type]
        except RequestError as error:
            both.append(str(error))
    assert both[0] == both[1]


def test_named_picture_is_found_by_its_bytes(tmp_path: Path) -> None:
    write(tmp_path / "data", "jsonl")
    shutil.copy(tmp_path / "data" / "images" / "2.png", tmp_path / "mine.png")
    data = indexed(tmp_path / "data", tmp_path)
    request = resolve_request(data, images=[str(tmp_path / "mine.png")])
    assert request.ids == ("row-2", "row-6", "row-10", "row-14")


def test_pictures_of_the_same_bytes_are_one(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 8))
    shutil.copy(tmp_path / "data" / "images" / "0.png", tmp_path / "data" / "images" / "1.png")
    memory, index = load_data(str(tmp_path / "data")), indexed(tmp_path / "data", tmp_path)
    assert [pair.sources for pair in index.train] == [pair.sources for pair in memory.train]
    assert resolve_request(index, images=["1.png"]).ids == resolve_request(memory, images=["1.png"]).ids


def test_what_is_left_out_is_in_no_answer(tmp_path: Path) -> None:
    write(tmp_path / "data", "jsonl")
    memory, index = load_data(str(tmp_path / "data")).train, indexed(tmp_path / "data", tmp_path).train
    gone = ["row-0", "row-5", "row-6", "row-15"]
    for kept in (index.without(gone, "retain"), index.without(gone[:2], "some").without(gone[2:], "retain")):
        expected = memory.without(gone, "retain")
        assert kept.ids == expected.ids
        assert [kept[at].id for at in range(len(kept))] == expected.ids
        assert "row-5" not in kept.index
        assert not list(kept.meant({"id": gone}))
        assert (kept.labels, kept.kinds) == (expected.labels, expected.kinds)
        for modality in ("image", "text"):
            known, theirs = kept.knows(modality), expected.knows(modality)
            every = memory.sources(modality)
            assert {source for source in every if source in known} == {one for one in every if one in theirs}
        joined = kept.joined("image", "text")
        sources = [(pair.sources["image"], pair.sources["text"]) for pair in memory]
        assert [one in joined for one in sources] == [pair.id not in gone for pair in memory]


def test_digest_is_of_the_pairs_that_are_there_in_any_order(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 8))
    whole = indexed(tmp_path / "data", tmp_path / "a").train
    write_jsonl(tmp_path / "data" / "0.jsonl", [*rows(3, 5), *rows(0, 2)])
    less = indexed(tmp_path / "data", tmp_path / "b").train
    assert whole.without(["row-2"], "retain").digest == less.digest != whole.digest


def test_repeats_without_ids_are_left_out_as_in_memory(tmp_path: Path) -> None:
    some = rows(0, 5)
    write_jsonl(tmp_path / "data" / "0.jsonl", [*some, some[1], some[1]], ids=False)
    write_jsonl(tmp_path / "data" / "1.jsonl", [some[4], *rows(5, 2)], ids=False)
    memory, index = load_data(str(tmp_path / "data")), indexed(tmp_path / "data", tmp_path)
    assert index.train.ids == memory.train.ids
    assert [index.train[at].id for at in range(7)] == memory.train.ids
    assert any("3 exact repeats dropped from train" in note for note in index.notes)
    (other,) = (indexed(tmp_path / "other", tmp_path / "o") for _ in range(write_without_repeats(tmp_path / "other")))
    assert index.train.digest == other.train.digest


def write_without_repeats(folder: Path) -> int:
    write_jsonl(folder / "0.jsonl", rows(0, 7), ids=False)
    return 1


def test_kept_repeats_are_found_by_text_and_picture(tmp_path: Path) -> None:
    some = [dict(row) for row in rows(0, 8)]
    some[6] |= {"text": some[2]["text"].upper()}  # picture 2 as well
    some[5] |= {"text": some[2]["text"]}  # with another picture
    write_jsonl(tmp_path / "data" / "0.jsonl", some)
    memory, index = load_data(str(tmp_path / "data")), indexed(tmp_path / "data", tmp_path)
    assert kept_repeats(index.train, ["row-2"]) == kept_repeats(memory.train, ["row-2"]) == ["row-6"]


def test_labels_are_numbered_and_named_as_in_memory(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 6))
    file = tmp_path / "data" / "0.jsonl"
    lines = file.read_text().splitlines()
    for labels in (["yes", "no", "yes", "", "no", "maybe"], [2, 0, 1, -1, 0, 1]):
        told = [
            line[:-1] + f', "label": {repr(label).replace(chr(39), chr(34))}}}'
            for line, label in zip(lines, labels, strict=True)
        ]
        file.write_text("\n".join(told))
        memory, index = load_data(str(tmp_path / "data")), indexed(tmp_path / "data", tmp_path)
        assert index.classes == memory.classes
        assert [pair.label for pair in index.train] == [pair.label for pair in memory.train]
        assert index.train.labels == memory.train.labels


def test_unchanged_shards_are_not_read_again(tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")

    def made() -> Built:
        return write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))[1]

    assert made().read == 3
    first = indexed_data(tmp_path / "index" / FILE)
    before = [told(pair) for pair in first.train]
    assert made().read == 0
    assert [told(pair) for pair in indexed_data(tmp_path / "index" / FILE).train] == before
    os.utime(tmp_path / "data" / "train-0.tar", (1, 1))
    assert made().read == 0
    write_tar(tmp_path / "data" / "train-1.tar", rows(100, 6))
    assert made().read == 1
    again, fresh = indexed_data(tmp_path / "index" / FILE), indexed(tmp_path / "data", tmp_path / "fresh", columns)
    assert again.train.digest == fresh.train.digest
    assert [told(pair) for pair in again.train] == [told(pair) for pair in fresh.train]
    assert [told(pair) for pair in first.train[[0, 9]]] == [before[0], before[9]] or first.train.ids  # still readable


def gone(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-600])


def changed(path: Path) -> None:
    write_tar(path, rows(0, 9))


@pytest.mark.parametrize(
    ("damage", "says"), [(gone, "1 shard is gone"), (cut, "shorter than when"), (changed, "changed since")]
)
def test_shard_that_is_gone_cut_or_changed_is_named(damage: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))
    damage(tmp_path / "data" / "train-1.tar")
    with pytest.raises(DataError, match=says) as error:
        load_data(f"index:{tmp_path / 'index'}")
    assert "train-1.tar" in str(error.value)


@pytest.mark.parametrize("form", ["tar", "parquet"])
def test_shard_that_goes_while_it_is_read_is_named(form: str, tmp_path: Path) -> None:
    data = indexed(tmp_path / "data", tmp_path, write(tmp_path / "data", form))
    shard = tmp_path / "data" / f"train-0.{form}"  # which holds all pictures first
    for damage in (cut, gone) if form == "tar" else (gone,):
        shard.write_bytes(shard.read_bytes()[:1200]) if damage is cut else damage(shard)
        with pytest.raises(DataError, match=rf"images of data train cannot be read: sha256:\w+ \(.*train-0\.{form}"):
            check_images(data.train)


def test_damaged_index_is_told_and_made_anew(tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    options = IndexOptions(columns=columns)
    write_index(str(tmp_path / "data"), tmp_path / "index", options)
    file = tmp_path / "index" / FILE
    whole = file.read_bytes()
    for damaged in (whole[:5000], b"", b"no database at all, but a text" * 100):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"index\.sqlite (is no index|is damaged|cannot be opened)"):
            load_data(f"index:{tmp_path / 'index'}").train.ids  # noqa: B018
        assert write_index(str(tmp_path / "data"), tmp_path / "index", options)[1].pairs == 24


def test_index_of_other_data_is_not_replaced(tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))
    with pytest.raises(CheckpointError, match="is the index of"):
        write_index(str(tmp_path / "data" / "train-0.tar"), tmp_path / "index", IndexOptions(columns=columns))


def test_killed_index_leaves_the_old_one(tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))
    write_tar(tmp_path / "data" / "train-1.tar", rows(100, 6))
    whole = (tmp_path / "index" / FILE).read_bytes()
    pid = os.fork()
    if pid == 0:
        sys.addaudithook(lambda event, _: os.kill(os.getpid(), signal.SIGKILL) if event == "os.rename" else None)
        write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert (tmp_path / "index" / FILE).read_bytes() == whole
    assert write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))[1].read == 1
    assert load_data(f"index:{tmp_path / 'index'}").train[9].id == "row-101"


def test_index_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "data", "jsonl")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(run(["data", str(tmp_path / "data"), "--index-folder", str(tmp_path / "index")]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_pattern_without_an_index_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"A pattern names shards for an index: multidelete data '.*' --index"):
        load_data(f"{tmp_path}/{{0..3}}.tar")


def test_what_is_odd_is_noted(tmp_path: Path) -> None:
    some = [dict(row) for row in rows(0, 4)]
    some[2]["text"] = "caf\u00c3\u00a9"
    write_jsonl(tmp_path / "data" / "0.jsonl", some)
    notes = indexed(tmp_path / "data", tmp_path).notes
    assert any("signs as of text that was read in another encoding in the text: row 3" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("0.csv", 'file_name,id,text\nimages/0.png,a,"x\nimages/1.png,b,y\n', "line 2 has quotation marks that do not"),
        ("0.csv", "file_name,id,text\nimages/0.png,a\n", "1 row has more or fewer cells"),
        ("0.tsv", "file_name,id,text\nimages/0.png,a,x\n", "separated by commas"),
        ("0.csv", "file_name,id,text\nimages/0.png,a,\n", "rows? ha(s|ve) no text, .*row 1"),
        ("0.csv", "file_name,text,text\nimages/0.png,a,b\n", "stands twice in its header"),
    ],
)
def test_delimited_shards_are_refused_as_other_tables(name: str, content: str, says: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data")
    (tmp_path / "data" / name).write_text(content)
    for read in (lambda: load_data(str(tmp_path / "data")), lambda: indexed(tmp_path / "data", tmp_path)):
        with pytest.raises(DataError, match=says):
            read()


def test_delimited_shards_are_read_with_their_notes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data")
    (tmp_path / "data" / "0.tsv").write_text('file_name\tid\ttext\nimages/0.png\ta\t12" disc\nimages/1.png\tb\t"x"\n')
    memory, index = load_data(str(tmp_path / "data")), indexed(tmp_path / "data", tmp_path)
    assert [told(pair) for pair in index.train] == [told(pair) for pair in memory.train]
    assert index.train[1].text == '"x"'
    assert set(index.notes) == set(memory.notes) != set()


def test_wrong_rows_are_refused_with_their_places(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 3))
    with (tmp_path / "data" / "0.jsonl").open("a") as file:
        file.write('{"file_name": "images/9.png", "id": "x", "text": "a", "split": "train"}\n{"file_name": 1}\n[]\n{\n')
    with pytest.raises(DataError) as error:
        indexed(tmp_path / "data", tmp_path)
    assert "9.png" in str(error.value)
    assert "rows have no text, or one that is not a text: row 5" in str(error.value).replace("1 row has", "rows have")


def test_ids_that_occur_twice_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", [*rows(0, 3), *rows(1, 1)])
    with pytest.raises(DataError, match="1 id occurs more than once in data train: row-1"):
        indexed(tmp_path / "data", tmp_path)


def test_column_that_comes_late_is_not_passed_over(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 1200))
    with (tmp_path / "data" / "0.jsonl").open("a") as file:
        file.write('{"file_name": "images/0.png", "id": "x", "text": "a", "split": "train", "label": "cat"}\n')
    with pytest.raises(DataError, match=r"--columns names them \(label=label\): 0.jsonl row 1201"):
        indexed(tmp_path / "data", tmp_path)


def test_pairs_are_read_in_other_processes(tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    train = indexed(tmp_path / "data", tmp_path, columns).train
    first = train[0].id
    again = pickle.loads(pickle.dumps(train))  # noqa: S301 - as workers that prepare batches get it
    assert again[0].id == first
    assert again.pairs.many(np.array([3, 1]).tolist())[0].id == train[3].id
    pid = os.fork()
    if pid == 0:
        os._exit(0 if train[1].id == "row-1" else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_second_process_reads_while_the_index_is_made_anew(tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        train = load_data(f"index:{tmp_path / 'index'}").train
        begun = train[0].id == "row-0"
        os.write(ready[1], b".")
        os.read(go[0], 1)
        os._exit(0 if begun and train[9].id == "row-9" else 1)
    os.read(ready[0], 1)
    write_tar(tmp_path / "data" / "train-1.tar", rows(100, 6))
    write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))
    assert load_data(f"index:{tmp_path / 'index'}").train[9].id == "row-101"
    os.write(go[1], b".")
    assert os.waitpid(pid, 0)[1] == 0


def test_pair_dataset_in_memory_answers_as_before() -> None:
    pairs = PairDataset([Pair(id="1", inputs={"image": "a.png", "text": "x"})], "train")
    assert list(pairs.meant({"id": ["2"]})) == list(pairs.pairs)
    assert ("a.png", "x") in pairs.joined("image", "text")
