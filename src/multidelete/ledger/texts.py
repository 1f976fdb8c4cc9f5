"""What somebody types for the ledger to keep: a line that names nobody."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from multidelete.core.config import shown
from multidelete.data.lookalikes import plain_form
from multidelete.data.pairs import Pair

_LONGEST = 300  # characters
_TELLING = 4  # characters from which on a name inside a text is told from a word or a number


def naming(texts: Mapping[str, str], pairs: Sequence[Pair]) -> list[str]:
    """Problems with texts that name what is to be forgotten: nothing in the ledger may.

    A text must not be an id, a subject, a file or a text of the pairs, nor hold one that is longer than a short word
    or a number; capitals, blanks, hyphens and other signs between words make no difference.

    Args:
        texts: By what each is called.
        pairs: Of the request.
    """
    names = {_words(name) for pair in pairs for name in _names(pair)} - {""}
    telling = [name for name in names if len(name) >= _TELLING and re.search(r"[^\W\d_]", name)]
    problems = []
    for what, text in texts.items():
        plain = _words(text)
        if plain in names or any(f" {name} " in f" {plain} " for name in telling):
            problems.append(
                f"{what} {shown(text)} names a pair of the request, or whom or what it is about. It would stay in the "
                "ledger for good: give one that names nobody, such as the number of a ticket."
            )
    return problems


def _names(pair: Pair) -> Iterator[str]:
    yield pair.id
    if pair.subject is not None:
        yield pair.subject
    for modality, source in pair.sources.items():
        for one in (source, *source.split("|")):
            yield from (one, Path(one).name, Path(one).stem)
        value = pair.inputs.get(modality)
        if isinstance(value, str):
            yield value


def _words(text: str) -> str:
    """The words of a text, small, with single blanks between them."""
    return re.sub(r"[\W_]+", " ", plain_form(text).casefold()).strip()


def odd_text(what: str, text: str) -> list[str]:
    """Problems with a text that somebody typed."""
    if not text.strip():
        return [f"{what} is empty; it must say something."]
    if len(text) > _LONGEST or not text.isprintable():
        return [f"{what} is {shown(text)}; it must be one line of at most {_LONGEST} characters."]
    return []
