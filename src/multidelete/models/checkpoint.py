"""Model folders and hub ids: what is in them, and how weights are written back as they were."""

import copy
import hashlib
import json
import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from multidelete.artifacts.manifest import digest_folder
from multidelete.core.errors import CheckpointError, ConfigError, SettingProblem, first_few
from multidelete.core.foreign import LIBRARY_ERRORS, explained, sentence
from multidelete.core.words import counted, indefinite
from multidelete.models.base import Adapter
from multidelete.models.converters.sentence_transformers import model_folder
from multidelete.models.stored_weights import refuse_unfit, stored_dtypes, stored_tensors, unexpected, weight_files
from multidelete.models.trust import refuse_devices, refuse_untrusted

LORA_CONFIG = "adapter_config.json"  # what peft calls it
_WHOLE = "Give a whole folder, as save_pretrained or 'multidelete train' wrote it."


@dataclass(frozen=True)
class StoredConfig:
    """What a config.json says a model is: its ``model_type``, and the names of its network classes."""

    model_type: str
    architectures: tuple[str, ...]


def lora_base(source: str | Path) -> str | None:
    """Folder or hub id of the model that a LoRA folder belongs to; None where ``source`` is no LoRA folder.

    Raises:
        CheckpointError: It names none, or one that is not there.
    """
    path = Path(source) / LORA_CONFIG
    if not path.is_file():
        return None
    with explained(f"{path} is not valid JSON", "Write the folder anew."):
        content = json.loads(path.read_text(encoding="utf-8"))
    base = content.get("base_model_name_or_path") if isinstance(content, dict) else None
    if not isinstance(base, str) or not base:
        raise CheckpointError(f"{path} names no model that the adapter belongs to. Set base_model_name_or_path to it.")
    if base.startswith("/") and not Path(base).is_dir():
        raise CheckpointError(
            f"{source} belongs to the model {base}, which is not there. Put it back, or set base_model_name_or_path "
            f"in {path} to where it is."
        )
    if (Path(base) / LORA_CONFIG).is_file():
        raise CheckpointError(f"{source} belongs to {base}, an adapter itself. Merge that one first.")
    return base


def read_config(source: str | Path) -> StoredConfig:
    """What the config.json of a local folder or hub id says the model is; of a LoRA folder its base model's.

    Raises:
        CheckpointError: There is no such folder, or it is not a model folder.
    """
    source = model_folder(lora_base(source) or source)
    folder = Path(source)
    if folder.exists():
        if not folder.is_dir():
            raise CheckpointError(
                f"{source} is a file; a model is a folder with config.json and model.safetensors, or a checkpoint file "
                "whose name ends in .pt, .pth, .bin, .ckpt or .safetensors."
            )
        refuse_devices(folder)
        if not (folder / "config.json").is_file():
            names = first_few(sorted(p.name for p in folder.iterdir())) or "nothing"
            raise CheckpointError(
                f"{source} is not a model folder: it has no config.json (found: {names}). "
                "Give the folder that save_pretrained or 'multidelete train' wrote."
            )
    elif str(source).startswith((".", "/", "~")) or str(source).count("/") != 1:
        raise CheckpointError(f"{source} does not exist. Give a model folder or a hub id such as 'org/name'.")
    try:
        content, _ = PreTrainedConfig.get_config_dict(str(source))
    except LIBRARY_ERRORS as error:
        why = (
            f"{source} cannot be read as a model"
            if folder.exists()
            else (f"there is no folder {source} here, and as an id on the hub it cannot be read")
        )
        raise CheckpointError(f"{why}: {sentence(error)} Give a model folder or a hub id.") from error
    if not (isinstance(content, dict) and isinstance(content.get("model_type"), str)):
        raise CheckpointError(
            f"{source} cannot be read as a model: its config.json has no model_type. "
            "Give the folder that save_pretrained or 'multidelete train' wrote."
        )
    architectures = content.get("architectures") or ()
    if not isinstance(architectures, list | tuple) or not all(isinstance(name, str) for name in architectures):
        raise CheckpointError(
            f"{source} cannot be read as a model: architectures in its config.json is {architectures!r}; it must be a "
            "list of class names."
        )
    refuse_untrusted(source, content)
    return StoredConfig(content["model_type"], tuple(architectures))


