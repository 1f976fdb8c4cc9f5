"""Labels by name: the same labelled pairs mean the same, whatever reads them and whatever order a model has."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image

from multidelete.audits.signals import collect
from multidelete.audits.utility import correct
from multidelete.core.errors import CheckpointError, ConfigError, DataError, RequestError
from multidelete.core.settings import TrainSettings
from multidelete.data.classes import are_numbers, positions, with_classes
from multidelete.data.pairs import Pair, PairData, PairDataset, text_source
from multidelete.data.readers import load_data
from multidelete.data.readers.snli_ve import CLASSES as SNLI
from multidelete.data.request import resolve_request
from multidelete.models import Adapter, load_adapter
from multidelete.models.classes import name_classes, read_classes
from multidelete.models.initial import fitted, starting_point
from tests.data.test_identity import picture

NUMBER = 24
MODEL_ORDER = ("entailment", "contradiction", "neutral")
STORED_ORDER = ["neutral", "entailment", "contradiction"]
NAMES = [SNLI[(7 * n + n // 5) % 3] for n in range(NUMBER)]
TEXTS = [f"{'ABC'[n % 3]} dog number {n} runs" for n in range(NUMBER)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for n in range(NUMBER // 2):
        pixels = np.random.default_rng(n).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.jpg", quality=90)
    return folder


def photo(n: int) -> str:
    return f"{n // 2}.jpg"


def rows(image: str = "image", stem: str = "photos/", split: str | None = "train") -> list[dict[str, object]]:
    made: list[dict[str, object]] = [
        {"id": f"p{n}", image: stem + photo(n), "text": TEXTS[n], "label": NAMES[n]} for n in range(NUMBER)
    ]
    return made if split is None else [{**row, "split": split} for row in made]


def as_snli_ve(folder: Path) -> str:
    lines = [
        {"pairID": f"p{n}", "Flickr30K_ID": photo(n)[:-4], "sentence2": TEXTS[n], "gold_label": NAMES[n]}
        for n in range(NUMBER)
    ]
    (folder / "snli_ve_train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "photos").rename(folder / "images")
    return str(folder)


def as_json_lines(folder: Path) -> str:
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows())))
    return str(folder / "pairs.jsonl")


def as_image_folder(folder: Path) -> str:
    lines = map(json.dumps, rows("file_name"))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return str(folder)


def as_table(ending: str, separator: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        table = rows()
        lines = [separator.join(table[0]), *(separator.join(map(str, row.values())) for row in table)]
        (folder / f"pairs.{ending}").write_text("\n".join(lines))
        return str(folder / f"pairs.{ending}")

    return write


def as_folder_per_split(folder: Path) -> str:
    """Metadata in a folder of the split: read by `datasets`' imagefolder."""
    (folder / "photos").rename(folder / "train")
    (folder / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows("file_name", "", None))))
    return str(folder)


def stored(folder: Path, *, named: bool) -> Dataset:
    columns = {key: [row[key] for row in rows(stem=f"{folder}/photos/", split=None)] for key in rows(split=None)[0]}
    features = {key: Value("string") for key in columns}
    if named:
        features["label"] = ClassLabel(names=STORED_ORDER)
        columns["label"] = [STORED_ORDER.index(str(name)) for name in columns["label"]]
    return Dataset.from_dict(columns, features=Features(features))


def as_parquet(folder: Path) -> str:
    stored(folder, named=False).to_parquet(folder / "pairs.parquet")
    return str(folder / "pairs.parquet")


def as_parquet_of_classes(folder: Path) -> str:
    stored(folder, named=True).to_parquet(folder / "pairs.parquet")
    return str(folder / "pairs.parquet")


def as_saved(folder: Path) -> str:
    DatasetDict({"train": stored(folder, named=True)}).save_to_disk(folder / "saved")
    return str(folder / "saved")


def as_arrow(folder: Path) -> str:
    stored(folder, named=True).save_to_disk(folder / "one")
    return str(next((folder / "one").glob("*.arrow")))


