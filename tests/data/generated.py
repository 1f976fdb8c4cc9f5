"""Generated bad tables and requests, for every reader.

``python -m tests.data.generated 2000`` makes so many, each from its own seed, and says what came of them. A case is
wrong where anything but a sentence and the code 0 or 2 comes back, where the folder of the data has changed, or where
a file that was written without damage is read as other rows than it holds.
"""

import contextlib
import io
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from multidelete.cli import run
from multidelete.core.errors import RequestError
from multidelete.data.pairs import Pair
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request
from tests.data.trouble import READERS, Reader, rows_with
from tests.data.trouble import Kind as Plain

SIGNS = [
    *"abz019 .,;:|\t\n\r\"'\\/#[]{}()=-_%&",
    "\u2028",
    "\u0085",
    "\u00a0",
    "\ufeff",
    "é",
    "e\u0301",
    "🐕",
    "\x00",
    "\x1b",
]
WORDS = ["null", "NaN", "None", "nan", "1", "1.0", "007", "-0", "1e5", "True", "2014-01-01", "9" * 400, "[]", '["a"]',
         "['a', 'b']", "{}", "", " ", "#a", "x" * 300, "x" * 140_000, "a#0", "..", "data:image/png,AA"]  # fmt: skip
THINGS: list[object] = [None, 0, 7, -1, 1.5, True, float("nan"), 10**25, ["a"], [], {"a": 1}, ["a", None], "\ud800"]
UNITS = (None, "pair", "subject", "image", "node")


def word(rng: random.Random, *, things: bool) -> object:
    """A cell that somebody might meet."""
    match rng.randrange(4 if things else 3):
        case 0:
            return rng.choice(WORDS)
        case 1:
            return "".join(rng.choice(SIGNS) for _ in range(rng.randrange(1, 9)))
        case 2:
            return rng.choice(("a0", "a1", "s0", "n0|n1", "caption 1", "train", "p.png"))
        case _:
            return rng.choice(THINGS)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """A file with something wrong with it."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(12):
        case 0:
            return content[: rng.randrange(len(content) + 1)]
        case 1:
            cut = rng.randrange(len(content) + 1)
            return content[:cut] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5))) + content[cut:]
        case 2:
            return content.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n", b"", b"\xe2\x80\xa8", b"\0"]))
        case 3:
            return content.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))
        case 4:
            lines[at] += rng.choice([b",", b",x", b"\t", b'"', b";", b"\\", b"}", b"{"])
        case 5:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        case 6:
            lines.insert(at, rng.choice([b"", b",,,", b"null", b"[]", b"{}", b'""', b"sep=;", b"# note", lines[at]]))
        case 7:
            lines.pop(at)
        case 8:
            sign = rng.choice(b',"\t;{}[]:n0')
            place = rng.randrange(len(content) + 1)
            return content[:place] + bytes([sign]) + content[place:]
        case 9:
            old, new = rng.sample([b"id", b"text", b"image", b"subject", b"nodes", b",", b"\t", b'"', b":"], 2)
            return content.replace(old, new)
        case 10:
            return rng.choice([b"", b"\n", b"[" * 50_000, b'{"a":' * 50_000, b"PK\x03\x04", b"\x1f\x8b\x08", b"null"])
        case _:
            lines[at] = lines[at].replace(b'"', b'\\"') if rng.random() < 0.5 else lines[at] * 2
    return b"\n".join(lines)


def rows_of(rng: random.Random, reader: Reader) -> list[dict[str, object]]:
    """Four rows with a few cells replaced."""
    rows = rows_with(Plain("plain", {}))
    for _ in range(rng.randrange(0, 4)):
        field = rng.choice(reader.fields)
        rng.choice(rows)[field] = word(rng, things=reader.family == "json")
    return rows


def state_of(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(file), file.read_bytes()) for file in folder.rglob("*") if file.is_file())


def case(seed: int) -> str:
    """Run one case.

    Returns:
        What came of it: ``read``, ``refused``, or what is wrong.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        folder.mkdir()
        reader = rng.choice(READERS)
        rows = rows_of(rng, reader)
        try:
            spec = reader.write(folder, rows)
        except (OSError, ValueError, TypeError):  # this sort of file cannot hold such rows
            return "not written"
        whole = rng.random() < 0.35
        if not whole:
            file = rng.choice([file for file in sorted(folder.rglob("*")) if file.is_file()])
            for _ in range(rng.choice((1, 1, 2))):
                file.write_bytes(damaged(rng, file.read_bytes()))
        before = state_of(folder)
        try:
            came = _data(reader, spec, rows if whole else None) or _request(rng, reader, spec, Path(name))
        except Exception:  # noqa: BLE001 - whatever escapes is what is looked for
            return f"escaped: {traceback.format_exc()}"
        return came if state_of(folder) == before else "the data has changed"


