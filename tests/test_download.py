"Lists in all their disorder, and a web that fails in all its ways: every address accounted for."

import base64
import contextlib
import json
import os
import random
import signal
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

import pandas as pd
import pycurl
import pytest
from conftest import files, movie_tagger
from hypothesis import example, given, settings
from hypothesis import strategies as st
from web import GUARD, LICENCE, SIGNATURE, picture, serve

from movie_tagger import data, download, duplicates, images
from movie_tagger.core import MovieTaggerError
from movie_tagger.download import fetch, pictures
from movie_tagger.download.addresses import read_urls, search
from movie_tagger.download.fetch import Options, address, allowed, data_url, retry_after, unwanted
from movie_tagger.download.pictures import by_status, download_images, file_name, show

QUICK = dict(allow_private=True, backoff=0.01, patience=2, timeout=10)


@pytest.fixture(scope="module")
def web():
    with serve() as addresses:
        yield addresses


def hits(web, what="hits"):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return json.load(opener.open(f"{web.http}/{what}"))


def statuses(table):
    return dict(zip(table["url"], table["status"]))


# --- lists

URL = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\u200b\xa0\x85"
    ),
    min_size=1,
).map(lambda text: "https://example.org/" + text.strip(" \"'")) | st.integers(1, 9).map(
    lambda n: "https://example.org/?" + "x" * n * 1000
)


@given(
    st.lists(URL, min_size=1, max_size=20),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([".txt", ".csv"]),
    st.randoms(use_true_random=False),
    st.booleans(),
)
@example(
    ["https://example.org/" + "x" * 10_000 + "?sig=a,b;c"],
    "\r\n",
    "utf-8-sig",
    ".csv",
    random.Random(0),
    True,
)
@settings(deadline=None)
def test_a_list_of_lines_is_read_as_it_was_meant(
    tmp_path_factory, urls, end, encoding, suffix, rng, quoted
):
    path = tmp_path_factory.mktemp("list") / f"list{suffix}"
    lines = [
        rng.choice(["", " "])
        + (f'"{u}"' if quoted else u)
        + rng.choice(["", "  ", end, end + "  "])
        for u in urls
    ]
    path.write_bytes((end.join(lines) + rng.choice(["", end])).encode(encoding))
    assert list(read_urls(path)["url"]) == [u.strip() for u in urls]
    assert set(read_urls(path)["label"]) == {""}


