"Decisions, and the cleaner without a browser: nothing is lost or touched, errors are sentences."

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from movie_tagger import data
from movie_tagger.core import MovieTaggerError
from movie_tagger.curate import decisions, source
from movie_tagger.curate.cards import face, suggested
from movie_tagger.curate.cleaning import Cleaning
from movie_tagger.curate.decisions import (
    Decision,
    Decisions,
    cleaned,
    decision_table,
)
from movie_tagger.curate.estimates import before_and_after, error_rate, outlook, yields
from movie_tagger.curate.in_ledger import LedgerDecisions
from movie_tagger.curate.panel import Places, small
from movie_tagger.curate.queues import (
    MODES,
    Questions,
    as_queue,
    by_absence,
    by_doubt,
    by_duplicate,
    by_loss,
    by_lot,
    chosen,
    paged,
)
from movie_tagger.curate.reviewing import Reviewing, progress_of
from movie_tagger.judge.explanation import Explanation
from movie_tagger.judge.promise import Progress, films_needed, promises
from movie_tagger.ledger.ledger import Ledger
from movie_tagger.ledger.precedence import from_labels
from movie_tagger.ledger.review import drawn, lot, reviewed, unbroken

CLASSES = ["horror", "romance", "superhero"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    "A working folder of its own, whose decisions no other kernel has opened."
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(source, "_RECORDS", {})
    return tmp_path / "work"


@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    monkeypatch.setattr(source, "_RECORDS", {})


@pytest.fixture
def pictures(tmp_path):
    "Nine pictures of noise, single labels, and probabilities of which three rows contradict them."
    rng, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    for k in range(9):
        Image.fromarray(
            np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        ).save(folder / f"{k}.jpg", quality=95)
    names = [f"{k}.jpg" for k in range(9)]
    items = pd.DataFrame(
        {"path": [str(folder / name) for name in names], "group": names},
        index=pd.Index(names, name="item"),
    )
    y = np.eye(3)[np.arange(9) % 3]
    p = y * 0.7 + 0.1
    for k in range(3):
        p[k] = np.roll([0.01 * (k + 1), 0.9, 0.09 - 0.01 * k], k)
    return items, data.from_array(y, names, CLASSES), p


def files(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def keep(*items):
    return [Decision(item, "keep") for item in items]


def made(record):
    return {item: d.decision for item, d in record.state().items()}


# --- the record


def test_a_step_is_undone_and_redone_as_one():
    record = Decisions()
    record.decide(*keep("a", "b"))
    record.decide(Decision("a", "exclude"))
    assert record.undo() == [Decision("a", "exclude")] and made(record) == {
        "a": "keep",
        "b": "keep",
    }
    assert [d.item for d in record.undo()] == ["a", "b"] and made(record) == {}
    assert record.undo() == []
    record.redo()
    assert made(record) == {"a": "keep", "b": "keep"}


def test_a_new_decision_ends_what_could_be_redone():
    record = Decisions()
    record.decide(*keep("a"))
    record.undo()
    record.decide(*keep("b"))
    assert record.redo() == [] and made(record) == {"b": "keep"}


def test_an_empty_decision_takes_an_earlier_one_back_and_can_be_undone_itself():
    record = Decisions()
    record.decide(*keep("a"))
    record.decide(Decision("a", ""))
    assert made(record) == {}
    record.undo()
    assert made(record) == {"a": "keep"}


def test_the_latest_decision_comes_last():
    record = Decisions()
    record.decide(*keep("a"))
    record.decide(*keep("b"))
    record.decide(Decision("a", "exclude"))
    assert list(made(record)) == ["b", "a"]


def test_a_file_keeps_every_step_even_one_word_names_and_unicode(tmp_path):
    out = tmp_path / "new folder" / "decisions.jsonl"
    steps = [
        keep('größe, "quoted"\n.jpg'),
        [Decision("b", "relabel", {"hat": False, "car": True}, "loss 1.00")],
    ]
    record = Decisions(out)
    for step in steps:
        record.decide(*step)
    assert Decisions(out).done == steps == record.done
    record.undo()
    again = Decisions(str(out))
    assert again.done == steps[:1] and again.undone == steps[1:]


def test_the_line_is_in_the_file_before_the_next_decision(tmp_path):
    record = Decisions(tmp_path / "d.jsonl")
    for k in range(5):
        record.decide(*keep(str(k)))
        assert len((tmp_path / "d.jsonl").read_text().splitlines()) == k + 2


def test_two_records_on_one_file_lose_nothing(tmp_path):
    one, two = Decisions(tmp_path / "d.jsonl"), Decisions(tmp_path / "d.jsonl")
    for k in range(6):
        (one, two)[k % 2].decide(*keep(str(k)))
    one.sync(), two.sync()
    assert one.state() == two.state() == Decisions(tmp_path / "d.jsonl").state()
    assert list(one.state()) == list("012345")
    assert two.undo()[0].item == "5" and one.undo()[0].item == "4"


def test_many_programs_may_write_at_once(tmp_path):
    code = (
        "import sys; from movie_tagger.curate.decisions import Decision, Decisions\n"
        "r = Decisions(sys.argv[1])\n"
        "for k in range(40): r.decide(Decision(f'{sys.argv[2]}-{k}', 'keep', reason='x' * 500))"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "d.jsonl"), name])
        for name in "abc"
    ]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    assert set(Decisions(tmp_path / "d.jsonl").state()) == {
        f"{name}-{k}" for name in "abc" for k in range(40)
    }


@pytest.mark.parametrize("torn", [b'[{"item": "c', b'"und', b"[", b'"undo"'])
def test_a_torn_last_line_is_lost_and_no_other(tmp_path, torn):
    out = tmp_path / "d.jsonl"
    Decisions(out).decide(*keep("a"))
    with open(out, "ab") as f:
        f.write(torn)
    record = Decisions(out)
    record.decide(*keep("b"))
    # the last one is whole, but for its end
    if torn != b'"undo"':
        assert list(record.state()) == list(Decisions(out).state()) == ["a", "b"]
    else:
        assert list(Decisions(out).state()) == ["b"]


def test_a_file_that_was_removed_comes_back_whole(tmp_path):
    record = Decisions(tmp_path / "d.jsonl")
    record.decide(*keep("a"))
    (tmp_path / "d.jsonl").unlink()
    record.decide(*keep("b"))
    assert list(Decisions(tmp_path / "d.jsonl").state()) == ["a", "b"]


