"""Pictures and texts become tensors: one picture or two, of one size or of several, decoded once."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, ViltImageProcessorPil

from multidelete.core.errors import UnsupportedError
from multidelete.data.collate import ImagePreparer, TextPreparer, image_text_batch
from multidelete.data.pairs import Pair
from multidelete.models.fresh import train_tokenizer
from tests.tiny import SIZE

SQUARE = {"height": 16, "width": 16}


def squares() -> ImagePreparer:
    return ImagePreparer(CLIPImageProcessorPil(size=SQUARE, crop_size=SQUARE))


def any_size() -> ImagePreparer:
    return ImagePreparer(ViltImageProcessorPil(size={"shortest_edge": 16}, size_divisor=8))


def picture(seed: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.to(torch.uint8).numpy())


def double(name: str, left: int, right: int) -> Pair:
    return Pair(
        id=name,
        inputs={"image": (picture(left), picture(right)), "text": "a b"},
        sources={"image": f"{left}.png|{right}.png", "text": "a b"},
    )


def single(number: int, size: tuple[int, int] = (16, 16)) -> Pair:
    return Pair(id=f"{number}", inputs={"image": picture(number, size), "text": "a"},
                sources={"image": f"{number}.png", "text": "a"})  # fmt: skip


def test_two_pictures_of_a_pair_stand_side_by_side() -> None:
    pixels = squares()([double("x", 1, 2), double("y", 2, 3), double("z", 1, 2)])["pixel_values"]
    alone = squares()([single(n) for n in (1, 2, 3)])["pixel_values"]
    assert pixels.shape == (3, 2, 3, 16, 16)
    assert torch.equal(pixels, torch.stack([alone[[0, 1]], alone[[1, 2]], alone[[0, 1]]]))


def test_a_picture_is_decoded_once_in_whichever_pair_and_on_whichever_side() -> None:
    opened: list[int] = []

    def opening(number: int) -> Image.Image:
        opened.append(number)
        return picture(number)

    def pair(left: int, right: int) -> Pair:
        return replace(double("x", left, right), inputs={"image": (lambda: opening(left), lambda: opening(right))})

    prepare = squares()
    prepare([pair(1, 2), pair(2, 3)])
    prepare([pair(3, 1)])
    assert sorted(opened) == [1, 2, 3]
    ImagePreparer(prepare.processor, cache_bytes=0)([pair(1, 1), pair(1, 2)])
    assert sorted(opened) == [1, 1, 2, 2, 3]


def test_pairs_of_one_and_of_two_pictures_do_not_mix() -> None:
    with pytest.raises(UnsupportedError, match="Some pairs have 1 picture and some have 2"):
        squares()([single(1), double("x", 1, 2)])


def test_pictures_of_several_sizes_are_padded_and_masked_whatever_was_prepared_before() -> None:
    wide, high, small = single(1, (24, 16)), single(2, (16, 24)), single(3)
    prepare = any_size()
    together = prepare([wide, high, small])
    assert together["pixel_values"].shape == (3, 3, 24, 24)
    assert together["pixel_mask"].shape == (3, 24, 24)
    assert together["pixel_mask"].sum(dim=(1, 2)).tolist() == [24 * 16, 16 * 24, 16 * 16]
    for row, (pair, (height, width)) in enumerate(
        zip((wide, high, small), ((16, 24), (24, 16), (16, 16)), strict=True)
    ):
        for alone in (any_size()([pair]), prepare([pair])):  # decoded alone, and from the cache
            assert torch.equal(alone["pixel_values"][0], together["pixel_values"][row, :, :height, :width])
            assert alone["pixel_mask"].all()
        inside = torch.zeros(24, 24, dtype=torch.bool)
        inside[:height, :width] = True
        assert torch.equal(together["pixel_mask"][row].bool(), inside)
        assert not together["pixel_values"][row][:, ~inside].any()


def test_two_pictures_of_several_sizes_have_a_mask_each() -> None:
    pair = Pair(id="x", inputs={"image": (picture(1, (24, 16)), picture(2)), "text": "a"},
                sources={"image": "1|2", "text": "a"})  # fmt: skip
    found = any_size()([pair])
    assert found["pixel_values"].shape == (1, 2, 3, 16, 24)
    assert found["pixel_mask"].sum(dim=(2, 3)).tolist() == [[24 * 16, 16 * 16]]


def test_a_batch_of_two_pictures_has_labels_and_sources_and_can_be_repaired() -> None:
    texts = TextPreparer(train_tokenizer(["a b", "b"], SIZE), 8)
    pairs = [replace(double("x", 1, 2), label=1), replace(double("y", 3, 4), label=0)]
    batch = image_text_batch(pairs, squares(), texts)
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]
    assert len(set(batch.sources["image"].tolist())) == 2
    assert torch.equal(batch[0:1].inputs["image"]["pixel_values"], batch.inputs["image"]["pixel_values"][:1])
    turned = batch.repair(torch.tensor([1, 0]))
    assert torch.equal(turned.inputs["image"]["pixel_values"], batch.inputs["image"]["pixel_values"])
    assert turned.labels is None


@pytest.mark.parametrize("given", [False, True])
def test_a_tokenizer_cuts_and_pads_afterwards_as_before(given: bool) -> None:
    """What it is written as would else tell whether texts were read in this process."""
    tokenizer = train_tokenizer(["a b", "b"], SIZE)
    if given:  # as files of some published tokenizers have it
        tokenizer.backend_tokenizer.enable_truncation(7, stride=1, strategy="only_first")
        tokenizer.backend_tokenizer.enable_padding(length=9, pad_id=1, pad_token="b")
    before = tokenizer.backend_tokenizer.to_str()
    texts = TextPreparer(tokenizer, 8)
    texts(["a b", "b"])
    texts.too_long(["a b"])
    TextPreparer(tokenizer, 8, fixed_length=True)(["a"])
    assert tokenizer.backend_tokenizer.to_str() == before
