"Whoever is told how a month ended: nothing that they do changes it. And what is told of passwords."

import os
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pytest
from conftest import movie_tagger
from months import LIVE, PLAN, plan_at

from movie_tagger.core import MovieTaggerError, for_spreadsheets, without_passwords, write_frame
from movie_tagger.retrain import report
from movie_tagger.retrain.plan import Notify, Pictures, Plan, Source
from movie_tagger.tags import read_database

# --- a webhook


@pytest.fixture
def plan(tmp_path):
    places = [tmp_path / name for name in ("ledger.db", "models")]
    return Plan(*places, Source(dump=tmp_path / "site.sql"), Pictures(tmp_path / "pictures"))


@contextmanager
def answering(answer):
    "Yields the address of a server that does this with each connection."
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve():
            while True:
                try:
                    connection, _ = door.accept()
                except OSError:
                    return
                with connection:
                    try:
                        answer(connection)
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/hooks/s3cret-token"
        door.shutdown(socket.SHUT_RDWR)


def sends(*parts, read=True):
    def answer(connection):
        if read:
            connection.recv(65536)
        for part in parts:
            connection.sendall(part)

    return answer


def drips(first, drop):
    "Goes on for ever, a little at a time."

    def answer(connection):
        connection.recv(65536)
        connection.sendall(first)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return answer


