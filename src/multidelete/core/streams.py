"""Random streams by name: everything that is drawn from a seed, and the number that tells it from the others.

Streams of one seed and one number draw the same. Where that happens today, the numbers stay, since others would
change every result. A new stream takes the next free number.
"""

from enum import Enum

import numpy as np


class Stream(Enum):
    """What is drawn, and its number beside the seed. Those that count up take the numbers from theirs on."""

    # data
    HELD_OUT_GROUPS = ("groups of pairs that are set aside as val and test", 0)
    REQUESTED_UNITS = ("units of a request that is drawn", 0)
    SHADOW_UNITS = ("units that a pair of shadow models parts between them, the seed being the pair's number", 0)
    PEOPLE = ("generated people, counting up; each one's portraits and captions at a second place, from 1", 0)
    PICTURE_CHANGES = ("alterations of training pictures: step, part, row; 1 at a fourth place for colours", 0)
    # training
    LEAD_ORDER = ("order of the forget pairs (for training, of all pairs)", 0)
    PART_ORDERS = ("orders of the parts beside them, counting up", 0)
    # methods
    TRIALS = ("settings of a search's trials, counting up", 0)
    PARTNERS = ("members of mismatched pairs", 0)
    RETAIN_SAMPLE = ("retain pairs for a whole run", 1)
    HELD_OUT_SAMPLE = ("held-out pairs for a whole run", 1)
    REFRESH_SAMPLE = ("held-out pairs that score targets are matched to again", 1)
    GALLERY = ("pairs that a single pair's loss is computed among", 2)
    WRONG_TARGETS = ("wrong labels or captions of forget pairs", 2)
    COUNTERPARTS = ("held-out pairs of the forget pairs' kinds", 3)
    COMPARED_FORGET = ("forget pairs that tell how far a step has moved them", 7)
    JUDGED = ("kept pairs that tell a run how it fares", 10)
    LEGS = ("order of the deleted pairs in a solved leg, counting up; kept pairs of its blocks at a third place", 11)
    # audits
    BOOTSTRAP = ("groups of a resampled mean", 0)
    POSITIVE_BOOTSTRAP = ("groups of the positives of a resampled AUC or rate", 0)
    NEGATIVE_BOOTSTRAP = ("groups of the negatives of a resampled AUC or rate", 1)
    AUDITED_RETAIN = ("retain pairs that models are asked about", 0)
    AUDITED_ROWS = ("rows of an audit that takes no more", 0)
    AUDITED_SETS = ("units whose members are scored with each other", 0)
    COMPARED_RETAIN = ("retain units that forget units are compared with", 0)
    SEPARATED_UNITS = ("order of units that are parted from others", 0)
    SEARCHED_VAL = ("validation pairs that judge a search", 4)
    RELEARNED_UNITS = ("deleted units that are learned again", 4)
    RELEARNED_ORDER = ("order of the pairs that are learned again", 5)
    RELEARNED_BESIDE = ("order of the retain pairs beside them", 6)


def stream(seed: int, of: Stream, *place: int) -> np.random.Generator:
    """The generator of a stream.

    >>> int(stream(3, Stream.GALLERY).integers(1000)) == int(stream(3, Stream.GALLERY).integers(1000))
    True

    Args:
        seed: Of the run, >= 0.
        of: What is drawn.
        place: Which one, of a stream that counts up.
    """
    _, number = of.value
    first, *rest = place or (0,)
    return np.random.default_rng([seed, number + first, *rest])
