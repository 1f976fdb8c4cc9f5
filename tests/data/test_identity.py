"""What is the same picture, pair or name, and what only looks so."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multidelete.artifacts.deletions import Lineage
from multidelete.artifacts.manifest import read_record
from multidelete.artifacts.picture_cache import FILE, kept_digests
from multidelete.artifacts.record import RunRecord
from multidelete.audits.asking import refuse_seen
from multidelete.cli.inputs import read_for
from multidelete.cli.options import DataOptions, KeyOptions
from multidelete.core.errors import CheckpointError, RequestError
from multidelete.core.settings import LoopSettings, TrainSettings
from multidelete.data import picture_digests
from multidelete.data.identity import with_true_sources
from multidelete.data.lookalikes import lookalikes, plain_form
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.picture_digests import file_digest
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request
from multidelete.data.split import with_holdout
from multidelete.deletion.resolved import Deletion
from multidelete.experiments.store import ModelStore
from multidelete.methods import FineTune, Training
from multidelete.unlearning import train, unlearn
from tests.tiny import manifest_of, people


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
    return path


def bitmap(path: Path, *, middle: int) -> Path:
    """Pictures of one size that begin and end alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((120, 120, 3), dtype=np.uint8)
    pixels[60, 60] = middle
    Image.fromarray(pixels).save(path, "BMP")
    return path


def write(folder: Path, rows: Sequence[Mapping[str, object]]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder)


def images(data: PairData, split: str = "train") -> list[str]:
    return [pair.sources["image"] for pair in data.splits[split]]


def test_byte_equal_pictures_are_one_and_others_of_one_size_are_not(tmp_path: Path) -> None:
    for name, middle in (("b/x.bmp", 1), ("a/x.bmp", 2), ("a/y.bmp", 1), ("z.bmp", 3)):
        bitmap(tmp_path / name, middle=middle)
    names = ["b/x.bmp", "a/x.bmp", "a/y.bmp", "z.bmp"]
    data = load_data(write(tmp_path, [{"file_name": name, "text": name, "id": name} for name in names]))
    assert images(data) == ["a/y.bmp", "a/x.bmp", "a/y.bmp", "z.bmp"]
    assert [str(pair.inputs["image"]) for pair in data.train] == [str(tmp_path / name) for name in names]
    assert with_true_sources(data) is data


def test_one_file_by_several_spellings_and_links_is_one_picture(tmp_path: Path) -> None:
    picture(tmp_path / "a/x.png", 0)
    (tmp_path / "link.png").symlink_to(tmp_path / "a/x.png")
    os.link(tmp_path / "a/x.png", tmp_path / "hard.png")
    names = ["a/x.png", "./a/x.png", "a/../a/x.png", str(tmp_path / "a/x.png"), "link.png", "hard.png"]
    data = load_data(write(tmp_path, [{"file_name": name, "text": "t", "id": str(n)} for n, name in enumerate(names)]))
    assert len(set(images(data))) == 1


def test_different_files_under_one_source_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = [picture(tmp_path / folder / "x.png", seed) for seed, folder in enumerate("ab")]
    copy = tmp_path / "c" / "x.png"
    copy.parent.mkdir()
    shutil.copy(files[0], copy)
    pairs = [
        Pair(id=str(n), inputs={"image": file, "text": "t"}, sources={"image": "x.png", "text": "t"})
        for n, file in enumerate([*files, copy])
    ]
    data = with_true_sources(PairData("mine", {"train": PairDataset(pairs, "train")}))
    assert images(data) == ["a/x.png", "b/x.png", "a/x.png"]


def test_both_pictures_of_a_pair_are_corrected(tmp_path: Path) -> None:
    left, right, copy = (picture(tmp_path / name, seed) for name, seed in (("l.png", 0), ("r.png", 1), ("copy.png", 0)))
    pairs = [
        Pair(id="1", inputs={"image": (left, right), "text": "t"}, sources={"image": "l.png|r.png", "text": "t"}),
        Pair(id="2", inputs={"image": (copy, left), "text": "t"}, sources={"image": "copy.png|l.png", "text": "t"}),
    ]
    data = with_true_sources(PairData("mine", {"train": PairDataset(pairs, "train")}))
    assert images(data) == ["copy.png|r.png", "copy.png|copy.png"]


