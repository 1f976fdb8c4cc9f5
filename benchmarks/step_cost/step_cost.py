"""What a MultiDelete step costs beside a bare forward and backward of the same model on the same pairs.

Run from the repository: ``OMP_NUM_THREADS=1 python benchmarks/step_cost/step_cost.py``. The two are timed in turn,
so that a machine whose speed drifts slows both; whole jobs are timed by the clock and by the processor's time, which
other programs disturb less. Writes ``results.json`` beside this file.
"""

import json
import platform
import statistics
import time
from pathlib import Path

import torch

from multidelete import personas, resolve_request
from multidelete.data.pairs import PairDataset
from multidelete.data.request import forget_retain
from multidelete.data.split import draw_request
from multidelete.methods import Job, MultiDelete
from multidelete.methods.base import sample_retain
from multidelete.methods.reference import build_reference
from multidelete.models import choose_trainable, new_adapter
from multidelete.training.loop import StepModule
from multidelete.training.plan import MicroBatch, MicroBatches, plan_steps

ROUNDS = 60


def main() -> None:
    """Time steps, then whole jobs for growing forget and retain sets."""
    threads = torch.get_num_threads()
    result = {
        "machine": f"{platform.machine()}, {threads} CPU threads, torch {torch.__version__}",
        "step": {part: steps(part) for part in ("all", "text")},
        "forget pairs": [job(people=640, forget_people=number) for number in (16, 32, 64, 128)],
        "retain pairs": [job(people=people, forget_people=16) for people in (144, 528, 2064)],
    }
    Path(__file__).with_name("results.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def prepared(people: int, forget_people: int, part: str) -> Job:
    data = personas(people=people, unseen=40, seed=0)
    ids = draw_request(data.train, fraction=forget_people / people, unit="subject", seed=0)
    forget, retain = forget_retain(data.train, resolve_request(data, ids=ids))
    captions = [str(pair.inputs["text"]) for pair in data.train]
    adapter = new_adapter("vision-text", size="tiny", image_size=48, captions=captions, seed=0)
    choose_trainable(adapter, part)
    settings = MultiDelete().loop_settings_for(len(forget))
    return Job(adapter, data.train, forget, retain, settings, seed=0, holdout=data.splits["val"])


def steps(part: str) -> dict[str, float]:
    """Seconds of a MultiDelete step and of a bare one, on the same batches, in turn, with this part trained."""
    job = prepared(160, 16, part)
    method, datasets = MultiDelete(), {"forget": job.forget, "retain": sample_retain(job)}
    asked = method.reference_settings(job)
    reference = build_reference(job.adapter, datasets | holdout(job), job.train, asked, seed=0)
    sizes = {part: len(pairs) for part, pairs in datasets.items()}
    micro = MicroBatches(plan_steps(method.parts, sizes, job.settings, 0), datasets, job.adapter, 1)
    module = StepModule(job.adapter, method, reference)
    seconds: dict[str, list[float]] = {"multidelete": [], "bare": []}
    for number in range(ROUNDS):
        batch = micro[number % len(micro)]
        for name in ("multidelete", "bare"):
            started = time.perf_counter()
            loss = sum(module(batch).values()) if name == "multidelete" else bare(job, batch)
            torch.as_tensor(loss).backward()
            seconds[name].append(time.perf_counter() - started)
            module.zero_grad(set_to_none=True)
    ratios = [a / b for a, b in zip(seconds["multidelete"][5:], seconds["bare"][5:], strict=True)]
    return {
        "multidelete_median_s": statistics.median(seconds["multidelete"][5:]),
        "bare_median_s": statistics.median(seconds["bare"][5:]),
        "ratio_median": statistics.median(ratios),
        "rounds": len(ratios),
    }


def holdout(job: Job) -> dict[str, PairDataset]:
    return {} if job.holdout is None else {"holdout": job.holdout}


def bare(job: Job, batch: MicroBatch) -> torch.Tensor:
    """The task's own loss of the same pairs: a fine-tuning step."""
    return job.adapter.task_loss(job.adapter(batch.batch), batch.batch).mean()


def job(*, people: int, forget_people: int) -> dict[str, float]:
    """Seconds of a whole deletion with default settings, caches included."""
    made = prepared(people, forget_people, "text")
    started = time.process_time()
    done = MultiDelete().run(made)
    cpu_s = time.process_time() - started
    return {"forget": len(made.forget), "retain": len(made.retain), "wall_s": done.wall_s, "cpu_s": cpu_s}


if __name__ == "__main__":
    main()