def _data(reader: Reader, spec: Path, rows: Sequence[dict[str, object]] | None) -> str:
    """What the command ``data`` makes of it; empty where it reads it."""
    columns = [part for ours, theirs in reader.columns.items() for part in ("--columns", f"{ours}={theirs}")]
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        code = run(["data", str(spec), *columns, "--json"])
    if code == 2 and told.getvalue().startswith("error: ") and "Traceback" not in told.getvalue():
        long = [line for line in told.getvalue().splitlines() if len(line) > 4000]
        return f"a line of {len(long[0])} characters" if long else "refused"
    if code != 0:
        return f"code {code}: {told.getvalue()[-2000:]}"
    if rows is None:
        return ""
    found = reader.found(load_data(str(spec), columns=reader.columns))
    return "" if _as_written(found, rows, reader) else f"read as {found!r:.500} instead of {rows!r:.500}"


def _as_written(found: Sequence[tuple[object, ...]], rows: Sequence[dict[str, object]], reader: Reader) -> bool:
    """Whether rows came back as they were written; texts of a list are several rows."""

    def cell(value: object) -> object:
        text = None if value is None or value != value else str(value).strip()
        return text or None

    written = [tuple(cell(row[field]) for field in reader.fields) for row in rows]
    lists = [row for row in rows if isinstance(row["text"], list) or str(row["text"]).startswith("[")]
    come = [tuple(cell(value) for value in row) for row in found]
    missing = Counter(written) - Counter(come)
    texts = Counter(str(row["text"]) for row in rows)
    # A sentence of PGR counts to the article in which it stands first.
    moved = [row for row in rows if reader.name == "PGR" and texts[str(row["text"])] > 1]
    return len(missing) <= len(lists) + len(moved)


def _request(rng: random.Random, reader: Reader, spec: Path, folder: Path) -> str:
    """What a generated request on the data comes to."""
    data = load_data(str(spec), columns=reader.columns)
    form = rng.choice((".csv", ".tsv", ".jsonl", ".txt", ".CSV") * 4 + (".json",))
    file = folder / f"request{form}"
    every = ["id", "subject", "image", "node", "why", "ID", "", "id"]
    columns = (
        rng.sample(every, rng.choice((2, 3))) if rng.random() < 0.4 else [rng.choice(("id", "id", "subject", "image"))]
    )
    pairs = rng.sample(data.train.pairs, min(len(data.train), rng.choice((1, 1, 2, 3, 0))))
    asked = [[_name(rng, pair, column) for column in columns] for pair in pairs]
    sign = "\t" if form == ".tsv" else ","
    text = "\n".join(sign.join(map(str, row)) for row in ([columns] if rng.random() < 0.8 else []) + asked)
    if form == ".jsonl":
        objects = [", ".join(f'"{c}": {_json(v)}' for c, v in zip(columns, row, strict=True)) for row in asked]
        text = "\n".join(f"{{{one}}}" for one in objects)
    raw = text.encode("utf-8", "surrogatepass")
    file.write_bytes(damaged(rng, raw) if rng.random() < 0.25 else raw)
    try:
        request = resolve_request(data, file=file, unit=rng.choice(UNITS) if rng.random() < 0.4 else None)  # type: ignore[arg-type]
    except RequestError as error:
        return "request refused" if all(error.problems) else "an empty problem"
    return "read" if set(request.ids) <= set(data.train.ids) and request.ids else "a request for nothing"


def _name(rng: random.Random, pair: Pair, column: str) -> object:
    named = {"id": pair.id, "subject": pair.subject, "image": pair.sources.get("image"), "node": "n0"}
    return named.get(column.lower(), "moved") if rng.random() < 0.85 else word(rng, things=True)


def _json(cell: object) -> str:
    return repr(cell).replace("'", '"').replace("None", "null").replace("True", "true")


def outcomes(first: int, count: int) -> tuple[Counter[str], dict[int, str]]:
    """How often each right outcome came, and the wrong ones by their seeds."""
    right: Counter[str] = Counter()
    wrong: dict[int, str] = {}
    for seed in range(first, first + count):
        came = case(seed)
        if came in ("read", "refused", "request refused", "not written"):
            right[came] += 1
        else:
            wrong[seed] = came
    return right, wrong


if __name__ == "__main__":
    done, failed = outcomes(int(sys.argv[2]) if len(sys.argv) > 2 else 0, int(sys.argv[1]))
    for seed, what in failed.items():
        sys.stdout.write(f"seed {seed}: {what}\n\n")
    sys.stdout.write(f"{dict(done)}, {len(failed)} wrong\n")
    sys.exit(bool(failed))