def test_held_out_pictures_are_never_trained_on_under_another_name(tmp_path: Path) -> None:
    """Every picture lies there twice; subjects do not tell."""
    for with_subjects in (False, True):
        folder = tmp_path / str(with_subjects)
        rows = []
        for n in range(40):
            picture(folder / f"one/{n}.png", n)
            shutil.copytree(folder / "one", folder / "two", dirs_exist_ok=True)
            for at, part in enumerate(("one", "two")):
                row: dict[str, object] = {"file_name": f"{part}/{n}.png", "text": f"{part} {n}", "id": f"{part}{n}"}
                rows.append(row | ({"subject": f"person {(n + 7 * at) % 40}"} if with_subjects and n % 8 == 0 else {}))
        data = with_holdout(load_data(write(folder, rows)), fraction=0.1)
        assert set(data.splits) == {"train", "val", "test"}
        content = {
            name: {Path(str(pair.inputs["image"])).read_bytes() for pair in pairs}
            for name, pairs in data.splits.items()
        }
        assert not content["train"] & (content["val"] | content["test"])
        assert not content["val"] & content["test"]


def test_held_out_pairs_that_are_trained_on_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for n in range(6):
        picture(tmp_path / f"{n}.png", n % 4)
        rows.append({"file_name": f"{n}.png", "text": f"caption {n % 5}", "split": "train" if n < 4 else "test"})
    rows.append({"file_name": "5.png", "text": "Caption  1", "split": "test"})
    notes = load_data(write(tmp_path, rows)).notes
    assert any("of 3 pairs of test, 1 is a training pair too and 3 have a picture" in n for n in notes)