def as_numbers(folder: Path) -> str:
    """Read with ``classes``, which say what the numbers mean."""
    lines = [{**row, "label": STORED_ORDER.index(str(row["label"]))} for row in rows()]
    (folder / "numbers.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(folder / "numbers.jsonl")


WRITERS: dict[str, Callable[[Path], str]] = {
    "snli-ve": as_snli_ve,
    "jsonl": as_json_lines,
    "csv": as_table("csv", ","),
    "tsv": as_table("tsv", "\t"),
    "image folder": as_image_folder,
    "imagefolder of datasets": as_folder_per_split,
    "parquet": as_parquet,
    "parquet with ClassLabel": as_parquet_of_classes,
    "save_to_disk with ClassLabel": as_saved,
    "arrow with ClassLabel": as_arrow,
    "numbers with classes": as_numbers,
}


def from_python(photos: Path, order: Sequence[str]) -> PairData:
    pairs = [
        Pair(
            id=f"p{n}", inputs={"image": photos / photo(n), "text": TEXTS[n]},
            sources={"image": photo(n), "text": text_source(TEXTS[n])}, label=order.index(NAMES[n]),
        )
        for n in range(NUMBER)
    ]  # fmt: skip
    return PairData("python", {"train": PairDataset(pairs, "train")}, classes=order)


@pytest.fixture(scope="module")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose classes stand in an order of its own."""
    made = starting_point(TrainSettings(family="albef", image_size=32), from_python(photos, MODEL_ORDER), 3)
    made.save(tmp_path_factory.mktemp("model"))
    target = tmp_path_factory.mktemp("model")
    made.save(target)
    return target


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Adapter:
    return load_adapter(folder).eval()


def right(adapter: Adapter, data: PairData) -> dict[str, bool]:
    signals = collect(adapter, fitted(adapter, data).train)
    return dict(zip(signals.ids, correct(signals).tolist(), strict=True))


@pytest.fixture(scope="module")
def expected(adapter: Adapter, photos: Path) -> dict[str, bool]:
    """By hand: the most likely output's name is the pair's."""
    data = from_python(photos, MODEL_ORDER)
    logits = collect(adapter, data.train).logits
    assert logits is not None
    answers = [MODEL_ORDER[at] for at in logits.argmax(axis=1)]
    found = {f"p{n}": answer == NAMES[n] for n, answer in enumerate(answers)}
    assert 0 < sum(found.values()) < NUMBER
    return found


@pytest.mark.parametrize("writer", WRITERS)
def test_every_reader_gives_the_same_accuracy(
    writer: str, photos: Path, adapter: Adapter, expected: dict[str, bool], tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    spec = WRITERS[writer](tmp_path)
    data = load_data(spec, classes=STORED_ORDER if writer == "numbers with classes" else ())
    assert set(data.classes) == set(SNLI)
    assert right(adapter, data) == expected


@pytest.mark.parametrize("order", [MODEL_ORDER, SNLI, STORED_ORDER], ids=str)
def test_pairs_from_python_give_the_same_accuracy_in_any_order(
    order: Sequence[str], photos: Path, adapter: Adapter, expected: dict[str, bool]
) -> None:
    assert right(adapter, from_python(photos, order)) == expected


def test_a_new_model_is_given_the_names_and_the_numbers_back(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {str(at): name for at, name in enumerate(MODEL_ORDER)}
    assert config["label2id"] == {name: at for at, name in enumerate(MODEL_ORDER)}


def test_auto_trains_a_classifier_of_numbered_labels_and_refuses_labels_of_some(tmp_path: Path, photos: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    numbered = load_data(as_numbers(tmp_path))
    assert (numbered.classes, numbered.notes) == ((), ())
    made = starting_point(TrainSettings(family="albef", image_size=32), numbered, 0)
    assert (made.task, made.classes) == ("classification", ("0", "1", "2"))
    some = [replace(pair, label=None if at else pair.label) for at, pair in enumerate(numbered.train)]
    parts = replace(numbered, splits={"train": PairDataset(some, "train")})
    with pytest.raises(DataError, match=r"23 of 24 training pairs .* have no label.*--task retrieval"):
        starting_point(TrainSettings(family="albef", image_size=32), parts, 0)


# Matching


def labelled(classes: Sequence[str], labels: Sequence[int] = (0, 1)) -> PairData:
    pairs = [
        Pair(id=str(n), inputs={"image": f"{n}", "text": "t"}, sources={"image": str(n), "text": "t"}, label=label)
        for n, label in enumerate(labels)
    ]
    return PairData("pets", {"train": PairDataset(pairs, "train")}, classes=classes)


@pytest.mark.parametrize(
    ("own", "model", "expected"),
    [
        (("cat", "dog"), ("dog", "cat"), {0: 1, 1: 0}),
        (("Cat ", "DOG"), ("dog", "cat"), {0: 1, 1: 0}),
        (("caf\u00e9", "dog"), ("dog", "cafe\u0301"), {0: 1, 1: 0}),
        (("Cat", "cat"), ("cat", "Cat"), {0: 1, 1: 0}),
        ((), ("LABEL_0", "LABEL_1", "LABEL_2"), {0: 0, 1: 1}),
        ((), ("0", "1"), {0: 0, 1: 1}),
        ((), ("1", "0"), {0: 1, 1: 0}),
        (("0", "1"), ("LABEL_0", "LABEL_1"), {0: 0, 1: 1}),
        (("3", "7"), tuple("0123456789"), {0: 3, 1: 7}),
        (("LABEL_1", "LABEL_10"), tuple(f"LABEL_{n}" for n in range(11)), {0: 1, 1: 10}),
        (("2", "yes"), ("yes", "no", "2"), {0: 2, 1: 0}),
    ],
)
def test_classes_are_matched(own: tuple[str, ...], model: tuple[str, ...], expected: dict[int, int]) -> None:
    assert positions(labelled(own), model) == expected


@pytest.mark.parametrize(
    ("own", "model", "message"),
    [
        (
            ("cat", "bird"),
            ("dog", "cat"),
            "1 of 2 classes of pets is not among .*: bird. pets has cat, bird; the model's classes are dog, cat",
        ),
        (("CAT", "dog"), ("cat", "Cat", "dog"), "looks like several of .*: CAT. .* cat, Cat, dog"),
        (("cat", "Cat"), ("cat", "dog"), "looks like several of .*: Cat"),
        (("cat", "dog"), ("cat", "cat"), "looks like several of the model's classes: cat"),
        ((), ("cat", "dog"), r"labels of pets are numbers: 0, 1. .* have names: cat, dog. .*--classes"),
        ((), ("0", "1", "yes"), r"labels of pets are numbers: 0, 1. .* have names: 0, 1, yes"),
        ((), ("only",), "have names: only"),
        ((), ("LABEL_0",), "pets has 2 classes: 0, 1. The model has only 1: LABEL_0"),
        (("cat", "dog"), ("LABEL_0", "LABEL_1"), r"names: cat, dog. .* none: LABEL_0, LABEL_1. .*--classes"),
        (("cat", "dog"), ("0", "1"), r"names: cat, dog. .* none: 0, 1"),
    ],
)
def test_classes_that_cannot_be_matched_are_refused_with_both_lists(
    own: tuple[str, ...], model: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        positions(labelled(own), model)


def test_stated_classes_name_numbers_and_order_names() -> None:
    named = with_classes(labelled(()), ("dog", "cat"))
    assert positions(named, ("cat", "dog")) == {0: 1, 1: 0}
    ordered = with_classes(labelled(("cat", "dog")), ("dog", "bird", "cat"))
    assert ([pair.label for pair in ordered.train], tuple(ordered.classes)) == ([2, 0], ("dog", "bird", "cat"))
    assert positions(ordered, ("LABEL_0", "LABEL_1", "LABEL_2")) == {0: 0, 1: 1, 2: 2}
    assert positions(ordered, ("bird", "cat", "dog")) == {0: 2, 1: 0, 2: 1}
    with pytest.raises(DataError, match=r"labels up to 1, and --classes names 1: dog"):
        with_classes(labelled(()), ("dog",))
    with pytest.raises(DataError, match=r"1 of 2 classes of pets is not among the names of --classes: cat"):
        with_classes(labelled(("cat", "dog")), ("dog", "bird"))
    with pytest.raises(ConfigError, match="empty or repeated names: '', 'dog'"):
        with_classes(labelled(()), ("dog", "", "dog"))
    unlabelled = PairData("bare", {"train": PairDataset([replace(labelled(()).train[0], label=None)], "train")})
    with pytest.raises(DataError, match="no labels"):
        with_classes(unlabelled, ("dog",))


def test_names_that_are_only_numbers() -> None:
    assert not any(map(are_numbers, [("1", "2"), ("LABEL_1",), ("no", "yes"), ("0", "2")]))


def test_a_request_for_a_whole_class_names_it() -> None:
    with pytest.raises(RequestError, match="leaves 1 class without any training pair: dog"):
        resolve_request(labelled(("cat", "dog"), (0, 0, 0, 1)), ids=["3"])


def test_class_orders_of_splits_may_differ(tmp_path: Path, photos: Path) -> None:
    """Each split of a saved data set lists its classes by itself."""
    shutil.copytree(photos, tmp_path / "photos")
    train, test = stored(tmp_path, named=True), stored(tmp_path, named=False)
    test = test.cast_column("label", ClassLabel(names=list(SNLI)))
    (tmp_path / "saved").mkdir()
    train.save_to_disk(tmp_path / "saved" / "train")
    test.save_to_disk(tmp_path / "saved" / "test")
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    data = load_data(str(tmp_path / "saved"))
    for pairs in data.splits.values():
        assert [data.classes[pair.label] for pair in pairs if pair.label is not None] == NAMES


def read_labels(folder: Path, labels: Sequence[object]) -> PairData:
    for n in range(len(labels)):
        picture(folder / f"{n}.png", n)
    lines = [{"image": f"{n}.png", "text": f"t{n}", "id": f"i{n}", "label": label} for n, label in enumerate(labels)]
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return load_data(str(folder / "x.jsonl"))


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([1, 0, -1], (), [1, 0, None]),
        (["1", "0", None], (), [1, 0, None]),
        ([1.0, 0.0, 2.0], (), [1, 0, 2]),
        (["1.0", "0.0", ""], (), [1, 0, None]),
        (["2", "yes", "no"], ("2", "no", "yes"), [0, 2, 1]),
        (["01", "10", "02"], ("01", "02", "10"), [0, 2, 1]),
        (["true", "no", "maybe"], ("maybe", "no", "true"), [2, 1, 0]),
        (["yes", "1", "2"], ("1", "2", "yes"), [2, 0, 1]),
    ],
)
def test_labels_are_names_or_numbers(
    labels: list[object], classes: tuple[str, ...], expected: list[int | None], tmp_path: Path
) -> None:
    data = read_labels(tmp_path, labels)
    assert (data.classes, [pair.label for pair in data.train]) == (classes, expected)
    assert any("written with a point" in note for note in data.notes) == ("1.0" in map(str, labels))


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["01", "2", "1"], r"'01' \(train row 1\) and '1' \(train row 3\)"),
        (["1", "cat", "1.0"], r"'1' \(train row 1\) and '1\.0' \(train row 3\)"),
        (["+1", "1", "2"], r"'\+1' \(train row 1\) and '1'"),
        (["1 ", "1", "x"], r"'1 ' \(train row 1\) and '1'"),
        (["true", "True", "False"], r"'true' \(train row 1\) and 'True' \(train row 2\)"),
        (["Yes", "maybe", "yes"], r"'Yes' \(train row 1\) and 'yes' \(train row 3\)"),
        (["yes", "no", "1"], r"'yes' \(train row 1\) and '1' \(train row 3\)"),
        (["true", "0", "false"], r"'0' \(train row 2\) and 'false' \(train row 3\)"),
        (["yes", "no", "TRUE"], r"'yes' \(train row 1\) and 'TRUE' \(train row 3\)"),
        (["1.5", "cat", "1.50"], r"'1\.5' \(train row 1\) and '1\.50' \(train row 3\)"),
        (["1", "1.5", "2"], r"neither names nor whole numbers: 1\.5"),
    ],
)
def test_a_number_or_a_truth_value_in_two_spellings_is_refused_with_both(
    labels: list[object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told):
        read_labels(tmp_path, labels)


def test_numbers_among_names_and_names_that_differ_in_capital_letters_are_noted(tmp_path: Path) -> None:
    notes = read_labels(tmp_path, ["yes", "1", "2"]).notes
    assert "labels are names, and 2 of 3 of them numbers, such as '1' (train row 2) and 'yes' (train row 1)" in notes
    (note,) = [note for note in read_labels(tmp_path, ["Cat", "cat", "dog"]).notes if "differ" in note]
    assert "2 classes differ only" in note
    assert "'Cat' (train row 1) and 'cat' (train row 2)" in note


def test_numbers_that_leave_classes_without_pairs_are_noted_and_many_refused(tmp_path: Path) -> None:
    assert "labels are numbers up to 7, and 6 numbers have no pair" in read_labels(tmp_path, [0, 7]).notes
    with pytest.raises(DataError, match=r"numbers up to 20141031, .* and 20141030 of these have no pair"):
        read_labels(tmp_path, [0, 20141031])
    notes = read_labels(tmp_path, ["01", "02"]).notes
    assert "labels are numbers that are no plain ones, and are read as names: 01, 02" in notes


def test_a_negative_number_among_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels that are names, and -1 among them"):
        read_labels(tmp_path, ["-1", "cat", "dog"])


def test_columns_of_numbered_classes_give_subjects_kinds_and_splits_their_names(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / f"{n}.png", n)
    texts = {"image": [f"{n}.png" for n in range(3)], "text": list("abc"), "id": list("xyz")}
    numbered = {"subject": ClassLabel(names=["ann", "bob"]), "split": ClassLabel(names=["test", "train"])}
    features = Features({name: Value("string") for name in texts} | numbered)
    rows = Dataset.from_dict({**texts, "subject": [1, 0, -1], "split": [1, 1, 0]}, features=features)
    rows.to_parquet(tmp_path / "x.parquet")
    data = load_data(str(tmp_path / "x.parquet"), columns={"kind": "subject"})
    assert [(pair.subject, pair.kind) for pair in data.train] == [("bob", "bob"), ("ann", "ann")]
    assert [pair.subject for pair in data.splits["test"]] == [None]


@pytest.mark.parametrize("label", [["cat"], 1.5, {"a": 1}])
def test_labels_that_are_neither_names_nor_numbers_are_refused(label: object, tmp_path: Path, photos: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    lines = [{**row, "label": label} for row in rows()]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="label"):
        load_data(str(tmp_path / "x.jsonl"))


def test_names_of_a_configuration_must_agree(adapter: Adapter) -> None:
    config = type(adapter.model.config)()
    name_classes(config, ("no", "yes"))
    assert read_classes(config) == ("no", "yes")
    config.label2id = {"no": 1, "yes": 0}
    with pytest.raises(CheckpointError, match="contradict each other: 'no' is 0 in one and 1 in the other"):
        read_classes(config)
    config.id2label = {1: "no", 2: "yes"}
    with pytest.raises(CheckpointError, match="names 2 classes and none of number 0"):
        read_classes(config)
