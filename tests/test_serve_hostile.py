"What strangers send to a server: each gets a sentence, and it goes on, with the memory it had."

import asyncio
import contextlib
import encodings as encodings_module
import inspect
import io
import random
import socket
import struct
import threading
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from conftest import CI, draw_poster
from PIL import Image
from serving import httpx, problem, process, raw, serving, tags

from movie_tagger.serve.app import Limits, create_app
from movie_tagger.serve.batching import Batcher
from movie_tagger.serve.champion import Looks
from movie_tagger.serve.problem import Problem
from movie_tagger.serve.wire import boundary, form_parts, plain_name

pytest_plugins = ["serving"]


def saved(image, kind, **how):
    memory = io.BytesIO()
    image.save(memory, kind, **how)
    return memory.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height, bits=8):
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    )


def zip_bomb():
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("still.jpg", bytes(20_000_000))
    return memory.getvalue()


SMALL = Image.linear_gradient("L").convert("RGB").resize((96, 64))
JPEG = saved(SMALL, "JPEG")
FRAMES = [SMALL.rotate(a) for a in range(0, 90, 10)]
EXIF = Image.Exif()
EXIF[0x0112] = 6

REFUSED = {
    "nothing": (b"", 415, "empty"),
    "text": (b"Dear diary", 415, "text"),
    "an SVG that runs": (
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>',
        415,
        "SVG",
    ),
    "a web page": (b"<!doctype html><script>alert(1)</script>", 415, "web page"),
    "a zip bomb": (zip_bomb(), 415, "none of"),
    "a PNG that unpacks to 900 million pixels": (
        saved(Image.new("1", (30_000, 30_000)), "PNG"),
        413,
        "pixels",
    ),
    "a PNG that says it is 2 billion wide": (png_header(2**31 - 1, 2**31 - 1), 415, "damaged"),
    "a PNG with nothing in it": (
        png_header(100, 100) + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        422,
        "",
    ),
    "a PNG whose text is a bomb": (
        png_header(8, 8)
        + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000), 9))
        + chunk(b"IEND", b""),
        None,
        "",
    ),
    "a PNG with a wrong checksum": (saved(SMALL, "PNG")[:-20] + b"x" * 20, None, ""),
    "a cut JPEG": (JPEG[: len(JPEG) // 2], 415, "cut off"),
    "a JPEG's first bytes": (JPEG[:20], 415, "damaged"),
    "a JPEG with noise inside": (
        JPEG[:300] + random.Random(0).randbytes(300) + JPEG[600:],
        None,
        "",
    ),
    "a GIF of 65,535 x 65,535": (
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\0\0,\0\0\0\0"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\x08\0",
        413,
        "pixels",
    ),
    "a TIFF": (saved(SMALL, "TIFF"), 415, "TIFF is not taken"),
    "a BMP": (saved(SMALL, "BMP"), 415, "BMP is not taken"),
    "a PDF": (b"%PDF-1.7\n" + bytes(100), 415, "none of"),
    "a PostScript program": (b"%!PS-Adobe-3.0\n(rm -rf /) run\n", 415, ""),
    "a pickle": (b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.", 415, ""),
    "noise": (random.Random(1).randbytes(5000), 415, "none of"),
    "a HEIC": (b"\0\0\0\x18ftypheic" + bytes(50), 415, "HEIC"),
}
TAKEN = {
    "CMYK": saved(SMALL.convert("CMYK"), "JPEG"),
    "turned by its camera": saved(SMALL, "JPEG", exif=EXIF),
    "an animated GIF": saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES),
    "an animated WebP": saved(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES),
    "16 bits": saved(Image.new("I;16", (60, 40)), "PNG"),
    "one pixel": saved(Image.new("RGB", (1, 1)), "PNG"),
    "a line": saved(Image.new("RGB", (4000, 1)), "PNG"),
    "see-through": saved(Image.new("RGBA", (60, 40)), "PNG"),
    "AVIF": saved(SMALL, "AVIF"),
    "also a zip": JPEG + zip_bomb(),
    "also a web page": JPEG + b"<script>alert(1)</script>",
    "grey": saved(SMALL.convert("L"), "JPEG"),
    "a palette": saved(SMALL.convert("P"), "PNG"),
}


@pytest.fixture(scope="module")
def site(models):
    with serving(create_app(models)) as client:
        yield client


def alive(client, picture):
    assert tags(client, picture).status_code == 200


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_upload_gets_a_sentence(site, picture, name):
    data, status, words = REFUSED[name]
    for answer in (tags(site, data), site.post("/v1/tags", files={"still": ("x.jpg", data)})):
        if status:
            assert (
                words in problem(answer, status, answer.json()["type"].partition("#")[2])["detail"]
            )
        else:
            assert answer.status_code in (200, 413, 415, 422)
    alive(site, picture)


@pytest.mark.parametrize("name", TAKEN)
def test_an_odd_picture_is_still_a_picture(site, name):
    (still,) = tags(site, TAKEN[name]).json()["stills"]
    assert still["suggestions"] and still["width"] * still["height"] > 0


def form(*parts, end=True):
    body = b"".join(
        b"--X\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return body + (b"--X--\r\n" if end else b"")


FILE = b'name="still"; filename="a.jpg"'
FORMS = {
    "no part at all": (form(), "no file"),
    "a comment but no still": (form((b'name="comment"', b"nice")), "no file"),
    "1,000 parts": (form(*[(FILE, b"x")] * 1000), "more than the 32 parts"),
    "1,000 fields": (form(*[(b'name="f"', b"x")] * 1000), "more than the 32 parts"),
    "17 stills": (form(*[(FILE, JPEG)] * 17), "17 stills"),
    "a part's header of 100 kB": (
        form((FILE + b"\r\nX-Long: " + b"x" * 100_000, JPEG)),
        "header is longer than the 65,536 bytes",
    ),
    "a part's header of 2 MB": (form((FILE + b"\r\nX-Long: " + b"x" * 2_000_000, JPEG)), ""),
    "no end": (form((FILE, JPEG), end=False), "cut off"),
    "cut in the middle": (form((FILE, JPEG))[:400], "cut off"),
    "noise": (random.Random(2).randbytes(3000), ""),
    "nothing": (b"", "cut off"),
    "another boundary": (form((FILE, JPEG)).replace(b"--X", b"--Y"), ""),
    "a part without headers": (b"--X\r\n\r\nabc\r\n--X--\r\n", "no file"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_bad_form_gets_a_sentence(site, picture, name):
    body, words = FORMS[name]
    answer = site.post(
        "/v1/tags", content=body, headers={"content-type": "multipart/form-data; boundary=X"}
    )
    assert words in problem(answer, 400, "bad-form")["detail"]
    alive(site, picture)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/json",
        "application/x-www-form-urlencoded",
        "video/mp4",
        "nonsense",
        "multipart/mixed; boundary=X",
    ],
)
def test_a_wrong_content_type_is_refused(site, picture, kind):
    problem(
        site.post("/v1/tags", content=picture, headers={"content-type": kind}), 415, "not-a-picture"
    )


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 200,
    ],
)
def test_a_form_without_a_boundary_is_refused(site, kind):
    problem(
        site.post("/v1/tags", content=form((FILE, JPEG)), headers={"content-type": kind}),
        400,
        "bad-form",
    )


