"""Sources of the members of a pair where nobody states them: made from their content."""

from pathlib import Path

from PIL import Image

from multidelete.core.errors import DataError
from multidelete.core.words import indefinite
from multidelete.data.decode import ImageError, open_image
from multidelete.data.picture_digests import input_digest


def text_source(text: str) -> str:
    """Source key of a text: lower case, single spaces, so that duplicates are recognised.

    >>> text_source("  A dog\\n RUNS ")
    'a dog runs'
    """
    return " ".join(text.lower().split())


def picture_digest(image: bytes | Image.Image) -> str:
    """SHA-256, in hexadecimal, of encoded bytes, or of the pixels that a model sees of a picture in memory.

    Raises:
        ImageError: The picture in memory cannot be brought to RGB.
    """
    return input_digest(image if isinstance(image, bytes) else open_image(image), "image")


def stored_source(digest: str) -> str:
    """Source key of a picture that is no file, by its digest."""
    return f"sha256:{digest[:32]}"


def content_source(pair: str, modality: str, content: object) -> str:
    """The source of an input that has none, as readers make it.

    That of a picture's file is its path, of other pictures a hash of their content, of a text `text_source`, and of a
    graph's nodes their names. Sources of two pictures are joined by ``|``.

    Args:
        pair: The pair's id, for messages.
        modality: What the input is for.
        content: The input.

    Raises:
        DataError: The content does not tell it: of a function that makes a picture, of a broken picture, or of an
            input of a wrong type.

    >>> content_source("1", "image", ("a.png", "b.png")), content_source("1", "text", "A  dog")
    ('a.png|b.png', 'a dog')
    """
    match content:
        case tuple() if content and modality == "image":
            return "|".join(content_source(pair, modality, member) for member in content)
        case tuple() if content and all(isinstance(name, str) for name in content):
            return "|".join(content)
        case str() | Path() if modality == "image":
            return Path(content).as_posix()
        case bytes() | Image.Image() if modality == "image":
            try:
                return stored_source(picture_digest(content))
            except ImageError as error:
                raise DataError(f"The picture of pair {pair!r} cannot be read: {error}. Give another.") from error
        case str():
            return text_source(content)
    raise DataError(
        f"The {modality} of pair {pair!r} is {indefinite(type(content).__name__)}, which tells no source. Give "
        f"sources={{{modality!r}: ...}}, a name that pairs with the same {modality} share."
    )
