"""Second retrained models, shadows, and answers that are kept: real tiny models of generated people."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from multidelete.auditing import AuditResult, audit
from multidelete.audits.result import Figure
from multidelete.core.errors import CheckpointError, ConfigError
from multidelete.core.settings import TrainSettings
from multidelete.data.pairs import PairData, PairDataset
from multidelete.data.request import Request, resolve_request
from multidelete.experiments.store import ModelStore
from multidelete.models import load_adapter
from tests.audits.world import pick
from tests.tiny import SIDE, people, quick


@dataclass(frozen=True)
class Made:
    data: PairData
    request: Request
    root: Path
    original: Path
    retrained: list[Path]
    shadows: list[Path]

    def audit(self, out: str, **changes: object) -> AuditResult:
        given: dict[str, object] = {"retrained": self.retrained[0], "device": "cpu", "out": self.root / out}
        return audit(self.original, self.original, self.data, self.request, **(given | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("asking")
    data = people(16, unseen=10)
    request = resolve_request(data, subjects=[f"person-{at:04d}" for at in range(1, 6)], unit="subject")
    store = ModelStore(root / "store")
    model = TrainSettings(family="clip", size="tiny", image_size=SIDE)
    original = store.original(data, start=model, settings=quick(), seed=0)
    retrained = [store.retrained(original, data, request, seed=seed) for seed in (1, 2)]
    shadows = [store.shadow(original, data, index=index) for index in range(4)]
    return Made(data, request, root, original, retrained, shadows)


def values(figures: list[Figure]) -> dict[tuple[str, str, str, str | None], float | None]:
    return {(f.audit, f.figure, f.model, f.split): f.value for f in figures}


def test_further_models_and_shadows_give_floors_and_per_pair_attacks(made: Made) -> None:
    found = made.audit("report", retrained_again=made.retrained[1:], shadows=made.shadows)
    assert {f.model for f in found.figures} == {"original", "unlearned", "retrained", "retrained again"}
    attack = pick(found.figures, "sensitive auc of LiRA", "unlearned")
    assert attack.note == "online, 2 IN and 2 OUT models of 4 shadows; 10 members against 10 nonmembers"
    gap = pick(found.figures, "sensitive signed margin gap to retrained", "unlearned", "forget")
    assert "floor, retrained again: " in (gap.note or "")
    assert pick(found.figures, "sensitive signed margin gap to retrained", "retrained again", "forget").value != 0
    assert '"shadows": 4' in (made.root / "report" / "audit.json").read_text()


def test_kept_answers_give_the_same_figures_and_ask_no_model(made: Made) -> None:
    cache = made.root / "answers"
    given = {"shadows": made.shadows[:1], "cache": cache}
    first = made.audit("first", **given)
    files = sorted(cache.iterdir())
    assert len(files) == 3 * 4  # original, retrained and a shadow; forget, retain, test and validation pairs
    second = made.audit("second", **given)
    assert values(second.figures) == values(first.figures)
    assert sorted(cache.iterdir()) == files
    for file in files:  # if a model were asked again, what lies here would not matter
        with np.load(file) as kept:
            answers = dict(kept)
        np.savez(file, allow_pickle=False, **answers | {"score": answers["score"][::-1]})
    assert values(made.audit("tampered", **given).figures) != values(first.figures)
    other = resolve_request(made.data, subjects=["person-0006"], unit="subject")
    audit(made.original, made.original, made.data, other, out=made.root / "third", device="cpu", cache=cache)
    assert len(list(cache.iterdir())) == len(files) + 2  # other forget and retain pairs of the original


def test_models_in_memory_are_not_kept(made: Made) -> None:
    adapter = load_adapter(made.original)
    audit(adapter, adapter, made.data, made.request, out=made.root / "memory", device="cpu", cache=made.root / "none")
    assert not (made.root / "none").exists()


def test_folders_that_are_no_shadows_of_these_pairs_are_named_together(made: Made) -> None:
    with pytest.raises(CheckpointError) as caught:
        made.audit("wrong", shadows=[made.original, made.shadows[0], made.retrained[0]])
    assert len(caught.value.problems) == 2
    assert "names no shadow" in caught.value.problems[0]
    fewer = replace(
        made.data, splits=made.data.splits | {"test": PairDataset(made.data.splits["test"].pairs[:8], "test")}
    )
    with pytest.raises(CheckpointError, match="with the same held-out pairs"):
        replace(made, data=fewer).audit("wrong", shadows=made.shadows[:1])
    assert not (made.root / "wrong").exists()


def test_second_retrained_model_alone_is_refused(made: Made) -> None:
    with pytest.raises(ConfigError, match="without a first retrained model"):
        made.audit("wrong", retrained=None, retrained_again=made.retrained)
    with pytest.raises(ConfigError, match="retrained again"):
        made.audit("wrong", retrained_again=made.retrained[1:], others={"retrained again": made.original})


def test_report_inside_the_kept_answers_is_refused(made: Made) -> None:
    with pytest.raises(CheckpointError, match="inputs are never changed"):
        made.audit("answers/report", cache=made.root / "answers")
