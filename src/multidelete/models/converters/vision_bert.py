"""What checkpoints of ALBEF and BLIP share: a vision transformer of timm's, a BERT, and copies that only train."""

import math
from collections.abc import Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem, UnsupportedError, first_few
from multidelete.core.words import counted
from multidelete.models.classes import name_classes
from multidelete.models.converters.layout import Layout, Stored, Untold

QUEUES = ("image_queue", "text_queue", "idx_queue", "queue_ptr", "ptr_queue")
CLASSES: Mapping[tuple[int, int], tuple[str, ...]] = {
    (3, 1): ("contradiction", "neutral", "entailment"),
    (2, 2): ("False", "True"),
}
"""Names of the published classes, by their number and that of pictures."""


def dropped_kind(name: str, queues: Collection[str]) -> str | None:
    """What a tensor is that serves training alone; None of others."""
    if name.split(".")[0].endswith("_m"):
        return "momentum copies"
    if name in queues:
        return "queues"
    return "masked language head" if name.startswith("text_encoder.cls.") else None


def shapes_of(stored: Stored, names: Sequence[str], what: str) -> list[tuple[int, ...]]:
    """Shapes of the tensors that tell a network's sizes.

    Raises:
        CheckpointError: Some are missing, or have too few dimensions.
    """
    lacking = [name for name in ("visual_encoder.pos_embed", *names) if name not in stored.tensors]
    if lacking:
        raise CheckpointError(f"{stored.path} is no {what}: it lacks {first_few(lacking)}. Give a whole one.")
    shapes = [tuple(stored.tensors[name].shape) for name in names]
    flat = [f"{name} is {list(shape)}" for name, shape in zip(names, shapes, strict=True) if len(shape) < 2]
    if flat or len(shapes[0]) != 4 or stored.tensors["visual_encoder.pos_embed"].ndim != 3:
        raise CheckpointError(f"{stored.path}: {first_few(flat) or names[0]} has too few dimensions. Give a whole one.")
    return shapes


def heads_by_width(stored: Stored, untold: Untold, widths: Sequence[int]) -> int:
    """Width of an attention head, of this tool's own files what lies beside them.

    Raises:
        ConfigError: It does not divide the encoders' widths.
    """
    known = [stored.setting(f"{tower}_config", name) for tower in ("vision",)
             for name in ("hidden_size", "num_attention_heads")]  # fmt: skip
    own = [one for one in known if isinstance(one, int) and one > 0]
    width = own[0] // own[1] if len(own) == 2 else untold.head_width
    if width < 1 or any(one % width for one in widths):
        told = first_few(sorted(set(widths)))
        raise ConfigError(
            SettingProblem("head_width", f"is {width}; it must divide the encoders' widths ({told}).")
        )  # fmt: skip
    return width


def side_of(positions_1PD: Tensor, patch: int) -> int:
    """Height and width of the pictures, in pixels."""
    return math.isqrt(positions_1PD.shape[1] - 1) * patch


def class_names_of(
    stored: Stored, untold: Untold, config: PreTrainedConfig, published: Mapping[tuple[int, int], tuple[str, ...]]
) -> None:
    """Give a classifier's classes their names.

    Raises:
        ConfigError: Another number of names is given than there are classes.
    """
    count = len(stored.tensors["cls_head.2.weight"])
    if stored.tensors["cls_head.2.weight"].is_meta:  # only the head is asked for
        return
    own = stored.setting("id2label")
    named = tuple(str(name) for name in own.values()) if isinstance(own, Mapping) else ()
    classes = tuple(untold.classes) or named or published.get((count, getattr(config, "images", 1)), ())
    if len(classes) != count:
        raise ConfigError(
            f"{stored.path} tells {counted(count, 'classes')} apart, but {counted(len(classes), 'names were')} given. "
            "Name each class, in the order of the classifier's outputs."
        )
    name_classes(config, classes)


def resize(model: PreTrainedModel, processor: ProcessorMixin, layout: Layout, side: int) -> None:
    """Make a network and its processor ready for pictures of another size, in place.

    Raises:
        UnsupportedError: Networks of the layout cannot be.
        ConfigError: It is no multiple of the patch.
    """
    if layout.positions is None:
        raise UnsupportedError(f"{layout.called} is read at its own image size. Leave image_size out.")
    parent, _, name = layout.positions.rpartition(".")
    module, vision = model.get_submodule(parent), model.config.vision_config
    positions = getattr(module, name)
    setattr(module, name, torch.nn.Parameter(resized_positions(positions.detach(), side, vision.patch_size)))
    vision.image_size = side
    if hasattr(module, "image_size"):
        module.image_size = side
    processor.image_processor.size = {"height": side, "width": side}


def resized_positions(positions_1PD: Tensor, image_size: int, patch_size: int) -> Tensor:
    """Position embeddings for another image size: bicubic over the grid, the [CLS] token's as it is."""
    if image_size <= 0 or image_size % patch_size:
        raise ConfigError(
            SettingProblem(
                "image_size", f"is {image_size}; it must be a positive multiple of the patch size {patch_size}."
            )
        )
    old, new = math.isqrt(positions_1PD.shape[1] - 1), image_size // patch_size
    if old == new:
        return positions_1PD
    grid = positions_1PD[:, 1:].transpose(1, 2).reshape(1, -1, old, old)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([positions_1PD[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
