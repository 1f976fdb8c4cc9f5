"""Commands that are killed at any moment, or meet a full disk: afterwards everything is as if nothing had happened.

    python -m tests.disturbed --kills 200 --full 150 --seed 0

Each command runs in a child that is forked from a process which has imported everything, in a folder of its own with
tiny models. A kill comes before a random one of the file operations that the interpreter reports, or after a random
time. A full disk is a small tmpfs, or a limit on the size of files where none can be mounted. Then the command runs
again, with ``--resume`` where it has one, and what is there must be what an undisturbed run leaves, byte for byte, but
for times: nothing more, nothing less, and no traceback anywhere.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from multidelete.cli import main
from tests.tiny import SIDE, own_clip, people, subjects_ids

TRACEBACK = "Traceback (most recent call last)"
WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}  # reported before they happen
PATIENCE_S = 600.0
LOOP = ("--passes", "4", "--batch-size", "8", "--checkpoint-steps", "2", "--device", "cpu")
PHOTOS = ("--data", "photos")  # the same people, as pictures on disk
DATA = ("--data", f"personas:people=6,unseen=4,size={SIDE}")
FORGET = ("--forget", "request.txt")
EXPERIMENT = f"""
name = "tiny"
fractions = [0.2]
[settings.people]
data = "personas:people=6,unseen=4,size={SIDE}"
unit = "subject"
model = {{ family = "clip", size = "tiny", image_size = {SIDE} }}
train = {{ passes = 1, batch_size = 24, device = "cpu" }}
[methods.finetune]
passes = 1
"""

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", *DATA, "--image-size", str(SIDE), "--size", "tiny", *LOOP, "--out", "new/out"),
    "unlearn": ("unlearn", "original", *DATA, *FORGET, "--method", "grad_diff", *LOOP, "--out", "new/out"),
    "workers": ("unlearn", "original", *PHOTOS, *FORGET, "--method", "finetune", *LOOP, "--workers", "1", "--out",
                "out"),
    "multidelete": ("unlearn", "original", *DATA, *FORGET, *LOOP, "--out", "out"),
    "overwrite": ("unlearn", "original", *DATA, *FORGET, "--method", "neggrad", *LOOP, "--out", "old", "--overwrite"),
    "tune": ("tune", "original", *DATA, *FORGET, "--method", "neggrad", "--trials", "2", "--passes", "1",
             "--checkpoint-steps", "0", "--device", "cpu", "--out", "new/tuned.toml"),
    "audit": ("audit", "old", "--original", "original", *PHOTOS, *FORGET, "--cache", "cache", "--device", "cpu",
              "--out", "report"),
    "references": ("references", "trained", *PHOTOS, *FORGET, "--store", "store", "--retrained", "1", "--shadows", "1"),
    "compare": ("compare", "experiment.toml", "--out", "runs", "--discard"),
    "merge": ("merge", "adapter", "--out", "merged"),
    "convert": ("convert", "official.pth", "--tokenizer", "words", "--head-width", "8", "--out", "albef"),
    "back": ("convert", "albef-folder", "--to-official", "--out", "back.pth"),
    "people": ("data", f"personas:people=6,size={SIDE}", "--write", "people"),
    "demo": ("demo", "--people", "4", "--out", "demo", "--device", "cpu"),
}  # fmt: skip
SLOW = ("demo", "compare", "references")
RESUMED = ("train", "unlearn", "workers", "multidelete", "overwrite", "tune")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal, and what it said."""

    code: int
    said: str
    operations: int = 0
    seconds: float = 0.0


