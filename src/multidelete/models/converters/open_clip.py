"""open_clip's checkpoints of CLIP with vision transformers, and `CLIPModel`.

The names are those of github.com/mlfoundations/open_clip, which are those of github.com/openai/CLIP. Attention's
queries, keys and values lie in one tensor, projections are applied from the right (``x @ proj``), and the text's state
is taken at its largest token id. `CLIPModel` does the latter where its configuration says ``eos_token_id`` 2.
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from multidelete.core.errors import CheckpointError, SettingProblem, UnsupportedError
from multidelete.core.json_files import Json
from multidelete.models.converters.layout import Described, Layout, Stored, Untold
from multidelete.models.converters.open_clip_names import (
    CONFIG,
    EXACT,
    OPENAI_MEAN,
    OPENAI_STD,
    QUICK,
    heads_of,
    preprocess_of,
    refuse_other_widths,
    told_of,
)
from multidelete.models.converters.origin import Origin
from multidelete.models.converters.rules import Rule, ours_by, same, theirs_by

_OPENAI = ("input_resolution", "context_length", "vocab_size")  # kept in files that were made of OpenAI's own
_LEGACY_EOS = 2
_WITHOUT_COUNTERPART = {
    "visual.layer1.0.conv1.weight": "its vision tower is a ResNet",
    "visual.stem.conv1.weight": "its vision tower is a ResNet",
    "text_decoder.text_projection": "it is a CoCa, with a captioning decoder",
    "text_decoder.ln_final.weight": "it is a CoCa, with a captioning decoder",
    "visual.attn_pool.query": "its vision tower pools with an attention of its own (attn_pool)",
    "text.cls_emb": "its text tower has a class token of its own (cls_emb)",
    "visual.transformer.resblocks.0.ls_1.gamma": "its layers are scaled (ls_1)",
    "text.text_projection.bias": "its text projection has a bias",
    "logit_bias": "it has CLIP's towers with SigLIP's bias (logit_bias)",
    "text.transformer.embeddings.word_embeddings.weight": "its text tower is one of the hub",
    "text.proj.weight": "its text tower is one of the hub",
}


def fits(tensors: Mapping[str, Tensor]) -> bool:
    """Whether there are an open_clip's towers, with or without counterpart."""
    is_clip = "logit_scale" in tensors and any(name.startswith("visual.") for name in tensors)
    return is_clip and not (is_siglip(tensors))


