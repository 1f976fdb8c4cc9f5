"""Near-duplicates of deleted pairs: pictures, texts, nodes and subjects."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from multidelete.data.near.found import near_duplicates, neighbours
from multidelete.data.near.pictures import picture_distance
from multidelete.data.near.texts import one_word_apart, text_distance, words_of
from multidelete.data.pairs import Pair, PairDataset


def picture(seed: int, size: int = 48) -> Image.Image:
    """Soft patches of colour."""
    patches = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((size, size), Image.Resampling.BICUBIC)


def jpeg(one: Image.Image) -> Image.Image:
    file = BytesIO()
    one.save(file, "JPEG", quality=50)
    return Image.open(BytesIO(file.getvalue()))


CAPTIONS = ["a tall lamp beside the river", "seven birds over grey hills", "some bread on a wooden table"]


def pairs(*more: Pair) -> PairDataset:
    """Three pairs of which the first is to be deleted, and more."""
    first = [Pair(id=f"{at}", inputs={"image": picture(at), "text": text}) for at, text in enumerate(CAPTIONS)]
    return PairDataset([*first, *more], "train")


def offered(*more: Pair) -> dict[str, str]:
    """By id, the reasons of what is offered beside the first pair."""
    offers = near_duplicates(pairs(*more), {"0"})
    assert {offer.beside.id for offer in offers} <= {"0"}
    return {offer.pair.id: " and ".join(reason.what for reason in offer.reasons) for offer in offers}


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda one: one.resize((96, 80)),
        lambda one: one.resize((24, 24)),
        lambda one: one.crop((4, 0, 48, 44)),
        ImageOps.mirror,
        lambda one: jpeg(ImageOps.mirror(one).crop((2, 2, 46, 46)).resize((64, 64))),
    ],
    ids=["encoded", "larger", "smaller", "cropped", "mirrored", "all"],
)
def test_same_picture_is_offered_however_it_is_stored(change: Callable[[Image.Image], Image.Image]) -> None:
    changed = Pair(id="copy", inputs={"image": change(picture(0)), "text": "nothing of the sort"})
    assert offered(changed) == {"copy": "picture"}


def test_picture_that_the_deleted_one_was_cut_out_of_is_offered() -> None:
    larger = picture(0, 60)
    cut = Pair(id="cut", inputs={"image": larger.crop((3, 3, 57, 57)), "text": "x"})
    whole = Pair(id="whole", inputs={"image": larger, "text": "y"})
    (offer,) = near_duplicates(PairDataset([cut, whole], "train"), {"cut"})
    assert (offer.pair.id, offer.reasons[0].what) == ("whole", "picture")


def test_other_pictures_and_texts_are_not_offered() -> None:
    assert offered(Pair(id="other", inputs={"image": picture(9), "text": "a short lamp"})) == {}


def test_unreadable_picture_is_passed_over() -> None:
    assert offered(Pair(id="broken", inputs={"image": b"no picture", "text": "x"}, sources={"image": "b"})) == {}


@pytest.mark.parametrize(
    "text", ["A tall LAMP, beside the river!", "a tall tree beside the river", "a tall lamp beside the rivers"]
)
def test_text_but_for_a_word_is_offered(text: str) -> None:
    assert offered(Pair(id="again", inputs={"image": picture(9), "text": text})) == {"again": "text"}


def test_short_text_but_for_a_word_is_offered_with_the_same_picture_alone() -> None:
    short = [
        Pair(id="0", inputs={"image": picture(0), "text": "red car"}),
        Pair(id="same", inputs={"image": picture(0), "text": "blue car"}),
        Pair(id="other", inputs={"image": picture(1), "text": "green car"}),
    ]
    assert [offer.pair.id for offer in near_duplicates(PairDataset(short, "train"), {"0"})] == ["same"]


def test_same_pair_under_another_id_is_offered_first() -> None:
    again = Pair(id="again", inputs={"image": picture(0), "text": CAPTIONS[0]})
    near = Pair(id="near", inputs={"image": jpeg(picture(0)), "text": "x"})
    assert list(offered(near, again).items()) == [("again", "the same pair"), ("near", "picture")]


def test_node_and_subject_of_nearly_one_name_are_offered() -> None:
    about = {"0": ("Ann Smith", "GENE-1"), "1": ("ann  smith", "other"), "2": ("Bob", "gene-1"), "3": ("Cy", "third")}
    rows = [
        Pair(id=at, inputs={"graph": (node, "x"), "text": f"{at * 3} sentence {at}"}, subject=name)
        for at, (name, node) in about.items()
    ]
    offers = near_duplicates(PairDataset(rows, "train"), {"0"})
    assert {offer.pair.id: [reason.what for reason in offer.reasons] for offer in offers} == {
        "1": ["subject"],
        "2": ["node"],
    }


def test_neighbours_of_the_model_may_differ_more() -> None:
    changed = picture(0)
    changed.paste((200, 200, 200), (12, 12, 16, 16))
    data = pairs(Pair(id="changed", inputs={"image": changed, "text": "x"}))
    assert 0.2 < picture_distance(picture(0), changed) < 0.3
    vectors = {pair.sources["image"]: np.eye(4, dtype=np.float32)[min(int(at), 2)] for at, pair in enumerate(data)}
    vectors[data[3].sources["image"]] = np.array([0.9, 0.1, 0, 0], dtype=np.float32)
    assert near_duplicates(data, {"0"}) == []
    (offer,) = near_duplicates(data, {"0"}, {"image": vectors})
    assert offer.pair.id == "changed"
    assert offer.reasons[0].similarity == pytest.approx(0.994, abs=1e-3)


def test_neighbours_are_the_nearest_by_cosine() -> None:
    vectors = {name: np.array([x, 1 - x], dtype=np.float32) for name, x in {"d": 1.0, "near": 0.9, "far": 0.1}.items()}
    found = neighbours(vectors, ["d"], ["far", "near", "unknown"])
    assert list(found) == [("d", "near"), ("d", "far")]
    assert neighbours({}, ["d"], ["near"]) == {}


def test_pictures_differ_by_colour_too() -> None:
    red, green = (Image.new("RGB", (8, 8), colour) for colour in ("red", "green"))
    assert picture_distance(red, red) == 0
    assert picture_distance(red, green) == 1


def test_texts_are_compared_by_their_words() -> None:
    """Brute force over all pairs of short texts says the same as looking them up."""
    words = ["a", "b", "c"]
    texts = {f"{x}{y}{z}": " ".join((x, y, z)) for x in words for y in words for z in words} | {"ab": "a b", "": "a"}
    close = one_word_apart(texts, texts)
    for one, text in texts.items():
        for other, its in texts.items():
            ours, theirs = words_of(text), words_of(its)
            left = list(theirs)
            shared = sum(1 for word in ours if word in left and left.remove(word) is None)
            is_apart = max(len(ours), len(theirs)) - shared <= 1 and 1 not in (len(ours), len(theirs))
            assert not is_apart or (one, other) in close, (text, its)
    assert text_distance("Seven birds", "birds, SEVEN") == 0
