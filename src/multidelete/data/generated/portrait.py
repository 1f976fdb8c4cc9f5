"""Flat-design portraits of invented people, drawn from what is written down about them.

Lengths are fractions of the picture's side, x to the right and y down. N points of an outline.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from multidelete.data.generated.looks import BACKGROUNDS, HAIR, IRIS, PAINT, SKIN, Colour, Looks, View, blend, shade

Points = NDArray[np.float64]

SUPERSAMPLING = 4

_TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)


@dataclass
class _Canvas:
    """Draws outlines given in fractions of the side, moved as the view says."""

    draw: ImageDraw.ImageDraw
    side: int
    view: View
    tilt: float = field(default=0.0)  # radians, around the neck

    def _place(self, points_N2: Points) -> list[float]:
        neck = np.array([0.5, 0.72])
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        turned = (points_N2 - neck) @ np.array([[cos, sin], [-sin, cos]]) + neck
        moved = (turned - (0.5, 0.6)) * self.view.zoom + (0.5, 0.62) + np.asarray(self.view.shift)
        flat: list[float] = (moved * self.side).ravel().tolist()
        return flat

    def _lit(self, colour: Colour) -> Colour:
        red, green, blue = (min(255, round(c * factor)) for c, factor in zip(colour, self.view.light, strict=True))
        return red, green, blue

    def fill(self, points_N2: Points, colour: Colour) -> None:
        self.draw.polygon(self._place(points_N2), fill=self._lit(colour))

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        self.fill(_oval(x, y, rx, ry), colour)

    def stroke(self, points_N2: Points, width: float, colour: Colour) -> None:
        thick = max(1, round(width * self.view.zoom * self.side))
        flat = self._place(points_N2)
        lit = self._lit(colour)
        self.draw.line(flat, fill=lit, width=thick, joint="curve")
        for x, y in (flat[:2], flat[-2:]):  # round ends
            self.draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=lit)


def _oval(x: float, y: float, rx: float, ry: float, turn: Points = _TURN) -> Points:
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def _box(x: float, y: float, rx: float, ry: float, roundness: float = 4.0) -> Points:
    """A rounded rectangle (superellipse)."""
    cos, sin = np.cos(_TURN), np.sin(_TURN)
    power = 2 / roundness
    return np.stack(
        [x + rx * np.sign(cos) * np.abs(cos) ** power, y + ry * np.sign(sin) * np.abs(sin) ** power], axis=1
    )


@dataclass(frozen=True)
class _Face:
    """Measures of the head, from the looks."""

    x: float
    y: float
    rx: float
    ry: float
    jaw: float
    eye_x: float  # distance of each eye from the middle
    eye_y: float

    def outline(self, turn: Points = _TURN, scale: float = 1.0) -> Points:
        cos, sin = np.cos(turn), np.sin(turn)
        narrowing = 1 - self.jaw * np.clip(sin, 0, None) ** 2
        across = np.sign(cos) * np.abs(cos) ** 0.9 * narrowing
        return np.stack([self.x + self.rx * scale * across, self.y + self.ry * scale * sin], axis=1)


def draw_portrait(looks: Looks, view: View, size: int) -> Image.Image:
    """Draw one RGB portrait of ``size`` x ``size`` pixels."""
    side = size * SUPERSAMPLING
    ground = BACKGROUNDS[looks.background]
    red, green, blue = (min(255, round(c * t)) for c, t in zip(ground, view.tint, strict=True))
    image = Image.new("RGB", (side, side), (red, green, blue))
    canvas = _Canvas(ImageDraw.Draw(image), side, view)
    canvas.draw.ellipse([side * f for f in (0.06, 0.04, 0.94, 0.92)], fill=shade((red, green, blue), 1.06))
    face = _Face(
        x=0.5,
        y=0.45,
        rx=0.192 * looks.face_width,
        ry=0.235 * looks.face_height,
        jaw=looks.jaw,
        eye_x=0.079 * looks.eye_distance,
        eye_y=0.45 - 0.012 * looks.eye_height,
    )
    canvas.tilt = view.tilt
    _hair_behind(canvas, looks, face)
    canvas.tilt = 0.0
    _clothes(canvas, looks)
    canvas.tilt = view.tilt
    _head(canvas, looks, face)
    _features(canvas, looks, face)
    _hair_before(canvas, looks, face)
    _hat(canvas, looks, face)
    _glasses(canvas, looks, face)
    return image.reduce(SUPERSAMPLING)


def _hair_behind(canvas: _Canvas, looks: Looks, face: _Face) -> None:
    colour = shade(HAIR[looks.hair], 0.82)
    x, y, rx, ry = face.x, face.y, face.rx, face.ry
    match looks.hair_style:
        case "curly":
            for angle in np.linspace(0.88 * np.pi, 2.12 * np.pi, 13):
                canvas.oval(x + 1.16 * rx * np.cos(angle), y - 0.08 + 1.0 * ry * np.sin(angle), 0.085, 0.085, colour)
            canvas.oval(x, y - 0.08, 1.2 * rx, ry, colour)
        case "bob":
            canvas.fill(_box(x, y + 0.02, 1.26 * rx, 1.08 * ry, 3.2), colour)
        case "long":
            canvas.fill(_box(x, y + 0.16, 1.28 * rx, 1.08 * ry + 0.16, 3.4), colour)
        case "pigtails":
            for sign in (-1, 1):
                canvas.oval(x + sign * (rx + 0.085), y + 0.06, 0.075, 0.16, colour)
                canvas.oval(x + sign * (rx + 0.035), y - 0.05, 0.035, 0.035, PAINT["red"])
        case "bun":
            canvas.oval(x, y - ry - 0.065, 0.1, 0.09, colour)


def _clothes(canvas: _Canvas, looks: Looks) -> None:
    skin, colour = SKIN[looks.skin], PAINT[looks.clothes]
    second = PAINT["black"] if looks.clothes in ("white", "yellow") else PAINT["white"]
    rx, ry, y, power = 0.35 * looks.shoulders, 0.31, 1.055, 2.6
    canvas.fill(_box(0.5, y, rx, ry, power), colour)
    if looks.pattern == "striped":
        for top in np.arange(0.80, 1.05, 0.09):
            edges = np.array([top, top + 0.04])
            half = rx * (1 - (np.abs(edges - y) / ry) ** power) ** (1 / power)
            left, right = np.stack([0.5 - half, edges], 1), np.stack([0.5 + half, edges], 1)
            canvas.fill(np.concatenate([left, right[::-1]]), second)
    if looks.pattern == "dotted":
        for row, dot_y in enumerate((0.815, 0.895, 0.975)):
            for dot_x in np.arange(-4, 5) * 0.105 + (row % 2) * 0.0525:
                if (abs(dot_x) / (rx - 0.03)) ** power + (abs(dot_y - y) / (ry - 0.03)) ** power < 1:
                    canvas.oval(0.5 + dot_x, dot_y, 0.024, 0.024, second)
    canvas.oval(0.5, 0.765, 0.105, 0.065, shade(colour, 0.8))  # collar
    canvas.oval(0.5, 0.75, 0.083, 0.06, shade(skin, 0.86))
    canvas.fill(_box(0.5, 0.67, 0.075, 0.1), shade(skin, 0.86))  # neck, in the head's shadow


def _head(canvas: _Canvas, looks: Looks, face: _Face) -> None:
    skin = SKIN[looks.skin]
    for sign in (-1, 1):
        canvas.oval(face.x + sign * face.rx * 1.0, face.y + 0.03, 0.036, 0.05, shade(skin, 0.93))
        if looks.earrings:
            canvas.oval(face.x + sign * (face.rx + 0.018), face.y + 0.1, 0.026, 0.03, (250, 200, 40))
            canvas.oval(face.x + sign * (face.rx + 0.018), face.y + 0.1, 0.011, 0.013, (255, 240, 170))
    canvas.fill(face.outline(), skin)
    half = np.linspace(-np.pi / 2, np.pi / 2, 24)
    rim, inner = face.outline(half), face.outline(half)
    inner[:, 0] = face.x + (inner[:, 0] - face.x) * 0.74
    crescent = np.concatenate([rim, inner[::-1]])
    crescent[:, 0] = face.x + canvas.view.shade_side * (crescent[:, 0] - face.x)
    canvas.fill(crescent, shade(skin, 0.94))


def _features(canvas: _Canvas, looks: Looks, face: _Face) -> None:
    skin, hair = SKIN[looks.skin], HAIR[looks.hair]
    mouth_y = face.y + 0.122 * looks.mouth_height * looks.face_height
    if looks.blushes:
        for sign in (-1, 1):
            canvas.oval(face.x + sign * 0.115, face.y + 0.075, 0.036, 0.025, blend(skin, (236, 96, 96), 0.35))
    _beard(canvas, looks, face, mouth_y)
    nose_y = face.y + 0.055 * looks.nose_length
    canvas.stroke(_oval(face.x, nose_y, 0.022, 0.016, np.linspace(0, np.pi, 9)), 0.013, shade(skin, 0.74))
    width, arc = 0.062 * looks.mouth_width, np.linspace(0.08 * np.pi, 0.92 * np.pi, 13)
    if looks.laughs:
        canvas.fill(_oval(face.x, mouth_y, width, 0.034, np.linspace(0, np.pi, 13)), (140, 40, 48))
        canvas.fill(_oval(face.x, mouth_y, width * 0.82, 0.014, np.linspace(0, np.pi, 13)), (255, 252, 246))
    else:
        lip = (150, 56, 56) if looks.skin < 4 else (104, 30, 36)
        canvas.stroke(_oval(face.x, mouth_y, width, 0.03 * looks.smile, arc), 0.016, lip)
    eye_y, weight = face.eye_y, 0.017 * looks.brow_weight
    rx, ry = 0.034 * looks.eye_size, 0.031 * looks.eye_size
    brow = shade(hair, 0.7) if looks.hair_style != "bald" or looks.beard != "none" else shade(skin, 0.45)
    for sign in (-1, 1):
        x = face.x + sign * face.eye_x
        canvas.oval(x, eye_y, rx, ry, (255, 255, 255))
        gaze_x, gaze_y = x + canvas.view.gaze[0] * rx, eye_y + canvas.view.gaze[1] * ry
        canvas.oval(gaze_x, gaze_y, 0.66 * ry, 0.72 * ry, IRIS[looks.iris])
        canvas.oval(gaze_x, gaze_y, 0.36 * ry, 0.4 * ry, (24, 20, 24))
        canvas.oval(gaze_x + 0.22 * ry, gaze_y - 0.26 * ry, 0.17 * ry, 0.17 * ry, (255, 255, 255))
        rise = 0.04 * np.sin(looks.brow_angle)
        ends = np.array(
            [[x - sign * 0.038, eye_y - 0.055 + rise], [x, eye_y - 0.066], [x + sign * 0.04, eye_y - 0.052]]
        )
        ends[2, 1] -= rise
        canvas.stroke(ends, weight, brow)


def _beard(canvas: _Canvas, looks: Looks, face: _Face, mouth_y: float) -> None:
    colour = shade(HAIR[looks.hair], 0.9)
    if looks.beard == "full":
        low = face.outline(np.linspace(-0.02 * np.pi, 1.02 * np.pi, 31), 1.06)
        across = np.linspace(-1, 1, 17)
        cheek = np.stack([face.x + across * face.rx, mouth_y - 0.035 - 0.08 * np.abs(across) ** 3], axis=1)
        canvas.fill(np.concatenate([low, cheek]), colour)
    if looks.beard == "goatee":
        canvas.oval(face.x, face.y + 0.93 * face.ry, 0.052, 0.048, colour)
        canvas.fill(_box(face.x, mouth_y + 0.042, 0.016, 0.03), colour)
    if looks.beard == "moustache":
        for sign in (-1, 1):
            canvas.oval(face.x + sign * 0.034, mouth_y - 0.022, 0.046, 0.019, colour)


def _hair_before(canvas: _Canvas, looks: Looks, face: _Face) -> None:
    if looks.hair_style == "bald":
        return
    colour = HAIR[looks.hair]
    x, y, rx, ry = face.x, face.y, face.rx, face.ry
    if looks.hair_style == "mohawk":
        for at, height in ((-0.05, 0.09), (0.0, 0.12), (0.05, 0.09)):
            canvas.oval(x + at, y - ry * 0.92, 0.045, height, colour)
        return
    fringe = looks.hair_style == "bob"
    across = np.linspace(1, -1, 25)
    height = (0.36 if fringe else 0.50) + looks.forehead
    part = 0.0 if fringe else 0.26 * np.clip(1 - np.abs(across - looks.parting) / 0.8, 0, 1)
    ear = 0.0 if looks.hair_style in ("short", "spiky", "bun") else -0.1
    line = y - ry * (height + part - (height + part - ear) * np.abs(across) ** 7)
    top = face.outline(np.linspace(np.pi * (1.0 - 0.06 * ear), np.pi * (2.0 + 0.06 * ear), 31), 1.07)
    hairline = np.stack([x + across * rx * 1.0, line], axis=1)
    canvas.fill(np.concatenate([top, hairline]), colour)
    if looks.hair_style == "spiky" and looks.hat == "none":
        for angle in np.linspace(-0.85, 0.85, 7):
            out, along = np.array([np.sin(angle), -np.cos(angle)]), np.array([np.cos(angle), np.sin(angle)]) * 0.05
            root = np.array([x, y]) + out * (rx, ry)
            canvas.fill(np.stack([root - along, root + out * 0.1, root + along]), colour)
    if looks.hair_style == "curly":
        for at in np.linspace(-0.85, 0.85, 6):
            canvas.oval(x + at * rx, y - ry * (1.02 - 0.38 * at**2), 0.062, 0.06, colour)
    if looks.hair_style == "bun" and looks.hat == "none":
        canvas.oval(x, y - ry - 0.075, 0.088, 0.078, colour)


def _hat(canvas: _Canvas, looks: Looks, face: _Face) -> None:
    if looks.hat == "none":
        return
    colour = PAINT[looks.hat_colour]
    x, y, rx, ry = face.x, face.y, face.rx, face.ry
    brim_y = y - 0.5 * ry
    turn = np.linspace(np.pi, 2 * np.pi, 25)
    match looks.hat:
        case "beanie":
            canvas.oval(x, y - 1.2 * ry - 0.035, 0.045, 0.045, PAINT["white"])
            canvas.fill(_oval(x, brim_y, 1.14 * rx, 0.75 * ry, turn), colour)
            canvas.fill(_box(x, brim_y, 1.18 * rx, 0.042, 5), shade(colour, 0.8))
        case "cap":
            canvas.fill(_oval(x, brim_y, 1.12 * rx, 0.68 * ry, turn), colour)
            canvas.fill(_box(x + 0.1, brim_y, 1.2 * rx, 0.026, 3), shade(colour, 0.72))
        case "sun hat":
            canvas.fill(_box(x, brim_y - 0.3 * ry, 0.98 * rx, 0.48 * ry, 3.4), colour)
            canvas.fill(_box(x, brim_y - 0.045, 1.0 * rx, 0.03, 6), shade(colour, 0.6))
            canvas.oval(x, brim_y, 1.72 * rx, 0.045, shade(colour, 0.88))


def _glasses(canvas: _Canvas, looks: Looks, face: _Face) -> None:
    if looks.glasses == "none":
        return
    eye_y, frame = face.eye_y, (36, 36, 44)
    for sign in (-1, 1):
        x = face.x + sign * face.eye_x
        temple = np.array([[x + sign * 0.05, eye_y - 0.005], [face.x + sign * face.rx, eye_y - 0.012]])
        canvas.stroke(temple, 0.013, frame)
        match looks.glasses:
            case "round":
                ring = _oval(x, eye_y, 0.06, 0.06)
                canvas.stroke(np.concatenate([ring, ring[:2]]), 0.015, frame)
            case "square":
                ring = _box(x, eye_y, 0.064, 0.05, 9)
                canvas.stroke(np.concatenate([ring, ring[:2]]), 0.019, frame)
            case "sunglasses":
                canvas.fill(_box(x, eye_y + 0.006, 0.066, 0.05, 3.2), frame)
                shine = np.array([[x - 0.035, eye_y + 0.012], [x - 0.012, eye_y - 0.022]])
                canvas.stroke(shine, 0.012, (120, 124, 140))
    gap = max(face.eye_x - 0.058, 0.006)
    canvas.stroke(np.array([[face.x - gap, eye_y - 0.008], [face.x + gap, eye_y - 0.008]]), 0.013, frame)