@pytest.mark.parametrize(
    "name, plain",
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/abs/olute.png", "olute.png"),
        ("a\0b.jpg", "ab.jpg"),
        ("<img src=x onerror=alert(1)>.jpg", "img srcx onerroralert(1).jpg"),
        ("; rm -rf ~.jpg", "rm -rf .jpg"),
        ("x" * 500, "x" * 80),
        ("...", ""),
        ("", ""),
        ("film still (1).jpg", "film still (1).jpg"),
        ("фильм.jpg", "фильм.jpg"),
    ],
)
def test_a_name_is_only_a_name(site, picture, name, plain):
    assert plain_name(name) == plain
    if "\0" not in name:
        assert site.post("/v1/tags", files={"still": (name or "x", picture)}).status_code == 200


@pytest.mark.parametrize("size", [3_000, 5_000, 60_000])
def test_a_name_as_long_as_it_likes(site, size):
    "Browsers send up to 255 letters; a script sends what it has."
    long = b'name="still"; filename="' + b"x" * size + b'.jpg"'
    kind = {"content-type": "multipart/form-data; boundary=X"}
    answer = site.post("/v1/tags", content=form((long, JPEG)), headers=kind)
    assert answer.status_code == 200 and answer.json()["stills"][0]["name"] == "x" * 80


