"Decisions, and the cleaner without a browser: nothing is lost, nothing on disk is touched, and errors are sentences."
import html
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from movie_tagger import curate, data
from movie_tagger.core import MovieTaggerError
from movie_tagger.curate import Decision, Decisions, ImageCleaner, by_likeness, by_loss, cleaned, decision_table, paged

CLASSES = ["horror", "romance", "superhero"]


@pytest.fixture(autouse=True)
def no_memory(monkeypatch): monkeypatch.setattr(curate, "_RECORDS", {})


@pytest.fixture
def pictures(tmp_path):
    "Items of nine pictures of noise, their single labels, and probabilities of which the first three rows contradict the labels."
    rng, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    for k in range(9): Image.fromarray(np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)).save(folder / f"{k}.jpg", quality=95)
    names = [f"{k}.jpg" for k in range(9)]
    items = pd.DataFrame({"path": [str(folder / name) for name in names], "group": names}, index=pd.Index(names, name="item"))
    y = np.eye(3)[np.arange(9) % 3]
    p = y * .7 + .1
    for k in range(3): p[k] = np.roll([.01 * (k + 1), .9, .09 - .01 * k], k)
    return items, data.from_array(y, names, CLASSES), p


def files(folder): return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def keep(*items): return [Decision(item, "keep") for item in items]


def made(record): return {item: d.decision for item, d in record.state().items()}


# --- the record

def test_a_step_is_undone_and_redone_as_one():
    record = Decisions()
    record.decide(*keep("a", "b"))
    record.decide(Decision("a", "exclude"))
    assert record.undo() == [Decision("a", "exclude")] and made(record) == {"a": "keep", "b": "keep"}
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
    steps = [keep("größe, \"quoted\"\n.jpg"), [Decision("b", "relabel", {"hat": False, "car": True}, "loss 1.00")]]
    record = Decisions(out)
    for step in steps: record.decide(*step)
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
    for k in range(6): (one, two)[k % 2].decide(*keep(str(k)))
    one.sync(), two.sync()
    assert one.state() == two.state() == Decisions(tmp_path / "d.jsonl").state()
    assert list(one.state()) == list("012345")
    assert two.undo()[0].item == "5" and one.undo()[0].item == "4"


def test_many_programs_may_write_at_once(tmp_path):
    code = ("import sys; from movie_tagger.curate import Decision, Decisions; r = Decisions(sys.argv[1])\n"
            "for k in range(40): r.decide(Decision(f'{sys.argv[2]}-{k}', 'keep', reason='x' * 500))")
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "d.jsonl"), name]) for name in "abc"]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    assert set(Decisions(tmp_path / "d.jsonl").state()) == {f"{name}-{k}" for name in "abc" for k in range(40)}


@pytest.mark.parametrize("torn", [b'[{"item": "c', b'"und', b"[", b'"undo"'])
def test_a_torn_last_line_is_lost_and_no_other(tmp_path, torn):
    out = tmp_path / "d.jsonl"
    Decisions(out).decide(*keep("a"))
    with open(out, "ab") as f: f.write(torn)
    record = Decisions(out)
    record.decide(*keep("b"))
    if torn != b'"undo"': assert list(record.state()) == list(Decisions(out).state()) == ["a", "b"]  # the last one is whole, but for its end
    else: assert list(Decisions(out).state()) == ["b"]


def test_a_file_that_was_removed_comes_back_whole(tmp_path):
    record = Decisions(tmp_path / "d.jsonl")
    record.decide(*keep("a"))
    (tmp_path / "d.jsonl").unlink()
    record.decide(*keep("b"))
    assert list(Decisions(tmp_path / "d.jsonl").state()) == ["a", "b"]


