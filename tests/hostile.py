"""Generated wrong input: settings files, experiments, manifests, and requests on damaged data folders.

``python -m tests.hostile 3500`` runs so many cases in this process and says what came of them. A case that ends
otherwise than with a sentence and the code 0, 1 or 2 is named with its seed, and ``python -m tests.hostile 1 --first
SEED`` runs it again.
"""

import argparse
import contextlib
import copy
import io
import json
import pickle
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from PIL import Image

from multidelete.artifacts.keys import key_file
from multidelete.cli import run
from tests.data import test_graph_tables as graph_tables
from tests.data import test_karpathy as karpathy
from tests.data import test_nlvr2 as nlvr2
from tests.data import test_snli_ve as snli_ve
from tests.data import test_vqa as vqa
from tests.processes import interrupted_here

DATA = "personas:people=6,unseen=4,size=16"
ALLOWED = (0, 1, 2)
SLOW_S = 60

TOML_VALUES = (
    "true", "0", "-1", "3", "1.5", "-0.0", "1e308", "nan", "-inf", "9223372036854775808", "1" + "0" * 400,
    "1" + "0" * 5000, "1" * 20 + "e999", '""', '"none"', '"x"', '"\\u0000"', '"../../.."', '"' + "x" * 5000 + '"',
    "'a,b=c'", "[]", "[1, 2]", '["a", 1]', "[[[[]]]]", "[" * 60 + "]" * 60, "{}", "{ a = 1 }", '{ name = "npo" }',
    "{ a = { b = { c = 1 } } }", "1979-05-27", "07:32:00", "2000-01-01T00:00:00Z", '"\\ud7ff\u200b"', '"cpu"', '"npo"',
    '"os:system"', '"no.such:Module"', "0x7fffffffffffffff",
)  # fmt: skip
COSTLY = ("passes", "workers", "people", "image_size", "size", "trials", "retrained", "shadows", "seeds", "draws")
KEYS = (
    "data", "columns", "splits", "image_root", "forget", "forget_subject", "forget_image", "forget_node", "unit", "out",
    "overwrite", "seed", "resume", "holdout", "train", "lora", "allow_pickle", "method", "search", "passes",
    "batch_size", "retain_per_forget", "retain_sample", "lr", "weight_decay", "warmup", "schedule", "optimizer",
    "max_grad_norm", "accumulation", "augment", "feature_cache", "memory", "precision", "workers", "checkpoint_steps",
    "trackers", "device",
    "family", "size", "image_size", "start", "task", "original", "retrained", "shadows", "cache", "noun", "compress",
    "relearn", "relearn_lr", "store", "trials", "nosuch", "a.b.c", '""', '"é"',
)  # fmt: skip
HOSTILE_VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 3, 2**63, 10**400, 1.5, -0.0, 1e308, "", "x", "none", "../..", "\x00", "x" * 5000,
    "\ud800", [], [1], [[]], ["a", None], {}, {"a": 1}, {"name": None}, {"wall_s": "x"}, {"digest": []},
)  # fmt: skip
TEXTS = ("", " ", "a", "NULL", "nan", "0", "1.0", "007", '"', '""', "a,b", "a\tb", "é", "e\u0301", "\u2028", "\ufeff",
         "\x00", "x" * 200, "[1, 2]", "{}", "=1+1", "../../etc/passwd", "photo-0.png", "person-0001")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command, with the folder that it is run in."""

    kind: str
    arguments: list[str]


@dataclass(frozen=True)
class Ended:
    """How a case ended: its code, or what escaped."""

    case: Case
    code: int | None
    escaped: str
    said: str

    @property
    def is_right(self) -> bool:
        """Whether it ended with a sentence and an allowed code."""
        return not self.escaped and self.code in ALLOWED and "Traceback (most" not in self.said


class World:
    """A folder with a tiny original, and fresh working folders for cases."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.original = root / "original"
        self.unlearned = root / "unlearned"
        self.photos = root / "photos"
        quiet = io.StringIO()
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            code = run(["train", "--data", DATA, "--passes", "1", "--image-size", "16", "--out", str(self.original)])
            request = ["--data", DATA, "--forget-subject", "person-0002", "--out", str(self.unlearned)]
            quick = ["--passes", "0.1", "--method", "neggrad"]
            code = code or run(["unlearn", str(self.original), *request, *quick])
        if code:
            raise RuntimeError(quiet.getvalue())
        self.photos.mkdir()
        for number in range(6):
            Image.new("RGB", (16, 16), (40 * number, 9, 90)).save(self.photos / f"photo-{number}.png")
        self.canary = root / "code-has-run"

    @property
    def cut(self) -> Path:
        """Where runs were interrupted."""
        return self.root / "cut"

    def interrupted(self) -> list[tuple[str, list[str]]]:
        """Unfinished folders of interrupted runs, with their commands."""
        request = ["--data", DATA, "--forget-subject", "person-0001"]
        often = ["--batch-size", "4", "--checkpoint-steps", "1"]
        original = str(self.original)
        runs = {
            ".trained.partial": ["train", "--data", DATA, "--image-size", "16", "--out", "trained", "--passes", "2"],
            ".unlearned.partial": ["unlearn", original, *request, "--out", "unlearned", "--passes", "9"],
            ".scrubbed.partial": ["unlearn", original, *request, "--out", "scrubbed", "--method", "scrub"],
            ".tuned.toml.partial": [
                "tune",
                original,
                *request,
                "--out",
                "tuned.toml",
                "--trials",
                "3",
                "--passes",
                "1",
            ],
        }
        found = [(name, [*command, *often]) for name, command in runs.items()]
        if not self.cut.exists():
            self.cut.mkdir()
            with contextlib.chdir(self.cut):
                for name, command in found:
                    _interrupt(command, Path(name))
        return found

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """A folder of a case's own."""
        with tempfile.TemporaryDirectory(dir=self.root) as name:
            yield Path(name)