DISPOSITIONS = [
    b"filename*=idna''abc.jpg",
    b"filename*=undefined''abc.jpg",
    b"filename*=punycode''%ff%fe",
    b"filename*=utf-8''%ff%fe%00.jpg",
    b"filename*=utf-16''%d8",
    b"filename*=unicode_escape''%5cud800",
    b"filename*=rot13''abc",
    b"filename*=no-such-thing''abc",
    b"filename*=''abc",
    b"filename*=utf-8",
    b"filename*=utf-8'en",
    b"filename*=%00''a",
    b"filename*0*=idna''a; filename*1*=b",
    b"filename*0*=utf-8''a; filename*99999999999999999999=b",
    b"filename*=utf-8''..%2f..%2fetc%2fpasswd",
    b"filename=",
    b'filename=""',
    b'filename="',
    b'filename="' + b"x" * 3_000 + b'"',
    b"filename*=utf-8''" + b"%f0%9f%98%80" * 255,
    b'filename="' + "фильм".encode("cp1251") + b'"',
    b'filename="a.jpg"; filename="b.jpg"; filename*=idna\'\'c',
    b"filename*=" + b"'" * 1000,
    b"filename" + b"*" * 1000 + b"=a",
]


@pytest.mark.parametrize("disposition", DISPOSITIONS)
def test_an_odd_name_costs_the_name_and_not_the_answer(site, picture, disposition):
    for name in (b'name="still"; ', b""):
        body = form((name + disposition, picture))
        kind = {"content-type": "multipart/form-data; boundary=X"}
        answer = site.post("/v1/tags", content=body, headers=kind)
        if name or answer.status_code != 400:
            assert answer.status_code == 200, answer.text
            called = answer.json()["stills"][0]["name"]
            assert called == plain_name(called)


def test_any_disposition_is_taken_apart():
    from hypothesis import given, settings
    from hypothesis import strategies as st

    encodings = sorted({*encodings_module.aliases.aliases.values()}) + ["idna", "undefined", ""]
    value = st.builds(
        "filename*{}={}'{}'{}".format,
        st.sampled_from(["", "0*", "1", "*"]),
        st.sampled_from(encodings),
        st.sampled_from(["", "en", "'"]),
        st.text(st.sampled_from("%0fFaxz\\'\"; =é"), max_size=20),
    )

    @settings(max_examples=500, deadline=None)
    @given(value)
    def take_apart(disposition):
        (part,) = form_parts(form((b'name="still"; ' + disposition.encode(), b"x")), b"X")
        assert part.name == plain_name(part.name)

    take_apart()


def test_a_body_larger_than_allowed_is_cut_short_while_it_comes(models, picture):
    with serving(create_app(models, limits=Limits(body=100_000))) as client:

        def endless():
            for _ in range(2000):
                yield bytes(1000)

        with contextlib.suppress(
            httpx.TransportError
        ):  # the line may be cut before the answer is read
            problem(
                client.post("/v1/tags", content=endless(), headers={"content-type": "image/jpeg"}),
                413,
                "too-large",
            )
        alive(client, picture)