def test_another_kind_of_file_is_refused_and_untouched(tmp_path):
    other = tmp_path / "cleaned.csv"
    other.write_text("id,image,label\n")
    with pytest.raises(MovieTaggerError, match="cleaned.csv holds something else"): Decisions(other)
    assert other.read_text() == "id,image,label\n"


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path):
    with pytest.raises(MovieTaggerError, match="Cannot read"): Decisions(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(MovieTaggerError, match="Cannot write"): Decisions(tmp_path / "file" / "d.jsonl")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_full_disk_makes_no_decision(tmp_path, monkeypatch):
    record = Decisions(tmp_path / "d.jsonl")
    record.decide(*keep("a"))
    monkeypatch.setattr(curate.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(MovieTaggerError, match="No space left on device. The decision was not made"): record.decide(*keep("b"))


# --- what decisions do

def test_cleaned_leaves_out_and_relabels_and_touches_nothing(pictures):
    items, labels, _ = pictures
    before = items.copy(), labels.copy()
    record = Decisions()
    record.decide(Decision("0.jpg", "exclude"), Decision("1.jpg", "relabel", {"horror": True, "romance": False, "superhero": False}), *keep("2.jpg"))
    new_items, new_labels = cleaned(items, labels, record)
    assert list(new_items.index) == list(new_labels.index) == list(items.index[1:])
    assert list(new_labels.loc["1.jpg"]) == [True, False, False] and data.kind(new_labels) == "single"
    pd.testing.assert_frame_equal(new_labels.drop("1.jpg"), labels.iloc[2:])
    pd.testing.assert_frame_equal(items, before[0]), pd.testing.assert_frame_equal(labels, before[1])
    assert decision_table(labels, record).reset_index().to_numpy().tolist() == [
        ["0.jpg", "exclude", "horror", "", ""], ["1.jpg", "relabel", "romance", "horror", ""], ["2.jpg", "keep", "superhero", "superhero", ""]]


def test_with_many_tags_only_the_named_ones_change():
    labels = data.from_array([[1, 0, np.nan], [np.nan, np.nan, 1]], ["a", "b"], ["hat", "car", "blood"])
    record = Decisions()
    record.decide(Decision("a", "relabel", {"hat": False, "blood": False}), Decision("b", "relabel", {"car": True}))
    np.testing.assert_array_equal(data.to_array(cleaned(pd.DataFrame(index=labels.index), labels, record)[1]), [[0, 0, 0], [np.nan, 1, 1]])
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
    with pytest.raises(MovieTaggerError, match="'western', which is no label here"): cleaned(items, labels, record)


# --- modes and pages

def test_top_losses_come_first_and_those_without_last(pictures):
    items, labels, p = pictures
    p[8], labels.iloc[7] = np.nan, False
    queue = by_loss(items, labels, p, "single")
    assert list(queue.index) == [f"{k}.jpg" for k in (0, 1, 2, 3, 4, 5, 6, 7, 8)]
    assert list(queue["reason"].iloc[[0, 7, 8]]) == ["loss 4.61", "no label", "no probability"]


def test_with_many_tags_the_most_surprising_known_tag_counts():
    labels = data.from_array([[1, 0, np.nan], [1, 1, 1], [np.nan] * 3], list("abc"), ["hat", "car", "blood"])
    queue = by_loss(labels, labels, np.array([[.9, .8, 1.], [.9, .9, .5], [.1, .1, .1]]), "multi")
    assert queue["reason"].to_dict() == {"a": "loss 1.61 for car", "b": "loss 0.69 for blood", "c": "no label"}


def test_near_duplicates_lie_side_by_side_those_with_other_labels_first(pictures):
    items, labels, _ = pictures
    for copy, of in ((6, 3), (7, 0), (8, 0)): Image.open(items["path"].iloc[of]).resize((100, 100)).save(items["path"].iloc[copy])
    queue = by_likeness(items, labels)
    assert list(queue.index) == ["0.jpg", "7.jpg", "8.jpg", "3.jpg", "6.jpg"]
    assert queue["cluster"].nunique() == 2
    assert queue["reason"].str.contains("other label").tolist() == [True] * 3 + [False] * 2
    assert queue["reason"]["7.jpg"].split(" from ")[1].startswith("0.jpg") and "7.jpg" in queue["reason"]["0.jpg"]


def test_no_duplicates_and_unreadable_pictures_are_no_trouble(pictures):
    items, labels, _ = pictures
    assert by_likeness(items, labels).empty
    items["path"] = [None, "", "gone.jpg", *items["path"][3:]]
    assert by_likeness(items, labels).empty and by_likeness(items[:3], labels[:3]).empty


@pytest.mark.parametrize("size", [1, 2, 3, 5, 24])
def test_pages_hold_everything_once_and_cut_no_cluster_that_fits(size):
    sizes = np.random.default_rng(size).integers(1, 7, 30)
    queue = pd.DataFrame({"cluster": np.repeat(np.arange(30), sizes)}, index=np.arange(sizes.sum()).astype(str))
    pages = paged(queue, size)
    assert list(np.concatenate(pages)) == list(queue.index) and max(map(len, pages)) <= size
    for _, members in queue.groupby("cluster"):
        if len(members) <= size: assert sum(members.index[0] in page or members.index[-1] in page for page in pages) == 1
    assert [len(page) for page in paged(queue[:0], size)] == [0]


# --- the cleaner

widgets = pytest.importorskip("ipywidgets")


def card(cleaner, item): return next(c for c in cleaner.panel.cards if c.item == item)


def test_buttons_and_methods_do_the_same(pictures):
    by_hand, by_code = ImageCleaner(*pictures, out=Decisions()), ImageCleaner(*pictures, out=Decisions())
    card(by_hand, "0.jpg").exclude.click()
    card(by_hand, "1.jpg").accept.click()
    card(by_hand, "2.jpg").choice.value = ("romance", True)
    card(by_hand, "3.jpg").keep.click()
    by_code.exclude("0.jpg"), by_code.relabel("1.jpg", "superhero"), by_code.relabel("2.jpg", "romance"), by_code.keep("3.jpg")
    pd.testing.assert_frame_equal(by_hand.decisions(), by_code.decisions())
    assert by_hand.decisions().reset_index().to_numpy().tolist() == [
        ["0.jpg", "exclude", "horror", "", "loss 4.61"], ["1.jpg", "relabel", "romance", "superhero", "loss 3.91"],
        ["2.jpg", "relabel", "superhero", "romance", "loss 3.51"], ["3.jpg", "keep", "horror", "horror", "loss 0.22"]]


def test_a_second_click_takes_a_decision_back_and_so_does_the_old_label(pictures):
    cleaner = ImageCleaner(*pictures)
    card(cleaner, "0.jpg").exclude.click()
    assert card(cleaner, "0.jpg").exclude.description == "✕ Excluded"
    card(cleaner, "0.jpg").exclude.click()
    card(cleaner, "1.jpg").accept.click()
    card(cleaner, "1.jpg").choice.value = ("romance", True)
    assert cleaner.decisions().empty
    cleaner.undo()
    assert cleaner.decisions()["after"].to_dict() == {"1.jpg": "superhero"}


def test_nothing_is_lost_when_something_else_is_shown(pictures):
    cleaner = ImageCleaner(*pictures, split=[True] * 4 + [False] * 5, page_size=2)
    cleaner.exclude("0.jpg"), cleaner.relabel("1.jpg", "horror"), cleaner.keep("8.jpg")
    before = cleaner.decisions()
    for view in ({"label": "horror"}, {"part": "valid"}, {"mode": "near duplicates"}, {"marked": "decided"}, {"label": None, "part": None},
                 {"mode": "top losses"}, {"marked": "undecided"}, {"marked": None}):
        cleaner.show(**view)
        pd.testing.assert_frame_equal(cleaner.decisions(), before)
    cleaner.panel.next.click()
    cleaner.panel.menus["label"].value = "romance"
    cleaner.panel.menus["label"].value = ""
    assert cleaner.page == 1, "one comes back to the page one left"
    cleaner.panel.back.click()
    assert [(c.item, c.mark) for c in cleaner.panel.cards] == [("0.jpg", "exclude"), ("1.jpg", "relabel")]
    pd.testing.assert_frame_equal(cleaner.decisions(), before)


def test_every_menu_always_says_what_is_chosen(pictures):
    cleaner = ImageCleaner(*pictures, split=["a", "b", "c"] * 3)
    for view in ({}, {"label": "horror", "part": "a", "marked": "decided"}, {"label": None, "part": None, "marked": None}):
        if view: cleaner.show(**view)
        assert None not in [menu.index for menu in cleaner.panel.menus.values()] + [c.choice.index for c in cleaner.panel.cards]


def test_filters_show_what_they_say(pictures):
    cleaner = ImageCleaner(*pictures, split=["a", "b", "c"] * 3)
    def shown(**view): cleaner.show(**view); return [item for page in cleaner.pages for item in page]
    cleaner.keep("0.jpg", "3.jpg")
    assert shown(label="horror") == ["0.jpg", "3.jpg", "6.jpg"]
    assert shown(marked="undecided") == ["6.jpg"]
    assert shown(label=None, marked="decided") == ["0.jpg", "3.jpg"]
    assert shown(marked=None, part="b") == ["1.jpg", "4.jpg", "7.jpg"]
    assert shown(label="horror") == [] and "no pictures here" in cleaner.panel.place.value
    for view in ({"mode": "by magic"}, {"label": "western"}, {"part": "z"}):
        with pytest.raises(MovieTaggerError, match="There is no"): cleaner.show(**view)


def test_a_decided_picture_stays_where_it_is_until_one_asks_again(pictures):
    cleaner = ImageCleaner(*pictures, page_size=3)
    cleaner.show(marked="undecided")
    cleaner.panel.rest.click()
    assert [c.mark for c in cleaner.panel.cards] == ["keep"] * 3
    cleaner.panel.next.click()
    assert [c.item for c in cleaner.panel.cards] == ["3.jpg", "4.jpg", "5.jpg"]


def test_keep_the_rest_is_one_step(pictures):
    cleaner = ImageCleaner(*pictures, page_size=4)
    cleaner.exclude("1.jpg")
    cleaner.keep_rest()
    assert cleaner.decisions()["decision"].to_dict() == {"1.jpg": "exclude", "0.jpg": "keep", "2.jpg": "keep", "3.jpg": "keep"}
    cleaner.undo()
    assert list(cleaner.decisions().index) == ["1.jpg"]


def test_undo_to_the_first_and_redo_to_the_last(pictures):
    cleaner = ImageCleaner(*pictures)
    for item in cleaner.items.index: cleaner.exclude(item)
    all_of_them = cleaner.decisions()
    for _ in range(12): cleaner.panel.undo.click()
    assert cleaner.decisions().empty and cleaner.panel.undo.disabled
    for _ in range(12): cleaner.panel.redo.click()
    pd.testing.assert_frame_equal(cleaner.decisions(), all_of_them)


def test_with_many_tags_tags_are_added_and_removed(pictures):
    items, _, _ = pictures
    labels = data.from_array([[1, 0, np.nan]] * 9, items.index, ["hat", "car", "blood"])
    cleaner = ImageCleaner(items, labels, np.tile([.02, .1, .9], (9, 1)))
    assert cleaner.kind == "multi" and card(cleaner, "0.jpg").accept.description == "− hat"
    card(cleaner, "0.jpg").accept.click()
    card(cleaner, "0.jpg").choice.value = ("blood", True)
    assert card(cleaner, "0.jpg").choice.value == "", "the menu is ready for the next tag"
    cleaner.relabel("1.jpg", "blood", False)
    assert cleaner.decisions()["after"].to_dict() == {"0.jpg": "blood", "1.jpg": "hat, -blood"}
    _, now = cleaner.cleaned()
    np.testing.assert_array_equal(data.to_array(now)[:3], [[0, 0, 1], [1, 0, 0], [1, 0, np.nan]])


def test_two_cleaners_of_the_same_pictures_share_their_decisions(pictures):
    items, labels, p = pictures
    one = ImageCleaner(items, labels, p)
    one.exclude("0.jpg")
    two = ImageCleaner(items.copy(), labels.copy(), p)
    card(two, "1.jpg").keep.click()
    assert list(one.decisions().index) == list(two.decisions().index) == ["0.jpg", "1.jpg"]
    assert ImageCleaner(items, labels, p, out=Decisions()).decisions().empty
    assert ImageCleaner(*one.cleaned()).decisions().empty, "other labels, other decisions"


def test_a_click_means_what_the_person_saw(pictures):
    one, two = ImageCleaner(*pictures), ImageCleaner(*pictures)
    card(one, "0.jpg").exclude.click()
    card(two, "0.jpg").exclude.click()  # there it still looked undecided
    assert one.decisions()["decision"].to_dict() == {"0.jpg": "exclude"}


def test_a_new_kernel_goes_on_where_the_old_one_was(pictures, tmp_path):
    first = ImageCleaner(*pictures, out=tmp_path / "d.jsonl")
    first.exclude("0.jpg"), first.relabel("1.jpg", "horror"), first.keep("2.jpg"), first.undo()
    again = ImageCleaner(*pictures, out=tmp_path / "d.jsonl")
    pd.testing.assert_frame_equal(again.decisions(), first.decisions())
    assert [c.mark for c in again.panel.cards[:3]] == ["exclude", "relabel", ""]
    again.redo()
    assert first.decisions()["decision"].to_dict() == {"0.jpg": "exclude", "1.jpg": "relabel", "2.jpg": "keep"}


def test_nothing_on_disk_is_touched_and_the_csv_can_be_read(pictures, tmp_path):
    before = files(tmp_path / "pictures")
    cleaner = ImageCleaner(*pictures)
    cleaner.exclude("0.jpg"), cleaner.relabel("1.jpg", "horror"), cleaner.show(mode="near duplicates")
    cleaner.save(tmp_path / "cleaned.csv")
    assert files(tmp_path / "pictures") == before
    items, labels = data.read(tmp_path / "cleaned.csv")
    pd.testing.assert_frame_equal(labels, cleaner.cleaned()[1])
    assert items["group"].tolist() == cleaner.cleaned()[0]["group"].tolist()


def test_items_without_groups_can_be_saved(pictures, tmp_path):
    items, labels, p = pictures
    ImageCleaner(items[["path"]], labels, p).save(tmp_path / "cleaned.csv")
    assert len(data.read(tmp_path / "cleaned.csv")[0]) == 9


def test_an_interpretation_is_cleaned_in_one_line(pictures):
    items, labels, p = pictures
    source = SimpleNamespace(items=items[["path"]], labels=labels, probabilities=pd.DataFrame(p, labels.index, CLASSES)[CLASSES[::-1]], kind="single")
    cleaner = ImageCleaner(source)
    assert cleaner.pages[0][0] == "0.jpg" and card(cleaner, "0.jpg").accept.description == "→ romance"


def test_a_picture_without_label_gets_one(pictures):
    items, labels, p = pictures
    labels.iloc[4] = pd.NA
    cleaner = ImageCleaner(SimpleNamespace(items=items, labels=labels, probabilities=p, kind="single"))
    assert cleaner.pages[0][-1] == "4.jpg" and card(cleaner, "4.jpg").choice.value == ""
    card(cleaner, "4.jpg").choice.value = ("horror", True)
    assert cleaner.decisions().iloc[0].tolist() == ["relabel", "", "horror", "no label"]
    assert data.kind(cleaner.cleaned()[1]) == "single"


def test_without_probabilities_one_can_still_decide(pictures):
    items, labels, _ = pictures
    cleaner = ImageCleaner(items, labels)
    assert list(cleaner.pages[0]) == list(items.index) and "9 without probability" in cleaner.panel.status.value
    card(cleaner, "3.jpg").exclude.click()
    assert list(cleaner.decisions().index) == ["3.jpg"]


def test_missing_probabilities_come_last_and_are_counted(pictures):
    items, labels, p = pictures
    p[[0, 5]] = np.nan
    cleaner = ImageCleaner(items, labels, p)
    assert list(cleaner.pages[0][-2:]) == ["0.jpg", "5.jpg"] and "2 without probability" in cleaner.panel.status.value


def test_a_picture_that_cannot_be_shown_says_why_and_can_be_decided_about(pictures, tmp_path):
    items, labels, p = pictures
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    items["path"] = [str(tmp_path / "gone.jpg"), str(tmp_path / "text.jpg"), None, str(tmp_path), *items["path"][4:]]
    cleaner = ImageCleaner(items, labels, p)
    for k, why in enumerate(["No such file", "a web page", "names no image", "a folder"]):
        assert why in card(cleaner, f"{k}.jpg").picture.value and "✕ no picture" in card(cleaner, f"{k}.jpg").picture.value
        card(cleaner, f"{k}.jpg").exclude.click()
    assert len(cleaner.cleaned()[0]) == 5


def test_names_are_text_and_never_html(pictures):
    items, labels, p = pictures
    nasty = '"><script>alert(1)</script>'
    items.index = labels.index = [nasty, *items.index[1:]]
    labels.columns = [nasty, *CLASSES[1:]]
    cleaner = ImageCleaner(items, labels, p)
    cleaner.exclude(nasty)
    page = "".join(w.value for c in cleaner.panel.cards for w in (c.picture, c.text)) + cleaner.panel.status.value
    assert "<script" not in page and html.escape(nasty) in page


def test_pictures_have_text_alternatives_and_buttons_say_what_they_do(pictures):
    cleaner = ImageCleaner(*pictures)
    for c in cleaner.panel.cards:
        assert f'alt="{c.item}"' in c.picture.value
        for control in (c.keep, c.exclude, c.accept, c.choice):
            if control.layout.display != "none": assert c.item in control.tooltip
    assert not [b for b in (cleaner.panel.undo, cleaner.panel.redo, cleaner.panel.next, cleaner.panel.back, cleaner.panel.rest) if not b.tooltip]


def test_an_error_in_a_button_is_a_sentence_in_the_panel(pictures, tmp_path, monkeypatch):
    cleaner = ImageCleaner(*pictures, out=tmp_path / "d.jsonl")
    with monkeypatch.context() as m:
        m.setattr(curate.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        card(cleaner, "0.jpg").keep.click()
        assert "No space left" in cleaner.panel.status.value and 'role="alert"' in cleaner.panel.status.value
    card(cleaner, "1.jpg").exclude.click()
    assert "1.jpg" in cleaner.decisions().index and "alert" not in cleaner.panel.status.value


def broken(**changes):
    def change(items, labels, p): return {**dict(source=items, labels=labels, probabilities=p), **{k: f(items, labels, p) for k, f in changes.items()}}
    return change


@pytest.mark.parametrize("change, sentence", [
    (broken(source=lambda i, y, p: i.drop(columns="path")), "have no paths"),
    (broken(source=lambda i, y, p: i.assign(path="")), "have no paths"),
    (broken(source=lambda i, y, p: i[:0], labels=lambda i, y, p: y[:0]), "no pictures"),
    (broken(labels=lambda i, y, p: y[[]]), "no labels"),
    (broken(labels=lambda i, y, p: None), "two frames"),
    (broken(labels=lambda i, y, p: y[::-1]), "same pictures in the same order"),
    (broken(labels=lambda i, y, p: y[:5]), "same pictures in the same order"),
    (broken(labels=lambda i, y, p: y.astype(int) + 1), "yes, no or unknown"),
    (broken(labels=lambda i, y, p: y.astype(str)), "yes, no or unknown"),
    (broken(source=lambda i, y, p: i.set_axis(["same"] * 9), labels=lambda i, y, p: y.set_axis(["same"] * 9)), "'same' is there more than once"),
    (broken(probabilities=lambda i, y, p: p[:, :2]), "one column for each of the 3 labels"),
    (broken(probabilities=lambda i, y, p: pd.DataFrame(p, y.index, ["a", "b", "c"])), "one column for each of the 3 labels"),
    (broken(probabilities=lambda i, y, p: pd.DataFrame(p, y.index[::-1], CLASSES)), "same pictures in the same order"),
    (broken(probabilities=lambda i, y, p: np.log(p)), "outside 0 to 1"),
    (broken(split=lambda i, y, p: [True]), "one value for each of the 9"),
    (broken(page_size=lambda i, y, p: 0), "room for a picture"),
    (broken(source=lambda i, y, p: "posters"), "two frames"),
    (broken(source=lambda i, y, p: SimpleNamespace(dls=None)), "interpret"),
])
def test_what_does_not_fit_is_said_in_a_sentence(pictures, change, sentence):
    with pytest.raises(MovieTaggerError, match=sentence) as e: ImageCleaner(**change(*pictures))
    assert "\n" not in str(e.value) and str(e.value).endswith(".")


def test_wrong_items_and_labels_are_sentences(pictures):
    cleaner = ImageCleaner(*pictures)
    with pytest.raises(MovieTaggerError, match="no item 'x'"): cleaner.keep("0.jpg", "x")
    with pytest.raises(MovieTaggerError, match="no label 'western'"): cleaner.relabel("0.jpg", "western")
    assert cleaner.decisions().empty
    cleaner.exclude(*cleaner.items.index)
    with pytest.raises(MovieTaggerError, match="nothing to save"): cleaner.save("cleaned.csv")


def test_a_mode_of_ones_own(pictures):
    def odd(items, labels, probabilities, kind): return pd.DataFrame({"reason": "odd"}, items.index[1::2])
    cleaner = ImageCleaner(*pictures, modes={"odd ones": odd})
    assert list(cleaner.pages[0]) == ["1.jpg", "3.jpg", "5.jpg", "7.jpg"]
    cleaner.exclude("1.jpg"), cleaner.exclude("2.jpg")
    assert cleaner.decisions()["reason"].to_dict() == {"1.jpg": "odd", "2.jpg": ""}


def test_numbers_serve_as_ids(pictures):
    items, labels, p = (f.reset_index(drop=True) if isinstance(f, pd.DataFrame) else f for f in pictures)
    cleaner = ImageCleaner(items, labels, p)
    cleaner.exclude(0)
    card(cleaner, 1).accept.click()
    assert list(cleaner.decisions().index) == [0, 1] and list(cleaner.cleaned()[0].index) == list(range(1, 9))


def test_the_module_needs_no_widgets_until_a_cleaner_is_made():
    code = ("import sys; sys.modules['ipywidgets'] = None\nimport pandas as pd\nfrom movie_tagger.core import MissingExtra\nfrom movie_tagger import curate\n"
            "try: curate.ImageCleaner(pd.DataFrame())\nexcept MissingExtra as e: print(e)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'movie_tagger[notebook]'" in done.stdout, done.stderr


def test_the_output_is_a_widget_and_a_line_of_text(pictures):
    bundle = ImageCleaner(*pictures)._repr_mimebundle_()
    assert bundle["text/plain"] == "ImageCleaner: 9 pictures, 0 decided" and "application/vnd.jupyter.widget-view+json" in bundle


def test_the_record_is_plain_json(pictures, tmp_path):
    cleaner = ImageCleaner(*pictures, out=tmp_path / "d.jsonl")
    cleaner.relabel("0.jpg", "romance")
    assert json.loads((tmp_path / "d.jsonl").read_text().splitlines()[1]) == [
        {"item": "0.jpg", "decision": "relabel", "tags": {"horror": False, "romance": True, "superhero": False}, "reason": "loss 4.61"}]