def _interrupt(command: list[str], partial: Path) -> None:
    """Run a command until it has a checkpoint, and interrupt it there."""

    def has_begun() -> bool:
        return any((partial / "work").glob("checkpoint-*.safetensors")) or partial.is_file()

    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        code = interrupted_here(command, has_begun)
    if code != 130 or not partial.exists():
        raise RuntimeError(f"{command} ended with {code} before it could be interrupted: {quiet.getvalue()}")


def damaged_text(rng: random.Random, text: str) -> bytes:
    """A text file with something wrong with its bytes."""
    raw = text.encode(errors="surrogatepass")
    match rng.randrange(9):
        case 0:
            return raw[: rng.randrange(len(raw) + 1)]
        case 1:
            at = rng.randrange(len(raw) + 1)
            return raw[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9))) + raw[at:]
        case 2:
            return text.encode("utf-16", errors="replace")
        case 3:
            return b"\xef\xbb\xbf" + raw
        case 4:
            return raw.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\x00", b"\xe2\x80\xa8"]))
        case 5:
            return b"[" * 100_000
        case 6:
            return b'{"a":' * 50_000
        case 7:
            return raw + raw
        case _:
            return b""


def settings_file(rng: random.Random) -> str:
    """Keys of all commands with values of all types, and tables among them."""
    lines = []
    for key in rng.sample(KEYS, rng.randrange(1, 6)):
        values = TOML_VALUES if key not in COSTLY else [v for v in TOML_VALUES if not v[:1].isdigit()] + ["1", "0"]
        lines.append(f"{key} = {rng.choice(list(values))}")
    for table in rng.sample(("method", "search", "lora", "nosuch", "method.set"), rng.randrange(0, 2)):
        lines.append(f"[{table}]")
        lines += [f"{rng.choice(('name', 'score', 'trials', 'wall_s', 'beta'))} = {rng.choice(TOML_VALUES)}"]
    return "\n".join(lines) + "\n"