def floods(first):
    def answer(connection):
        connection.recv(65536)
        connection.sendall(first)
        while True:
            connection.sendall(b"x" * 65536)

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
BAD = {
    "another protocol": sends(b"SSH-2.0-OpenSSH_9.2p1\r\n", read=False),
    "nothing": sends(),
    "binary": sends(bytes(range(256)) * 40),
    "a status without a number": sends(b"HTTP/1.1 many OK\r\n\r\n"),
    "half a status": sends(b"HTTP/1."),
    "a redirect": sends(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"),
    "a redirect to itself": sends(b"HTTP/1.1 307 On\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    "an error": sends(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
    "silence": lambda connection: time.sleep(30),
    "a status without end": drips(b"HTTP/1.1 2", b"0"),
    "continue for ever": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("kind", BAD)
def test_whatever_a_webhook_answers_is_a_sentence_within_its_time(kind, plan, monkeypatch):
    monkeypatch.setattr(report, "SECONDS", 1)
    with answering(BAD[kind]) as url, pytest.warns(UserWarning, match="The webhook that should"):
        (said,) = report.tell(replace(plan, notify=Notify(webhook=url)), {"says": "x"}, "text")
    assert said.count("\n") == 0 and "127.0.0.1" in said and "s3cret-token" not in said


@pytest.mark.parametrize(
    "answer",
    [
        sends(OK + b"Content-Length: 2\r\n\r\nok"),
        sends(b"HTTP/1.1 204 None\r\n\r\n"),
        floods(OK + b"\r\n"),
        floods(OK + b"Content-Length: 99999999999\r\n\r\n"),
        drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        sends(OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"),
    ],
)
def test_a_webhook_that_takes_the_news_is_told_whatever_else_it_sends(answer, plan, monkeypatch):
    monkeypatch.setattr(report, "SECONDS", 5)
    with answering(answer) as url:
        assert report.tell(replace(plan, notify=Notify(webhook=url)), {"says": "x"}, "text") == []


def test_a_webhook_whose_host_is_not_there_is_a_sentence(plan):
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/x", "http://nowhere.invalid/x", "https://127.0.0.1:1/"):
        with pytest.warns(UserWarning, match="did not answer"):
            report.tell(replace(plan, notify=Notify(webhook=url)), {"says": "x"}, "text")


# --- a command


@pytest.mark.parametrize(
    "command, why",
    [
        ("sleep 1000", "took more than"),
        ("sh -c 'sleep 1000 & sleep 1000'", "took more than"),
        ("sh -c 'trap \"\" TERM INT HUP; sleep 1000'", "took more than"),
        ("yes", "took more than"),
        ("sh -c 'yes >&2'", "took more than"),
        ("false --password s3cret", "ended with 1"),
        ("sh -c 'kill -9 $$'", "ended with -9"),
        ("no-such-command --password s3cret", "cannot be started"),
        ("''", "cannot be started"),
        (".", "cannot be started"),
    ],
)
def test_whatever_a_command_does_is_a_sentence_within_its_time(command, why, plan, monkeypatch):
    monkeypatch.setattr(report, "SECONDS", 0.5)
    with pytest.warns(UserWarning, match=why):
        (said,) = report.tell(replace(plan, notify=Notify(command)), {"says": "x"}, "t" * 2_000_000)
    assert "s3cret" not in said


def test_a_command_that_does_not_read_or_leaves_a_child_behind_has_been_told(plan, tmp_path):
    for command in ("true", f"sh -c 'sleep 20 & echo $! > {tmp_path}/pid'"):
        told = report.tell(replace(plan, notify=Notify(command)), {"says": "x"}, "t" * 2_000_000)
        assert told == []
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_news_of_any_length_and_with_any_sign_are_told(plan, tmp_path):
    news = {"says": "x" * 5_000_000 + "\0", "outcome": "a\0b"}
    command = f"sh -c 'printf %s \"$MOVIE_TAGGER_OUTCOME\" > {tmp_path}/outcome'"
    assert report.tell(replace(plan, notify=Notify(command)), news, "\ud800") == []
    assert (tmp_path / "outcome").read_text() == "a b"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://",
            "http://:80/x",
            "https:///x",
            "http://[::1",
            "https://h:99999/",
            "http://h:x/",
        ),
        *("https://chat example/x", r"http://h\\x", r"http://h/a\u0000b", r"http://h/a\nb"),
        *("ftp://h/x", "chat.example/x", "file:///etc/passwd", "https://user:s3cret@/x"),
    ],
)
def test_an_address_that_is_none_is_refused_when_the_plan_is_read(url, tmp_path):
    path = tmp_path / "retrain.toml"
    notify = f'[notify]\nwebhook = "{url}"'
    with pytest.raises(MovieTaggerError, match=r"line 9: \[notify\] `webhook`: it ") as e:
        plan_at(path, 'dump = "site.sql"', notify)
    assert "s3cret" not in str(e.value)


# --- passwords

ADDRESSES = [
    *("mysql://u:{}@127.0.0.1:1/site", "mysql+pymysql://u:{}@127.0.0.1:1/site?ssl_ca=/none"),
    *("mysql://127.0.0.1:1/site?password={}", "mysql:/u:{}@127.0.0.1/site", "mysql//u:{}@h/site"),
    *("MySQL://u@azure:{}@127.0.0.1:1/site", "mysql://u:{}@ho st/site", "u:{}@127.0.0.1/site"),
    *(
        "mysql+none://u:{}@h/site",
        "mysql://u:{}@127.0.0.1:1/site?none=1",
        "mysql://u:{}@h:123456/s",
    ),
]
PASSWORDS = [
    "s3cret",
    "s3@cret",
    "s3cret/x",
    "#s3cret",
    "100%s3cret",
    "s3cret:",
    "s3cret?a=1",
    "é€s3cret",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_no_error_shows_a_password(password, tmp_path):
    pytest.importorskip("pymysql")
    for address in ADDRESSES:
        url = address.format(password)
        done = movie_tagger("tags", url, "--out", tmp_path / "tags.csv")
        assert done.code == 1 and done.err.startswith("movie-tagger: "), url
        assert "cret" not in done.out + done.err, (url, done.err)


def test_no_error_in_python_shows_a_password_nor_do_those_behind_it():
    pytest.importorskip("pymysql")
    for password in PASSWORDS:
        with pytest.raises(MovieTaggerError) as e:
            read_database(f"mysql://u:{password}@127.0.0.1:1/site", ["shots"])
        error = e.value
        while error:
            assert "cret" not in f"{error} {error!r} {error.args}"
            error = error.__cause__ or error.__context__


def test_neither_the_plan_nor_the_month_nor_its_notices_show_a_password(tmp_path, monkeypatch):
    url, got = "mysql://reader:s3@cr/et@127.0.0.1:1/site", []
    monkeypatch.setenv("SITE_DATABASE", url)
    for source in (f'dump = "{url}"', f'database_env = "{url}"', f'dump = ["{url}"]'):
        (tmp_path / "wrong.toml").write_text(PLAN.format(source=source, more=""))
        done = movie_tagger("retrain", tmp_path / "wrong.toml")
        assert done.code == 1 and "cr/et" not in done.err and "s3@" not in done.err
    (tmp_path / "wrong.toml").unlink()

    def keep(connection):
        got.append(connection.recv(65536))
        connection.sendall(OK + b"\r\n")

    with answering(keep) as hook:
        notify = f'[notify]\ncommand = "cp /dev/stdin {tmp_path}/told.md"\nwebhook = "{hook}"'
        (tmp_path / "retrain.toml").write_text(PLAN.format(source=LIVE, more=notify))
        done = movie_tagger("retrain", tmp_path / "retrain.toml")
    assert done.code == 1 and "mysql+pymysql://reader:***@127.0.0.1:1/site" in done.err
    written = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    for told in [done.err.encode(), *got, *written]:
        assert b"cr/et" not in told and b"s3@" not in told
    assert b"The run failed" in got[0] and b"***" in (tmp_path / "told.md").read_bytes()


def test_what_is_no_password_stays():
    for text in (
        "https://images.example:8080/x and a mail to anna@example.org",
        "mysql://user:password@host/site",
        "mysql://u:***@h/site: Access denied for user 'u'@'localhost'",
        "mysql: it is not there",
        "mysql://reader@host:3306/site",
        "user:17 said no to a@b/c",
    ):
        assert without_passwords(text) == text


def test_a_database_whose_password_holds_every_sign_is_read():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from conftest import need_database

    from movie_tagger.sample import site

    need_database()
    with site.database() as url:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        with engine.begin() as db:
            db.exec_driver_sql("CREATE TABLE shots (id int)")
            for i, password in enumerate(PASSWORDS):
                quoted = password.replace("%", "%%")
                db.exec_driver_sql(f"CREATE USER u{i} IDENTIFIED BY '{quoted}'")
                db.exec_driver_sql(f"GRANT SELECT ON site.* TO u{i}")
        place = url.partition("@")[2]
        for i, password in enumerate(PASSWORDS):
            assert len(read_database(f"mysql://u{i}:{password}@{place}", ["shots"])) == 1


# --- what people typed, in reports and tables

TYPED = [
    "<img src=x onerror=alert(1)>",
    "a|b",
    "`rm`",
    "**bold** _it_ ~~no~~",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/p.png)",
    "two\nlines\r# head",
    "&lt;b&gt;",
    "$x$ \\| @all",
    "https://evil.example",
    "\u202ethgir ot tfel",
]


def a_report(word):
    size = {"rows": 300, "old": 300, "new": 0}
    tags = {"tag": [word], "lost": [20], "of": [30], "became": [word]}
    old = {"cells": 40, "lost": 20, "replaced": 20, "tags": tags, "users": {word: 20}}
    found = {
        "outcome": "kept",
        "says": f"The tag {word} is odd.",
        "refused": "",
        "verdicts": [{"passed": False, "says": f"User {word} typed {word}."}],
        "trial": [],
        "facts": {"shots": size, "tags": size, "old rows": old, "left out": {"tags": {word: 1}}},
        "before": None,
        "tags": {"taken over": 5},
        "events": 5,
        "without": {word: "gone"},
        "promises": {},
        "pictures": 9,
        "gained": [word],
        "lost": [word],
        "table": {"tag": [word], "change": [0.1]},
        "suspects": [{"item": word, "reason": "odd", "tag": word, "score": 0.5}],
    }
    return report.as_markdown(found, "2026-01-01T0400Z", [f"The webhook failed: {word}."])


@pytest.mark.parametrize("word", TYPED)
def test_a_report_shows_what_people_typed_as_it_is(word):
    markdown = pytest.importorskip("markdown_it")
    from html import unescape
    from html.parser import HTMLParser

    parser = markdown.MarkdownIt("gfm-like", {"html": True, "linkify": False})
    usual = parser.render(a_report("zither"))
    page = parser.render(a_report(word))
    seen = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, attrs))

    Tags().feed(usual)
    expected, seen[:] = list(seen), []
    Tags().feed(page)
    assert seen == expected
    shown = " ".join(word.replace("\u202e", " ").split())
    assert unescape(page).count(shown) == unescape(usual).count("zither")


