"""Seconds and memory of index, request, unlearning and audit, from ten thousand pairs to ten million.

    python benchmarks/scale/scale.py --rows 10000 100000 1000000 --forms jsonl parquet tar --out results.json

The rows are generated: each has an id, a text and a subject of its own ten rows, and points at one of a few pictures.
Each step is a command in a process of its own, whose peak memory the system tells.
"""

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from multidelete.data.generated.personas import write_personas
from multidelete.data.readers import load_data
from multidelete.models import NewModel, new_adapter
from multidelete.models.fresh import Size, train_tokenizer

FORMS = ("jsonl", "parquet", "tar")
SHARDS = 10
HELD_OUT = 2_000  # pairs of val, and as many of test
SUBJECT = 10  # pairs of one subject
SIDE = 32
SIZE = Size(width=32, layers=1, stages=(16, 32), depths=(1, 1), projection=24, context=40, vocabulary=400)
Row = Mapping[str, str]


def rows(first: int, last: int, pictures: int, split: str) -> Iterator[Row]:
    for number in range(first, last):
        yield {
            "file_name": f"images/{number % pictures}.png", "id": f"{split}-{number:08}", "split": split,
            "subject": f"{split} {number // SUBJECT}",
            "text": f"portrait {number} of {split} person {number // SUBJECT}",
        }  # fmt: skip


def write_pictures(folder: Path) -> int:
    """A few portraits; returns how many."""
    with tempfile.TemporaryDirectory() as made:
        write_personas(Path(made) / "people", people=20, unseen=4, size=SIDE)
        files = sorted((Path(made) / "people" / "images").glob("*.png"))
        (folder / "images").mkdir(parents=True)
        for number, file in enumerate(files):
            shutil.copy(file, folder / "images" / f"{number}.png")
    return len(files)


def write_shards(folder: Path, form: str, number: int) -> None:
    pictures = write_pictures(folder)
    each = number // SHARDS
    parts = [(f"train-{at:02}", rows(at * each, (at + 1) * each, pictures, "train")) for at in range(SHARDS)]
    held = min(HELD_OUT, max(SUBJECT, number // 10))
    parts += [(f"{split}-00", rows(0, held, pictures, split)) for split in ("val", "test")]
    for name, some in parts:
        path = folder / f"{name}.{form}"
        {"jsonl": write_jsonl, "parquet": write_parquet, "tar": write_tar}[form](path, some)


def write_jsonl(path: Path, some: Iterator[Row]) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in some)


def write_parquet(path: Path, some: Iterator[Row]) -> None:
    writer, batch = None, []
    for row in some:
        batch.append(row)
        if len(batch) == 50_000:
            writer = flushed(path, writer, batch)
    writer = flushed(path, writer, batch)
    writer.close()


def flushed(path: Path, writer: pq.ParquetWriter | None, batch: list[Row]) -> pq.ParquetWriter:
    table = pa.Table.from_pylist(batch)
    writer = writer or pq.ParquetWriter(path, table.schema)
    if batch:
        writer.write_table(table)
        batch.clear()
    return writer


def write_tar(path: Path, some: Iterator[Row]) -> None:
    """One JSON object for each row, with the path of its picture."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for row in some:
            content = json.dumps(row).encode()
            member = tarfile.TarInfo(f"{row['id']}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            archive.members = []


def write_model(folder: Path) -> None:
    """A tiny CLIP, whose time does not hide what the data costs."""
    data = load_data(f"personas:people=4,unseen=2,size={SIDE}")
    tokenizer = train_tokenizer([str(pair.inputs["text"]) for pair in data.train], SIZE)
    new_adapter("clip", NewModel(size=SIZE, image_size=SIDE, tokenizer=tokenizer), seed=0).save(folder)


def measured(folder: Path, *arguments: str) -> dict[str, float]:
    """Seconds and peak memory of a command in a process of its own."""
    command = [sys.executable, "-m", "multidelete.cli", *arguments]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(command)} failed: {said.decode()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": round(time.monotonic() - started, 2), "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_mib": round(usage.ru_maxrss * unit / 2**20)}  # fmt: skip


def scale(form: str, number: int, work: Path) -> dict[str, object]:
    """What the steps take on so many pairs of one form."""
    folder = work / f"{form}-{number}"
    folder.mkdir(parents=True)
    write_shards(folder / "data", form, number)
    write_model(folder / "model")
    (folder / "request.csv").write_text("subject\ntrain 3\ntrain 7\n")
    data = ("--data", "index:data", "--forget", "request.csv")
    train = ("--passes", "4", "--checkpoint-steps", "0", "--device", "cpu")
    steps = {
        "index": ("data", "data", "--index"),
        "index again": ("data", "data", "--index"),
        "request": ("exclude", *data, "--out", "lists"),
        "unlearn": ("unlearn", "model", *data, "--method", "multidelete", *train, "--out", "unlearned"),
        "audit": ("audit", "unlearned", "--original", "model", *data, "--device", "cpu", "--out", "report"),
    }
    bytes_of = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
    told: dict[str, object] = {"form": form, "rows": number, "data_mib": round(bytes_of / 2**20, 1)}
    for name, arguments in steps.items():
        told[name] = measured(folder, *arguments)
        print(form, number, name, told[name], flush=True)
    index = folder / "data" / ".multidelete-index" / "index.sqlite"
    told["index_mib"] = round(index.stat().st_size / 2**20, 1)
    shutil.rmtree(folder)
    return told


def machine() -> str:
    """What it ran on."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().split("\n") if told.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {model or platform.machine()}, {memory:.0f} GiB of memory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--work", type=Path, default=None, help="folder for generated data; it needs 3 KiB a row")
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    parser.add_argument("--tiny", action="store_true", help="a few hundred rows, to see that it runs; writes nothing")
    options = parser.parse_args()
    sizes, forms = ([300], ["jsonl"]) if options.tiny else (options.rows, options.forms)
    work = Path(tempfile.mkdtemp(dir=options.work))
    results = [scale(form, number, work) for number in sizes for form in forms]
    shutil.rmtree(work)
    told = json.dumps({"machine": machine(), "results": results}, indent=1)
    if options.tiny:
        print(told)
    else:
        options.out.write_text(told + "\n")


if __name__ == "__main__":
    main()
