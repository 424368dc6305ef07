"A server process against what comes over the line: its memory is that of what it let in."

import contextlib
import socket
import time

import psutil
import pytest
from serving import httpx, lines, process, serving, tags

from movie_tagger.serve.listen import Guarded

pytest_plugins = ["serving"]


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    "A process that serves, warm, and only to be asked."
    folder = tmp_path_factory.mktemp("line")
    with process(folder, bundle=models) as server:
        server.log = folder / "server.log"
        server.port = int(server.url.rpartition(":")[2])
        yield server


def resident(server):
    return psutil.Process(server.pid).memory_info().rss >> 20


@contextlib.contextmanager
def visitors(server, count):
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        yield [
            stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(count)
        ]


def said(server, *pieces, until=b"\r\n\r\n"):
    "What the server answers to these pieces, sent one after the other."
    with visitors(server, 1) as [visitor]:
        for piece in pieces:
            visitor.sendall(piece)
            time.sleep(0.02)
        answer = b""
        while answer.count(until) == 0 and (more := visitor.recv(65536)):
            answer += more
        return answer.decode()


HEAD = b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "short fields": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a:\r\n", 100),
    "a long address": (b"GET /", b"y" * 1000, 100),
    "a body to nowhere": (
        b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
        20,
    ),
    "chunk extensions": (CHUNKED, b"1;" + b"e" * 4000 + b"\r\nx\r\n", 20),
    "an extension without end": (CHUNKED + b"1;", b"e" * 4000, 20),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n", 20),
    "trailers after nowhere": (
        b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"a: b\r\n",
        20,
    ),
    "requests that are not waited for": (b"", b"GET / HTTP/1.1\r\n\r\n", 200),
    "requests after a goodbye": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        100,
    ),
    "uploads that are not waited for": (b"", HEAD + b"Content-Length: 1\r\n\r\nx", 100),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_cut_short_and_leaves_memory_as_it_was(server, picture, name):
    begin, more, count = FLOODS[name]
    block = more * ((200 << 10) // len(more))
    before = resident(server)
    most = before
    with visitors(server, count) as crowd:
        for visitor in crowd:
            visitor.settimeout(0.5)
            with contextlib.suppress(OSError):
                visitor.sendall(begin)
                for _ in range(5):
                    visitor.sendall(block)
                    most = max(most, resident(server))
        most = max(most, resident(server))
    assert most < before + 80, f"{before} MB became {most} MB"
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        assert tags(client, picture).status_code == 200


def test_who_does_not_read_is_cut_off(monkeypatch):
    "First the greediest, where all together would hold too much, then everybody in time."
    monkeypatch.setattr(Guarded, "silence", 2.0)
    size = 24 << 20

    async def generous(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})

    with serving(generous) as client:
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            address = (client.base_url.host, client.base_url.port)
            crowd = [
                stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(4)
            ]
            for visitor in crowd:
                visitor.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = client.get("/")
            assert answer.status_code == 200 and len(answer.content) == size
            time.sleep(4)
            assert all(received(visitor) < size for visitor in crowd)
        assert time.monotonic() - began < 20


def received(visitor):
    "Bytes that come until the connection ends."
    total = 0
    with contextlib.suppress(ConnectionError):
        while more := visitor.recv(1 << 20):
            total += len(more)
    return total


@pytest.mark.parametrize(
    "wish",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
        b"Upgrade: h2c\r\nConnection: keep-alive, upgrade\r\n",
        b"Connection: upgrade\r\nupgrade:websocket\r\nSec-WebSocket-Key: eHh4\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\nUpgrade: h2c\r\n",
    ],
)
@pytest.mark.parametrize("how", ["length", "chunks", "expect", "in pieces"])
def test_a_wish_for_another_protocol_is_passed_over_and_the_body_is_read(
    server, picture, wish, how
):
    size = b"Content-Length: %d\r\n" % len(picture)
    if how == "chunks":
        pieces = [HEAD + wish + b"Transfer-Encoding: chunked\r\n\r\n"]
        pieces.append(b"%x\r\n%b\r\n0\r\n\r\n" % (len(picture), picture))
    elif how == "expect":
        pieces = [HEAD + wish + size + b"Expect: 100-continue\r\n\r\n", picture]
    elif how == "in pieces":
        whole = HEAD + size + wish + b"\r\n" + picture
        pieces = [whole[i : i + 40] for i in range(0, 400, 40)] + [whole[400:]]
    else:
        pieces = [HEAD + wish + size + b"\r\n" + picture]
    # and the connection goes on
    pieces.append(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = said(server, *pieces, until=b'"alive"')
    assert answer.count("HTTP/1.1 200") == 2 and "suggestions" in answer
    assert answer.startswith("HTTP/1.1 100" if how == "expect" else "HTTP/1.1 200")


def test_a_wish_to_connect_elsewhere_is_refused(server):
    assert said(server, b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").startswith("HTTP/1.1 501")


def test_no_flood_was_a_mistake_of_the_server(server):
    assert not [line for line in lines(server.log) if line["level"] == "error"]


@pytest.mark.parametrize("query", ["", "?k=3"])
@pytest.mark.parametrize("how", ["raw", "form", "many in a form", "more than is taken"])
def test_a_body_that_is_refused_leaves_nothing_behind(server, how, query):
    part = b'--X\r\nContent-Disposition: form-data; name="still"; filename="a"\r\n\r\n'
    kind = {"content-type": "image/jpeg" if how == "raw" else "multipart/form-data; boundary=X"}
    body = {
        "raw": bytes(20 << 20),
        "form": part + bytes(20 << 20) + b"\r\n--X--\r\n",
        "many in a form": (part + bytes(5 << 20) + b"\r\n") * 4 + b"--X--\r\n",
        "more than is taken": [bytes(1 << 20)] * 33,
    }[how]
    address = f"{server.url}/v1/tags{query}"
    with httpx.Client(timeout=60, trust_env=False) as client:
        client.post(address, content=body, headers=kind)
        before = resident(server)
        for _ in range(8):
            assert client.post(address, content=body, headers=kind).status_code in (413, 415)
    assert resident(server) < before + 60
