"""A small stand-in of the hub that serves data sets as it does: what there is, file lists, and ranges of files."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest

from multidelete.data.hub import check_again
from multidelete.data.readers import parquet

NAME = "owner/name"
SPEC = f"hf://datasets/{NAME}"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class DataHub(ThreadingHTTPServer):
    """One data set: its commits, what they are called, and what was fetched.

    Attributes:
        commits: By commit, the files by their paths.
        revisions: By name (``main``), the commit.
        fetched: Of each file that was fetched, its path, and from where how many bytes of it.
        asked: Addresses of all requests.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, Mapping[str, bytes]] = {}
        self.revisions: dict[str, str] = {}
        self.fetched: list[tuple[str, int, int]] = []
        self.asked: list[str] = []
        self.knows_ranges = True

    def commit(self, folder: Path, revision: str = "main") -> str:
        """Put the files of a folder there, as a commit."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        name = hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest()
        self.commits[name] = files
        self.revisions[revision] = name
        return name

    def bytes_of(self, path: str) -> int:
        """How many bytes of a file were fetched."""
        return sum(size for name, _, size in self.fetched if name == path)

    def size_of(self, path: str) -> int:
        return len(self.commits[self.revisions["main"]][path])

    def forget(self) -> None:
        """Begin counting anew."""
        self.fetched.clear()
        self.asked.clear()


@contextmanager
def data_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[DataHub]:
    """The stand-in, which the library asks in the place of the hub."""
    server = DataHub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    _forget_all()
    yield server
    server.shutdown()
    server.server_close()
    _forget_all()


def _forget_all() -> None:
    """Nothing of one stand-in is taken for another's: they have the same names and commits."""
    check_again()
    parquet._opened.cache_clear()
    parquet._column_of_group.cache_clear()


class _Handler(BaseHTTPRequestHandler):
    server: DataHub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is sent whole: its body would wait until its head was acknowledged

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, what: str) -> None:
        self._answer(404, json.dumps({"error": what}).encode(), X_Error_Code=what, X_Error_Message=what)

    def _files(self, revision: str) -> Mapping[str, bytes] | None:
        return self.server.commits.get(self.server.revisions.get(revision, revision))

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(self.path)
        api, data = f"/api/datasets/{NAME}", f"/datasets/{NAME}/resolve/"
        if path.startswith(data):
            revision, _, name = path.removeprefix(data).partition("/")
            return self._file(unquote(revision), unquote(name))
        if path != api and not path.startswith(f"{api}/"):
            return self._missing("RepoNotFound")
        what, _, rest = path.removeprefix(api).strip("/").partition("/")
        revision, folder = (unquote(part) for part in rest.partition("/")[::2])
        files = self._files(revision or "main")
        if files is None:
            return self._missing("RevisionNotFound")
        if what == "tree":
            return self._tree(files, folder)
        name = revision or "main"
        told = {"id": NAME, "sha": self.server.revisions.get(name, name), "siblings": [], "tags": []}
        return self._answer(200, json.dumps(told).encode(), Content_Type="application/json")

    do_HEAD = do_GET  # noqa: N815 - as the server calls it

    def _tree(self, files: Mapping[str, bytes], folder: str) -> None:
        below = f"{folder}/" if folder else ""
        if folder and not any(name.startswith(below) for name in files):
            return self._missing("EntryNotFound")
        is_deep = "recursive=true" in self.path.lower()
        entries: dict[str, dict[str, object]] = {}
        for name, content in files.items():
            if not name.startswith(below):
                continue
            *folders, _ = name.removeprefix(below).split("/")
            for depth in range(1, len(folders) + 1) if is_deep else range(1, min(1, len(folders)) + 1):
                path = below + "/".join(folders[:depth])
                entries[path] = {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
            if is_deep or not folders:
                entries[name] = {"type": "file", "path": name, "size": len(content), **_digests(name, content)}
        return self._answer(200, json.dumps(list(entries.values())).encode(), Content_Type="application/json")

    def _file(self, revision: str, name: str) -> None:
        files = self._files(revision)
        if files is None or name not in files:
            return self._missing("EntryNotFound" if files is not None else "RevisionNotFound")
        content, status, start = files[name], 200, 0
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is not None and self.server.knows_ranges:
            start = int(match[1])
            content, status = content[start : int(match[2]) + 1], 206
        self.server.fetched.append((name, start, len(content)))
        return self._answer(status, content, Content_Type="application/octet-stream")


def _digests(name: str, content: bytes) -> dict[str, object]:
    """As git calls a file, and its SHA-256 where it is stored as a large one."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if name.endswith((".jsonl", ".csv", ".tsv", ".md")):
        return {"oid": oid}
    return {"oid": oid, "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}
