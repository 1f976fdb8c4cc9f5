"""One small run, from training to its audit, gives the figures that it gave before: a guard against drift.

``golden.json`` holds what the present code gives, so it proves nothing but sameness; what is right is tested elsewhere.
The run is short, and its targets' ranks are clear, so that other processors agree: with AVX2, with neither AVX2 nor
AVX-512, and with two threads no figure moved by more than a tenth of `SAME`. A loss scaled by 1.02, or another stream
of random numbers for the order of training, the partners or the resampling, moves at least one by several times as
much. Who changes what such a run gives on purpose writes the file anew, with ``python -m tests.test_golden``, and says
so in the commit.
"""

import json
import tempfile
from pathlib import Path

import pytest

from multidelete.auditing import audit
from multidelete.core.settings import LoopSettings
from multidelete.data.request import resolve_request
from multidelete.unlearning import train, unlearn
from tests.tiny import family_model, people

FILE = Path(__file__).with_name("golden.json")
SAME = 2e-3  # greatest relative difference
KINDS = ("sensitive", "descriptive")
AUDITED = {
    *(("membership", f"{kind} auc of score", "unlearned") for kind in KINDS),
    *(("separation", f"{kind} auc", "unlearned") for kind in KINDS),
    *(("collateral", f"{kind} score", "unlearned") for kind in KINDS),
    ("unimodal", "text linear CKA", "unlearned"),
}  # with their intervals


def figures(folder: Path) -> dict[str, float]:
    """Loss terms of the first and last step of training and of deletion, and figures of the unlearned model."""
    data = people(16, unseen=12)
    request = resolve_request(data, subjects=[f"person-{at:04d}" for at in (1, 4, 6, 9)], unit="subject")
    settings = LoopSettings(passes=20, batch_size=16, lr=3e-3, schedule="linear", device="cpu")
    train(data, folder / "original", start=family_model("clip", data), settings=settings)
    few = {"passes": 3, "device": "cpu"}  # each step holds all retain pairs
    unlearn(folder / "original", data, request, settings=few, out=folder / "unlearned")
    judged = audit(folder / "unlearned", folder / "original", data, request, out=folder / "report", device="cpu")
    told: dict[str, float] = {}
    for name in ("original", "unlearned"):
        history = json.loads((folder / name / "multidelete.json").read_text())["history"]
        for row in (history[0], history[-1]):
            told |= {f"{name}, step {row['step']}, {term}": row[term] for term in row if term not in ("step", "loss")}
    for one in judged.figures:
        if (one.audit, one.figure, one.model) in AUDITED:
            ends = {"value": one.value, "low": one.low, "high": one.high}
            told |= {f"{one.audit}, {one.figure}, {one.split}, {end}": at for end, at in ends.items() if at is not None}
    return told


def test_small_run_gives_the_figures_it_gave_before(tmp_path: Path) -> None:
    before = json.loads(FILE.read_text())
    assert len(before) >= 30
    assert figures(tmp_path) == pytest.approx(before, rel=SAME, abs=1e-5)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        FILE.write_text(json.dumps(figures(Path(folder)), indent=1) + "\n")
