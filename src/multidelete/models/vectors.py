"""Embeddings of single members, for a database of vectors: those that a deletion has changed, or those to take out.

Shape suffixes: B pairs in a batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.artifacts.record import RunRecord
from multidelete.core.errors import CheckpointError, UnsupportedError
from multidelete.core.progress import progress_bar
from multidelete.data.pairs import Pair
from multidelete.models.base import Adapter, evaluating
from multidelete.models.checkpoint import choose_trainable, weights_digest
from multidelete.models.features import shared_features

MARK = b"multidelete.embeddings"
_ROWS = 8192  # vectors that are held before they are written


def stale_modalities(adapter: Adapter, record: RunRecord) -> list[str]:
    """The modalities whose embeddings the deletion that made a model has changed, as its record tells.

    Args:
        adapter: The unlearned model.
        record: What its folder records.

    Raises:
        CheckpointError: It records no deletion.
    """
    if record.request is None:
        raise CheckpointError("the model records no deletion, so nothing is stale. Give a model that 'unlearn' made.")
    chosen = (record.trainable and record.trainable.chosen) or "all"
    before = {name: parameter.requires_grad for name, parameter in adapter.named_parameters()}
    trained = set(choose_trainable(adapter, chosen))
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_(before[name])
    scales = {name for name in trained if name.rsplit(".", 1)[-1] in ("logit_scale", "logit_bias")}
    first, second = adapter.modalities
    others = {first: adapter.encoder_parameters(second), second: adapter.encoder_parameters(first)}
    return [modality for modality in adapter.modalities if trained - scales - set(others[modality])]


def write_embeddings(
    adapter: Adapter,
    pairs: Iterable[Pair],
    number: int,
    out: Path,
    *,
    modalities: Sequence[str],
    batch_size: int = 64,
    overwrite: bool = False,
) -> int:
    """Write the embeddings of pairs to a parquet file that is whole or not there; returns how many there are.

    It has a row for each pair and modality: ``id``, ``modality``, ``vector`` (normalised, float32) and ``model``, a
    digest of the weights. Memory does not grow with the pairs.

    Args:
        adapter: A model with embeddings, on its device.
        pairs: The pairs; they are gone through once.
        number: How many they are.
        out: The file.
        modalities: Of which members.
        batch_size: Pairs in one forward pass.
        overwrite: Replace a file that this function wrote.

    Raises:
        UnsupportedError: The model has no embeddings.
        CheckpointError: The file is there, or cannot be written.
    """
    digest, written = weights_digest(adapter), 0
    with whole_or_nothing(out, overwrite=overwrite, is_ours=are_embeddings) as partial:
        partial.rmdir()  # the result is a file
        writer: pq.ParquetWriter | None = None
        for table in _tables(adapter, pairs, number, modalities, batch_size):
            table = table.append_column("model", pa.array([digest] * len(table), pa.string()))
            if writer is None:
                schema = table.schema.with_metadata({MARK: digest})
                writer = pq.ParquetWriter(partial, schema)
            writer.write_table(table.cast(schema))
            written += len(table)
        if writer is None:
            raise UnsupportedError("There are no pairs whose embeddings could be written.")
        writer.close()
    return written


def _tables(
    adapter: Adapter, pairs: Iterable[Pair], number: int, modalities: Sequence[str], batch_size: int
) -> Iterator[pa.Table]:
    ids: list[str] = []
    of: list[str] = []
    vectors: list[pa.Array] = []
    done = 0
    with evaluating(adapter), shared_features(adapter, {}), progress_bar("embedding", number) as bar:
        left = iter(pairs)
        while some := list(islice(left, batch_size)):
            embeddings = adapter(adapter.collate(some).to(adapter.device)).embeddings
            if embeddings is None:
                raise UnsupportedError(
                    f"A model of the family {adapter.family!r} for {adapter.task} has no embeddings of single members: "
                    "nothing of it can lie in a database of vectors."
                )
            for modality in modalities:
                rows = embeddings[modality].float().cpu().numpy()
                vectors.append(pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1]))
                ids += [pair.id for pair in some]
                of += [modality] * len(some)
            done += len(some)
            bar.to(done)
            if len(ids) >= _ROWS:
                yield _table(ids, of, vectors)
                ids, of, vectors = [], [], []
    if ids:
        yield _table(ids, of, vectors)


def _table(ids: Sequence[str], of: Sequence[str], vectors: Sequence[pa.Array]) -> pa.Table:
    return pa.table({"id": ids, "modality": of, "vector": pa.chunked_array(vectors)})


def are_embeddings(path: Path) -> bool:
    """Whether `write_embeddings` wrote a file."""
    try:
        return MARK in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def may_be_embeddings(path: Path) -> bool:
    """Whether `write_embeddings` wrote a parquet file, or may have: nobody can tell of one that cannot be read."""
    try:
        pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return True
    return are_embeddings(path)


def ids_of_embeddings(path: Path) -> Iterator[str]:
    """Ids of the pairs whose embeddings lie in a file that `write_embeddings` wrote; some come several times.

    Args:
        path: The file; a part of it is in memory at a time.

    Raises:
        CheckpointError: It cannot be read, or its ids are not texts any more.
    """
    remedy = "Write them anew with embed, or remove the file."
    try:
        with pq.ParquetFile(path) as file:
            for rows in file.iter_batches(_ROWS, columns=["id"]):
                ids = rows.column("id")
                if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
                    raise CheckpointError(f"{path} holds ids of the type {ids.type}; ids of pairs are texts. {remedy}")
                yield from {one for one in ids.to_pylist() if one is not None}
    except (OSError, pa.ArrowException, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as embeddings: {error}. {remedy}") from error
