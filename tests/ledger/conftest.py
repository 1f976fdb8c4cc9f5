"""A ledger of generated people; no model in it is real, since none is run."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from multidelete.artifacts.manifest import code_digest
from multidelete.artifacts.record import Cost
from multidelete.core.settings import TrainSettings
from multidelete.data.generated.personas import personas
from multidelete.data.pairs import PairData
from multidelete.data.request import Request, resolve_request
from multidelete.ledger.certificate import CERTIFICATE, issue
from multidelete.ledger.chain import Ledger
from multidelete.ledger.events import (
    Audited,
    FigureRow,
    Gone,
    Holder,
    Planned,
    Refused,
    Released,
    Started,
    Unlearned,
)
from multidelete.ledger.places import Places, begin, model_digest
from multidelete.ledger.recorded import Recorded
from multidelete.ledger.releasing import release
from multidelete.ledger.requests import receive
from multidelete.ledger.running import run
from multidelete.ledger.signing import public_key
from multidelete.unlearning import train
from tests.ledger.operated import FIRST, OFFICER, QUICK, SECOND, Watched, ask, lineage, watched
from tests.tiny import people as people_of
from tests.tiny import quick

DAY = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
CONFIG = '{"model_type": "clip", "architectures": ["CLIPModel"]}'
DATA = "personas:people=6,unseen=2,size=16"


@pytest.fixture(scope="session")
def people() -> PairData:
    return personas(people=6, unseen=2, size=16)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "original"
    folder.mkdir()
    (folder / "config.json").write_text(CONFIG)
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


FIGURES = (
    FigureRow(audit="forgetting", figure="recall@1", model="unlearned", split="forget", value=0.0625, low=0.01,
              high=0.2, n=4, groups=4, chance=0.03, better="target", target=0.1),
    FigureRow(audit="forgetting", figure="recall@1", model="retrained", split="forget", value=0.1, n=4),
    FigureRow(audit="membership", figure="AUC", model="unlearned", split="forget", value=1e-7, void="untouched: 0.7"),
    FigureRow(audit="distance", figure="KL", model="unlearned", absent="there is no second retrained model"),
)  # fmt: skip


@dataclass(frozen=True)
class Lineage:
    """A lineage with one request released and one refused, and what was handed out."""

    ledger: Ledger
    unlearned: Path
    certificate: Path
    public: Path


def sign_key(folder: Path) -> Path:
    """A new private key, with the public one beside it."""
    key = Ed25519PrivateKey.generate()
    (folder / "sign.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    pem = folder / "sign.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem


def told(ledger: Ledger, unlearned: Path, *references: str, hours: int = 0) -> None:
    """What happened to requests until they were released."""
    model, at = model_digest(unlearned), DAY + timedelta(hours=hours)
    before = ledger.opened.original.digest
    ledger.append(Planned(references=references, pairs=4, wall_s=1.5), time=at)
    ledger.append(Started(references=references, folder="unlearned", before=before), time=at)
    ledger.append(
        Unlearned(references=references, folder="unlearned", before=before, after=model, method="npo",
                  settings={"beta": 0.1}, loop={"lr": 1e-5, "passes": 3.0}, seed=7, pairs=4, key="00", data="ab",
                  cost=Cost(wall_s=12.25, peak_bytes=2.0**31), versions={"python": "3.12"}, code=code_digest()),
        time=at,
    )  # fmt: skip
    ledger.append(
        Audited(references=references, model=model.digest, outcome="forgotten", floor="unknown", figures=FIGURES),
        time=at,
    )
    knowing = (Holder(what="model", digest=before), Holder(what="cache", digest="5" * 64, note="of the audit"))
    ledger.append(
        Released(references=references, by="privacy officer", model=model.digest, still_knowing=knowing,
                 stale=(Holder(what="embeddings", note="all texts"),)),
        time=at + timedelta(days=3),
    )  # fmt: skip


def make_lineage(folder: Path, people: PairData, model: Path, *, signed: bool = True) -> Lineage:
    folder.mkdir(exist_ok=True)
    unlearned = folder / "unlearned"
    unlearned.mkdir()
    (unlearned / "config.json").write_text(CONFIG)
    (unlearned / "model.safetensors").write_bytes(bytes(reversed(range(256))))
    key = sign_key(folder)
    places = Places(model=str(model), data=DATA, sign_key=str(key) if signed else None)
    signer = public_key(key) if signed else None
    ledger = begin(folder / "lineage", people, places, signer=signer, time=DAY)
    with ledger.writing():
        asked(ledger, people)
        asked(ledger, people, "person-0002", "TICKET-18")
        told(ledger, unlearned, "TICKET-17")
        ledger.append(Gone(what="cache", digest="5" * 64), time=DAY + timedelta(days=4))
        ledger.append(Refused(reference="TICKET-18", reason="a legal claim needs it", by="counsel"), time=DAY)
    out = issue(ledger, "TICKET-17", folder / "certificate", time=DAY + timedelta(days=5))
    return Lineage(ledger, unlearned, out / CERTIFICATE, folder / "sign.pub")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that was really trained, on the people of `tests.ledger.operated`."""
    folder = tmp_path_factory.mktemp("trained") / "original"
    train(people_of(12, unseen=6), folder, start=TrainSettings(family="clip", image_size=32), settings=quick(passes=2))
    return folder


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> tuple[Path, Watched]:
    """One request is released, and a second one is received."""
    root, seen = tmp_path_factory.mktemp("served"), watched()
    shutil.copytree(trained, root / "original")
    ledger = lineage(root / "lineage", root / "original", seen.data)
    ask(ledger, seen.data, "T-1", FIRST)
    run(ledger, seen.data, QUICK)
    release(ledger, "T-1", seen.data, by=OFFICER, despite="a model of a test")
    ask(ledger, seen.data, "T-2", SECOND)
    return root, seen


@pytest.fixture
def second(served: tuple[Path, Watched], tmp_path: Path) -> tuple[Ledger, Watched]:
    """A copy of the same, to go on with."""
    root, seen = served
    shutil.copytree(root, tmp_path / "copy")
    places = tmp_path / "copy" / "lineage" / "lineage.json"
    places.write_text(places.read_text().replace(str(root), str(tmp_path / "copy")))
    seen.ends_after = None
    return Ledger.open(tmp_path / "copy" / "lineage"), seen
