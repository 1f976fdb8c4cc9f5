"""Paths for `datasets`, which reads patterns, variables and addresses into what it is given."""

import glob
import hashlib
from contextlib import suppress
from pathlib import Path

from datasets import config

_READ_INTO = ("::", "$")  # a chain of addresses, a variable of the environment


def literal(path: Path, *, is_pattern: bool) -> str:
    """The path in a form that `datasets` takes for this file or folder alone.

    Names that no form of writing protects are reached by a link, always the same one, in its cache.

    Args:
        path: A file or folder.
        is_pattern: Whether it is read as a pattern (``data_files``).
    """
    written = str(path.absolute())
    if any(mark in written for mark in _READ_INTO):
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in path.name)
        link = Path(config.HF_DATASETS_CACHE, "links", hashlib.sha256(written.encode()).hexdigest()[:20], name)
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(written)
        written = str(link)
    return glob.escape(written) if is_pattern else written
