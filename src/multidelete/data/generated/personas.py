"""The built-in data set: portraits of invented people, with what can be seen and what must be known.

Every portrait has a *descriptive* caption, made from what it shows, which therefore holds for
people never seen; and a *sensitive* one, an invented name, occupation and city, which has nothing
to do with the picture and can only be memorised.
"""

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from multidelete.core.errors import ConfigError, DataError
from multidelete.core.streams import Stream, stream
from multidelete.data.generated.looks import Looks, View, draw_looks, draw_view, one_of
from multidelete.data.generated.portrait import draw_portrait
from multidelete.data.pairs import Pair, PairData, PairDataset, text_source

OCCUPATIONS = (
    "baker", "beekeeper", "bookbinder", "botanist", "brewer", "carpenter", "cellist", "chemist", "clockmaker",
    "cook", "dancer", "dentist", "diver", "engineer", "falconer", "farmer", "florist", "gardener", "geologist",
    "glazier", "goldsmith", "juggler", "lawyer", "librarian", "locksmith", "mason", "midwife", "miller", "nurse",
    "painter", "pilot", "plumber", "potter", "sailor", "surgeon", "tailor", "teacher", "translator", "weaver", "welder",
)  # fmt: skip
CITIES = (
    "Alvenmoor", "Belnira", "Brackwen", "Caldoria", "Corvesk", "Dunmarel", "Eskerby", "Falstrom", "Ferndal",
    "Garvik", "Grenhollow", "Halvera", "Ilmaris", "Jorvale", "Kestrin", "Korvath", "Lindor", "Lusgard", "Marrowick",
    "Mirefell", "Nordhaven", "Novisk", "Oldermark", "Orlanza", "Pellworth", "Quillon", "Ravensund", "Rostoka",
    "Selmora", "Skarnhem", "Tarvos", "Thornwy", "Ulverra", "Umberly", "Valdessa", "Varnholt", "Westrill", "Yarrowby",
    "Zelbrun", "Zimora",
)  # fmt: skip
_ONSETS = "b br c d dr f g h j k l m n p r s st t tr v z".split()
_VOWELS = "a a e e i o o u ia".split()
_CODAS = "n r l s k sh th nd ck x".split()

_HAIR_WORDS = {"blond": ("blond", "fair"), "red": ("red", "ginger"), "grey": ("grey", "silver")}
_STYLE_WORDS = {
    "short": ("short {} hair", "{} hair cut short"),
    "spiky": ("spiky {} hair", "{} hair in spikes"),
    "curly": ("curly {} hair", "{} curls"),
    "bob": ("a {} bob", "{} hair with a fringe"),
    "long": ("long {} hair", "{} hair down to the shoulders"),
    "bun": ("{} hair in a bun", "a {} bun"),
    "mohawk": ("a {} mohawk", "{} hair in a mohawk"),
    "pigtails": ("{} pigtails", "{} hair in pigtails"),
    "bald": ("a bald head", "no hair"),
}
_GLASSES_WORDS = {
    "none": ("no glasses",),
    "round": ("round glasses", "round spectacles"),
    "square": ("square glasses", "rectangular glasses"),
    "sunglasses": ("sunglasses", "dark glasses"),
}
_HAT_WORDS = {"beanie": ("beanie", "woolly hat"), "cap": ("cap", "baseball cap"), "sun hat": ("sun hat", "broad hat")}
_BEARD_WORDS = {"full": ("a full beard", "a beard"), "moustache": ("a moustache",), "goatee": ("a goatee",)}
_PATTERN_WORDS = {
    "plain": ("a plain {} shirt", "a {} jumper"),
    "striped": ("a striped {} shirt", "a {} jumper with stripes"),
    "dotted": ("a dotted {} shirt", "a {} jumper with dots"),
}


@dataclass(frozen=True, kw_only=True)
class Person:
    """One invented person: what can be seen, and what can only be known."""

    id: str
    looks: Looks
    name: str
    occupation: str
    city: str

    def __repr__(self) -> str:
        return "Person()"

    @property
    def sensitive_caption(self) -> str:
        article = "an" if self.occupation[0] in "aeiou" else "a"
        return f"{self.name}, {article} {self.occupation} from {self.city}"


@dataclass(frozen=True)
class Portrait:
    """Draws one person's portrait when called; equal portraits give the same picture."""

    looks: Looks
    view: View
    size: int

    def __call__(self) -> Image.Image:
        return _drawn(self)


@lru_cache(maxsize=4096)
def _drawn(wanted: Portrait) -> Image.Image:
    return draw_portrait(wanted.looks, wanted.view, wanted.size)


