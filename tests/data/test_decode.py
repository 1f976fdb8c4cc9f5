"""Pictures as cameras, scanners and scientific programs write them."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multidelete.data.decode import ImageError, open_image

RAMP = np.arange(48 * 48, dtype=np.float64).reshape(48, 48) / (48 * 48 - 1)


def stored(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block of these (tag, type, count, value) entries, as a camera writes it."""
    head = struct.pack("<H", len(entries))
    offset, body = 8 + 2 + 12 * len(entries) + 4, b""
    for tag, kind, count, value in entries:
        head += struct.pack("<HHI", tag, kind, count)
        if len(value) <= 4:
            head += value.ljust(4, b"\0")
        else:
            head += struct.pack("<I", offset + len(body))
            body += value
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + head + struct.pack("<I", 0) + body


def with_exif(block: bytes) -> bytes:
    jpeg = stored(Image.new("RGB", (40, 20), "red"), "JPEG")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    values = np.round(RAMP * 65535).astype(np.uint16)
    pixels = np.asarray(open_image(stored(Image.fromarray(values), kind)))
    assert pixels.shape == (48, 48, 3)
    np.testing.assert_array_equal(pixels[..., 0], np.round(RAMP * 255))


def test_sixteen_bits_of_the_other_byte_order_are_scaled() -> None:
    values = np.round(RAMP * 65535).astype(">u2")
    big = Image.frombytes("I;16B", (48, 48), values.tobytes())
    np.testing.assert_array_equal(np.asarray(open_image(big))[..., 0], np.round(RAMP * 255))


def test_thirty_two_bits_within_sixteen_are_scaled() -> None:
    values = np.round(RAMP * 65535).astype(np.int32)
    np.testing.assert_array_equal(
        np.asarray(open_image(stored(Image.fromarray(values), "TIFF")))[..., 1], np.round(RAMP * 255)
    )


def test_pgm_of_sixteen_bits_is_scaled(tmp_path: Path) -> None:
    values = np.round(RAMP * 65535).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 48 48 65535\n" + values.tobytes())
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.pgm"))[..., 2], np.round(RAMP * 255))


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_floats_are_scaled(scale: float) -> None:
    shares = np.round(RAMP * 255) / 255
    picture = Image.fromarray(np.round(shares * scale, 6).astype(np.float32))
    np.testing.assert_allclose(np.asarray(open_image(stored(picture, "TIFF")))[..., 0], np.round(RAMP * 255))


def test_white_is_zero_is_inverted() -> None:
    values = np.round(RAMP * 65535).astype(np.uint16)
    tiff = stored(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    np.testing.assert_allclose(np.asarray(open_image(tiff))[..., 0], np.round((1 - RAMP) * 255), atol=1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (RAMP * 3.7, "float pixels from 0 to 3.7; they must lie between 0 and 1"),
        (RAMP - 0.5, "float pixels from -0.5"),
        (np.where(RAMP > 0.5, np.nan, RAMP), "float pixels from nan"),
        (np.where(RAMP > 0.5, np.inf, RAMP), "float pixels from 0 to inf"),
    ],
)
def test_floats_of_no_known_scale_are_refused(values: np.ndarray, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        open_image(Image.fromarray(values.astype(np.float32)))


def test_whole_numbers_of_no_known_scale_are_refused() -> None:
    with pytest.raises(ImageError, match="16-bit pixels from 0 to 4095, nearly black"):
        open_image(stored(Image.fromarray(np.round(RAMP * 4095).astype(np.uint16)), "PNG"))
    with pytest.raises(ImageError, match=r"pixels from -100 to .*between 0 and 65535"):
        open_image(Image.fromarray(np.round(RAMP * 4095 - 100).astype(np.int32)))
    assert open_image(Image.new("I;16", (4, 4))).getpixel((0, 0)) == (0, 0, 0)  # black is black at any scale


@pytest.mark.parametrize("date", [(0x132, 5, 2, struct.pack("<IIII", 1, 2, 3, 0)), (0x10F, 2, 4, b"\xff\xfe\xfd\0")])
def test_exif_that_cannot_be_written_again_still_turns_upright(date: tuple[int, int, int, bytes]) -> None:
    turned = open_image(with_exif(exif((0x112, 3, 1, struct.pack("<H", 6)), date)))
    assert turned.size == (20, 40)


@pytest.mark.parametrize("entry", [(0x112, 3, 1, b"\x63\0"), (0x112, 2, 4, b"six\0"), (0x112, 5, 1, b"\0" * 8)])
def test_an_orientation_that_is_none_is_ignored(entry: tuple[int, int, int, bytes]) -> None:
    assert open_image(with_exif(exif(entry))).size == (40, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_does(orientation: int) -> None:
    from PIL import ImageOps

    picture = Image.fromarray((RAMP[:20, :40] * 255).astype(np.uint8)).convert("RGB")
    tags = Image.Exif()
    tags[0x112] = orientation
    encoded = stored(picture, "PNG", exif=tags)
    wanted = ImageOps.exif_transpose(Image.open(BytesIO(encoded)))
    assert open_image(encoded).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_becomes_white(mode: str) -> None:
    picture = Image.new(mode, (4, 4), 0 if mode == "L" else (0, 0, 0))
    encoded = stored(picture, "PNG", transparency=0 if mode == "L" else (0, 0, 0))
    assert open_image(encoded).getpixel((0, 0)) == (255, 255, 255)


def test_a_postscript_file_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", lambda *args, **options: started.append(args))
    monkeypatch.setattr("subprocess.check_call", lambda *args, **options: started.append(args))
    content = stored(Image.new("RGB", (8, 8), "red"), "EPS")
    (tmp_path / "a.png").write_bytes(content)
    for given in (tmp_path / "a.png", content):
        with pytest.raises(ImageError, match="not an image"):
            open_image(given)
    assert started == []


def test_a_name_that_no_file_system_takes_is_an_unreadable_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="File name too long"):
        open_image(tmp_path / ("a" * 300 + ".png"))
