"""What a MultiDelete step costs beside a bare forward and backward of the same model on the same pairs.

Run from the repository: ``OMP_NUM_THREADS=1 python benchmarks/step_cost/step_cost.py``. The two are timed in turn,
so that a machine whose speed drifts slows both; whole jobs are timed by the clock and by the processor's time, which
other programs disturb less. Writes ``results.json`` beside this file. ``--tiny`` shows in seconds whether it runs, and
writes nothing.
"""

import argparse
import json
import platform
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from multidelete import personas, resolve_request
from multidelete.data.pairs import PairDataset
from multidelete.data.request import forget_retain
from multidelete.data.split import draw_request
from multidelete.methods import Job, MultiDelete
from multidelete.methods.base import sample_retain
from multidelete.methods.reference import build_reference
from multidelete.models import SIZES, NewModel, choose_trainable, new_adapter, train_tokenizer
from multidelete.training.loop import StepModule
from multidelete.training.plan import MicroBatch, MicroBatches, plan_steps

WARM_UP = 5  # rounds that are not counted


@dataclass(frozen=True)
class Scale:
    """How much is timed: people in the data, and of them to forget."""

    rounds: int = 60
    steps: tuple[int, int] = (160, 16)
    growing_forget: tuple[tuple[int, int], ...] = ((640, 16), (640, 32), (640, 64), (640, 128))
    growing_retain: tuple[tuple[int, int], ...] = ((144, 16), (528, 16), (2064, 16))
    passes: float | None = None  # of a deletion; None is the method's own budget


TINY = Scale(rounds=6, steps=(8, 1), growing_forget=((8, 1),), growing_retain=((8, 1),), passes=0.5)


def main() -> None:
    """Time steps, then whole jobs for growing forget and retain sets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    scale = TINY if parser.parse_args().tiny else Scale()
    threads = torch.get_num_threads()
    result = {
        "machine": f"{platform.machine()}, {threads} CPU threads, torch {torch.__version__}",
        "step": {part: steps(part, scale) for part in ("all", "text")},
        "forget pairs": [whole(*sizes, scale.passes) for sizes in scale.growing_forget],
        "retain pairs": [whole(*sizes, scale.passes) for sizes in scale.growing_retain],
    }
    if scale != TINY:
        Path(__file__).with_name("results.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def prepared(people: int, forget_people: int, part: str) -> Job:
    data = personas(people=people, unseen=40, seed=0)
    ids = draw_request(data.train, fraction=forget_people / people, unit="subject", seed=0)
    forget, retain = forget_retain(data.train, resolve_request(data, ids=ids))
    captions = [str(pair.inputs["text"]) for pair in data.train]
    size = SIZES["tiny"]
    wanted = NewModel(size=size, image_size=48, tokenizer=train_tokenizer(captions, size))
    adapter = new_adapter("vision-text", wanted, seed=0)
    choose_trainable(adapter, part)
    settings = MultiDelete().loop_settings_for(len(forget))
    return Job(adapter, data.train, forget, retain, settings, seed=0, holdout=data.splits["val"])


def steps(part: str, scale: Scale) -> dict[str, float]:
    """Seconds of a MultiDelete step and of a bare one, on the same batches, in turn, with this part trained."""
    job = prepared(*scale.steps, part)
    method, datasets = MultiDelete(), {"forget": job.forget, "retain": sample_retain(job)}
    asked = method.reference_settings(job)
    reference = build_reference(job.adapter, datasets | holdout(job), job.train, asked, seed=0)
    sizes = {part: len(pairs) for part, pairs in datasets.items()}
    micro = MicroBatches(plan_steps(method.parts, sizes, job.settings, 0), datasets, job.adapter, 1)
    module = StepModule(job.adapter, method, reference)
    seconds: dict[str, list[float]] = {"multidelete": [], "bare": []}
    for number in range(scale.rounds):
        batch = micro[number % len(micro)]
        for name in ("multidelete", "bare"):
            started = time.perf_counter()
            loss = sum(module(batch).values()) if name == "multidelete" else bare(job, batch)
            torch.as_tensor(loss).backward()
            seconds[name].append(time.perf_counter() - started)
            module.zero_grad(set_to_none=True)
    ratios = [a / b for a, b in zip(seconds["multidelete"][WARM_UP:], seconds["bare"][WARM_UP:], strict=True)]
    return {
        "multidelete_median_s": statistics.median(seconds["multidelete"][WARM_UP:]),
        "bare_median_s": statistics.median(seconds["bare"][WARM_UP:]),
        "ratio_median": statistics.median(ratios),
        "rounds": len(ratios),
    }


def holdout(job: Job) -> dict[str, PairDataset]:
    return {} if job.holdout is None else {"holdout": job.holdout}


def bare(job: Job, batch: MicroBatch) -> torch.Tensor:
    """The task's own loss of the same pairs: a fine-tuning step."""
    return job.adapter.task_loss(job.adapter(batch.batch), batch.batch).mean()


def whole(people: int, forget_people: int, passes: float | None) -> dict[str, float]:
    """Seconds of a whole deletion with default settings, caches included."""
    job = prepared(people, forget_people, "text")
    if passes is not None:
        job = replace(job, settings=replace(job.settings, passes=passes))
    started = time.process_time()
    done = MultiDelete().run(job)
    cpu_s = time.process_time() - started
    return {"forget": len(job.forget), "retain": len(job.retain), "wall_s": done.wall_s, "cpu_s": cpu_s}


if __name__ == "__main__":
    main()
