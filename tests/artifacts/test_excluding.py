"""Delete lists for training loops that stay outside, and shards without what is on them."""

import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from PIL import Image

from multidelete.artifacts.excluding import Excluded, exclude, read_excluded, rewritten
from multidelete.artifacts.indexing import index_for, write_index
from multidelete.artifacts.locks import sole_writer
from multidelete.cli import main, run
from multidelete.core.errors import DataError, RequestError
from multidelete.data.index.build import IndexOptions
from multidelete.data.index.dataset import IndexedDataset, indexed_data
from multidelete.data.request import resolve_request
from tests.data.sharded import COLUMNS, rows, write_csv, write_jsonl, write_parquet, write_pictures, write_tar

SHARDS, EACH = 100, 3
GONE = ["row-0", "row-7", "row-8", "row-150", "row-299"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred archives of three rows."""
    folder = tmp_path_factory.mktemp("data") / "shards"
    for number in range(SHARDS):
        write_tar(folder / f"{number:04}.tar", rows(number * EACH, EACH))
    return folder


def lists_of(spec: str, out: Path, ids: Sequence[str] = GONE, *, columns: dict[str, str] | None = None) -> Excluded:
    with index_for(spec, IndexOptions(columns=columns or {})) as file:
        pairs = indexed_data(file)
        assert isinstance(pairs.train, IndexedDataset)
        request = resolve_request(pairs, ids=ids)
        return exclude(pairs.train, request, out, id_column=pairs.train.pairs.file.meta.columns.get("id"))


def left_by(code: str, dataset: Any) -> Any:
    """A data set after the two lines, as they are pasted into a loop."""
    assert len(code.split("\n")) == 2
    names = {"dataset": dataset, "Path": Path}
    exec(code, names)
    return names["dataset"]


def test_each_pair_is_on_the_list_of_its_shard_once(shards: Path, tmp_path: Path) -> None:
    lists_of(f"{shards}/{{0000..0099}}.tar", tmp_path / "lists", columns=COLUMNS)
    written = {path.name: path.read_text().split() for path in (tmp_path / "lists").glob("*.tar.txt")}
    assert written == {
        "0000.tar.txt": ["row-0"], "0002.tar.txt": ["row-7", "row-8"], "0050.tar.txt": ["row-150"],
        "0099.tar.txt": ["row-299"],
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_webdataset_leaves_out_what_is_on_the_lists(shards: Path, tmp_path: Path) -> None:
    done = lists_of(str(shards), tmp_path / "lists", columns=COLUMNS)
    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    kept = left_by(done.filters["webdataset"], wds.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert sorted(row["__key__"] for row in kept) == sorted({f"row-{n}" for n in range(300)} - set(GONE))


def test_datasets_leaves_out_what_is_on_the_lists(shards: Path, tmp_path: Path) -> None:
    done = lists_of(str(shards), tmp_path / "lists", columns=COLUMNS)
    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    stream = datasets.load_dataset("webdataset", data_files=urls, streaming=True, split="train")
    kept = left_by(done.filters["datasets"], stream)
    assert sorted(row["__key__"] for row in kept) == sorted({f"row-{n}" for n in range(300)} - set(GONE))


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "row numbers"])
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_datasets_leaves_rows_of_tables_out(kind: str, ids: bool, tmp_path: Path) -> None:
    write = {"parquet": write_parquet, "jsonl": write_jsonl, "csv": write_csv}[kind]
    for number in range(3):
        write(tmp_path / "data" / f"{number}.{kind}", rows(number * 5, 5), ids=ids)
    spec, out = str(tmp_path / "data"), tmp_path / "lists"
    with index_for(spec, IndexOptions()) as file:
        train = indexed_data(file).train
        known = {str(pair.inputs["text"]): pair.id for pair in train}
    texts = list(known)
    gone = [texts[3], texts[4], texts[12]]
    done = lists_of(spec, out, [known[text] for text in gone])
    files = [str(tmp_path / "data" / f"{number}.{kind}") for number in range(3)]
    builder = kind.removesuffix("l")
    kept = left_by(done.filters["datasets"], datasets.load_dataset(builder, data_files=files, split="train"))
    assert [row["text"] for row in kept] == [text for text in texts if text not in gone]


@pytest.mark.parametrize("kind", ["float", "class"])
def test_ids_that_are_read_as_something_else_are_listed_by_row(kind: str, tmp_path: Path) -> None:
    feature = datasets.Value("float64") if kind == "float" else datasets.ClassLabel(names=list("abcdef"))
    columns = {"id": list(range(6)), "text": [f"thing {n}" for n in range(6)], "file_name": ["images/0.png"] * 6}
    features = datasets.Features(
        {"id": feature, "text": datasets.Value("string"), "file_name": datasets.Value("string")}
    )
    write_pictures(tmp_path / "data")
    file = tmp_path / "data" / "0.parquet"
    datasets.Dataset.from_dict(columns, features).to_parquet(file)
    done = lists_of(str(file), tmp_path / "lists", ["2" if kind == "float" else "c"])
    kept = left_by(done.filters["datasets"], datasets.load_dataset("parquet", data_files=str(file), split="train"))
    assert [row["text"] for row in kept] == [f"thing {n}" for n in range(6) if n != 2]


def test_repeats_of_a_pair_without_an_id_go_with_it(tmp_path: Path) -> None:
    row = rows(0, 1)[0]
    write_jsonl(tmp_path / "data" / "0.jsonl", [row, *rows(1, 3), row], ids=False)
    write_jsonl(tmp_path / "data" / "1.jsonl", [row], ids=False)
    with index_for(str(tmp_path / "data"), IndexOptions()) as file:
        (pair_id,) = (pair.id for pair in indexed_data(file).train if pair.inputs["text"] == row["text"])
    lists_of(str(tmp_path / "data"), tmp_path / "lists", [pair_id])
    assert (tmp_path / "lists" / "0.jsonl.txt").read_text() == "0\n4\n"
    assert (tmp_path / "lists" / "1.jsonl.txt").read_text() == "0\n"
    assert (tmp_path / "lists" / "all.txt").read_text() == "0\n4\n5\n"


def test_row_that_holds_other_pairs_too_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 4))
    file = tmp_path / "data" / "0.jsonl"
    file.write_text(
        file.read_text()
        + '{"file_name": "images/0.png", "id": "two", "split": "train", "text": ["a dog", "the dog"]}\n'
    )
    with pytest.raises(RequestError, match=r"1 pair stands in a row with others that are to stay.*two#0"):
        lists_of(str(tmp_path / "data"), tmp_path / "lists", ["two#0"])
    both = lists_of(str(tmp_path / "data"), tmp_path / "lists", ["two#0", "two#1"])
    assert both.touched[0].at == [4]
    assert (tmp_path / "lists" / "0.jsonl.txt").read_text() == "two\n"


def test_pictures_that_only_deleted_rows_have_are_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 7))
    done = lists_of(str(tmp_path / "data"), tmp_path / "lists", ["row-3", "row-0"])
    assert [path.name for path in done.pictures] == ["3.png"]


def test_pictures_of_held_out_pairs_with_the_same_ids_are_not_named(tmp_path: Path) -> None:
    train = [{**row, "picture": picture} for row, picture in zip(rows(0, 4), "0011", strict=True)]
    held_out = [{**row, "picture": picture, "split": "test"} for row, picture in zip(rows(0, 3), "023", strict=True)]
    write_jsonl(tmp_path / "data" / "train-0.jsonl", train)
    write_jsonl(tmp_path / "data" / "test-0.jsonl", held_out)
    assert not lists_of(str(tmp_path / "data"), tmp_path / "lists", ["row-0", "row-1"]).pictures
    write_jsonl(tmp_path / "data" / "test-0.jsonl", held_out[1:])
    alone = lists_of(str(tmp_path / "data"), tmp_path / "more", ["row-0", "row-1"]).pictures
    assert [path.name for path in alone] == ["0.png"]


def test_picture_to_which_a_link_of_a_kept_row_leads_is_not_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 4))
    (tmp_path / "data" / "images" / "link.png").symlink_to("2.png")
    with (tmp_path / "data" / "0.jsonl").open("a") as file:
        file.write('{"file_name": "images/link.png", "id": "kept", "text": "a thing", "split": "train"}\n')
    done = lists_of(str(tmp_path / "data"), tmp_path / "lists", ["row-2", "row-3"])
    assert [path.name for path in done.pictures] == ["3.png"]


def content_of_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_rewritten_archives_keep_all_other_files_as_they_are(shards: Path, tmp_path: Path) -> None:
    done = lists_of(str(shards), tmp_path / "lists", columns=COLUMNS)
    before = {path.name: path.read_bytes() for path in shards.glob("*.tar")}
    new = rewritten(done, tmp_path / "new")
    assert [path.name for path in new] == ["0000.tar", "0002.tar", "0050.tar", "0099.tar"]
    assert {path.name: path.read_bytes() for path in shards.glob("*.tar")} == before
    for path in new:
        old = content_of_tar(shards / path.name)
        kept = {name: data for name, data in old.items() if name.partition(".")[0] not in GONE}
        assert content_of_tar(path) == kept
        assert not any(name.encode() in path.read_bytes() for name in old.keys() - kept.keys())
    assert content_of_tar(new[1]) == {name: data for name, data in content_of_tar(shards / "0002.tar").items()
                                      if name.startswith("row-6.")}  # fmt: skip


def test_rewritten_parquet_has_the_same_schema_and_groups(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "0.parquet", rows(0, 10))
    done = lists_of(str(tmp_path / "data"), tmp_path / "lists", ["row-4", "row-5", "row-6", "row-7", "row-9"])
    (new,) = rewritten(done, tmp_path / "new")
    old, kept = pq.read_table(tmp_path / "data" / "0.parquet"), pq.read_table(new)
    assert kept.schema.equals(old.schema, check_metadata=True)
    staying = {"row-0", "row-1", "row-2", "row-3", "row-8"}
    assert kept.to_pylist() == [row for row in old.to_pylist() if row["id"] in staying]
    assert [pq.read_metadata(new).row_group(at).num_rows for at in range(2)] == [4, 1]


def test_rewritten_lines_are_the_others_byte_by_byte(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 4))
    file = tmp_path / "data" / "0.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"\n" + b"".join(lines[1:]))
    done = lists_of(str(tmp_path / "data"), tmp_path / "lists", ["row-1"])
    rewritten(done, None)
    assert file.read_bytes() == lines[0] + b"\n" + lines[2] + lines[3]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_rewritten_delimited_shards_are_the_others_byte_by_byte(end: str, mark: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data")
    lines = [
        "file_name,id,text", "images/0.png,a,one", f'images/1.png,b,"two,{end}{end}lines of ""it"""', "",
        "images/2.png,c,x",
        f'images/3.png,007,"three{end}"', 'images/3.png,"e",é',
    ]  # fmt: skip
    file = tmp_path / "data" / "0.csv"
    for gone, without in ((["b", "007"], (2, 5)), (["e"], (6,)), (["a", "c"], (1, 4))):
        file.write_bytes((mark + end.join(lines)).encode())
        done = lists_of(str(tmp_path / "data"), tmp_path / "lists", gone)
        rewritten(done, None)
        kept = [line + end * (at < 6) for at, line in enumerate(lines) if at not in without]
        assert file.read_bytes() == (mark + "".join(kept)).encode()
        assert rewritten(done, None) == [file]  # which finds it done
        shutil.rmtree(tmp_path / "lists")