def test_rows_that_differ_in_subject_or_kind_are_no_repeats(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", 0)
    whole = {"file_name": "x.png", "text": "t", "subject": "ann", "kind": "k"}
    rows = [whole, {**whole, "subject": "bob"}, {**whole, "kind": "other"}, whole, {"file_name": "x.png", "text": "t"}]
    data = load_data(write(tmp_path, rows))
    assert [(pair.subject, pair.kind) for pair in data.train] == [
        ("ann", "k"), ("bob", "k"), ("ann", "other"), (None, None)]  # fmt: skip
    assert len(set(data.train.ids)) == 4
    assert "1 exact repeat dropped from train" in data.notes


# Names


def test_names_that_only_look_alike_are_pointed_out(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", 0)
    names = ["Jos\u00e9", "Jose\u0301", "ann", "ann ", "ann\u00a0", "bob"]
    rows = [{"file_name": "x.png", "text": f"t{n}", "id": f"p{n}", "subject": name} for n, name in enumerate(names)]
    (note,) = [note for note in load_data(write(tmp_path, rows)).notes if "differ only" in note]
    assert note.startswith("5 subjects differ only in blanks, capital letters, the Unicode form")
    assert r"'Jos\xe9' (train row 1) and 'Jose\u0301' (train row 2)" in note
    assert lookalikes(["a", "A", "b"], plain_form) == []


@pytest.mark.parametrize("names", [("Ann", "ann"), ("1", "01"), ("7.50", "7.5"), ("A  b", "a b")])
@pytest.mark.parametrize("what", ["id", "subject", "kind"])
def test_capital_letters_and_spellings_of_numbers_are_pointed_out_with_rows(
    names: tuple[str, str], what: str, tmp_path: Path
) -> None:
    picture(tmp_path / "x.png", 0)
    rows = [{"file_name": "x.png", "text": "t", "id": f"p{n}", what: name} for n, name in enumerate(["z", *names])]
    notes = load_data(write(tmp_path, rows)).notes
    assert any(
        f"2 {what}s differ only" in note and f"{names[0]!r} (train row 2) and {names[1]!r} (train row 3)" in note
        for note in notes
    )


def test_requests_point_out_what_looks_like_a_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["Jos\u00e9", "Jose\u0301", "ann", "bob"]
    for n in range(4):
        picture(tmp_path / f"{n}.png", n)
    rows = [{"file_name": f"{n}.png", "text": f"t{n}", "id": f"p{n}", "subject": s} for n, s in enumerate(names)]
    data = load_data(write(tmp_path, rows))
    assert resolve_request(data, subjects=["Jos\u00e9"]).ids == ("p0",)
    assert r"kept pairs have 1 subject that the request does not name and that differ only in blanks" in caplog.text
    assert r"'Jose\u0301'" in caplog.text
    caplog.clear()
    resolve_request(data, subjects=names[:2])
    resolve_request(data, subjects=["ann"])
    assert caplog.text == ""
    with pytest.raises(RequestError, match=r"'ann\\xa0'\. Some differ .* only in blanks.*: 'ann\\xa0' may be 'ann'\."):
        resolve_request(data, subjects=["ann\u00a0"])


# Digests


def pairs_of(folder: Path) -> PairDataset:
    pair = Pair(id="1", inputs={"image": folder / "x.bmp", "text": "t"}, sources={"image": "x.bmp", "text": "t"})
    return PairDataset([pair], "train")


def test_content_is_of_the_bytes_and_digest_of_the_names(tmp_path: Path) -> None:
    bitmap(tmp_path / "x.bmp", middle=1)
    first = pairs_of(tmp_path)
    kept = first.digest, first.content
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    moved = pairs_of(tmp_path / "elsewhere")
    assert (moved.digest, moved.content) == kept
    bitmap(tmp_path / "x.bmp", middle=2)
    other = pairs_of(tmp_path)
    assert other.digest == kept[0]
    assert other.content != kept[1]


def test_models_of_other_pictures_of_the_same_size_are_other_models(tmp_path: Path) -> None:
    def folder() -> Path:
        return ModelStore(tmp_path / "models", names_only=True).original(
            PairData("mine", {"train": pairs_of(tmp_path)})
        )

    path = bitmap(tmp_path / "x.bmp", middle=1)
    size, first = path.stat().st_size, folder()
    assert folder() == first
    bitmap(path, middle=2)
    assert path.stat().st_size == size
    assert folder() != first


@pytest.mark.parametrize("change", [{"subject": "ann"}, {"kind": "k"}, {"label": 1}, {"inputs": {"text": "T"}}])
def test_digest_knows_all_that_a_pair_says(change: dict[str, object], tmp_path: Path) -> None:
    pair = pairs_of(tmp_path)[0]
    if "inputs" in change:
        change = {"inputs": {**pair.inputs, "text": "T"}}
    changed = replace(pair, **change)  # type: ignore[arg-type]
    assert PairDataset([changed], "train").digest != PairDataset([pair], "train").digest


def test_files_are_read_once_while_they_stay_the_same(tmp_path: Path) -> None:
    path = bitmap(tmp_path / "x.bmp", middle=1)
    old = 1_600_000_000
    os.utime(path, (old, old))
    before = file_digest(path)
    bitmap(path, middle=2)
    os.utime(path, (old, old))  # same size, same time of change
    assert file_digest(path) != before


def test_digests_are_kept_in_a_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bitmap(tmp_path / "x.bmp", middle=1)
    monkeypatch.setattr(picture_digests, "_JUST_NOW_NS", 0)
    monkeypatch.setattr(picture_digests, "_known", {})
    (tmp_path / "cache").mkdir()
    with kept_digests(tmp_path / "cache"):
        digest = file_digest(path)
    assert digest in (tmp_path / "cache" / FILE).read_text()
    monkeypatch.setattr(picture_digests, "_known", {})
    with kept_digests(tmp_path / "cache"):
        assert list(picture_digests.known_digests()) == [str(path)]
        assert file_digest(path) == digest
    (tmp_path / "cache" / FILE).write_text('["damaged"]')
    monkeypatch.setattr(picture_digests, "_known", {})
    with kept_digests(tmp_path / "cache"):
        assert file_digest(path) == digest
    assert json.loads((tmp_path / "cache" / FILE).read_text())


def test_two_pictures_that_python_gives_one_source_are_not_taken_for_one(tmp_path: Path) -> None:
    """What a model is shown of a pair is its own picture."""
    files = [picture(tmp_path / folder / "x.png", seed) for seed, folder in enumerate("ab")]
    pairs = [
        Pair(id=str(n), inputs={"image": file, "text": f"t{n}"}, sources={"image": "x.png", "text": f"t{n}"})
        for n, file in enumerate(files)
    ]
    data = PairData("mine", {"train": PairDataset(pairs, "train")})
    quick = replace(Training().loop_settings(), passes=1, device="cpu")
    train(data, tmp_path / "model", start=TrainSettings(family="clip", image_size=16), settings=quick)
    told = manifest_of(tmp_path / "model")
    assert told["data"]["content"] == with_true_sources(data).train.content  # type: ignore[index]
    assert told["data"]["content"] != data.train.content  # type: ignore[index]


def test_an_original_trained_on_other_pictures_of_the_same_names_is_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(3):
        bitmap(tmp_path / "data" / f"{n}.bmp", middle=n)
    spec = write(tmp_path / "data", [{"file_name": f"{n}.bmp", "text": f"t{n}", "id": f"{n}"} for n in range(3)])
    quick = replace(Training().loop_settings(), passes=1, device="cpu")
    original = train(load_data(spec), tmp_path / "o", start=TrainSettings(family="clip", image_size=16), settings=quick)
    read_for(DataOptions(data=spec), str(original), KeyOptions())
    assert "other pictures" not in capsys.readouterr().err
    bitmap(tmp_path / "data" / "1.bmp", middle=9)
    read_for(DataOptions(data=spec), str(original), KeyOptions())
    assert "was trained on other pictures than those that data has under the same names" in capsys.readouterr().err


def test_the_order_of_classes_makes_no_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records tell pairs by the names of their classes, whichever of them is counted first."""
    for n in range(4):
        bitmap(tmp_path / "data" / f"{n}.bmp", middle=n)
    rows = [{"file_name": f"{n}.bmp", "text": f"t{n}", "id": f"{n}", "label": "yn"[n % 2]} for n in range(4)]
    spec, quick = write(tmp_path / "data", rows), LoopSettings(passes=1, device="cpu")
    settings = TrainSettings(family="albef", image_size=32)
    original = train(load_data(spec, classes=("y", "n")), tmp_path / "o", start=settings, settings=quick)
    unlearned = tmp_path / "u"
    unlearn(original, load_data(spec), ["0"], method="finetune", settings=quick, out=unlearned)
    for model in (original, unlearned):
        for classes in ((), ("y", "n"), ("n", "y"), ("?", "n", "y")):
            read_for(DataOptions(data=spec, classes=classes), str(model), KeyOptions())
            told = capsys.readouterr().err
            assert "other training pairs" not in told
            assert "other pictures" not in told
            assert f"label classes: 0 {(classes or ('n', 'y'))[0]}" in told
            with pytest.raises(CheckpointError, match="was trained on all of these pairs"):
                refuse_seen(
                    {"retrained": original}, {"retrained": read_record(original) or RunRecord()}, load_data(spec)
                )
    write(tmp_path / "data", [{**row, "label": "ny"[n % 2]} for n, row in enumerate(rows)])
    read_for(DataOptions(data=spec, classes=("n", "y")), str(original), KeyOptions())
    assert "other training pairs" in capsys.readouterr().err


def test_pairs_whose_numbers_got_names_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(3):
        bitmap(tmp_path / "data" / f"{n}.bmp", middle=n)
    spec = write(
        tmp_path / "data", [{"file_name": f"{n}.bmp", "text": "t", "id": f"{n}", "label": n} for n in range(3)]
    )
    settings, quick = TrainSettings(family="albef", image_size=32), LoopSettings(passes=1, device="cpu")
    original = train(load_data(spec), tmp_path / "o", start=settings, settings=quick)
    read_for(DataOptions(data=spec, classes=("a", "b", "c")), str(original), KeyOptions())
    told = capsys.readouterr().err
    assert "other training pairs" not in told
    assert "label classes: 0 a, 1 b, 2 c" in told


def test_another_order_of_classes_is_another_run(tmp_path: Path) -> None:
    """What numbers mean decides what a model is taught, so a killed run goes on with the same order only."""
    pairs = people(6).train.pairs
    labelled = [replace(pair, label=n % 2) for n, pair in enumerate(pairs)]
    data = PairData("p", {"train": PairDataset(labelled, "train")}, classes=("n", "y"), classes_in_order=True)
    request = resolve_request(data, ids=[pairs[0].id])
    first, other = (
        Deletion(
            model="nowhere", data=replace(data, classes=names), request=request, method=FineTune(),
            loop=LoopSettings(), trainable="all", lora=None, seed=0, allow_pickle=False, lineage=Lineage(),
            earlier_pairs_removed=False, origin=None,
        )
        for names in (("n", "y"), ("y", "n"))
    )  # fmt: skip
    assert first.digest != other.digest
