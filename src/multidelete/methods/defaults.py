"""How the loop runs where the user did not say."""

from dataclasses import asdict, replace

from multidelete.artifacts.record import RunRecord
from multidelete.core.config import Settings, resolve
from multidelete.core.errors import CheckpointError, ConfigError
from multidelete.core.json_files import JsonObject
from multidelete.core.settings import LoopSettings
from multidelete.methods import Method, Retrain

USUAL_RATE = 1e-3  # the models on which the methods' defaults were found were trained at no less


def recorded(kind: type[Settings], told: JsonObject, key: str) -> Settings:
    """Settings as the original's ``multidelete.json`` records them under a key.

    Raises:
        CheckpointError: They are not what such a file records; one line for each.
    """
    try:
        return resolve(kind, None, told)
    except ConfigError as error:
        raise CheckpointError(
            [f"the multidelete.json of the original, {key}: {told} Give the folder as it was written." for told in
             error.problems]
        ) from error  # fmt: skip


def loop_settings(
    method: Method, wanted: LoopSettings | JsonObject | None, origin: RunRecord | None, forget: int
) -> LoopSettings:
    """The loop's settings: retraining follows the original's recipe, other methods have their own.

    A method that can solve finds its rate and its end by itself, unless one of them is given. The learning rates of the
    others suit models that were trained at `USUAL_RATE`; of one trained at less they fall in proportion.
    """
    if isinstance(wanted, LoopSettings):
        return wanted
    own = method.loop_settings_for(forget)
    loop = None if origin is None else origin.recipe.loop
    if loop is not None:
        trained = recorded(LoopSettings, loop, "loop")
        own = trained if isinstance(method, Retrain) else replace(own, lr=own.lr * min(1.0, trained.lr / USUAL_RATE))
    asked = {name: value for name, value in (wanted or {}).items() if value is not None}
    if not {"lr", "passes"} & asked.keys() and method.is_solvable:
        own = replace(own, pace="auto")
    settings = resolve(LoopSettings, None, {**asdict(own), **asked})
    if not method.trains and (unused := [name for name in ("lr", "passes") if name in asked]):
        given = " and ".join(f"{name} is {asked[name]}" for name in unused)
        raise ConfigError(
            f"{given}, and {method.name} takes no steps with a rate. Leave it out, or give another method."
        )
    if not method.trains and settings.precision != "no":
        raise ConfigError(
            f"precision is {settings.precision!r}, and {method.name} takes no steps that it could be for: it computes "
            "in the precision of the weights. Leave it out, or give another method."
        )
    if settings.pace == "auto" and {"lr", "passes"} & asked.keys():
        raise ConfigError("pace is 'auto', and a rate or passes are given. Leave one of them out.")
    if settings.pace == "auto" and settings.optimizer != "adamw":
        raise ConfigError(
            f"optimizer is {settings.optimizer!r}, and a run that finds its rates steps with adamw. Leave optimizer "
            "out, or give pace=given, a rate or passes."
        )
    if settings.pace == "auto" and "schedule" in asked:
        raise ConfigError(
            f"schedule is {settings.schedule!r}, and a run that finds its rates lets each of them fall to zero in a "
            "leg. Leave schedule out, or give pace=given, a rate or passes."
        )
    if settings.pace == "auto" and not (method.finds_its_way and method.at_work.finds_its_way):
        raise ConfigError(
            f"pace is 'auto', and {method.at_work.name} cannot find its rate and passes by itself. "
            "Give pace=given, or another method."
        )
    return settings
