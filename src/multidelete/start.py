"""What training begins with, and whether a model and pairs fit each other."""

from collections.abc import Sequence
from typing import cast

from multidelete.data.pairs import PairData, PairDataset
from multidelete.errors import ConfigError, DataError, UnsupportedError, first_few
from multidelete.models import Adapter, Task, get_family, load_adapter, new_adapter, with_task
from multidelete.settings import TrainSettings


def starting_point(model: TrainSettings, data: PairData, seed: int) -> Adapter:
    """The model that training begins with: always the same for the same arguments.

    The tokenizer of a new model is trained on all training captions; a retrained model keeps it,
    as it keeps the initial weights.

    Raises:
        UserError: The family lacks the task, or pairs and model do not fit each other.
    """
    if model.start:
        adapter = load_adapter(model.start)
        if model.task not in ("auto", adapter.task):
            raise UnsupportedError(
                f"{model.start} is a model for {adapter.task}, and the task is {model.task}. "
                "Leave --task out, or start from a model with such a head."
            )
        refuse_misfit(adapter, data)
        return adapter
    task = chosen_task(model, data)
    made = new_adapter(
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
    refuse_misfit(made, data)
    return made


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


def refuse_misfit(adapter: Adapter, data: PairData) -> None:
    """Raise where a model cannot read the pairs, or where labels mean other classes than in the data.

    Raises:
        UnsupportedError: Other modalities than the model's.
        DataError: Labels are missing, or out of the range of the classes.
        ConfigError: Other classes, or the same in another order.
    """
    held = tuple(data.train[0].inputs)
    if set(held) != set(adapter.modalities):
        raise UnsupportedError(
            f"This model takes pairs of {' and '.join(adapter.modalities)}; those of {data.name} are of "
            f"{' and '.join(held)}. Give the data it was trained on."
        )
    if adapter.task != "classification":
        return
    known = classes_of(data)
    if data.classes and list(known) != list(adapter.classes):
        raise ConfigError(
            f"The classes of {data.name} are {_listed(known)}; those of the model are {_listed(adapter.classes)}. "
            "Labels are positions among them, so both must be the same, in the same order."
        )
    if len(known) > len(adapter.classes):
        raise DataError(
            f"{data.name} has the label {len(known) - 1}; the model has {len(adapter.classes)} classes, "
            f"numbered from 0: {_listed(adapter.classes)}. Give the data it was trained on."
        )


def _listed(classes: Sequence[str]) -> str:
    return first_few(list(classes)) or "none"
