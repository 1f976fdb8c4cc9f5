"""From a picture as it is stored to RGB pixels: upright, on white, with the grey levels that it has."""

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

ImageInput = str | Path | bytes | Image.Image | Callable[[], Image.Image]

# Raster formats that Pillow decodes by itself. Others start programs (EPS: Ghostscript) or parse much more than pixels.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "MPO", "PPM", "DIB", "ICO", "ICNS",
           "PCX", "QOI", "SGI", "TGA")  # fmt: skip
# What Pillow raises on files that are not images, truncated, or broken inside.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError, AttributeError,
    MemoryError, ZeroDivisionError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
_ORIENTATION, _PHOTOMETRIC, _WHITE_IS_ZERO = 0x0112, 262, 0
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(OSError):
    """A picture that cannot be read; its text is the reason."""


def open_image(image: ImageInput) -> Image.Image:
    """Decode to RGB, upright.

    Pictures of 16 bits and of floats are scaled to 8 bits where their scale is known.

    Raises:
        ImageError: There is no such file, it is unreadable or truncated, of no raster format, or its pixels have no
            known scale.
    """
    try:
        return _decoded(image)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError("no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError("not an image") from error
    except _BROKEN as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise ImageError(reason.splitlines()[0]) from error


def open_encoded(content: bytes) -> Image.Image:
    """An encoded picture, not decoded yet; only raster formats are recognised."""
    Image.init()
    return Image.open(BytesIO(content), formats=[name for name in FORMATS if name in Image.OPEN])


def _decoded(image: ImageInput) -> Image.Image:
    if isinstance(image, Image.Image):
        opened = image
    elif isinstance(image, bytes):
        opened = open_encoded(image)
    elif callable(image):
        opened = image()
    else:
        opened = open_encoded(Path(image).read_bytes())  # leaves no file open where it is truncated
    # exif_transpose writes the EXIF anew, which fails on entries that only readers tolerate
    orientation = opened.getexif().get(_ORIENTATION)
    if opened.mode in ("I", "F") or opened.mode.startswith("I;16"):
        opened = _eight_bits(opened)
    if opened.mode in ("RGBA", "LA", "PA", "P", "RGBa", "La") or "transparency" in opened.info:
        layered = opened.convert("RGBA")  # transparent pixels become white, not black
        opened = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    opened = opened if opened.mode == "RGB" else opened.convert("RGB")
    opened.load()
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return opened if turn is None else opened.transpose(turn)


def _eight_bits(opened: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits in 8 bits; Pillow would cut all brighter values off.

    Raises:
        ImageError: Its values tell no scale: they lie outside [0, 1] (floats) or 16 bits, or fill less than 12 of 16.
    """
    values = np.asarray(opened)
    least, most = float(values.min()), float(values.max())
    if opened.mode == "F":
        as_they_are = least >= 0 and most <= 255 and bool((values == np.round(values)).all())
        full = 1.0 if least >= 0 and most <= 1 else 255.0
        if not (full == 1.0 or as_they_are):
            raise ImageError(f"float pixels from {least:g} to {most:g}; they must lie between 0 and 1")
    else:
        full = 65535.0
        if least < 0 or most > full:
            raise ImageError(f"pixels from {least:.0f} to {most:.0f}; they must lie between 0 and 65535")
        if least != most < 4096:
            raise ImageError(
                f"16-bit pixels from {least:.0f} to {most:.0f}, nearly black; scale them to 65535 or to 8 bits"
            )
    shares = values.astype(np.float64) / full
    tags = getattr(opened, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        shares = 1 - shares
    return Image.fromarray(np.round(shares * 255).astype(np.uint8))