def of_settings(rng: random.Random, world: World, place: Path) -> Case:
    """A command with a settings file."""
    text = settings_file(rng)
    file = place / "run.toml"
    file.write_bytes(damaged_text(rng, text) if rng.random() < 0.25 else text.encode(errors="surrogatepass"))
    original, out = str(world.original), str(place / "out")
    quick = ["--passes", "0.1", "--batch-size", "4"]
    request = ["--forget-subject", "person-0001"]
    command = rng.choice(("train", "unlearn", "tune", "audit", "references", "data", "demo", "merge", "convert"))
    body = {
        "train": ["--data", DATA, "--out", out, "--image-size", "16", *quick],
        "unlearn": [original, "--data", DATA, "--out", out, *request, *quick],
        "tune": [original, "--data", DATA, "--out", f"{out}.toml", "--trials", "1", *request, *quick],
        "audit": [original, "--original", original, "--data", DATA, "--out", out, *request],
        "references": [original, "--data", DATA, "--store", out, "--retrained", "0", "--shadows", "0"],
        "data": [DATA],
        "demo": ["--people", "1", "--out", out],
        "merge": [original, "--out", out],
        "convert": [original, "--out", out],
    }[command]
    kept = [flag for flag in _pairs(body) if command == "demo" or rng.random() < 0.8]
    return Case(f"settings {command}", [command, *(part for flag in kept for part in flag), "--config", str(file)])


def _pairs(flags: list[str]) -> list[list[str]]:
    """Flags with their values; what stands first without one is by itself."""
    found: list[list[str]] = []
    at = 0
    while at < len(flags):
        width = 2 if flags[at].startswith("--") else 1
        found.append(flags[at : at + width])
        at += width
    return found


EXPERIMENT = """
name = "good"
seeds = [0]
fractions = [0.2]
draws = [1]
shadows = 0

[settings.one]
data = "{data}"
unit = "subject"
noun = "people"
holdout = 0.1
model = {{ family = "vision-text", image_size = 16 }}
train = {{ passes = 0.1, batch_size = 8 }}
columns = {{ text = "caption" }}
splits = {{ train = "train" }}
subset = {{ images = 2 }}

[settings.one.methods.quick]
passes = 0.1

[methods.quick]
method = "npo"
beta = 0.5
"""


def of_experiment(rng: random.Random, world: World, place: Path) -> Case:
    """An experiment file with lines replaced, taken out and doubled, or its bytes damaged."""
    lines = EXPERIMENT.format(data="nothing/here.csv" if rng.random() < 0.9 else DATA).splitlines()
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(lines))
        key, equals, _ = lines[at].partition(" = ")
        match rng.randrange(4):
            case 0 if equals:
                lines[at] = f"{key} = {rng.choice(TOML_VALUES)}"
            case 1:
                lines[at] = ""
            case 2:
                lines.insert(at, f"{rng.choice((*KEYS, 'seeds', 'fractions', 'start'))} = {rng.choice(TOML_VALUES)}")
            case _:
                lines[at] = rng.choice(("[methods]", "[settings]", "[settings.two]", "[methods.'a b']", lines[at] * 2))
    text = "\n".join(lines) + "\n"
    file = place / "experiment.toml"
    file.write_bytes(damaged_text(rng, text) if rng.random() < 0.2 else text.encode(errors="surrogatepass"))
    return Case("experiment", ["compare", str(file), "--out", str(place / "out"), "--shard", "2/2"])


def _replaced(rng: random.Random, content: dict[str, object]) -> dict[str, object]:
    """A JSON object with one value somewhere in it replaced, taken out or added."""
    inner: dict[str, object] = content
    while rng.random() < 0.6:
        deeper = [value for value in inner.values() if isinstance(value, dict) and value]
        if not deeper:
            break
        inner = rng.choice(deeper)
    key = rng.choice([*inner, "request", "holdout", "data", "model", "shadow", "lora", "original", "search"])
    if rng.random() < 0.15:
        inner.pop(key, None)
    else:
        inner[key] = copy.deepcopy(rng.choice(HOSTILE_VALUES))
    return content


