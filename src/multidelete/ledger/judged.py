"""An audit as an event."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from multidelete.artifacts.manifest import code_digest, digest_file, versions
from multidelete.audits.result import Figure, read_audit
from multidelete.ledger.events import Audited, FigureRow

if TYPE_CHECKING:
    from multidelete.audits.verdict import Verdict

AUDIT = "audit.json"


def audited_event(
    folder: Path,
    verdict: "Verdict",
    references: Sequence[str],
    *,
    model: str,
    drift: Mapping[str, float] | None = None,
) -> Audited:
    """What the ledger keeps of an audit: the verdict and every figure, without notes.

    Args:
        folder: Of the audit, which holds ``audit.json``.
        verdict: What it came to.
        references: Of the requests that it judged.
        model: Digest of the model.
        drift: What the model has lost against the first original, by figure.

    Raises:
        CheckpointError: The audit cannot be read.
    """
    _, figures = read_audit(folder / AUDIT)
    return Audited(
        references=tuple(references),
        model=model,
        outcome=verdict.outcome,
        sentences=(verdict.headline, *verdict.sentences),
        floor=verdict.floor.state,
        figures=tuple(map(_row, figures)),
        audit=digest_file(folder / AUDIT),
        drift=drift,
        versions=versions(),
        code=code_digest(),
    )


def _row(figure: Figure) -> FigureRow:
    names = {one.name for one in fields(FigureRow)} - {"figure", "rest"}
    return FigureRow(figure=figure.figure, **{name: getattr(figure, name) for name in names})
