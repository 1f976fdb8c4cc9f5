"""One batch of a run's own pairs, sent through the model before anything is trained or judged.

What fails with some pair fails now, in a sentence, and not after hours.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from multidelete.core.errors import CheckpointError, DataError, MultideleteError, first_few
from multidelete.core.foreign import LIBRARY_ERRORS, sentence
from multidelete.core.runtime import alone
from multidelete.core.words import counted
from multidelete.data.images import Shapes, check_pictures
from multidelete.data.pairs import Pair, PairDataset, members
from multidelete.models.base import Adapter, PairOutputs, evaluating
from multidelete.models.checkpoint import refuse_not_finite
from multidelete.models.features import KeptPictures


def preflight(adapter: Adapter, parts: Mapping[str, PairDataset], shapes: Shapes, *, name: str = "the model") -> None:
    """Collate the oddest pairs of each part, and ask the model about them with its own loss.

    Args:
        adapter: The model; it is the same afterwards.
        parts: The pairs that the run will use, by what they are for; those without pairs are left out.
        shapes: Width and height of each picture by source, as `check_images` tells.
        name: What errors call the model.

    Raises:
        DataError: Some pairs cannot be prepared or asked about; each is named with the library's own sentence.
        CheckpointError: No pair can, or the model answers with numbers that are none.
    """
    refuse_not_finite(name, adapter)
    with evaluating(adapter):
        for part, pairs in parts.items():
            if len(pairs):
                _try(adapter, part, oddest(pairs, shapes), name)


def check_pairs(adapter: Adapter, parts: Mapping[str, PairDataset], *, name: str = "the model") -> None:
    """Decode every picture of a run, and send the oddest pairs of each part through the model; see `preflight`.

    What is open is handed to what keeps features (`kept_features`).
    """
    images = getattr(adapter, "images", None)
    kept = images if isinstance(images, KeptPictures) else None
    shapes = check_pictures(parts, None if kept is None else kept.take)
    if kept is not None:
        kept.flush()
    preflight(adapter, parts, shapes, name=name)


def oddest(pairs: PairDataset, shapes: Shapes) -> list[Pair]:
    """First and last pair, those with the longest captions and the shortest, and with the most unusual pictures.

    Unusual are the widest and the tallest for their size, the largest and the smallest.
    """
    chosen = [0, len(pairs) - 1]
    first: dict[str, int] = {}  # the first pair with each picture
    sizes_N2 = np.zeros((len(pairs), 2), dtype=np.int64)  # characters and words: the texts may be too many to hold
    for at, pair in enumerate(pairs):
        text = str(pair.inputs.get("text", ""))
        sizes_N2[at] = len(text), len(text.split())
        for source, _ in members(pair, "image") if "image" in pair.inputs else ():
            if source in shapes:
                first.setdefault(source, at)
    by_length = np.argsort(sizes_N2[:, 0], kind="stable").tolist()
    chosen += [by_length[0], *by_length[-2:], int(np.argmax(sizes_N2[:, 1]))]
    seen = [(at, *shapes[source]) for source, at in first.items()]
    if seen:
        for choose in (min, max):
            chosen.append(choose(seen, key=lambda picture: picture[1] / max(1, picture[2]))[0])
            chosen.append(choose(seen, key=lambda picture: picture[1] * picture[2])[0])
    return [pairs[at] for at in dict.fromkeys(chosen)]


def _try(adapter: Adapter, part: str, pairs: Sequence[Pair], name: str) -> None:
    problem = _problem(adapter, pairs)
    if problem is None:
        return
    alone = {pair.id: _problem(adapter, [pair]) for pair in pairs} if len(pairs) > 1 else {pairs[0].id: problem}
    wrong = {pair_id: reason for pair_id, reason in alone.items() if reason is not None}
    if wrong and len(wrong) < len(alone):
        named = first_few([f"{pair_id} ({reason})" for pair_id, reason in wrong.items()], limit=4)
        raise DataError(
            f"{name} cannot take {len(wrong)} of {counted(len(alone), 'pairs')} of {part} that were tried: {named} "
            "Change or remove these pairs, or give a model and processor that take them."
        )
    reasons = dict.fromkeys([problem if not wrong else next(iter(wrong.values()))])
    tried = "any of" if wrong else "together"
    raise CheckpointError(
        f"{name} cannot take {tried} the {counted(len(pairs), f'pairs of {part} that were')} tried: "
        f"{first_few(list(reasons))} "
        "Network and processor do not fit each other, or not such pairs: give a model folder as it was trained."
    )


def _problem(adapter: Adapter, pairs: Sequence[Pair]) -> str | None:
    """Why the model cannot be asked about these pairs in one batch; None where it can."""
    try:
        with alone():  # every process tries the same
            batch = adapter.collate(pairs).to(adapter.device)
            outputs: PairOutputs = adapter(batch)
            loss_B = adapter.task_loss(outputs, batch)
        said = {"loss": loss_B, "joint": outputs.joint, **(outputs.embeddings or {})}
        said |= {} if outputs.logits is None else {"logits": outputs.logits}
        wrong = [what for what, tensor in said.items() if not bool(torch.isfinite(tensor).all())]
    except MultideleteError as error:
        if not isinstance(error, DataError):
            raise
        return str(error)
    except LIBRARY_ERRORS as error:
        return sentence(error)
    except Exception as error:
        if type(error) is not Exception:  # which tokenizers raise as it is
            raise
        return sentence(error)
    return f"its {' and '.join(wrong)} are NaN or infinite." if wrong else None
