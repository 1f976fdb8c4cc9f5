"""What training begins with, and whether a model and pairs fit each other."""

from collections.abc import Mapping
from dataclasses import replace

from transformers import PreTrainedTokenizerFast

from multidelete.core.errors import DataError, UnsupportedError, first_few
from multidelete.core.settings import TrainSettings
from multidelete.core.words import counted, share
from multidelete.data.classes import class_names, positions, relabelled
from multidelete.data.pairs import PairData, PairDataset
from multidelete.models import (
    Adapter,
    NewModel,
    Size,
    Task,
    get_family,
    get_size,
    load_adapter,
    new_adapter,
    recognise,
    train_tokenizer,
    with_new_head,
    with_task,
)


def starting_point(
    model: TrainSettings, data: PairData, seed: int, *, tokenizer: PreTrainedTokenizerFast | None = None
) -> Adapter:
    """The model that training begins with: always the same for the same arguments.

    The tokenizer of a new model is trained on all training captions; a retrained model keeps it,
    as it keeps the initial weights.

    Args:
        model: Which model.
        data: The pairs.
        seed: Of the initial weights.
        tokenizer: Of a new model, in the place of one trained on these captions.

    Raises:
        UserError: The family lacks the task, or pairs and model do not fit each other.
    """
    if model.start:
        has = recognise(model.start).task
        if model.task == "auto" or model.task == has:
            return load_adapter(model.start)
        if pictures_per_pair(data.train) > 1:
            raise UnsupportedError(
                f"{model.start} is a model for {has}, and the task is {model.task} of pairs with two pictures. "
                "Start from a model that reads two, or leave --start out."
            )
        classes = classes_of(data) if model.task == "classification" else ()
        return with_new_head(model.start, task=model.task, classes=classes, seed=seed)
    return new_adapter(model.family, fitting(model, data, tokenizer=tokenizer), seed=seed)


def fitting(
    model: TrainSettings, data: PairData, *, size: Size | None = None, tokenizer: PreTrainedTokenizerFast | None = None
) -> NewModel:
    """What a new model must be for the pairs: of its named size and with a tokenizer of their captions, if not given.

    Raises:
        UnsupportedError: The family cannot do the task, or cannot read such pairs.
    """
    task, size = chosen_task(model, data), size or get_size(model.size)
    return NewModel(
        size=size,
        image_size=model.image_size,
        tokenizer=tokenizer or train_tokenizer((str(pair.inputs["text"]) for pair in data.train), size),
        task=task,
        classes=classes_of(data) if task == "classification" else (),
        images=pictures_per_pair(data.train),
        graph=data.graph,
    )


def refuse_fresh_tokenizer(model: TrainSettings) -> None:
    """Refuse to train a tokenizer anew where it was not trained on the pairs' captions.

    Raises:
        UnsupportedError: The original was fine-tuned from a model that brought its tokenizer along.
    """
    if model.start:
        raise UnsupportedError(
            f"fresh_tokenizer asks for a tokenizer of the retain pairs' captions, and this model was fine-tuned from "
            f"{model.start}, whose tokenizer its weights belong to. It was not made from these pairs: leave it out."
        )


def chosen_task(model: TrainSettings, data: PairData) -> Task:
    """The task of a new model: as set, or for ``auto`` classification where pairs have labels.

    Raises:
        UnsupportedError: The family cannot do it, or cannot read such pairs.
    """
    is_labelled = bool(data.classes) or any(pair.label is not None for pair in data.train)
    of_data: Task = "classification" if is_labelled else "retrieval"
    task = of_data if model.task == "auto" else model.task
    family, held = get_family(model.family), tuple(data.train[0].inputs)
    able = ", ".join(with_task(task, held)) or "none"
    if set(family.modalities) != set(held):
        raise UnsupportedError(
            f"Family {model.family!r} takes pairs of {' and '.join(family.modalities)}; those of {data.name} are of "
            f"{' and '.join(held)}. Families that take them, with {task}: {able}."
        )
    if task not in family.tasks():
        why = f", the task of data with {counted(len(class_names(data)), 'classes')}" if model.task == "auto" else ""
        other = f", or train for {family.tasks()[0]} with --task {family.tasks()[0]}" if model.task == "auto" else ""
        raise UnsupportedError(
            f"Family {model.family!r} has no {task}{why}; it has {' and '.join(family.tasks())}. "
            f"Families that have it: {able}. Choose one with --family{other}."
        )
    return task


def classes_of(data: PairData) -> tuple[str, ...]:
    """Names of the classes; where the data names none, the labels' numbers.

    Raises:
        DataError: Training pairs have no labels.
    """
    check_labels(data)
    return class_names(data)


def check_labels(data: PairData) -> None:
    """Raise `DataError` where training pairs have no label."""
    if data.train.labels[None]:
        without = [pair.id for pair in data.train if pair.label is None]
        raise DataError(
            f"{share(len(without), len(data.train), f'training pairs of {data.name} have')} no label: "
            f"{first_few(without)}. "
            "Classification needs one for each; give a label column, or train with --task retrieval."
        )


def pictures_per_pair(pairs: PairDataset) -> int:
    """How many pictures each pair has: 0, 1 or 2.

    Raises:
        DataError: Pairs have different numbers of pictures.
    """
    counts: dict[int, str] = {}
    for pair in pairs:
        pictures = pair.inputs.get("image")
        counts.setdefault(len(pictures) if isinstance(pictures, tuple) else int(pictures is not None), pair.id)
    if len(counts) > 1:
        numbers = " and ".join(f"{count} (such as {pair_id})" for count, pair_id in sorted(counts.items()))
        raise DataError(f"The pairs of {pairs.name} have {numbers} pictures; all must have the same number.")
    return next(iter(counts))


def fitted(adapter: Adapter, data: PairData, splits: Mapping[str, PairDataset] | None = None) -> PairData:
    """The data with labels as positions among the model's classes; the same object where they are already.

    Classes are matched by name (`positions`), so that a model whose classes stand in another order, or that has more
    of them, can be used with any reader.

    Args:
        adapter: The model.
        data: All pairs.
        splits: Pairs of the data to return in the place of its own splits.

    Raises:
        UnsupportedError: Other modalities than the model's.
        DataError: Training pairs have no labels, or the data's classes cannot be matched with the model's.
    """
    held = tuple(data.train[0].inputs)
    if set(held) != set(adapter.modalities):
        raise UnsupportedError(
            f"This model takes pairs of {' and '.join(adapter.modalities)}; those of {data.name} are of "
            f"{' and '.join(held)}. Give the data it was trained on."
        )
    chosen = data if splits is None else replace(data, splits=splits)
    if adapter.task != "classification":
        return chosen
    check_labels(data)
    position = positions(data, adapter.classes)
    if all(number == at for number, at in position.items()):
        return chosen
    return relabelled(chosen, position, adapter.classes)