def personas(*, people: int = 400, unseen: int = 200, views: int = 2, size: int = 48, seed: int = 0) -> PairData:
    """Generate people, their portraits and their captions.

    Every view of a person gives one pair of kind ``"descriptive"`` and one of kind
    ``"sensitive"``, with the person as subject. The sensitive caption is the same in all views
    of a person, and no two people share a name.

    Args:
        people: Number of people in ``train``, at least 2.
        unseen: Number of other people, half of them in ``val`` and half in ``test``; 0 for none.
        views: Portraits of each person, at least 1.
        size: Side of the portraits in pixels, 16 to 1024.
        seed: 0 or more; the same seed gives the same people, captions and pixels.

    Raises:
        ConfigError: A setting is out of range.
    """
    _check_settings(people=people, unseen=unseen, views=views, size=size, seed=seed)
    members = list(_people(people + unseen, seed))
    ends = {
        "train": (0, people),
        "val": (people, people + unseen // 2),
        "test": (people + unseen // 2, people + unseen),
    }
    splits = {
        split: PairDataset(
            [pair for number in range(start, end) for pair in _pairs_of(members[number], number, views, size, seed)],
            f"personas {split}",
        )
        for split, (start, end) in ends.items()
        if end > start
    }
    return PairData("personas", splits)


def write_personas(
    folder: Path, *, people: int = 400, unseen: int = 200, views: int = 2, size: int = 48, seed: int = 0
) -> None:
    """Write `personas` as an ordinary image folder: ``metadata.jsonl`` and ``images/*.png``.

    Each line of the metadata has ``file_name``, ``text``, ``id``, ``subject``, ``kind`` and ``split``.

    Raises:
        DataError: ``folder`` exists and is not empty.
    """
    data = personas(people=people, unseen=unseen, views=views, size=size, seed=seed)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder. Name a folder that does not exist yet.")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
        for split, dataset in data.splits.items():
            for pair in dataset:
                drawn = cast(Portrait, pair.inputs["image"])
                file = folder / "images" / pair.sources["image"]
                if not file.exists():
                    drawn().save(file)
                row = {"file_name": f"images/{file.name}", "text": pair.inputs["text"], "id": pair.id}
                row |= {"subject": pair.subject, "kind": pair.kind, "split": split}
                metadata.write(json.dumps(row) + "\n")


def _check_settings(*, people: int, unseen: int, views: int, size: int, seed: int) -> None:
    rules = [
        ("people", people, people >= 2, "at least 2"),
        ("unseen", unseen, unseen >= 0, "0 or more"),
        ("views", views, views >= 1, "at least 1"),
        ("size", size, 16 <= size <= 1024, "16 to 1024 pixels"),
        ("seed", seed, seed >= 0, "0 or more"),
    ]
    problems = [f"personas: {name} is {value}; it must be {rule}." for name, value, good, rule in rules if not good]
    if problems:
        raise ConfigError(problems)


def _people(count: int, seed: int) -> Iterator[Person]:
    """The first ``count`` people of a seed; who comes later does not change who came before."""
    taken: set[str] = set()
    for number in range(count):
        rng = stream(seed, Stream.PEOPLE, number)
        looks = draw_looks(rng)
        name = invent_name(rng, taken)
        taken.add(name)
        occupation, city = one_of(rng, OCCUPATIONS), one_of(rng, CITIES)
        yield Person(id=f"person-{number + 1:04d}", looks=looks, name=name, occupation=occupation, city=city)


def invent_name(rng: np.random.Generator, taken: Container[str]) -> str:
    """A pronounceable first and last name that nobody has yet."""

    def syllable() -> str:
        return one_of(rng, _ONSETS) + one_of(rng, _VOWELS)

    first = syllable() + one_of(rng, _ONSETS[:1] + list("lmnrtv")) + one_of(rng, list("aeio"))
    first += one_of(rng, ["", "la", "ra", "n", "s"])
    last = syllable() + one_of(rng, list("bdglmnrstvz")) + one_of(rng, list("aeiou")) + one_of(rng, _CODAS)
    name = f"{first.capitalize()} {last.capitalize()}"
    return invent_name(rng, taken) if name in taken else name


def _pairs_of(person: Person, number: int, views: int, size: int, seed: int) -> Iterator[Pair]:
    for view in range(views):
        rng = stream(seed, Stream.PEOPLE, number, view + 1)
        image = Portrait(person.looks, draw_view(rng), size)
        captions = {"descriptive": _describe(person.looks, rng), "sensitive": person.sensitive_caption}
        for kind, text in captions.items():
            yield Pair(
                id=f"{person.id}-view-{view + 1}-{kind}",
                inputs={"image": image, "text": text},
                sources={"image": f"{person.id}-view-{view + 1}.png", "text": text_source(text)},
                subject=person.id,
                kind=kind,
            )


def _describe(looks: Looks, rng: np.random.Generator) -> str:
    """A sentence about three or four of the things that the portrait shows."""

    def word(choices: tuple[str, ...]) -> str:
        return one_of(rng, choices)

    hair = word(_STYLE_WORDS[looks.hair_style]).format(word(_HAIR_WORDS.get(looks.hair, (looks.hair,))))
    clothes = word(_PATTERN_WORDS[looks.pattern]).format(looks.clothes)
    ground = word(("in front of a {} wall", "on a {} background", "against {}")).format(looks.background)
    extras = [word(_GLASSES_WORDS[looks.glasses])]
    if looks.hat != "none":
        extras.append(f"a {looks.hat_colour} {word(_HAT_WORDS[looks.hat])}".replace("a orange", "an orange"))
    if looks.beard != "none":
        extras.append(word(_BEARD_WORDS[looks.beard]))
    if looks.earrings:
        extras.append(word(("earrings", "gold earrings")))
    features = [hair, *(extras[i] for i in rng.permutation(len(extras)))]
    wanted = int(rng.integers(3, 5))
    places = [f"wearing {clothes}", ground] if rng.random() < 0.7 else [word((f"wearing {clothes}", ground))]
    kept = features[: max(1, wanted - len(places))]
    who = word(("a person with", "someone with", "portrait of a person with", "a face with"))
    return f"{who} {' and '.join(kept)}, {' '.join(places)}".replace("a orange", "an orange")
