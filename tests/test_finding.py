"A tag that nobody has typed yet: taught from examples and answers, in the panel and below it."

import base64

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from movie_tagger.core import MovieTaggerError
from movie_tagger.curate.cleaner import ImageCleaner
from movie_tagger.curate.finding import Finding
from movie_tagger.features.index import Index
from movie_tagger.learn.teaching import Rows, Teacher, above, prior, proposed, reached, taught
from movie_tagger.ledger.ledger import Ledger

N, WIDTH = 120, 16
TRUE = np.arange(N) % 3 == 0


@pytest.fixture
def embeddings():
    "Rows of noise in which every third has something more of one number."
    rows = np.random.default_rng(0).normal(size=(N, WIDTH)).astype(np.float32)
    rows[TRUE, 0] += 3
    return rows


@pytest.fixture
def items(tmp_path):
    for k in range(3):
        Image.new("RGB", (32, 24), (80 * k, 40, 90)).save(tmp_path / f"{k}.jpg")
    paths = [str(tmp_path / f"{k % 3}.jpg") for k in range(N)]
    return pd.DataFrame({"path": paths}, index=[f"s{k}" for k in range(N)])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOVIE_TAGGER_CACHE", str(tmp_path / "cache"))


# --- the teacher


def test_without_an_answer_the_head_is_the_prior_and_with_many_it_is_a_ridge(embeddings):
    rows = Rows(embeddings)
    begun = prior(rows, examples=[0])
    assert taught(rows.of([]), np.array([], bool), begun).line is begun
    flat = prior(rows)
    assert not flat.weight.any()
    pulled = taught(rows.of(range(N)), TRUE, begun).line.weight
    free = taught(rows.of(range(N)), TRUE, flat).line.weight
    start = np.linalg.norm(begun.weight - flat.weight)
    assert np.linalg.norm(pulled - free) < 0.2 * start


def test_what_is_held_out_is_what_a_head_without_the_film_says(embeddings):
    rows, films = Rows(embeddings), np.arange(30) // 3
    begun = prior(rows, examples=[0])
    head = taught(rows.of(range(30)), TRUE[:30], begun, films)
    for film in (0, 7):
        others = np.flatnonzero(films != film)
        line = taught(rows.of(others), TRUE[others], begun).line
        own = np.flatnonzero(films == film)
        assert np.allclose(head.held_out[own], rows.of(own) @ line.weight + line.bias, atol=1e-4)


def test_the_length_of_a_row_says_nothing_and_a_row_that_could_not_be_read_is_never_proposed(
    embeddings,
):
    longer = embeddings * np.linspace(0.1, 50, N)[:, None].astype(np.float32)
    longer[5] = np.nan
    teacher, plain = Teacher(longer), Teacher(np.delete(embeddings, 5, 0))
    teacher.begin([0]), plain.begin([0])
    assert np.allclose(np.delete(teacher.scores, 5), plain.scores, atol=1e-3)
    assert np.isnan(teacher.scores[5])
    assert 5 not in teacher.next()[0] and len(teacher.next()[0]) == N - 1
    with pytest.raises(MovieTaggerError, match="no embedding"):
        teacher.begin([5])


def test_answers_find_faster_than_likeness_alone(embeddings):
    teacher = Teacher(embeddings)
    teacher.begin([0])
    likeness = np.argsort(-teacher.scores)[:40]
    answers = {0: True}
    while len(answers) < 40:
        teacher.answer(answers)
        (row,), _ = teacher.next(1)
        answers[int(row)] = bool(TRUE[row])
    assert sum(answers.values()) > TRUE[likeness].sum() > 40 * TRUE.mean()


def test_half_of_what_is_proposed_is_unsure_and_nothing_comes_twice():
    scores, asked = np.linspace(-1, 1, 21), np.zeros(21, bool)
    asked[20] = True
    rows, unsure = proposed(scores, asked, 6)
    assert rows.tolist() == [19, 10, 18, 9, 17, 11]
    assert unsure.tolist() == [False, True] * 3
    every, _ = proposed(scores, asked)
    assert sorted(every) == list(range(20))
    assert len(proposed(scores, np.ones(21, bool))[0]) == 0


def test_what_a_head_reaches_is_said_after_ten_answers_of_both_kinds():
    y = np.arange(12) < 4
    assert reached(y[:9], y[:9].astype(float)) == ""
    assert reached(np.ones(20, bool), np.ones(20)) == ""
    assert "100 % of the pairs" in reached(y, y.astype(float))
    share, low, high = above(y, np.r_[np.ones(2), np.zeros(10)])
    assert (share, low < share < high) == (0.75, True)


def test_words_of_another_encoder_are_refused(embeddings):
    with pytest.raises(MovieTaggerError, match="another encoder"):
        Teacher(embeddings).begin(words=np.ones((1, 5)))
    with pytest.raises(MovieTaggerError, match="another encoder"):
        Teacher(embeddings).begin(pictures=np.ones((1, 5)))


# --- finding


def find(source, embeddings, **how):
    return Finding(source, tag="gun", embeddings=embeddings, **how)


def answered(finder):
    true = {f"s{k}" for k in np.flatnonzero(TRUE)}
    page = finder.pages[finder.page]
    finder.accept(*[item for item in page if item in true])
    finder.keep_rest()


def test_pages_that_were_shown_stay_and_the_others_follow_the_answers(items, embeddings, tmp_path):
    finder = find(items, embeddings, out=tmp_path / "said.jsonl")
    assert "nothing to go by" in finder.question()
    finder.more_like("s0")
    assert finder.pages[0][0] == "s0" and "Click each" in finder.question()
    first, later = list(finder.pages[0]), [list(page) for page in finder.pages[1:]]
    answered(finder)
    assert list(finder.pages[0]) == first
    assert [list(page) for page in finder.pages[1:]] != later
    asked = [item for page in finder.pages for item in page]
    assert len(asked) == len(set(asked)) == N


