"""The one training loop, on accelerate.

A run is a fixed plan of steps, drawn from the seed before it starts. Every process takes its
share of each step, so the number of processes changes nothing but rounding, and a resumed run
goes on at the step where it stopped.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import get_scheduler

from multidelete.artifacts.checkpoints import newest_checkpoint
from multidelete.core.config import shown
from multidelete.core.errors import CodeError, DivergedError, UnsupportedError, first_few
from multidelete.core.foreign import called
from multidelete.core.progress import progress_bar
from multidelete.core.runtime import (
    State,
    make_accelerator,
    peak_bytes,
    possible_workers,
    process_index,
    seed_everything,
    world_size,
)
from multidelete.core.settings import LoopSettings
from multidelete.core.words import counted
from multidelete.data.pairs import PairDataset
from multidelete.models.base import Adapter
from multidelete.training.frozen import FrozenEntries
from multidelete.training.plan import MicroBatch, MicroBatches, plan_steps
from multidelete.training.resumable import HasState, Resumable
from multidelete.training.step import Answers, Losses, Part, Step
from multidelete.training.tracking import log_folder, tracking


@dataclass
class LoopResult:
    """What a run did, before it was cut off and resumed too.

    Attributes:
        history: One row for each optimizer step: the terms' values and their sum.
        pairs: Pairs forwarded and backpropagated by all processes.
        wall_s: Seconds.
        peak_bytes: Most memory used by this process.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    pairs: int = 0
    wall_s: float = 0.0
    peak_bytes: int = 0

    def state_dict(self) -> dict[str, State]:
        """For checkpoints."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """Go on counting from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)


@dataclass(frozen=True, kw_only=True)
class Run:
    """How one run goes, beside what it learns from.

    Attributes:
        work: Folder for checkpoints and trackers; without it there are none.
        resume: Go on from the newest checkpoint in ``work``, if there is one.
        title: Shown beside the progress bar.
        masks: Which entries of parameters may change, by name (`FrozenEntries`); all of those not named.
        after_pass: Called in every process with the number of each pass that is done, from 0, before any checkpoint.
    """

    work: Path | None = None
    resume: bool = False
    title: str = "unlearning"
    masks: Mapping[str, Tensor] | None = None
    after_pass: Callable[[int], None] | None = None


class StepModule(nn.Module):
    """Model and losses in one forward, so that every wrapper of accelerate sees the whole step."""

    def __init__(self, adapter: Adapter, method: Losses, reference: Answers | None) -> None:
        super().__init__()
        self.adapter = adapter
        self.method = method
        self.reference = reference

    def forward(self, micro: MicroBatch) -> dict[str, Tensor]:
        outputs = self.adapter(micro.batch)
        parts: dict[str, Part] = {}
        start = 0
        for name, rows in micro.positions.items():
            here = slice(start, start + len(rows))
            start += len(rows)
            cached = self.reference.rows(name, rows, micro.number_of_pass) if self.reference else (None, None)
            reference, partner = (None if c is None else c.apply(lambda t: t.to(self.adapter.device)) for c in cached)
            targets = self.reference.score_targets if self.reference and name == "forget" else None
            target = None if targets is None else targets[torch.tensor(rows)].to(self.adapter.device)
            share = micro.shares[name]
            parts[name] = Part(micro.batch[here], outputs[here], self.adapter, share, reference, partner, target)
        terms = self.method.losses(Step(parts, self.reference, micro.progress))
        _refuse_no_losses(terms, self.method)
        return terms