@given(
    st.lists(
        st.tuples(URL, st.sampled_from(["horror", "sci-fi & fantasy", "Liebe", "愛", ""])),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(deadline=None)
def test_a_table_is_read_as_it_was_meant(tmp_path_factory, rows, comma, encoding):
    path = tmp_path_factory.mktemp("list") / "table.csv"
    table = pd.DataFrame(rows, columns=["URL", "Label"])
    table.assign(title='a, b; "c"').to_csv(path, index=False, sep=comma, encoding=encoding)
    read = read_urls(path)
    assert list(read["url"]) == list(table["URL"].str.strip(" ")) and list(read["label"]) == list(
        table["Label"]
    )
    pd.testing.assert_frame_equal(read_urls(table), read)


def test_old_encodings_and_class_files(tmp_path):
    (tmp_path / "urls_film noir.csv").write_bytes("https://example.org/café.jpg".encode("cp1252"))
    (tmp_path / "urls_horror.txt").write_text("https://example.org/1.jpg\n")
    (tmp_path / "urls_x.csv").write_text(
        "url,label\nhttps://example.org/2.jpg,\nhttps://example.org/3.jpg,given\n"
    )
    read = read_urls(sorted(tmp_path.iterdir()))
    assert read.to_numpy().tolist() == [
        ["https://example.org/café.jpg", "film noir"],
        ["https://example.org/1.jpg", "horror"],
        ["https://example.org/2.jpg", "x"],
        ["https://example.org/3.jpg", "given"],
    ]
    assert read_urls(str(tmp_path / "urls_horror.txt"))["label"].tolist() == ["horror"]
    assert read_urls("https://example.org/a.jpg").to_numpy().tolist() == [
        ["https://example.org/a.jpg", ""]
    ]


A = "http://example.org/"
LISTS = {  # content -> its addresses and labels
    f"url\tlabel\n{A}1.jpg\thorror\n": [("1.jpg", "horror")],
    f"{A}1.jpg\thorror\n{A}2.jpg\n": [("1.jpg", "horror"), ("2.jpg", "")],
    f"url\n{A}a_CR0,0,182_AL_.jpg\n": [("a_CR0,0,182_AL_.jpg", "")],
    f"{A}a;b,c\n{A}d\n": [("a;b,c", ""), ("d", "")],
    f"url ; label\n{A}1.jpg ; film noir\n": [("1.jpg", "film noir")],
    f"sep=;\nURL;Label\n{A}1.jpg;a\n": [("1.jpg", "a")],
    f"{A}?w=2&amp;amp;h=3&#38;x=caf&eacute;\n": [("?w=2&h=3&x=café", "")],
    f"horror,{A}1.jpg\nromance,{A}2.jpg\n": [("1.jpg", "horror"), ("2.jpg", "romance")],
    f"{A}1.jpg, horror\n{A}2.jpg film noir\n": [("1.jpg", "horror"), ("2.jpg", "film noir")],
    f"{A}my poster.jpg\n{A}a.jpg?t=a b,c\n": [("my poster.jpg", ""), ("a.jpg?t=a b,c", "")],
    f"{A}1.jpg, {A}2.jpg {A}3.jpg": [("1.jpg", ""), ("2.jpg", ""), ("3.jpg", "")],
    f"{A}proxy/{A}1.jpg?u={A}": [(f"proxy/{A}1.jpg?u={A}", "")],
    f"1. <{A}1.jpg>\n- [x]({A}a_(1).jpg)\n": [("1.jpg", ""), ("a_(1).jpg", "")],
    f"[img]{A}1.jpg[/img]\n“{A}2.jpg”\n'{A}3.jpg',\n": [
        ("1.jpg", ""),
        ("2.jpg", ""),
        ("3.jpg", ""),
    ],
    f"| poster | {A}1.jpg |\n| x | {A}2.jpg |\n": [("1.jpg", "poster"), ("2.jpg", "x")],
    f"url,label\n,horror\n{A}1.jpg,x\n,\n": [(None, "horror"), ("1.jpg", "x")],
    f'title,url\n"Dust\nRoad",{A}1.jpg\n': [("1.jpg", "")],
    f"url,filename\n{A}p?id=1,a.jpg\n": [("p?id=1", "")],
    f"url,title,source\n{A}1.jpg,a,{A}page\n": [("1.jpg", "")],
    f"#\turl\tlabel\n1\t{A}1.jpg\ta\n": [("1.jpg", "a")],
}


@pytest.mark.parametrize("text", LISTS)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
@pytest.mark.parametrize(
    "end, encoding", [("\n", "utf-8"), ("\r", "utf-16"), ("\r\n", "utf-16-le")]
)
def test_what_separates_and_what_stands_around(tmp_path, text, suffix, end, encoding):
    path = tmp_path / f"list{suffix}"
    path.write_bytes(text.replace("\n", end).encode(encoding))
    expected = [(A + url if url is not None else "", label) for url, label in LISTS[text]]
    assert [*read_urls(path).itertuples(index=False, name=None)] == expected


@pytest.mark.parametrize(
    "text, options, took",
    [
        (f"image_url,label\n{A}1.jpg,horror\n", {}, "'image_url' for the addresses, 'label'"),
        (f"Title;Poster_Link;Genre\nx;{A}1.jpg;horror\n", {}, "'Poster_Link' for .*, 'Genre'"),
        (f"bild;art\n{A}1.jpg;horror\n", {"label_column": "Art"}, None),
        (f"bild\tgattung\n{A}1.jpg\thorror\n", {"label_column": "2"}, None),
        (f"url,image,genre\n{A}p,{A}1.jpg,horror\n", {"column": "image"}, "'image' for"),
        (f"{A}p\t{A}1.jpg\thorror\n", {"column": "2"}, None),
        (f"# mine\n{A}1.jpg\thorror\n", {}, "passed over 1 comment"),
    ],
)
def test_a_column_is_found_or_chosen(tmp_path, text, options, took):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.warns(UserWarning, match=took) if took else contextlib.nullcontext():
        read = read_urls(path, **options)
    assert read.to_numpy().tolist() == [[f"{A}1.jpg", "horror"]]


def test_a_remark_behind_an_address_is_none_of_it(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"{A}1.jpg # the poster\n{A}2.jpg#top\n{A}a # b.jpg\n")
    assert download.read_urls(path)["url"].tolist() == [f"{A}1.jpg", f"{A}2.jpg#top", f"{A}a"]


@pytest.mark.parametrize(
    "content, says",
    [
        (f"url,label\n{A}a_CR0,0,1_.jpg,horror\n", "expected 2 in line 2, saw 4.*put quotes"),
        (f"url,label\n{A}1.jpg,a\n{A}a_CR0,0_.jpg\n", "line 3, '0_.jpg' looks like the rest"),
        (f"url,image_url\n{A}p,{A}1.jpg\n", "'url' .*'image_url' .*--column url"),
        (f"title,one,two\nx,{A}p,{A}1.jpg\n", "2 columns of addresses, 'one' .*'two' .*--column"),
        (f"{A}1.jpg,{A}2.jpg\n{A}3.jpg,{A}4.jpg\n", "2 addresses in each line"),
        (f"genre,class,url\na,b,{A}1.jpg\n", "'genre', 'class': choose with --label-column"),
        ("image,label\n1.jpg,horror\n", "needs a column `url`.* it has 'image', 'label'"),
        (f"bild,art\n{A}p?id=1,horror\n", "is a header.*--column bild"),
        (f'title,url\n"Dust,{A}1.jpg\nx,{A}2.jpg\n', "in line 2 is a quote too few"),
        (f'title,url\n"Dust,{A}1.jpg\nx",{A}2.jpg\n', "in line 2 is a quote too few"),
        ("www.example.org/1.jpg\n", "no address that begins .*Put https:// before each"),
        ("hello\n" * 1000, "1,000 rows such as 'hello', 'hello', 'hello'"),
        ('["http://example.org/1.jpg"]', "is JSON"),
        ('{"url": "http://example.org/1.jpg"}\n' * 2, "is JSON"),
        ("\n<!DOCTYPE html><p>", "is a web page"),
        (b"PK\x03\x04" + bytes(99), "is an Excel workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(99), "is an Excel workbook"),
        (picture(1), "is a picture"),
        ("-- MySQL dump 10.13\n", "is an SQL dump"),
        (b"{\\rtf1 http://example.org/1.jpg}", "is rich text"),
        ("&" + "amp;" * 100_000, "no address"),
        ("(" * 100_000 + ")" * 100_000, "no address"),
        ("[" * 100_000 + "](" * 100, "is JSON"),
    ],
)
def test_what_is_no_list_or_could_be_read_in_two_ways(tmp_path, content, says):
    path = tmp_path / "list.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(MovieTaggerError, match=says) as e:
        read_urls(path)
    assert len(str(e.value)) < 1000 and str(path) in str(e.value)


def test_a_column_that_is_not_there(tmp_path):
    (tmp_path / "list.csv").write_text(f"url,label\n{A}1.jpg,a\n")
    (tmp_path / "list.txt").write_text(f"{A}1.jpg\n")
    with pytest.raises(MovieTaggerError, match="no column 'x' for --column; there are 'url'"):
        read_urls(tmp_path / "list.csv", column="x")
    with pytest.raises(MovieTaggerError, match="no column 'x'.*an address a line"):
        read_urls(tmp_path / "list.txt", column="x")
    assert read_urls(tmp_path / "list.csv", label_column="")["label"].tolist() == [""]


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda p: p / "nowhere.txt", "No such file"),
        (lambda p: p, "Is a directory"),
        (lambda p: [], "no addresses"),
        (lambda p: pd.DataFrame({"address": ["x"]}), "needs a column `url`"),
        (lambda p: "", "no addresses|Cannot read"),
        (
            lambda p: pd.DataFrame({"url": ["https://example.org"], "label": ["a/b"]}),
            "cannot be the name of a folder",
        ),
        (
            lambda p: pd.DataFrame({"url": ["https://example.org"], "label": [".."]}),
            "cannot be the name of a folder",
        ),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, make, says):
    with pytest.raises(MovieTaggerError, match=says):
        download_images(make(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(st.text(max_size=300))
@example("https://[::1")
@example("https://user:pa ss@exa mple.org:99999/\\..\\..\\x")
@example("http://example.org:80\n/x")
@settings(deadline=None)
def test_any_text_is_an_address_or_none(text):
    found = address("https://example.org/" + text)
    assert (
        found[0] == "example.org" and found[1].isascii() and not set(found[1]) & set(' "<>\\^`{}\n')
    )
    for url in (text, "http://" + text, "data:image/" + text):
        data_url(url)
        address(url)


@given(
    st.text(max_size=300).map(lambda s: s.encode("utf-8", "replace").decode()),
    st.sampled_from(sorted(download.EXTENSION)),
)
@example("https://example.org/" + "ä" * 10_000, "JPEG")
@example("https://example.org/../../etc/passwd", "PNG")
def test_names_are_safe_and_stable(url, format):
    for u in (url, "https://example.org/" + url, "data:image/png," + url):
        name = file_name(u, format)
        assert name == file_name(u, format) != file_name(u + "x", format)
        assert (
            Path(name).name == name
            and not name.startswith(".")
            and len(name.encode()) < 255
            and ".." not in name
        )


def test_odd_lists_get_a_row_an_entry(web, tmp_path):
    urls = [
        f"{web.http}/ok/1.jpg",
        "hello",
        f" {web.http}/ok/1.jpg ",
        "",
        "javascript:alert(1)",
        f"{web.http}/ok/{'a' * 3000}/2.jpg?{'q' * 7000}",
        f"{web.http}/ok/ä ö/3.jpg",
        "\ud800",
        f"HTTP{web.http[4:]}/ok/4.jpg#top",
        "ftp://example.org/x.jpg",
    ]
    table = download_images(urls, tmp_path, **QUICK)
    assert table["status"].tolist() == [
        "ok",
        "refused",
        "duplicate",
        "refused",
        "ok",
        "ok",
        "refused",
        "ok",
        "refused",
    ]
    assert table["duplicate_of"].tolist()[2] == table["file"][0]
    assert len([f for f in files(tmp_path) if f.endswith(".jpg")]) == 4


# --- what a server may do

WAYS = {  # path -> status, HTTP status
    "ok/{}.jpg": ("ok", 200),
    "png/{}.jpg": ("ok", 200),
    "gzip/{}.jpg": ("ok", 200),
    "licence/{}.jpg": ("ok", 200),
    f"signed/{{}}.jpg?{SIGNATURE}": ("ok", 200),
    "flaky/reset/1/{}.jpg": ("ok", 200),
    "flaky/429/1/{}.jpg": ("ok", 200),
    "flaky/500/2/{}.jpg": ("ok", 200),
    "flaky/long/1/{}.jpg": ("ok", 200),
    "status/404/{}.jpg": ("gone", 404),
    "status/410/{}.jpg": ("gone", 410),
    "status/403/{}.jpg": ("refused", 403),
    "signed/{}.jpg?sig=no": ("refused", 403),
    "noai/{}.jpg": ("refused", 200),
    "status/500/{}.jpg": ("failed", 500),
    "status/418/{}.jpg": ("failed", 418),
    "status/429/{}.jpg": ("failed", 429),
    "status/429/{}.jpg?retry_after=99999": ("failed", 429),
    "status/204/{}.jpg": ("failed", 204),
    "loop/{}.jpg": ("failed", 302),
    "to/{}?/status/404/1.jpg": ("gone", 404),
    "to/{}?/ok/9{}.jpg": ("ok", 200),
    "to/{}?http://169.254.169.254/latest": ("refused", 302),
    "to/{}?file:///etc/passwd": ("refused", 302),
    "reset/{}.jpg": ("failed", 200),
    "long/{}.jpg": ("failed", 200),
    "short/{}.jpg": ("not an image", 200),
    "html/{}.jpg": ("not an image", 200),
    "cut/{}.jpg": ("not an image", 200),
    "empty/{}.jpg": ("not an image", 200),
    "tiny/{}.gif": ("too small", 200),
    "bomb/{}.png": ("too large", 200),
    "gzip_bomb/{}.png": ("too large", 200),
    "endless/{}.jpg": ("too large", 200),
    "silent/{}.jpg": ("timed out", 0),
    "drip/{}.jpg": ("timed out", 200),
}


def test_every_way_to_fail_at_once(tmp_path):
    with serve() as web:
        expected = {
            f"{web.http}/{way.format(n, n)}": ends
            for n in range(100, 108)
            for way, ends in WAYS.items()
        }
        for n in range(4):
            expected |= {
                f"{web.https}/ok/5{n}.jpg": ("ok", 200),
                f"{web.untrusted}/ok/{n}.jpg": ("failed", 0),
                f"{web.closed}/{n}.jpg": ("failed", 0),
                f"http://no-such-host-{n}.invalid/x.jpg": ("failed", 0),
                f"{web.other}/ok/{n}.jpg": ("refused", 0),
            }
            if web.ipv6:
                expected[f"{web.ipv6}/ok/6{n}.jpg"] = ("ok", 200)
        assert len(expected) > 300
        urls = random.Random(0).sample(sorted(expected), len(expected))
        options = Options(
            **QUICK | dict(timeout=4, allow_private=("127.0.0.1/32", "::1/128")),
            ca_file=web.ca,
            per_host=48,
            retries=2,
            max_bytes=1_000_000,
        )
        table = download_images(urls, tmp_path, **options.__dict__)
    got = {
        r.url: (r.status if r.status != "duplicate" else "ok", 0 if pd.isna(r.http) else r.http)
        for r in table.itertuples()
    }
    assert {u: (got[u], e) for u, e in expected.items() if got[u] != e} == {}
    assert table["url"].tolist() == urls
    there = table.loc[table["file"].ne("")]
    assert sorted(["downloads.csv", *there["file"]]) == files(tmp_path)
    for row in there.itertuples():
        assert images.open_image(tmp_path / row.file).size == (row.width, row.height)
    assert (
        table.loc[table["file"].eq("") & ~table["status"].isin(download.WITHOUT)].empty
        and table.loc[table["file"].eq(""), "note"].ne("").all()
    )
    assert (
        set(there.loc[there["url"].str.contains("/png/"), "format"]) == {"PNG"}
        and there.loc[there["format"].eq("PNG"), "file"].str.endswith(".png").all()
    )
    assert set(there.loc[there["url"].str.contains("/licence/"), "licence"]) == {LICENCE}
    pd.testing.assert_frame_equal(table, download_images(urls, tmp_path, allow_private=True))


def answer(status="200 OK", *headers, body=None, version="1.1", length=True):
    "An answer as it goes over the wire."
    body = picture(1) if body is None else body
    return (
        "\r\n".join(
            [
                f"HTTP/{version} {status}",
                "Connection: close",
                *headers,
                *([f"Content-Length: {len(body)}"] if length else []),
                "",
                "",
            ]
        ).encode()
        + body
    )


CHUNKS = (
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n" % len(picture(1))
    + picture(1)
)
ODD = {  # path -> what comes back, status, part of the note
    "br": (answer("200 OK", "Content-Encoding: br"), "ok", ""),
    "gzip": (answer("200 OK", "Content-Encoding: gzip"), "ok", ""),
    "encoding": (answer("200 OK", "Content-Encoding: image/jpeg"), "ok", ""),
    "raw deflate": (
        answer("200 OK", "Content-Encoding: deflate", body=zlib.compress(picture(1))[2:-4]),
        "ok",
        "",
    ),
    "chunked cut": (CHUNKS[:-300], "failed", "broke before the end"),
    "chunked without end": (CHUNKS + b"\r\n", "failed", "broke before the end"),
    "chunked badly": (
        CHUNKS.replace(b"\r\n\r\n", b"\r\n\r\nzz", 1),
        "failed",
        "broke before the end",
    ),
    **{
        code: (answer(f"{code} Odd", body=b""), "failed", f"HTTP {code}")
        for code in ("204", "206", "300", "302", "304", "999")
    },
    "relative": (answer("302 Found", "Location: picture?x=1#y", body=b""), "ok", ""),
    "absolute": (answer("302 Found", "Location: /café picture", body=b""), "ok", ""),
    "data": (
        answer("302 Found", "Location: data:image/png;base64,AAAA", body=b""),
        "refused",
        "something else than http or https",
    ),
    "bad host": (
        answer("302 Found", "Location: http://exa mple/x", body=b""),
        "failed",
        "redirect",
    ),
    "bad port": (
        answer("302 Found", "Location: http://127.0.0.1:99999/x", body=b""),
        "failed",
        "redirect",
    ),
    "cookie": (
        answer("302 Found", "Set-Cookie: seen=yes; path=/", "Location: /with cookie", body=b""),
        "ok",
        "",
    ),
    "with cookie": (answer("403 No"), "refused", "HTTP 403"),
    "1.0": (answer(version="1.0", length=False), "ok", ""),
    "0.9": (picture(1), "failed", "does not speak HTTP"),
    "garbage": (bytes(300), "failed", "does not speak HTTP"),
    "many headers": (answer("200 OK", *["X-Y: z"] * 100_000), "failed", "headers"),
    "a long header": (answer("200 OK", "X: " + "y" * 2_000_000), "failed", "headers are too large"),
    "hints": (b"HTTP/1.1 103 Early Hints\r\nX-Robots-Tag: noai\r\n\r\n" + answer(), "ok", ""),
    "upgrade": (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", "failed", "broke"),
    "folded": (answer("200 OK", "X-Robots-Tag: all,\r\n noai"), "refused", "noai"),
    "two lengths": (answer("200 OK", "Content-Length: 5"), "failed", "Content-Length"),
    "heic": (
        answer(body=b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)),
        "not an image",
        "HEIC",
    ),
    "svg": (answer(body=b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not an image", "SVG"),
    "../../etc/passwd": (answer(), "ok", ""),
    "NUL": (answer(), "ok", ""),
    "x" * 300: (answer(), "ok", ""),
    "\0\n": (answer(), "ok", ""),
    "a.JPG": (answer(), "ok", ""),
    "A.jpg": (answer(), "ok", ""),
}
NOT_THERE = {
    "http://127.0.0.1:0/": "cannot be reached",
    "http://127.0.0.1:65536/": "Port number",
    "http://[::1": "no address",
    "http://münchen。invalid/x": "not known",
    "http://user:pass@/": "no address",
}


class OddServer(socketserver.StreamRequestHandler):
    def handle(self):
        path = urllib.parse.unquote(self.rfile.readline().split()[1].decode()[1:])
        headers = list(iter(lambda: self.rfile.readline().strip(), b""))
        if path == "with cookie" and b"Cookie: seen=yes" in headers:
            path = ""
        with contextlib.suppress(ConnectionError):
            self.wfile.write(ODD.get(path, (answer(),))[0])


def test_answers_that_nobody_expects(tmp_path):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OddServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        start = f"http://127.0.0.1:{server.server_address[1]}/"
        urls = {start + urllib.parse.quote(path, safe=""): ends[1:] for path, ends in ODD.items()}
        table = download_images([*urls, *NOT_THERE], tmp_path, **QUICK | dict(retries=1)).set_index(
            "url"
        )
        server.shutdown()
    for url, (status, note) in (
        urls | {url: (None, note) for url, note in NOT_THERE.items()}
    ).items():
        row = table.loc[url]
        assert (row["status"] if row["status"] != "duplicate" else "ok") in (
            [status] if status else ["failed", "refused"]
        ) and note in row["note"], (url, row.to_dict())
    names = table["file"][table["file"].ne("")]
    assert (
        names.str.lower().is_unique
        and names.str.fullmatch(r"127[\w.-]{0,120}\.jpg").all()
        and sorted(["downloads.csv", *names]) == files(tmp_path)
    )


def test_what_may_go_better_the_next_time_is_recovered(tmp_path):
    kinds = ["reset", "500", "503", "429", "long", "408"]
    with serve() as web:
        urls = [
            f"{web.http}/flaky/{kinds[n // 20 % 6]}/{1 + n // 20 % 2}/{n}.jpg"
            if n % 20 == 0
            else f"{web.http}/ok/{n}.jpg"
            for n in range(600)
        ]
        table = download_images(urls, tmp_path, **QUICK)
        assert set(table["status"]) == {"ok"} and len(files(tmp_path)) == 601
        assert table["tries"].gt(1).sum() == 30
        assert sum(hits(web)["asked"].values()) == 600 + 30 + 15 + 1


def test_a_rest_that_is_asked_for_is_given():
    assert (
        retry_after({"retry-after": "7"}) == 7
        and retry_after({"retry-after": "soon"}) is None
        and retry_after({}) is None
    )
    assert (
        3500
        < retry_after(
            {
                "retry-after": time.strftime(
                    "%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600)
                )
            }
        )
        <= 3600
    )
    options = Options(per_host=2)
    queue = fetch._Queue(
        [fetch.Answer(k, "", "a") for k in range(3)] + [fetch.Answer(3, "", "b")],
        Options(per_host=2),
    )
    now = time.monotonic()
    first, other = queue.take(now), queue.take(now)
    assert {first.host, other.host} == {"a", "b"}
    first.tries = 1
    first.http = 429
    first.head = {"retry-after": "30"}
    pause = fetch._pause(first, options)
    assert 30 <= pause <= 31
    queue.done(first, pause, rest=True)
    assert queue.take(now + 29) is None and queue.next_at() >= now + 30
    assert (
        queue.take(now + 40) is first
        and queue.take(now + 40).row in (1, 2)
        and queue.take(now + 40) is None
    )
    first.tries, first.head = 1, {"retry-after": "3600"}
    assert fetch._pause(first, options) is None and "3600 s" in first.note
    first.tries, first.head = 3, {}
    assert 2 <= fetch._pause(first, options) <= 6


def test_a_try_that_stalls_ends_early(web, tmp_path):
    table = download_images(
        [f"{web.http}/silent/1.jpg", f"{web.http}/drip/2.jpg", f"{web.http}/ok/3.jpg"],
        tmp_path,
        **QUICK | dict(timeout=600, stall=1, retries=0),
    )
    assert table["status"].tolist() == ["timed out", "timed out", "ok"]


def test_a_dead_host_costs_one_try_each_once_it_is_known(web, tmp_path):
    table = download_images(
        [f"{web.closed}/{n}.jpg" for n in range(40)], tmp_path, **QUICK | dict(per_host=1)
    )
    assert set(table["status"]) == {"failed"} and table["tries"].sum() < 60


def test_limits_of_connections_and_rate_hold(tmp_path):
    with serve(latency=0.01) as web:
        download_images(
            [f"{web.http}/ok/{n}.jpg" for n in range(60)],
            tmp_path / "a",
            **QUICK | dict(per_host=3),
        )
        assert hits(web)["most"] == 3
    queue, now = fetch._Queue([fetch.Answer(k, "", "a") for k in range(5)], Options(rate=2)), 100.0
    assert [queue.take(now + t) is not None for t in (0, 0.1, 0.4, 0.5, 0.9, 1.1)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{}/ok/1.jpg",
        "http://localhost:{}/ok/1.jpg",
        "http://2130706433:{}/ok/1.jpg",
        "http://0x7f.1:{}/ok/1.jpg",
        "http://127.1:{}/ok/1.jpg",
        "http://[::ffff:127.0.0.1]:{}/ok/1.jpg",
        "http://0.0.0.0:{}/ok/1.jpg",
        "http://[::1]:{}/ok/1.jpg",
        "http://example.org@127.0.0.1:{}/ok/1.jpg",
        "http://10.0.0.1:{}/x",
        "http://192.168.0.1:{}/x",
        "http://[fe80::1]:{}/x",
    ],
)
def test_private_addresses_are_refused_however_they_are_written(web, tmp_path, url):
    before = hits(web)["asked"]
    row = download_images([url.format(web.http.rpartition(":")[2])], tmp_path, retries=0).iloc[0]
    assert row["status"] == "refused" and "private address" in row["note"] and row["file"] == ""
    after = hits(web)["asked"]
    assert {k: v for k, v in after.items() if k != "/hits"} == {
        k: v for k, v in before.items() if k != "/hits"
    }


@pytest.mark.parametrize(
    "ip, ok",
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("224.0.0.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("fc00::1", False),
        ("fe80::1%eth0", False),
        ("::", False),
        ("hello", False),
    ],
)
def test_which_addresses_are_public(ip, ok):
    assert allowed(ip) == ok


def test_a_name_that_changes_where_it_points_is_caught(web, tmp_path, monkeypatch):
    port, turns = web.http.rpartition(":")[2], iter(["127.0.0.1", "127.0.0.2"])
    ask = fetch._Line.ask

    def rebound(line, answer):
        line.curl.setopt(
            pycurl.RESOLVE,
            [f"-rebind.example.org:{port}", f"rebind.example.org:{port}:{next(turns)}"],
        )
        ask(line, answer)

    monkeypatch.setattr(fetch._Line, "ask", rebound)
    # the first ends its connection
    urls = [
        f"http://rebind.example.org:{port}/long/1.jpg",
        f"http://rebind.example.org:{port}/ok/2.jpg",
    ]
    table = download_images(urls, tmp_path, allow_private=["127.0.0.1/32"], per_host=1, retries=0)
    assert (
        table["status"].tolist() == ["failed", "refused"]
        and table["http"].tolist()[0] == 200
        and "127.0.0.2" in table["note"][1]
    )


def test_proxies_of_the_environment_are_not_used(web, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, web.closed)
    assert download_images([f"{web.http}/ok/1.jpg"], tmp_path, **QUICK)["status"].tolist() == ["ok"]


@pytest.mark.parametrize(
    "value, said",
    [
        ("noai", "noai"),
        ("NOAI, noimageai", "noai"),
        ("noindex", "noindex"),
        ("otherbot: noai", ""),
        ("movie_tagger: noimageai", "noimageai"),
        ("nofollow, max-snippet: 0", ""),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noai", "noai"),
        ("otherbot: noai, noindex", ""),
        ("all", ""),
    ],
)
def test_what_owners_say(value, said):
    assert unwanted({"x-robots-tag": value}).removeprefix("X-Robots-Tag: ") == said


def test_what_owners_do_not_want_can_be_taken_on_request(web, tmp_path):
    urls = [f"{web.http}/noai/1.jpg"]
    assert download_images(urls, tmp_path, **QUICK)["note"].tolist() == [
        "X-Robots-Tag: noai; --ignore-robots takes it anyway"
    ]
    assert download_images(urls, tmp_path, **QUICK)["status"].tolist() == ["refused"]
    assert download_images(urls, tmp_path, **QUICK, ignore_robots=True, retry_failed=True)[
        "status"
    ].tolist() == ["ok"]


# --- what only the hosts of the list may know

PRIVATE = dict(
    referer="https://example.org/",
    user_agent="curator/1",
    headers={"X-Key": "secret", "Authorization": "Bearer secret", "Cookie": "id=secret"},
)


def is_known(headers):
    "All of what was given, or nothing of it?"
    told = [
        headers.get("referer") == PRIVATE["referer"],
        headers["user-agent"] == PRIVATE["user_agent"],
        *(headers.get(name.lower()) == value for name, value in PRIVATE["headers"].items()),
    ]
    nothing = not {"referer", "x-key", "authorization", "cookie"} & {*headers}
    assert all(told) or nothing and headers["user-agent"].startswith("movie_tagger/"), headers
    return all(told)


def test_a_server_that_asks_for_a_referer_and_a_key(web, tmp_path):
    urls = [f"{web.http}/guarded/{n}.jpg" for n in range(20)]
    assert set(download_images(urls, tmp_path / "a", **QUICK)["note"]) == {"HTTP 403"}
    table = download_images(urls, tmp_path / "b", **QUICK | PRIVATE)
    assert set(table["status"]) == {"ok"} and set(table["tries"]) == {1}
    assert hits(web, "seen")["/guarded/3.jpg"]["accept"] == "image/*,*/*;q=0.5"
    assert "secret" not in (tmp_path / "b" / "downloads.csv").read_text()
    assert "secret" not in repr(Options(**PRIVATE))


def test_what_was_given_stays_with_the_host_it_was_given_for(web, tmp_path):
    name = web.http.replace("127.0.0.1", "localhost")
    ways = {  # a redirect -> where it ends, and is it the same host and port?
        f"{web.http}/to/?/ok/500.jpg": ("/ok/500.jpg", True),
        f"{web.http}/to/?/to/1%3F{web.http}/ok/501.jpg": ("/ok/501.jpg", True),
        f"{web.http}/to/?{web.other}/ok/502.jpg": ("/ok/502.jpg", False),
        f"{web.http}/to/?{name}/ok/503.jpg": ("/ok/503.jpg", False),
        f"{web.http}/to/?{web.https}/ok/504.jpg": ("/ok/504.jpg", False),
        f"{web.https}/to/?{web.http}/ok/505.jpg": ("/ok/505.jpg", False),
        f"{web.other}/to/?{web.http}/to/?{web.other}/ok/506.jpg": ("/ok/506.jpg", False),
        f"{web.http}/to/?//{web.other[7:]}/ok/507.jpg": ("/ok/507.jpg", False),
        f"{web.http}/to/?{web.http.replace('://', '://a:b@')}/ok/508.jpg": ("/ok/508.jpg", True),
        f"{web.http}/ok/509.jpg": ("/ok/509.jpg", True),
    }
    options = QUICK | PRIVATE | dict(connections=1, ca_file=web.ca)
    table = download_images(ways, tmp_path, **options)
    assert set(table["status"]) == {"ok"} and [*table["url"]] == [*ways]
    seen = hits(web, "seen")
    for path, known in ways.values():
        assert is_known(seen[path]) == known, path


def test_redirects_with_something_private_end_as_all_others_do(web, tmp_path):
    ways = {
        f"{web.http}/loop/1.jpg": ("failed", "redirects without end"),
        f"{web.http}/to/1?{web.other}/loop/2.jpg": ("failed", "redirects without end"),
        f"{web.http}/to/2?file:///etc/passwd": ("refused", "something else than http"),
        f"{web.http}/to/3?http://169.254.169.254/latest": ("refused", "private address"),
        f"{web.http}/to/4?/status/404/1.jpg": ("gone", "HTTP 404"),
        f"{web.http}/to/5?/silent/1.jpg": ("timed out", "no whole answer"),
        f"{web.http}/to/6?/flaky/500/1/600.jpg": ("ok", ""),
        f"{web.http}/to/7?": ("failed", "HTTP 302"),
    }
    private = ("127.0.0.0/8",)
    options = QUICK | PRIVATE | dict(timeout=2, retries=1, allow_private=private)
    table = download_images(ways, tmp_path, **options).set_index("url")
    for url, (status, note) in ways.items():
        assert table["status"][url] == status and note in table["note"][url], url
    assert table["seconds"].max() < 10


@pytest.mark.parametrize(
    "options",
    [
        {"headers": ["X-Key: secret\r\nHost: evil.example"]},
        {"headers": {"X-Key": "secret\nX: y"}},
        {"headers": {"X-Key\r\nX": "secret"}},
        {"headers": ["secret"]},
        {"headers": [": secret"]},
        {"headers": ["X Key: secret"]},
        {"headers": ["Host: secret"]},
        {"headers": "Content-Length: secret"},
        {"headers": [b"X-Key: secret"]},
        {"headers": ["X-Key: secret\0"]},
        {"referer": "secret"},
        {"referer": "https://example.org/\r\nX: secret"},
        {"user_agent": "me\nX: secret"},
        {"user_agent": None},
    ],
)
def test_headers_that_are_none_are_refused_without_a_word_of_what_is_in_them(options):
    with pytest.raises(MovieTaggerError) as e:
        Options(**options)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize(
    "headers, sent",
    [
        ("X-Key:a:b", {"x-key": "a:b"}),
        (["X-Key: café"], {"x-key": "café"}),
        (["X-Empty:"], {"x-empty": ""}),
        (["Accept: text/plain"], {"accept": "text/plain"}),
        (["User-Agent: me", "Referer: https://example.org/x"], {"user-agent": "me"}),
    ],
)
def test_headers_as_people_write_them(web, tmp_path, headers, sent):
    url = f"{web.http}/ok/7.jpg"
    assert download_images([url], tmp_path, **QUICK, headers=headers)["status"].tolist() == ["ok"]
    assert sent.items() <= hits(web, "seen")["/ok/7.jpg"].items()


@pytest.mark.parametrize(
    "name, asked",
    [
        ("straße.example", "xn--strae-oqa.example"),
        ("Straße.EXAMPLE", "xn--strae-oqa.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("ｅｘａｍｐｌｅ.org", "example.org"),
        ("i❤.example", "xn--i-7iq.example"),
        ("bü_x.example", "xn--b_x-hoa.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("bücher.example:8080", "xn--bcher-kva.example:8080"),
    ],
)
def test_names_of_hosts_in_all_letters(name, asked):
    assert address(f"https://{name}/ä.jpg")[1] == f"https://{asked}/%C3%A4.jpg"


def test_data_addresses(tmp_path):
    urls = ["data:image/jpeg;base64," + base64.b64encode(picture(n)).decode() for n in (1, 2)] + [
        "data:image/png;base64,!!!",
        "data:text/html,<h1>x</h1>",
    ]
    table = download_images(urls, tmp_path)
    assert (
        table["status"].tolist() == ["ok", "ok", "not an image", "refused"]
        and table["url"].tolist() == urls
    )
    assert [(tmp_path / f).read_bytes() for f in table["file"][:2]] == [picture(1), picture(2)]


# --- the folder, over several runs


def test_the_folder_is_what_training_reads(web, tmp_path):
    frame = pd.DataFrame(
        {
            "url": [f"{web.http}/ok/{n}.jpg" for n in range(9)],
            "label": ["horror", "all", "sci-fi"] * 3,
        }
    )
    table = download_images(frame, tmp_path, **QUICK)
    items, labels = data.read(tmp_path)
    assert sorted(items.index) == sorted(table["file"]) and labels.sum().to_dict() == {
        "all": 3,
        "horror": 3,
        "sci-fi": 3,
    }
    assert [f"{duplicates.phash(tmp_path / f):016x}" for f in table["file"]] == table[
        "phash"
    ].tolist()
    assert by_status(tmp_path).iloc[-1].to_dict() == {"ok": 9, "all": 9}
    assert show(tmp_path, n=6, columns=3).size[0] > 300


def test_duplicates_are_told_and_stay(web, tmp_path):
    frame = pd.DataFrame(
        {
            "url": [
                f"{web.http}/ok/1.jpg",
                f"{web.http}/ok/1.jpg",
                f"{web.http}/ok/1.jpg?again",
                f"{web.http}/png/1.jpg",
                f"{web.http}/ok/2.jpg",
            ],
            "label": ["a", "a", "b", "b", "b"],
        }
    )
    table = download_images(frame, tmp_path, **QUICK)
    assert table["status"].tolist() == ["ok", "duplicate", "duplicate", "ok", "ok"]
    assert table["duplicate_of"].tolist() == ["", table["file"][0], table["file"][0], "", ""]
    assert table["near_duplicate_of"].tolist() == ["", "", "", table["file"][0], ""]
    assert len(files(tmp_path)) == 5


def test_nothing_is_fetched_twice_and_what_is_lost_comes_back(tmp_path):
    with serve() as web:
        urls = [f"{web.http}/ok/{n}.jpg" for n in range(20)] + [
            f"{web.http}/status/404/{n}.jpg" for n in range(5)
        ]
        first = download_images(urls, tmp_path, **QUICK)
        as_text = pd.read_csv(tmp_path / "downloads.csv", dtype=str, keep_default_na=False)
        assert (
            list(as_text) == list(first)
            and as_text["url"].tolist() == urls
            and as_text["sha256"].tolist() == first["sha256"].tolist()
        )
        second = download_images(urls, tmp_path, **QUICK)
        pd.testing.assert_frame_equal(first, second)
        assert set(hits(web)["asked"].values()) == {1}
        (tmp_path / first["file"][3]).unlink()
        (tmp_path / first["file"][4]).write_bytes(b"cut off by somebody else")
        third = download_images(urls, tmp_path, **QUICK)
        pd.testing.assert_frame_equal(first.drop(columns="seconds"), third.drop(columns="seconds"))
        assert [hits(web)["asked"][f"/ok/{n}.jpg"] for n in (2, 3, 4)] == [1, 2, 2]
        download_images(urls, tmp_path, retry_failed=True, **QUICK)
        assert [hits(web)["asked"][path] for path in ("/status/404/0.jpg", "/ok/0.jpg")] == [2, 1]


def test_lists_one_after_the_other_share_a_folder(web, tmp_path):
    one, two = (
        pd.DataFrame({"url": [f"{web.http}/ok/{n}.jpg" for n in numbers], "label": label})
        for numbers, label in ((range(5), "a"), (range(5, 9), "b"))
    )
    download_images(one, tmp_path, **QUICK)
    table = download_images(two, tmp_path, **QUICK)
    assert table["label"].tolist() == ["a"] * 5 + ["b"] * 4
    assert by_status(table).loc[["a", "b"], "ok"].tolist() == [5, 4]
    pd.testing.assert_frame_equal(table, download_images(one, tmp_path, **QUICK))


PROGRAM = """
import json, sys
from movie_tagger.download.pictures import download_images
options = dict(allow_private=True, backoff=.01, patience=2, per_host=8)
download_images(json.load(open(sys.argv[1])), sys.argv[2], **options)
"""


def start(urls, dest):
    path = dest.with_suffix(".json")
    path.write_text(json.dumps(urls))
    return subprocess.Popen([sys.executable, "-c", PROGRAM, path, dest])


def journal(dest):
    try:
        return (dest / ".unfinished.csv").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def tree(folder):
    return {name: (folder / name).read_bytes() for name in files(folder) if name != "downloads.csv"}


MOMENTS = int(os.environ.get("MOVIE_TAGGER_KILLS", 3))


def test_killed_at_any_moment_and_started_again(tmp_path):
    rng, n = random.Random(os.urandom(8)), 800
    with serve(latency=0.005) as web:
        urls = [f"{web.http}/ok/{k}.jpg" for k in range(n - 80)] + [
            f"{web.http}/status/404/{k}.jpg" for k in range(20)
        ]
        urls += (
            [f"{web.http}/ok/{k}.jpg" for k in range(20)]
            + [f"{web.http}/html/{k}.jpg" for k in range(20)]
            + [f"{web.http}/png/{k}.jpg" for k in range(20)]
        )
        undisturbed, calm = download_images(urls, tmp_path / "calm", **QUICK), hits(web)["asked"]
        for moment in range(MOMENTS):
            killed = tmp_path / f"killed{moment}"
            after, asked = rng.randrange(1, n - 300), hits(web)["asked"]
            with start(urls, killed) as process:
                while journal(killed) < after:
                    assert process.poll() is None
                time.sleep(rng.random() / 50)
                process.send_signal(signal.SIGKILL)
            done = journal(killed)
            there = tree(killed)
            again = download_images(urls, killed, **QUICK)
            pd.testing.assert_frame_equal(
                again.drop(columns="seconds"), undisturbed.drop(columns="seconds")
            )
            assert tree(killed) == tree(tmp_path / "calm"), f"killed after {after}"
            assert {k: v for k, v in there.items() if not k.startswith(".")}.items() <= tree(
                killed
            ).items()
            repeated = sum(
                v - asked.get(k, 0) - calm[k] for k, v in hits(web)["asked"].items() if k != "/hits"
            )
            print(f"killed after {done} of {n}: {repeated} asked again, at most 8 on their way")
            assert repeated <= 8 + 0.01 * n


def test_a_journal_that_was_cut_off_and_a_list_that_was_never_finished(web, tmp_path):
    urls = [f"{web.http}/ok/{n}.jpg" for n in range(4)]
    table = download_images(urls[:3], tmp_path, **QUICK)
    text = (tmp_path / "downloads.csv").read_bytes()
    (tmp_path / "downloads.csv").unlink()
    for cut in (len(text), len(text) - 5, text.index(b"\n") + 1, 20, 0):
        (tmp_path / ".unfinished.csv").write_bytes(text[:cut])
        whole = download_images(urls, tmp_path, **QUICK)
        assert set(whole["url"]) == set(urls) and set(whole["status"]) == {"ok"}
        (tmp_path / "downloads.csv").unlink()
    (tmp_path / ".unfinished.csv").write_bytes(text)
    assert sorted(download_images(urls[3:], tmp_path, **QUICK)["url"]) == urls
    assert table["status"].tolist() == ["ok"] * 3


def test_two_downloads_into_one_folder(web, tmp_path):
    with pictures._journal(tmp_path / ".unfinished.csv"):
        with pytest.raises(MovieTaggerError, match="Another download is writing"):
            download_images([f"{web.http}/ok/1.jpg"], tmp_path, **QUICK)


def test_a_table_of_something_else_is_left_alone(web, tmp_path):
    (tmp_path / "downloads.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MovieTaggerError, match="not a table of downloads"):
        download_images([f"{web.http}/ok/1.jpg"], tmp_path, **QUICK)
    assert (tmp_path / "downloads.csv").read_text() == "a,b\n1,2\n"


def test_a_full_disk_stops_in_one_sentence_and_loses_nothing(web, tmp_path):
    urls, dest = [f"{web.http}/ok/{n}.jpg" for n in range(30)], tmp_path / "out"
    limited = PROGRAM.replace(
        "import json",
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\nimport json",
    )
    (tmp_path / "urls.json").write_text(json.dumps(urls))
    done = subprocess.run(
        [sys.executable, "-c", limited, tmp_path / "urls.json", dest],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "MovieTaggerError: Cannot write to" in done.stderr
    assert set(download_images(urls, dest, **QUICK)["status"]) == {"ok"} and len(files(dest)) == 31


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MovieTaggerError, match="Cannot make the folder"):
        download_images(["https://example.org/a.jpg"], tmp_path / "file" / "out")


@pytest.mark.parametrize("blocked", [".unfinished.csv", "downloads.csv", "horror"])
def test_a_folder_that_cannot_be_written_to(blocked, tmp_path):
    "Something else stands where the journal, the table or a label's folder belongs."
    if "csv" in blocked:
        (tmp_path / blocked).mkdir()
    else:
        (tmp_path / blocked).write_text("")
    frame = pd.DataFrame(
        {
            "url": ["data:image/jpeg;base64," + base64.b64encode(picture(1)).decode()],
            "label": "horror",
        }
    )
    with pytest.raises(
        MovieTaggerError, match=f"Cannot (read|write to) {tmp_path}.*: (Is|Not) a directory"
    ) as e:
        download_images(frame, tmp_path)
    assert "\n" not in str(e.value)


def test_interrupted_a_download_keeps_what_is_there(web, tmp_path):
    with start(
        [f"{web.http}/ok/{n}.jpg" for n in range(30)] + [f"{web.http}/silent/1.jpg"],
        tmp_path / "out",
    ) as process:
        while journal(tmp_path / "out") < 31:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
    assert process.returncode != 0
    asked = hits(web)["asked"]
    table = download_images(
        [f"{web.http}/ok/{n}.jpg" for n in range(30)], tmp_path / "out", **QUICK
    )
    assert set(table["status"]) == {"ok"} and {
        k: v for k, v in hits(web)["asked"].items() if k != "/hits"
    } == {k: v for k, v in asked.items() if k != "/hits"}


def test_options_that_make_no_sense(tmp_path):
    with pytest.raises(MovieTaggerError, match="per_host must be more than 0"):
        download_images(["https://example.org"], tmp_path, per_host=0)
    with pytest.raises(TypeError):
        download_images(["https://example.org"], tmp_path, per_hots=1)


def test_no_descriptor_is_left_open(web, tmp_path):
    def opened():
        return len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    download_images([f"{web.http}/ok/1.jpg"], tmp_path / "0", **QUICK)
    before = opened()
    for k in range(1, 4):
        download_images([f"{web.http}/ok/{n}.jpg" for n in range(20)], tmp_path / str(k), **QUICK)
    assert opened() == before


# --- search


def test_providers_are_plain_functions(monkeypatch):
    monkeypatch.setitem(
        download.providers,
        "mine",
        lambda query, n: ({"url": f"https://example.org/{query}/{k // 2}"} for k in range(n + 10)),
    )
    found = search("noir", 10, "mine")
    assert len(found) == 10 and found["url"].is_unique and list(found) == ["url", "title", "source"]
    with pytest.raises(
        MovieTaggerError, match="no search provider 'yours': choose among ddgs, mine"
    ):
        search("noir", 10, "yours")
    with pytest.raises(MovieTaggerError, match="Nothing was found for 'noir'"):
        search("noir", 10, lambda query, n: [])


def test_a_busy_search_engine_is_given_time():
    tries = []

    def busy(query, n):
        tries.append(query)
        raise download.SearchBusy("slow down")

    with pytest.raises(MovieTaggerError, match="still asks us to slow down"):
        search("noir", 10, busy, waits=[0, 0])
    assert len(tries) == 3


def test_offline_a_search_says_so_in_one_sentence(monkeypatch):
    pytest.importorskip("ddgs")
    monkeypatch.setenv("DDGS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(
        MovieTaggerError, match="do not answer: check the connection to the internet"
    ):
        search("noir", 5)


@pytest.mark.skipif(
    "MOVIE_TAGGER_NET" not in os.environ, reason="set MOVIE_TAGGER_NET=1 to search the real web"
)
def test_a_real_search():
    found = search("horror movie poster", 120)
    assert len(found) > 50 and found["url"].str.startswith("http").all()


# --- the command line


def test_the_command_line(web, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label, numbers in {"horror": range(4), "romance": range(4, 7)}.items():
        Path(f"urls_{label}.csv").write_text(
            "\n".join(f"{web.http}/{'ok' if n % 4 else 'html'}/{n}.jpg" for n in numbers)
        )
    refused = movie_tagger("download", "urls_horror.csv", "--out", "none")
    assert refused.code == 1 and "private address" in refused.err
    done = movie_tagger(
        "download", "urls_horror.csv", "urls_romance.csv", "--out", "posters", "--allow-private"
    )
    assert done.code == 0, done.err
    assert "not an image" in done.out and len(files(tmp_path / "posters")) == 6
    assert sorted(p.name for p in Path("posters").iterdir()) == [
        "downloads.csv",
        "horror",
        "romance",
    ]
    assert movie_tagger("download", "nowhere.csv", "--out", "x").err.startswith(
        "movie-tagger: Cannot read nowhere.csv"
    )


def test_what_servers_ask_for_on_the_command_line(web, tmp_path):
    (tmp_path / "list.csv").write_text(f"id,art,link,page\n1,noir,{web.http}/guarded/1.jpg,{A}\n")
    fetch_it = ["download", tmp_path / "list.csv", "--out", tmp_path / "out", "--allow-private"]
    columns = ["--column", "link", "--label-column", "art"]
    asked = ["--referer", GUARD["referer"], "--user-agent", "me", "--header", "X-Key: secret"]
    wrong = movie_tagger(*fetch_it, *columns, "--header", "secret")
    assert wrong.code == 1 and "Header 1 is none" in wrong.err and "secret" not in wrong.err
    done = movie_tagger(*fetch_it, *columns, *asked, "--header", "X-Other: y", "--retry-failed")
    assert done.code == 0 and len(files(tmp_path / "out" / "noir")) == 1
    assert hits(web, "seen")["/guarded/1.jpg"]["x-other"] == "y"


def test_a_list_that_is_nearly_all_rubbish_is_told_in_few_lines(web, tmp_path):
    rows = "".join(f"rubbish{n},label{n}\n" for n in range(20_000))
    (tmp_path / "list.csv").write_text(f"url,label\n{web.http}/ok/1.jpg,good\n{rows}")
    done = movie_tagger(
        "download", tmp_path / "list.csv", "--out", tmp_path / "out", "--allow-private"
    )
    assert done.code == 0 and "1 of 20,001 rows gave a picture" in done.out
    assert len(done.out.splitlines()) < 40 and "refused: 20,000, such as 'rubbish0'" in done.out


def test_a_search_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setitem(
        download.providers,
        "ddgs",
        lambda query, n: [
            {"url": f"https://example.org/{k}.jpg", "title": query} for k in range(n)
        ],
    )
    assert (
        movie_tagger("search", "film noir", "-n", 7, "--out", tmp_path / "urls_noir.csv").code == 0
    )
    assert read_urls(tmp_path / "urls_noir.csv").to_numpy().tolist() == [
        [f"https://example.org/{k}.jpg", "noir"] for k in range(7)
    ]
