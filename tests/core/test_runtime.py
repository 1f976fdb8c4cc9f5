"""What a run sets up in the process that calls it, and leaves as it was."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn

from multidelete.core.errors import DivergedError
from multidelete.core.settings import TrainSettings
from multidelete.data.pairs import PairData
from multidelete.experiments.tuning import tune
from multidelete.unlearning import train, unlearn
from tests.tiny import people, quick, subjects_ids

OWN_DEVICE = "cpu"


@pytest.fixture(autouse=True)
def nothing_set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No `accelerate` of another test before, and none of this one behind."""
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", OWN_DEVICE)
    forget_accelerate()
    yield
    forget_accelerate()


def forget_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def data() -> PairData:
    return people(8)


@pytest.fixture(scope="module")
def original(data: PairData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "original"
    return train(data, out, start=TrainSettings(family="clip", size="tiny", image_size=32), settings=quick())


def drawn() -> list[float]:
    """The next number of each generator, which is not used up."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    numbers = [random.random(), float(np.random.rand()), float(torch.rand(()))]
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    return numbers


DIVERGING = {"passes": 40, "lr": 1e30, "optimizer": "sgd", "max_grad_norm": 0}


def call(name: str, data: PairData, original: Path, out: Path) -> None:
    """One of the functions that users call."""
    forget = subjects_ids(data.train, 2)
    if name == "train":
        train(data, out, start=str(original), settings=quick(accumulation=2))
    elif name == "diverging":
        with pytest.raises(DivergedError):
            unlearn(original, data, forget, method="neggrad", settings={**DIVERGING, "device": "cpu"})
    elif name == "tune":
        tune(original, data, forget, method="finetune", settings={"passes": 1, "device": "cpu"}, trials=1)
    else:
        passes = {"passes": 1} if name == "finetune" else {}
        unlearn(original, data, forget, method=name, settings={**passes, "device": "cpu"})


@pytest.mark.parametrize("name", ["train", "tune", "finetune", "ssd", "diverging"])
def test_callers_accelerator_and_random_numbers_stay(name: str, data: PairData, original: Path, tmp_path: Path) -> None:
    own = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=4)
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    before = drawn()
    call(name, data, original, tmp_path / "out")
    assert drawn() == before
    assert (own.mixed_precision, own.gradient_accumulation_steps, own.device.type) == ("bf16", 4, "cpu")
    assert os.environ["ACCELERATE_TORCH_DEVICE"] == OWN_DEVICE


def test_accelerator_of_any_precision_can_be_made_afterwards(data: PairData, original: Path, tmp_path: Path) -> None:
    call("finetune", data, original, tmp_path / "out")
    own = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=4)
    assert (own.mixed_precision, own.gradient_accumulation_steps) == ("bf16", 4)


def test_callers_training_goes_on_as_without_a_run_in_between(data: PairData, original: Path, tmp_path: Path) -> None:
    def trained(run_at: int | None) -> list[Tensor]:
        forget_accelerate()
        own = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=3)
        torch.manual_seed(0)
        model, rows = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 1)), torch.rand(12, 4)
        wrapped, optimizer = own.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
        for step in range(12):
            if step == run_at:
                call("finetune", data, original, tmp_path / "out")
            with own.accumulate(wrapped):
                own.backward(wrapped(rows[step : step + 1]).square().mean())
                optimizer.step()
                optimizer.zero_grad()
        return [parameter.detach() for parameter in model.parameters()]

    assert all(map(torch.equal, trained(None), trained(run_at=7)))
