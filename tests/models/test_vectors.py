"""Embeddings for a database of vectors: which, and the numbers that the model gives."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from multidelete.artifacts.record import RequestRecord, RunRecord, TrainableRecord
from multidelete.cli import run
from multidelete.core.errors import CheckpointError
from multidelete.data.generated.personas import write_personas
from multidelete.data.readers import load_data
from multidelete.models import load_adapter
from multidelete.models.vectors import ids_of_embeddings, stale_modalities
from tests.tiny import SIDE, own_clip, people

LOOP = ("--passes", "1", "--checkpoint-steps", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People, a model, and the model after it forgot one of them, its text encoder alone being trained."""
    folder = tmp_path_factory.mktemp("vectors")
    write_personas(folder / "people", people=6, unseen=4, size=SIDE)
    own_clip(load_data(str(folder / "people"))).save(folder / "original")
    data = ("--data", str(folder / "people"), "--forget-subject", "person-0002")
    assert run(["unlearn", str(folder / "original"), *data, *LOOP, "--out", str(folder / "unlearned")]) == 0
    return folder


def written(folder: Path, out: Path, *arguments: str, model: str = "unlearned") -> list[dict[str, object]]:
    data = ("--data", str(folder / "people"), "--batch-size", "5", "--device", "cpu")
    assert run(["embed", str(folder / model), *data, *arguments, "--out", str(out)]) == 0
    rows: list[dict[str, object]] = pq.read_table(out).to_pylist()
    return rows


def test_stale_are_texts_of_kept_pairs_where_text_alone_was_trained(made: Path, tmp_path: Path) -> None:
    rows = written(made, tmp_path / "v.parquet", "--only", "stale")
    data = load_data(str(made / "people"))
    kept = [pair for pairs in data.splits.values() for pair in pairs if pair.subject != "person-0002"]
    assert [(row["id"], row["modality"]) for row in rows] == [(pair.id, "text") for pair in kept]
    adapter = load_adapter(made / "unlearned").eval()
    with torch.no_grad():
        expected = adapter(adapter.collate(kept)).embeddings
    assert expected is not None
    np.testing.assert_allclose(np.array([row["vector"] for row in rows]), expected["text"].numpy(), atol=1e-6)
    assert len({row["model"] for row in rows}) == 1


def test_ids_in_a_file_are_those_of_its_pairs(made: Path, tmp_path: Path) -> None:
    rows = written(made, tmp_path / "v.parquet", "--only", "all")
    assert set(ids_of_embeddings(tmp_path / "v.parquet")) == {row["id"] for row in rows}
    table = pq.read_table(tmp_path / "v.parquet")
    pq.write_table(table.set_column(0, "id", pa.array(range(len(table)), pa.int64())), tmp_path / "v.parquet")
    with pytest.raises(CheckpointError, match=r"holds ids of the type int64; ids of pairs are texts\. Write them anew"):
        list(ids_of_embeddings(tmp_path / "v.parquet"))
    (tmp_path / "v.parquet").write_bytes(b"PAR1")
    with pytest.raises(CheckpointError, match="cannot be read as embeddings"):
        list(ids_of_embeddings(tmp_path / "v.parquet"))


def test_pictures_are_not_stale_where_they_come_out_the_same(made: Path, tmp_path: Path) -> None:
    before = written(made, tmp_path / "a.parquet", "--only", "all", model="original")
    after = written(made, tmp_path / "b.parquet", "--only", "all")
    stale = {(row["id"], row["modality"]) for row in written(made, tmp_path / "c.parquet", "--only", "stale")}
    changed = {
        (one["id"], one["modality"]) for one, other in zip(before, after, strict=True)
        if not np.allclose(np.array(one["vector"]), np.array(other["vector"]), atol=1e-6)
    }  # fmt: skip
    deleted = {pair.id for pair in load_data(str(made / "people")).train if pair.subject == "person-0002"}
    assert {one for one in changed if one[0] not in deleted} == stale
    assert {row["model"] for row in before}.isdisjoint(row["model"] for row in after)


def test_request_is_what_to_take_out(made: Path, tmp_path: Path) -> None:
    rows = written(made, tmp_path / "v.parquet", "--only", "request", "--forget-subject", "person-0002",
                   model="original")  # fmt: skip
    deleted = [pair.id for pair in load_data(str(made / "people")).train if pair.subject == "person-0002"]
    assert sorted({(row["id"], row["modality"]) for row in rows}) == sorted(
        (name, modality) for name in deleted for modality in ("image", "text")
    )


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("text", ["text"]), ("image", ["image"]), ("but-image", ["text"]), ("projections", ["image", "text"]),
     ("all", ["image", "text"]), ("logit_scale|text_model", ["text"])],
)  # fmt: skip
def test_part_that_was_trained_tells_what_is_stale(chosen: str, expected: list[str]) -> None:
    record = RunRecord(request=RequestRecord(pairs=1, digest=""), trainable=TrainableRecord(chosen=chosen))
    assert stale_modalities(own_clip(people(4)), record) == expected


def test_model_that_forgot_nothing_has_nothing_stale() -> None:
    with pytest.raises(CheckpointError, match="records no deletion"):
        stale_modalities(own_clip(people(4)), RunRecord())


def test_file_of_others_is_not_replaced(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v.parquet").write_text("mine")
    arguments = ["embed", str(made / "unlearned"), "--data", str(made / "people"), "--out", str(tmp_path / "v.parquet")]
    assert run([*arguments, "--overwrite"]) == 2
    assert (tmp_path / "v.parquet").read_text() == "mine"
    assert (
        run(["embed", str(made / "unlearned"), "--data", str(made / "people"), "--only", "request", "--out", "x"]) == 2
    )
    assert "--only request needs a request" in capsys.readouterr().err
