"""Audits from end to end, on real tiny models and generated people."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from multidelete.artifacts.keys import pair_alias
from multidelete.artifacts.manifest import digest_folder, read_record, write_record
from multidelete.artifacts.record import MethodRecord, RunRecord
from multidelete.auditing import AuditResult, audit, pace_of
from multidelete.audits import AuditInput, ModelSignals, Signals
from multidelete.audits.result import read_audit
from multidelete.cli.show import show_verdict
from multidelete.core.errors import CheckpointError, ConfigError, RequestError
from multidelete.core.json_files import JsonObject
from multidelete.core.settings import TrainSettings
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.request import Request, resolve_request
from multidelete.demonstration import demo
from multidelete.methods import Training
from multidelete.models import load_adapter
from multidelete.models.lineage import lineage_of
from multidelete.report.exhibits import examples, secrets
from multidelete.unlearning import train, unlearn
from tests.tiny import differing, family_model, people, weights

FORGOTTEN = ("person-0003", "person-0008", "person-0011")


@dataclass(frozen=True)
class Made:
    """An original, an unlearned and a retrained model of the same people, and a report of them."""

    root: Path
    data: PairData
    request: Request
    result: AuditResult

    def audit(self, out: str, unlearned: str = "unlearned", **changes: object) -> AuditResult:
        given: dict[str, object] = {"forget": self.request, "retrained": self.root / "retrained", "device": "cpu"}
        given |= {"out": self.root / out} | changes
        return audit(self.root / unlearned, self.root / "original", self.data, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("evidence")
    data = people(24, unseen=12)
    request = resolve_request(data, subjects=FORGOTTEN, unit="subject")
    settings = replace(Training().loop_settings(), passes=6, batch_size=24, device="cpu", checkpoint_steps=0)
    train(data, root / "original", start=TrainSettings(image_size=32), settings=settings)
    few = {"passes": 2, "device": "cpu"}
    unlearn(root / "original", data, request, settings=few, out=root / "unlearned")
    unlearn(root / "original", data, request, method="retrain", settings={"device": "cpu"}, out=root / "retrained")
    before = {name: digest_folder(root / name) for name in ("original", "unlearned", "retrained")}
    made = Made(root, data, request, None)  # type: ignore[arg-type]
    made = replace(made, result=made.audit("report"))
    assert before == {name: digest_folder(root / name) for name in before}, "an audit changed its inputs"
    return made


def texts(folder: Path) -> str:
    return (folder / "report.html").read_text() + (folder / "audit.json").read_text()


def named(made: Made) -> list[str]:
    """Ids, subjects, names and memorised captions of the deleted people."""
    pairs = made.data.train.only(made.request.ids, "forget")
    captions = [str(pair.inputs["text"]) for pair in pairs if pair.kind == "sensitive"]
    names = [caption.split(",")[0] for caption in captions]
    return [*made.request.ids, *FORGOTTEN, *captions, *names]


def test_audit_writes_the_report_and_its_figures(made: Made) -> None:
    assert sorted(path.name for path in (made.root / "report").iterdir()) == [
        ".multidelete",
        "audit.json",
        "report.html",
    ]
    assert not list(made.root.glob(".*")), "something is left beside the report"
    run, figures = read_audit(made.root / "report" / "audit.json")
    assert figures == made.result.figures
    assert {figure.model for figure in figures} == {"original", "unlearned", "retrained"}
    assert {figure.audit for figure in figures if figure.value is not None} == {
        "utility", "forgetting", "separation", "membership", "distance", "unimodal", "leakage", "collateral",
        "cost",
    }  # fmt: skip
    assert run["request"] == {"unit": "subject", "subjects": 3, "pairs": 12}
    assert run["counts"] == {"forget": 12, "retain": 84, "test": 24, "val": 24}
    assert (run["family"], run["method"], run["data"]) == ("vision-text", "multidelete", made.data.name)
    assert (made.root / "report" / "report.html").read_text().rstrip().endswith("</html>")


def test_report_names_what_was_judged(made: Made) -> None:
    run, _ = read_audit(made.root / "report" / "audit.json")
    digests = {name: digest_folder(made.root / name) for name in ("original", "unlearned", "retrained")}
    told = cast(dict[str, str], run["digests"])
    assert {name: told[name].removeprefix("sha256 of the files ") for name in digests} == digests
    assert all(digest in (made.root / "report" / "report.html").read_text() for digest in digests.values())


def test_deleted_pairs_have_the_same_names_in_every_report_of_their_request(made: Made) -> None:
    """Whatever else is shown, so that two reports can be compared; in another request they are called otherwise."""
    made.audit("named again", retrained=None, seed=5)
    names = [set(re.findall(r"pair [0-9a-f]{6}", (made.root / folder / "report.html").read_text()))
             for folder in ("report", "named again")]  # fmt: skip
    assert names[1]
    assert names[1] <= names[0]
    key = lineage_of(made.root / "unlearned").newest_key
    assert names[0] <= {pair_alias(key, pair_id) for pair_id in made.request.ids}


def test_cost_is_the_recorded_cost_of_unlearning_and_retraining(made: Made) -> None:
    recorded = {
        name: json.loads((made.root / name / "multidelete.json").read_text())["cost"]["wall_s"]
        for name in ("unlearned", "retrained")
    }
    wall_s = {f.model: f.value for f in made.result.figures if (f.audit, f.figure) == ("cost", "wall seconds")}
    assert wall_s == recorded


def test_nothing_deleted_stands_in_report_or_figures(made: Made) -> None:
    telling = replace(made, data=replace(made.data, name=f"photos of {FORGOTTEN[0]}"))
    telling.audit("withheld", retrained=None)
    for folder in (made.root / "report", made.root / "withheld"):
        content = texts(folder).lower()
        assert [text for text in named(made) if text.lower() in content] == []
    assert "photos of (withheld)" in content
    assert made.request.digest not in content  # ids could be tried out against it


@pytest.mark.slow  # each probe has tests of its own
def test_copies_are_compressed_and_relearned_when_asked_for(made: Made) -> None:
    """The models given stay as they are, and the report shows both; without being asked for, neither is there."""
    before = {name: digest_folder(made.root / name) for name in ("original", "unlearned", "retrained")}
    found = made.audit("probed", compress=True, relearn=True)
    assert before == {name: digest_folder(made.root / name) for name in before}
    rows = [row for row in found.figures if row.audit in ("compression", "relearning")]
    assert {row.audit for row in rows if row.value is not None} == {"compression", "relearning"}
    few_bits = next(row for row in rows if row.figure.endswith("4-bit weights") and row.model == "unlearned")
    assert few_bits.target is not None
    assert "learning rate 0.0003" in {note for row in rows for note in (row.note or "").split("; ")}
    assert "Can it be brought back?" in (made.root / "probed" / "report.html").read_text()
    assert "Can it be brought back?" not in (made.root / "report" / "report.html").read_text()
    assert not {"compression", "relearning"} & {row.audit for row in made.result.figures}


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_relearning_backwards_is_refused(made: Made, rate: float) -> None:
    with pytest.raises(ConfigError, match=f"relearn_lr is {rate}; it must be greater than 0"):
        made.audit("backwards", relearn=True, relearn_lr=rate)


def test_deleted_pairs_are_shown_when_asked_for(made: Made) -> None:
    made.audit("shown", show_forgotten=True, noun="people")
    content = (made.root / "shown" / "report.html").read_text()
    assert all(text in content for text in FORGOTTEN)
    assert content.count("data:image/png") == 3 + 6  # a card for each person, and the pairs farthest from retrained
    assert "people" in content


def test_untouched_model_is_never_forgotten_and_has_no_cost(made: Made) -> None:
    found = made.audit("untouched", unlearned="original")
    assert found.verdict.outcome != "forgotten"
    cost = next(f for f in found.figures if (f.audit, f.figure, f.model) == ("cost", "wall seconds", "unlearned"))
    assert cost.value is None  # training is not unlearning
    assert any(
        told.startswith("The unlearned model is the original: their weights") for told in found.verdict.sentences
    )
    values = {(f.figure, f.split, f.model): f.value for f in found.figures if f.audit == "forgetting"}
    same = [values[figure, split, "original"] == value for (figure, split, m), value in values.items()
            if m == "unlearned" and "difference" not in figure]  # fmt: skip
    assert all(same)
    assert same


def test_a_run_that_gave_the_original_back_is_called_the_original(made: Made) -> None:
    """As LoRA that writes nothing, whose folder is another than the original's."""
    record = read_record(shutil.copytree(made.root / "unlearned", made.root / "given back"))
    assert record is not None
    write_record(made.root / "given back", replace(record, decisions={"unchanged": 1.0, "forgotten": 0.0}))
    shutil.copy(made.root / "unlearned.key", made.root / "given back.key")
    found = made.audit("back", unlearned="given back", retrained=None)
    assert found.verdict.outcome != "forgotten"
    assert any(told.startswith("The unlearned model is the original") for told in found.verdict.sentences)


