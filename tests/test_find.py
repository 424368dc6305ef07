"Finding stills by a picture and by words: the command, the models it asks, and the server."

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from browser import HOW, need_chromium
from conftest import draw_poster, movie_tagger
from PIL import Image
from serving import problem, serving

from movie_tagger import features, models
from movie_tagger.core import MovieTaggerError
from movie_tagger.models import shelf
from movie_tagger.models.finding import Found
from movie_tagger.serve.app import create_app
from movie_tagger.serve.keys import add_key

pytest_plugins = ["serving", "towers"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Twelve stills, a text among them, and one that is like another."
    folder = tmp_path_factory.mktemp("collection") / "stills"
    for k, genre in enumerate(("horror", "romance", "superhero") * 4):
        draw_poster(folder / genre / f"{k:02}.jpg", genre, 300 + k)
    (folder / "notes.jpg").write_text("Dear diary")
    return folder


def ranked(path):
    return pd.read_csv(path)


def test_by_a_picture_offline(folder, tmp_path):
    picture = folder / "romance" / "01.jpg"
    done = movie_tagger("find", folder, "--like", picture, "--out", tmp_path / "ranked.csv")
    assert (done.code, done.out) == (0, "")
    assert "1 of 13 pictures cannot be read and are left out; the first: Cannot open" in done.err
    table = ranked(tmp_path / "ranked.csv")
    assert list(table) == ["item", "image", "score"] and len(table) == 12
    assert table["score"].is_monotonic_decreasing and table["score"][0] == pytest.approx(1)
    assert (tmp_path / table["image"][0]).resolve() == picture.resolve()
    assert table["item"][0] == str(picture)
    said = movie_tagger("find", folder, "--like", picture, "--like", picture, "-n", 3)
    assert len(said.out.splitlines()) == 3 and said.out.startswith(f"1.000  {picture}")


def test_a_saved_index_says_the_same_and_only_of_its_encoder(folder, tmp_path, words_bundle):
    like = ("--like", folder / "horror" / "00.jpg")
    saved, out = tmp_path / "own" / "stills.index", tmp_path / "ranked.csv"
    done = movie_tagger("find", folder, *like, "--save-index", saved, "--out", out)
    assert done.code == 0 and "12 stills of lite0 in" in done.err
    again = tmp_path / "again.csv"
    assert movie_tagger("find", saved, *like, "--out", again).code == 0
    first, second = ranked(out), ranked(again)
    assert list(first["image"]) == list(second["image"])
    assert np.allclose(first["score"], second["score"], atol=1e-5)
    assert movie_tagger("find", folder, "--save-index", saved).code == 0, "an index alone"
    other = movie_tagger("find", saved, *like, "--model", words_bundle)
    assert other.code == 1 and "is of another encoder (lite0" in other.err
    saved.write_bytes(saved.read_bytes()[:-8])
    cut = movie_tagger("find", saved, *like)
    assert cut.code == 1 and "is no index, or damaged" in cut.err


def test_by_words_with_what_a_bundle_has_inside(folder, tmp_path, words_bundle, weights):
    out = tmp_path / "ranked.csv"
    asked = "a man in the rain"
    assert movie_tagger("find", folder, asked, "--model", words_bundle, "--out", out).code == 0
    table = ranked(out)
    encoder = "open_clip:tiny-words"
    row = features.words(asked, encoder, weights)[0]
    rows, _ = features.embed(table["item"], encoder, weights=weights)
    cosines = rows @ row / np.linalg.norm(rows, axis=1) / np.linalg.norm(row)
    assert np.allclose(table["score"], cosines, atol=1e-4)
    assert {*(words_bundle).iterdir()} >= {words_bundle / "words.onnx"}
    assert json.loads((words_bundle / "manifest.json").read_text())["format"] == 2


def test_a_ledger_and_a_table_are_stills_too(folder, tmp_path):
    from movie_tagger.ledger import Ledger, exchange

    paths = sorted(folder.rglob("[0-9]*.jpg"))
    rows = [f"s{k},{path},{path.parent.name}" for k, path in enumerate(paths)]
    rows.append(rows[0])
    (tmp_path / "stills.csv").write_text("\n".join(["id,image,label", *rows[:-1]]))
    with Ledger(tmp_path / "stills.db") as ledger:
        exchange.import_data(ledger, tmp_path / "stills.csv")
    (tmp_path / "stills.csv").write_text("\n".join(["id,image,label", *rows]))
    for source in ("stills.csv", "stills.db"):
        done = movie_tagger(
            "find", tmp_path / source, "--like", paths[3], "--out", tmp_path / "ranked.csv"
        )
        assert done.code == 0, done.err
        table = ranked(tmp_path / "ranked.csv")
        assert table["item"][0] == "s3" and len(table) == 12, source


@pytest.mark.parametrize(
    "given, said",
    [
        ([], "Say what is looked for"),
        (["snow"], "The encoder lite0 knows no words. Those that do are named open_clip:"),
        ([""], "Say what is looked for"),
        (["snow", "--encoder", "lite9"], "did you mean"),
        (["snow", "--encoder", "lite0", "--model", "m"], "Give --encoder or --model"),
        (["snow", "--model", "nowhere"], "is not a bundle"),
        (["--like", "a.jpg", "--out", "r.csv", "--save-index", "./r.csv"], "name two files"),
        (["--like", "nowhere.jpg"], "nowhere.jpg is not there"),
        (["--like", "NOTES"], "it is text"),
        (["--like", "FOLDER"], "cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(folder, given, said):
    places = {"NOTES": folder / "notes.jpg", "FOLDER": folder}
    done = movie_tagger("find", folder, *(places.get(word, word) for word in given))
    assert done.code == 1 and said in done.err and len(done.err.splitlines()) == 1, done.err


def test_stills_that_are_none(folder, tmp_path, bundle, words_bundle):
    like = ("--like", folder / "horror" / "00.jpg")
    (tmp_path / "empty").mkdir()
    for stills in (tmp_path / "empty", tmp_path / "nowhere", folder / "notes.jpg"):
        done = movie_tagger("find", stills, *like)
        assert done.code == 1 and len(done.err.splitlines()) == 1, done.err
    wordless = movie_tagger("find", folder, "snow", "--model", bundle)
    assert "knows no words: its encoder, lite0" in wordless.err
    long = movie_tagger("find", folder, "very " * 30, "--model", words_bundle)
    assert "say it in fewer words" in long.err and long.code == 1


def test_a_text_tower_is_not_believed(tmp_path, words_bundle):
    from movie_tagger.models import bundle as bundles

    bad = shutil.copytree(words_bundle, tmp_path / "bad")
    (bad / "words.onnx").write_bytes((bad / "model.onnx").read_bytes())
    with pytest.raises(MovieTaggerError, match="words.onnx is not what was saved"):
        models.load(bad)
    sums = json.loads((bad / "manifest.json").read_text())["checksums"]
    manifest = json.loads((bad / "manifest.json").read_text())
    manifest["checksums"] = sums | {"words.onnx": sums["model.onnx"]}
    manifest["checksum"] = bundles._checksum(manifest)
    (bad / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MovieTaggerError, match="its text tower does not take pieces of texts"):
        Found(models.load(bad)).finder().tower()


def test_words_are_asked_without_torch(folder, words_bundle):
    given = ["movie-tagger", "find", str(folder), "rain", "--model", str(words_bundle), "-n", "2"]
    hidden = "for name in ('torch', 'open_clip', 'timm'): sys.modules[name] = None"
    code = (
        f"import sys\n{hidden}\nfrom movie_tagger.cli.door import main\nsys.argv = {given}\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done.stderr
    assert "find" in movie_tagger("--help").out


# --- the server


def similar(client, data, query="", kind="image/jpeg", **more):
    return client.post(f"/v1/similar{query}", content=data, headers={"content-type": kind}, **more)


@contextlib.contextmanager
def finding(model, index, **more):
    "A server whose stills are ready."
    app = create_app(model, index=index, **more)
    with serving(app) as client:
        until = time.monotonic() + 60
        while not app.state.desk.collection.ready:
            assert time.monotonic() < until, app.state.desk.collection.problem
            time.sleep(0.02)
        client.desk = app.state.desk
        yield client


@pytest.fixture(scope="module")
def site(words_bundle, folder):
    with finding(words_bundle, folder, sensitive=["horror"]) as client:
        yield client


def test_similar_and_find_say_what_the_command_says(site, folder, words_bundle, tmp_path):
    out = tmp_path / "ranked.csv"
    picture = folder / "romance" / "04.jpg"
    answer = similar(site, picture.read_bytes()).json()
    assert answer["among"] == 12 and answer["model"]["name"] == "with-words"
    assert (
        movie_tagger(
            *("find", folder, "--like", picture, "--model", words_bundle, "--out", out)
        ).code
        == 0
    )
    table = ranked(out)
    told = [(s["still"], s["score"]) for s in answer["stills"]]
    there = [str((tmp_path / image).resolve().relative_to(folder)) for image in table["image"]]
    assert [name for name, _ in told] == there and told[0] == ("romance/04.jpg", 1.0)
    assert np.allclose([score for _, score in told], table["score"], atol=1e-3)
    form = site.post("/v1/similar?k=3", files={"still": picture.read_bytes()}).json()
    assert form["stills"] == answer["stills"][:3]
    asked = {"q": "a man in the rain", "k": 5}
    words = site.get("/v1/find", params=asked).json()
    given = ("find", folder, asked["q"], "--model", words_bundle, "-n", 5, "--out", out)
    assert movie_tagger(*given).code == 0
    there = [
        str((tmp_path / image).resolve().relative_to(folder)) for image in ranked(out)["image"]
    ]
    assert [s["still"] for s in words["stills"]] == there
    assert site.get("/v1/model").json()["finds"] == {"stills": 12, "words": True}


def test_a_small_copy_of_what_was_found_and_of_nothing_else(site, folder):
    answer = site.get("/v1/picture", params={"still": "horror/00.jpg"})
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (213, 320)
    for name in ("notes.jpg", "../stills/horror/00.jpg", str(folder / "horror/00.jpg"), "", "\0"):
        problem(site.get("/v1/picture", params={"still": name}), 404, "unknown-still")


@pytest.mark.parametrize(
    "asked, status, kind, words",
    [
        ({"q": "very " * 30}, 422, "invalid", "say it in fewer words"),
        ({"q": " "}, 422, "invalid", "says nothing"),
        ({"q": ""}, 422, "invalid", "q:"),
        ({}, 422, "invalid", "q:"),
        ({"q": "x" * 1001}, 422, "invalid", "q:"),
        ({"q": "snow", "k": 0}, 422, "invalid", "k:"),
        ({"q": "snow", "k": 1001}, 422, "invalid", "k:"),
    ],
)
def test_words_that_cannot_be_asked(site, asked, status, kind, words):
    problem(site.get("/v1/find", params=asked), status, kind, words)


def test_pictures_that_cannot_be_asked(site, folder):
    picture = (folder / "horror" / "00.jpg").read_bytes()
    problem(similar(site, b"Dear diary"), 415, "not-a-picture")
    problem(similar(site, b""), 415, "not-a-picture")
    problem(similar(site, picture[: len(picture) // 2]), 422, "bad-picture")
    problem(similar(site, picture, kind="text/html"), 415, "not-a-picture")
    problem(similar(site, picture, "?k=0"), 422, "invalid")
    two = [("still", ("a.jpg", picture)), ("still", ("b.jpg", picture))]
    problem(site.post("/v1/similar", files=two), 400, "bad-form", "1 are taken at once")
    problem(site.get("/v1/similar"), 405, "method")
    assert site.get("/v1/find", params={"q": "\U0001f3ac &amp; caf\u00e9"}).status_code == 200


def test_keys_and_rates_hold_here_too(words_bundle, folder, tmp_path):
    key = add_key(tmp_path / "keys.json", "quiz-site", rate=2)
    with finding(words_bundle, folder, keys=tmp_path / "keys.json") as client:
        asked = {"q": "snow"}
        for path in ("/v1/find?q=snow", "/v1/picture?still=horror/00.jpg"):
            problem(client.get(path), 401, "no-key")
        problem(similar(client, b"x"), 401, "no-key")
        client.headers["authorization"] = f"Bearer {key}"
        statuses = [client.get("/v1/find", params=asked).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert client.get("/v1/picture", params={"still": "horror/00.jpg"}).status_code == 200


def test_a_server_without_stills_or_without_words_says_so(bundle, folder, tmp_path):
    picture = (folder / "horror" / "00.jpg").read_bytes()
    with serving(create_app(bundle)) as client:
        problem(similar(client, picture), 404, "no-index", "--index FOLDER")
        problem(client.get("/v1/find", params={"q": "snow"}), 404, "no-index")
        assert client.get("/v1/model").json()["finds"] is None
    with finding(bundle, folder) as client:
        assert similar(client, picture).json()["stills"][0]["score"] == pytest.approx(1, abs=1e-3)
        problem(client.get("/v1/find", params={"q": "snow"}), 404, "no-words", "knows no words")
        assert client.get("/v1/model").json()["finds"] == {"stills": 12, "words": False}


def test_an_index_of_another_encoder_is_refused_at_the_start(
    folder, bundle, words_bundle, tmp_path
):
    saved = tmp_path / "stills.index"
    assert movie_tagger("find", folder, "--save-index", saved).code == 0
    with finding(bundle, saved) as client:
        found = similar(client, (folder / "horror" / "00.jpg").read_bytes()).json()["stills"]
        name = os.path.relpath(folder / "horror" / "00.jpg", tmp_path)
        assert found[0]["still"] == name
        assert client.get("/v1/picture", params={"still": name}).status_code == 200
    done = movie_tagger("serve", words_bundle, "--index", saved, "--port", 0)
    assert done.code == 1 and "is of another encoder (lite0" in done.err
    for wrong in (tmp_path / "nowhere", folder / "notes.jpg"):
        done = movie_tagger("serve", bundle, "--index", wrong, "--port", 0)
        assert done.code == 1 and len(done.err.splitlines()) == 1, done.err
    (tmp_path / "empty").mkdir()
    app = create_app(bundle, index=tmp_path / "empty")
    with serving(app) as client:
        until = time.monotonic() + 30
        while not app.state.desk.collection.problem and time.monotonic() < until:
            time.sleep(0.02)
        said = problem(client.get("/v1/find", params={"q": "snow"}), 404, "no-index")
        assert "no pictures in empty" in said["detail"] and str(tmp_path) not in said["detail"]


def test_a_model_with_another_encoder_has_the_stills_looked_at_anew(
    bundle, words_bundle, folder, tmp_path
):
    for name, source in (("first", bundle), ("second", words_bundle)):
        shutil.copytree(source, tmp_path / "models" / name)
    shelf.appoint(tmp_path / "models", "first")
    with finding(tmp_path / "models", folder, look=0.05) as client:
        assert client.get("/v1/model").json()["finds"]["words"] is False
        shelf.promote(tmp_path / "models", "second")
        until = time.monotonic() + 60
        while not client.get("/v1/model").json()["finds"] == {"stills": 12, "words": True}:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert client.get("/v1/find", params={"q": "snow"}).status_code == 200


# --- the page


@pytest.fixture(scope="module")
def browser():
    need_chromium()
    with pytest.importorskip("playwright.sync_api").sync_playwright() as p:
        found = p.chromium.launch(**HOW)
        yield found
        found.close()


def test_the_search_box_finds_by_words_and_by_a_picture(browser, site, folder, tmp_path):
    see = pytest.importorskip("playwright.sync_api").expect
    page = browser.new_page(viewport={"width": 390, "height": 844})
    errors = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(str(site.base_url))
    see(page.get_by_role("searchbox")).to_be_visible()
    page.get_by_role("searchbox").fill("a man in the rain")
    page.keyboard.press("Enter")
    found = page.locator("#found li")
    see(found).to_have_count(12)
    see(page.locator("#find-says")).to_contain_text("The 12 stills nearest to “a man in the rain”")
    see(page.locator("#found img").first).to_be_visible()
    see(page.locator("#found figure.veiled")).to_have_count(12)
    page.get_by_role("button", name="Show the pictures").click()
    see(page.locator("#found figure.veiled")).to_have_count(0)
    page.locator("#like").set_input_files(folder / "romance" / "04.jpg")
    see(found.first).to_contain_text("1.00 romance/04.jpg")
    page.get_by_role("searchbox").fill("very " * 30)
    page.get_by_role("button", name="Find", exact=True).click()
    see(page.locator("#find-says")).to_contain_text("say it in fewer words")
    page.locator("#files").set_input_files(folder / "horror" / "03.jpg")
    page.get_by_role("button", name="Find stills like this").click()
    see(found.first).to_contain_text("1.00 horror/03.jpg")
    sideways = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    page.screenshot(path=tmp_path / "found.png", full_page=True)
    assert errors == [] and not page.evaluate(sideways)
    page.close()


def test_there_is_no_search_box_where_nothing_can_be_found(browser, bundle, folder):
    see = pytest.importorskip("playwright.sync_api").expect
    page = browser.new_page()
    with serving(create_app(bundle)) as client:
        page.goto(str(client.base_url))
        see(page.locator("#model")).to_contain_text("tags")
        see(page.locator("#finding")).to_be_hidden()
    with finding(bundle, folder) as client:
        page.goto(str(client.base_url))
        see(page.get_by_text("Find stills like a picture")).to_be_visible()
        see(page.get_by_role("searchbox")).to_be_hidden()
    page.close()