def of_manifest(rng: random.Random, world: World, place: Path) -> Case:
    """A command that reads the ``multidelete.json`` of a model folder."""
    folder = place / "model"
    folder.mkdir()
    of = rng.choice((world.original, world.unlearned))
    for file in of.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "multidelete.json").unlink()
    content = json.loads((of / "multidelete.json").read_text())
    content |= {"request": {"pairs": 4, "unit": "subject", "digest": "0" * 64}} if rng.random() < 0.3 else {}
    content |= {"holdout": {"fraction": 0.1, "seed": 0}} if rng.random() < 0.3 else {}
    for _ in range(rng.randrange(1, 4)):
        content = _replaced(rng, content)
    text = json.dumps(content)
    raw = damaged_text(rng, text) if rng.random() < 0.25 else text.encode(errors="surrogatepass")
    (folder / "multidelete.json").write_bytes(raw)
    keys = key_file(of)
    if keys.exists():
        raw = keys.read_bytes()
        key_file(folder).write_bytes(raw if rng.random() < 0.7 else damaged_text(rng, raw.decode()))
    out, model = str(place / "out"), str(folder)
    request = ["--data", DATA, "--forget-subject", "person-0001"]
    quick = ["--passes", "0.1", "--batch-size", "4"]
    command = rng.choice(("unlearn", "retrain", "audit", "audit", "tune", "references", "merge", "train"))
    arguments = {
        "unlearn": ["unlearn", model, *request, "--out", out, "--method", "neggrad", *quick],
        "retrain": ["unlearn", model, *request, "--out", out, "--method", "retrain", *quick],
        "audit": ["audit", model, "--original", rng.choice((model, str(world.original))), *request, "--out", out,
                  *rng.choice(([], ["--retrained", model], ["--shadows", model]))],
        "tune": ["tune", model, *request, "--out", f"{out}.toml", "--trials", "1", "--method", "neggrad", *quick],
        "references": ["references", model, *request, "--store", out, "--retrained", "1", "--shadows", "0"],
        "merge": ["merge", model, "--out", out],
        "train": ["train", "--data", DATA, "--start", model, "--out", out, *quick],
    }[command]  # fmt: skip
    if "passes" in text and command == "references" and rng.random() < 0.9:  # trains with the recipe of the file
        arguments = ["merge", model, "--out", out]
    return Case(f"manifest {command}", arguments)


def of_request(rng: random.Random, world: World, place: Path) -> Case:
    """A request on a folder of pictures whose table is damaged."""
    folder = place / "photos"
    folder.mkdir()
    for file in world.photos.iterdir():
        (folder / file.name).symlink_to(file)
    columns = ["file_name", "text", "id", "subject"]
    rows = [[f"photo-{n}.png", f"a photograph of thing {n}", f"id-{n}", f"person-{n % 3}"] for n in range(6)]
    is_sound = rng.random() < 0.3
    for _ in range(0 if is_sound else rng.randrange(0, 4)):
        row = rng.choice(rows)
        match rng.randrange(4):
            case 0:
                row[rng.randrange(len(row))] = rng.choice(TEXTS)
            case 1:
                row.append(rng.choice(TEXTS))
            case 2 if len(row) > 1:
                row.pop()
            case _:
                columns[rng.randrange(len(columns))] = rng.choice((*TEXTS, "text", "image", "label", "split"))
    name = rng.choice(("metadata.csv", "metadata.jsonl", "pairs.tsv", "pairs.csv", "edges.csv", "metadata.parquet"))
    name = "metadata.csv" if is_sound else name
    _write(rng, folder / name, columns, rows)
    data = str(folder if name.startswith("metadata") or rng.random() < 0.3 else folder / name)
    request = place / f"request{rng.choice(('.txt', '.csv', '.tsv', '.jsonl', '.xlsx', ''))}"
    asked = [[rng.choice((*TEXTS, "id-1", "id-2", "person-1"))] for _ in range(rng.randrange(0, 4))]
    asked = [["id-1"], ["id-4"]] if rng.random() < 0.4 else asked
    named = ["id"] if rng.random() < 0.5 else rng.sample(["id", "subject", "image", "node", "ID", ""], 2)
    _write(rng, request, named, asked)
    flags = rng.choice(([], ["--unit", "subject"], ["--unit", "image"], ["--forget-subject", rng.choice(TEXTS)],
                        ["--forget-image", rng.choice(TEXTS)], ["--forget-node", "a"]))  # fmt: skip
    columns_flag = rng.choice(([], ["--columns", "image=file_name"], ["--columns", rng.choice(TEXTS)]))
    command = rng.choice(("data", "unlearn", "audit"))
    shared = ["--data", data, "--forget", str(request), *flags, *columns_flag, "--out", str(place / "out")]
    original = str(world.original)
    arguments = {
        "data": ["data", data, *columns_flag, *rng.choice(([], ["--check"], ["--json"]))],
        "unlearn": ["unlearn", original, *shared, "--passes", "0.1", "--method", "neggrad"],
        "audit": ["audit", original, "--original", original, *shared],
    }[command]
    return Case(f"request {command}", arguments)


