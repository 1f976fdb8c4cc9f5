"""No command writes to, into or around anything that it reads: every command, with every flag."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import typer
from PIL import Image

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.cli import app, run
from multidelete.cli.paths import ADDS_TO, MODELS, READS, WRITES

NO_PATHS = {
    *("columns", "splits", "classes", "forget_subject", "forget_node", "method", "set", "lora", "trainable", "noun"),
    *("device", "shard", "data_root", "family", "size", "task", "trackers", "only", "push_to_hub"),
    *("reference", "due", "basis", "id", "subject", "certificate", "only", "by", "despite", "reason", "gone"),
}
"""Text flags that name no file; data_root is where paths start from, and these are checked one by one."""


def commands(group: typer.core.TyperGroup, before: str = "") -> dict[str, typer.core.TyperCommand]:
    """Every command by what is typed, those of groups too."""
    found: dict[str, typer.core.TyperCommand] = {}
    for name, one in group.commands.items():
        if isinstance(one, typer.core.TyperGroup):
            found |= commands(one, f"{before}{name} ")
        else:
            found[before + name] = cast(typer.core.TyperCommand, one)
    return found


COMMANDS = commands(cast(typer.core.TyperGroup, typer.main.get_command(app)))


def flags_of(command: str) -> dict[str, str]:
    """Flag or argument of each field of a command; an argument has no dashes."""
    return {one.name: one.opts[0] for one in COMMANDS[command].params if one.name and one.name not in ("help", "json")}


def cells() -> Iterator[tuple[str, str, str]]:
    """Every command with each pair of what it writes and what it reads."""
    for command in COMMANDS:
        fields = flags_of(command)
        for written in (*WRITES, *ADDS_TO):
            for read in (*READS, *(ADDS_TO if written in WRITES and command != "compare" else ())):
                if written in fields and read in fields:
                    yield command, written, read


def test_every_flag_that_takes_a_text_is_known_to_read_to_write_or_to_name_no_file() -> None:
    known = {*READS, *WRITES, *ADDS_TO, *NO_PATHS}
    texts = {
        one.name
        for command in COMMANDS.values()
        for one in command.params
        if one.metavar in ("TEXT", "A,B,...", "FILE.toml") or not one.opts[0].startswith("-")
    }
    assert texts - known == set()


def arguments(command: str, given: dict[str, Path]) -> list[str]:
    """The command with these flags; what it requires besides is given as something that is not there."""
    found = command.split()
    fields = flags_of(command)
    required = {"original": "org/none", "unlearned": "org/none", "data": "personas", "out": "elsewhere",
                "store": "kept", "adapter": "org/none", "source": "org/none", "experiment": "none.toml"}  # fmt: skip
    for name, flag in fields.items():
        value = str(given[name]) if name in given else required.get(name)
        if value is not None:
            found += [flag, value] if flag.startswith("-") else [value]
    return found


@pytest.mark.parametrize(("command", "written", "read"), list(cells()))
def test_what_is_written_may_not_touch_what_is_read(
    command: str, written: str, read: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "around" / "input").mkdir(parents=True)
    precious = tmp_path / "around" / "input" / "precious"
    precious.write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "around" / "input")
    inside = Path("around", "input", "new" + (".toml" if command == "tune" else ""))
    places = {
        "is": Path("around/input"),
        "lies inside": inside,
        "holds": Path("around"),
        "is (by a link)": Path("link"),
        "lies inside (by a link)": Path("link") / inside.name,
        "lies inside (by dots)": Path("around", "..", inside),
    }
    if written in ("store", "lineage") and read in MODELS:
        del places["holds"]  # models of the store itself
    for relation, place in places.items():
        for overwrite in ((), ("--overwrite",)) if "overwrite" in flags_of(command) else ((),):
            code = run([*arguments(command, {written: place, read: Path("around/input")}), *overwrite])
            err = capsys.readouterr().err
            assert code == 2, (relation, err)
            if read == "config":  # a folder is no settings file, and is told so first
                continue
            assert f"{relation.partition(' (')[0]} input" in err, (relation, err)
            assert "inputs are never changed" in err
            assert "Traceback" not in err
    assert precious.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["around", "link"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if {"config", "out"} <= set(flags_of(name))])
def test_the_folder_of_the_settings_file_is_not_replaced(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings").mkdir()
    file = tmp_path / "settings" / "run.toml"
    file.write_text(f'out = "{file.parent}"\n')
    given = arguments(command, {"config": file})
    given = [one for at, one in enumerate(given) if "--out" not in (one, given[at - 1])]
    assert run([*given, "--overwrite"]) == 2
    assert f"holds input {file}" in capsys.readouterr().err
    assert file.exists()


def test_a_reader_before_the_path_and_what_a_model_rests_on_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("photos", "base", "start", "adapter"):
        (tmp_path / name).mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{tmp_path / "base"}"}}')
    (tmp_path / "base" / "multidelete.json").write_text(f'{{"model": {{"start": "{tmp_path / "start"}"}}}}')
    for out in ("photos", "base", "start", "adapter"):
        code = run(["unlearn", str(tmp_path / "adapter"), "--data", f"folder:{tmp_path / 'photos'}", "--forget-subject",
                    "A", "--out", str(tmp_path / out / "new"), "--overwrite"])  # fmt: skip
        assert code == 2
        assert f"lies inside input {tmp_path / out}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [name for name in COMMANDS if "out" in flags_of(name) or "store" in flags_of(name)])
def test_commands_that_do_not_train_refuse_to_run_twice(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if command in ("train", "unlearn"):
        return
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.chdir(tmp_path)
    assert run(arguments(command, {})) == 2
    assert f"{command} runs in one process, and 2 were started" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "written"),
    [(c, w) for c in COMMANDS for w in (*WRITES, *ADDS_TO, "key") if w in flags_of(c)],
)
def test_nothing_is_written_into_a_finished_result(
    command: str, written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_or_nothing(Path("result")) as folder:
        (folder / "model").write_text("weights")
    before = sorted(tmp_path.rglob("*"))
    inner = "inner.toml" if command == "tune" else "inner"
    places = [
        Path("result", inner),
        Path("result", "deep", "..", inner),
        *([Path("result")] if written in ADDS_TO else []),
    ]
    for place in places:
        for overwrite in ((), ("--overwrite",)) if "overwrite" in flags_of(command) else ((),):
            assert run([*arguments(command, {written: place}), *overwrite]) == 2
            assert "a finished result of multidelete; results are never changed" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("out", ["images/new", "images/train/new", "images/train/a/new", "images"])
def test_nothing_is_written_among_folders_of_pictures(
    out: str, overwrite: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / "images" / "train" / "a"
    deep.mkdir(parents=True)
    for n in range(3):
        Image.new("RGB", (8, 8), (n, n, n)).save(deep / f"{n}.png")
    table = tmp_path / "pairs.csv"
    table.write_text("image,text\n" + "".join(f"images/train/a/{n}.png,t{n}\n" for n in range(3)))
    before = sorted(tmp_path.rglob("*"))
    assert run(["train", "--data", str(table), "--out", str(tmp_path / out), *overwrite]) == 2
    assert f"input {tmp_path / 'images'}; inputs are never changed" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_no_command_writes_among_the_pictures_that_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = tmp_path / "images" / "train" / "a"
    deep.mkdir(parents=True)
    table = tmp_path / "pairs.csv"
    table.write_text("image,text,id\n" + "".join(f"images/train/a/{n}.png,t{n},{n}\n" for n in range(4)))
    for n in range(4):
        Image.new("RGB", (8, 8), (n, n, n)).save(deep / f"{n}.png")
    request, model, there = tmp_path / "request.txt", tmp_path / "model", tmp_path / "images" / "new"
    request.write_text("1\n")
    data = ["--data", str(table)]
    asked = [*data, "--forget", str(request)]
    assert run(["train", *data, "--out", str(model), "--family", "clip", "--image-size", "16", "--passes", "1"]) == 0
    before = sorted(tmp_path.rglob("*"))
    commands = [
        ["unlearn", str(model), *asked, "--method", "finetune", "--out", str(there)],
        ["unlearn", str(model), *asked, "--method", "finetune", "--out", str(there), "--dry-run"],
        ["unlearn", str(model), *asked, "--method", "finetune", "--out", str(tmp_path / "u"), "--key", str(there)],
        ["tune", str(model), *asked, "--method", "finetune", "--out", f"{there}.toml"],
        ["audit", str(model), "--original", str(model), *asked, "--out", str(there)],
        ["audit", str(model), "--original", str(model), *asked, "--out", str(tmp_path / "r"), "--cache", str(there)],
        ["references", str(model), *asked, "--store", str(there)],
    ]
    for command in commands:
        capsys.readouterr()
        assert run(command) == 2, command
        assert f"input {tmp_path / 'images'}; inputs are never changed" in capsys.readouterr().err, command
    assert sorted(tmp_path.rglob("*")) == before
