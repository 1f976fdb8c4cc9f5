"""Model folders made to do harm: planted code, paths that lead elsewhere, sizes out of all proportion, damaged files.

``python -m tests.models.hostile_folders`` runs all of them in this process and says what came of each. None may run
code, leave half a result, or end otherwise than with a sentence and the code 0, 1 or 2.
"""

import contextlib
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from multidelete.cli import run
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import family_model, own_clip, people

DATA = "personas:people=4,unseen=2,size=32"
SLOW_S, MOST_BYTES = 60, 3 * 2**30
WEIGHTS, INDEX, BIN = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
Damage = Callable[[Path, "Bait"], None]


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@dataclass(frozen=True)
class Bait:
    """What must not happen, and what must not be read.

    Attributes:
        mark: Folder that planted code makes.
        elsewhere: A complete model folder beside the hostile one.
    """

    mark: Path
    elsewhere: Path

    @property
    def code(self) -> str:
        made = f"import pathlib\npathlib.Path({str(self.mark)!r}).mkdir(exist_ok=True)\n"
        return made + "class Evil:\n    pass\n"


@dataclass(frozen=True)
class Hostile:
    """One folder.

    Attributes:
        name: What is wrong with it.
        base: Which sound folder it is made of.
        damage: What is done to that.
        allow_pickle: Whether the user allows pickled weights.
        may_load: Whether it may turn out harmless.
    """

    name: str
    base: str
    damage: Damage
    allow_pickle: bool = False
    may_load: bool = False


def _write(name: str, content: str | bytes) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))

    return damage


def _json(name: str, *path: str, **entries: object) -> Damage:
    """Entries of a JSON file replaced, at its top or below a path; the file is made where it is not there."""

    def damage(folder: Path, bait: Bait) -> None:
        file = folder / name
        content = json.loads(file.read_text()) if file.exists() else {}
        inner = content
        for part in path:
            inner = inner.setdefault(part, {})
        inner |= entries
        file.write_text(json.dumps(content))

    return damage


def _config(*path: str, **entries: object) -> Damage:
    return _json("config.json", *path, **entries)


def _coded(name: str, *path: str, **entries: object) -> Damage:
    """A JSON file that names a module of the folder's own, and the module."""

    def damage(folder: Path, bait: Bait) -> None:
        (folder / "evil.py").write_text(bait.code)
        _json(name, *path, **entries)(folder, bait)

    return damage


def _pickled(name: str, *, keep: bool = False) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        if not keep:
            (folder / WEIGHTS).unlink()
        torch.save({"visual_projection.weight": Harmful(bait.mark)}, folder / name)

    return damage


def _raw_pickle(name: str, protocol: int, *, keep: bool = False) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        if not keep:
            (folder / WEIGHTS).unlink(missing_ok=True)
        (folder / name).write_bytes(pickle.dumps(Harmful(bait.mark), protocol=protocol))

    return damage


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def _set(name: str, tensor: torch.Tensor) -> Damage:
    return _tensors(lambda tensors: tensors.update({name: tensor}))


def _cut(name: str, keep: float) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(keep if keep > 1 else keep * len(content))])

    return damage


def _header(header: object, length: int | None = None) -> Damage:
    """A weight file with a header of one's own, and a length that need not be its."""

    def damage(folder: Path, bait: Bait) -> None:
        text = json.dumps(header).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + b"\0" * 64)

    return damage


def _index(content: Callable[[list[str], Bait], object], *, pickled: bool = False) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        names = list(load_file(folder / WEIGHTS))
        (folder / WEIGHTS).unlink()
        if pickled:
            torch.save({"visual_projection.weight": Harmful(bait.mark)}, folder / "a.bin")
        file = f"{BIN}.index.json" if pickled else INDEX
        (folder / file).write_text(json.dumps({"metadata": {}, "weight_map": content(names, bait)}))

    return damage


def _linked(name: str, target: Callable[[Path, Bait], str | Path]) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target(folder, bait))

    return damage


def _pipe(name: str) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def _without(name: str) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        (folder / name).unlink()

    return damage


def _adapter_base(base: Callable[[Path, Bait], object]) -> Damage:
    def damage(folder: Path, bait: Bait) -> None:
        _json("adapter_config.json", base_model_name_or_path=base(folder, bait))(folder, bait)

    return damage


