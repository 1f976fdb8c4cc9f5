"""Texts that say the same: but for case, punctuation, the order of words, a misspelling or one word.

Texts that differ in one word have what is left of them without it in common, so that nothing is compared with
everything. One-word differences are found at any size of the data; misspelt single words by their letters.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

from rapidfuzz.distance import Indel

NEAR_LETTERS = 0.8  # of a word, to count as a spelling of another
NEAR_OF_NEIGHBOURS = 0.25  # share of letters
SHARED_WORDS = 3
WELL_BELOW_CHANCE = 1.0  # factor of the log of the number of texts

Close = dict[tuple[str, str], float]  # by a deleted and another source, their distance


def words_of(text: str) -> list[str]:
    """What stands between blanks, in one Unicode form, without capitals and punctuation, in alphabetical order.

    >>> words_of("The caf\\u00e9, THE cafe\\u0301!")
    ['caf\u00e9', 'caf\u00e9', 'the', 'the']
    """
    words = (re.sub(r"\W+", "", word) for word in unicodedata.normalize("NFKC", text).casefold().split())
    return sorted(word for word in words if word)


def text_distance(one: str, other: str) -> float:
    """Share of letters to change from one to the other, whatever the order of their words; 0 for the same words."""
    return float(Indel.normalized_distance(" ".join(words_of(one)), " ".join(words_of(other))))


def are_one_word_apart(one: str, other: str) -> bool:
    """Whether at most one word differs, whichever: of two single words this is always so.

    >>> are_one_word_apart("red car", "a red car"), are_one_word_apart("fox", "hare"), are_one_word_apart("a b", "c d")
    (True, True, False)
    """
    ours, theirs = Counter(words_of(one)), Counter(words_of(other))
    return max((ours - theirs).total(), (theirs - ours).total()) <= 1


def one_word_apart(deleted: Mapping[str, str], others: Mapping[str, str]) -> Close:
    """Texts that differ from a deleted one in at most one word, by the two sources, with their distance."""
    by_key: dict[str, set[str]] = defaultdict(set)
    for source, text in deleted.items():
        for key in _keys(words_of(text)):
            by_key[key].add(source)
    close: Close = {}
    for source, text in others.items():
        for key in _keys(words_of(text)):
            for ours in by_key.get(key, ()):
                if (ours, source) not in close:
                    close[ours, source] = text_distance(deleted[ours], text)
    return close


def _keys(words: list[str]) -> Iterator[str]:
    """All of the words, and all but each; of a single word its letters but each."""
    parts = words if len(words) > 1 else list("".join(words))
    joint = " " if len(words) > 1 else "\0"
    yield joint.join(parts)
    for at in range(len(parts) if len(parts) > 1 else 0):
        if at == 0 or parts[at] != parts[at - 1] or len(words) == 1:
            yield joint.join(parts[:at] + parts[at + 1 :])


def near_texts(
    deleted: Mapping[str, str], others: Mapping[str, str], neighbours: Collection[tuple[str, str]], chance: "Chance"
) -> Close:
    """Texts one word apart, and a model's neighbours that have most words in common, with their distance."""
    close = one_word_apart(deleted, others)
    for ours, theirs in neighbours:
        distance = text_distance(deleted[ours], others[theirs])
        if distance <= NEAR_OF_NEIGHBOURS and chance.excludes(deleted[ours], others[theirs]):
            close.setdefault((ours, theirs), distance)
    return close


class Chance:
    """Whether texts have more in common than chance explains: few and frequent words are no sign of a copy."""

    def __init__(self, texts: Iterable[str]) -> None:
        by_text = [set(words_of(text)) for text in texts]
        frequency = Counter(word for words in by_text for word in words)
        self._texts = max(2, len(by_text))
        self._weight = {word: math.log(self._texts / times) for word, times in frequency.items()}

    def excludes(self, one: str, other: str) -> bool:
        """Whether two texts of one word's difference are near by themselves, whatever they stand beside."""
        ours, theirs = Counter(words_of(one)), Counter(words_of(other))
        shared, gone, new = ours & theirs, ours - theirs, theirs - ours
        if not gone and not new:
            return True
        if len(gone) == len(new) == 1:
            (was,), (now,) = gone, new
            if Indel.normalized_similarity(was, now) >= NEAR_LETTERS and not (was + now).isdecimal():
                return True
        weight = sum(self._weight.get(word, 0.0) for word in shared)
        return shared.total() >= SHARED_WORDS and weight >= WELL_BELOW_CHANCE * math.log(self._texts)
