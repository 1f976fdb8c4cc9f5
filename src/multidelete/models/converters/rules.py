"""How tensors of theirs and ours are the same: names, shapes and stacks, one rule for each of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multidelete.core.errors import CheckpointError, first_few
from multidelete.core.words import counted
from multidelete.models.converters.layout import Described, Stored


@dataclass(frozen=True)
class Rule:
    """How one tensor of theirs and one or several of ours are the same.

    Attributes:
        theirs: Its name.
        ours: Our names; several where theirs is a stack of them.
        how: ``same``, ``turned`` (transposed) or the shape of ours, where theirs has as many numbers.
        shape: Theirs in that case.
    """

    theirs: str
    ours: tuple[str, ...]
    how: Literal["same", "turned"] | tuple[int, ...] = "same"
    shape: tuple[int, ...] = ()


def same(names: Mapping[str, str], *endings: str) -> list[Rule]:
    """Rules for tensors that differ in their names alone; each ending stands behind both."""
    return [Rule(theirs + end, (ours + end,)) for theirs, ours in names.items() for end in endings or ("",)]


def theirs_by(rules: Sequence[Rule], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by their names, of ours."""
    made: dict[str, Tensor] = {}
    for rule in rules:
        parts = [weights[name] for name in rule.ours]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        made[rule.theirs] = (
            whole if rule.how == "same" else whole.T if rule.how == "turned" else whole.reshape(rule.shape)
        )
    return made


def ours_by(rules: Sequence[Rule], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by our names, of theirs."""
    made: dict[str, Tensor] = {}
    for rule in rules:
        whole = tensors[rule.theirs]
        whole = whole if rule.how == "same" else whole.T if rule.how == "turned" else whole.reshape(rule.how)
        parts = (whole,) if len(rule.ours) == 1 else whole.chunk(len(rule.ours))
        made |= zip(rule.ours, parts, strict=True)
    return {name: tensor.contiguous() for name, tensor in made.items()}


def refuse_unlike(stored: Stored, wanted: Mapping[str, Tensor], described: Described, called: str) -> None:
    """Refuse a checkpoint whose tensors are not exactly those of the network, by their own names.

    Raises:
        CheckpointError: One line for what is missing, unknown, of another shape, or no floating-point weight.
    """
    path, given = stored.path, stored.tensors
    known = {*wanted, *described.constants, *described.left_out}
    problems = []
    if missing := sorted(wanted.keys() - given.keys()):
        problems.append(f"{path}: {counted(len(missing), 'tensors are')} missing: {first_few(missing)}.")
    if unknown := sorted(given.keys() - known):
        problems.append(
            f"{path}: {counted(len(unknown), 'tensors are')} unknown: {first_few(unknown)}. {called} has none of these."
        )
    both = [name for name in sorted(wanted) if name in given]
    shapes = [
        f"{name} is {list(given[name].shape)}, not {list(wanted[name].shape)}"
        for name in both
        if given[name].shape != wanted[name].shape
    ]
    if shapes:
        problems.append(f"{path}: {counted(len(shapes), 'tensors have')} another shape: {first_few(shapes)}.")
    kinds = (torch.float16, torch.bfloat16, torch.float32)
    coded = [f"{name} ({str(given[name].dtype).removeprefix('torch.')})" for name in both
             if given[name].dtype not in kinds]  # fmt: skip
    if coded:
        problems.append(
            f"{path}: {counted(len(coded), 'tensors are')} no weights in 16 or 32 bits: {first_few(coded)}. "
            "Such weights cannot be trained and written back as they came."
        )
    if problems:
        raise CheckpointError(problems)
