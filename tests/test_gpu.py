"""A deletion on a GPU does what it does on the CPU: every method on every kind of head, runs that find their own way,
audits, and autocasting. Skipped, and said so, where there is no GPU."""

from pathlib import Path

import pytest
import torch

from multidelete import audit, unlearn
from multidelete.core.settings import LoopSettings, LoraSettings
from multidelete.methods import METHODS, Outcome
from multidelete.methods.auto import run_method
from multidelete.methods.judge import Judge
from multidelete.methods.solved import SolvedLegs
from multidelete.methods.weights import weights_of
from multidelete.models import choose_trainable, load_adapter
from multidelete.models.lora import add_lora
from tests.methods.cell_settings import HYPERPARAMETERS
from tests.methods.cells import HEADS, World, certainty, refused, world
from tests.models.cases import CASES, Case
from tests.tiny import MODELS, differing, parted, people, quick, trained, weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

KINDS = [case for case in CASES if str(case) in HEADS]
CELLS = [(name, case) for case in KINDS for name in METHODS if refused(name, case) is None]
SOLVED = [case for case in KINDS if str(case) != "albef retrieval"]


def deleted(name: str, one: World, device: str, settings: LoopSettings) -> Outcome:
    """A deletion on a device; the model ends on the CPU."""
    outcome = run_method(METHODS[name](**HYPERPARAMETERS.get(name, {})), one.job(settings))
    assert outcome.adapter.device.type == device
    outcome.adapter.cpu()
    return outcome


@pytest.mark.parametrize(("name", "case"), CELLS, ids=lambda value: str(value))
def test_every_method_makes_the_same_model_on_both(name: str, case: Case) -> None:
    one = world(case)
    there, here = (deleted(name, one, device, quick(device=device, batch_size=4)) for device in ("cuda", "cpu"))
    on_gpu, on_cpu = (certainty(outcome.adapter, one) for outcome in (there, here))
    assert differing(weights(there.adapter), weights(one.original))
    assert abs(on_gpu.forget - on_cpu.forget) < 0.05
    assert abs(on_gpu.retain - on_cpu.retain) < 0.05
    assert (there.pairs_forward, there.pairs_backward) == (here.pairs_forward, here.pairs_backward)


@pytest.mark.parametrize("case", SOLVED, ids=str)
def test_a_solved_leg_is_the_same_change(case: Case) -> None:
    one = world(case)
    changes = []
    for device in ("cuda", "cpu"):
        job = one.job(quick(device=device))
        job.adapter.to(device)
        before = {name: p.detach().cpu().clone() for name, p in job.adapter.named_parameters()}
        judge = Judge(job)
        start = judge.measure()
        SolvedLegs(job, judge, 1, weights_of(job.adapter)).take(0, start, start)
        after = dict(job.adapter.named_parameters())
        changes.append(torch.cat([(after[name].detach().cpu() - was).flatten() for name, was in before.items()]))
    assert changes[1].any()
    assert (changes[0] - changes[1]).norm() < 0.02 * changes[1].norm()


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("case", SOLVED, ids=str)
def test_a_run_finds_its_way(case: Case, precision: str) -> None:
    one = world(case)
    outcome = deleted("multidelete", one, "cuda", quick(device="cuda", pace="auto", precision=precision))
    before, after = certainty(one.original, one), certainty(outcome.adapter, one)
    assert after.forget < before.forget - 0.2
    assert after.retain > after.forget + 0.1


def test_a_matching_head_is_descended() -> None:
    """So few pairs tell it nothing of how it does: it may take every leg back, and says so."""
    one = world(Case("albef", "retrieval", 1))
    outcome = deleted("multidelete", one, "cuda", quick(device="cuda", pace="auto"))
    assert outcome.pairs_backward > 0
    assert certainty(outcome.adapter, one).retain > 0.6


def test_lora_finds_its_way() -> None:
    one = world(KINDS[0])
    job = one.job(quick(device="cuda", pace="auto"))
    choose_trainable(job.adapter, "text")
    add_lora(job.adapter, LoraSettings(r=4), seed=0)
    outcome = run_method(METHODS["multidelete"](), job)
    assert outcome.pairs_backward > 0
    outcome.adapter.cpu()
    assert certainty(outcome.adapter, one).forget < certainty(one.original, one).forget


def test_folders_and_audits(tmp_path: Path) -> None:
    """The frozen encoder's pictures are kept on the GPU's side too; a report has the figures of the CPU."""
    data = people(24, unseen=24)
    original = trained(MODELS["vision-text"](data), data.train)
    original.save(tmp_path / "original")
    forget, _ = parted(data, 3)
    found = {}
    for device in ("cuda", "cpu"):
        out = tmp_path / f"on {device}"
        unlearn(tmp_path / "original", data, forget.ids, settings={"device": device}, out=out)
        assert differing(weights(load_adapter(out)), weights(load_adapter(tmp_path / "original")))
        rows = {}
        for asked in ("cuda", "cpu"):
            report = tmp_path / f"{device}, asked on {asked}"
            verdict = audit(out, tmp_path / "original", data, forget.ids, out=report, device=asked).verdict
            rows[asked] = {row.criterion: row.unlearned.value for row in verdict.rows if row.unlearned}
        assert rows["cuda"] == pytest.approx(rows["cpu"], abs=0.03)
        found[device] = rows["cpu"]
    assert found["cuda"]["retain"] == pytest.approx(found["cpu"]["retain"], abs=0.1)
