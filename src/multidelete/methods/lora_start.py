"""What LoRA reads when a run of solved legs begins.

LoRA of rank r reads r directions of a layer's inputs, and those that peft draws have nothing to do with the request: to
move the deleted pairs through them costs kept pairs far more than it must. So they are chosen first: those along which
the solved change of the whole weights reads most, its first singular vectors. As GaLore and LoRA-GA (arXiv:2407.05000)
choose theirs by a gradient; here it is a step in the metric of what kept pairs' scores depend on.
"""

from contextlib import suppress

import torch

from multidelete.core.errors import DivergedError
from multidelete.methods.base import Job
from multidelete.methods.judge import Judge
from multidelete.methods.solved import SolvedLegs
from multidelete.methods.weights import weights_of
from multidelete.models.base import Adapter


def stands_beside(adapter: Adapter) -> bool:
    """Whether the model has LoRA."""
    return any(".lora_A." in name for name, _ in adapter.named_parameters())


def choose_inputs(job: Job, judge: Judge) -> float:
    """Let LoRA read what the whole way to the goal would read; the model says what it said.

    Returns:
        Pairs forwarded and backpropagated.
    """
    from multidelete.models.lora import read_along, whole_weights  # peft takes a second to import

    start = judge.measure()
    if start.is_forgotten or not torch.isfinite(start.signals).all():  # the run ends before its first leg
        return 0.0
    with whole_weights(job.adapter) as weights:
        names = {id(parameter): name for name, parameter in job.adapter.named_parameters()}
        original = weights_of(job.adapter)
        legs = SolvedLegs(job, judge, 1, original)
        legs.length = 1.0
        changes = {}
        with suppress(DivergedError):  # LoRA reads what it read
            legs.take(0, start, start)
            changes = {name: one.detach() - original[names[id(one)]].to(one) for name, one in weights.items()}
    if changes and all(torch.isfinite(change).all() for change in changes.values()):
        read_along(job.adapter, changes)
    judge.pairs += round(legs.asked)
    return legs.pairs
