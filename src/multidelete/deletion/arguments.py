"""What a deletion is given from Python: of the right types, and a request in whatever form it came."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import ProcessorMixin

from multidelete.artifacts.deletions import not_yet_deleted
from multidelete.artifacts.manifest import read_record
from multidelete.core.arguments import Wanted, check_arguments, flag, place, text, whole
from multidelete.core.config import shown
from multidelete.core.errors import RequestError, SettingProblem, UnsupportedError, first_few
from multidelete.core.foreign import own_code
from multidelete.core.json_files import JsonObject
from multidelete.core.settings import LoopSettings, LoraSettings
from multidelete.core.words import share
from multidelete.data.identity import with_true_sources
from multidelete.data.pairs import PairData
from multidelete.data.request import Request, resolve_request
from multidelete.deletion.resolved import Deletion
from multidelete.methods import METHODS, Method, get_method
from multidelete.methods.auto import can_solve
from multidelete.methods.defaults import loop_settings
from multidelete.methods.kept_metric import refuse_as_folder
from multidelete.models import adapter_for
from multidelete.models.lineage import known_lineage
from multidelete.models.sources import refuse_missing


def as_request(data: PairData, forget: object) -> Request:
    """A request in whatever form it came, checked against the training pairs."""
    if isinstance(forget, Request):
        strangers = [name for name in forget.ids if name not in data.train.index]
        if strangers or not forget.ids:
            raise RequestError(
                f"{share(len(strangers), len(forget.ids), 'pairs of the request are')} not among the training pairs of "
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


@dataclass(frozen=True, kw_only=True)
class DeletionArguments:
    """What `unlearn` and `tune` are given, which describes it; checked when it is made, before anything is read.

    Raises:
        UserError: An argument is of the wrong type, or names a model that is not there.
    """

    original: object
    data: PairData
    forget: Request | Sequence[str] | str | Path
    processor: ProcessorMixin | None = None
    method: Method | str = "multidelete"
    settings: LoopSettings | JsonObject | None = None
    trainable: str = "auto"
    lora: LoraSettings | None = None
    seed: int = 0
    allow_pickle: bool = False
    key: str | Path | None = None
    earlier_pairs_removed: bool = False
    metric: str | Path | None = None

    def __post_init__(self) -> None:
        check_arguments(
            {
                "original": Wanted(
                    self.original, (str, Path, torch.nn.Module), "a folder, a hub id, a loaded model or an Adapter"
                ),
                "data": Wanted(self.data, (PairData,), "pairs; read them with multidelete.load_data"),
                "method": Wanted(self.method, (str, Method), "the name of a method, or an instance of one"),
                "settings": Wanted(
                    self.settings, (LoopSettings, Mapping), "LoopSettings, or some of them by name", True
                ),
                "trainable": text(self.trainable),
                "lora": Wanted(self.lora, (LoraSettings,), "LoraSettings", optional=True),
                "allow_pickle": flag(self.allow_pickle),
                "seed": whole(self.seed),
                "key": place(self.key, optional=True),
                "metric": place(self.metric, optional=True),
            }
        )
        refuse_missing({"original": self.original})

    @property
    def files(self) -> list[Path]:
        """The request's file, where it is one."""
        return [Path(self.forget)] if isinstance(self.forget, str | Path) else []

    def resolved(self) -> Deletion:
        """The deletion, without what the model has forgotten before.

        Raises:
            UserError: The request, the model's records or the settings are wrong, or do not go together.
        """
        data = with_true_sources(self.data)
        lineage, left = known_lineage(self.original, data, self.key, removed=self.earlier_pairs_removed)
        request = not_yet_deleted(as_request(data, self.forget), data, left, lineage)
        kind = get_method(self.method) if isinstance(self.method, str) else type(self.method)
        origin = read_record(self.original) if isinstance(self.original, str | Path) else None
        with own_code(kind):
            method = kind() if isinstance(self.method, str) else self.method
            loop = loop_settings(method, self.settings, origin, len(request.ids))
        if self.trainable not in ("auto", "all") and not method.takes_part:
            raise UnsupportedError(
                f"{method.name} trains a model of its own, all of it, and the part to train is {self.trainable!r}. "
                "Leave it out."
            )
        if self.lora is not None and not method.takes_lora:
            able = ", ".join(name for name, kind in METHODS.items() if kind.takes_lora)
            raise UnsupportedError(
                f"{method.name} changes the weights themselves and cannot train LoRA. Methods that can: {able}."
            )
        metric = None if self.metric is None else Path(self.metric)
        if metric is not None:
            _refuse_metric(method, loop, self.lora)
            refuse_as_folder(metric)
        return Deletion(
            model=self.original
            if isinstance(self.original, str | Path)
            else adapter_for(self.original, self.processor),
            data=left,
            request=request,
            method=method,
            loop=loop,
            trainable=self.trainable,
            lora=self.lora,
            seed=self.seed,
            allow_pickle=self.allow_pickle,
            lineage=lineage,
            earlier_pairs_removed=self.earlier_pairs_removed,
            origin=origin,
            metric=metric,
        )


def _refuse_metric(method: Method, loop: LoopSettings, lora: LoraSettings | None) -> None:
    """Raises:
    UnsupportedError: The run solves nothing, and measures no metric.
    """
    why = None
    if not method.is_solvable:
        why = f"{method.name} measures none"
    elif not can_solve(method, loop):
        why = "a run with a rate, passes, or other hyperparameters than the method's own descends without one"
    elif lora is not None:
        why = "LoRA is made anew in each run, and so is its metric"
    if why is not None:
        raise UnsupportedError(f"a folder for the metric is given, and {why}. Leave metric out.")
