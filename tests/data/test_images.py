from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from multidelete.core.errors import DataError
from multidelete.data.generated.personas import personas
from multidelete.data.images import check_images
from multidelete.data.pairs import Pair, PairDataset


def encoded(kind: str) -> bytes:
    buffer = BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def dataset(*images: object) -> PairDataset:
    pairs = [
        Pair(id=f"{n}", inputs={"image": image, "text": "t"}, sources={"image": f"source-{n}", "text": "t"})
        for n, image in enumerate(images)
    ]
    return PairDataset(pairs, "photos")


def test_readable_images_pass_and_progress_counts_every_picture_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG"))
    pairs = dataset(tmp_path / "a.jpg", encoded("PNG"), Image.new("L", (3, 3)), lambda: Image.new("RGB", (2, 2)))
    calls: list[tuple[int, int]] = []
    check_images(pairs, lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    check_images(personas(people=2, unseen=0, size=16).train, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (4, 4)  # 8 pairs, two of each picture


def test_all_broken_images_are_named_at_once(tmp_path: Path) -> None:
    png = encoded("PNG")
    broken = {
        "cut.jpg": encoded("JPEG")[:-900],
        "cut.png": png[: len(png) // 2],
        "flipped.png": png[:45] + b"xxxx" + png[49:],
        "text.jpg": b"not a picture",
        "empty.png": b"",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "good.png").write_bytes(png)
    files = [tmp_path / name for name in (*broken, "good.png", "gone.png")]
    with pytest.raises(DataError, match="6 of 8 images of photos cannot be read") as error:
        check_images(dataset(*files, encoded("PNG")))
    for name in (*broken, "gone.png"):
        assert str(tmp_path / name) in str(error.value)
    assert "good.png" not in str(error.value)
    assert "gone.png (no such file)" in str(error.value)
    assert "text.jpg (not an image)" in str(error.value)


def test_broken_bytes_are_named_by_source_and_more_than_ten_are_counted() -> None:
    with pytest.raises(DataError, match=r"12 of 12 images.*source-0 .not an image.*source-9 .*and 2 more"):
        check_images(dataset(*[b"nothing"] * 12))


def test_both_pictures_of_a_pair_are_checked(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(encoded("PNG"))
    (tmp_path / "cut.png").write_bytes(encoded("PNG")[:300])
    names = [("good.png", "cut.png"), ("cut.png", "good.png"), ("good.png", "gone.png")]
    pairs = [
        Pair(id=f"{n}", inputs={"image": (tmp_path / left, tmp_path / right), "text": "t"},
             sources={"image": f"{left}|{right}", "text": "t"})
        for n, (left, right) in enumerate(names)
    ]  # fmt: skip
    calls: list[tuple[int, int]] = []
    with pytest.raises(DataError, match=r"2 of 3 images of doubles cannot be read: .*cut\.png .*gone\.png .no such"):
        check_images(PairDataset(pairs, "doubles"), lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    check_images(PairDataset([replace(pairs[0], inputs={"image": (tmp_path / "good.png",) * 2, "text": "t"})], "ok"))
