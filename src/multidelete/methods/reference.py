"""What the original model says, asked once before training.

The model in memory *is* the original until the first step, so its answers are cached and no
second copy of the weights is ever needed. The cache is written beside the checkpoints, keyed by
the content of model, data and settings: a resumed run reads it back.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from multidelete.artifacts.sealed import SealError, read_sealed, run_of, write_sealed
from multidelete.core.progress import progress_bar
from multidelete.core.runtime import State, held
from multidelete.core.streams import Stream, stream
from multidelete.data.pairs import Pair, PairDataset
from multidelete.methods.partners import Associations, unassociated_pairs
from multidelete.methods.targets import SIGNALS, ScoreSource, association_signals, score_targets
from multidelete.models.base import Adapter, PairOutputs

logger = logging.getLogger(__name__)

PartnerSource = Literal["retain", "forget"]
HOLDOUT_LIMIT = 1000
LEAST = 0.25  # of the variance of all that is compared: what losses are divided by is no less


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """What to ask the original.

    Attributes:
        partners: Where the unassociated partners of forget pairs come from, or None for none.
        draws: Partners for each forget pair; passes take them in turn.
        score_targets: Whose association scores the forget pairs should have: those of the
            ``holdout`` pairs, or of the ``partner`` pairs; None where the method asks for none.
        batch_size: Pairs in one forward.
    """

    partners: PartnerSource | None = None
    draws: int = 4
    score_targets: ScoreSource | None = None
    batch_size: int = 128


@dataclass
class Reference:
    """Cached outputs, on the CPU. Only the score targets change while the method runs, if it asks for that.

    Attributes:
        parts: For ``forget`` and ``retain``, outputs by position in that data set.
        partners: For each draw, outputs of the unassociated pair that stands at the position of
            each forget pair.
        pairs: Pairs forwarded to make it, and to match its targets again.
        score_targets: For each forget pair what its `association_signals` should be, (|F|, S), where asked for.
    """

    parts: Mapping[str, PairOutputs]
    partners: Sequence[PairOutputs]
    pairs: int
    score_targets: Tensor | None = None

    @cached_property
    def variances(self) -> dict[str, float]:
        """What losses are divided by: the variance of each target over the cache, averaged over its dimensions.

        None is far below the scale on which that quantity varies at all: of joint representations and signals that is
        `_spread` of retain pairs and partners, of unimodal representations that of forget pairs and retain pairs.

        Keys: ``partner``, ``partner score``, ``partner similarity``, ``retain``, ``score`` (of retain pairs and
        partners together), ``unimodal <m>`` and ``embedding <m>``, for those that were asked for and vary at all.
        Without partners there are none.
        """
        if not self.partners:
            return {}
        forget, wrong = self.parts["forget"], _concatenate(self.partners)
        retain = self.parts.get("retain", forget)
        number = 1 if self.score_targets is None else self.score_targets.shape[1]
        right_NS, wrong_NS = (association_signals(outputs, number) for outputs in (retain, wrong))
        floor, floor_S = LEAST * _spread(retain.joint, wrong.joint).mean(), LEAST * _spread(right_NS, wrong_NS)
        measured = {
            "partner": _variance(wrong.joint).clamp(min=floor),
            "retain": _variance(retain.joint).clamp(min=floor),
            "score": _variance(torch.cat([right_NS, wrong_NS])[:, :1]).clamp(min=floor_S[0]),
        }
        for name, wrong_N, least in zip(SIGNALS, wrong_NS.unbind(dim=1), floor_S, strict=False):
            measured[f"partner {name}"] = _variance(wrong_N.unsqueeze(1)).clamp(min=least)
        for m, own_ND in forget.unimodal.items():
            measured[f"unimodal {m}"] = _variance(own_ND).clamp(min=LEAST * _spread(own_ND, retain.unimodal[m]).mean())
        for m, own_ND in (retain.embeddings or {}).items():
            measured[f"embedding {m}"] = _variance(own_ND)
        return {name: value.item() for name, value in measured.items() if value > 0}

    def match_again(self, adapter: Adapter, parts: Mapping[str, PairDataset], train: PairDataset) -> None:
        """Match the forget pairs' scores to those of ``parts``' held-out pairs by what the model says of both now."""
        if self.score_targets is None:
            raise ValueError("there are no targets to match again")
        size = ReferenceSettings().batch_size
        asked = {name: outputs_of(adapter, parts[name].pairs, size, name) for name in ("forget", "holdout")}
        self.score_targets.copy_(score_targets(adapter, parts, train, asked, [], "holdout"))
        self.pairs += len(parts["forget"]) + len(parts["holdout"])

    def state_dict(self) -> dict[str, State]:
        """What changes, for checkpoints."""
        return {"score_targets": self.score_targets, "pairs": self.pairs}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """Go on from a checkpoint."""
        if self.score_targets is not None:
            self.score_targets.copy_(held(state["score_targets"], Tensor))
        self.pairs = held(state["pairs"], int)

    def rows(
        self, part: str, positions: Sequence[int], number_of_pass: int
    ) -> tuple[PairOutputs | None, PairOutputs | None]:
        """Reference and partner outputs of these positions, where they were asked for."""
        at = torch.tensor(positions)
        partner = self.partners[number_of_pass % len(self.partners)] if self.partners and part == "forget" else None
        return self.parts[part][at] if part in self.parts else None, None if partner is None else partner[at]


def _variance(values_ND: Tensor) -> Tensor:
    return values_ND.var(dim=0, correction=0).mean()


def _spread(first_ND: Tensor, second_MD: Tensor) -> Tensor:
    """Variance of two groups together, (D,), each of which counts half, however many rows it has."""
    within_D = (first_ND.var(dim=0, correction=0) + second_MD.var(dim=0, correction=0)) / 2
    return within_D + (first_ND.mean(dim=0) - second_MD.mean(dim=0)) ** 2 / 4


@torch.no_grad()
def outputs_of(adapter: Adapter, pairs: Sequence[Pair], batch_size: int, title: str) -> PairOutputs:
    """What the model says of each pair, on the CPU, in evaluation mode.

    Pairs whose texts are about as long are asked about together.
    """
    was_training = adapter.training
    adapter.eval()
    chunks: list[PairOutputs] = []
    order = sorted(range(len(pairs)), key=lambda at: length_of_text(pairs[at]))
    with progress_bar(title, len(pairs)) as bar:
        for start in range(0, len(pairs), batch_size):
            batch = adapter.collate([pairs[at] for at in order[start : start + batch_size]]).to(adapter.device)
            chunks.append(replace(adapter(batch), states=None).apply(lambda t: t.cpu()))
            bar.to(start + len(batch))
    adapter.train(was_training)
    back = torch.tensor(order).argsort()
    return _concatenate(chunks).apply(lambda t: t[back])


def length_of_text(pair: Pair) -> int:
    """In characters: texts are padded to the longest of a batch, so that those of like length cost least together."""
    return len(str(pair.inputs.get("text", "")))


def build_reference(
    adapter: Adapter,
    parts: Mapping[str, PairDataset],
    train: PairDataset,
    settings: ReferenceSettings,
    *,
    seed: int,
    key: str = "",
    folder: Path | None = None,
) -> Reference:
    """Ask the original, or read what it said when the same was asked before.

    Args:
        adapter: The original, untouched.
        parts: ``forget``, the sampled ``retain`` pairs, and ``holdout`` where score targets come from there.
        train: All training pairs: what is associated with what.
        settings: What to ask.
        seed: Of the partners.
        key: Digest of the model's weights; with the digests of the data it names the cache.
        folder: Where the cache is written; None keeps it in memory.
    """
    digest = hashlib.sha256(
        json.dumps([key, seed, asdict(settings), [(n, d.content) for n, d in parts.items()], train.digest]).encode()
    ).hexdigest()
    path = None if folder is None else folder / f"reference-{digest[:16]}.safetensors"
    if path is not None and path.is_file():
        try:
            return _read(path)
        except SealError as error:
            logger.warning("%s It is made anew.", error)
    asked = {
        name: outputs_of(adapter, d.pairs, settings.batch_size, f"original on {name}") for name, d in parts.items()
    }
    partners: list[PairOutputs] = []
    if settings.partners is not None:
        associations = Associations(train, adapter.modalities)
        rng = stream(seed, Stream.PARTNERS)
        pool = parts[settings.partners].pairs
        for draw in range(settings.draws):
            drawn = unassociated_pairs(pool, parts["forget"].pairs, associations, rng)
            partners.append(outputs_of(adapter, drawn, settings.batch_size, f"partners {draw + 1}/{settings.draws}"))
    pairs = sum(len(d) for d in parts.values()) + len(partners) * len(parts["forget"])
    source = settings.score_targets
    targets = None if source is None else score_targets(adapter, parts, train, asked, partners, source)
    reference = Reference(asked, partners, pairs, targets)
    if path is not None:
        _write(path, reference)
    return reference


def _concatenate(chunks: Sequence[PairOutputs]) -> PairOutputs:
    flat = [_flatten(chunk) for chunk in chunks]
    return _unflatten({name: torch.cat([f[name] for f in flat]) for name in flat[0]})


def _flatten(outputs: PairOutputs) -> dict[str, Tensor]:
    flat = {"joint": outputs.joint, "score": outputs.score}
    flat |= {f"unimodal.{m}": t for m, t in outputs.unimodal.items()}
    flat |= {f"embeddings.{m}": t for m, t in (outputs.embeddings or {}).items()}
    return flat if outputs.logits is None else flat | {"logits": outputs.logits}


def _unflatten(flat: Mapping[str, Tensor]) -> PairOutputs:
    def group(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in flat.items() if name.startswith(prefix)}

    return PairOutputs(
        unimodal=group("unimodal."),
        joint=flat["joint"],
        score=flat["score"],
        embeddings=group("embeddings.") or None,
        logits=flat.get("logits"),
    )


def _write(path: Path, reference: Reference) -> None:
    parts: dict[str, State] = {name: _flatten(part) for name, part in reference.parts.items()}
    state: dict[str, State] = {"parts": parts, "partners": [_flatten(partner) for partner in reference.partners]}
    write_sealed(path, state | {"score": reference.score_targets, "pairs": reference.pairs}, of=run_of(path.parent))


def _read(path: Path) -> Reference:
    state = read_sealed(path, of=run_of(path.parent))
    parts, partners, score = held(state["parts"], dict), held(state["partners"], list), state["score"]
    return Reference(
        {name: _unflatten(flat) for name, flat in parts.items()},
        [_unflatten(flat) for flat in partners],
        held(state["pairs"], int),
        None if score is None else held(score, Tensor),
    )
