"""Relatives of CLIP: what is read of each is in the contract; here what is not, and why."""

import json
from pathlib import Path

import pytest

from multidelete.core.errors import UnsupportedError
from multidelete.models import recognise


@pytest.mark.parametrize(
    ("kind", "head", "reason"),
    [
        ("clipseg", "CLIPSegForImageSegmentation", "it draws masks"),
        ("siglip2", "Siglip2Model", "NaFlex"),
    ],
)
def test_heads_without_the_contract_are_refused_with_the_reason(
    kind: str, head: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "architectures": [head]}))
    with pytest.raises(UnsupportedError, match=reason) as caught:
        recognise(tmp_path)
    assert head in str(caught.value)
    assert len(caught.value.problems) == 1