def run_loop(
    adapter: Adapter,
    method: Losses,
    datasets: Mapping[str, PairDataset],
    *,
    settings: LoopSettings,
    seed: int,
    reference: Answers | None = None,
    run: Run | None = None,
) -> LoopResult:
    """Train ``adapter`` in place.

    Args:
        adapter: The model; parameters that do not require gradients stay as they are.
        method: Gives the losses.
        datasets: The pairs of each of the method's parts, and those to forget where there is a request.
        settings: Budget, optimizer and the rest.
        seed: Of the plan and of dropout.
        reference: What the original says of the datasets' pairs, by position.
        run: Checkpoints, masks and what else the run is to do.

    Raises:
        DivergedError: A term is not finite; nothing of that step was applied.
    """
    started, run = time.perf_counter(), run or Run()
    work = run.work
    accelerator = make_accelerator(
        device=settings.device,
        mixed_precision=settings.precision,
        accumulation=settings.accumulation,
        log_with=settings.trackers,
        log_dir=log_folder(work),
    )
    seed_everything(seed + process_index())
    plan = plan_steps(method.parts, {part: len(dataset) for part, dataset in datasets.items()}, settings, seed)
    plan = [step.only(method.parts_of_pass(step.number_of_pass)) for step in plan]
    module = StepModule(adapter, method, reference)
    module.train(method.training_mode)
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "adamw":
        decayed = [p for p in trained if p.ndim > 1]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr)
    else:
        optimizer = torch.optim.SGD(trained, lr=settings.lr, weight_decay=settings.weight_decay)
    warmup = round(settings.warmup * len(plan))
    scheduler = get_scheduler(
        "constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=len(plan),
    )
    # Not the scheduler: accelerate would step it once for each process, and the plan counts steps of all together. The
    # losses are computed inside what is wrapped, so that its gradient hooks see all that was used.
    wrapped, optimizer = accelerator.prepare(module, optimizer)
    frozen = FrozenEntries(adapter, run.masks)
    result = LoopResult()
    parts = {"optimizer": cast(HasState, optimizer), "schedule": cast(HasState, scheduler), "result": result}
    resumable = Resumable(accelerator, adapter, parts if reference is None else {**parts, "reference": reference})
    done = resumable.load(work) if run.resume and work is not None else 0
    started -= result.wall_s
    augment_seed = seed if settings.augment and method.training_mode else None
    micro_batches = MicroBatches(plan, datasets, adapter, settings.accumulation, augment_seed)
    loader = DataLoader(
        micro_batches,
        batch_size=None,
        sampler=range(done * settings.accumulation, len(micro_batches)),
        num_workers=possible_workers(settings.workers),
        persistent_workers=False,
        generator=torch.Generator(),  # starting to read draws a number: not from the restored ones of a resumed run
    )
    with progress_bar(run.title, len(plan)) as bar, tracking(accelerator) as log:
        bar.to(done)
        sums: dict[str, float] = {}
        for number, micro in enumerate(loader, start=done * settings.accumulation):
            step = number // settings.accumulation
            with accelerator.accumulate(wrapped):
                terms: dict[str, Tensor] = wrapped(_to(micro, accelerator.device))
                values = _mean_over_processes(accelerator, terms)
                _refuse_nonfinite(values, step, len(plan), work)
                accelerator.backward(torch.stack(list(terms.values())).sum())
                if accelerator.sync_gradients:
                    frozen.zero_gradients()
                    if settings.max_grad_norm > 0:
                        accelerator.clip_grad_norm_(trained, settings.max_grad_norm)
                optimizer.step()
                frozen.restore()
                optimizer.zero_grad()
            result.pairs += len(micro.batch) * world_size()
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value / settings.accumulation
            if (number + 1) % settings.accumulation == 0:
                scheduler.step()
                done = step + 1
                row = sums | {"loss": sum(sums.values())}
                result.history.append(row)
                sums = {}
                log(row | {"lr": scheduler.get_last_lr()[0]}, done)
                bar.to(done, f"{run.title} (loss {row['loss']:.3g})")
                is_end = done == len(plan) or plan[done].number_of_pass > plan[step].number_of_pass
                if run.after_pass is not None and is_end:
                    run.after_pass(plan[step].number_of_pass)
                if work is not None and settings.checkpoint_steps and done % settings.checkpoint_steps == 0:
                    _refuse_nonfinite_weights(adapter, done, work)
                    result.wall_s = time.perf_counter() - started
                    resumable.save(work, done)
    _refuse_nonfinite_weights(adapter, done, work)
    module.eval()
    result.wall_s = time.perf_counter() - started
    result.peak_bytes = max(result.peak_bytes, peak_bytes(accelerator.device))
    return result


def _refuse_no_losses(terms: object, method: Losses) -> None:
    """A method of the user's own may return anything."""
    rule = "named scalar tensors, at least one of which has a gradient"
    if not isinstance(terms, dict) or not terms:
        raise CodeError(f"{called(type(method))} gives {shown(terms)} as its losses; give {rule}.")
    wrong = [f"{name} = {shown(term)}" for name, term in terms.items() if not isinstance(term, Tensor) or term.ndim]
    if wrong:
        raise CodeError(f"{called(type(method))} gives losses that are no scalars: {first_few(wrong)}; give {rule}.")
    if not any(term.requires_grad for term in terms.values()):
        without = f"{called(type(method))} gives losses without a gradient: {', '.join(terms)}"
        if type(method).__module__.startswith(f"{__package__.partition('.')[0]}."):
            raise UnsupportedError(f"{without}. None hangs on the part that is trained: choose another (--trainable).")
        raise CodeError(f"{without}; give {rule}.")


def _to(micro: MicroBatch, device: torch.device) -> MicroBatch:
    return MicroBatch(micro.batch.to(device), micro.positions, micro.shares, micro.number_of_pass, micro.progress)


def _mean_over_processes(accelerator: Accelerator, terms: Mapping[str, Tensor]) -> dict[str, float]:
    stacked = torch.stack([term.detach().float() for term in terms.values()])
    reduced: Tensor = accelerator.reduce(stacked, reduction="mean")
    return dict(zip(terms, reduced.tolist(), strict=True))


def _refuse_nonfinite(values: Mapping[str, float], step: int, total: int, work: Path | None) -> None:
    bad = [f"{name} = {value}" for name, value in values.items() if not np.isfinite(value)]
    if bad:
        raise DivergedError(
            f"the loss stopped being finite at step {step + 1} of {total}: {', '.join(bad)}. "
            f"{_last_good(work)} Lower the learning rate, or use float32."
        )


def _refuse_nonfinite_weights(adapter: Adapter, done: int, work: Path | None) -> None:
    """A finite loss can have a gradient that is not."""
    bad = [name for name, p in adapter.named_parameters() if not torch.isfinite(p).all()]
    if bad:
        raise DivergedError(
            f"{counted(len(bad), 'weights are')} not finite after step {done}: {first_few(bad)}. "
            f"{_last_good(work)} Lower the learning rate, or use float32."
        )


def _last_good(work: Path | None) -> str:
    newest = newest_checkpoint(work) if work is not None else None
    return f"The last good checkpoint is {newest}." if newest else "There is no checkpoint yet."