@dataclass
class Tally:
    """What came of disturbing commands.

    Attributes:
        runs: How often each command was disturbed, and how it ended.
        problems: Everything that was not as it should be.
    """

    runs: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def material(folder: Path) -> None:
    """What the commands begin with."""
    import torch
    from transformers import BertConfig, ViTConfig

    from multidelete.artifacts.marks import mark
    from multidelete.data.generated.personas import write_personas
    from multidelete.models.albef import AlbefConfig, AlbefForRetrieval
    from multidelete.models.converters.conversion import export
    from multidelete.models.fresh import train_tokenizer
    from tests.tiny import SIZE, captions

    data = people(6, unseen=4)
    own_clip(data).save(folder / "original")
    write_personas(folder / "photos", people=6, unseen=4, size=SIDE)
    (folder / "request.txt").write_text("\n".join(subjects_ids(data.train, 1)) + "\n")
    (folder / "experiment.toml").write_text(EXPERIMENT)
    train_tokenizer(captions(data), SIZE).save_pretrained(folder / "words")
    prepare = {
        "trained": ("train", *DATA, "--image-size", str(SIDE), "--size", "tiny", "--passes", "1", "--device", "cpu",
                    "--checkpoint-steps", "0"),
        "old": ("unlearn", "original", *DATA, *FORGET, "--method", "neggrad", "--passes", "1", "--device", "cpu"),
        "adapter": ("unlearn", "original", *DATA, *FORGET, "--method", "grad_diff", "--lora", "r=2,alpha=4", "--passes",
                    "1", "--device", "cpu"),
    }  # fmt: skip
    for name, arguments in prepare.items():
        ended = ran((*arguments, "--out", name), folder)
        assert ended.code == 0, ended.said
    torch.manual_seed(0)
    config = AlbefConfig(
        vision_config=ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                                image_size=SIDE, patch_size=16, layer_norm_eps=1e-6),
        text_config=BertConfig(vocab_size=400, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                               intermediate_size=32, max_position_embeddings=40),
        fusion_layer=1, projection_dim=8,
    )  # fmt: skip
    config.text_prefix = "text_encoder.bert."
    AlbefForRetrieval(config).save_pretrained(folder / "albef-weights")
    export(folder / "albef-weights", folder / "official.pth")
    ended = ran(
        ("convert", "official.pth", "--tokenizer", "words", "--head-width", "8", "--out", "albef-folder"), folder
    )
    assert ended.code == 0, ended.said
    shutil.rmtree(folder / "albef-weights")
    mark(folder / "old")


def ran(
    arguments: tuple[str, ...], folder: Path, *, kill_at: int | None = None, kill_after_s: float | None = None,
    file_bytes: int | None = None,
) -> Ended:  # fmt: skip
    """Run a command in a child of this process, and kill it where that is asked for.

    Args:
        arguments: Of ``multidelete``.
        folder: The working folder.
        kill_at: Kill before this file operation below the folder, from 1.
        kill_after_s: Kill after these seconds.
        file_bytes: The largest file that can be written.
    """
    said, counted = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115 - both outlive the child
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.chdir(folder)
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        sys.argv = ["multidelete", *arguments]
        secrets.token_bytes = bytes  # the same keys of deletions in every run: what is written rests on them
        operations = _count(folder.resolve(), kill_at)
        if file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        code: int | str | None = 1
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        except BaseException:  # noqa: BLE001 - the child says what came, and ends
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(counted.fileno(), str(operations()).encode())
        os._exit(code if isinstance(code, int) else int(code is not None))
    deadline = started + (PATIENCE_S if kill_after_s is None else kill_after_s)
    status = None
    while status is None:
        done, state = os.waitpid(child, os.WNOHANG)
        if done:
            status = state
        elif time.monotonic() > deadline:
            with suppress(ProcessLookupError):  # it has not yet made its group
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            deadline += PATIENCE_S
        else:
            time.sleep(0.002)
    said.seek(0)
    counted.seek(0)
    number = counted.read()
    return Ended(
        os.waitstatus_to_exitcode(status), said.read(), int(number) if number else 0, time.monotonic() - started
    )


