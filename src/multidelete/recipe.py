"""How the loop runs where the user did not say."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import cast

from multidelete.config import resolve
from multidelete.methods import Method, Retrain
from multidelete.settings import LoopSettings

USUAL_RATE = 1e-3  # the models on which the methods' defaults were found were trained at no less


def loop_settings(
    method: Method,
    given: LoopSettings | Mapping[str, object] | None,
    origin: Mapping[str, object] | None,
    forget: int,
) -> LoopSettings:
    """The loop's settings: retraining follows the original's recipe, other methods have their own.

    Their learning rates suit models that were trained at `USUAL_RATE`; of one trained at less they fall in proportion.
    """
    if isinstance(given, LoopSettings):
        return given
    own = method.loop_settings_for(forget)
    if origin is not None and "loop" in origin:
        recipe = resolve(LoopSettings, None, cast(Mapping[str, object], origin["loop"]))
        if isinstance(method, Retrain):
            own = recipe
        elif origin["command"] == "train":
            own = replace(own, lr=own.lr * min(1.0, recipe.lr / USUAL_RATE))
    return resolve(LoopSettings, None, {**asdict(own), **(given or {})})
