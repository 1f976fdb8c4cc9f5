"""A run that finds its own way: short legs, each measured, each taken back where it costs too much.

Nobody with a deletion request can know the rate that suits a model. A leg of a run that was too long shows on kept
pairs at once: they are found less. So it is undone, and the next is shorter. One that was too short shows on the
deleted pairs. The run ends when no signal tells the deleted pairs from unseen ones and kept pairs stand, or when legs
have become too short to change anything.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import torch

from multidelete.artifacts.sealed import read_sealed, run_of, write_sealed
from multidelete.core.errors import DivergedError
from multidelete.core.progress import progress_bar
from multidelete.core.runtime import (
    State,
    from_main_process,
    is_main_process,
    make_accelerator,
    peak_bytes,
    wait_for_everyone,
)
from multidelete.methods.base import GradientMethod, Job, Outcome
from multidelete.methods.judge import Judge
from multidelete.methods.standing import Standing
from multidelete.methods.weights import Weights, put_back, take_those_of_main_process, weights_of
from multidelete.training.tracking import log_folder, tracking

ALLOWED = 0.015  # how much less kept pairs of any kind may be found at the end, as a fraction of them
BRINGING_BACK = 2  # legs that may bring kept pairs back once the deleted pairs are forgotten and kept pairs stand
MENDING = 6  # legs beyond its most in which a way may bring kept pairs back
IN_VAIN = 4  # legs after which a run ends: that stood and brought nothing nearer, or that left further signals telling
BROUGHT = 0.8  # what a loss must be of the least so far to count as brought back
CAP = 0.15  # and on the way, as a share of what was found, where later legs may bring them back
PRICE = 20.0  # of what kept pairs lost beyond that, in parts of the way, where the best state is chosen
BETTER = 0.95  # what a merit must be of the lowest one so far to count as lower
CLEARLY = 0.7  # a leg that leaves no more of the merit than this was a good one, whatever was predicted
BACK = 3  # a leg is compared with the worst of so many before it: what one loses, those after it may repair
PATIENCE = 8  # legs without a lower merit, after which a way has given what it can
FILE = "legs.safetensors"


class Legs(Protocol):
    """One way of changing the weights, leg by leg.

    Attributes:
        name: ``solved`` or ``descent``.
        length: Of the next leg, in units of its own.
        most: Legs after which it gives up on the way.
        brings_back: Whether its legs are made to bring kept pairs back, once the deleted pairs are where they belong:
            it is taken up again then, however little it could do on the way.
        pairs: Pairs forwarded and backpropagated so far.
        asked: Pairs forwarded alone.
        scales: What its losses are divided by, by name; of solved legs nothing.
    """

    name: str
    length: float
    most: int
    brings_back: bool
    pairs: float
    asked: float
    scales: Mapping[str, float]

    def take(self, number: int, now: Standing, start: Standing) -> None:
        """Change the weights.

        Args:
            number: Of the leg, in the whole run.
            now: Where it begins.
            start: Where the run began.

        Raises:
            DivergedError: The loss or a weight is not finite any more.
        """

    def is_as_predicted(self, before: Standing, after: Standing) -> bool:
        """Whether the forget pairs moved as this leg said they would."""

    def told(self) -> list[float]:
        """What a resumed run must know of this way."""

    def recall(self, told: Sequence[float]) -> None:
        """Go on from what `told` said."""

    def adapt(self, before: Standing, after: Standing | None) -> bool:
        """Choose the next leg's length; ``after`` is None where the leg was taken back.

        Returns:
            False where it would be too short to change anything.
        """


@dataclass
class Progress:
    """What changes while a run goes on: with the lengths of the ways all that is needed to go on after a kill.

    Attributes:
        number: Legs so far.
        refused: Those that were taken back.
        idle: Legs since the lowest merit.
        in_vain: Legs that stood since any brought kept or unseen pairs back, or the further signals nearer, the deleted
            pairs being where they belong by the signals that legs aim at.
        after: Legs since the deleted pairs were forgotten, which bring kept pairs back.
        beyond: Legs since kept pairs stood and further signals alone, at which no leg aims, told the deleted ones.
        taken: Legs of each way.
        closed: Which ways have given what they can on the way.
        least: What was still lost then, as a fraction.
        nearest: How far the further signals still told then, in [0, 0.5]; 1 before.
        seconds: That the run took.
        merits: Of the states that stood.
        history: A row for each leg.
    """

    number: int = 0
    refused: int = 0
    idle: int = 0
    after: int = 0
    in_vain: int = 0
    beyond: int = 0
    least: float = 1.0
    nearest: float = 1.0
    seconds: float = 0.0
    taken: list[int] = field(default_factory=list)
    closed: list[bool] = field(default_factory=list)
    merits: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)

    def note_leg(self, best: Standing, start: Standing) -> None:
        """Note what was already reached before a leg."""
        self.after += _is_done(start, best)
        self.beyond += _is_all_but_done(start, best)

    def note_loss(self, now: Standing, start: Standing) -> None:
        """Note whether a leg that stood brought anything back, where the signals that legs aim at tell no deleted pair.

        After a request for much of the data unseen pairs are found less, as after retraining: no leg changes that. Nor
        what margins or confidence tell, where validation pairs are of another kind.
        """
        lost, tells = now.lost_since(start), now.further_distance
        is_nearer = not now.is_forgotten and tells < BROUGHT * self.nearest
        if not now.is_level:
            self.in_vain = 0
        elif lost < BROUGHT * self.least or is_nearer:
            self.in_vain, self.least, self.nearest = 0, min(lost, self.least), min(tells, self.nearest)
        else:
            self.in_vain += 1

    def has_ended(self, best: Standing, start: Standing) -> bool:
        """Whether legs have nothing more to bring.

        The deleted pairs are forgotten, and kept pairs lost nothing or legs do not bring them back; or kept pairs
        stand, and what still tells the deleted ones is nothing that legs aim at.
        """
        if max(self.in_vain, self.beyond) >= IN_VAIN:
            return True
        return _is_done(start, best) and (best.has_kept(start) or self.after >= BRINGING_BACK)


def run_guided(method: GradientMethod, job: Job, ways: Sequence[Legs], judge: Judge, original: Weights) -> Outcome:
    """Take legs, in each of the ways in turn, until the deleted pairs are forgotten; keep the best state.

    Where several processes run, each takes every leg; the main one's weights and measures hold for all.

    Args:
        method: Whose objective it is.
        job: Its model is changed in place.
        ways: Each goes on from where the one before gave up.
        judge: Measures.
        original: The weights of the model.

    Raises:
        DivergedError: What the model says is not finite, or no leg left it so.
    """
    began = time.perf_counter()
    start = now = best = from_main_process(judge.measure())
    for pairs, numbers in (("deleted", start.signals), ("kept", start.sure), ("unseen", start.gaps)):
        if not torch.isfinite(numbers).all():
            raise DivergedError(f"what the original says of the {pairs} pairs is not finite. Give another model.")
    run = Progress(taken=[0] * len(ways), closed=[False] * len(ways), merits=[1.0])
    here = best_weights = original
    if job.resume and job.work is not None and from_main_process((job.work / FILE).is_file()):
        run, best_weights, best, now = _resumed(job.work, job, ways, judge)
        here = weights_of(job.adapter)
        wait_for_everyone()  # until all have read what the first leg writes over
    began -= run.seconds
    diverged: DivergedError | None = None
    most = sum(way.most + MENDING * way.brings_back for way in ways)
    own = job.settings
    accelerator = make_accelerator(device=own.device, log_with=own.trackers, log_dir=log_folder(job.work))
    with progress_bar(method.name, most) as bar, tracking(accelerator) as log:
        while not run.has_ended(best, start) and (at := next_way(run, ways, now)) is not None:
            way = ways[at]
            after, error = leg_taken(way, run.number, now, start, judge, job)
            diverged = error or diverged
            accepted = from_main_process(after is not None and _is_good(run, way, start, now, after))
            run.history.append(_row(way, after, start, accepted))
            log(run.history[-1], run.number + 1)
            goes_on = way.adapt(now, after if accepted else None)
            run.number, run.idle = run.number + 1, run.idle + 1
            run.taken[at] += 1
            run.note_leg(best, start)
            if accepted and after is not None:
                here, now = weights_of(job.adapter), after
                if _merit(now, start) < BETTER * min(run.merits):
                    run.idle = 0
                run.merits.append(_merit(now, start))
                run.note_loss(now, start)
                if is_better(now, best, start):
                    best, best_weights = now, here
            else:
                put_back(job.adapter, here)
                run.refused += 1
            gives_up = not goes_on or run.taken[at] >= way.most or run.idle >= PATIENCE
            if gives_up and not run.closed[at]:
                run.closed[at], run.idle = True, 0
            run.seconds = time.perf_counter() - began
            _keep(job, run, ways, judge, best_weights)
            bar.to(
                run.number, f"{method.name} ({now.distance:.2f} from unseen, {now.lost_since(start):.3f} of kept lost)"
            )
        bar.to(most)
    if diverged is not None and not any("gap" in row for row in run.history):
        raise diverged
    put_back(job.adapter, best_weights)
    is_same = all(torch.equal(best_weights[name], tensor) for name, tensor in original.items())
    return Outcome(
        adapter=job.adapter,
        history=run.history,
        pairs_forward=judge.pairs + round(sum(way.asked for way in ways)),
        pairs_backward=round(sum(way.pairs for way in ways)),
        reference_s=0.0,
        scales={name: scale for way in ways for name, scale in way.scales.items()},
        wall_s=time.perf_counter() - began,
        peak_bytes=peak_bytes(job.adapter.device),
        decisions={
            "legs": float(run.number),
            "undone": float(run.refused),
            "distance": best.distance,
            "further": best.further_distance,
            "near": float(best.is_near),
            "beside": best.beside,
            "left": best.left,
            "forgotten": float(best.is_forgotten),
            "unchanged": float(is_same and not job.adapter.holds_data),  # a graph has lost its edges all the same
            "lost": best.lost_since(start),
            "stands": float(best.lost_since(start) <= ALLOWED),
            "kept": best.kept.mean().item(),
            "kept_before": start.kept.mean().item(),
        }
        | {f"{way.name}_length": way.length for way in ways},
    )


def leg_taken(
    way: Legs, number: int, now: Standing, start: Standing, judge: Judge, job: Job
) -> tuple[Standing | None, DivergedError | None]:
    """How the model stands after a leg, or why that cannot be told."""
    error: DivergedError | None = None
    try:
        way.take(number, now, start)
    except DivergedError as found:
        error = found
    if (error := from_main_process(error)) is not None:
        return None, error
    take_those_of_main_process(job.adapter)
    return from_main_process(judge.measure()), None


def next_way(run: Progress, ways: Sequence[Legs], now: Standing) -> int | None:
    """The first way that is open; where the deleted pairs are where they belong the first that brings kept pairs back.

    None where all have given up.
    """
    open_ways = [at for at, is_closed in enumerate(run.closed) if not is_closed]
    if not now.is_level:
        return next(iter(open_ways), None)
    mending = [at for at, way in enumerate(ways) if way.brings_back and run.taken[at] < way.most + MENDING]
    return next(iter([*mending, *reversed(open_ways)]), None)


def _is_done(start: Standing, now: Standing) -> bool:
    return now.is_forgotten and now.lost_since(start) <= ALLOWED


def _is_all_but_done(start: Standing, now: Standing) -> bool:
    return now.is_level and not now.is_forgotten and now.lost_since(start) <= ALLOWED


def _merit(standing: Standing, start: Standing) -> float:
    """What is left of the way, plus what kept pairs lost: the lower the better, on the way."""
    return standing.far / max(start.far, 1e-9) + standing.share_lost_since(start)


def is_better(one: Standing, other: Standing, start: Standing) -> bool:
    """Whether a state is to be kept in the place of another.

    One in which the deleted pairs are forgotten is; of two such the one whose kind that lost most lost less. Otherwise
    losses count more than on the way, and a state that went a smaller part of the way than it lost is not better than
    the original: there chance excuses nothing.
    """
    is_done = [_is_done(start, state) for state in (one, other)]
    if all(is_done):
        return one.mean_lost_since(start) < other.mean_lost_since(start)
    if any(is_done):
        return is_done[0]
    return _price(one, start) < _price(other, start)


def _price(state: Standing, start: Standing) -> float:
    """Of a state that is not done: what is left of the way, and what kept pairs lost beyond what they may.

    Infinite where it lost a larger share than it went of the way, by distances or by ranks: signals that fell and still
    lie above all unseen ones tell as much as before.
    """
    left = state.far / max(start.far, 1e-9)
    if max(left, state.distance / max(start.distance, 1e-9)) + state.mean_share_lost_since(start) > 1:
        return math.inf
    return left + PRICE * max(0.0, state.lost_since(start) - ALLOWED)


def _is_good(run: Progress, way: Legs, start: Standing, now: Standing, after: Standing) -> bool:
    """Whether a leg may stand: a line search that need not go down in each step.

    Grippo, Lampariello and Lucidi: "A Nonmonotone Line Search Technique for Newton's Method", SIAM J. Numer. Anal.
    23(4), 1986.
    """
    is_finite = torch.isfinite(after.signals).all() and torch.isfinite(after.sure).all()
    if not is_finite or after.share_lost_since(start) > max(CAP, now.share_lost_since(start)):
        return False
    merit = _merit(after, start)
    foreseen = way.is_as_predicted(now, after) or merit < CLEARLY * _merit(now, start)
    return merit < max(run.merits[-BACK:]) and foreseen


def _row(way: Legs, after: Standing | None, start: Standing, accepted: bool) -> dict[str, float]:
    row = {"solved": float(way.name == "solved"), "length": way.length, "accepted": float(accepted)}
    if after is None:
        return row
    row |= {
        "distance": after.distance,
        "further": after.further_distance,
        "gap": after.gap,
        "lost": after.lost_since(start),
    }
    row |= {"kept": after.kept.mean().item(), "merit": _merit(after, start)}
    row |= {} if after.unseen is None else {"unseen": after.unseen.mean().item()}
    return {name: value for name, value in row.items() if math.isfinite(value)}


def _keep(job: Job, run: Progress, ways: Sequence[Legs], judge: Judge, best: Weights) -> None:
    """Write what a run needs to go on from here, in its work folder, unless no checkpoints are wanted."""
    if job.work is None or not job.settings.checkpoint_steps:
        return
    if is_main_process():
        told: dict[str, State] = {
            "weights": dict(weights_of(job.adapter)),
            "best": dict(best),
            "counts": [run.number, run.refused, run.idle, run.after, run.in_vain, run.beyond, judge.pairs],
            "least": run.least,
            "nearest": run.nearest,
            "seconds": run.seconds,
            "taken": list(run.taken),
            "closed": list(run.closed),
            "ways": [way.told() for way in ways],
            "merits": list(run.merits),
            "history": [dict(row) for row in run.history],
        }
        write_sealed(job.work / FILE, told, of=run_of(job.work))
    wait_for_everyone()


def _resumed(work: Path, job: Job, ways: Sequence[Legs], judge: Judge) -> tuple[Progress, Weights, Standing, Standing]:
    """The run, the best weights and how they stand, and how those stand that it goes on from, which are put back."""
    told = read_sealed(work / FILE, of=run_of(work))
    best_weights = cast(Weights, told["best"])
    put_back(job.adapter, best_weights)
    best = from_main_process(judge.measure())
    put_back(job.adapter, cast(Weights, told["weights"]))
    now = from_main_process(judge.measure())
    number, refused, idle, after, in_vain, beyond, judge.pairs = cast(list[int], told["counts"])
    for way, known in zip(ways, cast(list[list[float]], told["ways"]), strict=True):
        way.recall(known)
    history = [dict(row) for row in cast(list[dict[str, float]], told["history"])]
    run = Progress(
        number=number,
        refused=refused,
        idle=idle,
        after=after,
        in_vain=in_vain,
        beyond=beyond,
        least=cast(float, told["least"]),
        nearest=cast(float, told["nearest"]),
        seconds=cast(float, told["seconds"]),
        taken=list(cast(list[int], told["taken"])),
        closed=list(cast(list[bool], told["closed"])),
        merits=list(cast(list[float], told["merits"])),
        history=history,
    )
    return run, best_weights, best, now
