"""A ledger of generated people; no model in it is real, since none is run."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from multidelete.data.generated.personas import personas
from multidelete.data.pairs import PairData
from multidelete.data.request import Request, resolve_request
from multidelete.ledger.chain import Ledger, Recorded
from multidelete.ledger.places import Places, begin
from multidelete.ledger.requests import receive

DAY = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
DATA = "personas:people=6,unseen=2,size=16"


@pytest.fixture(scope="session")
def people() -> PairData:
    return personas(people=6, unseen=2, size=16)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "original"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture
def ledger(tmp_path: Path, people: PairData, model: Path) -> Ledger:
    return begin(tmp_path / "lineage", people, Places(model=str(model), data=DATA), time=DAY)


def asked(ledger: Ledger, people: PairData, subject: str = "person-0001", reference: str = "TICKET-17") -> Recorded:
    """A request of one person comes in."""
    request = resolve_request(people, subjects=[subject], unit="subject")
    return receive(ledger, request, people, reference=reference, due="2026-12-28", basis="GDPR Art. 17(1)(b)", time=DAY)


def of_one(people: PairData, subject: str = "person-0001") -> Request:
    return resolve_request(people, subjects=[subject], unit="subject")
