"Real posters and stills: the numbers below which something is broken."

import json

import pytest
from conftest import movie_tagger

pytestmark = pytest.mark.slow


def trained(tmp_path, *options):
    "The metrics of a training."
    done = movie_tagger(
        "train", *options, "--out", tmp_path / "model", "--json", tmp_path / "metrics.json"
    )
    assert (done.code, done.err) == (0, "")
    return json.loads((tmp_path / "metrics.json").read_text())["metrics"]


def test_three_genres_of_posters(real_data, tmp_path):
    "One label a poster, all chosen inside the folds; a few labels are wrong, as in real life."
    accuracy = trained(tmp_path, real_data / "genre3" / "genres.csv", "--folds", 5)["accuracy"]
    assert accuracy["low"] > accuracy["baseline"] and accuracy["value"] >= 0.77


def test_tags_of_stills(real_data, tmp_path):
    "Many tags a still, each still looked at for every tag."
    precision = trained(
        tmp_path, real_data / "stills" / "truth.csv", "--absent", "no", "--min-count", 25
    )["mean average precision"]
    assert precision["low"] > precision["baseline"] and precision["value"] >= 0.62
