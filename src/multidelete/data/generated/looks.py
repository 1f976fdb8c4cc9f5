"""What invented people look like, and how their portraits differ."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

HAIR: dict[str, Colour] = {
    "black": (38, 34, 42),
    "brown": (112, 68, 40),
    "blond": (238, 203, 112),
    "red": (196, 82, 36),
    "grey": (158, 162, 170),
    "blue": (62, 104, 204),
    "pink": (238, 128, 178),
}
PAINT: dict[str, Colour] = {
    "red": (214, 64, 62),
    "orange": (242, 146, 60),
    "yellow": (248, 211, 86),
    "green": (84, 164, 98),
    "teal": (46, 152, 156),
    "blue": (72, 118, 206),
    "purple": (136, 92, 184),
    "white": (244, 242, 236),
    "black": (50, 50, 60),
}
BACKGROUNDS: dict[str, Colour] = {
    "pink": (250, 200, 210),
    "yellow": (253, 232, 160),
    "green": (190, 226, 180),
    "blue": (172, 212, 246),
    "purple": (214, 196, 240),
    "orange": (253, 205, 160),
    "grey": (206, 210, 216),
    "teal": (150, 216, 210),
}
SKIN: tuple[Colour, ...] = (
    (252, 222, 198),
    (245, 205, 174),
    (230, 182, 144),
    (208, 154, 112),
    (172, 118, 80),
    (132, 86, 58),
    (98, 64, 46),
)
IRIS: tuple[Colour, ...] = ((84, 54, 36), (62, 116, 170), (74, 132, 84), (96, 104, 116), (40, 32, 30))
HAIR_STYLES = ("short", "spiky", "curly", "bob", "long", "bun", "mohawk", "pigtails", "bald")
STYLES_UNDER_A_HAT = ("short", "curly", "bob", "long", "pigtails", "bald")
GLASSES = ("none", "round", "square", "sunglasses")
HATS = ("none", "beanie", "cap", "sun hat")
PATTERNS = ("plain", "striped", "dotted")
BEARDS = ("none", "full", "moustache", "goatee")


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Everything that is the same in all portraits of a person.

    The first block can be named in a caption; the second only recognised. Lengths are relative
    to those of an average face (1.0), angles are in radians.
    """

    hair: str
    hair_style: str
    glasses: str
    hat: str
    hat_colour: str
    clothes: str
    pattern: str
    background: str
    beard: str
    earrings: bool

    skin: int
    iris: int
    face_width: float
    face_height: float
    jaw: float
    eye_distance: float
    eye_size: float
    eye_height: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    smile: float
    brow_angle: float
    brow_weight: float
    parting: float
    forehead: float
    shoulders: float
    laughs: bool
    blushes: bool


@dataclass(frozen=True, kw_only=True)
class View:
    """What differs between portraits of one person: camera, light and gaze."""

    shift: tuple[float, float]
    zoom: float
    tilt: float
    light: tuple[float, float, float]
    tint: tuple[float, float, float]
    shade_side: int
    gaze: tuple[float, float]


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (``factor`` below 1) or lighter."""
    red, green, blue = (max(0, min(255, round(c * factor))) for c in colour)
    return red, green, blue


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """``share`` of ``other`` over ``one``."""
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def one_of(rng: np.random.Generator, choices: tuple[str, ...] | list[str]) -> str:
    """One of ``choices``, each with the same probability."""
    return choices[int(rng.integers(len(choices)))]


def _mostly_none(rng: np.random.Generator, choices: tuple[str, ...], none: float) -> str:
    """The first of ``choices`` with probability ``none``, else one of the others."""
    return choices[0] if rng.random() < none else one_of(rng, choices[1:])


def draw_looks(rng: np.random.Generator) -> Looks:
    """Invent what a person looks like."""

    def around_one(spread: float) -> float:
        return float(1 + rng.uniform(-spread, spread))

    hat = _mostly_none(rng, HATS, 0.7)
    hair = one_of(rng, list(HAIR))
    background = one_of(rng, [colour for colour in BACKGROUNDS if colour != hair])
    clothes = one_of(rng, [colour for colour in PAINT if colour != background])
    return Looks(
        hair=hair,
        hair_style=one_of(rng, HAIR_STYLES if hat == "none" else STYLES_UNDER_A_HAT),
        glasses=_mostly_none(rng, GLASSES, 0.4),
        hat=hat,
        hat_colour=one_of(rng, [colour for colour in PAINT if colour not in (hair, background)]),
        clothes=clothes,
        pattern=one_of(rng, PATTERNS),
        background=background,
        beard=_mostly_none(rng, BEARDS, 0.65),
        earrings=bool(rng.random() < 0.25),
        skin=int(rng.integers(len(SKIN))),
        iris=int(rng.integers(len(IRIS))),
        face_width=around_one(0.14),
        face_height=around_one(0.09),
        jaw=float(rng.uniform(0.02, 0.3)),
        eye_distance=around_one(0.14),
        eye_size=around_one(0.25),
        eye_height=float(rng.uniform(-1, 2)),
        nose_length=around_one(0.25),
        mouth_width=around_one(0.35),
        mouth_height=around_one(0.1),
        smile=float(rng.uniform(0.2, 1.2)),
        brow_angle=float(rng.uniform(-0.5, 0.5)),
        brow_weight=around_one(0.45),
        parting=float(rng.uniform(-0.7, 0.7)),
        forehead=float(rng.uniform(-0.06, 0.1)),
        shoulders=around_one(0.14),
        laughs=bool(rng.random() < 0.35),
        blushes=bool(rng.random() < 0.4),
    )


def draw_view(rng: np.random.Generator) -> View:
    """Invent the circumstances of one"""
    light = rng.uniform(0.92, 1.06) * rng.uniform(0.98, 1.02, size=3)
    tint = rng.uniform(0.96, 1.02) * rng.uniform(0.98, 1.02, size=3)
    x, y = rng.uniform(-0.035, 0.035, size=2)
    gaze_x, gaze_y = rng.uniform(-0.4, 0.4, size=2)
    return View(
        shift=(float(x), float(y)),
        zoom=float(rng.uniform(1.0, 1.14)),
        tilt=float(rng.uniform(-0.12, 0.12)),
        light=(float(light[0]), float(light[1]), float(light[2])),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        shade_side=1 if rng.random() < 0.5 else -1,
        gaze=(float(gaze_x), float(gaze_y)),
    )
