from pathlib import Path

import pytest

from multidelete.data.images import check_images
from multidelete.data.pairs import PairData
from multidelete.data.readers import load_data
from multidelete.data.request import resolve_request
from multidelete.data.split import draw_request, with_holdout


def sizes(data: PairData) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}


def folder(real_data: Path, name: str) -> str:
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name} in {real_data}")
    return str(real_data / name)


@pytest.fixture(scope="module")
def mapped(real_data: Path) -> PairData:
    return load_data(folder(real_data, "emoji"), columns={"id": "pair_id"})


def test_emoji_with_and_without_mapped_ids(mapped: PairData, real_data: Path) -> None:
    made = load_data(folder(real_data, "emoji"))
    assert sizes(mapped) == sizes(made) == {"train": 5260, "val": 477, "test": 878}
    assert mapped.train[0].id == "noto-1f004"
    assert mapped.train[0].subject == made.train[0].subject == "1f004"
    check_images(made.splits["val"])


def test_emoji_request_by_subject(mapped: PairData) -> None:
    request = resolve_request(mapped, subjects=["1f004"])
    assert set(request.ids) == {"noto-1f004", "twemoji-1f004", "blobmoji-1f004"}


@pytest.fixture(scope="module")
def flickr8k(real_data: Path) -> PairData:
    return load_data(folder(real_data, "flickr8k"))


def test_flickr8k_counts_and_request_by_image(flickr8k: PairData) -> None:
    data = flickr8k
    assert sizes(data) == {"train": 29995, "val": 5000, "test": 5000}
    ids = draw_request(data.train, fraction=0.05, unit="image", seed=0)
    assert resolve_request(data, ids=ids[::5], unit="image").ids == tuple(ids)
    check_images(data.splits["val"])


def test_flickr8k_holdout_has_no_shared_captions(flickr8k: PairData) -> None:
    train_only = PairData("f", {"train": flickr8k.train})
    data = with_holdout(train_only)
    captions = {name: {pair.sources["text"] for pair in split} for name, split in data.splits.items()}
    assert not captions["train"] & (captions["val"] | captions["test"])
    assert not captions["val"] & captions["test"]
