"""Manifests, digests, and folders that appear whole or not at all."""

import sys
from pathlib import Path

import pytest

from multidelete.artifacts.manifest import MANIFEST, digest_file, digest_folder, read_record, versions, write_record
from multidelete.artifacts.record import Cost, RunRecord
from multidelete.core.errors import CheckpointError


def made(target: Path, text: str = "new") -> Path:
    target.mkdir(parents=True)
    (target / "model").write_text(text)
    return target


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Manifest and digests


def test_manifest_is_read_back(tmp_path: Path) -> None:
    record = RunRecord(seed=3, cost=Cost(wall_s=1.5), rest={"settings": {"lr": 1e-05, "name": "é"}, "none": None})
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


def test_manifest_that_is_absent_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None


def test_manifest_refuses_nan_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path, RunRecord(rest={"loss": float("nan")}))
    assert not held(tmp_path)


@pytest.mark.parametrize(("text", "match"), [("{", "is not valid JSON"), ("[]", "holds a list"), ("\udcff", "JSON")])
def test_broken_manifest_is_named(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=match) as caught:
        read_record(tmp_path)
    assert MANIFEST in str(caught.value)


def test_versions_are_those_in_use() -> None:
    import torch
    import transformers

    found = versions()
    assert found["torch"] == torch.__version__
    assert found["transformers"] == transformers.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"multidelete", "platform"} <= set(found)


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_folder_digest_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, order in ((first, ["a", "sub/b"]), (second, ["sub/b", "a"])):
        for name in order:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    digest = digest_folder(first)
    assert digest_folder(second) == digest
    write_record(second, RunRecord(seed=1))
    assert digest_folder(second) == digest
    (second / "a").write_text("b")
    assert digest_folder(second) != digest
    (second / "a").write_text("a")
    assert digest_folder(second) == digest
    (second / "a").rename(second / "c")
    assert digest_folder(second) != digest
    (second / "c").rename(second / "sub" / "a")
    assert digest_folder(second) != digest


def test_folder_digest_tells_where_one_file_ends(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, texts in ((one, ("xy", "z")), (two, ("x", "yz"))):
        folder.mkdir()
        for name, text in zip("ab", texts, strict=True):
            (folder / name).write_text(text)
    assert digest_folder(one) != digest_folder(two)


def test_digest_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder"):
        digest_folder(tmp_path / "none")
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        digest_file(tmp_path / "none")
