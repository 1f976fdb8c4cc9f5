"""Pairs in shards: a few pictures, and rows that each have a text of their own."""

import csv
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COLUMNS = {"image": "png", "text": "txt", "id": "__key__"}
Row = Mapping[str, str]


def noise(number: int) -> bytes:
    """A PNG of 3 KB, which no compression makes smaller."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture(number: int) -> bytes:
    """A PNG of 32 pixels; from 1000 on `noise`."""
    if number >= 1000:
        return noise(number)
    file = io.BytesIO()
    Image.new("RGB", (32, 32), ((37 * number) % 256, (91 * number) % 256, (53 * number) % 256)).save(file, "PNG")
    return file.getvalue()


def rows(first: int, count: int, *, split: str = "train") -> list[Row]:
    """Rows with ids ``row-<n>``: every two of one subject, and one of four pictures."""
    return [
        {"id": f"row-{n}", "text": f"thing {n} of person {n // 2}", "subject": f"person {n // 2}", "split": split,
         "picture": str(n % 4)}
        for n in range(first, first + count)
    ]  # fmt: skip


def write_tar(path: Path, some: Sequence[Row]) -> None:
    """A WebDataset: a picture, a text, and a JSON object with the rest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for row in some:
            rest = {name: row[name] for name in ("subject", "split")}
            files = {
                "png": picture(int(row["picture"])),
                "txt": row["text"].encode(),
                "json": json.dumps(rest).encode(),
            }
            for ending, content in files.items():
                member = tarfile.TarInfo(f"{row['id']}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_pictures(folder: Path) -> None:
    for number in range(4):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{number}.png").write_bytes(picture(number))


def flat(row: Row, *, ids: bool = True) -> dict[str, str]:
    """A row whose picture is a file."""
    names = ("id", "text", "subject", "split") if ids else ("text", "subject", "split")
    return {"file_name": f"images/{row['picture']}.png"} | {name: row[name] for name in names}


def write_parquet(path: Path, some: Sequence[Row], *, ids: bool = True, group: int = 4) -> None:
    """With the pictures in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = [
        {name: row[name] for name in (("id",) if ids else ()) + ("text", "subject", "split")}
        | {"image": {"bytes": picture(int(row["picture"])), "path": None}}
        for row in some
    ]
    pq.write_table(pa.Table.from_pylist(table), path, row_group_size=group, write_statistics=False)


def write_csv(path: Path, some: Sequence[Row], *, ids: bool = True) -> None:
    """The same, with a text of two lines in every third row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_pictures(path.parent)
    flattened = [flat(row, ids=ids) for row in some]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(flattened[0]))
        writer.writeheader()
        writer.writerows({**row, "text": row["text"].replace(" of ", ',\nor "one" of ') if at % 3 == 1 else row["text"]}
                         for at, row in enumerate(flattened))  # fmt: skip


def write_jsonl(path: Path, some: Sequence[Row], *, ids: bool = True) -> None:
    """With pictures as files below ``images`` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_pictures(path.parent)
    path.write_text("".join(json.dumps(flat(row, ids=ids)) + "\n" for row in some))
