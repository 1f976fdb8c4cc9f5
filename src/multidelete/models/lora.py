"""LoRA: small trained matrices beside frozen weights, through peft.

A model's result is then an adapter of a few MB in peft's own format, which names the model that it belongs to.
Deleting the adapter is reverting; switched off, it leaves the original, to the bit.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard, cast

import torch
from peft import LoraConfig, PeftConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import Embedding, LoraLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from safetensors.torch import load_file, save_file
from torch import nn

from multidelete.core.errors import CheckpointError, ConfigError, UnsupportedError, first_few
from multidelete.core.foreign import explained
from multidelete.core.settings import LoraSettings
from multidelete.core.words import counted, indefinite
from multidelete.models.base import Adapter
from multidelete.models.checkpoint import LORA_CONFIG, not_finite

LORA_WEIGHTS = "adapter_model.safetensors"
OF_ENTRIES = 0.25  # of a table's size: with more, its rare words change where other layers could, and kept pairs pay
LEARNED = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
PREFIX = "base_model.model."  # what peft puts before the names in its files
_OTHER = "Give the model it was trained on."


def add_lora(adapter: Adapter, settings: LoraSettings, *, seed: int, training_mode: bool = False) -> list[str]:
    """Put LoRA beside every linear layer and every table of words or nodes that is trainable, and freeze the rest.

    Differs from peft: what LoRA writes for an entry of a table starts at a quarter of the entries' size, not at 1.

    Args:
        adapter: The model, changed in place; its outputs are the same until something is trained.
        settings: Sizes.
        seed: Of the matrices that start at random.
        training_mode: Whether batch statistics will be on; they would change beside the weights.

    Returns:
        Names of the trainable parameters: those of LoRA.

    Raises:
        ConfigError: The rank is above that of every layer.
        UnsupportedError: No such layer is trainable, or batch statistics would change beside the weights.
    """
    network = _network(adapter)
    modules = dict(network.named_modules())
    if training_mode and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in modules.values()):
        raise UnsupportedError(
            "ordinary training changes this model's batch statistics, which are not in a LoRA adapter. "
            "Use a method that leaves them alone, such as multidelete, or leave --lora out."
        )
    # torch's own attention reads the weight of its output layer without calling it
    bypassed = {f"{name}.out_proj" for name, m in modules.items() if isinstance(m, nn.MultiheadAttention)}
    # beside a weight that is looked up and multiplied by, LoRA in one place would be in both once it is merged
    looked_up, read = (
        {id(m.weight) for m in modules.values() if isinstance(m, kind)} for kind in (nn.Embedding, nn.Linear)
    )
    linear = {
        name: m.weight for name, m in modules.items()
        if type(m) is nn.Linear and m.weight.requires_grad and name not in bypassed and id(m.weight) not in looked_up
    }  # fmt: skip
    tables = {
        name: m.weight for name, m in modules.items()
        if _holds_entries(name, m) and id(m.weight) not in read and min(m.weight.shape) > settings.r
    }  # fmt: skip
    if not linear and not tables:
        raise UnsupportedError(
            "LoRA stands beside linear layers and tables of words, and none is trained here. Choose a part that has "
            "some with --trainable, or leave --lora out."
        )
    most = max(min(weight.shape) for weight in [*linear.values(), *tables.values()])
    if settings.r > most:
        raise ConfigError(
            f"LoRA's r is {settings.r}, and no layer that is trained here has a rank above {most}. Give at most that; "
            "8 is usual."
        )
    config = LoraConfig(
        r=settings.r,
        lora_alpha=cast(int, settings.alpha),
        target_modules="|".join(re.escape(name) for name in [*linear, *tables]),  # each is matched as a whole
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network)
    first: dict[int, LoraLayer] = {}
    for layer in _layers(adapter).values():  # layers that share their weight share what is learned for it
        shared = first.setdefault(id(layer.weight), layer)
        for own in LEARNED:
            setattr(layer, own, getattr(shared, own))
        if layer is shared and isinstance(layer, Embedding):
            with torch.no_grad():
                _directions(layer).mul_(OF_ENTRIES * layer.weight.float().square().mean().sqrt().item())
    return [name for name, parameter in adapter.named_parameters() if parameter.requires_grad]


def _holds_entries(name: str, module: nn.Module) -> TypeGuard[nn.Embedding]:
    """Whether a module is a table of what pairs hold, words or nodes, that is trained."""
    # networks read the weights of positions without a lookup, to stretch them to larger pictures
    is_of_positions = "position" in name.rpartition(".")[2]
    return type(module) is nn.Embedding and module.weight.requires_grad and not is_of_positions


def _directions(layer: LoraLayer) -> torch.Tensor:
    """The matrix that starts at random, (r, width): what a linear layer's LoRA reads, and what a table's writes.

    A view: changes of it are changes of LoRA.
    """
    if isinstance(layer, Embedding):
        return cast(nn.Parameter, layer.lora_embedding_B["default"]).T
    return cast(nn.Linear, layer.lora_A["default"]).weight


@contextmanager
def original(adapter: Adapter) -> Iterator[None]:
    """Within it the model is the one that LoRA was added to."""
    layers = _layers(adapter)
    for layer in layers.values():
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers.values():
            layer.enable_adapters(True)


@contextmanager
def whole_weights(adapter: Adapter) -> Iterator[Mapping[str, nn.Parameter]]:
    """Within it the weights beside LoRA may change and LoRA may not; afterwards they are what they were.

    Yields:
        The weights, by the name of the layer.
    """
    layers = _layers(adapter)
    weights = {name: cast(nn.Parameter, layer.get_base_layer().weight) for name, layer in layers.items()}
    own = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    for parameter in own:
        parameter.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        yield weights
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.requires_grad_(False).copy_(before[name])
        for parameter in own:
            parameter.requires_grad_(True)


@torch.no_grad()
def turn_along(adapter: Adapter, changes: Mapping[str, torch.Tensor]) -> None:
    """Let LoRA go along those directions that a change of the whole weights goes along most.

    In a linear layer they are directions of its inputs, which LoRA reads; in a table those of its entries, which LoRA
    writes. What the model says is the same: the other matrix of each two is left as it is, which is zero at first.

    Args:
        adapter: With LoRA of which nothing is trained yet.
        changes: By the name of the layer, of the weight's shape: (outputs, inputs), or (entries, width).
    """
    for name, layer in _layers(adapter).items():
        change = changes[name][changes[name].any(dim=1)]  # of a table few entries change
        if not len(change):  # it prefers no direction
            continue
        own = _directions(layer)
        first = torch.linalg.svd(change.float(), full_matrices=False).Vh[: len(own)]
        own[: len(first)] = (own.norm(dim=1).mean() * first).to(own)


def merge_lora(adapter: Adapter) -> None:
    """Add what LoRA learned to the weights, and take LoRA out: the model has its own form again, in place."""
    merged: set[int] = set()
    for name, layer in _layers(adapter).items():
        if id(layer.weight) not in merged:  # of layers that share their weight one is enough
            merged.add(id(layer.weight))
            layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(adapter.get_submodule(parent), child, layer.get_base_layer())
    del _network(adapter).peft_config


def save_lora(adapter: Adapter, folder: Path, base: str) -> None:
    """Write LoRA alone, as peft does; what a family holds besides weights too, since forgetting changes it.

    Args:
        adapter: A model with LoRA.
        folder: Where to write.
        base: Folder or hub id of the model that LoRA was added to.
    """
    network = _network(adapter)
    learned = get_peft_model_state_dict(network, save_embedding_layers=False)
    tensors = {f"{PREFIX}{name}": t.clone().contiguous() for name, t in learned.items()}
    save_file(tensors, folder / LORA_WEIGHTS, metadata={"format": "pt"})
    config = cast(Mapping[str, LoraConfig], network.peft_config)["default"]
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(str(folder))
    if adapter.holds_data:
        adapter.processor.save_pretrained(folder)  # type: ignore[operator, union-attr]


def load_lora(adapter: Adapter, folder: Path) -> None:
    """Add what a LoRA folder holds to the weights of its base model, in place.

    Raises:
        CheckpointError: The folder is no LoRA of peft's, or does not fit the model.
    """
    network = _network(adapter)
    form = f"It must hold {LORA_CONFIG} and {LORA_WEIGHTS}, as 'multidelete unlearn --lora' and peft write them."
    with explained(f"{folder} cannot be read as a LoRA folder", form):
        config = PeftConfig.from_pretrained(str(folder))
        tensors = {name.removeprefix(PREFIX): t for name, t in load_file(folder / LORA_WEIGHTS).items()}
    if not isinstance(config, LoraConfig):
        raise CheckpointError(
            f"{folder} is {indefinite(f'{config.peft_type} adapter')} of peft's; only LoRA is supported."
        )
    with explained(f"{folder} cannot be read as a LoRA folder", form):
        _refuse_settings(folder, config, tensors)
    names = set(network.state_dict())
    with explained(f"{folder} does not fit its base model", _OTHER):
        inject_adapter_in_model(config, network)
        loaded: Any = set_peft_model_state_dict(network, tensors)
        # "auto" would ask the hub whether the vocabulary grew, which a folder of another kind does not tell
        wanted = get_peft_model_state_dict(network, save_embedding_layers=False)
        missing = sorted(set(wanted) - set(tensors))
    if loaded.unexpected_keys or missing:
        raise CheckpointError(
            f"{folder} does not fit its base model: {first_few([*loaded.unexpected_keys, *missing])}. {_OTHER}"
        )
    with explained(f"{folder} cannot be merged into its base model", "Merge it with peft, and give the merged model."):
        _unwrap(network)
        merge_lora(adapter)
    strange = sorted(names ^ set(network.state_dict()))
    if strange:
        raise CheckpointError(
            f"{folder} leaves its base model with other weights: {first_few(strange)}. Merge it with peft "
            "(merge_and_unload), and give the merged model."
        )
    if broken := not_finite(network):
        raise CheckpointError(
            f"{folder}: {counted(len(broken), 'weights hold')} NaN or infinite numbers once it is merged: "
            f"{first_few(broken)}. Give an adapter from before it diverged."
        )


def _refuse_settings(folder: Path, config: LoraConfig, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise where an adapter's configuration names code to import, or matrices larger than any that it stores."""
    if config.megatron_config is not None:
        raise CheckpointError(
            f"{folder} names code of Megatron ({config.megatron_core}), which is never imported. Give an adapter of "
            "ordinary layers."
        )
    most = max((max(tensor.shape, default=1) for tensor in tensors.values()), default=1)
    ranks = [config.r, *(config.rank_pattern or {}).values()]
    if max(ranks) > most:
        raise CheckpointError(
            f"{folder}: {LORA_CONFIG} says rank {max(ranks)}, and no stored matrix is that large. Give a whole adapter."
        )


def _unwrap(network: nn.Module) -> None:
    """Put whole modules and tokens that an adapter holds besides LoRA (``modules_to_save``) in place of the "
    "original."""
    for name, module in list(network.named_modules()):
        if isinstance(module, AuxiliaryTrainingWrapper):
            whole = module.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, whole)


def _network(adapter: Adapter) -> nn.Module:
    return cast(nn.Module, adapter.model)


def _layers(adapter: Adapter) -> dict[str, LoraLayer]:
    return {name: module for name, module in adapter.named_modules() if isinstance(module, LoraLayer)}