def test_table_that_would_be_read_in_another_way_is_not_rewritten(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data")
    file = tmp_path / "data" / "0.tsv"
    file.write_text('file_name\tid\ttext\nimages/0.png\ta\t"12"" disc"\nimages/1.png\tb\t"x"\nimages/1.png\tc\ty\n')
    done = lists_of(str(file), tmp_path / "lists", ["a"])
    before = file.read_bytes()
    with pytest.raises(DataError, match="without these rows, quotation marks around other cells would be read as part"):
        rewritten(done, None)
    assert file.read_bytes() == before


def copied(shards: Path, tmp_path: Path) -> Path:
    """A few of the shards, and the lists that the command writes of what goes from them."""
    for number in (0, 2, 50):
        (tmp_path / "shards").mkdir(exist_ok=True)
        shutil.copy(shards / f"{number:04}.tar", tmp_path / "shards")
    (tmp_path / "request.txt").write_text("".join(f"{one}\n" for one in GONE[:4]))
    assert run(["exclude", "--data", str(tmp_path / "shards"), *AS_COLUMNS, "--forget", str(tmp_path / "request.txt"),
                "--out", str(tmp_path / "lists")]) == 0  # fmt: skip
    return tmp_path / "shards"


AS_COLUMNS = ("--columns", "image=png,text=txt,id=__key__")
IN_PLACE = ("exclude", "--data", "shards", "--out", "lists", "--resume", "--in-place")


def child(folder: Path, *, kill_at: int | None = None, file_bytes: int | None = None) -> int:
    """Rewrite in place in a process of its own, which dies before a rename or is not let write large files."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in ("os.rename", "open") and str(arguments[0]).endswith(".tar.new"):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    if kill_at is not None:
        sys.addaudithook(hook)
    if file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    sys.argv = ["multidelete", *IN_PLACE]
    code = 1
    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    os._exit(code)


def test_killed_rewriting_leaves_old_or_new_shards_and_goes_on(shards: Path, tmp_path: Path) -> None:
    folder = copied(shards, tmp_path)
    old = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
    for path in (done := read_excluded(tmp_path / "lists")).touched:
        assert path.path.parent == folder
    new = {path.name: path.read_bytes() for path in rewritten(done, tmp_path / "new")}
    for at in range(1, 8):
        ended = child(tmp_path, kill_at=at)
        assert ended in (-signal.SIGKILL, 0)
        now = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
        assert all(content in (old[name], new[name]) for name, content in now.items())
    assert child(tmp_path) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == new


def test_full_disk_leaves_the_old_shard(shards: Path, tmp_path: Path) -> None:
    folder = copied(shards, tmp_path)
    old = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
    assert child(tmp_path, file_bytes=4096) == 2
    assert {path.name: path.read_bytes() for path in folder.glob("[!.]*")} == old
    assert child(tmp_path) == 0
    assert {path.name for path in folder.iterdir()} == set(old)
    assert "row-0.png" not in content_of_tar(folder / "0000.tar")


def test_shard_that_changed_since_is_not_rewritten(shards: Path, tmp_path: Path) -> None:
    folder = copied(shards, tmp_path)
    write_tar(folder / "0000.tar", rows(0, 5))
    with pytest.raises(DataError, match="has changed since the lists were written"):
        rewritten(read_excluded(tmp_path / "lists"), None)


def test_lists_answer_for_every_row_of_the_request(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=re.escape("1 of 2 ids is not among the training pairs of shards: nobody")):
        lists_of(str(shards), tmp_path / "lists", ["row-0", "nobody"], columns=COLUMNS)
    assert not (tmp_path / "lists").exists()


def test_pattern_with_missing_shards_names_them(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 shards are missing: .*0100.tar, .*0101.tar"):
        lists_of(f"{shards}/{{0098..0101}}.tar", tmp_path / "lists", columns=COLUMNS)


def test_cut_archive_is_named(shards: Path, tmp_path: Path) -> None:
    whole = (shards / "0000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        last = list(archive)[3].offset
    (tmp_path / "data").mkdir()
    for end in (last, last + 700):  # between two files, and within one
        (tmp_path / "data" / "0.tar").write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"0\.tar cannot be loaded as a data set: it is (cut|no whole)"):
            lists_of(str(tmp_path / "data"), tmp_path / "lists", columns=COLUMNS)


@pytest.mark.parametrize("resume", [False, True], ids=["at once", "resumed"])
@pytest.mark.parametrize("to", [["--in-place"], ["--rewrite", "new"]], ids=["in place", "folder"])
def test_no_filter_by_row_is_left_for_rewritten_shards(
    to: list[str], resume: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "data" / "0.csv", rows(0, 4))
    command = ["exclude", "--data", "data", "--forget-subject", "person 0", "--out", "lists", "--json"]
    if resume:
        assert run(command) == 0
        assert list(json.loads(capsys.readouterr().out)["filters"]) == ["datasets"]
    assert run([*command, *to, *["--resume"] * resume]) == 0
    assert json.loads(capsys.readouterr().out)["filters"] == {}
    assert "No filter is needed" in (tmp_path / "lists" / "FILTER.md").read_text()
    assert "dataset.filter" not in "".join(path.read_text() for path in (tmp_path / "lists").iterdir())
    assert not (tmp_path / "lists" / "all.txt").exists()
    assert run([*command[:-1], *to, "--resume"]) == 0
    told = capsys.readouterr().out
    assert "none is needed" in told
    assert "gone = " not in told


@pytest.mark.parametrize("spec", ["data", "index:data", "data/{0..0}.jsonl"])
def test_index_that_still_holds_captions_is_named(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "data" / "0.jsonl", rows(0, 4))
    write_index("data", None, IndexOptions())
    command = ["exclude", "--data", spec, "--forget-subject", "person 0", "--out", "lists", "--in-place", "--json"]
    assert run(command) == 0
    told = capsys.readouterr()
    folder = tmp_path / "data" / ".multidelete-index"
    assert json.loads(told.out)["stale_indices"] == [str(folder)]
    assert "holds ids and captions of the deleted pairs" in told.err
    assert "multidelete data data --index" in told.err
    assert b"thing 0 of person 0" in (folder / "index.sqlite").read_bytes()
    write_index("data", None, IndexOptions())
    assert b"thing 0 of person 0" not in (folder / "index.sqlite").read_bytes()
    assert run([*command, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["stale_indices"] == []


def test_begun_rewriting_is_told_before_ids_are_looked_for(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(shards, tmp_path)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    command = ["exclude", "--data", "shards", *AS_COLUMNS, "--forget", "request.txt", "--in-place", "--out"]
    assert child(tmp_path, kill_at=4) == -signal.SIGKILL
    for more in ([], ["--overwrite"]):
        assert run([*command, "lists", *more]) == 2
        assert "did not end. Give --resume" in capsys.readouterr().err
    assert run([*command, "others"]) == 2
    assert f"with --out {tmp_path / 'lists'} --resume" in capsys.readouterr().err
    with sole_writer(tmp_path / "shards" / "exclude"):
        for out in ("lists", "others"):
            assert run([*command, out]) == 2
            told = capsys.readouterr().err
            assert f"{tmp_path / 'shards'} is being written by process {os.getpid()}" in told
            assert "Wait" in told
        assert run([*command, "lists", "--resume"]) == 2
    assert run([*command, "lists", "--resume"]) == 0
    capsys.readouterr()
    assert run([*command, "lists"]) == 2
    assert "are gone from the shards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("request_flags", "told"),
    [
        (["--forget", "other.txt"], "lists were written for another request, of 4 pairs"),
        (["--forget", "nothing.txt"], "nothing.txt cannot be read: No such file"),
        (["--forget", "request.txt", "--unit", "subject"], "lists were written for another request"),
        (["--forget-subject", "person 0"], "lists were written for another request"),
        (["--forget", "request.txt", "--forget-subject", "person 9"], "lists were written for another request"),
    ],
    ids=["other file", "no file", "unit", "subject", "more"],
)
def test_another_request_is_not_resumed(
    request_flags: list[str], told: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = copied(shards, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text("row-1\n")
    command = ["exclude", "--data", "shards", *AS_COLUMNS, "--out", "lists", "--resume", "--in-place"]
    for begin in (None, 4):
        if begin:
            assert child(tmp_path, kill_at=begin) == -signal.SIGKILL
        capsys.readouterr()
        before = {path: path.read_bytes() for path in (*folder.iterdir(), *(tmp_path / "lists").iterdir())}
        assert run([*command, *request_flags]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert "leave" in error
        assert {path: path.read_bytes() for path in (*folder.iterdir(), *(tmp_path / "lists").iterdir())} == before
    assert run([*command, "--forget", "request.txt"]) == 0


def test_changed_request_file_is_another_request(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(shards, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "request.txt").rename(tmp_path / "kept.txt")
    (tmp_path / "request.txt").write_text("row-1\n")
    command = ["exclude", "--data", "shards", *AS_COLUMNS, "--out", "lists", "--resume", "--rewrite", "new"]
    assert run([*command, "--forget", "request.txt"]) == 2
    assert "lists were written for another request" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert run([*command, "--forget", "kept.txt"]) == 0


def test_lists_that_are_resumed_tell_their_pictures(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    rows = [{"id": f"row-{n}", "file_name": f"{n}.png", "text": f"text {n}"} for n in range(4)]
    for row in rows:
        Image.new("RGB", (8, 8)).save(tmp_path / "shards" / row["file_name"])
    (tmp_path / "shards" / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    made = lists_of(str(tmp_path / "shards"), tmp_path / "lists", ids=["row-1"])
    assert [Path(str(one)).name for one in made.pictures] == ["1.png"]
    assert list(read_excluded(tmp_path / "lists").pictures) == list(made.pictures)


def test_lists_that_do_not_tell_their_request_are_resumed_without_one(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists_of(str(shards), tmp_path / "lists", columns=COLUMNS)
    command = ["exclude", "--data", str(shards), "--out", str(tmp_path / "lists"), "--resume", "--rewrite"]
    assert run([*command, str(tmp_path / "new"), "--forget-subject", "person 0"]) == 2
    assert "do not tell for which request they were written" in capsys.readouterr().err
    assert run([*command, str(tmp_path / "new")]) == 0


def test_other_data_is_not_resumed(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(shards, tmp_path)
    monkeypatch.chdir(tmp_path)
    write_index("shards", None, IndexOptions(columns=COLUMNS))
    shutil.copytree(folder, tmp_path / "others")
    before = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
    command = ["exclude", "--out", "lists", "--resume", "--in-place", "--data"]
    for spec in ("others", "shards/{0000,0002}.tar"):
        assert run([*command, spec]) == 2
        error = capsys.readouterr().err
        assert f"lists in lists are of 3 shards, and {spec} names other ones" in error
        assert f"{folder / '0050.tar'}" in error
    assert {path.name: path.read_bytes() for path in folder.glob("*.tar")} == before
    assert run([*command, "index:shards"]) == 0


def test_nothing_to_resume_is_said(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(shards, tmp_path)
    monkeypatch.chdir(tmp_path)
    command = ["exclude", "--data", "shards", "--resume", "--in-place", "--out"]
    assert run([*command, "nowhere"]) == 2
    assert "There is nothing to resume: nowhere holds no lists. Write them first" in capsys.readouterr().err
    said = "nothing is left to resume. The rows on the lists in lists are gone from the shards in their place"
    for told in (False, True):
        assert run([*command, "lists"]) == 0
        assert (said in capsys.readouterr().err) is told


def test_shards_are_resumed_where_they_were_begun_and_from_one_sort_of_lists(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(shards, tmp_path)
    shutil.copytree(tmp_path / "lists", tmp_path / "more")
    monkeypatch.chdir(tmp_path)
    command = ["exclude", "--data", "shards", "--resume", "--out"]
    capsys.readouterr()
    assert child(tmp_path, kill_at=4) == -signal.SIGKILL
    before = {path: path.read_bytes() for path in (*folder.glob("*.tar"), *(tmp_path / "lists").iterdir())}
    assert run([*command, "lists", "--rewrite", "new"]) == 2
    assert "being taken out of the shards, which did not end, by --in-place" in capsys.readouterr().err
    assert run([*command, "more", "--in-place"]) == 2
    assert f"from the lists in {tmp_path / 'lists'}, and that did not end" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (*folder.glob("*.tar"), *(tmp_path / "lists").iterdir())} == before
    assert run([*command, "lists", "--in-place"]) == 0
    assert run([*command, "lists", "--rewrite", "new"]) == 2
    assert "are gone from the shards by --in-place" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
