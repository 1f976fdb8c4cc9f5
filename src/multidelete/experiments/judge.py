"""What judges the trials of a search: signals of the request's pairs, of retain pairs and of validation pairs."""

from dataclasses import replace

import numpy as np
import torch

from multidelete.audits import AuditInput, ModelSignals, Signals, collect
from multidelete.audits.gallery import score_galleries
from multidelete.audits.inputs import drawn_sets, kinds_of
from multidelete.audits.objective import Objective, objective
from multidelete.core.errors import DataError, DivergedError
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.data.request import Request, forget_retain, unit_keys
from multidelete.data.split import draw_request
from multidelete.models import Adapter
from multidelete.models.initial import fitted

VAL_LIMIT = 1000  # validation pairs that every model is asked about; of more, a sample
MEMBERS = 40  # of each modality and kind, of training and of validation pairs each, in a drawn gallery: 80^2 forwards


class Judge:
    """Compares models with the original.

    Attributes:
        seen: The data without its test pairs: all that methods and judge get.
        splits: The pairs asked about: ``forget``; ``retain``, as many, in whole units, of another draw than the
            methods' own; ``val``.
        pairs: Pairs forwarded so far.
    """

    def __init__(self, data: PairData, request: Request, *, seed: int, device: str) -> None:
        """Raises:
        DataError: There are no validation pairs.
        """
        val = data.splits.get("val")
        if not val:
            has = ", ".join(name for name in data.splits if name != "train") or "no held-out pairs"
            raise DataError(
                f"{data.name} has no validation pairs (val), only {has}; a search is judged by them, never by test. "
                "Name a split as val (--splits val=NAME), or train with --holdout where there are no held-out pairs."
            )
        forget, retain = forget_retain(data.train, request)
        self.seen = replace(data, splits={"train": data.train, "val": val})
        chosen = np.sort(stream(seed, Stream.SEARCHED_VAL).permutation(len(val))[:VAL_LIMIT])
        self.splits = {
            "forget": forget,
            "retain": _as_many(retain, len(forget), request, seed + 1),
            "val": PairDataset(val[chosen.tolist()], val.name),
        }
        self.pairs = 0
        self._unit, self._seed, self._device = request.unit, seed, device
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
        return objective(AuditInput(models=models, unit=self._unit, seed=self._seed))

    def _ask(self, adapter: Adapter) -> ModelSignals:
        device = self._device
        adapter.to(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
        asked = replace(self.seen, splits={"train": self.splits["forget"], **self.splits})
        splits = {name: pairs for name, pairs in fitted(adapter, asked).splits.items() if name != "train"}
        found = {name: collect(adapter, pairs) for name, pairs in splits.items()}
        self.pairs += sum(map(len, splits.values()))
        if not all(np.isfinite(signals.label_aware_score).all() for signals in found.values()):
            raise DivergedError("the scores of the unlearned model are not finite. Lower the learning rate.")
        if adapter.task == "retrieval" and found["forget"].embeddings is None:
            gallery = score_galleries(adapter, self._sets(found, splits))
            self.pairs += int((~np.isnan(gallery.score)).sum())
            found = {name: replace(signals, gallery=gallery) for name, signals in found.items()}
        return ModelSignals(
            forget=found["forget"], retain=found["retain"], val=found["val"], logit_scale=adapter.logit_scale
        )

    def _sets(self, found: dict[str, Signals], splits: dict[str, PairDataset]) -> list[list[Pair]]:
        """For each kind one set of training and validation pairs together: both are searched in one gallery."""
        sets = []
        for kind in kinds_of(found["forget"]):
            of_kind = {name: signals.of_kind(kind) for name, signals in found.items()}
            drawn = drawn_sets(of_kind, splits, self._unit, self._seed, members=MEMBERS)
            sets.append([pair for pairs in drawn for pair in pairs])
        return sets


def _as_many(retain: PairDataset, pairs: int, request: Request, seed: int) -> PairDataset:
    """About as many retain pairs as are forgotten, drawn in the request's unit where pairs have it."""
    if pairs >= len(retain):
        return retain
    unit = request.unit if any(unit_keys(pair, request.unit) for pair in retain) else "pair"
    return retain.only(draw_request(retain, fraction=pairs / len(retain), unit=unit, seed=seed), "retain sample")