def test_another_kind_of_file_is_refused_and_untouched(tmp_path):
    other = tmp_path / "cleaned.csv"
    other.write_text("id,image,label\n")
    with pytest.raises(MovieTaggerError, match="cleaned.csv holds something else"):
        Decisions(other)
    assert other.read_text() == "id,image,label\n"


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path):
    with pytest.raises(MovieTaggerError, match="Cannot read"):
        Decisions(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(MovieTaggerError, match="Cannot write"):
        Decisions(tmp_path / "file" / "d.jsonl")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_full_disk_makes_no_decision(tmp_path, monkeypatch):
    record = Decisions(tmp_path / "d.jsonl")
    record.decide(*keep("a"))
    monkeypatch.setattr(
        decisions.os,
        "fsync",
        lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(
        MovieTaggerError, match="No space left on device. The decision was not made"
    ):
        record.decide(*keep("b"))


# --- what decisions do


def test_cleaned_leaves_out_and_relabels_and_touches_nothing(pictures):
    items, labels, _ = pictures
    before = items.copy(), labels.copy()
    record = Decisions()
    record.decide(
        Decision("0.jpg", "exclude"),
        Decision("1.jpg", "relabel", {"horror": True, "romance": False, "superhero": False}),
        *keep("2.jpg"),
    )
    new_items, new_labels = cleaned(items, labels, record)
    assert list(new_items.index) == list(new_labels.index) == list(items.index[1:])
    assert (
        list(new_labels.loc["1.jpg"]) == [True, False, False] and data.kind(new_labels) == "single"
    )
    pd.testing.assert_frame_equal(new_labels.drop("1.jpg"), labels.iloc[2:])
    (
        pd.testing.assert_frame_equal(items, before[0]),
        pd.testing.assert_frame_equal(labels, before[1]),
    )
    assert decision_table(labels, record).reset_index().to_numpy().tolist() == [
        ["0.jpg", "exclude", "horror", "", ""],
        ["1.jpg", "relabel", "romance", "horror", ""],
        ["2.jpg", "keep", "superhero", "superhero", ""],
    ]


def test_with_many_tags_only_the_named_ones_change():
    labels = data.from_array(
        [[1, 0, np.nan], [np.nan, np.nan, 1]], ["a", "b"], ["hat", "car", "blood"]
    )
    record = Decisions()
    record.decide(
        Decision("a", "relabel", {"hat": False, "blood": False}),
        Decision("b", "relabel", {"car": True}),
    )
    np.testing.assert_array_equal(
        data.to_array(cleaned(pd.DataFrame(index=labels.index), labels, record)[1]),
        [[0, 0, 0], [np.nan, 1, 1]],
    )
    assert decision_table(labels, record)["after"].tolist() == ["-blood", "car, blood"]


def test_decisions_about_other_pictures_are_left_alone(pictures):
    items, labels, _ = pictures
    record = Decisions()
    record.decide(*keep("gone.jpg"))
    assert decision_table(labels, record).empty and len(cleaned(items, labels, record)[0]) == 9


def test_a_label_that_is_not_there_any_more_is_an_error(pictures):
    items, labels, _ = pictures
    record = Decisions()
    record.decide(Decision("0.jpg", "relabel", {"western": True}))
    with pytest.raises(MovieTaggerError, match="'western', which is no label here"):
        cleaned(items, labels, record)


# --- modes and pages


def test_top_losses_come_first_and_those_without_last(pictures):
    items, labels, p = pictures
    p[8], labels.iloc[7] = np.nan, False
    queue = by_loss(items, labels, p, "single")
    assert list(queue.index) == [f"{k}.jpg" for k in (0, 1, 2, 3, 4, 5, 6, 7, 8)]
    assert list(queue["reason"].iloc[[0, 7, 8]]) == ["loss 4.61", "no label", "no probability"]


def test_with_many_tags_the_most_surprising_known_tag_counts():
    labels = data.from_array(
        [[1, 0, np.nan], [1, 1, 1], [np.nan] * 3], list("abc"), ["hat", "car", "blood"]
    )
    queue = by_loss(
        labels, labels, np.array([[0.9, 0.8, 1.0], [0.9, 0.9, 0.5], [0.1, 0.1, 0.1]]), "multi"
    )
    assert queue["reason"].to_dict() == {
        "a": "loss 1.61 for car",
        "b": "loss 0.69 for blood",
        "c": "no label",
    }


def test_near_duplicates_lie_side_by_side_those_with_other_labels_first(pictures):
    items, labels, _ = pictures
    for copy, of in ((6, 3), (7, 0), (8, 0)):
        Image.open(items["path"].iloc[of]).resize((100, 100)).save(items["path"].iloc[copy])
    queue = by_duplicate(items, labels)
    assert list(queue.index) == ["7.jpg", "8.jpg", "0.jpg", "6.jpg", "3.jpg"]
    assert queue["cluster"].nunique() == 2
    assert queue["reason"].str.contains("other label").tolist() == [True] * 3 + [False] * 2
    assert queue["suggestion"].tolist() == ["", "", "", "", "exclude"], "of equals the larger stays"
    assert queue["reason"]["3.jpg"] == "goes: 64 × 64, looks the same as 6.jpg"
    assert queue["reason"]["6.jpg"] == "stays: 100 × 100, looks the same as 3.jpg"


def test_of_pairs_the_copies_go_in_one_step_and_stand_beside_what_stays(pictures):
    items, labels, p = pictures
    for copy, of in ((6, 3), (7, 4)):
        Image.open(items["path"].iloc[of]).resize((40, 40)).save(items["path"].iloc[copy])
    cleaner = Cleaning(items, labels, p, out=Decisions(), mode="near duplicates")
    faces = [cleaner.face(item) for item in cleaner.pages[0]]
    assert [f["item"] for f in faces] == ["4.jpg", "7.jpg", "3.jpg", "6.jpg"]
    assert [f["cluster"] for f in faces] == [faces[0]["cluster"]] * 2 + [faces[2]["cluster"]] * 2
    assert [f["accept"] for f in faces] == ["", "✕ It goes"] * 2
    assert cleaner.question().startswith("Is it the same picture?")
    assert cleaner.rest()["accept"] == "✕ The copies go"
    cleaner.accept_rest()
    assert cleaner.decisions()["decision"].to_dict() == {
        "4.jpg": "keep",
        "7.jpg": "exclude",
        "3.jpg": "keep",
        "6.jpg": "exclude",
    }
    cleaner.show(label="horror", marked=None)
    assert set(everything(cleaner)) == {"3.jpg", "6.jpg"}, "a class chooses pictures, not tags"


def test_no_duplicates_and_unreadable_pictures_are_no_trouble(pictures):
    items, labels, _ = pictures
    assert by_duplicate(items, labels).empty
    items["path"] = [None, "", "gone.jpg", *items["path"][3:]]
    assert by_duplicate(items, labels).empty and by_duplicate(items[:3], labels[:3]).empty


@pytest.mark.parametrize("size", [1, 2, 3, 5, 24])
def test_pages_hold_everything_once_and_cut_no_cluster_that_fits(size):
    sizes = np.random.default_rng(size).integers(1, 7, 30)
    queue = pd.DataFrame(
        {"cluster": np.repeat(np.arange(30), sizes)}, index=np.arange(sizes.sum()).astype(str)
    )
    pages = paged(queue, size)
    assert list(np.concatenate(pages)) == list(queue.index) and max(map(len, pages)) <= size
    for _, members in queue.groupby("cluster"):
        if len(members) <= size:
            assert sum(members.index[0] in page or members.index[-1] in page for page in pages) == 1
    assert [len(page) for page in paged(queue[:0], size)] == [0]


def test_every_queue_asks_about_items_that_are_there(pictures):
    items, labels, p = pictures
    for name, mode in MODES.items():
        queue = mode(items, labels, p, "single")
        assert set(queue.index) <= set(items.index), name
        assert queue["reason"].map(bool).all(), name


def test_suspects_become_questions_with_an_answer_to_accept():
    table = pd.DataFrame(
        {
            "item": list("abcd"),
            "reason": ["wrong tag", "missing tag", "near duplicate", "unreadable"],
            "tag": ["hat", "car", "", ""],
            "score": [0.9, 0.8, 0.7, 1],
            "suggestion": ["-hat", "car", "a", "exclude"],
        }
    )
    queue = as_queue(table)
    assert queue["reason"].tolist() == [
        "hat is very doubtful",
        "car should be there",
        "looks like a",
        "cannot be read",
    ]
    assert queue["suggestion"].tolist() == ["-hat", "car", "", "exclude"]
    assert [suggested(s, pd.Index(["hat", "car"])) for s in queue["suggestion"]] == [
        ("hat", False),
        ("car", True),
        None,
        (None, False),
    ]
    assert as_queue(table[:0]).empty


@pytest.mark.parametrize("mode", [by_doubt, by_absence])
def test_without_probabilities_doubt_is_an_error_in_words(pictures, mode):
    items, labels, p = pictures
    with pytest.raises(MovieTaggerError, match="There are no probabilities"):
        mode(items, labels, np.full_like(p, np.nan), "single")


def test_a_question_is_answered_by_a_word_about_its_tag():
    labels = data.from_array([[np.nan, 1]] * 2, list("ab"), ["hat", "car"])
    queue = pd.DataFrame(
        {
            "reason": "?",
            "about": "?",
            "tag": ["hat", "car", "hat"],
            "suggestion": ["hat", "-car", "hat"],
        },
        index=["a", "a", "b"],
    )
    state = {"a": Decision("a", "keep", {"hat": False}), "b": Decision("b", "exclude")}

    def shown(**view):
        return list(chosen(queue, labels, None, state, **view)["tag"].items())

    assert shown() == [("a", "hat"), ("b", "hat")]
    assert shown(marked="undecided") == [("a", "car")]
    assert shown(marked="decided") == [("a", "hat"), ("b", "hat")]
    assert shown(label="car") == [("a", "car")]


# --- numbers


def test_the_error_rate_is_of_all_pictures_only_where_they_were_drawn_by_lot():
    items = pd.DataFrame(index=[f"{k}.jpg" for k in range(100)])
    lot = list(by_lot(items).index)

    def decided(which, wrong):
        return {i: Decision(i, "exclude" if k < wrong else "keep") for k, i in enumerate(which)}

    queue = decided(lot[50:80], 20)
    assert error_rate(lot, queue) is None, "the first of a queue say nothing of the others"
    found = error_rate(lot, queue | decided(lot[:20], 2))
    assert (found.wrong, found.looked, found.changed) == (
        2,
        20,
        22,
    ) and found.low < 0.1 < found.high
    assert "of all 100 as they came" in str(found)
    assert error_rate(lot, {}) is None and error_rate([], {}) is None


def test_yields_fall_block_by_block():
    state = {str(k): Decision(str(k), "relabel" if k < 6 else "keep") for k in range(10)}
    assert yields(state, 5)["wrong"].tolist() == [5, 1] and yields({}).empty


def test_before_and_after_are_judged_by_labels_that_no_decision_has_touched(pictures):
    items, labels, p = pictures
    better = data.to_array(labels) * 0.7 + 0.1
    assert before_and_after(items, labels, p, better, "single").startswith(
        "accuracy 0.667 → 1.000: +0.333 ("
    )
    assert "silence taken for no" in before_and_after(
        items, labels.where(labels), p, better, "multi"
    )
    assert (
        before_and_after(items, labels, 0.5, 0.75, "single")
        == "0.500 → 0.750, as your function measures it"
    )


def test_a_place_on_a_damaged_disk_is_no_place(tmp_path, monkeypatch):
    monkeypatch.setenv("MOVIE_TAGGER_CACHE", str(tmp_path))
    Places("x").put({"mode": "a"}, "0.jpg")
    Places("x").file.write_text("{")
    assert Places("x").get({"mode": "a"}) is None and Places("x").view == {}


# --- the cleaner

pytest.importorskip("anywidget")
from movie_tagger.curate.cleaner import ImageCleaner  # noqa: E402


def open_cleaner(*args, **kwargs):
    "A cleaner whose panel is shown, and the messages that it sends."
    cleaner, sent = ImageCleaner(*args, **kwargs), []
    cleaner.panel.widget.send = lambda message, buffers=None: sent.append(
        (json.loads(json.dumps(message)), buffers)
    )
    cleaner.receive({"do": "start"})
    return cleaner, sent


def shown(sent):
    "The cards of the page that was sent last: item and mark."
    message = next(m for m, _ in reversed(sent) if m["kind"] == "page")
    return {face["item"]: face["mark"] for face in message["faces"][str(message["page"])]}


def everything(cleaner):
    return [item for page in cleaner.pages for item in page]


def test_messages_and_methods_do_the_same(pictures):
    by_hand, sent = open_cleaner(*pictures, out=Decisions())
    by_code = ImageCleaner(*pictures, out=Decisions())
    for n, message in enumerate(
        [
            {"do": "exclude", "items": ["0.jpg"]},
            {"do": "accept", "items": ["1.jpg"]},
            {"do": "relabel", "items": ["2.jpg"], "tag": "romance", "yes": True},
            {"do": "keep", "items": ["3.jpg"]},
        ]
    ):
        by_hand.receive(message | {"n": n})
        assert sent[-1][0]["n"] == n
    (
        by_code.exclude("0.jpg"),
        by_code.accept("1.jpg"),
        by_code.relabel("2.jpg", "romance"),
        by_code.keep("3.jpg"),
    )
    pd.testing.assert_frame_equal(by_hand.decisions(), by_code.decisions())
    assert by_hand.decisions().reset_index().to_numpy().tolist() == [
        ["0.jpg", "exclude", "horror", "", "loss 4.61"],
        ["1.jpg", "relabel", "romance", "superhero", "loss 3.91"],
        ["2.jpg", "relabel", "superhero", "romance", "loss 3.51"],
        ["3.jpg", "keep", "horror", "horror", "loss 0.22"],
    ]
    assert list(shown(sent).items())[:5] == [
        ("0.jpg", "exclude"),
        ("1.jpg", "relabel"),
        ("2.jpg", "relabel"),
        ("3.jpg", "keep"),
        ("4.jpg", ""),
    ]


def test_reset_takes_a_decision_back_and_the_old_label_confirms_it(pictures):
    cleaner = ImageCleaner(*pictures)
    cleaner.exclude("0.jpg"), cleaner.reset("0.jpg")
    assert cleaner.decisions().empty
    cleaner.accept("1.jpg"), cleaner.relabel("1.jpg", "romance")
    assert cleaner.decisions()["decision"].to_dict() == {"1.jpg": "keep"}
    cleaner.undo()
    assert cleaner.decisions()["after"].to_dict() == {"1.jpg": "superhero"}


def test_nothing_is_lost_when_something_else_is_shown(pictures):
    cleaner = ImageCleaner(*pictures, split=[True] * 4 + [False] * 5, page_size=2)
    cleaner.exclude("0.jpg"), cleaner.relabel("1.jpg", "horror"), cleaner.keep("8.jpg")
    before = cleaner.decisions()
    for view in (
        {"label": "horror"},
        {"part": "valid"},
        {"mode": "near duplicates"},
        {"marked": "decided"},
        {"label": None, "part": None},
        {"mode": "wrong labels"},
        {"mode": "random audit", "marked": "undecided"},
        {"mode": "top losses", "marked": None},
    ):
        cleaner.show(**view)
        pd.testing.assert_frame_equal(cleaner.decisions(), before)
    cleaner.show(1)
    cleaner.show(label="romance"), cleaner.show(label=None)
    assert cleaner.page == 1, "one comes back to the page one left"
    cleaner.show(0)
    assert [cleaner.face(i)["mark"] for i in cleaner.pages[0]] == ["exclude", "relabel"]


def test_every_menu_always_says_what_is_chosen(pictures):
    cleaner, sent = open_cleaner(*pictures, split=["a", "b", "c"] * 3)
    for view in (
        {},
        {"label": "horror", "part": "a", "marked": "decided"},
        {"label": None, "part": None, "marked": None, "mode": "wrong labels"},
    ):
        if view:
            cleaner.receive({"do": "show", "view": view})
        message = sent[-1][0]
        for name, options in message["menus"].items():
            assert (message["view"][name] or "") in [value for _, value in options]


def test_filters_show_what_they_say(pictures):
    cleaner = ImageCleaner(*pictures, split=["a", "b", "c"] * 3)

    def look(**view):
        cleaner.show(**view)
        return everything(cleaner)

    cleaner.keep("0.jpg", "3.jpg")
    assert look(label="horror", marked=None) == ["0.jpg", "3.jpg", "6.jpg"]
    assert look(marked="undecided") == ["6.jpg"]
    assert look(label=None, marked="decided") == ["0.jpg", "3.jpg"]
    assert look(marked=None, part="b") == ["1.jpg", "4.jpg", "7.jpg"]
    assert look(label="horror") == []
    for view in (
        {"mode": "by magic"},
        {"label": "western"},
        {"part": "z"},
        {"reason": "because"},
        {"marked": "maybe"},
    ):
        with pytest.raises(MovieTaggerError, match="There is no"):
            cleaner.show(**view)
    assert everything(cleaner) == []


def test_a_mode_of_ones_own_with_reasons_to_filter_by(pictures):
    def mine(items, labels, p, kind):
        return pd.DataFrame({"reason": "so", "about": ["odd", "even"] * 2}, items.index[:4])

    cleaner = ImageCleaner(*pictures, modes={"mine": mine})
    assert dict(cleaner.choices()["reason"]) == {"all": "", "odd (2)": "odd", "even (2)": "even"}
    cleaner.show(reason="even")
    assert everything(cleaner) == ["1.jpg", "3.jpg"]


def test_a_decided_picture_stays_where_it_is_until_one_asks_again(pictures):
    cleaner = ImageCleaner(*pictures, page_size=3)
    cleaner.keep_rest()
    assert [cleaner.face(i)["mark"] for i in cleaner.pages[0]] == ["keep"] * 3
    cleaner.show(1)
    assert list(cleaner.pages[1]) == ["3.jpg", "4.jpg", "5.jpg"]
    cleaner.show(marked="undecided")
    assert everything(cleaner) == [f"{k}.jpg" for k in range(3, 9)]


def test_the_rest_of_a_page_is_kept_or_accepted_in_one_step(pictures):
    cleaner = ImageCleaner(*pictures, page_size=4)
    cleaner.exclude("1.jpg")
    cleaner.keep_rest()
    assert cleaner.decisions()["decision"].to_dict() == {
        "1.jpg": "exclude",
        "0.jpg": "keep",
        "2.jpg": "keep",
        "3.jpg": "keep",
    }
    cleaner.undo()
    assert list(cleaner.decisions().index) == ["1.jpg"]
    cleaner.accept_rest()
    assert cleaner.decisions()["after"].to_dict() == {
        "1.jpg": "",
        "0.jpg": "romance",
        "2.jpg": "horror",
        "3.jpg": "horror",
    }
    with pytest.raises(MovieTaggerError, match="no other answer"):
        cleaner.accept("5.jpg")


def test_several_at_once_are_one_step(pictures):
    cleaner = ImageCleaner(*pictures)
    cleaner.relabel(["0.jpg", "1.jpg", "2.jpg"], "horror")
    assert cleaner.decisions()["decision"].to_dict() == {
        "0.jpg": "keep",
        "1.jpg": "relabel",
        "2.jpg": "relabel",
    }
    cleaner.undo()
    assert cleaner.decisions().empty


def test_undo_to_the_first_and_redo_to_the_last(pictures):
    cleaner, sent = open_cleaner(*pictures, page_size=2)
    for item in cleaner.items.index:
        cleaner.exclude(item)
    all_of_them = cleaner.decisions()
    for _ in range(12):
        cleaner.receive({"do": "undo"})
    assert cleaner.decisions().empty and not sent[-1][0]["undo"]
    assert sent[-1][0]["page"] == 0, "one sees what was undone"
    for _ in range(12):
        cleaner.receive({"do": "redo"})
    pd.testing.assert_frame_equal(cleaner.decisions(), all_of_them)


def test_what_is_undone_comes_back_into_sight(pictures, tmp_path):
    ImageCleaner(*pictures, out=tmp_path / "d.jsonl").keep("0.jpg", "1.jpg")
    again, sent = open_cleaner(*pictures, out=tmp_path / "d.jsonl", page_size=2)
    assert "0.jpg" not in everything(again)
    again.receive({"do": "undo"})
    assert sent[-1][0]["focus"] == "0.jpg" and shown(sent) == {"0.jpg": "", "1.jpg": ""}


def test_with_many_tags_tags_are_added_and_removed(pictures):
    items, _, _ = pictures
    labels = data.from_array([[1, 0, np.nan]] * 9, items.index, ["hat", "car", "blood"])
    cleaner = ImageCleaner(items, labels, np.tile([0.02, 0.1, 0.9], (9, 1)))
    assert cleaner.kind == "multi" and cleaner.face("0.jpg")["accept"] == "− hat"
    cleaner.accept("0.jpg")
    cleaner.relabel("0.jpg", "blood", True)
    cleaner.relabel("1.jpg", "blood", False)
    cleaner.keep("2.jpg")
    assert cleaner.decisions()["after"].to_dict() == {
        "0.jpg": "blood",
        "1.jpg": "hat, -blood",
        "2.jpg": "hat",
    }
    assert cleaner.decisions()["decision"].tolist() == ["relabel", "keep", "keep"]
    _, now = cleaner.cleaned()
    np.testing.assert_array_equal(data.to_array(now)[:3], [[0, 0, 1], [1, 0, 0], [1, 0, np.nan]])


def test_two_cleaners_of_the_same_pictures_share_their_decisions(pictures):
    items, labels, p = pictures
    one = ImageCleaner(items, labels, p)
    one.exclude("0.jpg")
    two = ImageCleaner(items.copy(), labels.copy(), p)
    two.keep("1.jpg")
    assert list(one.decisions().index) == list(two.decisions().index) == ["0.jpg", "1.jpg"]
    assert ImageCleaner(items, labels, p, out=Decisions()).decisions().empty
    assert ImageCleaner(*one.cleaned()).decisions().empty, "other labels, other decisions"


def in_a_new_kernel():
    source._RECORDS.clear()


def _only_file(folder):
    [file] = (path for path in folder.rglob("*") if path.is_file())
    return file.relative_to(folder).as_posix()


def test_decisions_are_kept_in_a_file_unasked(pictures, here):
    cleaner, sent = open_cleaner(*pictures)
    assert not files(here), "who only looks leaves nothing behind"
    cleaner.exclude("0.jpg"), cleaner.keep("1.jpg"), cleaner.undo()
    file = _only_file(here)
    assert re.fullmatch(r"movie_tagger_decisions/pictures-[0-9a-f]{8}\.jsonl", file)
    assert sent[-1][0]["status"].endswith(f" · kept in {file}")
    assert repr(cleaner) == f"ImageCleaner: 9 pictures, 1 decided, kept in {file}"

    in_a_new_kernel()
    again, sent = open_cleaner(*pictures)
    pd.testing.assert_frame_equal(again.decisions(), cleaner.decisions())
    assert f"✕ 1 excluded · → 0 relabelled · 8 to go · kept in {file}" in sent[-1][0]["status"]
    again.redo()
    assert list(cleaner.decisions().index) == ["0.jpg", "1.jpg"] and _only_file(here) == file


def test_an_interpretation_s_decisions_are_kept_too(pictures, here):
    items, labels, p = pictures
    seen = SimpleNamespace(items=items, labels=labels, probabilities=p, kind="single")
    ImageCleaner(seen).exclude("0.jpg")
    in_a_new_kernel()
    assert list(ImageCleaner(seen).decisions().index) == ["0.jpg"]


def test_a_step_that_was_being_written_when_the_kernel_died_is_all_that_is_lost(pictures, here):
    ImageCleaner(*pictures).exclude("0.jpg")
    [file] = here.rglob("*.jsonl")
    whole = file.read_bytes()
    ImageCleaner(*pictures).keep("1.jpg")
    step = file.read_bytes().removeprefix(whole)
    for torn in [*range(0, len(step), 25), len(step) - 1]:
        file.write_bytes(whole + step[:torn])
        in_a_new_kernel()
        again = ImageCleaner(*pictures)
        again.keep("2.jpg")
        in_a_new_kernel()
        whole_but_for_its_end = ["1.jpg"] if torn == len(step) - 1 else []
        expected = ["0.jpg", *whole_but_for_its_end, "2.jpg"]
        assert list(ImageCleaner(*pictures).decisions().index) == expected


def test_two_panels_show_each_other_s_decisions_at_once(pictures, here):
    (one, _), (two, seen) = open_cleaner(*pictures), open_cleaner(*pictures)
    one.exclude("0.jpg")
    assert shown(seen)["0.jpg"] == "exclude" and "✕ 1 excluded" in seen[-1][0]["status"]
    assert seen[-1][0]["focus"] is None and seen[-1][0]["n"] is None
    two.receive({"do": "undo", "n": 1})
    assert one.decisions().empty
    other, unseen = open_cleaner(*pictures, out=Decisions())
    before = len(unseen)
    one.keep("1.jpg")
    assert len(unseen) == before and other.decisions().empty


def test_a_folder_that_is_read_only_sends_decisions_to_the_user_s_own(
    pictures, here, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    cleaner = ImageCleaner(*pictures)
    cleaner.keep("0.jpg")
    assert cleaner.record.where.startswith(str(tmp_path / "data" / "movie_tagger" / "decisions"))
    assert not files(here)


def test_earlier_decisions_about_other_labels_are_named(pictures, here):
    items, labels, p = pictures
    first = ImageCleaner(items, labels, p)
    first.exclude("0.jpg"), first.relabel("1.jpg", "horror")
    file = first.record.where
    with pytest.warns(UserWarning, match="decisions about 1 picture of these") as told:
        assert ImageCleaner(*first.cleaned()).decisions().empty
    assert f"pass out='{file}'" in str(told[0].message)
    more = items.reindex([*items.index, "new.jpg"]).ffill()
    labels = labels.reindex(more.index).ffill()
    with pytest.warns(UserWarning, match="decisions about 2 pictures of these"):
        ImageCleaner(more, labels)
    assert len(ImageCleaner(more, labels, out=file).decisions()) == 2


@pytest.mark.parametrize("name", ["ein Ordner/mit ünd", "..", "a" * 200, "x'\"; rm -rf"])
def test_a_file_is_named_after_any_folder(name, here):
    items = pd.DataFrame({"path": [f"{name}/a/0.jpg", f"{name}/b/1.jpg", ""]}, list("012"))
    labels = data.from_array(np.array([[1, 0], [0, 1], [1, 0]]), items.index, ["x", "y"])
    cleaner = ImageCleaner(items, labels)
    cleaner.keep("0")
    assert Path(cleaner.record.where).exists()
    in_a_new_kernel()
    assert list(ImageCleaner(items, labels).decisions().index) == ["0"]


def test_a_new_kernel_goes_on_where_the_old_one_was(pictures, tmp_path):
    first = ImageCleaner(*pictures, out=tmp_path / "d.jsonl", page_size=2)
    first.exclude("0.jpg"), first.relabel("1.jpg", "horror"), first.keep("2.jpg"), first.undo()
    first.show(mode="random audit", marked=None)
    first.show(2)
    again = ImageCleaner(*pictures, out=tmp_path / "d.jsonl", page_size=2)
    pd.testing.assert_frame_equal(again.decisions(), first.decisions())
    assert again.view == first.view and again.page == 2
    again.redo()
    assert first.decisions()["decision"].to_dict() == {
        "0.jpg": "exclude",
        "1.jpg": "relabel",
        "2.jpg": "keep",
    }
    other = ImageCleaner(*pictures, out=tmp_path / "d.jsonl", modes={"top losses": by_loss})
    assert other.view["mode"] == "top losses", "what was shown last is not there any more"


def test_nothing_on_disk_is_touched_and_the_csv_can_be_read(pictures, tmp_path):
    before = files(tmp_path / "pictures")
    cleaner = ImageCleaner(*pictures)
    (
        cleaner.exclude("0.jpg"),
        cleaner.relabel("1.jpg", "horror"),
        cleaner.show(mode="near duplicates"),
    )
    cleaner.save(tmp_path / "cleaned.csv")
    assert files(tmp_path / "pictures") == before
    items, labels = data.read(tmp_path / "cleaned.csv")
    pd.testing.assert_frame_equal(labels, cleaner.cleaned()[1])
    assert items["group"].tolist() == cleaner.cleaned()[0]["group"].tolist()
    cleaner.exclude(*everything(ImageCleaner(*pictures, out=Decisions())))
    with pytest.raises(MovieTaggerError, match="nothing to save"):
        cleaner.save(tmp_path / "cleaned.csv")


def test_items_without_groups_can_be_saved(pictures, tmp_path):
    items, labels, p = pictures
    ImageCleaner(items[["path"]], labels, p).save(tmp_path / "cleaned.csv")
    assert len(data.read(tmp_path / "cleaned.csv")[0]) == 9


def test_an_interpretation_is_cleaned_in_one_line(pictures):
    items, labels, p = pictures
    source = SimpleNamespace(
        items=items[["path"]],
        labels=labels,
        probabilities=pd.DataFrame(p, labels.index, CLASSES)[CLASSES[::-1]],
        kind="single",
    )
    cleaner = ImageCleaner(source)
    assert cleaner.pages[0][0] == "0.jpg" and cleaner.face("0.jpg")["accept"] == "→ romance"


def test_a_picture_without_label_gets_one(pictures):
    items, labels, p = pictures
    labels.iloc[4] = pd.NA
    cleaner = ImageCleaner(
        SimpleNamespace(items=items, labels=labels, probabilities=p, kind="single")
    )
    assert cleaner.pages[0][-1] == "4.jpg" and cleaner.face("4.jpg")["yes"] == []
    cleaner.relabel("4.jpg", "horror")
    assert cleaner.decisions().iloc[0].tolist() == ["relabel", "", "horror", "no label"]
    assert data.kind(cleaner.cleaned()[1]) == "single"


def test_without_probabilities_one_can_still_decide(pictures):
    items, labels, _ = pictures
    cleaner, sent = open_cleaner(items, labels)
    assert [mode for mode, _ in sent[-1][0]["menus"]["mode"]] == ["random audit", "near duplicates"]
    assert "9 without probability" in sent[-1][0]["status"]
    cleaner.exclude("3.jpg")
    assert list(cleaner.decisions().index) == ["3.jpg"]
    for mode in ("top losses", "wrong labels", "all suspects"):
        cleaner.receive({"do": "show", "view": {"mode": mode}, "n": 7})
        refused = sent[-1][0]
        assert (refused["kind"], refused["n"]) == ("error", 7)
        assert "no probabilities" in refused["text"]
    assert cleaner.view["mode"] == "random audit"


def test_a_mode_is_offered_only_where_it_can_ask(pictures):
    items, labels, p = pictures
    assert "missing tags" not in Cleaning(items, labels, p).offered()
    with pytest.raises(MovieTaggerError, match="no tag can be missing"):
        Cleaning(items, labels, p).show(mode="missing tags")
    many = data.from_array([[1, 0, np.nan]] * 9, items.index, TAGS)
    assert Cleaning(items, many, p).offered() == list(MODES)


QUESTIONS = {
    "top losses": ("Is the label right?", "Is what the card says of its tag right?"),
    "wrong labels": ("Is the label right?", "Is the tag that the card names there?"),
    "missing tags": (None, "Is the tag that the card names there?"),
    "random audit": ("Is the label right?", "Are all the tags right?"),
    "near duplicates": ("Is it the same picture?", "Is it the same picture?"),
    "all suspects": ("Is the suspicion right?", "Is the suspicion right?"),
}


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_each_mode_asks_one_question_counts_its_own_queue_and_says_when_to_stop(pictures, kind):
    items, labels, p = pictures
    if kind == "multi":
        labels = labels.mask(np.eye(9, 3, dtype=bool) | (data.to_array(labels) == 0))
        labels.iloc[:2] = True
    cleaner, sent = open_cleaner(items, labels, p, out=Decisions())
    assert cleaner.kind == kind
    for mode in cleaner.offered():
        cleaner.receive({"do": "show", "view": {"mode": mode}})
        page = sent[-1][0]
        question = QUESTIONS[mode][kind == "multi"]
        assert page["question"].startswith(question), mode
        total = len(MODES[mode](items, labels, p, kind))
        assert (page["decided"], page["total"]) == (0, total), mode
        assert f"{total} to go" in page["status"] and page["stop"], mode
        if total:
            cleaner.keep(cleaner.pages[0][0])
            assert sent[-1][0]["decided"] >= 1, mode
            cleaner.undo()


def test_the_outlook_says_when_to_stop():
    queue = pd.DataFrame({"score": np.linspace(0.8, 0.01, 100)}, [f"{k}.jpg" for k in range(100)])
    asked = Questions(queue)

    def at(looked, wrong, scores=asked.scores):
        state = {
            f"{k}.jpg": Decision(f"{k}.jpg", "relabel" if k < wrong else "keep")
            for k in range(looked)
        }
        return outlook(asked.answers(state), asked.n, scores)

    assert str(at(0, 0)) == (
        "Of the 100 left, about 40 need a change. Stop when 24 in a row bring nothing."
    )
    few, half = at(24, 4), at(24, 16)
    assert few.expected < half.expected < queue["score"].iloc[24:].sum() * 1.2, (
        "scores count as far as they came true"
    )
    assert (
        not half.is_over and at(60, 16).is_over and str(at(60, 16)).endswith("You can stop here.")
    )
    assert "hardly more than" in str(at(48, 16, None)) and at(100, 16).left == 0
    assert str(at(100, 16)) == "All 100 are answered; 16 needed a change."
    assert str(outlook(Questions(queue[:0]).answers({}), 0)) == "There is nothing to ask here."


def test_missing_probabilities_come_last_and_are_counted(pictures):
    items, labels, p = pictures
    p[[0, 5]] = np.nan
    cleaner = ImageCleaner(items, labels, p)
    assert (
        list(cleaner.pages[0][-2:]) == ["0.jpg", "5.jpg"]
        and "2 without probability" in cleaner.summary()
    )


def test_the_sheet_for_other_readers_shows_what_was_decided_and_escapes_it(pictures):
    items, labels, p = pictures
    bold = "<b>0</b>.jpg"
    items, labels = (frame.rename({"0.jpg": bold}) for frame in (items, labels))
    items.loc["1.jpg", "path"] = "gone.jpg"
    cleaner = ImageCleaner(items, labels, p, out=Decisions())
    assert cleaner.sheet()["text/html"].count("<td") == 9, "nothing is decided: the open page"
    cleaner.keep("2.jpg")
    cleaner.exclude(bold, "1.jpg")
    page = cleaner.sheet()["text/html"]
    assert page.index("1.jpg") < page.index("&lt;b&gt;0") < page.index("2.jpg"), "changes first"
    assert "<b>" not in page and "(no picture)" in page and "✕ excluded" in page
    assert page.count("data:image/jpeg") == 2 and "9 pictures, 3 decided" in page
    assert len(page) < 20_000 and "more." in cleaner.sheet(most=2)["text/html"]


def test_a_picture_that_cannot_be_shown_says_why_and_can_be_decided_about(pictures, tmp_path):
    items, labels, p = pictures
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    items["path"] = [
        str(tmp_path / "gone.jpg"),
        str(tmp_path / "text.jpg"),
        None,
        str(tmp_path),
        *items["path"][4:],
    ]
    cleaner, sent = open_cleaner(items, labels, p)
    cleaner.receive({"do": "pictures", "items": [f"{k}.jpg" for k in range(5)]})
    message, jpegs = sent[-1]
    for error, why in zip(
        message["errors"], ["No such file", "a web page", "names no image", "a folder", ""]
    ):
        assert why in error
    assert [bool(jpeg) for jpeg in jpegs] == [False] * 4 + [True]
    cleaner.exclude(*[f"{k}.jpg" for k in range(4)])
    assert len(cleaner.cleaned()[0]) == 5


def test_a_replaced_file_is_seen_anew(pictures):
    items, _, _ = pictures
    before = small(items["path"].iloc[0])
    Image.new("RGB", (300, 100), "red").save(items["path"].iloc[0])
    assert small(items["path"].iloc[0]) != before


def test_nothing_asked_for_is_there_or_an_error_in_the_panel(pictures):
    cleaner, sent = open_cleaner(*pictures)
    for message in (
        {"do": "keep", "items": ["gone.jpg"]},
        {"do": "relabel", "items": ["0.jpg"], "tag": "western"},
        {"do": "train_again"},
        {"do": "large", "item": "gone.jpg"},
    ):
        cleaner.receive(message | {"n": 3})
        assert sent[-1][0]["kind"] == "error" and sent[-1][0]["n"] == 3
    with pytest.raises(TypeError):
        cleaner.receive({"do": "keep", "items": 5})
    assert sent[-1][0]["text"].startswith("TypeError") and cleaner.decisions().empty


# --- where the model looked


def spoke_left(path, tag):
    lead = np.zeros((1, 4, 4), np.float32)
    lead[0, :, :2], lead[0, :, 2:] = 1, -1
    return Explanation([tag], lead, lead)


def test_the_large_view_shows_where_the_model_looked(pictures):
    items, labels, p = pictures
    cleaner, sent = open_cleaner(items, labels, p, explain=spoke_left)
    assert sent[-1][0]["explains"]
    cleaner.receive({"do": "looked", "item": "0.jpg", "n": 1})
    message, (jpeg,) = sent[-1]
    assert message["kind"] == "looked" and message["errors"] == [""]
    assert message["tag"] == cleaner.in_doubt("0.jpg") == CLASSES[p[0].argmax()]
    grey = np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"), float)
    width = grey.shape[1]
    assert grey[:, : width // 3].mean() > grey[:, -width // 3 :].mean() + 40


def test_where_nothing_can_be_said_the_panel_says_so(pictures):
    items, labels, p = pictures

    def cannot(path, tag):
        raise MovieTaggerError("Behind its last average comes Relu, which is not linear.")

    for explain, why in ((None, "nothing to explain"), (cannot, "Relu")):
        cleaner, sent = open_cleaner(items, labels, p, explain=explain)
        cleaner.receive({"do": "looked", "item": "1.jpg"})
        message, (jpeg,) = sent[-1]
        assert why in message["errors"][0] and not jpeg
    cleaner, sent = open_cleaner(items, labels, None, explain=spoke_left)
    cleaner.receive({"do": "looked", "item": "1.jpg"})
    assert sent[-1][0]["tag"] is None and "nothing to explain" in sent[-1][0]["errors"][0]


# --- training again


def test_training_again_compares_and_the_queues_follow(pictures):
    items, labels, p = pictures
    asked = []

    def train(items, labels):
        asked.append(len(items))
        return data.to_array(labels) * 0.7 + 0.1 if len(asked) > 1 else p

    cleaner, sent = open_cleaner(items, labels, p, retrain=train)
    cleaner.exclude("0.jpg")
    cleaner.receive({"do": "train_again"})
    assert (
        asked == [9, 8]
        and sent[-1][0]["trains"]
        and "accuracy 0.750 → 1.000" in sent[-1][0]["measured"]
    )
    assert "loss 0.22" in cleaner.face("1.jpg")["reason"]
    cleaner.train_again()
    assert asked == [9, 8, 8], "the labels as they came are learnt once"


def test_a_training_may_return_a_number_and_must_not_return_nonsense(pictures):
    assert (
        ImageCleaner(*pictures, retrain=lambda items, labels: len(items)).train_again()
        == "9.000 → 9.000, as your function measures it"
    )
    with pytest.raises(MovieTaggerError, match="shape"):
        ImageCleaner(*pictures, retrain=lambda items, labels: np.zeros((2, 2))).train_again()
    with pytest.raises(MovieTaggerError, match="nothing to train with"):
        ImageCleaner(*pictures).train_again()


# --- over a ledger

TAGS = ["hat", "car", "blood"]


@pytest.fixture
def book(pictures, tmp_path):
    "Nine pictures and tags that a site has typed; all show a hat, and half of them were forgotten."
    items, _, _ = pictures
    with Ledger(tmp_path / "ledger.db") as book:
        book.add(items, actor="import:site.sql")
        typed = [
            (f"{k}.jpg", tag)
            for k in range(9)
            for tag in (["hat"] if k % 2 == 0 else []) + (["car"] if k < 5 else [])
        ]
        book.decide(
            pd.DataFrame(typed, columns=["item", "tag"]).assign(state=True), actor="import:site.sql"
        )
        yield book


@pytest.fixture
def believed(pictures):
    "What a model believes: a hat everywhere, cars where they were typed."
    return pd.DataFrame(
        {"hat": 0.9, "car": [0.9] * 5 + [0.05] * 4, "blood": 0.01}, index=pictures[0].index
    )


def test_every_decision_is_an_event_at_once(book, believed):
    cleaner = ImageCleaner(book, probabilities=believed, actor="curator:anna")
    assert (cleaner.kind, list(cleaner.tags), len(cleaner.items)) == ("multi", TAGS, 9)
    steps = [
        lambda: cleaner.exclude("0.jpg"),
        lambda: cleaner.relabel("1.jpg", "hat"),
        lambda: cleaner.relabel("2.jpg", "car", False),
        lambda: cleaner.keep("4.jpg"),
    ]
    for k, step in enumerate(steps, 1):
        step()
        assert book.events(actor="curator:anna")["batch"].nunique() == k
    assert "0.jpg" not in book.items().index and book.items(hidden=True).shape[0] == 9
    assert book.labels()["hat"]["1.jpg"] and not book.labels()["car"]["2.jpg"]
    assert cleaner.decisions()["decision"].to_dict() == {
        "0.jpg": "exclude",
        "1.jpg": "relabel",
        "2.jpg": "relabel",
        "4.jpg": "keep",
    }
    pd.testing.assert_frame_equal(
        cleaner.cleaned()[1],
        book.labels(tags=["hat", "car"]).assign(blood=pd.array([pd.NA] * 8, "boolean")),
        check_names=False,
    )
    book.verify()


def test_undo_and_redo_go_through_the_ledger_also_for_a_new_kernel(book, believed):
    labels = book.labels()
    first = ImageCleaner(book, probabilities=believed, actor="curator:anna")
    first.exclude("0.jpg", "1.jpg"), first.relabel("2.jpg", "blood"), first.undo()
    again = ImageCleaner(book.path, probabilities=believed, actor="curator:anna")
    pd.testing.assert_frame_equal(again.decisions(), first.decisions())
    pd.testing.assert_frame_equal(again.labels, first.labels)
    again.redo()
    assert first.decisions()["decision"].to_dict() == {
        "0.jpg": "exclude",
        "1.jpg": "exclude",
        "2.jpg": "relabel",
    }
    for _ in range(5):
        again.undo()
    assert again.decisions().empty and len(book.items()) == 9 and not again.record.done
    pd.testing.assert_frame_equal(book.labels(), labels)
    book.verify()


def test_a_decision_ends_what_could_be_done_again(book, believed):
    cleaner = ImageCleaner(book, probabilities=believed, actor="curator:anna")
    cleaner.exclude("0.jpg"), cleaner.undo(), cleaner.exclude("1.jpg")
    assert cleaner.record.redo() == [] and list(cleaner.decisions().index) == ["1.jpg"]
    cleaner.undo()
    assert [d.item for d in cleaner.record.redo()] == ["1.jpg"] and cleaner.record.redo() == []


def test_a_decision_can_be_cleared_and_the_clearing_undone(book, believed):
    cleaner = ImageCleaner(book, probabilities=believed, actor="curator:anna")
    (
        cleaner.relabel("1.jpg", "blood"),
        cleaner.relabel("1.jpg", "car", False),
        cleaner.exclude("1.jpg"),
    )
    cleaner.reset("1.jpg")
    assert (
        cleaner.decisions().empty
        and len(book.items()) == 9
        and "blood" not in book.labels(raw=True)
    )
    cleaner.undo()
    assert cleaner.decisions()["decision"].to_dict() == {
        "1.jpg": "exclude"
    } and cleaner.record.state()["1.jpg"].tags == {"blood": True, "car": False}
    cleaner.relabel("1.jpg", "hat")
    assert len(book.items()) == 9, "a picture with a label is shown again"
    book.verify()


def test_is_there_a_hat_in_these(book, believed):
    cleaner, sent = open_cleaner(
        book,
        probabilities=believed,
        actor="curator:anna",
        modes={"missing tags": MODES["missing tags"]},
    )
    cleaner.receive({"do": "show", "view": {"label": "hat"}})
    assert sent[-1][0]["question"].startswith("Is there a “hat”?") and set(shown(sent)) == {
        f"{k}.jpg" for k in (1, 3, 5, 7)
    }
    cleaner.receive({"do": "keep", "items": ["5.jpg"]})
    assert (
        cleaner.face("5.jpg")["word"] == "− no hat"
        and cleaner.face("5.jpg")["keep"] == "− No hat"
        and cleaner.summary().startswith("✓ 0 yes · − 1 no · 3 to go")
    )
    cleaner.receive({"do": "accept_rest"})
    assert book.labels()["hat"].to_dict() == {f"{k}.jpg": k != 5 for k in range(9)}
    assert book.rejected().to_numpy().tolist() == [["5.jpg", "hat"]]
    assert book.events(actor="curator:anna")["batch"].nunique() == 2
    cleaner.receive({"do": "show", "view": {"label": "hat"}})
    assert everything(cleaner) == []


def test_what_a_person_has_decided_never_comes_back(book, believed):
    book.set("1.jpg", "hat", False, "curator:bob"), book.set("3.jpg", "hat", False, "user:17")
    cleaner = ImageCleaner(book, probabilities=believed, actor="curator:anna")
    cleaner.show(mode="missing tags", label="hat", marked=None)
    assert set(everything(cleaner)) == {"5.jpg", "7.jpg"}
    cleaner.accept("5.jpg")
    later = ImageCleaner(
        book, probabilities=believed, actor="curator:anna", name="another cleaning"
    )
    later.show(mode="missing tags", label="hat", marked=None)
    assert everything(later) == ["7.jpg"] and not later.record.done


def test_another_persons_word_is_not_overruled_in_silence(book, believed):
    cleaner, sent = open_cleaner(book, probabilities=believed, actor="curator:anna")
    book.set("1.jpg", "hat", False, "curator:bob")
    cleaner.receive({"do": "relabel", "items": ["1.jpg"], "tag": "hat", "yes": True, "n": 1})
    assert (
        sent[-1][0]["kind"] == "error" and "curator:bob has said no to 'hat'" in sent[-1][0]["text"]
    )
    assert cleaner.decisions().empty and not book.labels()["hat"]["1.jpg"]


def test_two_panels_of_one_person_share_a_cleaning_and_two_people_do_not(book, believed):
    one, two, bob = (
        ImageCleaner(book, probabilities=believed, actor=f"curator:{who}")
        for who in ("anna", "anna", "bob")
    )
    one.exclude("0.jpg"), two.exclude("1.jpg"), bob.exclude("2.jpg")
    assert list(one.decisions().index) == list(two.decisions().index) == [
        "0.jpg",
        "1.jpg",
    ] and list(bob.decisions().index) == ["2.jpg"]
    assert [d.item for d in two.record.undo()] == ["1.jpg"]


def test_rules_hold_for_what_is_shown_and_for_what_is_closed(book, believed):
    book.set_rules('[merge]\nheadwear = ["hat"]\n', "curator:anna")
    book.set("1.jpg", "hat", False, "curator:bob")
    record = LedgerDecisions(book, "curator:anna")
    assert list(record.labels) == ["car", "headwear"] and record.closed().to_numpy().tolist() == [
        ["1.jpg", "headwear"]
    ]
    record.decide(Decision("2.jpg", "relabel", {"headwear": False}))
    assert (
        LedgerDecisions(book, "curator:anna").labels["headwear"]["2.jpg"]
        and not book.labels()["headwear"]["2.jpg"]
    )


def test_single_labels_in_a_ledger_stay_single(pictures, tmp_path):
    items, labels, p = pictures
    with Ledger(tmp_path / "single.db") as book:
        book.add(items, actor="import:folders")
        book.single(CLASSES, actor="import:folders")
        book.decide(from_labels(labels, no=False), actor="import:folders")
        cleaner = ImageCleaner(
            book, probabilities=pd.DataFrame(p, labels.index, CLASSES), actor="curator:anna"
        )
        assert cleaner.single
        cleaner.accept("0.jpg"), cleaner.keep("3.jpg")
        assert data.kind(book.labels()) == "single" and book.labels()["romance"]["0.jpg"]
        again = ImageCleaner(
            book, probabilities=pd.DataFrame(p, labels.index, CLASSES), actor="curator:anna"
        )
        assert again.decisions()[["decision", "before", "after"]].to_numpy().tolist() == [
            ["relabel", "horror", "romance"],
            ["keep", "horror", "horror"],
        ]


def test_who_decides_must_be_a_person_and_the_ledger_must_be_there(book, tmp_path):
    with pytest.raises(MovieTaggerError, match="is no person"):
        ImageCleaner(book, actor="import:site.sql")
    with pytest.raises(MovieTaggerError, match="is no actor"):
        ImageCleaner(book, actor="anna")
    with pytest.raises(MovieTaggerError, match="ImageCleaner takes a ledger"):
        ImageCleaner(tmp_path / "gone.db")
    assert ImageCleaner(book).record.actor.startswith("curator:")


def test_an_empty_ledger_is_an_error_in_words(tmp_path):
    with (
        Ledger(tmp_path / "new.db") as book,
        pytest.raises(MovieTaggerError, match="no pictures, or no labels"),
    ):
        ImageCleaner(book, actor="curator:anna")


# --- a card


def test_a_card_says_in_words_what_is_decided_and_what_a_key_would_do():
    tags, p = pd.Index(TAGS), np.array([0.9, 0.1, 0.5])

    def card(why, said=None, before=(np.nan, 1, np.nan)):
        before = np.array(before)
        return face("a.jpg", before, before, p, tags, False, said or Decision("a.jpg", ""), why)

    asked = {"reason": "missing tag: hat 90 %", "tag": "hat", "suggestion": "hat"}
    assert (
        card(asked)["accept"],
        card(asked)["keep"],
        card(asked)["says"],
        card(asked)["word"],
    ) == ("✓ Yes, hat", "− No hat", "hat 90 %", "· undecided")
    assert card(asked, Decision("a.jpg", "keep", {"car": True}))["mark"] == "", (
        "another question was answered"
    )
    assert card(asked, Decision("a.jpg", "exclude"))["word"] == "✕ excluded"
    doubted = card({"tag": "car", "suggestion": "-car"})
    assert (doubted["accept"], doubted["keep"]) == ("− No car", "✓ Yes, car")
    assert doubted["yes_is"] == "keep" and card(asked)["yes_is"] == "relabel"
    assert card({"tag": "", "suggestion": "exclude"})["accept"] == "✕ Not this one"
    assert card({"reason": "drawn by lot"})["keep"] == "✓ Keep"


# --- a review for a promise


@pytest.fixture
def site(tmp_path):
    "A ledger of 200 stills of 50 films, every fifth typed as blood, nothing said of the others."
    names = pd.Index([f"{k}.jpg" for k in range(200)], name="item")
    items = pd.DataFrame(
        {
            "path": [str(tmp_path / name) for name in names],
            "group": [f"film {k // 4}" for k in range(200)],
        },
        index=names,
    )
    with Ledger(tmp_path / "ledger.db") as book:
        book.add(items, "import:site.sql")
        book.decide(
            pd.DataFrame({"item": items.index[::5], "tag": "blood", "state": True}),
            "import:site.sql",
        )
        yield book


def reviewer(book, **how):
    return Reviewing(book, tag="blood", actor="curator:anna", page_size=6, **how)


def test_a_review_shows_films_set_apart_by_lot_and_nothing_that_could_lead(site):
    p = pd.DataFrame(0.99, site.items().index, site.labels().columns)
    review = ImageCleaner(
        site, mode="review", tag="blood", actor="curator:anna", page_size=6, probabilities=p
    )
    shown = [str(i) for page in review.pages for i in page]
    items = site.items()
    assert (
        shown == list(lot(items, "blood"))
        and set(shown) == set(items.index[data.split(items["group"])])
        and shown != sorted(shown, key=list(items.index).index)
    )
    typed = site.labels().loc[shown, "blood"]
    faces = [review.face(i) for page in review.pages for i in page]
    # all cards alike, typed or not
    assert (
        typed.any()
        and len({tuple((k, str(v)) for k, v in f.items() if k != "item") for f in faces}) == 1
    )
    assert faces[0]["label"] == faces[0]["says"] == "" and faces[0]["yes"] == []
    assert set(review.choices()) == {"marked"} and "Is there “blood”" in review.question()


def test_every_answer_of_a_review_is_a_persons_word_also_against_the_typed_tag(site):
    review = reviewer(site)
    page = [str(i) for i in review.pages[0]]
    review.accept(page[0])
    review.keep_rest()
    said = site.events(actor="curator:anna")
    assert (
        said["item"].tolist() == page
        and said["state"].tolist() == [True] + [False] * 5
        and said["batch"].str.startswith("review of blood: ").all()
    )
    assert (
        site.labels().loc[page, "blood"].tolist() == [True] + [False] * 5
    )  # over the typed ones too
    assert review.estimate() == Progress(
        "blood", 6, 1, 1, len(lot(site.items(), "blood")) - 6
    ) and review.far() == (1, 59)
    assert [review.face(i)["word"] for i in page[:2]] == [
        "✓ blood",
        "− no blood",
    ] and "✓ 1 yes · − 5 no · Done: − no 5 pictures" == review.summary()
    review.undo()
    assert review.estimate().looked == 1 and site.events(actor="curator:anna")["undone"].sum() == 5
    review.exclude(page[1])
    review.redo(), review.keep(*page[2:])
    assert (
        review.estimate().looked == 5
        and page[1] not in site.items().index
        and reviewer(site).estimate() == review.estimate()
    )
    assert reviewed(site, ["blood"])["blood"].notna().sum() == 5


def test_only_an_unbroken_lot_counts_and_what_people_said_before_counts_when_its_turn_comes(site):
    order = drawn(site, "blood")
    site.set(order[2], "blood", True, "user:7")
    site.set(order[9], "blood", True, "curator:bob")
    assert reviewed(site, ["blood"])["blood"].isna().all()
    review = reviewer(site)
    assert order[2] not in review.pages[0] and list(review.pages[0]) == [
        i for k, i in enumerate(order[:7]) if k != 2
    ]
    review.keep_rest()
    known = reviewed(site, ["blood", "hat"])
    assert (
        known["blood"].dropna().index.tolist()
        == sorted(order[:7], key=list(site.items().index).index)
        and known["blood"].sum() == 1
        and known["hat"].isna().all()
    )
    # a site's word never counts
    site.sync(
        site.items(),
        pd.DataFrame({"item": order[:20], "tag": "blood", "state": True}),
        "import:site.sql",
    )
    assert reviewed(site, ["blood"])["blood"].notna().sum() == 7


def test_what_comes_later_is_for_a_later_drawing_in_which_earlier_answers_count(site):
    review = reviewer(site)
    while review.undecided():
        review.keep_rest(), review.show(review.page + 1)
    before = reviewed(site, ["blood"])["blood"].notna().sum()
    assert before == len(lot(site.items(), "blood"))
    more = pd.DataFrame(
        {"path": "", "group": [f"film {k // 4}" for k in range(200, 260)]},
        index=[f"{k}.jpg" for k in range(200, 260)],
    )
    site.add(more, "import:site.sql")
    assert (
        reviewed(site, ["blood"])["blood"].notna().sum() == before
        and not reviewer(site).undecided()
    )
    later = reviewer(site, draw="2027")
    asked = {str(i) for page in later.pages for i in page}
    assert asked == set(lot(site.items(), "blood")) & set(
        more.index
    ) and site.versions().index.tolist() == ["review of blood", "review of blood, 2027"]
    assert (
        reviewed(site, ["blood"])["blood"].notna().sum() == before
    )  # the new drawing has gaps still
    while later.undecided():
        later.keep_rest(), later.show(later.page + 1)
    assert reviewed(site, ["blood"])["blood"].notna().sum() == before + len(asked)


def test_what_cannot_be_reviewed_is_a_sentence(site, pictures):
    with pytest.raises(MovieTaggerError, match="A review is kept in a ledger"):
        Reviewing(pictures[0], tag="horror")
    with pytest.raises(MovieTaggerError, match="asks about one tag: pass tag=, one of blood"):
        Reviewing(site)
    with pytest.raises(MovieTaggerError, match="There is no label 'blod'; there are blood"):
        Reviewing(site, tag="blod")
    site.single(["blood", "hat"], "curator:anna")
    with pytest.raises(MovieTaggerError, match="one of several classes"):
        reviewer(site)


def test_a_review_with_no_film_set_apart(tmp_path):
    with Ledger(tmp_path / "ledger.db") as book:
        book.add(pd.DataFrame({"path": ["a.jpg"], "group": "film 0"}, index=["a.jpg"]), "import:x")
        book.set("a.jpg", "blood", True, "import:x")
        assert not data.split(["film 0"]).any()
        with pytest.raises(MovieTaggerError, match="No film is set apart to review"):
            reviewer(book)


def test_the_progress_says_what_is_missing():
    assert (films_needed(0.95, 0.95), films_needed(0.9, 0.95), films_needed(0.95, 0.99)) == (
        59,
        29,
        90,
    ) and 0.95**59 < 0.05 < 0.95**58
    groups = pd.Series([f"film {k // 2}" for k in range(100)], [f"{k}" for k in range(100)])

    def words(answers):
        return str(progress_of("blood", groups.index, answers, groups))

    assert words({}).endswith("100 pictures are left.")
    assert "0 yes in 0 films" in words({"0": False}) and "at least" in words({"0": False})
    assert "2 reviewed, 2 yes in 1 film;" in words({"0": True, "1": True})
    assert "That may be too few" in words({"0": True, "1": False})
    done = progress_of("blood", groups.index, dict.fromkeys(groups.index, True), groups, recall=0.9)
    assert (
        done.missing == 0
        and "A recall of 90 % can be promised" in str(done)
        and "needed" not in str(done)
    )


def test_a_promise_that_rests_on_a_lot_is_kept_and_one_on_typed_tags_is_not():
    "Users type what the model sees best, so a threshold set by typed tags misses its promise."
    rng, kept = np.random.default_rng(0), {"lot": [], "typed": []}
    for site in range(100):
        true = rng.random(1500) < 0.1
        score = np.clip(rng.normal(np.where(true, 0.6, 0.2), 0.15), 0, 1)
        typed = true & (score > rng.normal(0.6, 0.1, 1500))
        # each still is of a film that is set apart
        items = pd.DataFrame({"group": APART}, index=[f"{site} {k}" for k in range(1500)])
        order = lot(items, "blood")
        rows = items.index.get_indexer(order)
        enough = np.flatnonzero(np.cumsum(true[rows]) == 59)
        assert (
            len(enough)
            and len(unbroken(order, dict.fromkeys(order[: enough[0] + 1], True))) == enough[0] + 1
        )
        for how, (y, who) in {
            "lot": (true, rows[: enough[0] + 1]),
            "typed": (typed, rows[typed[rows]][:59]),
        }.items():
            found = promises(
                y[who, None].astype(float), score[who, None], ["blood"], {"blood": (0.95, 0.95)}
            )
            if found:
                kept[how].append((score[true] >= found["blood"]["threshold"]).mean() >= 0.95)
    assert np.mean(kept["lot"]) >= 0.93 and len(kept["lot"]) == 100 and np.mean(kept["typed"]) < 0.5


APART = next(name for name in map(str, range(100)) if data.split([name])[0])


def test_two_at_once_are_told_of_each_other_once_and_only_where_they_differ(site):
    anna, bob = (
        Reviewing(site, tag="blood", actor=f"curator:{who}", page_size=6) for who in ("anna", "bob")
    )
    page = [str(i) for i in anna.pages[0]]
    anna.accept(page[0]), anna.accept(page[1]), anna.keep(*page[2:4])
    with pytest.raises(
        MovieTaggerError,
        match=f"curator:anna has said yes to 'blood' of {page[0]} since you looked "
        ".and so with 1 more.: look again",
    ):
        bob.keep_rest()
    assert site.events(actor="curator:bob").empty
    bob.keep_rest()  # having looked again
    assert site.labels().loc[page, "blood"].eq(False).all()
    with pytest.raises(MovieTaggerError, match="curator:bob has said no"):
        anna.accept(page[4])


def test_one_picture_that_cannot_be_made_small_leaves_the_others_on_the_page(tmp_path):
    Image.new("RGB", (1, 5000)).save(tmp_path / "thin.png")
    Image.new("CMYK", (60, 90)).save(tmp_path / "cmyk.jpg")
    thin, cmyk = small(tmp_path / "thin.png"), small(tmp_path / "cmyk.jpg")
    assert (thin[0] or "Cannot show" in thin[1]) and cmyk[0] and not cmyk[1]


def test_the_order_is_said_where_it_is_not_plain(pictures):
    items, labels, p = pictures
    assert Cleaning(items, labels, p).order() == ""
    many = labels.copy()
    many.iloc[0] = True
    assert Cleaning(items, many, p).order() == "the most surprising tag first"