REQUESTS = {
    "no HTTP": (b"hello\r\n\r\n", "400"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), "400"),
    "two lengths": (
        b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"
        b"abcdef",
        "400",
    ),
    "a length and chunks": (
        b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n0\r\n\r\n",
        "400",
    ),
    "a length of five thousand digits": (
        b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 5000 + b"5\r\n\r\nabcde",
        "415",
    ),
    "a length below nothing": (
        b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "400",
    ),
    "a wrong chunk": (
        b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "4",
    ),
    "headers without end": (b"GET / HTTP/1.1\r\n" + b"X-Long: y\r\n" * 10_000, "431"),
    "one endless header": (b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000, "431"),
    "an endless address": (b"GET /" + b"y" * 200_000, "431"),
    "a wrong address": (b"GET /%ff%00%zz?k=%%% HTTP/1.1\r\nHost: x\r\n\r\n", "4"),
    "a wish for another protocol": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "200",
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_hardly_http_is_shown_out(site, picture, name):
    data, status = REQUESTS[name]
    assert raw(site, data).startswith(f"HTTP/1.1 {status}")
    alive(site, picture)


@pytest.mark.parametrize("path", ["/nowhere", "/v1/tags"])
def test_endless_trailers_after_a_body_end_the_connection(site, picture, path):
    address = (site.base_url.host, site.base_url.port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with socket.create_connection(address, timeout=20) as visitor:
        visitor.sendall(head.encode())
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 100 << 20:
                sent += visitor.send(b"a: b\r\n" * 10_000)
    assert sent < 16 << 20  # what the kernel holds for both sides, and a little
    alive(site, picture)


def test_trailers_of_a_few_lines_are_let_be(site, picture):
    chunk = b"%x\r\n%b\r\n0\r\nX-Checksum: 1\r\n\r\n" % (len(picture), picture)
    head = b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(site, head + chunk).startswith("HTTP/1.1 200")


def test_a_body_in_small_chunks_is_a_body(site, picture):
    pieces = [picture[i : i + 10] for i in range(0, len(picture), 10)]
    padded = [b"%x;%b\r\n%b\r\n" % (len(p), b"x" * 500, p) for p in pieces]
    head = b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(site, head + b"".join(padded) + b"0\r\n\r\n").startswith("HTTP/1.1 200")


def test_a_body_in_crumbs_ends_the_connection_and_a_few_crumbs_do_not(site):
    head = b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    crumbs = b"".join(b"1\r\n%c\r\n" % byte for byte in JPEG)
    assert raw(site, head + crumbs + b"0\r\n\r\n").startswith("HTTP/1.1 200")
    with contextlib.suppress(ConnectionError):
        assert not raw(site, head + b"1\r\nx\r\n" * 6000)  # nor is it waited for more


def test_uvicorn_still_has_what_our_connections_stand_on():
    "Named one by one, so that a new uvicorn that breaks the server says with what."
    import uvicorn
    from uvicorn.protocols.http import httptools_impl

    def missing(owner, names):
        return [name for name in names if name not in inspect.signature(owner).parameters]

    protocol = httptools_impl.HttpToolsProtocol
    given = ("config", "server_state", "app_state", "_loop")
    assert not missing(protocol, given), "HttpToolsProtocol takes other arguments"
    assert not missing(uvicorn.Config, ("http", "ws", "lifespan")), "uvicorn.Config has changed"
    assert not missing(uvicorn.Server.shutdown, ("sockets",)), "Server.shutdown has changed"
    assert "self.servers" in inspect.getsource(uvicorn.Server.startup), "Server.servers is gone"
    assert "app_state.copy()" in inspect.getsource(protocol.on_message_begin), (
        "requests no longer carry the state that their connection was given"
    )


def test_a_server_answers_to_its_own_names_alone(models):
    with serving(create_app(models, hosts=["127.0.0.1", "::1", "localhost"])) as client:

        def named(*lines):
            return raw(
                client,
                b"".join(
                    [
                        b"GET /healthz/live HTTP/1.1\r\n",
                        *(b"Host: " + line + b"\r\n" for line in lines),
                        b"\r\n",
                    ]
                ),
            ).split()[1]

        for name in (b"127.0.0.1", b"LOCALHOST:80", b"[::1]", b"[::1]:8000"):
            assert named(name) == "200", name
        for names in (
            [b"evil"],
            [b"evil", b"localhost"],
            [b"localhost", b"evil"],
            [b"localhost:evil"],
            [b"localhost.evil"],
            [b"[localhost"],
            [b""],
            [],
        ):
            assert named(*names) == "421", names


def test_those_who_say_nothing_are_shown_out(models, picture, monkeypatch):
    monkeypatch.setattr("movie_tagger.serve.listen.Guarded.silence", 0.5)
    with serving(create_app(models)) as client:
        for beginning in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost:"):
            assert raw(client, beginning).startswith("HTTP/1.1 408") or beginning == b""
        alive(client, picture)


def test_of_a_crowd_that_asks_for_nothing_the_oldest_make_room(models, picture, monkeypatch):
    monkeypatch.setattr("movie_tagger.serve.listen.Guarded.most", 20)
    with serving(create_app(models)) as client:
        alive(client, picture)
        crowd = [
            socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)
            for _ in range(60)
        ]
        for _ in range(3):
            assert (
                httpx.get(
                    f"{client.base_url}/healthz/live", trust_env=False, timeout=20
                ).status_code
                == 200
            )
        assert all(c.recv(100).startswith(b"HTTP/1.1 408") for c in crowd[:40])
        for c in crowd:
            c.close()


