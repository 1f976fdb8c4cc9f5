"""What a search for settings took, as ``multidelete.json`` and the file of settings tell it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SearchCost:
    """What a search for settings took, and what it found (`multidelete.tune`).

    Attributes:
        trials: Settings tried, those that failed included.
        failed: Trials that ended without a usable model.
        wall_s: Seconds of all trials, judging included, and of asking the original.
        pairs_forward: Pairs forwarded without gradients by the original and the trials that ended, judging included.
        pairs_backward: Pairs forwarded and backpropagated by the trials that ended.
        default_objective: Objective of the settings that the search began with; none where that trial failed.
        objective: Objective of the settings found; lower is better.
        request_pairs: Pairs of the request that was tuned on.
        seed: Of what was drawn.
    """

    trials: int
    failed: int
    wall_s: float
    pairs_forward: int
    pairs_backward: int
    default_objective: float | None
    objective: float
    request_pairs: int
    seed: int
