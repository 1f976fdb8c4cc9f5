"""Copies of models that an audit may change."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

from multidelete.audits.probing import Loaded
from multidelete.core.errors import ConfigError, SettingProblem
from multidelete.core.runtime import device_for
from multidelete.data.pairs import PairData
from multidelete.models import Adapter, load_adapter
from multidelete.models.initial import fitted

RATE_SHARE = 0.3  # of the learning rate that the original was trained at
UNRECORDED_RATE = 1e-5  # the usual one of large pre-trained models


def copier(source: str | Path | Adapter, asked: PairData, device: str, allow_pickle: bool) -> Callable[[], Loaded]:
    """Makes a copy of a model on a device, and the pairs that it is asked about with labels as it knows them."""

    def load() -> Loaded:
        if isinstance(source, Adapter):
            made = copy.deepcopy(source)
        else:
            made = load_adapter(source, allow_pickle=allow_pickle)
        splits = {split: pairs for split, pairs in fitted(made, asked).splits.items() if split != "train"}
        return made.to(device_for(device)), splits

    return load


def check_relearning(relearn: bool, lr: float | None) -> None:
    """Refuse a learning rate that is none, or that nothing would use."""
    if lr is not None and lr <= 0:
        raise ConfigError(SettingProblem("relearn_lr", f"is {lr}; it must be greater than 0, or None for the default."))
    if lr is not None and not relearn:
        raise ConfigError(
            SettingProblem(
                "relearn_lr", f"is {lr}, and relearning is not asked for. Give relearn too, or leave it out."
            )
        )


def relearning_rate(original: Mapping[str, object]) -> float:
    """A learning rate to fine-tune at: 0.3 times the original's own, where its record tells it, else 1e-5."""
    loop = original.get("loop")
    return RATE_SHARE * float(loop["lr"]) if isinstance(loop, dict) and "lr" in loop else UNRECORDED_RATE
