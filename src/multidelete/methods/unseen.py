"""What the deleted pairs are compared with while a run goes on: validation pairs, or unassociated ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from multidelete.core.config import shown
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairDataset
from multidelete.methods.base import Job, sample_pairs
from multidelete.methods.partners import Associations, unassociated_pairs

JUDGED = 256  # unseen pairs that are looked at
ENOUGH_UNSEEN = 10  # subjects, or pictures, of validation pairs below which ranks among them tell nothing


def validation_pairs(job: Job) -> PairDataset | str:
    """Validation pairs that the deleted ones can be compared with, or in words why there are none."""
    if job.holdout is None:
        return "there are no validation pairs that could serve"
    held = _of_every_kind(job, job.holdout)
    missing = {pair.kind for pair in job.forget} - {pair.kind for pair in held}
    if missing:
        return f"no validation pair is of the kind {shown(min(missing, key=str))}, as deleted ones are"
    if number_of_subjects(held.pairs) < ENOUGH_UNSEEN:
        return f"the validation pairs are of fewer than {ENOUGH_UNSEEN} subjects or pictures"
    return held


def unassociated(job: Job) -> PairDataset:
    """Pairs of retain members that do not belong together."""
    associations = Associations(job.train, job.adapter.modalities)
    stand_for = [job.forget[at % len(job.forget)] for at in range(max(64, min(JUDGED, len(job.forget))))]
    drawn = unassociated_pairs(job.retain.pairs, stand_for, associations, stream(job.seed, Stream.PARTNERS))
    return PairDataset([replace(pair, id=f"{at}:{pair.id}") for at, pair in enumerate(drawn)], "unassociated pairs")


def _of_every_kind(job: Job, holdout: PairDataset) -> PairDataset:
    """Sampled validation pairs, with more of each kind that goes and of which the sample has few."""
    held = sample_pairs(holdout, JUDGED, job.seed, Stream.REFRESH_SAMPLE, "sampled held-out pairs")
    drawn, more = Counter(pair.kind for pair in held), set(held.ids)
    for kind in dict.fromkeys(pair.kind for pair in job.forget):
        if drawn[kind] < (enough := JUDGED // 4) and len(held) < len(holdout):
            of_kind = PairDataset([pair for pair in holdout if pair.kind == kind], "held-out pairs of a kind")
            more.update(sample_pairs(of_kind, enough, job.seed, Stream.REFRESH_SAMPLE, of_kind.name).ids)
    return held if len(more) == len(held) else holdout.only(more, held.name)


def number_of_subjects(pairs: Sequence[Pair]) -> int:
    """Number of subjects, or else of first members, that pairs are about."""
    return len({pair.subject or next(iter(pair.sources.values())) for pair in pairs})
