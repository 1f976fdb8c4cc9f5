"""Altered pictures: alike for the same seed, whatever stands beside them."""

import torch

from multidelete.data.augment import augmented
from multidelete.data.pairs import Batch, PairData
from multidelete.training.plan import MicroBatches, PlannedStep
from tests.tiny import own_clip, people

SEEDS = [(7, 0, 0, row) for row in range(4)]


def batch_of(data: PairData) -> Batch:
    return own_clip(data).collate(data.train.pairs[:4])


def pixels(batch: Batch) -> torch.Tensor:
    return batch.inputs["image"]["pixel_values"]


def test_pictures_change_and_texts_do_not() -> None:
    batch = batch_of(people(4))
    altered = augmented(batch, SEEDS)
    assert pixels(altered).shape == pixels(batch).shape
    moved = (pixels(altered) - pixels(batch)).abs().mean(dim=(1, 2, 3))
    assert (moved > 0.02).all()
    assert torch.isfinite(pixels(altered)).all()
    assert torch.equal(altered.inputs["text"]["input_ids"], batch.inputs["text"]["input_ids"])
    assert torch.equal(pixels(batch), pixels(batch_of(people(4))))  # the batch given stays as it was


def test_a_picture_is_altered_alike_whatever_stands_beside_it() -> None:
    batch = batch_of(people(4))
    whole = pixels(augmented(batch, SEEDS))
    assert torch.allclose(pixels(augmented(batch[2:], SEEDS[2:])), whole[2:], atol=1e-6)
    other = pixels(augmented(batch, [(8, *seed[1:]) for seed in SEEDS]))
    assert not torch.allclose(other, whole)


def test_a_picture_that_is_all_grey_stays_all_one_colour() -> None:
    """Moving a constant picture changes nothing; contrast keeps its mean; only the tint is seen."""
    batch = batch_of(people(4))
    grey = Batch(batch.ids, {**batch.inputs, "image": {"pixel_values": torch.full((4, 3, 8, 8), 0.3)}}, batch.sources)
    spread = pixels(augmented(grey, SEEDS)).std(dim=(2, 3))
    assert spread.max() < 1e-5


def test_two_pictures_of_a_pair_are_altered_alike() -> None:
    batch = batch_of(people(4))
    one = pixels(batch)
    two = Batch(batch.ids, {**batch.inputs, "image": {"pixel_values": torch.stack([one, one], 1)}}, batch.sources)
    altered = pixels(augmented(two, SEEDS))
    assert torch.equal(altered[:, 0], altered[:, 1])
    assert torch.allclose(altered[:, 0], pixels(augmented(batch, SEEDS)), atol=1e-6)


def test_shares_of_a_step_are_altered_as_the_whole_step_is() -> None:
    data = people(4)
    adapter, plan = own_clip(data), [PlannedStep({"train": [5, 1, 4, 2]}, 0)] * 2
    whole = MicroBatches(plan, {"train": data.train}, adapter, 1, augment_seed=3)
    halves = MicroBatches(plan, {"train": data.train}, adapter, 2, augment_seed=3)
    together = torch.cat([pixels(halves[2].batch), pixels(halves[3].batch)])
    assert torch.allclose(together, pixels(whole[1].batch), atol=1e-6)
    assert not torch.allclose(pixels(whole[0].batch), pixels(whole[1].batch))  # every step alters anew
