"""VQA: questions and answers about COCO photographs; ``*_OpenEnded_mscoco_*_questions.json``, ``*_annotations.json``.

Goyal, Khot, Summers-Stay, Batra, Parikh: "Making the V in VQA Matter", CVPR 2017, arXiv:1612.00837 (VQA v2).
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from multidelete.core.errors import ConfigError, DataError, first_few
from multidelete.core.words import counted, share
from multidelete.data.pairs import Pair, PairData, text_source
from multidelete.data.readers.layouts import Pictures, Row, checked_splits, complete
from multidelete.data.tables.strict_json import read_json

ANSWERS = 3129  # as is usual for VQA v2: those that were given at least nine times
_QUESTIONS = re.compile(r".*OpenEnded_mscoco_([\w-]+)_questions\.json")


@dataclass(frozen=True)
class _Answered:
    """A question with its answer and the file name of its photograph."""

    id: str
    question: str
    answer: str
    image: Path
    image_name: str


def looks_like_vqa(path: Path) -> bool:
    """Whether a folder holds VQA questions, or a file is such a file."""
    return bool(_question_files(path.parent if path.is_file() else path)) and (
        path.is_dir() or _QUESTIONS.fullmatch(path.name) is not None
    )


def read_vqa(path: Path, *, image_root: Path | None = None, answers: int = ANSWERS) -> PairData:
    """Read one pair for each question: a photograph, the question, and its answer as a class.

    The classes are the ``answers`` most frequent answers of the training questions (``multiple_choice_answer``, in
    lower case), the most frequent first. Pairs with another answer have no class: they are
    left out of every split and counted in the notes, so accuracies are of answerable questions. Question files
    without annotations (the official test questions) are left out, with a note.

    A pair's id is its ``question_id``; its image source is the photograph's file name, such as
    ``COCO_train2014_000000000009.jpg``.

    Differs from the published task: one answer for each question, the annotators' most frequent one, instead of ten.

    Args:
        path: The folder of the files, which may also lie in its subfolders (``Questions/``, ``Annotations/``),
            or one of the question files in it.
        image_root: Folder of the photographs. Without it they are looked for in ``images/``, ``Images/mscoco/``
            and beside the files. In each of these they may lie in folders such as ``train2014/``.
        answers: How many answers are classes, at least 2.

    Raises:
        ConfigError: ``answers`` is out of range.
        DataError: With all problems at once: no training files, files that are not VQA, questions without
            annotation, repeated ids, missing photographs (all are counted, ten are named).
    """
    if answers < 2:
        raise ConfigError(f"answers is {answers}; a question needs at least 2 possible answers.")
    folder = path.parent if path.is_file() else path
    if image_root is not None:
        pictures = Pictures([image_root])
    else:
        pictures = Pictures([folder / "images", folder / "Images" / "mscoco", folder])
    problems: list[str] = []
    notes: list[str] = []
    read: dict[str, list[_Answered]] = {}
    for subset, files in sorted(_question_files(folder).items()):
        split = next((name for name in ("train", "val") if subset.startswith(name)), "test")
        if len(files) > 1 or split in read:
            problems.append(
                f"{folder} holds several files of questions for {split}: {first_few([f.name for f in files])}. "
                "Keep one version of VQA in a folder."
            )
            continue
        name = files[0].name.replace("OpenEnded_", "").replace("_questions", "_annotations")
        annotations = [*folder.glob(name), *folder.glob(f"*/{name}")]
        if annotations:
            read[split] = _read(files[0], annotations[0], subset, pictures, problems)
        elif split == "test":
            notes.append(f"{files[0].name} has no annotations beside it, as is usual for test questions: left out")
        else:
            problems.append(f"{files[0]} has no annotations: there is no {name} in {folder} or its subfolders.")
    times = Counter(one.answer for one in read.get("train", ()))
    classes = tuple(sorted(times, key=lambda answer: (-times[answer], answer))[:answers])
    at = {answer: number for number, answer in enumerate(classes)}
    pairs: dict[str, list[Pair]] = {}
    for split in (name for name in ("train", "val", "test") if name in read):
        pairs[split] = [_pair(one, at[one.answer]) for one in read[split] if one.answer in at]
        if rare := len(read[split]) - len(pairs[split]):
            notes.append(
                f"{share(rare, len(read[split]), f'questions of {split} were')} dropped: "
                f"the answer is not among the {len(classes)} most frequent of the training questions"
            )
    train_file = "*OpenEnded_mscoco_train*_questions.json"
    splits = checked_splits("vqa", folder, pairs, train_file=train_file, pictures=pictures, problems=problems)
    return PairData("vqa", splits, notes=tuple(notes), classes=classes)


def _question_files(folder: Path) -> dict[str, list[Path]]:
    """Files of questions by what they are about (``train2014``)."""
    files: dict[str, list[Path]] = {}
    for file in sorted([*folder.glob("*_questions.json"), *folder.glob("*/*_questions.json")]):
        match = _QUESTIONS.fullmatch(file.name)
        if match:
            files.setdefault(match[1], []).append(file)
    return files


def _read(
    questions_file: Path, annotations_file: Path, subset: str, pictures: Pictures, problems: list[str]
) -> list[_Answered]:
    """The questions of a file that have an answer; what is wrong goes to ``problems``."""
    questions = _entries(questions_file, "questions", ("question_id", "image_id", "question"), problems)
    annotations = _entries(annotations_file, "annotations", ("question_id", "multiple_choice_answer"), problems)
    answers: dict[object, str] = {}
    contradicted: dict[object, str] = {}
    times = Counter(one["question_id"] for one in questions)
    for one in annotations:
        answer = str(one["multiple_choice_answer"]).strip().lower()
        before = answers.setdefault(one["question_id"], answer)
        if before != answer and times[one["question_id"]] == 1:  # a repeated question is told as such
            contradicted[one["question_id"]] = f"{one['question_id']} ({before}, {answer})"
    if contradicted:
        problems.append(
            f"{annotations_file} answers {counted(len(contradicted), 'questions')} twice, and differently: "
            f"{first_few(list(contradicted.values()))}. Keep one annotation of each question."
        )
    unanswered = [one["question_id"] for one in questions if one["question_id"] not in answers]
    if unanswered and annotations:
        problems.append(
            f"{annotations_file} has no annotation of {len(unanswered)} of the {counted(len(questions), 'questions')} "
            f"of {questions_file.name}: {first_few(unanswered)}. Give the two files of one release."
        )
    answered = []
    for one in questions:
        if one["question_id"] in answers:
            number = f"{str(one['image_id']).zfill(12)}.jpg"
            name = f"COCO_{subset}_{number}"
            image = pictures.find(name, f"{subset}/{name}", number, f"{subset}/{number}")
            text = str(one["question"]).strip()
            answered.append(_Answered(str(one["question_id"]), text, answers[one["question_id"]], image, name))
    return answered


def _entries(file: Path, name: str, columns: tuple[str, ...], problems: list[str]) -> list[Row]:
    """The list called ``name`` of a JSON file, without the entries that lack one of ``columns``."""
    try:
        content = read_json(file)
    except DataError as error:
        problems += error.problems
        return []
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        problems.append(f"{file} is not a VQA file: it has no list {name!r}, each with {', '.join(columns)}.")
        return []
    rows = [(number, entry if isinstance(entry, dict) else {}) for number, entry in enumerate(entries)]
    return complete(
        file, rows, columns, "question" if "question" in columns else None, problems, where=name.removesuffix("s")
    )


def _pair(one: _Answered, label: int) -> Pair:
    return Pair(
        id=one.id,
        inputs={"image": one.image, "text": one.question},
        sources={"image": one.image_name, "text": text_source(one.question)},
        label=label,
    )
