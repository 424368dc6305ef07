"""Whatever is sent to a real server, as bytes, as requests or as pictures: no 500, no more than a
gigabyte, and the next honest upload is answered.

`MOVIE_TAGGER_FUZZ=1800 pytest tests/test_fuzz_server.py` goes on for half an hour instead of a
minute; `MOVIE_TAGGER_FUZZ_SEED` makes another one.
"""

import io
import json
import os
import random
import socket
import struct
import threading
import time
import zlib
from contextlib import contextmanager

import pytest
from PIL import Image
from serving import httpx, problem, process, serving, tags

schemathesis = pytest.importorskip("schemathesis")
psutil = pytest.importorskip("psutil")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402

from movie_tagger.serve.app import create_app  # noqa: E402
from movie_tagger.serve.champion import Looks  # noqa: E402
from movie_tagger.serve.desk import Limits  # noqa: E402

pytest_plugins = ["serving"]

SECONDS = float(os.environ.get("MOVIE_TAGGER_FUZZ", 60))  # of all fuzzers here together
SEED = int(os.environ.get("MOVIE_TAGGER_FUZZ_SEED", 1))
MOST = 1 << 30  # bytes of memory of the server's process
HUNG_UP = b"the handler is closed"  # uvloop's, where a client left a moment before its answer
GROWTH = 600 << 20  # bytes: what is unpacked at once, and the bodies of a few large requests

pytestmark = pytest.mark.timeout(SECONDS + 300)


class Watched:
    "A server's process, whose memory is looked at all the time."

    def __init__(self, server):
        self.url = server.url
        self.server = server
        self.process = psutil.Process(server.pid)
        self.before = self.peak = self.process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._stop.wait(0.01):
            try:
                self.peak = max(self.peak, self.process.memory_info().rss)
            except psutil.NoSuchProcess:
                return

    def close(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def site(models, tmp_path_factory):
    "A server with a ledger in a process of its own, and a client for it."
    folder = tmp_path_factory.mktemp("fuzzed")
    with process(folder, bundle=models, ledger=folder / "l.db", sensitive=["blood"]) as server:
        watched = Watched(server)
        watched.log = folder / "server.log"
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
            watched.client = client
            yield watched
        watched.close()


@contextmanager
def unharmed(site, picture):
    "Afterwards the server lives within its memory, has failed at nothing, and answers uploads."
    assert tags(site.client, picture).status_code == 200
    began = len(site.log.read_bytes())
    try:
        yield
    except BaseException:
        print(f"repeat with MOVIE_TAGGER_FUZZ_SEED={SEED}")
        raise
    end = time.monotonic() + 60  # what was taken in before is answered first
    while (answer := tags(site.client, picture)).status_code in (429, 503):
        assert time.monotonic() < end, answer.text
        time.sleep(0.2)
    assert answer.status_code == 200, answer.text
    assert site.server.poll() is None
    assert site.peak < MOST and site.peak - site.before < GROWTH, f"seed {SEED}"
    failed = [line for line in events(site.log, began) if line.get("status") == 500]
    assert not failed, f"seed {SEED}: {failed[:3]}"
    traces = [line for line in site.log.read_bytes()[began:].splitlines() if b"Traceback" in line]
    assert not [line for line in traces if HUNG_UP not in line], f"seed {SEED}"


def events(log, start):
    for line in log.read_bytes()[start:].splitlines():
        if line.startswith(b"{"):
            yield json.loads(line)


# ---- bytes on the line

METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"PRI", b"\x16\x03\x01", b"", b"G" * 9000)
PATHS = (b"/", b"/v1/tags", b"/v1/feedback", b"/v1/model", b"/metrics", b"*", b"/%00", b"/" * 9000)
HEADERS = (
    b"Host: localhost",
    b"Content-Length: 10",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Type: application/json",
    b"Authorization: Bearer \xff\xfe",
    b"X: " + b"y" * 70_000,
    b" folded: line",
    b"no colon",
    b"\0: \0",
)


def request(rng):
    "Something like a request."
    line = b" ".join([rng.choice(METHODS), rng.choice(PATHS), b"HTTP/1.1"])
    headers = rng.choices(HEADERS, k=rng.randrange(6))
    body = rng.choice([b"", b"0\r\n\r\n", b"5\r\nhello\r\n", b"fffffff\r\n", rng.randbytes(200)])
    trailers = rng.choice([b"", b"0\r\n" + b"t: u\r\n" * rng.randrange(5000)])
    return b"\r\n".join([line, *headers, b"", b""]) + body + trailers


def damaged(data, rng):
    "The bytes with some of them changed, lost, doubled or moved."
    data = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5, 30])):
        at = rng.randrange(len(data) + 1)
        few = rng.choice([1, 1, 2, 4, 40])
        what = rng.randrange(5)
        if what == 0:
            data[at : at + few] = rng.randbytes(few)
        elif what == 1:
            del data[at : at + few]
        elif what == 2:
            data[at:at] = data[at : at + few] * rng.choice([1, 2, 50])
        elif what == 3:
            data[at : at + few] = rng.choice([b"\0", b"\xff", b"\r\n", b"\x7f\xff\xff\xff"])
        else:
            data[at:] = data[at:][::-1] if rng.random() < 0.1 else data[at:]
    return bytes(data)