def load_model(
    source: str | Path,
    model_class: type[PreTrainedModel],
    *,
    allow_pickle: bool = False,
    config: PreTrainedConfig | None = None,
    new_head: bool = False,
) -> PreTrainedModel:
    """Weights in float32, whatever they are stored in; `save_weights_as_stored` restores that.

    Only safetensors are read unless ``allow_pickle``, and pickled weights only as plain tensors
    (``weights_only=True``).

    Args:
        source: Folder or hub id.
        model_class: The network's class.
        allow_pickle: Also read ``.bin`` weights.
        config: Takes the place of the stored configuration.
        new_head: Parts of the network that are missing as a whole get random weights instead of an error.

    Raises:
        CheckpointError: Weights are missing, unreadable, or of another shape.
    """
    source = model_folder(source)
    folder = Path(source)
    if config is None:
        with explained(f"{source}: its config.json cannot be used", _WHOLE):
            config = model_class.config_class.from_pretrained(str(source), trust_remote_code=False)
    if folder.is_dir():
        refuse_unfit(source, model_class, config, stored_tensors(weight_files(folder, allow_pickle=allow_pickle)))
    with explained(f"{source}: its weights cannot be read", _WHOLE):
        model, report = model_class.from_pretrained(
            str(source),
            config=config,
            dtype=torch.float32,
            use_safetensors=None if allow_pickle else True,
            weights_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
        )
    problems = []
    if report["mismatched_keys"]:
        wrong = [
            f"{key} is {list(stored)}, not {list(wanted)}" for key, stored, wanted in sorted(report["mismatched_keys"])
        ]
        problems.append(
            f"{source}: {counted(len(wrong), 'weights have')} another shape than config.json says: {first_few(wrong)}. "
            "Give a folder whose configuration and weights belong together."
        )
    missing, strange = sorted(report["missing_keys"]), unexpected(report["unexpected_keys"])
    if new_head:
        stored_parts = {key.split(".")[0] for key in model.state_dict().keys() - set(missing)}
        missing = [key for key in missing if key.split(".")[0] in stored_parts]
        strange = [key for key in strange if key.split(".")[0] in stored_parts]
    if missing:
        problems.append(
            f"{source}: {counted(len(missing), 'weights are')} missing: {first_few(missing)}. "
            f"They would be random; give a complete {model_class.__name__} folder."
        )
    if strange:
        problems.append(
            f"{source}: {counted(len(strange), 'weights have')} no place in {indefinite(model_class.__name__)} "
            "of this config.json: "
            f"{first_few(strange)}. They would be lost; give a folder whose configuration and weights belong together."
        )
    if problems:
        raise CheckpointError(problems)
    refuse_not_finite(source, model)
    if not folder.is_dir():  # a hub id: its files are in the hub's cache by now
        folder = Path(cached_file(str(source), "config.json")).parent
    model.stored_dtypes = stored_dtypes(folder)
    return model


def not_finite(model: torch.nn.Module) -> list[str]:
    """Names of the weights that hold NaN or infinite numbers."""
    return [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]


def refuse_not_finite(name: str | Path, model: torch.nn.Module) -> None:
    """Raise `CheckpointError` where weights hold NaN or infinite numbers."""
    broken = not_finite(model)
    if broken:
        raise CheckpointError(
            f"{name}: {counted(len(broken), 'weights hold')} NaN or infinite numbers: {first_few(broken)}. Such a "
            "model says nothing of any pair; give one from before it diverged."
        )


def weights_digest(adapter: Adapter, names: Container[str] | None = None) -> str:
    """SHA-256 of weights and their names: of all, or of those that are named."""
    sha = hashlib.sha256()
    for name, tensor in sorted(adapter.state_dict().items()):
        if names is not None and name not in names:
            continue
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def stored_weights_digest(folder: Path) -> str:
    """SHA-256 of a folder's weights as they are stored: the same however they are shared between files.

    Of a LoRA folder, of its own weights and the base model's; of one without safetensors, of its files' content.
    """
    sha, folder = hashlib.sha256(), Path(model_folder(folder))
    where: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                where |= dict.fromkeys(file.keys(), path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} cannot be read as safetensors: {error}. Write the folder anew.") from error
    for key, path in sorted(where.items()):
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor(key)
        sha.update(repr((key, tuple(tensor.shape), str(tensor.dtype))).encode())
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    if not where:
        sha.update(digest_folder(folder).encode())
    base = lora_base(folder)
    if base is not None:
        sha.update((stored_weights_digest(Path(base)) if Path(base).is_dir() else base).encode())
    return sha.hexdigest()


def hold_in_float32(model: PreTrainedModel) -> None:
    """Cast a model's weights to float32 in place; `save_weights_as_stored` writes them as they were."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    dtypes = {name: t.dtype for name, t in tensors if t.is_floating_point() and t.dtype != torch.float32}
    if dtypes:
        model.stored_dtypes = getattr(model, "stored_dtypes", {}) | dtypes
        model.float()


def save_weights_as_stored(model: PreTrainedModel, folder: Path) -> None:
    """``save_pretrained`` with the dtypes that the weights were loaded from."""
    dtypes: dict[str, torch.dtype] = getattr(model, "stored_dtypes", {})
    if dtypes:
        model = copy.deepcopy(model).to("cpu")
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name in dtypes:
                tensor.data = tensor.data.to(dtypes[name])
    model.save_pretrained(folder)


def choose_trainable(adapter: Adapter, trainable: str) -> list[str]:
    """Freeze all but the part that ``trainable`` names.

    Args:
        adapter: The model, changed in place.
        trainable: ``all``, ``projections``, a modality whose encoder stands by itself (``text``), all but such an
            encoder (``but-image``), or a regular expression over parameter names.

    Returns:
        Names of the trainable parameters.

    Raises:
        ConfigError: No parameter matches.
    """
    names = [name for name, _ in adapter.named_parameters()]
    if trainable == "all":
        chosen = set(names)
    elif trainable == "projections":
        chosen = set(adapter.joint_parameters())
    elif encoder := adapter.encoder_parameters(trainable):
        chosen = set(encoder)
    elif encoder := adapter.encoder_parameters(trainable.removeprefix("but-")):
        chosen = set(names) - set(encoder)
    else:
        try:
            chosen = {name for name in names if re.search(trainable, name)}
        except re.error as error:
            raise ConfigError(
                SettingProblem("trainable", f"is {trainable!r}, which is no regular expression: {error}.")
            ) from error
    if not chosen:
        raise ConfigError(
            SettingProblem(
                "trainable",
                f"is {trainable!r}, which matches none of the {counted(len(names), 'parameters')}. "
                f"Use all, projections, or part of a name such as {names[0]!r}.",
            )
        )
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_(name in chosen)
    return [name for name in names if name in chosen]