def test_what_was_said_and_what_one_began_with_outlive_the_kernel(items, embeddings, tmp_path):
    finder = find(items, embeddings, out=tmp_path / "said.jsonl", words=lambda w: np.eye(WIDTH)[:1])
    finder.more_like("s0", "s3")
    finder.say("a gun")
    answered(finder)
    again = find(items, embeddings, out=tmp_path / "said.jsonl", words=finder.words)
    assert again.begun() == finder.begun() == "like 2 examples and “a gun”"
    assert again.far() == finder.far() == (12, N)
    assert list(again.pages[0]) == list(finder.pages[1])
    assert np.allclose(again.teacher.scores, finder.teacher.scores)
    without = find(items, embeddings, out=tmp_path / "said.jsonl")
    assert without.begun() == "like 2 examples"


def test_an_undone_answer_is_asked_again(items, embeddings, tmp_path):
    finder = find(items, embeddings, out=tmp_path / "said.jsonl")
    finder.more_like("s0")
    finder.accept("s0")
    finder.undo()
    assert finder.far()[0] == 0 and not finder.teacher.answers
    finder.redo()
    assert finder.teacher.answers == {0: True}
    again = find(items, embeddings, out=tmp_path / "said.jsonl")
    again.undo()
    assert "s0" in again.pages[again.page]


def test_a_tag_in_a_ledger_begins_with_what_was_typed_and_skips_what_is_known(
    items, embeddings, tmp_path
):
    with Ledger(tmp_path / "ledger.db") as book:
        book.add(items, actor="import:site.sql")
        for item in ("s0", "s3"):
            book.set(item, "gun", True, "import:site.sql")
        book.set("s6", "gun", False, "curator:bob")
        finder = find(book, Index(items.index, embeddings), actor="curator:anna")
        asked = {item for page in finder.pages for item in page}
        assert not asked & {"s0", "s3", "s6"} and len(asked) == N - 3
        finder.accept("s9")
        finder.keep("s10")
        finder.exclude("s11")
        assert book.labels().loc[["s9", "s10"], "gun"].tolist() == [True, False]
        assert "✓ 1 yes · − 1 no · ✕ 1 excluded · 114 not asked" in finder.summary()


def test_it_says_when_to_stop(items, embeddings, tmp_path):
    finder = find(items, embeddings, out=tmp_path / "said.jsonl")
    finder.keep(*[f"s{k}" for k in range(24)])
    assert finder.stop() == "24 answers brought 0. You can stop here."


@pytest.mark.parametrize(
    "how, says",
    [
        ({"tag": None}, "Say which tag"),
        ({"tag": "a, b"}, "Say which tag"),
        ({"tag": ""}, "Say which tag"),
        ({"embeddings": np.ones((3, 4))}, "a row a picture"),
        ({"embeddings": np.full((N, 4), np.nan)}, "None of the pictures"),
    ],
)
def test_what_cannot_be_found_is_refused(items, embeddings, tmp_path, how, says):
    how = {"tag": "gun", "embeddings": embeddings, "out": tmp_path / "said.jsonl"} | how
    with pytest.raises(MovieTaggerError, match=says):
        ImageCleaner(items, mode="find", **how)


def test_a_class_is_not_found_and_a_folder_is_not_looked_through(items, embeddings):
    classes = pd.DataFrame({"gun": TRUE, "none": ~TRUE}, items.index, dtype="boolean")
    with pytest.raises(MovieTaggerError, match="one of several classes"):
        find(items, embeddings, labels=classes)
    with pytest.raises(MovieTaggerError, match="give a ledger, or a frame"):
        find("somewhere", embeddings)


# --- in the panel


@pytest.fixture
def panel(items, embeddings, tmp_path):
    pytest.importorskip("anywidget")
    made = ImageCleaner(
        items, mode="find", tag="gun", embeddings=embeddings, out=tmp_path / "said.jsonl"
    )
    sent = []
    made.panel.send = lambda message, buffers=(): sent.append(message)
    made.panel.shown = True
    return made, sent


@pytest.mark.parametrize(
    "message, says",
    [
        ({"do": "say", "text": "snow"}, "knows no words"),
        ({"do": "like", "items": ["nobody"]}, "no item"),
        ({"do": "like", "items": []}, "Select pictures"),
        ({"do": "bring", "text": base64.b64encode(b"no picture").decode()}, "cannot be looked at"),
        ({"do": "bring", "text": ""}, "cannot be looked at"),
    ],
)
def test_a_wrong_beginning_is_a_sentence_and_changes_nothing(panel, message, says):
    finder, sent = panel
    finder.receive({"do": "like", "items": ["s0"], "n": 1})
    before = [list(page) for page in finder.pages]
    finder.receive(message | {"n": 2})
    (error,) = [said for said in sent if said["kind"] == "error"]
    assert says in error["text"] and error["n"] == 2
    assert [list(page) for page in finder.pages] == before
    assert finder.begun() == "like 1 example"


def test_the_page_behind_is_sent_anew_with_each_answer(panel):
    finder, sent = panel
    finder.receive({"do": "like", "items": ["s0"]})
    finder.receive({"do": "accept", "items": ["s0"], "n": 3})
    assert set(sent[-1]["faces"]) == {0, 1}
    assert [face["item"] for face in sent[-1]["faces"][1]] == list(finder.pages[1])
    assert sent[-1]["finds"] == {"words": False, "begun": "like 1 example"}
