"The proxy of the compose file, nginx itself, between the server and those who misuse it."

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time

import psutil
import pytest
from conftest import REPO, lacking
from serving import httpx, process, tags

pytest_plugins = ["serving"]

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@contextlib.contextmanager
def proxied(folder, port):
    "nginx with the repository's own settings but for ports and folders; yields its port."
    if not NGINX:
        lacking("nginx is not installed: apt-get install nginx")
    with socket.create_server(("127.0.0.1", 0)) as s:
        own = s.getsockname()[1]
    text = (REPO / "proxy" / "nginx.conf").read_text()
    for there, here in (
        ("/tmp/", f"{folder}/nginx-"),
        ("server tagger:8000", f"server 127.0.0.1:{port}"),
        ("listen 8080", f"listen 127.0.0.1:{own}"),
        ("/dev/stdout", f"{folder}/access.log"),
        ("/dev/stderr", f"{folder}/error.log"),
    ):
        assert there in text
        text = text.replace(there, here)
    (folder / "nginx.conf").write_text(text)
    more = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    command = [NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    nginx = subprocess.Popen([*command, "-g", more])
    try:
        for _ in range(200):
            assert nginx.poll() is None, (folder / "error.log").read_text()
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", own)) == 0:
                    break
            time.sleep(0.05)
        yield own
    finally:
        nginx.terminate()
        nginx.wait(20)


@pytest.fixture(scope="module")
def site(models, tmp_path_factory):
    "A server, and its proxy's port."
    folder = tmp_path_factory.mktemp("proxied")
    with process(folder, bundle=models) as server:
        with proxied(folder, int(server.url.rpartition(":")[2])) as port:
            server.proxy = port
            server.folder = folder
            yield server


def client(site, address):
    "One whose connections come from an address of its own."
    transport = httpx.HTTPTransport(local_address=address)
    url = f"http://127.0.0.1:{site.proxy}"
    return httpx.Client(base_url=url, transport=transport, timeout=30)


HEAD = b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# how each begins, goes on, and how long it pauses
MISUSES = {
    "a slow head": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a", 0.2),
    "a slow body": (HEAD + b"Content-Length: 100000\r\n\r\n", b"x", 0.2),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000, 0),
    "extensions": (CHUNKED, b"1;" + b"e" * 4000 + b"\r\nx\r\n", 0),
    "answers not read": (b"", b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 0.01),
}


def misuse(site, name, stop):
    begin, more, pause = MISUSES[name]
    while not stop.is_set():
        with (
            contextlib.suppress(OSError),
            socket.create_connection(
                ("127.0.0.1", site.proxy), timeout=2, source_address=("127.0.0.2", 0)
            ) as visitor,
        ):
            visitor.sendall(begin)
            while not stop.is_set():
                visitor.sendall(more)
                stop.wait(pause)


def test_honest_uploads_are_answered_while_others_misuse_the_line(site, picture):
    stop = threading.Event()
    crowd = [
        threading.Thread(target=misuse, args=(site, name, stop))
        for name in MISUSES
        for _ in range(5)
    ]
    for visitor in crowd:
        visitor.start()
    before = psutil.Process(site.pid).memory_info().rss >> 20
    try:
        time.sleep(2)
        with client(site, "127.0.0.3") as honest:
            answers = [tags(honest, picture).status_code for _ in range(60)]
    finally:
        stop.set()
        for visitor in crowd:
            visitor.join(10)
    assert answers == [200] * 60
    assert psutil.Process(site.pid).memory_info().rss >> 20 < before + 100


def test_a_crowd_from_one_address_is_slowed_whatever_address_it_claims(site, picture):
    with client(site, "127.0.0.4") as crowd:
        answers = [
            crowd.get("/healthz/live", headers={"x-forwarded-for": f"9.9.9.{i}"})
            for i in range(250)
        ]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and {answer.status_code for answer in answers} == {200, 429}
    assert refused[0].headers["content-type"] == "application/problem+json"
    assert refused[0].headers["retry-after"] and refused[0].json()["type"] == "/docs#busy"
    log = (site.folder / "access.log").read_text()
    assert " 127.0.0.4 " in log and "9.9.9." not in log
    with client(site, "127.0.0.3") as other:
        assert tags(other, picture).status_code == 200


def test_what_is_too_large_ends_at_the_proxy_and_metrics_stay_inside(site):
    with client(site, "127.0.0.5") as visitor:
        answer = tags(visitor, bytes(33 << 20))
        assert (answer.status_code, answer.json()["status"]) == (413, 413)
        assert visitor.get("/metrics").status_code == 404
        assert visitor.get("/").headers["content-type"].startswith("text/html")


def test_a_server_that_is_away_is_a_503(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with proxied(tmp_path, port) as proxy:
        answer = httpx.get(f"http://127.0.0.1:{proxy}/v1/model", trust_env=False)
    assert (answer.status_code, answer.json()["status"]) == (503, 503)
    assert answer.headers["retry-after"]
