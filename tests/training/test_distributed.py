"""Two processes that train together, against one process on the same global batch."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from multidelete.core.errors import DivergedError
from multidelete.core.runtime import (
    from_every_process,
    gather_with_grad,
    is_main_process,
    process_index,
    rows_of_processes,
    world_size,
)
from multidelete.data.pairs import PairData, PairDataset
from multidelete.methods import LCODEC, METHODS, Job, Training
from multidelete.methods.batch_loss import loss_gradient
from multidelete.methods.guided import run_guided
from multidelete.methods.importance import draw_gallery, importance
from multidelete.methods.judge import Judge
from multidelete.methods.standing import Standing
from multidelete.methods.weights import weights_of
from multidelete.models import Adapter, load_adapter
from multidelete.training.loop import run_loop
from multidelete.unlearning import unlearn
from tests.legs import SimpleLegs
from tests.models.cases import Case, case_adapter, case_data
from tests.tiny import MODELS, differing, family_model, parted, people, quick, subjects_ids, weights

FUSED = Case("blip", "classification", 1)
IN_BATCH = ("grad_diff", "multidelete", "bad_teacher", "clip_erase")
RUNS = (  # every method with embeddings; a second loss, and fused heads, of those that tell the most
    *(("clip", name) for name in ("train", *METHODS)),
    *(("siglip", name) for name in ("train", "multidelete")),
    *(("blip", name) for name in ("multidelete", "l_codec")),
)
MORE = (  # each way of reading a whole batch with the second loss; every other method with fused heads
    *(("siglip", name) for name in IN_BATCH if name != "multidelete"),
    *(("blip", name) for name in METHODS if name not in ("clip_erase", "multidelete", "l_codec")),
)
SGD = {"passes": 2, "optimizer": "sgd", "lr": 0.05, "device": "auto"}  # clipped at norm 1, as by default


@cache
def world(family: str) -> tuple[PairData, Adapter]:
    """Eight people, and a model with random weights; a classifier of the fused family."""
    if family == FUSED.family:
        data = case_data(FUSED, number=8, unseen=4)
        return data, case_adapter(FUSED, data, scale=1.0)
    return people(8), MODELS[family](people(8))


def trained_weights(family: str, method_name: str, work: Path | None = None) -> dict[str, Tensor]:
    """Weights after a few steps of SGD; 13 forget pairs in two steps, of uneven shares with two processes."""
    data, given = world(family)
    forget, retain = parted(data)
    forget, retain = PairDataset([*forget, retain[0]], "forget"), PairDataset(retain.pairs[1:], "retain")
    adapter = copy.deepcopy(given)
    if method_name == "train":
        run_loop(adapter, Training(), {"train": forget}, settings=quick(**SGD, batch_size=7), seed=3)
    else:
        # a weight of 40 on one term multiplies rounding by 40 too; what is compared is how gradients are gathered
        own: dict[str, dict[str, object]] = {
            "multidelete": {"embeddings": 1.0},
            "ssd": {"alpha": 1.5},
            "l_codec": {"candidates": 16, "observations": 12},
            "slug": {"layers": 2, "trials": 3},
        }
        method = METHODS[method_name](**own.get(method_name, {}))
        job = Job(
            adapter, data.train, forget, retain, quick(**SGD, batch_size=7), seed=3, key="original", work=work,
            holdout=data.splits["val"], start=lambda _: copy.deepcopy(given),
        )  # fmt: skip
        adapter = method.run(job).adapter
    return weights(adapter)


def gathered_gradient(rows: Tensor, weight: Tensor) -> Tensor:
    """Gradient of a loss that couples all rows: the sum of squares of ``weight`` times all rows' products."""
    rows = rows.clone().requires_grad_()
    everything = gather_with_grad(rows)
    ((rows @ everything.T) ** 2 * weight).sum().backward()
    assert rows.grad is not None
    return rows.grad


def importance_of_seven() -> dict[str, Tensor]:
    """Importance for seven pairs: four of the first process and three of the second."""
    data = people(8)
    adapter = MODELS["clip"](data)
    return importance(adapter, data.train.pairs[:7], draw_gallery(adapter, data.train, seed=1, size=6))


def gradient_of_batches() -> dict[str, Tensor]:
    """Of the mean loss of 40 pairs: 32 of the first process and 8 of the second."""
    data = people(8)
    adapter = MODELS["clip"](data)
    pairs = [*data.train, *data.splits["val"].pairs[:8]]
    return loss_gradient(adapter, pairs, draw_gallery(adapter, data.train, seed=1, size=6), "")[1]


