"""Which pairs of a step can be wrong partners of a pair, and drawing one of them.

Shape suffixes: B pairs of this process, G pairs of all processes.
"""

import torch
from torch import Tensor

from multidelete.core.runtime import gather_with_grad, process_index, rows_of_processes
from multidelete.data.pairs import Batch


def candidates(batch: Batch) -> tuple[Tensor, Tensor]:
    """Each pair's own position among the pairs of all processes (B,), and which others share a member, (B, G)."""
    sources = list(batch.sources.values())
    first = sum(rows_of_processes(len(batch), sources[0].device)[: process_index()])
    own_B = first + torch.arange(len(batch), device=sources[0].device)
    shared = [source_B.unsqueeze(1) == gather_with_grad(source_B).unsqueeze(0) for source_B in sources]
    return own_B, torch.stack(shared).any(dim=0).scatter(1, own_B.unsqueeze(1), False)


def gumbel(rows_B: Tensor, columns_G: Tensor) -> Tensor:
    """Gumbel noise (B, G) that depends on the two int64 keys alone: the same on every machine and in every run.

    A maximum over scores with Gumbel noise is a draw in proportion to exp(score). The keys are
    mixed as in SplitMix64 (Steele et al. 2014).
    """
    mixed = rows_B.unsqueeze(1) * 0x1B873593CC9E2D51 + columns_G.unsqueeze(0)  # products wrap around
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - (1 << 64)), (27, 0x94D049BB133111EB - (1 << 64))):
        mixed = (mixed ^ ((mixed >> shift) & ((1 << (64 - shift)) - 1))) * factor
    bits = (mixed >> 41) & ((1 << 23) - 1)  # 23 bits: exact in float32, also after adding one half
    uniform = (bits.float() + 0.5) / (1 << 23)
    return -torch.log(-torch.log(uniform))


def draw(score_BG: Tensor, noise_BG: Tensor, barred_BG: Tensor) -> Tensor:
    """Position of one candidate for each row, (B,), none that is barred unless all are."""
    return (score_BG.detach() + noise_BG).masked_fill(barred_BG, float("-inf")).argmax(dim=1)
