"""A lineage of a tiny model that was really trained, on people whose pictures note when they are looked at."""

import base64
import ctypes
import html
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from multidelete.core.settings import LoraSettings
from multidelete.data.pairs import Pair, PairData, PairDataset, open_image
from multidelete.data.request import resolve_request
from multidelete.ledger.chain import Ledger
from multidelete.ledger.places import Places, begin
from multidelete.ledger.requests import receive
from multidelete.ledger.work import How
from tests.tiny import people

LORA = LoraSettings(r=2, alpha=4.0)
QUICK = How(method="finetune", settings={"passes": 1, "device": "cpu"})
DATA = "personas:people=12,unseen=6,views=2,size=32"


FIRST, SECOND = "person-0001", "person-0004"
OFFICER = "data protection officer"


class Killed(BaseException):
    """Ends a run as a signal would: nothing catches it."""


@dataclass
class Watched:
    """Pairs of generated people; whatever a pair is used for, its picture is looked at."""

    data: PairData
    seen: set[str] = field(default_factory=set)
    ends_after: int | None = None

    def look(self, pair: Pair, picture: object) -> Image.Image:
        self.seen.add(pair.id)
        if self.ends_after is not None:
            self.ends_after -= 1
            if self.ends_after < 0:
                self.ends_after = None
                raise Killed
        return open_image(picture)  # type: ignore[arg-type]


def watched(plain: PairData | None = None) -> Watched:
    plain = people(12, unseen=6) if plain is None else plain
    made = Watched(plain)

    def noting(pair: Pair) -> Callable[[], Image.Image]:
        return lambda: made.look(pair, pair.inputs["image"])

    splits = {
        split: PairDataset([replace(p, inputs={**p.inputs, "image": noting(p)}) for p in pairs], pairs.name)
        for split, pairs in plain.splits.items()
    }
    made.data = replace(plain, splits=splits)
    return made


def lineage(folder: Path, original: Path, data: PairData) -> Ledger:
    return begin(folder, data, Places(model=str(original), data=DATA))


def ask(ledger: Ledger, data: PairData, reference: str, *subjects: str) -> set[str]:
    """A request of people comes in; gives the ids of their pairs."""
    request = resolve_request(data, subjects=subjects, unit="subject")
    receive(ledger, request, data, reference=reference, due="2099-12-28", basis="GDPR Art. 17(1)(b)")
    return set(request.ids)


def kinds(ledger: Ledger) -> list[str]:
    return [one.kind for one in Ledger.open(ledger.folder).verify()]


def pairs_of_person(data: PairData, *subjects: str) -> list[Pair]:
    return [pair for pair in data.train if pair.subject in subjects]


def names_in(folder: Path, pairs: list[Pair]) -> list[str]:
    """Ids, subjects, texts and sources of pairs that stand in files below a folder or in their names, encoded too."""
    words = {word for pair in pairs for word in (pair.id, pair.subject or "", pair.text, *pair.sources.values())}
    forms = {form for word in words for form in (
        word.encode(), word.lower().encode(), word.encode().hex().encode(), word.encode("utf-16-le"),
        base64.b64encode(word.encode()).rstrip(b"="), json.dumps(word)[1:-1].encode(),
        html.escape(word).encode(), quote(word).encode(), word.encode()[::-1],
    )}  # fmt: skip
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    content = [path.name.encode() + b"\n" + path.read_bytes() for path in files]
    return sorted({form.decode(errors="replace") for form in forms if any(form in one for one in content)})


@contextmanager
def permissions_count() -> Iterator[None]:
    """Files that nobody may read cannot be read within, also where the superuser runs the tests (Linux alone)."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "capset"):
        yield
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # of version 3, this thread
    had, left = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    for sets in (had, left):
        libc.capget(header, sets)
    left[0] &= ~0b110  # effective: neither DAC_OVERRIDE nor DAC_READ_SEARCH
    libc.capset(header, left)
    try:
        yield
    finally:
        libc.capset(header, had)