def send(address, data, rng):
    "Sends bytes in pieces and hangs up, after a look at the answer or without."
    try:
        with socket.create_connection(address, timeout=5) as line:
            while data:
                n = rng.choice([1, 10, 1000, 1 << 20])
                line.sendall(data[:n])
                data = data[n:]
            if rng.random() < 0.3:
                line.shutdown(socket.SHUT_WR)
            line.settimeout(rng.choice([0.01, 0.3]))
            while line.recv(1 << 16):
                pass
    except OSError:
        pass  # the server may hang up whenever it likes


def test_bytes_on_the_line(site, picture):
    rng = random.Random(SEED)
    address = site.client.base_url.host, site.client.base_url.port
    end = time.monotonic() + SECONDS / 3
    with unharmed(site, picture):
        while time.monotonic() < end:
            several = b"".join(request(rng) for _ in range(rng.choice([1, 1, 1, 3, 40])))
            kinds = [rng.randbytes(rng.randrange(3000)), several, damaged(several, rng)]
            send(address, rng.choice(kinds), rng)


# ---- the API


@pytest.mark.parametrize("method, path", [("POST", "/v1/tags"), ("POST", "/v1/feedback")])
def test_requests_by_the_description_and_against_it(site, picture, method, path):
    operation = schemathesis.openapi.from_url(f"{site.url}/openapi.json")[path][method]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    end = time.monotonic() + SECONDS / 6

    def check(case):
        if time.monotonic() < end:
            assert case.call(base_url=site.url).status_code < 500

    with unharmed(site, picture):
        for mode in modes:
            settings(
                max_examples=max(20, int(SECONDS)),
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(given(case=operation.as_strategy(generation_mode=mode))(check))()


# ---- pictures


def saved(image, kind, **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def seeds():
    "Honest pictures of all kinds, small; and large ones that look small."
    small = Image.radial_gradient("L").resize((90, 60))
    for mode in ("RGB", "L", "RGBA", "CMYK", "P", "LA", "1", "I;16"):
        image = small.convert("RGB").quantize(30) if mode == "P" else small.convert(mode)
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"):
            try:
                yield saved(image, kind)
            except (OSError, ValueError):
                continue  # not every format keeps every mode
    yield saved(small, "JPEG", progressive=True)
    yield saved(small.convert("RGB"), "MPO", save_all=True, append_images=[small.convert("RGB")])
    yield saved(small, "GIF", save_all=True, append_images=[small.rotate(90)] * 20)
    clear = Image.new("RGBA", (5000, 5000), (200, 10, 10, 128))
    yield saved(clear, "WEBP", lossless=True)
    yield saved(clear, "AVIF", speed=10)
    yield saved(Image.new("RGB", (4900, 5000), "red"), "JPEG", progressive=True, subsampling=0)
    many = saved(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    scan = many[many.rfind(b"\xff\xda") : -2]
    yield many[:-2] + scan * 250 + b"\xff\xd9"
    yield many[:-2] + scan * 5000 + b"\xff\xd9"
    one = saved(small, "PNG")
    yield one[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000))) + one[33:]


def upload(client, pictures, rng):
    if len(pictures) == 1 and rng.random() < 0.5:
        return tags(client, pictures[0])
    name = rng.choice(["a.jpg", "a" * 300, "../../x", '"', "é\r\n", ""])
    return client.post("/v1/tags", files=[("still", (name, data)) for data in pictures])


def test_damaged_pictures(site, picture):
    pictures = list(seeds())
    end = time.monotonic() + SECONDS / 3
    failed = []

    def work(k):
        rng = random.Random(SEED * 100 + k)
        with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as client:
            while time.monotonic() < end:
                few = rng.choice([1, 1, 1, 4, 16])
                some = [damaged(rng.choice(pictures), rng) for _ in range(few)]
                answer = upload(client, some, rng)
                if answer.status_code not in (200, 400, 413, 415, 422, 429, 503):
                    failed.append((answer.status_code, answer.text[:200]))

    with unharmed(site, picture):
        workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not failed, f"seed {SEED}: {failed[:3]}"


BOMBS = {
    "WebP with alpha": saved(Image.new("RGBA", (5000, 5000), (9, 9, 9, 9)), "WEBP", lossless=True),
    "PNG with alpha": saved(Image.new("RGBA", (5000, 5000), (9, 9, 9, 9)), "PNG"),
    "progressive JPEG": saved(
        Image.new("RGB", (5000, 5000), "red"), "JPEG", progressive=True, subsampling=0
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_several_large_pictures_take_the_memory_of_one(site, picture, kind):
    with unharmed(site, picture):
        site.before = site.peak = site.process.memory_info().rss
        answers = []
        workers = [
            threading.Thread(target=lambda: answers.append(tags(site.client, BOMBS[kind])))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert len(answers) == 4 and any(answer.status_code == 200 for answer in answers)
        assert site.peak - site.before < 500 << 20


def test_the_limit_is_told_and_held(models):
    limits = Limits(looks=Looks(unpacked=50_000_000))
    with serving(create_app(models, limits=limits)) as client:
        assert client.get("/v1/model").json()["limits"]["unpacked"] == 50_000_000
        answer = tags(client, BOMBS["WebP with alpha"])
    detail = "bytes of memory, more than the 50,000,000 allowed."
    assert detail in problem(answer, 413, "too-large")["detail"]
