"""Randomly altered pictures, so that small models trained from scratch learn shapes rather than pixels.

Shape suffixes: B pairs, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Batch

SCALE = 0.15  # largest change of size, as a fraction
STRETCH = 0.06  # of width against height
TURN_RAD = 0.1
SHIFT = 0.08  # of the picture's width and height
CONTRAST = 0.15
BRIGHTNESS = 0.15  # in the processor's units, usually standard deviations
MIXING = 0.05  # standard deviation of each channel's weight in another


def augmented(batch: Batch, seeds: Sequence[Sequence[int]]) -> Batch:
    """The batch with each pair's picture scaled, turned, shifted and tinted at random; other inputs as they are.

    Args:
        batch: Pairs with or without pictures, ``pixel_values`` (B, C, H, W) or (B, 2, C, H, W).
        seeds: For each pair what its alteration is drawn from, so that it depends neither on the other pairs nor on
            the process that prepares it. Two pictures of one pair are altered alike.
    """
    inputs = batch.inputs.get("image")
    if inputs is None:
        return batch
    pixels = inputs["pixel_values"]
    draws = np.stack([stream(seed, Stream.PICTURE_CHANGES, *place).uniform(-1, 1, 9) for seed, *place in seeds])
    mixes = np.stack(
        [stream(seed, Stream.PICTURE_CHANGES, *place, 1).normal(0, MIXING, (3, 3)) for seed, *place in seeds]
    )
    drawn_B, mixed_B = torch.tensor(draws, dtype=pixels.dtype), torch.tensor(mixes, dtype=pixels.dtype)
    pictures = pixels.unbind(1) if pixels.ndim == 5 else [pixels]
    altered = [_alter(picture, drawn_B, mixed_B) for picture in pictures]
    done = torch.stack(altered, dim=1) if pixels.ndim == 5 else altered[0]
    return replace(batch, inputs={**batch.inputs, "image": {**inputs, "pixel_values": done}})


def _alter(pixels_BCHW: Tensor, drawn_B: Tensor, mixed_B: Tensor) -> Tensor:
    size, stretch, turn, across, down, contrast, *tint = drawn_B.unbind(1)
    scale_x, scale_y = (1 + SCALE * size) * (1 + STRETCH * stretch), (1 + SCALE * size) / (1 + STRETCH * stretch)
    cosine, sine = (TURN_RAD * turn).cos(), (TURN_RAD * turn).sin()
    rows = [scale_x * cosine, -scale_x * sine, 2 * SHIFT * across, scale_y * sine, scale_y * cosine, 2 * SHIFT * down]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(pixels_BCHW.shape), align_corners=False)
    moved = F.grid_sample(pixels_BCHW, grid, padding_mode="border", align_corners=False)
    mean = moved.mean(dim=(2, 3), keepdim=True)
    moved = (moved - mean) * (1 + CONTRAST * contrast.view(-1, 1, 1, 1)) + mean
    moved = moved + BRIGHTNESS * torch.stack(tint, 1)[:, :, None, None]
    return torch.einsum("bij,bjhw->bihw", torch.eye(3, dtype=moved.dtype) + mixed_B, moved)