def test_a_table_for_a_spreadsheet_has_no_formulas_and_others_are_as_they_were(tmp_path):
    cells = ["=1+1", "+1", "-night", "@SUM(A1)", "\tx", "hat", "a=b", None]
    table = pd.DataFrame({"tag": cells, "=head": -1.5})
    write_frame(tmp_path / "plain.csv", table)
    assert pd.read_csv(tmp_path / "plain.csv")["tag"].tolist()[:7] == cells[:7]
    before = for_spreadsheets.set(True)
    write_frame(tmp_path / "sheet.csv", table)
    for_spreadsheets.reset(before)
    found = pd.read_csv(tmp_path / "sheet.csv")
    assert found["tag"].tolist()[:7] == [*(f"'{c}" for c in cells[:5]), *cells[5:7]]
    assert list(found) == ["tag", "'=head"] and found["'=head"].eq(-1.5).all()


def test_every_command_that_writes_a_table_knows_the_switch(tmp_path, bundle, new_posters):
    export = tmp_path / "export"
    export.mkdir()
    (export / "shots.csv").write_text("id,shot_image_id,movie_id\n1,=1.jpg,1\n2,2.jpg,2\n")
    (export / "tags.csv").write_text("id,value,ref_id,user_id\n1,=cmd(),1,1\n2,hat,2,1\n")
    common = ("tags", export, "--min-count", "0", "--out")
    for switch, word in (((), '"=cmd()"'), (("--spreadsheet",), '"\'=cmd()"')):
        assert movie_tagger(*switch, *common, tmp_path / "tags.csv").code == 0
        assert word in (tmp_path / "tags.csv").read_text()
    odd = next(new_posters.rglob("*.jpg"))
    (tmp_path / "=odd.jpg").write_bytes(odd.read_bytes())
    out, scores = tmp_path / "a.csv", tmp_path / "scores.csv"
    for switch, name in (((), "=odd.jpg"), (("--spreadsheet",), "'=odd.jpg")):
        told = ("tag", bundle, tmp_path / "=odd.jpg", "--out", out, "--scores", scores)
        assert movie_tagger(*switch, *told).code == 0
        assert f"\n{name}," in out.read_text() and f"\n{name}," in scores.read_text()
