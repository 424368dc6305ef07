"""A web server for tests that fails in all the ways the web does: real sockets, its own process.

The first part of a path says how it behaves, the number in the last part which picture it serves:

    /ok/7.jpg                a picture
    /status/503/7.jpg[?retry_after=1]   an answer of that status
    /flaky/reset/2/7.jpg     fails twice in that way (any below, or a status), then serves it
    /reset/ /silent/ /drip/ /endless/ /long/ /short/
                             connections that break, hang, drip, never end, end too early or late
    /html/ /cut/ /bomb/ /gzip_bomb/ /empty/ /tiny/         bodies that are no pictures, or bad ones
    /png/7.jpg /gzip/ /noai/ /licence/ /signed/
                             a wrong extension, an encoding, headers, a signed address
    /loop/ /to/?URL                                        redirects
    /guarded/7.jpg           a picture for who sends Referer: https://example.org/ and X-Key: secret
    /seen                    as JSON the headers that each path was last asked with, in lower case
    /hits                    as JSON how often each path was asked for and served, and the most
                             requests at once
"""

import asyncio
import gzip
import io
import json
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
from PIL import Image

SIGNATURE = "X-Expires=600&sig=a%2Fb%2bc+d==&name=caf%C3%A9"
LICENCE = "https://example.org/licences/by/4.0/"


