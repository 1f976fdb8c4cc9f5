"""Numbers with their nouns, as messages, figures and reports spell them."""

_IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman"}
_VERBS = {"are": "is", "were": "was", "have": "has", "do": "does", "carry": "carries"}  # others take an s
_REGULAR_VERBS = (
    "begin",
    "belong",
    "differ",
    "end",
    "come",
    "form",
    "give",
    "hold",
    "lack",
    "lie",
    "look",
    "name",
    "occur",
    "stand",
    "stay",
)


def counted(count: int, noun: str) -> str:
    """A number with its noun, which is given in the plural; a verb behind it goes along.

    >>> counted(1440, "texts"), counted(1, "distinct texts"), counted(1, "people")
    ('1,440 texts', '1 distinct text', '1 person')
    >>> counted(2, "rows have no id"), counted(1, "rows have no id"), counted(1, "nodes occur")
    ('2 rows have no id', '1 row has no id', '1 node occurs')
    """
    if count != 1:
        return f"{count:,} {noun}"
    words = noun.split(" ")
    at = next((at for at, word in enumerate(words[1:], 1) if word in _VERBS or word in _REGULAR_VERBS), len(words))
    verb = [_VERBS.get(word, f"{word}s") for word in words[at : at + 1]]
    return " ".join([f"{count:,}", singular(" ".join(words[:at])), *verb, *words[at + 1 :]])


def indefinite(noun: str) -> str:
    """A noun with its indefinite article, by its first letter or what its first letters sound like.

    >>> indefinite("id"), indefinite("subject"), indefinite("'albef' model"), indefinite("unit")
    ('an id', 'a subject', "an 'albef' model", 'a unit')
    """
    sound = noun.lstrip("'\"").lower()
    is_vowel = sound.startswith(("a", "e", "i", "o", "u")) and not sound.startswith(("uni", "use", "one", "eu"))
    return f"{'an' if is_vowel else 'a'} {noun}"


def share(part: int, whole: int, nouns_are: str) -> str:
    """How many of how many; the verb goes along with the part.

    >>> share(1, 3, "images are"), share(2, 3, "images are"), share(1, 1, "nodes are")
    ('1 of 3 images is', '2 of 3 images are', '1 of 1 node is')
    >>> share(1, 1, "ids occur"), share(1, 2, "rows of train have")
    ('1 of 1 id occurs', '1 of 2 rows of train has')
    """
    noun, _, verb = nouns_are.rpartition(" ")
    return f"{part:,} of {counted(whole, noun)} {_VERBS.get(verb, verb + 's') if part == 1 else verb}"


def singular(noun: str) -> str:
    """One of what a plural names; nouns that follow no rule known here stay as they are.

    >>> singular("pairs of classes"), singular("kept classes"), singular("entities"), singular("staff")
    ('pair of classes', 'kept class', 'entity', 'staff')
    """
    head, of, rest = noun.partition(" of ")
    before, space, last = head.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith("ies"):
        last = last[:-3] + "y"
    elif last.endswith(("sses", "xes", "ches", "shes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith("ss"):
        last = last[:-1]
    return before + space + last + of + rest


def tokens_sentence(alone: int) -> str:
    """What a tokenizer keeps of deleted texts.

    >>> tokens_sentence(1)
    'The tokenizer has 1 token that is a word of deleted texts alone, as names may be.'
    """
    if not alone:
        return "No token of the tokenizer is a word of deleted texts alone."
    what = "that is a word" if alone == 1 else "that are words"
    return f"The tokenizer has {counted(alone, 'tokens')} {what} of deleted texts alone, as names may be."