def test_a_crowd_that_is_at_work_is_not_disturbed_and_the_next_is_refused(
    models, picture, monkeypatch
):
    monkeypatch.setattr("movie_tagger.serve.listen.Guarded.most", 20)
    with serving(create_app(models)) as client:
        head = (
            b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(picture)
        )
        crowd = [
            socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)
            for _ in range(20)
        ]
        for c in crowd:
            c.sendall(head)
            assert c.recv(100).startswith(b"HTTP/1.1 100")  # it is inside
        assert raw(client, b"").startswith("HTTP/1.1 429")
        for c in crowd:
            c.sendall(picture)
            assert c.recv(100).startswith(b"HTTP/1.1 200")
            c.close()


def test_who_hangs_up_leaves_nothing_behind(models, picture):
    app = create_app(models)
    with serving(app) as client:
        for k in range(50):
            with socket.create_connection((client.base_url.host, client.base_url.port)) as s:
                s.sendall(
                    (
                        b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
                        b"Content-Length: %d\r\n\r\n" % len(picture)
                    )
                    + picture[: None if k % 2 else 500]
                )
        alive(client, picture)
        hall = app.state.desk.tags_hall
        for _ in range(100):
            if (hall.seated, hall.slow, hall.held) == (0, 0, 0):
                break
            time.sleep(0.05)
        assert (hall.seated, hall.slow, hall.held) == (0, 0, 0)


def test_any_bytes_as_a_form_are_taken_apart_or_refused():
    from hypothesis import given, settings
    from hypothesis import strategies as st

    pieces = st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"--X\r\n",
                    b"--X--\r\n",
                    b"--X--",
                    b"\r\n",
                    b"\r\n\r\n",
                    b'Content-Disposition: form-data; name="still"; filename="a"',
                    b"--X",
                    b":",
                    b"-",
                ]
            ),
            st.binary(max_size=20),
        ),
        max_size=20,
    ).map(b"".join)

    @settings(max_examples=500, deadline=None)
    @given(pieces)
    def fuzz(body):
        try:
            parts = form_parts(body, b"X")
        except Problem as p:
            assert p.type == "bad-form"
        else:
            assert sum(len(p.data) for p in parts) <= len(body)

    fuzz()

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=60))
    def kinds(text):
        try:
            found = boundary("multipart/form-data; " + text.replace("\n", "").replace("\r", ""))
        except Problem as p:
            assert p.type == "bad-form"
        else:
            assert found is None or 1 <= len(found) <= 70

    kinds()


