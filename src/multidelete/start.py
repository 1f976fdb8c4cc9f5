"""What training begins with, and whether a model and pairs fit each other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from multidelete.data.pairs import PairData, PairDataset
from multidelete.errors import DataError, UnsupportedError, first_few
from multidelete.models import (
    Adapter,
    Task,
    get_family,
    load_adapter,
    new_adapter,
    recognise,
    with_new_head,
    with_task,
)
from multidelete.settings import TrainSettings


def starting_point(model: TrainSettings, data: PairData, seed: int) -> Adapter:
    """The model that training begins with: always the same for the same arguments.

    The tokenizer of a new model is trained on all training captions; a retrained model keeps it,
    as it keeps the initial weights.

    Raises:
        UserError: The family lacks the task, or pairs and model do not fit each other.
    """
    if model.start:
        has = recognise(model.start).task
        if model.task in ("auto", has):
            return load_adapter(model.start)
        if pictures_per_pair(data.train) > 1:
            raise UnsupportedError(
                f"{model.start} is a model for {has}, and the task is {model.task} of pairs with two pictures. "
                "Start from a model that reads two, or leave --start out."
            )
        classes = classes_of(data) if model.task == "classification" else ()
        return with_new_head(model.start, task=cast(Task, model.task), classes=classes, seed=seed)
    task = chosen_task(model, data)
    return new_adapter(
        model.family,
        size=model.size,
        image_size=model.image_size,
        captions=(str(pair.inputs["text"]) for pair in data.train),
        seed=seed,
        task=task,
        classes=classes_of(data) if task == "classification" else (),
        images=pictures_per_pair(data.train),
        graph=data.graph,
    )


def chosen_task(model: TrainSettings, data: PairData) -> Task:
    """The task of a new model: as set, or for ``auto`` classification where the data has classes.

    Raises:
        UnsupportedError: The family cannot do it, or cannot read such pairs.
    """
    task = cast(Task, model.task)
    if model.task == "auto":
        task = "classification" if data.classes else "retrieval"
    family, held = get_family(model.family), tuple(data.train[0].inputs)
    able = ", ".join(with_task(task, held)) or "none"
    if set(family.modalities) != set(held):
        raise UnsupportedError(
            f"Family {model.family!r} takes pairs of {' and '.join(family.modalities)}; those of {data.name} are of "
            f"{' and '.join(held)}. Families that take them, with {task}: {able}."
        )
    if task not in family.tasks:
        why = f", the task of data with {len(data.classes)} classes" if model.task == "auto" else ""
        other = f", or train for {family.tasks[0]} with --task {family.tasks[0]}" if model.task == "auto" else ""
        raise UnsupportedError(
            f"Family {model.family!r} has no {task}{why}; it has {' and '.join(family.tasks)}. "
            f"Families that have it: {able}. Choose one with --family{other}."
        )
    return task


def classes_of(data: PairData) -> tuple[str, ...]:
    """Names of the classes; where the data names none, the labels' numbers.

    Raises:
        DataError: Training pairs have no labels.
    """
    without = [pair.id for pair in data.train if pair.label is None]
    if without:
        raise DataError(
            f"{len(without)} of {len(data.train)} training pairs of {data.name} have no label: {first_few(without)}. "
            "Classification needs one for each; give a label column, or train with --task retrieval."
        )
    return tuple(data.classes) or tuple(str(n) for n in range(1 + max(cast(int, p.label) for p in data.train)))


def pictures_per_pair(pairs: PairDataset) -> int:
    """How many pictures each pair has: 0, 1 or 2.

    Raises:
        DataError: Pairs have different numbers of pictures.
    """
    counts: dict[int, str] = {}
    for pair in pairs:
        given = pair.inputs.get("image")
        counts.setdefault(len(given) if isinstance(given, tuple) else int(given is not None), pair.id)
    if len(counts) > 1:
        found = " and ".join(f"{count} (such as {pair_id})" for count, pair_id in sorted(counts.items()))
        raise DataError(f"The pairs of {pairs.name} have {found} pictures; all must have the same number.")
    return next(iter(counts))


def fitted(adapter: Adapter, data: PairData) -> PairData:
    """The data with labels as positions among the model's classes; the same object where they are already.

    Classes are matched by name, so that a model whose classes stand in another order, or that has more of
    them, can be used with any reader.

    Raises:
        UnsupportedError: Other modalities than the model's.
        DataError: Training pairs have no labels, or the data has classes that the model does not know.
    """
    held = tuple(data.train[0].inputs)
    if set(held) != set(adapter.modalities):
        raise UnsupportedError(
            f"This model takes pairs of {' and '.join(adapter.modalities)}; those of {data.name} are of "
            f"{' and '.join(held)}. Give the data it was trained on."
        )
    if adapter.task != "classification":
        return data
    known = classes_of(data)
    if not data.classes:  # labels are numbers, and mean the model's own positions
        known = tuple(adapter.classes[: len(known)]) if len(known) <= len(adapter.classes) else known
    strangers = [name for name in known if name not in adapter.classes]
    if strangers:
        raise DataError(
            f"{len(strangers)} of the {len(known)} classes of {data.name} are not among the model's: "
            f"{first_few(strangers)}. The model has {first_few(list(adapter.classes)) or 'none'}. "
            "Give the data it was trained on, or name the classes as the model does."
        )
    position = {number: adapter.classes.index(name) for number, name in enumerate(known)}
    if all(number == at for number, at in position.items()):
        return data
    splits = {name: _relabelled(pairs, position) for name, pairs in data.splits.items()}
    return replace(data, splits=splits, classes=adapter.classes)


def _relabelled(pairs: PairDataset, position: Mapping[int, int]) -> PairDataset:
    labels = [None if pair.label is None else position[pair.label] for pair in pairs]
    return PairDataset([replace(pair, label=n) for pair, n in zip(pairs, labels, strict=True)], pairs.name)
