"An exact search in one file: what it finds, and files and vectors that do not fit."

import random
import warnings

import numpy as np
import pytest

from movie_tagger.core import MovieTaggerError
from movie_tagger.features import index as room
from movie_tagger.features.index import Index

NAMES = [f"still {k}\udc80.jpg" for k in range(50)]  # a name whose bytes are no text


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)


@pytest.fixture
def file(rows, tmp_path):
    Index(NAMES, rows, "lite0", "abc").save(tmp_path / "x.index")
    return tmp_path / "x.index"


def test_what_was_saved_is_found_again_and_grows(file, rows):
    opened = Index.open(file, "abc")
    names, scores = opened.near(rows[:3], 2)
    assert names[:, 0].tolist() == NAMES[:3] and np.allclose(scores[:, 0], 1, atol=1e-5)
    opened.add(["new", NAMES[0]], [rows[1], rows[2]])
    opened.save(file)
    again = Index.open(file)
    assert len(again) == 51
    assert set(again.near(rows[2], 2)[0]) == {NAMES[0], NAMES[2]}
    assert again.near(rows[0], 1)[0][0] != NAMES[0]


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 24])
def test_blocks_change_nothing(rows, block, monkeypatch):
    monkeypatch.setattr(room, "BLOCK", block)
    index = Index(range(30), rows[:30])
    index.add(range(30, 50), rows[30:])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.argsort(-(unit[:4] @ unit.T), axis=1, kind="stable")[:, :6]
    assert np.array_equal(index.near(rows[:4], 6)[0].astype(int), expected)


def test_more_than_there_is_and_nothing_at_all(rows):
    empty = Index([], np.empty((0, 8)))
    assert empty.near(rows[0])[0].tolist() == []
    empty.add(["a"], rows[:1])
    assert empty.near(rows[0], 10**6)[0].tolist() == ["a"]
    assert empty.of([]).shape == (0, 8)


def test_an_index_of_another_encoder_is_refused_in_one_sentence(file):
    with pytest.raises(MovieTaggerError, match=r"another encoder \(lite0, abc; asked for xyz\)"):
        Index.open(file, "xyz")


def test_a_file_cut_anywhere_is_refused(file, tmp_path):
    whole, part = file.read_bytes(), tmp_path / "part.index"
    for cut in range(0, len(whole), 13):
        part.write_bytes(whole[:cut])
        with pytest.raises(MovieTaggerError, match="no index, or damaged"):
            Index.open(part)


def test_a_changed_byte_gives_a_sentence_or_an_answer(file, tmp_path, rows):
    whole, chance, outcomes = file.read_bytes(), random.Random(0), set()
    for _ in range(400):
        changed = bytearray(whole)
        changed[chance.randrange(len(whole))] = chance.randrange(256)
        file.write_bytes(changed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found, _ = Index.open(file).near(rows[0], 3)
            outcomes.add(len(found))
        except MovieTaggerError as e:
            outcomes.add("damaged" in str(e))
    assert outcomes == {3, True}


@pytest.mark.parametrize(
    "names, vectors, says",
    [
        (["a"], [[np.nan, 1.0]], "not made of numbers"),
        (["a", "a"], [[0, 1], [1, 1]], "more than once"),
        (["a"], [[0, 1], [1, 1]], "numbers for each of 1 picture"),
        (["a"], [0.0, 1.0], "a row of numbers a picture"),
        (["a"], np.empty((1, 0)), "a row of numbers a picture"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(names, vectors, says):
    with pytest.raises(MovieTaggerError, match=says):
        Index(names, vectors)


@pytest.mark.parametrize(
    "question, n, says",
    [
        (np.ones(3), 5, "this question has the shape"),
        (np.zeros((2, 2, 8)), 5, "this question has the shape"),
        (np.full(8, np.nan), 5, "made of numbers"),
        (np.ones(8), 0, "at least 1"),
    ],
)
def test_questions_that_do_not_fit_are_refused(rows, question, n, says):
    with pytest.raises(MovieTaggerError, match=says):
        Index(range(50), rows).near(question, n)


def test_what_is_not_there_is_said(rows, tmp_path):
    with pytest.raises(MovieTaggerError, match="'z' is not in the index"):
        Index(range(50), rows).of(["z"])
    with pytest.raises(MovieTaggerError, match="Cannot read the index"):
        Index.open(tmp_path / "nothing")
    with pytest.raises(MovieTaggerError, match="Cannot read the index"):
        Index.open(tmp_path)
