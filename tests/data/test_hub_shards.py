"""Data sets of the hub, read where they lie: to a small stand-in of it; the library that asks is real."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from multidelete.artifacts.indexing import write_index
from multidelete.cli import run
from multidelete.core.errors import DataError
from multidelete.data.generated.personas import write_personas
from multidelete.data.images import check_images
from multidelete.data.index.build import IndexOptions, build_index
from multidelete.data.index.dataset import indexed_data
from multidelete.data.index.file import FILE
from multidelete.data.pairs import PairData
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request
from multidelete.unlearning import unlearn
from tests.data.hub_of_data import NAME, SPEC, DataHub, data_hub
from tests.data.sharded import COLUMNS, Row, picture, rows, write_csv, write_jsonl, write_parquet, write_tar
from tests.data.test_index import FORMS, told, write
from tests.tiny import own_clip

QUICK = {"passes": 1, "batch_size": 2, "retain_sample": 2, "checkpoint_steps": 0, "device": "cpu"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[DataHub]:
    with data_hub(monkeypatch) as server:
        yield server


def many(count: int, *, split: str = "train") -> list[Row]:
    """Rows with a picture of their own each, of 3 KB."""
    numbered = enumerate(rows(0, count, split=split))
    return [{**row, "picture": str(1000 + n), "id": f"{split}-{n}"} for n, row in numbered]


def write_many(folder: Path, form: str) -> dict[str, str]:
    writers = {"tar": write_tar, "parquet": write_parquet, "jsonl": write_jsonl}
    for split, count in (("train", 240), ("val", 8)):
        writers[form](folder / f"{split}.{form}", many(count, split=split))
    for row in (*many(240), *many(8, split="val")) if form == "jsonl" else ():
        (folder / "images" / f"{row['picture']}.png").write_bytes(picture(int(row["picture"])))
    return COLUMNS if form == "tar" else {}


def both(hub: DataHub, folder: Path, columns: dict[str, str], at: Path) -> tuple[PairData, PairData]:
    """The same data by an index of local files and by one of the hub."""
    hub.commit(folder)
    found = []
    for name, spec in (("local", str(folder)), ("hub", SPEC)):
        write_index(spec, at / name, IndexOptions(columns=columns))
        found.append(indexed_data(at / name / FILE))
    return found[0], found[1]


@pytest.mark.parametrize("form", FORMS)
def test_pairs_on_the_hub_are_those_of_local_files(form: str, hub: DataHub, tmp_path: Path) -> None:
    columns = write(tmp_path / "data", form)
    local, far = both(hub, tmp_path / "data", columns, tmp_path)
    for split, pairs in local.splits.items():
        assert [told(pair)[:-1] for pair in far.splits[split]] == [told(pair)[:-1] for pair in pairs]
        assert far.splits[split].digest == pairs.digest
    assert far.name == NAME
    image = far.train[5].inputs["image"]
    assert callable(image)
    assert image().convert("RGB").getpixel((0, 0)) == (37, 91, 53)


@pytest.mark.parametrize("form", ["tar", "parquet", "jsonl"])
def test_deletion_fetches_few_rows_and_gives_the_same_weights(form: str, hub: DataHub, tmp_path: Path) -> None:
    local, far = both(hub, tmp_path / "data", write_many(tmp_path / "data", form), tmp_path)
    model = own_clip(local)
    hub.forget()
    weights = []
    for data in (local, far):
        request = resolve_request(data, ids=["train-7", "train-9"])
        weights.append(unlearn(model, data, request, method="npo", settings=QUICK).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    everything = sum(map(len, hub.commits[hub.revisions["main"]].values()))
    assert 0 < sum(size for _, _, size in hub.fetched) < everything / 3
    assert len(set(hub.fetched)) == len(hub.fetched)  # each once
    assert not [name for name, *_ in hub.fetched if name.endswith(".jsonl")]


def test_index_is_made_in_one_pass_and_writes_no_shards(
    hub: DataHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multidelete.data.readers.archive.BEGINNING", 1 << 12)
    monkeypatch.setattr("multidelete.data.hub._HANDED_ON", 1 << 12)
    columns = write_many(tmp_path / "data", "tar")
    hub.commit(tmp_path / "data")
    write_index(SPEC, tmp_path / "index", IndexOptions(columns=columns))
    assert hub.size_of("train.tar") <= hub.bytes_of("train.tar") < 1.1 * hub.size_of("train.tar")
    assert [path.name for path in (tmp_path / "index").iterdir() if path.name != ".multidelete"] == [FILE]


def test_index_stays_with_its_commit_and_reads_only_what_a_later_one_changed(hub: DataHub, tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    first = hub.commit(tmp_path / "data")
    write_index(SPEC, tmp_path / "index", IndexOptions(columns=columns))
    before = indexed_data(tmp_path / "index" / FILE)
    write_tar(tmp_path / "data" / "train-1.tar", rows(100, 6))
    hub.commit(tmp_path / "data")
    later = indexed_data(tmp_path / "index" / FILE)
    assert later.train.ids == before.train.ids
    assert first in str(later.train[0].inputs["image"])
    hub.forget()
    assert write_index(SPEC, tmp_path / "index", IndexOptions(columns=columns))[1].read == 1
    assert "row-101" in indexed_data(tmp_path / "index" / FILE).train.index
    pinned = f"{SPEC}@{first}"
    assert write_index(pinned, tmp_path / "old", IndexOptions(columns=columns))[1].pairs == 24


def test_image_folders_are_read_with_their_splits_and_pictures(hub: DataHub, tmp_path: Path) -> None:
    write_personas(tmp_path / "data", people=4, unseen=2, size=32)
    (tmp_path / "data" / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: x\n---\n")
    source = sorted((tmp_path / "data" / "images").rglob("*.png"))
    shutil.copy(source[0], source[1])  # which are one picture then
    local, far = both(hub, tmp_path / "data", {}, tmp_path)
    assert {name: pairs.digest for name, pairs in far.splits.items()} == {
        name: pairs.digest for name, pairs in local.splits.items()
    }
    assert [pair.sources for pair in far.train] == [pair.sources for pair in local.train]
    assert far.notes == local.notes
    assert any("README.md names data files" in note for note in far.notes)


def test_ids_made_from_the_content_are_the_same(hub: DataHub, tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "0.csv", rows(0, 6), ids=False)
    local, far = both(hub, tmp_path / "data", {}, tmp_path)
    assert far.train.ids == local.train.ids
    assert not [name for name, *_ in hub.fetched if name.endswith(".png")]  # whose digests the hub says


def test_pictures_of_a_later_commit_are_seen(hub: DataHub, tmp_path: Path) -> None:
    write(tmp_path / "data", "jsonl")
    hub.commit(tmp_path / "data")
    write_index(SPEC, tmp_path / "index", IndexOptions())
    (tmp_path / "data" / "images" / "1.png").write_bytes(picture(50))
    commit = hub.commit(tmp_path / "data")
    assert write_index(SPEC, tmp_path / "index", IndexOptions())[1].read == 3
    assert f"@{commit}/images/1.png" in str(indexed_data(tmp_path / "index" / FILE).train[1].inputs["image"])


def test_patterns_folders_and_revisions_name_shards(hub: DataHub, tmp_path: Path) -> None:
    for number in range(3):
        write_parquet(tmp_path / "data" / "de" / f"train-{number}.parquet", rows(4 * number, 4))
        write_parquet(tmp_path / "data" / "en" / f"train-{number}.parquet", rows(50 + 4 * number, 4))
    hub.commit(tmp_path / "data", "refs/convert/parquet")
    revision = f"{SPEC}@refs/convert/parquet"
    pairs = {"/de": 12, "/de/train-1.parquet": 4, "/*/train-{0..1}.parquet": 16, "/**/train-2.parquet": 8}
    for place, expected in pairs.items():
        (tmp_path / FILE).unlink(missing_ok=True)
        assert build_index(revision + place, tmp_path / FILE, IndexOptions()).pairs == expected
    (tmp_path / FILE).unlink()
    with pytest.raises(DataError, match=r"no file de/train-3.parquet in hf://"):
        build_index(f"{revision}/de/train-{{2..3}}.parquet", tmp_path / FILE, IndexOptions())


def test_shard_that_is_gone_or_another_is_named_before_anything_runs(hub: DataHub, tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    commit = hub.commit(tmp_path / "data")
    write_index(SPEC, tmp_path / "index", IndexOptions(columns=columns))
    files = hub.commits[commit]
    hub.commits[commit] = {**files, "train-0.tar": files["train-0.tar"][:-512] + b"x" * 512}
    with pytest.raises(DataError, match=r"1 shard has changed since the index was made: train-0\.tar"):
        load_data(f"index:{tmp_path / 'index'}")
    hub.commits[commit] = {name: content for name, content in files.items() if name != "train-1.tar"}
    with pytest.raises(DataError, match=r"1 shard is gone: train-1\.tar"):
        load_data(f"index:{tmp_path / 'index'}")
    del hub.commits[commit]
    with pytest.raises(DataError, match=r"revision not found.*hf download"):
        load_data(f"index:{tmp_path / 'index'}")


@pytest.mark.parametrize("form", FORMS)
def test_shard_that_goes_while_it_is_read_is_named(form: str, hub: DataHub, tmp_path: Path) -> None:
    columns = write(tmp_path / "data", form)
    _, far = both(hub, tmp_path / "data", columns, tmp_path)
    hub.commits.clear()
    name = "images/0.png" if form in ("jsonl", "csv") else f"train-0.{form}"
    with pytest.raises(DataError, match=rf"images of owner/name train cannot be read: .*hf://.*@\w+/{name}: .*404"):
        check_images(far.train)


def test_ranges_that_are_not_kept_are_told(hub: DataHub, tmp_path: Path) -> None:
    _, far = both(hub, tmp_path / "data", write(tmp_path / "data", "tar"), tmp_path)
    hub.knows_ranges = False
    with pytest.raises(DataError, match="something between here and there knows no ranges"):
        check_images(far.train)


WRONG = (
    ("hf://datasets/me/nothing", "hf://datasets/me/nothing is not on the hub, or not public"),
    (f"{SPEC}@v9", "hf://datasets/owner/name has no revision 'v9'"),
    (f"{SPEC}/nowhere/*.parquet", "there is no file nowhere/*.parquet"),
    (f"{SPEC}/nowhere", "there is no file nowhere"),
    ("hf://datasets/me", "names no data set on the hub. Write hf://datasets/OWNER/NAME"),
    ("hf://owner/name", "names no data set on the hub"),
    ("owner/name", "or a data set of the hub: hf://datasets/OWNER/NAME"),
)


@pytest.mark.parametrize(("spec", "says"), WRONG)
def test_what_is_not_there_is_one_line(
    spec: str, says: str, hub: DataHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "data", "jsonl")
    hub.commit(tmp_path / "data")
    assert run(["data", spec, "--index-folder", str(tmp_path / "index")]) == 2
    (line,) = capsys.readouterr().err.strip().split("\n")
    assert says in line
    assert not (tmp_path / "index").exists()


def test_without_a_network_it_is_one_line(
    hub: DataHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = write(tmp_path / "data", "tar")
    hub.commit(tmp_path / "data")
    write_index(SPEC, tmp_path / "index", IndexOptions(columns=columns))
    commands = (["data", SPEC, "--index-folder", str(tmp_path / "new")], ["data", f"index:{tmp_path / 'index'}"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for setting, value, says in (
        ("ENDPOINT", f"http://127.0.0.1:{port}", "refused"), ("HF_HUB_OFFLINE", True, "HF_HUB_OFFLINE"),
    ):  # fmt: skip
        monkeypatch.setattr(huggingface_hub.constants, setting, value)
        for command in commands:
            assert run(command) == 2
            (line,) = capsys.readouterr().err.strip().split("\n")
            assert says in line


def test_nothing_is_written_beside_it_and_nothing_rewritten(
    hub: DataHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = write(tmp_path / "data", "tar")
    hub.commit(tmp_path / "data")
    assert run(["data", SPEC, "--index"]) == 2
    assert "Nothing can be written beside hf://datasets/owner/name. Name a folder here" in capsys.readouterr().err
    assert run(["data", f"index:{SPEC}"]) == 2
    assert "Name the folder of the index of hf://datasets/owner/name" in capsys.readouterr().err
    assert hub.asked == []
    assert run(["data", SPEC]) == 2
    assert "--index-folder" in capsys.readouterr().err
    write_index(SPEC, tmp_path / "index", IndexOptions(columns=columns))
    request = ["--forget-subject", "person 2", "--out", str(tmp_path / "lists")]
    for spec in (SPEC, f"index:{tmp_path / 'index'}"):
        for flag in (["--in-place"], ["--rewrite", str(tmp_path / "new")]):
            assert run(["exclude", "--data", spec, *request, *flag]) == 2
            assert "lies on the hub, where no shards are rewritten. Fetch them" in capsys.readouterr().err
            assert not (tmp_path / "lists").exists()
    assert run(["exclude", "--data", f"index:{tmp_path / 'index'}", *request]) == 0
    assert (tmp_path / "lists" / "train-0.tar.txt").read_text().split() == ["row-4", "row-5"]
    assert run(["exclude", "--data", SPEC, *request, "--resume", "--in-place"]) == 2
    assert "lies on the hub" in capsys.readouterr().err


def test_local_data_asks_no_network(hub: DataHub, tmp_path: Path) -> None:
    columns = write(tmp_path / "data", "tar")
    write_index(str(tmp_path / "data"), tmp_path / "index", IndexOptions(columns=columns))
    assert len(load_data(f"index:{tmp_path / 'index'}").train) == 16
    assert hub.asked == []