def _write(rng: random.Random, path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """A table as its ending says, now and then with damaged bytes."""
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(dict(zip(columns, row, strict=False))) + "\n" for row in rows)
    else:
        comma = "\t" if path.suffix == ".tsv" else ","
        text = "".join(comma.join(row) + "\n" for row in [columns, *rows])
    path.write_bytes(damaged_text(rng, text) if rng.random() < 0.2 else text.encode(errors="surrogatepass"))


def _json_damaged(rng: random.Random, value: object) -> object:
    """A JSON value with one value somewhere in it replaced, taken out or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: _json_damaged(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        times = rng.choice((0, 1, 1, 1, 1, 2))
        return [*value[:at], *[_json_damaged(rng, value[at])] * times, *value[at + 1 :]]
    return rng.choice(HOSTILE_VALUES)


def _damaged_file(rng: random.Random, file: Path) -> None:
    """One file of a data folder with something wrong with it."""
    if file.suffix in (".json", ".jsonl") and rng.random() < 0.7:
        lines = file.read_text().splitlines()
        at = rng.randrange(len(lines))
        lines[at] = json.dumps(_json_damaged(rng, json.loads(lines[at])))
        file.write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    elif file.suffix in (".json", ".jsonl", ".csv", ".tsv", ".obo"):
        file.write_bytes(damaged_text(rng, file.read_text()))
    else:
        raw = file.read_bytes()
        eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch code-has-run) (w) file\n"
        header = raw[:16] + b"\xff\xff\xff\x7f" + raw[20:]
        file.write_bytes(rng.choice((b"", raw[:20], eps, header, raw[:60] + b"\x00" * 40, b"GIF89a" + raw, bytes(300))))


def of_layout(rng: random.Random, world: World, place: Path) -> Case:
    """A published layout of which a file or two are damaged."""
    folder = place / "layout"
    match rng.randrange(5):
        case 0:
            karpathy.write(folder, [dict(entry) for entry in karpathy.ALL])
        case 1:
            snli_ve.write(folder, snli_ve.ROWS)
        case 2:
            nlvr2.write(folder, nlvr2.ROWS)
        case 3:
            vqa.write(folder, vqa.ASKED)
        case _:
            graph_tables.write(folder, graph_tables.FILES)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tables = [file for file in files if file.suffix not in (".png", ".jpg")]
    among = tables if rng.random() < 0.8 else files
    for file in rng.sample(among, min(len(among), rng.randrange(1, 3))):
        _damaged_file(rng, file)
    out = str(place / "out")
    quick = ["--passes", "0.1", "--batch-size", "4", "--image-size", "16"]
    arguments = rng.choice((
        ["data", str(folder)], ["data", str(folder), "--check"], ["data", str(folder), "--json"],
        ["train", "--data", str(folder), "--out", out, *quick],
        ["unlearn", str(world.original), "--data", str(folder), "--forget-subject", "x", "--out", out],
    ))  # fmt: skip
    return Case(f"layout {arguments[0]}", arguments)


class Planted:
    """What a pickle runs when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.canary,)  # type: ignore[return-value]


