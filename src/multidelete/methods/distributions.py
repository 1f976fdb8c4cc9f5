"""What a model says of a pair as probabilities, for methods that distil one model into another.

A pair has one or more *choices*. Of a classifier: the class. Of embeddings: which of the step's second
members belongs to the first one, and which first member to the second, in-batch softmaxes over
similarities. Of a matching head: match or no match. Those of retrieval are this project's own: the
methods' papers treat classifiers. Similarities are multiplied by the scale of the family's loss, as a
constant, so that no model can forget by changing its temperature alone.

Shape suffixes: B pairs of one part of this process, G those of all processes, C options, K choices.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from multidelete.core.runtime import gather_with_grad
from multidelete.methods.targets import number_of_signals
from multidelete.models.base import PairOutputs
from multidelete.models.candidates import candidates
from multidelete.training.step import Part


def has_matching_head(outputs: PairOutputs) -> bool:
    """Whether the score comes from a head that looks at both members, and not from embeddings or classes."""
    return outputs.logits is None and (outputs.embeddings is None or number_of_signals(outputs) > 1)


def similarity_logits(part: Part, outputs: PairOutputs) -> list[Tensor]:
    """Scaled similarities of first members to the step's second ones, and of second to first, (B, G) each."""
    if outputs.embeddings is None:
        raise ValueError("similarities need embeddings")
    scale = part.adapter.logit_scale or 1.0
    first_BD, second_BD = outputs.embeddings.values()
    return [scale * first_BD @ gather_with_grad(second_BD).T, scale * second_BD @ gather_with_grad(first_BD).T]


def choice_logits(part: Part, outputs: PairOutputs) -> list[Tensor]:
    """The logits of each choice, (B, C): what ``part.outputs`` has decides which choices there are."""
    if part.outputs.logits is not None:
        if outputs.logits is None:
            raise ValueError("the other model has no classes")
        return [outputs.logits]
    logits = similarity_logits(part, outputs) if part.outputs.embeddings is not None else []
    if has_matching_head(part.outputs):
        logits.append(torch.stack([outputs.score, torch.zeros_like(outputs.score)], dim=1))  # match, no match
    return logits


def own_options(part: Part) -> list[Tensor]:
    """For each choice what is right, (B, C) of bool: the label, all candidates that share a member, the match."""
    right: list[Tensor] = []
    if part.outputs.logits is not None:
        if part.batch.labels is None:
            raise ValueError("what is right for a classifier is told by labels")
        return [F.one_hot(part.batch.labels, part.outputs.logits.shape[1]).bool()]
    if part.outputs.embeddings is not None:
        own_B, shared_BG = candidates(part.batch)
        right += [shared_BG.scatter(1, own_B.unsqueeze(1), True)] * 2
    if has_matching_head(part.outputs):
        right.append(torch.tensor([True, False], device=part.outputs.score.device).expand(len(part.batch), 2))
    return right


def has_rivals(part: Part) -> bool:
    """Whether any choice of any pair has an option that is not right: without one, a softmax says nothing of it."""
    return any(not own_BC.all() for own_BC in own_options(part))


def log_likelihood_B(part: Part, outputs: PairOutputs) -> Tensor:  # noqa: N802 - shape suffix
    """Log-likelihood of each pair of a part by what some model says of it, cached or not, (B,), in nats.

    Minus the family's task loss, where cached outputs suffice for it. Of a matching head the log-probability
    of a match, plus, where there are embeddings, the mean of those of the two in-batch choices: the loss's
    wrong pairs are left out, since nobody cached what the original says of them.
    """
    if not has_matching_head(part.outputs):
        return -part.adapter.task_loss(outputs, part.batch)
    match_B = F.logsigmoid(outputs.score)
    if outputs.embeddings is None:
        return match_B
    own_B, shared_BG = candidates(part.batch)
    losses = [
        F.cross_entropy(logits_BG.masked_fill(shared_BG, float("-inf")), own_B, reduction="none")
        for logits_BG in similarity_logits(part, outputs)
    ]
    return match_B - torch.stack(losses).mean(dim=0)


def divergences(logits: Sequence[Tensor], known: Sequence[Tensor]) -> Tensor:
    """KL(known || found) of each choice and pair, (K, B), in nats.

    Args:
        logits: Logits of the model being trained, (B, C) for each choice.
        known: Logits of the model to imitate; options at -inf have no probability. Where all are, the
            pair has nothing to imitate and its divergence is 0.
    """
    rows = []
    for found_BC, known_BC in zip(logits, known, strict=True):
        some_B1 = torch.isfinite(known_BC).any(dim=1, keepdim=True)
        target_BC = torch.where(some_B1, known_BC, 0.0).softmax(dim=1) * some_B1
        rows.append(F.kl_div(found_BC.log_softmax(dim=1), target_BC, reduction="none").sum(dim=1))
    return torch.stack(rows)


def divergence_B(part: Part, known: PairOutputs) -> Tensor:  # noqa: N802 - shape suffix
    """KL(known || the model being trained) of each pair, averaged over its choices, (B,), in nats."""
    return divergences(choice_logits(part, part.outputs), choice_logits(part, known)).mean(dim=0)
