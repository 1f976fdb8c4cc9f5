"""Uploads, to a small stand-in of the hub that speaks its protocol; the library itself is real."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

import multidelete
from multidelete.cli.commands import run
from multidelete.core.errors import CheckpointError, ConfigError
from tests.tiny import own_clip, people

DATA = "personas:people=6,unseen=2,size=32"
UNLEARN = ("--data", DATA, "--forget-subject", "person-0001", "--passes", "1", "--retain-sample", "0")
QUICK = ("--checkpoint-steps", "0", "--device", "cpu")


class Hub(ThreadingHTTPServer):
    """What was created and committed, in one repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.created: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}
        self.is_full = False


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/api/whoami-v2" and self.headers.get("Authorization") == "Bearer hf_right":
            return self._answer({"name": "me", "type": "user"})
        return self._answer({"error": "Invalid user token."}, 401)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else self._chunks()
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            return self._answer({"url": f"http://127.0.0.1:{self.server.server_port}/me/model", "name": "me/model"})
        if self.path.endswith("/preupload/main"):
            named = [one["path"] for one in json.loads(body)["files"]]
            told = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in named]
            return self._answer({"files": told})
        if self.path.endswith("/commit/main"):
            if self.server.is_full:
                return self._answer({"error": "Storage quota exceeded."}, 403)
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            address = f"http://127.0.0.1:{self.server.server_port}/me/model/commit/abc"
            return self._answer({"success": True, "commitOid": "abc", "commitUrl": address})
        return self._answer({"warnings": [], "errors": []})

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "original"
    own_clip(people(6, unseen=2)).save(folder)
    return folder


def test_unlearned_model_is_uploaded_with_its_card_and_without_its_key(
    hub: Hub, original: Path, tmp_path: Path
) -> None:
    out = tmp_path / "unlearned"
    words = ["unlearn", str(original), *UNLEARN, *QUICK, "--out", str(out), "--push-to-hub", "me/model"]
    assert run(words) == 0
    assert hub.created[0]["name"] == "model"
    assert hub.created[0]["visibility"] == "private"
    expected = {path.name for path in out.iterdir()} - {".multidelete"}
    assert set(hub.files) == expected
    assert {"README.md", "multidelete.json", "model.safetensors", "config.json"} <= expected
    for name, content in hub.files.items():
        assert content == (out / name).read_bytes()
    key = json.loads((tmp_path / "unlearned.key").read_text())["keys"]
    assert not any(secret.encode() in content for secret in key.values() for content in hub.files.values())


def test_merged_adapter_is_uploaded(hub: Hub, original: Path, tmp_path: Path) -> None:
    adapter, full = tmp_path / "adapter", tmp_path / "full"
    assert run(["unlearn", str(original), *UNLEARN, *QUICK, "--lora", "r=2", "--out", str(adapter)]) == 0
    assert hub.files == {}
    assert run(["merge", str(adapter), "--out", str(full), "--push-to-hub", "me/model"]) == 0
    assert hub.files["model.safetensors"] == (full / "model.safetensors").read_bytes()
    assert b"machine-unlearning" in hub.files["README.md"]


def test_wrong_name_token_and_place_are_told_before_anything_is_trained(
    hub: Hub, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["unlearn", str(original), *UNLEARN, *QUICK, "--out", str(tmp_path / "out"), "--push-to-hub"]
    assert run([*words, "model"]) == 2
    assert "--push-to-hub is 'model'; it must be owner/name" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert run([*words, "me/model"]) == 2
    assert "nothing can be uploaded to me/model" in capsys.readouterr().err
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert run([*words, "me/model"]) == 2
    assert "nothing can be uploaded to me/model: [Errno 111] Connection refused" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_upload_that_fails_leaves_the_result(hub: Hub, original: Path) -> None:
    hub.is_full = True
    with pytest.raises(CheckpointError, match=r"cannot be uploaded to me/model.*upload it yourself, without the key"):
        multidelete.push_to_hub(original, "me/model")
    with pytest.raises(ConfigError, match="push_to_hub is 'a b'"):
        multidelete.push_to_hub(original, "a b")
