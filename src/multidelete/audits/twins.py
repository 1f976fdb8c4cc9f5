"""One model in two places of an audit, or two in each other's: told before any model is asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from multidelete.artifacts.deletions import Lineage
from multidelete.audits.compared import Source, place_of
from multidelete.audits.roles import Role
from multidelete.core.errors import CheckpointError
from multidelete.core.words import counted
from multidelete.data.pairs import Pair
from multidelete.models import Adapter, load_adapter
from multidelete.models.checkpoint import stored_weights_digest, weights_digest
from multidelete.models.converters.known import checkpoint_of


def same_models(models: Mapping[str, Source], *, allow_pickle: bool = False) -> dict[str, str]:
    """For each model that has the weights of one before it, that one's name, whatever its folder holds besides them."""
    compared = {name: source for name, source in models.items() if Role.of(name) is not Role.OTHER}
    is_memory = any(isinstance(source, Adapter) or checkpoint_of(source) for source in compared.values())
    known: dict[Source, str] = {}
    first: dict[str, str] = {}
    twins = {}
    for name, source in compared.items():
        if source not in known:
            known[source] = _weights(source, is_memory=is_memory, allow_pickle=allow_pickle)
        if (same := first.setdefault(known[source], name)) != name:
            twins[name] = same
    return twins


def refuse_twins(models: Mapping[str, Source], twins: Mapping[str, str]) -> None:
    """Refuse one model where several are compared: it lies at no distance from itself.

    An unlearned model that is the original is none: it is judged, as one that has forgotten nothing.

    Args:
        models: By name, shadows too.
        twins: See `same_models`.

    Raises:
        CheckpointError: One line for each model whose weights are those of another.
    """
    problems = []
    for name, first in twins.items():
        if (name, first) == ("unlearned", "original"):
            continue
        if name == "retrained" and first == "original":
            why = ", which was trained on the pairs of the request. Give a model that was trained without them"
        elif name == "retrained":
            why = ": no model is its own yardstick. Give one that was trained on the retain pairs alone"
        else:
            why = ", and tells nothing more. Give one of another seed"
        problems.append(f"{_called(models, name)} is the same model as {_called(models, first)}{why}, or leave it out.")
    if problems:
        raise CheckpointError(problems)


def refuse_wrong_original(
    models: Mapping[str, Source], lineages: Mapping[str, Lineage], twins: Mapping[str, str], forget: Sequence[Pair]
) -> None:
    """Refuse an original that has itself forgotten what is asked about: nothing could be seen to go from it.

    Args:
        models: By name.
        lineages: What each of them has forgotten.
        twins: See `same_models`.
        forget: The pairs of the request.

    Raises:
        CheckpointError: The unlearned model or another was given as the original.
    """
    gone = lineages["original"].earlier(forget)
    original, unlearned = _called(models, "original"), _called(models, "unlearned")
    pairs = f"{len(gone):,} of the {counted(len(forget), 'pairs')} of the request"
    if gone - lineages["unlearned"].earlier(forget) and "unlearned" not in twins:
        raise CheckpointError(
            f"{original} has itself forgotten {pairs}, as its multidelete.json records, and {unlearned} has not. "
            "Were the two swapped? Give the model to judge first, and as --original the one that it was made from."
        )
    if len(gone) == len(forget):
        same = next((f"is the same model as {_called(models, name)} and " for name, first in twins.items()
                     if first == "original"), "")  # fmt: skip
        raise CheckpointError(
            f"{original} {same}has itself forgotten {pairs}, as its multidelete.json records, so that nothing can be "
            "seen to go. Give as --original the model from before that request."
        )


def _called(models: Mapping[str, Source], name: str) -> str:
    return f"{name} {place_of(models[name])}"


def _weights(source: Source, *, is_memory: bool, allow_pickle: bool) -> str:
    """What tells weights from others; of folders as they are stored, unless they stand beside other forms of models."""
    if isinstance(source, Adapter):
        return weights_digest(source)
    if is_memory or not Path(source).exists():
        return weights_digest(load_adapter(source, allow_pickle=allow_pickle))
    return stored_weights_digest(Path(source))
