"""Names of classes: what a label means, and how those of the data and of a model are matched."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from multidelete.core.errors import ConfigError, DataError, first_few
from multidelete.core.words import counted, share
from multidelete.data.pairs import PairData, PairDataset


def are_numbers(names: Sequence[str]) -> bool:
    """Whether classes are only numbered: no names, each its own position, or `transformers`' ``LABEL_0`` and so on.

    >>> are_numbers(("0", "1")), are_numbers(("LABEL_0", "LABEL_1")), are_numbers(("no", "yes")), are_numbers(("1",))
    (True, True, False, False)
    """
    return all(name in (str(at), f"LABEL_{at}") for at, name in enumerate(names))


def class_names(data: PairData) -> tuple[str, ...]:
    """Names of the data's classes; where it has none, the labels' numbers."""
    if data.classes:
        return tuple(data.classes)
    labels = [label for pairs in data.splits.values() for label in pairs.labels if label is not None]
    return tuple(str(number) for number in range(1 + max(labels, default=-1)))


def class_name(classes: Sequence[str], label: int) -> str:
    """What a class is called: its number where it has no name."""
    return classes[label] if label < len(classes) else str(label)


def with_classes(data: PairData, names: Sequence[str]) -> PairData:
    """The data with its classes called and ordered as a user says.

    Args:
        data: Pairs with labels. Numbers are positions in ``names``; names are found among them.
        names: Names of the classes, in the order of the numbers, or of a model's outputs.

    Raises:
        ConfigError: A name is empty or occurs twice.
        DataError: There are no labels, or some that are not among the names.
    """
    wrong = sorted({name for name in names if not name.strip() or names.count(name) > 1})
    if wrong:
        raise ConfigError(f"classes has empty or repeated names: {first_few([repr(name) for name in wrong])}.")
    own = class_names(data)
    if not own:
        raise DataError(f"The pairs of {data.name} have no labels, so they have no classes. Leave --classes out.")
    stated = replace(data, classes_in_order=True)
    if not are_numbers(own):
        return relabelled(stated, _by_name(data.name, own, names, "names of --classes"), names)
    if len(own) > len(names):
        raise DataError(
            f"{data.name} has labels up to {len(own) - 1}, and --classes names {len(names)}: {first_few(names)}. "
            "Name a class for each number, from 0."
        )
    return replace(stated, classes=tuple(names))


def positions(data: PairData, model: Sequence[str]) -> dict[int, int]:
    """For each label of the data the model's own position of that class.

    Classes are matched by name. Capital letters, surrounding blanks and Unicode's forms of a character may differ
    where only one class can be meant. Numbers are positions only where the model has no names either, or where its
    names are numbers themselves; names are matched with a model that has none only in an order that the user stated.

    Args:
        data: Pairs with labels.
        model: Names of the model's classes, in the order of its outputs.

    Raises:
        DataError: They cannot be matched; with both lists.
    """
    own = class_names(data)
    ours, theirs = first_few(own), first_few(model)
    numbered, unnamed = are_numbers(own), are_numbers(model)
    if (numbered and unnamed) or (unnamed and data.classes_in_order):
        if len(own) > len(model):
            raise DataError(
                f"{data.name} has {counted(len(own), 'classes')}: {ours}. The model has only {len(model)}: {theirs}. "
                "Give the data that it was trained on."
            )
        return {at: at for at in range(len(own))}
    if numbered and not all(name.isdecimal() for name in model):
        raise DataError(
            f"The labels of {data.name} are numbers: {ours}. The model's classes have names: {theirs}. "
            "Which number means which is not told: name the classes in the order of the numbers, --classes A,B,..."
        )
    if unnamed and not set(own) <= set(model):
        raise DataError(
            f"The labels of {data.name} are names: {ours}. The model's classes have none: {theirs}. "
            "Which name is which output is not told: name the classes in the order of the outputs, --classes A,B,..., "
            "or write their names into id2label of the model's config.json."
        )
    return _by_name(data.name, own, model, "model's classes")


def _by_name(data: str, own: Sequence[str], others: Sequence[str], whose: str) -> dict[int, int]:
    exact, alike = _places(others, str), _places(others, _folded)
    claims = Counter(map(_folded, own))
    matched, strangers, unclear = {}, [], []
    for at, name in enumerate(own):
        places = exact.get(name) or alike.get(_folded(name), [])
        if not places:
            strangers.append(name)
        elif len(places) > 1 or (name not in exact and claims[_folded(name)] > 1):
            unclear.append(name)
        else:
            matched[at] = places[0]
    lists = f"{data} has {first_few(own)}; the {whose} are {first_few(others) or 'none'}."
    remedy = "Give the data that the model was trained on, or name the classes as the model does."
    problems = [
        f"{share(len(names), len(own), f'classes of {data} {verb}')} {what} the {whose}: {first_few(names)}. "
        f"{lists} {remedy}"
        for names, verb, what in ((strangers, "are", "not among"), (unclear, "look", "like several of"))
        if names
    ]
    if problems:
        raise DataError(problems)
    return matched


def _places(names: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        places.setdefault(key(name), []).append(at)
    return places


def relabelled(data: PairData, position: Mapping[int, int], classes: Sequence[str]) -> PairData:
    """The data with every label at its new position among ``classes``."""
    splits = {name: _moved(pairs, position) for name, pairs in data.splits.items()}
    graph = data.graph
    if graph is not None and graph.stated_by:
        graph = replace(graph, stated_by=tuple(position[label] for label in graph.stated_by if label in position))
    return replace(data, splits=splits, classes=tuple(classes), graph=graph)


def _moved(pairs: PairDataset, position: Mapping[int, int]) -> PairDataset:
    if all(number == at for number, at in position.items()):
        return pairs
    return pairs.relabelled(position)


def _folded(name: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()
