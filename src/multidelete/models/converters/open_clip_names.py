"""What open_clip's names and configuration files say of a network that no tensor's shape tells."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem, UnsupportedError, first_few
from multidelete.core.json_files import Json, JsonObject, read_json_object
from multidelete.core.paths import lies_there
from multidelete.models.converters.layout import Stored
from multidelete.models.converters.origin import ORIGIN

CONFIG = "open_clip_config.json"
QUICK, EXACT, TANH = "quick_gelu", "gelu", "gelu_pytorch_tanh"
_HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}  # of vision towers (H, g and bigG) that are not 64
_SIGLIP_HEADS = {1152: 16, 1536: 16}
OPENAI_MEAN, OPENAI_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

# Name: width and layers of the vision tower, patch, width and layers of the text tower.
TOWERS: Mapping[str, tuple[int, int, int, int, int]] = {
    "ViT-S-32-alt": (384, 12, 32, 256, 10),
    "ViT-S-32": (384, 12, 32, 384, 12),
    "ViT-S-16-alt": (384, 12, 16, 256, 10),
    "ViT-S-16": (384, 12, 16, 384, 12),
    "ViT-M-32-alt": (512, 12, 32, 384, 12),
    "ViT-M-32": (512, 12, 32, 512, 12),
    "ViT-M-16-alt": (512, 12, 16, 384, 12),
    "ViT-M-16": (512, 12, 16, 512, 12),
    "ViT-B-32-plus-256": (896, 12, 32, 640, 12),
    "ViT-B-32-256": (768, 12, 32, 512, 12),
    "ViT-B-32": (768, 12, 32, 512, 12),
    "ViT-B-16-plus": (896, 12, 16, 640, 12),
    "ViT-B-16-plus-240": (896, 12, 16, 640, 12),
    "ViT-B-16": (768, 12, 16, 512, 12),
    "ViT-L-14-280": (1024, 24, 14, 768, 12),
    "ViT-L-14-336": (1024, 24, 14, 768, 12),
    "ViT-L-14": (1024, 24, 14, 768, 12),
    "ViT-L-16-320": (1024, 24, 16, 768, 12),
    "ViT-L-16": (1024, 24, 16, 768, 12),
    "ViT-H-14-378": (1280, 32, 14, 1024, 24),
    "ViT-H-14": (1280, 32, 14, 1024, 24),
    "ViT-H-16": (1280, 32, 16, 1024, 24),
    "ViT-g-14": (1408, 40, 14, 1024, 24),
    "ViT-bigG-14": (1664, 48, 14, 1280, 32),
}


@dataclass(frozen=True)
class Told:
    """What is known of a network beside its tensors.

    Attributes:
        vision_act: Activation of the vision tower; None where nothing tells.
        text_act: Activation of the text tower.
        vision_heads: Attention heads; None where the width tells.
        text_heads: The same of the text tower.
        towers: Sizes that the name stands for, to compare.
        widths: Widths of the two towers that a file says, to compare.
        preprocess: How pictures are prepared.
        text: The configuration file, to write back.
    """

    vision_act: str | None = None
    text_act: str | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    towers: tuple[int, int, int, int, int] | None = None
    widths: tuple[int | None, int | None] = (None, None)
    preprocess: JsonObject | None = None
    text: str = ""


def told_of(stored: Stored, architecture: str | Path | None, *, siglip: bool) -> Told:
    """What the user's word, or else the configuration file beside a checkpoint, says; of this tool's files, their own.

    Raises:
        ConfigError: The word is neither a known name nor a file.
        UnsupportedError: It is of a network without a counterpart.
        CheckpointError: The file is damaged.
    """
    beside = stored.path.parent / CONFIG
    if stored.config:
        return _of_own(stored)
    if architecture is None:
        return _of_file(beside, siglip=siglip) if beside.is_file() else Told()
    if lies_there(architecture):
        path = Path(architecture)
        return _of_file(path / CONFIG if path.is_dir() else path, siglip=siglip)
    return _of_name(str(architecture), siglip=siglip)


def refuse_other_widths(stored: Stored, told: Told, widths: tuple[int, int]) -> None:
    """Refuse a configuration file of another network.

    Raises:
        CheckpointError: Its widths are others.
    """
    if any(said not in (None, width) for said, width in zip(told.widths, widths, strict=True)):
        raise CheckpointError(
            f"{stored.path} has towers of width {widths[0]} and {widths[1]}, and its configuration file says "
            f"{told.widths[0]} and {told.widths[1]}. Give the one that belongs to it."
        )


def _of_own(stored: Stored) -> Told:
    acts = [stored.setting(f"{tower}_config", "hidden_act") for tower in ("vision", "text")]
    heads = [stored.setting(f"{tower}_config", "num_attention_heads") for tower in ("vision", "text")]
    files = stored.setting(ORIGIN, "files", CONFIG)
    told = [one if isinstance(one, str) and one in (QUICK, EXACT, TANH) else None for one in acts]
    numbers = [one if isinstance(one, int) and one > 0 else None for one in heads]
    return Told(told[0], told[1], numbers[0], numbers[1], text=files if isinstance(files, str) else "")


def _of_name(name: str, *, siglip: bool) -> Told:
    bare = name.replace("/", "-").removesuffix("-quickgelu")
    if siglip and "SigLIP" in name:
        return Told(text_act=TANH if "SigLIP2" in name else EXACT, vision_act=timm_activation(name))
    if not siglip and bare in TOWERS:
        act = QUICK if name.endswith("-quickgelu") else EXACT
        return Told(act, act, towers=TOWERS[bare])
    known = "names with SigLIP or SigLIP2" if siglip else f"{first_few(list(TOWERS), limit=30)}, each also -quickgelu"
    raise ConfigError(
        SettingProblem(
            "architecture",
            f"is {name!r}, which is neither a file nor a known name of open_clip's. Known are {known}. "
            "For another, give its JSON file.",
        )
    )


def timm_activation(name: str) -> str:
    """Activation of timm's SigLIP trunks: the exact one in the first that there were, tanh's in later ones.

    >>> timm_activation("vit_base_patch16_siglip_224"), timm_activation("vit_so400m_patch16_siglip_256")
    ('gelu', 'gelu_pytorch_tanh')
    """
    low = name.lower().replace("-", "_")
    late = ("patch32", "b_32", "so400m_patch16", "so400m_16", "giantopt", "gopt", "large_patch16_siglip_512",
            "l_16_siglip2_512")  # fmt: skip
    return TANH if any(part in low for part in late) else EXACT


def _of_file(path: Path, *, siglip: bool) -> Told:
    content = read_json_object(path, "Give the configuration file that open_clip wrote.")
    model = content.get("model_cfg", content)
    vision, text = (model.get(name) if isinstance(model, dict) else None for name in ("vision_cfg", "text_cfg"))
    if not isinstance(model, dict) or not isinstance(vision, dict) or not isinstance(text, dict):
        raise CheckpointError(f"{path} is no configuration of open_clip's: it lacks vision_cfg and text_cfg.")
    if reasons := list(_without_counterpart(model, vision, text, siglip=siglip)):
        raise UnsupportedError([f"{path} is of a network without a counterpart in transformers: {one}"
                                for one in reasons])  # fmt: skip
    quick = QUICK if model.get("quick_gelu") else EXACT
    widths = [None if one.get("width") is None else _whole(one["width"], path) for one in (vision, text)]
    head_width = _whole(vision.get("head_width", 64), path)
    preprocess = content.get("preprocess_cfg")
    trunk = vision.get("timm_model_name")
    return Told(
        vision_act=timm_activation(trunk) if isinstance(trunk, str) else TANH if _is_tanh(vision) else quick,
        text_act=TANH if _is_tanh(text) else quick,
        vision_heads=None if siglip or widths[0] is None else widths[0] // head_width,
        text_heads=_whole(text.get("heads", 8), path),
        widths=(widths[0], widths[1]),
        preprocess=preprocess if isinstance(preprocess, dict) else None,
        text=json.dumps(content, indent=4),
    )


def _is_tanh(tower: JsonObject) -> bool:
    act = tower.get("act_kwargs")
    return isinstance(act, dict) and act.get("approximate") == "tanh"


def _whole(value: Json, path: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{path}: {value!r} stands where a whole number of 1 or more must.")
    return value


def _without_counterpart(model: JsonObject, vision: JsonObject, text: JsonObject, *, siglip: bool) -> Iterator[str]:
    """Why a configuration is of no CLIP or SigLIP as transformers has them."""
    if isinstance(vision.get("layers"), list):
        yield "its vision tower is a ResNet (layers is a list)."
    if "multimodal_cfg" in model:
        yield "it is a CoCa, with a captioning decoder (multimodal_cfg)."
    if text.get("hf_model_name"):
        yield f"its text tower is {text['hf_model_name']} of the hub (hf_model_name)."
    trunk = vision.get("timm_model_name")
    if trunk and not (siglip and vision.get("timm_pool") == "map" and vision.get("timm_proj") in ("none", "", None)):
        yield f"its vision tower is timm's {trunk} without SigLIP's pooling head."
    for tower, named in (("vision_cfg", vision), ("text_cfg", text)):
        usual: dict[str, tuple[object, ...]] = {
            "pool_type": ("last",) if siglip and tower == "text_cfg" else ("tok", "argmax"),
            "ls_init_value": (), "attentional_pool": (False,), "no_ln_pre": (False,), "final_ln_after_pool": (False,),
            "embed_cls": (False,), "pos_embed_type": ("learnable",), "input_patchnorm": (False,), "global_average_pool":
            (False,), "norm_kwargs": ({}, {"eps": 1e-6} if siglip else {"eps": 1e-5}), "block_type": ("default",),
        }  # fmt: skip
        usual["no_causal_mask"] = (True,) if siglip else (False,)
        usual["proj_bias"] = (True,) if siglip else (False,)
        for name, values in usual.items():
            if named.get(name) is not None and named[name] not in values:
                yield f"{tower} sets {name} to {named[name]!r}."


def heads_of(width: int, *, vision: bool, siglip: bool, head_width: int) -> int | None:
    """Attention heads of a published tower, or by the usual width of a head; None where that does not divide it."""
    if siglip and width in _SIGLIP_HEADS:
        return _SIGLIP_HEADS[width]
    if vision and not siglip and width in _HEAD_WIDTHS:
        return width // _HEAD_WIDTHS[width]
    return width // head_width if head_width > 0 and width % head_width == 0 else None


def preprocess_of(text: str) -> JsonObject:
    """How pictures are prepared, of the text of a configuration file; empty where it does not say."""
    content = json.loads(text) if text else {}
    told = content.get("preprocess_cfg") if isinstance(content, dict) else None
    return cast(JsonObject, told) if isinstance(told, dict) else {}
