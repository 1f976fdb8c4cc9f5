"""Three requests on three days, as typed: one is released, one takes near-duplicates along, one is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from PIL import Image

from multidelete.cli import run
from multidelete.data.generated.personas import write_personas
from multidelete.ledger.chain import Ledger
from multidelete.ledger.clock import CLOCK
from tests.processes import ROOT

QUICK = ("--method", "finetune", "--passes", "1", "--device", "cpu")
GROUND = ("--due", "2026-12-28", "--basis", "GDPR Art. 17(1)(b)")
BY = ("--by", "engineer on duty", "--despite", "a model of a test")


@pytest.fixture
def place(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, its people with one of them once more under another name, and a key to sign with."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "original")
    write_personas(tmp_path / "people", people=12, unseen=6, size=32)
    table = Path("people", "metadata.jsonl")
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in [dict(row) for row in rows if row["subject"] == "person-0002"]:
        picture = Image.open(Path("people", row["file_name"])).convert("RGB")
        copy = {name: str(value).replace("person-0002", "customer-88") for name, value in row.items()}
        copy["file_name"] = copy["file_name"].replace(".png", ".jpg")
        picture.save(Path("people", copy["file_name"]), quality=90)
        rows.append(copy)
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    key = Ed25519PrivateKey.generate()
    Path("sign.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return tmp_path


def typed(*words: str) -> None:
    assert run(["ledger", *words]) == 0, words


def verified(certificate: Path) -> subprocess.CompletedProcess[str]:
    """By the verifier that was handed over, without this package, torch or anything but Python and cryptography."""
    forbid = (
        "import sys, runpy\n"
        "class Forbid:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'multidelete', 'numpy'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Forbid())\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", forbid, certificate / "verifier.py", certificate / "certificate.json",
         "--ledger", "ledger.jsonl"], capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_three_requests_from_their_receipt_to_their_certificates(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CLOCK, "2026-12-01T09:30:00Z")
    typed("init", "lineage", "--model", "original", "--data", "people", "--sign-key", "sign.pem")
    typed("receive", "lineage", "--forget-subject", "person-0002", "--reference", "T-1", *GROUND)
    typed("plan", "lineage", "--out", "plan", *QUICK)
    offered = capsys.readouterr().out
    assert "are offered" in offered
    assert "customer" not in offered
    lines = Path("plan", "near-duplicates.csv").read_text().splitlines()
    answered = [line + "yes" if float(line.split(",")[3]) < 0.1 else line for line in lines[1:]]
    Path("plan", "near-duplicates.csv").write_text("\n".join([lines[0], *answered]) + "\n")
    typed("run", "lineage", *QUICK)
    shown = capsys.readouterr().out
    assert "lost against the first original" in shown
    typed("release", "lineage", "T-1", *BY, "--stale-ids", "stale.json")
    assert len(json.loads(Path("stale.json").read_text())["purge"]) == 8
    monkeypatch.setenv(CLOCK, "2026-12-03T09:30:00Z")
    typed("receive", "lineage", "--forget-subject", "person-0003", "--reference", "T-2", *GROUND)
    typed("refuse", "lineage", "T-2", "--by", "legal", "--reason", "Art. 17(3)(e): claims are pending")
    shutil.rmtree("original")
    capsys.readouterr()
    typed("still-knowing", "lineage", "--check")
    assert "gone: model" in capsys.readouterr().out
    typed("export", "lineage", "--out", "ledger.jsonl")
    for reference in ("T-1", "T-2"):
        told = verified(place / "lineage" / "certificates" / reference)
        assert told.returncode == 0, told.stdout + told.stderr
    typed("forget-key", "lineage", "T-1")
    capsys.readouterr()
    typed("show", "lineage", "--id", "customer-88-view-1-sensitive")
    assert "cannot be told for T-1" in capsys.readouterr().out
    Ledger.open(place / "lineage").verify()
    left = [path for path in (place / "lineage").rglob("*") if path.is_file() and "models" not in path.parts]
    assert [path for path in left if b"customer-88" in path.read_bytes() or b"person-000" in path.read_bytes()] == []


@pytest.mark.slow
def test_example_goes_the_same_way(tmp_path: Path) -> None:
    program = tmp_path / "multidelete"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m multidelete.cli "$@"\n')
    program.chmod(0o755)
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths,
                   "MULTIDELETE": str(program), "PYTHON": sys.executable, "PEOPLE": "12", "PASSES": "5"}  # fmt: skip
    done = subprocess.run(
        [ROOT / "examples" / "ledger.sh", tmp_path / "example"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for line in ("near-duplicates are offered", "refused (Art. 17(3)(e): claims are pending)",
                 "request TICKET-1: released", "cannot be told for TICKET-1"):  # fmt: skip
        assert line in done.stdout, done.stdout[-3000:]
