"A hub of models for the tests: real sockets, on this machine alone."

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Hub(BaseHTTPRequestHandler):
    "Files of one repository, behind a redirect, with ranges; it can hang up in the middle."

    protocol_version = "HTTP/1.1"
    files = {}  # name: bytes, of film/towers at the revisions v1 and main
    cuts = []  # bytes after which an answer ends too early, the next one last
    asked = []  # method, path and range

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, with_body):
        type(self).asked.append((self.command, self.path, self.headers.get("Range")))
        if self.path.startswith("/gated/"):
            return self.refuse(403, "GatedRepo")
        if not self.path.startswith(("/film/towers/resolve/", "/store/")):
            return self.refuse(401, "RepoNotFound")
        if "/resolve/" in self.path and not re.search("/resolve/(v1|main)/", self.path):
            return self.refuse(404, "RevisionNotFound")
        name = self.path.rpartition("/")[2]
        if name not in self.files:
            return self.refuse(404, "EntryNotFound")
        content = self.files[name]
        etag = '"' + hashlib.sha256(content).hexdigest() + '"'
        if "/resolve/" in self.path:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/store/{name}")
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("X-Linked-Etag", etag)
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        start = int(re.match(r"bytes=(\d+)", self.headers.get("Range") or "bytes=0")[1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if not with_body:
            return None
        if self.cuts:
            self.wfile.write(content[start : start + self.cuts.pop()])
            self.wfile.flush()
            self.close_connection = True
            return None
        self.wfile.write(content[start:])
        return None


@pytest.fixture
def empty_hub(tmp_path, monkeypatch):
    "The hub's class, which says what it serves, at the address that the library asks."
    constants = pytest.importorskip("huggingface_hub.constants")
    Hub.files, Hub.cuts, Hub.asked = {}, [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield Hub
    server.shutdown()
    server.server_close()
