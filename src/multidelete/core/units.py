"""What is deleted as a whole."""

from typing import Literal, get_args

Unit = Literal["pair", "image", "subject", "node"]
"""Single pairs, images (or pairs of images) with everything attached to them, or all pairs of a subject or node."""

UNITS: tuple[Unit, ...] = get_args(Unit)
