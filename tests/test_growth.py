"Learning curves: nothing leaks, films stay whole, and odd labels have defined answers."

import numpy as np
import pandas as pd
import pytest

from movie_tagger import data
from movie_tagger.core import MovieTaggerError
from movie_tagger.judge.growth import LearningCurve, learning_curve
from movie_tagger.learn.recipes import learning_curve as curve_of_pictures

TAGS = ["car", "rain"]
FILMS = np.repeat(np.arange(30), 4)


def labelled(seed=0):
    return (np.random.default_rng(seed).random((120, 2)) < 0.4).astype(np.float32)


def test_no_film_is_on_both_sides_and_each_part_is_within_the_next():
    seen = []

    def ask(learn, told):
        assert not set(FILMS[learn]) & set(FILMS[told])
        seen.append((learn, told))
        return np.zeros((told.sum(), 2))

    curve = learning_curve(labelled(), FILMS, TAGS, ask, splits=2)
    for (small, one), (large, two) in zip(seen[:3], seen[1:4]):
        assert (small <= large).all() and (one == two).all() and small.sum() < large.sum()
    assert (seen[3][1] != seen[7][1]).any()
    assert curve.pictures.tolist() == [20, 40, 60, 80]


def on_the_line(slope, start=0.9):
    "Scores (splits, sizes, tags) that lie on a line over 1/sqrt(n)."
    pictures = np.array([100.0, 200, 300, 400])
    scores = start - np.outer(pictures**-0.5, slope)
    return LearningCurve(TAGS, pictures, np.ones((4, 2)), np.stack([scores, scores]))


def test_what_lies_on_the_line_is_carried_on():
    ahead = on_the_line([2.0, 2.0]).ahead(500)
    right = 2 * (400**-0.5 - 900**-0.5)
    assert ahead["gain"].tolist() == pytest.approx([right] * 3)
    assert ahead["low"].tolist() == pytest.approx([right] * 3)
    apart = on_the_line([4.0, 0.0]).ahead(500)["gain"]
    assert apart["car"] > apart["mean over tags"] > apart["rain"] > 0


def test_a_tag_that_is_not_there_in_some_split_has_no_number_and_harms_no_other():
    y = labelled()
    y[:, 1] = np.nan
    y[:4, 1] = [1, 0, 1, 0]

    def ask(learn, told):
        return np.nan_to_num(y[told])

    curve = learning_curve(y, FILMS, TAGS, ask, splits=4)
    assert not curve.table()["value"].isna().any()
    assert curve.per_tag().loc["car", "all"] == 1
    y[:, 1] = np.nan
    gone = learning_curve(y, FILMS, TAGS, lambda learn, told: np.nan_to_num(y[told]), splits=2)
    assert (
        np.isnan(gone.per_tag().loc["rain", "gain"]) and np.isnan(gone.ahead(9).loc["rain"]).all()
    )
    assert gone.plot is not None and "0." in repr(gone) or "1." in repr(gone)


@pytest.mark.parametrize("films", [0, 1, 5])
def test_too_few_films_are_a_sentence(films):
    n = 4 * films
    with pytest.raises(MovieTaggerError, match="6 films or more, and these are of"):
        learning_curve(labelled()[:n], FILMS[:n], TAGS, None)


def test_pictures_without_enough_labels_are_a_sentence(posters):
    items, labels = data.read(posters)
    with pytest.raises(MovieTaggerError, match="needs at least 10000"):
        curve_of_pictures(items, labels, min_count=10_000)


def test_a_curve_of_drawn_posters(posters):
    items, labels = data.read(posters)
    curve = curve_of_pictures(items, labels, splits=2)
    assert curve.tags == list(labels) and curve.table()["value"].between(0.3, 1).all()
    assert isinstance(curve.per_tag(), pd.DataFrame)
