"""Unassociated partners: two members that nothing joins, for forget pairs to imitate."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from multidelete.core.errors import RequestError
from multidelete.core.words import counted
from multidelete.data.pairs import Pair, PairDataset, members


class Associations:
    """Which members belong together: by a pair of the training set, or by being of one subject.

    Two pictures of one pair, or several nodes, count each: what one of them is joined to, all of
    that pair's are.
    """

    def __init__(self, train: PairDataset, modalities: tuple[str, str]) -> None:
        self.first, self.second = modalities
        self._joined = train.joined(self.first, self.second)

    def associated(self, first: Pair, second: Pair) -> bool:
        """Whether ``first``'s first member and ``second``'s second member belong together."""
        if first.subject is not None and first.subject == second.subject:
            return True
        return any(
            (one, other) in self._joined
            for one, _ in members(first, self.first)
            for other, _ in members(second, self.second)
        )


def unassociated_pairs(
    pool: Sequence[Pair],
    stand_for: Sequence[Pair],
    associations: Associations,
    rng: np.random.Generator,
    *,
    tries: int = 50,
) -> list[Pair]:
    """Draw pairs (a_p, b_q) from a pool such that no training pair joins them.

    Each takes the label of the pair it stands for: a classifier's score is that of a label, and what
    should become of that label's score is what an unassociated pair gives it.

    Args:
        pool: Pairs whose members are joined anew.
        stand_for: The pairs that need a partner, one each.
        associations: What is associated.
        rng: Draws.
        tries: Draws for one partner before giving up.

    Raises:
        RequestError: The pool has no two unassociated members (as good as none).
    """
    exchanged: list[Pair] = []
    first, second = associations.first, associations.second
    for one in stand_for:
        for _ in range(tries):
            p, q = (pool[i] for i in rng.integers(len(pool), size=2))
            if p.id != q.id and not associations.associated(p, q):
                break
        else:
            raise RequestError(
                f"no unassociated partners found among {counted(len(pool), 'pairs')} in {tries} tries: "
                "nearly all share a member or a subject. There must be unrelated pairs to imitate: keep more pairs, or "
                "retrain."
            )
        exchanged.append(
            Pair(
                id=f"{p.id}+{q.id}",
                inputs={first: p.inputs[first], second: q.inputs[second]},
                sources={first: p.sources[first], second: q.sources[second]},
                label=one.label,
            )
        )
    return exchanged


def unassociated_second(
    pool: Sequence[Pair], pairs: Sequence[Pair], associations: Associations, rng: np.random.Generator
) -> list[Pair]:
    """Give each pair the second member of a pair of the pool that nothing associates with its first member.

    Every such member of the pool is equally likely, as often as it occurs there. Ids become ``first+second``.

    Raises:
        RequestError: The pool has none for some pair.
    """
    first, second = associations.first, associations.second
    exchanged: list[Pair] = []
    for pair in pairs:
        for at in rng.permutation(len(pool)):
            if not associations.associated(pair, pool[at]):
                break
        else:
            raise RequestError(
                f"all {counted(len(pool), 'candidates')} for a wrong {second} belong to the {first} of "
                f"pair {pair.id!r} or to its "
                "subject. There must be unrelated pairs to take it from: keep more (random_labels: captions='retain')."
            )
        exchanged.append(
            replace(
                pair,
                id=f"{pair.id}+{pool[at].id}",
                inputs={first: pair.inputs[first], second: pool[at].inputs[second]},
                sources={first: pair.sources[first], second: pool[at].sources[second]},
            )
        )
    return exchanged
