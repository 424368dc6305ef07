"The recipe `best`: several encoders side by side in one file, from the command line to a server."

import json
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
from conftest import movie_tagger

from movie_tagger import data, features
from movie_tagger.core import MovieTaggerError
from movie_tagger.features import engine
from movie_tagger.features.encoders import BEST, find
from movie_tagger.learn.recipes import RECIPES, train
from movie_tagger.models.answers import load
from movie_tagger.retrain.plan import Train

PAIR = "lite0+lite1@64"


@pytest.fixture(scope="module")
def few(posters, tmp_path_factory):
    "A table of 36 posters with tags, a film each three."
    rows = [
        {"image": p, "tags": f"{p.parent.name}, {'even' if i % 2 else 'odd'}", "group": i // 3}
        for i, p in enumerate(sorted(posters.rglob("*.jpg"))[::3][:36])
    ]
    path = tmp_path_factory.mktemp("few") / "tags.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def made(few, tmp_path_factory):
    "A bundle by the recipe `best`, of a small pair."
    out = tmp_path_factory.mktemp("made") / "best"
    how = ("--recipe", "best", "--encoder", PAIR, "--absent", "unknown", "--folds", 3)
    done = movie_tagger("train", few, "--out", out, *how)
    assert (done.code, done.err) == (0, "")
    return out


def test_best_is_three_encoders_unless_others_are_asked_for():
    assert RECIPES["best"].keywords["encoder"] == BEST == "lite0+lite1+lite2@288"
    assert find(BEST).size == (288, 288)
    assert find("lite0+lite2").size == (260, 260)


def test_the_bundle_is_one_file_that_every_engine_runs(made):
    manifest = json.loads((made / "manifest.json").read_text())
    assert (manifest["recipe"], manifest["encoder"]) == ("best", PAIR)
    assert manifest["input"]["size"] == [64, 64] and manifest["settings"]["share typed"]
    content = (made / "model.onnx").read_bytes()
    assert len(onnx.load_model_from_string(content).graph.output) == 1
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    said = [engine.ready(content, name)(pictures) for name in engine.installed()]
    assert all(np.allclose(said[0], other, atol=1e-3) for other in said)


def test_it_tags_and_is_measured_like_any_other(made, few, new_posters, tmp_path):
    out = ("--out", tmp_path / "t.csv", "--scores", tmp_path / "s.csv")
    assert movie_tagger("tag", made, new_posters, *out).code == 0
    assert len(pd.read_csv(tmp_path / "s.csv")) == len(list(new_posters.rglob("*.jpg")))
    items, _ = data.read(few, absent="unknown")
    assert load(made).predict(items["path"][:2]).notna().all(axis=None)


def test_embeddings_side_by_side_are_those_of_each(few):
    items, _ = data.read(few, absent="unknown")
    both, _ = features.embed(items[:4], PAIR)
    one, _ = features.embed(items[:4], "lite0@64")
    assert both.shape[1] > one.shape[1]
    assert np.allclose(both[:, : one.shape[1]], one, atol=1e-4)


def test_a_month_may_train_the_best():
    assert Train(recipe="best").encoder == BEST
    assert Train().encoder == "lite0"
    assert replace(Train(recipe="best"), encoder=PAIR).encoder == PAIR


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lite0+", "needs a name of its own"),
        ("lite0+lite0", "needs a name of its own"),
        ("+", "needs a name of its own"),
        ("lite0+lite9", "There is no encoder 'lite9'; did you mean"),
        ("lite0@96+lite1", "must be a number of pixels"),
        ("lite0+lite1@20", "must be a number of pixels"),
    ],
)
def test_odd_pairs_are_refused_in_a_sentence(name, says):
    with pytest.raises(MovieTaggerError, match=says):
        find(name)


def test_weights_are_of_one_encoder(tmp_path):
    with pytest.raises(MovieTaggerError, match="are of one encoder"):
        find("lite0+lite1", tmp_path / "weights.pth")


def test_a_misspelt_recipe_is_told_the_nearest():
    with pytest.raises(MovieTaggerError, match="did you mean 'best'"):
        train(pd.DataFrame(), pd.DataFrame(), "bset")
