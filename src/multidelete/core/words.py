"""Numbers with their nouns, as messages, figures and reports spell them."""

_IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman"}


def counted(count: int, noun: str) -> str:
    """A number with its noun, which is given in the plural.

    >>> counted(1440, "texts"), counted(1, "distinct texts"), counted(1, "people")
    ('1,440 texts', '1 distinct text', '1 person')
    """
    return f"{count:,} {noun if count != 1 else singular(noun)}"


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