DEEP, LONG = "[" * 100_000, "9" * 5000
CODE = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoProcessor": "evil.Evil", "AutoTokenizer": "evil.Evil"}
TEMPLATE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json")

FOLDERS = [
    # code
    Hostile("a pickle that runs code", "clip", _pickled(BIN)),
    Hostile("a pickle that runs code, allowed", "clip", _pickled(BIN), allow_pickle=True),
    Hostile("an old pickle that runs code, allowed", "clip", _raw_pickle(BIN, 0), allow_pickle=True),
    Hostile("a new pickle that runs code, allowed", "clip", _raw_pickle(BIN, 5), allow_pickle=True),
    Hostile("a pickled shard that runs code", "clip", _index(lambda n, b: dict.fromkeys(n, "a.bin"), pickled=True),
            allow_pickle=True),
    Hostile("a pickle beside the weights", "clip", _pickled(BIN, keep=True), allow_pickle=True, may_load=True),
    Hostile("training arguments that run code", "clip", _raw_pickle("training_args.bin", 2, keep=True), may_load=True),
    Hostile("an optimizer that runs code", "clip", _raw_pickle("optimizer.pt", 2, keep=True), may_load=True),
    Hostile("a checkpoint that runs code", "clip", _raw_pickle("custom_checkpoint_0.pkl", 2, keep=True), may_load=True),
    Hostile("weights that are a pickle", "clip", _raw_pickle(WEIGHTS, 2)),
    Hostile("weights that are an archive of a pickle", "clip", _pickled(WEIGHTS)),
    Hostile("an adapter that is a pickle", "adapter", _raw_pickle("adapter_model.safetensors", 2)),
    Hostile("a graph that is a pickle", "graph", _raw_pickle("graph.safetensors", 2, keep=True)),
    Hostile("code for the tokenizer of a graph", "graph",
            _coded("tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None]}),
            may_load=True),
    Hostile("a graph without end", "graph", _write("graph.json", DEEP)),
    Hostile("code for the network", "clip", _coded("config.json", auto_map=CODE), may_load=True),
    Hostile("code for the text encoder", "vision-text", _coded("config.json", "text_config", auto_map=CODE)),
    Hostile("code for the vision encoder", "vision-text", _coded("config.json", "vision_config", auto_map=CODE)),
    Hostile("code for the tokenizer", "clip", _coded("tokenizer_config.json", tokenizer_class="Evil", auto_map=CODE),
            may_load=True),
    Hostile("code for the tokenizer of a pair", "vision-text",
            _coded("tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None]}),
            may_load=True),
    Hostile("code for the processor", "clip", _coded("processor_config.json", processor_class="Evil", auto_map=CODE),
            may_load=True),
    Hostile("code for the image processor", "clip",
            _coded("processor_config.json", "image_processor", image_processor_type="Evil", auto_map=CODE),
            may_load=True),
    Hostile("code of an image processor's own", "vision-text",
            _coded("preprocessor_config.json", image_processor_type="Evil",
                   auto_map={"AutoImageProcessor": "evil.Evil"}), may_load=True),
    Hostile("code of another's folder", "clip", _coded("config.json", auto_map={"AutoModel": "evil/evil--evil.Evil"}),
            may_load=True),
    Hostile("a module to import", "adapter",
            _coded("adapter_config.json", megatron_config={"a": 1}, megatron_core="evil")),
    Hostile("a class to import", "adapter", _coded("adapter_config.json",
            auto_mapping={"base_model_class": "Evil", "parent_library": "evil"}), may_load=True),
    Hostile("attention from the hub", "clip", _config(attn_implementation="evil/kernel")),
    Hostile("attention from the hub for a part", "clip", _config("text_config", _attn_implementation="evil/kernel")),
    Hostile("a template that looks around", "clip", _json("tokenizer_config.json", chat_template=TEMPLATE),
            may_load=True),
    Hostile("a tokenizer of the hub for sound", "clip", _json("processor_config.json", audio_tokenizer={
            "audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": "evil/evil"}), may_load=True),
    Hostile("weights of 8 bits", "clip", _config(quantization_config={"quant_method": "evil"})),
    # paths
    Hostile("an index that leads elsewhere", "clip", _index(lambda n, b: dict.fromkeys(n, "../elsewhere/" + WEIGHTS))),
    Hostile("an index with a whole path", "clip", _index(lambda n, b: dict.fromkeys(n, str(b.elsewhere / WEIGHTS)))),
    Hostile("an index of devices", "clip", _index(lambda n, b: dict.fromkeys(n, "/dev/zero"))),
    Hostile("an index of nothing", "clip", _index(lambda n, b: {})),
    Hostile("an index of numbers", "clip", _index(lambda n, b: dict.fromkeys(n, 3))),
    Hostile("an index that is a list", "clip", _index(lambda n, b: n)),
    Hostile("an index of missing files", "clip", _index(lambda n, b: dict.fromkeys(n, "b.safetensors"))),
    Hostile("a configuration that is a device", "clip", _linked("config.json", lambda f, b: "/dev/zero")),
    Hostile("weights that are a device", "clip", _linked(WEIGHTS, lambda f, b: "/dev/zero")),
    Hostile("a tokenizer that is a device", "clip", _linked("tokenizer.json", lambda f, b: "/dev/zero")),
    Hostile("a tokenizer that is a pipe", "clip", _pipe("tokenizer.json")),
    Hostile("a configuration that is a pipe", "clip", _pipe("config.json")),
    Hostile("a manifest that is a pipe", "clip", _pipe("multidelete.json")),
    Hostile("weights that link to themselves", "clip", _linked(WEIGHTS, lambda f, b: f / WEIGHTS)),
    Hostile("weights that are a folder", "clip", _linked(WEIGHTS, lambda f, b: f)),
    Hostile("a link to nothing", "clip", _linked("processor_config.json", lambda f, b: f / "nothing")),
    Hostile("a tokenizer's files elsewhere", "clip",
            _json("tokenizer_config.json", tokenizer_file="/etc/passwd", vocab_file="/etc/passwd"), may_load=True),
    Hostile("an adapter of itself", "adapter", _adapter_base(lambda f, b: str(f))),
    Hostile("an adapter of no model", "adapter", _adapter_base(lambda f, b: "/etc")),
    Hostile("an adapter of an address", "adapter", _adapter_base(lambda f, b: "http://127.0.0.1:9/a")),
    Hostile("an adapter of a number", "adapter", _adapter_base(lambda f, b: 3)),
    Hostile("an adapter of a relative path", "adapter", _adapter_base(lambda f, b: "../../../../etc/passwd")),
    # sizes
    Hostile("a hundred million layers", "clip", _config("text_config", num_hidden_layers=10**8)),
    Hostile("wide layers", "clip", _config("vision_config", hidden_size=2**20, intermediate_size=2**22)),
    Hostile("a vast vocabulary", "clip", _config("text_config", vocab_size=10**9)),
    Hostile("a vast picture", "clip", _config("vision_config", image_size=10**6, patch_size=1)),
    Hostile("a vast joint space", "clip", _config(projection_dim=10**9)),
    Hostile("many positions", "clip", _config("text_config", max_position_embeddings=10**9)),
    Hostile("many classes", "clip", _config(num_labels=10**9)),
    Hostile("many stages", "vision-text", _config("vision_config", depths=[10**8, 2], num_stages=10**8)),
    Hostile("a vast rank", "adapter", _json("adapter_config.json", r=10**9)),
    Hostile("pictures made vast", "clip", _json("processor_config.json", "image_processor", size={
            "height": 10**6, "width": 10**6}, crop_size={"height": 10**6, "width": 10**6})),
    Hostile("a graph of other nodes", "graph", _config(nodes=10**9)),
    Hostile("a header without end", "clip", _header({}, 2**63)),
    Hostile("a header of a vast tensor", "clip",
            _header({"logit_scale": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})),
    Hostile("a header of overlapping tensors", "clip", _header({n: {"dtype": "F32", "shape": [4],
            "data_offsets": [0, 16]} for n in "ab"})),
    Hostile("a header of an unknown type", "clip", _header({"a": {"dtype": "F999", "shape": [1],
            "data_offsets": [0, 4]}})),
    Hostile("a header of a negative shape", "clip", _header({"a": {"dtype": "F32", "shape": [-1],
            "data_offsets": [0, 4]}})),
    # damaged files
    *[Hostile(f"weights cut to {keep:g}", "clip", _cut(WEIGHTS, keep)) for keep in (0, 8, 100, 0.5, 0.999)],
    *[Hostile(f"{name} cut in half", "clip", _cut(name, 0.5))
      for name in FILES],
    *[Hostile(f"an empty {name}", "clip", _write(name, ""))
      for name in ("config.json", "tokenizer.json", "processor_config.json")],
    *[Hostile(f"{name} without end", "clip", _write(name, DEEP))
      for name in (*FILES, "multidelete.json")],
    Hostile("a number without end", "clip", _write("config.json", '{"model_type": "clip", "x": ' + LONG + "}")),
    Hostile("a manifest with a number without end", "clip", _write("multidelete.json", '{"seed": ' + LONG + "}")),
    Hostile("no JSON in UTF-16", "clip", _write("config.json", "{}".encode("utf-16"))),
    Hostile("a lone surrogate", "clip", _write("config.json", '{"model_type": "\ud800"}')),
    Hostile("a pickle cut short, allowed", "clip", lambda f, b: [_pickled(BIN)(f, b), _cut(BIN, 0.5)(f, b)][0],
            allow_pickle=True),
    Hostile("an empty pickle, allowed", "clip", lambda f, b: [_without(WEIGHTS)(f, b), _write(BIN, "")(f, b)][0],
            allow_pickle=True),
    # wrong content
    Hostile("no weights", "clip", _without(WEIGHTS)),
    Hostile("a missing tensor", "clip", _tensors(lambda t: t.pop("visual_projection.weight"))),
    Hostile("an extra tensor", "clip", _set("text_model.secret", torch.zeros(3))),
    Hostile("fewer layers than weights", "clip", _config("text_config", num_hidden_layers=1)),
    Hostile("NaN", "clip", _set("visual_projection.weight", torch.full((20, 40), float("nan")))),
    Hostile("infinity", "clip", _set("visual_projection.weight", torch.full((20, 40), float("inf")))),
    Hostile("weights in codes", "clip", _set("visual_projection.weight", torch.ones(20, 40, dtype=torch.int8))),
    Hostile("complex weights", "clip", _set("visual_projection.weight", torch.ones(20, 40, dtype=torch.complex64))),
    Hostile("an empty tensor", "clip", _set("visual_projection.weight", torch.zeros(0, 40))),
    Hostile("a number for a matrix", "clip", _set("visual_projection.weight", torch.tensor(1.0))),
    *[Hostile(f"text sizes that are {value!r}", "clip", _config("text_config", hidden_size=value))
      for value in ("32", -1, 0, 2.5, None, [32], True)],
    *[Hostile(f"architectures that are {value!r}", "clip", _config(architectures=value), may_load=True)
      for value in ("CLIPModel", 3, [3], [None], {"a": 1}, ["../evil"])],
    Hostile("a model type that is a list", "clip", _config(model_type=["clip"])),
    Hostile("an unknown activation", "clip", _config("text_config", hidden_act="os.system")),
    Hostile("a dtype that is none", "clip", _config(dtype="evil"), may_load=True),
    Hostile("classes that are none", "albef", _config(id2label={"x": 1}, label2id=3)),
    Hostile("classes with gaps", "albef", _config(id2label={"0": "a", "7": "b"}), may_load=True),
    Hostile("a fusion that is none", "albef", _config(fusion_layer="two")),
    Hostile("images that are none", "albef", _config(images="many")),
    *[Hostile(f"a text length that is {value!r}", "clip", _json("tokenizer_config.json", model_max_length=value),
              may_load=True) for value in (-1, 0, "many", None, 10**40)],
    *[Hostile(f"a manifest of {json.dumps(content)[:40]}", "clip", _json("multidelete.json", **content), may_load=True)
      for content in ({"model": 3}, {"model": {"family": 3}}, {"original": "x"}, {"loop": {"lr": "x"}}, {"seed": "x"},
                      {"holdout": {"fraction": "x"}}, {"data": {"digest": []}}, {"request": 3}, {"lora": []})],
]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command on a hostile folder ended."""

    code: int | None
    said: str
    wrong: str


class World:
    """Sound folders to damage, and a place to do it in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        data = people(4)
        own_clip(data).save(root / "clip")
        family_model("vision-text", data).save(root / "vision-text")
        for name, case in {
            "albef": Case("albef", "classification", 1),
            "graph": Case("graph-text", "retrieval", 0),
        }.items():
            case_adapter(case, case_data(case)).save(root / name)
        model = get_peft_model(CLIPModel.from_pretrained(root / "clip"), LoraConfig(r=2, target_modules=["q_proj"]))
        model.save_pretrained(str(root / "adapter"))
        _json("adapter_config.json", base_model_name_or_path=str(root / "clip"))(root / "adapter", Bait(root, root))

    @contextlib.contextmanager
    def place(self, hostile: Hostile) -> Iterator[tuple[Path, Bait]]:
        with tempfile.TemporaryDirectory(dir=self.root) as made:
            folder = Path(made) / "model"
            shutil.copytree(self.root / hostile.base, folder)
            shutil.copytree(self.root / "clip", Path(made) / "elsewhere")
            bait = Bait(Path(made) / "ran", Path(made) / "elsewhere")
            hostile.damage(folder, bait)
            with contextlib.chdir(folder):  # where modules of the folder's own can be imported
                yield folder, bait

    def ended(self, hostile: Hostile, command: str) -> Ended:
        with self.place(hostile) as (folder, bait):
            out = folder.parent / "out"
            arguments = {
                "unlearn": ["unlearn", str(folder), "--passes", "0.5", "--device", "cpu", "--method", "neggrad"],
                "audit": ["audit", str(folder), "--original", str(self.root / "clip"), "--device", "cpu"],
                "merge": ["merge", str(folder)],
            }[command]
            if command != "merge":
                arguments += ["--data", DATA, "--forget-subject", "person-0001"]
            arguments += ["--out", str(out), *(["--allow-pickle"] if hostile.allow_pickle else [])]
            said = io.StringIO()
            code, wrong = None, ""
            signal.signal(signal.SIGALRM, _too_long)
            signal.alarm(SLOW_S)
            try:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    code = run(arguments)
            except BaseException:  # noqa: BLE001 - whatever escapes is what is looked for
                wrong = traceback.format_exc()
            finally:
                signal.alarm(0)
            if code not in (0, 1, 2):
                wrong = wrong or f"code {code}"
            elif code and "error: " not in said.getvalue():
                wrong = "no sentence"
            elif code and out.exists():
                wrong = "half-written"
            elif code == 0 and not hostile.may_load:
                wrong = "taken without a word"
            if bait.mark.exists() or "evil" in sys.modules:
                wrong = "code has run"
            if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MOST_BYTES:
                wrong = wrong or "too much memory"
            return Ended(code, said.getvalue(), wrong)


class TooLong(BaseException):
    """A command takes too long; nobody may take this for a library's error."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLong(f"longer than {SLOW_S} s")


def commands(hostile: Hostile) -> list[str]:
    """What is tried with a folder; an audit compares it with the sound `CLIPModel`."""
    return ["unlearn", *(["audit"] if hostile.base in ("clip", "adapter") else []),
            *(["merge"] if hostile.base == "adapter" else [])]  # fmt: skip


def main() -> None:
    """Run all and print figures; names given as arguments choose."""
    root = Path(tempfile.mkdtemp(prefix="hostile-"))
    tally: Counter[object] = Counter()
    try:
        world = World(root)
        for hostile in FOLDERS:
            if sys.argv[1:] and not any(part in hostile.name for part in sys.argv[1:]):
                continue
            for command in commands(hostile):
                began = time.monotonic()
                done = world.ended(hostile, command)
                tally["wrong" if done.wrong else done.code] += 1
                took = time.monotonic() - began
                error = [line for line in done.said.splitlines() if line.startswith("error")]
                said = done.wrong.strip().splitlines()[-1] if done.wrong else (error[0] if error else "taken")
                sys.stdout.write(
                    f"{'WRONG ' if done.wrong else ''}{hostile.name} | {command} | {took:.1f} s | {said[:230]}\n"
                )
                if done.wrong and sys.argv[1:]:
                    sys.stdout.write(done.wrong[-3000:] + "\n")
                sys.stdout.flush()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write(f"{len(FOLDERS)} folders: {dict(tally)}\n")
    sys.exit(bool(tally["wrong"]))


if __name__ == "__main__":
    main()
