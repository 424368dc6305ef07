"`?explain=1`: which places of an upload spoke for each suggestion, and what none of them can say."

import io
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from serving import problem, serving, tags
from test_explain import not_a_sum

from movie_tagger.serve.app import create_app
from movie_tagger.serve.keys import add_key

pytest_plugins = ["serving"]


@pytest.fixture(scope="module")
def site(models):
    with serving(create_app(models)) as client:
        yield client


def test_each_suggestion_comes_with_its_places(site, picture):
    (plain,) = tags(site, picture).json()["stills"]
    assert not {"looked", "unexplained"} & set(plain)
    (still,) = tags(site, picture, "?explain=1").json()["stills"]
    assert still["suggestions"] == plain["suggestions"]
    assert still["looked"]["box"] == [0, 0, 1, 1]
    explained = still["looked"]["tags"]
    assert [e["tag"] for e in explained] == [s["tag"] for s in still["suggestions"]]
    for said, found in zip(still["suggestions"], explained):
        places, lead = np.array(found["places"]), np.array(found["lead"])
        assert places.shape == lead.shape == (14, 14)
        assert math.isclose(places.sum(), found["logit"], abs_tol=0.01)
        assert math.isclose(1 / (1 + math.exp(-found["logit"])), said["probability"], abs_tol=1e-3)
        assert (lead.sum() > 0) == said["likely"]


def test_k_chooses_what_is_explained(site, picture):
    (still,) = tags(site, picture, "?k=2&explain=true").json()["stills"]
    assert len(still["looked"]["tags"]) == 2
    (still,) = tags(site, picture, "?min=1&explain=1").json()["stills"]
    assert still["suggestions"] == still["looked"]["tags"] == []
    (still,) = tags(site, picture, "?explain=0").json()["stills"]
    assert "looked" not in still


@pytest.mark.parametrize("value", ["", "2", "-1", "maybe", "gun", "1.0", "%00", "1&explain=x"])
def test_other_values_are_refused(site, picture, value):
    problem(tags(site, picture, f"?explain={value}"), 422, "invalid", "explain")


def test_several_stills_at_once_and_a_bad_one_in_its_place(site, picture, new_posters):
    good = [p.read_bytes() for p in sorted(new_posters.rglob("*.jpg"))[:3]]
    sent = [("still", (f"{k}.jpg", data)) for k, data in enumerate([*good, b"no picture"])]
    *answered, bad = site.post("/v1/tags?explain=1", files=sent).json()["stills"]
    assert "problem" in bad
    grids = [still["looked"]["tags"][0]["places"] for still in answered]
    assert len({str(grid) for grid in grids}) == 3


def test_a_photograph_on_its_side_is_explained_upright(site, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    lying = Image.open(io.BytesIO(picture)).transpose(Image.Transpose.ROTATE_90)
    lying.save(turned, "PNG", exif=exif)
    upright = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(upright, "PNG")
    first, second = (
        tags(site, data.getvalue(), "?k=1&explain=1").json()["stills"][0]["looked"]
        for data in (turned, upright)
    )
    assert np.allclose(first["tags"][0]["places"], second["tags"][0]["places"], atol=1e-3)


def test_many_who_ask_at_once_are_all_answered(site, picture):
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda k: tags(site, picture, f"?k=1&explain={k % 2}"), range(24)))
    assert all(answer.status_code == 200 for answer in done)
    explained = ["looked" in answer.json()["stills"][0] for answer in done]
    assert explained == [k % 2 == 1 for k in range(24)]


def test_a_model_that_cannot_say_where_answers_and_says_why(bundle, tmp_path, picture):
    with serving(create_app(not_a_sum(bundle, tmp_path / "own"))) as client:
        answer = tags(client, picture, "?explain=1")
        assert answer.status_code == 200, answer.text
        (still,) = answer.json()["stills"]
    assert still["suggestions"] and "looked" not in still
    assert "Relu" in still["unexplained"]


def test_an_explanation_is_paid_for_like_another_still(models, tmp_path, picture):
    keys = tmp_path / "keys.json"
    key = add_key(keys, "quiz", rate=4)
    with serving(create_app(models, keys=keys)) as client:
        headers = {"x-api-key": key, "content-type": "image/jpeg"}
        ask = {"content": picture, "headers": headers}
        said = [client.post("/v1/tags?explain=1", **ask).status_code for _ in range(4)]
    assert said[0] == 200 and 429 in said


def test_the_description_names_it(site):
    document = site.get("/openapi.json").json()
    given = document["paths"]["/v1/tags"]["post"]["parameters"]
    assert "explain" in {parameter["name"] for parameter in given}
    assert {"box", "tags"} <= set(document["components"]["schemas"]["Looked"]["properties"])