def of_checkpoint(rng: random.Random, world: World, place: Path) -> Case:
    """An interrupted run whose files are damaged or planted, and that is to go on."""
    name, command = rng.choice(world.interrupted())
    shutil.copytree(world.cut, place, dirs_exist_ok=True)
    unfinished = place / name
    files = [unfinished] if unfinished.is_file() else sorted(path for path in unfinished.rglob("*") if path.is_file())
    planted = pickle.dumps(Planted(world.canary))
    for file in rng.sample(files, min(len(files), rng.randrange(1, 3))):
        raw = file.read_bytes()
        match rng.randrange(8):
            case 0:
                file.write_bytes(raw[: rng.randrange(len(raw) + 1)])
            case 1 if raw:
                at = rng.randrange(len(raw))
                file.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :])
            case 2:
                file.write_bytes(rng.choice((planted, b"", b"\x00" * 64, b"{}", b'{"__metadata__":' * 9999)))
            case 3:
                file.unlink(missing_ok=True)
            case 4:
                file.unlink(missing_ok=True)
                file.mkdir(exist_ok=True)
            case 7 if raw[:1] == b"{":
                lines = raw.decode(errors="replace").splitlines()
                lines[-1] = json.dumps(_json_damaged(rng, json.loads(lines[-1])))
                file.write_bytes("\n".join(lines).encode(errors="surrogatepass"))
            case 5:
                (file.parent / rng.choice(("custom_checkpoint_0.pkl", "random_states_0.pkl", "pytorch_model.bin",
                                           "checkpoint-99999999.safetensors", "pass-0001.safetensors", "run",
                                           "optimizer.bin", "rows.jsonl"))).write_bytes(planted)  # fmt: skip
            case 6:
                unfinished.with_suffix(".y").write_bytes(planted)
            case _:
                file.write_bytes(rng.randbytes(rng.randrange(2000)))
    return Case(f"checkpoint {command[0]}", [*command, rng.choice(("--resume", "--resume", "--resume", "--overwrite"))])


def of_flags(rng: random.Random, world: World, place: Path) -> Case:
    """A command with flags of all kinds, and values of none."""
    command = rng.choice(("train", "unlearn", "tune", "audit", "references", "compare", "merge", "convert", "data", ""))
    words = [f"--{key.replace('_', '-')}" for key in KEYS if key.isidentifier() and key not in COSTLY]
    values = (*TEXTS, "1", "-1", "1e400", "9" * 5000, "nan", str(world.original), str(place), "/", ".", "nowhere/here")
    values = tuple(value for value in values if "\x00" not in value)
    given = [part for _ in range(rng.randrange(0, 6)) for part in (rng.choice(words), rng.choice(values))]
    first = [command] if command else []
    place_of = [rng.choice(values)] if rng.random() < 0.5 else []
    return Case(f"flags {command}".strip(), [*first, *place_of, *given])


KINDS: Mapping[str, Callable[[random.Random, World, Path], Case]] = {
    "settings": of_settings,
    "experiment": of_experiment,
    "manifest": of_manifest,
    "request": of_request,
    "flags": of_flags,
    "layout": of_layout,
    "checkpoint": of_checkpoint,
}


def ended(world: World, seed: int, kind: str | None = None) -> Ended:
    """Run one case in this process; the same seed is the same case."""
    rng = random.Random(seed)
    chosen = kind or sorted(KINDS)[seed % len(KINDS)]
    with world.place() as place, contextlib.chdir(place):
        case = KINDS[chosen](rng, world, place)
        out = io.StringIO()
        code, escaped = None, ""
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(SLOW_S)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = run(case.arguments)
        except BaseException:  # noqa: BLE001 - whatever escapes is what is looked for
            escaped = traceback.format_exc()
        finally:
            signal.alarm(0)
        left = [path.name for path in place.rglob("*.partial")] + [path.name for path in place.rglob("*.new")]
        if (
            code in (1, 2)
            and (left or (place / "out").exists())
            and case.arguments[:1] not in (["references"], ["compare"])
            and chosen != "checkpoint"
        ):
            escaped = escaped or f"half-written: {left or 'out'}"
    if world.canary.exists():
        escaped = "code has run"
        world.canary.unlink()
    return Ended(case, code, escaped, out.getvalue())


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"longer than {SLOW_S} s")


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run many cases and print figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", choices=sorted(KINDS))
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="hostile-"))
    tally: Counter[tuple[str, object]] = Counter()
    wrong = 0
    try:
        world = World(root)
        for seed in range(asked.first, asked.first + asked.count):
            done = ended(world, seed, asked.kind)
            tally[done.case.kind, done.code if done.is_right else "WRONG"] += 1
            if not done.is_right:
                wrong += 1
                last = (done.escaped or done.said).strip().splitlines()[-1][:300]
                _tell(f"seed {seed}: {done.case.kind}: {last}\n  {' '.join(done.case.arguments)[:300]!r}")
                if asked.count <= 3:
                    _tell(done.escaped + done.said)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for (kind, code), times in sorted(tally.items(), key=str):
        _tell(f"{kind:24} {code!s:6} {times}")
    _tell(f"{sum(tally.values())} cases, {wrong} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