def _count(folder: Path, kill_at: int | None) -> Callable[[], int]:
    """Count file operations below a folder, and die before one of them."""
    seen = 0
    here = str(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in WATCHED:
            return
        path = str(arguments[0])
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if path.startswith("/") and not path.startswith(here):
            return
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: seen


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with what depends on the time taken out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == "pictures.json":  # holds digests of pictures that are some seconds old
            continue
        if path.is_dir() and not path.is_symlink():
            found[name + "/"] = b""
        elif path.name.startswith("signals-"):  # named by its model's files, of which the card tells seconds
            arrays = _answers(path)
            found[f"{name.rpartition('/')[0]}/signals {hashlib.sha256(arrays).hexdigest()}"] = arrays
        else:
            found[name] = _timeless(path)
    return found


def _answers(path: Path) -> bytes:
    """What a file of kept answers says, but for the key that it was made under."""
    with np.load(path, allow_pickle=False) as stored:
        words = json.loads(stored["words"].tobytes())
        arrays = {name: stored[name] for name in stored.files if name != "words"}
    said = sorted((name, str(array.dtype), array.shape) for name, array in arrays.items())
    return repr((words | {"key": ""}, said)).encode() + b"".join(arrays[name].tobytes() for name, *_ in said)


_KEYED = rb"\b[0-9a-f]{16}\b|\b[0-9a-f]{32}\b"  # ids of keys, which are random, and digests under them


def _timeless(path: Path) -> bytes:
    """What a file says, without seconds and bytes of memory: of pages, without any number."""
    data = re.sub(rb"sha256 of the files [0-9a-f]+", b"", path.read_bytes())  # the model card among them tells seconds
    if path.suffix in (".html", ".md", ".svg"):
        data = re.sub(rb"pair [0-9a-f]{6}\b|" + _KEYED, b"", data)
        return re.sub(rb"[\d.,e+-]+", b"0", re.sub(rb"[mp][0-9a-f]{8,}", b"", data))  # names of marks in plots as well
    if path.suffix in (".json", ".jsonl", ".toml"):
        data = re.sub(rb'"?(wall_s|reading_s|reference_s|peak_bytes|\w*_wall_s)"?( ?[:=] ?)[-\d.e+]+', rb"\1", data)
        data = re.sub(rb'[^\n]*"audit": "cost"[^\n]*', b"", data)
        data = re.sub(rb"failed, [\d,]+ s\.", b"", data)
        data = re.sub(_KEYED, b"", data)
    if path.suffix == ".key":
        data = re.sub(rb"\b[0-9a-f]{64}\b|" + _KEYED, b"", data)
    return data


def compared(name: str, folder: Path, whole: Mapping[str, bytes]) -> list[str]:
    """How a folder differs from what an undisturbed run leaves."""
    found = content(folder)
    problems = [f"{name}: {path} is left over" for path in found.keys() - whole.keys()]
    problems += [f"{name}: {path} is missing" for path in whole.keys() - found.keys()]
    problems += [f"{name}: {path} is another" for path in found.keys() & whole.keys() if found[path] != whole[path]]
    return sorted(problems)


def again(name: str) -> tuple[str, ...]:
    """The command that goes on after a disturbance."""
    return (*COMMANDS[name], *(("--resume",) if name in RESUMED else ()))


@dataclass(frozen=True)
class Bench:
    """Where commands are disturbed.

    Attributes:
        root: Folder of everything.
        whole: What an undisturbed run of each command leaves.
        ended: How it ended.
    """

    root: Path
    whole: Mapping[str, Mapping[str, bytes]]
    ended: Mapping[str, Ended]

    def fresh(self, at: Path) -> Path:
        """A new working folder with the material."""
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(self.root / "material", at, symlinks=True)
        return at

    def killed(self, name: str, chance: random.Random, tally: Tally) -> None:
        """Kill a command once, or while it goes on once more, and let it go on to the end."""
        folder = self.fresh(self.root / "killed")
        arguments, usual = COMMANDS[name], self.ended[name]
        for _ in range(1 + (chance.random() < 0.25)):
            how: dict[str, float | int] = {"kill_at": chance.randint(1, max(1, usual.operations))}
            if chance.random() < 0.4:
                how = {"kill_after_s": chance.random() * usual.seconds}
            ended = ran(arguments, folder, **how)  # type: ignore[arg-type]  # values of two kinds
            self._told(name, ended, tally, f"killed ({how})")
            arguments = again(name)
        self._finished(name, folder, tally, f"{how}")

    def filled(self, name: str, chance: random.Random, tally: Tally, disk: "Disk | None") -> None:
        """Let a command meet a full disk, make room, and let it go on to the end."""
        if disk is None:
            folder, share = self.fresh(self.root / "filled"), chance.random()
            largest = max(len(data) for data in self.whole[name].values())
            limit = max(1, int(share * largest))
            ended = ran(COMMANDS[name], folder, file_bytes=limit)
            what = f"files of at most {limit} bytes"
        else:
            disk.resize(None)
            folder = self.fresh(disk.folder / "work")
            used = disk.used()
            added = sum(len(d) for d in self.whole[name].values()) - sum(len(d) for d in content(folder).values())
            room = int(chance.random() ** 2 * 2.0 * max(added, 4096))
            disk.resize(used + room)
            ended = ran(COMMANDS[name], folder)
            what = f"{room} bytes of room"
            disk.resize(None)
        if ended.code not in (0, 1, 2):
            tally.problems.append(f"{name} ({what}) ended with {ended.code}: {ended.said[-2000:]}")
        if ended.code and "error: " not in ended.said:
            tally.problems.append(f"{name} ({what}) failed and did not say why: {ended.said[-500:]}")
        self._told(name, ended, tally, "met a full disk")
        if ended.code == 0:  # there was room enough
            tally.problems += compared(f"{name} ({what}, ended well)", folder, self.whole[name])
        else:
            self._finished(name, folder, tally, what)

    def _told(self, name: str, ended: Ended, tally: Tally, what: str) -> None:
        tally.runs[f"{name}: {'ended' if ended.code == 0 else 'disturbed'}"] += 1
        if TRACEBACK in ended.said:
            tally.problems.append(f"{name} {what}: {ended.said[-3000:]}")

    def _finished(self, name: str, folder: Path, tally: Tally, what: str) -> None:
        """Go on, and compare."""
        ended = ran(again(name), folder)
        complete = ended.code == 2 and "already exists" in ended.said
        if TRACEBACK in ended.said or not (ended.code == 0 or complete):
            tally.problems.append(f"{name} ({what}) did not go on: {ended.code} {ended.said[-3000:]}")
        tally.problems += compared(f"{name} ({what})", folder, self.whole[name])


@dataclass(frozen=True)
class Disk:
    """A small disk in memory."""

    folder: Path

    def resize(self, size_bytes: int | None) -> None:
        """None makes it large."""
        size = 512 * 2**20 if size_bytes is None else -(-size_bytes // 4096) * 4096
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True, capture_output=True)

    def used(self) -> int:
        """Bytes."""
        usage = os.statvfs(self.folder)
        return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def bench(root: Path, names: tuple[str, ...]) -> Bench:
    """Run each command undisturbed, twice: what differs between the two differs by itself."""
    (root / "material").mkdir(parents=True)
    material(root / "material")
    whole, how = {}, {}
    for name in names:
        at = Bench(root, {}, {}).fresh(root / "whole")
        ended = ran(COMMANDS[name], at)
        assert ended.code == 0, f"{name}: {ended.said}"
        whole[name], how[name] = content(at), ended
        sys.stderr.write(f"{name}: {ended.seconds:.1f} s, {ended.operations} file operations\n")
    return Bench(root, whole, how)


def disturb(root: Path, *, kills: int, full: int, seed: int, names: tuple[str, ...]) -> Tally:
    """Disturb commands in turn.

    Args:
        root: An empty folder.
        kills: How many kills.
        full: How many points of a full disk.
        seed: Of the moments.
        names: Which commands.
    """
    chance, tally = random.Random(seed), Tally()
    os.environ["XDG_STATE_HOME"] = str(root / "state")
    ready = bench(root, names)
    disk = None
    try:
        (root / "disk").mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(root / "disk")], check=False, capture_output=True
        )
        disk = Disk(root / "disk") if full and mounted.returncode == 0 else None
        for number, name in enumerate(_in_turn(names, kills)):
            ready.killed(name, chance, tally)
            _say(number, kills, "kills", tally)
        for number, name in enumerate(_in_turn(names, full)):
            ready.filled(name, chance, tally, disk)
            _say(number, full, "full disks", tally)
    finally:
        if os.path.ismount(root / "disk"):
            subprocess.run(["umount", str(root / "disk")], check=False)
    return tally


def _in_turn(names: Sequence[str], number: int) -> Iterator[str]:
    """That many names, the slow ones in every eighth round only."""
    rounds = ([n for n in names if n not in SLOW or r % 8 == 7] or names for r in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(rounds), number)


def _say(number: int, total: int, what: str, tally: Tally) -> None:
    sys.stderr.write(f"{what}: {number + 1} of {total}, {len(tally.problems)} problems\n")
    for problem in tally.problems[getattr(_say, "told", 0) :]:
        sys.stderr.write(problem + "\n")
    _say.told = len(tally.problems)  # type: ignore[attr-defined]  # what was said already


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=26)
    parser.add_argument("--full", type=int, default=26)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="disturbed-") as place:
        result = disturb(
            Path(place), kills=given.kills, full=given.full, seed=given.seed, names=tuple(given.commands.split(","))
        )
    sys.stdout.write(json.dumps({"runs": dict(sorted(result.runs.items())), "problems": len(result.problems)}) + "\n")
    sys.exit(bool(result.problems))
