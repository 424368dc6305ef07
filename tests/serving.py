"A server for the tests: models to serve, a real socket, and what its answers are held against."

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import BASES, REPO, draw_poster, draw_posters, movie_tagger

for name in ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client"):
    pytest.importorskip(name)
httpx = pytest.importorskip("httpx")

from movie_tagger.models import bundle as bundles  # noqa: E402
from movie_tagger.models import shelf  # noqa: E402
from movie_tagger.serve.listen import Server  # noqa: E402

TAGS = {"horror": "dark, blood", "romance": "pink, round", "superhero": "blue"}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    "A folder with two bundles of five tags; `first` is champion. Only to be read."
    folder = tmp_path_factory.mktemp("served")
    draw_posters(folder / "stills", 20)
    rows = [
        f'stills/{genre}/{i:03}.jpg,"{TAGS[genre]}",{genre}-{i}'
        for genre in BASES
        for i in range(20)
    ]
    (folder / "tags.csv").write_text("\n".join(["image,tags,group", *rows]))
    for seed, name in enumerate(("first", "second")):
        given = ("--absent", "no", "--out", folder / "models" / name, "--seed", seed)
        assert movie_tagger("train", folder / "tags.csv", *given).code == 0
    shelf.appoint(folder / "models", "first")
    return folder / "models"


@pytest.fixture
def own_models(models, tmp_path):
    "A copy of the folder of models that a test may change."
    return Path(shutil.copytree(models, tmp_path / "models", symlinks=True))


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    return draw_poster(tmp_path_factory.mktemp("upload") / "upload.jpg", "horror", 777).read_bytes()


@contextlib.contextmanager
def serving(app):
    "A real server in a thread of this process, and a client for it."
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = Server(app)
        thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                while not server.started:
                    assert thread.is_alive()
                    time.sleep(0.01)
                yield client
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def tags(client, data, query="", **more):
    return client.post(
        f"/v1/tags{query}", content=data, headers={"content-type": "image/jpeg"}, **more
    )


def problem(answer, status, kind, words=""):
    "Is it the expected refusal, in the expected form?"
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    said = answer.json()
    assert (said["type"], said["status"]) == (f"/docs#{kind}", status)
    assert words in said["detail"] and said["detail"][-1] in ".?`"
    return said


def with_promises(source, path, sensitive, promises):
    shutil.copytree(source, path)
    bundles.amend(path, sensitive=sensitive, promises=promises)
    return path


def raw(client, data, until=b"\r\n\r\n", wait=10):
    "What the server says to these bytes on a connection of their own."
    with socket.create_connection(
        (client.base_url.host, client.base_url.port), timeout=wait
    ) as visitor:
        visitor.sendall(data)
        said = b""
        while until not in said and (more := visitor.recv(65536)):
            said += more
        return said.decode()


START = """
import json, sys
from movie_tagger.serve.app import Limits, create_app, run
asked = json.loads(sys.argv[1])
limits = Limits(**asked.pop("limits", {}))
try: run(create_app(**asked, limits=limits), port=0)
except Exception as e: sys.exit(f"movie-tagger: {e}")
"""


@contextlib.contextmanager
def process(folder, **asked):
    "A server in a process of its own, its address, and its log."
    log = folder / "server.log"
    plain = {k: v if isinstance(v, dict | list) else str(v) for k, v in asked.items()}
    with open(log, "wb") as f:
        server = subprocess.Popen(
            [sys.executable, "-c", START, json.dumps(plain)],
            stderr=f,
            stdout=f,
            env=os.environ | {"PYTHONPATH": str(REPO)},
        )
    try:
        while '"listening"' not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        server.url = next(line["url"] for line in lines(log) if line["event"] == "listening")
        yield server
    finally:
        if server.poll() is None:
            server.kill()
        server.wait(10)


def lines(log):
    return [json.loads(line) for line in log.read_text().splitlines()]