def without_one_pair() -> dict[str, Tensor]:
    """Weights after the deletion of a single pair, of which only the first process has gradients."""
    data, given = world("clip")
    forget = data.train.only(data.train.ids[:1], "forget")
    retain = data.train.without(forget.ids, "retain")
    job = Job(copy.deepcopy(given), data.train, forget, retain, quick(**SGD), seed=3)
    return weights(LCODEC(candidates=16, observations=12).run(job).adapter)


class Apart(SimpleLegs):
    """Legs that come out otherwise in the second process, one of which only the main process takes to be impossible."""

    most = 4

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    @torch.no_grad()
    def take(self, number: int, now: Standing, start: Standing) -> None:
        if number == 1 and is_main_process():
            raise DivergedError("in the main process alone")
        for parameter in self._adapter.parameters():
            parameter.add_(0.01 * (1 + process_index()))

    def is_as_predicted(self, before: Standing, after: Standing) -> bool:
        return is_main_process()


class Pleased(Judge):
    """Sees the deleted pairs half as far from their goals at each look, and never quite there."""

    looks = 0

    def measure(self) -> Standing:
        self.looks += 1
        now, left = super().measure(), 0.5**self.looks
        return replace(now, gaps=torch.full_like(now.gaps, left), ranks=torch.full_like(now.ranks, 0.5 + left / 2),
                       further=torch.ones_like(now.further), kept=torch.ones_like(now.kept),
                       sure=torch.ones_like(now.sure), unseen=None)  # fmt: skip


def guided_apart() -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights and legs of a run whose processes disagree about each leg."""
    data, given = world("clip")
    forget, retain = parted(data)
    adapter = copy.deepcopy(given)
    job = Job(adapter, data.train, forget, retain, quick(**SGD), seed=3, holdout=data.splits["val"])
    original = weights_of(adapter)
    outcome = run_guided(METHODS["grad_diff"](), job, [Apart(adapter)], Pleased(job), original)
    return weights(adapter), outcome.history


def weights_of_runs(folder: Path, runs: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Weights after each run, the same in both processes."""
    found: dict[str, Tensor] = {}
    for family, method in runs:
        work = folder / f"work-{family}-{method}"
        work.mkdir(exist_ok=True)
        after = trained_weights(family, method, work)
        everything = torch.cat([tensor.flatten().double() for tensor in after.values()])  # one exchange for all
        copies = [torch.empty_like(everything) for _ in range(2)]
        dist.all_gather(copies, everything)
        assert torch.equal(*copies), f"{family} {method}: the processes differ"
        found |= {f"{family}/{method}/{name}": tensor for name, tensor in after.items()}
    return found


def more_in_two_processes(folder: Path) -> None:
    """What each does beside that, for the slow tests."""
    found = weights_of_runs(folder, MORE)
    if is_main_process():
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / "found.safetensors")


def in_two_processes(folder: Path) -> None:
    """What each of the two processes does."""
    if is_main_process():
        family_model("clip", people(8)).save(folder / "original")
    dist.barrier()
    assert world_size() == 2
    rank = process_index()

    rows = torch.arange(15.0).reshape(5, 3) / 10
    mine = rows[:3] if rank == 0 else rows[3:]
    keys = torch.tensor([7, 8, 9]) if rank == 0 else torch.tensor([10, 11])
    assert rows_of_processes(len(mine), mine.device) == [3, 2]
    assert torch.equal(gather_with_grad(mine), rows)
    assert gather_with_grad(keys).tolist() == [7, 8, 9, 10, 11]
    gradient = gather_with_grad(gathered_gradient(mine, torch.tensor(0.5)))

    found = {"gathered": gradient} | {f"importance/{name}": t for name, t in importance_of_seven().items()}
    found |= {f"gradient/{name}": t for name, t in gradient_of_batches().items()}
    found |= {f"one pair/{name}": tensor for name, tensor in without_one_pair().items()}
    found |= weights_of_runs(folder, RUNS)
    after, history = guided_apart()
    for name, tensor in after.items():
        copies = [torch.empty_like(tensor) for _ in range(2)]
        dist.all_gather(copies, tensor.contiguous())
        assert torch.equal(*copies), f"a guided run: the processes differ in {name}"
    assert [row["accepted"] for row in history] == [1.0, 0.0, 1.0, 1.0]
    assert from_every_process(history) == [history, history]
    moved = {name: tensor - world("clip")[1].state_dict()[name] for name, tensor in after.items()}
    assert all((one - 0.03).abs().max() < 1e-5 for one in moved.values()), "the main process's legs hold"
    if is_main_process():
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / "found.safetensors")

    result = unlearn(folder / "original", people(8), subjects_ids(people(8).train, 3), method="grad_diff",
                     settings={**SGD, "batch_size": 7, "checkpoint_steps": 1, "trackers": ("tensorboard",)},
                     out=folder / "out")  # fmt: skip
    assert world_size() == 2, "the trackers' end was that of the group"
    assert result.folder is not None
    assert (result.folder / "model.safetensors").is_file(), "a process went on before the result was there"
    assert differing(weights(load_adapter(result.folder)), weights(result.adapter)) == []
    (folder / f"done-{rank}").touch()


