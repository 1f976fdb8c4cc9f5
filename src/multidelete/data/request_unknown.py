"""What a request names and no training pair has, with the names there that may be meant."""

from collections.abc import Iterable, Sequence

from rapidfuzz import fuzz, process

from multidelete.core.errors import first_few
from multidelete.core.words import share
from multidelete.data.lookalikes import loose_form
from multidelete.data.pairs import PairData
from multidelete.data.tables.suspicion import number_form

_SHOWN = 5
_NEAR = 80.0
"""From what likeness on, in percent, a name is near to another."""


def unknown_names(data: PairData, what: str, unknown: Sequence[str], named: int) -> str:
    """The problem with names that no training pair has.

    Args:
        data: The pairs.
        what: The sort of the names: id, subject, image or node.
        unknown: The names.
        named: How many names of the sort the request has.
    """
    known = data.train.names(what, unknown)
    if not known:
        return f"The training pairs of {data.name} have no {what}s; name pairs by id, or map a column to {what}."
    by_form: dict[str, dict[str, None]] = {}
    for name in known:
        for spelt in (name, name.rsplit("/", 1)[-1]) if what == "image" else (name,):
            by_form.setdefault(loose_form(spelt), {})[name] = None
    alike = {name: list(by_form[form]) for name in unknown if (form := loose_form(name)) in by_form}
    near = {name: _nearest(name, by_form) for name in unknown[:_SHOWN] if name not in alike}
    near = {name: names for name, names in near.items() if names}
    told = [f"{share(len(unknown), named, f'{what}s are')} not among the training pairs of {data.name}"]
    told[0] += f": {first_few([name if name.isprintable() else ascii(name) for name in unknown])}."
    if alike:
        told.append(
            "Some differ from known ones only in blanks, capital letters, the Unicode form of a character or the "
            f"spelling of a number: {_each(alike)}. Which one is meant must be said: write it as the data does."
        )
    if all(len(names) == 1 for names in near.values()) and near:
        told.append(f"Did you mean {first_few(list(dict.fromkeys(name for (name,) in near.values())))}?")
    elif near:
        told.append(f"Did you mean another? {_each(near)}. Which one is meant must be said.")
    if not alike and not near:
        told.append(f"For example, {what}s look like {known[0]} there.")
    return " ".join(told)


def _nearest(name: str, by_form: dict[str, dict[str, None]]) -> list[str]:
    """The known names that are nearest to one; none where it is a number, of which another digit is another one."""
    form = loose_form(name)
    if number_form(form) is not None:
        return []
    found = process.extract(form, list(by_form), scorer=fuzz.ratio, score_cutoff=_NEAR, limit=None)
    return list(dict.fromkeys(one for near, score, _ in found if score == found[0][1] for one in by_form[near]))


def _each(candidates: dict[str, list[str]]) -> str:
    """For each name those that may be meant."""
    return first_few([f"{name!a} may be {_either(names)}" for name, names in candidates.items()], _SHOWN)


def _either(names: Iterable[str]) -> str:
    every = [ascii(name) for name in names]
    shown = " or ".join(every[:_SHOWN])
    return shown if len(every) <= _SHOWN else f"{shown} or one of {len(every) - _SHOWN} more"
