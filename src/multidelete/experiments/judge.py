"""What judges the trials of a search: signals of the request's pairs, of retain pairs and of validation pairs."""

from dataclasses import replace

import numpy as np

from multidelete.audits import AuditInput, ModelSignals
from multidelete.audits.asking import Asker
from multidelete.audits.objective import Objective, objective
from multidelete.core.errors import DataError, DivergedError
from multidelete.core.streams import Stream, stream
from multidelete.core.units import Unit
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.request import Request, forget_retain, unit_keys
from multidelete.data.split import draw_request
from multidelete.models import Adapter

VAL_LIMIT = 1000  # validation pairs that every model is asked about; of more, a sample
LEAST_RETAIN = 1000  # retain pairs, where there are so many: among fewer nobody sees that one in a hundred is lost
MEMBERS = 40  # of each modality and kind, of training and of validation pairs each, in a drawn gallery: 80^2 forwards


class Judge:
    """Compares models with the original.

    Attributes:
        seen: The data without its test pairs: all that methods and judge get.
        splits: The pairs asked about: ``forget``; ``retain``, as many and at least `LEAST_RETAIN`, in whole units, of
            another draw than the methods' own; ``val``.
        pairs: Pairs forwarded so far.
    """

    def __init__(self, data: PairData, request: Request, *, seed: int, device: str) -> None:
        """Raises:
        DataError: There are no validation pairs.
        """
        val = data.splits.get("val")
        if not val:
            held_out = [name for name in data.splits if name != "train"]
            if not held_out:
                raise DataError(
                    f"{data.name} has no held-out pairs, and a search is judged by those of a split val. Give data "
                    "that has one, or a model that was trained with --holdout."
                )
            raise DataError(
                f"{data.name} has no validation pairs (val); its held-out pairs are those of {' and '.join(held_out)}. "
                "A search is judged by validation pairs, never by test. Name a split as val (--splits val=NAME)."
            )
        forget, retain = forget_retain(data.train, request)
        self.seen = replace(data, splits={"train": data.train, "val": val})
        chosen = np.sort(stream(seed, Stream.SEARCHED_VAL).permutation(len(val))[:VAL_LIMIT])
        self.splits = {
            "forget": forget,
            "retain": draw_retain(retain, max(LEAST_RETAIN, len(forget)), request, seed + 1),
            "val": PairDataset(val[chosen.tolist()], val.name),
        }
        self.pairs = 0
        self._asker = Asker(
            data=self.seen, splits=self.splits, unit=request.unit, seed=seed, members=MEMBERS, together=True,
            device=device,
        )  # fmt: skip
        self._original: ModelSignals | None = None

    def hear(self, original: Adapter) -> None:
        """Ask the original, once."""
        self._original = self._ask(original)

    def judged(self, adapter: Adapter) -> Objective:
        """What a model is worth.

        Raises:
            DivergedError: Its scores are not finite.
            DataError: No validation pair is of the kinds that are to be forgotten.
        """
        if self._original is None:
            raise ValueError("the original must be heard first")
        models = {"original": self._original, "unlearned": self._ask(adapter)}
        return objective(AuditInput(models=models, unit=self._asker.unit, seed=self._asker.seed))

    def _ask(self, adapter: Adapter) -> ModelSignals:
        model = self._asker.ask("a model of the search", adapter)
        signals = [one for one in (model.forget, model.retain, model.val) if one is not None]
        self.pairs += sum(map(len, signals))
        if not all(np.isfinite(one.label_aware_score).all() for one in signals):
            raise DivergedError("the scores of the unlearned model are not finite. Lower the learning rate.")
        if (gallery := model.forget.gallery) is not None:
            self.pairs += int((~np.isnan(gallery.score)).sum())
        return model


def draw_retain(retain: PairDataset, pairs: int, request: Request, seed: int) -> PairDataset:
    """About so many retain pairs, or all, drawn in the request's unit where pairs have it; of an index half at most."""
    if retain.is_indexed:  # all of it would be a pass over all pairs
        wanted = max(1, min(pairs, len(retain) // 2))
        return retain.only(
            _whole_units(retain, wanted, request.unit, stream(seed, Stream.REQUESTED_UNITS)), "retain sample"
        )
    if pairs >= len(retain):
        return retain
    unit = request.unit if any(unit_keys(pair, request.unit) for pair in retain) else "pair"
    return retain.only(draw_request(retain, fraction=pairs / len(retain), unit=unit, seed=seed), "retain sample")


def _whole_units(retain: PairDataset, pairs: int, unit: Unit, rng: np.random.Generator) -> set[str]:
    """Ids of at least so many pairs, of whole units of pairs at random places."""
    ids: set[str] = set()
    while len(ids) < pairs:
        drawn = retain[int(rng.integers(len(retain)))]
        keys = set(unit_keys(drawn, unit))
        others = retain.meant({unit: keys}) if unit != "pair" else ()
        ids |= {drawn.id, *(pair.id for pair in others if keys.intersection(unit_keys(pair, unit)))}
    return ids