def test_without_a_retrained_model_nothing_speaks_of_one(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """But for the sentences that say that there is none, and the step that makes one."""
    found = made.audit("alone", retrained=None, compress=True)
    assert all(row.retrained is None for row in found.verdict.rows)
    assert all(f.target is None for f in found.figures)
    assert "retrain" not in (found.folder / "audit.json").read_text().lower()
    says_none = re.compile(
        r"no (model was )?retrained|without a retrained|--method retrain|--retrained|, retrain\b|only retraining is"
    )
    told = [found.verdict.headline, *found.verdict.sentences, *found.verdict.steps]
    assert [text for text in told if "retrain" in says_none.sub("", text.lower())] == []
    page = re.sub(r"(?s)<style>.*?</style>|<[^>]*>", " ", (found.folder / "report.html").read_text())
    assert re.findall(r".{40}retrain.{20}", says_none.sub("", " ".join(page.lower().split()))) == []
    show_verdict(found.verdict, found.folder)
    shown = " ".join(capsys.readouterr().out.lower().split())
    assert re.findall(r".{40}retrain.{20}", says_none.sub("", shown)) == []


def test_existing_report_is_refused_and_replaced_only_when_asked(made: Made) -> None:
    target = made.root / "taken"
    target.mkdir()
    (target / "letter.txt").write_text("keep")
    with pytest.raises(CheckpointError, match="already exists"):
        made.audit("taken")
    assert (target / "letter.txt").read_text() == "keep"
    with pytest.raises(CheckpointError, match=r"was not written by multidelete .* It holds letter\.txt"):
        made.audit("taken", overwrite=True)
    (target / "letter.txt").unlink()
    made.audit("taken", overwrite=True, retrained=None)
    assert sorted(path.name for path in target.iterdir()) == [".multidelete", "audit.json", "report.html"]


def test_report_inside_a_model_is_refused(made: Made) -> None:
    with pytest.raises(CheckpointError, match="inputs are never changed"):
        made.audit("unlearned/report")
    assert not (made.root / "unlearned" / "report").exists()


def test_model_of_another_request_is_refused(made: Made) -> None:
    other = resolve_request(made.data, subjects=["person-0001"], unit="subject")
    with pytest.raises(RequestError) as caught:
        made.audit("other", forget=other)
    assert len(caught.value.problems) == 2  # unlearned and retrained
    assert "another request" in str(caught.value)
    assert "12 pairs" in str(caught.value)
    assert not (made.root / "other").exists()


def test_all_wrong_models_are_named_at_once(made: Made, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        made.audit("wrong", retrained=tmp_path, others={"second": tmp_path})
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError, match="retrained"):
        made.audit("wrong", others={"retrained": made.root / "retrained"})
    assert not (made.root / "wrong").exists()


def test_other_models_stand_beside_the_three(made: Made) -> None:
    shutil.copytree(made.root / "retrained", made.root / "copy")
    found = made.audit("others", others={"again": made.root / "copy"})
    values = {(f.audit, f.figure, f.split, f.model): f.value for f in found.figures}
    again = {key[:3]: value for key, value in values.items() if key[3] == "again" and ", difference" not in key[1]}
    gaps = {again.pop(key) for key in list(again) if key[0] == "distance"}
    assert gaps == {0.0}
    assert again
    assert all(value == values[(*key, "retrained")] for key, value in again.items())


def test_example_ranks_count_ties_in_expectation_and_mark_matches() -> None:
    """Six captions and one picture: its own caption scores 0.5 like one other, one scores more: rank 2.5."""
    cosines = {"own": 0.5, "equal": 0.5, "more": 0.8, "less": 0.1, "least": -0.9, "none": 0.0}
    pairs = [
        Pair(id=f"id-{name}", inputs={"image": Image.new("RGB", (4, 4)), "text": f"Text {name}"},
             sources={"image": name, "text": f"text {name}"}, subject=f"s-{name}")
        for name in cosines
    ]  # fmt: skip
    text_ND = np.array([[c, np.sqrt(1 - c**2)] for c in cosines.values()], dtype=np.float32)
    image_ND = np.tile(np.array([1.0, 0.0], dtype=np.float32), (len(pairs), 1))

    def signals(rows: slice) -> Signals:
        return Signals(
            ids=[p.id for p in pairs[rows]], kinds=[None] * len(pairs[rows]),
            subjects=[p.subject for p in pairs[rows]],
            sources={m: [p.sources[m] for p in pairs[rows]] for m in ("image", "text")},
            score=text_ND[rows, 0], unimodal={}, embeddings={"image": image_ND[rows], "text": text_ND[rows]},
        )  # fmt: skip

    model = ModelSignals(forget=signals(slice(0, 1)), retain=signals(slice(1, None)))
    given = AuditInput(models={"original": model, "unlearned": model})
    train_pairs = PairDataset(pairs, "train")
    (example,), gallery = examples(given, train_pairs)
    assert gallery == 6
    assert example.rank == {"original": 2.5, "unlearned": 2.5}
    first, second, third = example.matches["unlearned"]
    assert first[:2] == ("Text more", pytest.approx(0.8))
    assert {second[0], third[0]} == {"Text own", "Text equal"}
    assert [match[2:] for match in (first, second, third)].count((True, True)) == 1
    assert secrets(given, train_pairs) == ["Text own", "id-own", "own", "s-own", "text own"]


def test_captions_that_stay_are_no_secret() -> None:
    shared = {"image": "a.png", "text": "a dog"}
    inputs = {"image": Image.new("RGB", (4, 4)), "text": "A dog"}
    pairs = [
        Pair(id="gone", inputs=inputs, sources=shared),
        Pair(id="kept", inputs=inputs, sources=shared | {"image": "b"}),
    ]
    one, other = (
        Signals(ids=[p.id], kinds=[None], subjects=[None], sources={m: [s] for m, s in p.sources.items()},
                score=np.zeros(1, dtype=np.float32), unimodal={})
        for p in pairs
    )  # fmt: skip
    model = ModelSignals(forget=one, retain=other)
    given = AuditInput(models={"original": model, "unlearned": model})
    assert secrets(given, PairDataset(pairs, "train")) == ["a.png", "gone"]


def test_demo_makes_everything_or_nothing(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    found = demo(out, people=6, passes=0.5, device="cpu")
    held = {path.name for path in out.iterdir()} - {".multidelete"}
    assert held == {"original", "report", "request.txt", "retrained", "retrained.key", "unlearned", "unlearned.key"}
    assert found.folder == out / "report"
    subject = (out / "request.txt").read_text().split("-view")[0]
    assert subject in (found.folder / "report.html").read_text()  # the demo shows what was deleted
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    with pytest.raises(CheckpointError, match="already exists"):
        demo(out, people=8, device="cpu")
    with pytest.raises(ConfigError, match="device"):
        demo(tmp_path / "other", device="abacus")


def test_models_in_memory_are_audited_as_their_folders(made: Made) -> None:
    adapters = {name: load_adapter(made.root / name) for name in ("original", "unlearned", "retrained")}
    adapters["unlearned"].train()
    before = {name: weights(adapter) for name, adapter in adapters.items()}
    unlearned, original, retrained = (adapters[name] for name in ("unlearned", "original", "retrained"))
    found = audit(
        unlearned, original, made.data, made.request, retrained=retrained, out=made.root / "memory", device="cpu"
    )
    run, figures = read_audit(made.root / "memory" / "audit.json")
    assert found.verdict.outcome == made.result.verdict.outcome
    measured = [figure for figure in made.result.figures if figure.audit != "cost"]
    assert [figure for figure in figures if figure.audit != "cost"] == measured
    assert (run["model"], run["family"], run["method"]) == ("in memory", "vision-text", "not recorded")
    assert all(differing(before[name], weights(adapter)) == [] for name, adapter in adapters.items())
    assert unlearned.training


def test_models_in_memory_of_another_family_are_refused(made: Made) -> None:
    with pytest.raises(CheckpointError, match=r"unlearned in memory is a clip model for retrieval, and the original"):
        audit(family_model("clip", made.data), made.root / "original", made.data, made.request, out=made.root / "none")
    assert not (made.root / "none").exists()


def test_a_model_is_not_its_own_second_one(made: Made) -> None:
    """Its distance from itself would be called the floor."""
    shutil.copytree(made.root / "retrained", made.root / "copied")
    again = [made.root / "copied"]
    with pytest.raises(
        CheckpointError, match=r"again .*copied is the same model as retrained .*another seed"
    ) as caught:
        made.audit("refused", retrained_again=again, unlearned_again=[made.root / "unlearned"])
    assert len(caught.value.problems) == 2
    with pytest.raises(CheckpointError, match="original was trained on all of these pairs"):
        made.audit("refused", retrained_again=[made.root / "original"])
    assert not (made.root / "refused").exists()


def test_a_cache_that_cannot_be_is_refused_before_any_model_is_asked(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for cache, said in (
        (tmp_path / "file", "cannot be made: File exists"),
        (tmp_path / "file" / "below", "cannot be made: Not a directory"),
        (made.root / "original", "lies inside .*original"),
        (made.root / "refused", "lies inside .*refused"),
    ):
        before = digest_folder(made.root / "original")
        with pytest.raises(CheckpointError, match=said):
            made.audit("refused", cache=cache)
        assert not (made.root / "refused").exists()
        assert digest_folder(made.root / "original") == before


def test_a_rate_of_relearning_needs_relearning(made: Made) -> None:
    with pytest.raises(ConfigError, match=r"relearn_lr is 0.1, and relearning is not asked for"):
        made.audit("refused", relearn_lr=0.1)


@pytest.mark.parametrize(
    ("method", "loop", "pace"),
    [
        ("multidelete", {"pace": "auto"}, "auto"),
        ("my.own:Method", {"pace": "auto"}, "auto"),
        ("multidelete", {"pace": "given", "lr": 1e-3}, "given"),
        ("scrub", {"lr": 1e-3}, "given"),
        ("ssd", {"pace": "given", "lr": 1e-3}, "none"),
        ("retrain", {"lr": 1e-3}, "retrained"),
        ("my.own:Method", {"lr": 1e-3}, None),
        (None, None, None),
    ],
)
def test_advice_goes_by_how_the_record_says_that_the_rate_was_found(
    method: str | None, loop: JsonObject | None, pace: str | None
) -> None:
    record = RunRecord(method=None if method is None else MethodRecord(name=method), loop=loop)
    assert pace_of(record) == pace
