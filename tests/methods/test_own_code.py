"""A method or adapter of the user's own that fails: an error that names it, and nothing left behind."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from multidelete.auditing import audit
from multidelete.cli.commands import run
from multidelete.core.errors import CodeError
from multidelete.core.settings import LoopSettings
from multidelete.data.pairs import Batch, PairData
from multidelete.methods import GradientMethod, Job, Outcome, Step
from multidelete.methods.base import Planned
from multidelete.methods.reference import Reference, ReferenceSettings
from multidelete.models import Adapter
from multidelete.models.base import PairOutputs
from multidelete.unlearning import train, unlearn
from tests.tiny import own_clip, people, quick, subjects_ids

QUICK = {"passes": 1, "batch_size": 8, "device": "cpu"}
HERE = "tests.methods.test_own_code"


class OddError(Exception):
    """None of the kinds that libraries raise."""


@dataclass(frozen=True, kw_only=True)
class Fails(GradientMethod):
    """Fails at one place, or gives something else than it should."""

    name: ClassVar[str] = "fails"
    at: str = "losses"

    def __post_init__(self) -> None:
        self._reach("__post_init__")

    def _reach(self, place: str) -> None:
        if self.at == place:
            raise OddError(f"nothing works in {place}.\n\nSee the manual.")

    def loop_settings_for(self, forget: int) -> LoopSettings:
        self._reach("loop_settings_for")
        return super().loop_settings_for(forget)

    def trainable(self, adapter: Adapter) -> str:
        self._reach("trainable")
        return "all"

    def planned(self, job: Job) -> Planned:
        self._reach("planned")
        return super().planned(job)

    def reference_settings(self, job: Job) -> ReferenceSettings | None:
        self._reach("reference_settings")
        return ReferenceSettings()

    def update_reference(self, reference: Reference, job: Job, number: int) -> None:
        self._reach("update_reference")

    def run(self, job: Job, after_pass: Callable[[int], None] | None = None) -> Outcome:
        done = super().run(job, after_pass)
        self._reach("run")
        return done if self.at != "outcome" else None  # type: ignore[return-value]

    def losses(self, step: Step) -> dict[str, Tensor]:
        self._reach("losses")
        loss = step.forget.mean(step.forget.outputs.score)
        odd = {"list": [loss], "empty": {}, "number": {"a": 1.0}, "vector": {"a": loss[None]}}
        odd |= {"detached": {"a": loss.detach()}, "partners": {}}
        if self.at == "partners":
            return {"a": step.forget.partnered().score}  # which were not asked for
        return odd.get(self.at, {"a": loss})  # type: ignore[return-value]


PLACES = ("losses", "loop_settings_for", "trainable", "reference_settings", "update_reference", "run", "__post_init__")


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, data: PairData) -> Path:
    folder = tmp_path_factory.mktemp("models") / "original"
    own_clip(data).save(folder)
    return folder


def command(original: Path, data: PairData, out: Path, place: str, *more: str) -> list[str]:
    """The command line's request for the first two people."""
    names = sorted({str(pair.subject) for pair in data.train})[:2]
    asked = [part for name in names for part in ("--forget-subject", name)]
    return ["unlearn", str(original), "--data", "personas:people=8,unseen=0,size=32", *asked, "--out", str(out),
            "--method", f"{HERE}:Fails", "--set", f"at={place}", "--passes", "1", "--device", "cpu", *more]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_method_that_fails_is_named_with_its_own_sentence(
    place: str, original: Path, data: PairData, tmp_path: Path
) -> None:
    with pytest.raises(CodeError) as told:
        method = Fails(at=place) if place != "__post_init__" else f"{HERE}:AtOnce"
        unlearn(original, data, subjects_ids(data.train, 2), method=method, settings=QUICK, out=tmp_path / "out")
    assert str(told.value).startswith(f"{HERE}:{'AtOnce' if place == '__post_init__' else 'Fails'} failed in Fails._re")
    assert f": nothing works in {place}. It is code of your own: mend it, or take another." in str(told.value)
    assert isinstance(told.value.__cause__, OddError)
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True, kw_only=True)
class AtOnce(Fails):
    at: str = "__post_init__"


@pytest.mark.parametrize("place", ["losses", "__post_init__", "planned"])
def test_the_command_says_so_without_a_traceback(
    place: str, original: Path, data: PairData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--dry-run",) if place == "planned" else ()
    assert run(command(original, data, tmp_path / "out", place, *more)) == 1
    shown = capsys.readouterr().err
    assert f"error: {HERE}:Fails failed in Fails._reach, line " in shown
    assert f": nothing works in {place}. It is code" in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("list", "Fails gives .*as its losses; give named scalar tensors"),
        ("empty", "Fails gives {} as its losses; give"),
        ("number", "Fails gives losses that are no scalars: a = 1.0; give"),
        ("vector", r"Fails gives losses that are no scalars: a = tensor\("),
        ("detached", "Fails gives losses without a gradient: a; give"),
        ("partners", r"Fails failed in Fails.losses, line \d+: this method reads unassociated partners, but none were"),
        ("outcome", "Fails gives None as its outcome; run must return an Outcome"),
    ],
)
def test_what_a_method_may_not_give_is_told(at: str, said: str, data: PairData) -> None:
    with pytest.raises(CodeError, match=said):
        unlearn(own_clip(data), data, subjects_ids(data.train, 2), method=Fails(at=at), settings=QUICK)


def failing_adapter(data: PairData, place: str) -> Adapter:
    """The tiny CLIP, of a class of this file."""
    made = own_clip(data)

    class Own(type(made)):  # type: ignore[misc]
        def forward(self, batch: Batch) -> PairOutputs:
            if (place == "training" and torch.is_grad_enabled()) or place == "forward":
                raise OddError("too many pairs.")
            return super().forward(batch)  # type: ignore[no-any-return]

        def task_loss(self, outputs: PairOutputs, batch: Batch) -> Tensor:
            if place == "task_loss":
                raise OddError("too many pairs.")
            return super().task_loss(outputs, batch)  # type: ignore[no-any-return]

    made.__class__ = Own
    return made


@pytest.mark.parametrize("place", ["forward", "training", "task_loss"])
def test_an_adapter_that_fails_is_named(place: str, data: PairData, tmp_path: Path) -> None:
    adapter, forget = failing_adapter(data, place), subjects_ids(data.train, 2)
    said = r"test_own_code:failing_adapter.<locals>.Own failed in .*, line \d+: too many pairs. It is code of your own"
    with pytest.raises(CodeError, match=said):
        unlearn(adapter, data, forget, method="neggrad", settings=QUICK, out=tmp_path / "out")
    with pytest.raises(CodeError, match=said):
        train(data, tmp_path / "out", start=adapter, settings=quick())
    if place == "forward":
        with pytest.raises(CodeError, match=said):
            audit(adapter, own_clip(data), data, forget, out=tmp_path / "out", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_our_own_stays_one(data: PairData, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not pass through the user's code is not laid at its door."""
    monkeypatch.setattr(sys.modules["multidelete.training.loop"], "_mean_over_processes", math.sqrt)
    with pytest.raises(TypeError, match="exactly one argument"):
        unlearn(own_clip(data), data, subjects_ids(data.train, 2), method=Fails(at="nowhere"), settings=QUICK)
