"""Wrong types from Python, models that are not there, and flags by the names that were typed."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import multidelete
from multidelete import ConfigError, LoopSettings, RequestError, UserError
from multidelete.cli import run
from tests.tiny import own_clip, people

DATA = people()


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: multidelete.unlearn("m", DATA, 5), "original is 'm', and there is no such folder"),
        (lambda: multidelete.unlearn(5, DATA, ["a"]), "original is 5, of type int; it must be a folder, a hub id"),
        (lambda: multidelete.unlearn("m", "photos", ["a"]), "data is 'photos', of type str; .*load_data"),
        (lambda: multidelete.unlearn("m", DATA, [], method=3), "method is 3, of type int; it must be the name"),
        (lambda: multidelete.unlearn("m", DATA, [], settings=5), "settings is 5, of type int"),
        (lambda: multidelete.unlearn("m", DATA, [], lora="r=8"), "lora is 'r=8', of type str; it must be LoraSettings"),
        (lambda: multidelete.unlearn("m", DATA, [], seed="1"), "seed is '1', of type str; it must be a whole number"),
        (lambda: multidelete.unlearn("m", DATA, [], seed=True), "seed is True, of type bool"),
        (lambda: multidelete.unlearn("m", DATA, [], out=5), "out is 5, of type int; it must be a path"),
        (lambda: multidelete.tune("m", DATA, [], trials=2.5), "trials is 2.5, of type float"),
        (lambda: multidelete.train("photos", "out"), "data is 'photos', of type str"),
        (lambda: multidelete.train(DATA, "out", settings={"lr": 1}), "settings is {'lr': 1}, of type dict"),
        (
            lambda: multidelete.train(DATA, "out", start=5),
            "start is 5, of type int; it must be TrainSettings, a",
        ),
        (lambda: multidelete.train(DATA, "out", start="clip"), "start is 'clip', and there is no such folder"),
        (lambda: multidelete.audit(1, "m", DATA, [], out="r"), "unlearned is 1, of type int"),
        (lambda: multidelete.audit("m", "m", DATA, [], out="r", shadows="s"), "shadows is 's', of type str; .*a list"),
        (lambda: multidelete.audit("m", "m", DATA, [], out="r", relearn_lr="x"), "relearn_lr is 'x', of type str"),
        (lambda: multidelete.load_data(5), "data is 5, of type int; it must be a text"),
        (lambda: multidelete.load_data("personas", columns=["a"]), r"columns is \['a'\], of type list"),
        (lambda: multidelete.load_data("personas", splits={"train": 5}), "splits is 5, of type int"),
        (lambda: multidelete.demo("out", people="x"), "people is 'x', of type str"),
        (lambda: multidelete.demo(5), "out is 5, of type int"),
    ],
)
def test_wrong_argument_is_an_error_of_ours_that_says_what_is_wanted(call: Callable[[], object], names: str) -> None:
    with pytest.raises(UserError, match=names):
        call()


@pytest.mark.parametrize("forget", [5, None, [1, 2], {"id": "a"}, b"ab", 1.5, ["a", None]])
def test_request_of_another_type_is_refused(forget: object) -> None:
    adapter = own_clip(DATA)
    with pytest.raises(RequestError, match=r"forget (is|holds) .*it must be ids of pairs, each a text"):
        multidelete.unlearn(adapter, DATA, forget)  # type: ignore[arg-type]


def test_request_of_other_data_is_refused() -> None:
    other = multidelete.Request(("nobody",), "pair", "one of other data")
    with pytest.raises(RequestError, match="1 of 1 pair of the request is not among the training pairs"):
        multidelete.unlearn(own_clip(DATA), DATA, other)


def test_processor_of_another_kind_is_refused() -> None:
    adapter = own_clip(DATA)
    ids = [DATA.train.pairs[0].id]
    for wrong in (adapter.processor.tokenizer, adapter.processor.image_processor, "clip", 5):
        with pytest.raises(ConfigError, match=r"the processor is an? \w+ without .*AutoProcessor"):
            multidelete.unlearn(adapter.model, DATA, ids, processor=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "command",
    [
        "audit nowhere --original {m} --data nothing --forget no.txt --out r",
        "audit {m} --original nowhere --data nothing --forget no.txt --out r",
        "audit {m} --original {m} --retrained nowhere --data nothing --forget no.txt --out r",
        "audit {m} --original {m} --shadows nowhere --data nothing --forget no.txt --out r",
        "audit {m}/deeper/still --original {m} --data nothing --forget no.txt --out r",
        "unlearn nowhere --data nothing --forget no.txt --out r",
        "tune nowhere --data nothing --forget no.txt --out r.toml",
        "references nowhere --data nothing --forget no.txt --store s",
        "train --start nowhere --data nothing --out r",
        "merge nowhere --out r",
        "convert nowhere --out r",
    ],
)
def test_missing_model_folder_is_said_before_anything_else(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    assert run(command.format(m="m").split()) == 2
    said = capsys.readouterr().err
    assert said.count("error:") == 1
    assert re.search(r"there is no such folder|does not exist", said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train --out x", "error: --data is not given; it must be a text. Give it (the pairs: "),
        (
            "unlearn --data d --forget f --out x",
            "error: ORIGINAL is not given; it must be a text. Give it (the trained",
        ),
        ("unlearn m --data d --forget f --out=", "error: --out is empty; it must be a path"),
        ("audit m --original= --data d --out x", "error: --original is empty; it must be a path"),
        ("train --data d --out x --batch-size 0", "error: --batch-size is 0; it must be 1 or more."),
        ("train --data d --out x --lr much", "error: --lr is 'much'; it must be a finite number."),
        ("audit m --original m --data d --out x --relearn-lr -1", "error: --relearn-lr is -1.0; it must be"),
        ("unlearn m --data d --out x --lora r=0", "error: --lora r is 0; it must be 1 or more."),
        ("unlearn m --data d --out x --set score=-1", "error: --set score is -1.0; it must be 0 or more."),
        ("unlearn m --data d --out x --device tpu", "error: --device is 'tpu'; it must be auto, cpu"),
        ("demo --people x", "error: --people is 'x'; it must be a whole number."),
        ("data personas --examples -1", "error: --examples is -1; it must be 0 or more."),
        ("train --data d --out x --pace auto", "error: No such option: --pace"),
        ("train --nosuch", "error: No such option: --nosuch"),
        ("train --out", "error: Option '--out' requires an argument. See 'multidelete train --help'."),
        ("trane", "error: No such command 'trane'."),
    ],
)
def test_messages_call_settings_as_they_are_typed(
    command: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    assert run(command.split()) == 2
    assert said in capsys.readouterr().err


def test_value_of_a_file_is_called_by_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text("batch_size = 0\nseed = -1\nlr = 'x'\n")
    assert run(["train", "--data", "d", "--out", "x", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    for problem in ("batch_size is 0; it must be", "seed is -1; it must be", "lr is 'x'; it must be"):
        assert f"error: {file}: {problem}" in said


def test_a_setting_is_called_by_its_name_in_python() -> None:
    with pytest.raises(ConfigError, match=r"^batch_size is 0; it must be 1 or more\.$"):
        LoopSettings(batch_size=0)


BROKEN = {
    "raises": "raise RuntimeError('no licence')",
    "stops": "import sys; sys.exit(3)",
    "syntax": "def (",
    "divides": "1 / 0",
    "missing": "x = 1",
    "abstract": "from multidelete import Method\nclass M(Method):\n    name = 'm'",
    "nameless": (
        "from multidelete import GradientMethod\nclass M(GradientMethod):\n    def losses(self, step): return {}"
    ),
    "typed": (
        "from dataclasses import dataclass\nfrom multidelete import GradientMethod\n"
        "@dataclass(frozen=True, kw_only=True)\nclass M(GradientMethod):\n"
        "    name = 'm'\n    table: dict = None\n    def losses(self, step): return {}"
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_module_of_the_user_that_cannot_be_used_is_a_clear_error(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"own_{kind}.py").write_text(BROKEN[kind] + "\n")
    (tmp_path / "m").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["unlearn", str(tmp_path / "m"), "--data", "personas", "--out", str(tmp_path / "x")]
    assert run([*command, "--method", f"own_{kind}:M"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert f"own_{kind}" in said