@pytest.fixture(scope="module")
def folder(of_two: Path) -> Path:
    """What two processes under ``accelerate launch`` wrote."""
    return of_two / "training"


def test_gathered_gradients_equal_those_of_one_process(folder: Path) -> None:
    rows = torch.arange(15.0).reshape(5, 3) / 10
    expected = gathered_gradient(rows, torch.tensor(0.5))
    torch.testing.assert_close(load_file(folder / "found.safetensors")["gathered"], expected)


def test_importance_of_two_processes_is_that_of_one(folder: Path) -> None:
    """Negatives gathered from the other process, or squares of averaged gradients, would differ by far more."""
    found = load_file(folder / "found.safetensors")
    for name, alone in importance_of_seven().items():
        close = max(1e-9, 1e-4 * alone.abs().max().item())  # the smallest squares hang on how sums are rounded
        torch.testing.assert_close(found[f"importance/{name}"], alone, rtol=1e-3, atol=close)


def test_gradient_of_batches_of_two_processes_is_that_of_one(folder: Path) -> None:
    found = load_file(folder / "found.safetensors")
    alone = gradient_of_batches()
    close = 1e-5 * max(one.abs().max().item() for one in alone.values())
    for name, one in alone.items():
        torch.testing.assert_close(found[f"gradient/{name}"], one, rtol=1e-3, atol=close)


def test_more_processes_than_pairs_do_as_one(folder: Path) -> None:
    found, before, moved = load_file(folder / "found.safetensors"), weights(world("clip")[1]), 0.0
    for name, one in without_one_pair().items():
        torch.testing.assert_close(found[f"one pair/{name}"], one, rtol=0, atol=1e-5)
        moved = max(moved, (one - before[name]).abs().max().item())
    assert moved > 1e-3


@pytest.mark.parametrize(("family", "method"), RUNS)
def test_two_processes_equal_one_on_the_same_global_batch(family: str, method: str, folder: Path) -> None:
    check_run(family, method, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "method"), MORE)
def test_two_processes_equal_one_with_fused_heads_too(family: str, method: str, more_of_two: Path) -> None:
    check_run(family, method, more_of_two / "more")


def check_run(family: str, method: str, folder: Path) -> None:
    """The weights that two processes found are those of one, and moved."""
    found = {
        name.removeprefix(f"{family}/{method}/"): tensor
        for name, tensor in load_file(folder / "found.safetensors").items()
        if name.startswith(f"{family}/{method}/")
    }
    before, after = weights(world(family)[1]), trained_weights(family, method)
    moved = max((after[name] - before[name]).abs().max().item() for name in after)
    apart = max((after[name] - found[name]).abs().max().item() for name in after)
    assert moved > 1e-3
    assert apart < 1e-5
    assert apart < moved / 100


def test_two_processes_write_one_result(folder: Path) -> None:
    """The weights are those of one process; no partial folder and no checkpoint is left; both ran to the end."""
    alone = unlearn(folder / "original", people(8), subjects_ids(people(8).train, 3), method="grad_diff",
                    settings={**SGD, "batch_size": 7})  # fmt: skip
    together = load_adapter(folder / "out")
    for name, tensor in weights(alone.adapter).items():
        torch.testing.assert_close(weights(together)[name], tensor, atol=1e-5, rtol=0)
    assert sorted(path.name for path in folder.glob("done-*")) == ["done-0", "done-1"]
    assert [path.name for path in folder.glob(".*")] == []
    original = {path.name for path in (folder / "original").iterdir()}
    assert {path.name for path in (folder / "out").iterdir()} == original | {
        ".multidelete",
        "README.md",
        "multidelete.json",
        "logs",
    }
