"An undo touches what it undoes; a locked or unreadable ledger is a sentence, soon."

import os
import sqlite3
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from movie_tagger.core import MovieTaggerError
from movie_tagger.ledger.ledger import Ledger

ITEMS = ["0.jpg", "1.jpg"]
ACTORS = ["curator:anna", "user:1", "import:a"]
BATCHES = [None, "one", "two"]


def frame(names):
    paths = [f"/p/{name}" for name in names]
    return pd.DataFrame({"path": paths}, index=pd.Index(names, name="item"))


def decisions(*cells):
    return pd.DataFrame(cells, columns=["item", "tag", "state"], dtype=object)


# --- any undos of undos of undos

numbers = st.integers(0, 30)
actors, batches = st.sampled_from(ACTORS), st.sampled_from(BATCHES)
said = st.tuples(st.just("say"), actors, batches, st.sampled_from(ITEMS), st.booleans() | st.none())
taken_back = st.tuples(
    st.just("undo"), actors, st.sampled_from(["event", "batch", "actor"]), numbers
)
revised = st.tuples(st.just("revise"), actors, batches, st.lists(numbers, min_size=1, max_size=3))


def do(ledger, what, by, *more):
    "One step; numbers stand for the latest event, batch or actor, the one before, and so on."
    last = ledger.version
    if what == "say":
        batch, item, state = more
        ledger.decide(decisions((item, "hat", state)), by, batch)
    elif what == "undo":
        kind, number = more
        names = {"event": range(last, 0, -1), "batch": BATCHES[1:], "actor": ACTORS}[kind]
        ledger.undo(by, **{kind: names[number % len(names)]})
    else:
        batch, events = more
        ledger.revise(by, batch or "both", {}, {}, [last - number % last for number in events])


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.lists(said | taken_back | revised, max_size=25))
def test_the_present_is_what_the_events_add_up_to_after_any_undos(steps):
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder, "ledger.db")) as ledger:
        ledger.add(frame(ITEMS), "import:a")
        ledger.decide(decisions((ITEMS[0], "hat", True)), "import:a", "one")
        ledger.decide(decisions((ITEMS[1], "hat", False)), "user:1", "two")
        for step in steps:
            try:
                do(ledger, *step)
            except MovieTaggerError as e:
                assert "in the ledger" in str(e)
            ledger.verify()


# --- what it costs


def instructions(ledger, act):
    "How many hundreds of SQLite's instructions something takes."
    count = [0]
    with ledger._reading() as db:
        pass
    db.set_progress_handler(lambda: count.__setitem__(0, count[0] + 1), 100)
    act()
    db.set_progress_handler(None, 0)
    return count[0]


def with_items(path, many):
    ledger, names = Ledger(path), [f"{k}.jpg" for k in range(many)]
    cells = decisions(*((name, "hat", True) for name in names))
    ledger.sync(frame(names), cells, "import:a", "all")
    for k in range(many // 10):
        ledger.decide(decisions((names[k], "hat", False)), "api:site", f"b{k}")
        ledger.undo("api:site", batch=f"b{k}")
    return ledger


@pytest.mark.parametrize("how", ["last", "event", "batch", "undo"])
def test_the_cost_of_an_undo_does_not_grow_with_the_ledger(tmp_path, how):
    spent = []
    for many in (100, 2000):
        with with_items(tmp_path / f"{many}.db", many) as ledger:
            number = ledger.set("5.jpg", "hat", False, "curator:anna")
            ledger.decide(decisions(("6.jpg", "hat", False)), "curator:anna", "mine")
            ledger.undo("curator:ben", event=number)
            what = {
                "last": {},
                "event": {"event": number + 1},
                "batch": {"batch": "mine"},
                "undo": {"event": ledger.version},
            }[how]
            spent.append(instructions(ledger, partial(ledger.undo, "curator:anna", **what)))
            ledger.verify()
    assert spent[1] < 2 * spent[0] + 5


def test_a_ledger_from_before_gets_what_undoing_needs(tmp_path):
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add(frame(ITEMS), "import:a")
        number = ledger.set("0.jpg", "hat", True, "curator:anna")
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("DROP INDEX IF EXISTS event_undo")
    db.close()
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.undo("curator:anna", event=number) == 1
        assert ledger.undo("curator:anna", event=ledger.version) == 1
        ledger.verify()


# --- behind the server


@pytest.fixture
def book(tmp_path):
    pytest.importorskip("fastapi")
    from movie_tagger.serve.feedback import Book

    made = Book(tmp_path / "ledger.db")
    yield made
    made.close()


def test_feedback_taken_back_changes_what_is_rejected_of_its_stills_only(book):
    both = [("a" * 64, "blood", False), ("b" * 64, "blood", False)]
    book.write(both, "api:site", "key 1").result()
    book.write([("a" * 64, "gore", False)], "api:site", "key 2").result()
    book.refresh().result()
    assert book.undo("key 1", "api:site").result() == 2
    assert (book.rejected("a" * 64), book.rejected("b" * 64)) == ({"gore"}, frozenset())
    book.refresh().result()
    assert (book.rejected("a" * 64), book.rejected("b" * 64)) == ({"gore"}, frozenset())


@pytest.mark.timeout(40)
def test_a_book_is_closed_although_somebody_else_keeps_the_ledger_locked(tmp_path):
    pytest.importorskip("fastapi")
    from movie_tagger.serve.feedback import Book

    class Hasty(Book):
        patience = 0.3

    book = Hasty(tmp_path / "ledger.db")
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    now, later = (
        book.write([("a" * 64, "hat", True)], "api:site", key) for key in ("key 1", "key 2")
    )
    while not (now.running() or now.done()):
        time.sleep(0.01)
    book.close()
    with pytest.raises(MovieTaggerError, match="Another program has been writing"):
        now.result()
    assert later.cancelled() or later.exception()
    other.execute("ROLLBACK")
    other.close()


# --- what is no ledger


def test_a_place_where_no_ledger_can_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("six eggs")
    os.mkfifo(tmp_path / "pipe")
    for path in ("file/ledger.db", "file", "pipe", "x" * 300 + ".db", "a\0b.db", ""):
        with pytest.raises(MovieTaggerError):
            Ledger(tmp_path / path)


@pytest.mark.parametrize("create", [True, False])
def test_a_ledger_cut_off_or_overwritten_anywhere_is_a_sentence_or_is_read(tmp_path, create):
    with Ledger(tmp_path / "whole.db") as ledger:
        ledger.add(frame(ITEMS), "import:a")
        ledger.set("0.jpg", "hat", True, "curator:anna")
    whole = (tmp_path / "whole.db").read_bytes()
    for k in range(0, len(whole), 1500):
        path = tmp_path / f"{k}.db"
        path.write_bytes(whole[:k] if k % 2 else whole[:k] + bytes(600) + whole[k + 600 :])
        try:
            with Ledger(path, create) as ledger:
                ledger.labels()
                ledger.undo("curator:anna")
                ledger.verify()
        except MovieTaggerError as e:
            assert str(path) in str(e)
