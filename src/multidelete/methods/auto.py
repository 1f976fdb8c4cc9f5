"""Running a method at a rate and for a time that the run finds by itself."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from multidelete.core.errors import UnsupportedError
from multidelete.core.runtime import make_accelerator
from multidelete.core.settings import LoopSettings
from multidelete.methods.base import GradientMethod, Job, Method, Outcome, Planned
from multidelete.methods.descent import LONG, SHORT, DescentLegs, Stride, passes_of_leg
from multidelete.methods.guided import ALLOWED, MENDING, Legs, run_guided
from multidelete.methods.judge import Judge
from multidelete.methods.likeness import what_is_unlike
from multidelete.methods.lora_start import STARTING, choose_directions, stands_beside
from multidelete.methods.solved import (
    GLANCED,
    GRADIENT_BATCH,
    METRIC_PAIRS,
    REPAIRS,
    SolvedLegs,
    bytes_of_legs,
    kept_beside,
)
from multidelete.methods.standing import CLOSE
from multidelete.methods.weights import weights_of

logger = logging.getLogger(__name__)

SOLVED_MOST = 12
RETRAINING = "Audit the result; retraining is the way that is left."
WITHOUT_LORA = "Delete without --lora: the whole weights can change more than LoRA can."


def run_method(method: Method, job: Job) -> Outcome:
    """Run a method as the settings say: at the given rate, or at the rate that the run finds.

    Raises:
        MultideleteError: As `Method.run`.
    """
    job.adapter.to(make_accelerator(device=job.settings.device).device)
    if not (isinstance(method, GradientMethod) and finds_its_way(method, job)):
        return method.run(job)
    began = time.perf_counter()
    method = method.fitting(job)
    method.check(job)
    judge = Judge(job)
    solves = is_solved(method, job, judge)
    if job.metric is not None and not solves:
        reason = "a matching head scores the members together" if judge.is_matching else "salient weights alone change"
        raise UnsupportedError(
            f"a folder for the metric is given, and this run descends, as all do where {reason}. Leave metric out."
        )
    by_lora = stands_beside(job.adapter)
    chosen = choose_directions(job, judge) if solves and by_lora else 0.0
    original = weights_of(job.adapter)
    ways: list[Legs] = []
    if solves:
        ways.append(solved := SolvedLegs(job, judge, SOLVED_MOST, original))
        solved.pairs += chosen
    ways.append(DescentLegs(method, job, judge, _stride(judge), original))
    before = time.perf_counter() - began
    outcome = run_guided(method, job, ways, judge, original)
    more = {"holdout": float(judge.has_holdout)} | {f"apart_{modality}": auc for modality, auc in judge.apart.items()}
    if job.metric is not None:
        more["metric_reused"] = float(solved.has_reused)
    outcome = replace(outcome, decisions=outcome.decisions | more, wall_s=outcome.wall_s + before)
    for warning in (
        what_is_missing(outcome.decisions, judge, by_lora=by_lora),
        what_is_unlike(judge.apart, judge.doubt),
    ):
        if warning is not None:
            logger.warning("%s", warning)
    return outcome


def finds_its_way(method: Method, job: Job) -> bool:
    """Whether a run finds its rate and its end by itself."""
    return job.settings.pace == "auto" and method.finds_its_way


def is_solved(method: GradientMethod, job: Job, judge: Judge) -> bool:
    """Whether its legs are solved where they can be.

    With other weights or targets than its own they are not, since solved legs know neither. Nor are those of matching
    heads: what such a head keeps hangs on margins over very many wrong pairs, which rows of few kept pairs cannot pin.
    """
    return can_solve(method, job.settings) and not job.masks and not judge.is_matching


def can_solve(method: Method, settings: LoopSettings) -> bool:
    """Whether legs are solved on models that allow it."""
    return settings.pace == "auto" and method.is_solvable and method == type(method)()


def _stride(judge: Judge) -> Stride:
    return LONG if judge.is_matching else SHORT


def planned_run(method: Method, job: Job) -> Planned | None:
    """What a run will ask of the model; of one that finds its own end the most that it may ask."""
    if not isinstance(method, GradientMethod):
        return method.planned(job)
    method = method.fitting(job)
    method.check(job)
    if not finds_its_way(method, job):
        return method.planned(job)
    judge = Judge(job)
    stride = _stride(judge)
    longest = replace(job.settings, passes=stride.most * passes_of_leg(job, stride), pace="given")
    planned = method.planned(replace(job, settings=longest, retain=judge.steps_on))
    look = len(job.forget) + len(judge.unseen) + judge.asks_of_kept
    again = stride.most * method.asked_again(job)
    if not is_solved(method, job, judge):
        asked = judge.pairs + again + (1 + stride.most) * look
        return Planned(planned.steps, planned.pairs_backward, planned.pairs_forward + asked)
    kept, starts = kept_beside(job, METRIC_PAIRS), int(stands_beside(job.adapter))
    most = SOLVED_MOST + MENDING + starts * STARTING
    solves = most * REPAIRS
    solved = solves * (len(job.forget) + kept) + (1 + starts) * (METRIC_PAIRS + GRADIENT_BATCH)
    looks = 1 + starts + most + stride.most
    asked = judge.pairs + again + solves * (kept + GLANCED) + looks * look
    return Planned(planned.steps, planned.pairs_backward + solved, planned.pairs_forward + asked, bytes_of_legs(job))


def what_is_missing(told: Mapping[str, float], judge: Judge, *, by_lora: bool = False) -> str | None:
    """What a run did not reach, as its decisions tell; None where the pairs are forgotten and the others stand.

    Args:
        told: The decisions.
        judge: Says what the deleted pairs were compared with.
        by_lora: Whether LoRA alone was trained.
    """
    ground = f"unassociated pairs ({judge.why_no_holdout})"
    if told["forgotten"]:
        if not told["stands"]:
            return _costly(told)
        return None if judge.has_holdout else _weak(ground)
    return (
        f"the deleted pairs can still be told from {'validation pairs' if judge.has_holdout else ground}: "
        f"{_what_tells(told)}. "
        f"No leg of {told['legs']:.0f} came farther with kept pairs standing, {_what_remains(told)}. "
        + (WITHOUT_LORA if by_lora else RETRAINING)
    )


def _what_remains(told: Mapping[str, float]) -> str:
    if told["unchanged"]:
        return "so the result is the original, unchanged: it still knows what is to be deleted"
    return f"which are found {told['kept']:.3f} now and {told['kept_before']:.3f} before"


def _what_tells(told: Mapping[str, float]) -> str:
    if not told["near"]:
        farthest = max(told["distance"], told["further"])
        return f"by the signal that tells most, their mean rank among them lies {farthest:.2f} from one half"
    if told["beside"] > CLOSE:
        return f"their mean signal lies {told['beside']:.2f} standard deviations from where it belongs"
    return f"{told['left']:.0%} of the distance that was between them when the run began is left"


def _weak(ground: str) -> str:
    return (
        f"the deleted pairs cannot be told from {ground}. This is weaker ground: how pairs look that a model has never "
        "seen nobody knows there. Hold out pairs that are like the deleted ones as a validation split where you can."
    )


def _costly(told: Mapping[str, float]) -> str:
    return (
        f"the deleted pairs are forgotten, and of kept or unseen pairs {told['lost']:.3f} less are found than before, "
        f"beyond chance, where a run aims at {ALLOWED} at most: no leg brought them back. Kept pairs are found "
        f"{told['kept']:.3f} now and {told['kept_before']:.3f} before. Audit the result."
    )
