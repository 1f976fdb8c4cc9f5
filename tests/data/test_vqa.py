import json
from pathlib import Path

import pytest
from PIL import Image

from multidelete.core.errors import ConfigError, DataError
from multidelete.data.images import check_images
from multidelete.data.readers import load_data
from multidelete.data.readers.vqa import looks_like_vqa, read_vqa
from multidelete.data.request import resolve_request

Asked = dict[str, list[tuple[int, int, str]]]
"""For each subset, questions as (image, question id, answer)."""

ASKED: Asked = {
    "train2014": [(9, 90, "Yes "), (9, 91, "2"), (9, 92, "yes"), (25, 250, "red"), (25, 251, "2"), (30, 300, "yes")],
    "val2014": [(42, 420, "yes"), (42, 421, "seven"), (42, 422, "red")],
}


def write(
    folder: Path, asked: Asked, *, questions: str = ".", annotations: str = ".", images: str = "images/{subset}"
) -> Path:
    for subset, every in asked.items():
        for place in (questions, annotations):
            (folder / place).mkdir(parents=True, exist_ok=True)
        listed = [{"image_id": i, "question_id": q, "question": f" What is {q}? "} for i, q, _ in every]
        (folder / questions / f"v2_OpenEnded_mscoco_{subset}_questions.json").write_text(
            json.dumps({"info": {}, "data_subtype": subset, "questions": listed})
        )
        if not subset.startswith("test"):
            answered = [{"image_id": i, "question_id": q, "multiple_choice_answer": a, "answers": []}
                        for i, q, a in reversed(every)]  # fmt: skip
            (folder / annotations / f"v2_mscoco_{subset}_annotations.json").write_text(
                json.dumps({"annotations": answered})
            )
        for image, _, _ in every:
            place = folder / images.format(subset=subset)
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(place / f"COCO_{subset}_{image:012}.jpg")
    return folder


def test_questions_become_pairs_whose_class_is_the_answer(tmp_path: Path) -> None:
    data = read_vqa(write(tmp_path, ASKED))
    assert data.classes == ("yes", "2", "red")
    assert data.train.ids == ["90", "91", "92", "250", "251", "300"]
    assert [pair.label for pair in data.train] == [0, 1, 0, 2, 1, 0]
    name = "COCO_train2014_000000000009.jpg"
    assert data.train[0].inputs == {"image": tmp_path / "images/train2014" / name, "text": "What is 90?"}
    assert data.train[0].sources == {"image": name, "text": "what is 90?"}
    assert data.splits["val"].ids == ["420", "422"]
    assert data.notes == (
        "1 of 3 questions of val was dropped: the answer is not among the 3 most frequent of the training questions",
    )
    assert resolve_request(data, ids=["90"], unit="image").ids == ("90", "91", "92")


def test_the_number_of_answers_is_a_setting_and_what_it_drops_is_counted(tmp_path: Path) -> None:
    data = load_data(f"vqa:{write(tmp_path, ASKED)},answers=2")
    assert data.classes == ("yes", "2")
    assert data.train.ids == ["90", "91", "92", "251", "300"]
    assert data.splits["val"].ids == ["420"]
    assert [note[:31] for note in data.notes[:2]] == [
        "1 of 6 questions of train was d",
        "2 of 3 questions of val were dr",
    ]
    for wrong, message in (
        ("1", "answers is 1; a question needs at least 2"),
        ("x", "answers is 'x'; it must be a who"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_data(f"vqa:{tmp_path},answers={wrong}")


def test_the_layout_is_recognised_as_folder_as_file_and_by_name(tmp_path: Path) -> None:
    write(tmp_path, ASKED)
    file = tmp_path / "v2_OpenEnded_mscoco_train2014_questions.json"
    for spec in (tmp_path, file, f"vqa:{tmp_path}"):
        assert load_data(str(spec)).name == "vqa"
    assert not looks_like_vqa(tmp_path / "v2_mscoco_train2014_annotations.json")
    assert not looks_like_vqa(tmp_path / "images")


@pytest.mark.parametrize("images", ["images/{subset}", "images", "{subset}", "Images/mscoco/{subset}", "."])
def test_files_are_found_where_they_usually_lie(tmp_path: Path, images: str) -> None:
    data = read_vqa(write(tmp_path, ASKED, questions="Questions", annotations="Annotations", images=images))
    check_images(data.train)


def test_test_questions_without_annotations_are_left_out_and_noted(tmp_path: Path) -> None:
    data = read_vqa(write(tmp_path, {**ASKED, "test2015": [(7, 70, "")], "test-dev2015": [(7, 70, "")]}))
    assert list(data.splits) == ["train", "val"]
    assert sum("has no annotations beside it" in note for note in data.notes) == 2


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, {**ASKED, "train2014": [*ASKED["train2014"], (9, 90, "no")]})
    file = tmp_path / "v2_mscoco_val2014_annotations.json"
    entries = json.loads(file.read_text())["annotations"]
    file.write_text(json.dumps({"annotations": [*entries[1:], {"question_id": 5}]}))
    (tmp_path / "images/train2014/COCO_train2014_000000000030.jpg").unlink()
    with pytest.raises(DataError) as error:
        read_vqa(tmp_path)
    found = "\n".join(error.value.problems)
    for text in (
        "1 row has no 'multiple_choice_answer': annotation 2",
        "has no annotation of 1 of the 3 questions of v2_OpenEnded_mscoco_val2014_questions.json: 422",
        "1 id occurs more than once in train: 90", "1 of 4 images", "missing: COCO_train2014_000000000030.jpg",
    ):  # fmt: skip
        assert text in found
    assert len(error.value.problems) == 4


def test_files_that_do_not_belong_together_are_explained(tmp_path: Path) -> None:
    write(tmp_path, ASKED)
    (tmp_path / "v2_mscoco_train2014_annotations.json").unlink()
    with pytest.raises(DataError, match="no annotations: there is no v2_mscoco_train2014_annotations"):
        read_vqa(tmp_path)
    (tmp_path / "v2_mscoco_train2014_annotations.json").write_text('{"answers": []}')
    with pytest.raises(DataError, match=r"not a VQA file: it has no list 'annotations'"):
        read_vqa(tmp_path)
    write(tmp_path, ASKED)
    (tmp_path / "OpenEnded_mscoco_train2014_questions.json").write_text("{}")
    with pytest.raises(DataError, match=r"several files of questions for train.*Keep one version"):
        read_vqa(tmp_path)


def test_training_questions_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training pairs"):
        read_vqa(write(tmp_path, {"val2014": ASKED["val2014"]}))


def test_two_annotations_of_one_question_are_refused_where_they_contradict_each_other(tmp_path: Path) -> None:
    write(tmp_path, ASKED)
    file = tmp_path / "v2_mscoco_train2014_annotations.json"
    content = json.loads(file.read_text())
    again = {**content["annotations"][-1], "multiple_choice_answer": "YES"}  # of question 90, in other letters
    file.write_text(json.dumps({"annotations": [*content["annotations"], again]}))
    assert load_data(str(tmp_path)).train.ids[0] == "90"
    again["multiple_choice_answer"] = "no"
    file.write_text(json.dumps({"annotations": [*content["annotations"], again]}))
    with pytest.raises(DataError, match=r"answers 1 question twice, and differently: 90 \(yes, no\)"):
        load_data(str(tmp_path))
