"""How the loop runs where the user did not say."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import cast

from multidelete.core.config import Settings, resolve
from multidelete.core.errors import CheckpointError, ConfigError
from multidelete.core.settings import LoopSettings
from multidelete.methods import Method, Retrain

USUAL_RATE = 1e-3  # the models on which the methods' defaults were found were trained at no less


def recorded(kind: type[Settings], origin: Mapping[str, object], key: str) -> Settings:
    """Settings that the original's ``multidelete.json`` records under a key.

    Raises:
        CheckpointError: They are not what such a file records; one line for each.
    """
    try:
        return resolve(kind, None, cast(Mapping[str, object], origin[key]))
    except ConfigError as error:
        raise CheckpointError(
            [f"the multidelete.json of the original, {key}: {told} Give the folder as it was written." for told in
             error.problems]
        ) from error  # fmt: skip


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
    training = training_of(origin)
    if "loop" in training:
        recipe = recorded(LoopSettings, training, "loop")
        if isinstance(method, Retrain):
            own = recipe
        else:
            own = replace(own, lr=own.lr * min(1.0, recipe.lr / USUAL_RATE))
    return resolve(LoopSettings, None, {**asdict(own), **(given or {})})


def training_of(told: Mapping[str, object] | None) -> dict[str, object]:
    """How the first model of a lineage was trained, as a manifest tells: ``model``, ``loop`` and ``seed``, or fewer.

    A model that forgets keeps the recipe of its original (``training``), so that later requests can be retrained too.
    """
    if told is None:
        return {}
    recipe = told.get("training") if "request" in told else told
    if not isinstance(recipe, Mapping):
        return {}
    return {name: recipe[name] for name in ("model", "loop", "seed") if name in recipe}
