"""Official ALBEF checkpoints (``.pth`` of github.com/salesforce/ALBEF) to model folders, and back.

Names are the official ones, but for the prefix of the text encoder: ``text_encoder.bert.`` in
pre-trained checkpoints, ``text_encoder.`` in fine-tuned ones.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertConfig,
    BlipImageProcessorPil,
    PreTrainedModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
)

from multidelete.artifacts.folders import refuse_existing, whole_or_nothing
from multidelete.artifacts.marks import ARCHIVE_MARK, is_marked_archive
from multidelete.artifacts.overlap import refuse_overlap
from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem, first_few
from multidelete.core.foreign import explained
from multidelete.core.words import counted, indefinite
from multidelete.models.albef import AlbefAdapter, AlbefConfig, AlbefForClassification, AlbefForRetrieval
from multidelete.models.base import Task
from multidelete.models.checkpoint import load_model
from multidelete.models.classes import name_classes
from multidelete.models.families import recognise

QUEUES = ("image_queue", "text_queue", "idx_queue", "queue_ptr")
POSITIONS = "visual_encoder.pos_embed"
IDS = "embeddings.position_ids"  # 0, 1, 2, ...: kept in official checkpoints, made anew here
TYPES, PLACES = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"
OFFICIAL_CLASSES = {(3, 1): ("contradiction", "neutral", "entailment"), (2, 2): ("False", "True")}


@dataclass(frozen=True)
class Conversion:
    """What `convert_albef` found and did.

    Attributes:
        task: What the model's head does.
        images: Images of a pair.
        classes: Names of the classes; empty for retrieval.
        image_size: Height and width of the pictures, in pixels, of the checkpoint and of the folder.
        dropped: How many tensors were left out, by what they are.
    """

    task: Task
    images: int
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    dropped: Mapping[str, int]


def convert_albef(
    source: Path,
    out: Path,
    *,
    tokenizer: str | Path,
    image_size: int | None = None,
    classes: Sequence[str] = (),
    head_width: int = 64,
    overwrite: bool = False,
) -> Conversion:
    """Write an official checkpoint as a model folder: weights, configuration, processor.

    The head tells the task: ``itm_head`` retrieval, ``cls_head`` classification. Sizes are read from
    the tensors' shapes; two images a pair from the keys that pairs of upper layers share.

    Args:
        source: File that ``torch.save`` wrote: the tensors by name, or these as ``"model"``. Only plain tensors,
            numbers, strings and containers are read (``weights_only=True``).
        out: Folder to make.
        tokenizer: Folder or hub id of the tokenizer, which the checkpoint does not hold: ``bert-base-uncased``.
        image_size: Height and width of the pictures, in pixels, a multiple of the patch size; positions are
            interpolated to it (bicubic). The checkpoint's own where it is None.
        classes: Names of the classes, in the order of the classifier's outputs. Official entailment and NLVR2
            checkpoints need none: contradiction, neutral, entailment; False, True.
        head_width: Width of an attention head, which no shape tells; 64 in all published models.
        overwrite: Replace an existing folder.

    Raises:
        CheckpointError: The file cannot be read, or is no such checkpoint; tensors are missing, unknown or of another
            shape, each named; the folder cannot be written.
        ConfigError: ``image_size``, ``classes``, ``head_width`` or the tokenizer do not fit the checkpoint.
    """
    refuse_overlap(out, [source, Path(tokenizer)])
    refuse_existing(out, overwrite=overwrite)
    official = read_official(source)
    dropped = Counter({name: kind for name in official if (kind := dropped_kind(name))}.values())
    weights = {name: tensor for name, tensor in official.items() if not dropped_kind(name)}
    pretrained = any(name.startswith("text_encoder.bert.") for name in weights)
    prefix = "text_encoder.bert." if pretrained else "text_encoder."
    weights = {our_name(name, prefix): tensor for name, tensor in weights.items()}
    without_types = _add_token_types(weights)
    config = config_of(source, weights, head_width)
    config.token_types = not without_types
    config.text_prefix = prefix
    task: Task = "retrieval" if "itm_head.weight" in weights else "classification"
    if task == "classification":
        count = len(weights["cls_head.2.weight"])
        classes = tuple(classes) or OFFICIAL_CLASSES.get((count, config.images), ())
        if len(classes) != count:
            raise ConfigError(
                f"{source} tells {counted(count, 'classes')} apart, but {counted(len(classes), 'names were')} given. "
                "Name each class, in the order of the classifier's outputs."
            )
        name_classes(config, classes)
    elif classes:
        raise ConfigError(
            f"{source} is for retrieval, and {counted(len(classes), 'names of classes were')} given. Leave them out."
        )
    own_size = config.vision_config.image_size
    if image_size is not None:
        weights[POSITIONS] = resized_positions(weights[POSITIONS], image_size, config.vision_config.patch_size)
        config.vision_config.image_size = image_size
    model = (AlbefForRetrieval if task == "retrieval" else AlbefForClassification)(config)
    refuse_mismatch(source, model, weights)
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    side = {"height": image_size or own_size, "width": image_size or own_size}
    absent = "" if Path(tokenizer).exists() else f"there is no folder {tokenizer} here, and as an id on the hub "
    remedy = "Give the folder or hub id of the one that the checkpoint was trained with (bert-base-uncased)."
    with explained(f"{absent}{tokenizer} has no readable tokenizer", remedy):
        words = AutoTokenizer.from_pretrained(str(tokenizer), trust_remote_code=False)
    if len(words) > model.config.text_config.vocab_size:
        raise ConfigError(
            f"the tokenizer of {tokenizer} has {counted(len(words), 'entries')}, and {source} has embeddings for "
            f"{model.config.text_config.vocab_size:,}. Give the one that the checkpoint was trained with."
        )
    with whole_or_nothing(out, overwrite=overwrite) as folder:
        model.save_pretrained(folder)
        VisionTextDualEncoderProcessor(BlipImageProcessorPil(size=side), words).save_pretrained(folder)
    return Conversion(task, config.images, tuple(classes), (own_size, side["height"]), dict(dropped))


def export_albef(source: Path, out: Path, *, overwrite: bool = False) -> dict[str, Tensor]:
    """Write a model folder as a checkpoint that the official code loads: ``{"model": tensors by official name}``.

    What `convert_albef` drops is not in it, but for the position ids.

    Returns:
        The tensors written.

    Raises:
        CheckpointError: Not an ALBEF folder, or the file exists already or cannot be written.
    """
    refuse_overlap(out, [source])
    refuse_existing(out, overwrite=overwrite, is_ours=is_marked_archive)
    stored = recognise(source)
    if stored.kind is not AlbefAdapter:
        raise CheckpointError(
            f"{source} holds {indefinite(stored.head)}; only {' and '.join(AlbefAdapter.heads)} have official names."
        )
    weights = official_weights(load_model(source, AlbefAdapter.model_class(stored.head)))
    with whole_or_nothing(out, overwrite=overwrite, is_ours=is_marked_archive) as partial:
        partial.rmdir()  # the result is a file
        torch.save({"model": weights, "written_by": ARCHIVE_MARK}, partial)
    return weights


def official_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """A model's weights by official name, with the dtypes that they were stored in."""
    dtypes: Mapping[str, torch.dtype] = getattr(model, "stored_dtypes", {})
    shared: Mapping[str, str] = model.all_tied_weights_keys
    prefix: str = model.config.text_prefix
    weights = {
        (prefix + name.removeprefix("text_encoder.") if name.startswith("text_encoder.") else name): (
            tensor.detach().cpu().to(dtypes.get(shared.get(name, name), tensor.dtype))
        )
        for name, tensor in model.state_dict().items()
    }
    if not getattr(model.config, "token_types", True):  # all of one type: its vector is part of every position's
        shift = weights.pop(prefix + TYPES)[0]
        weights[prefix + PLACES] = (weights[prefix + PLACES].float() + shift.float()).to(weights[prefix + PLACES].dtype)
    weights[prefix + IDS] = torch.arange(model.config.text_config.max_position_embeddings).unsqueeze(0)
    return weights