def is_siglip(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the vision tower is timm's with SigLIP's pooling head."""
    return "visual.trunk.attn_pool.latent" in tensors


def describe(stored: Stored, untold: Untold) -> Described:
    """The `CLIPModel` of a checkpoint.

    Raises:
        UnsupportedError: It has no counterpart.
        CheckpointError: It lacks what tells its sizes, or is another network than the user names.
    """
    tensors, path = stored.tensors, stored.path
    refuse_without_counterpart(stored, _WITHOUT_COUNTERPART)
    part = "text." if "text.token_embedding.weight" in tensors else ""
    tell = ("visual.conv1.weight", "visual.positional_embedding", "visual.transformer.resblocks.0.mlp.c_fc.weight",
            f"{part}token_embedding.weight", f"{part}positional_embedding",
            f"{part}transformer.resblocks.0.mlp.c_fc.weight", f"{part}text_projection",
            "visual.ln_pre.weight", "visual.proj")  # fmt: skip
    patch, places, mlp, words, text_places, text_mlp, projection = sizes(stored, tell)[:7]
    told = told_of(stored, untold.architecture, siglip=False)
    refuse_other_widths(stored, told, (patch[0], words[1]))
    layers = [depth(tensors, f"{tower}transformer.resblocks.") for tower in ("visual.", part)]
    towers = (patch[0], layers[0], patch[-1], words[1], layers[1])
    if told.towers is not None and told.towers != towers:
        raise CheckpointError(
            f"{path} is no {untold.architecture}: width and layers of its vision tower, patch, width and layers of its "
            f"text tower are {list(towers)}, and those of that name {list(told.towers)}. Name the one it is."
        )
    is_openai, warnings = all(name in tensors for name in _OPENAI), []
    usual = QUICK if is_openai else EXACT
    if told.vision_act is None and not is_openai:
        warnings.append(
            f"{path} does not tell its activation, and is read with GELU, as open_clip does for names without "
            "-quickgelu. If it was trained with QuickGELU (OpenAI's, DFN's and MetaCLIP's weights are), name its "
            "architecture: ViT-B-32-quickgelu."
        )
    grid = math.isqrt(places[0] - 1)
    heads = [
        head_count(path, width, vision=vision, siglip=False, untold=untold) if known is None else known
        for known, width, vision in ((told.vision_heads, patch[0], True), (told.text_heads, words[1], False))
    ]
    config = CLIPConfig(
        projection_dim=projection[1],
        vision_config={
            "hidden_size": patch[0], "num_hidden_layers": layers[0], "num_attention_heads": heads[0],
            "intermediate_size": mlp[0], "image_size": grid * patch[-1], "patch_size": patch[-1],
            "hidden_act": told.vision_act or usual, "projection_dim": projection[1], "num_channels": patch[1],
        },
        text_config={
            "hidden_size": words[1], "num_hidden_layers": layers[1], "num_attention_heads": heads[1],
            "intermediate_size": text_mlp[0], "vocab_size": words[0], "max_position_embeddings": text_places[0],
            "hidden_act": told.text_act or usual, "projection_dim": projection[1],
            "eos_token_id": _LEGACY_EOS, "bos_token_id": None,
        },
    )  # fmt: skip
    constants = [name for name in (*_OPENAI, "attn_mask", "text.attn_mask") if name in tensors]
    return Described(
        "CLIPModel", config, constants, part=part, nonscalar=tensors["logit_scale"].ndim > 0, warnings=warnings,
        files={CONFIG: told.text} if told.text else {},
    )  # fmt: skip


def refuse_without_counterpart(stored: Stored, reasons: Mapping[str, str]) -> None:
    """Raise `UnsupportedError` where a tensor tells that no network of transformers' is the same."""
    why = dict.fromkeys(reason for name, reason in reasons.items() if name in stored.tensors)
    trunk = any(name.startswith("visual.trunk.") for name in stored.tensors)
    if trunk and "visual.trunk.attn_pool.latent" not in stored.tensors:
        why["its vision tower is one of timm's without SigLIP's pooling head (visual.trunk)"] = None
    if why:
        raise UnsupportedError(
            [f"{stored.path} has no counterpart in transformers: {reason}. CLIP with vision transformers and SigLIP "
             "are read (docs/models.md)." for reason in why]
        )  # fmt: skip


def sizes(stored: Stored, names: Sequence[str]) -> list[tuple[int, ...]]:
    """Shapes of the tensors that tell a network's sizes.

    Raises:
        CheckpointError: Some are missing, or of another number of dimensions.
    """
    lacking = [name for name in names if name not in stored.tensors]
    if lacking:
        raise CheckpointError(
            f"{stored.path} lacks {', '.join(lacking)}, which an open_clip checkpoint of this kind has. Give a whole "
            "one, of a network with the usual towers."
        )
    shapes = [tuple(stored.tensors[name].shape) for name in names]
    wrong = [f"{name} is {list(shape)}" for name, shape in zip(names, shapes, strict=True)
             if len(shape) < 2 and not name.endswith("ln_pre.weight")]  # fmt: skip
    if wrong or len(shapes[0]) != 4:
        raise CheckpointError(f"{stored.path}: {', '.join(wrong) or f'{names[0]} is {list(shapes[0])}'}, of the wrong "
                              "number of dimensions. Give an open_clip checkpoint.")  # fmt: skip
    return shapes


def depth(tensors: Mapping[str, Tensor], layers: str) -> int:
    """Number of layers: as many as there are numbers of them; one that is no such number is unknown afterwards."""
    return len({name.removeprefix(layers).split(".")[0] for name in tensors if name.startswith(layers)})


def head_count(path: object, width: int, *, vision: bool, siglip: bool, untold: Untold) -> int:
    """Attention heads of a tower.

    Raises:
        CheckpointError: Nothing tells.
    """
    heads = heads_of(width, vision=vision, siglip=siglip, head_width=untold.head_width)
    if heads is None:
        raise CheckpointError(
            SettingProblem(
                "architecture",
                f"is needed for {path}: nothing tells the attention heads of its "
                f"{'vision' if vision else 'text'} tower, of width {width}. Give a name of open_clip's, or the "
                f"JSON file of its configuration ({CONFIG}).",
            )
        )
    return heads


def resblocks(theirs: str, ours: str, layers: int) -> list[Rule]:
    """Rules for the layers of a tower."""
    made = []
    for number in range(layers):
        one, other = f"{theirs}{number}.", f"{ours}{number}."
        made += same(
            {f"{one}ln_1": f"{other}layer_norm1", f"{one}attn.out_proj": f"{other}self_attn.out_proj",
             f"{one}ln_2": f"{other}layer_norm2", f"{one}mlp.c_fc": f"{other}mlp.fc1",
             f"{one}mlp.c_proj": f"{other}mlp.fc2"},
            ".weight", ".bias",
        )  # fmt: skip
        for end in ("weight", "bias"):
            joined = tuple(f"{other}self_attn.{letter}_proj.{end}" for letter in "qkv")
            made.append(Rule(f"{one}attn.in_proj_{end}", joined))
    return made


def rules(config: PreTrainedConfig, origin: Origin) -> list[Rule]:
    """All tensors of a `CLIPModel`."""
    part, see, say = origin.part, "vision_model.", "text_model."
    return [
        *same({"visual.class_embedding": f"{see}embeddings.class_embedding",
               "visual.positional_embedding": f"{see}embeddings.position_embedding.weight",
               "visual.conv1.weight": f"{see}embeddings.patch_embedding.weight",
               f"{part}token_embedding.weight": f"{say}embeddings.token_embedding.weight",
               f"{part}positional_embedding": f"{say}embeddings.position_embedding.weight"}),
        *same({"visual.ln_pre": f"{see}pre_layrnorm", "visual.ln_post": f"{see}post_layernorm",
               f"{part}ln_final": f"{say}final_layer_norm"}, ".weight", ".bias"),
        *resblocks("visual.transformer.resblocks.", f"{see}encoder.layers.", config.vision_config.num_hidden_layers),
        *resblocks(f"{part}transformer.resblocks.", f"{say}encoder.layers.", config.text_config.num_hidden_layers),
        Rule("visual.proj", ("visual_projection.weight",), "turned"),
        Rule(f"{part}text_projection", ("text_projection.weight",), "turned"),
        Rule("logit_scale", ("logit_scale",), (), (1,) if origin.nonscalar else ()),
    ]  # fmt: skip


def processor(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, origin: Origin) -> ProcessorMixin:
    """OpenAI's pictures, unless the configuration file says otherwise."""
    told = preprocess_of(origin.files.get(CONFIG, ""))
    side = config.vision_config.image_size
    squared = {"height": side, "width": side}
    is_squashed = told.get("resize_mode") == "squash"
    pictures = CLIPImageProcessorPil(
        size=squared if is_squashed else {"shortest_edge": side}, crop_size=squared, do_center_crop=not is_squashed,
        image_mean=numbers(told.get("mean"), OPENAI_MEAN), image_std=numbers(told.get("std"), OPENAI_STD),
        resample=resample(told.get("interpolation")),
    )  # fmt: skip
    return CLIPProcessor(pictures, tokenizer)


def numbers(value: Json, usual: list[float]) -> list[float]:
    """Three numbers, or the usual ones."""
    listed = value if isinstance(value, list | tuple) else []
    told = [float(one) for one in listed if isinstance(one, int | float)]
    return told if len(told) == len(usual) else usual


def resample(name: Json) -> int:
    """What Pillow calls a way to scale pictures."""
    return {"bilinear": 2, "nearest": 0, "lanczos": 1}.get(str(name), 3)


def usual(config: PreTrainedConfig) -> Origin:
    """A file as open_clip's training writes it.

    Raises:
        UnsupportedError: open_clip has no such network.
    """
    text, vision = config.text_config, config.vision_config
    reasons = []
    if text.eos_token_id not in (_LEGACY_EOS, text.vocab_size - 1):
        reasons.append(
            f"it takes a text's state at token {text.eos_token_id}, and open_clip at the largest "
            f"({text.vocab_size - 1})"
        )
    if {text.layer_norm_eps, vision.layer_norm_eps} != {1e-5}:
        reasons.append("its norms have another epsilon than 1e-5")
    if text.hidden_act != vision.hidden_act or text.hidden_act not in (QUICK, EXACT):
        reasons.append(f"its activations are {vision.hidden_act} and {text.hidden_act}")
    if reasons:
        raise UnsupportedError(f"open_clip has no such CLIP: {'; '.join(reasons)}.")
    return Origin(layout="open_clip", inside="state_dict")


LAYOUT = Layout(
    name="open_clip",
    called="an open_clip checkpoint of CLIP",
    fits=fits,
    describe=describe,
    to_ours=lambda tensors, config, origin: ours_by(rules(config, origin), tensors),
    to_theirs=lambda weights, config, origin: theirs_by(rules(config, origin), weights),
    processor=processor,
    heads=("CLIPModel",),
    usual=usual,
)
