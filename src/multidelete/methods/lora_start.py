"""Along which directions LoRA goes when a run of solved legs begins.

LoRA of rank r reads r directions of a layer's inputs, or writes r directions of a table's entries. Those that peft
draws have nothing to do with the request: to move the deleted pairs along them costs kept pairs far more than it must.
So the whole weights are solved for first, until the deleted pairs are where they belong and kept pairs were brought
back, and put back; LoRA takes the directions that this change goes along most, its first singular vectors. As GaLore
and LoRA-GA (arXiv:2407.05000) choose theirs by a gradient; here it is the change that LoRA is to stand for.
"""

import torch

from multidelete.core.runtime import from_main_process
from multidelete.methods.base import Job
from multidelete.methods.guided import leg_taken
from multidelete.methods.judge import Judge
from multidelete.methods.solved import SolvedLegs
from multidelete.methods.weights import weights_of
from multidelete.models.base import Adapter

STARTING = 5  # three go the whole way, and two bring kept pairs back: with three alone nearly twice as much was lost


def stands_beside(adapter: Adapter) -> bool:
    """Whether the model has LoRA."""
    return any(".lora_" in name for name, _ in adapter.named_parameters())


def choose_directions(job: Job, judge: Judge) -> float:
    """Let LoRA go along what a change of the whole weights would go along; the model says what it said.

    Returns:
        Pairs forwarded and backpropagated.
    """
    from multidelete.models.lora import turn_along, whole_weights  # peft takes a second to import

    start = from_main_process(judge.measure())
    if start.is_forgotten or not torch.isfinite(start.signals).all():  # the run ends before its first leg
        return 0.0
    with whole_weights(job.adapter) as weights:
        names = {id(parameter): name for name, parameter in job.adapter.named_parameters()}
        original = weights_of(job.adapter)
        legs, now = SolvedLegs(job, judge, STARTING, original), start
        for number in range(STARTING):
            after, _ = leg_taken(legs, number, now, start, judge, job)
            if after is None:  # where nothing changed, LoRA keeps the directions it had
                break
            legs.adapt(now, after)
            now = after
        changes = {name: one.detach() - original[names[id(one)]].to(one) for name, one in weights.items()}
    if all(torch.isfinite(change).all() for change in changes.values()):
        turn_along(job.adapter, changes)
    judge.pairs += round(legs.asked)
    return legs.pairs
