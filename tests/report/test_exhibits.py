"""What the report shows of classifiers."""

from dataclasses import replace
from pathlib import Path

import pytest

from multidelete.auditing import audit
from multidelete.core.settings import TrainSettings
from multidelete.data.request import resolve_request
from multidelete.methods import Training
from multidelete.unlearning import train, unlearn
from tests.models.cases import CLASSES, Case, case_data


@pytest.mark.parametrize(
    "classes", [pytest.param((), marks=pytest.mark.slow), CLASSES], ids=["numbered", "named"]
)  # a label without a name goes the same way
def test_audit_beside_a_retrained_model_shows_labels_with_and_without_names(
    classes: tuple[str, ...], tmp_path: Path
) -> None:
    data = replace(case_data(Case("albef", "classification", 1), number=6, unseen=4), classes=classes)
    settings = replace(Training().loop_settings(), passes=1, batch_size=16, device="cpu", checkpoint_steps=0)
    train(data, tmp_path / "original", start=TrainSettings(family="albef", image_size=32), settings=settings)
    asked, few = resolve_request(data, subjects=["person-0001"], unit="subject"), {"device": "cpu"}
    unlearn(tmp_path / "original", data, asked, method="retrain", settings=few, out=tmp_path / "retrained")
    audit(tmp_path / "original", tmp_path / "original", data, asked, retrained=tmp_path / "retrained",
          out=tmp_path / "report", device="cpu", show_forgotten=True)  # fmt: skip
    page = (tmp_path / "report" / "report.html").read_text()
    assert any(f"label: {name}" in page for name in classes or ("0", "1", "2"))