def test_changed_pictures_never_make_the_server_fail(site, picture):
    rng, seeds = random.Random(3), [JPEG, *TAKEN.values()]
    for k in range(150):
        data = bytearray(seeds[k % len(seeds)][:60_000])
        for _ in range(rng.randrange(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        assert tags(
            site, bytes(data[: rng.randrange(1, len(data) + 1)] if k % 3 == 0 else data)
        ).status_code in (200, 413, 415, 422)
    alive(site, picture)


def test_large_pictures_wait_for_each_other_and_nobody_waits_for_them():
    unpacked = threading.Event()

    class Model:
        batch = 4

        def is_large(self, data):
            return data[0] == "large"

        def read(self, data):
            assert data[0] != "large" or unpacked.wait(20)
            return data

        def answer(self, pictures):
            return pictures

    async def everybody():
        until = time.monotonic() + 60
        large = [asyncio.create_task(batcher.ask(("large", k), until)) for k in range(5)]
        await asyncio.sleep(0)
        small = [(await batcher.ask(("small", k), until)).value for k in range(9)]
        assert small == [("small", k) for k in range(9)]
        assert not any(task.done() for task in large)
        unpacked.set()
        assert [(await task).value for task in large] == [("large", k) for k in range(5)]

    batcher = Batcher(Model(), workers=2)
    asyncio.run(everybody())
    batcher.close()


def test_how_much_a_picture_unpacks_to_makes_it_large():
    looks = Looks(large=3 << 20)
    bomb = saved(Image.new("RGBA", (600, 600), (9, 9, 9, 9)), "WEBP", lossless=True)
    assert looks.is_large(bomb) and not looks.is_large(JPEG) and len(bomb) < len(JPEG)


def test_a_minute_of_everything_leaves_memory_and_files_as_they_were(
    models, tmp_path, picture, new_posters
):
    seconds = 60 if CI else 12
    good = [p.read_bytes() for p in new_posters.rglob("*.jpg")] + [
        draw_poster(tmp_path / f"{s}.jpg", "horror", s, (1600, 2400)).read_bytes() for s in range(3)
    ]
    bad = [d for d, _, _ in REFUSED.values()] + list(TAKEN.values())
    with process(tmp_path, bundle=models, ledger=tmp_path / "l.db", limits={"seats": 6}) as server:
        statuses, begun, stop = [], time.monotonic(), threading.Event()

        def visitor(seed):
            rng = random.Random(seed)
            with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
                while not stop.is_set():
                    what = rng.random()
                    if what < 0.5:
                        answer = tags(client, rng.choice(good))
                    elif what < 0.8:
                        answer = client.post(
                            "/v1/tags",
                            files=[
                                ("still", ("a.jpg", rng.choice(good + bad)))
                                for _ in range(rng.randrange(1, 4))
                            ],
                        )
                    elif what < 0.9:
                        answer = client.post(
                            "/v1/tags",
                            content=rng.choice(list(FORMS.values()))[0],
                            headers={"content-type": "multipart/form-data; boundary=X"},
                        )
                    else:
                        with socket.create_connection(
                            (client.base_url.host, client.base_url.port)
                        ) as s:
                            s.sendall(rng.choice(list(REQUESTS.values()))[0])
                        continue
                    statuses.append(answer.status_code)

        def measure():
            return psutil.Process(server.pid).memory_info().rss / 2**20, psutil.Process(
                server.pid
            ).num_fds()

        with ThreadPoolExecutor(10) as pool:
            for seed in range(10):
                pool.submit(visitor, seed)
            while time.monotonic() < begun + seconds * 0.4:
                time.sleep(0.1)
            middle, _ = measure()
            while time.monotonic() < begun + seconds:
                time.sleep(0.1)
            stop.set()
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            assert tags(client, picture).status_code == 200
            open_before = None
            for _ in range(100):
                end, open_now = measure()
                if open_now == open_before:
                    break
                open_before = open_now
                time.sleep(0.5)
    assert {200, 400, 415} <= set(statuses) <= {200, 400, 413, 415, 422, 429}, sorted(set(statuses))
    assert end < middle * 1.15 + 20, f"memory grew from {middle:.0f} to {end:.0f} MB"
    assert open_now < 60, f"{open_now} files are open"