@lru_cache(maxsize=4096)
def picture(n, format="JPEG", size=(64, 96)):
    "Bytes of a picture that looks like no other."
    blocks = np.random.default_rng(n).integers(0, 256, (6, 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(file, format)
    return file.getvalue()


def bomb():
    "A PNG of 100 kB that wants 400 million pixels."
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


BOMB, GZIP_BOMB = bomb(), gzip.compress(bytes(50_000_000), 1)
HTML = b"<!DOCTYPE html><html><body>Please log in to see this picture</body></html>"
GUARD = {"referer": "https://example.org/", "x-key": "secret"}
BODIES = {
    "ok": lambda n: picture(n),
    "png": lambda n: picture(n, "PNG"),
    "html": lambda n: HTML,
    "cut": lambda n: picture(n)[:-300],
    "bomb": lambda n: BOMB,
    "empty": lambda n: b"",
    "tiny": lambda n: picture(n, "GIF", (1, 1)),
    "noai": picture,
    "guarded": picture,
    "licence": picture,
    "signed": picture,
}
HEADERS = {
    "noai": "X-Robots-Tag: noindex-not, noai",
    "licence": f'Link: <{LICENCE}>; rel="license"',
    "html": "Content-Type: image/jpeg",
}


class Server:
    "What happens on each connection, one request after the other."

    def __init__(self, latency):
        self.latency = latency
        self.asked = Counter()
        self.hits = Counter()
        self.seen = {}  # path -> headers
        self.busy = 0
        self.most = 0

    async def serve(self, reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                target = first.split(" ", 2)[1]
                pairs = (line.split(":", 1) for line in filter(None, lines))
                self.seen[target] = {name.lower(): value.strip() for name, value in pairs}
                self.busy += 1
                self.most = max(self.most, self.busy)
                try:
                    stay = await self.answer(writer, target)
                finally:
                    self.busy -= 1
                await writer.drain()
                if not stay:
                    break
        writer.close()

    async def answer(self, writer, target):
        "Answers one request; false where the connection shall end."
        await asyncio.sleep(self.latency)
        self.asked[target] += 1
        path, _, query = target.partition("?")
        way, *rest = path.strip("/").split("/")
        if way == "hits":
            return self.send(
                writer,
                200,
                json.dumps({"asked": self.asked, "served": self.hits, "most": self.most}).encode(),
            )
        if way == "seen":
            return self.send(writer, 200, json.dumps(self.seen).encode())
        if way == "guarded" and not GUARD.items() <= self.seen[target].items():
            return self.send(writer, 403, b"not for you")
        if way == "flaky":
            way, rest = (
                (rest[0], rest[2:]) if self.asked[target] <= int(rest[1]) else ("ok", rest[2:])
            )
            if way.isdigit():
                way, rest = "status", [way, *rest]
        n = int("".join(c for c in rest[-1] if c.isdigit()) or 0) if rest else 0
        if way == "status":
            return self.send(
                writer,
                int(rest[0]),
                b"no",
                *([f"Retry-After: {query.partition('=')[2]}"] if query else []),
            )
        if way == "signed" and query != SIGNATURE:
            return self.send(writer, 403, b"the signature does not match")
        if way == "loop":
            return self.send(writer, 302, b"", f"Location: {target}")
        if way == "to":
            return self.send(writer, 302, b"", f"Location: {unquote(query)}")
        if way in BODIES:
            self.hits[target] += 1
            return self.send(writer, 200, BODIES[way](n), HEADERS.get(way, ""))
        return await getattr(self, way, self.missing)(writer, picture(n))

    def send(self, writer, status, body, *headers, length=None):
        lines = [
            f"HTTP/1.1 {status} Whatever",
            f"Content-Length: {len(body) if length is None else length}",
            *filter(None, headers),
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return True

    async def missing(self, writer, body):
        return self.send(writer, 404, b"nothing here")

    async def gzip(self, writer, body):
        return self.send(writer, 200, gzip.compress(body), "Content-Encoding: gzip")

    async def gzip_bomb(self, writer, body):
        return self.send(writer, 200, GZIP_BOMB, "Content-Encoding: gzip")

    async def short(self, writer, body):
        self.send(writer, 200, body, length=len(body) - 200)
        await writer.drain()

    async def long(self, writer, body):
        self.send(writer, 200, body, length=len(body) + 200)
        await writer.drain()

    async def reset(self, writer, body):
        self.send(writer, 200, body[: len(body) // 2], length=len(body))
        await writer.drain()
        await asyncio.sleep(0.01)
        s = writer.get_extra_info("socket")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def silent(self, writer, body):
        await asyncio.sleep(3600)

    async def drip(self, writer, body):
        self.send(writer, 200, b"", length=len(body))
        for k in range(len(body)):
            writer.write(body[k : k + 1])
            await writer.drain()
            await asyncio.sleep(0.05)

    async def endless(self, writer, body):
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n" % len(body)
            + body
            + b"\r\n"
        )
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()


def contexts(folder):
    "A certificate that the authority in ca.pem vouches for, and one that nobody does."
    import trustme

    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for ca in (authority, stranger):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        yield context


async def main(folder, latency):
    server, addresses = Server(latency), {}
    good, bad = contexts(folder)
    for name, host, context in (
        ("http", "127.0.0.1", None),
        ("other", "127.0.0.2", None),
        ("ipv6", "::1", None),
        ("https", "127.0.0.1", good),
        ("untrusted", "127.0.0.1", bad),
    ):
        try:
            s = await asyncio.start_server(server.serve, host, 0, ssl=context, backlog=1000)
        except OSError:
            addresses[name] = None  # no IPv6 here
        else:
            addresses[name] = (
                f"{'https' if context else 'http'}://{f'[{host}]' if ':' in host else host}"
                f":{s.sockets[0].getsockname()[1]}"
            )
    with socket.create_server(("127.0.0.1", 0)) as s:
        addresses["closed"] = f"http://127.0.0.1:{s.getsockname()[1]}"
    print(json.dumps(addresses | {"ca": str(folder / "ca.pem")}), flush=True)
    await asyncio.get_running_loop().run_in_executor(
        None, sys.stdin.read
    )  # ends with the process that started it


@contextmanager
def serve(latency=0.0):
    """Yields the addresses of a running server, and `ca`, a file.

    They are http, other (another loopback address), ipv6, https, untrusted, closed.
    """
    command = [sys.executable, __file__, str(latency)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [*command, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            yield SimpleNamespace(**json.loads(process.stdout.readline()), pid=process.pid)
        finally:
            process.kill()


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[2]), float(sys.argv[1])))
    finally:
        sys.exit()