def read_official(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by their official names."""
    remedy = "Give a file of plain tensors, as torch.save writes a state_dict; nothing else is unpickled."
    with explained(f"{checkpoint} cannot be read", remedy):
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tensors = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{checkpoint} holds no tensors by name, neither at the top nor as 'model'.")
    return cast(dict[str, Tensor], tensors)


def dropped_kind(name: str) -> str | None:
    """What a tensor is that this network does not have; None where it has it."""
    if name.split(".")[0].endswith("_m"):
        return "momentum copies"
    if name in QUEUES:
        return "queues"
    if name.startswith("text_encoder.cls."):
        return "masked language head"
    return "position ids" if name.endswith(IDS) else None


def _add_token_types(weights: dict[str, Tensor]) -> bool:
    """Give a text encoder without token types (LAVIS) one of zeros, which changes nothing."""
    places = weights.get(f"text_encoder.{PLACES}")
    if f"text_encoder.{TYPES}" in weights or places is None:
        return False
    weights[f"text_encoder.{TYPES}"] = places.new_zeros(1, *places.shape[1:])
    return True


def our_name(official: str, prefix: str) -> str:
    """The name of a tensor in our network."""
    return "text_encoder." + official.removeprefix(prefix) if official.startswith(prefix) else official


def config_of(checkpoint: Path, weights: Mapping[str, Tensor], head_width: int) -> AlbefConfig:
    """The sizes that the shapes tell."""
    layer = "text_encoder.encoder.layer."
    heads = {"vision_proj.weight", "itm_head.weight"} if "cls_head.2.weight" not in weights else set()
    tell = ("visual_encoder.patch_embed.proj.weight", "visual_encoder.blocks.0.mlp.fc1.weight",
            "text_encoder.embeddings.word_embeddings.weight", "text_encoder.embeddings.position_embeddings.weight",
            "text_encoder.embeddings.token_type_embeddings.weight", f"{layer}0.intermediate.dense.weight")  # fmt: skip
    lacking = [name for name in (POSITIONS, *tell, *sorted(heads)) if name not in weights]
    looking = {int(name.removeprefix(layer).split(".")[0]) for name in weights
               if name.startswith(layer) and ".crossattention." in name}  # fmt: skip
    if lacking or not looking:
        what = first_few(lacking) or "text layers with crossattention"
        raise CheckpointError(
            f"{checkpoint} is no ALBEF checkpoint for retrieval (itm_head) or classification (cls_head): "
            f"it lacks {what}. Give one that the official Retrieval, VE, NLVR or Pretrain script wrote."
        )
    patch, mlp, words, positions, types, text_mlp = (weights[name] for name in tell)
    widths = sorted({patch.shape[0], words.shape[1]})
    if head_width < 1 or any(width % head_width for width in widths):
        raise ConfigError(
            SettingProblem("head_width", f"is {head_width}; it must divide the encoders' widths ({first_few(widths)}).")
        )
    fusion_layer = min(looking)
    keys = [weights.get(f"{layer}{fusion_layer + i}.crossattention.self.key.weight") for i in (0, 1)]
    shared = keys[0] is not None and keys[1] is not None and torch.equal(keys[0], keys[1])
    grid = math.isqrt(weights[POSITIONS].shape[1] - 1)
    return AlbefConfig(
        vision_config=ViTConfig(
            hidden_size=patch.shape[0],
            num_hidden_layers=len({name.split(".")[2] for name in weights if name.startswith("visual_encoder.blocks")}),
            num_attention_heads=patch.shape[0] // head_width,
            intermediate_size=mlp.shape[0],
            image_size=grid * patch.shape[-1],
            patch_size=patch.shape[-1],
            layer_norm_eps=1e-6,
        ),
        text_config=BertConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=max(looking) + 1,
            num_attention_heads=words.shape[1] // head_width,
            intermediate_size=text_mlp.shape[0],
            max_position_embeddings=positions.shape[0],
            type_vocab_size=types.shape[0],
        ),
        fusion_layer=fusion_layer,
        projection_dim=len(weights["vision_proj.weight"]) if "vision_proj.weight" in weights else 256,
        images=2 if shared else 1,
    )


def refuse_mismatch(checkpoint: Path, model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Raise where names or shapes are not exactly those of the network."""
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    problems = []
    if missing := sorted(wanted.keys() - weights.keys()):
        problems.append(f"{checkpoint}: {counted(len(missing), 'tensors are')} missing: {first_few(missing)}.")
    if unknown := sorted(weights.keys() - wanted.keys()):
        problems.append(
            f"{checkpoint}: {counted(len(unknown), 'tensors are')} unknown: {first_few(unknown)}. An ALBEF for "
            f"{'retrieval' if isinstance(model, AlbefForRetrieval) else 'classification'} has none of these."
        )
    shapes = [
        f"{name} is {list(weights[name].shape)}, not {list(shape)}"
        for name, shape in wanted.items()
        if name in weights and weights[name].shape != shape
    ]
    if shapes:
        problems.append(f"{checkpoint}: {counted(len(shapes), 'tensors have')} another shape: {first_few(shapes)}.")
    if problems:
        raise CheckpointError(problems)


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
