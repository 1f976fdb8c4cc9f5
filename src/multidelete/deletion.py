"""What a deletion is given from Python: of the right types, and a request in whatever form it came."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from multidelete.core.arguments import Wanted, check_arguments, flag, text, whole
from multidelete.core.config import shown
from multidelete.core.errors import RequestError, SettingProblem, first_few
from multidelete.core.settings import LoopSettings, LoraSettings
from multidelete.core.words import counted
from multidelete.data.pairs import PairData
from multidelete.data.request import Request, resolve_request
from multidelete.methods import Method
from multidelete.models.base import Adapter
from multidelete.models.sources import check_processor, refuse_missing


def as_request(data: PairData, forget: object) -> Request:
    """A request in whatever form it came, checked against the training pairs."""
    if isinstance(forget, Request):
        strangers = [name for name in forget.ids if name not in data.train.index]
        if strangers or not forget.ids:
            raise RequestError(
                f"{len(strangers)} of the {counted(len(forget.ids), 'pairs')} of the request are not "
                "among the training pairs of "
                f"{data.name}: {first_few(strangers) or 'it names none'}. Resolve the request on this data."
            )
        return forget
    if isinstance(forget, str | Path):
        return resolve_request(data, file=Path(forget))
    ids = list(forget) if isinstance(forget, Iterable) and not isinstance(forget, Mapping | bytes) else None
    wrong = [forget] if ids is None else [one for one in ids if not isinstance(one, str)]
    if ids is None or wrong:
        what = "is" if ids is None else "holds"
        raise RequestError(
            SettingProblem(
                "forget",
                f"{what} {shown(wrong[0])}, of type {type(wrong[0]).__name__}; it must be ids of pairs, each a text, "
                "the path of a request file, or a Request.",
            )
        )
    return resolve_request(data, ids=ids)


def check_deletion(
    model: object,
    data: object,
    *,
    processor: object,
    method: object,
    settings: object,
    trainable: object,
    lora: object,
    seed: object,
    overwrite: object,
    resume: object,
    allow_pickle: object,
) -> None:
    """Refuse what `unlearn` and `tune` cannot be given, before anything is read.

    Raises:
        UserError: An argument is of the wrong type, or names a model that is not there.
    """
    check_arguments(
        {
            "model": Wanted(model, (str, Path, torch.nn.Module), "a folder, a hub id, a loaded model or an Adapter"),
            "data": Wanted(data, (PairData,), "pairs; read them with multidelete.load_data"),
            "method": Wanted(method, (str, Method), "the name of a method, or an instance of one"),
            "settings": Wanted(settings, (LoopSettings, Mapping), "LoopSettings, or some of them by name", True),
            "trainable": text(trainable),
            "lora": Wanted(lora, (LoraSettings,), "LoraSettings", optional=True),
            "allow_pickle": flag(allow_pickle),
            **run_arguments(seed=seed, overwrite=overwrite, resume=resume),
        }
    )
    refuse_missing({"model": model})
    if isinstance(model, torch.nn.Module):
        check_processor(model, processor)


def check_audit(
    data: object,
    models: Mapping[str, object],
    *,
    several: Mapping[str, object],
    switches: Mapping[str, object],
    other: Mapping[str, Wanted],
) -> None:
    """Refuse what an audit cannot be given, before anything is read.

    Raises:
        UserError: An argument is of the wrong type, or names a model that is not there.
    """
    rule = "a folder, a hub id or an Adapter"
    check_arguments(
        {
            "data": Wanted(data, (PairData,), "pairs; read them with multidelete.load_data"),
            **{name: Wanted(model, (str, Path, Adapter), rule) for name, model in models.items()},
            **{name: Wanted(found, (list, tuple), "a list of folders or hub ids") for name, found in several.items()},
            **{name: flag(on) for name, on in switches.items()},
            **other,
        }
    )
    check_arguments(
        {
            name: Wanted(model, (str, Path, Adapter), f"{rule}, each of them")
            for name, models in several.items()
            for model in (models if isinstance(models, list | tuple) else ())
        }
    )
    refuse_missing({**models, **several})


def run_arguments(*, seed: object, overwrite: object, resume: object) -> dict[str, Wanted]:
    """The arguments that every run has."""
    return {
        "seed": whole(seed),
        "overwrite": flag(overwrite),
        "resume": flag(resume),
    }
