"""What a report of a deletion must not keep: ids, subjects and captions of what was deleted."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from PIL import Image

WITHHELD = "(withheld)"


def withhold(value: object, secrets: Collection[str]) -> object:
    """The same nested mappings and lists, without the secrets: what may stand in a report's ``run``.

    A string that equals a secret, or a longer one that names it as a whole word in any case,
    has it replaced by ``(withheld)``; keys too. Numbers and the like stay.

    >>> withhold({"request": "ids of Anna", "seeds": [1, 2]}, ["anna"])
    {'request': 'ids of (withheld)', 'seeds': [1, 2]}
    """
    exact, hide = frozenset(secrets), hider(secrets)

    def walk(item: object) -> object:
        if isinstance(item, str | Path):
            return WITHHELD if str(item) in exact else hide(str(item))
        if isinstance(item, Mapping):
            kept: dict[object, object] = {}
            for key, inner in item.items():
                name = walk(key)
                kept[name if name not in kept else f"{name} {len(kept) + 1}"] = walk(inner)
            return kept
        if isinstance(item, list | tuple | set | frozenset):
            return [walk(inner) for inner in item]
        return item

    return walk(value)


def hider(secrets: Collection[str]) -> Callable[[str], str]:
    """Replaces secrets within a text; those without two letters would take plain numbers along."""
    telling = {s.strip() for s in secrets if sum(c.isalpha() for c in s) > 1}
    if not telling:
        return lambda text: text
    longest_first = sorted(telling, key=lambda s: (-len(s), s))
    words = "|".join(re.escape(s) for s in longest_first)
    pattern = re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])", re.IGNORECASE)
    return lambda text: pattern.sub(WITHHELD, text)


def content_salt(captions: Iterable[str], images: Iterable[Image.Image | None]) -> bytes:
    """32 bytes that only the holder of all these captions and pictures can compute.

    So that a report is the same each time, and yet names cannot be tried out against its hashes.
    """
    sha = hashlib.sha256()
    for caption in captions:
        sha.update(caption.encode() + b"\0")
    for image in images:
        if image is not None:
            sha.update(image.tobytes())
    return sha.digest()


def pair_name(pair_id: str, salt: bytes) -> str:
    """A name that tells pairs apart and not what they are: ``pair 3f9a2c``."""
    return f"pair {hashlib.blake2b(pair_id.encode(), key=salt, digest_size=3).hexdigest()}"
